//! The holder before the registry and the issuer: the offer, and requests that only this wallet's key can make.
//!
//! The wallet has one key for both, derived from its seed: the issuer binds it to the person (DPoP, RFC 9449), and takes it again as
//! it is from a wallet that was made from its words, or whose last answer was lost.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cashu::{Amount, Unit};
use es256::{KeyError, SigningKey};
use openid4vc::MessageError;
use openid4vc::dpop;
use openid4vc::metadata::{AUTHORIZATION_SERVER_PATH, AuthorizationServerMetadata, well_known};
use openid4vc::offer::{CredentialOffer, OfferLink};
use openid4vc::token::{PRE_AUTHORIZED_CODE, PROOF_OF_KEY, TokenRequest, TokenResponse};
use rand::RngExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::{self, Body};
use crate::state::{Issuer, Services};
use crate::{DecodeError, Wallet, WalletError, unix_now};

/// The parameter of an offer's link that carries what a Habeas wallet needs besides; others pass it by.
const PARAMETER: &str = "&habeas=";
/// A token that has less left, in seconds, is not used any more: the request has to arrive, too.
const TOKEN_MARGIN: u64 = 60;

/// What a person gets at enrolment, as a QR code: the offer that any wallet takes (OpenID4VCI section 4.1), and what this one needs
/// besides. The transaction code comes on another way.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The credential offer.
    pub credential: CredentialOffer,
    /// The key to the log's entries about the person, and where the services are.
    pub habeas: HabeasOffer,
}

/// The part of an offer that is ours.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HabeasOffer {
    /// The key to the log's entries about the person, hex.
    pub tag_key: String,
    /// Where the services are.
    pub services: Services,
}

impl Offer {
    /// The offer as a link.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(&self.habeas).expect("an offer is plain data");
        format!("{}{PARAMETER}{}", self.credential.to_uri(), URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads an offer.
    ///
    /// # Errors
    /// When the text is none, or not one for this wallet.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        const REFUSED: DecodeError =
            DecodeError::new("an offer", "a link that begins with 'openid-credential-offer://', complete");
        let text = text.trim();
        let Ok(OfferLink::Value(credential)) = OfferLink::parse(text) else { return Err(REFUSED) };
        let (_, ours) = text.rsplit_once(PARAMETER).ok_or(REFUSED)?;
        let json = URL_SAFE_NO_PAD.decode(ours).map_err(|_| REFUSED)?;
        Ok(Offer { credential, habeas: serde_json::from_slice(&json).map_err(|_| REFUSED)? })
    }
}

/// Something the holder is owed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entitlement {
    /// Its id.
    pub id: String,
    /// The programme's name.
    pub programme: String,
    /// The period.
    pub period: String,
    /// Unit.
    pub unit: Unit,
    /// How much.
    pub amount_minor: Amount,
    /// The quote, once claimed.
    pub quote: Option<String>,
}

/// An access token, and when it ends.
pub(crate) struct Access {
    token: String,
    until: u64,
}

impl Wallet {
    /// Accepts an offer: binds this wallet's key to the person it was given to. May be repeated after a broken connection.
    ///
    /// # Errors
    /// When a code is wrong, the offer was used by another wallet, or the issuer can't be reached.
    pub fn accept_offer(&mut self, offer: &Offer, tx_code: &str) -> Result<(), WalletError> {
        // A relay that was chosen before stands where the offer names none: without it, requests would show where they come from.
        let chosen = self.state.services.relay.take();
        self.state.services = offer.habeas.services.clone();
        self.state.services.relay = offer.habeas.services.relay.clone().or(chosen);
        let grant = offer.credential.grants.pre_authorized_code.as_ref();
        let code = grant.ok_or(WalletError::NoHolder { missing: "code in its offer" })?.code.clone();
        let request = TokenRequest {
            grant_type: PRE_AUTHORIZED_CODE.into(),
            pre_authorized_code: Some(code),
            tx_code: Some(tx_code.trim().to_owned()),
            ..TokenRequest::default()
        };
        match self.ask_token(&request) {
            // The answer to an earlier try may have been lost: then the key is known.
            Err(refused @ WalletError::Http(http::HttpError::Refused { .. })) => {
                self.access = None;
                self.access_token().map_err(|_| refused)?;
            }
            other => other?,
        }
        self.state.tag_key = Some(offer.habeas.tag_key.clone());
        self.save()
    }

    /// What the holder is owed.
    ///
    /// # Errors
    /// When the wallet accepted no offer, or the registry can't be reached.
    pub fn entitlements(&mut self) -> Result<Vec<Entitlement>, WalletError> {
        self.ask_registry("entitlements", &Value::Null)
    }

    /// Asks the registry as the holder.
    pub(crate) fn ask_registry<Answer: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &Value,
    ) -> Result<Answer, WalletError> {
        let registry = self.state.services.registry.as_ref().ok_or(WalletError::NoHolder { missing: "registry" })?;
        let url = format!("{registry}/v1/{path}");
        self.ask_as_holder(&url, request)
    }

    /// Posts JSON with the access token and a proof of this wallet's key.
    pub(crate) fn ask_as_holder<Answer: DeserializeOwned>(
        &mut self,
        url: &str,
        request: &impl Serialize,
    ) -> Result<Answer, WalletError> {
        let token = self.access_token()?;
        let proof = self.prove("POST", url, Some(&token))?;
        let headers = [("Authorization", format!("DPoP {token}")), ("DPoP", proof)];
        let json = serde_json::to_vec(request).expect("a request is plain data");
        let answer = http::send(url, Body::Json(&json), &headers)?;
        // A notification has no answer.
        Ok(http::parse(url, if answer.is_empty() { b"null" } else { &answer })?)
    }

    fn access_token(&mut self) -> Result<String, WalletError> {
        if let Some(access) = self.access.as_ref().filter(|access| unix_now() + TOKEN_MARGIN < access.until) {
            return Ok(access.token.clone());
        }
        self.ask_token(&TokenRequest { grant_type: PROOF_OF_KEY.into(), ..TokenRequest::default() })?;
        Ok(self.access.as_ref().map(|access| access.token.clone()).unwrap_or_default())
    }

    fn ask_token(&mut self, request: &TokenRequest) -> Result<(), WalletError> {
        let metadata = well_known(&self.issuer()?.url, AUTHORIZATION_SERVER_PATH);
        let server: AuthorizationServerMetadata = http::get(&metadata)?;
        let proof = self.prove("POST", &server.token_endpoint, None)?;
        let form = request.to_form();
        let answer = http::send(&server.token_endpoint, Body::Form(&form), &[("DPoP", proof)])?;
        let answer: TokenResponse = http::parse(&server.token_endpoint, &answer)?;
        self.access = Some(Access { token: answer.access_token, until: unix_now() + answer.expires_in });
        Ok(())
    }

    fn prove(&self, method: &str, uri: &str, access_token: Option<&str>) -> Result<String, WalletError> {
        let seed = zeroize::Zeroizing::new(self.seed.bytes_for("holder key", b""));
        let key = SigningKey::from_secret(&*seed)?;
        let id = hex::encode(rand::rng().random::<[u8; 16]>());
        Ok(dpop::prove(&key, dpop::Request { method, uri, access_token }, unix_now(), id, None)?)
    }

    /// The issuer that the offer named.
    pub(crate) fn issuer(&self) -> Result<&Issuer, WalletError> {
        self.state.services.issuer.as_ref().ok_or(WalletError::NoHolder { missing: "credential issuer" })
    }
}

impl From<KeyError> for WalletError {
    fn from(error: KeyError) -> Self {
        WalletError::Credential { detail: error.to_string() }
    }
}

impl From<jose::JoseError> for WalletError {
    fn from(error: jose::JoseError) -> Self {
        WalletError::Credential { detail: error.to_string() }
    }
}

impl From<mdoc::MdocError> for WalletError {
    fn from(error: mdoc::MdocError) -> Self {
        WalletError::Credential { detail: error.to_string() }
    }
}

impl From<sdjwt::SdJwtError> for WalletError {
    fn from(error: sdjwt::SdJwtError) -> Self {
        WalletError::Credential { detail: error.to_string() }
    }
}

impl From<MessageError> for WalletError {
    fn from(error: MessageError) -> Self {
        WalletError::Presentation { detail: error.to_string() }
    }
}
