use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use es256::{PublicKey, SIGNATURE_LEN, Signer};
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{JoseError, Jwk, base64url, json};

/// The longest signed text that [`Jws::parse`] reads: a credential with a certificate chain needs some kilobytes.
pub const TOKEN_MAX_LEN: usize = 64 * 1024;
/// Certificates in a header: a signer, and authorities above it.
const CHAIN_MAX: usize = 8;
/// Header members that change what is signed or have to be understood (RFC 7515 section 4.1.11, RFC 7797).
const EXTENSIONS: &[&str] = &["crit", "b64"];
const ES256: &str = "ES256";

/// The protected header of a signature (RFC 7515 section 4.1), as far as it is read here. Absent members are not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `alg`: `ES256`.
    pub alg: String,
    /// `typ`: what is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// `kid`: the key's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// `jwk`: the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<Jwk>,
    /// `x5c`: the certificate chain, DER, the signer's first; empty when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "chain")]
    pub x5c: Vec<Vec<u8>>,
    /// `x5t#S256`: SHA-256 of the signer's certificate, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "x5t#S256")]
    pub x5t_s256: Option<String>,
    /// `iat`: when it was signed, Unix time (JAdES, ETSI TS 119 182-1 clause 5.1.11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
}

impl Header {
    /// A header for ES256 with a type and nothing else.
    pub fn es256(typ: &str) -> Self {
        Header {
            alg: ES256.into(),
            typ: Some(typ.into()),
            kid: None,
            jwk: None,
            x5c: Vec::new(),
            x5t_s256: None,
            iat: None,
        }
    }
}

/// Certificates are standard base64 with padding, unlike all else (RFC 7515 section 4.1.6).
mod chain {
    use super::*;

    struct Certificate<'a>(&'a [u8]);

    impl Serialize for Certificate<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&STANDARD.encode(self.0))
        }
    }

    pub(super) fn serialize<S: Serializer>(chain: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(chain.iter().map(|certificate| Certificate(certificate)))
    }

    struct Chain;

    impl<'de> Visitor<'de> for Chain {
        type Value = Vec<Vec<u8>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("certificates, base64")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut certificates = Vec::new();
            while let Some(text) = items.next_element::<std::borrow::Cow<'de, str>>()? {
                if certificates.len() == CHAIN_MAX {
                    return Err(A::Error::custom("too many certificates"));
                }
                certificates.push(STANDARD.decode(text.as_bytes()).map_err(|_| A::Error::custom("no base64"))?);
            }
            // The chain must hold the signer's certificate, so an empty one is none.
            if certificates.is_empty() { Err(A::Error::custom("an empty chain")) } else { Ok(certificates) }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        deserializer.deserialize_seq(Chain)
    }
}

/// Signs a payload as JSON, compact (RFC 7515 section 3.1).
///
/// # Errors
/// When the key can't sign ([`JoseError::Unusable`]), the header names another algorithm than ES256 ([`JoseError::Algorithm`]), or
/// the payload can't be JSON ([`JoseError::Malformed`]).
pub fn sign(header: &Header, payload: &impl Serialize, signer: &dyn Signer) -> Result<String, JoseError> {
    sign_bytes(header, &serde_json::to_vec(payload).map_err(|_| JoseError::Malformed)?, signer)
}

/// Signs any bytes, compact.
///
/// # Errors
/// As [`sign`].
pub fn sign_bytes(header: &Header, payload: &[u8], signer: &dyn Signer) -> Result<String, JoseError> {
    if header.alg != ES256 {
        return Err(JoseError::Algorithm);
    }
    let header = serde_json::to_vec(header).map_err(|_| JoseError::Malformed)?;
    // Four letters for three bytes, rounded up, and two dots.
    let mut text = String::with_capacity((header.len() + payload.len() + SIGNATURE_LEN) * 4 / 3 + 8);
    base64url::encode_onto(header, &mut text);
    text.push('.');
    base64url::encode_onto(payload, &mut text);
    let signature = signer.sign(text.as_bytes())?;
    text.push('.');
    base64url::encode_onto(signature, &mut text);
    Ok(text)
}

/// A compact signature taken apart. Nothing of it counts before [`Jws::verify`].
pub struct Jws<'a> {
    header: Header,
    payload: Vec<u8>,
    /// Header, dot and payload as they were sent.
    signed: &'a str,
    signature: [u8; SIGNATURE_LEN],
}

impl<'a> Jws<'a> {
    /// Takes a compact signature apart.
    ///
    /// # Errors
    /// When it is longer than [`TOKEN_MAX_LEN`], not three parts of base64url, has another algorithm than ES256, a header with an
    /// extension, or a member twice.
    pub fn parse(text: &'a str) -> Result<Self, JoseError> {
        Self::parse_up_to(text, TOKEN_MAX_LEN)
    }

    /// As [`Jws::parse`], for whoever expects longer ones (status lists).
    ///
    /// # Errors
    /// As [`Jws::parse`], with another limit.
    pub fn parse_up_to(text: &'a str, max_len: usize) -> Result<Self, JoseError> {
        if text.len() > max_len {
            return Err(JoseError::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JoseError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JoseError::Malformed)?;
        if payload.contains('.') {
            return Err(JoseError::Malformed);
        }
        if header.len() > TOKEN_MAX_LEN {
            return Err(JoseError::TooLong);
        }
        let header = base64url::decode(header)?;
        json::check(&header, EXTENSIONS)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| JoseError::Malformed)?;
        if header.alg != ES256 {
            return Err(JoseError::Algorithm);
        }
        Ok(Jws { header, payload: base64url::decode(payload)?, signed, signature: base64url::decode_array(signature)? })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload read as claims.
    ///
    /// # Errors
    /// When it is not the JSON that is expected, or has a member twice.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JoseError> {
        json::parse_as(&self.payload)
    }

    /// Whether the signature holds.
    ///
    /// # Errors
    /// [`JoseError::Signature`] when it does not.
    pub fn verify(&self, key: &PublicKey) -> Result<(), JoseError> {
        if key.verify(self.signed.as_bytes(), &self.signature) { Ok(()) } else { Err(JoseError::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use es256::SigningKey;
    use serde_json::{Value, json};

    use super::*;

    /// RFC 7515 Appendix A.3: key, and the text with its header, payload and signature.
    const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const HEADER: &str = "eyJhbGciOiJFUzI1NiJ9";
    const PAYLOAD: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn rfc_key() -> PublicKey {
        serde_json::from_str::<Jwk>(KEY).unwrap().public_key().unwrap()
    }

    #[test]
    fn the_signature_of_rfc_7515_holds_and_a_changed_one_does_not() {
        let text = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
        let jws = Jws::parse(&text).unwrap();
        jws.verify(&rfc_key()).unwrap();
        assert_eq!(jws.claims::<Value>().unwrap()["exp"], 1_300_819_380);
        let changed = format!("{HEADER}.{}.{SIGNATURE}", PAYLOAD.replacen("qb2U", "qb2V", 1));
        assert_ne!(changed, text);
        assert_eq!(Jws::parse(&changed).unwrap().verify(&rfc_key()), Err(JoseError::Signature));
        let other = SigningKey::generate().unwrap();
        assert_eq!(jws.verify(other.public_key()), Err(JoseError::Signature));
    }

    #[test]
    fn what_is_signed_is_read_and_verified() {
        let key = SigningKey::generate().unwrap();
        let header = Header {
            kid: Some("k".into()),
            jwk: Some(Jwk::from(*key.public_key())),
            x5c: vec![vec![1, 2, 3, 4], vec![255; 9]],
            ..Header::es256("JWT")
        };
        let text = sign(&header, &json!({"a": [1, {"b": null}]}), &key).unwrap();
        let jws = Jws::parse(&text).unwrap();
        assert_eq!(jws.header(), &header);
        assert_eq!(jws.claims::<Value>().unwrap(), json!({"a": [1, {"b": null}]}));
        jws.verify(key.public_key()).unwrap();
        // Absent members are not written, and certificates have the other base64.
        assert_eq!(serde_json::to_value(Header::es256("x")).unwrap(), json!({"typ": "x", "alg": "ES256"}));
        assert_eq!(serde_json::to_value(&header).unwrap()["x5c"], json!(["AQIDBA==", "////////////"]));
        assert_eq!(sign(&Header { alg: "none".into(), ..header }, &1, &key), Err(JoseError::Algorithm));
    }

    /// Each header is signed well, so that nothing but its rule refuses it.
    #[test]
    fn headers_that_must_not_be_taken_are_refused() {
        let key = SigningKey::generate().unwrap();
        let text_of = |header: &str| {
            let signed = format!("{}.{}", base64url::encode(header), base64url::encode("{}"));
            let signature = key.sign(signed.as_bytes()).unwrap();
            format!("{signed}.{}", base64url::encode(signature))
        };
        let result = |header: &str| Jws::parse(&text_of(header)).and_then(|jws| jws.verify(key.public_key()));
        assert_eq!(result(r#"{"alg":"ES256","other":{"crit":1}}"#), Ok(()));
        for (header, error) in [
            (r#"{"alg":"none"}"#, JoseError::Algorithm),
            (r#"{"alg":"HS256"}"#, JoseError::Algorithm),
            (r#"{"alg":"es256"}"#, JoseError::Algorithm),
            (r#"{"typ":"JWT"}"#, JoseError::Malformed),
            (r#"{"alg":["ES256"]}"#, JoseError::Malformed),
            (r#"{"alg":"ES256","crit":["exp"]}"#, JoseError::Extension),
            (r#"{"alg":"ES256","crit":null}"#, JoseError::Extension),
            (r#"{"alg":"ES256","b64":true}"#, JoseError::Extension),
            (r#"{"alg":"none","alg":"ES256"}"#, JoseError::Duplicate),
            (r#"{"alg":"ES256","other":1,"other":2}"#, JoseError::Duplicate),
            (r#"{"alg":"ES256","x5c":[]}"#, JoseError::Malformed),
            (r#"{"alg":"ES256","x5c":["AQIDBA"]}"#, JoseError::Malformed),
            (r#"{"alg":"ES256","x5c":"AQIDBA=="}"#, JoseError::Malformed),
            (r#"{"alg":"ES256","x5c":["","","","","","","","",""]}"#, JoseError::Malformed),
            (r#"{"alg":"ES256"} "x""#, JoseError::Malformed),
            (r#"{"alg":"ES256","jwk":["EC","P-256","",""]}"#, JoseError::Malformed),
            (r#"["ES256"]"#, JoseError::Malformed),
        ] {
            assert_eq!(result(header), Err(error), "{header}");
        }
    }

    #[test]
    fn texts_have_three_parts_of_one_spelling_and_a_bounded_length() {
        let text = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
        // The last letter carries four spare bits.
        let spelled = format!("{}R", text.strip_suffix('Q').unwrap());
        for (changed, error) in [
            (spelled, JoseError::Base64),
            (format!("{text}=="), JoseError::Base64),
            (format!("{text} "), JoseError::Base64),
            (format!("{text}."), JoseError::Malformed),
            (format!("{HEADER}.{PAYLOAD}"), JoseError::Malformed),
            (format!("{HEADER}..{PAYLOAD}.{SIGNATURE}"), JoseError::Malformed),
            (format!("{HEADER}={HEADER}.{PAYLOAD}.{SIGNATURE}"), JoseError::Base64),
            (format!("{HEADER}.{PAYLOAD}.{}", &SIGNATURE[4..]), JoseError::Base64),
            (format!("{HEADER}.{PAYLOAD}."), JoseError::Base64),
            (format!("{HEADER}.{}.{SIGNATURE}", "A".repeat(TOKEN_MAX_LEN)), JoseError::TooLong),
            (String::new(), JoseError::Malformed),
        ] {
            assert_eq!(Jws::parse(&changed).err(), Some(error), "{changed:.200}");
        }
        assert!(Jws::parse_up_to(&format!("{HEADER}.{}.{SIGNATURE}", "A".repeat(TOKEN_MAX_LEN)), 1 << 20).is_ok());
    }

    #[test]
    fn claims_with_a_member_twice_are_refused() {
        let key = SigningKey::generate().unwrap();
        let text = sign_bytes(&Header::es256("JWT"), br#"{"a":1,"a":2}"#, &key).unwrap();
        let jws = Jws::parse(&text).unwrap();
        jws.verify(key.public_key()).unwrap();
        assert_eq!(jws.claims::<Value>(), Err(JoseError::Duplicate));
    }
}
