//! Certificate chains (Annex B): a root that is trusted, and the certificate that it issued for one use.
//!
//! A document signer's certificate is issued by the root itself (Annex B.1.4), and so is a reader's here: nothing stands between.
//! Revocation lists are not looked at.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Signs credentials (Annex B.1.4).
    DocumentSigner,
    /// Signs a reader's requests (Annex B.1.7).
    Reader,
    /// Signs lists of trusted entities (ETSI TS 119 602 clause 6.8, as TS 119 612 clause 5.7.1).
    TrustedList,
}

impl Usage {
    fn oid(self) -> &'static str {
        match self {
            Usage::DocumentSigner => "1.0.18013.5.1.2",
            Usage::Reader => "1.0.18013.5.1.6",
            Usage::TrustedList => "0.4.0.2231.3.0",
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

/// Who says which certificates are good: roots (DER) as they are, or [`Roots`], which remember what they found.
pub trait Trust {
    /// Checks that one of the roots issued a certificate (DER), for this use and time.
    ///
    /// # Errors
    /// [`MdocError::Chain`].
    fn certified(&self, certificate: &[u8], usage: Usage, now: Timestamp) -> Result<Certified, MdocError>;
}

impl<R: AsRef<[u8]>> Trust for [R] {
    fn certified(&self, certificate: &[u8], usage: Usage, now: Timestamp) -> Result<Certified, MdocError> {
        verify_chain(certificate, self, usage, now)
    }
}

impl<R: AsRef<[u8]>, const N: usize> Trust for [R; N] {
    fn certified(&self, certificate: &[u8], usage: Usage, now: Timestamp) -> Result<Certified, MdocError> {
        verify_chain(certificate, self, usage, now)
    }
}

impl<R: AsRef<[u8]>> Trust for Vec<R> {
    fn certified(&self, certificate: &[u8], usage: Usage, now: Timestamp) -> Result<Certified, MdocError> {
        verify_chain(certificate, self, usage, now)
    }
}

/// How many certificates are remembered: an issuer has a new signer each quarter, and only what a root issued is remembered.
const REMEMBERED_MAX: usize = 64;

/// A certificate that a root issued.
#[derive(Clone)]
struct Checked {
    certified: Certified,
    /// The first and last second at which both are valid.
    valid: (i64, i64),
}

/// Roots of a verifier that reads many credentials of few signers: each certificate is checked once, and its validity at each use.
pub struct Roots {
    roots: Vec<Vec<u8>>,
    /// By use and certificate.
    remembered: RwLock<HashMap<(Usage, Vec<u8>), Checked>>,
}

impl Roots {
    /// Trusts roots (DER).
    pub fn new(roots: Vec<Vec<u8>>) -> Self {
        Roots { roots, remembered: RwLock::default() }
    }
}

impl Trust for Roots {
    fn certified(&self, certificate: &[u8], usage: Usage, now: Timestamp) -> Result<Certified, MdocError> {
        let key = (usage, certificate.to_vec());
        let remembered = self.remembered.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(Checked { certified, valid: (from, until) }) = remembered {
            return if (from..=until).contains(&now.as_second()) { Ok(certified) } else { Err(MdocError::Chain) };
        }
        let found = check_chain(certificate, &self.roots, usage, now)?;
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(key, found.clone());
        Ok(found.certified)
    }
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
    check_chain(certificate, roots, usage, now).map(|checked| checked.certified)
}

/// The same, with the time for which it holds.
fn check_chain(
    certificate: &[u8],
    roots: &[impl AsRef<[u8]>],
    usage: Usage,
    now: Timestamp,
) -> Result<Checked, MdocError> {
    let signer = parse(certificate)?;
    let at = ASN1Time::from_timestamp(now.as_second()).map_err(|_| MdocError::Chain)?;
    if !signs(&signer, usage, at) {
        return Err(MdocError::Chain);
    }
    // Several roots may bear one name, when a key follows another.
    let is_issuer = |root: &X509Certificate<'_>| issued(root, &signer, at) && agree(root, &signer, usage);
    let root = roots.iter().filter_map(|root| parse(root.as_ref()).ok()).find(is_issuer).ok_or(MdocError::Chain)?;
    let certified = certified(&signer)?;
    let (root, own) = (root.validity(), certified.valid);
    let valid = (own.0.max(root.not_before.timestamp()), own.1.min(root.not_after.timestamp()));
    Ok(Checked { certified, valid })
}

/// The key of a certificate (DER) that nobody issued but itself, for this use and time. Whether it is the right one is for the caller to know:
/// it says no more than its own name.
pub fn key_of_own(certificate: &[u8], usage: Usage, now: Timestamp) -> Option<PublicKey> {
    let signer = parse(certificate).ok()?;
    let at = ASN1Time::from_timestamp(now.as_second()).ok()?;
    let own = signer.issuer() == signer.subject() && signer.verify_signature(None).is_ok();
    (own && signs(&signer, usage, at)).then_some(())?;
    certified(&signer).ok().map(|certified| certified.key)
}

/// The key of a chain's first certificate (DER), if one of the roots issued it for this use and time: what a reader of a signed text with a
/// chain in its header asks for.
pub fn key_of_chain(
    chain: &[Vec<u8>],
    roots: &(impl Trust + ?Sized),
    usage: Usage,
    now: Timestamp,
) -> Option<PublicKey> {
    roots.certified(chain.first()?, usage, now).ok().map(|certified| certified.key)
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

/// Whether a certificate is one to sign with, for this use and time.
fn signs(signer: &X509Certificate<'_>, usage: Usage, at: ASN1Time) -> bool {
    let signs = signer.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature());
    let extended = signer.extended_key_usage().ok().flatten();
    let for_this = extended.is_some_and(|found| found.value.other.iter().any(|oid| oid.to_id_string() == usage.oid()));
    signs && for_this && !signer.is_ca() && signer.validity().is_valid_at(at) && is_understood(signer)
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
