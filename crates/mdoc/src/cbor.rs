//! CBOR and COSE beneath the structures.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use ciborium::Value;

use crate::MdocError;

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
pub fn decode(bytes: &[u8]) -> Result<Value, MdocError> {
    if bytes.len() > INPUT_MAX_LEN {
        return Err(MdocError::Malformed);
    }
    let mut rest = bytes;
    let value =
        ciborium::de::from_reader_with_recursion_limit(&mut rest, NESTING_MAX).map_err(|_| MdocError::Malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(MdocError::Malformed) }
}

/// `#6.24(bstr)` around encoded CBOR.
pub fn tagged(inner: Vec<u8>) -> Value {
    Value::Tag(ENCODED_CBOR, Box::new(Value::Bytes(inner)))
}

/// The bytes within `#6.24(bstr)`.
pub fn untag(value: &Value) -> Result<&[u8], MdocError> {
    match value {
        Value::Tag(ENCODED_CBOR, inner) => inner.as_bytes().map(Vec::as_slice).ok_or(MdocError::Malformed),
        _ => Err(MdocError::Malformed),
    }
}

/// A map with text keys.
pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

/// The value of a text key.
pub fn field<'a>(value: &'a Value, key: &str) -> Result<&'a Value, MdocError> {
    let entries = value.as_map().ok_or(MdocError::Malformed)?;
    entries.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v).ok_or(MdocError::Malformed)
}

/// A P-256 key that signs.
pub struct SigningKey(EcdsaKeyPair);

impl SigningKey {
    /// Reads PKCS#8.
    ///
    /// # Errors
    /// When it is no P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, MdocError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(SigningKey).map_err(|_| MdocError::Key)
    }

    /// A fresh key as PKCS#8, for a device to keep.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_pkcs8() -> Result<zeroize::Zeroizing<Vec<u8>>, MdocError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        document.map(|document| zeroize::Zeroizing::new(document.as_ref().to_vec())).map_err(|_| MdocError::Key)
    }

    /// The public point: 65 bytes, uncompressed.
    pub fn public_point(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs a message (ES256): 64 bytes.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, MdocError> {
        self.0.sign(&SystemRandom::new(), message).map(|s| s.as_ref().to_vec()).map_err(|_| MdocError::Key)
    }
}

/// Whether an ES256 signature holds.
pub fn verify_es256(public_point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public_point).verify(message, signature).is_ok()
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
    key: &SigningKey,
    payload: &[u8],
    carried: bool,
    unprotected: Vec<(Value, Value)>,
) -> Result<Value, MdocError> {
    let protected = protected_es256();
    let signature = key.sign(&to_be_signed(&protected, payload))?;
    let carried = if carried { Value::Bytes(payload.to_vec()) } else { Value::Null };
    Ok(Value::Array(vec![Value::Bytes(protected), Value::Map(unprotected), carried, Value::Bytes(signature)]))
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
    pub fn parse(value: &'a Value) -> Result<Self, MdocError> {
        let Some([protected, unprotected, payload, signature]) = value.as_array().map(Vec::as_slice) else {
            return Err(MdocError::Malformed);
        };
        let bytes = |value: &'a Value| value.as_bytes().map(Vec::as_slice).ok_or(MdocError::Malformed);
        let parsed = Sign1 {
            protected: bytes(protected)?,
            unprotected,
            payload: payload.as_bytes().map(Vec::as_slice),
            signature: bytes(signature)?,
        };
        let header = decode(parsed.protected)?;
        let algorithm = header.as_map().and_then(|entries| entries.iter().find(|(key, _)| *key == Value::from(1)));
        if algorithm.is_some_and(|(_, value)| *value == Value::from(-7)) {
            Ok(parsed)
        } else {
            Err(MdocError::Malformed)
        }
    }

    /// Whether the signature holds over a payload.
    pub fn holds(&self, public_point: &[u8], payload: &[u8]) -> bool {
        verify_es256(public_point, &to_be_signed(self.protected, payload), self.signature)
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

/// A COSE_Key of P-256 (RFC 9053 section 7.1.1) from an uncompressed point.
///
/// # Errors
/// When the point has not 65 bytes.
pub fn cose_key(public_point: &[u8]) -> Result<Value, MdocError> {
    match public_point {
        [0x04, coordinates @ ..] if coordinates.len() == 64 => {
            let (x, y) = coordinates.split_at(32);
            Ok(Value::Map(vec![
                (Value::from(1), Value::from(2)),
                (Value::from(-1), Value::from(1)),
                (Value::from(-2), Value::Bytes(x.to_vec())),
                (Value::from(-3), Value::Bytes(y.to_vec())),
            ]))
        }
        _ => Err(MdocError::Malformed),
    }
}

/// The uncompressed point of a COSE_Key of P-256.
///
/// # Errors
/// When it is another kind of key.
pub fn point_of(cose_key: &Value) -> Result<Vec<u8>, MdocError> {
    let entries = cose_key.as_map().ok_or(MdocError::Malformed)?;
    let get = |label: i64| entries.iter().find(|(key, _)| *key == Value::from(label)).map(|(_, value)| value);
    let coordinate = |label| get(label).and_then(Value::as_bytes).filter(|bytes| bytes.len() == 32);
    match (get(1), get(-1), coordinate(-2), coordinate(-3)) {
        (Some(kind), Some(curve), Some(x), Some(y)) if *kind == Value::from(2) && *curve == Value::from(1) => {
            Ok([&[0x04][..], x, y].concat())
        }
        _ => Err(MdocError::Malformed),
    }
}
