//! Offers: a one-time code that a person gets at the desk, and a transaction code that comes on another way. Whoever has both is that
//! person, once.

use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use crate::RegistryError;
use crate::enrol::Offer;
use crate::gate::{Access, Opened, Purpose, Reader};
use crate::seal::DataKey;
use crate::store::Registry;

/// Wrong transaction codes until an offer is void: five guesses at six digits hit once in 200,000 offers.
const TRIES: u32 = 5;
/// Digits of a transaction code.
pub const TX_CODE_DIGITS: usize = 6;

/// Why an offer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OfferRefusal {
    /// There is no such offer.
    #[error("there is no such offer")]
    Unknown,
    /// Another device took it.
    #[error("this offer was used already")]
    Used,
    /// The transaction code is missing or wrong.
    #[error("the transaction code is not right; {left} more tries")]
    WrongCode {
        /// How many tries are left.
        left: u32,
    },
    /// Too many wrong transaction codes.
    #[error("too many wrong transaction codes")]
    Locked,
    /// The registry can't be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<rusqlite::Error> for OfferRefusal {
    fn from(error: rusqlite::Error) -> Self {
        OfferRefusal::Registry(error.into())
    }
}

impl Registry {
    /// A fresh offer for a person.
    pub(crate) fn make_offer(
        &self,
        transaction: &Transaction<'_>,
        person: &str,
        data_key: &DataKey,
    ) -> Result<Offer, RegistryError> {
        let code = hex::encode(rand::random::<[u8; 32]>());
        let number = rand::random::<u64>() % 10u64.pow(TX_CODE_DIGITS as u32);
        let tx_code = format!("{number:0width$}", width = TX_CODE_DIGITS);
        transaction
            .prepare_cached(
                "INSERT INTO offer_codes (code_hash, person, tx_code_hash, tries_left) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![hash_of(&code), person, self.tx_code_hash(&code, &tx_code), TRIES])?;
        Ok(Offer { code, tx_code, tag_key: hex::encode(*data_key.tag_key()) })
    }

    /// A new offer for a person who lost the device that took the last one. Offers that nobody took are void from now on.
    ///
    /// # Errors
    /// When there is no such person, or the database can't be written.
    pub fn new_offer(&self, person: &str) -> Result<Offer, RegistryError> {
        let records = self.sealed_records(Some(person))?;
        let data_key = self.keys().unwrap(records.first().ok_or(RegistryError::NotFound("person"))?)?;
        self.act(|transaction| {
            transaction
                .prepare_cached("UPDATE offer_codes SET tries_left = 0 WHERE person = ?1 AND grant_id IS NULL")?
                .execute([person])?;
            self.make_offer(transaction, person, &data_key)
        })
    }

    /// The person who is enrolled with a document number; found by its keyed hash, without opening a record.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn person_by_document(&self, document_number: &str) -> Result<Option<String>, RegistryError> {
        let index = self.keys().index_hash("document-number", document_number.trim());
        let found = self
            .connection()
            .query_row("SELECT id FROM people WHERE document_index = ?1", [index], |row| row.get(0))
            .optional()?;
        Ok(found)
    }

    /// Whether both codes of an offer are right and it waits to be taken. A wrong transaction code uses up a try.
    ///
    /// # Errors
    /// Why not.
    pub fn check_offer(&self, code: &str, tx_code: Option<&str>) -> Result<(), OfferRefusal> {
        self.with_offer(code, tx_code, None)
    }

    /// Takes an offer for a grant, which may take it again. Gives the person.
    ///
    /// # Errors
    /// Why not.
    pub fn take_offer(&self, code: &str, tx_code: Option<&str>, grant: &str) -> Result<String, OfferRefusal> {
        self.with_offer(code, tx_code, Some(grant))?;
        let person = self
            .connection()
            .prepare_cached("SELECT person FROM offer_codes WHERE code_hash = ?1 AND grant_id = ?2")?
            .query_row(params![hash_of(code), grant], |row| row.get(0))?;
        Ok(person)
    }

    fn with_offer(&self, code: &str, tx_code: Option<&str>, take_for: Option<&str>) -> Result<(), OfferRefusal> {
        let code_hash = hash_of(code);
        let given = self.tx_code_hash(code, tx_code.unwrap_or_default());
        // A wrong try is written down like a right one: the refusal is told after the commit.
        self.act(|transaction| {
            type Row = (Vec<u8>, u32, Option<String>);
            let found: Option<Row> = transaction
                .prepare_cached("SELECT tx_code_hash, tries_left, grant_id FROM offer_codes WHERE code_hash = ?1")?
                .query_row([&code_hash], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((right, tries_left, taken_by)) = found else { return Ok(Err(OfferRefusal::Unknown)) };
            if taken_by.as_deref().is_some_and(|grant| Some(grant) != take_for) {
                return Ok(Err(OfferRefusal::Used));
            }
            if tries_left == 0 {
                return Ok(Err(OfferRefusal::Locked));
            }
            if right != given {
                transaction
                    .prepare_cached("UPDATE offer_codes SET tries_left = tries_left - 1 WHERE code_hash = ?1")?
                    .execute([&code_hash])?;
                let left = tries_left - 1;
                return Ok(Err(if left == 0 { OfferRefusal::Locked } else { OfferRefusal::WrongCode { left } }));
            }
            if let Some(grant) = take_for {
                transaction
                    .prepare_cached("UPDATE offer_codes SET grant_id = ?2 WHERE code_hash = ?1")?
                    .execute(params![code_hash, grant])?;
            }
            Ok(Ok(()))
        })?
    }

    /// The attributes that a credential attests. The record is opened through the gate.
    ///
    /// # Errors
    /// When there is no such person, or the log can't be written.
    pub fn attributes_for_credential(&self, person: &str) -> Result<Opened, RegistryError> {
        let purpose = Purpose::IssueCredential;
        self.open_record(person, Access::new(Reader::CredentialIssuer, purpose, purpose.fields())?)
    }

    /// The birth date, from which an anonymous predicate is decided. The record is opened through the gate, for this field alone.
    ///
    /// # Errors
    /// When there is no such person, or the log can't be written.
    pub fn birth_date_for_predicate(&self, person: &str) -> Result<Opened, RegistryError> {
        let purpose = Purpose::IssuePredicate;
        self.open_record(person, Access::new(Reader::CredentialIssuer, purpose, purpose.fields())?)
    }

    /// Keyed, since six digits are soon tried out.
    fn tx_code_hash(&self, code: &str, tx_code: &str) -> [u8; 32] {
        self.keys().index_hash("transaction-code", &format!("{code}:{}", tx_code.trim()))
    }
}

fn hash_of(code: &str) -> Vec<u8> {
    Sha256::digest(code.trim()).to_vec()
}
