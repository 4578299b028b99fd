//! The embedded store: an LSM tree (fjall).
//!
//! After a crash the LSM's journal is read up to the first record that is not whole, and cut there. A torn last record is what a
//! crash leaves; a record that was damaged later would be cut off in the same way, and with it spent tokens. So each commit
//! carries its number, and the number of the last one that was answered stands in the file `store.commits` beside the store: a
//! store that opens with fewer is refused.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::{Change, MAC_LEN, Outcome, RowMac, Store, Table, TokenRow, Visitor, contents};
use crate::keysets::MintSeed;
use crate::{MintError, MintEvent};

/// The table, and the key of its row, that holds the number of the last commit.
const COMMITS: &str = "commits";
const LAST_COMMIT: &[u8] = b"last";
/// The row of the same table that holds the fingerprint of the seed, without a MAC: it says which key a MAC would have.
const SEED: &[u8] = b"seed";

/// Rows that are removed in one batch: commits wait for it in between.
const DROPPED_AT_ONCE: usize = 5_000;

/// An LSM tree in a folder.
pub struct LsmStore {
    folder: String,
    database: Database,
    tables: Vec<Keyspace>,
    commit_numbers: Keyspace,
    mac: RowMac,
    /// The number of the last commit. Changed by `commit` alone.
    commits: AtomicU64,
    /// The file with the number of the last commit that was answered.
    answered: File,
}

impl LsmStore {
    /// Opens the store in a folder, or makes one.
    ///
    /// # Errors
    /// When the folder can't be used, the files are damaged, commits that were answered are missing, or it was made with another
    /// seed.
    pub fn open(folder: &Path, seed: &MintSeed) -> Result<Self, MintError> {
        let name = folder.display().to_string();
        let failed = |error: fjall::Error| MintError::Store { folder: name.clone(), detail: error.to_string() };
        let io_failed = |error: std::io::Error| MintError::Store { folder: name.clone(), detail: error.to_string() };
        let database = Database::builder(folder).open().map_err(failed)?;
        let open = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(failed);
        let tables = Table::ALL.iter().map(|table| open(table.name())).collect::<Result<_, _>>()?;
        let commit_numbers = open(COMMITS)?;
        let answered = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.with_extension(COMMITS))
            .map_err(io_failed)?;
        let made_with = commit_numbers.get(SEED).map_err(failed)?;
        if let Some(made_with) = &made_with {
            seed.must_have_made(made_with)?;
        }
        let mac = RowMac::new(seed)?;
        let commits = AtomicU64::new(0);
        let store = LsmStore { folder: name, database, tables, commit_numbers, mac, commits, answered };
        let (kept, answered) = (store.last_kept()?, store.last_answered());
        if kept < answered {
            return Err(store.failed(format!(
                "it ends at commit {kept} and {answered} were answered, so its journal is damaged: restore the folder from a \
                 backup that has them"
            )));
        }
        store.commits.store(kept, Ordering::Relaxed);
        if made_with.is_none() {
            // New, or from before fingerprints were kept; then its last commit has a MAC of this seed.
            store.commit_numbers.insert(SEED, seed.fingerprint()).map_err(|error| store.failed(error))?;
            store.database.persist(PersistMode::SyncAll).map_err(|error| store.failed(error))?;
        }
        Ok(store)
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    fn failed(&self, error: impl ToString) -> MintError {
        MintError::Store { folder: self.folder.clone(), detail: error.to_string() }
    }

    /// The number of the last commit that the store has.
    fn last_kept(&self) -> Result<u64, MintError> {
        let Some(row) = self.commit_numbers.get(LAST_COMMIT).map_err(|error| self.failed(error))? else {
            return Ok(0);
        };
        match self.mac.open(COMMITS, LAST_COMMIT, &row) {
            (number, true) => number.try_into().map(u64::from_be_bytes).map_err(|_| self.failed("commits is damaged")),
            (_, false) => Err(self.failed("the row last of commits was changed on disk")),
        }
    }

    /// The number of the last commit that was answered. The file is not synced, so after a power loss it may be behind or torn;
    /// then it says nothing.
    fn last_answered(&self) -> u64 {
        let mut row = [0; 8 + MAC_LEN];
        let whole = self.answered.read_exact_at(&mut row, 0).is_ok();
        let (number, right) = self.mac.open(COMMITS, b"answered", &row);
        if whole && right { number.try_into().map(u64::from_be_bytes).unwrap_or(0) } else { 0 }
    }
}

impl Store for LsmStore {
    fn commit(&self, changes: &[Change]) -> Result<Vec<Outcome>, MintError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let mut taken: HashSet<(Table, &[u8])> = HashSet::new();
        let mut outcomes = Vec::with_capacity(changes.len());
        let mut next_event = self.last_event()? + 1;
        for change in changes {
            let mut found = None;
            for (table, key, _) in &change.rows {
                let there = taken.contains(&(*table, key.as_slice()))
                    || self.table(*table).contains_key(key).map_err(|error| self.failed(error))?;
                if there {
                    found = Some(*table);
                    break;
                }
            }
            if let Some(table) = found {
                outcomes.push(Err(table));
                continue;
            }
            for (table, key, value) in &change.rows {
                taken.insert((*table, key));
                batch.insert(self.table(*table), key.as_slice(), self.mac.seal(table.name(), key, value));
            }
            for event in &change.events {
                let (key, value) = (next_event.to_be_bytes(), serde_json::to_vec(event).expect("plain data"));
                batch.insert(self.table(Table::Events), key, self.mac.seal(Table::Events.name(), &key, &value));
                next_event += 1;
            }
            outcomes.push(Ok(()));
        }
        if !batch.is_empty() {
            let number = self.commits.load(Ordering::Relaxed) + 1;
            let row = self.mac.seal(COMMITS, LAST_COMMIT, &number.to_be_bytes());
            batch.insert(&self.commit_numbers, LAST_COMMIT, row);
            batch.commit().map_err(|error| self.failed(error))?;
            self.commits.store(number, Ordering::Relaxed);
            let row = self.mac.seal(COMMITS, b"answered", &number.to_be_bytes());
            self.answered.write_all_at(&row, 0).map_err(|error| self.failed(error))?;
        }
        Ok(outcomes)
    }

    fn goes_on_after_failure(&self) -> bool {
        false
    }

    fn get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, MintError> {
        let get = |key: &&[u8]| {
            let row = self.table(table).get(key).map_err(|error| self.failed(error))?;
            Ok(row.map(|stored| contents(&stored)))
        };
        keys.iter().map(get).collect()
    }

    fn scan(&self, tables: &[Table], visit: Visitor<'_>) -> Result<(), MintError> {
        let snapshot = self.database.snapshot();
        for table in tables {
            for item in snapshot.iter(self.table(*table)) {
                let (key, stored) = item.into_inner().map_err(|error| self.failed(error))?;
                let (value, right) = self.mac.open(table.name(), &key, &stored);
                visit(*table, &key, value, right);
            }
        }
        Ok(())
    }

    fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, MintEvent)>, MintError> {
        let mut events = Vec::new();
        for item in self.table(Table::Events).range((cursor + 1).to_be_bytes()..).take(limit) {
            let (key, stored) = item.into_inner().map_err(|error| self.failed(error))?;
            let damaged = || self.failed("a row of events is damaged");
            let number = u64::from_be_bytes(key.as_ref().try_into().map_err(|_| damaged())?);
            events.push((number, serde_json::from_slice(&contents(&stored)).map_err(|_| damaged())?));
        }
        Ok(events)
    }

    fn last_event(&self) -> Result<u64, MintError> {
        let Some(last) = self.table(Table::Events).last_key_value() else { return Ok(0) };
        let (key, _) = last.into_inner().map_err(|error| self.failed(error))?;
        key.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| self.failed("a row of events is damaged"))
    }

    fn drop_tokens(&self, keyset: u16) -> Result<u64, MintError> {
        let mut dropped = 0;
        for table in [Table::Signed, Table::Spent] {
            let (rows, witnesses) = (self.table(table), self.table(Table::Witnesses));
            let mut batch = self.database.batch();
            for item in rows.iter() {
                let (key, stored) = item.into_inner().map_err(|error| self.failed(error))?;
                if TokenRow::decode(&contents(&stored)).is_none_or(|row| row.keyset != keyset) {
                    continue;
                }
                dropped += 1;
                // A row that is written once and removed once leaves nothing behind in any level of the tree.
                if table == Table::Spent && witnesses.contains_key(&key).map_err(|error| self.failed(error))? {
                    batch.remove_weak(witnesses, key.clone());
                }
                batch.remove_weak(rows, key);
                if batch.len() >= DROPPED_AT_ONCE {
                    std::mem::replace(&mut batch, self.database.batch())
                        .commit()
                        .map_err(|error| self.failed(error))?;
                }
            }
            batch.commit().map_err(|error| self.failed(error))?;
        }
        self.database.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))?;
        Ok(dropped)
    }

    fn overwrite_raw(&self, table: Table, key: &[u8], change: &dyn Fn(&mut Vec<u8>)) -> Result<(), MintError> {
        let row = self.table(table).get(key).map_err(|error| self.failed(error))?;
        let mut row = row.map(|row| row.to_vec()).unwrap_or_default();
        change(&mut row);
        self.table(table).insert(key, row).map_err(|error| self.failed(error))?;
        self.database.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))
    }
}
