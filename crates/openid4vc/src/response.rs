//! A wallet's answer (OpenID4VP section 8): presentations by the query's ids, encrypted to the verifier.

use std::collections::BTreeMap;

use es256::AgreementKey;
use jose::jwe::{self, Enc, Jwe};
use serde::{Deserialize, Serialize};

use crate::request::RequestObject;
use crate::{MessageError, parameter};

/// The longest answer that is read.
pub const RESPONSE_MAX_LEN: usize = 256 * 1024;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Presentations by the query's ids.
    pub vp_token: BTreeMap<String, Vec<String>>,
    /// From the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A person's no, or a wallet's inability, as an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `access_denied`, or another code of section 8.5.
    pub error: String,
    /// From the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// What a verifier replies to an answer (section 8.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Where the person goes on, on the same device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// Encrypts an answer to whoever asked, as a form.
///
/// # Errors
/// When the request has no key to encrypt to.
pub fn to_form(answer: &impl Serialize, request: &RequestObject) -> Result<String, MessageError> {
    let failed = |_| MessageError::new("the answer", "it could not be encrypted");
    let supported = &request.client_metadata.encrypted_response_enc_values_supported;
    let enc = if supported.iter().any(|enc| enc == "A256GCM") { Enc::A256Gcm } else { Enc::A128Gcm };
    let json = serde_json::to_vec(answer).expect("an answer is plain data");
    let jwe = jwe::encrypt(request.encryption_key()?, enc, b"", request.nonce.as_bytes(), &json).map_err(failed)?;
    Ok(form_urlencoded::Serializer::new(String::new()).append_pair("response", &jwe).finish())
}

/// What a wallet sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Presentations.
    Answer(Answer),
    /// The holder said no, or the wallet has nothing that answers.
    Declined,
}

/// Reads what a wallet sent, as a form: encrypted, but for a refusal, which may be in the clear (section 8.5).
///
/// # Errors
/// When it is none of both, or was encrypted to another key.
pub fn from_form(form: &[u8], key: &AgreementKey) -> Result<Received, MessageError> {
    let refused = |why| MessageError::new("the answer", why);
    if form.len() > RESPONSE_MAX_LEN {
        return Err(refused("it is too long"));
    }
    let form = std::str::from_utf8(form).map_err(|_| refused("it is not a form"))?;
    if parameter(form, "error").is_some() {
        return Ok(Received::Declined);
    }
    let response = parameter(form, "response").ok_or(refused("it has no response; it has to be encrypted"))?;
    let jwe = Jwe::parse(&response).map_err(|_| refused("it is not encrypted with ECDH-ES and AES-GCM"))?;
    let json = jwe.decrypt(key).map_err(|_| refused("it was encrypted to another key, or changed"))?;
    if serde_json::from_slice::<Refusal>(&json).is_ok() {
        return Ok(Received::Declined);
    }
    serde_json::from_slice(&json)
        .map(Received::Answer)
        .map_err(|_| refused("it is not the JSON that OpenID4VP section 8.1 defines"))
}
