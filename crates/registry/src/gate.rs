//! The access gate: the one way to read a person. First the log has the entry, durably; then, with its receipt, the data.

use crate::person::{Attribute, Attributes};
use crate::seal::{SealedRecord, tag_mac};
use crate::store::Registry;
use crate::{AccessEntry, RegistryError};

/// How many records one call opens at a time: bounds the memory that clear data takes.
const RECORDS_PER_ENTRY_BATCH: usize = 10_000;

/// Why a record is opened: the published list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To attest attributes in a credential.
    IssueCredential,
    /// To give tokens of a predicate: an age, and no more of the record than the birth date.
    IssuePredicate,
    /// To find out who is eligible.
    EvaluateRule,
}

impl Purpose {
    /// The name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::IssueCredential => "issue-credential",
            Purpose::IssuePredicate => "issue-predicate",
            Purpose::EvaluateRule => "evaluate-rule",
        }
    }
}

/// The log's word that an opening is on record. Only this module makes one.
pub struct Receipt(());

/// What was opened: the fields that were asked for, and no others.
pub struct Opened {
    person: String,
    fields: Vec<Attribute>,
    attributes: Attributes,
}

impl Opened {
    /// The person.
    pub fn person(&self) -> &str {
        &self.person
    }

    /// The value of a field; `None` for one that was not asked for.
    pub fn get(&self, field: Attribute) -> Option<&str> {
        self.fields.contains(&field).then(|| self.attributes.get(field))
    }
}

impl Registry {
    /// Opens records, in one purpose, for some fields.
    ///
    /// # Errors
    /// [`RegistryError::Log`] when the entries are not durable: then nothing is decrypted.
    pub(crate) fn open_records(
        &self,
        records: &[SealedRecord],
        role: &'static str,
        purpose: Purpose,
        fields: &[Attribute],
    ) -> Result<Vec<Opened>, RegistryError> {
        let mut opened = Vec::with_capacity(records.len());
        let hour = self.clock().unix_now() / 3600 * 3600;
        for part in records.chunks(RECORDS_PER_ENTRY_BATCH) {
            let keys = part.iter().map(|record| self.keys().unwrap(record)).collect::<Result<Vec<_>, _>>()?;
            let entry = |key: &crate::seal::DataKey| {
                let tag_nonce = rand::random();
                AccessEntry {
                    tag_nonce,
                    tag_mac: tag_mac(&key.tag_key(), purpose.name(), &tag_nonce),
                    purpose: purpose.name(),
                    role,
                    fields: fields.iter().map(|field| field.name()).collect(),
                    at: hour,
                }
            };
            let entries: Vec<AccessEntry> = keys.iter().map(entry).collect();
            self.log().record(&entries).map_err(RegistryError::Log)?;
            let receipt = Receipt(());
            for (record, key) in part.iter().zip(&keys) {
                let attributes = key.open(record, &receipt)?;
                opened.push(Opened { person: record.id.clone(), fields: fields.to_vec(), attributes });
            }
        }
        Ok(opened)
    }
}
