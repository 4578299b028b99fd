//! The audit: each row has its MAC, each record opens under its own key, each run's lines give its hash. Contents are not
//! looked at.

use crate::RegistryError;
use crate::store::Registry;

/// At most this many problems are named.
const PROBLEMS_MAX: usize = 20;

/// A run that is approved: what the treasury must have committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedRun {
    /// The run.
    pub run: String,
    /// Its programme.
    pub programme: String,
    /// How much in all, in minor units.
    pub total_minor: u64,
}

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub struct RegistryAudit {
    /// How many people.
    pub people: u64,
    /// Approved runs.
    pub approved: Vec<ApprovedRun>,
    /// A sentence each; none when all is well.
    pub problems: Vec<String>,
}

impl Registry {
    /// Recomputes what can be recomputed without reading anybody.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn audit(&self) -> Result<RegistryAudit, RegistryError> {
        let mut audit = RegistryAudit::default();
        let changed = storage::sqlite::audit(&self.connection())?;
        audit.problems.extend(changed.into_iter().map(|problem| format!("registry: {problem}")));
        for record in self.sealed_records(None)? {
            audit.people += 1;
            let intact = self.keys().unwrap(&record).is_ok_and(|key| key.is_intact(&record));
            if !intact && audit.problems.len() < PROBLEMS_MAX {
                audit.problems.push(format!("registry: the record {} was changed on disk", record.id));
            }
        }
        for run in self.runs()? {
            if self.recompute_hash(&run)? != run.hash {
                audit.problems.push(format!("registry: the lines of run {} are not those of its hash", run.id));
            }
            if run.state == "approved" {
                let approved = ApprovedRun { run: run.id, programme: run.programme, total_minor: run.total_minor };
                audit.approved.push(approved);
            }
        }
        Ok(audit)
    }
}
