//! One row changed on disk, in every table of every service: the audit must fail and name it.

mod running;

use std::fs;
use std::path::Path;

use mint::keysets::MintSeed;
use mint::store::lsm::LsmStore;
use mint::store::{Store, Table};
use running::{Programme, Up, bad, copy_folder, good};
use rusqlite::Connection;
use rusqlite::types::Value;

/// A programme in which every table has a row: paid, spent, redeemed, settled, with a stray deposit and a flagged person.
fn played() -> (tempfile::TempDir, std::path::PathBuf) {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let wallet = programme.wallet(0);
    good(&format!("wallet collect --wallet {}", wallet.display()));
    let token = good(&format!("wallet send 12.34 --wallet {}", wallet.display()));
    let till = programme.till();
    // The till's folder holds a wallet of the same kind: money gets there without a payment request, too.
    good(&format!("wallet receive {} --wallet {}/till-wallet.json", token.trim(), till.display()));
    good(&format!("till redeem --till {}", till.display()));
    programme.assert_balanced();
    let payments = programme.files.join("pain.xml");
    programme.good(&format!(
        "settle --debtor Programme --iban GB82WEST12345698765432 --out {} --as fina",
        payments.display()
    ));
    let again = programme.files.join("again.xml");
    programme.good(&format!("settle --again --out {} --as fina", again.display()));
    assert_eq!(fs::read(&again).unwrap(), fs::read(&payments).unwrap());
    let statement = programme.files.join("S-2.xml");
    let stray = "RF18539007547034=1.00";
    fs::write(
        &statement,
        good(&format!("bank --id S-2 --opening 4000.00 --deposit {stray} --confirm {}", payments.display())),
    )
    .unwrap();
    programme.good(&format!("fund {} --as fina", statement.display()));
    let Programme { up, data, temporary, .. } = programme;
    up.stop();
    let up = Up::start_with(&data, "127.0.0.1:0", &["--daily-look-ups", "1"]).unwrap();
    let here = |line: &str| format!("{line} --data {}", data.display());
    let look_up = here("person show S-100000 --purpose answer-person --as rita");
    good(&look_up);
    bad(&look_up, &["waits for another registrar"]);
    up.stop();
    (temporary, data)
}

/// Does something to a copy of a data folder; the audit must fail and say `told`.
fn attack(data: &Path, told: &str, act: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let copied = folder.path().join("data");
    copy_folder(data, &copied);
    act(&copied);
    bad(&format!("audit --data {}", copied.display()), &[told]);
}

#[test]
fn a_row_changed_in_any_column_of_any_table_is_named() {
    let (_folder, data) = played();
    let mut tried = 0;
    for file in ["registry/registry.db", "treasury/treasury.db"] {
        let database = Connection::open(data.join(file)).unwrap();
        let mut columns = database
            .prepare(
                "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
                 WHERE t.type = 'table' AND c.name <> 'row_mac' ORDER BY 1, 2",
            )
            .unwrap();
        let columns: Vec<(String, String)> =
            columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        for (table, column) in columns {
            // `table_sums` is named by the table that it counts.
            let told = if table == "table_sums" { String::new() } else { table.clone() };
            attack(&data, &told, |copied| change_one(&copied.join(file), &table, &column));
            tried += 1;
        }
    }
    assert!(tried > 60, "only {tried} columns");
    // Nothing was locked and no keyset was closed here; crates/mint/tests has both.
    for table in Table::ALL.into_iter().filter(|table| ![Table::Witnesses, Table::Closed].contains(table)) {
        attack(&data, &format!("of {}", table.name()), |copied| {
            let seed = MintSeed::open(&copied.join("mint/mint.seed")).unwrap();
            let store = LsmStore::open(&copied.join("mint/store"), &seed).unwrap();
            let mut first = None;
            store
                .scan(&[table], &mut |_, key, _, _| {
                    first.get_or_insert_with(|| key.to_vec());
                })
                .unwrap();
            let key = first.unwrap_or_else(|| panic!("{} has no row", table.name()));
            store.overwrite_raw(table, &key, &|value| value[0] ^= 1).unwrap();
        });
    }
    attack(&data, "log", |copied| {
        let folder = copied.join("log/public/tile/entries/000.p");
        let bundles: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        for bundle in bundles {
            let mut bytes = fs::read(&bundle).unwrap();
            let last = bytes.len() - 2;
            bytes[last] ^= 1;
            fs::write(&bundle, bytes).unwrap();
        }
    });
    attack(&data, "journal", |copied| {
        let treasury = Connection::open(copied.join("treasury/treasury.db")).unwrap();
        treasury.execute("DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)", []).unwrap();
    });
}

/// Changes one value of the first row that has one there.
fn change_one(file: &Path, table: &str, column: &str) {
    let database = Connection::open(file).unwrap();
    // The one table without row ids.
    let by = if table == "blocks" { "block" } else { "rowid" };
    let place: Value = database
        .query_row(&format!("SELECT {by} FROM {table} LIMIT 1"), [], |row| row.get(0))
        .unwrap_or_else(|error| panic!("{table}: {error}"));
    let value: Value = database
        .query_row(&format!("SELECT {column} FROM {table} WHERE {by} = ?1"), [&place], |row| row.get(0))
        .unwrap();
    let changed = match value {
        Value::Null => Value::Text("x".into()),
        Value::Integer(number) => Value::Integer(number + 1_000),
        Value::Real(number) => Value::Real(number / 2.0),
        Value::Text(text) => Value::Text(text + "x"),
        Value::Blob(mut bytes) => {
            bytes[0] ^= 1;
            Value::Blob(bytes)
        }
    };
    // The thief has no regard for constraints, and NULL columns are of the kind that the schema says.
    database.pragma_update(None, "ignore_check_constraints", true).unwrap();
    let mut update = format!("UPDATE {table} SET {column} = ?1 WHERE {by} = ?2");
    if table == "blocks" {
        // Several people may be in one block, and two of them can't become the same.
        update += " AND person = (SELECT person FROM blocks WHERE block = ?2 LIMIT 1)";
    }
    let blob = || database.execute(&update, rusqlite::params![Value::Blob(vec![1]), place]);
    database
        .execute(&update, rusqlite::params![changed, place])
        .or_else(|first| blob().map_err(|_| first))
        .unwrap_or_else(|error| panic!("{table}.{column}: {error}"));
}
