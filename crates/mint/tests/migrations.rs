//! PostgreSQL schema migrations: from an empty database, and from each version that there ever was, with the rows that it wrote.
//!
//! `tests/migrations/NNNN_rows.copy` holds what a mint wrote at schema version N (the seed is sevens). Whoever adds migration N + 1
//! writes that of N first: `WRITE_ROWS=1 cargo test -p mint --test migrations` before the migration is there.

mod world;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cashu::messages::{MeltQuoteRequest, MeltRequest, SwapRequest};
use cashu::{Amount, ErrorCode, Proof};
use mint::Options;
use postgres::{Client, NoTls};
use world::{Holder, Place, code, usd, world};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The migrations in order; their files are named by their numbers.
fn migrations() -> Vec<String> {
    let files = fs::read_dir(folder().join("migrations")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "sql")).collect();
    files.sort();
    for (number, file) in (1..).zip(&files) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("{number:04}_")), "{name} is migration {number}");
    }
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

fn rows_file(version: usize) -> PathBuf {
    folder().join(format!("tests/migrations/{version:04}_rows.copy"))
}

/// A place whose mint has the seed that the rows were written with.
fn place() -> (Place, Client) {
    let place = Place::postgres();
    let seed = place.path().join("mint.seed");
    fs::write(&seed, "07".repeat(32)).unwrap();
    fs::set_permissions(&seed, fs::Permissions::from_mode(0o600)).unwrap();
    let client = Client::connect(&place.database().unwrap(), NoTls).unwrap();
    (place, client)
}

/// Makes a database as version `version` left it.
fn at_version(client: &mut Client, version: usize) {
    client.batch_execute("CREATE TABLE schema_versions (version INT PRIMARY KEY)").unwrap();
    for (number, migration) in (1i32..).zip(migrations()).take(version) {
        client.batch_execute(&migration).unwrap();
        client.execute("INSERT INTO schema_versions VALUES ($1)", &[&number]).unwrap();
    }
}

/// Tables and their rows, as `COPY` writes them.
fn dump(client: &mut Client) -> BTreeMap<String, String> {
    let tables = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'schema_versions'";
    let tables = client.query(tables, &[]).unwrap();
    let copy = |row: &postgres::Row| {
        let (table, mut rows): (String, String) = (row.get(0), String::new());
        let statement = format!("COPY (SELECT * FROM {table} ORDER BY 1) TO STDOUT");
        client.copy_out(&statement).unwrap().read_to_string(&mut rows).unwrap();
        (table, rows)
    };
    tables.iter().map(copy).collect()
}

fn load(client: &mut Client, dumped: &str) {
    for section in dumped.split("-- ").filter(|section| !section.trim().is_empty()) {
        let (table, rows) = section.split_once('\n').unwrap();
        let mut copy = client.copy_in(&format!("COPY {table} FROM STDIN")).unwrap();
        copy.write_all(rows.as_bytes()).unwrap();
        copy.finish().unwrap();
    }
}

/// What a database is made of.
fn schema(client: &mut Client) -> Vec<String> {
    let statement =
        "SELECT format('%s.%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        ORDER BY 1";
    client.query(statement, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// What the mint of the kept rows did: collected 4, 8 and 16 for q-1, exchanged 4 and 8 into 4 and 8, redeemed 16, and was ordered q-2.
struct Played {
    holder: Holder,
    spent: Vec<Proof>,
    unspent: Vec<Proof>,
    swap: SwapRequest,
}

/// The requests come from seeds, so that they are known without having been kept.
fn play(mint: &mint::Mint, redeem: bool) -> Played {
    let mut holder = Holder::new(mint, 1);
    let mut spent = holder.collect(mint, "q-1", &[4, 8, 16]);
    spent[0].witness = Some("{}".into());
    let (first, outputs) = holder.outputs(&[4, 8]);
    let swap = SwapRequest { inputs: spent[..2].to_vec(), outputs };
    let unspent = holder.unblind(first, &mint.swap(&swap).unwrap());
    if redeem {
        let melt = mint.request_melt_quote(&MeltQuoteRequest { request: "m-1:16".into(), unit: usd() }).unwrap();
        mint.melt(&MeltRequest { quote: melt.quote, inputs: vec![spent[2].clone()], outputs: Vec::new() }).unwrap();
    }
    world::order(mint, "q-2", 3);
    Played { holder, spent, unspent, swap }
}

/// Writes down what the mint of today writes, for the migrations of tomorrow.
#[test]
fn the_rows_of_every_version_but_the_last_are_kept() {
    let newest = migrations().len();
    if std::env::var_os("WRITE_ROWS").is_some() {
        let (place, mut client) = place();
        let mint = place.open(&world());
        play(&mint, true);
        mint.events_after(0, 10).unwrap();
        mint.close();
        let mut text = String::new();
        for (table, rows) in dump(&mut client) {
            write!(text, "-- {table}\n{rows}").unwrap();
        }
        fs::write(rows_file(newest), text).unwrap();
    }
    for version in 1..newest {
        assert!(
            rows_file(version).exists(),
            "{} is missing: check out the code before migration {}, run WRITE_ROWS=1 cargo test -p mint --test migrations, and \
             keep the file",
            rows_file(version).display(),
            version + 1
        );
    }
}

#[test]
fn an_empty_database_and_every_older_one_come_to_the_same_schema() {
    let (place, mut client) = place();
    place.open(&world()).close();
    let newest = schema(&mut client);
    assert!(newest.iter().any(|line| line.starts_with("spent.key")), "{newest:?}");
    for version in 0..=migrations().len() {
        let (place, mut client) = self::place();
        at_version(&mut client, version);
        if version < migrations().len() {
            assert_ne!(schema(&mut client), newest, "the control: version {version} is another");
        }
        place.open(&world()).close();
        assert_eq!(schema(&mut client), newest, "from version {version}");
        // A second start has nothing to do.
        place.open(&world()).close();
        assert_eq!(schema(&mut client), newest);
    }
}

#[test]
fn from_each_version_with_rows_in_it_the_mint_goes_on() {
    for version in (1..=migrations().len()).filter(|version| rows_file(*version).exists()) {
        let (place, mut client) = place();
        at_version(&mut client, version);
        load(&mut client, &fs::read_to_string(rows_file(version)).unwrap());
        let world = world();
        let mint = place.open(&world);
        let audit = mint.audit().unwrap();
        assert!(audit.problems.is_empty(), "from version {version}: {:?}", audit.problems);
        assert_eq!((audit.totals[&usd()].issued, audit.outstanding(&usd())), (28, Amount::new(12)));
        let events = mint.events_after(0, 10).unwrap();
        assert_eq!(events.len(), 2, "from version {version}");
        // Asked again, everything is answered as it was; nothing is spent twice; what is unspent can be spent.
        let mut played = play(&mint, false);
        let (_, outputs) = played.holder.outputs(&[4, 8]);
        assert_eq!(code(mint.swap(&SwapRequest { outputs, ..played.swap })), ErrorCode::ProofsSpent);
        let (_, outputs) = played.holder.outputs(&[16]);
        assert_eq!(
            code(mint.swap(&SwapRequest { inputs: vec![played.spent[2].clone()], outputs })),
            ErrorCode::ProofsSpent
        );
        let (_, outputs) = played.holder.outputs(&[4, 8]);
        mint.swap(&SwapRequest { inputs: played.unspent, outputs }).unwrap();
        played.holder.collect(&mint, "q-2", &[1, 2]);
        assert_eq!(mint.events_after(0, 10).unwrap()[..2], events[..]);
        assert!(mint.audit().unwrap().problems.is_empty());
        mint.close();
        // The control: a row that a migration would have changed is noticed.
        client.execute("UPDATE spent SET value = value || '\\x00'", &[]).unwrap();
        assert!(!place.open(&world).audit().unwrap().problems.is_empty());
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let (place, mut client) = place();
    place.open(&world()).close();
    let newest = i32::try_from(migrations().len()).unwrap();
    client.execute("INSERT INTO schema_versions VALUES ($1)", &[&(newest + 1)]).unwrap();
    let error = place.open_with(&world(), Options::default()).map(drop).unwrap_err().to_string();
    let told = format!("newer version of habeas (schema {}, here {newest})", newest + 1);
    assert!(error.contains(&told), "{error}");
    client.execute("DELETE FROM schema_versions WHERE version > $1", &[&newest]).unwrap();
    place.open(&world()).close();
}
