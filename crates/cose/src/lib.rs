//! CBOR of bounded size and depth, and COSE (RFC 9052) with ES256: what mdocs and status lists are written in.
//!
//! In scope: encoding and decoding, `COSE_Sign1`, `COSE_Key` of P-256. Out of scope: what the structures mean.

use ciborium::Value;
use es256::{KeyError, PublicKey, Signer};

/// Bytes that are not what was expected. Holds none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the CBOR that is expected here: too long, too deep, incomplete, or of another structure")]
pub struct Malformed;

/// The deepest nesting that is read; a device response needs about 12.
const NESTING_MAX: usize = 24;
/// The longest credential or response that is read.
pub const INPUT_MAX_LEN: usize = 64 * 1024;

/// Tag 24: encoded CBOR (RFC 8949 section 3.4.5.1).
const ENCODED_CBOR: u64 = 24;

/// Encodes a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// Decodes a value, all of the input, of bounded size and depth.
///
/// # Errors
/// When it is too long, too deep, no CBOR, or has something after it.
pub fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
    if bytes.len() > INPUT_MAX_LEN {
        return Err(Malformed);
    }
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, NESTING_MAX).map_err(|_| Malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(Malformed) }
}

/// `#6.24(bstr)` around encoded CBOR.
pub fn tagged(inner: Vec<u8>) -> Value {
    Value::Tag(ENCODED_CBOR, Box::new(Value::Bytes(inner)))
}

/// The bytes within `#6.24(bstr)`.
pub fn untag(value: &Value) -> Result<&[u8], Malformed> {
    match value {
        Value::Tag(ENCODED_CBOR, inner) => inner.as_bytes().map(Vec::as_slice).ok_or(Malformed),
        _ => Err(Malformed),
    }
}

/// A map with text keys.
pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

/// The value of a text key.
pub fn field<'a>(value: &'a Value, key: &str) -> Result<&'a Value, Malformed> {
    let entries = value.as_map().ok_or(Malformed)?;
    entries.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v).ok_or(Malformed)
}

/// The protected header of every signature here: `{1: -7}`, ES256.
fn protected_es256() -> Vec<u8> {
    encode(&Value::Map(vec![(Value::from(1), Value::from(-7))]))
}

/// COSE_Sign1 (RFC 9052 section 4.2) with ES256: the payload is carried, or detached when `carried` is false.
///
/// # Errors
/// When the key can't sign.
pub fn sign1(
    key: &dyn Signer,
    payload: &[u8],
    carried: bool,
    unprotected: Vec<(Value, Value)>,
) -> Result<Value, KeyError> {
    let protected = protected_es256();
    let signature = key.sign(&to_be_signed(&protected, payload))?;
    let carried = if carried { Value::Bytes(payload.to_vec()) } else { Value::Null };
    Ok(Value::Array(vec![Value::Bytes(protected), Value::Map(unprotected), carried, Value::Bytes(signature.to_vec())]))
}

/// A COSE_Sign1 taken apart.
pub struct Sign1<'a> {
    protected: &'a [u8],
    /// The unprotected header.
    pub unprotected: &'a Value,
    /// The payload, unless detached.
    pub payload: Option<&'a [u8]>,
    signature: &'a [u8],
}

impl<'a> Sign1<'a> {
    /// Takes a COSE_Sign1 apart.
    ///
    /// # Errors
    /// When it is none, or not ES256.
    pub fn parse(value: &'a Value) -> Result<Self, Malformed> {
        let Some([protected, unprotected, payload, signature]) = value.as_array().map(Vec::as_slice) else {
            return Err(Malformed);
        };
        let bytes = |value: &'a Value| value.as_bytes().map(Vec::as_slice).ok_or(Malformed);
        let parsed = Sign1 {
            protected: bytes(protected)?,
            unprotected,
            payload: payload.as_bytes().map(Vec::as_slice),
            signature: bytes(signature)?,
        };
        let header = decode(parsed.protected)?;
        let algorithm = header.as_map().and_then(|entries| entries.iter().find(|(key, _)| *key == Value::from(1)));
        if algorithm.is_some_and(|(_, value)| *value == Value::from(-7)) { Ok(parsed) } else { Err(Malformed) }
    }

    /// Whether the signature holds over a payload.
    pub fn holds(&self, key: &PublicKey, payload: &[u8]) -> bool {
        key.verify(&to_be_signed(self.protected, payload), self.signature)
    }
}

/// `Sig_structure` of RFC 9052 section 4.4, with no external data.
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    encode(&Value::Array(vec![
        Value::from("Signature1"),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]))
}

/// A COSE_Key of P-256 (RFC 9053 section 7.1.1).
pub fn cose_key(key: &PublicKey) -> Value {
    Value::Map(vec![
        (Value::from(1), Value::from(2)),
        (Value::from(-1), Value::from(1)),
        (Value::from(-2), Value::Bytes(key.x().to_vec())),
        (Value::from(-3), Value::Bytes(key.y().to_vec())),
    ])
}

/// The key that a COSE_Key of P-256 holds.
///
/// # Errors
/// When it is another kind of key, or no point of the curve.
pub fn key_of(cose_key: &Value) -> Result<PublicKey, Malformed> {
    let entries = cose_key.as_map().ok_or(Malformed)?;
    let get = |label: i64| entries.iter().find(|(key, _)| *key == Value::from(label)).map(|(_, value)| value);
    let coordinate = |label| get(label).and_then(Value::as_bytes);
    match (get(1), get(-1), coordinate(-2), coordinate(-3)) {
        (Some(kind), Some(curve), Some(x), Some(y)) if *kind == Value::from(2) && *curve == Value::from(1) => {
            PublicKey::from_coordinates(x, y).map_err(|_| Malformed)
        }
        _ => Err(Malformed),
    }
}
