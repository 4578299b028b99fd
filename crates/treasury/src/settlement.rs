//! Paying merchants: ISO 20022 pain.001.001.09.

use jiff::Timestamp;
use quick_xml::escape::escape;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::TreasuryError;
use crate::ledger::{Movement, Treasury, account_holder, balance, book};
use crate::money::{exponent, format_minor};

/// A payment file and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The message id.
    pub id: String,
    /// Its currency.
    pub unit: String,
    /// How many payments.
    pub payments: usize,
    /// Their sum in minor units.
    pub total_minor: u64,
    /// The file.
    pub pain001: String,
}

/// One payment.
struct Payment {
    end_to_end: String,
    merchant: crate::ledger::Merchant,
    amount_minor: u64,
}

impl Treasury {
    /// Writes a payment file for every merchant of a unit who is owed something, and moves what it pays to "settling".
    /// `debtor_name` and `debtor_iban` are the programme's account at the bank.
    ///
    /// # Errors
    /// [`TreasuryError::NothingToSettle`] when nobody is owed anything, an unknown unit, a wrong name or IBAN, or the database can't
    /// be written.
    pub fn prepare_settlement(
        &self,
        unit: &str,
        debtor_name: &str,
        debtor_iban: &str,
    ) -> Result<Settlement, TreasuryError> {
        let exponent = exponent(unit).ok_or_else(|| TreasuryError::UnknownUnit(unit.to_owned()))?;
        let (debtor_name, debtor_iban) = account_holder(debtor_name, debtor_iban)?;
        let merchants = self.merchants()?;
        let at = self.clock.unix_now();
        // 32 hex digits: end-to-end and message ids have at most 35 characters.
        let message_id = uuid::Uuid::now_v7().simple().to_string();
        self.act(|transaction| {
            let mut payments = Vec::new();
            for (merchant, _, _) in merchants.into_iter().filter(|(merchant, _, _)| merchant.unit == unit) {
                let amount_minor = balance(transaction, &format!("merchant:{}", merchant.id))?;
                if amount_minor == 0 {
                    continue;
                }
                let end_to_end = uuid::Uuid::now_v7().simple().to_string();
                let movement = Movement {
                    unit,
                    debit: format!("merchant:{}", merchant.id),
                    credit: format!("settling:{}", merchant.id),
                    amount_minor,
                    kind: "settle",
                    reference: &end_to_end,
                };
                book(transaction, at, &movement)?;
                payments.push(Payment { end_to_end, merchant, amount_minor });
            }
            if payments.is_empty() {
                return Err(TreasuryError::NothingToSettle);
            }
            let total_minor = payments.iter().map(|payment| payment.amount_minor).sum();
            let debtor = (debtor_name.as_str(), debtor_iban.as_str());
            let pain001 = pain_001(&message_id, at, unit, exponent, total_minor, debtor, &payments);
            transaction.execute(
                "INSERT INTO settlements (id, at, unit, payments, total_minor, pain001) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![message_id, at, unit, payments.len(), total_minor, pain001],
            )?;
            Ok(Settlement { id: message_id, unit: unit.to_owned(), payments: payments.len(), total_minor, pain001 })
        })
    }

    /// All payment files, oldest first: one that got lost on its way to the bank is found here.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn settlements(&self) -> Result<Vec<Settlement>, TreasuryError> {
        let database = self.connection();
        let mut rows = database
            .prepare_cached("SELECT id, unit, payments, total_minor, pain001 FROM settlements ORDER BY at, id")?;
        let settlement = |row: &rusqlite::Row<'_>| {
            Ok(Settlement {
                id: row.get(0)?,
                unit: row.get(1)?,
                payments: row.get(2)?,
                total_minor: row.get(3)?,
                pain001: row.get(4)?,
            })
        };
        Ok(rows.query_map([], settlement)?.collect::<Result<_, _>>()?)
    }
}

fn pain_001(
    message_id: &str,
    at: u64,
    unit: &str,
    exponent: u32,
    total_minor: u64,
    (debtor_name, debtor_iban): (&str, &str),
    payments: &[Payment],
) -> String {
    let timestamp = Timestamp::from_second(at as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = timestamp.strftime("%Y-%m-%d");
    let (count, sum) = (payments.len(), format_minor(total_minor, exponent));
    let currency = unit.to_ascii_uppercase();
    let debtor_name = escape(debtor_name);
    let transfers: String = payments
        .iter()
        .map(|payment| {
            format!(
                "<CdtTrfTxInf><PmtId><EndToEndId>{}</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"{currency}\">{}</InstdAmt></Amt>\
                 <Cdtr><Nm>{}</Nm></Cdtr><CdtrAcct><Id><IBAN>{}</IBAN></Id></CdtrAcct></CdtTrfTxInf>\n",
                payment.end_to_end,
                format_minor(payment.amount_minor, exponent),
                escape(payment.merchant.name.as_str()),
                payment.merchant.iban,
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\"><CstmrCdtTrfInitn>\n\
         <GrpHdr><MsgId>{message_id}</MsgId><CreDtTm>{timestamp}</CreDtTm><NbOfTxs>{count}</NbOfTxs><CtrlSum>{sum}</CtrlSum>\
         <InitgPty><Nm>{debtor_name}</Nm></InitgPty></GrpHdr>\n\
         <PmtInf><PmtInfId>{message_id}</PmtInfId><PmtMtd>TRF</PmtMtd><NbOfTxs>{count}</NbOfTxs><CtrlSum>{sum}</CtrlSum>\
         <ReqdExctnDt><Dt>{date}</Dt></ReqdExctnDt><Dbtr><Nm>{debtor_name}</Nm></Dbtr>\
         <DbtrAcct><Id><IBAN>{debtor_iban}</IBAN></Id></DbtrAcct>\
         <DbtrAgt><FinInstnId><Othr><Id>NOTPROVIDED</Id></Othr></FinInstnId></DbtrAgt>\n\
         {transfers}</PmtInf></CstmrCdtTrfInitn></Document>\n"
    )
}
