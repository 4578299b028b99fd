//! Keysets: one for each unit and quarter of a year, shared by all programmes and people (a small keyset is a small crowd).
//!
//! Keys come from the mint's seed alone, so a crash between announcing a keyset and storing it makes the same one again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cashu::{Amount, Keyset, KeysetId, Point, Unit};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::Offset;
use secp256k1::SecretKey;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Amounts 2⁰ to 2³¹ minor units: the largest token is worth 21 million dollars, more than any single payment.
const AMOUNTS: u32 = 32;
/// How long tokens can be spent after their quarter: people who were ill or away still have their money.
const SPENDABLE_AFTER_SECONDS: u64 = 365 * 24 * 3600;

/// The secret that all keys come from.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MintSeed([u8; 32]);

impl MintSeed {
    /// Reads the seed from a file (mode 0600), or makes one where there is none.
    ///
    /// # Errors
    /// When the file can't be used or is not 64 hex digits.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(MintSeed(*storage::keys::read_or_make(path)?))
    }

    /// A key for a use, kept apart from all others by `purpose` and `context`.
    pub fn derive(&self, purpose: &str, context: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(purpose.as_bytes());
        for part in context {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
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
    secret: Vec<SecretKey>,
}

impl SigningKeyset {
    /// Makes the keyset of a unit and quarter.
    pub fn derive(seed: &MintSeed, record: KeysetRecord) -> Self {
        let secret: Vec<SecretKey> = (0..AMOUNTS)
            .map(|exponent| {
                (0u8..=255)
                    .find_map(|attempt| {
                        let context: [&[u8]; 4] = [
                            record.unit.as_str().as_bytes(),
                            &record.quarter.start.to_be_bytes(),
                            &exponent.to_be_bytes(),
                            &[attempt],
                        ];
                        SecretKey::from_secret_bytes(seed.derive("habeas keyset v1", &context)).ok()
                    })
                    .expect("each of 256 tries fails with probability 2^-128")
            })
            .collect();
        let keys: BTreeMap<Amount, Point> =
            (0..).zip(&secret).map(|(exponent, key)| (Amount::new(1 << exponent), Point::of_secret(key))).collect();
        let final_expiry = Some(record.quarter.end + SPENDABLE_AFTER_SECONDS);
        let input_fee_ppk = record.input_fee_ppk;
        let id = KeysetId::derive(&keys, &record.unit, input_fee_ppk, final_expiry);
        let public = Keyset { id, unit: record.unit.clone(), active: None, input_fee_ppk, final_expiry, keys };
        SigningKeyset { record, public, secret }
    }

    /// The secret and public key of an amount, if the keyset has it.
    pub fn key(&self, amount: Amount) -> Option<(&SecretKey, &Point)> {
        let exponent = exponent_of(amount)?;
        Some((self.secret.get(usize::from(exponent))?, self.public.keys.get(&amount)?))
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

impl Drop for SigningKeyset {
    fn drop(&mut self) {
        self.secret.iter_mut().for_each(SecretKey::non_secure_erase);
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
