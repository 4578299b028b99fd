//! Oversight as people do it: an operator, a witness and a monitor, three processes; and an operator who puts another log in the place of
//! the one that was seen.

mod running;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use running::{HABEAS, Programme, Up, copy_folder, example, good, habeas, value};

/// A `habeas witness`; killed when dropped.
struct Witness {
    child: Child,
    /// Held open: what it prints later has to go somewhere.
    _output: BufReader<ChildStdout>,
    address: String,
    key: String,
}

impl Witness {
    fn start(folder: &Path, log: &str) -> Witness {
        let mut child = Command::new(HABEAS)
            .args(["witness", "--log", log, "--name", "witness.example", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = output.by_ref().lines().map_while(Result::ok);
        let mut told = |start: &str| lines.find_map(|line| line.strip_prefix(start).map(str::to_owned)).expect("told");
        let (address, key) = (told("witness: "), told("key: "));
        Witness { child, _output: output, address, key }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks once: whether nothing was wrong, and what was said.
fn monitor(url: &str, folder: &Path, witness: &Witness) -> (bool, String) {
    let (folder, seen) = (folder.to_str().unwrap(), format!("{}={}", witness.key, witness.address));
    let output = habeas(["monitor", url, "--data", folder, "--witness", &seen, "--quorum", "1", "--once"]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

/// Waits until readers get a checkpoint with the witness's line that covers the log as it is.
fn wait_until_cosigned(data: &Path, witness: &Witness) {
    let name = witness.key.split('+').next().unwrap();
    let size = |note: &str| note.lines().nth(1).map(str::to_owned);
    for _ in 0..200 {
        let (own, published) = (data.join("log/checkpoint"), data.join("log/public/checkpoint"));
        let note = fs::read_to_string(&published).unwrap_or_default();
        if note.contains(&format!("\u{2014} {name} ")) && size(&note) == size(&fs::read_to_string(own).unwrap()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the witness did not cosign");
}

fn evidence_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or(Vec::new(), |files| files.map(|file| file.unwrap().path()).collect())
}

#[test]
fn an_operator_is_watched_and_one_who_puts_another_log_in_place_is_convicted() {
    let programme = Programme::with_officers();
    programme.enrol(&example("people.csv"), &example("people.map.toml"));
    let (data, url) = (programme.data.clone(), programme.up.url.clone());
    let witness = Witness::start(&programme.files.join("witness"), &format!("{url}/log"));
    let key = fs::read_to_string(data.join("server.json")).unwrap();
    let key = value(&key.replace(['"', ',', ' '], "").replace(':', ": "), "log_vkey");
    programme.good(&format!("log witness add {} '{}' --quorum 1", witness.address, witness.key));
    assert!(
        good(&format!("log witness list --data {}", data.display())).contains("quorum 1\nwitness witness.example+")
    );
    // A wallet asks for the quorum that its offer names, and finds the keysets in a log that has it.
    wait_until_cosigned(&data, &witness);
    let wallet = programme.wallet(1);
    assert!(good(&format!("wallet credentials --wallet {}", wallet.display())).contains("mso_mdoc"));
    let seen = programme.files.join("monitor");
    wait_until_cosigned(&data, &witness);
    let (is_good, told) = monitor(&url, &seen, &witness);
    assert!(is_good && told.contains("1 witnesses cosigned; nothing is wrong"), "{told}");
    good(&format!(
        "log verify {url}/log --key '{key}' --witness '{}' --quorum 1 --state {}",
        witness.key,
        programme.files.join("checkpoint").display()
    ));

    // The operator keeps a copy of the log, goes on, and later shows the copy with other entries.
    let Programme { up, temporary: _kept, files, .. } = programme;
    let listen = url.trim_start_matches("http://").to_owned();
    up.stop();
    let copy = files.join("log-copy");
    copy_folder(&data.join("log"), &copy);
    let up = Up::start_at(&data, &listen).unwrap();
    good(&format!(
        "programme 'Food' --amount 5.00 --period 2026-12 --rule everyone --as olga --data {}",
        data.display()
    ));
    wait_until_cosigned(&data, &witness);
    let (is_good, told) = monitor(&url, &seen, &witness);
    assert!(is_good, "{told}");
    up.stop();
    fs::remove_dir_all(data.join("log")).unwrap();
    copy_folder(&copy, &data.join("log"));
    let up = Up::start_at(&data, &listen).unwrap();
    for name in ["Coal", "Milk"] {
        let programme = format!("programme '{name}' --amount 5.00 --period 2026-12 --rule everyone --as olga");
        good(&format!("{programme} --data {}", data.display()));
    }
    // With its witness the operator is stuck: readers get nothing new. So it goes without.
    std::thread::sleep(std::time::Duration::from_millis(600));
    let published = fs::read_to_string(data.join("log/public/checkpoint")).unwrap();
    assert_ne!(published.lines().nth(1), fs::read_to_string(data.join("log/checkpoint")).unwrap().lines().nth(1));
    let (is_good, told) = monitor(&url, &seen, &witness);
    assert!(!is_good && told.contains("it was cut, or an old copy is shown"), "{told}");
    good(&format!("log witness remove witness.example --quorum 0 --data {}", data.display()));
    good(&format!("totals --as fina --data {}", data.display()));
    let alone = habeas(["monitor", &url, "--data", seen.to_str().unwrap(), "--once"]);
    let told = String::from_utf8(alone.stdout).unwrap();
    assert!(!alone.status.success() && told.contains("rewrote one of its first"), "{told}");
    let [evidence] = &evidence_in(&seen.join("alarms"))[..] else { panic!("one file of evidence") };
    let checked = good(&format!("evidence {} --key '{key}'", evidence.display()));
    assert!(checked.starts_with("the log rewrote one of its first"), "{checked}");
    // The control: evidence that was changed convicts nobody.
    let text = fs::read_to_string(evidence).unwrap();
    let beginning = text.find("\"beginning\": \"").unwrap() + "\"beginning\": \"".len();
    let digit = if &text[beginning..=beginning] == "0" { "1" } else { "0" };
    let changed = files.join("changed.json");
    fs::write(&changed, format!("{}{digit}{}", &text[..beginning], &text[beginning + 1..])).unwrap();
    running::bad(&format!("evidence {} --key '{key}'", changed.display()), &["proves nothing"]);
    up.stop();
}

#[test]
fn what_cant_be_watched_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let up = Up::start(&data);
    let monitor = format!("--data {} --once", folder.path().join("monitor").display());
    running::bad(&format!("monitor http://127.0.0.1:1 {monitor}"), &["can't be reached"]);
    running::bad(&format!("monitor {} --key nonsense {monitor}", up.url), &["neither a log's key nor its address"]);
    running::bad(
        &format!("monitor {} --quorum 1 {monitor}", up.url),
        &["a quorum of 1 can't be reached by 0 witnesses"],
    );
    running::bad(&format!("monitor {} --witness nonsense {monitor}", up.url), &["no witness's key"]);
    running::bad(
        &format!("log witness add http://127.0.0.1:1 nonsense --data {}", data.display()),
        &["<name>+<hash>+<key>"],
    );
    running::bad(&format!("log witness remove nobody --data {}", data.display()), &["no witness 'nobody'"]);
    let file = folder.path().join("evidence.json");
    fs::write(&file, "{}").unwrap();
    running::bad(&format!("evidence {}", file.display()), &["not what a monitor writes"]);
    up.stop();
}
