//! Anonymous predicates at a relying party: verified with the issuer's public keys alone, and each token taken once.
//!
//! The keys come from the issuer's directory, are fetched before anybody is asked, and are kept; an answer is verified without the network.
//! Tokens of this month and of the last are taken, so that a wallet need not fetch new ones in the first minute of a month.
//!
//! ## Whom this trusts
//! That a key was made for one person is for the wallet to notice, which takes no key that is not in the public log: such a key would
//! mark the person, not deceive the verifier. A verifier takes the directory's word for which key says what. One that trusts nobody
//! looks each key up: its directory entry names the place in the log, whose entry holds the hash of the key, its predicate and its month
//! (`tlog::client::prove_inclusion`). It can't tell from the log whether the issuer looks at birth dates before it signs: that is
//! what it trusts an issuer for.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use openid4vc::MessageError;
use openid4vc::dcql::CredentialQuery;
use openid4vc::request::RequestObject;
use privacypass::challenge::TokenChallenge;
use privacypass::directory::Directory;
use privacypass::keys::{PublicKey, TokenKeyId};
use privacypass::predicate::{Period, Predicate};
use privacypass::showing::{Showing, TokenId, VerifierChallenge, verify_showing};
use serde_json::{Map, Value};

use super::{Network, VerifierError};
use crate::expiring::Full;
use crate::predicates::DIRECTORY_PATH;

/// Seconds between two fetches of the directory: whoever asks many questions does not ask the issuer as often.
const FETCH_EVERY: u64 = 60;
/// Tokens that are remembered, at most: two months of a busy place, some 150 MB.
const SPENT_MAX: usize = 2_000_000;
/// The longest showing in base64url that is decoded: it has 483 bytes.
const SHOWING_TEXT_MAX: usize = 1_024;

/// How a relying party takes anonymous predicates.
pub struct Predicates {
    /// The issuer's address (its identifier).
    pub issuer: String,
    /// The tokens that were shown.
    pub spent: SpentTokens,
}

/// The same at work. The lock of `keys` is never held while the network is asked.
pub(super) struct Taking {
    directory: String,
    challenge_digest: [u8; 32],
    spent: SpentTokens,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    kept: BTreeMap<TokenKeyId, Kept>,
    /// When the directory was asked last.
    asked_at: Option<u64>,
}

#[derive(Clone)]
struct Kept {
    predicate: Predicate,
    period: Period,
    key: PublicKey,
}

/// A token that was shown.
pub(super) struct Spent {
    period: Period,
    id: TokenId,
}

impl Taking {
    pub(super) fn new(predicates: Predicates) -> Result<Self, VerifierError> {
        let issuer = predicates.issuer.trim_end_matches('/');
        let challenge = TokenChallenge::of_issuer(issuer)
            .map_err(|_| MessageError { what: "the issuer's address", why: "it names no host" })?;
        Ok(Taking {
            directory: format!("{issuer}{DIRECTORY_PATH}"),
            challenge_digest: challenge.digest(),
            spent: predicates.spent,
            keys: Mutex::default(),
        })
    }

    /// Whether a predicate can be asked for: there is a key of this month. Fetches the directory where there is none; what can't be
    /// fetched is asked for in another way.
    pub(super) fn is_ready(&self, predicate: &str, network: &dyn Network, now: u64, month: Period) -> bool {
        let of_this_month = |kept: &Kept| kept.period == month && kept.predicate.as_str() == predicate;
        {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if keys.kept.values().any(of_this_month) {
                return true;
            }
            if keys.asked_at.is_some_and(|at| now < at + FETCH_EVERY) {
                return false;
            }
            keys.asked_at = Some(now);
        }
        let fetched = network.directory(&self.directory).and_then(|json| self.keep(&json, month));
        if let Err(error) = fetched {
            tracing::warn!(error, "the keys of anonymous predicates can't be had: credentials are asked for instead");
        }
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).kept.values().any(of_this_month)
    }

    /// Keeps a directory's keys, and drops those whose time is over. A month's predicate has one key: where there are two, none of the
    /// directory is taken.
    fn keep(&self, json: &[u8], month: Period) -> Result<(), String> {
        let directory = Directory::from_json(json).map_err(|error| error.to_string())?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = keys.kept.clone();
        next.retain(|_, kept| kept.period >= month.previous());
        for entry in directory.token_keys {
            let Some(says) = entry.announced else { continue };
            let (id, key) = (entry.public_key.id(), entry.public_key);
            let is_rival = |(other, kept): (&TokenKeyId, &Kept)| {
                *other != id && kept.predicate == says.predicate && kept.period == says.period
            };
            let meant_twice = |kept: &Kept| kept.predicate != says.predicate || kept.period != says.period;
            if next.iter().any(is_rival) || next.get(&id).is_some_and(meant_twice) {
                return Err(format!("the issuer shows two keys for {} in {}", says.predicate, says.period));
            }
            if says.period >= month.previous() {
                next.insert(id, Kept { predicate: says.predicate, period: says.period, key });
            }
        }
        keys.kept = next;
        Ok(())
    }

    /// Verifies a showing. It is not taken before it is spent.
    pub(super) fn verify(
        &self,
        presentation: &str,
        asked: &CredentialQuery,
        request: &RequestObject,
        month: Period,
    ) -> Result<(Map<String, Value>, Spent), VerifierError> {
        let refused = |error: &dyn ToString| VerifierError::Presentation(error.to_string());
        if presentation.len() > SHOWING_TEXT_MAX {
            return Err(refused(&"it is too long for a showing of a token"));
        }
        let bytes = jose::base64url::decode(presentation).map_err(|error| refused(&error))?;
        let showing = Showing::from_bytes(&bytes).map_err(|error| refused(&error))?;
        let key_id = showing.token().token_key_id();
        let kept = self.keys.lock().unwrap_or_else(PoisonError::into_inner).kept.get(&key_id).cloned();
        let kept = kept
            .ok_or_else(|| refused(&"the token is of a key that the issuer does not show, or whose month is over"))?;
        if asked.meta.predicate.as_deref() != Some(kept.predicate.as_str()) {
            return Err(refused(&"the token says something else than was asked"));
        }
        if !kept.period.is_taken_in(month) {
            return Err(refused(&"the token is of another month: its time is over, or has not come"));
        }
        let challenge = VerifierChallenge::new(&request.client_id, &request.nonce, &request.response_uri);
        let id =
            verify_showing(&showing, &kept.key, &self.challenge_digest, &challenge).map_err(|error| refused(&error))?;
        let says = Map::from_iter([(kept.predicate.to_string(), Value::Bool(true))]);
        Ok((says, Spent { period: kept.period, id }))
    }

    /// Spends tokens, all of them or none, durably.
    pub(super) fn spend(&self, tokens: &[Spent], month: Period) -> Result<(), VerifierError> {
        self.spent.spend(tokens, month)
    }
}

/// The tokens that were shown to a relying party, by their months; in memory, and in a file where they have to outlive this process. A
/// relying party has one list, whichever of its counters asks.
pub struct SpentTokens {
    inner: Mutex<List>,
}

struct List {
    months: BTreeMap<Period, HashSet<TokenId>>,
    file: Option<SpentFile>,
}

struct SpentFile {
    path: PathBuf,
    /// At its end.
    file: File,
    /// A write failed, so that nobody knows what the file ends with: nothing is accepted until it is opened again.
    is_broken: bool,
    _lock: File,
}

impl SpentTokens {
    /// A list in memory: with this process what was shown is forgotten.
    pub fn in_memory() -> Self {
        SpentTokens { inner: Mutex::new(List { months: BTreeMap::new(), file: None }) }
    }

    /// Opens a list in a file (mode 0600), or makes one: lines of a month and a token's id in hex. A last line that a crash cut short was
    /// never accepted, and goes.
    ///
    /// # Errors
    /// When the file can't be used, is damaged, or another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock_path)?;
        lock.try_lock().map_err(|_| {
            io::Error::new(io::ErrorKind::ResourceBusy, format!("another verifier has {} open", path.display()))
        })?;
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let damaged = || {
            let told = format!("{} is no list of spent tokens: bring it back from a backup", path.display());
            io::Error::new(io::ErrorKind::InvalidData, told)
        };
        let mut months: BTreeMap<Period, HashSet<TokenId>> = BTreeMap::new();
        for line in whole.lines() {
            let (month, id) = line.split_once(' ').ok_or_else(damaged)?;
            let mut bytes = [0; 32];
            hex::decode_to_slice(id, &mut bytes).map_err(|_| damaged())?;
            months.entry(month.parse().map_err(|_| damaged())?).or_default().insert(TokenId(bytes));
        }
        let file = rewrite(path, &months)?;
        let file = SpentFile { path: path.to_owned(), file, is_broken: false, _lock: lock };
        Ok(SpentTokens { inner: Mutex::new(List { months, file: Some(file) }) })
    }

    /// How many tokens are in the list.
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes tokens, all or none: none may be there, and they are durable before this returns.
    fn spend(&self, tokens: &[Spent], month: Period) -> Result<(), VerifierError> {
        if tokens.is_empty() {
            return Ok(());
        }
        let mut list = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        list.drop_before(month.previous())?;
        let different: HashSet<TokenId> = tokens.iter().map(|token| token.id).collect();
        if different.len() < tokens.len() || tokens.iter().any(|token| list.has(token)) {
            return Err(VerifierError::Presentation(
                "this token was shown here before: one token is one showing".into(),
            ));
        }
        if list.len() + tokens.len() > SPENT_MAX {
            return Err(Full.into());
        }
        if let Some(file) = &mut list.file {
            file.append(tokens)?;
        }
        for token in tokens {
            list.months.entry(token.period).or_default().insert(token.id);
        }
        Ok(())
    }
}

impl List {
    fn len(&self) -> usize {
        self.months.values().map(HashSet::len).sum()
    }

    fn has(&self, token: &Spent) -> bool {
        self.months.get(&token.period).is_some_and(|ids| ids.contains(&token.id))
    }

    /// Forgets months whose tokens are refused anyway.
    fn drop_before(&mut self, earliest: Period) -> Result<(), VerifierError> {
        if self.months.first_key_value().is_none_or(|(first, _)| *first >= earliest) {
            return Ok(());
        }
        self.months = self.months.split_off(&earliest);
        if let Some(file) = &mut self.file {
            file.file = rewrite(&file.path, &self.months).map_err(unwritten)?;
        }
        Ok(())
    }
}

impl SpentFile {
    fn append(&mut self, tokens: &[Spent]) -> Result<(), VerifierError> {
        if self.is_broken {
            return Err(VerifierError::SpentTokens("a write failed: start the verifier again".into()));
        }
        let lines: String = tokens.iter().map(|token| line(token.period, &token.id)).collect();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        self.is_broken = written.is_err();
        written.map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> VerifierError {
    VerifierError::SpentTokens(error.to_string())
}

fn line(period: Period, id: &TokenId) -> String {
    format!("{period} {}\n", hex::encode(id.0))
}

/// Replaces the file as a whole, durably, and gives it open at its end.
fn rewrite(path: &Path, months: &BTreeMap<Period, HashSet<TokenId>>) -> io::Result<File> {
    let lines: String = months.iter().flat_map(|(period, ids)| ids.iter().map(|id| line(*period, id))).collect();
    storage::keys::write_private(path, lines.as_bytes())?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(period: &str, number: u8) -> Spent {
        Spent { period: period.parse().unwrap(), id: TokenId([number; 32]) }
    }

    fn month(text: &str) -> Period {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_taken_once_and_all_or_none() {
        let list = SpentTokens::in_memory();
        let now = month("2026-12");
        assert!(list.spend(&[token("2026-12", 1), token("2026-11", 2)], now).is_ok());
        assert!(list.spend(&[token("2026-12", 1)], now).is_err());
        assert!(list.spend(&[token("2026-12", 3), token("2026-11", 2)], now).is_err());
        assert!(list.spend(&[token("2026-12", 4), token("2026-12", 4)], now).is_err(), "twice in one answer");
        assert!(list.spend(&[token("2026-12", 3)], now).is_ok(), "what was refused was not taken");
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn a_list_outlives_its_process_and_forgets_old_months() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clinic.spent");
        let list = SpentTokens::open(&path).unwrap();
        assert_eq!(SpentTokens::open(&path).err().map(|error| error.kind()), Some(io::ErrorKind::ResourceBusy));
        list.spend(&[token("2026-11", 1)], month("2026-11")).unwrap();
        list.spend(&[token("2026-12", 2)], month("2026-12")).unwrap();
        drop(list);
        let list = SpentTokens::open(&path).unwrap();
        assert!(list.spend(&[token("2026-11", 1)], month("2026-12")).is_err());
        list.spend(&[token("2027-01", 3)], month("2027-01")).unwrap();
        assert_eq!(list.len(), 2);
        drop(list);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("2026-11") && text.lines().count() == 2, "{text}");
    }

    #[test]
    fn a_line_cut_short_goes_and_a_damaged_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clinic.spent");
        let whole = line(month("2026-11"), &TokenId([1; 32]));
        fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        let list = SpentTokens::open(&path).unwrap();
        assert_eq!(list.len(), 1);
        // What comes next stands on a line of its own.
        list.spend(&[token("2026-11", 2)], month("2026-11")).unwrap();
        drop(list);
        assert_eq!(SpentTokens::open(&path).unwrap().len(), 2);
        for damaged in ["2026-11\n", "2026-13 00\n", &format!("x{whole}"), "2026-11 zz\n"] {
            fs::write(&path, damaged).unwrap();
            let told = SpentTokens::open(&path).err().unwrap().to_string();
            assert!(told.contains("clinic.spent"), "{told}");
        }
    }
}
