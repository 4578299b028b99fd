//! The issuer's keys in a PKCS#11 token: what they sign verifies, which keys are refused, and what happens while the token is away.
//!
//! A test that works with tokens runs itself again as a child, whose environment leads to tokens of its own.

#[path = "../../mint/tests/world/softhsm.rs"]
mod softhsm;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use credential::attributes::Attributes;
use credential::certificates::{Authority, Certificates};
use credential::issuer::CONFIGURATIONS;
use credential::token::TokenSigner;
use credential::{Announcement, Clock, Credentials, IssuerError, OfferError, People, PublicRecord, TokenUri};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use es256::{PublicKey, Signer, SigningKey};
use jiff::Timestamp;
use mdoc::certificate::{Usage, verify_chain};
use openid4vc::credential::{CredentialRequest, Proofs};
use openid4vc::token::{PRE_AUTHORIZED_CODE, TokenRequest};
use openid4vc::{dpop, proof};
use softhsm::PIN;
use storage::token::Token;

/// 1 December 2026.
const NOW: i64 = 1_796_083_200;
const DAY: i64 = 86_400;
const ISSUER: &str = "https://issuer.example";
/// The curves P-256 and P-384 by their names, DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

/// Runs `body` in a child of this test: it is given a fresh folder and the URI of the key `issuer` in a token.
fn with_token(test: &str, body: impl FnOnce(&Path, &TokenUri)) {
    softhsm::with_token(test, "issuer", |folder, uri| body(folder, &uri.parse().unwrap()));
}

/// Works with the token as another program would. Ends whatever session this process has with the module.
fn by_other_hands<T>(uri: &TokenUri, act: impl FnOnce(&Session) -> T) -> T {
    let module = Pkcs11::new(uri.module_path()).unwrap();
    let _ = module.clone().finalize();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let mut slots = module.get_slots_with_token().unwrap().into_iter();
    let slot = slots.find(|slot| module.get_token_info(*slot).unwrap().label() == uri.token()).unwrap();
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    let result = act(&session);
    drop(session);
    module.finalize().unwrap();
    result
}

/// The labels of the private keys in the token.
fn private_keys(uri: &TokenUri) -> Vec<String> {
    by_other_hands(uri, |session| {
        let label = |object| match &session.get_attributes(object, &[cryptoki::object::AttributeType::Label]).unwrap()[..]
        {
            [Attribute::Label(label)] => String::from_utf8(label.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        let found = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
        let mut labels: Vec<String> = found.into_iter().map(label).collect();
        labels.sort();
        labels
    })
}

/// Makes a key pair that differs from a good one in `private`, and in its curve.
fn make_pair(uri: &TokenUri, label: &str, curve: &[u8], private: &[Attribute]) {
    let name = Attribute::Label(label.as_bytes().to_vec());
    let usual = [
        name.clone(),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Derive(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
    ];
    let is_changed = |usual: &Attribute| private.iter().any(|other| other.attribute_type() == usual.attribute_type());
    let template: Vec<Attribute> =
        usual.into_iter().filter(|usual| !is_changed(usual)).chain(private.iter().cloned()).collect();
    let public = [name, Attribute::Token(true), Attribute::Private(false), Attribute::EcParams(curve.to_vec())];
    by_other_hands(uri, |session| session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &template).unwrap());
}

/// One person, a log that remembers what was announced, and a clock that is set.
struct World {
    clock: AtomicI64,
    announced: Mutex<Vec<&'static str>>,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World { clock: AtomicI64::new(NOW), announced: Mutex::default() })
    }

    fn at(&self) -> u64 {
        self.clock.load(Ordering::SeqCst) as u64
    }
}

impl People for World {
    fn check_offer(&self, _: &str, _: Option<&str>) -> Result<(), OfferError> {
        Ok(())
    }

    fn take_offer(&self, code: &str, _: Option<&str>, _: &str) -> Result<String, OfferError> {
        Ok(code.to_owned())
    }

    fn attributes(&self, subject: &str) -> Result<Attributes, String> {
        Ok(Attributes {
            given_name: "Adaline".into(),
            family_name: "Testperson".into(),
            birth_date: jiff::civil::date(1950, 1, 1),
            document_number: subject.to_owned(),
        })
    }
}

impl PublicRecord for World {
    fn announce(&self, announcement: &Announcement) -> Result<u64, String> {
        let mut announced = self.announced.lock().unwrap();
        if let Announcement::Certificate { role, .. } = announcement {
            announced.push(role);
        }
        Ok(announced.len() as u64)
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock.load(Ordering::SeqCst)).unwrap()
    }
}

fn open(folder: &Path, key: Option<&TokenUri>, world: &Arc<World>) -> Result<Credentials, IssuerError> {
    Credentials::open_with_key(&folder.join("credential"), key, world.clone(), world.clone(), world.clone())
}

/// A credential of each format for a person.
fn issue(credentials: &Credentials, world: &World) -> Result<Vec<String>, IssuerError> {
    let (key, uri) = (SigningKey::generate().unwrap(), format!("{ISSUER}/token"));
    let id = || hex::encode(rand::random::<[u8; 8]>());
    let request = dpop::Request { method: "POST", uri: &uri, access_token: None };
    let proof = dpop::prove(&key, request, world.at(), id(), None).unwrap();
    let asked = TokenRequest {
        grant_type: PRE_AUTHORIZED_CODE.into(),
        // Each device takes its own offer.
        pre_authorized_code: Some(id()),
        ..TokenRequest::default()
    };
    let token = credentials.token(&asked, Some(&proof), &uri)?.access_token;
    let uri = format!("{ISSUER}/credential");
    let request = dpop::Request { method: "POST", uri: &uri, access_token: Some(&token) };
    let proof = dpop::prove(&key, request, world.at(), id(), None).unwrap();
    let grant = credentials.authorize(Some(&format!("DPoP {token}")), Some(&proof), "POST", &uri)?;
    let of_a_format = |(configuration, _): (&str, _)| {
        let nonce = credentials.nonce();
        let jwt = vec![proof::prove(&SigningKey::generate().unwrap(), ISSUER, &nonce, world.at()).unwrap()];
        let request = CredentialRequest {
            credential_configuration_id: Some(configuration.to_owned()),
            credential_identifier: None,
            proofs: Proofs { jwt, attestation: Vec::new() },
        };
        Ok(credentials.issue(&grant, &request, ISSUER)?.credentials.remove(0).credential)
    };
    CONFIGURATIONS.into_iter().map(of_a_format).collect()
}

/// How many of these verify under a root.
fn verified(issued: &[String], root: &[u8], world: &World) -> usize {
    let now = world.now();
    let verifies = |credential: &&String| match base64url(credential) {
        Some(bytes) => mdoc::verify::verify_issued(&bytes, &[root], now).is_ok(),
        None => {
            let key = |header: &jose::Header, _: Option<&str>| -> Option<PublicKey> {
                verify_chain(header.x5c.first()?, &[root], Usage::DocumentSigner, now).ok().map(|signer| signer.key)
            };
            sdjwt::verify(credential, key, None, world.at()).is_ok()
        }
    };
    issued.iter().filter(verifies).count()
}

fn base64url(text: &str) -> Option<Vec<u8>> {
    jose::base64url::decode(text).ok()
}

/// What an error about keys says.
fn refused<T>(result: Result<T, impl ToString>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(_) => panic!("not refused"),
    }
}

/// Fails unless `told` has all of `parts`.
fn says(told: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| told.contains(part)), "should say {parts:?}, and said {told}");
    assert!(!told.contains(PIN), "{told}");
}

#[test]
fn credentials_that_a_token_signed_verify_and_a_new_quarter_has_a_new_key() {
    with_token("credentials_that_a_token_signed_verify_and_a_new_quarter_has_a_new_key", |folder, uri| {
        let world = World::new();
        let credentials = open(folder, Some(uri), &world).unwrap();
        let root = credentials.issuer_root().to_vec();
        let first = issue(&credentials, &world).unwrap();
        assert_eq!((first.len(), verified(&first, &root, &world)), (2, 2));
        // The control: under another root they don't.
        assert_eq!(verified(&first, credentials.register_root(), &world), 0);
        drop(credentials);
        let made = [
            "issuer-document-signer.1",
            "issuer-iaca",
            "issuer-list-operator",
            "issuer-register-root",
            "issuer-registrar.1",
        ];
        assert_eq!(private_keys(uri), made);
        // A key lies nowhere else, and what is made is announced once.
        let keys = fs::read_dir(folder.join("credential/keys")).unwrap();
        let names: Vec<_> = keys.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.ends_with(".key.der")), "{names:?}");
        drop(open(folder, Some(uri), &world).unwrap());
        assert_eq!(world.announced.lock().unwrap().len(), 5);

        world.clock.store(NOW + 92 * DAY, Ordering::SeqCst);
        let credentials = open(folder, Some(uri), &world).unwrap();
        assert_eq!(credentials.issuer_root(), root);
        let second = issue(&credentials, &world).unwrap();
        assert_eq!(verified(&second, &root, &world), 2);
        drop(credentials);
        assert_eq!(
            private_keys(uri),
            [
                "issuer-document-signer.1",
                "issuer-document-signer.2",
                "issuer-iaca",
                "issuer-list-operator",
                "issuer-register-root",
                "issuer-registrar.1",
                "issuer-registrar.2"
            ]
        );
        assert_eq!(world.announced.lock().unwrap().len(), 7);
    });
}

#[test]
fn a_service_keeps_its_keys_where_they_were_made() {
    with_token("a_service_keeps_its_keys_where_they_were_made", |folder, uri| {
        let world = World::new();
        drop(open(folder, Some(uri), &world).unwrap());
        // Without the token it does not start, and makes no other key.
        says(&refused(open(folder, None, &world).map(drop)), &["iaca.key.der"]);
        assert!(!folder.join("credential/keys/iaca.key.der").exists());
        // Another key under the same certificate.
        let other = uri.to_string().replace("object=issuer", "object=other").parse().unwrap();
        says(&refused(open(folder, Some(&other), &world).map(drop)), &["has no private key 'other-iaca'"]);
        let token = Arc::new(Token::new(&other).unwrap());
        drop(TokenSigner::open_or_make(&token, "other-iaca").unwrap());
        drop(token);
        says(&refused(open(folder, Some(&other), &world).map(drop)), &["iaca", "don't belong together"]);
        // The other way round: keys in files stay there, and a token beside them is not believed in.
        let files = folder.join("files");
        drop(open(&files, None, &world).unwrap());
        says(
            &refused(open(&files, Some(uri), &world).map(drop)),
            &["iaca.key.der is there too", "in no token's keeping"],
        );
        drop(open(&files, None, &world).unwrap());
        // The controls: each with its own.
        drop(open(folder, Some(uri), &world).unwrap());
    });
}

#[test]
fn a_key_that_is_no_issuers_is_refused() {
    with_token("a_key_that_is_no_issuers_is_refused", |_, uri| {
        let open = |label: &str| TokenSigner::open(&Arc::new(Token::new(uri).unwrap()), label);
        for (label, curve, private, told) in [
            ("extractable", P256, vec![Attribute::Extractable(true)], "CKA_EXTRACTABLE"),
            ("clear", P256, vec![Attribute::Sensitive(false)], "CKA_SENSITIVE"),
            ("public", P256, vec![Attribute::Private(false)], "CKA_PRIVATE"),
            ("deriving", P256, vec![Attribute::Derive(true)], "CKA_DERIVE"),
            ("decrypting", P256, vec![Attribute::Decrypt(true)], "CKA_DECRYPT"),
            ("unwrapping", P256, vec![Attribute::Unwrap(true)], "CKA_UNWRAP"),
            ("silent", P256, vec![Attribute::Sign(false)], "CKA_SIGN"),
            ("p384", P384, vec![], "P-256 (CKA_EC_PARAMS)"),
        ] {
            make_pair(uri, label, curve, &private);
            says(&refused(open(label)), &[label, told, "no key of an issuer"]);
            // Nor is it taken for one that was just made.
            let token = Arc::new(Token::new(uri).unwrap());
            says(&refused(TokenSigner::open_or_make(&token, label)), &[label, told]);
        }
        says(&refused(open("none")), &["has no private key 'none'"]);
        // The control: a pair that differs in nothing is good, alone.
        make_pair(uri, "good", P256, &[]);
        let signer = open("good").unwrap();
        let signature = signer.sign(b"message").unwrap();
        assert!(signer.public_key().verify(b"message", &signature));
        assert!(!signer.public_key().verify(b"massage", &signature));
        drop(signer);
        make_pair(uri, "good", P256, &[]);
        says(&refused(open("good")), &["several private keys 'good'"]);
        // A public key of somebody else's under the label.
        for label in ["one", "two"] {
            make_pair(uri, label, P256, &[]);
        }
        drop(open("one").unwrap());
        by_other_hands(uri, |session| {
            let public = |label: &str| {
                let label = Attribute::Label(label.as_bytes().to_vec());
                session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY), label]).unwrap()[0]
            };
            session.destroy_object(public("one")).unwrap();
            session.update_attributes(public("two"), &[Attribute::Label(b"one".to_vec())]).unwrap();
        });
        says(&refused(open("one")), &["signed with another key", "'one'"]);
    });
}

#[test]
fn a_token_that_is_away_stops_signing_and_back_it_goes_on() {
    with_token("a_token_that_is_away_stops_signing_and_back_it_goes_on", |folder, uri| {
        let world = World::new();
        let credentials = open(folder, Some(uri), &world).unwrap();
        let root = credentials.issuer_root().to_vec();
        assert_eq!(verified(&issue(&credentials, &world).unwrap(), &root, &world), 2);
        let put_back = softhsm::pull(&folder.join("tokens"));
        for _ in 0..2 {
            assert!(issue(&credentials, &world).is_err(), "signed without a token");
        }
        put_back();
        assert_eq!(verified(&issue(&credentials, &world).unwrap(), &root, &world), 2);
        // Somebody else in the process has finalised the module, or works with it between two signatures.
        assert_eq!(private_keys(uri).len(), 5);
        assert_eq!(verified(&issue(&credentials, &world).unwrap(), &root, &world), 2);
        let other = Token::new(uri).unwrap();
        let nothing = |_, _: &Session| Ok::<_, storage::token::TokenError>(());
        other.logged_in(storage::token::Access::Read, nothing).unwrap();
        assert_eq!(verified(&issue(&credentials, &world).unwrap(), &root, &world), 2);
        // Two that keep a session open take turns.
        let beside = TokenSigner::open(&Arc::new(other), "issuer-iaca").unwrap();
        for _ in 0..2 {
            let signature = beside.sign(b"message").unwrap();
            assert!(beside.public_key().verify(b"message", &signature));
            assert_eq!(verified(&issue(&credentials, &world).unwrap(), &root, &world), 2);
        }
    });
}

#[test]
fn a_wrong_pin_is_shown_once() {
    with_token("a_wrong_pin_is_shown_once", |_, uri| {
        let (pin, right) = (uri.pin_source(), fs::read(uri.pin_source()).unwrap());
        let token = Arc::new(Token::new(uri).unwrap());
        let signer = TokenSigner::open_or_make(&token, "issuer-key").unwrap();
        // While the session is open nobody asks for the PIN: it may change.
        fs::write(pin, "wrong-pin-1").unwrap();
        signer.sign(b"message").unwrap();
        finalise_behind_backs(uri);
        assert!(signer.sign(b"message").is_err(), "the session was lost, and the PIN is wrong");
        fs::write(pin, &right).unwrap();
        assert!(signer.sign(b"message").is_err(), "it is not shown again before a restart");
        says(&refused(TokenSigner::open(&token, "issuer-key")), &["is not asked again before a restart"]);
        // The control, and the restart.
        let restarted = TokenSigner::open(&Arc::new(Token::new(uri).unwrap()), "issuer-key").unwrap();
        restarted.sign(b"message").unwrap();
        fs::set_permissions(pin, fs::Permissions::from_mode(0o644)).unwrap();
        let token = Arc::new(Token::new(uri).unwrap());
        says(&refused(TokenSigner::open(&token, "issuer-key")), &["the PIN is not used", "0644", "chmod 600"]);
    });
}

/// Finalises the module behind everybody's back.
fn finalise_behind_backs(uri: &TokenUri) {
    Pkcs11::new(uri.module_path()).unwrap().finalize().unwrap();
}

#[test]
fn certificates_that_keys_in_files_signed_verify() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
    // A number with leading zeros comes once in 256 signatures, one with its highest bit set every other time.
    for _ in 0..8 {
        let keys = folder.path().join(hex::encode(rand::random::<[u8; 8]>()));
        fs::create_dir(&keys).unwrap();
        let certificates = Certificates::open(&keys, None, world.now(), &*world).unwrap();
        let key = SigningKey::generate().unwrap();
        for _ in 0..32 {
            let access = certificates.access_certificate(key.public_key(), "Shop", "NTRUT-1", world.now()).unwrap();
            let root = certificates.root(Authority::Register);
            verify_chain(&access, &[root], Usage::Reader, world.now()).unwrap();
            // The control.
            let other = certificates.root(Authority::Issuer);
            assert!(verify_chain(&access, &[other], Usage::Reader, world.now()).is_err());
        }
    }
}
