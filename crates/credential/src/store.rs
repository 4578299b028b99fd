//! What the credential service keeps: devices' grants, batches' places in the status list, relying parties. No attribute of anybody.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use statuslist::Status;

use crate::IssuerError;

const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_credential.sql")];

/// The database.
pub struct Store {
    database: Mutex<Connection>,
}

/// A device that may ask for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id, random.
    pub id: String,
    /// The registry's name for the person; `None` until the registry took the offer's code.
    pub subject: Option<String>,
    /// The thumbprint of the device's key.
    pub jkt: String,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A batch's places in the status list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its id, random: what a notification names.
    pub id: String,
    /// The list.
    pub list: u32,
    /// Places in it.
    pub indices: Vec<u32>,
    /// What the list says of them.
    pub status: u8,
}

impl Store {
    /// Opens the database in a folder, or makes one.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn open(folder: &Path, row_key: &[u8; 32]) -> Result<Self, IssuerError> {
        let database = storage::sqlite::open(&folder.join("credential.db"), &MIGRATIONS, row_key)?;
        Ok(Store { database: Mutex::new(database) })
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn act<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, IssuerError>,
    ) -> Result<T, IssuerError> {
        let mut database = self.connection();
        let transaction = database.transaction()?;
        let result = act(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Rows that were changed on disk, a sentence each.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn audit(&self) -> Result<Vec<String>, IssuerError> {
        Ok(storage::sqlite::audit(&self.connection())?)
    }

    /// A grant by one of its unique columns.
    pub(crate) fn grant(&self, by: GrantBy<'_>) -> Result<Option<Grant>, IssuerError> {
        let (column, key): (&str, &dyn rusqlite::ToSql) = match &by {
            GrantBy::Id(id) => ("id", id),
            GrantBy::Code(hash) => ("code_hash", hash),
            GrantBy::Refresh(hash) => ("refresh_hash", hash),
            GrantBy::Key(jkt) => ("jkt", jkt),
        };
        // Newest first: a device that was enrolled again is asked for by its key. One whose offer was not taken yet hides none.
        let query = format!(
            "SELECT id, subject, jkt, revoked FROM grants WHERE {column} = ?1
             ORDER BY revoked, subject IS NULL, rowid DESC LIMIT 1"
        );
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Grant { id: row.get(0)?, subject: row.get(1)?, jkt: row.get(2)?, revoked: row.get(3)? })
        };
        Ok(self.connection().prepare_cached(&query)?.query_row([key], read).optional()?)
    }

    /// Adds a batch, before any of its credentials is given to anybody. `false` when its device was revoked or is suspended meanwhile:
    /// then there is none.
    pub(crate) fn add_batch(&self, grant: &str, batch: &Batch, expires_at: u64) -> Result<bool, IssuerError> {
        let indices: Vec<u8> = batch.indices.iter().flat_map(|index| index.to_be_bytes()).collect();
        // One statement, so that a revocation comes before or after it, and finds the batch then.
        let added = self
            .connection()
            .prepare_cached(
                "INSERT INTO batches (id, grant_id, list, indices, expires_at, status)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6
                 WHERE EXISTS (SELECT 1 FROM grants WHERE id = ?2 AND revoked = 0)
                 AND NOT EXISTS (SELECT 1 FROM batches WHERE grant_id = ?2 AND status = ?7)",
            )?
            .execute(params![
                batch.id,
                grant,
                batch.list,
                indices,
                expires_at,
                batch.status,
                u8::from(Status::Suspended)
            ])?;
        Ok(added > 0)
    }

    /// All batches, in no order.
    pub(crate) fn each_batch(&self, mut each: impl FnMut(Batch)) -> Result<(), IssuerError> {
        let database = self.connection();
        let mut statement = database.prepare("SELECT id, list, indices, status FROM batches")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(read_batch(row)?);
        }
        Ok(())
    }

    /// Sets the status of a device's batches, or of one batch, and gives those that changed. What was revoked stays revoked.
    pub(crate) fn set_status(&self, of: BatchesOf<'_>, status: Status) -> Result<Vec<Batch>, IssuerError> {
        let (choose, key) = match of {
            BatchesOf::Grant(id) => ("grant_id = ?1", id),
            BatchesOf::Batch(id) => ("id = ?1", id),
        };
        self.act(|transaction| change_status(transaction, choose, key, status))
    }

    /// Revokes all grants of a person, and all their batches, in one transaction. Gives the batches that changed.
    pub(crate) fn revoke_subject(&self, subject: &str) -> Result<Vec<Batch>, IssuerError> {
        self.act(|transaction| {
            transaction.execute("UPDATE grants SET revoked = 1 WHERE subject = ?1 AND revoked = 0", [subject])?;
            let choose = "grant_id IN (SELECT id FROM grants WHERE subject = ?1)";
            change_status(transaction, choose, subject, Status::Invalid)
        })
    }
}

fn change_status(
    transaction: &Transaction<'_>,
    choose: &str,
    key: &str,
    status: Status,
) -> Result<Vec<Batch>, IssuerError> {
    let (value, revoked) = (u8::from(status), u8::from(Status::Invalid));
    let choose = format!("{choose} AND status <> ?2 AND status <> {revoked}");
    let mut statement =
        transaction.prepare(&format!("SELECT id, list, indices, status FROM batches WHERE {choose}"))?;
    let batches: Vec<Batch> = statement.query_map(params![key, value], read_batch)?.collect::<Result<_, _>>()?;
    transaction.execute(&format!("UPDATE batches SET status = ?2 WHERE {choose}"), params![key, value])?;
    Ok(batches.into_iter().map(|batch| Batch { status: value, ..batch }).collect())
}

/// How a grant is looked up.
pub(crate) enum GrantBy<'a> {
    Id(&'a str),
    Code(&'a [u8]),
    Refresh(&'a [u8]),
    Key(&'a str),
}

/// Which batches.
#[derive(Clone, Copy)]
pub(crate) enum BatchesOf<'a> {
    Grant(&'a str),
    Batch(&'a str),
}

fn read_batch(row: &rusqlite::Row<'_>) -> rusqlite::Result<Batch> {
    let indices: Vec<u8> = row.get(2)?;
    let (indices, _) = indices.as_chunks::<4>();
    let indices = indices.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
    Ok(Batch { id: row.get(0)?, list: row.get(1)?, indices, status: row.get(3)? })
}
