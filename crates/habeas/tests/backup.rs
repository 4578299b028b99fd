//! Backup, restore and status as an operator uses them: beside a running server and without one, across the stores, with an old
//! backup, a damaged one, and a restore that is killed.
//!
//! `KILLS=50 SEED=7 cargo test -p habeas --test backup -- --nocapture` repeats the kills.

#[path = "../../mint/tests/world/database.rs"]
mod database;
mod running;
#[path = "../../mint/tests/world/softhsm.rs"]
mod softhsm;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mint::keysets::{KeysetRecord, MintSeed, Quarter};
use mint::store::lsm::LsmStore;
use mint::store::{Change, Method, MintQuote, Store, Table};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use running::{HABEAS, Programme, Up, bad, good, value};
use serde_json::Value;
use softhsm::SoftHsm;

/// A programme whose person 0 has collected and spent and whose till has redeemed, with its backup.
struct Saved {
    programme: Programme,
    backup: PathBuf,
    /// A token that was taken in before the backup.
    spent: String,
    wallets: [PathBuf; 2],
}

fn saved() -> Saved {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let wallets = [programme.wallet(0), programme.wallet(1)];
    for wallet in &wallets {
        good(&format!("wallet collect --wallet {}", wallet.display()));
    }
    let spent = good(&format!("wallet send 12.34 --wallet {}", wallets[0].display())).trim().to_owned();
    let till = programme.till();
    good(&format!("wallet receive {spent} --wallet {}/till-wallet.json", till.display()));
    good(&format!("till redeem --till {}", till.display()));
    // The treasury reads the mint now, not a quarter of a second later.
    programme.assert_balanced();
    let backup = programme.files.join("mint.backup");
    let printed = programme.good(&format!("mint backup --out {}", backup.display()));
    for told in ["event 3", "mint.seed", "nothing about people", "embedded store"] {
        assert!(printed.contains(told), "{told}: {printed}");
    }
    Saved { programme, backup, spent, wallets }
}

/// Moves a folder's mint away; gives where it is and its seed.
fn lose(data: &Path, to: &str) -> (PathBuf, PathBuf) {
    let away = data.with_file_name(to);
    fs::rename(data.join("mint"), &away).unwrap();
    let seed = away.join("mint.seed");
    (away, seed)
}

fn status(data: &Path) -> Value {
    serde_json::from_str(&good(&format!("mint status --json --data {}", data.display()))).unwrap()
}

fn restore_line(backup: &Path, data: &Path, seed: &Path) -> String {
    format!("mint restore --from {} --data {} --seed {}", backup.display(), data.display(), seed.display())
}

fn write_seed(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_programmes_mint_comes_back_on_either_store() {
    let Saved { programme, backup, spent, wallets } = saved();
    let Programme { up, data, files, temporary: _kept } = programme;
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let beside = status(&data);
    assert_eq!((&beside["mint"]["last_event"], &beside["treasury_read"]), (&3.into(), &3.into()));
    let since = beside["server"]["since"].as_u64().unwrap();
    assert!(since.abs_diff(jiff::Timestamp::now().as_second() as u64) < 3_600, "{beside}");
    assert_eq!(beside["server"]["url"], up.url.as_str());
    let text = good(&format!("mint status --data {}", data.display()));
    for told in ["server: runs at", "sandbox: no", "store: embedded", "rows, about:", "usd", "active", "has read 3"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    // An officer who is no administrator may ask how the mint is, and may not have its rows.
    let token = fs::read_to_string(data.join("officers/fina.token")).unwrap();
    let ask = |path: &str, token: &str| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.get(format!("{}{path}", up.url)).header("authorization", format!("Bearer {token}"));
        request.call().unwrap().status().as_u16()
    };
    assert_eq!(ask("/audit/v1/mint/backup", &token), 403);
    assert_eq!(ask("/audit/v1/mint/backup", "nobody"), 403);
    assert_eq!(ask("/audit/v1/mint/status", &token), 200);
    assert_eq!(ask("/audit/v1/mint/status", "nobody"), 403);
    bad(&format!("mint backup --data {} --out {}", data.display(), backup.display()), &["is there already"]);
    let address = up.url.strip_prefix("http://").unwrap().to_owned();
    up.stop();

    // Without a server: the same, but for the time.
    let resting = status(&data);
    assert_eq!(resting["mint"]["keysets"], beside["mint"]["keysets"]);
    assert_eq!(resting["mint"]["last_commit"], beside["mint"]["last_commit"]);
    assert!(resting["server"].is_null());
    let second = files.join("second.backup");
    good(&format!("mint backup --data {} --out {}", data.display(), second.display()));
    assert_eq!(fs::metadata(&second).unwrap().len(), fs::metadata(&backup).unwrap().len());

    // The mint is there: it is not replaced.
    let seed = data.join("mint/mint.seed");
    let told =
        bad(&restore_line(&backup, &data, &seed), &["has a mint", "nothing was restored", "move that folder away"]);
    assert!(!told.contains("would be forgotten"), "it has forgotten nothing: {told}");

    // It is lost: back into the same folder, beside the other services'.
    let (_, seed) = lose(&data, "mint.lost");
    bad(&format!("mint status --data {}", data.display()), &["there is no mint"]);
    bad(
        &format!("mint backup --data {} --out {}", data.display(), files.join("none").display()),
        &["there is no mint"],
    );
    assert!(!files.join("none").exists() && !files.join("none.partial").exists());
    let printed = good(&restore_line(&backup, &data, &seed));
    for told in [
        "event 3",
        "balanced",
        "outstanding 87.66",
        "spent a second time",
        "synchronous replica",
        "booked 3 events of 3",
    ] {
        assert!(printed.contains(told), "{told}: {printed}");
    }
    goes_on(&data, &address, &spent, &wallets, "1.00");
    assert_eq!(status(&data)["mint"]["last_event"], 3);

    // To PostgreSQL …
    let server = database::Server::start();
    let database = server.database();
    let third = files.join("third.backup");
    good(&format!("mint backup --data {} --out {}", data.display(), third.display()));
    let (_, seed) = lose(&data, "mint.embedded");
    let printed = good(&format!("{} --mint-store {database}", restore_line(&third, &data, &seed)));
    assert!(printed.contains("into the database"), "{printed}");
    goes_on(&data, &address, &spent, &wallets, "2.00");
    let status = status(&data);
    assert_eq!((&status["mint"]["store"], &status["mint"]["last_event"]), (&"postgresql".into(), &3.into()));

    // … whose database is occupied now, …
    let fourth = files.join("fourth.backup");
    good(&format!("mint backup --data {} --out {}", data.display(), fourth.display()));
    let (_, seed) = lose(&data, "mint.postgres");
    let line = restore_line(&fourth, &data, &seed);
    bad(&line, &["is kept in a database", "--mint-store"]);
    bad(&format!("{line} --mint-store {database}"), &["has rows of a mint already", "empty one"]);
    bad(&format!("{line} --mint-store {database}_not"), &["PostgreSQL can't be used", "does not exist"]);
    assert!(!data.join("mint").exists() && !data.join("mint.restoring").exists());
    // … and back.
    fs::remove_file(data.join("mint-store")).unwrap();
    good(&line);
    goes_on(&data, &address, &spent, &wallets, "3.00");
}

/// A server on the folder: what was spent is refused, what was not is spent, and all balances.
fn goes_on(data: &Path, address: &str, spent: &str, wallets: &[PathBuf; 2], amount: &str) {
    let up = Up::start_at(data, address).unwrap();
    let [from, to] = [wallets[0].display(), wallets[1].display()];
    bad(&format!("wallet receive {spent} --wallet {to}"), &["spent"]);
    let token = good(&format!("wallet send {amount} --wallet {from}"));
    good(&format!("wallet receive {} --wallet {to}", token.trim()));
    bad(&format!("wallet receive {} --wallet {to}", token.trim()), &["spent"]);
    assert!(good(&format!("audit --data {}", data.display())).trim_end().ends_with("balanced"));
    up.stop();
    assert!(good(&format!("audit --data {}", data.display())).trim_end().ends_with("balanced"));
}

#[test]
fn a_backup_that_the_books_have_passed_is_refused() {
    let Saved { programme, backup, .. } = saved();
    let late = programme.wallet(2);
    good(&format!("wallet collect --wallet {}", late.display()));
    programme.assert_balanced();
    let Programme { up, data, files, temporary: _kept } = programme;
    let address = up.url.strip_prefix("http://").unwrap().to_owned();
    up.stop();
    // The mint is there still, and says what it knows more.
    bad(&restore_line(&backup, &data, &data.join("mint/mint.seed")), &["has a mint", "would be forgotten"]);
    let (away, seed) = lose(&data, "mint.lost");
    let older = ["older than the books", "ends at event 3", "has booked 4", "take a newer backup"];
    let before = names(&data);
    bad(&restore_line(&backup, &data, &seed), &older);
    let server = database::Server::start();
    bad(&format!("{} --mint-store {}", restore_line(&backup, &data, &seed), server.database()), &older);
    assert_eq!(names(&data), before, "nothing was left behind");

    // Put there by hand, past the check: the treasury does not take it.
    let elsewhere = files.join("elsewhere");
    let printed = good(&restore_line(&backup, &elsewhere, &seed));
    assert!(printed.contains("There is no treasury"), "{printed}");
    fs::rename(elsewhere.join("mint"), data.join("mint")).unwrap();
    let told = Up::start_at(&data, &address).map(drop).unwrap_err();
    assert!(told.contains("put back to an older state") && told.contains("4 were booked"), "{told}");
    // The control: with the mint that was there it starts.
    fs::remove_dir_all(data.join("mint")).unwrap();
    fs::rename(away, data.join("mint")).unwrap();
    Up::start_at(&data, &address).unwrap().stop();
}

#[test]
fn a_backup_that_is_not_right_is_refused_with_a_sentence_and_leaves_nothing() {
    let Saved { programme, backup, .. } = saved();
    let Programme { up, data, files, temporary: _kept } = programme;
    up.stop();
    let seed = data.join("mint/mint.seed");
    let whole = fs::read(&backup).unwrap();
    let (changed, fresh) = (files.join("changed"), files.join("fresh"));
    let refused = |bytes: &[u8], told: &[&str]| {
        fs::write(&changed, bytes).unwrap();
        bad(&restore_line(&changed, &fresh, &seed), told);
        assert!(!fresh.exists(), "nothing is left behind");
    };
    let number: u64 = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    println!("SEED={number}");
    let mut rng = StdRng::seed_from_u64(number);
    refused(&[], &["cut off"]);
    for _ in 0..10 {
        refused(&whole[..rng.random_range(0..whole.len())], &["cut off", "take another"]);
    }
    for _ in 0..10 {
        let mut bytes = whole.clone();
        bytes[rng.random_range(0..whole.len())] ^= 1 << rng.random_range(0..8);
        refused(&bytes, &["backup"]);
    }
    let newer = String::from_utf8_lossy(&whole).find(":1,").unwrap();
    let mut bytes = whole.clone();
    bytes[newer + 1] = b'7';
    refused(&bytes, &["newer version of habeas", "format 7"]);
    refused(b"not a backup at all\n", &["not a backup"]);
    let other = files.join("other.seed");
    write_seed(&other, &"ab".repeat(32));
    bad(&restore_line(&backup, &fresh, &other), &["the backup is of mint", "kept with"]);
    bad(&restore_line(&backup, &fresh, &files.join("none")), &["there is no seed", "mint.seed"]);
    assert!(!files.join("none").exists(), "a seed that is missing is not made up");
    write_seed(&other, "short");
    bad(&restore_line(&backup, &fresh, &other), &["64 hex digits"]);
    bad(&restore_line(&files.join("none"), &fresh, &seed), &["none can't be read"]);
    assert!(!fresh.exists());
    // The mint of a folder with another seed, and a sandbox, are told apart.
    fs::create_dir_all(fresh.join("mint")).unwrap();
    write_seed(&fresh.join("mint/mint.seed"), &"cd".repeat(32));
    bad(&restore_line(&backup, &fresh, &seed), &["another mint's seed", "keep it"]);
    fs::remove_dir_all(fresh.join("mint")).unwrap();
    fs::create_dir(fresh.join("registry")).unwrap();
    fs::write(fresh.join("sandbox"), "").unwrap();
    bad(&restore_line(&backup, &fresh, &seed), &["is a sandbox", "is none"]);
    // The control: it was right all the time; a seed that stayed in its folder is taken for what it is.
    fs::remove_dir_all(&fresh).unwrap();
    fs::create_dir_all(fresh.join("mint")).unwrap();
    fs::copy(&seed, fresh.join("mint/mint.seed")).unwrap();
    good(&restore_line(&backup, &fresh, &fresh.join("mint/mint.seed")));
    assert_eq!(names(&fresh.join("mint")), ["mint.seed", "store", "store.commits"]);
    assert!(!fresh.join("mint.restoring").exists());
}

#[test]
fn a_mint_whose_seed_is_in_a_token_comes_back_with_that_token_and_no_other() {
    let Some(softhsm) = SoftHsm::new() else { return };
    softhsm.make_token("habeas");
    let files = tempfile::tempdir().unwrap();
    let (data, backup) = (files.path().join("data"), files.path().join("backup"));
    let run = |arguments: &[&str]| Command::new(HABEAS).args(arguments).envs(softhsm.environment()).output().unwrap();
    let good = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let bad = |arguments: &[&str], told: &[&str]| running::failed(&arguments.join(" "), &run(arguments), told);
    let (uri, other) = (softhsm.uri("habeas", "mint-2026"), softhsm.uri("habeas", "another"));
    for uri in [&uri, &other] {
        good(&["mint", "make-key", "--key", uri]);
    }
    let [data_text, backup_text] = [&data, &backup].map(|path| path.display().to_string());
    let up = |options: &[&str]| {
        let mut command = Command::new(HABEAS);
        command.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data", &data_text]).args(options);
        command.envs(softhsm.environment()).stderr(Stdio::null());
        Up::start_command(command).unwrap()
    };
    let running = up(&["--mint-key", &uri]);
    let ask = serde_json::json!({"amount": 5, "unit": "sandbox"});
    let quote: Value = ureq::post(format!("{}/v1/mint/quote/sandbox", running.url))
        .send_json(ask)
        .and_then(|mut answer| answer.body_mut().read_json())
        .unwrap();
    let printed = good(&["mint", "backup", "--data", &data_text, "--out", &backup_text]);
    assert!(printed.contains("'mint-2026' in the token 'habeas'"), "{printed}");
    running.stop();
    let before: Value = serde_json::from_str(&good(&["mint", "status", "--json", "--data", &data_text])).unwrap();

    let beginning = ["mint", "restore", "--from", &backup_text, "--data", &data_text];
    fn with<'a>(beginning: [&'a str; 6], way: [&'a str; 2]) -> Vec<&'a str> {
        beginning.into_iter().chain(way).collect()
    }
    fs::rename(data.join("mint"), files.path().join("mint.lost")).unwrap();
    bad(&with(beginning, ["--mint-key", &other]), &["the backup is of mint", "kept with"]);
    let file = files.path().join("a.seed");
    write_seed(&file, &"ab".repeat(32));
    bad(&with(beginning, ["--seed", &file.display().to_string()]), &["the backup is of mint"]);
    assert!(!run(&beginning).status.success(), "a seed must be named");
    let printed = good(&with(beginning, ["--mint-key", &uri]));
    assert!(printed.contains("restored: 2 rows"), "{printed}");
    assert!(!data.join("mint/mint.seed").exists());
    let after: Value = serde_json::from_str(&good(&["mint", "status", "--json", "--data", &data_text])).unwrap();
    assert_eq!(after["mint"]["keysets"], before["mint"]["keysets"]);
    // It knows the quote, and starts with the key that the folder remembers. A fresh folder remembers it too.
    let running = up(&[]);
    let url = format!("{}/v1/mint/quote/sandbox/{}", running.url, quote["quote"].as_str().unwrap());
    assert_eq!(ureq::get(url).call().unwrap().status().as_u16(), 200);
    running.stop();
    let fresh = files.path().join("fresh").display().to_string();
    good(&["mint", "restore", "--from", &backup_text, "--data", &fresh, "--mint-key", &uri]);
    good(&["audit", "--data", &fresh]);
}

/// A backup of a sandbox with `tokens` tokens made and as many spent, none outstanding.
fn large(files: &Path, tokens: u64) -> (PathBuf, PathBuf) {
    let seed_path = files.join("large.seed");
    write_seed(&seed_path, &"5a".repeat(32));
    let seed = MintSeed::open(&seed_path).unwrap();
    let store = LsmStore::open(&files.join("large-store"), &seed).unwrap();
    let unit: cashu::Unit = "sandbox".parse().unwrap();
    let record = KeysetRecord {
        number: 0,
        unit: unit.clone(),
        quarter: Quarter::of(1_795_392_000),
        input_fee_ppk: 0,
        log_index: 1,
    };
    let quote = MintQuote { method: Method::Sandbox, amount: cashu::Amount::new(1), unit, pubkey: None };
    let mut changes = vec![Change::keyset(&record), Change::order("q", &quote)];
    changes.push(Change { rows: vec![(Table::Issued, b"q".to_vec(), Vec::new())], events: Vec::new() });
    let row = |table, number: u64| (table, [&[2; 25][..], &number.to_be_bytes()].concat(), vec![0, 0, 0]);
    // One more is signed than is spent: the one that was issued.
    changes.push(Change { rows: (0..=tokens).map(|number| row(Table::Signed, number)).collect(), events: Vec::new() });
    changes.push(Change { rows: (0..tokens).map(|number| row(Table::Spent, number)).collect(), events: Vec::new() });
    assert!(store.commit(&changes).unwrap().iter().all(Result::is_ok));
    let backup = files.join("large.backup");
    let mut file = std::io::BufWriter::new(fs::File::create(&backup).unwrap());
    mint::backup::write(&store as &dyn Store, &seed, 1_795_392_000, true, &mut file).unwrap();
    (backup, seed_path)
}

#[test]
fn a_restore_that_is_killed_leaves_nothing_that_starts() {
    let from_environment = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
    };
    let (kills, seed) = (from_environment("KILLS", 12), from_environment("SEED", rand::random::<u32>().into()));
    println!("SEED={seed} KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let files = tempfile::tempdir().unwrap();
    let (backup, seed_path) = large(files.path(), 100_000);
    let server = database::Server::start();
    for on_postgres in [false, true] {
        let arguments = |data: &Path, database: &Option<String>| {
            let line = restore_line(&backup, data, &seed_path);
            database.as_ref().map_or(line.clone(), |address| format!("{line} --mint-store {address}"))
        };
        let fresh = |name: &str| (files.path().join(name), on_postgres.then(|| server.database()));
        let (whole, database) = fresh(if on_postgres { "whole-p" } else { "whole-e" });
        let begun = Instant::now();
        good(&arguments(&whole, &database));
        let takes = begun.elapsed();
        let (mut cut, mut none, mut done) = (0, 0, 0);
        for kill in 0..kills {
            let (data, database) = fresh(&format!("{}-{kill}", if on_postgres { "p" } else { "e" }));
            let line = arguments(&data, &database);
            let mut child = Command::new(HABEAS)
                .args(line.split_whitespace())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(takes.mul_f64(rng.random_range(0.2..1.1)));
            let _ = child.kill();
            child.wait().unwrap();
            if data.join("mint").exists() {
                done += 1;
                assert!(!data.join("mint.restoring").exists());
            } else {
                if data.join("mint.restoring").exists() {
                    cut += 1;
                    let up = ["up --sandbox --listen 127.0.0.1:0 --data", &data.display().to_string()].join(" ");
                    bad(&up, &["was cut off", "habeas mint restore"]);
                    bad(&format!("mint status --data {}", data.display()), &["was cut off"]);
                } else {
                    none += 1;
                }
                // The database may have got all of it at the last instant; then an empty one is asked for.
                let database = if on_postgres { Some(server.database()) } else { None };
                good(&arguments(&data, &database));
            }
            let status = status(&data);
            assert_eq!(status["mint"]["keysets"].as_array().unwrap().len(), 1);
            assert!(data.join("sandbox").exists());
            fs::remove_dir_all(&data).unwrap();
        }
        println!("PostgreSQL {on_postgres}: {takes:?} a restore; {cut} cut off, {none} before anything, {done} done");
        assert!(cut > 0, "no kill hit the restore itself: the test shows nothing");
    }
}

#[test]
fn a_backup_is_streamed_no_faster_than_it_is_taken_and_a_stop_cuts_it() {
    let files = tempfile::tempdir().unwrap();
    let (backup, seed_path) = large(files.path(), 200_000);
    let data = files.path().join("data");
    good(&restore_line(&backup, &data, &seed_path));
    let up = Up::start_with(&data, "127.0.0.1:0", &["--sandbox"]).unwrap();
    let token = fs::read_to_string(data.join("officers/admin.token")).unwrap();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let get = || {
        let request = agent.get(format!("{}/audit/v1/mint/backup", up.url));
        request.header("authorization", format!("Bearer {token}")).call().unwrap()
    };
    // Somebody who takes the first bytes and no more: the next has to wait, and the mint goes on.
    let mut slow = get().into_body().into_reader();
    let mut first = [0; 1000];
    std::io::Read::read_exact(&mut slow, &mut first).unwrap();
    assert_eq!(get().status().as_u16(), 409);
    let out = files.path().join("second");
    bad(&format!("mint backup --data {} --out {}", data.display(), out.display()), &["another backup is under way"]);
    assert!(!out.exists() && names(files.path()).iter().all(|name| !name.contains("partial")));
    assert!(good(&format!("audit --data {}", data.display())).trim_end().ends_with("balanced"));
    // They go away: the next may have one.
    drop(slow);
    let deadline = Instant::now() + Duration::from_secs(30);
    while get().status().as_u16() == 409 {
        assert!(Instant::now() < deadline, "a backup that nobody takes does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while good_or_busy(&data, &out).is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(value(&good(&format!("mint status --data {}", data.display())), "sandbox"), "yes");
    // Somebody who takes no more does not hold up a stop.
    let mut slow = get().into_body().into_reader();
    std::io::Read::read_exact(&mut slow, &mut first).unwrap();
    up.stop();
    let mut rest = Vec::new();
    let taken = std::io::Read::read_to_end(&mut slow, &mut rest);
    let seed = MintSeed::open(&seed_path).unwrap();
    let cut = mint::backup::check(&[&first[..], &rest[..]].concat()[..], &seed).map(drop);
    assert!(taken.is_err() || cut.is_err(), "a backup that was cut is not taken for whole");
    assert!(Up::start_with(&data, "127.0.0.1:0", &["--sandbox"]).is_ok());
}

fn good_or_busy(data: &Path, out: &Path) -> Option<()> {
    let line = format!("mint backup --data {} --out {}", data.display(), out.display());
    running::habeas(line.split_whitespace()).status.success().then_some(())
}
