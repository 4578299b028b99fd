//! The journal: every movement of money, in double entry.
//!
//! Accounts are names: `bank:UNIT`, `available:PROGRAMME`, `committed:PROGRAMME`, `ecash:UNIT`, `merchant:ID`, `settling:ID`
//! (in a payment file, not confirmed), `suspense:UNIT` (redeemed for a merchant that is not there), `paid_out:UNIT` and `lapsed:UNIT`
//! (e-cash that nobody spent before its keyset was closed).
//! Each act is one SQLite transaction, and each is done once for its reference, so it can be repeated after a crash.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::money::{creditor_reference, exponent, is_iban};
use crate::{Clock, MintEvent, MintFeed, TreasuryError};

const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_ledger.sql")];
/// How many events of the mint one transaction takes.
const EVENTS_PER_TRANSACTION: usize = 2_000;

/// The treasury; clones are handles to the same one.
#[derive(Clone)]
pub struct Treasury {
    database: Arc<Mutex<Connection>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Merchant {
    /// Its id.
    pub id: String,
    /// Its name, as on bank files.
    pub name: String,
    /// The unit it is paid in.
    pub unit: String,
    /// Its account.
    pub iban: String,
}

/// The sums of a unit, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Totals {
    /// Deposits that banks confirmed.
    pub funded_minor: u64,
    /// Not committed to a run.
    pub available_minor: u64,
    /// Committed, not collected.
    pub committed_minor: u64,
    /// E-cash in people's and merchants' hands.
    pub outstanding_minor: u64,
    /// Owed to merchants, payments under way included.
    pub merchants_minor: u64,
    /// Payments that banks confirmed.
    pub paid_out_minor: u64,
    /// E-cash that nobody spent before its keyset was closed.
    #[serde(default)]
    pub lapsed_minor: u64,
}

impl Totals {
    /// Whether funded = available + committed + outstanding + merchants + paid out + lapsed.
    pub fn balance(&self) -> bool {
        let parts = [
            self.available_minor,
            self.committed_minor,
            self.outstanding_minor,
            self.merchants_minor,
            self.paid_out_minor,
            self.lapsed_minor,
        ];
        parts.iter().try_fold(0u64, |sum, part| sum.checked_add(*part)) == Some(self.funded_minor)
    }
}

/// One movement.
#[derive(Clone, Debug)]
pub(crate) struct Movement<'a> {
    pub unit: &'a str,
    pub debit: String,
    pub credit: String,
    pub amount_minor: u64,
    pub kind: &'a str,
    pub reference: &'a str,
}

impl Treasury {
    /// Opens the treasury in a folder, or makes one.
    ///
    /// # Errors
    /// When the folder or the database can't be used.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, TreasuryError> {
        std::fs::create_dir_all(folder)?;
        let row_key = storage::keys::read_or_make(&folder.join("rows.key"))?;
        let database = storage::sqlite::open(&folder.join("treasury.db"), &MIGRATIONS, &row_key)?;
        database.execute("INSERT INTO cursor (one, event) VALUES (1, 0) ON CONFLICT DO NOTHING", [])?;
        Ok(Treasury { database: Arc::new(Mutex::new(database)), clock })
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().expect("no holder of this lock panics")
    }

    /// Does an act in one transaction.
    pub(crate) fn act<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, TreasuryError>,
    ) -> Result<T, TreasuryError> {
        let mut database = self.connection();
        let transaction = database.transaction()?;
        let result = act(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Registers a programme and gives the reference that deposits for it must carry (ISO 11649). Registering it again is no news.
    ///
    /// # Errors
    /// For a unit that is not a currency.
    pub fn register_programme(&self, id: &str, name: &str, unit: &str) -> Result<String, TreasuryError> {
        exponent(unit).ok_or_else(|| TreasuryError::UnknownUnit(unit.to_owned()))?;
        let digest = hex::encode_upper(Sha256::digest(id));
        let reference = creditor_reference(&digest[..16]).ok_or(TreasuryError::BadName)?;
        self.connection().execute(
            "INSERT INTO programmes (id, name, unit, reference) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![id, name, unit, reference],
        )?;
        Ok(reference)
    }

    /// Registers a merchant.
    ///
    /// # Errors
    /// For a unit that is not a currency, an IBAN with wrong check digits, or a name that is empty or too long.
    pub fn register_merchant(&self, name: &str, unit: &str, iban: &str) -> Result<Merchant, TreasuryError> {
        exponent(unit).ok_or_else(|| TreasuryError::UnknownUnit(unit.to_owned()))?;
        let (name, iban) = account_holder(name, iban)?;
        let id = uuid::Uuid::now_v7().simple().to_string();
        let merchant = Merchant { id, name, unit: unit.to_owned(), iban };
        self.connection().execute(
            "INSERT INTO merchants (id, name, unit, iban) VALUES (?1, ?2, ?3, ?4)",
            params![merchant.id, merchant.name, merchant.unit, merchant.iban],
        )?;
        Ok(merchant)
    }

    /// All merchants with what they are owed and what is on its way to them.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn merchants(&self) -> Result<Vec<(Merchant, u64, u64)>, TreasuryError> {
        let database = self.connection();
        let mut statement = database.prepare_cached("SELECT id, name, unit, iban FROM merchants ORDER BY id")?;
        let merchants = statement
            .query_map([], |row| {
                Ok(Merchant { id: row.get(0)?, name: row.get(1)?, unit: row.get(2)?, iban: row.get(3)? })
            })?
            .collect::<Result<Vec<_>, _>>()?;
        merchants
            .into_iter()
            .map(|merchant| {
                let owed = balance(&database, &format!("merchant:{}", merchant.id))?;
                let settling = balance(&database, &format!("settling:{}", merchant.id))?;
                Ok((merchant, owed, settling))
            })
            .collect()
    }

    /// Whether a merchant is registered for a unit.
    pub fn accepts(&self, merchant: &str, unit: &str) -> bool {
        let found = self.connection().query_row(
            "SELECT 1 FROM merchants WHERE id = ?1 AND unit = ?2",
            params![merchant, unit],
            |_| Ok(()),
        );
        found.is_ok()
    }

    /// Commits a programme's funds to a run. The same run twice is one.
    ///
    /// # Errors
    /// [`TreasuryError::InsufficientFunds`] above what is available: nothing is committed then.
    pub fn commit(&self, run: &str, programme: &str, amount_minor: u64) -> Result<(), TreasuryError> {
        let at = self.clock.unix_now();
        self.act(|transaction| {
            let unit = unit_of(transaction, programme)?;
            let movement = Movement {
                unit: &unit,
                debit: format!("available:{programme}"),
                credit: format!("committed:{programme}"),
                amount_minor,
                kind: "commit",
                reference: run,
            };
            if booked(transaction, &movement)? {
                return Ok(());
            }
            let available_minor = balance(transaction, &movement.debit)?;
            if amount_minor > available_minor {
                return Err(TreasuryError::InsufficientFunds { available_minor, wanted_minor: amount_minor });
            }
            book(transaction, at, &movement)
        })
    }

    /// What is committed to a run, in minor units.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn committed_to(&self, run: &str) -> Result<u64, TreasuryError> {
        let committed = self
            .connection()
            .prepare_cached("SELECT amount_minor FROM journal WHERE kind = 'commit' AND reference = ?1")?
            .query_row([run], |row| row.get(0))
            .optional()?;
        Ok(committed.unwrap_or(0))
    }

    /// Notes that a quote was ordered for a run. The same order twice is one.
    ///
    /// # Errors
    /// [`TreasuryError::BeyondRun`] when the run's orders would exceed what was committed to it.
    pub fn record_order(
        &self,
        quote: &str,
        run: &str,
        programme: &str,
        amount_minor: u64,
    ) -> Result<(), TreasuryError> {
        self.act(|transaction| {
            let known: Option<(String, u64)> = transaction
                .prepare_cached("SELECT run, amount_minor FROM orders WHERE quote = ?1")?
                .query_row([quote], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some(known) = known {
                return if known == (run.to_owned(), amount_minor) {
                    Ok(())
                } else {
                    Err(TreasuryError::Conflict(quote.into()))
                };
            }
            let committed: Option<u64> = transaction
                .prepare_cached(
                    "SELECT amount_minor FROM journal WHERE kind = 'commit' AND reference = ?1 AND credit = ?2",
                )?
                .query_row(params![run, format!("committed:{programme}")], |row| row.get(0))
                .optional()?;
            let ordered: u64 = transaction
                .prepare_cached("SELECT coalesce(sum(amount_minor), 0) FROM orders WHERE run = ?1")?
                .query_row([run], |row| row.get(0))?;
            if ordered.saturating_add(amount_minor) > committed.unwrap_or(0) {
                return Err(TreasuryError::BeyondRun);
            }
            transaction
                .prepare_cached("INSERT INTO orders (quote, run, programme, amount_minor) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![quote, run, programme, amount_minor])?;
            Ok(())
        })
    }

    /// Books what has happened at the mint since the last time, each event once, and gives how many there were.
    ///
    /// # Errors
    /// When the feed or the database can't be read.
    pub fn sync(&self, feed: &dyn MintFeed) -> Result<u64, TreasuryError> {
        let mut count = 0;
        loop {
            let cursor: u64 = self.connection().query_row("SELECT event FROM cursor", [], |row| row.get(0))?;
            let events = feed.events_after(cursor, EVENTS_PER_TRANSACTION).map_err(TreasuryError::Feed)?;
            let Some((last, _)) = events.last() else {
                let last = feed.last_event().map_err(TreasuryError::Feed)?;
                if last < cursor {
                    let told =
                        format!("{cursor} were booked and the mint has {last}: it was put back to an older state");
                    return Err(TreasuryError::Feed(told));
                }
                return Ok(count);
            };
            let (last, at) = (*last, self.clock.unix_now());
            let booked = self.act(|transaction| {
                // Somebody else may have read on meanwhile: then this batch is old.
                let now: u64 = transaction.query_row("SELECT event FROM cursor", [], |row| row.get(0))?;
                if now != cursor {
                    return Ok(0);
                }
                for (_, event) in &events {
                    book_event(transaction, at, event)?;
                }
                transaction.execute("UPDATE cursor SET event = ?1", [last])?;
                Ok(events.len() as u64)
            })?;
            count += booked;
        }
    }

    /// The number of the last event of the mint that is booked.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn booked_events(&self) -> Result<u64, TreasuryError> {
        Ok(self.connection().query_row("SELECT event FROM cursor", [], |row| row.get(0))?)
    }

    /// The sums of a unit.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn totals(&self, unit: &str) -> Result<Totals, TreasuryError> {
        let database = self.connection();
        let mut statement =
            database.prepare_cached("SELECT account, debit_minor, credit_minor FROM balances WHERE unit = ?1")?;
        let mut totals = Totals::default();
        let mut rows = statement.query([unit])?;
        while let Some(row) = rows.next()? {
            let (account, debit, credit): (String, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            add_to_totals(&mut totals, &account, debit, credit);
        }
        Ok(totals)
    }

    /// The units that anything is kept in.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn units(&self) -> Result<Vec<String>, TreasuryError> {
        let database = self.connection();
        let mut statement = database.prepare("SELECT DISTINCT unit FROM programmes ORDER BY unit")?;
        let units = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(units)
    }
}

/// Adds an account's balance to the sum it belongs to. `bank` is the one account on the other side.
pub(crate) fn add_to_totals(totals: &mut Totals, account: &str, debit: u64, credit: u64) {
    let held = credit.saturating_sub(debit);
    match account.split_once(':').map_or("", |(kind, _)| kind) {
        "bank" => totals.funded_minor += debit.saturating_sub(credit),
        "available" => totals.available_minor += held,
        "committed" => totals.committed_minor += held,
        "ecash" => totals.outstanding_minor += held,
        "merchant" | "settling" | "suspense" => totals.merchants_minor += held,
        "paid_out" => totals.paid_out_minor += held,
        "lapsed" => totals.lapsed_minor += held,
        _ => {}
    }
}

fn book_event(transaction: &Transaction<'_>, at: u64, event: &MintEvent) -> Result<(), TreasuryError> {
    let (quote, unit, amount_minor, kind, debit, credit) = match event {
        MintEvent::Issued { quote, unit, amount_minor } => {
            let programme: Option<String> = transaction
                .prepare_cached("SELECT programme FROM orders WHERE quote = ?1 AND amount_minor = ?2")?
                .query_row(params![quote, amount_minor], |row| row.get(0))
                .optional()?;
            // E-cash that no programme paid for would be a counterfeit: it is booked where the audit sees it.
            let debit =
                programme.map_or_else(|| format!("counterfeit:{unit}"), |programme| format!("committed:{programme}"));
            (quote, unit, *amount_minor, "issue", debit, format!("ecash:{unit}"))
        }
        MintEvent::Redeemed { quote, merchant, unit, amount_minor } => {
            let known: bool =
                transaction.prepare_cached("SELECT 1 FROM merchants WHERE id = ?1")?.exists([merchant])?;
            let credit = if known { format!("merchant:{merchant}") } else { format!("suspense:{unit}") };
            (quote, unit, *amount_minor, "redeem", format!("ecash:{unit}"), credit)
        }
        // Whose programme's funds these were, nobody can tell: one keyset serves all.
        MintEvent::Lapsed { keyset, unit, amount_minor } => {
            (keyset, unit, *amount_minor, "lapse", format!("ecash:{unit}"), format!("lapsed:{unit}"))
        }
    };
    book(transaction, at, &Movement { unit, debit, credit, amount_minor, kind, reference: quote })
}

/// Whether a movement is in the journal already.
///
/// # Errors
/// [`TreasuryError::Conflict`] when one of its kind and reference is, with other contents.
pub(crate) fn booked(transaction: &Transaction<'_>, movement: &Movement<'_>) -> Result<bool, TreasuryError> {
    let known: Option<(String, String, u64)> = transaction
        .prepare_cached("SELECT debit, credit, amount_minor FROM journal WHERE kind = ?1 AND reference = ?2")?
        .query_row(params![movement.kind, movement.reference], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    match known {
        None => Ok(false),
        Some((debit, credit, amount)) => {
            let same = debit == movement.debit && credit == movement.credit && amount == movement.amount_minor;
            if same { Ok(true) } else { Err(TreasuryError::Conflict(movement.reference.to_owned())) }
        }
    }
}

/// Writes a movement into the journal and the balances.
pub(crate) fn book(transaction: &Transaction<'_>, at: u64, movement: &Movement<'_>) -> Result<(), TreasuryError> {
    let last: Option<(u64, Vec<u8>)> = transaction
        .prepare_cached("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (seq, previous) = last.map_or((1, Vec::new()), |(seq, hash)| (seq + 1, hash));
    let hash = row_hash(&previous, seq, at, movement);
    transaction
        .prepare_cached(
            "INSERT INTO journal (seq, at, unit, debit, credit, amount_minor, kind, reference, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            seq,
            at,
            movement.unit,
            movement.debit,
            movement.credit,
            movement.amount_minor,
            movement.kind,
            movement.reference,
            hash
        ])?;
    for (account, debit, credit) in
        [(&movement.debit, movement.amount_minor, 0), (&movement.credit, 0, movement.amount_minor)]
    {
        transaction
            .prepare_cached(
                "INSERT INTO balances (account, unit, debit_minor, credit_minor) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (account) DO UPDATE SET
                     debit_minor = debit_minor + excluded.debit_minor,
                     credit_minor = credit_minor + excluded.credit_minor",
            )?
            .execute(params![account, movement.unit, debit, credit])?;
    }
    Ok(())
}

/// The hash of a journal row: it covers the row before.
pub(crate) fn row_hash(previous: &[u8], seq: u64, at: u64, movement: &Movement<'_>) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    for number in [seq, at, movement.amount_minor] {
        hasher.update(number.to_be_bytes());
    }
    for text in [movement.unit, &movement.debit, &movement.credit, movement.kind, movement.reference] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().to_vec()
}

/// What an account holds, credits less debits.
/// A name and an IBAN as a bank file carries them.
pub(crate) fn account_holder(name: &str, iban: &str) -> Result<(String, String), TreasuryError> {
    let iban: String = iban.chars().filter(|c| !c.is_whitespace()).collect();
    if !is_iban(&iban) {
        return Err(TreasuryError::BadIban);
    }
    if !(1..=70).contains(&name.trim().chars().count()) || name.chars().any(char::is_control) {
        return Err(TreasuryError::BadName);
    }
    Ok((name.trim().to_owned(), iban))
}

pub(crate) fn balance(database: &Connection, account: &str) -> Result<u64, TreasuryError> {
    let sums: Option<(u64, u64)> = database
        .prepare_cached("SELECT debit_minor, credit_minor FROM balances WHERE account = ?1")?
        .query_row([account], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(sums.map_or(0, |(debit, credit)| credit.saturating_sub(debit)))
}

fn unit_of(transaction: &Transaction<'_>, programme: &str) -> Result<String, TreasuryError> {
    let unit = transaction
        .prepare_cached("SELECT unit FROM programmes WHERE id = ?1")?
        .query_row([programme], |row| row.get(0))
        .optional()?;
    unit.ok_or_else(|| TreasuryError::UnknownProgramme(programme.to_owned()))
}
