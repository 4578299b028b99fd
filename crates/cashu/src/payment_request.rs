//! Payment requests (NUT-18, and NUT-26 for their form in bech32m): what a till shows and a wallet answers.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{Amount, DecodeError, Proof, Unit, creq_b};

/// The longest request that is read. One with a dozen mints stays under 2 KiB, and a QR code holds less than 3.
pub const REQUEST_MAX_LEN: usize = 8 * 1024;

/// The prefix and version of NUT-18.
const PREFIX: &str = "creqA";

/// What a payee asks for (NUT-18 "Payment Request").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequest {
    /// Where to send the payment, best first.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<Transport>,
    /// Goes into the payload, so that the payee knows what is paid.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How much.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// In which unit; set when `amount` is.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Mints whose tokens the payee takes.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub mints: Vec<String>,
    /// For people.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it may be paid once only.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<bool>,
    /// The spending condition that the tokens must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nut10: Option<Nut10Option>,
}

/// A way to send the payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    /// `post` for an HTTP POST of a [`PaymentPayload`], `nostr`, ….
    #[serde(rename = "t")]
    pub kind: String,
    /// The address; for `post` an URL.
    #[serde(rename = "a")]
    pub target: String,
    /// Further features.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Vec<String>>>,
}

/// A spending condition that a payee asks for (NUT-10, NUT-18 "Locking conditions").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nut10Option {
    /// `P2PK`, `HTLC`.
    #[serde(rename = "k")]
    pub kind: String,
    /// The lock: a key or a hash.
    #[serde(rename = "d")]
    pub data: String,
    /// Tags of the secret.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Vec<String>>>,
}

/// What a wallet sends to the payee (NUT-18 "Payment payload").
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaymentPayload {
    /// The request's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
    /// The mint of the tokens.
    pub mint: String,
    /// Their unit.
    pub unit: Unit,
    /// The tokens.
    pub proofs: Vec<Proof>,
}

impl PaymentRequest {
    /// The request as text: `creqA…`.
    pub fn encode(&self) -> String {
        let mut cbor = Vec::new();
        ciborium::into_writer(self, &mut cbor).expect("writing to memory does not fail");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(cbor))
    }

    /// The request as `CREQB1…` (NUT-26), in upper case: a QR code of it is smaller than one of `creqA…`.
    ///
    /// # Errors
    /// For what that form can't hold: transports other than `post` and `nostr`, tags of more than 255 bytes, more than 8 KiB.
    pub fn encode_bech32m(&self) -> Result<String, DecodeError> {
        creq_b::encode(self)
    }

    /// Reads `creqA…` or `creqB1…`. The published examples of `creqA` use both base64 alphabets, with and without padding; so do we.
    ///
    /// # Errors
    /// When it is too long, not as NUT-18 or NUT-26 says, or names an amount without a unit.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let text = text.trim();
        if text.len() > REQUEST_MAX_LEN {
            return Err(DecodeError::new("a payment request", "at most 8 KiB of text"));
        }
        let request = match text.split_at_checked(PREFIX.len()) {
            Some((prefix, body)) if prefix.eq_ignore_ascii_case(PREFIX) => Self::from_base64(body)?,
            _ => creq_b::decode(text)?,
        };
        if request.amount.is_some() && request.unit.is_none() {
            return Err(DecodeError::new("a payment request", "a unit beside the amount"));
        }
        Ok(request)
    }

    fn from_base64(body: &str) -> Result<Self, DecodeError> {
        const REFUSED: DecodeError =
            DecodeError::new("a payment request", "text that begins with 'creqA', complete and unchanged");
        let body = body.trim_end_matches('=');
        let cbor = URL_SAFE_NO_PAD.decode(body).or_else(|_| STANDARD_NO_PAD.decode(body)).map_err(|_| REFUSED)?;
        ciborium::from_reader(cbor.as_slice()).map_err(|_| REFUSED)
    }
}
