//! What the holder's wallet asks: redeem the offer, see what is owed, claim it.
//!
//! A request is `{"key", "payload", "signature"}`: the holder's Ed25519 key, a JSON text, and the signature over
//! `habeas holder v1`, a zero byte, the act's name, a zero byte and the text. Each payload holds `at`, the holder's time.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use rusqlite::{OptionalExtension, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gate::{Opened, Purpose};
use crate::person::Attribute;
use crate::store::Registry;
use crate::{Order, RegistryError};

/// How far the holder's clock may be off, in seconds: phones that were never set right still work, and a request that
/// was recorded on the network is worthless after.
const CLOCK_SKEW_MAX: u64 = 600;

/// A signed request of a holder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedRequest {
    /// Ed25519 public key, hex.
    pub key: String,
    /// JSON text.
    pub payload: String,
    /// Ed25519 signature, hex.
    pub signature: String,
}

/// Act `redeem`: the holder binds their key to the offer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RedeemPayload {
    /// Unix time.
    pub at: u64,
    /// The offer's code, hex.
    pub code: String,
}

/// Act `entitlements`: what am I owed?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntitlementsPayload {
    /// Unix time.
    pub at: u64,
}

/// Act `claim`: a quote for one entitlement, locked to a fresh key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClaimPayload {
    /// Unix time.
    pub at: u64,
    /// The entitlement.
    pub entitlement: String,
    /// The key, 33 bytes in hex.
    pub pubkey: String,
}

/// Something a person is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    /// Its id.
    pub id: String,
    /// The programme's name.
    pub programme: String,
    /// The period.
    pub period: String,
    /// Unit.
    pub unit: String,
    /// How much.
    pub amount_minor: u64,
    /// The quote, once claimed.
    pub quote: Option<String>,
}

trait Timed {
    fn at(&self) -> u64;
}

macro_rules! timed {
    ($($payload:ty),*) => { $(impl Timed for $payload { fn at(&self) -> u64 { self.at } })* };
}
timed!(RedeemPayload, EntitlementsPayload, ClaimPayload);

impl Registry {
    /// Checks a signed request and gives the key's bytes and the payload.
    fn verify<Payload: DeserializeOwned + Timed>(
        &self,
        act: &str,
        request: &SignedRequest,
    ) -> Result<(Vec<u8>, Payload), RegistryError> {
        let refused = || RegistryError::Forbidden("the holder's own signature");
        let key = hex::decode(&request.key).map_err(|_| refused())?;
        let signature = hex::decode(&request.signature).map_err(|_| refused())?;
        let message = [b"habeas holder v1\0".as_slice(), act.as_bytes(), b"\0", request.payload.as_bytes()].concat();
        UnparsedPublicKey::new(&ED25519, &key).verify(&message, &signature).map_err(|_| refused())?;
        let payload: Payload = serde_json::from_str(&request.payload)
            .map_err(|_| RegistryError::Invalid("the request's payload can't be read".into()))?;
        if payload.at().abs_diff(self.clock().unix_now()) > CLOCK_SKEW_MAX {
            let sentence = "the device's clock is more than ten minutes off: set it and try again";
            return Err(RegistryError::Invalid(sentence.into()));
        }
        Ok((key, payload))
    }

    /// Binds the holder's key to the person of an offer. The same holder may ask again.
    ///
    /// # Errors
    /// For a code that is unknown or was used by another key.
    pub fn redeem_offer(&self, request: &SignedRequest) -> Result<(), RegistryError> {
        let (key, payload): (_, RedeemPayload) = self.verify("redeem", request)?;
        let code_hash = hash_of_code(&payload.code)?;
        self.act(|transaction| {
            let (person, bound): (String, Option<Vec<u8>>) = transaction
                .prepare_cached("SELECT person, holder_key FROM offers WHERE code_hash = ?1")?
                .query_row([&code_hash], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?
                .ok_or(RegistryError::NotFound("offer"))?;
            if bound.is_some_and(|bound| bound != key) {
                return Err(RegistryError::Conflict("this offer was used already: ask the desk for a new one"));
            }
            transaction
                .prepare_cached("UPDATE offers SET holder_key = ?2 WHERE code_hash = ?1")?
                .execute(params![code_hash, key])?;
            transaction
                .prepare_cached("INSERT INTO holders (holder_key, person) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute(params![key, person])?;
            Ok(())
        })
    }

    fn holder(&self, key: &[u8]) -> Result<String, RegistryError> {
        let found = self
            .connection()
            .prepare_cached("SELECT person FROM holders WHERE holder_key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        found.ok_or(RegistryError::Forbidden("a wallet that redeemed an offer"))
    }

    /// What the holder is owed, of approved runs.
    ///
    /// # Errors
    /// For somebody who is no holder.
    pub fn entitlements(&self, request: &SignedRequest) -> Result<Vec<Entitlement>, RegistryError> {
        let (key, _): (_, EntitlementsPayload) = self.verify("entitlements", request)?;
        let person = self.holder(&key)?;
        let database = self.connection();
        let mut statement = database.prepare_cached(
            "SELECT lines.id, programmes.name, programmes.period, programmes.unit, lines.amount_minor, lines.quote
             FROM lines JOIN runs ON runs.id = lines.run JOIN programmes ON programmes.id = runs.programme
             WHERE lines.person = ?1 AND runs.state = 'approved' ORDER BY lines.id",
        )?;
        let entitlements = statement
            .query_map([person], |row| {
                Ok(Entitlement {
                    id: row.get(0)?,
                    programme: row.get(1)?,
                    period: row.get(2)?,
                    unit: row.get(3)?,
                    amount_minor: row.get(4)?,
                    quote: row.get(5)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(entitlements)
    }

    /// Claims an entitlement: stores the quote's id and key, then orders it. The same claim may be made again.
    ///
    /// # Errors
    /// For an entitlement of somebody else, one claimed with another key, or an order that can't be made just now.
    pub fn claim(&self, request: &SignedRequest) -> Result<String, RegistryError> {
        let (key, payload): (_, ClaimPayload) = self.verify("claim", request)?;
        let person = self.holder(&key)?;
        let bytes = hex::decode(&payload.pubkey).unwrap_or_default();
        if bytes.len() != 33 || !matches!(bytes[0], 2 | 3) {
            return Err(RegistryError::Invalid("the key of a claim is 33 bytes in hex".into()));
        }
        let order = self.act(|transaction| {
            let found = transaction
                .prepare_cached(
                    "SELECT lines.run, runs.programme, programmes.unit, lines.amount_minor, lines.quote, lines.pubkey
                     FROM lines JOIN runs ON runs.id = lines.run JOIN programmes ON programmes.id = runs.programme
                     WHERE lines.id = ?1 AND lines.person = ?2 AND runs.state = 'approved'",
                )?
                .query_row(params![payload.entitlement, person], |row| {
                    Ok(Order {
                        run: row.get(0)?,
                        programme: row.get(1)?,
                        unit: row.get(2)?,
                        amount_minor: row.get(3)?,
                        quote: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                        pubkey: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                    })
                })
                .optional()?;
            let mut order = found.ok_or(RegistryError::NotFound("entitlement"))?;
            if order.quote.is_empty() {
                order.quote = uuid::Uuid::now_v7().to_string();
                order.pubkey = payload.pubkey.clone();
                transaction
                    .prepare_cached("UPDATE lines SET quote = ?2, pubkey = ?3 WHERE id = ?1")?
                    .execute(params![payload.entitlement, order.quote, order.pubkey])?;
            } else if order.pubkey != payload.pubkey {
                return Err(RegistryError::Conflict("this entitlement was claimed with another key"));
            }
            Ok(order)
        })?;
        self.orders().order(&order).map_err(RegistryError::Orders)?;
        Ok(order.quote)
    }

    /// The attributes that a credential attests, for the holder of an offer's code; `device_key` is bound at the first use, so
    /// that an offer yields one credential. The record is opened through the gate.
    ///
    /// # Errors
    /// For a code that is unknown or was used for another device, or a log that can't be written.
    pub fn attributes_for_credential(&self, code: &str, device_key: &[u8]) -> Result<Opened, RegistryError> {
        let code_hash = hash_of_code(code)?;
        let device_hash = Sha256::digest(device_key).to_vec();
        let person: String = self.act(|transaction| {
            let (person, bound): (String, Option<Vec<u8>>) = transaction
                .prepare_cached("SELECT person, device_key FROM offers WHERE code_hash = ?1")?
                .query_row([&code_hash], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?
                .ok_or(RegistryError::NotFound("offer"))?;
            match bound {
                Some(bound) if bound != device_hash => {
                    Err(RegistryError::Conflict("this offer was used already: ask the desk for a new one"))
                }
                Some(_) => Ok(person),
                None => {
                    transaction
                        .prepare_cached("UPDATE offers SET device_key = ?2 WHERE code_hash = ?1")?
                        .execute(params![code_hash, device_hash])?;
                    Ok(person)
                }
            }
        })?;
        let records = self.sealed_records(Some(&person))?;
        let fields = [Attribute::GivenName, Attribute::FamilyName, Attribute::BirthDate, Attribute::DocumentNumber];
        let opened = self.open_records(&records, "credential-issuer", Purpose::IssueCredential, &fields)?;
        opened.into_iter().next().ok_or(RegistryError::NotFound("person"))
    }
}

fn hash_of_code(code: &str) -> Result<Vec<u8>, RegistryError> {
    let code = hex::decode(code.trim()).map_err(|_| RegistryError::Invalid("this is not an offer's code".into()))?;
    Ok(Sha256::digest(code).to_vec())
}
