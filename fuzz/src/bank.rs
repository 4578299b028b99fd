//! Bank statements and the figures in them.

use treasury::bank::{self, Deposit};
use treasury::camt053;
use treasury::money::{creditor_reference, exponent, format_minor, is_iban, parse_minor};

/// A camt.053 document, or an amount, an account number or a reference.
///
/// What is booked is never zero, and no sum of it leaves the journal's integers; a statement of the same deposits, written by us, is
/// read with the same amounts; an amount is written and read again as the same.
pub fn statement(data: &[u8]) -> bool {
    let text = std::str::from_utf8(data).unwrap_or_default();
    let _ = is_iban(text);
    let _ = creditor_reference(text);
    for decimals in [0, 2, 3] {
        if let Some(minor) = parse_minor(text, decimals) {
            assert_eq!(parse_minor(&format_minor(minor, decimals), decimals), Some(minor));
        }
    }
    let Ok(parsed) = camt053::parse(data) else { return false };
    assert!(exponent(&parsed.unit).is_some(), "the currency is known");
    assert!(parsed.bookings.iter().all(|booking| booking.amount_minor > 0), "nothing is booked as zero");
    let sum = |credit| -> u128 {
        let amounts = parsed.bookings.iter().filter(|booking| booking.credit == credit);
        amounts.map(|booking| u128::from(booking.amount_minor)).sum()
    };
    assert!(sum(true).max(sum(false)) <= i64::MAX as u128, "the journal can hold it");
    let credits = parsed.bookings.iter().filter(|booking| booking.credit);
    let deposit =
        |booking: &camt053::Booking| Deposit { reference: booking.keys.concat(), amount_minor: booking.amount_minor };
    let deposits: Vec<Deposit> = credits.map(deposit).collect();
    let ours = bank::statement("S-1", &parsed.unit, 0, &deposits, None).expect("a known currency");
    let again = camt053::parse(ours.as_bytes()).expect("what we write is read");
    assert!(
        again
            .bookings
            .iter()
            .map(|booking| booking.amount_minor)
            .eq(deposits.iter().map(|deposit| deposit.amount_minor))
    );
    true
}

/// Statements with deposits, with payments, and with none.
pub fn statement_seeds() -> Vec<Vec<u8>> {
    let deposits = [("RF18539007547034", 400_000), ("RF18000000000539007547034", 1)]
        .map(|(reference, amount_minor)| Deposit { reference: reference.into(), amount_minor });
    let payment = "<CdtTrfTxInf><EndToEndId>m-1</EndToEndId><InstdAmt Ccy=\"USD\">12.34</InstdAmt></CdtTrfTxInf>";
    let written = [
        bank::statement("S-1", "usd", 0, &deposits, None),
        bank::statement("S-2", "usd", 400_000, &[], Some(payment)),
        bank::statement("S-3", "kwd", 5, &[], None),
    ];
    written.into_iter().flatten().map(String::into_bytes).collect()
}
