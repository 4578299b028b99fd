//! A running `habeas`, as its users run it: the binary, a fresh folder, real HTTP on a free port.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The binary under test.
pub const HABEAS: &str = env!("CARGO_BIN_EXE_habeas");

/// A file of `examples/`.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file");
        }
    }
}

/// Runs `habeas` to its end.
pub fn habeas<Argument: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = Argument>) -> Output {
    Command::new(HABEAS).args(arguments).output().expect("the binary runs")
}

/// Runs a command that must succeed, and gives what it printed.
pub fn good(line: &str) -> String {
    let output = habeas(words(line));
    assert!(output.status.success(), "habeas {line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a command that must fail with one sentence that holds each of `told`; gives the sentence.
pub fn bad(line: &str, told: &[&str]) -> String {
    failed(line, &habeas(words(line)), told)
}

/// Fails unless a command failed with one sentence that holds each of `told`; gives the sentence.
pub fn failed(line: &str, output: &Output, told: &[&str]) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "habeas {line}\nshould have failed, and printed {stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "habeas {line}\nmust fail with one sentence, and printed {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for part in told {
        assert!(stderr.contains(part), "habeas {line}\nshould say '{part}', and said {stderr}");
    }
    stderr.trim().to_owned()
}

/// The value of a line `key: value`.
pub fn value(printed: &str, key: &str) -> String {
    let start = format!("{key}: ");
    let line = printed.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("there is no '{key}' in {printed}")).to_owned()
}

/// Words of a command line; 'single quotes' hold one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        match place % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// A running `habeas up`; killed when dropped.
pub struct Up {
    child: Child,
    /// `http://host:port`.
    pub url: String,
}

impl Up {
    /// Starts one on a folder, at a free port.
    pub fn start(data: &Path) -> Up {
        Self::start_at(data, "127.0.0.1:0").expect("habeas up starts")
    }

    /// Starts one at an address; the sentence it ended with when it did not start.
    pub fn start_at(data: &Path, listen: &str) -> Result<Up, String> {
        Self::start_with(data, listen, &[])
    }

    /// The same, with further options.
    pub fn start_with(data: &Path, listen: &str, options: &[&str]) -> Result<Up, String> {
        let mut command = Command::new(HABEAS);
        command.args(["up", "--listen", listen, "--data"]).arg(data).args(options).stderr(Stdio::piped());
        Self::start_command(command)
    }

    /// The same, as a command that the caller has made; its standard error goes where the caller says.
    pub fn start_command(mut command: Command) -> Result<Up, String> {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut url = None;
        for line in lines.by_ref() {
            if let Some(mint) = line.strip_prefix("mint: ") {
                url = Some(mint.to_owned());
            }
            if line.starts_with("data: ") {
                break;
            }
        }
        match url {
            Some(url) => Ok(Up { child, url }),
            None => {
                let output = child.wait_with_output().expect("it ended");
                Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
            }
        }
    }

    /// kill -9.
    pub fn kill(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill runs").success());
    }

    /// Asks it to stop, and checks that it does so cleanly.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        assert!(self.child.wait().expect("it ends").success(), "habeas up must stop cleanly on a signal");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A programme of the example people in a fresh folder, approved by two officers, with a merchant.
pub struct Programme {
    /// Deleted at the end.
    pub temporary: tempfile::TempDir,
    /// Where a test may put its files.
    pub files: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// The server.
    pub up: Up,
}

impl Programme {
    /// A server with four officers (`rita`, `olga`, `omar`, `fina`), and nothing else.
    pub fn with_officers() -> Programme {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let data = temporary.path().join("data");
        Self::in_folder(temporary, &data, &[])
    }

    /// The same, with further options of `habeas up`.
    pub fn with_officers_and(options: &[&str]) -> Programme {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let data = temporary.path().join("data");
        Self::in_folder(temporary, &data, options)
    }

    /// The same, with the data elsewhere.
    pub fn with_officers_at(data: &Path) -> Programme {
        Self::in_folder(tempfile::tempdir().expect("a temporary folder"), data, &[])
    }

    fn in_folder(temporary: tempfile::TempDir, data: &Path, options: &[&str]) -> Programme {
        let up = Up::start_with(data, "127.0.0.1:0", options).expect("habeas up starts");
        let files = temporary.path().to_owned();
        let programme = Programme { temporary, files, data: data.to_owned(), up };
        for (name, role) in [
            ("rita", "registrar"),
            ("olga", "programme-officer"),
            ("omar", "programme-officer"),
            ("fina", "finance-officer"),
        ] {
            programme.good(&format!("officer {name} --role {role}"));
        }
        programme
    }

    /// Enrols a file; gives what the command did. Offers and refused rows go to `offers` and `refused.csv` of `files`.
    pub fn enrol(&self, people: &Path, map: &Path) -> Output {
        let files = self.files.display();
        let line = format!(
            "enrol {} --map {} --as rita --refused {files}/refused.csv --offers {files}/offers --data {}",
            people.display(),
            map.display(),
            self.data.display()
        );
        habeas(words(&line))
    }

    /// The example people enrolled, and a programme of 50.00 for each, funded with `deposit`. Gives its id.
    pub fn enrolled_and_funded(&self, deposit: &str) -> String {
        self.enrol(&example("people.csv"), &example("people.map.toml"));
        let created = self.good("programme 'Food allowance' --amount 50.00 --period 2026-12 --rule everyone --as olga");
        let reference = created.split("reference ").nth(1).expect("a reference").trim().to_owned();
        let statement = self.files.join("deposit.xml");
        fs::write(&statement, good(&format!("bank --id S-1 --deposit {reference}={deposit}"))).expect("written");
        self.good(&format!("fund {} --as fina", statement.display()));
        value(&created, "programme")
    }

    /// Prepares a run and has it approved.
    pub fn approve(&self, programme: &str) {
        let run = self.good(&format!("run prepare {programme} --as olga"));
        self.good(&format!("run approve {} --hash {} --as omar", value(&run, "run"), value(&run, "hash")));
    }

    /// The wallet of the person with this number, made from their offer.
    pub fn wallet(&self, number: usize) -> PathBuf {
        let offers = fs::read_to_string(self.files.join("offers")).expect("offers");
        let offer = offers.lines().nth(number).expect("so many people");
        let codes = fs::read_to_string(self.files.join("offers.codes")).expect("codes");
        let code = codes.lines().nth(number).expect("so many people");
        let wallet = self.files.join(format!("wallet-{number}.json"));
        good(&format!("wallet init --offer {offer} --code {code} --wallet {}", wallet.display()));
        wallet
    }

    /// A registered merchant's till folder.
    pub fn till(&self) -> PathBuf {
        let (setup, till) = (self.files.join("till-setup.json"), self.files.join("till"));
        self.good(&format!(
            "merchant 'Corner shop' --iban DE89370400440532013000 --till {} --as fina",
            setup.display()
        ));
        good(&format!("till init --setup {} --till {}", setup.display(), till.display()));
        till
    }

    /// A command on this folder that must succeed.
    pub fn good(&self, line: &str) -> String {
        good(&format!("{line} --data {}", self.data.display()))
    }

    /// A command on this folder that must fail; see [`bad`].
    pub fn bad(&self, line: &str, told: &[&str]) -> String {
        bad(&format!("{line} --data {}", self.data.display()), told)
    }

    /// Fails unless the books balance.
    pub fn assert_balanced(&self) {
        assert!(self.good("audit").trim_end().ends_with("balanced"));
    }
}
