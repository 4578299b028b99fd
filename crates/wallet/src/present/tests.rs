use es256::AgreementKey;
use es256::SigningKey;
use jose::Jwk;
use mdoc::DOC_TYPE;
use openid4vc::request::{
    AUDIENCE, ClientMetadata, Jwks, REGISTRATION_FORMAT, VerifierInfo, client_id, formats_supported,
};
use serde_json::json;
use statuslist::StatusList;

use super::*;
use crate::credentials::tests::{Authority, serving, with_batch};

/// A question, and how it differs from a good one.
struct Question {
    /// Whose certificate asks.
    asker: &'static str,
    /// Whose registration is shown; none at all.
    registered: Option<&'static str>,
    attribute: &'static str,
    suspended: bool,
    registered_until: u64,
}

impl Default for Question {
    fn default() -> Self {
        let registered_until = unix_now() + 1_000;
        Question {
            asker: "NTRUT-1",
            registered: Some("NTRUT-1"),
            attribute: "given_name",
            suspended: false,
            registered_until,
        }
    }
}

/// The register's list, at an address of its own.
fn list(authority: &Authority, suspended: bool) -> String {
    serving(|url| {
        let mut list = StatusList::new(2, 64).unwrap();
        list.set(7, if suspended { Status::Suspended } else { Status::Valid }).unwrap();
        let issuing = statuslist::Issuing { uri: url, iat: unix_now(), exp: None, ttl: Some(30) };
        list.to_jwt(&issuing, &authority.key, std::slice::from_ref(&authority.certificate)).unwrap().into_bytes()
    })
}

fn registration(authority: &Authority, question: &Question) -> Option<String> {
    let (certificate, key) = authority.reader(None);
    let registration: Registration = serde_json::from_value(json!({
        "sub": question.registered?, "name": "Library", "sub_ln": "City Library", "country": "UT",
        "registry_uri": "https://register.example", "entitlements": [],
        "purpose": [{"lang": "en", "value": "to lend you books"}], "intended_use_id": "1",
        "credentials": [{
            "format": MSO_MDOC, "meta": {"doctype_value": DOC_TYPE}, "claim": [{"path": [DOC_TYPE, "given_name"]}],
        }],
        "legal_basis": "Library Act", "retention_days": 0,
        "status": Reference { uri: list(authority, question.suspended), idx: 7 },
        "iat": unix_now(), "exp": question.registered_until,
    }))
    .unwrap();
    Some(registration.sign(&[certificate], &key).unwrap())
}

/// What a wallet says of a question.
fn looked_at(wallet: &mut Wallet, authority: &Authority, question: &Question) -> Result<Asking, WalletError> {
    let (certificate, key): (Vec<u8>, SigningKey) = authority.reader(Some(question.asker));
    let info = |data: String| VerifierInfo { format: REGISTRATION_FORMAT.into(), data: json!(data) };
    let request = RequestObject {
        response_type: "vp_token".into(),
        response_mode: "direct_post.jwt".into(),
        client_id: client_id(&certificate),
        response_uri: "http://127.0.0.1:1/answers".into(),
        nonce: "0123456789abcdef".into(),
        state: None,
        aud: AUDIENCE.into(),
        dcql_query: json!({"credentials": [{
            "id": "mdoc", "format": MSO_MDOC, "meta": {"doctype_value": DOC_TYPE},
            "claims": [{"path": [DOC_TYPE, question.attribute]}],
        }]}),
        client_metadata: ClientMetadata {
            jwks: Jwks { keys: vec![Jwk::from(*AgreementKey::generate().unwrap().public_key())] },
            encrypted_response_enc_values_supported: vec!["A256GCM".into()],
            vp_formats_supported: formats_supported(),
        },
        verifier_info: registration(authority, question).map(info).into_iter().collect(),
        wallet_nonce: None,
        iat: unix_now(),
        exp: Some(unix_now() + 600),
    };
    let signed = request.sign(std::slice::from_ref(&certificate), &key).unwrap();
    let address = serving(|_| signed.into_bytes());
    wallet.look_at_request(&format!("openid4vp://?client_id={}&request_uri={address}", request.client_id))
}

#[test]
fn who_asks_is_registered_for_it_and_is_not_suspended() {
    let folder = tempfile::tempdir().unwrap();
    let (mut wallet, authority) = with_batch(folder.path(), 1);
    let asking = looked_at(&mut wallet, &authority, &Question::default()).unwrap();
    assert_eq!((asking.attributes(), asking.purpose("en")), (vec!["given_name"], "to lend you books"));
    let mut refused = |question: Question, told: &str| {
        let why = match looked_at(&mut wallet, &authority, &question) {
            Ok(_) => panic!("taken: {told}"),
            Err(error) => error.to_string(),
        };
        assert!(why.contains(told), "'{why}' should say '{told}'");
    };
    refused(Question { asker: "NTRUT-2", ..Question::default() }, "registration of another");
    refused(Question { registered: None, ..Question::default() }, "shows no registration");
    refused(Question { attribute: "birth_date", ..Question::default() }, "more than is registered");
    refused(Question { suspended: true, ..Question::default() }, "suspended");
    refused(Question { registered_until: unix_now(), ..Question::default() }, "out of date");
    // Another register's root vouches for whoever asks.
    let other = tempfile::tempdir().unwrap();
    let (_, elsewhere) = with_batch(other.path(), 1);
    let why = looked_at(&mut wallet, &elsewhere, &Question::default()).err().unwrap().to_string();
    assert!(why.contains("not in the register"), "{why}");
    assert!(wallet.showings().is_empty(), "nothing was shown");
    assert_eq!(wallet.credential_batches().unwrap()[0].fresh, 1, "nor taken");
}
