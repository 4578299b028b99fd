//! Bad input, a network that is down, a disk that is full or damaged: one clear sentence, a non-zero exit, nothing half-done.

mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use running::{Programme, Up, bad, example, failed, good, habeas, value};

const HEADER: &str = "given name,family name,born,document,street,town\n";

/// Enrols a file with these bytes; it must fail and say `told`. Gives how many people are enrolled after it.
fn enrol(programme: &Programme, bytes: &[u8], told: &[&str]) -> u64 {
    let people = programme.files.join("people.csv");
    fs::write(&people, bytes).unwrap();
    failed("enrol", &programme.enrol(&people, &example("people.map.toml")), told);
    let report: serde_json::Value = serde_json::from_str(&programme.good("audit --json")).unwrap();
    report["people"].as_u64().unwrap()
}

#[test]
fn files_of_people_that_can_not_be_enrolled() {
    let programme = Programme::with_officers();
    let good_row = "Ana,Sample,1950-01-31,S-1000,Specimen Street 1,Testford\n";
    let with = |row: &str| format!("{HEADER}{row}").into_bytes();
    let none = [
        (b"".to_vec(), &["is empty"][..]),
        (with(""), &["no rows"]),
        (
            with(&format!("{good_row}\"Bo,Sample,1950-01-31,S-2000,Street,Town\n")),
            &["quote", "line 3", "nothing was enrolled"],
        ),
        (b"given name\nJos\xe9\n".to_vec(), &["not UTF-8", "nothing was enrolled"]),
        (with(good_row).into_iter().flat_map(|byte| [byte, 0]).chain([0xff, 0xfe]).collect(), &["not UTF-8"]),
        (b"given name,family name,document\nAna,Sample,S-1\n".to_vec(), &["no column 'born'", "nothing was enrolled"]),
    ];
    for (bytes, told) in none {
        assert_eq!(enrol(&programme, &bytes, told), 0);
    }
    // Rows that are wrong are refused with the reason; the others are enrolled.
    let rows = [
        ("Bo,Sample,1950-02-30,S-2000,Street,Town", "birth_date is no date"),
        ("Bo,Sample,31.01.1950,S-2000,Street,Town", "birth_date is no date"),
        ("Bo,Sample,2950-01-31,S-2000,Street,Town", "future"),
        ("Bo,Sample,1850-01-31,S-2000,Street,Town", "before"),
        ("Bo,Sample,1950-01-31,,Street,Town", "document_number is missing"),
        ("Bo,Sample,1950-01-31,S-1000,Street,Town", "enrolled already"),
        ("Bo,Sample,1950-01-31", "3 columns"),
    ];
    let bytes = with(&(good_row.to_owned() + &rows.map(|(row, _)| row).join("\n")));
    assert_eq!(enrol(&programme, &bytes, &["7 rows were refused", "refused.csv"]), 1);
    let refused = fs::read_to_string(programme.files.join("refused.csv")).unwrap();
    for (line, (row, reason)) in refused.lines().skip(1).zip(rows) {
        assert!(line.contains(reason) && line.ends_with(row), "{line}");
    }
    assert_eq!(enrol(&programme, &bytes, &["7 rows were refused"]), 1, "running it again enrols nobody twice");

    let people = programme.files.join("people.csv");
    failed(
        "enrol",
        &programme.enrol(&programme.files.join("none.csv"), &example("people.map.toml")),
        &["none.csv", "can't be read"],
    );
    failed("enrol", &programme.enrol(&people, &people), &["column map", "examples/febrl.map.toml"]);
    programme.bad(
        &format!("enrol {} --map {} --as nobody", people.display(), example("people.map.toml").display()),
        &["nobody"],
    );
}

#[test]
fn programmes_and_runs_that_can_not_be() {
    let programme = Programme::with_officers();
    let create = |rest: &str, told: &[&str]| programme.bad(&format!("programme Aid --as olga {rest}"), told);
    create("--unit xyz --amount 5 --period 2026-12 --rule everyone", &["'xyz' is not a currency"]);
    create("--amount 0 --period 2026-12 --rule everyone", &["more than zero"]);
    create("--amount -5 --period 2026-12 --rule everyone", &["no sign"]);
    create("--amount 5.001 --period 2026-12 --rule everyone", &["2 decimals"]);
    create("--amount 5 --period 2026-13 --rule everyone", &["month"]);
    create("--amount 5 --period 2026-12 --rule 'age over 65'", &["rule can't be read"]);
    programme.bad("programme Aid --as fina --amount 5 --period 2026-12 --rule everyone", &["another role"]);

    // 50.00 for each of some sixty people, and ten of funds.
    let id = programme.enrolled_and_funded("10.00");
    let run = programme.good(&format!("run prepare {id} --as olga"));
    let (run, hash) = (value(&run, "run"), value(&run, "hash"));
    let wallet = programme.wallet(0);
    bad(&format!("wallet collect --wallet {}", wallet.display()), &["nothing to collect", "no approved payment"]);
    let approve = |officer: &str, hash: &str, told: &[&str]| {
        programme.bad(&format!("run approve {run} --hash {hash} --as {officer}"), told);
    };
    approve("olga", &hash, &["another"]);
    approve("omar", "00", &["hash"]);
    approve("omar", &hash, &["1000 available", "fund it first"]);
    programme.bad(&format!("run approve nothing --hash {hash} --as omar"), &["no such run"]);
    programme.bad("run prepare nothing --as olga", &["no such programme"]);
    assert!(programme.good("run list --as olga").contains("state: prepared"));
    bad(&format!("wallet collect --wallet {}", wallet.display()), &["nothing to collect"]);
    programme
        .bad("settle --debtor P --iban GB82WEST12345698765432 --out x.xml --as fina", &["no merchant has a balance"]);
    programme.bad("settle --debtor P --iban GB00 --out x.xml --as fina", &["not an IBAN"]);
    programme.bad("merchant Shop --iban GB00WEST12345698765432 --till x.json --as fina", &["not an IBAN"]);
    let statement = programme.files.join("statement.xml");
    fs::write(&statement, "<Document/>").unwrap();
    programme.bad(&format!("fund {} --as fina", statement.display()), &["not acceptable", "nothing was booked"]);
    programme.assert_balanced();
}

#[test]
fn with_the_network_down_nothing_is_lost() {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let wallet = programme.wallet(0);
    good(&format!("wallet collect --wallet {}", wallet.display()));
    let (wallet, till) = (wallet.display(), programme.till());
    let token = good(&format!("wallet send 5.00 --wallet {wallet}"));
    let Programme { up, data, temporary: _kept, .. } = programme;
    let address = up.url.strip_prefix("http://").unwrap().to_owned();
    up.stop();

    let down = ["can't be reached", "try again"];
    bad(&format!("wallet send 0.01 --wallet {wallet}"), &down);
    bad(&format!("wallet receive {} --wallet {wallet}", token.trim()), &down);
    bad(&format!("till charge 5.00 --till {}", till.display()), &down);
    bad(&format!("audit --data {}/nothing", data.display()), &["no data folder"]);
    bad(&format!("run list --as olga --data {}", data.display()), &["is `habeas up` running"]);
    bad(&format!("till charge 0 --till {}", till.display()), &["zero"]);
    bad(&format!("wallet send 99999 --wallet {wallet}"), &["not enough money"]);
    bad(&format!("wallet receive cashuBnonsense --wallet {wallet}"), &["token"]);
    bad(&format!("wallet pay creqAnonsense --wallet {wallet}"), &["payment request"]);

    let up = Up::start_at(&data, &address).unwrap();
    good(&format!("wallet recover --wallet {wallet}"));
    let balance = good(&format!("wallet balance --wallet {wallet}"));
    // What was under way came to its end: the token was taken in again.
    assert_eq!(balance.trim(), "50.00 usd");
    up.stop();
    bad(&format!("till redeem --till {}/nothing", till.display()), &["no till"]);
}

#[test]
fn locks_requests_and_parts_that_can_not_be() {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let (wallet, till) = (programme.wallet(0), programme.till());
    let wallet = wallet.display();
    good(&format!("wallet collect --wallet {wallet}"));

    let key = good(&format!("wallet key --wallet {wallet}"));
    let key = key.trim();
    for bad_key in ["nonsense", "02", &key[1..], &format!("05{}", &key[2..]), &"0".repeat(64), &format!("{key}00")] {
        bad(&format!("wallet send 1.00 --lock {bad_key} --wallet {wallet}"), &["public key", "habeas wallet key"]);
    }
    bad(&format!("wallet send 0 --lock {key} --wallet {wallet}"), &["more than zero"]);
    bad(&format!("wallet send 0 --wallet {wallet}"), &["more than zero"]);
    bad(&format!("wallet send 50.01 --lock {key} --wallet {wallet}"), &["not enough money"]);
    bad(&format!("wallet key --wallet {wallet}.none"), &["no wallet"]);
    for wrong_use in [
        format!("wallet send 1.00 --plain-lock --wallet {wallet}"),
        format!("wallet receive --wallet {wallet}"),
        format!("wallet receive cashuB --parts file --wallet {wallet}"),
        format!("till charge 1.00 --format creqC --till {}", till.display()),
    ] {
        let output = habeas(wrong_use.split_whitespace());
        assert_eq!(output.status.code(), Some(2), "{wrong_use}");
    }

    for request in ["CREQB1", "CREQB1NONSENSE", "creqb1qyqqw", "CREQB1qyqqwer9d4hnzv3nqgqqsqqqq", "creqA", "creqB", ""]
    {
        bad(&format!("wallet pay '{request}' --wallet {wallet}"), &["payment request"]);
    }

    let parts = programme.files.join("parts");
    let receive = format!("wallet receive --parts {} --wallet {wallet}", parts.display());
    bad(&receive, &["parts", "can't be read"]);
    for (text, told) in [
        (&b""[..], "0 parts could be read, 0 could not"),
        (b"\n \n", "0 parts could be read, 0 could not"),
        (b"ur:bytes/1-4294967295/lpad", "1 could not"),
        (b"ur:seed/1-2/lpad\nUR:BYTES/nonsense\nur:", "3 could not"),
        (b"nonsense", "token"),
        (b"\xff\xfe", "can't be read as text"),
    ] {
        fs::write(&parts, text).unwrap();
        bad(&receive, &[told]);
    }
    assert_eq!(good(&format!("wallet balance --wallet {wallet}")).trim(), "50.00 usd");
}

#[test]
fn one_server_a_folder() {
    let programme = Programme::with_officers();
    bad(
        &format!("up --listen 127.0.0.1:0 --data {}", programme.data.display()),
        &["another habeas is running", "stop it first"],
    );
    let other = programme.files.join("other");
    let taken = programme.up.url.strip_prefix("http://").unwrap();
    bad(&format!("up --listen {taken} --data {}", other.display()), &["can't listen", "--listen"]);
    let file = programme.files.join("file");
    fs::write(&file, "").unwrap();
    bad(&format!("up --listen 127.0.0.1:0 --data {}", file.display()), &["data folder", "--data"]);
    programme.assert_balanced();
}

#[test]
fn a_sandbox_and_a_programme_never_share_a_folder() {
    let programme = Programme::with_officers();
    let Programme { up, data, files, temporary: _kept } = programme;
    up.stop();
    let none = ["worthless", "worth nothing", "--data"];
    bad(&format!("up --sandbox --listen 127.0.0.1:0 --data {}", data.display()), &none[1..]);
    let data = files.join("sandbox-data");
    let up = Up::start_with(&data, "127.0.0.1:0", &["--sandbox"]).unwrap();
    good(&format!("officer olga --role programme-officer --data {}", data.display()));
    let programme = "programme Aid --unit usd --amount 5 --period 2026-12 --rule everyone --as olga";
    bad(&format!("{programme} --data {}", data.display()), &["sandbox", "no programme"]);
    let quote: serde_json::Value = ureq::post(format!("{}/v1/mint/quote/sandbox", up.url))
        .send_json(serde_json::json!({"amount": 12, "unit": "sandbox"}))
        .and_then(|mut answer| answer.body_mut().read_json())
        .unwrap();
    assert_eq!(quote["state"], "PAID");
    up.stop();
    bad(&format!("up --listen 127.0.0.1:0 --data {}", data.display()), &none[1..]);
    assert!(good(&format!("audit --data {}", data.display())).trim_end().ends_with("balanced"));
}

#[test]
fn a_damaged_store_is_named_and_left_as_it_is() {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let wallet = programme.wallet(0);
    good(&format!("wallet collect --wallet {}", wallet.display()));
    let Programme { up, data, temporary: _kept, .. } = programme;
    up.stop();
    let largest = |folder: &str| -> PathBuf {
        let mut files = files_below(&data.join(folder));
        files.sort_by_key(|file| fs::metadata(file).unwrap().len());
        files.pop().unwrap()
    };
    for (file, told) in [
        (data.join("registry/registry.db"), "registry"),
        (data.join("registry/keys/kek.key"), "kek.key"),
        (data.join("treasury/treasury.db"), "treasury"),
        (data.join("treasury/rows.key"), "rows.key"),
        (data.join("mint/mint.seed"), "mint.seed"),
        (largest("mint/store"), "mint"),
        (data.join("log/public/checkpoint"), "log"),
        (data.join("log/log.key"), "log.key"),
        (data.join("credential/keys/iaca.cert.der"), "iaca"),
        (data.join("credential/credential.db"), "issuer"),
        (data.join("credential/keys/tokens.key"), "tokens.key"),
    ] {
        let whole = fs::read(&file).unwrap_or_else(|_| panic!("{}", file.display()));
        let damaged: Vec<u8> = whole.iter().map(|byte| byte ^ 0x55).collect();
        fs::write(&file, &damaged).unwrap();
        bad(&format!("up --listen 127.0.0.1:0 --data {}", data.display()), &[told]);
        // The LSM cuts its journal at the damage; everything else is left for whoever mends it.
        let is_journal = file.extension().is_some_and(|extension| extension == "jnl");
        assert!(is_journal || fs::read(&file).unwrap() == damaged, "{} was changed", file.display());
        fs::write(&file, whole).unwrap();
    }
    let whole = fs::read(&wallet).unwrap();
    fs::write(&wallet, &whole[..whole.len() / 2]).unwrap();
    bad(&format!("wallet balance --wallet {}", wallet.display()), &["damaged", "recovery words"]);
    good(&format!("audit --data {}", data.display()));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (folders, mut files): (Vec<_>, Vec<_>) =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| files_below(folder)));
    files
}

/// A disk of a few megabytes; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said aloud, where mounting is not allowed.
    fn mount(at: &Path, size: &str) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        for prefix in [&["mount"][..], &["sudo", "-n", "mount"]] {
            let mut command = Command::new(prefix[0]);
            command.args(&prefix[1..]).args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
            if command.output().is_ok_and(|output| output.status.success()) {
                return Some(SmallDisk(at.to_owned()));
            }
        }
        println!("NOT CHECKED: a full disk needs root, to mount a small one");
        None
    }

    /// Takes what room is left, but for `spare` bytes.
    fn fill(&self, spare: usize) {
        let file = self.0.join("fill");
        let mut filled = fs::File::create(&file).unwrap();
        while std::io::Write::write_all(&mut filled, &[0; 4096]).is_ok() {}
        let length = filled.metadata().unwrap().len();
        filled.set_len(length.saturating_sub(spare as u64)).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for prefix in [&["umount"][..], &["sudo", "-n", "umount"]] {
            if Command::new(prefix[0]).args(&prefix[1..]).arg(&self.0).output().is_ok_and(|o| o.status.success()) {
                return;
            }
        }
    }
}

#[test]
fn a_full_disk_stops_work_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    let Some(disk) = SmallDisk::mount(&at, "200m") else { return };
    let programme = Programme::with_officers_at(&at.join("data"));
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let wallets: Vec<PathBuf> = (0..3).map(|number| programme.wallet(number)).collect();
    good(&format!("wallet collect --wallet {}", wallets[0].display()));
    let token = good(&format!("wallet send 20.00 --wallet {}", wallets[0].display()));

    disk.fill(0);
    let new = "programme Other --as olga --amount 5 --period 2026-12 --rule everyone";
    programme.bad(new, &["disk", "full"]);
    let people = programme.files.join("more.csv");
    fs::write(&people, format!("{HEADER}Ana,Sample,1950-01-31,T-1000,Street,Town\n")).unwrap();
    failed("enrol", &programme.enrol(&people, &example("people.map.toml")), &["full"]);
    bad(&format!("wallet collect --wallet {}", wallets[2].display()), &["try again"]);
    // The mint's journal has room of its own, so this may still work; if it doesn't, the wallet knows what to ask for again.
    let _ = habeas(["wallet", "receive", token.trim(), "--wallet", &wallets[1].display().to_string()]);
    bad(&format!("up --listen 127.0.0.1:0 --data {}", at.join("new").display()), &["No space left"]);

    // Room again: a restart, and everything goes on where it was.
    disk.free();
    let Programme { up, data, temporary: _kept, .. } = programme;
    let address = up.url.strip_prefix("http://").unwrap().to_owned();
    drop(up);
    let up = Up::start_at(&data, &address).unwrap();
    good(&format!("audit --data {}", data.display()));
    good(&format!("wallet recover --wallet {}", wallets[1].display()));
    good(&format!("wallet collect --wallet {}", wallets[2].display()));
    let balance = |wallet: &Path| good(&format!("wallet balance --wallet {}", wallet.display())).trim().to_owned();
    assert_eq!((balance(&wallets[1]), balance(&wallets[2])), ("20.00 usd".to_owned(), "50.00 usd".to_owned()));
    good(&format!("{new} --data {}", data.display()));
    good(&format!("audit --data {}", data.display()));
    up.stop();
}

#[test]
fn a_full_disk_while_a_backup_is_written_leaves_nothing_and_disturbs_nobody() {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    for number in 0..8 {
        good(&format!("wallet collect --wallet {}", programme.wallet(number).display()));
    }
    let at = programme.files.join("disk");
    let Some(disk) = SmallDisk::mount(&at, "1m") else { return };
    let out = at.join("mint.backup");
    let line = format!("mint backup --out {}", out.display());
    let left = || fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    for spare in [0, 4096] {
        disk.fill(spare);
        programme.bad(&line, &["no backup was written", "No space left"]);
        assert_eq!(left(), ["fill"]);
        disk.free();
    }
    // The mint goes on, and with room again there is a backup.
    programme.assert_balanced();
    programme.good(&line);
    assert!(fs::metadata(&out).unwrap().len() > 4096, "the control: it takes more than the room that was left");
    fs::remove_file(&out).unwrap();
    let Programme { up, data, temporary: _kept, .. } = programme;
    up.stop();
    disk.fill(4096);
    bad(&format!("{line} --data {}", data.display()), &["no backup was written", "No space left"]);
    assert_eq!(left(), ["fill"]);
    disk.free();
    good(&format!("{line} --data {}", data.display()));
}
