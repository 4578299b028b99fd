//! Who signs: two roots, and the signers that they issue certificates for (ISO/IEC 18013-5 Annex B.1).
//!
//! The issuer's root (IACA) vouches for document signers, which sign credentials and status lists. The register's root vouches for
//! relying parties' access certificates, and for the signer of registration certificates. A signer is replaced every quarter; its
//! certificate outlives the credentials that it signed. Who tells which roots there are, the operator of the list of trusted
//! entities ([`crate::trusted_list`]), has a certificate of its own. Nothing is used before its hash is in the public log.
//!
//! All five kinds of key lie in files, or all in a PKCS#11 token ([`crate::token`]), each under the name of its file there: with
//! `object=issuer` in the token's URI, `issuer-iaca`, `issuer-document-signer.1`, `issuer-document-signer.2`, … What signs nothing that
//! others rely on (the keys of rows and of access tokens) lies in files either way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use es256::{PublicKey, SIGNATURE_LEN, Signer, SigningKey};
use jiff::Timestamp;
use mdoc::certificate::{Usage, key_of_own, verify_chain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use storage::token::Token;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::token::TokenSigner;
use crate::{Announcement, IssuerError, PublicRecord, TokenUri};

/// Extended key usage of a document signer (B.1.4), and of a reader (B.1.7).
const DOCUMENT_SIGNER_USAGE: [u64; 6] = [1, 0, 18013, 5, 1, 2];
const READER_USAGE: [u64; 6] = [1, 0, 18013, 5, 1, 6];
/// Extended key usage of who signs a list of trusted entities (ETSI TS 119 612 clause 5.7.1).
const TRUSTED_LIST_USAGE: [u64; 6] = [0, 4, 0, 2231, 3, 0];
/// Ten years: a root outlives every signer and credential.
const ROOT_DAYS: i64 = 3_652;
/// A year and a quarter (B.1.4 allows 457 days).
const SIGNER_DAYS: i64 = 456;
/// A signer signs for a quarter, so that what it signed is valid to the end of its certificate.
const SIGNER_USED_SECONDS: i64 = 91 * 86_400;
/// Files, and role in the log, of the operator of the list of trusted entities.
const LIST_OPERATOR: &str = "list-operator";
/// Who makes the list of trusted entities, by name and country: as in its certificate, so in the list (TS 119 602 clause 6.8).
pub(crate) const OPERATOR_NAME: &str = "Habeas list of trusted entities";
pub(crate) const TERRITORY: &str = "UT";
/// A relying party registers again every year (ETSI TS 119 475 GEN-5.2.4-08).
pub const ACCESS_DAYS: i64 = 365;

/// A root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Vouches for those who sign credentials.
    Issuer,
    /// Vouches for those who ask for them.
    Register,
}

impl Authority {
    /// The names of its files, its role in the log, and its name for people.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Authority::Issuer => ("iaca", "iaca", "Habeas IACA root"),
            Authority::Register => ("register-root", "register-root", "Habeas register of relying parties"),
        }
    }

    /// The same of its signer.
    fn signer_names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Authority::Issuer => ("document-signer", "document-signer", "Habeas document signer"),
            Authority::Register => ("registrar", "registrar", "Habeas registrar of relying parties"),
        }
    }

    fn signer_usage(self) -> [u64; 6] {
        match self {
            Authority::Issuer => DOCUMENT_SIGNER_USAGE,
            Authority::Register => READER_USAGE,
        }
    }
}

/// A key that signs, and the certificates that say so.
pub struct CertifiedSigner {
    /// The key.
    pub key: Box<dyn Signer>,
    /// Its certificate, DER. The root stands not in chains: readers have it.
    pub chain: Vec<Vec<u8>>,
}

/// A root's certificate and key, and who signs under it now.
struct Root {
    certificate: Vec<u8>,
    issuer: Issuer<'static, RootKey>,
    signer: RwLock<Signing>,
}

/// A signer, and the second from which its certificate is valid.
#[derive(Clone)]
struct Signing {
    signer: Arc<CertifiedSigner>,
    since: i64,
}

impl Signing {
    /// Whether it has signed for a quarter.
    fn is_over(&self, now: Timestamp) -> bool {
        now.as_second() >= self.since + SIGNER_USED_SECONDS
    }
}

/// All roots and signers of the service.
pub struct Certificates {
    folder: PathBuf,
    token: Option<Arc<Token>>,
    issuer: Root,
    register: Root,
    list_operator: CertifiedSigner,
    /// Held while signers are replaced: one at a time.
    renewing: Mutex<()>,
    /// Certificates of wallet providers whose word for keys is taken, DER.
    providers: Vec<Vec<u8>>,
}

impl Certificates {
    /// Reads the keys and certificates in a folder, or makes them, and replaces signers that have signed for a quarter. Wallet
    /// providers' certificates are the files `wallet-providers/*.der`. With `token`, the keys are in that token, and none in a file.
    ///
    /// # Errors
    /// When a file or the token can't be used, keys and certificates don't belong together, or the log can't be written.
    pub fn open(
        folder: &Path,
        token: Option<&TokenUri>,
        now: Timestamp,
        record: &dyn PublicRecord,
    ) -> Result<Self, IssuerError> {
        let token = token.map(Token::new).transpose()?.map(Arc::new);
        let keys = Keys { folder, token: token.as_ref() };
        let open = |authority| Root::open(keys, authority, now, record);
        let (issuer, register) = (open(Authority::Issuer)?, open(Authority::Register)?);
        let list_operator = open_list_operator(keys, now, record)?;
        let providers = providers(&folder.join("wallet-providers"))?;
        let (folder, renewing) = (folder.to_owned(), Mutex::new(()));
        Ok(Certificates { folder, token, issuer, register, list_operator, renewing, providers })
    }

    /// Replaces signers that have signed for a quarter. Gives how many. To be called now and then; what is being signed is finished with
    /// the signer that it was begun with.
    ///
    /// # Errors
    /// As [`Certificates::open`]; the signer from before goes on.
    pub fn follow_calendar(&self, now: Timestamp, record: &dyn PublicRecord) -> Result<usize, IssuerError> {
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = Keys { folder: &self.folder, token: self.token.as_ref() };
        let mut replaced = 0;
        for authority in [Authority::Issuer, Authority::Register] {
            let root = self.of(authority);
            if root.signing().is_over(now) {
                let next = newest_signer(keys, authority, &root.certificate, &root.issuer, now, record)?;
                *root.signer.write().unwrap_or_else(PoisonError::into_inner) = next;
                replaced += 1;
            }
        }
        Ok(replaced)
    }

    /// Who signs the list of trusted entities. Its certificate is its own.
    pub fn list_operator(&self) -> &CertifiedSigner {
        &self.list_operator
    }

    /// The certificates of wallet providers whose word for keys is taken, DER.
    pub fn wallet_providers(&self) -> &[Vec<u8>] {
        &self.providers
    }

    /// A root's certificate, DER.
    pub fn root(&self, authority: Authority) -> &[u8] {
        &self.of(authority).certificate
    }

    /// Who signs under a root now.
    pub fn signer(&self, authority: Authority) -> Arc<CertifiedSigner> {
        self.of(authority).signing().signer
    }

    /// An access certificate for a relying party's key, DER.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn access_certificate(
        &self,
        key: &PublicKey,
        name: &str,
        identifier: &str,
        now: Timestamp,
    ) -> Result<Vec<u8>, IssuerError> {
        let mut params = params(name, now, ACCESS_DAYS)?;
        // EN 319 412-3: the identifier that stands in the registration certificate, too.
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 97]), identifier);
        as_leaf(&mut params, READER_USAGE);
        Ok(params.signed_by(&Point(*key), &self.register.issuer).map_err(unusable)?.der().to_vec())
    }

    /// The key of a wallet provider whose word is taken, from the certificate in a header.
    pub fn wallet_provider(&self, header: &jose::Header) -> Option<PublicKey> {
        let leaf = header.x5c.first()?;
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let vouches = |provider: &Vec<u8>| {
            provider == leaf
                || X509Certificate::from_der(provider).is_ok_and(|(_, provider)| {
                    provider.is_ca() && certificate.verify_signature(Some(provider.public_key())).is_ok()
                })
        };
        self.providers.iter().any(vouches).then_some(())?;
        PublicKey::from_point(&certificate.public_key().subject_public_key.data).ok()
    }

    fn of(&self, authority: Authority) -> &Root {
        match authority {
            Authority::Issuer => &self.issuer,
            Authority::Register => &self.register,
        }
    }
}

/// Where the keys are: beside the certificates, or in a token.
#[derive(Clone, Copy)]
struct Keys<'a> {
    folder: &'a Path,
    token: Option<&'a Arc<Token>>,
}

impl Keys<'_> {
    /// A key that has no certificate yet.
    ///
    /// One in a file is replaced: a crash came before its certificate, so nothing was signed with it. One in a token is taken as it
    /// is, since nothing here takes a key out of a token for good.
    fn make(self, name: &str) -> Result<Box<dyn Signer>, IssuerError> {
        match self.token {
            Some(token) => Ok(Box::new(TokenSigner::open_or_make(token, &label(token, name))?)),
            None => {
                write_whole(&paths(self.folder, name).1, &SigningKey::generate_pkcs8()?)?;
                self.read(name)
            }
        }
    }

    /// The key of a certificate.
    fn read(self, name: &str) -> Result<Box<dyn Signer>, IssuerError> {
        let path = paths(self.folder, name).1;
        let Some(token) = self.token else {
            let key = storage::keys::read_private(&path).map_err(|error| {
                // Errors of ours name the file.
                let named = error.get_ref().is_some();
                if named { unusable(error) } else { unusable(format!("{}: {error}", path.display())) }
            })?;
            return Ok(Box::new(SigningKey::from_pkcs8(&key)?));
        };
        if path.exists() {
            return Err(IssuerError::Keys(format!(
                "they are in a token, and {} is there too: a key that lies on a disk is in no token's keeping",
                path.display()
            )));
        }
        Ok(Box::new(TokenSigner::open(token, &label(token, name))?))
    }
}

/// The label of a key in a token.
fn label(token: &Token, name: &str) -> String {
    format!("{}-{name}", token.uri().object())
}

/// A root's key, as certificates are signed with it.
struct RootKey(Box<dyn Signer>);

impl PublicKeyData for RootKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for RootKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map(|signature| der(&signature)).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A signature as certificates have it: a SEQUENCE of two INTEGERs (RFC 5480 appendix A, `ECDSA-Sig-Value`), which have no leading
/// zeros but the one that keeps a number positive.
fn der(signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
    let mut numbers = Vec::with_capacity(SIGNATURE_LEN + 8);
    for number in signature.chunks(SIGNATURE_LEN / 2) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
        let number = &number[zeros..];
        let sign = if number[0] & 0x80 == 0 { &[][..] } else { &[0] };
        numbers.extend([0x02, (sign.len() + number.len()) as u8]);
        numbers.extend([sign, number].concat());
    }
    [&[0x30, numbers.len() as u8], &numbers[..]].concat()
}

impl Root {
    fn open(
        keys: Keys<'_>,
        authority: Authority,
        now: Timestamp,
        record: &dyn PublicRecord,
    ) -> Result<Self, IssuerError> {
        let (file, role, name) = authority.names();
        let (certificate, key) = own_certificate(keys, file, role, root_params(name, now)?, record)?;
        let certified = X509Certificate::from_der(&certificate)
            .is_ok_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == key.public_key().as_point()[..]);
        if !certified {
            return Err(IssuerError::Keys(format!("{file}: key and certificate don't belong together")));
        }
        // Certificates that it signs name it as it is named in its own; of the time only its own tells.
        let issuer = Issuer::new(root_params(name, now)?, RootKey(key));
        let signer = newest_signer(keys, authority, &certificate, &issuer, now, record)?;
        Ok(Root { certificate, issuer, signer: RwLock::new(signer) })
    }

    fn signing(&self) -> Signing {
        self.signer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A certificate that its own key signs, and the key; made at the first start. Whether they belong together is for the caller to look.
fn own_certificate(
    keys: Keys<'_>,
    file: &str,
    role: &'static str,
    params: CertificateParams,
    record: &dyn PublicRecord,
) -> Result<(Vec<u8>, Box<dyn Signer>), IssuerError> {
    let path = paths(keys.folder, file).0;
    if !path.exists() {
        let key = RootKey(keys.make(file)?);
        let certificate = params.self_signed(&key).map_err(unusable)?;
        announce(record, role, certificate.der())?;
        // Last, so that a crash before makes a new one that nothing was signed with.
        write_whole(&path, certificate.der())?;
    }
    Ok((fs::read(&path).map_err(unusable)?, keys.read(file)?))
}

/// The operator of the list of trusted entities, made at the first start.
fn open_list_operator(
    keys: Keys<'_>,
    now: Timestamp,
    record: &dyn PublicRecord,
) -> Result<CertifiedSigner, IssuerError> {
    let mut params = params(OPERATOR_NAME, now, ROOT_DAYS)?;
    params.distinguished_name.push(DnType::OrganizationName, OPERATOR_NAME);
    as_leaf(&mut params, TRUSTED_LIST_USAGE);
    let (certificate, key) = own_certificate(keys, LIST_OPERATOR, LIST_OPERATOR, params, record)?;
    if key_of_own(&certificate, Usage::TrustedList, now) != Some(*key.public_key()) {
        return Err(IssuerError::Keys(format!(
            "{LIST_OPERATOR}: key and certificate don't belong together, or its ten years are over"
        )));
    }
    Ok(CertifiedSigner { key, chain: vec![certificate] })
}

/// The newest signer of a root, or a new one when there is none, or it has signed for a quarter.
fn newest_signer(
    keys: Keys<'_>,
    authority: Authority,
    root: &[u8],
    issuer: &Issuer<'static, RootKey>,
    now: Timestamp,
    record: &dyn PublicRecord,
) -> Result<Signing, IssuerError> {
    let (file, role, name) = authority.signer_names();
    let is_there = |number: &u32| paths(keys.folder, &format!("{file}.{number}")).0.exists();
    let newest = (1..).take_while(is_there).last().unwrap_or(0);
    if newest > 0 {
        let newest = read_signer(keys, &format!("{file}.{newest}"), authority, root, now)?;
        if !newest.is_over(now) {
            return Ok(newest);
        }
    }
    let next = format!("{file}.{}", newest + 1);
    let public = *keys.make(&next)?.public_key();
    let mut params = params(name, now, SIGNER_DAYS)?;
    as_leaf(&mut params, authority.signer_usage());
    let certificate = params.signed_by(&Point(public), issuer).map_err(unusable)?;
    announce(record, role, certificate.der())?;
    write_whole(&paths(keys.folder, &next).0, certificate.der())?;
    read_signer(keys, &next, authority, root, now)
}

fn read_signer(
    keys: Keys<'_>,
    file: &str,
    authority: Authority,
    root: &[u8],
    now: Timestamp,
) -> Result<Signing, IssuerError> {
    let certificate = fs::read(paths(keys.folder, file).0).map_err(unusable)?;
    let key = keys.read(file)?;
    let usage = match authority {
        Authority::Issuer => Usage::DocumentSigner,
        Authority::Register => Usage::Reader,
    };
    let since =
        X509Certificate::from_der(&certificate).map_or(0, |(_, parsed)| parsed.validity().not_before.timestamp());
    // One that is out of date is replaced, so it is looked at as of its first day.
    let at = Timestamp::from_second(since).unwrap_or(now);
    match verify_chain(&certificate, &[root], usage, at) {
        Ok(certified) if certified.key == *key.public_key() => {
            Ok(Signing { signer: Arc::new(CertifiedSigner { key, chain: vec![certificate] }), since })
        }
        _ => Err(IssuerError::Keys(format!("{file}: key and certificate don't belong together, or to the root"))),
    }
}

fn providers(folder: &Path) -> Result<Vec<Vec<u8>>, IssuerError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(error)),
    };
    let mut files: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(unusable)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "der"));
    files.sort();
    let read = |file: &PathBuf| {
        let der = fs::read(file).map_err(unusable)?;
        match X509Certificate::from_der(&der) {
            Ok(([], _)) => Ok(der),
            _ => Err(IssuerError::Keys(format!("{} is no certificate in DER", file.display()))),
        }
    };
    files.iter().map(read).collect()
}

/// A public key, as a certificate is made for it.
struct Point(PublicKey);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn root_params(name: &str, now: Timestamp) -> Result<CertificateParams, IssuerError> {
    let mut root = params(name, now, ROOT_DAYS)?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(root)
}

fn as_leaf(params: &mut CertificateParams, usage: [u64; 6]) {
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(usage.to_vec())];
}

/// The country is that of a demonstration; a real deployment's root comes from its own ceremony.
fn params(name: &str, now: Timestamp, days: i64) -> Result<CertificateParams, IssuerError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, TERRITORY);
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

fn announce(record: &dyn PublicRecord, role: &'static str, der: &[u8]) -> Result<(), IssuerError> {
    let announcement = Announcement::Certificate { role, sha256: Sha256::digest(der).into() };
    record.announce(&announcement).map_err(IssuerError::Log)?;
    Ok(())
}

/// The files of a certificate and its key.
fn paths(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.cert.der")), folder.join(format!("{name}.key.der")))
}

pub(crate) fn unusable(error: impl ToString) -> IssuerError {
    IssuerError::Keys(error.to_string())
}

/// Writes a file (mode 0600) so that a crash leaves it whole or not there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), IssuerError> {
    storage::keys::write_private(path, bytes).map_err(unusable)
}
