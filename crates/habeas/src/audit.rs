//! The audit of a whole data folder: each service checks itself, and here they are held against one another.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tlog::client::verify_log;
use tlog::note::Verifier;
use transparency::store::PublicFiles;
use treasury::ledger::Totals;

use crate::services::Services;

/// What an audit found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditReport {
    /// Whether everything adds up and no row was changed.
    pub balanced: bool,
    /// Sums by unit, from the treasury's journal.
    pub totals: BTreeMap<String, Totals>,
    /// How many people are enrolled.
    pub people: u64,
    /// How many entries the log has.
    pub log_entries: u64,
    /// A sentence for each thing that is wrong.
    pub problems: Vec<String>,
}

/// Recomputes everything from the stores.
pub fn run(services: &Services) -> Result<AuditReport> {
    // In this order: what the mint did after the books were read is left out of the comparison.
    let treasury = services.treasury.audit()?;
    let mint = services.mint.audit_at(treasury.mint_events)?;
    let registry = services.registry.audit()?;
    let credentials = services.credentials.store().audit()?;
    let mut problems = [mint.problems.clone(), treasury.problems, registry.problems, credentials].concat();
    for (unit, totals) in &treasury.totals {
        let booked = unit.parse().ok().and_then(|unit| mint.booked.get(&unit)).copied().unwrap_or(0);
        if booked != i128::from(totals.outstanding_minor) {
            problems.push(format!(
                "the mint has {booked} {unit} outstanding and the treasury's books say {}",
                totals.outstanding_minor
            ));
        }
    }
    for run in &registry.approved {
        let committed = services.treasury.committed_to(&run.run)?;
        if committed != run.total_minor {
            problems
                .push(format!("run {} was approved for {} and {committed} are committed", run.run, run.total_minor));
        }
    }
    let verified = Verifier::parse(services.log.vkey()).map_err(|error| error.to_string()).and_then(|key| {
        verify_log(&PublicFiles(services.log.public_folder()), &key.into(), None).map_err(|error| error.to_string())
    });
    let log_entries = match verified {
        Ok(log) => log.checkpoint.size,
        Err(error) => {
            problems.push(format!("log: {error}"));
            0
        }
    };
    Ok(AuditReport {
        balanced: problems.is_empty(),
        totals: treasury.totals,
        people: registry.people,
        log_entries,
        problems,
    })
}
