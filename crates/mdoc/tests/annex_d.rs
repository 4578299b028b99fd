//! The examples of ISO/IEC 18013-5 Annex D (`vectors/annex_d.json` says where they come from): what is accepted, and changes of each that
//! must not be.

use cose::{decode, encode, field, untag};
use es256::{AgreementKey, KeyError, PublicKey, Signer, SigningKey};
use jiff::Timestamp;
use mdoc::MdocError;
use mdoc::certificate::{Usage, verify_chain};
use mdoc::engagement::{DeviceEngagement, RetrievalMethod};
use mdoc::present::{DeviceKey, Presented, present};
use mdoc::request::{self, ItemsRequest, ReaderSigner, RequestedElement, request};
use mdoc::session::{Establishment, Received, SessionError, Status, establish};
use mdoc::transcript::{Handover, SessionTranscript, reader_key_bytes};
use mdoc::verify::{verify, verify_issued};

const MDL: &str = "org.iso.18013.5.1.mDL";
const NAMESPACE: &str = "org.iso.18013.5.1";
/// What the request of the annex asks for, in its order.
const ASKED: [(&str, bool); 6] = [
    ("family_name", true),
    ("document_number", true),
    ("driving_privileges", true),
    ("issue_date", true),
    ("expiry_date", true),
    ("portrait", false),
];

/// Bytes of a vector.
fn vector(name: &str) -> Vec<u8> {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("vectors/annex_d.json")).unwrap();
    hex::decode(vectors[name].as_str().expect(name)).unwrap()
}

fn agreement_key(name: &str) -> AgreementKey {
    AgreementKey::from_secret(&vector(name)).unwrap()
}

fn roots() -> [Vec<u8>; 1] {
    [vector("iaca_root")]
}

/// When the certificates and the credential of the annex are valid.
fn then() -> Timestamp {
    "2021-01-01T00:00:00Z".parse().unwrap()
}

fn asked() -> Vec<(&'static str, &'static str)> {
    ASKED.iter().map(|(name, _)| (NAMESPACE, *name)).collect()
}

/// The parts of the NFC handover of D.5.1: engagement, reader's key, Handover Select, Handover Request.
fn handover() -> [Vec<u8>; 4] {
    let tagged = decode(&vector("session_transcript_bytes")).unwrap();
    let transcript = decode(untag(&tagged).unwrap()).unwrap();
    let [engagement, reader_key, messages] = transcript.as_array().unwrap().as_slice() else { panic!("three parts") };
    let [select, request] = messages.as_array().unwrap().as_slice() else { panic!("two messages") };
    let bytes = |value: &ciborium::Value| value.as_bytes().unwrap().clone();
    [untag(engagement).unwrap().to_vec(), untag(reader_key).unwrap().to_vec(), bytes(select), bytes(request)]
}

fn transcript() -> SessionTranscript {
    let [device_engagement, reader_key, select, request] = handover();
    SessionTranscript::new(&Handover::Nfc {
        device_engagement: &device_engagement,
        reader_key: &reader_key,
        select: &select,
        request: Some(&request),
    })
}

/// The transcript of another session: static handover, with no request message.
fn other_transcript() -> SessionTranscript {
    let [device_engagement, reader_key, select, _] = handover();
    SessionTranscript::new(&Handover::Nfc {
        device_engagement: &device_engagement,
        reader_key: &reader_key,
        select: &select,
        request: None,
    })
}

/// The bytes with `from` replaced by `to`, of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let place = bytes.windows(from.len()).position(|window| window == from).expect("the text is there");
    [&bytes[..place], to, &bytes[place + from.len()..]].concat()
}

/// Where a text ends in the bytes.
fn after(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|window| window == text).expect("the text is there") + text.len()
}

#[test]
fn the_transcript_of_nfc_is_that_of_the_annex() {
    let tagged = decode(&vector("session_transcript_bytes")).unwrap();
    assert_eq!(transcript().as_bytes(), untag(&tagged).unwrap());
    assert_ne!(other_transcript(), transcript());
    let [_, reader_key, ..] = handover();
    assert_eq!(reader_key_bytes(agreement_key("ephemeral_reader_key").public_key()), reader_key);
}

/// The annex has no transcript with a QR code: this one is put together by hand from its engagement (D.3.1) and its reader's key.
#[test]
fn the_transcript_of_a_qr_code_holds_its_bytes_and_no_handover() {
    let engagement = vector("device_engagement");
    let [_, reader_key, ..] = handover();
    let qr = Handover::Qr { device_engagement: &engagement, reader_key: &reader_key };
    let expected = format!("83d8185874{}d818584b{}f6", hex::encode(&engagement), hex::encode(&reader_key));
    assert_eq!(hex::encode(SessionTranscript::new(&qr).as_bytes()), expected);
}

#[test]
fn the_engagement_is_read_and_written() {
    let bytes = vector("device_engagement");
    let engagement = DeviceEngagement::parse(&bytes).unwrap();
    let device = agreement_key("ephemeral_device_key");
    assert_eq!(engagement.device_key(), device.public_key());
    let service = hex::decode("45efef742b2c4837a9a3b0e1d05a6917").unwrap().try_into().unwrap();
    let bluetooth = [RetrievalMethod::Bluetooth { peripheral: None, central: Some(service) }];
    assert_eq!(engagement.methods(), bluetooth);
    assert_eq!(DeviceEngagement::new(device.public_key(), &bluetooth), engagement);
    assert_eq!(DeviceEngagement::from_uri(&engagement.to_uri()).unwrap(), engagement);
    // The engagement of the NFC example has no way to reach the device: NFC itself told it.
    let [by_nfc, ..] = handover();
    assert_eq!(DeviceEngagement::new(device.public_key(), &[]).as_bytes(), by_nfc);

    let refused = |bytes: &[u8]| DeviceEngagement::parse(bytes) == Err(MdocError::Malformed);
    assert!(refused(&replaced(&bytes, b"\x631.0", b"\x632.0")), "another version");
    assert!(refused(&replaced(&bytes, &[0x82, 0x01, 0xd8], &[0x82, 0x02, 0xd8])), "another cipher suite");
    let mut off_the_curve = bytes.clone();
    off_the_curve[40] ^= 1;
    assert!(refused(&off_the_curve));
    assert!(refused(&bytes[..bytes.len() - 1]) && refused(&[]) && refused(&[0; 100_000]));
    let uri = engagement.to_uri();
    for text in [&uri[5..], &uri.replace("mdoc:", "https:"), &uri[..uri.len() - 3], &format!("{uri}="), "mdoc:", ""] {
        assert_eq!(DeviceEngagement::from_uri(text), Err(MdocError::Malformed), "{text}");
    }
}

/// A QR code that isomdl's tests carry (`src/definitions/device_engagement.rs`).
#[test]
fn a_qr_code_of_another_implementation_is_read() {
    let uri = "mdoc:owBjMS4wAYIB2BhYS6QBAiABIVgglyWXuAyJ6iRNc8OlYXenvkJt23rJPdtIhlawXqr-yf0iWCC1GQSH8tIwTYVwha_ZoPL20_saYXrGIbrC\
               m133H0ki-QKBgwIBowD1AfQKUH2RiuAEbUVzrsrOiUnSPDw";
    let engagement = DeviceEngagement::from_uri(uri).unwrap();
    assert_eq!(engagement.to_uri(), uri);
    let service = hex::decode("7d918ae0046d4573aecace8949d23c3c").unwrap().try_into().unwrap();
    assert_eq!(engagement.methods(), [RetrievalMethod::Bluetooth { peripheral: Some(service), central: None }]);
    let written = DeviceEngagement::new(engagement.device_key(), engagement.methods());
    assert_eq!(written, engagement);
}

#[test]
fn the_request_is_read_and_its_reader_known() {
    let documents = request::parse(&vector("device_request")).unwrap();
    let [document] = documents.as_slice() else { panic!("one document") };
    assert_eq!(document.items(), &annex_items());
    let roots = [vector("reader_root")];
    let reader = document.reader(&transcript(), &roots, then()).unwrap().expect("it is signed");
    assert_eq!(reader.subject, "CN=reader");

    let check = |transcript: &SessionTranscript, root: &str, time: &str| {
        document.reader(transcript, &[vector(root)], time.parse().unwrap()).map(|reader| reader.is_some())
    };
    assert_eq!(check(&transcript(), "reader_root", "2021-01-01T00:00:00Z"), Ok(true));
    assert_eq!(check(&other_transcript(), "reader_root", "2021-01-01T00:00:00Z"), Err(MdocError::ReaderSignature));
    assert_eq!(check(&transcript(), "iaca_root", "2021-01-01T00:00:00Z"), Err(MdocError::Chain));
    assert_eq!(check(&transcript(), "reader_root", "2024-01-01T00:00:00Z"), Err(MdocError::Chain), "out of date");
    assert_eq!(check(&transcript(), "reader_root", "2020-09-30T00:00:00Z"), Err(MdocError::Chain), "not yet valid");
    // One that asks for another element, or to keep one that it did not ask to keep.
    for (from, to) in [(&b"portrait\xf4"[..], &b"portrait\xf5"[..]), (b"family_name", b"family_game")] {
        let changed = request::parse(&replaced(&vector("device_request"), from, to)).unwrap();
        assert_eq!(changed[0].reader(&transcript(), &roots, then()), Err(MdocError::ReaderSignature));
    }
    for (from, to) in [(&b"version\x631.0"[..], &b"version\x632.0"[..]), (b"portrait\xf4", b"portrait\x01")] {
        let changed = replaced(&vector("device_request"), from, to);
        assert_eq!(request::parse(&changed), Err(MdocError::Malformed));
    }
}

fn annex_items() -> ItemsRequest {
    let elements = ASKED.map(|(name, intent_to_retain)| RequestedElement {
        namespace: NAMESPACE.into(),
        name: name.into(),
        intent_to_retain,
    });
    ItemsRequest { doc_type: MDL.into(), elements: elements.into() }
}

/// The annex's own signature can't be made again, but what is signed is the same: [`the_request_is_read_and_its_reader_known`] checks it
/// over the same bytes.
#[test]
fn the_request_is_written_as_in_the_annex() {
    let ours = decode(&request(&[annex_items()], &transcript(), None).unwrap()).unwrap();
    let items = field(&field(&ours, "docRequests").unwrap().as_array().unwrap()[0], "itemsRequest").unwrap();
    assert_eq!(untag(items).unwrap(), vector("items_request"));
    let documents = request::parse(&encode(&ours)).unwrap();
    assert_eq!(documents[0].reader(&transcript(), &roots(), then()), Ok(None), "nobody signed it");
    let twice = ItemsRequest { elements: [annex_items().elements, annex_items().elements].concat(), ..annex_items() };
    assert_eq!(request(&[twice], &transcript(), None), Err(MdocError::Malformed));
    let nothing = ItemsRequest { elements: Vec::new(), ..annex_items() };
    assert_eq!(request(&[nothing], &transcript(), None), Err(MdocError::Malformed));
    assert_eq!(request(&[], &transcript(), None), Err(MdocError::Malformed));
    // A certificate of another key.
    let stranger = SigningKey::generate().unwrap();
    let signer = ReaderSigner { key: &stranger, chain: &[vector("reader_root")] };
    assert_eq!(request(&[annex_items()], &transcript(), Some(signer)), Err(MdocError::Certificate));
    let signer = ReaderSigner { key: &stranger, chain: &[] };
    assert_eq!(request(&[annex_items()], &transcript(), Some(signer)), Err(MdocError::Certificate));
}

#[test]
fn the_response_is_accepted_with_the_readers_key() {
    let reader = agreement_key("ephemeral_reader_key");
    let documents = verify(&vector("device_response"), &transcript(), &roots(), then(), Some(&reader)).unwrap();
    let [document] = documents.as_slice() else { panic!("one document") };
    assert_eq!(document.answers(MDL, &asked()), Ok(()));
    assert_eq!(document.signer, "CN=utopia ds, C=US");
    assert_eq!(document.elements[NAMESPACE]["family_name"].as_text(), Some("Doe"));
    assert_eq!(document.elements[NAMESPACE]["portrait"].as_bytes().unwrap().len(), 1042);
    assert_eq!(document.validity.signed, "2020-10-01T13:30:02Z".parse().unwrap());
    assert_eq!(document.validity.until, "2021-10-01T13:30:02Z".parse().unwrap());
    assert_eq!((document.validity.expected_update, &document.status), (None, &None));
    assert_eq!(&document.device_key, agreement_key("static_device_key").public_key());
    assert!(document.device_elements.is_empty());

    assert_eq!(document.answers(MDL, &asked()[1..]), Err(MdocError::Unasked));
    let more = [asked(), vec![(NAMESPACE, "resident_city")]].concat();
    assert_eq!(document.answers(MDL, &more), Err(MdocError::Missing));
    let elsewhere: Vec<_> = asked().into_iter().map(|(_, name)| ("org.iso.18013.5.1.US", name)).collect();
    assert_eq!(document.answers(MDL, &elsewhere), Err(MdocError::Unasked));
    assert_eq!(document.answers("org.habeas.id.1", &asked()), Err(MdocError::DocType));
}

#[test]
fn a_response_that_was_changed_or_is_out_of_date_is_refused() {
    let response = vector("device_response");
    let reader = agreement_key("ephemeral_reader_key");
    let check = |response: &[u8]| verify(response, &transcript(), &roots(), then(), Some(&reader)).err();
    assert_eq!(check(&response), None);
    assert_eq!(check(&replaced(&response, b"\x63Doe", b"\x63Dox")), Some(MdocError::Digest));
    assert_eq!(check(&replaced(&response, b"2024-10-20", b"2034-10-20")), Some(MdocError::Digest));
    // The security object: a date, a digest, the device's key.
    for place in [b"2021-10-01T13".as_slice(), b"valueDigests", b"deviceKey\xa4"] {
        let mut changed = response.clone();
        changed[after(&response, place)] ^= 1;
        assert_eq!(check(&changed), Some(MdocError::IssuerSignature));
    }
    let kind = replaced(&response, b"docTypeuorg.iso.18013.5.1.mDL", b"docTypeuorg.iso.18013.5.1.mID");
    assert_eq!(check(&kind), Some(MdocError::DocType), "outside another than inside");
    let mut certificate = response.clone();
    certificate[after(&response, b"utopia ds")] ^= 1;
    assert_eq!(check(&certificate), Some(MdocError::Chain));
    let mut mac = response.clone();
    let tag = after(&response, b"deviceMac") + 10;
    mac[tag] ^= 1;
    assert_eq!(check(&mac), Some(MdocError::DeviceSignature));
    let none = replaced(&response, b"status\x00", b"status\x0a");
    assert_eq!(check(&none), Some(MdocError::NoDocument));
    assert_eq!(check(&replaced(&response, b"version\x631.0", b"version\x632.0")), Some(MdocError::Malformed));
    assert_eq!(check(&response[1..]), Some(MdocError::Malformed));

    let at = |time: &str| verify(&response, &transcript(), &roots(), time.parse().unwrap(), Some(&reader)).err();
    assert_eq!(at("2020-10-01T13:30:02Z"), None, "the first second");
    assert_eq!(at("2020-10-01T13:30:01Z"), Some(MdocError::Validity));
    // The certificate ends before the credential.
    assert_eq!(at("2021-10-01T00:00:01Z"), Some(MdocError::Chain));
    let with = |transcript: &SessionTranscript, roots: &[Vec<u8>], reader: Option<&AgreementKey>| {
        verify(&response, transcript, roots, then(), reader).err()
    };
    assert_eq!(with(&other_transcript(), &roots(), Some(&reader)), Some(MdocError::DeviceSignature));
    assert_eq!(with(&transcript(), &roots(), None), Some(MdocError::NoReaderKey));
    let stranger = AgreementKey::generate().unwrap();
    assert_eq!(with(&transcript(), &roots(), Some(&stranger)), Some(MdocError::DeviceSignature));
    assert_eq!(with(&transcript(), &[vector("reader_root")], Some(&reader)), Some(MdocError::Chain));
    assert_eq!(with(&transcript(), &[], Some(&reader)), Some(MdocError::Chain));
    assert_eq!(with(&transcript(), &[vector("reader_root"), vector("iaca_root")], Some(&reader)), None);
}

/// The annex's device key, which looks at what it signs.
struct StaticKey(SigningKey);

impl StaticKey {
    /// PKCS#8 of a P-256 key (RFC 5915 within RFC 5958), around its secret number and its point.
    fn new() -> Self {
        let key = agreement_key("static_device_key");
        let head = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420";
        let (head, middle) = (hex::decode(head).unwrap(), hex::decode("a144034200").unwrap());
        let pkcs8 = [&head, vector("static_device_key").as_slice(), &middle, key.public_key().as_point()].concat();
        StaticKey(SigningKey::from_pkcs8(&pkcs8).unwrap())
    }
}

impl Signer for StaticKey {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        // What is signed ends with the annex's DeviceAuthenticationBytes (D.5.3).
        assert!(message.ends_with(&vector("device_authentication_bytes")));
        self.0.sign(message)
    }
}

/// `IssuerSigned` of the annex's response: as much of the credential as the annex has.
fn credential() -> Vec<u8> {
    let response = decode(&vector("device_response")).unwrap();
    encode(field(&field(&response, "documents").unwrap().as_array().unwrap()[0], "issuerSigned").unwrap())
}

#[test]
fn the_mac_is_made_as_in_the_annex() {
    let (device, reader) = (agreement_key("static_device_key"), agreement_key("ephemeral_reader_key"));
    let elements: Vec<_> =
        ["family_name", "issue_date", "expiry_date", "document_number", "portrait", "driving_privileges"]
            .map(|name| (NAMESPACE, name))
            .into();
    let presented = Presented {
        issuer_signed: &credential(),
        elements: &elements,
        device: DeviceKey::Mac { key: &device, reader: reader.public_key() },
    };
    assert_eq!(present(&[presented], &transcript()).unwrap(), vector("device_response"), "byte for byte");
}

#[test]
fn a_signature_over_the_annexs_transcript_holds_and_no_other() {
    let key = StaticKey::new();
    let presented = Presented {
        issuer_signed: &credential(),
        elements: &[(NAMESPACE, "family_name")],
        device: DeviceKey::Signature(&key),
    };
    let response = present(&[presented], &transcript()).unwrap();
    let documents = verify(&response, &transcript(), &roots(), then(), None).unwrap();
    assert_eq!(documents[0].answers(MDL, &[(NAMESPACE, "family_name")]), Ok(()));
    let other = verify(&response, &other_transcript(), &roots(), then(), None);
    assert_eq!(other, Err(MdocError::DeviceSignature));
    let stranger = SigningKey::generate().unwrap();
    let presented = Presented { device: DeviceKey::Signature(&stranger), ..presented };
    let response = present(&[presented], &transcript()).unwrap();
    assert_eq!(verify(&response, &transcript(), &roots(), then(), None), Err(MdocError::DeviceSignature));
}

#[test]
fn a_credential_is_verified_before_it_is_kept() {
    let document = verify_issued(&credential(), &roots(), then()).unwrap();
    assert_eq!(&document.device_key, agreement_key("static_device_key").public_key());
    assert_eq!(document.answers(MDL, &asked()), Ok(()));
    let changed = replaced(&credential(), b"\x63Doe", b"\x63Dox");
    assert_eq!(verify_issued(&changed, &roots(), then()), Err(MdocError::Digest));
    let later = "2022-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(verify_issued(&credential(), &roots(), later), Err(MdocError::Chain));
}

#[test]
fn a_certificate_serves_its_own_use_alone() {
    let (root, signer) = (vector("iaca_root"), vector("document_signer"));
    let check = |certificate: &[u8], usage| verify_chain(certificate, &[&root], usage, then()).is_ok();
    assert!(check(&signer, Usage::DocumentSigner));
    assert!(!check(&signer, Usage::Reader));
    assert!(!check(&root, Usage::DocumentSigner), "the root signs no documents");
    assert!(!check(&signer[1..], Usage::DocumentSigner) && !check(&[], Usage::DocumentSigner));
}

#[test]
fn the_reader_establishes_the_session_and_reads_the_response() {
    let (reader, device) = (agreement_key("ephemeral_reader_key"), agreement_key("ephemeral_device_key"));
    let request = vector("device_request");
    let (mut session, message) = establish(reader, device.public_key(), &transcript(), &request).unwrap();
    assert_eq!(message, vector("session_establishment"), "byte for byte");
    let received = session.receive(&vector("session_data")).unwrap();
    assert_eq!(received, Received { data: Some(vector("device_response")), status: None });
    let ended = session.receive(&vector("session_termination")).unwrap();
    assert_eq!(ended, Received { data: None, status: Some(Status::Termination) });
    assert!(session.is_over());
    assert_eq!(session.receive(&vector("session_data")), Err(SessionError::Over));
    assert_eq!(session.send(b"more"), Err(SessionError::Over));
}

#[test]
fn the_device_reads_the_request_and_answers() {
    let device = agreement_key("ephemeral_device_key");
    let establishment = Establishment::parse(&vector("session_establishment")).unwrap();
    let [_, reader_key, ..] = handover();
    assert_eq!(establishment.reader_key_bytes(), reader_key);
    let (mut session, request) = establishment.accept(device, &transcript()).unwrap();
    assert_eq!(request, vector("device_request"));
    assert_eq!(session.send(&vector("device_response")).unwrap(), vector("session_data"), "byte for byte");
    assert_eq!(session.end(), vector("session_termination"));
    assert!(session.is_over());
}

#[test]
fn a_session_message_that_was_changed_ends_the_session() {
    let (reader, device) = ("ephemeral_reader_key", "ephemeral_device_key");
    let message = vector("session_establishment");
    let accept = |message: &[u8], device: &str, transcript: &SessionTranscript| {
        let session = Establishment::parse(message).and_then(|found| found.accept(agreement_key(device), transcript));
        session.map(|(_, request)| request)
    };
    assert!(accept(&message, device, &transcript()).is_ok());
    assert_eq!(accept(&message, device, &other_transcript()), Err(SessionError::Encryption));
    assert_eq!(accept(&message, reader, &transcript()), Err(SessionError::Encryption), "another device");
    let mut changed = message.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(accept(&changed, device, &transcript()), Err(SessionError::Encryption));
    assert_eq!(accept(&message[1..], device, &transcript()), Err(SessionError::Decoding));
    assert_eq!(accept(&vector("session_data"), device, &transcript()), Err(SessionError::Decoding));

    let open = || {
        let device = agreement_key(device);
        let session = establish(agreement_key(reader), device.public_key(), &transcript(), &vector("device_request"));
        session.unwrap().0
    };
    let data = vector("session_data");
    let mut changed = data.clone();
    *changed.last_mut().unwrap() ^= 1;
    for (message, error, status) in [
        (changed.as_slice(), SessionError::Encryption, 10),
        (&data[..data.len() - 1], SessionError::Decoding, 11),
        (&[0xa0], SessionError::Decoding, 11),
        // {"status": 12}, which is none.
        (&[0xa1, 0x66, b's', b't', b'a', b't', b'u', b's', 12], SessionError::Decoding, 11),
    ] {
        let mut session = open();
        assert_eq!(session.receive(message), Err(error));
        assert!(session.is_over());
        let told = [&b"\xa1\x66status"[..], &[status]].concat();
        assert_eq!(error.message(), Some(told));
        assert_eq!(session.receive(&data), Err(SessionError::Over), "it does not go on");
    }
    let mut session = open();
    assert!(session.receive(&data).is_ok());
    assert_eq!(session.receive(&data), Err(SessionError::Encryption), "a message comes once");
}
