//! Reading a bank statement, ISO 20022 camt.053.001.08: bytes become bookings that add up, or a sentence that says why not. No I/O.

use quick_xml::de::from_str;
use serde::Deserialize;

use crate::money::{exponent, parse_minor};

/// The largest statement that is read: a day of a hundred thousand entries.
pub const STATEMENT_MAX_LEN: usize = 64 * 1024 * 1024;
/// The most that one statement may credit or debit, in minor units: what the journal's integers hold.
const SUM_MAX_MINOR: u64 = i64::MAX as u64;
const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08";

/// A statement that was read and adds up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its id.
    pub id: String,
    /// The account's currency, lower case.
    pub unit: String,
    /// What was booked, in its order.
    pub bookings: Vec<Booking>,
}

/// An entry as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// The bank's reference, or the entry's place.
    pub reference: String,
    /// How much; never zero.
    pub amount_minor: u64,
    /// Whether it came in.
    pub credit: bool,
    /// The end-to-end id and the remittance references, whichever there are.
    pub keys: Vec<String>,
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

/// Reads a statement and checks that it adds up.
///
/// # Errors
/// A sentence without the document's contents, when it is no camt.053.001.08, lacks a balance, mixes currencies, has an amount that is
/// none, zero or past what the journal holds, or does not add up.
pub fn parse(xml: &[u8]) -> Result<Parsed, String> {
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
    for credit in [true, false] {
        let amounts = bookings.iter().filter(|booking| booking.credit == credit).map(|booking| booking.amount_minor);
        let sum = amounts.into_iter().try_fold(0u64, u64::checked_add);
        if sum.is_none_or(|sum| sum > SUM_MAX_MINOR) {
            return Err("its entries come to more than a journal holds".into());
        }
    }
    Ok(Parsed { id: statement.id, unit, bookings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::{Deposit, statement};

    #[test]
    fn a_statement_past_what_the_journal_holds_is_refused() {
        let of = |amounts: &[u64]| {
            let deposit = |amount: &u64| Deposit { reference: "R".into(), amount_minor: *amount };
            let deposits: Vec<Deposit> = amounts.iter().map(deposit).collect();
            parse(statement("S-1", "usd", 0, &deposits, None).unwrap().as_bytes())
        };
        assert_eq!(of(&[SUM_MAX_MINOR - 1, 1]).unwrap().bookings.len(), 2);
        for amounts in [&[SUM_MAX_MINOR, 1][..], &[SUM_MAX_MINOR + 1], &[u64::MAX - 1, 1]] {
            assert_eq!(of(amounts), Err("its entries come to more than a journal holds".into()));
        }
    }
}
