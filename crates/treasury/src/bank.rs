//! A pretended bank, for demonstrations and tests: writes the statements that a real one would send. Nothing else uses it.

use quick_xml::escape::escape;

use crate::money::{exponent, format_minor};

/// A deposit with the reference of the programme that it is for.
#[derive(Clone, Debug)]
pub struct Deposit {
    /// The programme's reference.
    pub reference: String,
    /// How much.
    pub amount_minor: u64,
}

/// A camt.053 statement with deposits, and with a debit for each payment of a pain.001 file. `None` for an unknown currency.
pub fn statement(
    id: &str,
    unit: &str,
    opening_minor: u64,
    deposits: &[Deposit],
    pain001: Option<&str>,
) -> Option<String> {
    let exponent = exponent(unit)?;
    let currency = unit.to_ascii_uppercase();
    let amount = |minor| format!("<Amt Ccy=\"{currency}\">{}</Amt>", format_minor(minor, exponent));
    let mut closing = opening_minor;
    let mut entries = String::new();
    for (number, deposit) in deposits.iter().enumerate() {
        closing += deposit.amount_minor;
        entries += &format!(
            "<Ntry><NtryRef>D{number}</NtryRef>{}<CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><NtryDtls><TxDtls>\
             <RmtInf><Strd><CdtrRefInf><Ref>{}</Ref></CdtrRefInf></Strd></RmtInf></TxDtls></NtryDtls></Ntry>\n",
            amount(deposit.amount_minor),
            escape(deposit.reference.as_str()),
        );
    }
    for (number, (end_to_end, paid)) in payments_of(pain001.unwrap_or_default(), exponent).into_iter().enumerate() {
        closing = closing.checked_sub(paid)?;
        entries += &format!(
            "<Ntry><NtryRef>P{number}</NtryRef>{}<CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><NtryDtls><TxDtls>\
             <Refs><EndToEndId>{end_to_end}</EndToEndId></Refs></TxDtls></NtryDtls></Ntry>\n",
            amount(paid),
        );
    }
    let balance = |code, minor| {
        format!(
            "<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{}<CdtDbtInd>CRDT</CdtDbtInd></Bal>\n",
            amount(minor)
        )
    };
    Some(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- Written by a pretended bank for demonstration. -->\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\"><BkToCstmrStmt><Stmt><Id>{}</Id>\n{}{}{entries}\
         </Stmt></BkToCstmrStmt></Document>\n",
        escape(id),
        balance("OPBD", opening_minor),
        balance("CLBD", closing),
    ))
}

/// End-to-end id and amount of each payment in a pain.001 file of ours.
fn payments_of(pain001: &str, exponent: u32) -> Vec<(String, u64)> {
    let between = |text: &str, open: &str, close: &str| -> Option<String> {
        let (_, rest) = text.split_once(open)?;
        rest.split_once(close).map(|(inner, _)| inner.to_owned())
    };
    pain001
        .split("<CdtTrfTxInf>")
        .skip(1)
        .filter_map(|transfer| {
            let id = between(transfer, "<EndToEndId>", "</EndToEndId>")?;
            let amount = between(transfer, "<InstdAmt", "</InstdAmt>")?;
            let (_, value) = amount.split_once('>')?;
            Some((id, crate::money::parse_minor(value, exponent)?))
        })
        .collect()
}
