//! What an operator may ask of a mint at any time, cheaply, and without learning more than the mint publishes and how large it is.

use std::collections::BTreeMap;

use cashu::{KeysetId, Unit};
use serde::{Deserialize, Serialize};

use crate::keysets::MintSeed;
use crate::store::{Store, StoreKind};
use crate::{Mint, MintError};

/// How a mint is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintStatus {
    /// Its name in backups: see [`crate::backup::mint_id`].
    pub mint: String,
    /// The version of the software.
    pub version: String,
    /// Where its rows lie.
    pub store: StoreKind,
    /// How much room they take on disk.
    pub bytes: u64,
    /// Whether its money is worth nothing.
    pub sandbox: bool,
    /// The number of the last commit, where the store counts them.
    pub last_commit: Option<u64>,
    /// The number of the last event.
    pub last_event: u64,
    /// About how many rows each table has: what the store knows without counting. `None` where it knows nothing yet.
    pub approximate_rows: BTreeMap<String, Option<u64>>,
    /// Its keysets, oldest first.
    pub keysets: Vec<KeysetStatus>,
}

/// A keyset, as anybody may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysetStatus {
    /// The id.
    pub id: KeysetId,
    /// The unit.
    pub unit: Unit,
    /// Unix time of the period's first second.
    pub starts_at: u64,
    /// Unix time of the next period's first second.
    pub ends_at: u64,
    /// Whether the mint signs with it now.
    pub active: bool,
    /// Whether it is closed: over for good, its tokens' rows gone or going.
    pub closed: bool,
    /// Unix time after which its tokens can't be spent.
    pub final_expiry: Option<u64>,
    /// Where the public log announces it.
    pub log_index: u64,
    /// Fee for each input, in thousandths of the unit.
    pub input_fee_ppk: u64,
}

impl Mint {
    /// How it is.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn status(&self) -> Result<MintStatus, MintError> {
        of_store(self.store(), self.seed(), self.unix_now(), self.options().sandbox)
    }
}

/// The same for a store that no mint runs on.
///
/// # Errors
/// When the store can't be read.
pub fn of_store(store: &dyn Store, seed: &MintSeed, now: u64, sandbox: bool) -> Result<MintStatus, MintError> {
    let condition = store.condition()?;
    let keysets = store.keyset_table(seed)?;
    Ok(MintStatus {
        mint: crate::backup::mint_id(seed),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: store.kind(),
        bytes: condition.bytes,
        sandbox,
        last_commit: condition.last_commit,
        last_event: store.last_event()?,
        approximate_rows: condition.rows.into_iter().map(|(table, rows)| (table.name().to_owned(), rows)).collect(),
        keysets: keysets
            .iter()
            .map(|keyset| KeysetStatus {
                id: keyset.public.id,
                unit: keyset.record.unit.clone(),
                starts_at: keyset.record.quarter.start,
                ends_at: keyset.record.quarter.end,
                active: keyset.is_active(now) && !keysets.is_over(keyset, now),
                closed: keysets.closed(keyset.record.number).is_some(),
                final_expiry: keyset.public.final_expiry,
                log_index: keyset.record.log_index,
                input_fee_ppk: keyset.public.input_fee_ppk,
            })
            .collect(),
    })
}
