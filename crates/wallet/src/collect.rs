//! Collecting an allowance: claim a quote with a fresh key, then mint against it (NUT-04, NUT-20).

use cashu::{Amount, Point};
use serde::Deserialize;
use serde_json::json;

use crate::holder::Entitlement;
use crate::recover::sum;
use crate::state::Pending;
use crate::{Wallet, WalletError};

#[derive(Deserialize)]
struct Claimed {
    quote: String,
}

impl Wallet {
    /// Collects all that the holder is owed and has not collected, and gives the amounts.
    ///
    /// # Errors
    /// When the registry or the mint can't be reached: what was collected until then is kept, and trying again goes on.
    pub fn collect_all(&mut self) -> Result<Vec<(Entitlement, Amount)>, WalletError> {
        let mut collected = Vec::new();
        for entitlement in self.entitlements()? {
            if self.has_collected(&entitlement) {
                continue;
            }
            let amount = self.collect(&entitlement)?;
            collected.push((entitlement, amount));
        }
        Ok(collected)
    }

    /// Collects one entitlement.
    ///
    /// # Errors
    /// As [`Wallet::collect_all`].
    pub fn collect(&mut self, entitlement: &Entitlement) -> Result<Amount, WalletError> {
        let key = self.quote_key(&entitlement.id)?;
        let pubkey = Point::of_secret(&key).to_string();
        let claim = json!({"entitlement": entitlement.id, "pubkey": pubkey});
        let claimed: Claimed = self.ask_registry("entitlements/claim", &claim)?;
        let keyset = self.active_keyset(&entitlement.unit)?.id;
        let outputs = self.reserve_outputs(keyset, &entitlement.amount_minor.powers_of_two());
        let pending = Pending::Collect { quote: claimed.quote, entitlement: entitlement.id.clone(), outputs };
        let tokens = self.start(pending)?;
        Ok(sum(&tokens))
    }

    fn has_collected(&self, entitlement: &Entitlement) -> bool {
        self.state.history.iter().any(|line| line.what == "collected" && line.note.as_ref() == Some(&entitlement.id))
    }

    /// The key of the quote for an entitlement: fresh for each, and the same after a restore.
    pub(crate) fn quote_key(&self, entitlement: &str) -> Result<secp256k1::SecretKey, WalletError> {
        Ok(self.seed.key_for("quote key", entitlement.as_bytes())?)
    }
}
