//! Credential offers (OpenID4VCI section 4.1): what a person gets at the desk, as a link or a QR code.

use serde::{Deserialize, Serialize};

use crate::{MessageError, parameter};

/// The scheme of an offer's link.
const SCHEME: &str = "openid-credential-offer://";
/// The longest offer that is read.
const OFFER_MAX_LEN: usize = 8 * 1024;

/// An offer of credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialOffer {
    /// The issuer's identifier: its address.
    pub credential_issuer: String,
    /// Which of its configurations are offered.
    pub credential_configuration_ids: Vec<String>,
    /// How the wallet may get a token.
    #[serde(default)]
    pub grants: Grants,
}

/// The grants of an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// With the person's consent at the issuer's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_code: Option<AuthorizationCodeGrant>,
    /// With a code that stands in the offer.
    #[serde(
        default,
        rename = "urn:ietf:params:oauth:grant-type:pre-authorized_code",
        skip_serializing_if = "Option::is_none"
    )]
    pub pre_authorized_code: Option<PreAuthorizedCodeGrant>,
}

/// The authorization code grant of an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCodeGrant {
    /// What the wallet passes on, so that the issuer knows the offer again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_state: Option<String>,
}

/// The pre-authorized code grant of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreAuthorizedCodeGrant {
    /// The code. Works once.
    #[serde(rename = "pre-authorized_code")]
    pub code: String,
    /// Set when a transaction code is asked for, which the person gets on another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_code: Option<TxCode>,
}

/// What a transaction code looks like, so that a wallet can ask for it well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxCode {
    /// `numeric` or `text`.
    #[serde(default = "numeric")]
    pub input_mode: String,
    /// How many characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// What to tell the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

fn numeric() -> String {
    "numeric".into()
}

impl CredentialOffer {
    /// The offer as a link, for a QR code.
    pub fn to_uri(&self) -> String {
        let json = serde_json::to_string(self).expect("an offer is plain data");
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("credential_offer", &json).finish();
        format!("{SCHEME}?{query}")
    }

    /// Reads an offer from JSON, as it is found at a `credential_offer_uri`.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(json: &[u8]) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the credential offer", why);
        if json.len() > OFFER_MAX_LEN {
            return Err(refused("it is too long"));
        }
        let offer: Self =
            serde_json::from_slice(json).map_err(|_| refused("it is not the JSON of an offer; scan it again"))?;
        if offer.credential_configuration_ids.is_empty() {
            return Err(refused("it offers nothing"));
        }
        Ok(offer)
    }
}

/// What an offer's link carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferLink {
    /// The offer itself.
    Value(CredentialOffer),
    /// Where the offer is.
    Reference(String),
}

impl OfferLink {
    /// Reads a link, of any scheme: what counts are its parameters.
    ///
    /// # Errors
    /// When it carries no offer.
    pub fn parse(link: &str) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the offer's link", why);
        if link.len() > OFFER_MAX_LEN {
            return Err(refused("it is too long"));
        }
        let (_, query) = link.trim().split_once('?').ok_or(refused("it has no parameters; scan it again"))?;
        match (parameter(query, "credential_offer"), parameter(query, "credential_offer_uri")) {
            (Some(json), None) => CredentialOffer::from_json(json.as_bytes()).map(OfferLink::Value),
            (None, Some(address)) => Ok(OfferLink::Reference(address)),
            _ => Err(refused("it has to carry one of credential_offer and credential_offer_uri")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_read_as_written_and_others_refused() {
        let offer = CredentialOffer {
            credential_issuer: "https://issuer.example/a b".into(),
            credential_configuration_ids: vec!["id".into()],
            grants: Grants {
                authorization_code: None,
                pre_authorized_code: Some(PreAuthorizedCodeGrant {
                    code: "c&d=e".into(),
                    tx_code: Some(TxCode { input_mode: "numeric".into(), length: Some(6), description: None }),
                }),
            },
        };
        assert_eq!(OfferLink::parse(&offer.to_uri()), Ok(OfferLink::Value(offer)));
        let by_reference = "openid-credential-offer://?credential_offer_uri=https%3A%2F%2Fissuer.example%2Foffer";
        assert_eq!(OfferLink::parse(by_reference), Ok(OfferLink::Reference("https://issuer.example/offer".into())));
        for refused in [
            "",
            "openid-credential-offer://",
            "x://?credential_offer={}",
            "x://?a=b",
            "x://?credential_offer=%7B%22credential_issuer%22%3A%22i%22%2C%22credential_configuration_ids%22%3A%5B%5D%7D",
        ] {
            assert!(OfferLink::parse(refused).is_err(), "{refused}");
        }
    }
}
