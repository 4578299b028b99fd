//! The holder's credentials: batches of one-time credentials, each with a key of its own.
//!
//! A credential that is shown twice ties two showings together, so the one that was shown least is taken, and a batch is replaced long
//! before it runs out: at a time that is drawn by lot when it comes in, so that the issuer does not learn from a refill how much was
//! shown.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use es256::{Signer, SigningKey};
use jiff::Timestamp;
use mdoc::certificate::{Usage, key_of_chain};
use openid4vc::credential::{
    CredentialRequest, CredentialResponse, NonceResponse, Notification, NotificationEvent, Proofs,
};
use openid4vc::metadata::{CredentialConfiguration, ISSUER_PATH, IssuerMetadata, well_known};
use openid4vc::{MSO_MDOC, SD_JWT_VC, proof};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http::{self, Body};
use crate::predicates::{KnownKey, TokenBatch};
use crate::{Wallet, WalletError, unix_now};
use crate::{state, trusted};

/// Credentials of a batch: what the standard wallets ask for.
pub const BATCH_SIZE: usize = 30;
/// A batch is replaced some days after it came: the least and the most, in seconds.
pub(crate) const REFILL_AFTER: std::ops::Range<u64> = 10 * 86_400..20 * 86_400;
/// A batch that ran out is replaced within a day: not at once, since that would tell when it ran out.
pub(crate) const REFILL_WHEN_OUT: std::ops::Range<u64> = 3_600..86_400;

/// What the file of credentials holds.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// Batches, newest last.
    pub batches: Vec<Batch>,
    /// The issuer's root and the register's, DER in base64url, by their hashes.
    pub roots: BTreeMap<String, String>,
    /// Tokens of anonymous predicates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predicates: Vec<TokenBatch>,
    /// The keys of predicates that the log has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predicate_keys: Vec<KnownKey>,
}

/// A batch.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// The issuer's configuration.
    pub configuration: String,
    /// The format.
    pub format: String,
    /// An mdoc's document type, or an SD-JWT VC's type.
    pub kind: String,
    /// The attributes in each: by path, values as a verifier sees them.
    pub claims: Vec<(Vec<Value>, Value)>,
    /// Unix time.
    pub expires_at: u64,
    /// Unix time, drawn by lot.
    pub refill_at: u64,
    /// The credentials.
    pub credentials: Vec<HeldCredential>,
}

/// A one-time credential.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct HeldCredential {
    /// `IssuerSigned` in base64url, or an SD-JWT VC.
    pub credential: String,
    /// The key's secret number, base64url.
    pub key: String,
    /// How often it was shown.
    pub shown: u32,
}

impl HeldCredential {
    /// Its key.
    pub(crate) fn key(&self) -> Result<SigningKey, WalletError> {
        let secret = URL_SAFE_NO_PAD.decode(&self.key).map_err(|_| es256::KeyError::Invalid)?;
        Ok(SigningKey::from_secret(&zeroize::Zeroizing::new(secret))?)
    }
}

/// What a wallet tells of its batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    /// The format.
    pub format: String,
    /// Credentials that were not shown yet.
    pub fresh: usize,
    /// All credentials.
    pub all: usize,
    /// Unix time.
    pub expires_at: u64,
}

impl Wallet {
    /// Gets a batch of credentials of a format, each for a fresh key, and keeps it in place of an older one.
    ///
    /// # Errors
    /// When the issuer can't be reached or refuses, or a credential is not what was asked for.
    pub fn fetch_credentials(&mut self, format: &str, count: usize) -> Result<(), WalletError> {
        let issuer = self.issuer()?.url.clone();
        let metadata: IssuerMetadata = http::get(&well_known(&issuer, ISSUER_PATH))?;
        let offered = metadata.credential_configurations_supported.iter().find(|(_, offered)| offered.format == format);
        let (id, configuration) = offered.ok_or(WalletError::NoHolder { missing: "issuer of this format" })?;
        let count = count.min(metadata.batch_credential_issuance.map_or(1, |batch| batch.batch_size)).max(1);
        let nonce_endpoint = metadata.nonce_endpoint.as_deref().unwrap_or_default();
        let nonce: NonceResponse = http::parse(nonce_endpoint, &http::send(nonce_endpoint, Body::Empty, &[])?)?;
        let keys = (0..count).map(|_| SigningKey::generate()).collect::<Result<Vec<_>, _>>()?;
        let prove = |key: &SigningKey| proof::prove(key, &issuer, &nonce.c_nonce, unix_now());
        let request = CredentialRequest {
            credential_configuration_id: Some(id.clone()),
            credential_identifier: None,
            proofs: Proofs { jwt: keys.iter().map(prove).collect::<Result<_, _>>()?, attestation: Vec::new() },
        };
        let answer: CredentialResponse = self.ask_as_holder(&metadata.credential_endpoint, &request)?;
        let kept = self.keep_batch(id, configuration, &keys, &answer);
        if let (Some(address), Some(notification_id)) = (&metadata.notification_endpoint, &answer.notification_id) {
            let event = match kept {
                Ok(()) => NotificationEvent::CredentialAccepted,
                Err(_) => NotificationEvent::CredentialFailure,
            };
            let notification =
                Notification { notification_id: notification_id.clone(), event, event_description: None };
            // The issuer can do without it.
            let _ = self.ask_as_holder::<Value>(address, &notification);
        }
        kept
    }

    /// Replaces the batches whose time has come. A wallet calls this now and then, whatever was shown.
    ///
    /// # Errors
    /// As [`Wallet::fetch_credentials`]; the old batches stand.
    pub fn refill_credentials(&mut self, now: u64) -> Result<usize, WalletError> {
        let due: Vec<(String, usize)> = {
            let due = |batch: &&Batch| batch.refill_at <= now;
            self.credentials()?
                .batches
                .iter()
                .filter(due)
                .map(|batch| (batch.format.clone(), batch.credentials.len()))
                .collect()
        };
        due.iter().try_for_each(|(format, count)| self.fetch_credentials(format, *count))?;
        Ok(due.len())
    }

    /// The batches in this wallet.
    ///
    /// # Errors
    /// When the file of credentials is damaged.
    pub fn credential_batches(&mut self) -> Result<Vec<BatchSummary>, WalletError> {
        let summary = |batch: &Batch| BatchSummary {
            format: batch.format.clone(),
            fresh: batch.credentials.iter().filter(|credential| credential.shown == 0).count(),
            all: batch.credentials.len(),
            expires_at: batch.expires_at,
        };
        Ok(self.credentials()?.batches.iter().map(summary).collect())
    }

    /// Verifies what the issuer sent, and keeps it.
    fn keep_batch(
        &mut self,
        id: &str,
        configuration: &CredentialConfiguration,
        keys: &[SigningKey],
        answer: &CredentialResponse,
    ) -> Result<(), WalletError> {
        let refused = |detail: &str| WalletError::Credential { detail: detail.to_owned() };
        if answer.credentials.len() != keys.len() {
            return Err(refused("the issuer sent another number of credentials than was asked for"));
        }
        let root = self.root(RootOf::Issuer)?;
        let kind = configuration.doctype.clone().or_else(|| configuration.vct.clone()).unwrap_or_default();
        let mut batch = Batch {
            configuration: id.to_owned(),
            format: configuration.format.clone(),
            kind,
            claims: Vec::new(),
            expires_at: u64::MAX,
            refill_at: unix_now() + rand::rng().random_range(REFILL_AFTER),
            credentials: Vec::with_capacity(keys.len()),
        };
        for (key, issued) in keys.iter().zip(&answer.credentials) {
            let read = match batch.format.as_str() {
                MSO_MDOC => read_mdoc(&issued.credential, &root)?,
                SD_JWT_VC => read_sd_jwt(&issued.credential, &root)?,
                _ => return Err(refused("this format is not known here")),
            };
            if read.kind != batch.kind || read.key != Some(*key.public_key()) {
                return Err(refused("the issuer sent a credential of another kind, or for another key"));
            }
            if batch.credentials.is_empty() {
                batch.claims = read.claims;
            } else if batch.claims != read.claims {
                // Values of its own would mark a credential.
                return Err(refused("the issuer sent credentials that differ in what they attest"));
            }
            batch.expires_at = batch.expires_at.min(read.expires_at);
            let secret = URL_SAFE_NO_PAD.encode(&*key.secret()?);
            batch.credentials.push(HeldCredential { credential: issued.credential.clone(), key: secret, shown: 0 });
        }
        let credentials = self.credentials()?;
        credentials.batches.retain(|old| old.format != batch.format);
        credentials.batches.push(batch);
        self.save_credentials()
    }

    /// Takes the credential of a batch that was shown least, and counts the showing before it happens.
    pub(crate) fn take_credential(&mut self, format: &str) -> Result<HeldCredential, WalletError> {
        let soon = unix_now() + rand::rng().random_range(REFILL_WHEN_OUT);
        let missing = WalletError::NoHolder { missing: "ID credential" };
        let batch = self.credentials()?.batches.iter_mut().find(|batch| batch.format == format).ok_or(missing)?;
        let missing = WalletError::NoHolder { missing: "ID credential" };
        let credential = batch.credentials.iter_mut().min_by_key(|credential| credential.shown).ok_or(missing)?;
        credential.shown += 1;
        let taken = credential.clone();
        if batch.credentials.iter().all(|credential| credential.shown > 0) {
            batch.refill_at = batch.refill_at.min(soon);
        }
        self.save_credentials()?;
        Ok(taken)
    }

    /// A root that the offer names and the list of trusted entities in the log has. The list is fetched once.
    pub(crate) fn root(&mut self, of: RootOf) -> Result<Vec<u8>, WalletError> {
        let issuer = self.issuer()?.clone();
        let hash = match of {
            RootOf::Issuer => issuer.root_sha256,
            RootOf::Register => issuer.register_sha256,
        };
        if !self.credentials()?.roots.contains_key(&hash) {
            let list = self.trusted_list()?;
            let held = self.credentials()?;
            for root in trusted::ROOTS.into_iter().flat_map(|kind| list.certificates(kind)) {
                held.roots.insert(hex::encode(Sha256::digest(&root)), URL_SAFE_NO_PAD.encode(&root));
            }
            if !held.roots.contains_key(&hash) {
                let detail = "the certificate that your offer names is not in the list of trusted entities that everybody is given: don't use it, and report it";
                return Err(WalletError::Credential { detail: detail.into() });
            }
            self.save_credentials()?;
        }
        let root = &self.credentials()?.roots[&hash];
        Ok(URL_SAFE_NO_PAD.decode(root).unwrap_or_default())
    }

    /// The credentials, read from their file at the first use.
    pub(crate) fn credentials(&mut self) -> Result<&mut Credentials, WalletError> {
        let held = match self.held.take() {
            Some(held) => held,
            None => read_file(&self.file.credentials_path())?,
        };
        Ok(self.held.insert(held))
    }

    pub(crate) fn save_credentials(&mut self) -> Result<(), WalletError> {
        let path = self.file.credentials_path();
        state::replace(&path, self.credentials()?)
    }
}

/// Whose root.
#[derive(Clone, Copy)]
pub(crate) enum RootOf {
    /// Signs credentials.
    Issuer,
    /// Signs for relying parties.
    Register,
}

fn read_file(path: &Path) -> Result<Credentials, WalletError> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|_| WalletError::Credential {
            detail: format!("the file {} is damaged: remove it and get new credentials", path.display()),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Credentials::default()),
        Err(source) => Err(WalletError::file(path, source)),
    }
}

/// A credential that was verified.
struct Read {
    kind: String,
    key: Option<es256::PublicKey>,
    claims: Vec<(Vec<Value>, Value)>,
    expires_at: u64,
}

fn read_mdoc(credential: &str, root: &[u8]) -> Result<Read, WalletError> {
    let bytes = URL_SAFE_NO_PAD.decode(credential).map_err(|_| mdoc::MdocError::Malformed)?;
    let document = mdoc::verify::verify_issued(&bytes, &[root], Timestamp::now())?;
    let mut claims = Vec::new();
    for (namespace, elements) in &document.elements {
        for (name, value) in elements {
            claims.push((
                vec![Value::from(namespace.as_str()), Value::from(name.as_str())],
                mdoc::verify::to_json(value),
            ));
        }
    }
    Ok(Read {
        kind: document.doc_type,
        key: Some(document.device_key),
        claims,
        expires_at: u64::try_from(document.validity.until.as_second()).unwrap_or(0),
    })
}

fn read_sd_jwt(credential: &str, root: &[u8]) -> Result<Read, WalletError> {
    let issuer = |header: &jose::Header, _: Option<&str>| {
        key_of_chain(&header.x5c, &[root], Usage::DocumentSigner, Timestamp::now())
    };
    let verified = sdjwt::verify(credential, issuer, None, unix_now())?;
    let claim = |path: sdjwt::ClaimPath| {
        let value = (*path.select(&verified.claims).first()?).clone();
        let Ok(Value::Array(path)) = serde_json::to_value(&path) else { return None };
        Some((path, value))
    };
    let mut claims: Vec<_> = sdjwt::SdJwt::parse(credential)?.disclosable().filter_map(claim).collect();
    // Each credential has an order of its own.
    claims.sort_by_key(|(path, _)| path.iter().map(Value::to_string).collect::<Vec<_>>());
    Ok(Read {
        kind: verified.vct().to_owned(),
        key: verified.key,
        claims,
        expires_at: verified.validity.expires_at.unwrap_or(0),
    })
}

#[cfg(test)]
pub(crate) mod tests;
