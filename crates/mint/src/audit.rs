//! The audit: recomputes the mint's totals from its rows, and names each row that was changed on disk.

use std::collections::{BTreeMap, HashMap, HashSet};

use cashu::{Amount, Unit};

use crate::store::{MeltQuote, Method, MintQuote, Table, TokenRow};
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
}

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct MintAudit {
    /// Sums by unit.
    pub totals: BTreeMap<Unit, UnitTotals>,
    /// A sentence each; none when all is well.
    pub problems: Vec<String>,
}

impl Mint {
    /// Recomputes everything from the rows.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn audit(&self) -> Result<MintAudit, MintError> {
        let mut audit = MintAudit::default();
        let keysets = self.keyset_table();
        for table in [Table::Spent, Table::Signed] {
            let mut sums: HashMap<u16, u64> = HashMap::new();
            self.store().scan(table, &mut |key, value, intact| match TokenRow::decode(value).filter(|_| intact) {
                Some(row) => *sums.entry(row.keyset).or_default() += 1u64 << row.exponent.min(63),
                None => audit.changed(table, &hex::encode(key)),
            })?;
            for (number, sum) in sums {
                let Some(keyset) = keysets.by_number(number) else {
                    audit.problem(format!(
                        "mint: {} has tokens of keyset number {number}, which is not there",
                        table.name()
                    ));
                    continue;
                };
                let totals = audit.totals.entry(keyset.record.unit.clone()).or_default();
                *(if table == Table::Spent { &mut totals.spent } else { &mut totals.signed }) += sum;
            }
        }
        let mut expected: HashMap<String, MintEvent> = HashMap::new();
        let issued = self.keys_of(Table::Issued, &mut audit)?;
        self.store().scan(Table::MintQuotes, &mut |key, value, intact| {
            let id = String::from_utf8_lossy(key).into_owned();
            let Some(quote) = serde_json::from_slice::<MintQuote>(value).ok().filter(|_| intact) else {
                return audit.changed(Table::MintQuotes, &id);
            };
            if issued.contains(&id) {
                let MintQuote { unit, amount, method, .. } = quote;
                audit.totals.entry(unit.clone()).or_default().issued += amount.minor();
                if method == Method::Entitlement {
                    expected.insert(id.clone(), MintEvent::Issued { quote: id, unit, amount });
                }
            }
        })?;
        let redeemed = self.keys_of(Table::Redeemed, &mut audit)?;
        self.store().scan(Table::MeltQuotes, &mut |key, value, intact| {
            let id = String::from_utf8_lossy(key).into_owned();
            let Some(quote) = serde_json::from_slice::<MeltQuote>(value).ok().filter(|_| intact) else {
                return audit.changed(Table::MeltQuotes, &id);
            };
            if redeemed.contains(&id) {
                let MeltQuote { merchant, unit, amount, .. } = quote;
                audit.totals.entry(unit.clone()).or_default().redeemed += amount.minor();
                expected.insert(id.clone(), MintEvent::Redeemed { quote: id, merchant, unit, amount });
            }
        })?;
        for table in [Table::Keysets, Table::Witnesses] {
            self.store().scan(table, &mut |key, _, intact| {
                if !intact {
                    audit.changed(table, &hex::encode(key));
                }
            })?;
        }
        self.check_events(&mut audit, expected)?;
        for (unit, totals) in audit.totals.clone() {
            let (made, gone) = (totals.signed.checked_sub(totals.spent), totals.issued.checked_sub(totals.redeemed));
            if made.is_none() || made != gone {
                audit.problem(format!(
                    "mint: in {unit}, signed {} less spent {} is not issued {} less redeemed {}: a row is missing or was added",
                    totals.signed, totals.spent, totals.issued, totals.redeemed
                ));
            }
        }
        Ok(audit)
    }

    /// The ids that a table of marks has.
    fn keys_of(&self, table: Table, audit: &mut MintAudit) -> Result<HashSet<String>, MintError> {
        let mut ids = HashSet::new();
        self.store().scan(table, &mut |key, _, intact| {
            let id = String::from_utf8_lossy(key).into_owned();
            if !intact {
                audit.changed(table, &id);
            }
            ids.insert(id);
        })?;
        Ok(ids)
    }

    /// Events are numbered without a gap, and there is one for each quote that was carried out and none besides.
    fn check_events(&self, audit: &mut MintAudit, mut expected: HashMap<String, MintEvent>) -> Result<(), MintError> {
        let mut next = 1u64;
        self.store().scan(Table::Events, &mut |key, value, intact| {
            let number = key.try_into().map(u64::from_be_bytes).unwrap_or_default();
            match serde_json::from_slice::<MintEvent>(value).ok().filter(|_| intact) {
                None => audit.changed(Table::Events, &number.to_string()),
                Some(event) => {
                    if expected.remove(event.quote()).as_ref() != Some(&event) {
                        audit.problem(format!("mint: event {number} does not match quote {}", event.quote()));
                    }
                }
            }
            if number != next {
                audit.problem(format!("mint: event {next} is missing"));
            }
            next = number + 1;
        })?;
        for quote in expected.keys() {
            audit.problem(format!("mint: quote {quote} was carried out but has no event"));
        }
        Ok(())
    }
}

impl MintAudit {
    fn changed(&mut self, table: Table, row: &str) {
        self.problem(format!("mint: the row {row} of {} was changed on disk", table.name()));
    }

    fn problem(&mut self, sentence: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(sentence);
        }
    }

    /// E-cash in people's and merchants' hands, in a unit.
    pub fn outstanding(&self, unit: &Unit) -> Amount {
        let totals = self.totals.get(unit).cloned().unwrap_or_default();
        Amount::new(totals.signed.saturating_sub(totals.spent))
    }
}
