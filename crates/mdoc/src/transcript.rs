//! What a presentation is bound to: the session transcript of OpenID4VP 1.0 (Annex B.2.6.1, `OpenID4VPHandover`), built here and nowhere else.

use ciborium::Value;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use cose::encode;

/// A verifier's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentationRequest {
    /// Who asks.
    pub client_id: String,
    /// Where the answer goes.
    pub response_uri: String,
    /// Fresh and random, so that an answer can't be used twice.
    pub nonce: String,
    /// What kind of document.
    pub doc_type: String,
    /// Which elements.
    pub elements: Vec<String>,
}

impl PresentationRequest {
    /// `SessionTranscript = [null, null, ["OpenID4VPHandover", SHA-256(OpenID4VPHandoverInfo)]]`, with no key thumbprint: the
    /// answer is not encrypted here.
    pub fn session_transcript(&self) -> Value {
        let info = Value::Array(vec![
            Value::from(self.client_id.as_str()),
            Value::from(self.nonce.as_str()),
            Value::Null,
            Value::from(self.response_uri.as_str()),
        ]);
        let hash = Sha256::digest(encode(&info)).to_vec();
        let handover = Value::Array(vec![Value::from("OpenID4VPHandover"), Value::Bytes(hash)]);
        Value::Array(vec![Value::Null, Value::Null, handover])
    }

    /// `DeviceAuthenticationBytes` (clause 9.1.3.4), which the holder signs.
    pub(crate) fn device_authentication(&self, device_namespaces: &Value) -> Vec<u8> {
        let authentication = Value::Array(vec![
            Value::from("DeviceAuthentication"),
            self.session_transcript(),
            Value::from(self.doc_type.as_str()),
            device_namespaces.clone(),
        ]);
        encode(&cose::tagged(encode(&authentication)))
    }
}
