//! Anonymous predicates ("over 60, December 2026"): one issuer key for each predicate and month, and tokens that it signs blindly for
//! whoever is eligible (the crate `privacypass`).
//!
//! A key is made ahead of its month and is in the public log before its first signature: a key that was made for one person would
//! stand there for everybody to see, and wallets take no other. When its month is over the private key is destroyed.
//!
//! What is kept of the issuing is a number: how many tokens of a predicate a device was given in this month. It is written down before
//! the tokens are given, and deleted with the month.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::civil::Date;
use jiff::tz::Offset;
use privacypass::directory::{Announced, Directory, DirectoryKey};
use privacypass::issuer::IssuerKey;
use privacypass::keys::PublicKey;
use privacypass::messages::{TokenRequest, TokenResponse};
pub use privacypass::predicate::Period;
use privacypass::predicate::Predicate;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::attributes::{AGES, age_named};
use crate::certificates::{unusable, write_whole};
use crate::store::{Grant, Store};
use crate::{Announcement, Credentials, IssuerError};

/// Tokens of a predicate that a device gets in a month, at most: two a day, far more than anybody shows, and too few to supply others.
pub const TOKENS_MAX: usize = 60;
/// The path of the directory, and above those of issuing, below the issuer's address.
pub const DIRECTORY_PATH: &str = "/predicates";
/// The refusal of somebody of whom a predicate is not true.
pub const NOT_ELIGIBLE: &str = "not_eligible";

/// Where the keys are, and those that are in use. The lock of `keys` is held for a look; that of `making` for as long as keys are made.
pub(crate) struct State {
    folder: PathBuf,
    keys: RwLock<BTreeMap<(Period, Predicate), Arc<HeldKey>>>,
    making: Mutex<()>,
}

/// A key, and where it was announced.
struct HeldKey {
    public: PublicKey,
    /// Destroyed when its month is over: what it signed can be verified for another month.
    private: Option<IssuerKey>,
    log_index: u64,
}

/// The predicates that there are: an age each.
pub fn all() -> impl Iterator<Item = Predicate> {
    AGES.into_iter().map(|years| format!("age_over_{years}").parse().expect("a plain name"))
}

/// The first second of a month, Unix time.
fn begin(period: Period) -> Option<u64> {
    let first = Date::new(i16::try_from(period.year()).ok()?, i8::try_from(period.month()).ok()?, 1).ok()?;
    let begin = Offset::UTC.to_timestamp(first.to_datetime(jiff::civil::Time::midnight())).ok()?;
    u64::try_from(begin.as_second()).ok()
}

impl State {
    /// Reads the keys of this month and the later ones, and the public ones of the last month.
    pub(crate) fn load(folder: &Path, store: &Store, now: Period) -> Result<Self, IssuerError> {
        let mut keys = BTreeMap::new();
        for row in store.predicate_keys(now.previous())? {
            let damaged =
                || IssuerError::Keys(format!("the row of the key for {} in {} is damaged", row.predicate, row.period));
            let public = PublicKey::from_spki(&row.spki).map_err(|_| damaged())?;
            let predicate: Predicate = row.predicate.parse().map_err(|_| damaged())?;
            let period: Period = row.period.parse().map_err(|_| damaged())?;
            let private = if period < now { None } else { Some(read(&path(folder, &predicate, period), &public)?) };
            keys.insert((period, predicate), Arc::new(HeldKey { public, private, log_index: row.log_index }));
        }
        Ok(State { folder: folder.to_owned(), keys: RwLock::new(keys), making: Mutex::new(()) })
    }

    fn key(&self, predicate: &Predicate, period: Period) -> Option<Arc<HeldKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(&(period, predicate.clone())).cloned()
    }
}

fn path(folder: &Path, predicate: &Predicate, period: Period) -> PathBuf {
    folder.join(format!("predicate.{predicate}.{period}.key.der"))
}

/// The month of a key's file.
fn period_of(path: &Path) -> Option<Period> {
    let name = path.file_name()?.to_str()?;
    match name.split('.').collect::<Vec<_>>()[..] {
        ["predicate", _, period, "key", "der"] => period.parse().ok(),
        _ => None,
    }
}

/// Reads a private key; it has to be that of the public one.
fn read(path: &Path, public: &PublicKey) -> Result<IssuerKey, IssuerError> {
    let der = storage::keys::read_private(path)
        .map_err(|error| IssuerError::Keys(format!("{}: {error}; bring it back from a backup", path.display())))?;
    match IssuerKey::from_pkcs8(&der) {
        Ok(key) if key.public_key() == public => Ok(key),
        _ => Err(IssuerError::Keys(format!("{} is not the key that was announced", path.display()))),
    }
}

/// Reads a key that a crash left behind before it was announced, or makes one.
fn read_or_make(path: &Path) -> Result<IssuerKey, IssuerError> {
    let der = match storage::keys::read_private(path) {
        Ok(der) => der,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let der = IssuerKey::generate_pkcs8().map_err(unusable)?;
            write_whole(path, &der)?;
            der
        }
        Err(error) => return Err(unusable(error)),
    };
    IssuerKey::from_pkcs8(&der).map_err(|_| IssuerError::Keys(format!("{} is no key for tokens", path.display())))
}

impl Credentials {
    /// Makes the keys of a month that are missing, and announces them. A key takes a tenth of a second or several, so this is on no
    /// request's path. Gives how many were made.
    ///
    /// # Errors
    /// When a key can't be written or announced: it is not used then, and the next call goes on with it.
    pub fn make_predicate_keys(&self, period: Period) -> Result<usize, IssuerError> {
        let state = &self.inner.predicates;
        let _one_at_a_time = state.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = 0;
        for predicate in all().filter(|predicate| state.key(predicate, period).is_none()) {
            let private = read_or_make(&path(&state.folder, &predicate, period))?;
            let public = *private.public_key();
            let spki = public.to_spki();
            let log_index = self.announce(&Announcement::PredicateKey {
                predicate: predicate.to_string(),
                period: period.to_string(),
                spki_sha256: Sha256::digest(spki).into(),
            })?;
            self.inner.store.add_predicate_key(&predicate, period, log_index, &spki)?;
            let held = Arc::new(HeldKey { public, private: Some(private), log_index });
            state.keys.write().unwrap_or_else(PoisonError::into_inner).insert((period, predicate), held);
            made += 1;
        }
        Ok(made)
    }

    /// Makes the keys of this month and of the next, destroys private keys whose month is over, and forgets who was given how many tokens
    /// in it. Gives how many were made.
    pub(crate) fn follow_months(&self) -> Result<usize, IssuerError> {
        let now = self.period();
        let made = self.make_predicate_keys(now)? + self.make_predicate_keys(now.next())?;
        let state = &self.inner.predicates;
        // By their files: a month may have ended while the service was down.
        for entry in std::fs::read_dir(&state.folder).map_err(unusable)? {
            let file = entry.map_err(unusable)?.path();
            if period_of(&file).is_some_and(|period| period < now) {
                std::fs::remove_file(&file).map_err(unusable)?;
            }
        }
        let mut keys = state.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|(period, _), _| *period >= now.previous());
        for ((period, _), key) in keys.iter_mut() {
            if *period < now && key.private.is_some() {
                *key = Arc::new(HeldKey { public: key.public, private: None, log_index: key.log_index });
            }
        }
        drop(keys);
        self.inner.store.forget_issued_before(now)?;
        Ok(made)
    }

    /// The public keys of the last month and of those from now on (RFC 9578 section 4), each with what it says and its place in the log.
    /// `issuer` is our address.
    pub fn predicate_directory(&self, issuer: &str) -> Directory {
        let earliest = self.period().previous();
        let keys = self.inner.predicates.keys.read().unwrap_or_else(PoisonError::into_inner);
        let entry = |((period, predicate), key): (&(Period, Predicate), &Arc<HeldKey>)| DirectoryKey {
            public_key: key.public,
            not_before: begin(*period),
            announced: Some(Announced { predicate: predicate.clone(), period: *period, log_index: key.log_index }),
        };
        let token_keys = keys.iter().filter(|((period, _), _)| *period >= earliest).map(entry).collect();
        Directory { issuer_request_uri: format!("{issuer}{DIRECTORY_PATH}"), token_keys }
    }

    /// Issues tokens of a predicate to a device, for this month. Where one request is refused, nothing is issued and nothing counted.
    ///
    /// # Errors
    /// `unknown_predicate`, `wrong_period`, `invalid_token_request`, `too_many_tokens`, [`NOT_ELIGIBLE`]; when the registry does not give
    /// the birth date.
    pub fn issue_predicates(
        &self,
        grant: &Grant,
        predicate: &str,
        period: &str,
        requests: &[TokenRequest],
    ) -> Result<Vec<TokenResponse>, IssuerError> {
        let years = age_named(predicate)
            .ok_or_else(|| IssuerError::refused("unknown_predicate", "there is no such predicate here"))?;
        let predicate: Predicate = predicate
            .parse()
            .map_err(|_| IssuerError::refused("unknown_predicate", "there is no such predicate here"))?;
        let now = self.period();
        if period.parse() != Ok(now) {
            return Err(IssuerError::refused("wrong_period", format!("tokens are given for {now} and no other month")));
        }
        let held = self.inner.predicates.key(&predicate, now);
        let key = held.as_ref().and_then(|held| held.private.as_ref()).ok_or_else(|| {
            IssuerError::Unavailable("the keys of this month are being made: try again in a moment".into())
        })?;
        // Before a record is opened for nothing; what counts is the look in `count_issued`.
        if self.inner.store.issued(&grant.id, &predicate, now)? + requests.len() > TOKENS_MAX {
            return Err(too_many());
        }
        let subject = grant.subject.as_deref().unwrap_or_default();
        let birth_date = self.inner.people.birth_date(subject).map_err(IssuerError::Unavailable)?;
        let today = Offset::UTC.to_datetime(self.inner.clock.now()).date();
        if !crate::attributes::is_over(birth_date, years, today) {
            return Err(IssuerError::refused(
                NOT_ELIGIBLE,
                "this is not true of you today, so there is no token for it",
            ));
        }
        // A signature is a function of key and request: made first, counted, and only then given.
        let sign = |request| match key.issue(request) {
            Err(privacypass::Error::Unusable) => Err(IssuerError::Keys("a key for tokens does not sign".into())),
            Err(error) => Err(IssuerError::refused("invalid_token_request", error)),
            Ok(response) => Ok(response),
        };
        let responses = requests.iter().map(sign).collect::<Result<Vec<_>, _>>()?;
        if !self.inner.store.count_issued(&grant.id, &predicate, now, responses.len())? {
            return Err(too_many());
        }
        Ok(responses)
    }

    pub(crate) fn period(&self) -> Period {
        Period::at(self.inner.clock.now())
    }
}

fn too_many() -> IssuerError {
    IssuerError::refused(
        "too_many_tokens",
        format!("a device gets at most {TOKENS_MAX} tokens of a predicate in a month"),
    )
}

/// A key as it was announced.
struct KeyRow {
    predicate: String,
    period: String,
    log_index: u64,
    spki: Vec<u8>,
}

impl Store {
    /// The keys of a month and of those after it.
    fn predicate_keys(&self, from: Period) -> Result<Vec<KeyRow>, IssuerError> {
        let database = self.connection();
        // Months are written so that they sort as texts.
        let mut statement =
            database.prepare("SELECT predicate, period, log_index, spki FROM predicate_keys WHERE period >= ?1")?;
        let rows = statement.query_map([from.to_string()], |row| {
            Ok(KeyRow { predicate: row.get(0)?, period: row.get(1)?, log_index: row.get(2)?, spki: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn add_predicate_key(
        &self,
        predicate: &Predicate,
        period: Period,
        log_index: u64,
        spki: &[u8],
    ) -> Result<(), IssuerError> {
        self.connection().execute(
            "INSERT INTO predicate_keys (predicate, period, log_index, spki) VALUES (?1, ?2, ?3, ?4)",
            params![predicate.as_str(), period.to_string(), log_index, spki],
        )?;
        Ok(())
    }

    /// How many tokens a device was given.
    fn issued(&self, grant: &str, predicate: &Predicate, period: Period) -> Result<usize, IssuerError> {
        let found = self
            .connection()
            .prepare_cached(ISSUED)?
            .query_row(params![grant, predicate.as_str(), period.to_string()], |row| row.get(0))
            .optional()?;
        Ok(found.unwrap_or(0))
    }

    /// Counts tokens, unless that would be too many. One transaction looks and writes, so that of two requests at once none is missed.
    fn count_issued(
        &self,
        grant: &str,
        predicate: &Predicate,
        period: Period,
        tokens: usize,
    ) -> Result<bool, IssuerError> {
        self.act(|transaction| {
            let key = params![grant, predicate.as_str(), period.to_string()];
            let before: Option<usize> =
                transaction.prepare_cached(ISSUED)?.query_row(key, |row| row.get(0)).optional()?;
            let after = before.unwrap_or(0) + tokens;
            if after > TOKENS_MAX {
                return Ok(false);
            }
            let write = if before.is_some() {
                "UPDATE predicates_issued SET tokens = ?4 WHERE grant_id = ?1 AND predicate = ?2 AND period = ?3"
            } else {
                "INSERT INTO predicates_issued (grant_id, predicate, period, tokens) VALUES (?1, ?2, ?3, ?4)"
            };
            transaction.prepare_cached(write)?.execute(params![
                grant,
                predicate.as_str(),
                period.to_string(),
                after
            ])?;
            Ok(true)
        })
    }

    fn forget_issued_before(&self, period: Period) -> Result<(), IssuerError> {
        self.connection().execute("DELETE FROM predicates_issued WHERE period < ?1", [period.to_string()])?;
        Ok(())
    }
}

const ISSUED: &str = "SELECT tokens FROM predicates_issued WHERE grant_id = ?1 AND predicate = ?2 AND period = ?3";

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_month_begins_and_ends_with_its_seconds_in_utc() {
        let at = |text: &str| Period::at(text.parse().unwrap()).to_string();
        assert_eq!(at("2026-11-30T23:59:59Z"), "2026-11");
        assert_eq!(at("2026-12-01T00:00:00Z"), "2026-12");
        assert_eq!(at("2026-12-01T00:30:00+01:00"), "2026-11");
        let first: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        assert_eq!(begin("2026-12".parse().unwrap()), u64::try_from(first.as_second()).ok());
    }

    #[test]
    fn there_is_a_predicate_for_each_age_that_is_attested() {
        let names: Vec<String> = all().map(|predicate| predicate.to_string()).collect();
        assert_eq!(names, ["age_over_18", "age_over_21", "age_over_60", "age_over_65"]);
        assert!(names.iter().zip(AGES).all(|(name, years)| age_named(name) == Some(years)));
        assert_eq!(age_named("age_over_61"), None);
    }
}
