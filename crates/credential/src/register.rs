//! The register of relying parties: who may ask people for what, and why (ETSI TS 119 475, EC TS06).
//!
//! An organisation registers one purpose, its legal basis, how long it keeps what it is shown, and the attributes that it may ask for. It gets
//! an access certificate for its key and a registration certificate; both carry its identifier. Suspending it changes one bit in the
//! register's status list, which wallets look at before they answer.

use jose::Jwk;
use openid4vc::dcql::{Meta, PREDICATE};
use openid4vc::registration::{Localised, RegisteredClaim, RegisteredCredential, Registration, SERVICE_PROVIDER};
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use statuslist::Status;

use crate::attributes::{self, NAMES, TYPE_PATH};
use crate::certificates::{ACCESS_DAYS, Authority};
use crate::store::Store;
use crate::{Announcement, Credentials, IssuerError};

/// The longest text of a registration: a purpose is a sentence.
const TEXT_MAX_LEN: usize = 200;
/// Days that a relying party may keep what it was shown, at most: ten years.
const RETENTION_DAYS_MAX: u32 = 3_652;

/// What an organisation registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRelyingParty {
    /// Its identifier (EN 319 412-1, such as `NTRUT-12345678`). One registration each.
    pub identifier: String,
    /// The name that people know.
    pub name: String,
    /// The legal name.
    pub legal_name: String,
    /// What it asks for, by language.
    pub purpose: Vec<Localised>,
    /// The law or contract that the purpose rests on.
    pub legal_basis: String,
    /// Days that it may keep what it was shown; 0 means not at all.
    pub retention_days: u32,
    /// The attributes that it may ask for.
    pub attributes: Vec<String>,
    /// Where its privacy policy is.
    pub privacy_policy: Option<String>,
    /// Its public key.
    pub key: Jwk,
}

/// What a relying party gets: with its key, all that it needs to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its access certificate, DER in base64url.
    pub certificate: String,
    /// Its registration certificate.
    pub registration: String,
}

/// A relying party, as the public register tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelyingParty {
    /// What was registered.
    #[serde(flatten)]
    pub registration: Registration,
    /// Whether it is suspended.
    pub suspended: bool,
}

impl Credentials {
    /// Registers a relying party. It is in the public log before it can ask. `issuer` is our address.
    ///
    /// # Errors
    /// When something is missing, unknown or too long, or the identifier is taken.
    pub fn register(&self, new: &NewRelyingParty, issuer: &str) -> Result<Registered, IssuerError> {
        check(new)?;
        let taken = self.inner.store.relying_party(&new.identifier)?.is_some();
        if taken {
            return Err(refused("there is a relying party with this identifier already"));
        }
        let key = new.key.public_key().map_err(|_| refused("the key is not of P-256"))?;
        let now = self.now();
        let certificates = &self.inner.certificates;
        let certificate = certificates.access_certificate(&key, &new.name, &new.identifier, self.inner.clock.now())?;
        let place = self.inner.statuses.draw_register().ok_or_else(|| refused("the register is full"))?;
        let list = format!("{issuer}{}", crate::status::REGISTER_LIST_PATH);
        let registration = Registration {
            sub: new.identifier.clone(),
            name: new.name.clone(),
            sub_ln: new.legal_name.clone(),
            country: "UT".into(),
            registry_uri: format!("{issuer}/relying-parties"),
            entitlements: vec![SERVICE_PROVIDER.into()],
            privacy_policy: new.privacy_policy.clone(),
            purpose: new.purpose.clone(),
            intended_use_id: "1".into(),
            credentials: registered_credentials(&new.attributes, issuer),
            legal_basis: new.legal_basis.clone(),
            retention_days: new.retention_days,
            status: json!(statuslist::Reference { uri: list, idx: place.into() }),
            iat: now,
            exp: now + ACCESS_DAYS as u64 * 86_400,
        };
        let registrar = certificates.signer(Authority::Register);
        let signed = registration.sign(&registrar.chain, &*registrar.key)?;
        self.announce(&Announcement::RelyingParty {
            id: new.identifier.clone(),
            name: new.name.clone(),
            purpose: new.purpose.first().map(|purpose| purpose.value.clone()).unwrap_or_default(),
            attributes: new.attributes.clone(),
            retention_days: new.retention_days,
            certificate_sha256: Sha256::digest(&certificate).into(),
        })?;
        self.inner.store.connection().execute(
            "INSERT INTO relying_parties (id, place, registration, certificate, suspended) VALUES (?1, ?2, ?3, ?4, 0)",
            params![new.identifier, place, serde_json::to_string(&registration).expect("plain data"), certificate],
        )?;
        Ok(Registered { certificate: jose::base64url::encode(certificate), registration: signed })
    }

    /// Suspends a relying party, or lets it ask again.
    ///
    /// # Errors
    /// When there is none of this identifier, or the log can't be written: a suspension holds then, and a lifting does not.
    pub fn suspend_relying_party(&self, id: &str, suspended: bool) -> Result<(), IssuerError> {
        let unknown = || refused("there is no relying party with this identifier");
        let (place, _) = self.inner.store.relying_party(id)?.ok_or_else(unknown)?;
        let announcement = Announcement::RelyingPartySuspended { id: id.to_owned(), suspended };
        if !suspended {
            self.announce(&announcement)?;
        }
        self.inner
            .store
            .connection()
            .execute("UPDATE relying_parties SET suspended = ?2 WHERE id = ?1", params![id, suspended])?;
        self.inner.statuses.set_register(place, if suspended { Status::Suspended } else { Status::Valid });
        if suspended {
            self.announce(&announcement)?;
        }
        Ok(())
    }

    /// The public register.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn relying_parties(&self) -> Result<Vec<RelyingParty>, IssuerError> {
        let database = self.inner.store.connection();
        let mut statement = database.prepare("SELECT registration, suspended FROM relying_parties ORDER BY id")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        let read = |row: rusqlite::Result<(String, bool)>| {
            let (registration, suspended) = row?;
            let damaged = |_| IssuerError::Keys("a row of relying_parties is damaged".into());
            Ok(RelyingParty { registration: serde_json::from_str(&registration).map_err(damaged)?, suspended })
        };
        rows.map(read).collect()
    }

    /// Announces something; gives the place of its entry.
    pub(crate) fn announce(&self, announcement: &Announcement) -> Result<u64, IssuerError> {
        self.inner.record.announce(announcement).map_err(IssuerError::Log)
    }
}

impl Store {
    /// A relying party's place in the register's list, and whether it is suspended.
    fn relying_party(&self, id: &str) -> Result<Option<(u32, bool)>, IssuerError> {
        let found = self
            .connection()
            .query_row("SELECT place, suspended FROM relying_parties WHERE id = ?1", [id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        Ok(found)
    }

    /// All places of relying parties, and whether they are suspended.
    pub(crate) fn each_relying_party(&self, mut each: impl FnMut(u32, bool)) -> Result<(), IssuerError> {
        let database = self.connection();
        let mut statement = database.prepare("SELECT place, suspended FROM relying_parties")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get(0)?, row.get(1)?);
        }
        Ok(())
    }
}

/// The kinds of credentials that hold some attributes: both formats, and the predicates that are enough.
fn registered_credentials(names: &[String], issuer: &str) -> Vec<RegisteredCredential> {
    let claims =
        |format: &str| names.iter().map(|name| RegisteredClaim { path: attributes::path(format, name) }).collect();
    let of = |format: &str, meta: Meta| RegisteredCredential { format: format.into(), meta, claim: claims(format) };
    let mut credentials = vec![
        of(MSO_MDOC, Meta { doctype_value: Some(mdoc::DOC_TYPE.into()), ..Meta::default() }),
        of(SD_JWT_VC, Meta { vct_values: Some(vec![format!("{issuer}{TYPE_PATH}")]), ..Meta::default() }),
    ];
    let ages = names.iter().filter(|name| attributes::age_named(name).is_some());
    credentials.extend(ages.map(|name| RegisteredCredential {
        format: PREDICATE.into(),
        meta: Meta { predicate: Some(name.clone()), ..Meta::default() },
        claim: Vec::new(),
    }));
    credentials
}

fn check(new: &NewRelyingParty) -> Result<(), IssuerError> {
    let is_text =
        |text: &str| !text.trim().is_empty() && text.len() <= TEXT_MAX_LEN && !text.chars().any(char::is_control);
    let identifier_fits = (4..=64).contains(&new.identifier.len())
        && new.identifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.'));
    if !identifier_fits {
        return Err(refused("an identifier has 4 to 64 letters, digits, '-', ':' or '.', such as NTRUT-12345678"));
    }
    for (text, what) in [(&new.name, "name"), (&new.legal_name, "legal name"), (&new.legal_basis, "legal basis")] {
        if !is_text(text) {
            return Err(refused(format!("the {what} is missing, or longer than {TEXT_MAX_LEN} bytes")));
        }
    }
    if new.purpose.is_empty() || new.purpose.len() > 8 || !new.purpose.iter().all(|purpose| is_text(&purpose.value)) {
        return Err(refused(format!("a purpose is a sentence of up to {TEXT_MAX_LEN} bytes, in 1 to 8 languages")));
    }
    if new.retention_days > RETENTION_DAYS_MAX {
        return Err(refused(format!("nothing may be kept longer than {RETENTION_DAYS_MAX} days")));
    }
    let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    if new.attributes.is_empty() {
        return Err(refused("a relying party that asks for nothing need not register: name its attributes"));
    }
    if let Some(unknown) = new.attributes.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(refused(format!("there is no attribute {unknown}: choose from {}", known.join(", "))));
    }
    Ok(())
}

fn refused(detail: impl ToString) -> IssuerError {
    IssuerError::refused("invalid_request", detail)
}
