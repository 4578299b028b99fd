//! Keysets, taken only as the log has them.
//!
//! A mint could show one person a keyset of their own and know their money by it. So a wallet computes the id from the
//! keys, asks for the proof that the log holds an entry with that id, unit and expiry, and checks the proof against a
//! checkpoint that continues the one it saw last.

use cashu::keyset::KeysetInfo;
use cashu::{Keyset, KeysetId, Unit};
use tlog::entry::Entry;

use crate::log_view::HttpTiles;
use crate::{Wallet, WalletError, unix_now};

impl Wallet {
    /// The keyset that the mint signs `unit` with now.
    ///
    /// # Errors
    /// When the mint has none, or shows one that is not in the log.
    pub(crate) fn active_keyset(&mut self, unit: &Unit) -> Result<Keyset, WalletError> {
        let now = unix_now();
        let current = |keyset: &&Keyset| {
            keyset.unit == *unit && keyset.active == Some(true) && keyset.final_expiry.is_none_or(|expiry| expiry > now)
        };
        if let Some(keyset) = self.state.keysets.values().find(current) {
            return Ok(keyset.clone());
        }
        self.refresh_keysets(unit)?;
        self.state.keysets.values().find(current).cloned().ok_or_else(|| WalletError::NoKeyset { unit: unit.clone() })
    }

    /// Asks the mint which keysets of a unit there are, and takes those that the log has.
    ///
    /// # Errors
    /// When the mint or the log can't be reached, or the mint shows a keyset that is not in the log.
    pub fn refresh_keysets(&mut self, unit: &Unit) -> Result<(), WalletError> {
        for info in self.mint().keysets()?.keysets.into_iter().filter(|info| info.unit == *unit) {
            match self.state.keysets.get_mut(&info.id) {
                Some(known) => known.active = Some(info.active),
                None => {
                    let keyset = self.keyset_from_log(&info)?;
                    self.state.keysets.insert(info.id, keyset);
                }
            }
        }
        self.save()
    }

    /// Fetches a keyset's keys and its entry in the log, and holds them against each other.
    fn keyset_from_log(&mut self, info: &KeysetInfo) -> Result<Keyset, WalletError> {
        let answer = self.mint().keys(&info.id)?;
        let mut keyset =
            answer.keysets.into_iter().find(|keyset| keyset.id == info.id).ok_or(WalletError::MintMisbehaves)?;
        let index = info.log_index.ok_or(WalletError::KeysetNotInLog)?;
        let entry = self.logged_entry(&HttpTiles::of(&self.state.services), index)?;
        let entry = entry.ok_or(WalletError::KeysetNotInLog)?;
        if !keyset.check_id() || !is_entry_of(&entry, &keyset) {
            return Err(WalletError::KeysetNotInLog);
        }
        keyset.active = Some(info.active);
        Ok(keyset)
    }

    /// The ids of all keysets of this wallet.
    pub(crate) fn known_keysets(&self) -> Vec<KeysetId> {
        self.state.keysets.keys().copied().collect()
    }
}

/// Whether a log entry announces this very keyset.
fn is_entry_of(entry: &Entry, keyset: &Keyset) -> bool {
    matches!(
        entry,
        Entry::Keyset { id, unit, final_expiry, input_fee_ppk, keys_sha256, .. }
            if *id == keyset.id.to_string()
                && unit == keyset.unit.as_str()
                && *final_expiry == keyset.final_expiry
                && *input_fee_ppk == keyset.input_fee_ppk
                && *keys_sha256 == hex::encode(keyset.keys_digest())
    )
}
