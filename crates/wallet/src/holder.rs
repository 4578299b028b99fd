//! The holder before the registry and the issuer: the offer, the signed requests, the ID credential.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cashu::{Amount, Unit};
use es256::{KeyError, Signer, SigningKey};
use mdoc::MdocError;
use mdoc::present::present;
use mdoc::transcript::PresentationRequest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::state::{HeldCredential, Services};
use crate::{DecodeError, Wallet, WalletError, http, unix_now};

const OFFER_PREFIX: &str = "habeas-offer:";
/// The longest offer that is read.
const OFFER_MAX_LEN: usize = 4 * 1024;

/// What a person gets at enrolment: where the services are, and a code that works once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The one-time code, hex.
    pub code: String,
    /// The key to the log's entries about the person, hex.
    pub tag_key: String,
    /// Where the services are.
    pub services: Services,
}

impl Offer {
    /// The offer as text, for a QR code or a file.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("an offer is plain data");
        format!("{OFFER_PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads an offer.
    ///
    /// # Errors
    /// When the text is none.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        const REFUSED: DecodeError = DecodeError::new("an offer", "text that begins with 'habeas-offer:', complete");
        let body = text.trim().strip_prefix(OFFER_PREFIX).filter(|body| body.len() <= OFFER_MAX_LEN).ok_or(REFUSED)?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| REFUSED)?;
        serde_json::from_slice(&json).map_err(|_| REFUSED)
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

#[derive(Deserialize)]
struct Issued {
    credential: String,
}

impl Wallet {
    /// Accepts an offer: binds this wallet's key to the person it was given to.
    ///
    /// # Errors
    /// When the offer was used by another wallet, is unknown, or the registry can't be reached.
    pub fn accept_offer(&mut self, offer: &Offer) -> Result<(), WalletError> {
        self.state.services = offer.services.clone();
        let _: Value = self.ask_registry("redeem", "offers/redeem", json!({"at": unix_now(), "code": offer.code}))?;
        self.state.tag_key = Some(offer.tag_key.clone());
        self.save()
    }

    /// Gets the ID credential of an offer, for a fresh key of this device. May be asked again after a broken connection.
    ///
    /// # Errors
    /// When the offer was used for another device, or the issuer can't be reached.
    pub fn fetch_credential(&mut self, offer: &Offer) -> Result<(), WalletError> {
        let device_key = match &self.state.credential {
            Some(held) => held.device_key.clone(),
            None => URL_SAFE_NO_PAD.encode(&*SigningKey::generate_pkcs8()?),
        };
        // Kept before it is sent: the offer is bound to this key from then on.
        let held = HeldCredential { issuer_signed: String::new(), device_key };
        let key = held.key()?;
        self.state.credential = Some(held);
        self.save()?;
        let proof = key.sign(&[b"habeas credential proof v1\0", offer.code.as_bytes()].concat())?;
        let request = json!({
            "offer": offer.code, "device_key": hex::encode(key.public_key().as_point()), "proof": hex::encode(proof),
        });
        let issuer = offer.services.issuer.as_ref().ok_or(WalletError::NoHolder { missing: "credential issuer" })?;
        let issued: Issued = http::post(&format!("{issuer}/v1/credentials"), &request)?;
        if let Some(held) = &mut self.state.credential {
            held.issuer_signed = issued.credential;
        }
        self.save()
    }

    /// Answers a verifier's request with what it asks, and nothing else.
    ///
    /// # Errors
    /// When there is no credential, or it lacks what is asked.
    pub fn present(&self, request: &PresentationRequest) -> Result<Vec<u8>, WalletError> {
        let held = self.state.credential.as_ref().filter(|held| !held.issuer_signed.is_empty());
        let held = held.ok_or(WalletError::NoHolder { missing: "ID credential" })?;
        let issuer_signed = URL_SAFE_NO_PAD.decode(&held.issuer_signed).map_err(|_| MdocError::Malformed)?;
        Ok(present(&issuer_signed, &held.key()?, request)?)
    }

    /// What the holder is owed.
    ///
    /// # Errors
    /// When the wallet accepted no offer, or the registry can't be reached.
    pub fn entitlements(&self) -> Result<Vec<Entitlement>, WalletError> {
        self.ask_registry("entitlements", "entitlements", json!({"at": unix_now()}))
    }

    /// Sends a signed request: the holder's key, derived from the seed, signs the act and the payload.
    pub(crate) fn ask_registry<Answer: DeserializeOwned>(
        &self,
        act: &str,
        path: &str,
        payload: Value,
    ) -> Result<Answer, WalletError> {
        let registry = self.state.services.registry.as_ref().ok_or(WalletError::NoHolder { missing: "registry" })?;
        let seed = zeroize::Zeroizing::new(self.seed.bytes_for("holder key", b""));
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| KeyError::Invalid)?;
        let payload = payload.to_string();
        let message = [b"habeas holder v1\0".as_slice(), act.as_bytes(), b"\0", payload.as_bytes()].concat();
        let signature = hex::encode(pair.sign(&message));
        let request = json!({"key": hex::encode(pair.public_key()), "payload": payload, "signature": signature});
        Ok(http::post(&format!("{registry}/v1/{path}"), &request)?)
    }
}

impl HeldCredential {
    fn key(&self) -> Result<SigningKey, KeyError> {
        let pkcs8 = URL_SAFE_NO_PAD.decode(&self.device_key).map_err(|_| KeyError::Invalid)?;
        SigningKey::from_pkcs8(&zeroize::Zeroizing::new(pkcs8))
    }
}

impl From<KeyError> for WalletError {
    fn from(error: KeyError) -> Self {
        WalletError::Credential { detail: error.to_string() }
    }
}

impl From<MdocError> for WalletError {
    fn from(error: MdocError) -> Self {
        WalletError::Credential { detail: error.to_string() }
    }
}
