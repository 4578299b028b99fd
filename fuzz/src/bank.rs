//! Bank statements and the figures in them.

use treasury::bank::{self, Deposit};
use treasury::camt053;
use treasury::money::{creditor_reference, exponent, format_minor, is_iban, parse_minor};

/// A camt.053 document, or an amount, an account number or a reference.
///
/// What is booked is never zero, and no sum of it leaves the journal's integers; a statement of the same deposits, written by us, is
/// read with the same amounts; an amount is written and read again as the same.
pub fn statement(data: &[u8]) -> bool {
    if let Some((0, choices)) = data.split_first() {
        return chosen(choices);
    }
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

/// Entries of one statement that is made from bytes.
const ENTRIES_MAX: usize = 6;

/// A statement that adds up, made from bytes: each entry is its direction and its amount (eight bytes). It is read exactly when no
/// amount is zero and neither direction comes to more than the journal holds.
fn chosen(choices: &[u8]) -> bool {
    let (entries, _) = choices.as_chunks::<9>();
    let (mut sums, mut closing, mut ntry, mut zero) = ([0u128; 2], 0i128, String::new(), false);
    for [direction, amount @ ..] in entries.iter().take(ENTRIES_MAX) {
        let (amount, credit) = (u64::from_be_bytes(*amount), direction % 2 == 0);
        sums[usize::from(credit)] += u128::from(amount);
        closing += i128::from(amount) * if credit { 1 } else { -1 };
        zero |= amount == 0;
        let (value, code) = (format_minor(amount, 2), if credit { "CRDT" } else { "DBIT" });
        ntry += &format!(
            "<Ntry><Amt Ccy=\"USD\">{value}</Amt><CdtDbtInd>{code}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts></Ntry>"
        );
    }
    // A balance is an amount too.
    let Ok(figure) = u64::try_from(closing.unsigned_abs()) else { return false };
    let code = if closing < 0 { "DBIT" } else { "CRDT" };
    let balance = |name, figure, code| {
        let value = format_minor(figure, 2);
        format!(
            "<Bal><Tp><CdOrPrtry><Cd>{name}</Cd></CdOrPrtry></Tp><Amt Ccy=\"USD\">{value}</Amt><CdtDbtInd>{code}</CdtDbtInd></Bal>"
        )
    };
    let (opening, closing) = (balance("OPBD", 0, "CRDT"), balance("CLBD", figure, code));
    let open = "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\"><BkToCstmrStmt><Stmt><Id>S</Id>";
    let document = format!("{open}{opening}{closing}{ntry}</Stmt></BkToCstmrStmt></Document>");
    let fits = !zero && sums.iter().all(|sum| *sum <= i64::MAX as u128);
    assert_eq!(camt053::parse(document.as_bytes()).is_ok(), fits);
    fits
}

/// Statements with deposits, with payments, with none, and some made from bytes.
pub fn statement_seeds() -> Vec<Vec<u8>> {
    let deposits = [("RF18539007547034", 400_000), ("RF18000000000539007547034", 1)]
        .map(|(reference, amount_minor)| Deposit { reference: reference.into(), amount_minor });
    let payment = "<CdtTrfTxInf><EndToEndId>m-1</EndToEndId><InstdAmt Ccy=\"USD\">12.34</InstdAmt></CdtTrfTxInf>";
    let written = [
        bank::statement("S-1", "usd", 0, &deposits, None),
        bank::statement("S-2", "usd", 400_000, &[], Some(payment)),
        bank::statement("S-3", "kwd", 5, &[], None),
    ];
    let entries: [&[(u8, u64)]; 3] = [&[(0, 1), (1, 2)], &[(0, i64::MAX as u64)], &[(1, 1 << 62), (1, 1)]];
    let chosen = entries.map(|entries| {
        let entry = |(direction, amount): &(u8, u64)| [vec![*direction], amount.to_be_bytes().to_vec()].concat();
        [vec![0], entries.iter().flat_map(entry).collect()].concat()
    });
    written.into_iter().flatten().map(String::into_bytes).chain(chosen).collect()
}
