//! What the holder's wallet asks: what am I owed, and a quote for it. Who the holder is, the credential issuer's token says: the wallet has one
//! key for everything.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::store::Registry;
use crate::{Order, RegistryError};

/// A claim: a quote for one entitlement, locked to a fresh key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
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

impl Registry {
    /// What a person is owed, of approved runs.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn entitlements(&self, person: &str) -> Result<Vec<Entitlement>, RegistryError> {
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
    pub fn claim(&self, person: &str, claim: &Claim) -> Result<String, RegistryError> {
        let bytes = hex::decode(&claim.pubkey).unwrap_or_default();
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
                .query_row(params![claim.entitlement, person], |row| {
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
                order.pubkey = claim.pubkey.clone();
                transaction
                    .prepare_cached("UPDATE lines SET quote = ?2, pubkey = ?3 WHERE id = ?1")?
                    .execute(params![claim.entitlement, order.quote, order.pubkey])?;
            } else if order.pubkey != claim.pubkey {
                return Err(RegistryError::Conflict("this entitlement was claimed with another key"));
            }
            Ok(order)
        })?;
        self.orders().order(&order).map_err(RegistryError::Orders)?;
        Ok(order.quote)
    }
}
