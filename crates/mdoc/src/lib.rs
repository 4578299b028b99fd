//! ID credentials as ISO/IEC 18013-5 defines them: issue, present, verify, over the network or in proximity.
//!
//! In scope: `IssuerSigned` with the mobile security object (clause 9.1.2), `DeviceResponse` with selective disclosure and device
//! authentication (clauses 8.3.2.1.2, 9.1.3), requests with reader authentication (clause 9.1.4), device engagement and session
//! encryption (clauses 8.2, 9.1.1), the session transcript of these and of OpenID4VP 1.0, and the certificate chain (Annex B) as far
//! as a verifier checks it. Out of scope: transport (NFC, Bluetooth, NDEF), storage, revocation lists, status lists, and the keys of
//! issuers.
//!
//! Tagged bytes are kept as received and hashed as received: nothing is decoded and encoded again before it is hashed.
//!
//! In the order in which a credential lives: [`issue`] ([`security_object`]) → [`engagement`] → [`transcript`] → [`session`] →
//! [`request`] → [`present`] → [`verify`] ([`certificate`]).

use std::collections::BTreeMap;

pub mod certificate;
pub mod engagement;
pub mod issue;
mod keys;
pub mod present;
pub mod request;
pub mod security_object;
pub mod session;
pub mod transcript;
pub mod verify;

/// The document type of a Habeas ID credential, and the namespace of its elements.
pub const DOC_TYPE: &str = "org.habeas.id.1";

/// Documents of one request or response: each costs a reader several signatures.
pub const DOCUMENTS_MAX: usize = 16;

/// Elements by namespace and name.
pub type Namespaces<Element> = BTreeMap<String, BTreeMap<String, Element>>;

/// Why a credential or a request is not accepted, or can't be made. Holds no attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MdocError {
    /// Not the CBOR that the standard asks for.
    #[error("the message can't be read: it is not what ISO/IEC 18013-5 defines")]
    Malformed,
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] es256::KeyError),
    /// What was to be issued can't be.
    #[error("the credential can't be issued: {0}")]
    Issuing(&'static str),
    /// The chain to be sent along is empty, or of another key.
    #[error("the certificate that is to be sent along is missing, or is not that of the signing key")]
    Certificate,
    /// The certificate was not issued by a root, is out of date, or is not for this use.
    #[error("the signer's certificate does not lead to a trusted root")]
    Chain,
    /// The issuer's signature does not hold.
    #[error("the issuer's signature does not hold: the credential was changed")]
    IssuerSignature,
    /// An element's digest is not the signed one.
    #[error("a disclosed element was changed: its digest is not the signed one")]
    Digest,
    /// Out of date, or signed when the certificate was not valid.
    #[error("the credential is not valid at this time")]
    Validity,
    /// The credential's status is told by a mechanism that is not known here.
    #[error("the credential can be revoked in a way that is not known here")]
    UnknownStatus,
    /// Another kind of document.
    #[error("this is another kind of document than was asked for")]
    DocType,
    /// The holder's signature or MAC does not hold for this request.
    #[error("the holder's signature does not hold for this request: it was made for another, or with another device")]
    DeviceSignature,
    /// A MAC came where the reader has no key to check one.
    #[error("the holder's device answers with a MAC, which only a reader with an ephemeral key can check")]
    NoReaderKey,
    /// The device signed an element that the issuer does not let it sign.
    #[error("the holder's device tells something that the issuer did not authorise it to tell")]
    NotAuthorized,
    /// The device answered with an error, or with nothing.
    #[error("the holder's device answered without a document")]
    NoDocument,
    /// The reader's signature does not hold.
    #[error("the reader's signature does not hold: the request was changed, or made for another session")]
    ReaderSignature,
    /// The credential names another issuing country or jurisdiction than the certificate.
    #[error("the credential names another issuing country or jurisdiction than its issuer's certificate")]
    Jurisdiction,
    /// Something was disclosed that was not asked for.
    #[error("something was disclosed that was not asked for")]
    Unasked,
    /// Something asked for is not in the credential.
    #[error("the credential lacks an element that was asked for")]
    Missing,
}

impl From<cose::Malformed> for MdocError {
    fn from(_: cose::Malformed) -> Self {
        MdocError::Malformed
    }
}
