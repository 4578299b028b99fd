//! Presenting (clause 8.3.2.1.2.2): only what is asked, signed with the device's key over the session transcript.

use ciborium::Value;
use es256::Signer;

use crate::MdocError;
use crate::transcript::PresentationRequest;
use cose::{decode, encode, field, map, sign1, tagged, untag};

/// The name of an element.
pub(crate) fn name_of(item: &Value) -> Result<String, MdocError> {
    let inner = decode(untag(item)?)?;
    field(&inner, "elementIdentifier")?.as_text().map(str::to_owned).ok_or(MdocError::Malformed)
}

/// A device response with the elements that the request names, and no others.
///
/// # Errors
/// When the credential is of another kind or lacks an element: nothing is disclosed then.
pub fn present(
    issuer_signed: &[u8],
    device_key: &dyn Signer,
    request: &PresentationRequest,
) -> Result<Vec<u8>, MdocError> {
    let credential = decode(issuer_signed)?;
    let namespaces = field(&credential, "nameSpaces")?;
    let items = field(namespaces, &request.doc_type).map_err(|_| MdocError::DocType)?;
    let items = items.as_array().ok_or(MdocError::Malformed)?;
    let mut disclosed = Vec::with_capacity(request.elements.len());
    for wanted in &request.elements {
        let mut found = None;
        for item in items {
            if name_of(item)? == *wanted {
                found = Some(item.clone());
            }
        }
        disclosed.push(found.ok_or(MdocError::Missing)?);
    }
    let device_namespaces = tagged(encode(&Value::Map(Vec::new())));
    let authentication = request.device_authentication(&device_namespaces);
    let signature = sign1(device_key, &authentication, false, Vec::new())?;
    let document = map([
        ("docType", Value::from(request.doc_type.as_str())),
        (
            "issuerSigned",
            map([
                ("nameSpaces", map([(request.doc_type.as_str(), Value::Array(disclosed))])),
                ("issuerAuth", field(&credential, "issuerAuth")?.clone()),
            ]),
        ),
        (
            "deviceSigned",
            map([("nameSpaces", device_namespaces), ("deviceAuth", map([("deviceSignature", signature)]))]),
        ),
    ]);
    Ok(encode(&map([
        ("version", Value::from("1.0")),
        ("documents", Value::Array(vec![document])),
        ("status", Value::from(0)),
    ])))
}
