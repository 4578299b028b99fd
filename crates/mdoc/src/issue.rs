//! Issuing (ISO/IEC 18013-5 clause 9.1.2): elements with a salt each, their digests in the mobile security object, the issuer's signature.

use std::collections::BTreeMap;

use ciborium::Value;
use es256::{PublicKey, Signer};
use jiff::civil::Date;
use rand::seq::SliceRandom;
use rand::{CryptoRng, RngExt};
use sha2::{Digest, Sha256};

use crate::certificate::header;
use crate::security_object::{Authorizations, SecurityObject};
use crate::{MdocError, Namespaces};
use cose::{INPUT_MAX_LEN, encode, map, sign1, tagged};

pub use crate::security_object::{StatusReference, Validity};

/// Bytes of salt in each element: the standard asks for 16 at least; 32 keep digests hidden for good.
const SALT_LEN: usize = 32;

/// What is attested.
#[derive(Clone, Debug, PartialEq)]
pub enum ElementValue {
    /// Text.
    Text(String),
    /// A date (`full-date`, tag 1004 of RFC 8943).
    Date(Date),
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Bytes, such as a portrait.
    Bytes(Vec<u8>),
}

impl From<&ElementValue> for Value {
    fn from(value: &ElementValue) -> Value {
        match value {
            ElementValue::Text(text) => Value::from(text.as_str()),
            ElementValue::Date(date) => Value::Tag(1004, Box::new(Value::from(date.to_string()))),
            ElementValue::Bool(answer) => Value::Bool(*answer),
            ElementValue::Integer(number) => Value::from(*number),
            ElementValue::Bytes(bytes) => Value::Bytes(bytes.clone()),
        }
    }
}

/// A credential to be issued.
pub struct Issuing<'a> {
    /// The document type.
    pub doc_type: &'a str,
    /// What is attested.
    pub namespaces: &'a Namespaces<ElementValue>,
    /// The key of the device that it is for.
    pub device: &'a PublicKey,
    /// When it is valid, to the second.
    pub validity: Validity,
    /// Where its status is told, if it has one.
    pub status: Option<StatusReference>,
    /// Signs: the document signer.
    pub signer: &'a dyn Signer,
    /// The signer's certificate (DER), then those above it, without the root.
    pub chain: &'a [Vec<u8>],
}

impl Issuing<'_> {
    /// Issues it, and gives `IssuerSigned` as CBOR.
    ///
    /// # Errors
    /// When nothing is attested, a verifier could not accept it (times out of order, a certificate that is not the signer's or not
    /// valid when it is signed, too long to be read), or the signer's key can't be used.
    pub fn issue(&self, rng: &mut impl CryptoRng) -> Result<Vec<u8>, MdocError> {
        self.check()?;
        let (chain, certificate) = header(self.chain, self.signer.public_key())?;
        if !(certificate.valid.0..=certificate.valid.1).contains(&self.validity.signed.as_second()) {
            return Err(MdocError::Issuing("the signer's certificate is not valid when it is signed"));
        }
        let mut namespaces = Vec::with_capacity(self.namespaces.len());
        let mut digests = BTreeMap::new();
        for (namespace, elements) in self.namespaces {
            // Digest ids in random order: the order of elements would tell which are there.
            let mut ids: Vec<u64> = (0..elements.len() as u64).collect();
            ids.shuffle(rng);
            let mut items = Vec::with_capacity(elements.len());
            let mut of_namespace = BTreeMap::new();
            for ((name, value), id) in elements.iter().zip(ids) {
                let salt: [u8; SALT_LEN] = rng.random();
                let item = tagged(encode(&map([
                    ("digestID", Value::from(id)),
                    ("random", Value::Bytes(salt.to_vec())),
                    ("elementIdentifier", Value::from(name.as_str())),
                    ("elementValue", value.into()),
                ])));
                of_namespace.insert(id, Sha256::digest(encode(&item)).to_vec());
                items.push(item);
            }
            namespaces.push((namespace.as_str(), Value::Array(items)));
            digests.insert(namespace.clone(), of_namespace);
        }
        let object = SecurityObject {
            doc_type: self.doc_type.to_owned(),
            digests,
            device_key: *self.device,
            authorizations: Authorizations::default(),
            validity: self.validity,
            status: self.status.clone(),
        };
        let issuer_auth = sign1(self.signer, &object.write(), true, chain)?;
        let issued = encode(&map([("nameSpaces", map(namespaces)), ("issuerAuth", issuer_auth)]));
        if issued.len() > INPUT_MAX_LEN {
            return Err(MdocError::Issuing("it is longer than anybody reads"));
        }
        Ok(issued)
    }

    fn check(&self) -> Result<(), MdocError> {
        let Validity { signed, from, until, .. } = self.validity;
        if self.namespaces.is_empty() || self.namespaces.values().any(BTreeMap::is_empty) {
            return Err(MdocError::Issuing("it has no namespace, or one without an element"));
        }
        let mut elements = self.namespaces.values().flat_map(BTreeMap::values);
        if elements.any(|value| matches!(value, ElementValue::Date(date) if date.year() < 0)) {
            return Err(MdocError::Issuing("a date lies before the year 0, which can't be written"));
        }
        if signed > from || from >= until {
            return Err(MdocError::Issuing("its times are out of order: signed, valid from, valid until"));
        }
        Ok(())
    }
}
