//! Issuing an ID credential to a device that proves its key.

use std::path::Path;
use std::sync::Arc;

use es256::PublicKey;
use jiff::{Span, Timestamp};
use mdoc::issue::{ElementValue, Validity, issue};
use sha2::{Digest, Sha256};

use crate::certificates::{self, Chain};
use crate::{AttributeSource, CertificateLog, Clock, IssuerError};

/// Ages attested as yes or no, so that a shop need not see a birth date.
const AGES: [i16; 4] = [18, 21, 60, 65];
/// How long a credential is valid, in days.
const VALID_DAYS: i64 = 365;

/// What a device signs to show that it has the key: this, a zero byte, and the offer's code.
pub const PROOF_DOMAIN: &[u8] = b"habeas credential proof v1";

/// The issuer; clones are handles to the same one.
#[derive(Clone)]
pub struct Issuer {
    inner: Arc<Inner>,
}

struct Inner {
    chain: Chain,
    source: Arc<dyn AttributeSource>,
    clock: Arc<dyn Clock>,
}

impl Issuer {
    /// Opens the issuer in a folder, or makes one with fresh keys, which are announced before they are used.
    ///
    /// # Errors
    /// When the keys can't be used or announced.
    pub fn open(
        folder: &Path,
        source: Arc<dyn AttributeSource>,
        log: &dyn CertificateLog,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssuerError> {
        let announce = |chain: &Chain| {
            for (role, der) in [("iaca", &chain.root), ("document-signer", &chain.signer.certificate)] {
                log.publish(role, Sha256::digest(der).into()).map_err(IssuerError::Log)?;
            }
            Ok(())
        };
        let chain = certificates::open(&folder.join("keys"), clock.now(), announce)?;
        Ok(Issuer { inner: Arc::new(Inner { chain, source, clock }) })
    }

    /// The root's certificate, DER: what verifiers trust.
    pub fn root(&self) -> &[u8] {
        &self.inner.chain.root
    }

    /// Issues a credential for an offer. `proof` is the device key's ES256 signature over [`PROOF_DOMAIN`], a zero byte and the code.
    ///
    /// # Errors
    /// When the proof does not hold, or the source refuses the offer.
    pub fn issue(&self, offer_code: &str, device_point: &[u8], proof: &[u8]) -> Result<Vec<u8>, IssuerError> {
        let message = [PROOF_DOMAIN, b"\0", offer_code.as_bytes()].concat();
        let device = PublicKey::from_point(device_point);
        let Some(device) = device.ok().filter(|device| device.verify(&message, proof)) else {
            return Err(IssuerError::Refused("the device did not prove its key".into()));
        };
        let person = self.inner.source.attributes_for(offer_code, device_point).map_err(IssuerError::Refused)?;
        // Midnight: a time of day would single the holder out.
        let midnight = self.inner.clock.now().as_second() / 86_400 * 86_400;
        let from = Timestamp::from_second(midnight).unwrap_or(Timestamp::UNIX_EPOCH);
        let until = from.checked_add(Span::new().hours(24 * VALID_DAYS)).unwrap_or(from);
        let today = jiff::tz::Offset::UTC.to_datetime(from).date();
        let birth = person.birth_date;
        let age = today.year() - birth.year() - i16::from((today.month(), today.day()) < (birth.month(), birth.day()));
        let names: Vec<String> = AGES.iter().map(|years| format!("age_over_{years}")).collect();
        let mut elements = vec![
            ("given_name", ElementValue::Text(person.given_name)),
            ("family_name", ElementValue::Text(person.family_name)),
            ("birth_date", ElementValue::Date(birth.to_string())),
            ("document_number", ElementValue::Text(person.document_number)),
        ];
        elements.extend(names.iter().zip(AGES).map(|(name, years)| (name.as_str(), ElementValue::Bool(age >= years))));
        let validity = Validity { from, until };
        Ok(issue(&elements, &device, validity, &self.inner.chain.signer, &mut rand::rng())?)
    }
}
