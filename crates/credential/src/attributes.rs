//! What a Habeas ID attests: few attributes, in both formats. A small credential is shown faster, and fits the circuits of
//! zero-knowledge proofs.

use jiff::civil::Date;
use mdoc::DOC_TYPE;
use mdoc::issue::ElementValue;
use serde_json::{Value, json};

/// Ages attested as yes or no, so that a shop need not see a birth date.
pub const AGES: [i16; 4] = [18, 21, 60, 65];
/// The path of the type of an SD-JWT VC below the issuer's address: where its metadata is, too.
pub const TYPE_PATH: &str = "/types/id";

/// What is attested about a person.
#[derive(Clone)]
pub struct Attributes {
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// Birth date.
    pub birth_date: Date,
    /// Document number.
    pub document_number: String,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// Text.
    Text(String),
    /// A date.
    Date(Date),
    /// Yes or no.
    Bool(bool),
}

impl From<&AttributeValue> for Value {
    fn from(value: &AttributeValue) -> Value {
        match value {
            AttributeValue::Text(text) => json!(text),
            AttributeValue::Date(date) => json!(date.to_string()),
            AttributeValue::Bool(answer) => json!(answer),
        }
    }
}

impl From<&AttributeValue> for ElementValue {
    fn from(value: &AttributeValue) -> ElementValue {
        match value {
            AttributeValue::Text(text) => ElementValue::Text(text.clone()),
            AttributeValue::Date(date) => ElementValue::Date(*date),
            AttributeValue::Bool(answer) => ElementValue::Bool(*answer),
        }
    }
}

/// The names of all attributes, as they stand in credentials, and as people read them.
pub const NAMES: [(&str, &str); 8] = [
    ("given_name", "Given name"),
    ("family_name", "Family name"),
    ("birth_date", "Date of birth"),
    ("document_number", "Document number"),
    ("age_over_18", "18 or older"),
    ("age_over_21", "21 or older"),
    ("age_over_60", "60 or older"),
    ("age_over_65", "65 or older"),
];

impl Attributes {
    /// Whether the person has reached an age on a day.
    pub fn is_over(&self, years: i16, today: Date) -> bool {
        is_over(self.birth_date, years, today)
    }

    /// All attributes on a day, by name.
    pub fn on(&self, today: Date) -> Vec<(&'static str, AttributeValue)> {
        let mut all = vec![
            ("given_name", AttributeValue::Text(self.given_name.clone())),
            ("family_name", AttributeValue::Text(self.family_name.clone())),
            ("birth_date", AttributeValue::Date(self.birth_date)),
            ("document_number", AttributeValue::Text(self.document_number.clone())),
        ];
        let ages = NAMES[all.len()..].iter().zip(AGES);
        all.extend(ages.map(|((name, _), years)| (*name, AttributeValue::Bool(self.is_over(years, today)))));
        all
    }
}

/// Whether somebody who was born on a day has reached an age.
pub fn is_over(birth_date: Date, years: i16, today: Date) -> bool {
    let birthday_to_come = (today.month(), today.day()) < (birth_date.month(), birth_date.day());
    today.year() - birth_date.year() - i16::from(birthday_to_come) >= years
}

/// The age that an attribute tells of: 60 of `age_over_60`.
pub fn age_named(name: &str) -> Option<i16> {
    AGES.into_iter().find(|years| name.strip_prefix("age_over_") == Some(years.to_string().as_str()))
}

/// The path of an attribute in a format: of an mdoc, its namespace and its name.
pub fn path(format: &str, name: &str) -> Vec<Value> {
    if format == openid4vc::MSO_MDOC { vec![json!(DOC_TYPE), json!(name)] } else { vec![json!(name)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_reached_on_the_birthday() {
        let person = Attributes {
            given_name: "Adaline".into(),
            family_name: "Testperson".into(),
            birth_date: "1966-11-24".parse().unwrap(),
            document_number: "1".into(),
        };
        let is_over_60 = |today: &str| person.on(today.parse().unwrap())[6].clone();
        assert_eq!(is_over_60("2026-11-23"), ("age_over_60", AttributeValue::Bool(false)));
        assert_eq!(is_over_60("2026-11-24"), ("age_over_60", AttributeValue::Bool(true)));
        assert_eq!(person.on("2026-11-24".parse().unwrap()).len(), NAMES.len());
    }
}
