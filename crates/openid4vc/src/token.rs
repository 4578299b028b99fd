//! Tokens (OpenID4VCI section 6, RFC 6749, PKCE by RFC 7636, PAR by RFC 9126): what a wallet sends to get one, and what it gets.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::MessageError;

/// A code that stands in an offer (OpenID4VCI section 3.5).
pub const PRE_AUTHORIZED_CODE: &str = "urn:ietf:params:oauth:grant-type:pre-authorized_code";
/// A code that a person's consent gave.
pub const AUTHORIZATION_CODE: &str = "authorization_code";
/// A refresh token.
pub const REFRESH_TOKEN: &str = "refresh_token";
/// Nothing but the device's key, which DPoP proves: an extension grant of ours (RFC 6749 section 4.5), for a wallet that was made again
/// from its words, or whose last answer was lost.
pub const PROOF_OF_KEY: &str = "urn:habeas:oauth:grant-type:proof-of-key";
/// Shortest and longest PKCE verifier (RFC 7636 section 4.1).
const VERIFIER_LEN: std::ops::RangeInclusive<usize> = 43..=128;

/// A request for a token, as a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// Which grant.
    pub grant_type: String,
    /// The pre-authorized code.
    pub pre_authorized_code: Option<String>,
    /// The transaction code.
    pub tx_code: Option<String>,
    /// The authorization code.
    pub code: Option<String>,
    /// The PKCE verifier.
    pub code_verifier: Option<String>,
    /// Where the authorization code was sent.
    pub redirect_uri: Option<String>,
    /// The refresh token.
    pub refresh_token: Option<String>,
    /// Who asks.
    pub client_id: Option<String>,
}

impl TokenRequest {
    fn fields(&mut self) -> [(&'static str, &mut Option<String>); 7] {
        [
            ("pre-authorized_code", &mut self.pre_authorized_code),
            ("tx_code", &mut self.tx_code),
            ("code", &mut self.code),
            ("code_verifier", &mut self.code_verifier),
            ("redirect_uri", &mut self.redirect_uri),
            ("refresh_token", &mut self.refresh_token),
            ("client_id", &mut self.client_id),
        ]
    }

    /// The request as a form.
    pub fn to_form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", &self.grant_type);
        for (name, value) in self.clone().fields() {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        form.finish()
    }

    /// Reads a form.
    ///
    /// # Errors
    /// When the grant type is not there, or a parameter is there twice (RFC 6749 section 3.2).
    pub fn from_form(form: &[u8]) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the token request", why);
        let (mut request, mut grant_type) = (Self::default(), None);
        for (name, value) in form_urlencoded::parse(form) {
            let place = match name.as_ref() {
                "grant_type" => Some(&mut grant_type),
                name => request.fields().into_iter().find(|(field, _)| *field == name).map(|(_, place)| place),
            };
            if place.is_some_and(|place| place.replace(value.into_owned()).is_some()) {
                return Err(refused("a parameter is there twice"));
            }
        }
        request.grant_type = grant_type.ok_or(refused("grant_type is missing"))?;
        Ok(request)
    }
}

/// A token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: String,
    /// `DPoP`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    /// For the next access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// What it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// A request for a person's consent, pushed (RFC 9126).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// `code`.
    pub response_type: String,
    /// Who asks.
    pub client_id: String,
    /// Where the code goes.
    pub redirect_uri: String,
    /// Given back with the code.
    pub state: Option<String>,
    /// Hash of the verifier.
    pub code_challenge: String,
    /// `S256`.
    pub code_challenge_method: String,
    /// What is asked for.
    pub scope: Option<String>,
    /// The same, as JSON (RFC 9396).
    pub authorization_details: Option<String>,
    /// From the offer.
    pub issuer_state: Option<String>,
}

impl AuthorizationRequest {
    /// The request as a form.
    pub fn to_form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let required = [
            ("response_type", &self.response_type),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("code_challenge", &self.code_challenge),
            ("code_challenge_method", &self.code_challenge_method),
        ];
        let optional = [
            ("state", &self.state),
            ("scope", &self.scope),
            ("authorization_details", &self.authorization_details),
            ("issuer_state", &self.issuer_state),
        ];
        required.into_iter().for_each(|(name, value)| _ = form.append_pair(name, value));
        for (name, value) in optional {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        form.finish()
    }

    /// Reads a form.
    ///
    /// # Errors
    /// When something is missing, twice there, or PKCE is not with S256.
    pub fn from_form(form: &[u8]) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the authorization request", why);
        let mut seen = std::collections::BTreeMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if seen.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(refused("a parameter is there twice"));
            }
        }
        let mut take = |name: &str| seen.remove(name).filter(|value| !value.is_empty());
        let request = AuthorizationRequest {
            response_type: take("response_type").ok_or(refused("response_type is missing"))?,
            client_id: take("client_id").ok_or(refused("client_id is missing"))?,
            redirect_uri: take("redirect_uri").ok_or(refused("redirect_uri is missing"))?,
            state: take("state"),
            code_challenge: take("code_challenge").ok_or(refused("code_challenge is missing: PKCE is required"))?,
            code_challenge_method: take("code_challenge_method").unwrap_or_default(),
            scope: take("scope"),
            authorization_details: take("authorization_details"),
            issuer_state: take("issuer_state"),
        };
        if request.response_type != "code" {
            return Err(refused("response_type has to be code"));
        }
        if request.code_challenge_method != "S256" {
            return Err(refused("code_challenge_method has to be S256"));
        }
        Ok(request)
    }
}

/// The answer to a pushed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedResponse {
    /// What the wallet opens the issuer's page with.
    pub request_uri: String,
    /// Seconds.
    pub expires_in: u64,
}

/// The challenge of a PKCE verifier (S256).
pub fn code_challenge(verifier: &str) -> String {
    jose::base64url::encode(Sha256::digest(verifier))
}

/// Whether a PKCE verifier is the one of a challenge.
pub fn verifier_fits(verifier: &str, challenge: &str) -> bool {
    VERIFIER_LEN.contains(&verifier.len()) && code_challenge(verifier) == challenge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_written_and_doubles_refused() {
        let request = TokenRequest {
            grant_type: PRE_AUTHORIZED_CODE.into(),
            pre_authorized_code: Some("a&b c".into()),
            tx_code: Some("123456".into()),
            ..TokenRequest::default()
        };
        assert_eq!(TokenRequest::from_form(request.to_form().as_bytes()), Ok(request));
        assert!(TokenRequest::from_form(b"grant_type=a&code=1&code=2").is_err());
        assert!(TokenRequest::from_form(b"code=1").is_err());
        let request = AuthorizationRequest {
            response_type: "code".into(),
            client_id: "w".into(),
            redirect_uri: "app://x?y=1".into(),
            code_challenge: "c".into(),
            code_challenge_method: "S256".into(),
            issuer_state: Some("s".into()),
            ..AuthorizationRequest::default()
        };
        assert_eq!(AuthorizationRequest::from_form(request.to_form().as_bytes()), Ok(request.clone()));
        let plain = AuthorizationRequest { code_challenge_method: "plain".into(), ..request };
        assert!(AuthorizationRequest::from_form(plain.to_form().as_bytes()).is_err());
    }

    /// RFC 7636 Appendix B.
    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(code_challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(
            verifier_fits(verifier, &code_challenge(verifier)) && !verifier_fits("short", &code_challenge("short"))
        );
    }
}
