//! The store: what was spent, what was signed, quotes, events.
//!
//! Every change is a set of *new rows*, and is accepted exactly when none of its keys is there yet: a token is spent by a row under
//! its `Y`, a quote is issued by a row under its id, and no row is ever changed. So a store needs one operation,
//! [`Store::commit`]: a batch of changes goes in, each is accepted or refused in order (against the store and against the changes
//! before it), and one synced write makes the accepted ones durable. Two processes that race for a key need no lock: the database
//! lets one insert it.
//!
//! Two stores: [`lsm`] (embedded, the default) and [`postgres`] (for several mint processes on one database). The tests run on both.
//!
//! A store keeps the fingerprint of the seed that it was made with, and does not open with another: every row would look changed.
//!
//! Each value ends with a MAC over its place and contents, so that the audit names a row that was changed on disk.

pub mod lsm;
pub mod postgres;

use std::ops::ControlFlow;
use std::path::Path;

use cashu::{Amount, Point, Unit};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::engine::pool::Worked;
use crate::keysets::{ClosedKeyset, KeysetRecord, KeysetTable, MintSeed, SigningKeyset};
use crate::{MintError, MintEvent, SANDBOX_UNIT};

/// Bytes of MAC in a value. 64 bits: a forger has one try a row and is found at the first miss.
const MAC_LEN: usize = 8;

/// The tables. Their names are part of each row's MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// `Y` → token.
    Spent,
    /// `B_` → token.
    Signed,
    /// Id → mint quote.
    MintQuotes,
    /// Id of a mint quote → nothing: it was minted.
    Issued,
    /// Id → melt quote.
    MeltQuotes,
    /// Id of a melt quote → nothing: it was paid.
    Redeemed,
    /// Number → keyset.
    Keysets,
    /// `Y` → the witness that a locked token was spent with.
    Witnesses,
    /// Number → what a closed keyset came to.
    Closed,
    /// Number → event.
    Events,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 10] = [
        Table::Spent,
        Table::Signed,
        Table::MintQuotes,
        Table::Issued,
        Table::MeltQuotes,
        Table::Redeemed,
        Table::Keysets,
        Table::Witnesses,
        Table::Closed,
        Table::Events,
    ];

    /// The name on disk and in the audit's sentences.
    pub fn name(self) -> &'static str {
        match self {
            Table::Spent => "spent",
            Table::Signed => "signed",
            Table::MintQuotes => "mint_quotes",
            Table::Issued => "issued",
            Table::MeltQuotes => "melt_quotes",
            Table::Redeemed => "redeemed",
            Table::Keysets => "keysets",
            Table::Witnesses => "witnesses",
            Table::Closed => "closed",
            Table::Events => "events",
        }
    }
}

/// New rows that go in together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Table, key, value. In the order in which a refusal is looked for.
    pub rows: Vec<(Table, Vec<u8>, Vec<u8>)>,
    /// What the treasury is to hear, in order.
    pub events: Vec<MintEvent>,
}

/// What became of a change: done, or the table in which one of its keys was there already.
pub type Outcome = Result<(), Table>;

/// Is shown rows: table, key, contents, and whether the MAC is right.
pub type Visitor<'a> = &'a mut dyn FnMut(Table, &[u8], &[u8], bool);

/// What is known of a moment before its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The number of the last commit, where the store counts them: the embedded one does.
    pub last_commit: Option<u64>,
    /// The number of the last event that the treasury may have read.
    pub last_event: u64,
}

/// Is shown what a store holds at one moment, and may break off.
pub trait Sink {
    /// The moment. Comes first.
    fn begin(&mut self, moment: Moment) -> ControlFlow<()>;

    /// A row: table, key, contents, and whether the MAC is right.
    fn row(&mut self, table: Table, key: &[u8], value: &[u8], intact: bool) -> ControlFlow<()>;
}

/// The two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// [`lsm`].
    Embedded,
    /// [`postgres`].
    PostgreSql,
}

impl StoreKind {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::Embedded => "embedded",
            StoreKind::PostgreSql => "PostgreSQL",
        }
    }
}

/// How large a store is. Cheap to ask, however large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Bytes on disk.
    pub bytes: u64,
    /// The number of the last commit, where the store counts them.
    pub last_commit: Option<u64>,
    /// About how many rows each table has; `None` where the store has no idea yet.
    pub rows: Vec<(Table, Option<u64>)>,
}

/// Opens the store of the mint in a folder, or of a database.
///
/// # Errors
/// When it can't be used; see [`lsm::LsmStore::open`] and [`postgres::PostgresStore::open`].
pub fn open(mint: &Path, database: Option<&str>, seed: &MintSeed) -> Result<Box<dyn Store>, MintError> {
    Ok(match database {
        None => Box::new(lsm::LsmStore::open(&mint.join("store"), seed)?),
        Some(address) => Box::new(postgres::PostgresStore::open(address, seed)?),
    })
}

/// Where rows lie. Reads may come from any thread; `commit` from the committer alone.
pub trait Store: Send + Sync {
    /// Decides a batch of changes in order and makes the accepted ones durable, in one synced write.
    ///
    /// # Errors
    /// When the store can't be read or written: then no change of the batch may be answered as done. It may have been done all the
    /// same; whoever asks again is told.
    fn commit(&self, changes: &[Change]) -> Result<Vec<Outcome>, MintError>;

    /// Whether a commit may succeed after another one failed: a database that was out of reach comes back, but what a folder holds is
    /// known only after it is opened again.
    fn goes_on_after_failure(&self) -> bool;

    /// The values of some keys, in order.
    ///
    /// # Errors
    /// When the store can't be read.
    fn get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, MintError>;

    /// Visits each row of some tables, all as they are at one moment: table by table as asked, in the order of keys. Events are
    /// visited under their numbers (eight bytes, big-endian).
    ///
    /// # Errors
    /// When the store can't be read.
    fn scan(&self, tables: &[Table], visit: Visitor<'_>) -> Result<(), MintError> {
        self.export(tables, &mut All(visit))
    }

    /// Shows each row of some tables, as [`Store::scan`] does, with the moment that they are of; ends when the sink breaks off.
    ///
    /// # Errors
    /// When the store can't be read.
    fn export(&self, tables: &[Table], sink: &mut dyn Sink) -> Result<(), MintError>;

    /// Which one it is.
    fn kind(&self) -> StoreKind;

    /// How large it is.
    ///
    /// # Errors
    /// When the store can't be read.
    fn condition(&self) -> Result<Condition, MintError>;

    /// Events after number `cursor`, each with its number (1, 2, 3, …), at most `limit`.
    ///
    /// # Errors
    /// When the store can't be read.
    fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, MintEvent)>, MintError>;

    /// The number of the last event, 0 when there is none.
    ///
    /// # Errors
    /// When the store can't be read.
    fn last_event(&self) -> Result<u64, MintError>;

    /// Removes the rows of a closed keyset's tokens, with their witnesses; gives how many tokens there were. A second time there are
    /// none. Commits go on meanwhile: none of them has to do with these rows any more.
    ///
    /// # Errors
    /// When the store can't be written. Then some of the rows are left, and the next call removes them.
    fn drop_tokens(&self, keyset: u16) -> Result<u64, MintError>;

    /// Writes a row's raw value, MAC and all: for the tests that play a thief with a disk editor.
    ///
    /// # Errors
    /// When the store can't be written.
    #[doc(hidden)]
    fn overwrite_raw(&self, table: Table, key: &[u8], change: &dyn Fn(&mut Vec<u8>)) -> Result<(), MintError>;
}

/// A visitor that wants every row.
struct All<'a>(Visitor<'a>);

impl Sink for All<'_> {
    fn begin(&mut self, _: Moment) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn row(&mut self, table: Table, key: &[u8], value: &[u8], intact: bool) -> ControlFlow<()> {
        (self.0)(table, key, value, intact);
        ControlFlow::Continue(())
    }
}

/// The rows as what they mean.
impl dyn Store + '_ {
    fn one(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, MintError> {
        Ok(self.get(table, &[key])?.pop().flatten())
    }

    fn many<Key: AsRef<[u8]>>(&self, table: Table, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, MintError> {
        self.get(table, &keys.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// A mint quote.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn mint_quote(&self, id: &str) -> Result<Option<MintQuote>, MintError> {
        Ok(self.one(Table::MintQuotes, id.as_bytes())?.and_then(|row| serde_json::from_slice(&row).ok()))
    }

    /// Which of these mint quotes were minted.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn issued(&self, ids: &[&str]) -> Result<Vec<bool>, MintError> {
        Ok(self.many(Table::Issued, ids)?.iter().map(Option::is_some).collect())
    }

    /// A melt quote.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn melt_quote(&self, id: &str) -> Result<Option<MeltQuote>, MintError> {
        Ok(self.one(Table::MeltQuotes, id.as_bytes())?.and_then(|row| serde_json::from_slice(&row).ok()))
    }

    /// Whether a melt quote was paid.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn redeemed(&self, id: &str) -> Result<bool, MintError> {
        Ok(self.one(Table::Redeemed, id.as_bytes())?.is_some())
    }

    /// Which of these tokens are spent.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn spent(&self, ys: &[Point]) -> Result<Vec<bool>, MintError> {
        let keys: Vec<[u8; 33]> = ys.iter().map(|y| y.to_bytes()).collect();
        Ok(self.many(Table::Spent, &keys)?.iter().map(Option::is_some).collect())
    }

    /// What each of these outputs was signed for, if it was.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn signed(&self, blinded: &[Point]) -> Result<Vec<Option<TokenRow>>, MintError> {
        let keys: Vec<[u8; 33]> = blinded.iter().map(|blinded| blinded.to_bytes()).collect();
        Ok(self.many(Table::Signed, &keys)?.into_iter().map(|row| TokenRow::decode(&row?)).collect())
    }

    /// The witnesses that these tokens were spent with, if they were locked.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn witnesses(&self, ys: &[Point]) -> Result<Vec<Option<String>>, MintError> {
        let keys: Vec<[u8; 33]> = ys.iter().map(|y| y.to_bytes()).collect();
        Ok(self.many(Table::Witnesses, &keys)?.into_iter().map(|row| String::from_utf8(row?).ok()).collect())
    }

    /// All keysets, by number.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn keysets(&self) -> Result<Vec<KeysetRecord>, MintError> {
        let mut records = Vec::new();
        let mut read = |_, _: &[u8], value: &[u8], _| records.extend(serde_json::from_slice::<KeysetRecord>(value));
        self.scan(&[Table::Keysets], &mut read)?;
        Ok(records)
    }

    /// All keysets with their keys, for who has no mint to ask.
    ///
    /// # Errors
    /// When the store can't be read or the seed can't be used.
    pub fn keyset_table(&self, seed: &MintSeed) -> Result<KeysetTable, MintError> {
        Ok(KeysetTable::default().of_records(seed, self.keysets()?)?.with_closed(self.closed()?))
    }

    /// What closed keysets came to.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn closed(&self) -> Result<Vec<ClosedKeyset>, MintError> {
        let mut closed = Vec::new();
        let mut read = |_, _: &[u8], value: &[u8], _| closed.extend(serde_json::from_slice::<ClosedKeyset>(value));
        self.scan(&[Table::Closed], &mut read)?;
        Ok(closed)
    }

    /// What a keyset has come to, from all its rows: worth of signatures and of spent tokens. `None` when a row of any keyset was
    /// changed on disk, since it may be one of this.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn sums_of(&self, keyset: u16) -> Result<Option<(u64, u64)>, MintError> {
        let (mut sums, mut whole) = ([0u64; 2], true);
        self.scan(&[Table::Signed, Table::Spent], &mut |table, _, value, intact| match TokenRow::decode(value) {
            Some(row) if intact && row.keyset == keyset => {
                let sum = &mut sums[usize::from(table == Table::Spent)];
                *sum = sum.saturating_add(row.worth());
            }
            Some(_) if intact => {}
            _ => whole = false,
        })?;
        Ok(whole.then_some((sums[0], sums[1])))
    }
}

/// How a mint quote comes to be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A programme orders it.
    Entitlement,
    /// Anybody asks for it, and nobody pays: worthless, for tests.
    Sandbox,
}

/// A mint quote. It counts as paid; whether it was minted is [`Table::Issued`]'s to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuote {
    /// Its method.
    pub method: Method,
    /// How much.
    pub amount: Amount,
    /// The unit.
    pub unit: Unit,
    /// The key that must sign (NUT-20). An entitlement always has one.
    pub pubkey: Option<Point>,
}

/// A melt quote of the method `settlement`. Whether it was paid is [`Table::Redeemed`]'s to say.
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
    /// The amount, in minor units.
    pub fn worth(self) -> u64 {
        1u64 << self.exponent.min(63)
    }

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

impl Change {
    /// Spend and sign.
    pub fn swap(worked: &Worked) -> Self {
        Change::default().spending(worked).signing(worked)
    }

    /// Mint quotes: all of them, or none.
    pub fn mint(quotes: &[(&str, &MintQuote)], worked: &Worked) -> Self {
        let mut change = Change::default();
        for (id, quote) in quotes {
            change.rows.push((Table::Issued, id.as_bytes().to_vec(), Vec::new()));
            // The treasury has no books for what is worth nothing.
            if quote.method == Method::Entitlement {
                let (quote, unit, amount) = ((*id).to_owned(), quote.unit.clone(), quote.amount);
                change.events.push(MintEvent::Issued { quote, unit, amount });
            }
        }
        change.signing(worked)
    }

    /// Redeem.
    pub fn melt(id: &str, quote: &MeltQuote, worked: &Worked) -> Self {
        let event = MintEvent::Redeemed {
            quote: id.to_owned(),
            merchant: quote.merchant.clone(),
            unit: quote.unit.clone(),
            amount: quote.amount,
        };
        let redeemed = (Table::Redeemed, id.as_bytes().to_vec(), Vec::new());
        Change { rows: vec![redeemed], events: vec![event] }.spending(worked)
    }

    /// A new mint quote.
    pub fn order(id: &str, quote: &MintQuote) -> Self {
        Self::one(Table::MintQuotes, id.as_bytes(), quote)
    }

    /// A new melt quote.
    pub fn melt_quote(id: &str, quote: &MeltQuote) -> Self {
        Self::one(Table::MeltQuotes, id.as_bytes(), quote)
    }

    /// A keyset that is over, and what lapsed with it.
    pub fn closed(keyset: &SigningKeyset, closed: &ClosedKeyset) -> Self {
        let amount = Amount::new(closed.signed_minor.saturating_sub(closed.spent_minor));
        let unit = keyset.record.unit.clone();
        // The treasury has no books for what is worth nothing.
        let lapsed = (amount != Amount::ZERO && unit.as_str() != SANDBOX_UNIT).then(|| MintEvent::Lapsed {
            keyset: keyset.public.id.to_string(),
            unit,
            amount,
        });
        Change {
            events: lapsed.into_iter().collect(),
            ..Self::one(Table::Closed, &closed.number.to_be_bytes(), closed)
        }
    }

    /// A keyset that was announced.
    pub fn keyset(record: &KeysetRecord) -> Self {
        Self::one(Table::Keysets, &record.number.to_be_bytes(), record)
    }

    fn one(table: Table, key: &[u8], value: &impl Serialize) -> Self {
        let value = serde_json::to_vec(value).expect("a row is plain data");
        Change { rows: vec![(table, key.to_vec(), value)], events: Vec::new() }
    }

    /// How many rows it has for a table.
    pub fn count(&self, table: Table) -> usize {
        self.rows.iter().filter(|(of, _, _)| *of == table).count()
    }

    fn spending(mut self, worked: &Worked) -> Self {
        self.rows.extend(worked.inputs.iter().map(|(y, row)| point_row(Table::Spent, y, &row.encode())));
        let witness = |(y, text): &(Point, String)| point_row(Table::Witnesses, y, text.as_bytes());
        self.rows.extend(worked.witnesses.iter().map(witness));
        self
    }

    fn signing(mut self, worked: &Worked) -> Self {
        self.rows.extend(worked.outputs.iter().map(|(b, row)| point_row(Table::Signed, b, &row.encode())));
        self
    }
}

fn point_row(table: Table, point: &Point, value: &[u8]) -> (Table, Vec<u8>, Vec<u8>) {
    (table, point.to_bytes().to_vec(), value.to_vec())
}

/// Puts MACs on values and takes them off.
#[derive(Clone)]
pub struct RowMac(Zeroizing<[u8; 32]>);

impl RowMac {
    /// The MAC key of a mint.
    ///
    /// # Errors
    /// When the seed can't be used.
    pub fn new(seed: &MintSeed) -> Result<Self, MintError> {
        Ok(RowMac(seed.derive("habeas mint row mac v1", &[])?))
    }

    fn mac(&self, table: &str, key: &[u8], value: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes a key of any length");
        mac.update(table.as_bytes());
        mac.update(&(key.len() as u64).to_be_bytes());
        mac.update(key);
        mac.update(value);
        let digest = mac.finalize().into_bytes();
        digest[..MAC_LEN].try_into().expect("8 of 32 bytes")
    }

    /// A value as it is stored.
    fn seal(&self, table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
        [value, &self.mac(table, key, value)].concat()
    }

    /// The contents of a stored value, and whether they are those that were stored.
    fn open<'a>(&self, table: &str, key: &[u8], stored: &'a [u8]) -> (&'a [u8], bool) {
        let (value, mac) = stored.split_at(stored.len().saturating_sub(MAC_LEN));
        (value, mac == self.mac(table, key, value))
    }
}

/// The contents of a stored value, unchecked: the MAC is for the audit.
fn contents(stored: &[u8]) -> Vec<u8> {
    stored[..stored.len().saturating_sub(MAC_LEN)].to_vec()
}
