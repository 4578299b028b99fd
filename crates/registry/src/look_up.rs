//! Looking one person up: by an officer, by document number, for a purpose. An officer has so many look-ups a day; past them
//! another officer approves each.
//!
//! A look-up counts before it is known whether there is such a person, so that nobody finds out who is enrolled by trying. What is past the
//! limit waits under the keyed hash of the number that was asked for, and goes once it is used.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::RegistryError;
use crate::gate::{Access, Purpose, Reader};
use crate::officers::{Actor, Role};
use crate::person::Attribute;
use crate::store::Registry;

/// Records that an officer looks up in a day without asking another: a desk serves some fifty people a day, and whoever browses
/// needs more.
pub const DAILY_LOOK_UPS: u32 = 50;

const SECONDS_PER_DAY: u64 = 24 * 3600;

/// What an officer asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LookUp {
    /// Whose record.
    pub document_number: String,
    /// Why, from the published list.
    pub purpose: String,
    /// Which fields; none means all that the purpose allows.
    #[serde(default)]
    pub fields: Vec<Attribute>,
}

/// A look-up that waits for another officer. Whose record it is, only who asked knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingLookUp {
    /// Its id.
    pub id: String,
    /// Who asks.
    pub officer: String,
    /// Why.
    pub purpose: String,
    /// Which fields, separated by commas.
    pub fields: String,
}

/// Whether a look-up may go on.
enum Counted {
    Within,
    ApprovedBy(String),
    Waits(String),
}

impl Registry {
    /// Looks a person up, through the gate.
    ///
    /// # Errors
    /// For another role, a purpose that is not published or not this role's, a field beyond it; [`RegistryError::OverLimit`] when it waits
    /// for another officer: the same look-up goes through once that is done, once.
    pub fn look_up(&self, actor: &Actor, look_up: &LookUp) -> Result<BTreeMap<Attribute, String>, RegistryError> {
        let purpose: Purpose = look_up.purpose.parse()?;
        let mut fields = look_up.fields.clone();
        if fields.is_empty() {
            fields = purpose.fields().to_vec();
        }
        fields.sort();
        fields.dedup();
        // What is refused anyway counts nothing.
        let alone = Access::new(Reader::Officer(actor), purpose, &fields)?;
        let index = self.keys().index_hash("document-number", look_up.document_number.trim());
        let counted = self.act(|transaction| self.count(transaction, actor, &index, purpose, &fields))?;
        let second;
        let access = match counted {
            Counted::Within => alone,
            Counted::ApprovedBy(other) => {
                second = other;
                Access::new(Reader::Two(actor, &second), purpose, &fields)?
            }
            Counted::Waits(id) => return Err(RegistryError::OverLimit { limit: self.daily_look_ups(), id }),
        };
        let person = self.person_by_document(&look_up.document_number)?.ok_or(RegistryError::NotFound("person"))?;
        let opened = self.open_record(&person, access)?;
        Ok(opened.fields().map(|(field, value)| (field, value.to_owned())).collect())
    }

    /// Counts a look-up, or finds the approval that it takes; without one it is written down, to wait.
    fn count(
        &self,
        transaction: &Transaction<'_>,
        actor: &Actor,
        index: &[u8; 32],
        purpose: Purpose,
        fields: &[Attribute],
    ) -> Result<Counted, RegistryError> {
        let day = self.today();
        let opened: Option<u32> = transaction
            .query_row("SELECT opened FROM openings WHERE officer = ?1 AND day = ?2", params![actor.id, day], |row| {
                row.get(0)
            })
            .optional()?;
        if opened.unwrap_or(0) < self.daily_look_ups() {
            transaction.execute(
                "INSERT INTO openings (officer, day, opened) VALUES (?1, ?2, 1)
                 ON CONFLICT (officer, day) DO UPDATE SET opened = opened + 1",
                params![actor.id, day],
            )?;
            return Ok(Counted::Within);
        }
        let fields = fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(",");
        let known: Option<(String, Option<String>)> = transaction
            .query_row(
                "SELECT id, approved_by FROM look_ups
                 WHERE officer = ?1 AND day = ?2 AND document_index = ?3 AND purpose = ?4 AND fields = ?5",
                params![actor.id, day, index, purpose.name(), fields],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        match known {
            Some((id, Some(other))) => {
                transaction.execute("DELETE FROM look_ups WHERE id = ?1", [id])?;
                Ok(Counted::ApprovedBy(other))
            }
            Some((id, None)) => Ok(Counted::Waits(id)),
            None => {
                transaction.execute("DELETE FROM look_ups WHERE day < ?1", [day])?;
                let id = hex::encode(rand::random::<[u8; 8]>());
                transaction.execute(
                    "INSERT INTO look_ups (id, officer, day, document_index, purpose, fields) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![id, actor.id, day, index, purpose.name(), fields],
                )?;
                Ok(Counted::Waits(id))
            }
        }
    }

    /// Look-ups of today that wait for another officer.
    ///
    /// # Errors
    /// For another role, or when the database can't be read.
    pub fn waiting_look_ups(&self, actor: &Actor) -> Result<Vec<WaitingLookUp>, RegistryError> {
        actor.must_be(Role::Registrar)?;
        let database = self.connection();
        let mut statement = database.prepare_cached(
            "SELECT id, officer, purpose, fields FROM look_ups WHERE day = ?1 AND approved_by IS NULL ORDER BY id",
        )?;
        let waiting = statement.query_map([self.today()], |row| {
            Ok(WaitingLookUp { id: row.get(0)?, officer: row.get(1)?, purpose: row.get(2)?, fields: row.get(3)? })
        })?;
        Ok(waiting.collect::<Result<_, _>>()?)
    }

    /// Approves a look-up of another officer, once.
    ///
    /// # Errors
    /// For another role, the officer who asks, or one that does not wait (any more).
    pub fn approve_look_up(&self, actor: &Actor, id: &str) -> Result<(), RegistryError> {
        let waiting = self.waiting_look_ups(actor)?.into_iter().find(|waiting| waiting.id == id);
        if waiting.ok_or(RegistryError::NotFound("look-up that waits"))?.officer == actor.id {
            return Err(RegistryError::Forbidden("another officer than the one who asks"));
        }
        self.connection().execute("UPDATE look_ups SET approved_by = ?2 WHERE id = ?1", params![id, actor.id])?;
        Ok(())
    }

    fn today(&self) -> u64 {
        self.clock().unix_now() / SECONDS_PER_DAY
    }
}
