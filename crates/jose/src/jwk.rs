use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use es256::PublicKey;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{JoseError, base64url};

/// A public key of P-256 as a JSON Web Key (RFC 7517, RFC 7518 section 6.2). Other members are read over; one with `d`, a secret key,
/// is refused: it is not meant to be here.
///
/// The coordinates are not held against the curve before [`Jwk::public_key`], so that a key that is only carried costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    x: [u8; 32],
    y: [u8; 32],
    /// `kid`: its name.
    pub kid: Option<String>,
    /// `use`: `sig` or `enc`.
    pub use_: Option<String>,
    /// `alg`: the algorithm that it is for.
    pub alg: Option<String>,
}

impl Jwk {
    /// The key.
    ///
    /// # Errors
    /// [`JoseError::Key`] when the coordinates are not on the curve.
    pub fn public_key(&self) -> Result<PublicKey, JoseError> {
        PublicKey::from_coordinates(&self.x, &self.y).map_err(|_| JoseError::Key)
    }

    /// The thumbprint (RFC 7638): SHA-256 over the members that make the key, in the order of their names.
    pub fn thumbprint(&self) -> [u8; 32] {
        let (x, y) = (base64url::encode(self.x), base64url::encode(self.y));
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 gives 32 bytes")
    }

    /// The thumbprint as it is written: base64url.
    pub fn thumbprint_text(&self) -> String {
        base64url::encode(self.thumbprint())
    }
}

impl From<PublicKey> for Jwk {
    fn from(key: PublicKey) -> Self {
        let half = |bytes: &[u8]| bytes.try_into().expect("a coordinate has 32 bytes");
        Jwk { x: half(key.x()), y: half(key.y()), kid: None, use_: None, alg: None }
    }
}

impl TryFrom<&Jwk> for PublicKey {
    type Error = JoseError;

    fn try_from(jwk: &Jwk) -> Result<Self, JoseError> {
        jwk.public_key()
    }
}

impl Serialize for Jwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let optional = [("kid", &self.kid), ("use", &self.use_), ("alg", &self.alg)];
        let present = optional.iter().filter(|(_, value)| value.is_some()).count();
        let mut members = serializer.serialize_struct("Jwk", 4 + present)?;
        members.serialize_field("kty", "EC")?;
        members.serialize_field("crv", "P-256")?;
        members.serialize_field("x", &base64url::encode(self.x))?;
        members.serialize_field("y", &base64url::encode(self.y))?;
        for (name, value) in optional {
            if let Some(value) = value {
                members.serialize_field(name, value)?;
            }
        }
        members.end()
    }
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    kty: Cow<'a, str>,
    #[serde(borrow)]
    crv: Cow<'a, str>,
    #[serde(borrow)]
    x: Cow<'a, str>,
    #[serde(borrow)]
    y: Cow<'a, str>,
    kid: Option<String>,
    #[serde(rename = "use")]
    use_: Option<String>,
    alg: Option<String>,
    d: Option<IgnoredAny>,
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON Web Key")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Members::deserialize(MapAccessDeserializer::new(members))
    }
}

impl<'de> Deserialize<'de> for Jwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An object and nothing else: a derived type would take an array too, as its members in order.
        let members = deserializer.deserialize_map(Object)?;
        if members.kty != "EC" || members.crv != "P-256" {
            return Err(D::Error::custom("only keys of the curve P-256 are taken"));
        }
        if members.d.is_some() {
            return Err(D::Error::custom("this is a secret key; a public one belongs here"));
        }
        let half = |text: &str| {
            base64url::decode_array::<32>(text).map_err(|_| D::Error::custom("a coordinate is 32 bytes in base64url"))
        };
        let (x, y) = (half(&members.x)?, half(&members.y)?);
        Ok(Jwk { x, y, kid: members.kid, use_: members.use_, alg: members.alg })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 Appendix A.3.
    const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    #[test]
    fn a_key_is_read_and_written_as_the_same() {
        let mut key: Jwk = serde_json::from_str(KEY).unwrap();
        key.public_key().unwrap();
        assert_eq!(Jwk::from(key.public_key().unwrap()), key);
        key.kid = Some("1".into());
        key.use_ = Some("sig".into());
        key.alg = Some("ES256".into());
        let written = serde_json::to_value(&key).unwrap();
        assert_eq!(written["use"], "sig");
        assert_eq!(serde_json::from_value::<Jwk>(written).unwrap(), key);
        let more = KEY.replace("\"kty\"", r#""key_ops":["verify"],"kty""#);
        assert_eq!(PublicKey::try_from(&serde_json::from_str::<Jwk>(&more).unwrap()), key.public_key());
    }

    #[test]
    fn other_keys_are_refused() {
        for (from, to) in [
            ("EC", "OKP"),
            ("P-256", "P-384"),
            ("x_FE", "=_FE"),
            ("x_FEz", "x_FE"),
            ("5a0", "5a1"),
            ("\"y\"", "\"z\""),
            ("\"kty\"", "\"d\":\"AA\",\"kty\""),
            ("\"kty\"", "\"x\":\"AA\",\"kty\""),
        ] {
            assert!(serde_json::from_str::<Jwk>(&KEY.replace(from, to)).is_err(), "{from} {to}");
        }
        let (x, y) = (base64url::encode([1; 32]), base64url::encode([2; 32]));
        let array = format!(r#"["EC","P-256","{x}","{y}",null,null,null,null]"#);
        assert!(serde_json::from_str::<Jwk>(&array).is_err());
        let off: Jwk = serde_json::from_str(&KEY.replace("x_FE", "y_FE")).unwrap();
        assert_eq!(off.public_key(), Err(JoseError::Key));
    }

    /// The value was computed apart from this code; tests/vectors/npm-jose.json has npm jose's, for another key.
    #[test]
    fn the_thumbprint_is_over_the_key_alone() {
        let mut key: Jwk = serde_json::from_str(KEY).unwrap();
        key.kid = Some("1".into());
        assert_eq!(key.thumbprint_text(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
        assert_eq!(key.thumbprint_text(), base64url::encode(key.thumbprint()));
    }
}
