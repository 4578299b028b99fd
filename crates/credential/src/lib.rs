//! ID credentials: who may have them, how they are issued, revoked and asked for.
//!
//! In scope: the issuer (OpenID4VCI 1.0), its keys and certificates, status lists, the register of relying parties, the verifier
//! (OpenID4VP 1.0). Out of scope: who people are (the registry gives attributes for an offer), the formats of credentials (the crates
//! `mdoc` and `sdjwt`) and of messages (`openid4vc`).
//!
//! In the order in which a credential lives: [`certificates`] (who signs, with keys in files or in a [`token`]; told to the world by the
//! [`trusted_list`]) → [`grants`] (a device
//! gets a token) → [`issuer`] (a batch) with [`attributes`] and [`status`] → [`predicates`] (tokens that nobody can tell whose they are)
//! → [`register`] (who may ask) → [`verifier`] (asking). [`api`] speaks HTTP; [`store`] and [`expiring`] remember, `stamp` need not.

pub mod api;
pub mod attributes;
pub mod certificates;
pub mod expiring;
pub mod grants;
pub mod issuer;
pub mod metadata;
pub mod predicates;
pub mod register;
mod stamp;
pub mod status;
pub mod store;
pub mod token;
pub mod trusted_list;
pub mod verifier;

use std::path::Path;
use std::sync::Arc;

use attributes::Attributes;
use certificates::{Authority, Certificates};
use predicates::Period;
pub use storage::token_uri::TokenUri;
use store::Store;

/// Why the service can't do what was asked. Holds no attribute.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// What was sent is not acceptable: the protocol's code, and a sentence for people.
    #[error("{detail}")]
    Refused {
        /// The protocol's own code.
        code: &'static str,
        /// What was wrong and what to do.
        detail: String,
    },
    /// Too much is under way.
    #[error(transparent)]
    Busy(#[from] expiring::Full),
    /// A credential can't be made.
    #[error(transparent)]
    Mdoc(#[from] mdoc::MdocError),
    /// A credential can't be made.
    #[error(transparent)]
    SdJwt(#[from] sdjwt::SdJwtError),
    /// Something can't be signed.
    #[error(transparent)]
    Jose(#[from] jose::JoseError),
    /// A status list can't be made.
    #[error(transparent)]
    StatusList(#[from] statuslist::StatusListError),
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] es256::KeyError),
    /// The keys can't be used.
    #[error("the issuer's keys can't be used: {0}")]
    Keys(String),
    /// The database can't be read or written.
    #[error("the issuer's database can't be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// Something could not be announced, so it is not used.
    #[error("the public log can't be written, so nothing was issued or changed: {0}")]
    Log(String),
    /// The registry does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl IssuerError {
    pub(crate) fn refused(code: &'static str, detail: impl ToString) -> Self {
        IssuerError::Refused { code, detail: detail.to_string() }
    }
}

/// Why an offer's code is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// There is no such offer.
    #[error("there is no such offer: scan it again, or ask the desk for a new one")]
    Unknown,
    /// It was taken by another device.
    #[error("this offer was used already: ask the desk for a new one")]
    Used,
    /// The transaction code is missing or wrong.
    #[error("the transaction code is not right; {left} more tries")]
    WrongTransactionCode {
        /// How many tries are left.
        left: u32,
    },
    /// Too many wrong transaction codes.
    #[error("too many wrong transaction codes: ask the desk for a new offer")]
    Locked,
    /// The registry can't be asked just now.
    #[error("{0}")]
    Unavailable(String),
}

/// Who people are, as far as an issuer has to know.
pub trait People: Send + Sync {
    /// Whether an offer's code and transaction code are right. Takes nothing, but counts wrong tries.
    ///
    /// # Errors
    /// Why not.
    fn check_offer(&self, code: &str, tx_code: Option<&str>) -> Result<(), OfferError>;

    /// Takes an offer for a grant, and gives the registry's name for the person. The same grant may take it again.
    ///
    /// # Errors
    /// Why not.
    fn take_offer(&self, code: &str, tx_code: Option<&str>, grant: &str) -> Result<String, OfferError>;

    /// A person's attributes. The opening of the record is in the public log first.
    ///
    /// # Errors
    /// A sentence for people.
    fn attributes(&self, subject: &str) -> Result<Attributes, String>;

    /// A person's birth date, for an anonymous predicate. The opening of the record is in the public log first. A registry that can open
    /// this field alone does so.
    ///
    /// # Errors
    /// A sentence for people.
    fn birth_date(&self, subject: &str) -> Result<jiff::civil::Date, String> {
        self.attributes(subject).map(|attributes| attributes.birth_date)
    }
}

/// What the service announces in the public log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A certificate that will sign.
    Certificate {
        /// What it is for.
        role: &'static str,
        /// SHA-256 of the DER.
        sha256: [u8; 32],
    },
    /// A relying party was registered.
    RelyingParty {
        /// Its identifier.
        id: String,
        /// The name that people know.
        name: String,
        /// What it asks for.
        purpose: String,
        /// What it may ask for.
        attributes: Vec<String>,
        /// Days that it may keep what it was shown.
        retention_days: u32,
        /// SHA-256 of its access certificate.
        certificate_sha256: [u8; 32],
    },
    /// A list of trusted entities.
    TrustedList {
        /// One more with each list.
        sequence: u64,
        /// SHA-256 of the list as it is signed and served.
        sha256: [u8; 32],
    },
    /// A key that will sign tokens of a predicate.
    PredicateKey {
        /// The predicate.
        predicate: String,
        /// The month.
        period: String,
        /// SHA-256 of the published key.
        spki_sha256: [u8; 32],
    },
    /// A relying party was suspended, or may ask again.
    RelyingPartySuspended {
        /// Its identifier.
        id: String,
        /// Whether it is suspended.
        suspended: bool,
    },
}

/// The public log.
pub trait PublicRecord: Send + Sync {
    /// Announces something, and waits until the entry is durable. Gives its place in the log.
    ///
    /// # Errors
    /// A sentence for people.
    fn announce(&self, announcement: &Announcement) -> Result<u64, String>;
}

/// The time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> jiff::Timestamp;

    /// Now, in seconds since 1970.
    fn unix_now(&self) -> u64 {
        u64::try_from(self.now().as_second()).unwrap_or(0)
    }
}

/// The credential service; clones are handles to the same one.
#[derive(Clone)]
pub struct Credentials {
    inner: Arc<Inner>,
}

/// What [`Credentials::follow_calendar`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Signers that were replaced.
    pub signers: usize,
    /// Whether there is a new list of trusted entities.
    pub trusted_list: bool,
    /// Predicates' keys that were made.
    pub predicate_keys: usize,
}

struct Inner {
    certificates: Certificates,
    trusted_list: trusted_list::State,
    store: Store,
    grants: grants::State,
    nonces: issuer::Nonces,
    statuses: status::State,
    predicates: predicates::State,
    people: Arc<dyn People>,
    record: Arc<dyn PublicRecord>,
    clock: Arc<dyn Clock>,
}

impl Credentials {
    /// Opens the service in a folder, or makes one with fresh keys, whose certificates are announced before they are used.
    ///
    /// # Errors
    /// When the folder, the keys or the database can't be used, or a certificate can't be announced.
    pub fn open(
        folder: &Path,
        people: Arc<dyn People>,
        record: Arc<dyn PublicRecord>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssuerError> {
        Self::open_with_key(folder, None, people, record, clock)
    }

    /// The same with the keys that sign in a PKCS#11 token: `key` names the token, and what their labels begin with.
    ///
    /// # Errors
    /// As [`Credentials::open`]; when the token is away or refuses, or a key lies in a file, too.
    pub fn open_with_key(
        folder: &Path,
        key: Option<&TokenUri>,
        people: Arc<dyn People>,
        record: Arc<dyn PublicRecord>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssuerError> {
        let keys = folder.join("keys");
        let failed = |error: std::io::Error| IssuerError::Keys(error.to_string());
        std::fs::create_dir_all(&keys).map_err(failed)?;
        let certificates = Certificates::open(&keys, key, clock.now(), &*record)?;
        let trusted_list = trusted_list::State::open(folder, &certificates, clock.now(), &*record)?;
        let row_key = storage::keys::read_or_make(&keys.join("rows.key")).map_err(failed)?;
        let token_key = storage::keys::read_or_make(&keys.join("tokens.key")).map_err(failed)?;
        let store = Store::open(folder, &row_key)?;
        let statuses = status::State::load(&store)?;
        let predicates = predicates::State::load(&keys, &store, Period::at(clock.now()))?;
        let grants = grants::State::new(&token_key);
        let nonces = issuer::Nonces::new();
        let inner =
            Inner { certificates, trusted_list, store, grants, nonces, statuses, predicates, people, record, clock };
        Ok(Credentials { inner: Arc::new(inner) })
    }

    /// Replaces what is used for a time only: signers after a quarter, the list of trusted entities before it is out of date, predicates'
    /// keys with the month. To be called now and then.
    ///
    /// # Errors
    /// When a key can't be made or destroyed, something can't be announced, or the database can't be written: what was there goes on.
    pub fn follow_calendar(&self) -> Result<Renewed, IssuerError> {
        let Inner { certificates, trusted_list, record, clock, .. } = &*self.inner;
        let signers = certificates.follow_calendar(clock.now(), &**record)?;
        let trusted_list = trusted_list.follow_calendar(certificates, clock.now(), &**record)?;
        Ok(Renewed { signers, trusted_list, predicate_keys: self.follow_months()? })
    }

    /// The list of trusted entities, and its place in the log.
    pub fn trusted_list(&self) -> Arc<trusted_list::Published> {
        self.inner.trusted_list.published()
    }

    /// The issuer's root, DER: what verifiers trust.
    pub fn issuer_root(&self) -> &[u8] {
        self.inner.certificates.root(Authority::Issuer)
    }

    /// The relying-party register's root, DER: what wallets trust.
    pub fn register_root(&self) -> &[u8] {
        self.inner.certificates.root(Authority::Register)
    }

    /// Who signs credentials and status lists now.
    pub fn document_signer(&self) -> Arc<certificates::CertifiedSigner> {
        self.inner.certificates.signer(Authority::Issuer)
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    fn now(&self) -> u64 {
        self.inner.clock.unix_now()
    }
}

/// A random name of 128 bits, hex.
fn random_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
