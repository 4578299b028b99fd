//! ID credentials as ISO/IEC 18013-5 defines them: issue, present, verify.
//!
//! In scope: `IssuerSigned` with the mobile security object (clause 9.1.2), `DeviceResponse` with selective disclosure and device
//! authentication (clauses 8.3.2.1.2, 9.1.3), the session transcript of OpenID4VP 1.0, and the certificate chain (Annex B) as far
//! as a verifier checks it. Out of scope: transport, storage, revocation lists, and the keys of issuers.
//!
//! Tagged bytes are kept as received and hashed as received: nothing is decoded and encoded again before it is hashed.
//!
//! In the order in which a credential lives: [`issue`] → [`present`] over a [`transcript`] → [`verify`].

pub mod issue;
pub mod present;
pub mod transcript;
pub mod verify;

/// The document type of a Habeas ID credential, and the namespace of its elements.
pub const DOC_TYPE: &str = "org.habeas.id.1";

/// Why a credential is not accepted, or can't be made. Holds no attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MdocError {
    /// Not the CBOR that the standard asks for.
    #[error("the credential can't be read: it is not what ISO/IEC 18013-5 defines")]
    Malformed,
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] es256::KeyError),
    /// The certificate was not issued by the root, is out of date, or is not for this use.
    #[error("the issuer's certificate does not lead to the trusted root")]
    Chain,
    /// The issuer's signature does not hold.
    #[error("the issuer's signature does not hold: the credential was changed")]
    IssuerSignature,
    /// An element's digest is not the signed one.
    #[error("a disclosed element was changed: its digest is not the signed one")]
    Digest,
    /// Out of date.
    #[error("the credential is not valid at this time")]
    Validity,
    /// Another kind of document.
    #[error("this is another kind of document than was asked for")]
    DocType,
    /// The holder's signature does not hold for this request.
    #[error("the holder's signature does not hold for this request: it was made for another, or with another device")]
    DeviceSignature,
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
