//! Issuing batches of one-time credentials (OpenID4VCI section 8): each for a key of its own, with a place of its own in the status list,
//! and times that single nobody out.

use std::collections::HashSet;

use es256::PublicKey;
use jiff::{Span, Timestamp};
use jose::{Jwk, base64url};
use mdoc::DOC_TYPE;
use mdoc::issue::{Issuing, StatusReference, Validity};
use openid4vc::credential::{CredentialRequest, CredentialResponse, IssuedCredential, Notification, NotificationEvent};
use openid4vc::proof::{self, ProvenKey};
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use sdjwt::ClaimPath;
use serde_json::{Map, Value, json};
use statuslist::{Reference, Status};

use crate::attributes::{AttributeValue, TYPE_PATH};
use crate::certificates::Authority;
use crate::expiring::Expiring;
use crate::stamp::Stamps;
use crate::store::{Batch, Grant};
use crate::{Credentials, IssuerError, random_id, status};

/// Credentials in a batch, at most, and what a wallet asks for by default.
pub const BATCH_SIZE: usize = 30;
/// How long a credential is valid, in days. A batch is used up or replaced well before.
const VALID_DAYS: i64 = 60;
/// How long a nonce for proofs of keys works.
const NONCE_SECONDS: u64 = 300;
/// Nonces that were used and are remembered, at most.
const NONCES_MAX: usize = 200_000;
/// The identifiers of the two configurations.
pub const CONFIGURATIONS: [(&str, &str); 2] = [("org.habeas.id.mdoc", MSO_MDOC), ("org.habeas.id.sd-jwt", SD_JWT_VC)];

/// Nonces: stamps, so that giving one out takes no memory; used ones are remembered until they are too old.
pub(crate) struct Nonces {
    stamps: Stamps,
    used: Expiring<String, ()>,
}

impl Nonces {
    /// Of this process: its key dies with it.
    pub(crate) fn new() -> Self {
        Nonces { stamps: Stamps::new(&rand::random()), used: Expiring::new(NONCE_SECONDS, NONCES_MAX) }
    }

    fn fresh(&self, now: u64) -> String {
        self.stamps.make(rand::random(), now + NONCE_SECONDS, "")
    }

    /// Whether a nonce is one of ours, in time, and not used before; it is used from now on.
    fn take(&self, nonce: &str, now: u64) -> Result<bool, IssuerError> {
        Ok(self.stamps.read(nonce, "", now).is_some() && self.used.insert(nonce.into(), (), now)?)
    }
}

impl Credentials {
    /// A nonce for proofs of keys.
    pub fn nonce(&self) -> String {
        self.inner.nonces.fresh(self.now())
    }

    /// Issues a batch for a grant. `issuer` is our address.
    ///
    /// # Errors
    /// With the codes of OpenID4VCI section 8.3.1: `invalid_proof`, `invalid_nonce`, `unknown_credential_configuration`, …, and
    /// `credential_request_denied` for a device that was revoked or is suspended; when the registry does not give the attributes.
    pub fn issue(
        &self,
        grant: &Grant,
        request: &CredentialRequest,
        issuer: &str,
    ) -> Result<CredentialResponse, IssuerError> {
        let unknown = || IssuerError::refused("unknown_credential_configuration", "there is no such credential here");
        if request.credential_identifier.is_some() {
            return Err(IssuerError::refused("unknown_credential_identifier", "ask by credential_configuration_id"));
        }
        let id = request.credential_configuration_id.as_deref().ok_or_else(unknown)?;
        let (_, format) = CONFIGURATIONS.into_iter().find(|(name, _)| *name == id).ok_or_else(unknown)?;
        let keys = self.proven_keys(request, issuer)?;
        let subject = grant.subject.as_deref().unwrap_or_default();
        let person = self.inner.people.attributes(subject).map_err(IssuerError::Unavailable)?;
        let (list, indices) = self.inner.statuses.draw(keys.len())?;
        let times = Times::of(self.inner.clock.now());
        let batch = Batch { id: random_id(), list, indices, status: Status::Valid.into() };
        if !self.inner.store.add_batch(&grant.id, &batch, times.until)? {
            return Err(IssuerError::refused(
                "credential_request_denied",
                "this device was revoked or suspended: ask the desk",
            ));
        }
        let attributes = person.on(times.today);
        let places = batch.indices.iter().map(|place| status::reference(issuer, list, *place));
        let sign = |(key, place): (&PublicKey, Reference)| {
            let credential = match format {
                MSO_MDOC => self.sign_mdoc(key, &attributes, place, &times)?,
                _ => self.sign_sd_jwt(key, &attributes, &place, &times, issuer)?,
            };
            Ok(IssuedCredential { credential })
        };
        let credentials = keys.iter().zip(places).map(sign).collect::<Result<_, IssuerError>>()?;
        Ok(CredentialResponse { credentials, notification_id: Some(batch.id) })
    }

    /// What a wallet says became of a batch. What it could not keep or threw away is revoked: nobody will show it.
    ///
    /// # Errors
    /// When the database can't be written.
    pub fn notify(&self, notification: &Notification) -> Result<(), IssuerError> {
        match notification.event {
            NotificationEvent::CredentialAccepted => Ok(()),
            NotificationEvent::CredentialFailure | NotificationEvent::CredentialDeleted => {
                self.revoke_batch(&notification.notification_id).map(|_| ())
            }
        }
    }

    /// The keys of a request: proven, different, and no more than a batch has.
    fn proven_keys(&self, request: &CredentialRequest, issuer: &str) -> Result<Vec<PublicKey>, IssuerError> {
        let refused = |detail: String| IssuerError::refused("invalid_proof", detail);
        let now = self.now();
        let proofs = &request.proofs;
        if proofs.jwt.len() > BATCH_SIZE {
            return Err(refused(format!("at most {BATCH_SIZE} credentials at a time")));
        }
        let proven: Vec<ProvenKey> = match (proofs.jwt.as_slice(), proofs.attestation.as_slice()) {
            ([], []) => return Err(refused("the request has no proofs of keys".into())),
            (jwts, []) => jwts.iter().map(|jwt| proof::verify(jwt, issuer, now)).collect::<Result<_, _>>(),
            ([], [attestation]) => {
                let provider = |header: &jose::Header| self.inner.certificates.wallet_provider(header);
                proof::verify_attestation(attestation, provider, now)
            }
            _ => return Err(refused("proofs are jwt, or one attestation".into())),
        }
        .map_err(|error| refused(error.to_string()))?;
        if proven.len() > BATCH_SIZE {
            return Err(refused(format!("at most {BATCH_SIZE} credentials at a time")));
        }
        let keys: Vec<PublicKey> = proven.iter().map(|proven| proven.key).collect();
        if keys.iter().collect::<HashSet<_>>().len() != keys.len() {
            return Err(refused("a key is there twice: each credential needs its own".into()));
        }
        // One nonce for the whole request, so it is used once.
        let nonces: HashSet<Option<&str>> = proven.iter().map(|proven| proven.nonce.as_deref()).collect();
        let stale = || IssuerError::refused("invalid_nonce", "the proofs need one fresh nonce from the nonce endpoint");
        let [Some(nonce)] = nonces.into_iter().collect::<Vec<_>>()[..] else { return Err(stale()) };
        if self.inner.nonces.take(nonce, now)? { Ok(keys) } else { Err(stale()) }
    }

    fn sign_mdoc(
        &self,
        key: &PublicKey,
        attributes: &[(&str, AttributeValue)],
        place: Reference,
        times: &Times,
    ) -> Result<String, IssuerError> {
        let elements = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        let signer = self.inner.certificates.signer(Authority::Issuer);
        let issuing = Issuing {
            doc_type: DOC_TYPE,
            namespaces: &[(DOC_TYPE.to_owned(), elements)].into(),
            device: key,
            validity: Validity { signed: times.day, from: times.day, until: times.day_until, expected_update: None },
            status: Some(StatusReference { idx: place.idx, uri: place.uri }),
            signer: &*signer.key,
            chain: &signer.chain,
        };
        Ok(base64url::encode(issuing.issue(&mut rand::rng())?))
    }

    fn sign_sd_jwt(
        &self,
        key: &PublicKey,
        attributes: &[(&str, AttributeValue)],
        place: &Reference,
        times: &Times,
        issuer: &str,
    ) -> Result<String, IssuerError> {
        let claims: Map<String, Value> =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        let disclosable: Vec<ClaimPath> = attributes.iter().map(|(name, _)| ClaimPath::from(*name)).collect();
        let vct = format!("{issuer}{TYPE_PATH}");
        let issuing = sdjwt::Issuing {
            iss: Some(issuer),
            iat: Some(times.from),
            exp: Some(times.until),
            cnf: Some(&Jwk::from(*key)),
            status: Some(&json!(place)),
            disclosable: &disclosable,
            ..sdjwt::Issuing::new(&vct, &claims)
        };
        let signer = self.inner.certificates.signer(Authority::Issuer);
        Ok(sdjwt::issue(&issuing, &*signer.key, &signer.chain, &mut rand::rng())?)
    }
}

/// The times of a batch: midnights, the same for everybody who is served on a day.
struct Times {
    today: jiff::civil::Date,
    day: Timestamp,
    day_until: Timestamp,
    /// Unix time.
    from: u64,
    /// Unix time.
    until: u64,
}

impl Times {
    fn of(now: Timestamp) -> Self {
        let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or(0);
        let day = Timestamp::from_second(now.as_second() / 86_400 * 86_400).unwrap_or(Timestamp::UNIX_EPOCH);
        let day_until = day.checked_add(Span::new().hours(24 * VALID_DAYS)).unwrap_or(day);
        let today = jiff::tz::Offset::UTC.to_datetime(day).date();
        Times { today, day, day_until, from: seconds(day), until: seconds(day_until) }
    }
}
