//! Requests of a reader (clauses 8.3.2.1.2.1, 9.1.4): which elements of which documents, whether they will be kept, and who asks.

use std::collections::BTreeSet;

use ciborium::Value;
use es256::Signer;
use jiff::Timestamp;

use crate::certificate::{Certified, Usage, header, leaf, verify_chain};
use crate::security_object::text;
use crate::transcript::SessionTranscript;
use crate::{DOCUMENTS_MAX, MdocError};
use cose::{Sign1, decode, encode, field, map, sign1, tagged, untag};

/// An element that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedElement {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether the reader intends to keep it for longer than the act needs.
    pub intent_to_retain: bool,
}

/// What is asked of one document. An element is there once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemsRequest {
    /// The document type.
    pub doc_type: String,
    /// Elements, those of one namespace beside one another.
    pub elements: Vec<RequestedElement>,
}

impl ItemsRequest {
    fn write(&self) -> Vec<u8> {
        let mut namespaces: Vec<(&str, Vec<(&str, Value)>)> = Vec::new();
        for element in &self.elements {
            let wanted = (element.name.as_str(), Value::Bool(element.intent_to_retain));
            match namespaces.iter_mut().find(|(namespace, _)| *namespace == element.namespace) {
                Some((_, elements)) => elements.push(wanted),
                None => namespaces.push((&element.namespace, vec![wanted])),
            }
        }
        let namespaces = map(namespaces.into_iter().map(|(namespace, elements)| (namespace, map(elements))));
        encode(&map([("docType", Value::from(self.doc_type.as_str())), ("nameSpaces", namespaces)]))
    }

    fn read(bytes: &[u8]) -> Result<Self, MdocError> {
        let request = decode(bytes)?;
        let mut elements: Vec<RequestedElement> = Vec::new();
        let mut namespaces = Vec::new();
        for (namespace, names) in field(&request, "nameSpaces")?.as_map().ok_or(MdocError::Malformed)? {
            let mut known = BTreeSet::new();
            for (name, intent_to_retain) in names.as_map().ok_or(MdocError::Malformed)? {
                let intent_to_retain = intent_to_retain.as_bool().ok_or(MdocError::Malformed)?;
                let (namespace, name) = (text(namespace)?, text(name)?);
                if !known.insert(name.clone()) {
                    return Err(MdocError::Malformed);
                }
                elements.push(RequestedElement { namespace, name, intent_to_retain });
            }
            namespaces.push(text(namespace)?);
        }
        namespaces.sort_unstable();
        if namespaces.is_sorted_by(|before, after| before < after) && !elements.is_empty() {
            Ok(ItemsRequest { doc_type: text(field(&request, "docType")?)?, elements })
        } else {
            Err(MdocError::Malformed)
        }
    }
}

/// Who signs a request, so that the holder sees who asks.
#[derive(Clone, Copy)]
pub struct ReaderSigner<'a> {
    /// The reader's key.
    pub key: &'a dyn Signer,
    /// Its certificate (DER), then those above it, without the root.
    pub chain: &'a [Vec<u8>],
}

/// A `DeviceRequest` for one or several documents, each signed over the session's transcript when there is a signer.
///
/// # Errors
/// When there is no document, or more than [`DOCUMENTS_MAX`], or one asks for nothing or for something twice; when the signer's key
/// can't be used or the certificate is not its own.
pub fn request(
    documents: &[ItemsRequest],
    transcript: &SessionTranscript,
    reader: Option<ReaderSigner<'_>>,
) -> Result<Vec<u8>, MdocError> {
    if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
        return Err(MdocError::Malformed);
    }
    let mut requests = Vec::with_capacity(documents.len());
    for document in documents {
        let items = document.write();
        ItemsRequest::read(&items)?;
        let items = tagged(items);
        let mut entries = vec![("itemsRequest", items.clone())];
        if let Some(reader) = reader {
            let (chain, _) = header(reader.chain, reader.key.public_key())?;
            let signed = sign1(reader.key, &transcript.reader_authentication(&items), false, chain)?;
            entries.push(("readerAuth", signed));
        }
        requests.push(map(entries));
    }
    Ok(encode(&map([("version", Value::from("1.0")), ("docRequests", Value::Array(requests))])))
}

/// A request for one document, as received.
#[derive(Clone, Debug, PartialEq)]
pub struct DocRequest {
    items: ItemsRequest,
    /// `ItemsRequestBytes`, as received.
    items_bytes: Value,
    reader_auth: Option<Value>,
}

/// Reads a `DeviceRequest`.
///
/// # Errors
/// When it is none, of another version, or asks for nothing, for something twice, or for more than [`DOCUMENTS_MAX`] documents.
pub fn parse(request: &[u8]) -> Result<Vec<DocRequest>, MdocError> {
    let request = decode(request)?;
    if !text(field(&request, "version")?)?.starts_with("1.") {
        return Err(MdocError::Malformed);
    }
    let documents = field(&request, "docRequests")?.as_array().ok_or(MdocError::Malformed)?;
    if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
        return Err(MdocError::Malformed);
    }
    let read = |document: &Value| {
        let items_bytes = field(document, "itemsRequest")?.clone();
        let items = ItemsRequest::read(untag(&items_bytes)?)?;
        Ok(DocRequest { items, items_bytes, reader_auth: field(document, "readerAuth").ok().cloned() })
    };
    documents.iter().map(read).collect()
}

impl DocRequest {
    /// What is asked.
    pub fn items(&self) -> &ItemsRequest {
        &self.items
    }

    /// Who asks, by a certificate that one of the trusted roots (DER) issued; nobody when the request is not signed.
    ///
    /// # Errors
    /// When the signature does not hold for this session, or the certificate does not lead to a root.
    pub fn reader(
        &self,
        transcript: &SessionTranscript,
        roots: &[impl AsRef<[u8]>],
        now: Timestamp,
    ) -> Result<Option<Certified>, MdocError> {
        let Some(reader_auth) = &self.reader_auth else { return Ok(None) };
        let sign1 = Sign1::parse(reader_auth)?;
        let reader = verify_chain(leaf(&sign1)?, roots, Usage::Reader, now)?;
        let authentication = transcript.reader_authentication(&self.items_bytes);
        if sign1.payload.is_none() && sign1.holds(&reader.key, &authentication) {
            Ok(Some(reader))
        } else {
            Err(MdocError::ReaderSignature)
        }
    }
}
