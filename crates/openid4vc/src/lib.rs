//! The messages by which a wallet gets credentials and shows them: OpenID4VCI 1.0, OpenID4VP 1.0, as HAIP 1.0 profiles them.
//!
//! In scope: what the messages say, how they are written, and the checks that need nothing but the message, a key and the time. Out
//! of scope: the credentials themselves (the crates `mdoc` and `sdjwt`), HTTP, and who is to be trusted.
//!
//! In the order in which a credential lives: [`offer`] → [`metadata`] → [`token`] with [`dpop`] → [`proof`] and [`credential`] →
//! [`request`] with [`dcql`] and [`registration`] → [`response`]. [`trusted_list`] tells whom all of them trust.

pub mod credential;
pub mod dcql;
pub mod dpop;
pub mod metadata;
pub mod offer;
pub mod proof;
pub mod registration;
pub mod request;
pub mod response;
pub mod token;
pub mod trusted_list;

use serde::{Deserialize, Serialize};

/// The format of an mdoc (OpenID4VCI Appendix A.2).
pub const MSO_MDOC: &str = "mso_mdoc";
/// The format of an SD-JWT VC (Appendix A.3).
pub const SD_JWT_VC: &str = "dc+sd-jwt";
/// How far two clocks may be apart, in seconds: a proof that is older, or from further in the future, is refused.
pub const CLOCK_SKEW_MAX: u64 = 300;

/// A message that is not what the protocol asks for. Holds none of its contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} can't be accepted: {why}")]
pub struct MessageError {
    /// Which message.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl MessageError {
    pub(crate) const fn new(what: &'static str, why: &'static str) -> Self {
        MessageError { what, why }
    }
}

/// A refusal as OAuth writes it (RFC 6749 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthError {
    /// The protocol's code.
    pub error: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
}

/// An address with parameters added to its query, for whoever is sent on to it.
pub fn with_parameters<'a>(address: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let mark = if address.contains('?') { '&' } else { '?' };
    format!("{address}{mark}{query}")
}

/// The value of a parameter of a query or form, percent-encoding taken off.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
