//! CBOR, credentials and presentations, around one genuine presentation (`fixtures`, written by the tests of the crate `credential`).

use std::sync::OnceLock;

use ciborium::Value;
use cose::{Sign1, decode, encode, field};
use es256::{Signer, SigningKey};
use jiff::Timestamp;
use mdoc::certificate::{Usage, verify_chain};
use mdoc::present::{DeviceKey, Presented, present};
use mdoc::transcript::{Handover, SessionTranscript};
use mdoc::verify::{Document, verify};
use mdoc::{DOC_TYPE, Namespaces};

const ROOT: &[u8] = include_bytes!("../fixtures/root.der");
const SIGNER: &[u8] = include_bytes!("../fixtures/signer.der");
const CREDENTIAL: &[u8] = include_bytes!("../fixtures/credential.cbor");
const RESPONSE: &[u8] = include_bytes!("../fixtures/response.cbor");
/// When the presentation was made: 2026-11-23T12:00:00Z.
const NOW: i64 = 1_795_435_200;

/// What was asked in it.
const ASKED: [(&str, &str); 2] = [(DOC_TYPE, "given_name"), (DOC_TYPE, "age_over_60")];

fn transcript() -> SessionTranscript {
    SessionTranscript::new(&Handover::OpenId4Vp {
        client_id: "x509_san_dns:clinic.example",
        nonce: "n-0S6_WzA2Mj",
        jwk_thumbprint: None,
        response_uri: "https://clinic.example/response",
    })
}

fn verified(response: &[u8], now: Timestamp) -> Option<Document> {
    let mut documents = verify(response, &transcript(), &[ROOT], now, None).ok()?;
    documents.pop().filter(|document| documents.is_empty() && document.answers(DOC_TYPE, &ASKED).is_ok())
}

fn presented(issuer_signed: &[u8]) -> Option<Vec<u8>> {
    let presented = Presented { issuer_signed, elements: &ASKED, device: DeviceKey::Signature(device()) };
    present(&[presented], &transcript()).ok()
}

fn device() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate().expect("randomness"))
}

/// What the genuine presentation discloses.
fn disclosed() -> Namespaces<Value> {
    let elements = [("given_name".into(), Value::from("Adaline")), ("age_over_60".into(), Value::Bool(true))];
    Namespaces::from([(DOC_TYPE.into(), elements.into())])
}

/// No CBOR begins with it: what follows are changes of the genuine presentation.
const CHANGES: u8 = 0xff;
/// Changes of one input.
const CHANGES_MAX: usize = 4;

/// The genuine presentation with changes: a place (two bytes), and what is xored in.
fn changed(changes: &[u8]) -> Vec<u8> {
    let mut response = RESPONSE.to_vec();
    for [high, low, value] in changes.as_chunks::<3>().0.iter().take(CHANGES_MAX) {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % response.len();
        response[place] ^= value;
    }
    response
}

/// CBOR is written and read again as the same. A presentation is verified as the genuine one, or not at all; a certificate chains to
/// the root with the genuine key, or not at all; a credential discloses what is asked and nothing else.
pub fn mdoc(data: &[u8]) -> bool {
    if let Some((&CHANGES, changes)) = data.split_first() {
        return mdoc(&changed(changes));
    }
    let now = Timestamp::from_second(NOW).expect("a time");
    if let Ok(key) = verify_chain(data, &[ROOT], Usage::DocumentSigner, now) {
        assert_eq!(Ok(key), verify_chain(SIGNER, &[ROOT], Usage::DocumentSigner, now), "the root signed one key");
        return true;
    }
    let Ok(value) = decode(data) else { return false };
    let written = encode(&value);
    // Compared as bytes: NaN is not itself.
    assert_eq!(decode(&written).map(|again| encode(&again)), Ok(written), "what is written is read again");
    let _ = Sign1::parse(&value);
    let _ = cose::key_of(&value);
    if let Some(shown) = verified(data, now) {
        assert_eq!(shown.elements, disclosed(), "what was signed, and nothing else");
    }
    if let Some(response) = presented(data) {
        let response = decode(&response).expect("our own response");
        let documents = field(&response, "documents").expect("documents").as_array().expect("a list");
        let namespaces =
            field(field(&documents[0], "issuerSigned").expect("signed"), "nameSpaces").expect("namespaces");
        let items = field(namespaces, DOC_TYPE).expect("ours").as_array().expect("items");
        assert_eq!(items.len(), 2, "as many as were asked for");
    }
    true
}

/// Changes of each part of the genuine presentation, itself, the credential, the signer's certificate, and small pieces.
pub fn mdoc_seeds() -> Vec<Vec<u8>> {
    let key = cose::cose_key(device().public_key());
    let signed = cose::sign1(device(), b"payload", true, Vec::new()).expect("a signature");
    let change = |place: usize| {
        let [high, low] = (place as u16).to_be_bytes();
        vec![CHANGES, high, low, 1]
    };
    let changes = (0..RESPONSE.len()).step_by(64).map(change).filter(|changes| mdoc(changes));
    let pieces =
        [RESPONSE.into(), CREDENTIAL.into(), SIGNER.into(), encode(&key), encode(&signed), vec![0xf9, 0x7e, 0x00]];
    pieces.into_iter().chain(changes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the property on presentations would hold for a verifier that takes none.
    #[test]
    fn the_genuine_presentation_is_taken() {
        let now = Timestamp::from_second(NOW).unwrap();
        assert_eq!(verified(RESPONSE, now).map(|document| document.elements), Some(disclosed()));
        assert!(verify_chain(SIGNER, &[ROOT], Usage::DocumentSigner, now).is_ok());
        assert!(presented(CREDENTIAL).is_some());
    }
}
