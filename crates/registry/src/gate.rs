//! The access gate: the one way to read a person. An [`Access`] says who reads which fields, and why. First the log has an entry for
//! each record, durably; then, with its receipt, there is the data.

use std::str::FromStr;

use crate::officers::{Actor, Role};
use crate::person::{Attribute, Attributes};
use crate::seal::{DataKey, SealedRecord, tag_mac};
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
    /// To answer a person about their own record.
    AnswerPerson,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Purpose; 4] =
        [Purpose::IssueCredential, Purpose::IssuePredicate, Purpose::EvaluateRule, Purpose::AnswerPerson];

    /// The name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::IssueCredential => "issue-credential",
            Purpose::IssuePredicate => "issue-predicate",
            Purpose::EvaluateRule => "evaluate-rule",
            Purpose::AnswerPerson => "answer-person",
        }
    }

    /// What it allows to read.
    pub fn fields(self) -> &'static [Attribute] {
        match self {
            Purpose::IssueCredential => {
                &[Attribute::GivenName, Attribute::FamilyName, Attribute::BirthDate, Attribute::DocumentNumber]
            }
            Purpose::IssuePredicate | Purpose::EvaluateRule => &[Attribute::BirthDate],
            Purpose::AnswerPerson => &Attribute::ALL,
        }
    }

    fn is_for(self, reader: Reader<'_>) -> bool {
        match (self, reader) {
            (Purpose::IssueCredential | Purpose::IssuePredicate, Reader::CredentialIssuer) => true,
            (Purpose::EvaluateRule, Reader::Officer(actor)) => actor.role == Role::ProgrammeOfficer,
            (Purpose::AnswerPerson, Reader::Officer(actor) | Reader::Two(actor, _)) => actor.role == Role::Registrar,
            _ => false,
        }
    }
}

impl FromStr for Purpose {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        Purpose::ALL.into_iter().find(|purpose| purpose.name() == text).ok_or_else(|| {
            let names = Purpose::ALL.map(Purpose::name).join(", ");
            RegistryError::Invalid(format!("a record is opened for one of the published purposes: {names}"))
        })
    }
}

/// Who reads.
#[derive(Clone, Copy)]
pub(crate) enum Reader<'a> {
    /// The credential issuer, for a device of the person whose record it is.
    CredentialIssuer,
    /// An officer.
    Officer(&'a Actor),
    /// An officer, with the approval of another one.
    Two(&'a Actor, &'a str),
}

impl<'a> Reader<'a> {
    fn role(self) -> &'static str {
        match self {
            Reader::CredentialIssuer => "credential-issuer",
            Reader::Officer(actor) | Reader::Two(actor, _) => actor.role.name(),
        }
    }

    fn officers(self) -> Vec<&'a str> {
        match self {
            Reader::CredentialIssuer => Vec::new(),
            Reader::Officer(actor) => vec![&actor.id],
            Reader::Two(actor, second) => vec![&actor.id, second],
        }
    }
}

/// Who reads which fields, and why: what the gate wants to know.
#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    reader: Reader<'a>,
    purpose: Purpose,
    fields: &'a [Attribute],
}

impl<'a> Access<'a> {
    /// # Errors
    /// [`RegistryError::Forbidden`] for a purpose that is not the reader's, a field beyond the purpose, or one officer as two.
    pub(crate) fn new(reader: Reader<'a>, purpose: Purpose, fields: &'a [Attribute]) -> Result<Self, RegistryError> {
        if !purpose.is_for(reader) {
            return Err(RegistryError::Forbidden("the purpose is not one of this role"));
        }
        if fields.is_empty() || fields.iter().any(|field| !purpose.fields().contains(field)) {
            return Err(RegistryError::Forbidden("the purpose does not allow these fields"));
        }
        if matches!(reader, Reader::Two(actor, second) if actor.id == second) {
            return Err(RegistryError::Forbidden("another officer than the one who asks"));
        }
        Ok(Access { reader, purpose, fields })
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

    /// The fields that were asked for, with their values.
    pub fn fields(&self) -> impl Iterator<Item = (Attribute, &str)> {
        self.fields.iter().map(|field| (*field, self.attributes.get(*field)))
    }
}

impl Registry {
    /// Opens records.
    ///
    /// # Errors
    /// [`RegistryError::Log`] when the entries are not durable: then nothing is decrypted.
    pub(crate) fn open_records(
        &self,
        records: &[SealedRecord],
        access: Access<'_>,
    ) -> Result<Vec<Opened>, RegistryError> {
        let Access { reader, purpose, fields } = access;
        let mut opened = Vec::with_capacity(records.len());
        for part in records.chunks(RECORDS_PER_ENTRY_BATCH) {
            let keys = part.iter().map(|record| self.keys().unwrap(record)).collect::<Result<Vec<_>, _>>()?;
            let entry = |key: &DataKey| self.entry(key, purpose.name(), reader, fields);
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

    /// Opens the record of one person.
    ///
    /// # Errors
    /// As [`Registry::open_records`], and when there is no such person.
    pub(crate) fn open_record(&self, person: &str, access: Access<'_>) -> Result<Opened, RegistryError> {
        let opened = self.open_records(&self.sealed_records(Some(person))?, access)?;
        opened.into_iter().next().ok_or(RegistryError::NotFound("person"))
    }

    /// The log's entry about something that is done with one record.
    pub(crate) fn entry(
        &self,
        key: &DataKey,
        purpose: &'static str,
        reader: Reader<'_>,
        fields: &[Attribute],
    ) -> AccessEntry {
        let tag_nonce = rand::random();
        let mark = |officer: &str| self.keys().officer_mark(officer, &tag_nonce);
        AccessEntry {
            tag_nonce,
            tag_mac: tag_mac(&key.tag_key(), purpose, &tag_nonce),
            purpose,
            role: reader.role(),
            officers: reader.officers().into_iter().map(mark).collect(),
            fields: fields.iter().map(|field| field.name()).collect(),
            at: self.clock().unix_now() / 3600 * 3600,
        }
    }
}
