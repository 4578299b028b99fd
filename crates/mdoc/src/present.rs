//! Presenting (clause 8.3.2.1.2.2): only what is asked, authenticated with the device's key over the session transcript.

use std::collections::BTreeMap;

use ciborium::Value;
use es256::{AgreementKey, PublicKey, Signer};

use crate::security_object::{SecurityObject, text};
use crate::transcript::SessionTranscript;
use crate::{DOCUMENTS_MAX, MdocError, keys};
use cose::{Sign1, decode, encode, field, mac0, map, sign1, tagged, untag};

/// How the device shows that it is the one that the credential was issued to (clause 9.1.3).
#[derive(Clone, Copy)]
pub enum DeviceKey<'a> {
    /// By a signature, which anybody can check.
    Signature(&'a dyn Signer),
    /// By a MAC, which convinces the reader and nobody else.
    Mac {
        /// The device's key.
        key: &'a AgreementKey,
        /// The reader's ephemeral key, of this session.
        reader: &'a PublicKey,
    },
}

/// A credential to be presented.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// `IssuerSigned`, as issued.
    pub issuer_signed: &'a [u8],
    /// What is disclosed of it: namespaces and elements.
    pub elements: &'a [(&'a str, &'a str)],
    /// The key that it was issued to.
    pub device: DeviceKey<'a>,
}

/// A `DeviceResponse` with the elements that were chosen of each credential, and no others.
///
/// # Errors
/// When there is no credential or there are more than [`DOCUMENTS_MAX`], one can't be read or lacks an element: nothing is disclosed
/// then.
pub fn present(credentials: &[Presented<'_>], transcript: &SessionTranscript) -> Result<Vec<u8>, MdocError> {
    if credentials.is_empty() || credentials.len() > DOCUMENTS_MAX {
        return Err(MdocError::NoDocument);
    }
    let documents = credentials.iter().map(|credential| document(credential, transcript));
    Ok(encode(&map([
        ("version", Value::from("1.0")),
        ("documents", Value::Array(documents.collect::<Result<_, _>>()?)),
        ("status", Value::from(0)),
    ])))
}

fn document(credential: &Presented<'_>, transcript: &SessionTranscript) -> Result<Value, MdocError> {
    let issuer_signed = decode(credential.issuer_signed)?;
    let issuer_auth = field(&issuer_signed, "issuerAuth")?;
    let object = SecurityObject::read(Sign1::parse(issuer_auth)?.payload.ok_or(MdocError::Malformed)?)?;
    let doc_type = object.doc_type.as_str();
    let disclosed = choose(field(&issuer_signed, "nameSpaces")?, credential.elements)?;
    let device_namespaces = tagged(encode(&Value::Map(Vec::new())));
    let authentication = transcript.device_authentication(doc_type, &device_namespaces);
    let device_auth = match credential.device {
        DeviceKey::Signature(key) => ("deviceSignature", sign1(key, &authentication, false, Vec::new())?),
        DeviceKey::Mac { key, reader } => {
            ("deviceMac", mac0(&*keys::device_mac(key, reader, transcript)?, &authentication))
        }
    };
    Ok(map([
        ("docType", Value::from(doc_type)),
        ("issuerSigned", map([("nameSpaces", disclosed), ("issuerAuth", issuer_auth.clone())])),
        ("deviceSigned", map([("nameSpaces", device_namespaces), ("deviceAuth", map([device_auth]))])),
    ]))
}

/// The chosen items as they were received, each once, by namespace.
fn choose(namespaces: &Value, elements: &[(&str, &str)]) -> Result<Value, MdocError> {
    let mut items = BTreeMap::new();
    for (namespace, of_namespace) in namespaces.as_map().ok_or(MdocError::Malformed)? {
        for item in of_namespace.as_array().ok_or(MdocError::Malformed)? {
            let inner = decode(untag(item)?)?;
            items.insert((text(namespace)?, text(field(&inner, "elementIdentifier")?)?), item);
        }
    }
    let mut disclosed: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (namespace, element) in elements {
        let of_namespace = disclosed.entry(namespace).or_default();
        let item = *items.get(&((*namespace).to_owned(), (*element).to_owned())).ok_or(MdocError::Missing)?;
        if !of_namespace.contains(item) {
            of_namespace.push(item.clone());
        }
    }
    Ok(map(disclosed.into_iter().map(|(namespace, items)| (namespace, Value::Array(items)))))
}
