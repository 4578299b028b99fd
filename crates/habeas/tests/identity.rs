//! Identity as people use it: a relying party registers, asks at a terminal, a wallet answers; and what a suspension, a registration and
//! a revocation stop.

mod running;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use running::{HABEAS, Programme, example, good, habeas};

/// A `habeas verify` that waits for an answer; killed when dropped.
struct Asking {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    link: String,
}

impl Asking {
    /// Asks as a relying party.
    fn start(party: &Path, attributes: &[&str]) -> Asking {
        let mut child = Command::new(HABEAS)
            .arg("verify")
            .args(attributes)
            .arg("--relying-party")
            .arg(party)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let link = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("openid4vp://")).expect("a link");
        Asking { child, lines, link }
    }

    /// What it printed after the answer, and whether it was good.
    fn end(mut self) -> (bool, String) {
        let mut printed: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        let mut told = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut told).expect("text");
        printed.push(told);
        (self.child.wait().expect("it ends").success(), printed.join("\n"))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers a link with a wallet: whether it was shown, and what was printed.
fn show(wallet: &Path, link: &str) -> (bool, String) {
    let output = habeas(["wallet", "show", link, "--yes", "--wallet", wallet.to_str().expect("UTF-8")]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

fn register(programme: &Programme, identifier: &str, attributes: &str) -> PathBuf {
    let file = programme.files.join(format!("{identifier}.json"));
    programme.good(&format!(
        "relying-party register 'City library' --identifier {identifier} --purpose 'to lend you books' \
         --legal-basis 'Library Act' --attributes {attributes} --out {}",
        file.display()
    ));
    file
}

#[test]
fn a_registered_relying_party_asks_and_a_wallet_answers_until_something_forbids_it() {
    let programme = Programme::with_officers();
    programme.enrol(&example("people.csv"), &example("people.map.toml"));
    let wallet = programme.wallet(1);
    let party = register(&programme, "NTRUT-12345678", "given_name,age_over_60");
    let listed = programme.good("relying-party list");
    assert!(listed.contains("NTRUT-12345678 City library: to lend you books"), "{listed}");

    let asking = Asking::start(&party, &["given_name", "age_over_60"]);
    let (shown, printed) = show(&wallet, &asking.link);
    assert!(shown, "{printed}");
    for told in ["City library", "to lend you books", "Library Act", "given_name, age_over_60"] {
        assert!(printed.contains(told), "the holder sees {told}: {printed}");
    }
    let (verified, printed) = asking.end();
    assert!(verified && printed.contains("VERIFIED"), "{printed}");
    assert!(printed.contains("given_name: Fenna") && printed.contains("age_over_60: yes"), "{printed}");
    for hidden in ["Sampleton", "1944", "S-100037"] {
        assert!(!printed.contains(hidden), "{hidden} was not asked for: {printed}");
    }

    // Asking for more than is registered ends before anybody is asked.
    let line = format!("verify birth_date --relying-party {}", party.display());
    running::bad(&line, &["asks for more than is registered", "birth_date"]);

    // Another's registration with one's own key and certificate.
    let modest = register(&programme, "NTRUT-2", "age_over_60");
    let read =
        |file: &Path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(file).expect("a file")).expect("JSON");
    let mut borrowed = read(&modest);
    borrowed["registration"] = read(&party)["registration"].clone();
    let file = programme.files.join("borrowed.json");
    std::fs::write(&file, borrowed.to_string()).expect("written");
    running::bad(&format!("verify given_name --relying-party {}", file.display()), &["another relying party's"]);

    // A suspension stops a question that is open, at the wallet, and the next one at the verifier.
    let asking = Asking::start(&party, &["given_name", "age_over_60"]);
    programme.good("relying-party suspend NTRUT-12345678");
    assert!(programme.good("relying-party list").contains("(SUSPENDED)"));
    let (shown, printed) = show(&wallet, &asking.link);
    assert!(!shown && printed.contains("suspended"), "{printed}");
    drop(asking);
    let line = format!("verify given_name age_over_60 --relying-party {}", party.display());
    running::bad(&line, &["suspended"]);
    programme.good("relying-party suspend NTRUT-12345678 --lift");
    let asking = Asking::start(&party, &["given_name", "age_over_60"]);
    assert!(show(&wallet, &asking.link).0, "lifted");
    assert!(asking.end().0);

    // A lost phone: what is in it is worth nothing any more.
    let history = good(&format!("wallet credentials --wallet {}", wallet.display()));
    let asking = Asking::start(&party, &["given_name", "age_over_60"]);
    let revoked = programme.good("revoke S-100037 --as rita");
    assert!(revoked.contains("credentials are revoked") && !revoked.starts_with("0 "), "{revoked}");
    let (shown, printed) = show(&wallet, &asking.link);
    assert!(!shown && printed.contains("revoked"), "{printed}");
    let (verified, printed) = asking.end();
    assert!(!verified && printed.contains("revoked") && !printed.contains("Fenna"), "{printed}");
    assert!(history.contains("City library"), "what was shown to whom is in the wallet: {history}");

    // The person comes back with the new offer, to a new phone.
    let (offer, code) = (
        running::value(&revoked, "new offer"),
        running::value(&revoked, "its transaction code, to be given on another way"),
    );
    let phone = programme.files.join("new-phone.json");
    good(&format!("wallet init --offer {offer} --code {code} --wallet {}", phone.display()));
    let asking = Asking::start(&party, &["given_name", "age_over_60"]);
    let (shown, printed) = show(&phone, &asking.link);
    assert!(shown, "{printed}");
    assert!(asking.end().0);
    running::bad(
        &format!("wallet init --offer {offer} --code {code} --wallet {}", programme.files.join("thief.json").display()),
        &["used already"],
    );
}
