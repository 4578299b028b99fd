//! The issuer's root and document signer, as ISO/IEC 18013-5 Annex B.1 profiles them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use es256::SigningKey;
use jiff::Timestamp;
use mdoc::issue::DocumentSigner;
use mdoc::verify::verify_chain;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use zeroize::Zeroizing;

use crate::IssuerError;

/// Extended key usage of a document signer.
const DOCUMENT_SIGNER_USAGE: [u64; 6] = [1, 0, 18013, 5, 1, 2];
/// Ten years: the root outlives every signer and credential.
const ROOT_DAYS: i64 = 3_652;
/// A year and a quarter: a signer signs for about three months (B.1.4 allows 457 days).
const SIGNER_DAYS: i64 = 456;

/// The root's certificate, and the document signer.
pub struct Chain {
    /// DER.
    pub root: Vec<u8>,
    /// The document signer.
    pub signer: DocumentSigner,
}

/// Reads the chain from a folder, or makes one and has it announced before it can be used. The names and the country are the
/// programme's own in a real deployment.
///
/// # Errors
/// When a file can't be used, the keys and certificates don't belong together, or `announce` fails.
pub fn open(
    folder: &Path,
    now: Timestamp,
    announce: impl FnOnce(&Chain) -> Result<(), IssuerError>,
) -> Result<Chain, IssuerError> {
    let failed = |error: io::Error| IssuerError::Keys(error.to_string());
    fs::create_dir_all(folder).map_err(failed)?;
    let signer_path = folder.join("document-signer.cert.der");
    if !signer_path.exists() {
        let chain = make(folder, now)?;
        announce(&chain)?;
        // Last, so that a crash before makes a new chain that nothing was signed with.
        write_whole(&signer_path, &chain.signer.certificate).map_err(failed)?;
        return Ok(chain);
    }
    let key = Zeroizing::new(fs::read(folder.join("document-signer.key.der")).map_err(failed)?);
    let root = fs::read(folder.join("iaca.cert.der")).map_err(failed)?;
    let signer = DocumentSigner {
        key: Box::new(SigningKey::from_pkcs8(&key)?),
        certificate: fs::read(&signer_path).map_err(failed)?,
    };
    let key = verify_chain(&signer.certificate, &root, now);
    let test = b"habeas issuer self-test";
    if !key.is_ok_and(|key| signer.key.sign(test).is_ok_and(|signature| key.verify(test, &signature))) {
        let told =
            format!("the keys and certificates in {} don't belong together, or are out of date", folder.display());
        return Err(IssuerError::Keys(told));
    }
    Ok(Chain { root, signer })
}

/// A new root and document signer, all on disk but the signer's certificate.
fn make(folder: &Path, now: Timestamp) -> Result<Chain, IssuerError> {
    let failed = |error: io::Error| IssuerError::Keys(error.to_string());
    let certificate = |error: rcgen::Error| IssuerError::Keys(error.to_string());
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate)?;
    let mut root = params("Habeas IACA root", now, ROOT_DAYS)?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root_certificate = root.self_signed(&root_key).map_err(certificate)?;
    let signer_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate)?;
    let mut signer = params("Habeas document signer", now, SIGNER_DAYS)?;
    signer.use_authority_key_identifier_extension = true;
    signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    signer.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(DOCUMENT_SIGNER_USAGE.to_vec())];
    let issuer = Issuer::new(root, root_key);
    let signer_certificate = signer.signed_by(&signer_key, &issuer).map_err(certificate)?;
    let signer_key = Zeroizing::new(signer_key.serialize_der());
    write_whole(&folder.join("iaca.key.der"), &Zeroizing::new(issuer.key().serialize_der())).map_err(failed)?;
    write_whole(&folder.join("document-signer.key.der"), &signer_key).map_err(failed)?;
    write_whole(&folder.join("iaca.cert.der"), root_certificate.der()).map_err(failed)?;
    let signer = DocumentSigner {
        key: Box::new(SigningKey::from_pkcs8(&signer_key)?),
        certificate: signer_certificate.der().to_vec(),
    };
    Ok(Chain { root: root_certificate.der().to_vec(), signer })
}

fn params(name: &str, now: Timestamp, days: i64) -> Result<CertificateParams, IssuerError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "UT");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let day = |offset: i64| {
        let date = jiff::tz::Offset::UTC.to_datetime(now).date();
        let date = date.checked_add(jiff::Span::new().days(offset)).unwrap_or(date);
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    params.not_before = day(0);
    params.not_after = day(days);
    Ok(params)
}

/// Writes a file (mode 0600) so that a crash leaves it whole or not there.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
