//! Currencies and bank account numbers.

/// Currencies and the number of their decimals (ISO 4217 list one), for the countries that run such programmes.
const CURRENCIES: [(&str, u32); 40] = [
    ("aed", 2),
    ("ars", 2),
    ("aud", 2),
    ("bdt", 2),
    ("bhd", 3),
    ("brl", 2),
    ("cad", 2),
    ("chf", 2),
    ("clp", 0),
    ("cny", 2),
    ("cop", 2),
    ("egp", 2),
    ("etb", 2),
    ("eur", 2),
    ("gbp", 2),
    ("ghs", 2),
    ("htg", 2),
    ("idr", 2),
    ("inr", 2),
    ("iqd", 3),
    ("jod", 3),
    ("jpy", 0),
    ("kes", 2),
    ("krw", 0),
    ("kwd", 3),
    ("lbp", 2),
    ("mxn", 2),
    ("ngn", 2),
    ("npr", 2),
    ("pen", 2),
    ("php", 2),
    ("pkr", 2),
    ("sos", 2),
    ("try", 2),
    ("uah", 2),
    ("ugx", 0),
    ("usd", 2),
    ("xaf", 0),
    ("yer", 2),
    ("zar", 2),
];

/// The number of decimals of a currency, lower case. `None` for one that is not known.
pub fn exponent(unit: &str) -> Option<u32> {
    CURRENCIES.iter().find(|(code, _)| *code == unit).map(|(_, exponent)| *exponent)
}

/// An amount as bank files write it: `12.50`.
pub fn format_minor(amount_minor: u64, exponent: u32) -> String {
    let scale = 10u64.pow(exponent);
    if exponent == 0 {
        return amount_minor.to_string();
    }
    format!("{}.{:0width$}", amount_minor / scale, amount_minor % scale, width = exponent as usize)
}

/// Reads an amount as bank files write it. `None` for a sign, too many decimals, or anything that is no number.
pub fn parse_minor(text: &str, exponent: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    // Banks write trailing zeros beyond the currency's decimals.
    let fraction = fraction.trim_end_matches('0');
    let width = exponent as usize;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > width {
        return None;
    }
    format!("{whole}{fraction:0<width$}").parse().ok()
}

/// Whether an IBAN's check digits are right (ISO 13616, ISO 7064 MOD 97-10).
pub fn is_iban(text: &str) -> bool {
    let shape = (15..=34).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    shape && mod_97(text) == Some(1)
}

/// An ISO 11649 creditor reference `RFnn…` over letters and digits.
pub fn creditor_reference(body: &str) -> Option<String> {
    let check = 98 - mod_97(&format!("RF00{body}"))?;
    Some(format!("RF{check:02}{body}"))
}

/// The remainder by 97 with the first four characters moved behind, letters as 10 to 35.
fn mod_97(text: &str) -> Option<u32> {
    let (head, tail) = text.split_at_checked(4)?;
    tail.chars().chain(head.chars()).try_fold(0u32, |rest, c| {
        let digit = c.to_digit(36)?;
        Some((rest * if digit > 9 { 100 } else { 10 } + digit) % 97)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_follow_the_currency() {
        assert_eq!(
            (parse_minor("12.50", 2), parse_minor("12.500", 2), parse_minor("7", 0)),
            (Some(1250), Some(1250), Some(7))
        );
        assert_eq!((parse_minor("-1", 2), parse_minor("1.234", 2), parse_minor("", 2)), (None, None, None));
        assert_eq!(
            (format_minor(1205, 2), format_minor(5, 3), format_minor(9, 0)),
            ("12.05".into(), "0.005".into(), "9".into())
        );
    }

    #[test]
    fn check_digits_are_checked() {
        // Examples of the registries: ISO 13616 (GB), ISO 11649.
        assert!(is_iban("GB82WEST12345698765432"));
        assert!(!is_iban("GB83WEST12345698765432") && !is_iban("GB82 WEST") && !is_iban(""));
        assert_eq!(creditor_reference("539007547034").as_deref(), Some("RF18539007547034"));
    }
}
