//! The list of trusted entities: whom wallets and relying parties may trust in this programme, signed, and in the log before it is served.
//!
//! It names the issuer's root, the register's root and the wallet providers. A new one is made when one of these changes, and when half
//! of the time is over that the last one is good for. A new list is written to a file first and announced after: when it was announced and
//! the process ended before the answer, the same list is announced again, and not another one with its number.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use openid4vc::trusted_list::{Service, ServiceKind, TrustedList};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::certificates::{Authority, Certificates, OPERATOR_NAME, TERRITORY, unusable, write_whole};
use crate::{Announcement, IssuerError, PublicRecord};

/// The list that is served.
const FILE: &str = "trusted-list.json";
/// One that is not announced yet.
const NEXT_FILE: &str = "trusted-list.next";
/// Half a year, the most that TS 119 602 allows (clause 6.3.15).
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(182 * 24);

/// A list that is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The list as it is signed and served: a compact JWS.
    pub jws: String,
    /// Its place in the log.
    pub log_index: u64,
}

/// The list of a service.
pub(crate) struct State {
    folder: PathBuf,
    published: RwLock<Arc<Published>>,
    /// Held while a list is made: one at a time.
    making: Mutex<()>,
}

impl State {
    /// Reads the list from a folder, and makes a new one where there is none or one is due.
    pub(crate) fn open(
        folder: &Path,
        certificates: &Certificates,
        now: Timestamp,
        record: &dyn PublicRecord,
    ) -> Result<Self, IssuerError> {
        let read = match fs::read(folder.join(FILE)) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| unusable(format!("{FILE}: {error}")))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unusable(error)),
        };
        let published = match renewed(folder, read.as_ref(), certificates, now, record)? {
            Some(new) => new,
            None => read.expect("where there is no list, one is made"),
        };
        Ok(State { folder: folder.to_owned(), published: RwLock::new(Arc::new(published)), making: Mutex::new(()) })
    }

    /// Makes a new list where one is due. Gives whether it did.
    pub(crate) fn follow_calendar(
        &self,
        certificates: &Certificates,
        now: Timestamp,
        record: &dyn PublicRecord,
    ) -> Result<bool, IssuerError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(new) = renewed(&self.folder, Some(&*self.published()), certificates, now, record)? else {
            return Ok(false);
        };
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(true)
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A new list, signed, announced and written, where `current` is none or not good any more.
fn renewed(
    folder: &Path,
    current: Option<&Published>,
    certificates: &Certificates,
    now: Timestamp,
    record: &dyn PublicRecord,
) -> Result<Option<Published>, IssuerError> {
    let current = current.map(|current| read(&current.jws, certificates)).transpose()?;
    let services = services(certificates);
    if current.as_ref().is_some_and(|list| list.services == services && now < list.next_update - GOOD_FOR / 2) {
        return Ok(None);
    }
    let next = folder.join(NEXT_FILE);
    let sequence = current.map_or(1, |list| list.sequence + 1);
    let jws = match begun(&next, sequence, certificates)? {
        Some(jws) => jws,
        None => {
            let issued = Timestamp::from_second(now.as_second()).unwrap_or(now);
            let list = TrustedList {
                operator: OPERATOR_NAME.into(),
                territory: TERRITORY.into(),
                sequence,
                issued,
                next_update: issued + GOOD_FOR,
                services,
            };
            let operator = certificates.list_operator();
            let jws = list.sign(&operator.chain[0], &*operator.key)?;
            write_whole(&next, jws.as_bytes())?;
            jws
        }
    };
    let announcement = Announcement::TrustedList { sequence, sha256: Sha256::digest(&jws).into() };
    let log_index = record.announce(&announcement).map_err(IssuerError::Log)?;
    let published = Published { jws, log_index };
    write_whole(&folder.join(FILE), &serde_json::to_vec(&published).expect("a list is plain data"))?;
    fs::remove_file(&next).map_err(unusable)?;
    Ok(Some(published))
}

/// A list of this number that was begun and may be in the log.
fn begun(file: &Path, sequence: u64, certificates: &Certificates) -> Result<Option<String>, IssuerError> {
    match fs::read_to_string(file) {
        Ok(jws) => Ok((read(&jws, certificates)?.sequence == sequence).then_some(jws)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(error)),
    }
}

/// A list of ours from a file. It was good when it was made, whatever the time is now.
fn read(jws: &str, certificates: &Certificates) -> Result<TrustedList, IssuerError> {
    let operator = certificates.list_operator();
    let ours = |certificate: &[u8]| (certificate == operator.chain[0]).then_some(*operator.key.public_key());
    TrustedList::verify(jws, ours, Timestamp::MIN).map_err(|error| unusable(format!("{FILE}: {error}")))
}

/// Whom the list names.
fn services(certificates: &Certificates) -> Vec<Service> {
    let service = |entity: &str, name: &str, kind, certificates: Vec<Vec<u8>>| Service {
        entity: entity.into(),
        name: name.into(),
        kind,
        certificates,
    };
    let root = |authority| vec![certificates.root(authority).to_vec()];
    let (issuer, register) = ("Habeas issuer", "Habeas register of relying parties");
    let mut services = vec![
        service(issuer, "ID credentials", ServiceKind::Credentials, root(Authority::Issuer)),
        service(issuer, "Status lists", ServiceKind::Statuses, root(Authority::Issuer)),
        service(register, "Access certificates", ServiceKind::AccessCertificates, root(Authority::Register)),
        service(
            register,
            "Registration certificates",
            ServiceKind::RegistrationCertificates,
            root(Authority::Register),
        ),
    ];
    let providers = certificates.wallet_providers();
    if !providers.is_empty() {
        services.push(service("Wallet providers", "Attested keys", ServiceKind::Wallets, providers.to_vec()));
    }
    services
}
