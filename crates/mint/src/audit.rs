//! The audit: recomputes the mint's totals from its rows, and names each row that was changed on disk.

use std::collections::{BTreeMap, HashMap, HashSet};

use cashu::{Amount, Unit};

use crate::keysets::{ClosedKeyset, KeysetTable};
use crate::store::{Change, MeltQuote, Method, MintQuote, Store, Table, TokenRow};
use crate::{Mint, MintError, MintEvent};

/// At most this many problems are named: a store that is damaged throughout has one cause.
const PROBLEMS_MAX: usize = 20;

/// The sums of one unit, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitTotals {
    /// Worth of all signatures.
    pub signed: u64,
    /// Worth of all spent tokens.
    pub spent: u64,
    /// Minted against quotes.
    pub issued: u64,
    /// Redeemed into balances.
    pub redeemed: u64,
    /// Not spent when its keyset was closed.
    pub lapsed: u64,
}

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct MintAudit {
    /// Sums by unit.
    pub totals: BTreeMap<Unit, UnitTotals>,
    /// Issued less redeemed by unit, up to the event that the books have been brought to.
    pub booked: BTreeMap<Unit, i128>,
    /// A sentence each; none when all is well.
    pub problems: Vec<String>,
}

/// The tables in the order in which the audit reads them: marks before what they mark.
pub(crate) const ORDER: [Table; 10] = [
    Table::Spent,
    Table::Signed,
    Table::Issued,
    Table::MintQuotes,
    Table::Redeemed,
    Table::MeltQuotes,
    Table::Keysets,
    Table::Witnesses,
    Table::Closed,
    Table::Events,
];

impl Mint {
    /// Recomputes everything from the rows, as they are at one moment: the mint goes on meanwhile.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn audit(&self) -> Result<MintAudit, MintError> {
        self.audit_at(u64::MAX)
    }

    /// The same; the books that it is held against have been brought up to event number `booked`.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn audit_at(&self, booked: u64) -> Result<MintAudit, MintError> {
        of_store(self.store(), &self.keyset_table(), booked)
    }
}

/// The same for a store that no mint runs on.
pub(crate) fn of_store(store: &dyn Store, keysets: &KeysetTable, booked: u64) -> Result<MintAudit, MintError> {
    let mut reader = Reader::new(booked);
    store.scan(&ORDER, &mut |table, key, value, intact| reader.row(table, key, value, intact))?;
    Ok(reader.finish(keysets))
}

/// What has been read so far.
#[derive(Default)]
pub(crate) struct Reader {
    audit: MintAudit,
    booked: u64,
    /// Worth of tokens by table and keyset number.
    sums: BTreeMap<(Table, u16), u64>,
    /// Ids of quotes that were minted or paid.
    marked: HashSet<String>,
    /// The event that each of them must have.
    expected: HashMap<String, MintEvent>,
    next_event: u64,
    closed: Vec<ClosedKeyset>,
    lapsed: HashMap<String, MintEvent>,
}

impl Reader {
    pub(crate) fn new(booked: u64) -> Self {
        Reader { booked, next_event: 1, ..Reader::default() }
    }

    pub(crate) fn row(&mut self, table: Table, key: &[u8], value: &[u8], intact: bool) {
        let id = || String::from_utf8_lossy(key).into_owned();
        let understood = intact
            && match table {
                Table::Spent | Table::Signed => TokenRow::decode(value).map(|row| self.token(table, row)).is_some(),
                Table::Issued | Table::Redeemed => self.marked.insert(id()),
                Table::MintQuotes => serde_json::from_slice(value).map(|quote| self.mint_quote(id(), quote)).is_ok(),
                Table::MeltQuotes => serde_json::from_slice(value).map(|quote| self.melt_quote(id(), quote)).is_ok(),
                Table::Keysets | Table::Witnesses => true,
                Table::Closed => serde_json::from_slice(value).map(|closed| self.closed.push(closed)).is_ok(),
                Table::Events => {
                    let number = key.try_into().map(u64::from_be_bytes).unwrap_or_default();
                    let read = serde_json::from_slice(value).map(|event| self.event(number, &event)).is_ok();
                    self.next_event = number + 1;
                    read
                }
            };
        if !understood {
            let name = match (table, key.try_into().map(u64::from_be_bytes)) {
                (Table::Spent | Table::Signed | Table::Keysets | Table::Witnesses | Table::Closed, _) => {
                    hex::encode(key)
                }
                (Table::Events, Ok(number)) => number.to_string(),
                _ => id(),
            };
            self.audit.problem(format!("mint: the row {name} of {} was changed on disk", table.name()));
        }
    }

    fn token(&mut self, table: Table, row: TokenRow) {
        let sum = self.sums.entry((table, row.keyset)).or_default();
        *sum = sum.saturating_add(row.worth());
    }

    fn mint_quote(&mut self, id: String, quote: MintQuote) {
        if self.marked.contains(&id) {
            let MintQuote { unit, amount, method, .. } = quote;
            self.audit.totals.entry(unit.clone()).or_default().issued += amount.minor();
            if method == Method::Entitlement {
                self.expected.insert(id.clone(), MintEvent::Issued { quote: id, unit, amount });
            }
        }
    }

    fn melt_quote(&mut self, id: String, quote: MeltQuote) {
        if self.marked.contains(&id) {
            let MeltQuote { merchant, unit, amount, .. } = quote;
            self.audit.totals.entry(unit.clone()).or_default().redeemed += amount.minor();
            self.expected.insert(id.clone(), MintEvent::Redeemed { quote: id, merchant, unit, amount });
        }
    }

    /// Events are numbered without a gap, and there is one for each quote that was carried out and none besides.
    fn event(&mut self, number: u64, event: &MintEvent) {
        if number != self.next_event {
            self.audit.problem(format!("mint: event {} is missing", self.next_event));
        }
        match event {
            // What it must be is known once the keysets are.
            MintEvent::Lapsed { keyset, .. } => drop(self.lapsed.insert(keyset.clone(), event.clone())),
            _ if self.expected.remove(event.subject()).as_ref() == Some(event) => {}
            _ => self.audit.problem(format!("mint: event {number} does not match quote {}", event.subject())),
        }
        if number <= self.booked {
            let (unit, change) = match event {
                MintEvent::Issued { unit, amount, .. } => (unit, i128::from(amount.minor())),
                MintEvent::Redeemed { unit, amount, .. } | MintEvent::Lapsed { unit, amount, .. } => {
                    (unit, -i128::from(amount.minor()))
                }
            };
            *self.audit.booked.entry(unit.clone()).or_default() += change;
        }
    }

    pub(crate) fn finish(self, keysets: &KeysetTable) -> MintAudit {
        let Reader { mut audit, mut sums, expected, closed, mut lapsed, .. } = self;
        for closed in closed {
            // Its rows may be gone, some or all: what they came to was written down before the first was removed.
            sums.insert((Table::Signed, closed.number), closed.signed_minor);
            sums.insert((Table::Spent, closed.number), closed.spent_minor);
            let Some(keyset) = keysets.by_number(closed.number) else { continue };
            let change = Change::closed(keyset, &closed);
            audit.totals.entry(keyset.record.unit.clone()).or_default().lapsed +=
                closed.signed_minor.saturating_sub(closed.spent_minor);
            if lapsed.remove(&keyset.public.id.to_string()).as_ref() != change.events.first() {
                audit.problem(format!("mint: the event of closed keyset {} is not what it came to", keyset.public.id));
            }
        }
        for keyset in lapsed.keys() {
            audit.problem(format!("mint: keyset {keyset} lapsed in an event and was not closed"));
        }
        for ((table, number), sum) in sums {
            let Some(keyset) = keysets.by_number(number) else {
                let name = table.name();
                audit.problem(format!("mint: {name} has tokens of keyset number {number}, which is not there"));
                continue;
            };
            let totals = audit.totals.entry(keyset.record.unit.clone()).or_default();
            *(if table == Table::Spent { &mut totals.spent } else { &mut totals.signed }) += sum;
        }
        for quote in expected.keys() {
            audit.problem(format!("mint: quote {quote} was carried out but has no event"));
        }
        for (unit, totals) in audit.totals.clone() {
            let (made, gone) = (totals.signed.checked_sub(totals.spent), totals.issued.checked_sub(totals.redeemed));
            if made.is_none() || made != gone {
                audit.problem(format!(
                    "mint: in {unit}, signed {} less spent {} is not issued {} less redeemed {}: a row is missing or was added",
                    totals.signed, totals.spent, totals.issued, totals.redeemed
                ));
            }
        }
        audit
    }
}

impl MintAudit {
    fn problem(&mut self, sentence: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(sentence);
        }
    }

    /// E-cash in people's and merchants' hands, in a unit.
    pub fn outstanding(&self, unit: &Unit) -> Amount {
        let totals = self.totals.get(unit).cloned().unwrap_or_default();
        Amount::new(totals.signed.saturating_sub(totals.spent).saturating_sub(totals.lapsed))
    }
}
