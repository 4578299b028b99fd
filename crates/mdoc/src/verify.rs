//! Verifying (clause 9.3): chain, issuer's signature, validity, digests, the holder's signature or MAC; and, as a step of its own, that
//! nothing unasked is there and nothing is missing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use es256::{AgreementKey, PublicKey};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::certificate::{Certified, Trust, Usage, leaf};
use crate::security_object::{SecurityObject, StatusReference, Validity, text, unsigned};
use crate::transcript::SessionTranscript;
use crate::{DOCUMENTS_MAX, MdocError, Namespaces, keys};
use cose::{Sign1, decode, encode, field, mac0_holds, untag};

/// The namespace of driving licences (clause 7.2.1).
const DRIVING_LICENCE: &str = "org.iso.18013.5.1";

/// A document of which everything was verified but its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The document type.
    pub doc_type: String,
    /// What the issuer attests, as far as it was disclosed.
    pub elements: Namespaces<Value>,
    /// What the device itself tells, as far as the issuer authorised it to.
    pub device_elements: Namespaces<Value>,
    /// Where to ask whether it was revoked.
    pub status: Option<StatusReference>,
    /// When it is valid.
    pub validity: Validity,
    /// The distinguished name of the certificate that signed it.
    pub signer: String,
    /// The key of the device that it was issued to.
    pub device_key: PublicKey,
}

impl Document {
    /// Holds the document against what was asked: a document type, and namespaces with elements.
    ///
    /// # Errors
    /// When it is another kind of document, something unasked is in it, or something asked is not.
    pub fn answers(&self, doc_type: &str, asked: &[(&str, &str)]) -> Result<(), MdocError> {
        if self.doc_type != doc_type {
            return Err(MdocError::DocType);
        }
        let mut told = [&self.elements, &self.device_elements]
            .into_iter()
            .flatten()
            .flat_map(|(namespace, elements)| elements.keys().map(|element| (namespace.as_str(), element.as_str())));
        if !told.all(|element| asked.contains(&element)) {
            return Err(MdocError::Unasked);
        }
        let has = |elements: &Namespaces<Value>, (namespace, element): &(&str, &str)| {
            elements.get(*namespace).is_some_and(|elements| elements.contains_key(*element))
        };
        if asked.iter().all(|element| has(&self.elements, element) || has(&self.device_elements, element)) {
            Ok(())
        } else {
            Err(MdocError::Missing)
        }
    }
}

/// Verifies every document of a device response, made over a transcript, against trusted roots ([`Trust`]). A response that is answered with
/// a MAC needs the reader's ephemeral key of the session.
///
/// # Errors
/// The first check that fails: no document is given then.
pub fn verify(
    response: &[u8],
    transcript: &SessionTranscript,
    roots: &(impl Trust + ?Sized),
    now: Timestamp,
    reader: Option<&AgreementKey>,
) -> Result<Vec<Document>, MdocError> {
    let response = decode(response)?;
    if !text(field(&response, "version")?)?.starts_with("1.") {
        return Err(MdocError::Malformed);
    }
    if unsigned(field(&response, "status")?)? != 0 {
        return Err(MdocError::NoDocument);
    }
    let documents = field(&response, "documents").map_err(|_| MdocError::NoDocument)?;
    let documents = documents.as_array().ok_or(MdocError::Malformed)?;
    if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
        return Err(MdocError::NoDocument);
    }
    documents.iter().map(|document| verify_document(document, transcript, roots, now, reader)).collect()
}

/// Verifies an `IssuerSigned` as a holder gets it, before it is kept: all that [`verify`] checks but the device's authentication.
///
/// # Errors
/// The first check that fails.
pub fn verify_issued(
    issuer_signed: &[u8],
    roots: &(impl Trust + ?Sized),
    now: Timestamp,
) -> Result<Document, MdocError> {
    Ok(verify_issuer_signed(&decode(issuer_signed)?, roots, now)?.0)
}

fn verify_document(
    document: &Value,
    transcript: &SessionTranscript,
    roots: &(impl Trust + ?Sized),
    now: Timestamp,
    reader: Option<&AgreementKey>,
) -> Result<Document, MdocError> {
    let (mut verified, object) = verify_issuer_signed(field(document, "issuerSigned")?, roots, now)?;
    if field(document, "docType")?.as_text() != Some(&object.doc_type) {
        return Err(MdocError::DocType);
    }
    verified.device_elements = verify_device(field(document, "deviceSigned")?, &object, transcript, reader)?;
    Ok(verified)
}

/// Checks what the issuer answers for (clause 9.3.1).
fn verify_issuer_signed(
    issuer_signed: &Value,
    roots: &(impl Trust + ?Sized),
    now: Timestamp,
) -> Result<(Document, SecurityObject), MdocError> {
    let sign1 = Sign1::parse(field(issuer_signed, "issuerAuth")?)?;
    let signer = roots.certified(leaf(&sign1)?, Usage::DocumentSigner, now)?;
    let payload = sign1.payload.ok_or(MdocError::Malformed)?;
    if !sign1.holds(&signer.key, payload) {
        return Err(MdocError::IssuerSignature);
    }
    let object = SecurityObject::read(payload)?;
    let Validity { signed, from, until, .. } = object.validity;
    let signed_in_time = (signer.valid.0..=signer.valid.1).contains(&signed.as_second());
    if !signed_in_time || !(from..=until).contains(&now) {
        return Err(MdocError::Validity);
    }
    // A document may disclose nothing but that it is there (clause 8.3.2.1.2.2: the namespaces are optional).
    let elements = field(issuer_signed, "nameSpaces").ok().map(|namespaces| verify_elements(namespaces, &object));
    let elements = elements.transpose()?.unwrap_or_default();
    check_jurisdiction(&elements, &signer)?;
    let document = Document {
        doc_type: object.doc_type.clone(),
        elements,
        device_elements: Namespaces::new(),
        status: object.status.clone(),
        validity: object.validity,
        signer: signer.subject,
        device_key: object.device_key,
    };
    Ok((document, object))
}

/// Checks each element's digest, over its bytes as received.
fn verify_elements(namespaces: &Value, object: &SecurityObject) -> Result<Namespaces<Value>, MdocError> {
    let mut disclosed = Namespaces::new();
    for (namespace, items) in namespaces.as_map().ok_or(MdocError::Malformed)? {
        let namespace = text(namespace)?;
        let digests = object.digests.get(&namespace).ok_or(MdocError::Digest)?;
        let mut elements = BTreeMap::new();
        for item in items.as_array().ok_or(MdocError::Malformed)? {
            let inner = decode(untag(item)?)?;
            let signed = digests.get(&unsigned(field(&inner, "digestID")?)?).ok_or(MdocError::Digest)?;
            if signed.as_slice() != Sha256::digest(encode(item)).as_slice() {
                return Err(MdocError::Digest);
            }
            let name = text(field(&inner, "elementIdentifier")?)?;
            if elements.insert(name, field(&inner, "elementValue")?.clone()).is_some() {
                return Err(MdocError::Malformed);
            }
        }
        if disclosed.insert(namespace, elements).is_some() {
            return Err(MdocError::Malformed);
        }
    }
    Ok(disclosed)
}

/// Checks that a driving licence names the country of the certificate, and its state if it has one (clause 9.3).
fn check_jurisdiction(elements: &Namespaces<Value>, signer: &Certified) -> Result<(), MdocError> {
    let Some(elements) = elements.get(DRIVING_LICENCE) else { return Ok(()) };
    let told = |name: &str| elements.get(name).map(Value::as_text);
    let country = told("issuing_country").is_none_or(|told| told == signer.country.as_deref());
    let state = match (told("issuing_jurisdiction"), signer.state.as_deref()) {
        (Some(told), Some(state)) => told == Some(state),
        _ => true,
    };
    if country && state { Ok(()) } else { Err(MdocError::Jurisdiction) }
}

/// Checks that the device whose key the issuer signed answers this very request (clause 9.3.2), and gives what it tells by itself.
fn verify_device(
    device_signed: &Value,
    object: &SecurityObject,
    transcript: &SessionTranscript,
    reader: Option<&AgreementKey>,
) -> Result<Namespaces<Value>, MdocError> {
    let namespaces = field(device_signed, "nameSpaces")?;
    let authentication = transcript.device_authentication(&object.doc_type, namespaces);
    let device_auth = field(device_signed, "deviceAuth")?;
    let holds = match (field(device_auth, "deviceSignature"), field(device_auth, "deviceMac")) {
        (Ok(signature), Err(_)) => {
            let sign1 = Sign1::parse(signature)?;
            sign1.payload.is_none() && sign1.holds(&object.device_key, &authentication)
        }
        (Err(_), Ok(mac)) => {
            let reader = reader.ok_or(MdocError::NoReaderKey)?;
            mac0_holds(mac, &*keys::device_mac(reader, &object.device_key, transcript)?, &authentication)?
        }
        _ => return Err(MdocError::Malformed),
    };
    if !holds {
        return Err(MdocError::DeviceSignature);
    }
    let mut told = Namespaces::new();
    for (namespace, elements) in decode(untag(namespaces)?)?.as_map().ok_or(MdocError::Malformed)? {
        let namespace = text(namespace)?;
        let mut of_namespace = BTreeMap::new();
        for (name, value) in elements.as_map().ok_or(MdocError::Malformed)? {
            let name = text(name)?;
            if !object.authorizations.allow(&namespace, &name) {
                return Err(MdocError::NotAuthorized);
            }
            if of_namespace.insert(name, value.clone()).is_some() {
                return Err(MdocError::Malformed);
            }
        }
        if told.insert(namespace, of_namespace).is_some() {
            return Err(MdocError::Malformed);
        }
    }
    Ok(told)
}

/// An element's value in JSON, as people and queries see it: tags taken off, bytes in base64url.
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Bool(answer) => (*answer).into(),
        Value::Integer(number) => i64::try_from(*number).ok().into(),
        Value::Bytes(bytes) => URL_SAFE_NO_PAD.encode(bytes).into(),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Map(members) => {
            members.iter().filter_map(|(name, value)| Some((name.as_text()?.to_owned(), to_json(value)))).collect()
        }
        Value::Tag(_, inner) => to_json(inner),
        _ => serde_json::Value::Null,
    }
}
