//! Programmes and payment runs.
//!
//! A run is a frozen list: one line a person, one hash over all lines. One officer prepares it, another approves that hash. An approval
//! goes `prepared → approving → approved`: the intent is stored first, then funds are committed and the approval is published, both
//! of which can be repeated, so a crash between is finished at the next start.

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gate::{Access, Purpose, Reader};
use crate::officers::{Actor, Role};
use crate::person::Attribute;
use crate::rule::Rule;
use crate::store::Registry;
use crate::{PublicEntry, RegistryError};

/// A programme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programme {
    /// Its id.
    pub id: String,
    /// Its public name.
    pub name: String,
    /// ISO 4217, lower case.
    pub unit: String,
    /// What each person gets, in minor units.
    pub amount_minor: u64,
    /// The period: `2026-12`.
    pub period: String,
    /// The eligibility rule, as text.
    pub rule: String,
}

/// What a new programme is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewProgramme {
    /// Its public name.
    pub name: String,
    /// ISO 4217, lower case.
    pub unit: String,
    /// What each person gets, in minor units.
    pub amount_minor: u64,
    /// The period: `2026-12`.
    pub period: String,
    /// The eligibility rule, as text.
    pub rule: String,
}

/// A payment run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Its programme.
    pub programme: String,
    /// `prepared`, `approving` or `approved`.
    pub state: String,
    /// SHA-256 over its lines.
    pub hash: String,
    /// How many people.
    pub lines: u64,
    /// The programme's currency.
    pub unit: String,
    /// How much in all, in minor units.
    pub total_minor: u64,
    /// Who prepared it.
    pub prepared_by: String,
    /// Who approved it.
    pub approved_by: Option<String>,
}

impl Registry {
    /// Sets up a programme: opens its account, publishes it, stores it. Gives it with the reference that deposits must carry.
    ///
    /// # Errors
    /// For another role, a rule or a period that can't be read, a unit that is no currency, an amount of zero.
    pub fn create_programme(&self, actor: &Actor, new: NewProgramme) -> Result<(Programme, String), RegistryError> {
        actor.must_be(Role::ProgrammeOfficer)?;
        let rule: Rule = new.rule.parse()?;
        let invalid = |text: &str| RegistryError::Invalid(text.to_owned());
        if new.amount_minor == 0 || i64::try_from(new.amount_minor).is_err() {
            return Err(invalid("the amount must be more than zero"));
        }
        if !(1..=100).contains(&new.name.trim().chars().count()) {
            return Err(invalid("the programme's name has 1 to 100 letters"));
        }
        format!("{}-01", new.period)
            .parse::<jiff::civil::Date>()
            .map_err(|_| invalid("the period is a month such as 2026-12"))?;
        let programme = Programme {
            id: uuid::Uuid::now_v7().simple().to_string(),
            name: new.name.trim().to_owned(),
            unit: new.unit,
            amount_minor: new.amount_minor,
            period: new.period,
            rule: rule.to_string(),
        };
        let reference = self.funds().register(&programme).map_err(RegistryError::Invalid)?;
        self.log().publish(&PublicEntry::Programme(programme.clone())).map_err(RegistryError::Log)?;
        self.connection().execute(
            "INSERT INTO programmes (id, name, unit, amount_minor, period, rule) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                programme.id,
                programme.name,
                programme.unit,
                programme.amount_minor,
                programme.period,
                programme.rule
            ],
        )?;
        Ok((programme, reference))
    }

    /// A programme.
    ///
    /// # Errors
    /// When there is none.
    pub fn programme(&self, id: &str) -> Result<Programme, RegistryError> {
        let found = self
            .connection()
            .query_row("SELECT id, name, unit, amount_minor, period, rule FROM programmes WHERE id = ?1", [id], |row| {
                Ok(Programme {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    unit: row.get(2)?,
                    amount_minor: row.get(3)?,
                    period: row.get(4)?,
                    rule: row.get(5)?,
                })
            })
            .optional()?;
        found.ok_or(RegistryError::NotFound("programme"))
    }

    /// Prepares the run of a programme: evaluates its rule over everybody, freezes the list, publishes the hash.
    ///
    /// # Errors
    /// For another role, a programme that has a run already, or a log that can't be written.
    pub fn prepare_run(&self, actor: &Actor, programme: &str) -> Result<Run, RegistryError> {
        actor.must_be(Role::ProgrammeOfficer)?;
        let programme = self.programme(programme)?;
        let taken: bool = self.connection().query_row(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE programme = ?1)",
            [&programme.id],
            |row| row.get(0),
        )?;
        if taken {
            return Err(RegistryError::Conflict("this programme has a run already"));
        }
        let people = self.eligible(&programme, actor)?;
        let run = Run {
            id: uuid::Uuid::now_v7().simple().to_string(),
            programme: programme.id.clone(),
            state: "prepared".into(),
            hash: hash_of(&programme.id, people.iter().map(|person| (person.as_str(), programme.amount_minor))),
            lines: people.len() as u64,
            unit: programme.unit.clone(),
            total_minor: programme.amount_minor.saturating_mul(people.len() as u64),
            prepared_by: actor.id.clone(),
            approved_by: None,
        };
        self.log().publish(&PublicEntry::RunPrepared(run.clone())).map_err(RegistryError::Log)?;
        self.act(|transaction| {
            transaction.execute(
                "INSERT INTO runs (id, programme, state, hash, lines, total_minor, prepared_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![run.id, run.programme, run.state, run.hash, run.lines, run.total_minor, run.prepared_by],
            )?;
            let mut insert =
                transaction.prepare("INSERT INTO lines (id, run, person, amount_minor) VALUES (?1, ?2, ?3, ?4)")?;
            for person in &people {
                let id = uuid::Uuid::now_v7().simple().to_string();
                insert.execute(params![id, run.id, person, programme.amount_minor])?;
            }
            Ok(())
        })?;
        Ok(run)
    }

    /// Who is eligible, in the order of ids. Each record is opened through the gate, for the birth date alone.
    fn eligible(&self, programme: &Programme, actor: &Actor) -> Result<Vec<String>, RegistryError> {
        let rule: Rule = programme.rule.parse()?;
        let records = self.sealed_records(None)?;
        if rule.is_everyone() {
            return Ok(records.into_iter().map(|record| record.id).collect());
        }
        let access = Access::new(Reader::Officer(actor), Purpose::EvaluateRule, &[Attribute::BirthDate])?;
        let opened = self.open_records(&records, access)?;
        let holds = |birth: Option<&str>| birth.and_then(|date| date.parse().ok()).is_some_and(|date| rule.holds(date));
        let eligible = opened.iter().filter(|person| holds(person.get(Attribute::BirthDate)));
        Ok(eligible.map(|person| person.person().to_owned()).collect())
    }

    /// Approves a run, by the hash that the officer has seen.
    ///
    /// # Errors
    /// For another role, the officer who prepared it, another hash, or funds that are not there: the run stays as it was.
    pub fn approve_run(&self, actor: &Actor, id: &str, hash: &str) -> Result<Run, RegistryError> {
        actor.must_be(Role::ProgrammeOfficer)?;
        let run = self.run(id)?;
        if run.prepared_by == actor.id {
            return Err(RegistryError::Forbidden("another officer than the one who prepared the run"));
        }
        if run.hash != hash {
            return Err(RegistryError::Conflict("this is not the hash of the run: look at the run again"));
        }
        if run.state == "approved" {
            return Err(RegistryError::Conflict("this run is approved already"));
        }
        let set_state = |state: &str| -> Result<(), RegistryError> {
            self.connection().execute(
                "UPDATE runs SET state = ?2, approved_by = ?3 WHERE id = ?1",
                params![id, state, (state != "prepared").then_some(&actor.id)],
            )?;
            Ok(())
        };
        set_state("approving")?;
        if let Err(refused) = self.funds().commit(&run.id, &run.programme, run.total_minor) {
            set_state("prepared")?;
            return Err(RegistryError::Funds(refused));
        }
        self.finish_approval(&run)
    }

    /// The second half of an approval, which can be repeated.
    fn finish_approval(&self, run: &Run) -> Result<Run, RegistryError> {
        let entry = PublicEntry::RunApproved { run: run.id.clone(), hash: run.hash.clone() };
        self.log().publish(&entry).map_err(RegistryError::Log)?;
        self.connection().execute("UPDATE runs SET state = 'approved' WHERE id = ?1", [&run.id])?;
        self.run(&run.id)
    }

    /// Finishes approvals that a crash interrupted. Where the funds are not there after all, the run is prepared again.
    pub(crate) fn resume_approvals(&self) -> Result<(), RegistryError> {
        for run in self.runs()?.into_iter().filter(|run| run.state == "approving") {
            match self.funds().commit(&run.id, &run.programme, run.total_minor) {
                Ok(()) => {
                    self.finish_approval(&run)?;
                }
                Err(_) => {
                    self.connection()
                        .execute("UPDATE runs SET state = 'prepared', approved_by = NULL WHERE id = ?1", [&run.id])?;
                }
            }
        }
        Ok(())
    }

    /// A run.
    ///
    /// # Errors
    /// When there is none.
    pub fn run(&self, id: &str) -> Result<Run, RegistryError> {
        self.runs()?.into_iter().find(|run| run.id == id).ok_or(RegistryError::NotFound("run"))
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn runs(&self) -> Result<Vec<Run>, RegistryError> {
        let database = self.connection();
        let mut statement = database.prepare_cached(
            "SELECT runs.id, programme, state, hash, lines, total_minor, prepared_by, approved_by, unit
             FROM runs JOIN programmes ON programmes.id = programme ORDER BY runs.id",
        )?;
        let runs = statement.query_map([], read_run)?.collect::<Result<_, _>>()?;
        Ok(runs)
    }

    /// The hash of a run's lines as they lie in the database now: equal to the run's own, unless a line was changed.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn recompute_hash(&self, run: &Run) -> Result<String, RegistryError> {
        let database = self.connection();
        let mut statement =
            database.prepare_cached("SELECT person, amount_minor FROM lines WHERE run = ?1 ORDER BY person")?;
        let lines = statement
            .query_map([&run.id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(hash_of(&run.programme, lines.iter().map(|(person, amount)| (person.as_str(), *amount))))
    }
}

fn read_run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        programme: row.get(1)?,
        state: row.get(2)?,
        hash: row.get(3)?,
        lines: row.get(4)?,
        total_minor: row.get(5)?,
        prepared_by: row.get(6)?,
        approved_by: row.get(7)?,
        unit: row.get(8)?,
    })
}

/// SHA-256 over `habeas run v1`, the programme, and a line `person amount` for each person in the order of ids. Ids are random, so
/// that nobody can guess who is on the list.
fn hash_of<'a>(programme: &str, lines: impl Iterator<Item = (&'a str, u64)>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("habeas run v1\n{programme}\n"));
    for (person, amount) in lines {
        hasher.update(format!("{person} {amount}\n"));
    }
    hex::encode(hasher.finalize())
}
