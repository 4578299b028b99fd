//! A request and its answer, and what must not be taken for one.

use oblivious::{Error, GatewayKey, KeyConfiguration, Request, Response, client};

fn request() -> Request {
    Request {
        method: "POST".into(),
        scheme: "https".into(),
        authority: "mint.example".into(),
        path: "/v1/swap".into(),
        headers: Vec::new(),
        body: b"{\"inputs\":[]}".to_vec(),
    }
}

fn answer() -> Response {
    Response { status: 200, headers: Vec::new(), body: b"{\"signatures\":[]}".to_vec() }
}

fn key(number: u8) -> GatewayKey {
    GatewayKey::from_secret(&[number; 32])
}

/// A key's configuration with other algorithms: pairs of KDF and AEAD.
fn with_suites(key: &GatewayKey, suites: &[[u8; 4]]) -> Vec<u8> {
    let (until_suites, suites) = (&key.configuration()[2..37], suites.concat());
    let suites_len = u16::try_from(suites.len()).unwrap().to_be_bytes();
    let config = [until_suites, &suites_len, &suites].concat();
    [&u16::try_from(config.len()).unwrap().to_be_bytes()[..], &config].concat()
}

#[test]
fn a_request_and_its_answer_pass_with_either_algorithm() {
    let key = key(1);
    assert_eq!(key.configuration().len(), 47);
    let chacha = with_suites(&key, &[[0, 1, 0, 3]]);
    assert_eq!(with_suites(&key, &[[0, 1, 0, 1], [0, 1, 0, 3]]), key.configuration(), "the control");
    for (configuration, aead) in [(key.configuration(), 1), (&chacha[..], 3)] {
        let (sealed, waiting) = KeyConfiguration::from_bytes(configuration).unwrap().seal(&request()).unwrap();
        assert_eq!(sealed[..7], [key.configuration()[2], 0, 0x20, 0, 1, 0, aead], "RFC 9458 section 4.3");
        let opened = key.open(&sealed).unwrap();
        assert!(opened.request.unwrap() == request());
        assert!(waiting.open(&opened.reply.seal(&answer()).unwrap()).unwrap() == answer());
    }
}

#[test]
fn a_key_is_the_same_from_the_same_bytes_and_known_by_its_digest() {
    assert_eq!(key(1).configuration(), key(1).configuration());
    assert_ne!(client::digest(key(1).configuration()), client::digest(key(2).configuration()));
}

#[test]
fn two_requests_have_nothing_in_common() {
    let configuration = KeyConfiguration::from_bytes(key(1).configuration()).unwrap();
    let [first, second] = [0, 1].map(|_| configuration.seal(&request()).unwrap().0);
    assert_eq!(first[..7], second[..7]);
    assert!(first[7..].chunks(16).zip(second[7..].chunks(16)).all(|(one, other)| one != other));
}

#[test]
fn what_is_made_for_another_key_or_changed_is_refused() {
    let (key, other) = (key(1), key(2));
    let configuration = KeyConfiguration::from_bytes(key.configuration()).unwrap();
    let (sealed, waiting) = configuration.seal(&request()).unwrap();
    assert_eq!(other.open(&sealed).err(), Some(Error::Key));
    // Also where the key's number happens to be the same.
    let renamed = [&other.configuration()[2..3], &sealed[1..]].concat();
    assert_eq!(other.open(&renamed).err(), Some(Error::Key));
    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert_eq!(key.open(&changed).err(), Some(Error::Key), "byte {place}");
        if place >= 48 {
            // Past the key of the client all bytes are alike.
            break;
        }
    }
    for length in [0, 6, 7, 38] {
        assert_eq!(key.open(&sealed[..length]).err(), Some(Error::Capsule), "{length} bytes");
    }
    assert_eq!(key.open(&vec![0; oblivious::REQUEST_MAX_LEN + 1]).err(), Some(Error::Capsule));
    // An answer to another request.
    let again = key.open(&configuration.seal(&request()).unwrap().0).unwrap();
    assert_eq!(waiting.open(&again.reply.seal(&answer()).unwrap()).err(), Some(Error::Key));
    assert!(key.open(&sealed).is_ok(), "the control");
}

#[test]
fn a_configuration_that_can_not_be_used_is_refused() {
    let key = key(1);
    let refused = |bytes: &[u8]| KeyConfiguration::from_bytes(bytes).err() == Some(Error::Configuration);
    assert!(refused(b"") && refused(b"\x00") && refused(&key.configuration()[..46]));
    assert!(refused(&with_suites(&key, &[])), "no algorithm");
    assert!(refused(&with_suites(&key, &[[0, 2, 0, 1], [0, 1, 0, 2]])), "HKDF-SHA384 or AES-256-GCM only");
    assert!(refused(&[key.configuration().to_vec(), vec![0]].concat()), "something follows");
    assert!(refused(&key.configuration().repeat(100)), "too long");
    // One that can be used after one that can't.
    let second = [with_suites(&key, &[[0, 1, 0, 2]]), key.configuration().to_vec()].concat();
    assert!(KeyConfiguration::from_bytes(&second).is_ok());
    // A point of small order agrees on nothing.
    let mut zero = key.configuration().to_vec();
    zero[5..37].fill(0);
    let sealed = KeyConfiguration::from_bytes(&zero).and_then(|configuration| configuration.seal(&request()));
    assert_eq!(sealed.err(), Some(Error::Configuration));
}

#[test]
fn what_is_sealed_and_no_request_is_told_so_in_a_sealed_answer() {
    let key = key(1);
    let client = ohttp::ClientRequest::from_encoded_config_list(key.configuration()).unwrap();
    let (sealed, response) = client.encapsulate(b"no message").unwrap();
    let opened = key.open(&sealed).unwrap();
    assert!(opened.request.err() == Some(Error::Message));
    let refusal = Response { status: 400, headers: Vec::new(), body: Vec::new() };
    let answer = response.decapsulate(&opened.reply.seal(&refusal).unwrap()).unwrap();
    assert!(Response::from_bytes(&answer).unwrap() == refusal);
}
