//! The audit: recomputes every row's MAC, the journal's chain and every balance, and names the first row that was changed.

use std::collections::BTreeMap;

use crate::TreasuryError;
use crate::ledger::{Movement, Totals, Treasury, add_to_totals, row_hash};

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct TreasuryAudit {
    /// Sums by unit, recomputed from the journal.
    pub totals: BTreeMap<String, Totals>,
    /// The number of the last event of the mint that is booked.
    pub mint_events: u64,
    /// A sentence each; none when all is well.
    pub problems: Vec<String>,
}

impl Treasury {
    /// Recomputes everything from the journal.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn audit(&self) -> Result<TreasuryAudit, TreasuryError> {
        let database = self.connection();
        let mut audit = TreasuryAudit::default();
        let changed = storage::sqlite::audit(&database)?;
        audit.problems.extend(changed.into_iter().map(|problem| format!("treasury: {problem}")));
        audit.mint_events = database.query_row("SELECT event FROM cursor", [], |row| row.get(0))?;
        let mut sums: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        let (mut previous, mut next) = (Vec::new(), 1u64);
        let mut journal = database.prepare(
            "SELECT seq, at, unit, debit, credit, amount_minor, kind, reference, hash FROM journal ORDER BY seq",
        )?;
        let mut rows = journal.query([])?;
        while let Some(row) = rows.next()? {
            let (seq, at): (u64, u64) = (row.get(0)?, row.get(1)?);
            let (unit, kind, reference): (String, String, String) = (row.get(2)?, row.get(6)?, row.get(7)?);
            let amount_minor: u64 = row.get(5)?;
            let movement = Movement {
                unit: &unit,
                debit: row.get(3)?,
                credit: row.get(4)?,
                amount_minor,
                kind: &kind,
                reference: &reference,
            };
            let hash: Vec<u8> = row.get(8)?;
            if seq != next {
                audit.problems.push(format!("treasury: row {next} of the journal is missing"));
            }
            if hash != row_hash(&previous, seq, at, &movement) {
                audit
                    .problems
                    .push(format!("treasury: row {seq} of the journal ({kind} {reference}) was changed on disk"));
            }
            sums.entry((movement.debit.clone(), unit.clone())).or_default().0 += amount_minor;
            sums.entry((movement.credit.clone(), unit.clone())).or_default().1 += amount_minor;
            if movement.debit.starts_with("counterfeit:") {
                audit.problems.push(format!("treasury: quote {reference} issued e-cash that no programme paid for"));
            }
            (previous, next) = (hash, seq + 1);
        }
        let mut balances = database.prepare("SELECT account, unit, debit_minor, credit_minor FROM balances")?;
        let mut rows = balances.query([])?;
        let mut known = 0;
        while let Some(row) = rows.next()? {
            let key: (String, String) = (row.get(0)?, row.get(1)?);
            known += 1;
            if sums.get(&key) != Some(&(row.get(2)?, row.get(3)?)) {
                audit.problems.push(format!("treasury: the balance of {} is not what the journal gives", key.0));
            }
        }
        if known != sums.len() {
            audit.problems.push("treasury: an account has no balance row".to_owned());
        }
        for ((account, unit), (debit, credit)) in &sums {
            if debit > credit && !account.starts_with("bank:") && !account.starts_with("counterfeit:") {
                audit.problems.push(format!("treasury: {account} is overdrawn"));
            }
            add_to_totals(audit.totals.entry(unit.clone()).or_default(), account, *debit, *credit);
        }
        for (unit, totals) in &audit.totals {
            if !totals.balance() {
                audit.problems.push(format!("treasury: the sums of {unit} don't balance"));
            }
        }
        Ok(audit)
    }
}
