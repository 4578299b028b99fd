//! Privacy Pass: messages, tokens and showings around one genuine token (`fixtures`, written by the tests of the crate `privacypass`);
//! keys, directories and names.

use std::sync::OnceLock;

use privacypass::Error;
use privacypass::batch;
use privacypass::challenge::TokenChallenge;
use privacypass::client::Blinding;
use privacypass::directory::{Announced, Directory};
use privacypass::issuer::IssuerKey;
use privacypass::keys::PublicKey;
use privacypass::messages::{Token, TokenRequest, TokenResponse};
use privacypass::predicate::{Period, Predicate};
use privacypass::showing::{Showing, TokenId, VerifierChallenge, verify_showing};

/// The published vectors: the first issuer key is ours.
const VECTORS: &str = include_str!("../../crates/privacypass/tests/vectors/rfc9578-b2.txt");
const BLINDING: &[u8] = include_bytes!("../fixtures/blinding.bin");
/// A signature of the holder's is another each time, so the showing is kept: what was not shown is not accepted.
const SHOWING: &[u8] = include_bytes!("../fixtures/showing.bin");

/// A token's whole life.
struct Genuine {
    issuer: IssuerKey,
    challenge: TokenChallenge,
    verifier: VerifierChallenge,
    blinding: Blinding,
    response: TokenResponse,
    token: Token,
    showing: Showing,
    id: TokenId,
}

fn field(name: &str) -> Vec<u8> {
    let line = VECTORS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).expect("a vector");
    hex::decode(line).expect("hex")
}

fn genuine() -> &'static Genuine {
    static GENUINE: OnceLock<Genuine> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let issuer = IssuerKey::from_pkcs8(&field("issuer_pkcs8")).expect("a key");
        let challenge = TokenChallenge::shared("issuer.example").expect("a name");
        let verifier =
            VerifierChallenge::new("x509_san_dns:clinic.example", "n-0S6_WzA2Mj", "https://clinic.example/response");
        let blinding = Blinding::from_bytes(BLINDING).expect("a blinding");
        let response = issuer.issue(&blinding.request()).expect("a good request");
        let token = blinding.finish(issuer.public_key(), &response).expect("a good answer");
        let showing = Showing::from_bytes(SHOWING).expect("a showing");
        let id = verify_showing(&showing, issuer.public_key(), &challenge.digest(), &verifier).expect("genuine");
        Genuine { issuer, challenge, verifier, blinding, response, token, showing, id }
    })
}

/// No message begins with it: what follows are changes of a genuine one.
const CHANGES: u8 = 0xff;
/// Changes of one input.
const CHANGES_MAX: usize = 4;

/// The genuine showing, answer or blinding with changes: a place (two bytes), and what is xored in.
fn changed(changes: &[u8]) -> Vec<u8> {
    let genuine = genuine();
    let (which, changes) = changes.split_first().unwrap_or((&0, &[]));
    let mut message = match which % 3 {
        0 => genuine.showing.to_bytes().to_vec(),
        1 => genuine.response.to_bytes().to_vec(),
        _ => genuine.blinding.to_bytes().to_vec(),
    };
    for [high, low, value] in changes.as_chunks::<3>().0.iter().take(CHANGES_MAX) {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % message.len();
        message[place] ^= value;
    }
    message
}

/// Messages are written as they were read. The genuine token is verified, shown and finished, and no other.
pub fn pass(data: &[u8]) -> bool {
    const SAME: &str = "what is read is written as the same";
    if let Some((&CHANGES, changes)) = data.split_first() {
        return pass(&changed(changes));
    }
    let genuine = genuine();
    let (issuer, digest) = (genuine.issuer.public_key(), genuine.challenge.digest());
    let mut taken = false;
    if let Ok(challenge) = TokenChallenge::from_bytes(data) {
        assert_eq!(challenge.to_bytes(), data, "{SAME}");
        assert_eq!(challenge.digest() == digest, challenge == genuine.challenge, "a digest is of one challenge");
        taken = true;
    }
    if let Ok(key) = PublicKey::from_spki(data) {
        assert_eq!(key.to_spki()[..], *data, "{SAME}");
        assert_eq!(key.id() == issuer.id(), key == *issuer, "an id is of one key");
        taken = true;
    }
    if let Ok(request) = TokenRequest::from_bytes(data) {
        assert_eq!(request.to_bytes()[..], *data, "{SAME}");
        match genuine.issuer.issue(&request) {
            Ok(response) => assert!(genuine.issuer.issue(&request) == Ok(response), "one answer to one request"),
            Err(Error::OtherIssuerKey) => assert_ne!(request.truncated_token_key_id, issuer.id().truncated()),
            Err(error) => assert_eq!(error, Error::OutOfRange),
        }
        taken = true;
    }
    if let Ok(response) = TokenResponse::from_bytes(data) {
        assert_eq!(response.to_bytes()[..], *data, "{SAME}");
        let finished = genuine.blinding.finish(issuer, &response);
        assert_eq!(finished.is_ok(), response == genuine.response, "one answer is the right one");
        taken = true;
    }
    if let Ok(token) = Token::from_bytes(data) {
        assert_eq!(token.to_bytes()[..], *data, "{SAME}");
        assert_eq!(token.verify(issuer, &digest).is_ok(), token == genuine.token, "what was signed, and nothing else");
        taken = true;
    }
    if let Ok(blinding) = Blinding::from_bytes(data) {
        assert_eq!(blinding.to_bytes()[..], *data, "{SAME}");
        if let Ok(token) = blinding.finish(issuer, &genuine.response) {
            assert!(token == genuine.token, "what was signed, and nothing else");
        }
        taken = true;
    }
    if let Ok(showing) = Showing::from_bytes(data) {
        assert_eq!(showing.to_bytes()[..], *data, "{SAME}");
        if let Ok(id) = verify_showing(&showing, issuer, &digest, &genuine.verifier) {
            assert!(showing == genuine.showing && id == genuine.id, "what was signed, and nothing else");
        }
        taken = true;
    }
    taken
}

/// Each message, and changes of each part of showing, answer and blinding.
pub fn pass_seeds() -> Vec<Vec<u8>> {
    let genuine = genuine();
    let change = |which: u8, place: usize| {
        let [high, low] = (place as u16).to_be_bytes();
        vec![CHANGES, which, high, low, 1]
    };
    // One in each part of each message; a changed point is none, and not taken.
    let places = [(0, 40), (0, 300), (0, 430), (0, 480), (1, 0), (1, 255), (2, 10), (2, 200), (2, 600)];
    let messages = [
        genuine.challenge.to_bytes(),
        field("token_challenge"),
        field("issuer_spki"),
        genuine.blinding.request().to_bytes().to_vec(),
        genuine.response.to_bytes().to_vec(),
        genuine.token.to_bytes().to_vec(),
        genuine.blinding.to_bytes().to_vec(),
        genuine.showing.to_bytes().to_vec(),
    ];
    messages.into_iter().chain(places.map(|(which, place)| change(which, place))).collect()
}

/// Directories, batches of requests and the names of predicates and months are written as they were read.
pub fn pass_text(data: &[u8]) -> bool {
    let directory = Directory::from_json(data);
    if let Ok(directory) = &directory {
        assert_eq!(Directory::from_json(directory.to_json().as_bytes()).as_ref(), Ok(directory));
    }
    let requests = batch::read_requests(data);
    if let Ok(requests) = &requests {
        assert!((1..=batch::BATCH_MAX).contains(&requests.len()), "a batch has a size");
        let written = serde_json::to_vec(&batch::write_requests(requests)).expect("texts");
        assert!(batch::read_requests(&written).as_ref() == Ok(requests), "what is written is read again");
    }
    let texts = serde_json::from_slice::<Vec<String>>(data).unwrap_or_default();
    if let Ok(responses) = batch::read_responses(&texts, texts.len()) {
        assert_eq!(batch::write_responses(&responses), texts, "{}", "what is read is written as the same");
    }
    let Ok(text) = std::str::from_utf8(data) else { return directory.is_ok() || requests.is_ok() };
    let (predicate, period) = (text.parse::<Predicate>(), text.parse::<Period>());
    if let Ok(predicate) = &predicate {
        assert_eq!(predicate.as_str(), text);
    }
    if let Ok(period) = &period {
        assert_eq!(period.to_string(), text);
    }
    directory.is_ok() || requests.is_ok() || predicate.is_ok() || period.is_ok()
}

/// A directory with keys, an empty one, requests, and names.
pub fn pass_text_seeds() -> Vec<Vec<u8>> {
    let public_key = PublicKey::from_spki(&field("issuer_spki")).expect("a key");
    let key = privacypass::directory::DirectoryKey { public_key, not_before: Some(1_796_083_200), announced: None };
    let (predicate, period) = ("age_over_60".parse().expect("a name"), "2026-12".parse().expect("a month"));
    let announced = Some(Announced { predicate, period, log_index: 7 });
    let says = privacypass::directory::DirectoryKey { announced, ..key.clone() };
    let directory = Directory { issuer_request_uri: "/token-request".into(), token_keys: vec![key, says] };
    let request = genuine().blinding.request();
    let requests = batch::write_requests(&[request.clone(), request]);
    let empty = Directory { issuer_request_uri: "/".into(), token_keys: Vec::new() };
    let requests = serde_json::to_string(&requests).expect("texts");
    let texts = [directory.to_json(), empty.to_json(), requests, "age_over_60".into(), "2026-12".into()];
    texts.into_iter().map(String::into_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the properties would hold for a verifier that takes nothing.
    #[test]
    fn the_genuine_showing_is_taken() {
        let genuine = genuine();
        let (issuer, digest) = (genuine.issuer.public_key(), genuine.challenge.digest());
        let showing = Showing::from_bytes(&changed(&[0])).unwrap();
        assert_eq!(verify_showing(&showing, issuer, &digest, &genuine.verifier), Ok(genuine.id));
        let response = TokenResponse::from_bytes(&changed(&[1])).unwrap();
        assert!(Blinding::from_bytes(&changed(&[2])).unwrap().finish(issuer, &response).unwrap() == genuine.token);
    }
}
