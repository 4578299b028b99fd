use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use mdoc::issue::{ElementValue, Issuing};
use mdoc::security_object::Validity;
use mdoc::{DOC_TYPE, Namespaces};
use openid4vc::credential::IssuedCredential;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::*;
use crate::state::Services;

/// Extended key usage of a document signer, and of a reader.
const DOCUMENT_SIGNER: [u64; 6] = [1, 0, 18013, 5, 1, 2];
const READER: [u64; 6] = [1, 0, 18013, 5, 1, 6];

/// A root and a document signer of it, for the century.
pub(crate) struct Authority {
    pub(crate) root: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: SigningKey,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
    params
}

fn leaf(
    issuer: &rcgen::Issuer<'static, KeyPair>,
    usage: [u64; 6],
    organization: Option<&str>,
) -> (Vec<u8>, SigningKey) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut signer = params("signer");
    signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    signer.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(usage.to_vec())];
    if let Some(organization) = organization {
        signer.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 97]), organization);
    }
    let certificate = signer.signed_by(&key, issuer).unwrap().der().to_vec();
    (certificate, SigningKey::from_pkcs8(&key.serialize_der()).unwrap())
}

impl Authority {
    fn new() -> Authority {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut root = params("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let issuer = rcgen::Issuer::new(root, root_key);
        let (certificate, key) = leaf(&issuer, DOCUMENT_SIGNER, None);
        Authority { root: root_der, certificate, key, issuer }
    }

    /// A relying party's certificate and key, or those of the register.
    pub(crate) fn reader(&self, organization: Option<&str>) -> (Vec<u8>, SigningKey) {
        leaf(&self.issuer, READER, organization)
    }

    fn issue(&self, device: &SigningKey, given_name: &str, doc_type: &str) -> IssuedCredential {
        let elements = [("given_name".to_owned(), ElementValue::Text(given_name.into()))];
        let now = Timestamp::now();
        let day = Timestamp::from_second(now.as_second() / 86_400 * 86_400).unwrap();
        let until = Timestamp::from_second(day.as_second() + 30 * 86_400).unwrap();
        let issuing = Issuing {
            doc_type,
            namespaces: &Namespaces::from([(DOC_TYPE.to_owned(), elements.into())]),
            device: device.public_key(),
            validity: Validity { signed: day, from: day, until, expected_update: None },
            status: None,
            signer: &self.key,
            chain: std::slice::from_ref(&self.certificate),
        };
        IssuedCredential { credential: URL_SAFE_NO_PAD.encode(issuing.issue(&mut rand::rng()).unwrap()) }
    }
}

/// Serves one answer to whoever asks, as often as it is asked. What it is may depend on its address.
pub(crate) fn serving(make: impl FnOnce(&str) -> Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = make(&url);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

/// A wallet that trusts a root. How it came by it is for the tests of [`crate::trusted`].
fn wallet(folder: &Path, root: &[u8]) -> Wallet {
    let hash = hex::encode(Sha256::digest(root));
    let url = "http://127.0.0.1:1".to_owned();
    let issuer = state::Issuer { url: url.clone(), root_sha256: hash.clone(), register_sha256: hash.clone() };
    let services = Services {
        mint: url.clone(),
        log: url,
        log_vkey: String::new(),
        witnesses: Vec::new(),
        quorum: 0,
        registry: None,
        issuer: Some(issuer),
        relay: None,
    };
    let mut wallet = Wallet::create(&folder.join("wallet.json"), services).unwrap();
    wallet.credentials().unwrap().roots.insert(hash, URL_SAFE_NO_PAD.encode(root));
    wallet
}

fn configuration() -> CredentialConfiguration {
    serde_json::from_value(serde_json::json!({"format": MSO_MDOC, "doctype": DOC_TYPE})).unwrap()
}

fn keys(count: usize) -> Vec<SigningKey> {
    (0..count).map(|_| SigningKey::generate().unwrap()).collect()
}

/// A wallet with a batch, and what its issuer signs with.
pub(crate) fn with_batch(folder: &Path, count: usize) -> (Wallet, Authority) {
    let authority = Authority::new();
    let mut wallet = wallet(folder, &authority.root);
    let keys = keys(count);
    let issued = keys.iter().map(|key| authority.issue(key, "Ada", DOC_TYPE)).collect();
    kept(&mut wallet, &keys, issued).unwrap();
    (wallet, authority)
}

fn kept(wallet: &mut Wallet, keys: &[SigningKey], credentials: Vec<IssuedCredential>) -> Result<(), WalletError> {
    let answer = CredentialResponse { credentials, notification_id: None };
    wallet.keep_batch("id", &configuration(), keys, &answer)
}

#[test]
fn the_credential_that_was_shown_least_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (mut wallet, _) = with_batch(folder.path(), 3);
    let taken = |wallet: &mut Wallet| wallet.take_credential(MSO_MDOC).unwrap().credential;
    let first: HashSet<String> = (0..2).map(|_| taken(&mut wallet)).collect();
    // What was shown is written down before it leaves.
    drop(wallet);
    let mut wallet = Wallet::open(&folder.path().join("wallet.json")).unwrap();
    assert_eq!(wallet.credential_batches().unwrap()[0].fresh, 1);
    let third = taken(&mut wallet);
    assert!(first.len() == 2 && !first.contains(&third), "each once before any twice");
    let again: HashSet<String> = (0..3).map(|_| taken(&mut wallet)).collect();
    assert_eq!(again.len(), 3, "and each twice before any a third time");
    let shown: Vec<u32> = wallet.credentials().unwrap().batches[0].credentials.iter().map(|held| held.shown).collect();
    assert_eq!(shown, [2, 2, 2]);
    assert!(wallet.take_credential(SD_JWT_VC).is_err(), "none of this format");
}

#[test]
fn a_batch_is_replaced_at_a_time_drawn_by_lot_and_not_when_it_ran_out() {
    let folder = tempfile::tempdir().unwrap();
    let (mut wallet, authority) = with_batch(folder.path(), 1);
    let mut drawn = HashSet::new();
    for _ in 0..5 {
        let keys = keys(1);
        let before = unix_now();
        kept(&mut wallet, &keys, vec![authority.issue(&keys[0], "Ada", DOC_TYPE)]).unwrap();
        let planned = wallet.credentials().unwrap().batches[0].refill_at;
        let days = (before + REFILL_AFTER.start)..=(unix_now() + REFILL_AFTER.end);
        assert!(days.contains(&planned), "some days after it came, whatever is shown");
        let before = unix_now();
        wallet.take_credential(MSO_MDOC).unwrap();
        let refill_at = wallet.credentials().unwrap().batches[0].refill_at;
        let hours = (before + REFILL_WHEN_OUT.start)..=(unix_now() + REFILL_WHEN_OUT.end);
        assert!(hours.contains(&refill_at), "within a day, and not at once");
        drawn.insert(refill_at - before);
        assert_eq!(wallet.refill_credentials(unix_now()).unwrap(), 0, "nothing is due yet");
        // Showing it again does not put it off.
        wallet.take_credential(MSO_MDOC).unwrap();
        assert!(wallet.credentials().unwrap().batches[0].refill_at <= refill_at);
    }
    assert!(drawn.len() > 1, "the same each time: {drawn:?}");
}

#[test]
fn credentials_signed_under_another_root_are_refused() {
    let (honest, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let mut wallet = wallet(folder.path(), &honest.root);
    let keys = keys(1);
    assert!(kept(&mut wallet, &keys, vec![other.issue(&keys[0], "Ada", DOC_TYPE)]).is_err());
    assert!(wallet.credential_batches().unwrap().is_empty());
    assert!(kept(&mut wallet, &keys, vec![honest.issue(&keys[0], "Ada", DOC_TYPE)]).is_ok(), "the control");
}

#[test]
fn credentials_that_differ_or_are_not_what_was_asked_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut wallet, authority) = with_batch(folder.path(), 2);
    let held = |wallet: &mut Wallet| wallet.credentials().unwrap().batches[0].credentials[0].credential.clone();
    let before = held(&mut wallet);
    let keys = keys(2);
    let issue = |number: usize, name: &str| authority.issue(&keys[number], name, DOC_TYPE);
    let mut refused = |credentials: Vec<IssuedCredential>, told: &str| {
        let why = kept(&mut wallet, &keys, credentials).unwrap_err().to_string();
        assert!(why.contains(told), "'{why}' should say '{told}'");
        assert_eq!(held(&mut wallet), before, "the old batch stands");
    };
    refused(vec![issue(0, "Ada"), issue(1, "Ada ")], "differ in what they attest");
    refused(vec![issue(0, "Ada")], "another number");
    refused(vec![issue(1, "Ada"), issue(0, "Ada")], "for another key");
    refused(vec![issue(0, "Ada"), authority.issue(&keys[1], "Ada", "org.example.1")], "another kind");
    refused(vec![issue(0, "Ada"), IssuedCredential { credential: "AAAA".into() }], "can't be read");
    kept(&mut wallet, &keys, vec![issue(0, "Ada"), issue(1, "Ada")]).unwrap();
    assert_ne!(held(&mut wallet), before, "the control");
    assert_eq!(wallet.credential_batches().unwrap().len(), 1, "in place of the older one");
}
