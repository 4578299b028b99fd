//! Paying a till's request (NUT-18, NUT-26).

use cashu::Amount;
use cashu::conditions::Condition;
use cashu::payment_request::PaymentRequest;
use serde::{Deserialize, Serialize};

use crate::lock::Lock;
use crate::state::{Handover, Held, Pending};
use crate::{Wallet, WalletError};

/// What a till answers to a payment that it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaymentAnswer {
    /// The till's receipt in one line, for the holder's history.
    #[serde(default)]
    pub receipt: Option<String>,
}

impl Wallet {
    /// Pays a request and gives the amount paid. `amount` is for requests that leave it open.
    ///
    /// The till is online, so no token carries a DLEQ proof or blinding factor. Tokens for a request that asks for a lock
    /// are locked as it says, in its own words: it need not know blinded keys (NUT-28).
    ///
    /// # Errors
    /// When the request can't be read, is for another mint, is incomplete, asks for a lock that can't be made, or there is not
    /// enough money: nothing was sent. When the till can't be reached: the payment stays under way, and [`Wallet::recover`] sends it again.
    pub fn pay(&mut self, request: &str, amount: Option<Amount>) -> Result<Amount, WalletError> {
        let request = PaymentRequest::decode(request)?;
        if !request.mints.is_empty() && !request.mints.iter().any(|mint| self.is_own_mint(mint)) {
            return Err(WalletError::OtherMint);
        }
        let missing = |missing| WalletError::IncompleteRequest { missing };
        let unit = request.unit.ok_or(missing("unit"))?;
        let amount = request.amount.or(amount).filter(|amount| *amount > Amount::ZERO).ok_or(missing("amount"))?;
        let transport = request
            .transports
            .into_iter()
            .find(|transport| transport.kind == "post")
            .ok_or(missing("address to pay to"))?;
        let target = transport.target;
        match request.nut10 {
            None => {
                let tokens = self.take_exactly(amount, &unit)?;
                self.start(Pending::Payment { target, id: request.id, tokens })?;
            }
            Some(asked) => {
                let handover = Handover::Payment { target, id: request.id };
                self.lock_tokens(amount, &unit, &Lock::Asked(asked), handover)?;
            }
        }
        Ok(amount)
    }

    /// Takes back tokens that a till never confirmed, by exchanging them, one a request: either this wallet has them
    /// afterwards or the till does. Those that the till took after all count as paid. Tokens that the till asked to be locked are
    /// the till's alone: they go into the history as a token string.
    ///
    /// # Errors
    /// When the mint can't be reached: nothing is lost, [`Wallet::recover`] goes on.
    pub fn reclaim_payments(&mut self) -> Result<(), WalletError> {
        let payments: Vec<Pending> =
            self.state.pending.iter().filter(|p| matches!(p, Pending::Payment { .. })).cloned().collect();
        let (mut exchanges, mut stranded) = (Vec::new(), Vec::new());
        for payment in payments {
            let Pending::Payment { tokens, .. } = payment else { continue };
            let unit = self.unit_of(&tokens[0].proof);
            if is_locked(&tokens) {
                stranded.push(tokens);
                continue;
            }
            let keyset = self.active_keyset(&unit)?.id;
            for token in tokens {
                let outputs = self.reserve_outputs(keyset, &[token.proof.amount]);
                exchanges.push(Pending::Swap { inputs: vec![token], outputs, received: None });
            }
        }
        // All at once, before the first is sent: a crash or a refusal half-way finds each token in the file.
        self.state.pending.retain(|pending| !matches!(pending, Pending::Payment { .. }));
        self.state.pending.extend(exchanges.iter().cloned());
        for tokens in &stranded {
            self.note_stranded(tokens);
        }
        self.save()?;
        for exchange in exchanges {
            match self.resume(exchange) {
                Ok(_) | Err(WalletError::AlreadySpent) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes locked tokens that their payee has not taken into the history, where they can be copied from.
    pub(crate) fn note_stranded(&mut self, tokens: &[Held]) {
        let unit = self.unit_of(&tokens[0].proof);
        let text = self.token_text(tokens.iter().map(|held| held.proof.clone()).collect(), &unit, None);
        self.note_history("locked", crate::recover::sum(tokens), unit, Some(text));
    }

    pub(crate) fn is_own_mint(&self, mint: &str) -> bool {
        mint.trim_end_matches('/') == self.state.services.mint.trim_end_matches('/')
    }
}

/// Whether tokens are locked, and so of no use to this wallet.
pub(crate) fn is_locked(tokens: &[Held]) -> bool {
    tokens.iter().any(|held| !matches!(Condition::of(held.proof.secret.as_str()), Ok(None)))
}
