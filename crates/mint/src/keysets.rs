//! Keysets: one for each unit and quarter of a year, shared by all programmes and people (a small keyset is a small crowd).
//!
//! Keys come from the mint's seed alone, so a crash between announcing a keyset and storing it makes the same one again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use cashu::{Amount, Keyset, KeysetId, Point, Unit};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::Offset;
use secp256k1::SecretKey;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::MintError;
use crate::TokenUri;
use crate::token::TokenKey;

/// Amounts 2⁰ to 2³¹ minor units: the largest token is worth 21 million dollars, more than any single payment.
const AMOUNTS: u32 = 32;
/// How long tokens can be spent after their quarter: people who were ill or away still have their money.
const SPENDABLE_AFTER_SECONDS: u64 = 365 * 24 * 3600;

/// The name of the seed's file in the mint's folder.
const SEED_FILE: &str = "mint.seed";

/// The secret that all keys come from: in a file, or in a token ([`crate::token`] says what that is worth).
pub struct MintSeed {
    kept: Kept,
    fingerprint: Fingerprint,
}

enum Kept {
    File(Zeroizing<[u8; 32]>),
    Token(Box<TokenKey>),
}

/// What tells seeds apart and says nothing about them; public.
pub type Fingerprint = [u8; 16];

impl MintSeed {
    /// The seed of the mint in a folder: in the token if one is named, otherwise in its file, which is made for a new mint.
    ///
    /// # Errors
    /// [`MintError::Key`] when the file or the token can't be used, or a store is there and its seed is not.
    pub fn of(folder: &Path, token: Option<&TokenUri>) -> Result<Self, MintError> {
        let path = folder.join(SEED_FILE);
        let Some(uri) = token else {
            if !path.exists() && folder.join("store").exists() {
                let path = path.display();
                return Err(MintError::Key(format!(
                    "{path} is not there, and the store beside it was made with it: bring it back"
                )));
            }
            return Self::open(&path).map_err(|error| {
                // Errors of ours name the file.
                let named = error.get_ref().is_some();
                MintError::Key(if named { error.to_string() } else { format!("{}: {error}", path.display()) })
            });
        };
        if path.exists() {
            return Err(MintError::Key(format!(
                "it is in a token, and {} is there too: a seed that lies on a disk is in no token's keeping, so take it away from this \
                 machine",
                path.display()
            )));
        }
        Self::in_token(uri)
    }

    /// Reads the seed from a file (mode 0600), or makes one where there is none.
    ///
    /// # Errors
    /// When the file can't be used, others can read it, or it is not 64 hex digits.
    pub fn open(path: &Path) -> io::Result<Self> {
        let kept = Kept::File(storage::keys::read_or_make(path)?);
        Self::with_fingerprint(kept).map_err(io::Error::other)
    }

    /// The seed in a token.
    ///
    /// # Errors
    /// [`MintError::Key`] when the token is away or refuses, or the key could be taken out of it.
    pub fn in_token(uri: &TokenUri) -> Result<Self, MintError> {
        Self::with_fingerprint(Kept::Token(Box::new(TokenKey::new(uri)?)))
    }

    /// Makes a seed in a token.
    ///
    /// # Errors
    /// [`MintError::Key`] when the token can't do it, or has a key of this name.
    pub fn make_in_token(uri: &TokenUri) -> Result<Self, MintError> {
        Self::with_fingerprint(Kept::Token(Box::new(TokenKey::make(uri)?)))
    }

    fn with_fingerprint(kept: Kept) -> Result<Self, MintError> {
        let mut seed = MintSeed { kept, fingerprint: Fingerprint::default() };
        let derived = seed.derive("habeas mint seed fingerprint v1", &[])?;
        seed.fingerprint.copy_from_slice(&derived[..size_of::<Fingerprint>()]);
        Ok(seed)
    }

    /// What tells it from other seeds.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Refuses to go on with a store that was made with another seed: its tokens would all be unknown, and its rows look changed.
    ///
    /// # Errors
    /// [`MintError::Key`].
    pub fn must_have_made(&self, store: &[u8]) -> Result<(), MintError> {
        if store == self.fingerprint {
            return Ok(());
        }
        Err(MintError::Key(format!(
            "the mint's store was made with another one (its fingerprint is {}, this one's is {}): start the mint with the seed file or \
             the token that it was made with",
            hex::encode(store),
            hex::encode(self.fingerprint)
        )))
    }

    /// A key for a use, kept apart from all others by `purpose` and `context`.
    ///
    /// # Errors
    /// [`MintError::Key`] when the token is away or refuses.
    pub fn derive(&self, purpose: &str, context: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, MintError> {
        Ok(self.derive_all(&[message(purpose, context)])?.remove(0))
    }

    /// The same for many, all or none, in one session of a token: HMAC-SHA256 of each message.
    fn derive_all(&self, messages: &[Vec<u8>]) -> Result<Vec<Zeroizing<[u8; 32]>>, MintError> {
        let seed = match &self.kept {
            Kept::File(seed) => seed,
            // A token is not asked for nothing: it may be away.
            Kept::Token(_) if messages.is_empty() => return Ok(Vec::new()),
            Kept::Token(token) => return token.hmac_sha256(messages),
        };
        let derive = |message: &Vec<u8>| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&**seed).expect("HMAC takes a key of any length");
            mac.update(message);
            Zeroizing::new(mac.finalize().into_bytes().into())
        };
        Ok(messages.iter().map(derive).collect())
    }
}

impl fmt::Debug for MintSeed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = match self.kept {
            Kept::File(_) => "a file",
            Kept::Token(_) => "a token",
        };
        write!(formatter, "MintSeed(in {kept}, fingerprint {})", hex::encode(self.fingerprint))
    }
}

/// What a key is derived from, besides the seed: `purpose`, then each part with its length before it.
fn message(purpose: &str, context: &[&[u8]]) -> Vec<u8> {
    let mut message = purpose.as_bytes().to_vec();
    for part in context {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(*part);
    }
    message
}

/// A quarter of a year, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Quarter {
    /// Unix time of its first second.
    pub start: u64,
    /// Unix time of the next quarter's first second.
    pub end: u64,
}

impl Quarter {
    /// The quarter that a time lies in.
    pub fn of(unix: u64) -> Quarter {
        let timestamp = Timestamp::from_second(unix as i64).unwrap_or(Timestamp::UNIX_EPOCH);
        let day = Offset::UTC.to_datetime(timestamp).date();
        let month = (day.month() - 1) / 3 * 3 + 1;
        let first = date(day.year(), month, 1);
        let next = if month == 10 { date(day.year() + 1, 1, 1) } else { date(day.year(), month + 3, 1) };
        let unix = |day: Date| {
            let midnight = Offset::UTC.to_timestamp(day.at(0, 0, 0, 0));
            midnight.map_or(0, |timestamp| timestamp.as_second() as u64)
        };
        Quarter { start: unix(first), end: unix(next) }
    }
}

/// A keyset as it is stored: without keys, which come from the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysetRecord {
    /// Its number in this mint: two bytes in each row instead of 33.
    pub number: u16,
    /// Its unit.
    pub unit: Unit,
    /// Its quarter.
    pub quarter: Quarter,
    /// Fee for each input, in thousandths of the unit (NUT-02).
    #[serde(default)]
    pub input_fee_ppk: u64,
    /// Where the log announces it.
    pub log_index: u64,
}

/// The end of a keyset: what it came to. From then on nothing of it is signed or spent, whatever a clock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedKeyset {
    /// Its number.
    pub number: u16,
    /// Worth of all signatures, in minor units.
    pub signed_minor: u64,
    /// Worth of all tokens spent. What is missing lapsed.
    pub spent_minor: u64,
    /// Where the log says so.
    pub log_index: u64,
    /// Unix time.
    pub at: u64,
}

/// A keyset with its secret keys.
pub struct SigningKeyset {
    /// The stored part.
    pub record: KeysetRecord,
    /// The public part. `active` is not set: it depends on the time.
    pub public: Keyset,
    /// The key of 2ⁿ at place n.
    secret: SecretKeys,
}

/// Secret keys, erased when dropped.
struct SecretKeys(Vec<SecretKey>);

/// The key of 2ⁿ: the first of at most 256 derived numbers that is one. Each is none with probability 2^-128.
fn secret_key(
    seed: &MintSeed,
    record: &KeysetRecord,
    exponent: u32,
    first: &Zeroizing<[u8; 32]>,
) -> Result<SecretKey, MintError> {
    let mut number = first.clone();
    for attempt in 1..=u8::MAX {
        if let Ok(key) = SecretKey::from_secret_bytes(*number) {
            return Ok(key);
        }
        number = seed.derive_all(&[key_message(record, exponent, attempt)])?.remove(0);
    }
    Err(MintError::Key("it gives no keys".into()))
}

/// What the key of 2ⁿ is derived from.
fn key_message(record: &KeysetRecord, exponent: u32, attempt: u8) -> Vec<u8> {
    let context: [&[u8]; 4] =
        [record.unit.as_str().as_bytes(), &record.quarter.start.to_be_bytes(), &exponent.to_be_bytes(), &[attempt]];
    message("habeas keyset v1", &context)
}

impl SigningKeyset {
    /// Makes the keyset of a unit and quarter.
    ///
    /// # Errors
    /// [`MintError::Key`] when the seed can't be used: then no key was made.
    pub fn derive(seed: &MintSeed, record: KeysetRecord) -> Result<Self, MintError> {
        Ok(Self::derive_all(seed, vec![record])?.remove(0))
    }

    /// The same for many.
    fn derive_all(seed: &MintSeed, records: Vec<KeysetRecord>) -> Result<Vec<Self>, MintError> {
        let first = |record| (0..AMOUNTS).map(move |exponent| key_message(record, exponent, 0));
        let derived = seed.derive_all(&records.iter().flat_map(first).collect::<Vec<_>>())?;
        let keysets = records.into_iter().zip(derived.chunks(AMOUNTS as usize)).map(|(record, derived)| {
            // Owned by the keyset from the first key on, so that each is erased whatever happens.
            let mut secret = SecretKeys(Vec::with_capacity(derived.len()));
            for (exponent, derived) in (0..).zip(derived) {
                secret.0.push(secret_key(seed, &record, exponent, derived)?);
            }
            Ok(Self::with_keys(record, secret))
        });
        keysets.collect()
    }

    fn with_keys(record: KeysetRecord, secret: SecretKeys) -> Self {
        let keys: BTreeMap<Amount, Point> =
            (0..).zip(&secret.0).map(|(exponent, key)| (Amount::new(1 << exponent), Point::of_secret(key))).collect();
        let final_expiry = Some(record.quarter.end + SPENDABLE_AFTER_SECONDS);
        let input_fee_ppk = record.input_fee_ppk;
        let id = KeysetId::derive(&keys, &record.unit, input_fee_ppk, final_expiry);
        let public = Keyset { id, unit: record.unit.clone(), active: None, input_fee_ppk, final_expiry, keys };
        SigningKeyset { record, public, secret }
    }

    /// The secret and public key of an amount, if the keyset has it.
    pub fn key(&self, amount: Amount) -> Option<(&SecretKey, &Point)> {
        let exponent = exponent_of(amount)?;
        Some((self.secret.0.get(usize::from(exponent))?, self.public.keys.get(&amount)?))
    }

    /// Whether the mint signs with it now.
    pub fn is_active(&self, now: u64) -> bool {
        (self.record.quarter.start..self.record.quarter.end).contains(&now)
    }

    /// Whether its tokens can no longer be spent.
    pub fn is_expired(&self, now: u64) -> bool {
        self.public.final_expiry.is_some_and(|expiry| now >= expiry)
    }
}

impl Drop for SecretKeys {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(SecretKey::non_secure_erase);
    }
}

/// n for 2ⁿ.
pub fn exponent_of(amount: Amount) -> Option<u8> {
    amount.minor().is_power_of_two().then(|| amount.minor().trailing_zeros() as u8)
}

/// All keysets of a mint, by number. Replaced as a whole when one is added.
#[derive(Clone, Default)]
pub struct KeysetTable {
    keysets: Arc<[Arc<SigningKeyset>]>,
    closed: Arc<BTreeMap<u16, ClosedKeyset>>,
}

impl KeysetTable {
    /// With one more.
    pub fn with(&self, keyset: SigningKeyset) -> Self {
        let keysets = self.keysets.iter().cloned().chain([Arc::new(keyset)]).collect();
        KeysetTable { keysets, closed: self.closed.clone() }
    }

    /// With these closed.
    pub fn with_closed(&self, closed: impl IntoIterator<Item = ClosedKeyset>) -> Self {
        let closed = self.closed.values().cloned().chain(closed).map(|closed| (closed.number, closed)).collect();
        KeysetTable { keysets: self.keysets.clone(), closed: Arc::new(closed) }
    }

    /// What a keyset came to, if it is closed.
    pub fn closed(&self, number: u16) -> Option<&ClosedKeyset> {
        self.closed.get(&number)
    }

    /// Whether the tokens of a keyset can no longer be spent. A closed one stays so when the clock is put back: its spent set may be
    /// gone.
    pub fn is_over(&self, keyset: &SigningKeyset, now: u64) -> bool {
        keyset.is_expired(now) || self.closed.contains_key(&keyset.record.number)
    }

    /// The keysets of these records, in their order: those that are in this table as they are, the others derived.
    ///
    /// # Errors
    /// [`MintError::Key`] when one has to be derived and the seed can't be used.
    pub fn of_records(&self, seed: &MintSeed, records: Vec<KeysetRecord>) -> Result<Self, MintError> {
        let known = |record: &KeysetRecord| self.by_number(record.number).filter(|known| known.record == *record);
        let unknown = records.iter().filter(|record| known(record).is_none()).cloned().collect();
        let mut derived = SigningKeyset::derive_all(seed, unknown)?.into_iter();
        let keyset = |record| match known(record) {
            Some(keyset) => Some(keyset.clone()),
            None => derived.next().map(Arc::new),
        };
        Ok(KeysetTable { keysets: records.iter().filter_map(keyset).collect(), closed: self.closed.clone() })
    }

    /// The keyset with an id.
    pub fn by_id(&self, id: &KeysetId) -> Option<&Arc<SigningKeyset>> {
        self.keysets.iter().find(|keyset| keyset.public.id == *id)
    }

    /// The keyset with a number.
    pub fn by_number(&self, number: u16) -> Option<&Arc<SigningKeyset>> {
        self.keysets.get(usize::from(number))
    }

    /// The keyset that a unit is signed with now.
    pub fn active(&self, unit: &Unit, now: u64) -> Option<&Arc<SigningKeyset>> {
        let is_it = |keyset: &&Arc<SigningKeyset>| {
            keyset.record.unit == *unit && keyset.is_active(now) && !self.is_over(keyset, now)
        };
        self.keysets.iter().find(is_it)
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SigningKeyset>> {
        self.keysets.iter()
    }

    /// The units, each once.
    pub fn units(&self) -> Vec<Unit> {
        let mut units: Vec<Unit> = self.keysets.iter().map(|keyset| keyset.record.unit.clone()).collect();
        units.sort();
        units.dedup();
        units
    }

    /// The number of the next keyset; `None` after 65,535, sixteen thousand years of one unit.
    pub fn next_number(&self) -> Option<u16> {
        u16::try_from(self.keysets.len()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_follow_the_calendar() {
        // 2026-11-23T00:00:00Z lies in October to December.
        let quarter = Quarter::of(1_795_392_000);
        assert_eq!((quarter.start, quarter.end), (1_790_812_800, 1_798_761_600));
        assert_eq!(Quarter::of(quarter.end).start, quarter.end);
        assert_eq!(Quarter::of(quarter.end - 1), quarter);
    }
}
