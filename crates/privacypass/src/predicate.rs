//! What a token says: a predicate, and the period in which it is said. Each pair has an issuer key of its own, so the key is what says
//! it; neither is written in a token.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::Error;

/// Longest name of a predicate: a line of a register shows it whole.
const NAME_MAX: usize = 64;

/// A predicate, by the name of the element that it is decided from: `age_over_60` (ISO/IEC 18013-5 clause 7.2.5). Which ones exist is for
/// the register of predicates to say, and none may be about what Habeas keeps nothing about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Predicate(String);

impl Predicate {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Predicate {
    type Err = Error;

    /// Reads a name: small letters, digits and underscores, a letter first, 64 at most.
    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        let named = text.len() <= NAME_MAX
            && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
            && text.bytes().all(allowed);
        if named { Ok(Predicate(text.into())) } else { Err(Error::Malformed("name of a predicate")) }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The period of a key: a month, `2026-12`. A month is long enough that everybody of a programme is in the crowd, and short enough that who
/// no longer qualifies does not keep tokens for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    year: u16,
    month: u8,
}

impl Period {
    /// A month.
    ///
    /// # Errors
    /// When there is no such month, or the year has not four digits.
    pub fn new(year: u16, month: u8) -> Result<Self, Error> {
        if (1000..=9999).contains(&year) && (1..=12).contains(&month) {
            Ok(Period { year, month })
        } else {
            Err(Error::Malformed("month"))
        }
    }

    /// The month of a time, in UTC.
    pub fn at(time: Timestamp) -> Self {
        let date = Offset::UTC.to_datetime(time).date();
        let parts = (u16::try_from(date.year()).unwrap_or(0), u8::try_from(date.month()).unwrap_or(0));
        // A clock that is off by a thousand years is in no month that a key is for.
        Period::new(parts.0, parts.1).unwrap_or(Period { year: 1000, month: 1 })
    }

    /// Whether relying parties take tokens of this month in another: of the same and of the last, so that a wallet need not fetch new
    /// ones in the first minute of a month.
    pub fn is_taken_in(self, now: Period) -> bool {
        self == now || self == now.previous()
    }

    /// The month after this one. After the last month that has a name there is none, and it stays.
    pub fn next(self) -> Self {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        Period::new(year, month).unwrap_or(self)
    }

    /// The month before this one. Before the first month that has a name there is none, and it stays.
    pub fn previous(self) -> Self {
        let (year, month) = if self.month == 1 { (self.year - 1, 12) } else { (self.year, self.month - 1) };
        Period::new(year, month).unwrap_or(self)
    }

    /// The year.
    pub fn year(&self) -> u16 {
        self.year
    }

    /// The month, from 1.
    pub fn month(&self) -> u8 {
        self.month
    }
}

impl FromStr for Period {
    type Err = Error;

    /// Reads `YYYY-MM`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = Error::Malformed("month");
        let [y1, y2, y3, y4, b'-', m1, m2] = text.as_bytes() else { return Err(wrong) };
        let number = |digits: &[&u8]| {
            digits.iter().try_fold(0u16, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + u16::from(**digit - b'0')).ok_or(wrong)
            })
        };
        Period::new(number(&[y1, y2, y3, y4])?, number(&[m1, m2])? as u8)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["age_over_60", "resident", "a", &"a".repeat(64)] {
            assert_eq!(name.parse::<Predicate>().unwrap().to_string(), name);
        }
        for refused in ["", "Age", "60_over", "_a", "age over", "age-over", "ärztin", "a\n", &"a".repeat(65)] {
            assert!(refused.parse::<Predicate>().is_err(), "{refused}");
        }
    }

    #[test]
    fn months_follow_one_another() {
        for (before, after) in [("2026-11", "2026-12"), ("2026-12", "2027-01"), ("2027-01", "2027-02")] {
            let (before, after): (Period, Period) = (before.parse().unwrap(), after.parse().unwrap());
            assert_eq!((before.next(), after.previous()), (after, before));
        }
        let (first, last): (Period, Period) = ("1000-01".parse().unwrap(), "9999-12".parse().unwrap());
        assert_eq!((first.previous(), last.next()), (first, last));
    }

    #[test]
    fn months_are_written_as_they_are_read() {
        for text in ["2026-12", "2027-01", "1000-01", "9999-12"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert!("2026-12".parse::<Period>().unwrap() < "2027-01".parse().unwrap());
        for refused in [
            "", "2026", "2026-0", "2026-00", "2026-13", "0999-01", "2026-1 ", "2026-+1", "2026/12", "2026-123",
            "12-2026",
        ] {
            assert!(refused.parse::<Period>().is_err(), "{refused}");
        }
    }
}
