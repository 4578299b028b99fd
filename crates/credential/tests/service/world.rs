//! People, a log, a clock, a network and a wallet, all in memory and under the test's hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use credential::attributes::Attributes;
use credential::issuer::CONFIGURATIONS;
use credential::register::{NewRelyingParty, Registered};
use credential::status::{Form, LISTS_PATH, REGISTER_LIST_PATH};
use credential::store::Grant;
use credential::verifier::{Asked, Network, Outcome, Question, RelyingParty, Verifier};
use credential::{Announcement, Clock, Credentials, IssuerError, OfferError, People, PublicRecord};
use es256::{Signer, SigningKey};
use jiff::Timestamp;
use jose::{Jwk, base64url};
use mdoc::DOC_TYPE;
use mdoc::certificate::{Usage, verify_chain};
use mdoc::present::{DeviceKey, Presented, present};
use mdoc::transcript::{Handover, SessionTranscript};
use openid4vc::credential::{CredentialRequest, Proofs};
use openid4vc::registration::Localised;
use openid4vc::request::{RequestLink, RequestObject, WalletPost};
use openid4vc::response::{Answer, to_form};
use openid4vc::token::{PRE_AUTHORIZED_CODE, TokenRequest, TokenResponse};
use openid4vc::{MSO_MDOC, SD_JWT_VC, dpop, proof};

/// 2026-11-23T12:00:00Z.
pub const NOW: i64 = 1_795_435_200;
pub const DAY: i64 = 86_400;
pub const ISSUER: &str = "https://id.example/credential";
/// Where the relying party's verifier is reached.
pub const BASE: &str = "https://clinic.example";
/// The transaction code of every offer.
pub const TX_CODE: &str = "123456";
/// Both formats, for tests that hold for each.
pub const FORMATS: [&str; 2] = [MSO_MDOC, SD_JWT_VC];

/// What the service asks of others.
#[derive(Default)]
pub struct World {
    now: AtomicI64,
    /// The registry does not answer.
    pub registry_down: AtomicBool,
    /// The registry does what it is asked, and its answer is lost.
    pub answers_lost: AtomicBool,
    pub log_down: AtomicBool,
    /// How many entries the log still takes.
    pub log_takes: AtomicUsize,
    pub announced: Mutex<Vec<Announcement>>,
    offers: Mutex<BTreeMap<String, Offer>>,
}

struct Offer {
    tries_left: u32,
    taken_by: Option<String>,
}

impl World {
    pub fn new() -> Arc<World> {
        Arc::new(World { now: AtomicI64::new(NOW), log_takes: AtomicUsize::new(usize::MAX), ..World::default() })
    }

    pub fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn seconds(&self) -> u64 {
        self.now.load(Ordering::SeqCst) as u64
    }

    pub fn roles(&self) -> Vec<&'static str> {
        let role = |announcement: &Announcement| match announcement {
            Announcement::Certificate { role, .. } => *role,
            Announcement::RelyingParty { .. } => "relying party",
            Announcement::RelyingPartySuspended { .. } => "suspended",
            Announcement::PredicateKey { .. } => "predicate key",
            Announcement::TrustedList { .. } => "trusted list",
        };
        self.announced.lock().unwrap().iter().map(role).collect()
    }

    fn check(&self, code: &str, tx_code: Option<&str>, grant: Option<&str>) -> Result<(), OfferError> {
        if self.registry_down.load(Ordering::SeqCst) {
            return Err(OfferError::Unavailable("the registry is down".into()));
        }
        if !code.starts_with("offer ") {
            return Err(OfferError::Unknown);
        }
        let mut offers = self.offers.lock().unwrap();
        let offer = offers.entry(code.to_owned()).or_insert(Offer { tries_left: 5, taken_by: None });
        if offer.taken_by.as_deref().is_some_and(|taken_by| Some(taken_by) != grant) {
            return Err(OfferError::Used);
        }
        if offer.tries_left == 0 {
            return Err(OfferError::Locked);
        }
        if tx_code != Some(TX_CODE) {
            offer.tries_left -= 1;
            return Err(match offer.tries_left {
                0 => OfferError::Locked,
                left => OfferError::WrongTransactionCode { left },
            });
        }
        if let Some(grant) = grant {
            offer.taken_by = Some(grant.to_owned());
        }
        Ok(())
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now.load(Ordering::SeqCst)).unwrap()
    }
}

impl PublicRecord for World {
    fn announce(&self, announcement: &Announcement) -> Result<u64, String> {
        if self.log_down.load(Ordering::SeqCst) {
            return Err("the log is down".into());
        }
        let one_less = |left: usize| left.checked_sub(1);
        if self.log_takes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
            return Err("the log takes no more".into());
        }
        let mut announced = self.announced.lock().unwrap();
        announced.push(announcement.clone());
        Ok(announced.len() as u64 - 1)
    }
}

/// The offer `offer ada 1` is the person `ada`'s.
impl People for World {
    fn check_offer(&self, code: &str, tx_code: Option<&str>) -> Result<(), OfferError> {
        self.check(code, tx_code, None)
    }

    fn take_offer(&self, code: &str, tx_code: Option<&str>, grant: &str) -> Result<String, OfferError> {
        self.check(code, tx_code, Some(grant))?;
        if self.answers_lost.load(Ordering::SeqCst) {
            return Err(OfferError::Unavailable("the answer was lost".into()));
        }
        Ok(code.split(' ').nth(1).unwrap().to_owned())
    }

    fn attributes(&self, subject: &str) -> Result<Attributes, String> {
        if self.registry_down.load(Ordering::SeqCst) {
            return Err("the registry is down".into());
        }
        Ok(Attributes {
            given_name: subject.into(),
            family_name: "Testperson".into(),
            birth_date: "1961-11-23".parse().unwrap(),
            document_number: format!("number of {subject}"),
        })
    }
}

/// A service in a folder of its own.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub world: Arc<World>,
    pub credentials: Credentials,
}

pub fn open(folder: &Path, world: &Arc<World>) -> Result<Credentials, IssuerError> {
    Credentials::open(folder, world.clone(), world.clone(), world.clone())
}

impl Place {
    pub fn new() -> Place {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let credentials = open(folder.path(), &world).unwrap();
        Place { folder, world, credentials }
    }

    /// The same folder after a restart.
    pub fn reopened(self) -> Place {
        let Place { folder, world, credentials } = self;
        drop(credentials);
        let credentials = open(folder.path(), &world).unwrap();
        Place { folder, world, credentials }
    }

    /// A device with a person's first offer taken.
    pub fn device(&self, person: &str) -> Device {
        self.device_by(&format!("offer {person} 1"))
    }

    pub fn device_by(&self, offer: &str) -> Device {
        let mut device = self.stranger();
        device.take(offer, TX_CODE).unwrap();
        device
    }

    /// A device that took no offer.
    pub fn stranger(&self) -> Device {
        let (credentials, world) = (self.credentials.clone(), self.world.clone());
        Device { key: key(), credentials, world, token: None, proofs: AtomicUsize::new(0) }
    }

    /// Changes rows on disk, past the service.
    pub fn tampered(&self, sql: &str) {
        let database = rusqlite::Connection::open(self.folder.path().join("credential.db")).unwrap();
        database.execute_batch(sql).unwrap();
    }
}

pub fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

pub fn same_key(key: &SigningKey) -> SigningKey {
    SigningKey::from_secret(&key.secret().unwrap()).unwrap()
}

/// The protocol's code of a refusal.
pub fn code<T>(result: Result<T, IssuerError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(IssuerError::Refused { code, .. }) => code,
        Err(IssuerError::Unavailable(_)) => "unavailable",
        Err(IssuerError::Log(_)) => "log",
        Err(error) => panic!("{error}"),
    }
}

pub fn token_uri() -> String {
    format!("{ISSUER}/token")
}

pub fn credential_uri() -> String {
    format!("{ISSUER}/credential")
}

/// A holder's device.
pub struct Device {
    pub key: SigningKey,
    pub credentials: Credentials,
    pub world: Arc<World>,
    pub token: Option<TokenResponse>,
    proofs: AtomicUsize,
}

/// A credential and its key.
pub struct Held {
    pub format: &'static str,
    pub credential: String,
    pub key: SigningKey,
}

/// A batch as the wallet keeps it.
pub struct HeldBatch {
    pub credentials: Vec<Held>,
    pub notification_id: String,
}

impl Device {
    /// A fresh DPoP proof.
    pub fn proof(&self, method: &str, uri: &str, access_token: Option<&str>) -> String {
        let id = format!("proof {}", self.proofs.fetch_add(1, Ordering::SeqCst));
        let request = dpop::Request { method, uri, access_token };
        dpop::prove(&self.key, request, self.world.seconds(), id, None).unwrap()
    }

    pub fn ask_token(&self, request: &TokenRequest) -> Result<TokenResponse, IssuerError> {
        let proof = self.proof("POST", &token_uri(), None);
        self.credentials.token(request, Some(&proof), &token_uri())
    }

    pub fn take(&mut self, offer: &str, tx_code: &str) -> Result<(), IssuerError> {
        self.token = Some(self.ask_token(&pre_authorized(offer, tx_code))?);
        Ok(())
    }

    pub fn access_token(&self) -> &str {
        &self.token.as_ref().expect("an offer was taken").access_token
    }

    pub fn authorized(&self) -> Result<Grant, IssuerError> {
        let (token, uri) = (self.access_token(), credential_uri());
        let proof = self.proof("POST", &uri, Some(token));
        self.credentials.authorize(Some(&format!("DPoP {token}")), Some(&proof), "POST", &uri)
    }

    pub fn batch(&self, format: &'static str, count: usize) -> Result<HeldBatch, IssuerError> {
        let grant = self.authorized()?;
        let keys: Vec<SigningKey> = (0..count).map(|_| key()).collect();
        self.batch_for(&grant, format, keys)
    }

    pub fn batch_for(
        &self,
        grant: &Grant,
        format: &'static str,
        keys: Vec<SigningKey>,
    ) -> Result<HeldBatch, IssuerError> {
        let nonce = self.credentials.nonce();
        let proofs = keys.iter().map(|key| self.key_proof(key, ISSUER, &nonce)).collect();
        let answer = self.credentials.issue(grant, &request(format, proofs), ISSUER)?;
        assert_eq!(answer.credentials.len(), keys.len());
        let held = |(issued, key): (openid4vc::credential::IssuedCredential, SigningKey)| Held {
            format,
            credential: issued.credential,
            key,
        };
        let credentials = answer.credentials.into_iter().zip(keys).map(held).collect();
        Ok(HeldBatch { credentials, notification_id: answer.notification_id.unwrap() })
    }

    pub fn key_proof(&self, key: &SigningKey, issuer: &str, nonce: &str) -> String {
        proof::prove(key, issuer, nonce, self.world.seconds()).unwrap()
    }

    /// One credential.
    pub fn held(&self, format: &'static str) -> Held {
        self.batch(format, 1).unwrap().credentials.remove(0)
    }
}

pub fn pre_authorized(offer: &str, tx_code: &str) -> TokenRequest {
    TokenRequest {
        grant_type: PRE_AUTHORIZED_CODE.into(),
        pre_authorized_code: Some(offer.into()),
        tx_code: Some(tx_code.into()),
        ..TokenRequest::default()
    }
}

/// A request for credentials with these key proofs.
pub fn request(format: &str, jwt: Vec<String>) -> CredentialRequest {
    let (id, _) = CONFIGURATIONS.into_iter().find(|(_, of)| *of == format).unwrap();
    CredentialRequest {
        credential_configuration_id: Some(id.into()),
        credential_identifier: None,
        proofs: Proofs { jwt, attestation: Vec::new() },
    }
}

/// What a credential says: its values by name, its place in the status list, its times, its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub values: BTreeMap<String, serde_json::Value>,
    pub place: statuslist::Reference,
    pub times: (u64, u64),
    pub key: es256::PublicKey,
}

/// Verifies a credential to the issuer's root.
///
/// # Errors
/// What the format's crate says.
pub fn read(held: &Held, root: &[u8], now: Timestamp) -> Result<Told, String> {
    let seconds = |time: Timestamp| time.as_second() as u64;
    if held.format == MSO_MDOC {
        let bytes = base64url::decode(&held.credential).unwrap();
        let document = mdoc::verify::verify_issued(&bytes, &[root], now).map_err(|error| error.to_string())?;
        assert_eq!(document.doc_type, DOC_TYPE);
        let values = &document.elements[DOC_TYPE];
        let values = values.iter().map(|(name, value)| (name.clone(), mdoc::verify::to_json(value))).collect();
        let status = document.status.unwrap();
        assert_eq!(document.validity.signed, document.validity.from);
        return Ok(Told {
            values,
            place: statuslist::Reference { uri: status.uri, idx: status.idx },
            times: (seconds(document.validity.from), seconds(document.validity.until)),
            key: document.device_key,
        });
    }
    let issuer = |header: &jose::Header, _: Option<&str>| {
        let certified = verify_chain(header.x5c.first()?, &[root], Usage::DocumentSigner, now);
        certified.ok().map(|certified| certified.key)
    };
    let verified = sdjwt::verify(&held.credential, issuer, None, seconds(now)).map_err(|error| error.to_string())?;
    assert_eq!(verified.vct(), format!("{ISSUER}/types/id"));
    let own = ["vct", "iss", "iat", "exp", "cnf", "status"];
    let values = verified.claims.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    Ok(Told {
        values: values.map(|(name, value)| (name.clone(), value.clone())).collect(),
        place: serde_json::from_value(verified.status().unwrap().clone()).unwrap(),
        times: (verified.validity.issued_at.unwrap(), verified.validity.expires_at.unwrap()),
        key: verified.key.unwrap(),
    })
}

impl Place {
    pub fn read(&self, held: &Held) -> Told {
        read(held, self.credentials.issuer_root(), self.world.now()).unwrap()
    }
}

/// How a test changes a list on its way.
pub type Change = Box<dyn Fn(Vec<u8>) -> Result<Vec<u8>, String> + Send + Sync>;

/// Serves lists from the service in this process.
pub struct Web {
    credentials: Credentials,
    pub fetched: Mutex<Vec<String>>,
    pub told: Mutex<Vec<(String, Outcome)>>,
    pub change: Mutex<Option<Change>>,
}

impl Network for Web {
    fn status_list(&self, uri: &str, form: Form) -> Result<Vec<u8>, String> {
        self.fetched.lock().unwrap().push(uri.to_owned());
        let list = if uri == format!("{ISSUER}{REGISTER_LIST_PATH}") {
            Some(self.credentials.register_status_list(form, ISSUER).map_err(|error| error.to_string())?)
        } else {
            let number = uri.strip_prefix(&format!("{ISSUER}{LISTS_PATH}")).and_then(|number| number.parse().ok());
            let number = number.ok_or("no list of ours")?;
            self.credentials.status_list(number, form, ISSUER).map_err(|error| error.to_string())?
        };
        let list = list.ok_or("there is no such list")?;
        match &*self.change.lock().unwrap() {
            Some(change) => change(list),
            None => Ok(list),
        }
    }

    fn tell(&self, address: &str, outcome: &Outcome) {
        self.told.lock().unwrap().push((address.to_owned(), outcome.clone()));
    }
}

/// A registered relying party.
pub struct Party {
    pub key: SigningKey,
    pub registered: Registered,
}

pub fn new_party(identifier: &str, attributes: &[&str], key: &SigningKey) -> NewRelyingParty {
    NewRelyingParty {
        identifier: identifier.into(),
        name: "Clinic".into(),
        legal_name: "Clinic Ltd".into(),
        purpose: vec![Localised { lang: "en".into(), value: "to find your file".into() }],
        legal_basis: "Health Act".into(),
        retention_days: 0,
        attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
        privacy_policy: None,
        key: Jwk::from(*key.public_key()),
    }
}

impl Party {
    pub fn register(place: &Place, identifier: &str, attributes: &[&str]) -> Party {
        let key = key();
        let registered = place.credentials.register(&new_party(identifier, attributes, &key), ISSUER).unwrap();
        Party { key, registered }
    }

    pub fn certificate(&self) -> Vec<u8> {
        base64url::decode(&self.registered.certificate).unwrap()
    }

    /// All that its verifier needs, when it trusts a service.
    pub fn at(&self, place: &Place) -> RelyingParty {
        RelyingParty {
            key: Box::new(same_key(&self.key)),
            certificate: self.certificate(),
            registration_certificate: self.registered.registration.clone(),
            issuer_roots: vec![place.credentials.issuer_root().to_vec()],
            register_root: place.credentials.register_root().to_vec(),
        }
    }
}

/// A service, a relying party and its verifier, and a person's device.
pub struct Counter {
    pub place: Place,
    pub party: Party,
    pub web: Arc<Web>,
    pub verifier: Verifier,
    pub device: Device,
}

impl Counter {
    /// The relying party may ask for `given_name`, `birth_date` and `age_over_60`.
    pub fn new() -> Counter {
        let place = Place::new();
        let party = Party::register(&place, "NTRUT-1", &["given_name", "birth_date", "age_over_60"]);
        let web = web(&place);
        let verifier = Verifier::new(party.at(&place), web.clone(), place.world.clone()).unwrap();
        let device = place.device("ada");
        Counter { place, party, web, verifier, device }
    }

    pub fn ask(&self, attributes: &[&str]) -> Asked {
        self.verifier.ask(&question(attributes), BASE).unwrap()
    }

    /// The request of a question, read as a wallet reads it.
    pub fn look(&self, asked: &Asked) -> Looked {
        look(&self.place, &self.verifier, asked)
    }

    /// A new question for two attributes, looked at.
    pub fn asked(&self) -> (Asked, Looked) {
        let asked = self.ask(&ASKED);
        let looked = self.look(&asked);
        (asked, looked)
    }
}

/// What tests ask for: two, so that no predicate is enough.
pub const ASKED: [&str; 2] = ["given_name", "age_over_60"];

pub fn question(attributes: &[&str]) -> Question {
    Question { attributes: attributes.iter().map(|name| (*name).to_owned()).collect(), ..Question::default() }
}

pub fn web(place: &Place) -> Arc<Web> {
    Arc::new(Web {
        credentials: place.credentials.clone(),
        fetched: Mutex::default(),
        told: Mutex::default(),
        change: Mutex::default(),
    })
}

/// A request as a wallet has it.
#[derive(Clone)]
pub struct Looked {
    pub request_id: String,
    pub request: RequestObject,
}

pub fn look(place: &Place, verifier: &Verifier, asked: &Asked) -> Looked {
    let link = RequestLink::parse(&asked.link).unwrap();
    let request_id = link.request_uri.strip_prefix(&format!("{BASE}/requests/")).unwrap().to_owned();
    let text = verifier
        .request(&request_id, WalletPost { wallet_nonce: Some("of the wallet".into()), formats: Vec::new() })
        .unwrap();
    let root = place.credentials.register_root();
    let trusted = |chain: &[Vec<u8>]| {
        verify_chain(chain.first()?, &[root], Usage::Reader, place.world.now()).ok().map(|certified| certified.key)
    };
    let request = RequestObject::verify(&text, &link.client_id, trusted, place.world.seconds()).unwrap();
    assert_eq!(request.wallet_nonce.as_deref(), Some("of the wallet"));
    Looked { request_id, request }
}

impl Looked {
    /// The query's id of a format.
    pub fn id(format: &str) -> &'static str {
        if format == MSO_MDOC { "mdoc" } else { "sd_jwt" }
    }

    /// A presentation of attributes for this request.
    pub fn present(&self, held: &Held, names: &[&str], now: u64) -> String {
        let request = &self.request;
        if held.format == SD_JWT_VC {
            let binding =
                sdjwt::KeyBinding { aud: &request.client_id, nonce: &request.nonce, iat: now, key: &held.key };
            let paths: Vec<sdjwt::ClaimPath> = names.iter().map(|name| sdjwt::ClaimPath::from(*name)).collect();
            return sdjwt::SdJwt::parse(&held.credential).unwrap().present(&paths, Some(binding)).unwrap();
        }
        let thumbprint = request.encryption_key().unwrap().thumbprint();
        let transcript = SessionTranscript::new(&Handover::OpenId4Vp {
            client_id: &request.client_id,
            nonce: &request.nonce,
            jwk_thumbprint: Some(&thumbprint),
            response_uri: &request.response_uri,
        });
        let elements: Vec<(&str, &str)> = names.iter().map(|name| (DOC_TYPE, *name)).collect();
        let issuer_signed = base64url::decode(&held.credential).unwrap();
        let device = DeviceKey::Signature(&held.key);
        let presented = Presented { issuer_signed: &issuer_signed, elements: &elements, device };
        base64url::encode(present(&[presented], &transcript).unwrap())
    }

    /// An answer with one presentation, encrypted, as a form.
    pub fn answer(&self, format: &str, presentation: String) -> String {
        let vp_token = BTreeMap::from([(Looked::id(format).to_owned(), vec![presentation])]);
        to_form(&Answer { vp_token, state: self.request.state.clone() }, &self.request).unwrap()
    }

    /// The honest answer to what tests ask for.
    pub fn honest(&self, held: &Held, now: u64) -> String {
        self.answer(held.format, self.present(held, &ASKED, now))
    }
}
