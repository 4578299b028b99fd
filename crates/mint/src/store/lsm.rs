//! The embedded store: an LSM tree (fjall).
//!
//! After a crash the LSM's journal is read up to the first record that is not whole, and cut there. A torn last record is what a
//! crash leaves; a record that was damaged later would be cut off in the same way, and with it spent tokens. So each commit
//! carries its number, and the number of the last one that was answered stands in the file `store.commits` beside the store: a
//! store that opens with fewer is refused. A restored store begins a numbering of its own, with everything that was restored as
//! commit 1: the numbers of the store that was backed up say nothing about this one's journal.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};

use super::{Change, Condition, MAC_LEN, Moment, Outcome, RowMac, Sink, Store, StoreKind, Table, TokenRow, contents};
use crate::backup::{BackupError, NextRow};
use crate::keysets::MintSeed;
use crate::{MintError, MintEvent};

/// The table, and the key of its row, that holds the number of the last commit.
const COMMITS: &str = "commits";
const LAST_COMMIT: &[u8] = b"last";
/// The row of the same table that holds the fingerprint of the seed, without a MAC: it says which key a MAC would have.
const SEED: &[u8] = b"seed";
/// The key, in the same table, of the number of the format that the rows are kept in; a store from before has none and is of
/// format 1.
const FORMAT_KEY: &[u8] = b"format";
/// The newest format that is known here. A store of a newer one is refused: its rows could be misread.
const FORMAT: u32 = 1;

/// Memory for blocks and Bloom filters, at most. Ten bits a key are 125 MB for fifty million tokens and as many outputs; with less, a
/// look-up of a token that is not there reads the disk for its filter.
const CACHE_BYTES: u64 = 384 * 1024 * 1024;

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
    /// When the folder can't be used, the files are damaged, commits that were answered are missing, it was made with another seed,
    /// or it is of a newer format.
    pub fn open(folder: &Path, seed: &MintSeed) -> Result<Self, MintError> {
        let name = folder.display().to_string();
        let failed = |error: fjall::Error| MintError::Store { folder: name.clone(), detail: error.to_string() };
        let io_failed = |error: std::io::Error| MintError::Store { folder: name.clone(), detail: error.to_string() };
        let database = Database::builder(folder).cache_size(CACHE_BYTES).open().map_err(failed)?;
        let open = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(failed);
        let commit_numbers = open(COMMITS)?;
        let made_with = commit_numbers.get(SEED).map_err(failed)?;
        if let Some(made_with) = &made_with {
            seed.must_have_made(made_with)?;
        }
        let mac = RowMac::new(seed)?;
        let format = commit_numbers.get(FORMAT_KEY).map_err(failed)?;
        if let Some(format) = &format {
            check_format(&mac, format).map_err(|detail| MintError::Store { folder: name.clone(), detail })?;
        }
        let tables = Table::ALL.iter().map(|table| open(table.name())).collect::<Result<_, _>>()?;
        let answered = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.with_extension(COMMITS))
            .map_err(io_failed)?;
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
        }
        if format.is_none() {
            let row = store.mac.seal(COMMITS, FORMAT_KEY, &FORMAT.to_be_bytes());
            store.commit_numbers.insert(FORMAT_KEY, row).map_err(|error| store.failed(error))?;
        }
        if made_with.is_none() || format.is_none() {
            store.database.persist(PersistMode::SyncAll).map_err(|error| store.failed(error))?;
        }
        Ok(store)
    }

    /// Makes a store in a fresh folder from a backup's rows: table by table, each in the order of its keys. Everything is on disk
    /// when this returns, and counts as one commit that was answered.
    ///
    /// # Errors
    /// When the rows end too early or the folder can't be written: then the folder is of no use.
    pub fn restore(folder: &Path, seed: &MintSeed, next: NextRow<'_>) -> Result<(), BackupError> {
        let store = Self::open(folder, seed)?;
        let mut waiting = next()?;
        while let Some(table) = waiting.as_ref().map(|row| row.table) {
            let mut tables = store.table(table).start_ingestion().map_err(|error| store.failed(error))?;
            while let Some(row) = waiting.take_if(|row| row.table == table) {
                let sealed = store.mac.seal(table.name(), &row.key, &row.value);
                tables.write(row.key, sealed).map_err(|error| store.failed(error))?;
                waiting = next()?;
            }
            tables.finish().map_err(|error| store.failed(error))?;
        }
        store.write(store.database.batch().durability(Some(PersistMode::SyncAll)))?;
        store.answered.sync_all()?;
        Ok(())
    }

    /// The number of the last commit that a store in this folder has answered, if the file beside it can be read.
    pub fn answered_in(folder: &Path, seed: &MintSeed) -> Option<u64> {
        let answered = File::open(folder.with_extension(COMMITS)).ok()?;
        Some(last_answered(&answered, &RowMac::new(seed).ok()?)).filter(|number| *number > 0)
    }

    /// Writes a batch under the next commit's number.
    fn write(&self, mut batch: OwnedWriteBatch) -> Result<(), MintError> {
        let number = self.commits.load(Ordering::Relaxed) + 1;
        let row = self.mac.seal(COMMITS, LAST_COMMIT, &number.to_be_bytes());
        batch.insert(&self.commit_numbers, LAST_COMMIT, row);
        batch.commit().map_err(|error| self.failed(error))?;
        self.commits.store(number, Ordering::Relaxed);
        let row = self.mac.seal(COMMITS, b"answered", &number.to_be_bytes());
        self.answered.write_all_at(&row, 0).map_err(|error| self.failed(error))
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    /// The number of the last event, from its row.
    fn event_number(&self, last: Option<fjall::Guard>) -> Result<u64, MintError> {
        let Some(last) = last else { return Ok(0) };
        let key = last.key().map_err(|error| self.failed(error))?;
        key.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| self.failed("a row of events is damaged"))
    }

    fn failed(&self, error: impl ToString) -> MintError {
        MintError::Store { folder: self.folder.clone(), detail: error.to_string() }
    }

    /// The number of the last commit that the store has.
    fn last_kept(&self) -> Result<u64, MintError> {
        let row = self.commit_numbers.get(LAST_COMMIT).map_err(|error| self.failed(error))?;
        row.map_or(Ok(0), |row| self.commit_number(&row))
    }

    fn commit_number(&self, row: &[u8]) -> Result<u64, MintError> {
        match self.mac.open(COMMITS, LAST_COMMIT, row) {
            (number, true) => number.try_into().map(u64::from_be_bytes).map_err(|_| self.failed("commits is damaged")),
            (_, false) => Err(self.failed("the row last of commits was changed on disk")),
        }
    }

    /// The number of the last commit that was answered. The file is not synced, so after a power loss it may be behind or torn;
    /// then it says nothing.
    fn last_answered(&self) -> u64 {
        last_answered(&self.answered, &self.mac)
    }
}

fn last_answered(file: &File, mac: &RowMac) -> u64 {
    let mut row = [0; 8 + MAC_LEN];
    let whole = file.read_exact_at(&mut row, 0).is_ok();
    let (number, right) = mac.open(COMMITS, b"answered", &row);
    if whole && right { number.try_into().map(u64::from_be_bytes).unwrap_or(0) } else { 0 }
}

/// Says what is wrong with a format row. A newer format is told as such before its MAC is looked at, which may be another then.
fn check_format(mac: &RowMac, row: &[u8]) -> Result<(), String> {
    let (number, right) = mac.open(COMMITS, FORMAT_KEY, row);
    match number.try_into().map(u32::from_be_bytes) {
        Ok(number) if number > FORMAT => {
            Err(format!("it was written by a newer version of habeas (format {number}, here {FORMAT}): use that one"))
        }
        Ok(_) if right => Ok(()),
        _ => Err("the row format of commits was changed on disk".to_owned()),
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
            self.write(batch)?;
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

    fn export(&self, tables: &[Table], sink: &mut dyn Sink) -> Result<(), MintError> {
        let snapshot = self.database.snapshot();
        let commit = snapshot.get(&self.commit_numbers, LAST_COMMIT).map_err(|error| self.failed(error))?;
        let last_commit = Some(commit.map_or(Ok(0), |row| self.commit_number(&row))?);
        let last_event = self.event_number(snapshot.last_key_value(self.table(Table::Events)))?;
        if sink.begin(Moment { last_commit, last_event }).is_break() {
            return Ok(());
        }
        for table in tables {
            for item in snapshot.iter(self.table(*table)) {
                let (key, stored) = item.into_inner().map_err(|error| self.failed(error))?;
                let (value, right) = self.mac.open(table.name(), &key, &stored);
                if sink.row(*table, &key, value, right).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }

    fn condition(&self) -> Result<Condition, MintError> {
        let rows = Table::ALL.iter().map(|table| (*table, Some(self.table(*table).approximate_len() as u64))).collect();
        Ok(Condition {
            bytes: self.database.disk_space().map_err(|error| self.failed(error))?,
            last_commit: Some(self.commits.load(Ordering::Relaxed)),
            rows,
        })
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
        self.event_number(self.table(Table::Events).last_key_value())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A store in a folder of its own, with a format row of this number and MAC key.
    fn with_format(format: u32, mac: Option<RowMac>) -> (tempfile::TempDir, MintSeed) {
        let folder = tempfile::tempdir().unwrap();
        let seed = MintSeed::open(&folder.path().join("mint.seed")).unwrap();
        let store = LsmStore::open(&folder.path().join("store"), &seed).unwrap();
        let row = mac.as_ref().unwrap_or(&store.mac).seal(COMMITS, FORMAT_KEY, &format.to_be_bytes());
        store.commit_numbers.insert(FORMAT_KEY, row).unwrap();
        store.database.persist(PersistMode::SyncAll).unwrap();
        (folder, seed)
    }

    fn reopened((folder, seed): (tempfile::TempDir, MintSeed)) -> Result<(), String> {
        LsmStore::open(&folder.path().join("store"), &seed).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_store_of_a_newer_format_is_refused_and_a_changed_one_is_named() {
        assert_eq!(reopened(with_format(FORMAT, None)), Ok(()));
        let newer = reopened(with_format(FORMAT + 1, None)).unwrap_err();
        assert!(newer.contains("newer version") && newer.contains("format 2"), "{newer}");
        // A newer version may keep its MACs in another way.
        let other = tempfile::tempdir().unwrap();
        let stranger = RowMac::new(&MintSeed::open(&other.path().join("seed")).unwrap()).unwrap();
        assert!(reopened(with_format(FORMAT + 1, Some(stranger.clone()))).unwrap_err().contains("newer version"));
        assert!(reopened(with_format(FORMAT, Some(stranger))).unwrap_err().contains("changed on disk"));
    }

    #[test]
    fn a_store_from_before_formats_had_numbers_is_of_format_1() {
        let (folder, seed) = with_format(FORMAT, None);
        let store = LsmStore::open(&folder.path().join("store"), &seed).unwrap();
        store.commit_numbers.remove(FORMAT_KEY).unwrap();
        store.database.persist(PersistMode::SyncAll).unwrap();
        drop(store);
        let store = LsmStore::open(&folder.path().join("store"), &seed).unwrap();
        let row = store.commit_numbers.get(FORMAT_KEY).unwrap().expect("written at the next start");
        assert_eq!(store.mac.open(COMMITS, FORMAT_KEY, &row), (&1u32.to_be_bytes()[..], true));
    }
}
