//! What is held about a person: this list, and nothing else.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RegistryError;

/// An attribute of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// To address the person and print the card.
    GivenName,
    /// To address the person and print the card.
    FamilyName,
    /// To evaluate age rules and attest ages.
    BirthDate,
    /// To enrol each person once.
    DocumentNumber,
    /// To reach the person by letter and find likely duplicates.
    Address,
}

impl Attribute {
    /// All attributes.
    pub const ALL: [Attribute; 5] = [
        Attribute::GivenName,
        Attribute::FamilyName,
        Attribute::BirthDate,
        Attribute::DocumentNumber,
        Attribute::Address,
    ];

    /// The name in maps, entries and the public list.
    pub fn name(self) -> &'static str {
        match self {
            Attribute::GivenName => "given_name",
            Attribute::FamilyName => "family_name",
            Attribute::BirthDate => "birth_date",
            Attribute::DocumentNumber => "document_number",
            Attribute::Address => "address",
        }
    }
}

impl FromStr for Attribute {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        Attribute::ALL.into_iter().find(|attribute| attribute.name() == text).ok_or_else(|| {
            let names = Attribute::ALL.map(Attribute::name).join(", ");
            RegistryError::Invalid(format!("what is held about a person is {names}"))
        })
    }
}

/// A person's attributes, in the clear: only while they are enrolled or behind the gate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Attributes {
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// `YYYY-MM-DD`.
    pub birth_date: String,
    /// Document number.
    pub document_number: String,
    /// Address, one line.
    pub address: String,
}

impl Attributes {
    /// The value of one attribute.
    pub fn get(&self, attribute: Attribute) -> &str {
        match attribute {
            Attribute::GivenName => &self.given_name,
            Attribute::FamilyName => &self.family_name,
            Attribute::BirthDate => &self.birth_date,
            Attribute::DocumentNumber => &self.document_number,
            Attribute::Address => &self.address,
        }
    }
}
