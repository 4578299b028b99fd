//! Amounts in minor units, and the units they are counted in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DecodeError;

/// An amount of money in the minor unit of its [`Unit`] (cents for `usd`), as NUT-01 asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(u64);

impl Amount {
    /// No money.
    pub const ZERO: Amount = Amount(0);

    /// An amount of `minor` minor units.
    pub const fn new(minor: u64) -> Self {
        Amount(minor)
    }

    /// The number of minor units.
    pub const fn minor(self) -> u64 {
        self.0
    }

    /// The sum, or `None` past 2⁶⁴ − 1.
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).map(Amount)
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// The sum of many, or `None` past 2⁶⁴ − 1: a sum that wraps around would make money.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
        amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add)
    }

    /// The powers of two that add up to this amount, smallest first (NUT-03 asks wallets for ascending order,
    /// so that the order tells the mint nothing).
    pub fn powers_of_two(self) -> Vec<Amount> {
        (0..u64::BITS).map(|bit| 1u64 << bit).filter(|power| self.0 & power != 0).map(Amount).collect()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The longest unit name that is taken: ISO 4217 has three letters, Cashu's own names up to six.
const UNIT_MAX_LEN: usize = 16;

/// What an amount is counted in: `usd`, `eur`, … (ISO 4217, lower case, NUT-01).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Unit(String);

impl Unit {
    /// The name, as in JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Unit {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let fits = (1..=UNIT_MAX_LEN).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-') {
            Ok(Unit(text.to_owned()))
        } else {
            Err(DecodeError::new("a unit", "1 to 16 lower-case letters, digits, '-' or '_', such as 'usd'"))
        }
    }
}

impl TryFrom<String> for Unit {
    type Error = DecodeError;

    fn try_from(text: String) -> Result<Self, DecodeError> {
        text.parse()
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> String {
        unit.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_add_up_and_ascend() {
        for minor in [0, 1, 2, 5_000, 123_456_789, u64::MAX] {
            let parts = Amount::new(minor).powers_of_two();
            assert!(parts.is_sorted() && parts.iter().all(|p| p.minor().is_power_of_two()));
            assert_eq!(Amount::checked_sum(parts), Some(Amount::new(minor)));
        }
    }

    #[test]
    fn a_sum_that_would_wrap_is_none() {
        assert_eq!(Amount::checked_sum([Amount::new(u64::MAX), Amount::new(1)]), None);
    }

    #[test]
    fn units_are_lower_case_and_short() {
        assert!("usd".parse::<Unit>().is_ok());
        for bad in ["", "USD", "us d", "a-very-long-unit-name"] {
            assert!(bad.parse::<Unit>().is_err(), "{bad:?}");
        }
    }
}
