//! Asking for credentials (OpenID4VCI sections 7, 8 and 11).

use serde::{Deserialize, Serialize};

use crate::MessageError;

/// The longest credential request that is read: a hundred proofs of some 600 bytes.
pub const REQUEST_MAX_LEN: usize = 96 * 1024;

/// A nonce from the issuer (section 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonceResponse {
    /// The nonce.
    pub c_nonce: String,
}

/// A request for credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRequest {
    /// Which configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_configuration_id: Option<String>,
    /// An identifier that the token response named; none is given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_identifier: Option<String>,
    /// The keys.
    #[serde(default)]
    pub proofs: Proofs,
}

/// Proofs of keys: a credential is made for each key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proofs {
    /// One proof a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<String>,
    /// A wallet provider's word for many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestation: Vec<String>,
}

impl CredentialRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// When it is none, or too long.
    pub fn from_json(json: &[u8]) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the credential request", why);
        if json.len() > REQUEST_MAX_LEN {
            return Err(refused("it is too long"));
        }
        serde_json::from_slice(json).map_err(|_| refused("it is not the JSON that OpenID4VCI section 8.2 defines"))
    }
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialResponse {
    /// One for each key, in the order of the proofs.
    pub credentials: Vec<IssuedCredential>,
    /// What a notification names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_id: Option<String>,
}

/// A credential.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCredential {
    /// An mdoc's `IssuerSigned` in base64url, or an SD-JWT VC.
    pub credential: String,
}

/// What became of credentials (section 11.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// From the credential response.
    pub notification_id: String,
    /// What happened.
    pub event: NotificationEvent,
    /// A sentence for the issuer's people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_description: Option<String>,
}

/// What a wallet did with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationEvent {
    /// Kept.
    CredentialAccepted,
    /// Could not be kept.
    CredentialFailure,
    /// The person threw them away.
    CredentialDeleted,
}
