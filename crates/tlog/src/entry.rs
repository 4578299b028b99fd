//! What our log says. Entries are public for ever: no entry holds a name, a number or anything else about a person; a person is
//! a [`Tag`].
//!
//! An entry is one line of JSON, `{"v":1,"type":"keyset",…}`. Fields are only ever added with a new version.

use serde::{Deserialize, Serialize};

use crate::tag::Tag;
use crate::tile::ENTRY_MAX_LEN;

/// The version that is written. Version 2 has `keyset-closed`, and `lapsed_minor` in the totals; version 3 has relying parties,
/// certificates and predicates' keys; version 4 has lists of trusted entities, and the officers who opened a record.
const VERSION: u32 = 4;
/// The oldest version that is read.
const VERSION_MIN: u32 = 1;

/// A typed entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Entry {
    /// The mint will sign with this keyset. Stands in the log before its first signature.
    Keyset {
        /// NUT-02 id, version 2: it commits to the keys, the unit, the fee and the expiry.
        id: String,
        /// Unit.
        unit: String,
        /// Fee per input in thousandths.
        input_fee_ppk: u64,
        /// Unix time after which the mint owes nothing for it.
        final_expiry: Option<u64>,
        /// SHA-256 over amounts and keys.
        keys_sha256: String,
        /// Unix time.
        at: u64,
    },
    /// A keyset is over: nothing of it is signed or spent any more, and its spent set may be dropped.
    KeysetClosed {
        /// Its id.
        id: String,
        /// Unit.
        unit: String,
        /// Worth of all that was signed with it.
        signed_minor: u64,
        /// Worth of all its tokens that were spent. What is missing lapsed.
        spent_minor: u64,
        /// Unix time.
        at: u64,
    },
    /// A programme was set up.
    Programme {
        /// Its id.
        id: String,
        /// Its public name.
        name: String,
        /// Unit.
        unit: String,
        /// What each person gets a period.
        amount_minor: u64,
        /// The period, such as `2026-12`.
        period: String,
        /// The eligibility rule.
        rule: String,
        /// Unix time.
        at: u64,
    },
    /// An officer prepared a payment run.
    RunPrepared {
        /// Its id.
        run: String,
        /// Its programme.
        programme: String,
        /// SHA-256 over its lines.
        hash: String,
        /// How many people.
        lines: u64,
        /// How much in all.
        total_minor: u64,
        /// Unix time.
        at: u64,
    },
    /// Another officer approved it.
    RunApproved {
        /// Its id.
        run: String,
        /// The hash that was approved.
        hash: String,
        /// Unix time.
        at: u64,
    },
    /// A record was opened.
    RecordOpened {
        /// Whose, for that person alone.
        tag: Tag,
        /// Why, from the published list.
        purpose: String,
        /// The role of who opened it.
        role: String,
        /// A mark for each officer who took part: the registry's keeper can tell who it was, nobody else that two are alike. 16
        /// bytes in hex.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        officers: Vec<String>,
        /// What was read.
        fields: Vec<String>,
        /// Unix time, rounded down to the hour.
        at: u64,
    },
    /// The books at the end of a day.
    Totals {
        /// `YYYY-MM-DD`.
        date: String,
        /// Unit.
        unit: String,
        /// What banks confirmed as paid in.
        funded_minor: u64,
        /// Not committed to a run.
        available_minor: u64,
        /// Committed, not collected.
        committed_minor: u64,
        /// E-cash in people's and merchants' hands.
        outstanding_minor: u64,
        /// Owed to merchants.
        merchants_minor: u64,
        /// What banks confirmed as paid out.
        paid_out_minor: u64,
        /// E-cash that nobody spent before its keyset was closed.
        #[serde(default)]
        lapsed_minor: u64,
        /// Unix time.
        at: u64,
    },
    /// A relying party may ask people for attributes.
    RelyingParty {
        /// Its identifier.
        id: String,
        /// The name that people know.
        name: String,
        /// What it asks for.
        purpose: String,
        /// What it may ask for.
        attributes: Vec<String>,
        /// Days that it may keep what it was shown.
        retention_days: u32,
        /// SHA-256 of its access certificate in DER.
        certificate_sha256: String,
        /// Unix time.
        at: u64,
    },
    /// A relying party may not ask any more, or may again.
    RelyingPartySuspended {
        /// Its identifier.
        id: String,
        /// Whether it is suspended.
        suspended: bool,
        /// Unix time.
        at: u64,
    },
    /// A certificate that signs credentials, or for relying parties.
    IssuerCertificate {
        /// `iaca`, `document-signer`, `register-root`, `registrar` or `list-operator`.
        role: String,
        /// SHA-256 of the certificate in DER.
        sha256: String,
        /// Unix time.
        at: u64,
    },
    /// A list of trusted entities, which everybody is given in the same words.
    TrustedList {
        /// One more with each list.
        sequence: u64,
        /// SHA-256 of the list as it is signed and served.
        sha256: String,
        /// Unix time.
        at: u64,
    },
    /// The issuer will sign tokens of a predicate with this key. Stands in the log before its first signature.
    PredicateKey {
        /// The predicate, such as `age_over_60`.
        predicate: String,
        /// The month that it is for, such as `2026-12`.
        period: String,
        /// SHA-256 of the key as it is published (RFC 9578 section 6.5): the id that its tokens carry.
        spki_sha256: String,
        /// Unix time.
        at: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned<E> {
    v: u32,
    #[serde(flatten)]
    entry: E,
}

/// Bytes that are no entry of a version that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry is of a kind or version that this program does not know")]
pub struct UnknownEntry;

impl Entry {
    /// The entry as it stands in the log. `None` when it is too long for a bundle, which only a name or a rule of
    /// 60,000 letters makes.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let bytes = serde_json::to_vec(&Versioned { v: VERSION, entry: self }).expect("an entry is plain data");
        (bytes.len() <= ENTRY_MAX_LEN).then_some(bytes)
    }

    /// When it says that it was written: Unix time.
    pub fn at(&self) -> u64 {
        match self {
            Entry::Keyset { at, .. }
            | Entry::KeysetClosed { at, .. }
            | Entry::Programme { at, .. }
            | Entry::RunPrepared { at, .. }
            | Entry::RunApproved { at, .. }
            | Entry::RecordOpened { at, .. }
            | Entry::Totals { at, .. }
            | Entry::RelyingParty { at, .. }
            | Entry::RelyingPartySuspended { at, .. }
            | Entry::IssuerCertificate { at, .. }
            | Entry::TrustedList { at, .. }
            | Entry::PredicateKey { at, .. } => *at,
        }
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// When kind or version are not known.
    pub fn parse(bytes: &[u8]) -> Result<Self, UnknownEntry> {
        let versioned: Versioned<Entry> = serde_json::from_slice(bytes).map_err(|_| UnknownEntry)?;
        if (VERSION_MIN..=VERSION).contains(&versioned.v) { Ok(versioned.entry) } else { Err(UnknownEntry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_written_and_strangers_refused() {
        let tag = Tag { nonce: [1; 16], mac: [2; 16] };
        let fields = vec!["birth_date".to_owned()];
        let entry = Entry::RecordOpened {
            tag,
            purpose: "p".into(),
            role: "r".into(),
            officers: vec!["03".into()],
            fields,
            at: 3_600,
        };
        let bytes = entry.to_bytes().unwrap();
        assert!(bytes.starts_with(br#"{"v":4,"type":"record-opened","tag":"0101"#));
        assert_eq!(Entry::parse(&bytes), Ok(entry));
        let before = format!(
            r#"{{"v":1,"type":"record-opened","tag":"{}","purpose":"p","role":"r","fields":[],"at":0}}"#,
            "01".repeat(32)
        );
        assert!(Entry::parse(before.as_bytes()).is_ok());
        assert!(Entry::parse(br#"{"v":1,"type":"run-approved","run":"r","hash":"h","at":1}"#).is_ok());
        assert!(Entry::parse(br#"{"v":0,"type":"run-approved","run":"r","hash":"h","at":1}"#).is_err());
        assert!(Entry::parse(br#"{"v":5,"type":"run-approved","run":"r","hash":"h","at":1}"#).is_err());
        assert!(Entry::parse(br#"{"v":1,"type":"payment","person":"p"}"#).is_err());
    }
}
