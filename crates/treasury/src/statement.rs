//! Bank statements, ISO 20022 camt.053.001.08: deposits for programmes, and confirmations of payments to merchants.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::TreasuryError;
use crate::camt053::{Parsed, parse};
use crate::ledger::{Movement, Treasury, balance, book, booked};

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
