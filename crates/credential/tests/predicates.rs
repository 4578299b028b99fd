//! Anonymous predicates: issuing, the limit, the calendar, and what a relying party takes. The clock is the tests' own, the wallet's side
//! is played with the crate `privacypass`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use credential::attributes::Attributes;
use credential::predicates::TOKENS_MAX;
use credential::register::NewRelyingParty;
use credential::status::Form;
use credential::store::Grant;
use credential::verifier::{
    Network, Outcome, Predicates, Question, RelyingParty, SpentTokens, Verifier, VerifierError,
};
use credential::{Announcement, Clock, Credentials, IssuerError, OfferError, People, PublicRecord};
use es256::{Signer, SigningKey};
use jiff::Timestamp;
use jose::Jwk;
use openid4vc::dcql::PREDICATE;
use openid4vc::registration::Localised;
use openid4vc::request::{RequestLink, RequestObject, WalletPost};
use openid4vc::response::{Answer, to_form};
use privacypass::challenge::TokenChallenge;
use privacypass::client::Blinding;
use privacypass::directory::{Directory, DirectoryKey};
use privacypass::issuer::IssuerKey;
use privacypass::keys::PublicKey;
use privacypass::messages::{Token, TokenRequest};
use privacypass::predicate::Period;
use privacypass::showing::{Showing, VerifierChallenge};

const ISSUER: &str = "https://issuer.example/credential";
const VERIFIER: &str = "https://clinic.example";

/// A clock that stands until it is moved.
struct Hands(AtomicI64);

impl Hands {
    fn set(&self, time: &str) {
        self.0.store(time.parse::<Timestamp>().unwrap().as_second(), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A registry in which everybody but `young` is sixty on 24 November 2026.
#[derive(Default)]
struct Town {
    openings: AtomicUsize,
}

impl People for Town {
    fn check_offer(&self, _: &str, _: Option<&str>) -> Result<(), OfferError> {
        Err(OfferError::Unknown)
    }

    fn take_offer(&self, _: &str, _: Option<&str>, _: &str) -> Result<String, OfferError> {
        Err(OfferError::Unknown)
    }

    fn attributes(&self, subject: &str) -> Result<Attributes, String> {
        self.openings.fetch_add(1, Ordering::SeqCst);
        let birth_date = if subject == "young" { "1966-11-25" } else { "1966-11-24" };
        Ok(Attributes {
            given_name: "Adaline".into(),
            family_name: "Testperson".into(),
            birth_date: birth_date.parse().unwrap(),
            document_number: "1".into(),
        })
    }
}

/// A log that can be full.
#[derive(Default)]
struct Record {
    entries: Mutex<Vec<Announcement>>,
    is_full: AtomicBool,
}

impl PublicRecord for Record {
    fn announce(&self, announcement: &Announcement) -> Result<u64, String> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err("the log is full".into());
        }
        let mut entries = self.entries.lock().unwrap();
        entries.push(announcement.clone());
        Ok(entries.len() as u64 - 1)
    }
}

struct Office {
    credentials: Credentials,
    clock: Arc<Hands>,
    town: Arc<Town>,
    record: Arc<Record>,
    folder: tempfile::TempDir,
}

impl Office {
    /// On 24 November 2026, with the keys of the month.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(0)));
        clock.set("2026-11-24T12:00:00Z");
        let (town, record) = (Arc::new(Town::default()), Arc::new(Record::default()));
        let credentials = open(folder.path(), &clock, &town, &record).unwrap();
        assert_eq!(credentials.make_predicate_keys(Period::at(clock.now())).unwrap(), 4);
        Office { credentials, clock, town, record, folder }
    }

    fn again(&self) -> Result<Credentials, IssuerError> {
        open(self.folder.path(), &self.clock, &self.town, &self.record)
    }

    fn key(&self, predicate: &str, period: &str) -> Option<PublicKey> {
        let is_key = |key: &DirectoryKey| {
            let says = key.announced.as_ref();
            says.is_some_and(|says| says.predicate.as_str() == predicate && says.period.to_string() == period)
        };
        let directory = self.credentials.predicate_directory(ISSUER);
        directory.token_keys.into_iter().find(is_key).map(|key| key.public_key)
    }

    fn ask(&self, grant: &Grant, requests: &[TokenRequest]) -> Result<usize, IssuerError> {
        self.credentials.issue_predicates(grant, "age_over_60", "2026-11", requests).map(|responses| responses.len())
    }
}

fn open(folder: &Path, clock: &Arc<Hands>, town: &Arc<Town>, record: &Arc<Record>) -> Result<Credentials, IssuerError> {
    Credentials::open(folder, town.clone(), record.clone(), clock.clone())
}

fn grant(id: &str, subject: &str) -> Grant {
    Grant { id: id.into(), subject: Some(subject.into()), jkt: "thumbprint".into(), revoked: false }
}

/// The wallet's side: a blinding, and the key that its token will belong to.
fn begin(key: &PublicKey) -> (SigningKey, Blinding) {
    let holder = SigningKey::generate().unwrap();
    let challenge = TokenChallenge::of_issuer(ISSUER).unwrap();
    let blinding = Blinding::new(key, &challenge, holder.public_key(), &mut rand::rng()).unwrap();
    (holder, blinding)
}

fn requests(key: &PublicKey, count: usize) -> Vec<TokenRequest> {
    vec![begin(key).1.request(); count]
}

/// A token of somebody of sixty.
fn token(office: &Office, predicate: &str, period: &str) -> (SigningKey, Token) {
    let key = office.key(predicate, period).unwrap();
    let (holder, blinding) = begin(&key);
    let issued = office.credentials.issue_predicates(&grant("d", "old"), predicate, period, &[blinding.request()]);
    (holder, blinding.finish(&key, &issued.unwrap()[0]).unwrap())
}

fn code(result: Result<usize, IssuerError>) -> &'static str {
    match result {
        Err(IssuerError::Refused { code, .. }) => code,
        other => panic!("should have been refused: {other:?}"),
    }
}

#[test]
fn a_key_is_announced_before_it_is_used_and_kept() {
    let office = Office::new();
    let announced: Vec<(u64, [u8; 32])> = (0u64..)
        .zip(office.record.entries.lock().unwrap().iter())
        .filter_map(|(place, entry)| match entry {
            Announcement::PredicateKey { spki_sha256, .. } => Some((place, *spki_sha256)),
            _ => None,
        })
        .collect();
    let directory = office.credentials.predicate_directory(ISSUER);
    let place = |key: &DirectoryKey| (key.announced.as_ref().unwrap().log_index, key.public_key.id().0);
    let mut shown: Vec<(u64, [u8; 32])> = directory.token_keys.iter().map(place).collect();
    shown.sort_unstable();
    assert_eq!((shown.len(), &shown), (4, &announced));
    // Opened again: the same keys, announced no second time.
    let again = office.again().unwrap();
    assert_eq!(again.make_predicate_keys(Period::at(office.clock.now())).unwrap(), 0);
    assert_eq!(again.predicate_directory(ISSUER), directory);
    // What can't be announced is not used, and the next try goes on with it.
    office.record.is_full.store(true, Ordering::SeqCst);
    office.clock.set("2026-12-01T00:00:00Z");
    assert!(matches!(office.credentials.follow_calendar(), Err(IssuerError::Log(_))));
    assert!(office.key("age_over_18", "2026-12").is_none());
    office.record.is_full.store(false, Ordering::SeqCst);
    assert_eq!(office.credentials.make_predicate_keys("2026-12".parse().unwrap()).unwrap(), 4);
    assert!(office.key("age_over_18", "2026-12").is_some());
}

#[test]
fn a_lost_or_exchanged_key_file_is_told() {
    let office = Office::new();
    let file = |predicate: &str| office.folder.path().join(format!("keys/predicate.{predicate}.2026-11.key.der"));
    let (lost, other) = (file("age_over_60"), file("age_over_65"));
    let genuine = std::fs::read(&lost).unwrap();
    assert!(office.again().is_ok(), "the control");
    std::fs::write(&lost, std::fs::read(&other).unwrap()).unwrap();
    assert!(matches!(office.again(), Err(IssuerError::Keys(_))));
    std::fs::write(&lost, genuine).unwrap();
    assert!(office.again().is_ok(), "the control");
    std::fs::set_permissions(&lost, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(office.again(), Err(IssuerError::Keys(_))), "open to others");
    std::fs::remove_file(&lost).unwrap();
    assert!(matches!(office.again(), Err(IssuerError::Keys(_))));
}

#[test]
fn tokens_are_given_for_this_month_to_whom_it_is_true_of() {
    let office = Office::new();
    let key = office.key("age_over_60", "2026-11").unwrap();
    let one = requests(&key, 1);
    assert_eq!(office.ask(&grant("a", "old"), &one).unwrap(), 1, "the control: sixty today");
    assert_eq!(code(office.ask(&grant("b", "young"), &one)), "not_eligible");
    let ask = |predicate: &str, period: &str| {
        office.credentials.issue_predicates(&grant("a", "old"), predicate, period, &one).map(|all| all.len())
    };
    assert_eq!(code(ask("age_over_61", "2026-11")), "unknown_predicate");
    for period in ["2026-10", "2026-12", "never"] {
        assert_eq!(code(ask("age_over_60", period)), "wrong_period");
    }
    assert_eq!(code(ask("age_over_65", "2026-11")), "not_eligible");
    // A request for another key, beside a good one: neither is signed nor counted.
    let mut wrong = requests(&key, 2);
    wrong[1].truncated_token_key_id ^= 1;
    assert_eq!(code(office.ask(&grant("a", "old"), &wrong)), "invalid_token_request");
    assert_eq!(office.ask(&grant("a", "old"), &requests(&key, TOKENS_MAX - 1)).unwrap(), TOKENS_MAX - 1);
}

#[test]
fn a_device_gets_so_many_a_month_and_no_record_is_opened_for_more() {
    let office = Office::new();
    let key = office.key("age_over_60", "2026-11").unwrap();
    let device = grant("a", "old");
    for (count, given) in [(30, true), (29, true), (2, false), (1, true), (1, false)] {
        let opened = office.town.openings.load(Ordering::SeqCst);
        let result = office.ask(&device, &requests(&key, count));
        if given {
            assert_eq!(result.unwrap(), count);
        } else {
            assert_eq!(code(result), "too_many_tokens");
            assert_eq!(office.town.openings.load(Ordering::SeqCst), opened);
        }
    }
    assert_eq!(office.ask(&grant("b", "old"), &requests(&key, 1)).unwrap(), 1, "another device");
    // It outlives a restart, and the month's end ends it.
    let again = office.again().unwrap();
    assert!(again.issue_predicates(&device, "age_over_60", "2026-11", &requests(&key, 1)).is_err());
    office.clock.set("2026-12-01T00:00:00Z");
    office.credentials.follow_calendar().unwrap();
    let key = office.key("age_over_60", "2026-12").unwrap();
    let next = office.credentials.issue_predicates(&device, "age_over_60", "2026-12", &requests(&key, 1));
    assert_eq!(next.unwrap().len(), 1);
    assert_eq!(office.credentials.store().audit().unwrap(), Vec::<String>::new());
}

#[test]
fn requests_at_once_get_no_more_than_one_after_another() {
    let office = Office::new();
    let key = office.key("age_over_60", "2026-11").unwrap();
    let (device, seven) = (grant("a", "old"), requests(&key, 7));
    let given: usize = std::thread::scope(|scope| {
        let ask = || (0..3).filter_map(|_| office.ask(&device, &seven).ok()).sum::<usize>();
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(given, TOKENS_MAX / 7 * 7);
}

#[test]
fn private_keys_end_with_their_month() {
    let office = Office::new();
    let file = office.folder.path().join("keys/predicate.age_over_60.2026-11.key.der");
    assert_eq!(office.credentials.follow_calendar().unwrap().predicate_keys, 4, "those of the next month");
    assert!(file.exists());
    office.clock.set("2026-12-01T00:00:00Z");
    assert_eq!(office.credentials.follow_calendar().unwrap().predicate_keys, 4);
    assert!(!file.exists());
    assert!(office.key("age_over_60", "2026-11").is_some(), "what it signed can be verified for another month");
    office.again().unwrap();
    office.clock.set("2027-01-01T00:00:00Z");
    office.credentials.follow_calendar().unwrap();
    assert!(office.key("age_over_60", "2026-11").is_none());
    // A month that ends while the service is down.
    let file = office.folder.path().join("keys/predicate.age_over_60.2027-01.key.der");
    assert!(file.exists());
    office.clock.set("2027-05-01T00:00:00Z");
    office.again().unwrap().follow_calendar().unwrap();
    assert!(!file.exists());
}

/// The clinic's way to the issuer.
struct Wire {
    office: Arc<Office>,
    /// How often the directory was asked for.
    directories: AtomicUsize,
    /// Shown instead of the issuer's directory.
    lie: Mutex<Option<Directory>>,
}

impl Network for Wire {
    fn status_list(&self, _: &str, form: Form) -> Result<Vec<u8>, String> {
        self.office.credentials.register_status_list(form, ISSUER).map_err(|error| error.to_string())
    }

    fn directory(&self, uri: &str) -> Result<Vec<u8>, String> {
        assert_eq!(uri, format!("{ISSUER}/predicates"));
        self.directories.fetch_add(1, Ordering::SeqCst);
        let lie = self.lie.lock().unwrap().clone();
        Ok(lie.unwrap_or_else(|| self.office.credentials.predicate_directory(ISSUER)).to_json().into_bytes())
    }

    fn tell(&self, _: &str, _: &Outcome) {}
}

struct Clinic {
    verifier: Verifier,
    wire: Arc<Wire>,
}

fn clinic(office: &Arc<Office>, identifier: &str, spent: Option<SpentTokens>) -> Clinic {
    let key = SigningKey::generate().unwrap();
    let new = NewRelyingParty {
        identifier: identifier.into(),
        name: "Clinic".into(),
        legal_name: "Clinic Ltd".into(),
        purpose: vec![Localised { lang: "en".into(), value: "to let people of 60 or older in first".into() }],
        legal_basis: "Health Act".into(),
        retention_days: 0,
        attributes: vec!["age_over_60".into()],
        privacy_policy: None,
        key: Jwk::from(*key.public_key()),
    };
    let registered = office.credentials.register(&new, ISSUER).unwrap();
    let party = RelyingParty {
        key: Box::new(key),
        certificate: jose::base64url::decode(&registered.certificate).unwrap(),
        registration_certificate: registered.registration,
        issuer_roots: vec![office.credentials.issuer_root().to_vec()],
        register_root: office.credentials.register_root().to_vec(),
    };
    let wire = Arc::new(Wire { office: office.clone(), directories: AtomicUsize::new(0), lie: Mutex::default() });
    let (network, clock) = (wire.clone(), office.clock.clone());
    let verifier = match spent {
        Some(spent) => {
            Verifier::with_predicates(party, Predicates { issuer: ISSUER.into(), spent }, network, clock).unwrap()
        }
        None => Verifier::new(party, network, clock).unwrap(),
    };
    Clinic { verifier, wire }
}

/// A question that is under way.
struct Asked {
    id: String,
    request_id: String,
    request: RequestObject,
}

impl Clinic {
    fn ask(&self) -> Asked {
        let question = Question { attributes: vec!["age_over_60".into()], ..Question::default() };
        let asked = self.verifier.ask(&question, VERIFIER).unwrap();
        let link = RequestLink::parse(&asked.link).unwrap();
        let request_id = link.request_uri.rsplit('/').next().unwrap().to_owned();
        let jws = self
            .verifier
            .request(&request_id, WalletPost { wallet_nonce: None, formats: vec![PREDICATE.into()] })
            .unwrap();
        let request = jose::Jws::parse(&jws).unwrap().claims().unwrap();
        Asked { id: asked.id, request_id, request }
    }

    fn answer(&self, asked: &Asked, showing: &Showing) -> Result<Outcome, VerifierError> {
        let presentation = jose::base64url::encode(showing.to_bytes());
        let vp_token = BTreeMap::from([("predicate".to_owned(), vec![presentation])]);
        let form = to_form(&Answer { vp_token, state: asked.request.state.clone() }, &asked.request).unwrap();
        self.verifier.answer(&asked.request_id, form.as_bytes())?;
        self.verifier.outcome(&asked.id, None)
    }

    /// Asks, and shows this token.
    fn show(&self, (holder, token): &(SigningKey, Token)) -> Result<Outcome, VerifierError> {
        let asked = self.ask();
        self.answer(&asked, &Showing::new(token, holder, &challenge_of(&asked.request)).unwrap())
    }

    /// Whether it asks for the predicate first.
    fn asks_for_predicate(&self) -> bool {
        self.ask().request.query().unwrap().credentials[0].format == PREDICATE
    }
}

fn challenge_of(request: &RequestObject) -> VerifierChallenge {
    VerifierChallenge::new(&request.client_id, &request.nonce, &request.response_uri)
}

fn refused(result: Result<Outcome, VerifierError>, told: &str) {
    let error = result.expect_err(told).to_string();
    assert!(error.contains(told), "{error}");
}

#[test]
fn a_token_is_shown_once_and_says_one_thing() {
    let office = Arc::new(Office::new());
    let clinic = clinic(&office, "NTRUT-1", Some(SpentTokens::in_memory()));
    let token = token(&office, "age_over_60", "2026-11");
    let Outcome::Verified { presentations } = clinic.show(&token).unwrap() else { panic!("not verified") };
    let shown = &presentations["predicate"];
    assert_eq!(shown.format, PREDICATE);
    assert_eq!(serde_json::to_string(&shown.attributes).unwrap(), r#"{"age_over_60":true}"#);
    refused(clinic.show(&token), "shown here before");
    // Nobody was asked again for keys that are kept.
    assert_eq!(clinic.wire.directories.load(Ordering::SeqCst), 1);
}

#[test]
fn a_showing_for_another_question_or_of_another_key_is_refused() {
    let office = Arc::new(Office::new());
    let clinic = clinic(&office, "NTRUT-1", Some(SpentTokens::in_memory()));
    let (holder, token) = token(&office, "age_over_60", "2026-11");
    let (one, two) = (clinic.ask(), clinic.ask());
    let replayed = Showing::new(&token, &holder, &challenge_of(&one.request)).unwrap();
    refused(clinic.answer(&two, &replayed), "holder's signature");
    let elsewhere = VerifierChallenge::new("x509_hash:another", &one.request.nonce, &one.request.response_uri);
    refused(clinic.answer(&one, &Showing::new(&token, &holder, &elsewhere).unwrap()), "holder's signature");
    // Signed by a key that the issuer never showed.
    let rogue = IssuerKey::generate().unwrap();
    let (thief, blinding) = begin(rogue.public_key());
    let response = rogue.issue(&blinding.request()).unwrap();
    refused(clinic.show(&(thief, blinding.finish(rogue.public_key(), &response).unwrap())), "does not show");
    // What was refused was not spent.
    assert!(clinic.show(&(holder, token)).is_ok(), "the control");
}

#[test]
fn a_token_of_another_predicate_or_an_old_month_is_refused() {
    let office = Arc::new(Office::new());
    office.credentials.follow_calendar().unwrap();
    let clinic = clinic(&office, "NTRUT-1", Some(SpentTokens::in_memory()));
    refused(clinic.show(&token(&office, "age_over_18", "2026-11")), "something else than was asked");
    let tokens = [0; 3].map(|_| token(&office, "age_over_60", "2026-11"));
    assert!(clinic.show(&tokens[0]).is_ok(), "the control");
    office.clock.set("2026-12-31T23:00:00Z");
    office.credentials.follow_calendar().unwrap();
    assert!(clinic.show(&tokens[1]).is_ok(), "last month's are taken");
    office.clock.set("2027-01-01T00:00:00Z");
    office.credentials.follow_calendar().unwrap();
    refused(clinic.show(&tokens[2]), "month");
}

#[test]
fn a_list_of_spent_tokens_outlives_its_process() {
    let office = Arc::new(Office::new());
    let path = office.folder.path().join("clinic.spent");
    let token = token(&office, "age_over_60", "2026-11");
    let first = clinic(&office, "NTRUT-1", Some(SpentTokens::open(&path).unwrap()));
    assert!(first.show(&token).is_ok());
    drop(first);
    let again = clinic(&office, "NTRUT-2", Some(SpentTokens::open(&path).unwrap()));
    refused(again.show(&token), "shown here before");
    // The control, and what is so: another list knows nothing of it.
    assert!(clinic(&office, "NTRUT-3", Some(SpentTokens::in_memory())).show(&token).is_ok());
}

#[test]
fn a_predicate_is_asked_for_only_where_it_can_be_verified() {
    let office = Arc::new(Office::new());
    assert!(clinic(&office, "NTRUT-1", Some(SpentTokens::in_memory())).asks_for_predicate(), "the control");
    assert!(!clinic(&office, "NTRUT-2", None).asks_for_predicate());
    // Two keys for one predicate and month: none is taken, and the issuer is not asked again and again.
    let deceived = clinic(&office, "NTRUT-3", Some(SpentTokens::in_memory()));
    let mut directory = office.credentials.predicate_directory(ISSUER);
    let mut second = directory.token_keys[2].clone();
    second.public_key = *IssuerKey::generate().unwrap().public_key();
    directory.token_keys.push(second);
    *deceived.wire.lie.lock().unwrap() = Some(directory);
    assert!(!deceived.asks_for_predicate() && !deceived.asks_for_predicate());
    assert_eq!(deceived.wire.directories.load(Ordering::SeqCst), 1);
    // Later the issuer is honest again.
    *deceived.wire.lie.lock().unwrap() = None;
    office.clock.set("2026-11-24T12:02:00Z");
    assert!(deceived.asks_for_predicate());
}
