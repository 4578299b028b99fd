//! What an issuer says of itself: issuer metadata (OpenID4VCI section 12.2) and authorization server metadata (RFC 8414).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The path below an issuer's host where its metadata is; the issuer's own path follows it.
pub const ISSUER_PATH: &str = "/.well-known/openid-credential-issuer";
/// The same for the authorization server.
pub const AUTHORIZATION_SERVER_PATH: &str = "/.well-known/oauth-authorization-server";
/// The type of signed issuer metadata (section 12.2.3).
pub const SIGNED_TYPE: &str = "openidvci-issuer-metadata+jwt";

/// An issuer's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IssuerMetadata {
    /// Its identifier.
    pub credential_issuer: String,
    /// Where credentials are asked for.
    pub credential_endpoint: String,
    /// Where nonces come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce_endpoint: Option<String>,
    /// Where a wallet tells what became of a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_endpoint: Option<String>,
    /// How many credentials one request may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_credential_issuance: Option<BatchIssuance>,
    /// How to call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub display: Vec<Display>,
    /// What it issues.
    pub credential_configurations_supported: BTreeMap<String, CredentialConfiguration>,
}

/// Batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchIssuance {
    /// Credentials in one, at most.
    pub batch_size: usize,
}

/// A name for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Display {
    /// The name.
    pub name: String,
    /// Its language (BCP 47).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
}

/// One kind of credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CredentialConfiguration {
    /// Its format.
    pub format: String,
    /// The OAuth scope that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Of an mdoc: its document type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctype: Option<String>,
    /// Of an SD-JWT VC: its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vct: Option<String>,
    /// How it is bound to the holder's key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cryptographic_binding_methods_supported: Vec<String>,
    /// The signature: a number of COSE for an mdoc, a name of JOSE for an SD-JWT VC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential_signing_alg_values_supported: Vec<serde_json::Value>,
    /// How a wallet may prove its keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proof_types_supported: BTreeMap<String, ProofType>,
    /// What a wallet may show of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_metadata: Option<CredentialMetadata>,
}

/// A way to prove keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProofType {
    /// Which signatures.
    pub proof_signing_alg_values_supported: Vec<String>,
    /// Set when keys have to be attested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_attestations_required: Option<serde_json::Value>,
}

/// What a wallet may show of a kind of credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CredentialMetadata {
    /// Its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub display: Vec<Display>,
    /// Its claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimMetadata>,
}

/// What a wallet may show of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimMetadata {
    /// Where it is.
    pub path: Vec<serde_json::Value>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub display: Vec<Display>,
}

/// An authorization server's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationServerMetadata {
    /// Its identifier.
    pub issuer: String,
    /// Where a person consents.
    pub authorization_endpoint: String,
    /// Where tokens come from.
    pub token_endpoint: String,
    /// Where a wallet leaves its request first (RFC 9126).
    pub pushed_authorization_request_endpoint: String,
    /// Whether it has to.
    pub require_pushed_authorization_requests: bool,
    /// Grants.
    pub grant_types_supported: Vec<String>,
    /// Response types.
    pub response_types_supported: Vec<String>,
    /// PKCE methods (RFC 7636).
    pub code_challenge_methods_supported: Vec<String>,
    /// Signatures of DPoP proofs (RFC 9449).
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// How clients are known: `none`, they are public.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// Whether answers carry `iss` (RFC 9207).
    pub authorization_response_iss_parameter_supported: bool,
    /// Whether a pre-authorized code needs no client id (OpenID4VCI section 12.3).
    #[serde(rename = "pre-authorized_grant_anonymous_access_supported")]
    pub pre_authorized_grant_anonymous_access_supported: bool,
}

/// The address of a metadata document: the well-known path goes between host and path (RFC 8615, OpenID4VCI section 12.2.2).
///
/// `https://a.example/tenant` gives `https://a.example/.well-known/openid-credential-issuer/tenant`.
pub fn well_known(identifier: &str, path: &str) -> String {
    let identifier = identifier.trim_end_matches('/');
    let host = identifier.find("://").map_or(0, |at| at + 3);
    let end = identifier[host..].find('/').map_or(identifier.len(), |at| host + at);
    format!("{}{path}{}", &identifier[..end], &identifier[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_path_goes_between_host_and_path() {
        for (identifier, expected) in [
            ("https://a.example", "https://a.example/.well-known/openid-credential-issuer"),
            ("https://a.example/", "https://a.example/.well-known/openid-credential-issuer"),
            ("http://a:1/t/u", "http://a:1/.well-known/openid-credential-issuer/t/u"),
        ] {
            assert_eq!(well_known(identifier, ISSUER_PATH), expected);
        }
    }
}
