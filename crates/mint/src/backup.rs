//! Backups: everything that a mint's store holds at one moment, as one stream; and the way back, into either store.
//!
//! ```text
//! {"habeas-mint-backup":1,"mint":…,"made_at":…,…,"tables":["spent",…]}⏎     the header: one line of JSON
//! R table key-length key value-length value                                a row; the same for all rows
//! E{"rows":{"spent":…,…}}⏎                                                 the end: how many rows each table has
//! 64 hex digits⏎                                                           HMAC-SHA256 over all bytes before them
//! ```
//!
//! `table` is one byte, a place in the header's list; lengths are big-endian, two bytes for a key and four for a value. Rows come
//! table by table in the order of [`Header::tables`], within a table in the order of their keys, events under their numbers. A
//! value is a row's contents: how a row is sealed is each store's own affair. `F` and a sentence instead of a row or the end say
//! why there is no more.
//!
//! The MAC's key comes from the mint's seed, so a backup that was cut, changed or made of another mint is noticed. The seed is not
//! in it, nor any key: it is kept apart. A row whose own MAC is wrong is not backed up, since it would get a right one when it is
//! restored: the backup is refused.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::audit::{self, MintAudit};
use crate::keysets::{KeysetRecord, KeysetTable, MintSeed};
use crate::store::lsm::LsmStore;
use crate::store::postgres::PostgresStore;
use crate::store::{Moment, Sink, Store, StoreKind, Table};
use crate::{Mint, MintError};

/// The version of the format that is written, and the newest that is read.
const FORMAT: u32 = 1;
/// The longest header or end that is read; they have some hundred bytes.
const LINE_MAX_LEN: u64 = 4_096;
/// The longest value that is read: what a store takes in a row comes from one request, which has at most this.
const VALUE_MAX_LEN: u32 = 1024 * 1024;

/// What every backup begins with.
const BEGIN: &[u8] = b"{\"habeas-mint-backup\":";
/// A row follows.
const ROW: u8 = b'R';
/// The end follows.
const END: u8 = b'E';
/// The reason why there is no more follows.
const FAILED: u8 = b'F';

/// Why there is no backup, or none that can be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("this is not a backup of a mint")]
    NotABackup,
    /// Written in a format that is not known here.
    #[error("the backup was written by a newer version of habeas (format {0}, here {FORMAT}): use that one")]
    Newer(u64),
    /// Of another mint, or the wrong seed.
    #[error(
        "the backup is of mint {backup} and the seed is mint {seed}'s: take the seed that was kept with this backup's mint"
    )]
    Foreign {
        /// Whose backup it is.
        backup: String,
        /// Whose seed it is.
        seed: String,
    },
    /// It ends before its end.
    #[error("the backup is cut off: it ends in the middle; take another one")]
    Cut,
    /// It is not what was written.
    #[error("the backup was changed after it was made: {0}; take another one")]
    Damaged(String),
    /// Whoever made it could not go on.
    #[error("the backup was not finished: {0}")]
    Unfinished(String),
    /// A row of the store is not what was stored.
    #[error("a row of {} was changed on disk, so there is no backup: `habeas audit` names it", .0.name())]
    ChangedRow(Table),
    /// The rows do not add up.
    #[error("the backup's rows do not balance: {}", .0.join("; "))]
    Unbalanced(Vec<String>),
    /// The database has a mint.
    #[error("the database has rows of a mint already: give an empty one")]
    Occupied,
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] MintError),
    /// The stream can't be read or written.
    #[error("{0}")]
    Stream(#[from] io::Error),
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    #[serde(rename = "habeas-mint-backup")]
    pub format: u32,
    /// Whose: see [`mint_id`].
    pub mint: String,
    /// Unix time, just before the moment that the rows are of.
    pub made_at: u64,
    /// Where the rows lay.
    pub store: StoreKind,
    /// Whether the mint's money is worth nothing.
    pub sandbox: bool,
    /// The number of the last commit in it, where the store counts them.
    pub last_commit: Option<u64>,
    /// The number of the last event in it that the treasury may have read.
    pub last_event: u64,
    /// The tables, in order.
    pub tables: Vec<String>,
}

/// The end of a backup.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    rows: BTreeMap<String, u64>,
}

/// What a backup holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// What it says of itself.
    pub header: Header,
    /// How many rows each table has.
    pub rows: BTreeMap<String, u64>,
}

impl Contents {
    /// How many rows it has in all.
    pub fn row_count(&self) -> u64 {
        self.rows.values().sum()
    }
}

/// A row of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRow {
    /// The table.
    pub table: Table,
    /// The key; of an event, its number.
    pub key: Vec<u8>,
    /// The contents.
    pub value: Vec<u8>,
}

/// Gives a backup's rows, and `None` only when all of it was found right.
pub type NextRow<'a> = &'a mut dyn FnMut() -> Result<Option<BackupRow>, BackupError>;

/// The name of a mint, for its seed and its backups alike: the seed's fingerprint.
pub fn mint_id(seed: &MintSeed) -> String {
    hex::encode(seed.fingerprint())
}

fn mac_of(seed: &MintSeed) -> Result<Hmac<Sha256>, MintError> {
    let key = seed.derive("habeas mint backup mac v1", &[])?;
    Ok(Hmac::new_from_slice(&*key).expect("HMAC takes a key of any length"))
}

impl Mint {
    /// Writes a backup of this mint; it goes on meanwhile.
    ///
    /// # Errors
    /// As [`write`].
    pub fn back_up(&self, out: &mut dyn Write) -> Result<Contents, BackupError> {
        write(self.store(), self.seed(), self.unix_now(), self.options().sandbox, out)
    }
}

/// Writes a backup of a store, as it is at one moment after `now`.
///
/// # Errors
/// When the store can't be read, a row of it was changed on disk, or `out` can't be written.
pub fn write(
    store: &dyn Store,
    seed: &MintSeed,
    now: u64,
    sandbox: bool,
    out: &mut dyn Write,
) -> Result<Contents, BackupError> {
    let header = Header {
        format: FORMAT,
        mint: mint_id(seed),
        made_at: now,
        store: store.kind(),
        sandbox,
        last_commit: None,
        last_event: 0,
        tables: audit::ORDER.iter().map(|table| table.name().to_owned()).collect(),
    };
    let mut writer =
        Writer { out, mac: mac_of(seed)?, contents: Contents { header, rows: BTreeMap::new() }, failed: None };
    let read = store.export(&audit::ORDER, &mut writer);
    let finished = match (writer.failed.take(), read) {
        (Some(failed), _) => Err(failed),
        (None, Err(failed)) => Err(failed.into()),
        (None, Ok(())) => writer.finish(),
    };
    match finished {
        Ok(()) => Ok(writer.contents),
        Err(failed) => {
            // Whoever reads the stream is told, if it is still there.
            if !matches!(failed, BackupError::Stream(_)) {
                writeln!(writer.out, "{}{failed}", char::from(FAILED))?;
                writer.out.flush()?;
            }
            Err(failed)
        }
    }
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    mac: Hmac<Sha256>,
    contents: Contents,
    failed: Option<BackupError>,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.mac.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), BackupError> {
        let mut line = serde_json::to_vec(line).expect("plain data");
        line.push(b'\n');
        self.put(&line)
    }

    fn put_row(&mut self, table: Table, key: &[u8], value: &[u8], intact: bool) -> Result<(), BackupError> {
        let too_long = || BackupError::ChangedRow(table);
        if !intact || value.len() > VALUE_MAX_LEN as usize {
            return Err(too_long());
        }
        let place = audit::ORDER.iter().position(|known| *known == table).expect("all tables are in the order");
        let key_len = u16::try_from(key.len()).map_err(|_| too_long())?;
        self.put(&[ROW, place as u8])?;
        self.put(&key_len.to_be_bytes())?;
        self.put(key)?;
        self.put(&(value.len() as u32).to_be_bytes())?;
        self.put(value)?;
        *self.contents.rows.entry(table.name().to_owned()).or_default() += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BackupError> {
        self.put(&[END])?;
        self.line(&End { rows: self.contents.rows.clone() })?;
        let mac = hex::encode(self.mac.clone().finalize().into_bytes());
        writeln!(self.out, "{mac}")?;
        Ok(self.out.flush()?)
    }

    fn keep(&mut self, result: Result<(), BackupError>) -> ControlFlow<()> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl Sink for Writer<'_> {
    fn begin(&mut self, moment: Moment) -> ControlFlow<()> {
        let header = &mut self.contents.header;
        (header.last_commit, header.last_event) = (moment.last_commit, moment.last_event);
        let header = header.clone();
        let begun = self.line(&header);
        self.keep(begun)
    }

    fn row(&mut self, table: Table, key: &[u8], value: &[u8], intact: bool) -> ControlFlow<()> {
        let put = self.put_row(table, key, value, intact);
        self.keep(put)
    }
}

/// Reads a backup, row by row. What it gives is certain only when the last row was given and `None` came after it.
pub struct Reader<R> {
    input: R,
    mac: Hmac<Sha256>,
    tables: Vec<Table>,
    contents: Contents,
    /// Place and key of the row before.
    last: Option<(usize, Vec<u8>)>,
}

impl<R: BufRead> Reader<R> {
    /// Begins to read a backup of the mint that has this seed.
    ///
    /// # Errors
    /// When it is no backup, one of another mint, or one of a newer format.
    pub fn open(mut input: R, seed: &MintSeed) -> Result<Self, BackupError> {
        let mut line = Vec::new();
        input.by_ref().take(LINE_MAX_LEN).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(BackupError::Cut);
        }
        let header: serde_json::Value = match serde_json::from_slice(&line) {
            Ok(header) => header,
            Err(_) if !line.ends_with(b"\n") && (line.starts_with(BEGIN) || BEGIN.starts_with(&line)) => {
                return Err(BackupError::Cut);
            }
            Err(_) => return Err(BackupError::NotABackup),
        };
        match header["habeas-mint-backup"].as_u64() {
            None => return Err(BackupError::NotABackup),
            Some(format) if format > u64::from(FORMAT) => return Err(BackupError::Newer(format)),
            Some(_) => {}
        }
        let unclear = || BackupError::Damaged("its header can't be read".into());
        let header: Header = serde_json::from_value(header).map_err(|_| unclear())?;
        let table = |name: &String| Table::ALL.into_iter().find(|table| table.name() == name);
        let tables: Vec<Table> = header.tables.iter().map(table).collect::<Option<_>>().ok_or_else(unclear)?;
        let own = mint_id(seed);
        if header.mint != own {
            return Err(BackupError::Foreign { backup: header.mint, seed: own });
        }
        let mut mac = mac_of(seed)?;
        mac.update(&line);
        Ok(Reader { input, mac, tables, contents: Contents { header, rows: BTreeMap::new() }, last: None })
    }

    /// What the backup says of itself. Not certain before its end was read.
    pub fn header(&self) -> &Header {
        &self.contents.header
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Cut,
            _ => BackupError::Stream(error),
        })?;
        Ok(bytes)
    }

    /// The same, of what the MAC covers.
    fn covered<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], BackupError> {
        let bytes = self.take(LENGTH)?;
        self.mac.update(&bytes);
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    fn line(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut line = Vec::new();
        self.input.by_ref().take(LINE_MAX_LEN).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') { Ok(line) } else { Err(BackupError::Cut) }
    }

    /// The next row; `None` when the end was reached and all of it was found right.
    ///
    /// # Errors
    /// When the backup is cut off or was changed.
    pub fn next_row(&mut self) -> Result<Option<BackupRow>, BackupError> {
        match self.covered::<1>()? {
            [ROW] => self.row().map(Some),
            [END] => self.end().map(|()| None),
            [FAILED] => {
                let told = self.line()?;
                Err(BackupError::Unfinished(String::from_utf8_lossy(&told).trim_end().to_owned()))
            }
            _ => Err(BackupError::Damaged("a row begins with another byte than rows do".into())),
        }
    }

    fn row(&mut self) -> Result<BackupRow, BackupError> {
        let [place] = self.covered::<1>()?;
        let place = usize::from(place);
        let damaged = |told: &str| BackupError::Damaged(told.into());
        let table = *self.tables.get(place).ok_or_else(|| damaged("a row is of a table that there is not"))?;
        let key_len = u16::from_be_bytes(self.covered()?);
        let key = self.take(key_len.into())?;
        self.mac.update(&key);
        let value_len = u32::from_be_bytes(self.covered()?);
        if value_len > VALUE_MAX_LEN {
            return Err(damaged("a row is longer than rows are"));
        }
        let value = self.take(value_len as usize)?;
        self.mac.update(&value);
        if self.last.as_ref().is_some_and(|last| (last.0, &last.1) >= (place, &key)) {
            return Err(damaged("its rows are not in order"));
        }
        self.last = Some((place, key.clone()));
        *self.contents.rows.entry(table.name().to_owned()).or_default() += 1;
        Ok(BackupRow { table, key, value })
    }

    fn end(&mut self) -> Result<(), BackupError> {
        let line = self.line()?;
        self.mac.update(&line);
        let mac = self.take(64)?;
        let right = hex::decode(&mac).is_ok_and(|mac| self.mac.clone().verify_slice(&mac).is_ok());
        if !right || mac.iter().any(u8::is_ascii_uppercase) {
            return Err(BackupError::Damaged("its MAC is wrong".into()));
        }
        let end: Option<End> = serde_json::from_slice(&line).ok();
        if end.is_none_or(|end| end.rows != self.contents.rows) {
            return Err(BackupError::Damaged("it has not as many rows as its end says".into()));
        }
        if self.take(1)? != *b"\n" || !self.input.fill_buf()?.is_empty() {
            return Err(BackupError::Damaged("something was added after its end".into()));
        }
        Ok(())
    }
}

/// Reads a backup to its end and finds it whole, unchanged and this mint's.
///
/// # Errors
/// When it is not.
pub fn check(input: impl BufRead, seed: &MintSeed) -> Result<Contents, BackupError> {
    let mut reader = Reader::open(input, seed)?;
    while reader.next_row()?.is_some() {}
    Ok(reader.contents)
}

/// The same, and audits its rows: what a store made of it would say of itself.
///
/// # Errors
/// When it is not right, or its rows do not balance.
pub fn check_and_audit(input: impl BufRead, seed: &MintSeed) -> Result<(Contents, MintAudit), BackupError> {
    let mut reader = Reader::open(input, seed)?;
    let mut rows = audit::Reader::new(u64::MAX);
    let mut keysets = Vec::new();
    while let Some(row) = reader.next_row()? {
        rows.row(row.table, &row.key, &row.value, true);
        if row.table == Table::Keysets {
            keysets.extend(serde_json::from_slice::<KeysetRecord>(&row.value));
        }
    }
    let keysets = KeysetTable::default().of_records(seed, keysets)?;
    let audit = rows.finish(&keysets);
    if !audit.problems.is_empty() {
        return Err(BackupError::Unbalanced(audit.problems));
    }
    Ok((reader.contents, audit))
}

/// Where a backup is restored to.
#[derive(Clone, Debug)]
pub enum Place {
    /// The folder of an embedded store, which must not be there.
    Folder(PathBuf),
    /// The address of a database, which must have no rows.
    Database(String),
}

/// Makes a store of a backup, and audits it. After an error a database is as it was, and a folder of no use.
///
/// # Errors
/// When the backup is not right, the place can't be written, or the rows that were written do not balance.
pub fn restore(input: impl BufRead, seed: &MintSeed, place: &Place) -> Result<MintAudit, BackupError> {
    let mut reader = Reader::open(input, seed)?;
    let mut next = || reader.next_row();
    let store: Box<dyn Store> = match place {
        Place::Folder(folder) => {
            LsmStore::restore(folder, seed, &mut next)?;
            Box::new(LsmStore::open(folder, seed)?)
        }
        Place::Database(address) => {
            PostgresStore::restore(address, seed, &mut next)?;
            Box::new(PostgresStore::open(address, seed)?)
        }
    };
    let audit = audit::of_store(&*store, &store.keyset_table(seed)?, u64::MAX)?;
    if !audit.problems.is_empty() {
        return Err(BackupError::Unbalanced(audit.problems));
    }
    Ok(audit)
}
