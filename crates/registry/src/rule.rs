//! Eligibility rules: typed, and written as people read them.
//!
//! ```text
//! rule  := "everyone" | term { " and " term }
//! term  := "age >= N on YYYY-MM-DD" | "age < N on YYYY-MM-DD" | "born before YYYY-MM-DD"
//! ```

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use crate::RegistryError;

/// A condition on a birth date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    AtLeast { years: i16, on: Date },
    Under { years: i16, on: Date },
    BornBefore(Date),
}

/// A rule: all of its terms; none means everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(Vec<Term>);

impl Rule {
    /// Whether somebody born on a date is eligible.
    pub fn holds(&self, birth: Date) -> bool {
        self.0.iter().all(|term| match term {
            Term::AtLeast { years, on } => age(birth, *on) >= *years,
            Term::Under { years, on } => age(birth, *on) < *years,
            Term::BornBefore(date) => birth < *date,
        })
    }

    /// Whether the rule reads birth dates at all.
    pub fn is_everyone(&self) -> bool {
        self.0.is_empty()
    }
}

/// Completed years on a day. Who was born on 29 February completes a year on 1 March where there is no such day.
pub fn age(birth: Date, on: Date) -> i16 {
    let completed = (on.month(), on.day()) >= (birth.month(), birth.day());
    on.year() - birth.year() - i16::from(!completed)
}

impl FromStr for Rule {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let text = text.trim();
        if text == "everyone" {
            return Ok(Rule(Vec::new()));
        }
        let refused = || {
            RegistryError::Invalid(
                "the rule can't be read: write 'everyone', or conditions such as 'age >= 65 on 2026-12-01' joined by 'and'".into(),
            )
        };
        let number = |text: &str| text.parse().ok().filter(|years| (0..=150).contains(years));
        let term = |text: &str| -> Option<Term> {
            match text.split_whitespace().collect::<Vec<_>>()[..] {
                ["age", ">=", years, "on", date] => {
                    Some(Term::AtLeast { years: number(years)?, on: date.parse().ok()? })
                }
                ["age", "<", years, "on", date] => Some(Term::Under { years: number(years)?, on: date.parse().ok()? }),
                ["born", "before", date] => Some(Term::BornBefore(date.parse().ok()?)),
                _ => None,
            }
        };
        text.split(" and ").map(|part| term(part).ok_or_else(refused)).collect::<Result<_, _>>().map(Rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("everyone");
        }
        for (number, term) in self.0.iter().enumerate() {
            let joint = if number > 0 { " and " } else { "" };
            match term {
                Term::AtLeast { years, on } => write!(f, "{joint}age >= {years} on {on}")?,
                Term::Under { years, on } => write!(f, "{joint}age < {years} on {on}")?,
                Term::BornBefore(date) => write!(f, "{joint}born before {date}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn ages_are_counted_in_completed_years() {
        assert_eq!(age(date(1961, 12, 1), date(2026, 12, 1)), 65);
        assert_eq!(age(date(1961, 12, 2), date(2026, 12, 1)), 64);
        assert_eq!((age(date(2000, 2, 29), date(2026, 2, 28)), age(date(2000, 2, 29), date(2026, 3, 1))), (25, 26));
    }

    #[test]
    fn rules_are_read_as_written_and_nonsense_is_refused() {
        for text in [
            "everyone",
            "age >= 65 on 2026-12-01",
            "age >= 18 on 2026-12-01 and age < 25 on 2026-12-01",
            "born before 1960-01-01",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "age > 65 on 2026-12-01",
            "age >= x on 2026-12-01",
            "age >= 65 on 2026-13-01",
            "age >= 999 on 2026-12-01",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text:?}");
        }
        let rule: Rule = "age >= 18 on 2026-12-01 and age < 25 on 2026-12-01".parse().unwrap();
        assert!(rule.holds(date(2008, 12, 1)) && !rule.holds(date(2008, 12, 2)) && !rule.holds(date(2001, 12, 1)));
    }
}
