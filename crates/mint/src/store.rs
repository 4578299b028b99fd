//! The store: what was spent, what was signed, quotes and events, in an LSM tree (fjall).
//!
//! One interface, [`Store::commit`]: a batch of changes goes in, each is accepted or refused in order (against the store and against
//! the changes before it in the batch), and one synced write makes the accepted ones durable. Only the committer thread calls it,
//! so what it reads can't change before it writes.
//!
//! Each value ends with a MAC over its place and contents, so that the audit names a row that was changed on disk.
//!
//! After a crash the LSM's journal is read up to the first record that is not whole, and cut there. A torn last record is what a
//! crash leaves; a record that was damaged later would be cut off in the same way, and with it spent tokens. So each commit
//! carries its number, and the number of the last one that was answered stands in the file `commits` beside the store: a store
//! that opens with fewer is refused.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cashu::messages::{MeltQuoteState, MintQuoteState};
use cashu::{Amount, ErrorCode, Point, Unit};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::keysets::{KeysetRecord, MintSeed};
use crate::{MintError, MintEvent};

/// Bytes of MAC in a value. 64 bits: a forger has one try a row and is found at the first miss.
const MAC_LEN: usize = 8;

/// The key of the one row of [`Table::Commits`].
const LAST_COMMIT: &[u8] = b"last";

/// How a mint quote comes to be paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A programme orders it.
    #[default]
    Entitlement,
    /// Anybody asks for it, and nobody pays: worthless, for tests.
    Sandbox,
}

/// A mint quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuote {
    /// Its method.
    #[serde(default)]
    pub method: Method,
    /// How much.
    pub amount: Amount,
    /// The unit.
    pub unit: Unit,
    /// The key that must sign (NUT-20). An entitlement always has one.
    pub pubkey: Option<Point>,
    /// Paid, or issued.
    pub state: MintQuoteState,
}

/// A melt quote of the method `settlement`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeltQuote {
    /// Into whose balance.
    pub merchant: String,
    /// How much.
    pub amount: Amount,
    /// The unit.
    pub unit: Unit,
    /// Unix time after which it can't be used.
    pub expiry: u64,
    /// Unpaid, or paid.
    pub state: MeltQuoteState,
}

/// A token or an output as a row: its point is the key, this is the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The keyset's number.
    pub keyset: u16,
    /// n for an amount of 2ⁿ.
    pub exponent: u8,
}

impl TokenRow {
    fn encode(self) -> [u8; 3] {
        let [high, low] = self.keyset.to_be_bytes();
        [high, low, self.exponent]
    }

    /// Reads a row's contents.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [high, low, exponent] = bytes.try_into().ok()?;
        Some(TokenRow { keyset: u16::from_be_bytes([high, low]), exponent })
    }
}

/// A point and its row.
pub type Row = (Point, TokenRow);

/// A change that the rules have passed: what is left to decide is what the store knows.
#[derive(Clone, Debug)]
pub enum Change {
    /// Spend and sign.
    Swap {
        /// `Y` of each input.
        inputs: Vec<Row>,
        /// The witnesses of inputs.
        witnesses: Vec<(Point, String)>,
        /// `B_` of each output.
        outputs: Vec<Row>,
    },
    /// Mint quotes: all of them, or none.
    Mint {
        /// The quotes.
        quotes: Vec<String>,
        /// `B_` of each output.
        outputs: Vec<Row>,
    },
    /// Redeem.
    Melt {
        /// The quote.
        quote: String,
        /// `Y` of each input.
        inputs: Vec<Row>,
        /// The witnesses of inputs.
        witnesses: Vec<(Point, String)>,
    },
    /// A new mint quote.
    Order {
        /// Its id.
        id: String,
        /// The quote.
        quote: MintQuote,
    },
    /// A merchant's quote.
    MeltQuote {
        /// Its id.
        id: String,
        /// The quote.
        quote: MeltQuote,
    },
    /// A keyset that was announced.
    Keyset(KeysetRecord),
}

/// The tables. Their names are part of each row's MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// `Y` → token.
    Spent,
    /// `B_` → token.
    Signed,
    /// Id → mint quote.
    MintQuotes,
    /// Id → melt quote.
    MeltQuotes,
    /// Number → keyset.
    Keysets,
    /// Sequence number → event.
    Events,
    /// One row: the number of the last commit.
    Commits,
    /// `Y` → the witness that a locked token was spent with.
    Witnesses,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 8] = [
        Table::Spent,
        Table::Signed,
        Table::MintQuotes,
        Table::MeltQuotes,
        Table::Keysets,
        Table::Events,
        Table::Commits,
        Table::Witnesses,
    ];

    /// The name on disk and in the audit's sentences.
    pub fn name(self) -> &'static str {
        match self {
            Table::Spent => "spent",
            Table::Signed => "signed",
            Table::MintQuotes => "mint-quotes",
            Table::MeltQuotes => "melt-quotes",
            Table::Keysets => "keysets",
            Table::Events => "events",
            Table::Commits => "commits",
            Table::Witnesses => "witnesses",
        }
    }
}

/// The store. Reads may come from any thread; `commit` from the committer alone.
pub struct Store {
    folder: String,
    database: Database,
    tables: Vec<Keyspace>,
    mac_key: [u8; 32],
    /// The number of the last commit. Changed by `commit` alone.
    commits: AtomicU64,
    /// The file with the number of the last commit that was answered.
    answered: File,
}

impl Store {
    /// Opens the store in a folder, or makes one.
    ///
    /// # Errors
    /// When the folder can't be used, the files are damaged, or commits that were answered are missing.
    pub fn open(folder: &Path, seed: &MintSeed) -> Result<Self, MintError> {
        let name = folder.display().to_string();
        let failed = |error: fjall::Error| MintError::Store { folder: name.clone(), detail: error.to_string() };
        let database = Database::builder(folder).open().map_err(failed)?;
        let open = |table: &Table| database.keyspace(table.name(), KeyspaceCreateOptions::default).map_err(failed);
        let tables = Table::ALL.iter().map(open).collect::<Result<_, _>>()?;
        let mac_key = seed.derive("habeas mint row mac v1", &[]);
        let io_failed = |error: std::io::Error| MintError::Store { folder: name.clone(), detail: error.to_string() };
        let answered = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.with_extension("commits"))
            .map_err(io_failed)?;
        let store = Store { folder: name, database, tables, mac_key, commits: AtomicU64::new(0), answered };
        let kept = store.get(Table::Commits, LAST_COMMIT)?.and_then(|row| row.try_into().ok()).map(u64::from_be_bytes);
        let (kept, answered) = (kept.unwrap_or(0), store.last_answered());
        if kept < answered {
            return Err(store.failed(format!(
                "it ends at commit {kept} and {answered} were answered, so its journal is damaged: restore the folder from a \
                 backup that has them"
            )));
        }
        store.commits.store(kept, Ordering::Relaxed);
        Ok(store)
    }

    /// The number of the last commit that was answered. The file is not synced, so after a power loss it may be behind or torn;
    /// then it says nothing.
    fn last_answered(&self) -> u64 {
        let mut row = [0; 8 + MAC_LEN];
        let whole = self.answered.read_exact_at(&mut row, 0).is_ok();
        let (number, mac) = row.split_at(8);
        let right = whole && mac == self.mac(Table::Commits, b"answered", number);
        if right { number.try_into().map(u64::from_be_bytes).unwrap_or(0) } else { 0 }
    }

    fn write_answered(&self, number: u64) -> std::io::Result<()> {
        let number = number.to_be_bytes();
        let mac = self.mac(Table::Commits, b"answered", &number);
        self.answered.write_all_at(&[&number[..], &mac].concat(), 0)
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    fn failed(&self, error: impl ToString) -> MintError {
        MintError::Store { folder: self.folder.clone(), detail: error.to_string() }
    }

    fn mac(&self, table: Table, key: &[u8], value: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.mac_key).expect("HMAC takes a key of any length");
        mac.update(table.name().as_bytes());
        mac.update(&(key.len() as u64).to_be_bytes());
        mac.update(key);
        mac.update(value);
        let digest = mac.finalize().into_bytes();
        digest[..MAC_LEN].try_into().expect("8 of 32 bytes")
    }

    fn put(&self, batch: &mut OwnedWriteBatch, table: Table, key: &[u8], value: &[u8]) {
        let mut sealed = value.to_vec();
        sealed.extend(self.mac(table, key, value));
        batch.insert(self.table(table), key, sealed);
    }

    fn put_json(&self, batch: &mut OwnedWriteBatch, table: Table, key: &[u8], value: &impl Serialize) {
        self.put(batch, table, key, &serde_json::to_vec(value).expect("a row is plain data"));
    }

    /// A row's contents; the MAC is for the audit.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, MintError> {
        let value = self.table(table).get(key).map_err(|error| self.failed(error))?;
        Ok(value.map(|value| value[..value.len().saturating_sub(MAC_LEN)].to_vec()))
    }

    fn get_json<Value: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<Value>, MintError> {
        let Some(bytes) = self.get(table, key)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| self.failed(format!("a row of {} is damaged", table.name())))
    }

    /// A programme's quote.
    pub fn mint_quote(&self, id: &str) -> Result<Option<MintQuote>, MintError> {
        self.get_json(Table::MintQuotes, id.as_bytes())
    }

    /// A merchant's quote.
    pub fn melt_quote(&self, id: &str) -> Result<Option<MeltQuote>, MintError> {
        self.get_json(Table::MeltQuotes, id.as_bytes())
    }

    /// The witness that a token was spent with, if it was locked.
    pub fn witness(&self, y: &Point) -> Result<Option<String>, MintError> {
        let row = self.get(Table::Witnesses, &y.to_bytes())?;
        Ok(row.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether a token is spent.
    pub fn is_spent(&self, y: &Point) -> Result<bool, MintError> {
        Ok(self.get(Table::Spent, &y.to_bytes())?.is_some())
    }

    /// What an output was signed for, if it was.
    pub fn signed(&self, blinded: &Point) -> Result<Option<TokenRow>, MintError> {
        Ok(self.get(Table::Signed, &blinded.to_bytes())?.and_then(|bytes| TokenRow::decode(&bytes)))
    }

    /// All keysets, by number.
    pub fn keysets(&self) -> Result<Vec<KeysetRecord>, MintError> {
        let mut records = Vec::new();
        self.scan(Table::Keysets, |_, value, _| {
            if let Ok(record) = serde_json::from_slice(value) {
                records.push(record);
            }
        })?;
        Ok(records)
    }

    /// Events after number `cursor`, each with its number (1, 2, 3, …), at most `limit`.
    pub fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, MintEvent)>, MintError> {
        let mut events = Vec::new();
        for item in self.table(Table::Events).range((cursor + 1).to_be_bytes()..).take(limit) {
            let (key, value) = item.into_inner().map_err(|error| self.failed(error))?;
            let damaged = || self.failed("a row of events is damaged");
            let number = u64::from_be_bytes(key.as_ref().try_into().map_err(|_| damaged())?);
            let body = &value[..value.len().saturating_sub(MAC_LEN)];
            events.push((number, serde_json::from_slice(body).map_err(|_| damaged())?));
        }
        Ok(events)
    }

    /// Visits each row of a table: key, contents, and whether the MAC is right.
    pub fn scan(&self, table: Table, mut visit: impl FnMut(&[u8], &[u8], bool)) -> Result<(), MintError> {
        for item in self.table(table).iter() {
            let (key, value) = item.into_inner().map_err(|error| self.failed(error))?;
            let (body, mac) = value.split_at(value.len().saturating_sub(MAC_LEN));
            visit(&key, body, mac == self.mac(table, &key, body));
        }
        Ok(())
    }

    /// The number of the last event.
    pub fn last_event(&self) -> Result<u64, MintError> {
        let Some(last) = self.table(Table::Events).last_key_value() else { return Ok(0) };
        let (key, _) = last.into_inner().map_err(|error| self.failed(error))?;
        key.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| self.failed("a row of events is damaged"))
    }

    /// Writes a row's raw value, MAC and all. For the test that plays a thief with a disk editor.
    #[doc(hidden)]
    pub fn overwrite_raw(&self, table: Table, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Result<(), MintError> {
        let value = self.table(table).get(key).map_err(|error| self.failed(error))?;
        let mut value = value.map(|value| value.to_vec()).unwrap_or_default();
        change(&mut value);
        self.table(table).insert(key, value).map_err(|error| self.failed(error))?;
        self.database.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))
    }

    /// Decides a batch of changes in order and makes the accepted ones durable, in one synced write.
    ///
    /// # Errors
    /// When the store can't be read or written: then no change of the batch may be answered as done.
    pub fn commit(&self, changes: &[Change]) -> Result<Vec<Result<(), ErrorCode>>, MintError> {
        let mut pass = Pass {
            store: self,
            batch: self.database.batch().durability(Some(PersistMode::SyncAll)),
            points: HashSet::new(),
            mint_quotes: HashMap::new(),
            melt_quotes: HashMap::new(),
            next_event: self.last_event()? + 1,
        };
        let outcomes = changes.iter().map(|change| pass.decide(change)).collect::<Result<Vec<_>, _>>()?;
        if !pass.batch.is_empty() {
            let number = self.commits.load(Ordering::Relaxed) + 1;
            self.put(&mut pass.batch, Table::Commits, LAST_COMMIT, &number.to_be_bytes());
            pass.batch.commit().map_err(|error| self.failed(error))?;
            self.commits.store(number, Ordering::Relaxed);
            self.write_answered(number).map_err(|error| self.failed(error))?;
        }
        Ok(outcomes)
    }
}

/// One pass over a batch: what it will write, and what earlier changes of it have taken.
struct Pass<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
    /// Spent and signed points of this batch.
    points: HashSet<(Table, Point)>,
    mint_quotes: HashMap<String, MintQuote>,
    melt_quotes: HashMap<String, MeltQuote>,
    next_event: u64,
}

impl Pass<'_> {
    fn decide(&mut self, change: &Change) -> Result<Result<(), ErrorCode>, MintError> {
        match change {
            Change::Swap { inputs, witnesses, outputs } => {
                if let Some(code) = self.taken(inputs, outputs)? {
                    return Ok(Err(code));
                }
                self.take(Table::Spent, inputs);
                self.keep_witnesses(witnesses);
                self.take(Table::Signed, outputs);
            }
            Change::Mint { quotes: ids, outputs } => {
                let mut quotes = Vec::with_capacity(ids.len());
                for id in ids {
                    let Some(quote) = self.mint_quote(id)? else { return Ok(Err(ErrorCode::QuoteNotPaid)) };
                    if quote.state == MintQuoteState::Issued {
                        return Ok(Err(ErrorCode::QuoteIssued));
                    }
                    quotes.push((id, quote));
                }
                if let Some(code) = self.taken(&[], outputs)? {
                    return Ok(Err(code));
                }
                self.take(Table::Signed, outputs);
                for (id, quote) in quotes {
                    // The treasury has no books for what is worth nothing.
                    if quote.method == Method::Entitlement {
                        let (unit, amount) = (quote.unit.clone(), quote.amount);
                        self.event(&MintEvent::Issued { quote: id.clone(), unit, amount });
                    }
                    self.put_mint_quote(id, MintQuote { state: MintQuoteState::Issued, ..quote });
                }
            }
            Change::Melt { quote: id, inputs, witnesses } => {
                let Some(quote) = self.melt_quote(id)? else { return Ok(Err(ErrorCode::QuoteNotPaid)) };
                if quote.state == MeltQuoteState::Paid {
                    return Ok(Err(ErrorCode::AlreadyPaid));
                }
                if let Some(code) = self.taken(inputs, &[])? {
                    return Ok(Err(code));
                }
                self.take(Table::Spent, inputs);
                self.keep_witnesses(witnesses);
                self.event(&MintEvent::Redeemed {
                    quote: id.clone(),
                    merchant: quote.merchant.clone(),
                    unit: quote.unit.clone(),
                    amount: quote.amount,
                });
                self.put_melt_quote(id, MeltQuote { state: MeltQuoteState::Paid, ..quote });
            }
            Change::Order { id, quote } => match self.mint_quote(id)? {
                None => self.put_mint_quote(id, quote.clone()),
                // Ordered before: the same order is no news, another one under its id is refused.
                Some(known) if MintQuote { state: quote.state, ..known.clone() } == *quote => {}
                Some(_) => return Ok(Err(ErrorCode::QuoteIssued)),
            },
            Change::MeltQuote { id, quote } => self.put_melt_quote(id, quote.clone()),
            Change::Keyset(record) => {
                self.store.put_json(&mut self.batch, Table::Keysets, &record.number.to_be_bytes(), record);
            }
        }
        Ok(Ok(()))
    }

    /// Why inputs or outputs can't be taken, if they can't.
    fn taken(&self, inputs: &[Row], outputs: &[Row]) -> Result<Option<ErrorCode>, MintError> {
        for (table, rows, code) in
            [(Table::Spent, inputs, ErrorCode::ProofsSpent), (Table::Signed, outputs, ErrorCode::OutputsSigned)]
        {
            for (point, _) in rows {
                if self.points.contains(&(table, *point)) || self.store.get(table, &point.to_bytes())?.is_some() {
                    return Ok(Some(code));
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, table: Table, rows: &[Row]) {
        for (point, row) in rows {
            self.points.insert((table, *point));
            self.store.put(&mut self.batch, table, &point.to_bytes(), &row.encode());
        }
    }

    fn keep_witnesses(&mut self, witnesses: &[(Point, String)]) {
        for (y, witness) in witnesses {
            self.store.put(&mut self.batch, Table::Witnesses, &y.to_bytes(), witness.as_bytes());
        }
    }

    fn event(&mut self, event: &MintEvent) {
        self.store.put_json(&mut self.batch, Table::Events, &self.next_event.to_be_bytes(), event);
        self.next_event += 1;
    }

    fn mint_quote(&self, id: &str) -> Result<Option<MintQuote>, MintError> {
        self.mint_quotes.get(id).map_or_else(|| self.store.mint_quote(id), |quote| Ok(Some(quote.clone())))
    }

    fn melt_quote(&self, id: &str) -> Result<Option<MeltQuote>, MintError> {
        self.melt_quotes.get(id).map_or_else(|| self.store.melt_quote(id), |quote| Ok(Some(quote.clone())))
    }

    fn put_mint_quote(&mut self, id: &str, quote: MintQuote) {
        self.store.put_json(&mut self.batch, Table::MintQuotes, id.as_bytes(), &quote);
        self.mint_quotes.insert(id.to_owned(), quote);
    }

    fn put_melt_quote(&mut self, id: &str, quote: MeltQuote) {
        self.store.put_json(&mut self.batch, Table::MeltQuotes, id.as_bytes(), &quote);
        self.melt_quotes.insert(id.to_owned(), quote);
    }
}
