//! Certificate chains (Annex B): a root that is trusted, and the certificate that it issued for one use.
//!
//! A document signer's certificate is issued by the root itself (Annex B.1.4), and so is a reader's here: nothing stands between.
//! Revocation lists are not looked at.

use ciborium::Value;
use es256::PublicKey;
use jiff::Timestamp;
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::MdocError;
use cose::{Sign1, entry};

/// COSE header label of the certificate chain (RFC 9360).
const X5CHAIN: i64 = 33;

/// `organizationIdentifier` (X.520).
const ORGANIZATION_IDENTIFIER: Oid<'static> = oid!(2.5.4.97);

/// What a certificate is for: its extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Signs credentials (Annex B.1.4).
    DocumentSigner,
    /// Signs a reader's requests (Annex B.1.7).
    Reader,
}

impl Usage {
    fn oid(self) -> &'static str {
        match self {
            Usage::DocumentSigner => "1.0.18013.5.1.2",
            Usage::Reader => "1.0.18013.5.1.6",
        }
    }
}

/// A certificate that a trusted root issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The key.
    pub key: PublicKey,
    /// The subject's distinguished name.
    pub subject: String,
    /// The subject's organisation identifier (EN 319 412-3), which a relying party is registered under.
    pub organization: Option<String>,
    /// The subject's country.
    pub(crate) country: Option<String>,
    /// The subject's state or province.
    pub(crate) state: Option<String>,
    /// First and last second of its validity.
    pub(crate) valid: (i64, i64),
}

/// Checks that one of the roots issued a certificate (DER), for this use and time.
///
/// # Errors
/// [`MdocError::Chain`].
pub fn verify_chain(
    certificate: &[u8],
    roots: &[impl AsRef<[u8]>],
    usage: Usage,
    now: Timestamp,
) -> Result<Certified, MdocError> {
    let signer = parse(certificate)?;
    let at = ASN1Time::from_timestamp(now.as_second()).map_err(|_| MdocError::Chain)?;
    let signs = signer.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature());
    let extended = signer.extended_key_usage().ok().flatten();
    let for_this = extended.is_some_and(|found| found.value.other.iter().any(|oid| oid.to_id_string() == usage.oid()));
    if !signs || !for_this || signer.is_ca() || !signer.validity().is_valid_at(at) || !is_understood(&signer) {
        return Err(MdocError::Chain);
    }
    // Several roots may bear one name, when a key follows another.
    if !roots
        .iter()
        .any(|root| parse(root.as_ref()).is_ok_and(|root| issued(&root, &signer, at) && agree(&root, &signer, usage)))
    {
        return Err(MdocError::Chain);
    }
    certified(&signer)
}

/// The key of a chain's first certificate (DER), if one of the roots issued it for this use and time: what a reader of a signed text with a
/// chain in its header asks for.
pub fn key_of_chain(chain: &[Vec<u8>], roots: &[impl AsRef<[u8]>], usage: Usage, now: Timestamp) -> Option<PublicKey> {
    verify_chain(chain.first()?, roots, usage, now).ok().map(|certified| certified.key)
}

/// What a certificate says of itself.
pub(crate) fn read(certificate: &[u8]) -> Result<Certified, MdocError> {
    certified(&parse(certificate)?)
}

fn certified(certificate: &X509Certificate<'_>) -> Result<Certified, MdocError> {
    let key = PublicKey::from_point(&certificate.public_key().subject_public_key.data).map_err(|_| MdocError::Chain)?;
    let validity = certificate.validity();
    let valid = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let subject = certificate.subject();
    let (country, state) = (country(subject), state(subject));
    let organization = subject.iter_by_oid(&ORGANIZATION_IDENTIFIER).next();
    let organization = organization.and_then(|identifier| identifier.as_str().ok()).map(str::to_owned);
    Ok(Certified { key, subject: subject.to_string(), organization, country, state, valid })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, MdocError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(MdocError::Chain),
    }
}

fn issued(root: &X509Certificate<'_>, signer: &X509Certificate<'_>, at: ASN1Time) -> bool {
    let is_ca = root.is_ca() && root.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign());
    is_ca
        && root.validity().is_valid_at(at)
        && is_understood(root)
        && signer.issuer() == root.subject()
        && signer.verify_signature(Some(root.public_key())).is_ok()
}

/// Whether the names agree: a document signer is of its root's country, and of its state if it has one (Annex B.1.4).
fn agree(root: &X509Certificate<'_>, signer: &X509Certificate<'_>, usage: Usage) -> bool {
    let (root, signer) = (root.subject(), signer.subject());
    usage != Usage::DocumentSigner
        || (country(root) == country(signer) && state(root).is_none_or(|of_root| state(signer) == Some(of_root)))
}

fn country(name: &X509Name<'_>) -> Option<String> {
    name.iter_country().next().and_then(|country| country.as_str().ok()).map(str::to_owned)
}

fn state(name: &X509Name<'_>) -> Option<String> {
    name.iter_state_or_province().next().and_then(|state| state.as_str().ok()).map(str::to_owned)
}

/// Whether there is no critical extension but those that are checked here (RFC 5280 section 4.2: such a certificate is refused).
fn is_understood(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().filter(|extension| extension.critical).all(|extension| {
        matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_) | ParsedExtension::KeyUsage(_) | ParsedExtension::ExtendedKeyUsage(_)
        )
    })
}

/// The first certificate of a signature's chain (RFC 9360: the signer's own).
pub(crate) fn leaf<'a>(sign1: &Sign1<'a>) -> Result<&'a [u8], MdocError> {
    match entry(sign1.unprotected, X5CHAIN).map_err(|_| MdocError::Chain)? {
        Value::Bytes(der) => Ok(der),
        Value::Array(ders) => ders.first().and_then(Value::as_bytes).map(Vec::as_slice).ok_or(MdocError::Chain),
        _ => Err(MdocError::Chain),
    }
}

/// A header with a chain, for [`leaf`], and what the first certificate says of itself.
///
/// # Errors
/// When the chain is empty or its first certificate is not that of the key.
pub(crate) fn header(chain: &[Vec<u8>], key: &PublicKey) -> Result<(Vec<(Value, Value)>, Certified), MdocError> {
    let certified = read(chain.first().ok_or(MdocError::Certificate)?)?;
    if certified.key != *key {
        return Err(MdocError::Certificate);
    }
    let chain = match chain {
        [one] => Value::Bytes(one.clone()),
        several => Value::Array(several.iter().map(|der| Value::Bytes(der.clone())).collect()),
    };
    Ok((vec![(Value::from(X5CHAIN), chain)], certified))
}
