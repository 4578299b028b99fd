//! The credential issuer: the root and the document signer, and the route by which a wallet gets its ID credential.
//!
//! In scope: keys and certificates (ISO/IEC 18013-5 Annex B), issuing to a device that proves its key. Out of scope: who people are (a
//! source gives attributes for an offer), and the credential's format (the crate `mdoc`).
//!
//! In the order in which a credential is made: [`certificates`] → [`issuer`] → [`api`].

pub mod api;
pub mod certificates;
pub mod issuer;

pub use issuer::Issuer;

/// Why the issuer can't do what was asked. Holds no attribute.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The offer or the proof is not acceptable.
    #[error("{0}")]
    Refused(String),
    /// The credential can't be made.
    #[error(transparent)]
    Mdoc(#[from] mdoc::MdocError),
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] es256::KeyError),
    /// The keys can't be used.
    #[error("the issuer's keys can't be used: {0}")]
    Keys(String),
    /// A certificate could not be announced, so it is not used.
    #[error("the issuer's certificate can't be announced in the public log: {0}")]
    Log(String),
}

/// What is attested about a person.
#[derive(Clone)]
pub struct Attributes {
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// Birth date.
    pub birth_date: jiff::civil::Date,
    /// Document number.
    pub document_number: String,
}

/// Where attributes come from.
pub trait AttributeSource: Send + Sync {
    /// The attributes of the person who was given an offer. The device key is bound to the offer.
    ///
    /// # Errors
    /// A sentence for people.
    fn attributes_for(&self, offer_code: &str, device_point: &[u8]) -> Result<Attributes, String>;
}

/// Where certificates are announced before they are used.
pub trait CertificateLog: Send + Sync {
    /// Announces a certificate and waits until the entry is durable.
    ///
    /// # Errors
    /// A sentence for people.
    fn publish(&self, role: &'static str, sha256: [u8; 32]) -> Result<(), String>;
}

/// The time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> jiff::Timestamp;
}
