//! The published vectors, read from `tests/vectors`: lines `name = hex`, an empty line after each case.

use std::collections::HashMap;

/// A case by the names of its fields.
pub struct Case(HashMap<&'static str, &'static str>);

impl Case {
    pub fn text(&self, name: &str) -> &'static str {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn cases(text: &'static str) -> Vec<Case> {
    let lines = |case: &'static str| {
        let fields = case.lines().filter(|line| !line.starts_with('#'));
        Case(fields.map(|line| line.split_once(" =").map(|(name, value)| (name, value.trim())).unwrap()).collect())
    };
    text.split("\n\n").map(lines).filter(|case| !case.0.is_empty()).collect()
}

/// RFC 9474 Appendix A.
pub fn blind_rsa() -> Vec<Case> {
    let cases = cases(include_str!("../tests/vectors/rfc9474-a.txt"));
    assert_eq!(cases.len(), 4);
    cases
}

/// One issuance of RFC 9578 Appendix B.2.
pub struct Issuance {
    pub issuer_pkcs8: Vec<u8>,
    pub issuer_spki: Vec<u8>,
    pub token_challenge: Vec<u8>,
    pub nonce: [u8; 32],
    pub blind: Vec<u8>,
    pub salt: Vec<u8>,
    pub token_request: Vec<u8>,
    pub token_response: Vec<u8>,
    pub token: Vec<u8>,
}

/// RFC 9578 Appendix B.2.
pub fn issuance() -> Vec<Issuance> {
    let cases = cases(include_str!("../tests/vectors/rfc9578-b2.txt"));
    assert_eq!(cases.len(), 10);
    let read = |case: Case| Issuance {
        issuer_pkcs8: case.bytes("issuer_pkcs8"),
        issuer_spki: case.bytes("issuer_spki"),
        token_challenge: case.bytes("token_challenge"),
        nonce: case.bytes("nonce").try_into().unwrap(),
        blind: case.bytes("blind"),
        salt: case.bytes("salt"),
        token_request: case.bytes("token_request"),
        token_response: case.bytes("token_response"),
        token: case.bytes("token"),
    };
    cases.into_iter().map(read).collect()
}
