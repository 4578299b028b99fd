//! What a reader and a device send to one another (ISO/IEC 18013-5): engagement, request, session messages and response, around the
//! examples of Annex D.

use std::sync::OnceLock;

use cose::{decode, field, untag};
use es256::AgreementKey;
use jiff::Timestamp;
use mdoc::engagement::DeviceEngagement;
use mdoc::request::{self, ItemsRequest, request};
use mdoc::session::{Establishment, Session, establish};
use mdoc::transcript::{Handover, SessionTranscript};
use mdoc::verify::{Document, verify};

const VECTORS: &str = include_str!("../../crates/mdoc/tests/vectors/annex_d.json");
/// When the certificates and the credential of the annex are valid: 2021-01-01T00:00:00Z.
const THEN: i64 = 1_609_459_200;
/// The messages that are changed.
const MESSAGES: [&str; 5] =
    ["device_request", "session_establishment", "session_data", "device_response", "device_engagement"];
/// Neither CBOR of a map nor text begins with it: what follows are changes of one of the messages.
const CHANGES: u8 = 0xff;
/// Changes of one input.
const CHANGES_MAX: usize = 4;

/// The annex: its messages, and what they mean.
struct Annex {
    messages: [Vec<u8>; 5],
    roots: [Vec<u8>; 1],
    reader_roots: [Vec<u8>; 1],
    reader: AgreementKey,
    device: AgreementKey,
    transcript: SessionTranscript,
    items: ItemsRequest,
    documents: Vec<Document>,
}

fn annex() -> &'static Annex {
    static ANNEX: OnceLock<Annex> = OnceLock::new();
    ANNEX.get_or_init(|| {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).expect("JSON");
        let vector = |name: &str| hex::decode(vectors[name].as_str().expect("text")).expect("hex");
        let messages = MESSAGES.map(vector);
        let tagged = decode(&vector("session_transcript_bytes")).expect("CBOR");
        let parts = decode(untag(&tagged).expect("tagged")).expect("CBOR");
        let parts = parts.as_array().expect("a list");
        let handover = parts[2].as_array().expect("a list");
        let transcript = SessionTranscript::new(&Handover::Nfc {
            device_engagement: untag(&parts[0]).expect("tagged"),
            reader_key: untag(&parts[1]).expect("tagged"),
            select: handover[0].as_bytes().expect("bytes"),
            request: handover[1].as_bytes().map(Vec::as_slice),
        });
        let reader = AgreementKey::from_secret(&vector("ephemeral_reader_key")).expect("a key");
        let roots = [vector("iaca_root")];
        let documents = verify(&messages[3], &transcript, &roots, then(), Some(&reader)).expect("genuine");
        Annex {
            items: request::parse(&messages[0]).expect("genuine")[0].items().clone(),
            messages,
            roots,
            reader_roots: [vector("reader_root")],
            reader,
            device: AgreementKey::from_secret(&vector("ephemeral_device_key")).expect("a key"),
            transcript,
            documents,
        }
    })
}

fn then() -> Timestamp {
    Timestamp::from_second(THEN).expect("a time")
}

/// One of the annex's messages with changes: which one (a byte), then a place (two bytes) and what is xored in, each.
fn changed(which: u8, changes: &[u8]) -> Vec<u8> {
    let mut message = annex().messages[usize::from(which) % MESSAGES.len()].clone();
    for [high, low, value] in changes.as_chunks::<3>().0.iter().take(CHANGES_MAX) {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % message.len();
        message[place] ^= value;
    }
    message
}

/// The same key once more: a session takes it for good.
fn again(key: &AgreementKey) -> AgreementKey {
    AgreementKey::from_secret(&key.secret().expect("its number")).expect("a key")
}

/// The reader's session, its first request sent.
fn session() -> Session {
    let annex = annex();
    establish(again(&annex.reader), annex.device.public_key(), &annex.transcript, &annex.messages[0])
        .expect("a session")
        .0
}

/// What is read is written and read again as the same. A signed request is the genuine one, or its reader is not known; a session
/// message decrypts to what was encrypted, or not at all; a response is verified as the genuine one, or not at all.
pub fn proximity(data: &[u8]) -> bool {
    if let [CHANGES, which, changes @ ..] = data {
        return proximity(&changed(*which, changes));
    }
    let annex = annex();
    let mut taken = false;
    let engagement = match std::str::from_utf8(data) {
        Ok(text) if text.starts_with("mdoc:") => DeviceEngagement::from_uri(text),
        _ => DeviceEngagement::parse(data),
    };
    if let Ok(engagement) = engagement {
        taken = true;
        assert_eq!(DeviceEngagement::from_uri(&engagement.to_uri()), Ok(engagement.clone()), "as bytes and as text");
        let written = DeviceEngagement::new(engagement.device_key(), engagement.methods());
        let again = DeviceEngagement::parse(written.as_bytes()).expect("our own engagement");
        assert_eq!((again.device_key(), again.methods()), (engagement.device_key(), engagement.methods()));
    }
    if let Ok(documents) = request::parse(data) {
        taken = true;
        let items: Vec<ItemsRequest> = documents.iter().map(|document| document.items().clone()).collect();
        let written = request(&items, &annex.transcript, None).expect("our own request");
        let again = request::parse(&written).expect("our own request");
        assert!(again.iter().map(|document| document.items()).eq(&items), "what is written is read again");
        for document in &documents {
            if let Ok(Some(_)) = document.reader(&annex.transcript, &annex.reader_roots, then()) {
                assert_eq!(*document.items(), annex.items, "what was signed, and nothing else");
            }
        }
    }
    if let Ok(establishment) = Establishment::parse(data) {
        taken = true;
        if let Ok((_, request)) = establishment.accept(again(&annex.device), &annex.transcript) {
            assert_eq!(request, annex.messages[0], "what was encrypted, and nothing else");
        }
    }
    let Ok(value) = decode(data) else { return taken };
    if field(&value, "data").is_ok() || field(&value, "status").is_ok() {
        let mut session = session();
        if let Ok(received) = session.receive(data) {
            taken = true;
            assert!(received.data.is_none_or(|data| data == annex.messages[3]), "what was encrypted, and nothing else");
            assert_eq!(session.is_over(), received.status.is_some());
        } else {
            assert!(session.is_over(), "a refused message ends the session");
        }
    }
    if let Ok(documents) = verify(data, &annex.transcript, &annex.roots, then(), Some(&annex.reader)) {
        taken = true;
        // A document may be repeated, and an element withheld: the issuer and the device sign neither.
        for document in documents {
            let [genuine] = annex.documents.as_slice() else { panic!("one document") };
            for (namespace, elements) in &document.elements {
                let known = &genuine.elements[namespace];
                assert!(elements.iter().all(|(name, value)| known.get(name) == Some(value)), "what was signed");
            }
            assert!(document.device_elements.is_empty());
        }
    }
    taken
}

/// The annex's messages, the termination, an engagement as text, and changes of each that something still reads.
pub fn proximity_seeds() -> Vec<Vec<u8>> {
    let annex = annex();
    let engagement = DeviceEngagement::parse(&annex.messages[4]).expect("genuine");
    let pieces = [engagement.to_uri().into_bytes(), b"\xa1\x66status\x14".to_vec()];
    let change = |which: usize, place: usize| {
        let [high, low] = (place as u16).to_be_bytes();
        vec![CHANGES, which as u8, high, low, 1]
    };
    let lengths = annex.messages.iter().map(Vec::len).enumerate();
    let changes = lengths.flat_map(|(which, length)| (0..length).step_by(64).map(move |place| change(which, place)));
    annex.messages.iter().cloned().chain(pieces).chain(changes.filter(|change| proximity(change))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the properties would hold for a side that takes nothing.
    #[test]
    fn the_annex_is_taken() {
        let annex = annex();
        let documents = request::parse(&annex.messages[0]).unwrap();
        assert!(documents[0].reader(&annex.transcript, &annex.reader_roots, then()).unwrap().is_some());
        let establishment = Establishment::parse(&annex.messages[1]).unwrap();
        assert!(establishment.accept(again(&annex.device), &annex.transcript).is_ok());
        assert_eq!(session().receive(&annex.messages[2]).unwrap().data.as_ref(), Some(&annex.messages[3]));
    }
}
