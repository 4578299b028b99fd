//! SQLite with a MAC in every row.
//!
//! Each table has a column `row_mac`; triggers that exist in this connection only fill it on every insert and update, with a MAC
//! over the table's name and the row's other columns. `table_sums` holds for each table the number of its rows and the sum of
//! their MACs, so that a row that was removed, added or put back in an older form is noticed too. [`audit`] recomputes all of it.
//! A row that was changed is never updated or deleted either, since a new MAC would hide the change: the transaction fails.
//!
//! Whoever has the database without the key can't change a row unseen. Putting back an older copy of the whole database is not
//! noticed here: what other services and the public log say holds against that.

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, params};
use sha2::Sha256;
use zeroize::Zeroizing;

/// At most this many changed rows of a table are named: a table that is damaged throughout has one cause.
const NAMED_MAX: usize = 20;

const SUMS: &str = "CREATE TABLE table_sums (
    name TEXT PRIMARY KEY, row_count INTEGER NOT NULL, mac_sum BLOB NOT NULL, row_mac BLOB
) STRICT;";

/// Opens a database, or makes one: every transaction is on disk when it ends, `migrations` that are new are applied in order,
/// and rows get their MACs under `key`.
///
/// Every table that a migration makes must have a primary key and a column `row_mac BLOB`.
///
/// # Errors
/// When the file can't be used, is not a database, has other tables than the migrations make, or comes from a newer version.
pub fn open(file: &Path, migrations: &[&str], key: &[u8; 32]) -> Result<Connection> {
    let mut database = Connection::open(file)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    add_functions(&database, key)?;
    migrate(&mut database, migrations)?;
    // A planted trigger would change rows through this connection, and they would get right MACs.
    if schema(&database)? != schema_of(migrations)? {
        return Err(refusal("its tables were changed on disk: bring it back from a backup".into()));
    }
    let tables = tables(&database)?;
    database.execute_batch(&tables.iter().map(Table::triggers).collect::<String>())?;
    for table in tables {
        let zero = [0u8; 32];
        database.execute(
            "INSERT INTO table_sums VALUES (?1, 0, ?2, row_mac('table_sums', ?1, 0, ?2)) ON CONFLICT DO NOTHING",
            params![table.name, zero],
        )?;
    }
    Ok(database)
}

/// What people can be told when the database can't be used: a full disk they can mend themselves; the rest is for the log.
pub fn sentence(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => "the disk is full, so nothing was changed: free some room and try again",
        Some(rusqlite::ErrorCode::ReadOnly) => "the database can't be written: its files are read-only",
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            "the database is damaged: stop, and bring it back from a backup"
        }
        _ => "the database can't be used just now",
    }
}

/// Recomputes the MAC of every row and the sums of every table; gives a sentence for each thing that is wrong.
///
/// # Errors
/// When the database can't be read.
pub fn audit(database: &Connection) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for table in tables(database)? {
        let mut rows = database.prepare(&table.rows())?;
        let mut rows = rows.query([])?;
        let (mut count, mut sum, mut named) = (0i64, [0; 32], 0);
        while let Some(row) = rows.next()? {
            let (key, stored): (String, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
            let computed: Vec<u8> = row.get(2)?;
            if stored.as_ref() != Some(&computed) && named < NAMED_MAX {
                named += 1;
                problems.push(format!("the row {key} of {} was changed on disk", table.name));
            }
            count += 1;
            sum = plus(sum, stored.and_then(|mac| mac.try_into().ok()).unwrap_or_default());
        }
        let kept: (i64, [u8; 32], bool) = database.query_row(
            "SELECT row_count, mac_sum, row_mac IS row_mac('table_sums', name, row_count, mac_sum)
             FROM table_sums WHERE name = ?1",
            [&table.name],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        if named == 0 && kept != (count, sum, true) {
            problems.push(format!("a row of {} was removed, added or put back on disk", table.name));
        }
    }
    Ok(problems)
}

struct Table {
    name: String,
    /// All but `row_mac`.
    columns: Vec<String>,
    primary_key: Vec<String>,
}

impl Table {
    fn mac_of(&self, prefix: &str) -> String {
        let columns: String = self.columns.iter().map(|column| format!(", {prefix}{column}")).collect();
        format!("row_mac('{}'{columns})", self.name)
    }

    /// The table's triggers: temporary, so that the file has none and anybody can read it.
    fn triggers(&self) -> String {
        let (name, mac) = (&self.name, self.mac_of("NEW."));
        let same: Vec<String> = self.primary_key.iter().map(|column| format!("{column} = NEW.{column}")).collect();
        let same = same.join(" AND ");
        let columns = self.columns.join(", ");
        let sum = |rows: &str, minus: &str, plus: &str| {
            let (count, sum) = (format!("row_count + {rows}"), format!("mac_sum(mac_sum, {minus}, {plus})"));
            format!(
                "UPDATE table_sums SET row_count = {count}, mac_sum = {sum},
                 row_mac = row_mac('table_sums', name, {count}, {sum}) WHERE name = '{name}';"
            )
        };
        let (wrong, old) = (format!("a row of {name} was changed on disk: habeas audit names it"), self.mac_of("OLD."));
        let verify = format!("SELECT RAISE(ABORT, '{wrong}') WHERE OLD.row_mac IS NOT {old};");
        format!(
            "CREATE TEMP TRIGGER {name}_updating BEFORE UPDATE OF {columns} ON main.{name} BEGIN {verify} END;
             CREATE TEMP TRIGGER {name}_deleting BEFORE DELETE ON main.{name} BEGIN {verify} END;
             CREATE TEMP TRIGGER {name}_inserted AFTER INSERT ON main.{name} BEGIN
               UPDATE {name} SET row_mac = {mac} WHERE {same};
               {}
             END;
             CREATE TEMP TRIGGER {name}_updated AFTER UPDATE OF {columns} ON main.{name} BEGIN
               UPDATE {name} SET row_mac = {mac} WHERE {same};
               {}
             END;
             CREATE TEMP TRIGGER {name}_deleted AFTER DELETE ON main.{name} BEGIN
               {}
             END;",
            sum("1", "NULL", &mac),
            sum("0", "OLD.row_mac", &mac),
            sum("-1", "OLD.row_mac", "NULL"),
        )
    }

    /// Each row: its primary key for people to read, the MAC it has and the MAC it should have.
    fn rows(&self) -> String {
        let key: Vec<String> = self
            .primary_key
            .iter()
            .map(|column| format!("iif(typeof({column}) = 'blob', lower(hex({column})), {column})"))
            .collect();
        format!("SELECT CAST({} AS TEXT), row_mac, {} FROM {}", key.join(" || ' ' || "), self.mac_of(""), self.name)
    }
}

/// The tables, without `table_sums`.
fn tables(database: &Connection) -> Result<Vec<Table>> {
    let mut names = database.prepare(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'table_sums'
         ORDER BY name",
    )?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    let table = |name: String| {
        let mut columns = database.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
        let columns: Vec<(String, u32)> =
            columns.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_>>()?;
        let primary_key = columns.iter().filter(|(_, place)| *place > 0).map(|(column, _)| column.clone()).collect();
        let columns = columns.into_iter().map(|(column, _)| column).filter(|column| column != "row_mac").collect();
        Ok(Table { name, columns, primary_key })
    };
    names.into_iter().map(table).collect()
}

fn refusal(sentence: String) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(sentence.into())
}

fn migrate(database: &mut Connection, migrations: &[&str]) -> Result<()> {
    let version: usize = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > migrations.len() {
        return Err(refusal(format!("it was written by a newer version of habeas (schema {version}): use that one")));
    }
    for (number, migration) in migrations.iter().enumerate().skip(version) {
        let transaction = database.transaction()?;
        if number == 0 {
            transaction.execute_batch(SUMS)?;
        }
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// What the database is made of. A trigger that somebody planted would be in it.
fn schema(database: &Connection) -> Result<Vec<(String, Option<String>)>> {
    let mut statement = database.prepare("SELECT name, sql FROM main.sqlite_schema ORDER BY name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn schema_of(migrations: &[&str]) -> Result<Vec<(String, Option<String>)>> {
    let mut pristine = Connection::open_in_memory()?;
    migrate(&mut pristine, migrations)?;
    schema(&pristine)
}

/// `row_mac(table, column…)` and `mac_sum(sum, minus, plus)`. `SQLITE_DIRECTONLY`: a trigger or view in the file can't call them.
fn add_functions(database: &Connection, key: &[u8; 32]) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    let key = Zeroizing::new(*key);
    database.create_scalar_function("row_mac", -1, flags, move |values| Ok(row_mac(&key, values).to_vec()))?;
    database.create_scalar_function("mac_sum", 3, flags, |values| {
        let (minus_mac, plus_mac): (Option<[u8; 32]>, Option<[u8; 32]>) = (values.get(1)?, values.get(2)?);
        let sum = minus(values.get(0)?, minus_mac.unwrap_or_default());
        Ok(plus(sum, plus_mac.unwrap_or_default()).to_vec())
    })
}

/// HMAC-SHA256 over the values, each with its kind and length, so that no two rows give the same bytes.
fn row_mac(key: &[u8; 32], values: &Context<'_>) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for place in 0..values.len() {
        let value = values.get_raw(place);
        let integer;
        let (kind, bytes): (u8, &[u8]) = match value {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => {
                integer = number.to_be_bytes();
                (1, &integer)
            }
            ValueRef::Real(number) => {
                integer = number.to_bits().to_be_bytes();
                (2, &integer)
            }
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        mac.update(&[kind]);
        mac.update(&(bytes.len() as u64).to_be_bytes());
        mac.update(bytes);
    }
    mac.finalize().into_bytes().into()
}

/// `a + b` modulo 2²⁵⁶.
fn plus(mut a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    for (a, b) in a.iter_mut().zip(b).rev() {
        let sum = u16::from(*a) + u16::from(b) + carry;
        *a = sum.to_be_bytes()[1];
        carry = sum >> 8;
    }
    a
}

/// `a − b` modulo 2²⁵⁶.
fn minus(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    let one = {
        let mut one = [0; 32];
        one[31] = 1;
        one
    };
    plus(a, plus(b.map(|byte| !byte), one))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIGRATION: &str = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, number REAL, row_mac BLOB) STRICT;
        CREATE TABLE pairs (a BLOB NOT NULL, b TEXT NOT NULL, row_mac BLOB, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;";

    fn filled(file: &Path) -> Connection {
        let database = open(file, &[MIGRATION], &[7; 32]).unwrap();
        database
            .execute_batch(
                "INSERT INTO notes (id, text) VALUES (1, 'one'), (2, 'two'), (3, NULL);
                 UPDATE notes SET text = 'zwei', number = 1.5 WHERE id = 2;
                 DELETE FROM notes WHERE id = 3;
                 INSERT INTO pairs (a, b) VALUES (x'00ff', 'x'), (x'01', 'y');
                 INSERT INTO notes (id, text) VALUES (1, 'again') ON CONFLICT DO UPDATE SET text = excluded.text;",
            )
            .unwrap();
        database
    }

    #[test]
    fn honest_changes_pass() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        assert_eq!(audit(&filled(&file)).unwrap(), Vec::<String>::new());
        let again = open(&file, &[MIGRATION], &[7; 32]).unwrap();
        assert_eq!(audit(&again).unwrap(), Vec::<String>::new());
        again.execute("DELETE FROM notes", []).unwrap();
        assert_eq!(audit(&again).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn whatever_a_thief_does_to_the_file_is_named() {
        for (attack, told) in [
            ("UPDATE notes SET text = 'eins' WHERE id = 1", "the row 1 of notes was changed"),
            ("UPDATE notes SET number = NULL WHERE id = 2", "the row 2 of notes was changed"),
            ("UPDATE pairs SET b = 'z' WHERE a = x'01'", "the row 01 z of pairs was changed"),
            ("DELETE FROM notes WHERE id = 1", "a row of notes was removed"),
            ("INSERT INTO notes SELECT 9, text, number, row_mac FROM notes WHERE id = 1", "the row 9 of notes"),
            ("UPDATE table_sums SET row_count = 3 WHERE name = 'notes'", "a row of notes was removed"),
            ("DELETE FROM table_sums", "a row of notes was removed"),
            ("CREATE TRIGGER t AFTER INSERT ON pairs BEGIN UPDATE notes SET text = ''; END", "its tables were changed"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("a.db");
            drop(filled(&file));
            Connection::open(&file).unwrap().execute_batch(attack).unwrap();
            let problems = match open(&file, &[MIGRATION], &[7; 32]) {
                Ok(database) => audit(&database).unwrap().join("; "),
                Err(refused) => refused.to_string(),
            };
            assert!(problems.contains(told), "{attack}: {problems}");
        }
    }

    #[test]
    fn a_changed_row_can_not_be_used_further_and_so_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let database = filled(&file);
        Connection::open(&file).unwrap().execute("UPDATE notes SET text = 'eins' WHERE id = 1", []).unwrap();
        for honest in ["UPDATE notes SET number = 2 WHERE id = 1", "DELETE FROM notes WHERE id = 1"] {
            let error = database.execute(honest, []).unwrap_err().to_string();
            assert!(error.contains("a row of notes was changed on disk"), "{error}");
        }
        assert!(audit(&database).unwrap()[0].contains("the row 1 of notes"));
    }

    #[test]
    fn a_file_from_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        drop(open(&file, &[MIGRATION, "CREATE TABLE more (id INTEGER PRIMARY KEY, row_mac BLOB) STRICT;"], &[7; 32]));
        assert!(open(&file, &[MIGRATION], &[7; 32]).unwrap_err().to_string().contains("newer version"));
    }
}
