//! Oblivious HTTP: what a relay brings to a gateway and a gateway to a wallet, and the messages inside.

use std::sync::OnceLock;

use oblivious::{GatewayKey, KeyConfiguration, Request, Response};

fn key() -> &'static GatewayKey {
    static KEY: OnceLock<GatewayKey> = OnceLock::new();
    KEY.get_or_init(|| GatewayKey::from_secret(&[7; 32]))
}

/// Messages are written and read again as the same, padded. A key configuration that is taken seals, or says that its key is none. What the
/// gateway opens was sealed for it.
pub fn relayed(data: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(request) = Request::from_bytes(data) {
        let written = request.to_bytes();
        assert!(Request::from_bytes(&written).is_ok_and(|again| again == request), "what is written is read again");
        taken = true;
    }
    if let Ok(response) = Response::from_bytes(data) {
        let written = response.to_bytes().expect("a final status was read");
        assert!(Response::from_bytes(&written).is_ok_and(|again| again == response), "what is written is read again");
        taken = true;
    }
    if let Ok(configuration) = KeyConfiguration::from_bytes(data) {
        let (sealed, waiting) = match configuration.seal(&request()) {
            Ok(sealed) => sealed,
            Err(error) => return error == oblivious::Error::Configuration,
        };
        if data == key().configuration() {
            let opened = key().open(&sealed).expect("sealed for this key");
            assert!(opened.request.is_ok_and(|opened| opened == request()), "what is sealed is opened");
        }
        assert!(waiting.open(data).is_err(), "nobody has answered");
        taken = true;
    }
    taken | key().open(data).is_ok()
}

fn request() -> Request {
    Request {
        method: "POST".into(),
        scheme: "https".into(),
        authority: "mint.example".into(),
        path: "/v1/swap".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: b"{}".to_vec(),
    }
}

/// Messages, padded and not; a key configuration; a sealed request.
pub fn relayed_seeds() -> Vec<Vec<u8>> {
    let response = Response { status: 200, headers: request().headers, body: b"{}".to_vec() };
    let configuration = KeyConfiguration::from_bytes(key().configuration()).expect("a key");
    let (sealed, _) = configuration.seal(&request()).expect("a key");
    let unpadded =
        |bytes: Vec<u8>| bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 2)].to_vec();
    let response = response.to_bytes().expect("a final status");
    vec![
        unpadded(request().to_bytes()),
        request().to_bytes(),
        unpadded(response.clone()),
        response,
        // Of unknown length, with an informational answer before it.
        vec![3, 0x40, 102, 0, 0x40, 200, 1, b'a', 1, b'b', 0, 2, b'{', b'}', 0, 0],
        key().configuration().to_vec(),
        sealed,
    ]
}
