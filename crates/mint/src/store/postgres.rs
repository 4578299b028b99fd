//! The store on PostgreSQL, for several mint processes on one database.
//!
//! A batch is one statement and so one round trip and one transaction: it inserts the rows of all accepted changes, and fails as a
//! whole when one of the keys is there (`unique_violation`). Then a second round trip asks which, the changes that want those are
//! refused, and the rest is tried again. Without contention, which is nearly always, there is no second.
//!
//! Keys are random points and ids, tables have a primary key and nothing else, rows are only inserted: no sequence, no lock, no
//! update. Keys go in sorted, so that two processes that want the same ones wait for each other in the same order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use ::postgres::binary_copy::BinaryCopyInWriter;
use ::postgres::error::SqlState;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::types::{ToSql, Type};
use ::postgres::{Client, Error, IsolationLevel, NoTls, Statement};

use super::{Change, Condition, Moment, Outcome, RowMac, Sink, Store, StoreKind, Table, contents};
use crate::backup::{BackupError, NextRow};
use crate::keysets::MintSeed;
use crate::{MintError, MintEvent};

/// Connections that are kept for reading; more are made when all are in use, and closed afterwards.
const READERS_KEPT: usize = 4;
/// How often a batch is tried again when other processes take its keys. Each time some of its changes are refused for good, or the
/// database asked for a repeat; so many in a row is a fault.
const TRIES_MAX: usize = 100;

/// Numbered; applied in order at start, forward only.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_mint.sql"),
    include_str!("../../migrations/0002_closed.sql"),
    include_str!("../../migrations/0003_seed.sql"),
    include_str!("../../migrations/0004_event_queue.sql"),
];

/// A database.
pub struct PostgresStore {
    config: ::postgres::Config,
    writer: Mutex<Option<Writer>>,
    readers: Mutex<Vec<Client>>,
    mac: RowMac,
}

/// The committer's connection. Made again after a failure.
struct Writer {
    client: Client,
    insert: Statement,
}

impl PostgresStore {
    /// Opens a database by its address (`postgres://…`), and brings its tables up to date.
    ///
    /// # Errors
    /// When it can't be reached, comes from a newer version, or was made with another seed.
    pub fn open(address: &str, seed: &MintSeed) -> Result<Self, MintError> {
        let config: ::postgres::Config = address.parse().map_err(failed)?;
        let mut client = config.connect(NoTls).map_err(failed)?;
        migrate(&mut client)?;
        let writer = Some(Writer::new(client)?);
        let mac = RowMac::new(seed)?;
        let store = PostgresStore { config, writer: Mutex::new(writer), readers: Mutex::default(), mac };
        store.check_seed(seed)?;
        store.queue_events()?;
        Ok(store)
    }

    /// Holds the seed against the fingerprint that the database was made with. The first mint process leaves its own.
    fn check_seed(&self, seed: &MintSeed) -> Result<(), MintError> {
        let read = |client: &mut Client| {
            let row = client.query_opt("SELECT fingerprint FROM seed", &[])?;
            Ok(row.map(|row| row.get::<_, Vec<u8>>(0)))
        };
        if self.read(read)?.is_none() {
            // New, or from before fingerprints were kept; then its keysets have MACs of the right seed.
            let mut all_right = true;
            self.scan(&[Table::Keysets], &mut |_, _, _, right| all_right &= right)?;
            if !all_right {
                return Err(MintError::Key("the keysets in the database were not made with it".into()));
            }
            let insert = "INSERT INTO seed (one, fingerprint) VALUES (1, $1) ON CONFLICT DO NOTHING";
            self.read(|client| client.execute(insert, &[&seed.fingerprint().as_slice()]))?;
        }
        // Another process may have been faster.
        let kept = self.read(read)?.ok_or_else(|| damaged("the table seed is empty"))?;
        seed.must_have_made(&kept)
    }

    /// Takes a backup's rows into a database that has none, all in one transaction: a cut leaves it empty.
    ///
    /// # Errors
    /// When the database has rows or can't be written, or the rows end too early.
    pub fn restore(address: &str, seed: &MintSeed, next: NextRow<'_>) -> Result<(), BackupError> {
        let lost = |error| BackupError::Store(failed(error).into());
        let config: ::postgres::Config = address.parse().map_err(lost)?;
        let mut client = config.connect(NoTls).map_err(lost)?;
        migrate(&mut client)?;
        let mac = RowMac::new(seed)?;
        let mut transaction = client.transaction().map_err(lost)?;
        for table in Table::ALL {
            let any = format!("SELECT EXISTS (SELECT 1 FROM {})", table.name());
            if transaction.query_one(&any, &[]).map_err(lost)?.get(0) {
                return Err(BackupError::Occupied);
            }
        }
        // An empty database may have been somebody else's.
        let made_with = "INSERT INTO seed (one, fingerprint) VALUES (1, $1) ON CONFLICT DO NOTHING";
        transaction.execute(made_with, &[&seed.fingerprint().as_slice()]).map_err(lost)?;
        let made_with = transaction.query_one("SELECT fingerprint FROM seed", &[]).map_err(lost)?;
        seed.must_have_made(made_with.get(0))?;
        // One table can be copied into at a time, and an event is a row of two.
        let numbered = "CREATE TEMPORARY TABLE restored_events (key BYTEA, value BYTEA, number BIGINT) ON COMMIT DROP";
        transaction.batch_execute(numbered).map_err(lost)?;
        let mut waiting = next()?;
        while let Some(table) = waiting.as_ref().map(|row| row.table) {
            let (into, kinds): (_, &[Type]) = match table {
                Table::Events => ("restored_events", &[Type::BYTEA, Type::BYTEA, Type::INT8]),
                _ => (table.name(), &[Type::BYTEA, Type::BYTEA]),
            };
            let columns = if table == Table::Events { "key, value, number" } else { "key, value" };
            let copy = transaction.copy_in(&format!("COPY {into} ({columns}) FROM STDIN BINARY")).map_err(lost)?;
            let mut copy = BinaryCopyInWriter::new(copy, kinds);
            while let Some(row) = waiting.take_if(|row| row.table == table) {
                if table == Table::Events {
                    let event: MintEvent = serde_json::from_slice(&row.value)
                        .map_err(|_| BackupError::Damaged("it has an event that can't be read".into()))?;
                    let number = row.key.as_slice().try_into().map(i64::from_be_bytes).unwrap_or(0);
                    let key = event.subject().as_bytes();
                    let sealed = mac.seal(table.name(), key, &row.value);
                    copy.write(&[&key, &sealed, &number]).map_err(lost)?;
                } else {
                    let sealed = mac.seal(table.name(), &row.key, &row.value);
                    copy.write(&[&row.key, &sealed]).map_err(lost)?;
                }
                waiting = next()?;
            }
            copy.finish().map_err(lost)?;
        }
        let place_events = "INSERT INTO events (key, value) SELECT key, value FROM restored_events;
             INSERT INTO event_numbers (number, key) SELECT number, key FROM restored_events";
        transaction.batch_execute(place_events).map_err(lost)?;
        transaction.commit().map_err(lost)
    }

    /// Does something with a connection of its own; a connection that was lost is not used again.
    fn read<T>(&self, act: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Failure> {
        self.read_and_keep(|client| Ok((act(client)?, true)))
    }

    /// The same; `act` says besides whether the connection may be used again.
    fn read_and_keep<T>(&self, act: impl FnOnce(&mut Client) -> Result<(T, bool), Error>) -> Result<T, Failure> {
        let kept = self.readers.lock().expect("no holder of this lock panics").pop();
        let mut client = match kept {
            Some(client) => client,
            None => self.config.connect(NoTls).map_err(failed)?,
        };
        let result = act(&mut client).map_err(failed);
        let again = result.as_ref().map_or(true, |(_, again)| *again);
        if self.is_connected_after(&result) && again {
            let mut readers = self.readers.lock().expect("no holder of this lock panics");
            if readers.len() < READERS_KEPT {
                readers.push(client);
            }
        }
        result.map(|(result, _)| result)
    }

    /// Whether a connection that gave this result can be used again. If not, the others have lost the same server.
    fn is_connected_after<T>(&self, result: &Result<T, Failure>) -> bool {
        let lost = matches!(result, Err(Failure::Other(MintError::Unreachable(_))));
        if lost {
            self.readers.lock().expect("no holder of this lock panics").clear();
        }
        !lost
    }

    /// Does something with the committer's connection; when that was lost, the next one is new.
    fn write<T>(&self, act: impl FnOnce(&mut Writer) -> Result<T, Error>) -> Result<T, Failure> {
        let mut kept = self.writer.lock().expect("no holder of this lock panics");
        let mut writer = match kept.take() {
            Some(writer) => writer,
            None => Writer::new(self.config.connect(NoTls).map_err(failed)?)?,
        };
        let result = act(&mut writer).map_err(failed);
        if self.is_connected_after(&result) {
            *kept = Some(writer);
        }
        result
    }

    /// The rows of accepted changes, by table, sorted by key, with MACs. Events are rows under their quote.
    fn rows<'a>(&self, accepted: impl Iterator<Item = &'a Change>) -> BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut rows: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        for change in accepted {
            for (table, key, value) in &change.rows {
                let sealed = self.mac.seal(table.name(), key, value);
                rows.entry(*table).or_default().insert(key.clone(), sealed);
            }
            for event in &change.events {
                let key = event.subject().as_bytes().to_vec();
                let value = serde_json::to_vec(event).expect("plain data");
                let sealed = self.mac.seal(Table::Events.name(), &key, &value);
                rows.entry(Table::Events).or_default().insert(key, sealed);
            }
        }
        rows
    }

    /// Puts events into the queue that have no number and are not in it: those of a version that had no queue.
    fn queue_events(&self) -> Result<(), MintError> {
        let statement = "INSERT INTO event_queue (key) SELECT key FROM events e
             WHERE NOT EXISTS (SELECT 1 FROM event_numbers n WHERE n.key = e.key) ON CONFLICT DO NOTHING";
        self.read(|client| client.execute(statement, &[]))?;
        Ok(())
    }

    /// Gives numbers to the events that have none, and so an order: the reader's, not the writers'. Issues come before redemptions
    /// ("issued" sorts before "redeemed"), as money is made before it is spent. Two readers that number at once can't both insert a
    /// number; the loser tries again.
    fn number_events(&self) -> Result<(), MintError> {
        for _ in 0..TRIES_MAX {
            let numbered = self.read(|client| {
                client.execute(
                    "WITH taken AS (DELETE FROM event_queue RETURNING key)
                     INSERT INTO event_numbers (number, key)
                     SELECT (SELECT coalesce(max(number), 0) FROM event_numbers) + row_number() OVER (ORDER BY value), key
                     FROM taken JOIN events USING (key)",
                    &[],
                )
            });
            match numbered {
                Ok(_) => return Ok(()),
                Err(Failure::Again) => {}
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Err(stuck())
    }
}

impl Store for PostgresStore {
    fn commit(&self, changes: &[Change]) -> Result<Vec<Outcome>, MintError> {
        let mut there: HashSet<(Table, Vec<u8>)> = HashSet::new();
        for _ in 0..TRIES_MAX {
            let outcomes = decide(changes, &there);
            let accepted =
                changes.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(change, _)| change);
            let rows = self.rows(accepted);
            if rows.is_empty() {
                return Ok(outcomes);
            }
            match self.write(|writer| writer.insert(&rows)) {
                Ok(()) => return Ok(outcomes),
                Err(Failure::Again) => {
                    for (table, keys) in &rows {
                        let keys: Vec<&[u8]> = keys.keys().map(Vec::as_slice).collect();
                        let found = self.get(*table, &keys)?;
                        let found = keys.into_iter().zip(found).filter(|(_, row)| row.is_some());
                        there.extend(found.map(|(key, _)| (*table, key.to_vec())));
                    }
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Err(stuck())
    }

    fn goes_on_after_failure(&self) -> bool {
        true
    }

    fn get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, MintError> {
        let statement = format!(
            "SELECT t.value FROM unnest($1::bytea[]) WITH ORDINALITY AS k(key, place)
             LEFT JOIN {} t ON t.key = k.key ORDER BY k.place",
            table.name()
        );
        let rows = self.read(|client| client.query(&statement, &[&keys]))?;
        Ok(rows.iter().map(|row| row.get::<_, Option<&[u8]>>(0).map(contents)).collect())
    }

    fn export(&self, tables: &[Table], sink: &mut dyn Sink) -> Result<(), MintError> {
        if tables.contains(&Table::Events) {
            self.number_events()?;
        }
        self.read_and_keep(|client| {
            let cancel = client.cancel_token();
            let one_moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
            let mut transaction = one_moment.start()?;
            let last = transaction.query_one("SELECT coalesce(max(number), 0) FROM event_numbers", &[])?;
            let last_event = last.get::<_, i64>(0) as u64;
            if sink.begin(Moment { last_commit: None, last_event }).is_break() {
                return Ok(((), true));
            }
            for table in tables {
                for statement in statements(*table) {
                    let mut rows = transaction.query_raw(&statement, std::iter::empty::<&dyn ToSql>())?;
                    while let Some(row) = rows.next()? {
                        let (shown, stored, key): (&[u8], &[u8], &[u8]) = (row.get(0), row.get(1), row.get(2));
                        let (value, right) = self.mac.open(table.name(), key, stored);
                        if sink.row(*table, shown, value, right).is_break() {
                            // Or all the rows that nobody wants any more would have to be read first. The connection is of no
                            // more use: the cancellation may arrive when another statement is under way.
                            cancel.cancel_query(NoTls)?;
                            return Ok(((), false));
                        }
                    }
                }
            }
            transaction.commit()?;
            Ok(((), true))
        })?;
        Ok(())
    }

    fn kind(&self) -> StoreKind {
        StoreKind::PostgreSql
    }

    fn condition(&self) -> Result<Condition, MintError> {
        // A table that was never analysed has -1 in reltuples; the collector of statistics knows of new rows earlier.
        let statement = "SELECT CASE WHEN c.reltuples > 0 THEN c.reltuples::bigint
                    ELSE nullif(pg_stat_get_live_tuples(c.oid), 0) END, pg_total_relation_size(c.oid)
             FROM unnest($1::text[]) WITH ORDINALITY AS t(name, place)
             JOIN pg_class c ON c.oid = to_regclass(t.name) ORDER BY t.place";
        let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).chain(["event_numbers"]).collect();
        let rows = self.read(|client| client.query(statement, &[&names]))?;
        let count = |row: &::postgres::Row| row.get::<_, Option<i64>>(0).and_then(|count| u64::try_from(count).ok());
        Ok(Condition {
            bytes: rows.iter().map(|row| row.get::<_, i64>(1) as u64).sum(),
            last_commit: None,
            rows: Table::ALL.into_iter().zip(rows.iter().map(count)).collect(),
        })
    }

    fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, MintEvent)>, MintError> {
        self.number_events()?;
        let (cursor, limit) = (i64::try_from(cursor).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = self.read(|client| {
            client.query(
                "SELECT n.number, e.value FROM event_numbers n JOIN events e ON e.key = n.key
                 WHERE n.number > $1 ORDER BY n.number LIMIT $2",
                &[&cursor, &limit],
            )
        })?;
        let event = |row: &::postgres::Row| {
            let event =
                serde_json::from_slice(&contents(row.get(1))).map_err(|_| damaged("a row of events is damaged"))?;
            Ok((row.get::<_, i64>(0) as u64, event))
        };
        rows.iter().map(event).collect()
    }

    fn last_event(&self) -> Result<u64, MintError> {
        self.number_events()?;
        let row = self.read(|client| client.query_one("SELECT coalesce(max(number), 0) FROM event_numbers", &[]))?;
        Ok(row.get::<_, i64>(0) as u64)
    }

    fn drop_tokens(&self, keyset: u16) -> Result<u64, MintError> {
        let number = keyset.to_be_bytes();
        let mut dropped = 0;
        for table in [Table::Signed, Table::Spent] {
            let statement = format!(
                "WITH gone AS (
                    DELETE FROM {} WHERE key >= $1 AND key < $2 AND substring(value FROM 1 FOR 2) = $3 RETURNING key
                 ), witnesses_gone AS (DELETE FROM witnesses w USING gone WHERE w.key = gone.key)
                 SELECT count(*) FROM gone",
                table.name()
            );
            // Compressed points begin with 02 or 03; one range of keys at a time, so that no transaction is long.
            for sign in [2u8, 3] {
                for first in 0..=u8::MAX {
                    let (from, to) =
                        (vec![sign, first], first.checked_add(1).map_or(vec![sign + 1], |next| vec![sign, next]));
                    let row = self.read(|client| client.query_one(&statement, &[&from, &to, &number.as_slice()]))?;
                    dropped += row.get::<_, i64>(0) as u64;
                }
            }
        }
        Ok(dropped)
    }

    fn overwrite_raw(&self, table: Table, key: &[u8], change: &dyn Fn(&mut Vec<u8>)) -> Result<(), MintError> {
        let name = table.name();
        self.read(|client| {
            let row = client.query_one(&format!("SELECT value FROM {name} WHERE key = $1"), &[&key])?;
            let mut value: Vec<u8> = row.get(0);
            change(&mut value);
            client.execute(&format!("UPDATE {name} SET value = $2 WHERE key = $1"), &[&key, &value])
        })?;
        Ok(())
    }
}

impl Writer {
    fn new(mut client: Client) -> Result<Self, Failure> {
        // Every table in one statement: the rows of a batch go in together, in one round trip.
        let mut inserts: Vec<String> = (0..)
            .zip(Table::ALL)
            .map(|(place, table)| {
                let (keys, values) = (2 * place + 1, 2 * place + 2);
                let name = table.name();
                format!(
                    "{name}_rows AS (INSERT INTO {name} SELECT * FROM unnest(${keys}::bytea[], ${values}::bytea[]))"
                )
            })
            .collect();
        let events = 2 * Table::ALL.iter().position(|table| *table == Table::Events).expect("a table") + 1;
        inserts.push(format!("queued AS (INSERT INTO event_queue SELECT unnest(${events}::bytea[]))"));
        let insert = client.prepare(&format!("WITH {} SELECT 1", inserts.join(", "))).map_err(failed)?;
        Ok(Writer { client, insert })
    }

    fn insert(&mut self, rows: &BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>) -> Result<(), Error> {
        let empty = BTreeMap::new();
        let mut arrays: Vec<Vec<&[u8]>> = Vec::with_capacity(2 * Table::ALL.len());
        for table in Table::ALL {
            let rows = rows.get(&table).unwrap_or(&empty);
            arrays.push(rows.keys().map(Vec::as_slice).collect());
            arrays.push(rows.values().map(Vec::as_slice).collect());
        }
        let parameters: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
        self.client.execute(&self.insert, &parameters).map(drop)
    }
}

/// Decides changes in order against keys that are known to be there, and against one another.
fn decide(changes: &[Change], there: &HashSet<(Table, Vec<u8>)>) -> Vec<Outcome> {
    let mut taken: HashSet<(Table, &[u8])> = HashSet::new();
    let mut outcomes = Vec::with_capacity(changes.len());
    for change in changes {
        let found = change.rows.iter().find(|(table, key, _)| {
            taken.contains(&(*table, key.as_slice())) || there.contains(&(*table, key.clone()))
        });
        match found {
            Some((table, _, _)) => outcomes.push(Err(*table)),
            None => {
                taken.extend(change.rows.iter().map(|(table, key, _)| (*table, key.as_slice())));
                outcomes.push(Ok(()));
            }
        }
    }
    outcomes
}

/// What gives the rows of a table: the key to show, the value, the key that its MAC is for. Events that have no number yet at that
/// moment come after those that have, under the numbers that they would get.
fn statements(table: Table) -> Vec<String> {
    match table {
        Table::Events => vec![
            "SELECT int8send(n.number), e.value, e.key FROM event_numbers n JOIN events e ON e.key = n.key
             ORDER BY n.number"
                .to_owned(),
            "SELECT int8send((SELECT coalesce(max(number), 0) FROM event_numbers) + row_number() OVER (ORDER BY value)),
             value, key FROM events WHERE NOT EXISTS (SELECT 1 FROM event_numbers n WHERE n.key = events.key)
             ORDER BY value"
                .to_owned(),
        ],
        _ => vec![format!("SELECT key, value, key FROM {} ORDER BY key", table.name())],
    }
}

fn migrate(client: &mut Client) -> Result<(), MintError> {
    client.batch_execute("CREATE TABLE IF NOT EXISTS schema_versions (version INT PRIMARY KEY)").map_err(failed)?;
    let version = client.query_one("SELECT coalesce(max(version), 0) FROM schema_versions", &[]).map_err(failed)?;
    let version = usize::try_from(version.get::<_, i32>(0)).unwrap_or(0);
    if version > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        return Err(damaged(&format!(
            "its tables were made by a newer version of habeas (schema {version}, here {known}): use that one"
        )));
    }
    for (number, migration) in (1i32..).zip(MIGRATIONS).skip(version) {
        let mut transaction = client.transaction().map_err(failed)?;
        transaction.execute("INSERT INTO schema_versions VALUES ($1)", &[&number]).map_err(failed)?;
        transaction.batch_execute(migration).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// Why a statement did not go through.
enum Failure {
    /// A key is there already, or the database asks for a repeat.
    Again,
    /// Something that a repeat does not mend.
    Other(MintError),
}

impl From<Failure> for MintError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Again => stuck(),
            Failure::Other(error) => error,
        }
    }
}

fn failed(error: Error) -> Failure {
    let again = [SqlState::UNIQUE_VIOLATION, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    if error.code().is_some_and(|code| again.contains(code)) {
        return Failure::Again;
    }
    Failure::Other(match (error.as_db_error(), std::error::Error::source(&error)) {
        // The server is stopping or starting.
        (Some(told), _) if told.code().code().starts_with("57P") => MintError::Unreachable(told.message().to_owned()),
        // Its own words only: they hold no row.
        (Some(told), _) => damaged(told.message()),
        (None, Some(source)) => MintError::Unreachable(format!("{error}: {source}")),
        (None, None) => MintError::Unreachable(error.to_string()),
    })
}

fn damaged(detail: &str) -> MintError {
    MintError::Store { folder: "PostgreSQL".into(), detail: detail.to_owned() }
}

fn stuck() -> MintError {
    damaged("a batch was tried a hundred times and could not be decided")
}
