//! What people see at a till: amounts, the QR code, the receipt.

use cashu::Amount;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// A QR code in half-height blocks, for a terminal. `None` for a text longer than a QR code holds (2,953 bytes).
pub fn qr(text: &str) -> Option<String> {
    let code = QrCode::new(text).ok()?;
    // Dark on light whatever the terminal's colours are: most readers refuse an inverted code.
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).quiet_zone(true).build())
}

/// Reads an amount as people write it, `12.50` with `exponent` 2, into minor units. `None` for anything else: a sign, more
/// decimals than the currency has, no digits, more than 2⁶⁴ − 1.
pub fn parse_amount(text: &str, exponent: u32) -> Option<Amount> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent_len = exponent as usize;
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > exponent_len {
        return None;
    }
    if text.trim().ends_with('.') {
        return None;
    }
    let padded = format!("{whole}{fraction:0<exponent_len$}");
    padded.parse().ok().map(Amount::new)
}

/// An amount as people write it: `12.50` for 1250 with `exponent` 2.
pub fn format_amount(amount: Amount, exponent: u32) -> String {
    let scale = 10u64.pow(exponent);
    match exponent {
        0 => amount.to_string(),
        _ => format!("{}.{:0width$}", amount.minor() / scale, amount.minor() % scale, width = exponent as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_as_people_do() {
        for (text, exponent, minor) in
            [("12.50", 2, 1250), ("12.5", 2, 1250), ("7", 2, 700), ("7", 0, 7), ("0.001", 3, 1)]
        {
            assert_eq!(parse_amount(text, exponent), Some(Amount::new(minor)), "{text}");
        }
        for bad in ["", "-1", "1.234", ".5", "1.", "1,5", "1e3", "99999999999999999999"] {
            assert_eq!(parse_amount(bad, 2), None, "{bad:?}");
        }
        assert_eq!(format_amount(Amount::new(1205), 2), "12.05");
        assert_eq!(format_amount(Amount::new(1205), 0), "1205");
    }

    #[test]
    fn a_request_fits_a_qr_code() {
        assert!(qr(&"creqA".repeat(100)).is_some());
        assert!(qr(&"x".repeat(3_000)).is_none());
    }
}
