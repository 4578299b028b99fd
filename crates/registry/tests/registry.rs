//! The registry's guarantees, each with the break that it must notice.

mod look_up;
mod offers;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use registry::enrol::{ColumnMap, EnrolRequest, Offer, RowOutcome};
use registry::holder::Claim;
use registry::officers::{Actor, Role};
use registry::person::Attribute;
use registry::runs::{NewProgramme, Programme};
use registry::{
    AccessEntry, AccessLog, Clock, Funds, Options, Order, PaymentOrders, PublicEntry, Registry, RegistryError,
};

const NOW: u64 = 1_795_435_200;

#[derive(Default)]
struct World {
    log_down: AtomicBool,
    openings: AtomicUsize,
    entries: Mutex<Vec<AccessEntry>>,
    days: AtomicUsize,
    funds_minor: AtomicUsize,
}

impl Clock for World {
    fn unix_now(&self) -> u64 {
        NOW + self.days.load(Ordering::SeqCst) as u64 * 24 * 3600
    }
}

impl AccessLog for World {
    fn record(&self, entries: &[AccessEntry]) -> Result<(), String> {
        if self.log_down.load(Ordering::SeqCst) {
            return Err("down".into());
        }
        self.openings.fetch_add(entries.len(), Ordering::SeqCst);
        self.entries.lock().unwrap().extend_from_slice(entries);
        Ok(())
    }

    fn publish(&self, _: &PublicEntry) -> Result<(), String> {
        if self.log_down.load(Ordering::SeqCst) { Err("down".into()) } else { Ok(()) }
    }
}

impl Funds for World {
    fn register(&self, programme: &Programme) -> Result<String, String> {
        if programme.unit == "usd" { Ok("RF00".into()) } else { Err("no such currency".into()) }
    }

    fn commit(&self, _: &str, _: &str, amount_minor: u64) -> Result<(), String> {
        let funds = self.funds_minor.load(Ordering::SeqCst) as u64;
        if amount_minor <= funds { Ok(()) } else { Err("not enough funds".into()) }
    }
}

impl PaymentOrders for World {
    fn order(&self, _: &Order) -> Result<(), String> {
        Ok(())
    }
}

fn open(folder: &Path, world: &Arc<World>) -> Registry {
    open_with(folder, world, Options::default()).unwrap()
}

fn open_with(folder: &Path, world: &Arc<World>, options: Options) -> Result<Registry, RegistryError> {
    Registry::open(folder, world.clone(), world.clone(), world.clone(), world.clone(), options)
}

fn map() -> ColumnMap {
    let columns = [
        (Attribute::GivenName, vec!["given".to_owned()]),
        (Attribute::FamilyName, vec!["family".to_owned()]),
        (Attribute::BirthDate, vec!["born".to_owned()]),
        (Attribute::DocumentNumber, vec!["number".to_owned()]),
        (Attribute::Address, vec!["street".to_owned(), "town".to_owned()]),
    ];
    ColumnMap { date_format: "%Y%m%d".into(), columns: columns.into() }
}

fn rows(rows: &[[&str; 6]]) -> EnrolRequest {
    EnrolRequest {
        map: map(),
        header: ["given", "family", "born", "number", "street", "town"].map(String::from).to_vec(),
        rows: rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect(),
    }
}

const ADA: [&str; 6] = ["adaline", "testperson", "19500101", "1111111", "12 sample street", "exampleton"];
const BEA: [&str; 6] = ["beatrix", "mockington", "20010203", "2222222", "7 other road", "testville"];

fn enrolled(registry: &Registry) -> Offer {
    match registry.enrol(&rows(&[ADA, BEA])).unwrap().remove(0) {
        RowOutcome::Enrolled { offer, .. } => offer,
        other => panic!("{other:?}"),
    }
}

fn officer(id: &str) -> Actor {
    Actor { id: id.into(), role: Role::ProgrammeOfficer }
}

fn pension(registry: &Registry) -> Programme {
    let new = NewProgramme {
        name: "Pension".into(),
        unit: "usd".into(),
        amount_minor: 5_000,
        period: "2026-12".into(),
        rule: "age >= 65 on 2026-12-01".into(),
    };
    registry.create_programme(&officer("olga"), new).unwrap().0
}

/// The person of an offer, taken.
fn taken(registry: &Registry, offer: &Offer) -> String {
    registry.take_offer(&offer.code, Some(&offer.tx_code), "grant").unwrap()
}

#[test]
fn rows_are_enrolled_once_and_bad_ones_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    enrolled(&registry);
    let again = registry.enrol(&rows(&[ADA, BEA])).unwrap();
    assert_eq!(again, [RowOutcome::AlreadyEnrolled, RowOutcome::AlreadyEnrolled]);
    let changed = |place: usize, value: &'static str| {
        let mut row = ADA;
        row[3] = "3333333";
        row[place] = value;
        match registry.enrol(&rows(&[row])).unwrap().remove(0) {
            RowOutcome::Refused { reason } => reason,
            other => panic!("{other:?}"),
        }
    };
    assert!(changed(3, "2222222").contains("enrolled already"));
    assert!(changed(2, "19500230").contains("no date"));
    assert!(changed(2, "").contains("missing"));
    assert!(changed(2, "20300101").contains("future"));
    assert!(changed(2, "17000101").contains("before"));
    assert!(changed(3, "x!").contains("document_number"));
    assert!(changed(0, "").contains("given_name is missing"));
    let mut short = rows(&[ADA]);
    short.rows[0].pop();
    assert!(
        matches!(&registry.enrol(&short).unwrap()[0], RowOutcome::Refused { reason } if reason.contains("5 columns"))
    );
    let mut missing = rows(&[ADA]);
    missing.header[3] = "another".into();
    assert!(registry.enrol(&missing).unwrap_err().to_string().contains("no column 'number'"));
    assert_eq!(registry.audit().unwrap().people, 2);
}

#[test]
fn likely_duplicates_are_flagged_and_strangers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    enrolled(&registry);
    assert_eq!(registry.possible_duplicates().unwrap(), 0);
    let twin = ["adalyne", "testperson", "19500101", "1111112", "12 sample street", "exampleton"];
    let swapped = ["testperson", "adaline", "19500101", "1111113", "12 sample st", "exampleton"];
    let stranger = ["adaline", "mockington", "19500101", "1111114", "99 far avenue", "elsewhere"];
    let outcomes = registry.enrol(&rows(&[twin, swapped, stranger])).unwrap();
    let counts: Vec<usize> = outcomes
        .iter()
        .map(|outcome| match outcome {
            RowOutcome::Enrolled { possible_duplicates, .. } => *possible_duplicates,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [1, 2, 0]);
    assert_eq!(registry.audit().unwrap().people, 5, "nobody was merged");
}

#[test]
fn no_field_of_anybody_lies_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    enrolled(&registry);
    drop(registry);
    let bytes: Vec<u8> = std::fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path()).ok())
        .flatten()
        .collect();
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()));
    for text in ["adaline", "testperson", "1950", "1111111", "sample street", "mockington"] {
        assert!(!contains(text), "{text}");
    }
    assert!(contains("document_index"), "the control: what is in the clear is found");
}

#[test]
fn without_the_log_nothing_is_opened_or_approved() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let registry = open(folder.path(), &world);
    let offer = enrolled(&registry);
    let (programme, person) = (pension(&registry), taken(&registry, &offer));
    world.log_down.store(true, Ordering::SeqCst);
    assert!(matches!(registry.prepare_run(&officer("olga"), &programme.id), Err(RegistryError::Log(_))));
    assert!(matches!(registry.attributes_for_credential(&person), Err(RegistryError::Log(_))));
    world.log_down.store(false, Ordering::SeqCst);
    let opened = registry.attributes_for_credential(&person).unwrap();
    assert_eq!(opened.get(Attribute::GivenName), Some("adaline"));
    assert_eq!(opened.get(Attribute::Address), None, "only what was asked for");
    assert_eq!(world.openings.load(Ordering::SeqCst), 1);
    assert!(matches!(registry.attributes_for_credential("nobody"), Err(RegistryError::NotFound(_))));
}

#[test]
fn a_run_takes_two_officers_its_hash_and_the_funds() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let registry = open(folder.path(), &world);
    let offer = enrolled(&registry);
    let programme = pension(&registry);
    let run = registry.prepare_run(&officer("olga"), &programme.id).unwrap();
    assert_eq!((run.lines, run.total_minor), (1, 5_000));
    assert_eq!(registry.recompute_hash(&run).unwrap(), run.hash);
    assert_eq!(world.openings.load(Ordering::SeqCst), 2, "everybody's birth date was read");
    let approve = |who: &str, hash: &str| registry.approve_run(&officer(who), &run.id, hash);
    assert!(matches!(approve("olga", &run.hash), Err(RegistryError::Forbidden(_))));
    assert!(matches!(approve("omar", "00"), Err(RegistryError::Conflict(_))));
    assert!(matches!(approve("omar", &run.hash), Err(RegistryError::Funds(_))));
    assert_eq!(registry.run(&run.id).unwrap().state, "prepared");
    let registrar = Actor { id: "rita".into(), role: Role::Registrar };
    assert!(matches!(registry.approve_run(&registrar, &run.id, &run.hash), Err(RegistryError::Forbidden(_))));

    // An unapproved run pays nobody.
    let person = taken(&registry, &offer);
    let owed = || registry.entitlements(&person).unwrap();
    assert!(owed().is_empty());
    world.funds_minor.store(5_000, Ordering::SeqCst);
    assert_eq!(approve("omar", &run.hash).unwrap().state, "approved");
    assert!(matches!(approve("omar", &run.hash), Err(RegistryError::Conflict(_))));
    let entitlement = owed().remove(0);
    assert_eq!((entitlement.amount_minor, entitlement.quote.clone()), (5_000, None));

    let claim = |person: &str, pubkey: &str| {
        registry.claim(person, &Claim { entitlement: entitlement.id.clone(), pubkey: pubkey.into() })
    };
    let (key, other) = (format!("02{}", "11".repeat(32)), format!("03{}", "22".repeat(32)));
    let quote = claim(&person, &key).unwrap();
    assert_eq!(claim(&person, &key).unwrap(), quote, "the same claim again gets the same quote");
    assert_eq!(owed()[0].quote, Some(quote));
    assert!(matches!(claim(&person, &other), Err(RegistryError::Conflict(_))));
    assert!(matches!(claim("somebody else", &key), Err(RegistryError::NotFound(_))));
    assert!(registry.entitlements("somebody else").unwrap().is_empty());
    for no_key in ["", "02", &format!("04{}", "11".repeat(32)), &"zz".repeat(33)] {
        assert!(matches!(claim(&person, no_key), Err(RegistryError::Invalid(_))), "{no_key}");
    }
}

#[test]
fn an_approval_that_a_crash_interrupted_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let registry = open(folder.path(), &world);
    enrolled(&registry);
    let programme = pension(&registry);
    let run = registry.prepare_run(&officer("olga"), &programme.id).unwrap();
    world.funds_minor.store(5_000, Ordering::SeqCst);
    // The funds are committed and the log is down: as if the process had died there.
    world.log_down.store(true, Ordering::SeqCst);
    assert!(registry.approve_run(&officer("omar"), &run.id, &run.hash).is_err());
    assert_eq!(registry.run(&run.id).unwrap().state, "approving");
    drop(registry);
    world.log_down.store(false, Ordering::SeqCst);
    assert_eq!(open(folder.path(), &world).run(&run.id).unwrap().state, "approved");
}

#[test]
fn changed_rows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    enrolled(&registry);
    let programme = pension(&registry);
    let run = registry.prepare_run(&officer("olga"), &programme.id).unwrap();
    assert!(registry.audit().unwrap().problems.is_empty());
    let thief = rusqlite::Connection::open(folder.path().join("registry.db")).unwrap();
    thief.execute("UPDATE lines SET amount_minor = 6000", []).unwrap();
    thief.execute("UPDATE people SET sealed = (SELECT sealed FROM people ORDER BY id LIMIT 1)", []).unwrap();
    let problems = registry.audit().unwrap().problems.join("; ");
    assert!(problems.contains(&run.id) && problems.contains("the record "), "{problems}");
}

#[test]
fn tokens_belong_to_officers() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    let token = registry.add_officer("rita", Role::Registrar).unwrap();
    assert_eq!(registry.actor(&token).unwrap().role, Role::Registrar);
    assert!(registry.actor("another").is_err());
    assert!(matches!(registry.add_officer("rita", Role::Registrar), Err(RegistryError::Conflict(_))));
    assert!(registry.add_officer("../rita", Role::Registrar).is_err());
}
