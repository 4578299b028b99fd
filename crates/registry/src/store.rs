//! The database and the handle. Each act is one SQLite transaction, synced before anybody is answered.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, Transaction};

use crate::look_up::DAILY_LOOK_UPS;
use crate::seal::{Keys, SealedRecord};
use crate::{AccessLog, Clock, Funds, PaymentOrders, RegistryError};

const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001_registry.sql"),
    include_str!("../migrations/0002_offers.sql"),
    include_str!("../migrations/0003_look_ups.sql"),
];

/// What an operator chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Records that an officer looks up in a day without asking another.
    pub daily_look_ups: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { daily_look_ups: DAILY_LOOK_UPS }
    }
}

/// The registry; clones are handles to the same one.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    database: Mutex<Connection>,
    keys: Keys,
    options: Options,
    log: Arc<dyn AccessLog>,
    funds: Arc<dyn Funds>,
    orders: Arc<dyn PaymentOrders>,
    clock: Arc<dyn Clock>,
}

impl Registry {
    /// Opens the registry in a folder, or makes one with fresh keys, and finishes approvals that a crash interrupted.
    ///
    /// # Errors
    /// When the folder or the database can't be used.
    pub fn open(
        folder: &Path,
        log: Arc<dyn AccessLog>,
        funds: Arc<dyn Funds>,
        orders: Arc<dyn PaymentOrders>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, RegistryError> {
        std::fs::create_dir_all(folder)?;
        let keys = Keys::open(&folder.join("keys"))?;
        let database = storage::sqlite::open(&folder.join("registry.db"), &MIGRATIONS, &keys.row_key())?;
        let inner = Inner { database: Mutex::new(database), keys, options, log, funds, orders, clock };
        let registry = Registry { inner: Arc::new(inner) };
        registry.resume_approvals()?;
        Ok(registry)
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.inner.database.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn act<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut database = self.connection();
        let transaction = database.transaction()?;
        let result = act(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn daily_look_ups(&self) -> u32 {
        self.inner.options.daily_look_ups
    }

    pub(crate) fn log(&self) -> &dyn AccessLog {
        &*self.inner.log
    }

    pub(crate) fn funds(&self) -> &dyn Funds {
        &*self.inner.funds
    }

    pub(crate) fn orders(&self) -> &dyn PaymentOrders {
        &*self.inner.orders
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// The sealed record of a person, or those of all.
    pub(crate) fn sealed_records(&self, person: Option<&str>) -> Result<Vec<SealedRecord>, RegistryError> {
        let database = self.connection();
        let read = |row: &rusqlite::Row<'_>| {
            Ok(SealedRecord { id: row.get(0)?, wrapped_key: row.get(1)?, sealed: row.get(2)? })
        };
        let records = match person {
            Some(id) => database
                .prepare_cached("SELECT id, wrapped_key, sealed FROM people WHERE id = ?1")?
                .query_map([id], read)?
                .collect::<Result<_, _>>()?,
            None => database
                .prepare_cached("SELECT id, wrapped_key, sealed FROM people ORDER BY id")?
                .query_map([], read)?
                .collect::<Result<_, _>>()?,
        };
        Ok(records)
    }
}
