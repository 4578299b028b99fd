//! Enrolment: rows of a file become people.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::RegistryError;
use crate::duplicates;
use crate::person::{Attribute, Attributes};
use crate::store::Registry;

/// Rows of one request: one transaction.
pub const ROWS_MAX: usize = 2_000;
/// The longest value of a field.
const FIELD_MAX_LEN: usize = 200;
/// The earliest birth date: nobody alive is older.
const EARLIEST_BIRTH_YEAR: i16 = 1895;

/// Which column holds which attribute. Read from a TOML file by the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnMap {
    /// How birth dates are written, in the letters of strftime: `%Y%m%d`.
    pub date_format: String,
    /// Attribute to columns; several are joined with a space.
    pub columns: BTreeMap<Attribute, Vec<String>>,
}

/// Rows to enrol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// Which column holds what.
    pub map: ColumnMap,
    /// The file's column names.
    pub header: Vec<String>,
    /// Rows, in the file's order.
    pub rows: Vec<Vec<String>>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum RowOutcome {
    /// A new person, with what to hand to them.
    Enrolled {
        /// Their offer.
        offer: Offer,
        /// Likely the same as this many others; a registrar must look.
        possible_duplicates: usize,
    },
    /// The same row was enrolled before.
    AlreadyEnrolled,
    /// Not acceptable.
    Refused {
        /// Why, without the value.
        reason: String,
    },
}

/// What a person gets at enrolment, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The one-time code, 32 bytes in hex.
    pub code: String,
    /// The transaction code, which goes to the person on another way than the code: on the receipt, by text message, by word.
    pub tx_code: String,
    /// The key by which the person finds the log's entries about them, 32 bytes in hex.
    pub tag_key: String,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offer(..)")
    }
}

/// Where each attribute stands in a row.
struct Columns(Vec<(Attribute, Vec<usize>)>);

impl Columns {
    fn find(map: &ColumnMap, header: &[String]) -> Result<Self, RegistryError> {
        let mut found = Vec::new();
        for attribute in Attribute::ALL {
            let names = map.columns.get(&attribute).filter(|names| !names.is_empty()).ok_or_else(|| {
                RegistryError::Invalid(format!("the column map names no column for {}", attribute.name()))
            })?;
            let place = |name: &String| {
                header.iter().position(|column| column.trim() == name.trim()).ok_or_else(|| {
                    RegistryError::Invalid(format!(
                        "the file has no column '{name}', which the map names for {}: nothing was enrolled",
                        attribute.name()
                    ))
                })
            };
            found.push((attribute, names.iter().map(place).collect::<Result<Vec<_>, _>>()?));
        }
        Ok(Columns(found))
    }

    fn value(&self, row: &[String], attribute: Attribute) -> String {
        let places = self.0.iter().find(|(other, _)| *other == attribute).map_or(&[][..], |(_, places)| places);
        let parts: Vec<&str> = places.iter().map(|place| row[*place].trim()).filter(|part| !part.is_empty()).collect();
        parts.join(" ")
    }
}

/// Reads a row. The error says what is wrong, without the value.
fn read_row(
    columns: &Columns,
    map: &ColumnMap,
    header_len: usize,
    row: &[String],
    today: Date,
) -> Result<Attributes, String> {
    if row.len() != header_len {
        return Err(format!("the row has {} columns and the header {header_len}", row.len()));
    }
    let field = |attribute: Attribute| -> Result<String, String> {
        let value = columns.value(row, attribute);
        if value.is_empty() {
            return Err(format!("{} is missing", attribute.name()));
        }
        if value.chars().count() > FIELD_MAX_LEN || value.chars().any(char::is_control) {
            return Err(format!(
                "{} is longer than {FIELD_MAX_LEN} letters or has control characters",
                attribute.name()
            ));
        }
        Ok(value)
    };
    let birth = Date::strptime(&map.date_format, field(Attribute::BirthDate)?)
        .map_err(|_| format!("birth_date is no date of the form {}", map.date_format))?;
    if birth > today {
        return Err("birth_date lies in the future".into());
    }
    if birth.year() < EARLIEST_BIRTH_YEAR {
        return Err(format!("birth_date lies before {EARLIEST_BIRTH_YEAR}"));
    }
    let document_number: String =
        field(Attribute::DocumentNumber)?.to_uppercase().chars().filter(|c| !c.is_whitespace()).collect();
    let fits = (4..=20).contains(&document_number.len());
    if !fits || !document_number.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err("document_number has 4 to 20 letters, digits or '-'".into());
    }
    Ok(Attributes {
        given_name: field(Attribute::GivenName)?,
        family_name: field(Attribute::FamilyName)?,
        birth_date: birth.to_string(),
        document_number,
        address: columns.value(row, Attribute::Address).chars().take(FIELD_MAX_LEN).collect(),
    })
}

impl Registry {
    /// Enrols rows, in one transaction; gives what became of each. Running it again enrols nobody twice.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] when a column is missing or there are too many rows: nobody is enrolled then.
    pub fn enrol(&self, request: &EnrolRequest) -> Result<Vec<RowOutcome>, RegistryError> {
        if request.rows.len() > ROWS_MAX {
            return Err(RegistryError::Invalid(format!("at most {ROWS_MAX} rows at a time")));
        }
        let columns = Columns::find(&request.map, &request.header)?;
        let now = i64::try_from(self.clock().unix_now()).unwrap_or(0);
        let timestamp = jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let today = jiff::tz::Offset::UTC.to_datetime(timestamp).date();
        self.act(|transaction| {
            let mut outcomes = Vec::with_capacity(request.rows.len());
            for row in &request.rows {
                outcomes.push(match read_row(&columns, &request.map, request.header.len(), row, today) {
                    Err(reason) => RowOutcome::Refused { reason },
                    Ok(attributes) => self.enrol_one(transaction, &attributes)?,
                });
            }
            Ok(outcomes)
        })
    }

    fn enrol_one(
        &self,
        transaction: &rusqlite::Transaction<'_>,
        attributes: &Attributes,
    ) -> Result<RowOutcome, RegistryError> {
        let keys = self.keys();
        let document_index = keys.index_hash("document-number", &attributes.document_number);
        let content = serde_json::to_string(attributes).expect("attributes are plain data");
        let content_digest = keys.index_hash("content", &content);
        let known: Option<Vec<u8>> = transaction
            .prepare_cached("SELECT content_digest FROM people WHERE document_index = ?1")?
            .query_row([document_index], |row| row.get(0))
            .optional()?;
        if let Some(known) = known {
            let reason = "document_number is enrolled already, in another record".to_owned();
            return Ok(if known == content_digest {
                RowOutcome::AlreadyEnrolled
            } else {
                RowOutcome::Refused { reason }
            });
        }
        let id = hex::encode(rand::random::<[u8; 16]>());
        let (record, data_key) = keys.seal(&id, attributes)?;
        let encoding = duplicates::encode(keys, attributes);
        transaction
            .prepare_cached(
                "INSERT INTO people (id, wrapped_key, sealed, document_index, content_digest, encoding)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![id, record.wrapped_key, record.sealed, document_index, content_digest, encoding.field])?;
        let possible_duplicates = duplicates::flag(transaction, &id, &encoding)?;
        let offer = self.make_offer(transaction, &id, &data_key)?;
        Ok(RowOutcome::Enrolled { offer, possible_duplicates })
    }

    /// How many people are flagged as likely duplicates of another.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn possible_duplicates(&self) -> Result<u64, RegistryError> {
        Ok(self
            .connection()
            .query_row("SELECT count(DISTINCT person) FROM possible_duplicates", [], |row| row.get(0))?)
    }
}
