//! Who may read a record, as officers and people use it.

mod running;

use std::path::Path;

use running::{Programme, Up, example, good, value};

/// The document number of the first of the example people.
const CINO: &str = "S-100000";

/// The example people, with two registrars: rita and ruth.
fn enrolled() -> Programme {
    let programme = Programme::with_officers();
    programme.good("officer ruth --role registrar");
    programme.enrol(&example("people.csv"), &example("people.map.toml"));
    programme
}

/// The same folder with other options.
fn restarted(programme: Programme, options: &[&str]) -> Programme {
    let Programme { temporary, files, data, up } = programme;
    up.stop();
    let up = Up::start_with(&data, "127.0.0.1:0", options).unwrap_or_else(|told| panic!("{told}"));
    Programme { temporary, files, data, up }
}

/// The line of `log mine` that has a text.
fn mine(wallet: &Path, text: &str) -> String {
    let printed = good(&format!("log mine --wallet {}", wallet.display()));
    let line = printed.lines().find(|line| line.contains(text));
    line.unwrap_or_else(|| panic!("there is no '{text}' in {printed}")).to_owned()
}

#[test]
fn a_registrar_looks_a_person_up_and_the_person_sees_it() {
    // The server listens where the wallet's offer says, so it is not started again here.
    let programme = enrolled();
    let wallet = programme.wallet(0);
    let show = |fields: &str| format!("person show {CINO} --purpose answer-person --fields {fields} --as rita");
    assert_eq!(programme.good(&show("address")), "address: 10 Specimen Street Testford\n");
    assert!(programme.good(&show("birth_date,given_name")).starts_with("given_name: Cino\nbirth_date: 1968-11-02\n"));
    programme
        .bad(&format!("person show {CINO} --purpose curiosity --as rita"), &["published purposes", "answer-person"]);
    programme.bad(&format!("person show {CINO} --purpose evaluate-rule --as rita"), &["not one of this role"]);
    programme.bad(&format!("person show {CINO} --purpose answer-person --as olga"), &["not one of this role"]);
    programme.bad("person show S-1 --purpose answer-person --as rita", &["no such person"]);
    let line = mine(&wallet, "answer-person by a registrar: address");
    let entry = line.strip_prefix("entry ").and_then(|rest| rest.split(':').next()).expect("a number");
    let behind = programme.good(&format!("person opened-by {entry} --as admin"));
    assert_eq!(behind, format!("entry {entry}: rita\n"));
    programme.bad(&format!("person opened-by {entry} --as rita"), &["administrator"]);
    programme.bad("person opened-by 0 --as admin", &["not about a person's record"]);
}

#[test]
fn past_the_daily_limit_it_takes_two_registrars() {
    let programme = restarted(enrolled(), &["--daily-look-ups", "1"]);
    let show = format!("person show {CINO} --purpose answer-person --fields given_name --as rita");
    programme.good(&show);
    let told = programme.bad(&show, &["1 records are looked up today", "waits for another registrar"]);
    let id = told.split("look-up, ").nth(1).and_then(|rest| rest.split(',').next()).expect("an id");
    assert!(programme.good("person waiting --as ruth").contains(&format!("{id}: rita asks for given_name")));
    programme.bad(&format!("person approve {id} --as rita"), &["another officer"]);
    programme.bad(&format!("person approve {id} --as olga"), &["registrar"]);
    programme.bad(&show, &["waits"]);
    programme.good(&format!("person approve {id} --as ruth"));
    assert_eq!(value(&programme.good(&show), "given_name"), "Cino");
    programme.bad(&show, &["waits"]);
    programme.assert_balanced();
}
