//! Issuing (ISO/IEC 18013-5 clause 9.1.2): elements with a salt each, their digests in the mobile security object, the issuer's signature.

use ciborium::Value;
use es256::{PublicKey, Signer};
use jiff::Timestamp;
use rand::seq::SliceRandom;
use rand::{CryptoRng, RngExt};
use sha2::{Digest, Sha256};

use crate::{DOC_TYPE, MdocError};
use cose::{cose_key, encode, map, sign1, tagged};

/// Bytes of salt in each element: the standard asks for 16 at least; 32 keep digests hidden for good.
const SALT_LEN: usize = 32;
/// COSE header label of the certificate chain (RFC 9360).
pub const X5CHAIN: i64 = 33;

/// What is attested.
#[derive(Clone, Debug, PartialEq)]
pub enum ElementValue {
    /// Text.
    Text(String),
    /// A date, `YYYY-MM-DD` (tag 1004, RFC 8943).
    Date(String),
    /// Yes or no.
    Bool(bool),
}

impl From<&ElementValue> for Value {
    fn from(value: &ElementValue) -> Value {
        match value {
            ElementValue::Text(text) => Value::from(text.as_str()),
            ElementValue::Date(date) => Value::Tag(1004, Box::new(Value::from(date.as_str()))),
            ElementValue::Bool(answer) => Value::Bool(*answer),
        }
    }
}

/// Who signs: the document signer's key and certificate.
pub struct DocumentSigner {
    /// The key.
    pub key: Box<dyn Signer>,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

/// When a credential is valid. Coarse times, so that they don't single anyone out.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Signed, and valid from.
    pub from: Timestamp,
    /// Valid until.
    pub until: Timestamp,
}

/// Issues a credential for a device's key, and gives `IssuerSigned` as CBOR.
///
/// # Errors
/// When the signer's key can't be used.
pub fn issue(
    elements: &[(&str, ElementValue)],
    device: &PublicKey,
    validity: Validity,
    signer: &DocumentSigner,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, MdocError> {
    // Digest ids in random order: the order of elements would tell which are there.
    let mut ids: Vec<u64> = (0..elements.len() as u64).collect();
    ids.shuffle(rng);
    let mut items = Vec::with_capacity(elements.len());
    let mut digests = Vec::with_capacity(elements.len());
    for ((name, value), id) in elements.iter().zip(ids) {
        let salt: [u8; SALT_LEN] = rng.random();
        let item = tagged(encode(&map([
            ("digestID", Value::from(id)),
            ("random", Value::Bytes(salt.to_vec())),
            ("elementIdentifier", Value::from(*name)),
            ("elementValue", value.into()),
        ])));
        digests.push((Value::from(id), Value::Bytes(Sha256::digest(encode(&item)).to_vec())));
        items.push(item);
    }
    digests.sort_by_key(|(id, _)| id.as_integer().and_then(|id| u64::try_from(id).ok()));
    let time = |time: Timestamp| Value::Tag(0, Box::new(Value::from(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())));
    let security_object = map([
        ("version", Value::from("1.0")),
        ("digestAlgorithm", Value::from("SHA-256")),
        ("valueDigests", map([(DOC_TYPE, Value::Map(digests))])),
        ("deviceKeyInfo", map([("deviceKey", cose_key(device))])),
        ("docType", Value::from(DOC_TYPE)),
        (
            "validityInfo",
            map([
                ("signed", time(validity.from)),
                ("validFrom", time(validity.from)),
                ("validUntil", time(validity.until)),
            ]),
        ),
    ]);
    let payload = encode(&tagged(encode(&security_object)));
    let chain = vec![(Value::from(X5CHAIN), Value::Bytes(signer.certificate.clone()))];
    let issuer_auth = sign1(&*signer.key, &payload, true, chain)?;
    Ok(encode(&map([("nameSpaces", map([(DOC_TYPE, Value::Array(items))])), ("issuerAuth", issuer_auth)])))
}
