//! kill -9 at a random moment of the demonstration: the books balance, and all the money is in somebody's wallet.
//!
//! `KILLS=20 SEED=7 cargo test -p habeas --test kill -- --nocapture` repeats it with as many kills and that seed.

mod running;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use running::{HABEAS, Up, example, good};
use terminal::Till;
use wallet::{Wallet, WalletError};

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

fn start_demo(data: &Path) -> std::process::Child {
    Command::new(HABEAS)
        .args(["demo", "--people"])
        .arg(example("people.csv"))
        .arg("--data")
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs")
}

#[test]
fn a_kill_at_any_moment_loses_and_makes_no_money() {
    let (kills, seed) = (from_environment("KILLS", 3), from_environment("SEED", rand::random::<u32>().into()));
    println!("SEED={seed} KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    // How long it takes when nobody kills it, so that the kills fall anywhere within.
    let begin = Instant::now();
    assert!(start_demo(&folder.path().join("whole")).wait().unwrap().success());
    let whole = begin.elapsed();
    for kill in 0..kills {
        let data = folder.path().join(kill.to_string());
        let moment = whole.mul_f64(rng.random_range(0.02..1.0));
        let mut demo = start_demo(&data);
        std::thread::sleep(moment);
        demo.kill().unwrap();
        demo.wait().unwrap();
        let found = check(&data);
        println!("kill {kill} after {} ms: balanced, {found} minor units in wallets", moment.as_millis());
    }
}

/// The control of the one above: it must notice a wallet that is gone.
#[test]
#[should_panic(expected = "the e-cash outstanding is what wallets hold")]
fn money_that_is_gone_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(start_demo(&data).wait().unwrap().success());
    let held = |path: &std::path::PathBuf| Wallet::open(path).is_ok_and(|wallet| !wallet.balance().is_empty());
    fs::remove_file(wallets(&data).iter().find(|path| held(path)).expect("somebody has money left")).unwrap();
    check(&data);
}

/// Starts `habeas up` on what is left, audits beside it and after it, and looks for all the money.
fn check(data: &Path) -> u64 {
    // At the address of before, which the wallets know.
    let address = fs::read(data.join("server.json")).ok().and_then(|text| {
        let server: serde_json::Value = serde_json::from_slice(&text).expect("written as a whole");
        server["url"].as_str()?.strip_prefix("http://").map(str::to_owned)
    });
    let up = match address {
        Some(address) => restart(data, &address),
        None => Up::start(data),
    };
    good(&format!("audit --data {}", data.display()));
    good(&format!("log verify {}/log --state {}/checkpoint-seen", up.url, data.display()));
    for till in folder(&data.join("tills")) {
        // A till that was killed while it was made has nothing yet.
        if let Ok(till) = Till::open(&till) {
            till.redeem().expect("a till recovers and redeems");
        }
    }
    let mut found = 0;
    for path in wallets(data) {
        let mut wallet = Wallet::open(&path).expect("a wallet's file is whole");
        wallet.reclaim_payments().expect("payments are taken back or were made");
        match wallet.recover() {
            Ok(()) | Err(WalletError::AlreadySpent) => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
        assert_eq!(wallet.pending(), 0);
        found += wallet.balance().values().map(|amount| amount.minor()).sum::<u64>();
    }
    let report: serde_json::Value =
        serde_json::from_str(&good(&format!("audit --json --data {}", data.display()))).unwrap();
    let outstanding = report["totals"]["usd"]["outstanding_minor"].as_u64().unwrap_or(0);
    assert_eq!(found, outstanding, "the e-cash outstanding is what wallets hold, to the cent");
    up.stop();
    good(&format!("audit --data {}", data.display()));
    found
}

/// The port of a process that was killed may take a moment to be free.
fn restart(data: &Path, address: &str) -> Up {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Up::start_at(data, address) {
            Ok(up) => return up,
            Err(told) if Instant::now() > deadline => panic!("habeas up does not start again: {told}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn wallets(data: &Path) -> Vec<std::path::PathBuf> {
    let files = folder(&data.join("wallets")).into_iter();
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn folder(path: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(path).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}
