//! CBOR of bounded size and depth, and COSE (RFC 9052) with ES256 and HMAC: what mdocs and status lists are written in.
//!
//! In scope: encoding and decoding, `COSE_Sign1`, `COSE_Mac0`, `COSE_Key` of P-256. Out of scope: what the structures mean.

use aws_lc_rs::hmac;
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

mod typed;

pub use typed::{TYP, sign1_typed};

/// Tag 24: encoded CBOR (RFC 8949 section 3.4.5.1).
const ENCODED_CBOR: u64 = 24;
/// Tags 2 and 3: big numbers (RFC 8949 section 3.4.3).
const BIG_POSITIVE: u64 = 2;
const BIG_NEGATIVE: u64 = 3;

/// Encodes a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// Decodes a value, all of the input, of bounded size and depth.
///
/// # Errors
/// When it is too long, too deep, no CBOR, has something after it, or has a big number that a plain one could be.
pub fn decode(bytes: &[u8]) -> Result<Value, Malformed> {
    decode_up_to(bytes, INPUT_MAX_LEN)
}

/// As [`decode`], for whoever expects longer ones (status lists).
///
/// # Errors
/// As [`decode`], with another limit.
pub fn decode_up_to(bytes: &[u8], max_len: usize) -> Result<Value, Malformed> {
    if bytes.len() > max_len {
        return Err(Malformed);
    }
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, NESTING_MAX).map_err(|_| Malformed)?;
    if rest.is_empty() && numbers_are_plain(&value) { Ok(value) } else { Err(Malformed) }
}

/// Whether each big number (RFC 8949 section 3.4.3) is in its preferred form: no shorter one and no integer would do. The decoder
/// makes integers of others, except of those in pieces, and these would be read as another kind once written again.
fn numbers_are_plain(value: &Value) -> bool {
    match value {
        Value::Tag(BIG_POSITIVE | BIG_NEGATIVE, inner) => match inner.as_bytes() {
            Some(bytes) => bytes.len() > size_of::<u64>() && bytes[0] != 0,
            None => numbers_are_plain(inner),
        },
        Value::Tag(_, inner) => numbers_are_plain(inner),
        Value::Array(values) => values.iter().all(numbers_are_plain),
        Value::Map(entries) => entries.iter().all(|(key, value)| numbers_are_plain(key) && numbers_are_plain(value)),
        _ => true,
    }
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

/// The value of an integer key.
pub fn entry(value: &Value, label: i64) -> Result<&Value, Malformed> {
    let entries = value.as_map().ok_or(Malformed)?;
    entries.iter().find(|(key, _)| *key == Value::from(label)).map(|(_, value)| value).ok_or(Malformed)
}

/// COSE's label of the algorithm (RFC 9052 section 3.1).
const ALGORITHM: i64 = 1;
/// ECDSA over P-256 with SHA-256 (RFC 9053 section 2.1).
const ES256: i64 = -7;
/// HMAC with SHA-256, whole (RFC 9053 section 3.1).
const HMAC_256: i64 = 5;

/// The protected header of everything here: the algorithm alone.
fn protected(algorithm: i64) -> Vec<u8> {
    encode(&Value::Map(vec![(Value::from(ALGORITHM), Value::from(algorithm))]))
}

/// Whether a protected header names an algorithm.
fn names(protected: &[u8], algorithm: i64) -> Result<bool, Malformed> {
    Ok(entry(&decode(protected)?, ALGORITHM).is_ok_and(|named| *named == Value::from(algorithm)))
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
    let protected = protected(ES256);
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
        if names(parsed.protected, ES256)? { Ok(parsed) } else { Err(Malformed) }
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

/// COSE_Mac0 (RFC 9052 section 6.2) with HMAC 256/256, its payload detached.
pub fn mac0(key: &[u8; 32], payload: &[u8]) -> Value {
    let protected = protected(HMAC_256);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &to_be_authenticated(&protected, payload));
    let tag = Value::Bytes(tag.as_ref().to_vec());
    Value::Array(vec![Value::Bytes(protected), Value::Map(Vec::new()), Value::Null, tag])
}

/// Whether a COSE_Mac0 with a detached payload holds over it.
///
/// # Errors
/// When it is none, carries a payload, or is not HMAC 256/256.
pub fn mac0_holds(value: &Value, key: &[u8; 32], payload: &[u8]) -> Result<bool, Malformed> {
    let Some([Value::Bytes(protected), Value::Map(_), Value::Null, Value::Bytes(tag)]) =
        value.as_array().map(Vec::as_slice)
    else {
        return Err(Malformed);
    };
    if !names(protected, HMAC_256)? {
        return Err(Malformed);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    Ok(hmac::verify(&key, &to_be_authenticated(protected, payload), tag).is_ok())
}

/// `MAC_structure` of RFC 9052 section 6.3, with no external data.
fn to_be_authenticated(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    encode(&Value::Array(vec![
        Value::from("MAC0"),
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
    let get = |label| entry(cose_key, label);
    let coordinate = |label| get(label)?.as_bytes().ok_or(Malformed);
    if *get(1)? != Value::from(2) || *get(-1)? != Value::from(1) {
        return Err(Malformed);
    }
    PublicKey::from_coordinates(coordinate(-2)?, coordinate(-3)?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_big_number_that_would_be_read_as_another_kind_once_written_is_refused() {
        // A byte string in no pieces, in one piece, and of nine bytes of which the first is naught.
        for number in [
            &[0xc3, 0x5f, 0xff][..],
            &[0xc2, 0x5f, 0x41, 7, 0xff],
            &[0xc2, 0x5f, 0x49, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff],
        ] {
            assert_eq!(decode(number), Err(Malformed), "{number:02x?}");
            for around in [&[0x81][..], &[0xd8, 24], &[0xa1, 0x01], &[0xc2]] {
                assert_eq!(decode(&[around, number].concat()), Err(Malformed), "{around:02x?} {number:02x?}");
            }
        }
        // 2^64 is no integer of CBOR's, and stays what it is.
        let big = [0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode(&big).map(|value| encode(&value)), Ok(big.to_vec()));
    }

    #[test]
    fn a_mac_holds_for_its_key_and_payload_alone() {
        let mac = mac0(&[7; 32], b"payload");
        assert_eq!(mac0_holds(&mac, &[7; 32], b"payload"), Ok(true));
        assert_eq!(mac0_holds(&mac, &[8; 32], b"payload"), Ok(false));
        assert_eq!(mac0_holds(&mac, &[7; 32], b"payloads"), Ok(false));
    }

    #[test]
    fn a_mac_cut_short_or_of_another_algorithm_is_refused() {
        let parts = |protected: Vec<u8>, payload: Value, tag: Vec<u8>| {
            Value::Array(vec![Value::Bytes(protected), Value::Map(Vec::new()), payload, Value::Bytes(tag)])
        };
        let whole = mac0(&[7; 32], b"payload");
        let tag = whole.as_array().unwrap()[3].as_bytes().unwrap().clone();
        let check = |mac: Value| mac0_holds(&mac, &[7; 32], b"payload");
        assert_eq!(check(parts(protected(HMAC_256), Value::Null, tag.clone())), Ok(true));
        assert_eq!(check(parts(protected(HMAC_256), Value::Null, tag[..16].to_vec())), Ok(false));
        assert_eq!(check(parts(protected(HMAC_256), Value::Null, Vec::new())), Ok(false));
        // 4: the same HMAC, of which 64 bits are sent.
        assert_eq!(check(parts(protected(4), Value::Null, tag.clone())), Err(Malformed));
        assert_eq!(check(parts(protected(HMAC_256), Value::Bytes(b"payload".to_vec()), tag)), Err(Malformed));
        assert_eq!(check(Value::Null), Err(Malformed));
    }
}
