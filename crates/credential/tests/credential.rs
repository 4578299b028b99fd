//! A credential from its issuing to its verification: what is accepted, and every change that must not be. The last judge is
//! `@owf/mdoc`, which we did not write (`tests/clients/owf-mdoc`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use credential::issuer::PROOF_DOMAIN;
use credential::{AttributeSource, Attributes, CertificateLog, Clock, Issuer};
use es256::{Signer, SigningKey};
use jiff::Timestamp;
use mdoc::present::present;
use mdoc::transcript::PresentationRequest;
use mdoc::verify::verify;
use mdoc::{DOC_TYPE, MdocError};

/// 2026-11-23T12:00:00Z.
const NOW: i64 = 1_795_435_200;

struct World(AtomicI64);

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

impl AttributeSource for World {
    fn attributes_for(&self, code: &str, _: &[u8]) -> Result<Attributes, String> {
        if code != "the-code" {
            return Err("no such offer".into());
        }
        Ok(Attributes {
            given_name: "Adaline".into(),
            family_name: "Testperson".into(),
            birth_date: "1961-11-23".parse().unwrap(),
            document_number: "1111111".into(),
        })
    }
}

impl CertificateLog for World {
    fn publish(&self, _: &'static str, _: [u8; 32]) -> Result<(), String> {
        Ok(())
    }
}

fn issuer(folder: &Path) -> Issuer {
    let world = Arc::new(World(AtomicI64::new(NOW)));
    Issuer::open(folder, world.clone(), &*world, world.clone()).unwrap()
}

fn device() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn issued(issuer: &Issuer, device: &SigningKey) -> Vec<u8> {
    let proof = device.sign(&[PROOF_DOMAIN, b"\0", b"the-code"].concat()).unwrap();
    issuer.issue("the-code", device.public_key().as_point(), &proof).unwrap()
}

fn request(elements: &[&str]) -> PresentationRequest {
    PresentationRequest {
        client_id: "x509_san_dns:clinic.example".into(),
        response_uri: "https://clinic.example/response".into(),
        nonce: "n-0S6_WzA2Mj".into(),
        doc_type: DOC_TYPE.into(),
        elements: elements.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

/// The bytes with `from` replaced by `to`, of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let place = bytes.windows(from.len()).position(|window| window == from).expect("the text is there");
    [&bytes[..place], to, &bytes[place + from.len()..]].concat()
}

#[test]
fn only_what_is_asked_is_disclosed_and_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, device) = (issuer(folder.path()), device());
    let credential = issued(&issuer, &device);
    let request = request(&["age_over_65", "family_name"]);
    let response = present(&credential, &device, &request).unwrap();
    let disclosed = verify(&response, &request, issuer.root(), now()).unwrap();
    assert_eq!(disclosed.len(), 2);
    assert_eq!(disclosed["age_over_65"], Value::Bool(true), "65 on this very day");
    assert_eq!(disclosed["family_name"], Value::from("Testperson"));
    for hidden in ["Adaline", "1961", "1111111"] {
        assert!(!response.windows(hidden.len()).any(|window| window == hidden.as_bytes()), "{hidden}");
    }
    assert_eq!(present(&credential, &device, &self::request(&["height"])), Err(MdocError::Missing));
    // The same keys after a restart.
    assert_eq!(self::issuer(folder.path()).root(), issuer.root());
}

#[test]
fn whatever_was_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, device) = (issuer(folder.path()), device());
    let credential = issued(&issuer, &device);
    let ask = request(&["age_over_65", "family_name"]);
    let response = present(&credential, &device, &ask).unwrap();
    let check = |response: &[u8], request: &PresentationRequest| verify(response, request, issuer.root(), now());
    assert!(check(&response, &ask).is_ok());

    assert_eq!(check(&replaced(&response, b"Testperson", b"Restperson"), &ask), Err(MdocError::Digest));
    assert_eq!(check(&replaced(&response, b"validUntil", b"validUntol"), &ask), Err(MdocError::IssuerSignature));
    assert_eq!(
        check(&response, &PresentationRequest { nonce: "another".into(), ..ask.clone() }),
        Err(MdocError::DeviceSignature)
    );
    let elsewhere = PresentationRequest { client_id: "x509_san_dns:other.example".into(), ..ask.clone() };
    assert_eq!(check(&response, &elsewhere), Err(MdocError::DeviceSignature));
    let thief = self::device();
    assert_eq!(check(&present(&credential, &thief, &ask).unwrap(), &ask), Err(MdocError::DeviceSignature));
    assert_eq!(check(&response, &request(&["age_over_65"])), Err(MdocError::Unasked));
    assert_eq!(check(&response, &request(&["age_over_65", "family_name", "given_name"])), Err(MdocError::Missing));
    assert_eq!(
        check(&response, &PresentationRequest { doc_type: "org.iso.18013.5.1.mDL".into(), ..ask.clone() }),
        Err(MdocError::DocType)
    );
    let other_folder = tempfile::tempdir().unwrap();
    let other_root = self::issuer(other_folder.path()).root().to_vec();
    assert_eq!(verify(&response, &ask, &other_root, now()), Err(MdocError::Chain));
    assert_eq!(verify(&response, &ask, issuer.root(), at(366 * 86_400)), Err(MdocError::Validity));
    assert_eq!(verify(&response, &ask, issuer.root(), at(500 * 86_400)), Err(MdocError::Chain));
    assert_eq!(verify(&response, &ask, issuer.root(), at(-2 * 86_400)), Err(MdocError::Chain));

    assert_eq!(check(&[0x81; 5_000], &ask), Err(MdocError::Malformed), "deep nesting");
    assert_eq!(check(&vec![0; 100_000], &ask), Err(MdocError::Malformed), "oversized");
    assert_eq!(check(&response[..response.len() - 1], &ask), Err(MdocError::Malformed));
    assert_eq!(check(&[response.as_slice(), &[0]].concat(), &ask), Err(MdocError::Malformed));
}

#[test]
fn no_proof_no_credential() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, device, other) = (issuer(folder.path()), device(), device());
    let proof = other.sign(&[PROOF_DOMAIN, b"\0", b"the-code"].concat()).unwrap();
    assert!(issuer.issue("the-code", device.public_key().as_point(), &proof).is_err());
    let proof = device.sign(&[PROOF_DOMAIN, b"\0", b"another"].concat()).unwrap();
    assert!(issuer.issue("the-code", device.public_key().as_point(), &proof).is_err());
    assert!(issuer.issue("another", device.public_key().as_point(), &proof).is_err());
}

/// What `@owf/mdoc` says of a response: what it discloses, or why it refuses.
fn third_party(response: &[u8], request: &PresentationRequest, root: &[u8]) -> Result<serde_json::Value, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/owf-mdoc");
    assert!(folder.join("node_modules").exists(), "the third-party verifier is not installed: run `make setup`");
    let input = serde_json::json!({
        "root": URL_SAFE_NO_PAD.encode(root), "response": URL_SAFE_NO_PAD.encode(response), "client_id": request.client_id,
        "response_uri": request.response_uri, "nonce": request.nonce, "now": NOW,
    });
    let mut node = Command::new("node")
        .arg("verify.mjs")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    node.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    match answer["refused"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => Ok(answer["accepted"].clone()),
    }
}

#[test]
fn a_verifier_that_we_did_not_write_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, device) = (issuer(folder.path()), device());
    let credential = issued(&issuer, &device);
    let ask = request(&["age_over_65", "family_name"]);
    let response = present(&credential, &device, &ask).unwrap();
    let accepted = third_party(&response, &ask, issuer.root()).unwrap();
    assert_eq!(accepted, serde_json::json!({"age_over_65": true, "family_name": "Testperson"}));

    let changed = third_party(&replaced(&response, b"Testperson", b"Restperson"), &ask, issuer.root());
    assert!(changed.is_err(), "{changed:?}");
    let mut signature = response.clone();
    let last = signature.windows(15).position(|window| window == b"deviceSignature").unwrap() + 40;
    signature[last] ^= 1;
    assert!(third_party(&signature, &ask, issuer.root()).is_err());
    let other = PresentationRequest { nonce: "another".into(), ..ask.clone() };
    assert!(third_party(&response, &other, issuer.root()).is_err());
    let other_folder = tempfile::tempdir().unwrap();
    assert!(third_party(&response, &ask, self::issuer(other_folder.path()).root()).is_err());
}

/// `cargo test -p credential --test credential -- --ignored` writes `fuzz/fixtures` again: certificates, a credential and a
/// presentation, all of them public. The keys are thrown away.
#[test]
#[ignore = "writes files of the repository: after a change of the credential's format"]
fn the_fuzz_fixtures() {
    let keys = tempfile::tempdir().unwrap();
    let (issuer, device) = (issuer(keys.path()), device());
    let credential = issued(&issuer, &device);
    let response = present(&credential, &device, &request(&["given_name", "age_over_60"])).unwrap();
    let signer = std::fs::read(keys.path().join("keys/document-signer.cert.der")).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fixtures");
    for (name, bytes) in [
        ("root.der", issuer.root()),
        ("signer.der", signer.as_slice()),
        ("credential.cbor", credential.as_slice()),
        ("response.cbor", response.as_slice()),
    ] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
