//! The mobile security object (clause 9.1.2.4): what the issuer signs.

use std::collections::BTreeMap;

use ciborium::Value;
use es256::PublicKey;
use jiff::Timestamp;

use crate::MdocError;
use cose::{cose_key, decode, encode, field, key_of, map, tagged, untag};

/// The one digest algorithm here (HAIP 1.0 section 7 asks for it).
const DIGEST_ALGORITHM: &str = "SHA-256";

/// When a credential is valid. Coarse times, so that they don't single anyone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it was signed.
    pub signed: Timestamp,
    /// Valid from.
    pub from: Timestamp,
    /// Valid until.
    pub until: Timestamp,
    /// When the issuer expects to issue it again.
    pub expected_update: Option<Timestamp>,
}

/// Where a credential's status is, as the Token Status List draft (section 6.3) writes it into the security object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReference {
    /// Index in the list.
    pub idx: u64,
    /// Where the list is.
    pub uri: String,
}

/// What the issuer signs.
pub(crate) struct SecurityObject {
    pub doc_type: String,
    /// Namespace to digest id to digest.
    pub digests: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
    pub device_key: PublicKey,
    pub authorizations: Authorizations,
    pub validity: Validity,
    pub status: Option<StatusReference>,
}

/// What the device may sign by itself (`KeyAuthorizations`).
#[derive(Default)]
pub(crate) struct Authorizations {
    namespaces: Vec<String>,
    elements: BTreeMap<String, Vec<String>>,
}

impl Authorizations {
    /// Whether the device may sign an element.
    pub fn allow(&self, namespace: &str, element: &str) -> bool {
        self.namespaces.iter().any(|allowed| allowed == namespace)
            || self.elements.get(namespace).is_some_and(|elements| elements.iter().any(|allowed| allowed == element))
    }

    fn read(value: &Value) -> Result<Self, MdocError> {
        let mut read = Authorizations::default();
        if let Ok(namespaces) = field(value, "nameSpaces") {
            read.namespaces = texts(namespaces)?;
        }
        if let Ok(elements) = field(value, "dataElements") {
            for (namespace, names) in elements.as_map().ok_or(MdocError::Malformed)? {
                if read.elements.insert(text(namespace)?, texts(names)?).is_some() {
                    return Err(MdocError::Malformed);
                }
            }
        }
        Ok(read)
    }
}

impl SecurityObject {
    /// `MobileSecurityObjectBytes`, the payload of the issuer's signature.
    pub fn write(&self) -> Vec<u8> {
        let namespaces = self.digests.iter().map(|(namespace, digests)| {
            let digests = digests.iter().map(|(id, digest)| (Value::from(*id), Value::Bytes(digest.clone())));
            (namespace.as_str(), Value::Map(digests.collect()))
        });
        let validity = &self.validity;
        let mut times = vec![("signed", validity.signed), ("validFrom", validity.from), ("validUntil", validity.until)];
        times.extend(validity.expected_update.map(|time| ("expectedUpdate", time)));
        let time =
            |time: Timestamp| Value::Tag(0, Box::new(Value::from(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())));
        let mut entries = vec![
            ("version", Value::from("1.0")),
            ("digestAlgorithm", Value::from(DIGEST_ALGORITHM)),
            ("valueDigests", map(namespaces)),
            ("deviceKeyInfo", map([("deviceKey", cose_key(&self.device_key))])),
            ("docType", Value::from(self.doc_type.as_str())),
            ("validityInfo", map(times.into_iter().map(|(name, at)| (name, time(at))))),
        ];
        entries.extend(self.status.as_ref().map(|status| {
            let list = map([("idx", Value::from(status.idx)), ("uri", Value::from(status.uri.as_str()))]);
            ("status", map([("status_list", list)]))
        }));
        encode(&tagged(encode(&map(entries))))
    }

    /// Reads the payload of the issuer's signature.
    ///
    /// # Errors
    /// When it is none, or of another version or digest algorithm.
    pub fn read(payload: &[u8]) -> Result<Self, MdocError> {
        let object = decode(untag(&decode(payload)?)?)?;
        // A minor version adds, and takes nothing away.
        if !text(field(&object, "version")?)?.starts_with("1.")
            || field(&object, "digestAlgorithm")?.as_text() != Some(DIGEST_ALGORITHM)
        {
            return Err(MdocError::Malformed);
        }
        let mut digests = BTreeMap::new();
        for (namespace, entries) in field(&object, "valueDigests")?.as_map().ok_or(MdocError::Malformed)? {
            let mut of_namespace = BTreeMap::new();
            for (id, digest) in entries.as_map().ok_or(MdocError::Malformed)? {
                let digest = digest.as_bytes().ok_or(MdocError::Malformed)?.clone();
                if of_namespace.insert(unsigned(id)?, digest).is_some() {
                    return Err(MdocError::Malformed);
                }
            }
            if digests.insert(text(namespace)?, of_namespace).is_some() {
                return Err(MdocError::Malformed);
            }
        }
        let key_info = field(&object, "deviceKeyInfo")?;
        let authorizations = field(key_info, "keyAuthorizations").map(Authorizations::read);
        let status = field(&object, "status").map(|status| {
            let list = field(status, "status_list").map_err(|_| MdocError::UnknownStatus)?;
            Ok::<_, MdocError>(StatusReference { idx: unsigned(field(list, "idx")?)?, uri: text(field(list, "uri")?)? })
        });
        Ok(SecurityObject {
            doc_type: text(field(&object, "docType")?)?,
            digests,
            device_key: key_of(field(key_info, "deviceKey")?)?,
            authorizations: authorizations.unwrap_or_else(|_| Ok(Authorizations::default()))?,
            validity: read_validity(field(&object, "validityInfo")?)?,
            status: status.ok().transpose()?,
        })
    }
}

fn read_validity(validity: &Value) -> Result<Validity, MdocError> {
    let time = |value: &Value| -> Result<Timestamp, MdocError> {
        let Value::Tag(0, inner) = value else { return Err(MdocError::Malformed) };
        inner.as_text().and_then(|text| text.parse().ok()).ok_or(MdocError::Malformed)
    };
    Ok(Validity {
        signed: time(field(validity, "signed")?)?,
        from: time(field(validity, "validFrom")?)?,
        until: time(field(validity, "validUntil")?)?,
        expected_update: field(validity, "expectedUpdate").ok().map(time).transpose()?,
    })
}

pub(crate) fn text(value: &Value) -> Result<String, MdocError> {
    value.as_text().map(str::to_owned).ok_or(MdocError::Malformed)
}

fn texts(value: &Value) -> Result<Vec<String>, MdocError> {
    value.as_array().ok_or(MdocError::Malformed)?.iter().map(text).collect()
}

pub(crate) fn unsigned(value: &Value) -> Result<u64, MdocError> {
    value.as_integer().and_then(|number| number.try_into().ok()).ok_or(MdocError::Malformed)
}
