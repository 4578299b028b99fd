//! Verifying (clause 9.3): chain, issuer's signature, validity, digests, the holder's signature, and that nothing unasked is there.

use std::collections::BTreeMap;

use ciborium::Value;
use es256::PublicKey;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::MdocError;
use crate::issue::X5CHAIN;
use crate::present::name_of;
use crate::transcript::PresentationRequest;
use cose::{Sign1, decode, encode, field, key_of, untag};

/// Extended key usage of a document signer (Annex B.1.4).
const DOCUMENT_SIGNER_USAGE: &str = "1.0.18013.5.1.2";

/// What a holder disclosed, element to value.
pub type Disclosed = BTreeMap<String, Value>;

/// Verifies a device response against the request that it answers and the trusted root (DER).
///
/// # Errors
/// The first check that fails.
pub fn verify(
    response: &[u8],
    request: &PresentationRequest,
    root: &[u8],
    now: Timestamp,
) -> Result<Disclosed, MdocError> {
    let response = decode(response)?;
    let Some([document]) = field(&response, "documents")?.as_array().map(Vec::as_slice) else {
        return Err(MdocError::Malformed);
    };
    if field(document, "docType")?.as_text() != Some(&request.doc_type) {
        return Err(MdocError::DocType);
    }
    let issuer_signed = field(document, "issuerSigned")?;
    let security_object = verify_issuer_auth(field(issuer_signed, "issuerAuth")?, root, now)?;
    if field(&security_object, "docType")?.as_text() != Some(&request.doc_type) {
        return Err(MdocError::DocType);
    }
    check_validity(field(&security_object, "validityInfo")?, now)?;
    let disclosed = verify_elements(field(issuer_signed, "nameSpaces")?, &security_object, request)?;
    verify_device(field(document, "deviceSigned")?, &security_object, request)?;
    Ok(disclosed)
}

/// Checks the chain and the issuer's signature, and gives the mobile security object.
fn verify_issuer_auth(issuer_auth: &Value, root: &[u8], now: Timestamp) -> Result<Value, MdocError> {
    let sign1 = Sign1::parse(issuer_auth)?;
    let headers = sign1.unprotected.as_map().ok_or(MdocError::Malformed)?;
    let chain = headers.iter().find(|(label, _)| *label == Value::from(X5CHAIN)).ok_or(MdocError::Chain)?;
    let certificate = match &chain.1 {
        Value::Bytes(der) => der.as_slice(),
        Value::Array(ders) => ders.first().and_then(Value::as_bytes).ok_or(MdocError::Chain)?.as_slice(),
        _ => return Err(MdocError::Chain),
    };
    let key = verify_chain(certificate, root, now)?;
    let payload = sign1.payload.ok_or(MdocError::Malformed)?;
    if !sign1.holds(&key, payload) {
        return Err(MdocError::IssuerSignature);
    }
    let tagged = decode(payload)?;
    Ok(decode(untag(&tagged)?)?)
}

/// Checks that the root issued the document signer's certificate, for this use and time. Gives the signer's public key.
///
/// # Errors
/// [`MdocError::Chain`].
pub fn verify_chain(certificate: &[u8], root: &[u8], now: Timestamp) -> Result<PublicKey, MdocError> {
    let parse = |der| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(MdocError::Chain),
    };
    let (root, signer) = (parse(root)?, parse(certificate)?);
    let now = ASN1Time::from_timestamp(now.as_second()).map_err(|_| MdocError::Chain)?;
    let in_time = root.validity().is_valid_at(now) && signer.validity().is_valid_at(now);
    let root_is_ca = root.is_ca() && root.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign());
    let signs_documents = signer.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature())
        && signer
            .extended_key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.other.iter().any(|oid| oid.to_id_string() == DOCUMENT_SIGNER_USAGE));
    let issued = signer.issuer() == root.subject() && signer.verify_signature(Some(root.public_key())).is_ok();
    if in_time && root_is_ca && signs_documents && issued && !signer.is_ca() {
        PublicKey::from_point(&signer.public_key().subject_public_key.data).map_err(|_| MdocError::Chain)
    } else {
        Err(MdocError::Chain)
    }
}

fn check_validity(validity: &Value, now: Timestamp) -> Result<(), MdocError> {
    let time = |name: &str| -> Result<Timestamp, MdocError> {
        let Value::Tag(0, inner) = field(validity, name)? else { return Err(MdocError::Malformed) };
        inner.as_text().and_then(|text| text.parse().ok()).ok_or(MdocError::Malformed)
    };
    if (time("validFrom")?..time("validUntil")?).contains(&now) { Ok(()) } else { Err(MdocError::Validity) }
}

/// Checks each element's digest, over its bytes as received, and that it was asked for; and that all that was asked is there.
fn verify_elements(
    namespaces: &Value,
    security_object: &Value,
    request: &PresentationRequest,
) -> Result<Disclosed, MdocError> {
    if field(security_object, "digestAlgorithm")?.as_text() != Some("SHA-256") {
        return Err(MdocError::Malformed);
    }
    let [(namespace, items)] = namespaces.as_map().ok_or(MdocError::Malformed)?.as_slice() else {
        return Err(MdocError::Unasked);
    };
    let namespace = namespace.as_text().ok_or(MdocError::Malformed)?;
    let digests = field(field(security_object, "valueDigests")?, namespace)?.as_map().ok_or(MdocError::Malformed)?;
    let mut disclosed = Disclosed::new();
    for item in items.as_array().ok_or(MdocError::Malformed)? {
        let inner = decode(untag(item)?)?;
        let id = field(&inner, "digestID")?;
        let signed = digests.iter().find(|(other, _)| other == id).and_then(|(_, digest)| digest.as_bytes());
        if signed.map(Vec::as_slice) != Some(Sha256::digest(encode(item)).as_slice()) {
            return Err(MdocError::Digest);
        }
        let name = name_of(item)?;
        if !request.elements.contains(&name) || disclosed.contains_key(&name) {
            return Err(MdocError::Unasked);
        }
        disclosed.insert(name, field(&inner, "elementValue")?.clone());
    }
    if request.elements.iter().all(|name| disclosed.contains_key(name)) {
        Ok(disclosed)
    } else {
        Err(MdocError::Missing)
    }
}

/// Checks that the device whose key the issuer signed answers this very request.
fn verify_device(
    device_signed: &Value,
    security_object: &Value,
    request: &PresentationRequest,
) -> Result<(), MdocError> {
    let namespaces = field(device_signed, "nameSpaces")?;
    if decode(untag(namespaces)?)?.as_map().is_none_or(|entries| !entries.is_empty()) {
        return Err(MdocError::Unasked);
    }
    let device_key = key_of(field(field(security_object, "deviceKeyInfo")?, "deviceKey")?)?;
    let sign1 = Sign1::parse(field(field(device_signed, "deviceAuth")?, "deviceSignature")?)?;
    if sign1.payload.is_none() && sign1.holds(&device_key, &request.device_authentication(namespaces)) {
        Ok(())
    } else {
        Err(MdocError::DeviceSignature)
    }
}
