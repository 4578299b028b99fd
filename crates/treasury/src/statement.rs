//! Bank statements, ISO 20022 camt.053.001.08: deposits for programmes, and confirmations of payments to merchants.

use quick_xml::de::from_str;
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::TreasuryError;
use crate::ledger::{Movement, Treasury, balance, book, booked};
use crate::money::{exponent, parse_minor};

/// The largest statement that is read: a day of a hundred thousand entries.
const STATEMENT_MAX_LEN: usize = 64 * 1024 * 1024;
const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08";

/// What an import booked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The statement's id.
    pub statement: String,
    /// The account's currency.
    pub unit: String,
    /// Deposits credited to programmes, in minor units.
    pub funded_minor: u64,
    /// Payments to merchants confirmed, in minor units.
    pub confirmed_minor: u64,
    /// References of entries that match nothing: a person must look at them.
    pub unmatched: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@xmlns")]
    namespace: String,
    #[serde(rename = "BkToCstmrStmt")]
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Stmt")]
    statement: Statement,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Bal", default)]
    balances: Vec<Balance>,
    #[serde(rename = "Ntry", default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Balance {
    #[serde(rename = "Tp")]
    kind: BalanceKind,
    #[serde(rename = "Amt")]
    amount: Amount,
    #[serde(rename = "CdtDbtInd")]
    direction: String,
}

#[derive(Deserialize)]
struct BalanceKind {
    #[serde(rename = "CdOrPrtry")]
    code: Code,
}

#[derive(Deserialize)]
struct Code {
    #[serde(rename = "Cd")]
    code: String,
}

#[derive(Deserialize)]
struct Amount {
    #[serde(rename = "@Ccy")]
    currency: String,
    #[serde(rename = "$text")]
    value: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "NtryRef")]
    reference: Option<String>,
    #[serde(rename = "Amt")]
    amount: Amount,
    #[serde(rename = "CdtDbtInd")]
    direction: String,
    #[serde(rename = "Sts")]
    status: Code,
    #[serde(rename = "NtryDtls")]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(rename = "TxDtls", default)]
    transactions: Vec<TransactionDetails>,
}

#[derive(Deserialize)]
struct TransactionDetails {
    #[serde(rename = "Refs")]
    references: Option<References>,
    #[serde(rename = "RmtInf")]
    remittance: Option<Remittance>,
}

#[derive(Deserialize)]
struct References {
    #[serde(rename = "EndToEndId")]
    end_to_end: Option<String>,
}

#[derive(Deserialize)]
struct Remittance {
    #[serde(rename = "Ustrd", default)]
    text: Vec<String>,
    #[serde(rename = "Strd")]
    structured: Option<Structured>,
}

#[derive(Deserialize)]
struct Structured {
    #[serde(rename = "CdtrRefInf")]
    creditor: Option<CreditorReference>,
}

#[derive(Deserialize)]
struct CreditorReference {
    #[serde(rename = "Ref")]
    reference: Option<String>,
}

/// An entry as far as it matters here.
struct Booking {
    reference: String,
    amount_minor: u64,
    credit: bool,
    /// The end-to-end id and the remittance references, whichever there are.
    keys: Vec<String>,
}

/// A statement that was read and adds up.
struct Parsed {
    id: String,
    unit: String,
    bookings: Vec<Booking>,
}

impl Treasury {
    /// Imports a statement: all of it, or nothing.
    ///
    /// # Errors
    /// [`TreasuryError::BadStatement`] when it can't be read or does not add up, [`TreasuryError::StatementRepeated`].
    pub fn import_statement(&self, xml: &[u8]) -> Result<Imported, TreasuryError> {
        let Parsed { id, unit, bookings } = parse(xml).map_err(TreasuryError::BadStatement)?;
        let at = self.clock.unix_now();
        self.act(|transaction| {
            let fresh = transaction
                .execute("INSERT INTO statements (id, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING", params![id, at])?;
            if fresh == 0 {
                return Err(TreasuryError::StatementRepeated(id.clone()));
            }
            let mut imported = Imported { statement: id.clone(), unit: unit.clone(), ..Imported::default() };
            for booking in &bookings {
                let reference = format!("{id}/{}", booking.reference);
                let movement = if booking.credit {
                    find_programme(transaction, &booking.keys, &unit)?.map(|programme| Movement {
                        unit: &unit,
                        debit: format!("bank:{unit}"),
                        credit: format!("available:{programme}"),
                        amount_minor: booking.amount_minor,
                        kind: "fund",
                        reference: &reference,
                    })
                } else {
                    find_payment(transaction, &booking.keys, &unit, booking.amount_minor)?.map(|(end_to_end, merchant)| Movement {
                        unit: &unit,
                        debit: format!("settling:{merchant}"),
                        credit: format!("paid_out:{unit}"),
                        amount_minor: booking.amount_minor,
                        kind: "confirm",
                        reference: end_to_end,
                    })
                };
                match movement {
                    Some(movement) if !booked(transaction, &movement)? => {
                        book(transaction, at, &movement)?;
                        let sum = if booking.credit { &mut imported.funded_minor } else { &mut imported.confirmed_minor };
                        *sum += booking.amount_minor;
                    }
                    _ => {
                        transaction.execute(
                            "INSERT INTO unmatched (statement, reference, amount_minor, direction) VALUES (?1, ?2, ?3, ?4)",
                            params![id, booking.reference, booking.amount_minor, if booking.credit { "CRDT" } else { "DBIT" }],
                        )?;
                        imported.unmatched.push(booking.reference.clone());
                    }
                }
            }
            Ok(imported)
        })
    }
}

fn find_programme(
    transaction: &rusqlite::Transaction<'_>,
    keys: &[String],
    unit: &str,
) -> Result<Option<String>, TreasuryError> {
    for key in keys {
        let found = transaction
            .query_row("SELECT id FROM programmes WHERE reference = ?1 AND unit = ?2", params![key, unit], |row| {
                row.get(0)
            })
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The payment that a debit confirms: by its end-to-end id, with the same amount, not confirmed before.
fn find_payment<'a>(
    transaction: &rusqlite::Transaction<'_>,
    keys: &'a [String],
    unit: &str,
    amount_minor: u64,
) -> Result<Option<(&'a str, String)>, TreasuryError> {
    for key in keys {
        let credit: Option<String> = transaction
            .query_row(
                "SELECT credit FROM journal WHERE kind = 'settle' AND reference = ?1 AND unit = ?2 AND amount_minor = ?3",
                params![key, unit, amount_minor],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(merchant) = credit.as_deref().and_then(|account| account.strip_prefix("settling:"))
            && balance(transaction, &format!("settling:{merchant}"))? >= amount_minor
        {
            return Ok(Some((key, merchant.to_owned())));
        }
    }
    Ok(None)
}

/// Reads a statement and checks that it adds up. The error is a sentence without the document's contents.
fn parse(xml: &[u8]) -> Result<Parsed, String> {
    if xml.len() > STATEMENT_MAX_LEN {
        return Err("it is larger than 64 MiB".into());
    }
    let text = std::str::from_utf8(xml).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.contains("<!DOCTYPE") || text.contains("<!ENTITY") {
        return Err("it declares entities, which no bank statement does".into());
    }
    let document: Document = from_str(text).map_err(|_| "it is not a camt.053 document".to_owned())?;
    if document.namespace != NAMESPACE {
        return Err("it is not camt.053.001.08".into());
    }
    let statement = document.message.statement;
    let balance_of = |code: &str| statement.balances.iter().find(|balance| balance.kind.code.code == code);
    let (opening, closing) =
        balance_of("OPBD").zip(balance_of("CLBD")).ok_or("it lacks the opening or the closing balance")?;
    let currency = &opening.amount.currency;
    let unit = currency.to_ascii_lowercase();
    let exponent = exponent(&unit).ok_or("its currency is not known here")?;
    let minor = |amount: &Amount| -> Result<u64, String> {
        if amount.currency != *currency {
            return Err("it mixes currencies".into());
        }
        parse_minor(amount.value.trim(), exponent).ok_or_else(|| "it has an amount that is not one".into())
    };
    let signed = |amount: &Amount, direction: &str| -> Result<i128, String> {
        match direction {
            "CRDT" => Ok(i128::from(minor(amount)?)),
            "DBIT" => Ok(-i128::from(minor(amount)?)),
            _ => Err("it has an entry that is neither credit nor debit".into()),
        }
    };
    let mut sum = signed(&opening.amount, &opening.direction)?;
    let mut bookings = Vec::new();
    for (number, entry) in statement.entries.iter().enumerate() {
        if entry.status.code != "BOOK" {
            continue;
        }
        sum += signed(&entry.amount, &entry.direction)?;
        let mut keys = Vec::new();
        for details in entry.details.iter().flat_map(|details| &details.transactions) {
            keys.extend(details.references.iter().filter_map(|references| references.end_to_end.clone()));
            if let Some(remittance) = &details.remittance {
                keys.extend(remittance.text.iter().map(|text| text.trim().to_owned()));
                let structured = remittance.structured.as_ref().and_then(|structured| structured.creditor.as_ref());
                keys.extend(structured.and_then(|creditor| creditor.reference.clone()));
            }
        }
        bookings.push(Booking {
            reference: entry.reference.clone().unwrap_or_else(|| format!("entry {}", number + 1)),
            amount_minor: minor(&entry.amount)?,
            credit: entry.direction == "CRDT",
            keys,
        });
    }
    if sum != signed(&closing.amount, &closing.direction)? {
        return Err("its closing balance is not its opening balance with its entries".into());
    }
    if bookings.iter().any(|booking| booking.amount_minor == 0) {
        return Err("it has an entry of zero".into());
    }
    Ok(Parsed { id: statement.id, unit, bookings })
}
