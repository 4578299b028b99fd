//! Where the services meet: each names what it needs as a trait, and here is who provides it.
//!
//! Read this file to know everything that one service can learn from another.

use cashu::{Amount, Unit};
use credential::attributes::Attributes;
use credential::{Announcement, Credentials, OfferError};
use registry::offers::OfferRefusal;
use registry::person::Attribute;
use registry::{AccessEntry, Order, PublicEntry, Registry};
use tlog::entry::Entry;
use tlog::tag::Tag;
use transparency::Log;
use treasury::Treasury;

/// The clock of the machine, for every service.
pub struct SystemClock;

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

impl registry::Clock for SystemClock {
    fn unix_now(&self) -> u64 {
        unix_now()
    }
}

impl mint::Clock for SystemClock {
    fn unix_now(&self) -> u64 {
        unix_now()
    }
}

impl treasury::Clock for SystemClock {
    fn unix_now(&self) -> u64 {
        unix_now()
    }
}

impl credential::Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// The public log, as each service writes to it.
pub struct PublicLog(pub Log);

impl PublicLog {
    /// Appends and waits.
    pub fn append(&self, entries: &[Entry]) -> Result<u64, String> {
        self.0.append(entries).map_err(|error| error.to_string())
    }
}

impl registry::AccessLog for PublicLog {
    fn record(&self, entries: &[AccessEntry]) -> Result<(), String> {
        let opened = |entry: &AccessEntry| Entry::RecordOpened {
            tag: Tag { nonce: entry.tag_nonce, mac: entry.tag_mac },
            purpose: entry.purpose.to_owned(),
            role: entry.role.to_owned(),
            officers: entry.officers.iter().map(hex::encode).collect(),
            fields: entry.fields.iter().map(|field| (*field).to_owned()).collect(),
            at: entry.at,
        };
        let entries: Vec<Entry> = entries.iter().map(opened).collect();
        self.append(&entries).map(|_| ())
    }

    fn publish(&self, entry: &PublicEntry) -> Result<(), String> {
        let at = unix_now();
        let entry = match entry.clone() {
            PublicEntry::Programme(programme) => Entry::Programme {
                id: programme.id,
                name: programme.name,
                unit: programme.unit,
                amount_minor: programme.amount_minor,
                period: programme.period,
                rule: programme.rule,
                at,
            },
            PublicEntry::RunPrepared(run) => Entry::RunPrepared {
                run: run.id,
                programme: run.programme,
                hash: run.hash,
                lines: run.lines,
                total_minor: run.total_minor,
                at,
            },
            PublicEntry::RunApproved { run, hash } => Entry::RunApproved { run, hash, at },
        };
        self.append(&[entry]).map(|_| ())
    }
}

impl mint::KeysetLog for PublicLog {
    fn publish(&self, keyset: &mint::PublishedKeyset) -> Result<u64, String> {
        let index = self.append(&[Entry::Keyset {
            id: keyset.id.to_string(),
            unit: keyset.unit.to_string(),
            input_fee_ppk: keyset.input_fee_ppk,
            final_expiry: Some(keyset.final_expiry),
            keys_sha256: hex::encode(keyset.keys_sha256),
            at: keyset.at,
        }])?;
        tracing::info!(keyset = %keyset.id, unit = %keyset.unit, log_index = index, "keyset announced");
        Ok(index)
    }

    fn publish_closed(&self, closed: &mint::PublishedClosing) -> Result<u64, String> {
        self.append(&[Entry::KeysetClosed {
            id: closed.id.to_string(),
            unit: closed.unit.to_string(),
            signed_minor: closed.signed_minor,
            spent_minor: closed.spent_minor,
            at: closed.at,
        }])
    }
}

impl credential::PublicRecord for PublicLog {
    fn announce(&self, announcement: &Announcement) -> Result<u64, String> {
        let at = unix_now();
        let entry = match announcement.clone() {
            Announcement::Certificate { role, sha256 } => {
                Entry::IssuerCertificate { role: role.to_owned(), sha256: hex::encode(sha256), at }
            }
            Announcement::RelyingParty { id, name, purpose, attributes, retention_days, certificate_sha256 } => {
                let certificate_sha256 = hex::encode(certificate_sha256);
                Entry::RelyingParty { id, name, purpose, attributes, retention_days, certificate_sha256, at }
            }
            Announcement::RelyingPartySuspended { id, suspended } => Entry::RelyingPartySuspended { id, suspended, at },
            Announcement::TrustedList { sequence, sha256 } => {
                Entry::TrustedList { sequence, sha256: hex::encode(sha256), at }
            }
            Announcement::PredicateKey { predicate, period, spki_sha256 } => {
                Entry::PredicateKey { predicate, period, spki_sha256: hex::encode(spki_sha256), at }
            }
        };
        self.append(&[entry])
    }
}

/// The treasury, as the mint and the registry use it.
pub struct TreasuryDesk(pub Treasury);

impl mint::SettlementDirectory for TreasuryDesk {
    fn accepts(&self, merchant: &str, unit: &Unit) -> bool {
        self.0.accepts(merchant, unit.as_str())
    }
}

impl registry::Funds for TreasuryDesk {
    fn register(&self, programme: &registry::runs::Programme) -> Result<String, String> {
        self.0.register_programme(&programme.id, &programme.name, &programme.unit).map_err(|error| error.to_string())
    }

    fn commit(&self, run: &str, programme: &str, amount_minor: u64) -> Result<(), String> {
        self.0.commit(run, programme, amount_minor).map_err(|error| error.to_string())
    }
}

/// The funds of a sandbox: none, so that no programme can be set up in it.
pub struct NoFunds;

impl registry::Funds for NoFunds {
    fn register(&self, _: &registry::runs::Programme) -> Result<String, String> {
        Err("this is a sandbox, whose money is worth nothing: no programme can be set up in it".into())
    }

    fn commit(&self, _: &str, _: &str, _: u64) -> Result<(), String> {
        Err("this is a sandbox: it has no funds".into())
    }
}

/// Orders for quotes: the treasury notes them against the run, then the mint stores them. Neither is told of a person.
pub struct Orders {
    /// Keeps the funds.
    pub treasury: Treasury,
    /// Mints.
    pub mint: mint::Mint,
}

impl registry::PaymentOrders for Orders {
    fn order(&self, order: &Order) -> Result<(), String> {
        self.treasury
            .record_order(&order.quote, &order.run, &order.programme, order.amount_minor)
            .map_err(|error| error.to_string())?;
        let quote = mint::EntitlementQuote {
            id: order.quote.clone(),
            amount: Amount::new(order.amount_minor),
            unit: order.unit.parse().map_err(|error: cashu::DecodeError| error.to_string())?,
            pubkey: order.pubkey.parse().map_err(|error: cashu::DecodeError| error.to_string())?,
        };
        self.mint.order_quote(&quote).map_err(|error| error.to_string())
    }
}

/// The mint's events, as the treasury reads them.
pub struct Feed(pub mint::Mint);

impl treasury::MintFeed for Feed {
    fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, treasury::MintEvent)>, String> {
        let events = self.0.events_after(cursor, limit).map_err(|error| error.to_string())?;
        let translate = |event| match event {
            mint::MintEvent::Issued { quote, unit, amount } => {
                treasury::MintEvent::Issued { quote, unit: unit.to_string(), amount_minor: amount.minor() }
            }
            mint::MintEvent::Redeemed { quote, merchant, unit, amount } => {
                treasury::MintEvent::Redeemed { quote, merchant, unit: unit.to_string(), amount_minor: amount.minor() }
            }
            mint::MintEvent::Lapsed { keyset, unit, amount } => {
                treasury::MintEvent::Lapsed { keyset, unit: unit.to_string(), amount_minor: amount.minor() }
            }
        };
        Ok(events.into_iter().map(|(number, event)| (number, translate(event))).collect())
    }

    fn last_event(&self) -> Result<u64, String> {
        self.0.last_event().map_err(|error| error.to_string())
    }
}

/// The registry, as the issuer and the treasury use it.
pub struct RegistryDesk(pub Registry);

impl credential::People for RegistryDesk {
    fn check_offer(&self, code: &str, tx_code: Option<&str>) -> Result<(), OfferError> {
        self.0.check_offer(code, tx_code).map_err(offer_error)
    }

    fn take_offer(&self, code: &str, tx_code: Option<&str>, grant: &str) -> Result<String, OfferError> {
        self.0.take_offer(code, tx_code, grant).map_err(offer_error)
    }

    fn birth_date(&self, subject: &str) -> Result<jiff::civil::Date, String> {
        let opened = self.0.birth_date_for_predicate(subject).map_err(|error| error.to_string())?;
        let date = opened.get(Attribute::BirthDate).unwrap_or_default();
        date.parse().map_err(|_| "the record has no birth date".to_owned())
    }

    fn attributes(&self, subject: &str) -> Result<Attributes, String> {
        let opened = self.0.attributes_for_credential(subject).map_err(|error| error.to_string())?;
        let get = |field| opened.get(field).unwrap_or_default().to_owned();
        Ok(Attributes {
            given_name: get(Attribute::GivenName),
            family_name: get(Attribute::FamilyName),
            birth_date: get(Attribute::BirthDate).parse().map_err(|_| "the record has no birth date".to_owned())?,
            document_number: get(Attribute::DocumentNumber),
        })
    }
}

fn offer_error(refusal: OfferRefusal) -> OfferError {
    match refusal {
        OfferRefusal::Unknown => OfferError::Unknown,
        OfferRefusal::Used => OfferError::Used,
        OfferRefusal::WrongCode { left } => OfferError::WrongTransactionCode { left },
        OfferRefusal::Locked => OfferError::Locked,
        OfferRefusal::Registry(error) => {
            tracing::error!(%error, "an offer could not be looked up");
            OfferError::Unavailable("the registry can't be asked just now: try again in a moment".into())
        }
    }
}

impl credential::api::RegisterAuth for RegistryDesk {
    fn is_registrar(&self, token: &str) -> bool {
        self.0.actor(token).is_ok_and(|actor| actor.role == registry::officers::Role::Administrator)
    }
}

impl treasury::api::FinanceAuth for RegistryDesk {
    fn is_finance_officer(&self, token: &str) -> bool {
        self.0.actor(token).is_ok_and(|actor| actor.role == registry::officers::Role::FinanceOfficer)
    }
}

/// The credential service, as the registry uses it: the holder's token is its.
pub struct CredentialDesk(pub Credentials);

impl registry::api::HolderAuth for CredentialDesk {
    fn person(&self, request: registry::api::HolderRequest<'_>) -> Result<String, String> {
        let registry::api::HolderRequest { authorization, proof, method, uri } = request;
        let grant = self.0.authorize(authorization, proof, method, uri).map_err(|error| error.to_string())?;
        grant.subject.ok_or_else(|| "this device is not known".to_owned())
    }
}

#[cfg(test)]
mod tests {
    /// Otherwise a monitor would raise an alarm about the registry's own work.
    #[test]
    fn the_registrys_purposes_are_those_that_monitors_know() {
        assert_eq!(registry::gate::Purpose::ALL.map(registry::gate::Purpose::name), tlog::rules::PURPOSES);
    }
}
