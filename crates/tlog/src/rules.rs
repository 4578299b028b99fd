//! What has to hold between the entries of our log, whoever writes it. A reader hands in entries in their order, and is told of each that
//! breaks a rule, with the entries that convict it.
//!
//! The rules need no secret and no state but the entries, and (but for those that rest on an absence) what breaks them breaks them whatever
//! else the log says: a few entries, taken out of it, convict.

use std::collections::BTreeMap;

use crate::entry::Entry;

/// How far an entry's time may lie before that of an earlier entry, in seconds: services write side by side, and openings are rounded
/// down to the hour.
const BACK_MAX: u64 = 2 * 3_600;

/// The purposes for which a record is opened, and no other.
pub const PURPOSES: [&str; 4] = ["issue-credential", "issue-predicate", "evaluate-rule", "answer-person"];

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One keyset for each unit and expiry: otherwise somebody may be marked by a second.
    OneKeyset,
    /// One key for each predicate and month.
    OnePredicateKey,
    /// One list of trusted entities for each number.
    OneTrustedList,
    /// Times don't run backwards.
    InOrderOfTime,
    /// What is approved is what was prepared, once.
    ApprovalsMatch,
    /// What is approved was prepared before.
    PreparedBeforeApproved,
    /// Published sums add up, never above the funds, and what banks confirmed does not shrink.
    TotalsBalance,
    /// No more is spent of a keyset than was signed.
    SpentWasSigned,
    /// Records are opened for published purposes, and for some fields.
    OpenedForPurpose,
    /// Only a registered relying party is suspended.
    RegisteredBeforeSuspended,
}

impl Rule {
    /// Whether a breach may mark people: such a log is not read on by a wallet.
    pub fn may_mark_people(self) -> bool {
        matches!(self, Rule::OneKeyset | Rule::OnePredicateKey | Rule::OneTrustedList)
    }

    /// Whether a breach rests on what is not in the log, which only the whole log shows: a few entries of an honest one would look the same.
    pub fn rests_on_absence(self) -> bool {
        matches!(self, Rule::PreparedBeforeApproved | Rule::RegisteredBeforeSuspended)
    }
}

/// An entry that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {index}: {detail}")]
pub struct Breach {
    /// The entry.
    pub index: u64,
    /// The rule.
    pub rule: Rule,
    /// What is wrong, for people.
    pub detail: String,
    /// The entries that show it, in their order; this one is the last.
    pub entries: Vec<u64>,
}

/// Something that was said once, and where.
struct Said<T> {
    index: u64,
    what: T,
}

struct Run {
    unit: Option<String>,
    programme_index: Option<u64>,
    hash: String,
    total_minor: u64,
    is_approved: bool,
}

/// What the rules remember of the entries so far.
#[derive(Default)]
pub struct Rules {
    keysets: BTreeMap<(String, Option<u64>), Said<String>>,
    predicate_keys: BTreeMap<(String, String), Said<String>>,
    trusted_lists: BTreeMap<u64, Said<String>>,
    /// The programmes' units.
    programmes: BTreeMap<String, Said<String>>,
    runs: BTreeMap<String, Said<Run>>,
    /// By unit: what was approved in all, and the entries that say so.
    approved: BTreeMap<String, (u64, Vec<u64>)>,
    /// By unit: the last sums (funded, paid out).
    totals: BTreeMap<String, Said<(u64, u64)>>,
    relying_parties: BTreeMap<String, u64>,
    /// The latest time, and who said it.
    latest: Option<Said<u64>>,
}

impl Rules {
    /// Takes the next entry. Gives the rule that it breaks, if it breaks one.
    pub fn take(&mut self, index: u64, entry: &Entry) -> Option<Breach> {
        let breach = |rule, detail: String, mut entries: Vec<u64>| {
            entries.push(index);
            entries.sort_unstable();
            entries.dedup();
            Some(Breach { index, rule, detail, entries })
        };
        let found = match entry {
            Entry::Keyset { id, unit, final_expiry, .. } => {
                let first = self.keysets.entry((unit.clone(), *final_expiry));
                said_before(first, index, id).and_then(|earlier| {
                    let detail = format!("a second keyset for {unit} in one period: somebody may be marked by it");
                    breach(Rule::OneKeyset, detail, vec![earlier])
                })
            }
            Entry::PredicateKey { predicate, period, spki_sha256, .. } => {
                let first = self.predicate_keys.entry((predicate.clone(), period.clone()));
                said_before(first, index, spki_sha256).and_then(|earlier| {
                    let detail = format!("a second key for {predicate} in {period}: somebody may be marked by it");
                    breach(Rule::OnePredicateKey, detail, vec![earlier])
                })
            }
            Entry::TrustedList { sequence, sha256, .. } => {
                let first = self.trusted_lists.entry(*sequence);
                said_before(first, index, sha256).and_then(|earlier| {
                    let detail = format!(
                        "a second list of trusted entities with the number {sequence}: somebody may be marked by it"
                    );
                    breach(Rule::OneTrustedList, detail, vec![earlier])
                })
            }
            Entry::KeysetClosed { id, signed_minor, spent_minor, .. } if spent_minor > signed_minor => breach(
                Rule::SpentWasSigned,
                format!(
                    "of keyset {id} {spent_minor} were spent, and {signed_minor} signed: tokens were forged or counted wrongly"
                ),
                Vec::new(),
            ),
            Entry::Programme { id, unit, .. } => {
                self.programmes.entry(id.clone()).or_insert_with(|| Said { index, what: unit.clone() });
                None
            }
            Entry::RunPrepared { run, programme, hash, total_minor, .. } => {
                let programme = self.programmes.get(programme);
                let what = Run {
                    unit: programme.map(|said| said.what.clone()),
                    programme_index: programme.map(|said| said.index),
                    hash: hash.clone(),
                    total_minor: *total_minor,
                    is_approved: false,
                };
                match self.runs.get(run) {
                    Some(first) if first.what.hash != *hash => breach(
                        Rule::ApprovalsMatch,
                        format!("run {run} was prepared a second time, with other lines"),
                        vec![first.index],
                    ),
                    Some(_) => None,
                    None => {
                        self.runs.insert(run.clone(), Said { index, what });
                        None
                    }
                }
            }
            Entry::RunApproved { run, hash, .. } => match self.runs.get_mut(run) {
                None => breach(
                    Rule::PreparedBeforeApproved,
                    format!("run {run} was approved and never prepared"),
                    Vec::new(),
                ),
                Some(prepared) if prepared.what.hash != *hash => breach(
                    Rule::ApprovalsMatch,
                    format!("run {run} was approved with other lines than were prepared"),
                    vec![prepared.index],
                ),
                Some(prepared) if prepared.what.is_approved => None,
                Some(prepared) => {
                    prepared.what.is_approved = true;
                    if let Some(unit) = &prepared.what.unit {
                        let (sum, entries) = self.approved.entry(unit.clone()).or_default();
                        *sum = sum.saturating_add(prepared.what.total_minor);
                        entries.extend(prepared.what.programme_index);
                        entries.extend([prepared.index, index]);
                    }
                    None
                }
            },
            Entry::Totals {
                unit,
                funded_minor,
                available_minor,
                committed_minor,
                outstanding_minor,
                merchants_minor,
                paid_out_minor,
                lapsed_minor,
                ..
            } => {
                let parts = [
                    available_minor,
                    committed_minor,
                    outstanding_minor,
                    merchants_minor,
                    paid_out_minor,
                    lapsed_minor,
                ];
                let sum = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(**part));
                let last = self.totals.get(unit).map(|said| (said.index, said.what));
                let approved = self.approved.get(unit).filter(|(sum, _)| sum > funded_minor);
                let found = if sum != Some(*funded_minor) {
                    let detail = format!("the sums of {unit} don't add up to the {funded_minor} that were paid in");
                    breach(Rule::TotalsBalance, detail, Vec::new())
                } else if let Some((approved, entries)) = approved {
                    let detail = format!("{approved} {unit} were approved for people, and {funded_minor} paid in");
                    breach(Rule::TotalsBalance, detail, entries.clone())
                } else if let Some((earlier, _)) =
                    last.filter(|(_, (funded, paid_out))| funded > funded_minor || paid_out > paid_out_minor)
                {
                    let detail = format!("what banks confirmed of {unit} is less than it was before");
                    breach(Rule::TotalsBalance, detail, vec![earlier])
                } else {
                    None
                };
                self.totals.insert(unit.clone(), Said { index, what: (*funded_minor, *paid_out_minor) });
                found
            }
            Entry::RecordOpened { purpose, role, fields, .. }
                if fields.is_empty() || !PURPOSES.contains(&purpose.as_str()) =>
            {
                let detail =
                    format!("a {role} opened a record for '{purpose}', which is no published purpose, or for no field");
                breach(Rule::OpenedForPurpose, detail, Vec::new())
            }
            Entry::RelyingParty { id, .. } => {
                self.relying_parties.entry(id.clone()).or_insert(index);
                None
            }
            Entry::RelyingPartySuspended { id, .. } if !self.relying_parties.contains_key(id) => breach(
                Rule::RegisteredBeforeSuspended,
                format!("relying party {id} was suspended and never registered: it may have asked people unseen"),
                Vec::new(),
            ),
            _ => None,
        };
        let at = entry.at();
        let late = self.latest.as_ref().filter(|latest| at.saturating_add(BACK_MAX) < latest.what);
        let late = late.map(|latest| (latest.index, latest.what - at));
        if self.latest.as_ref().is_none_or(|latest| at > latest.what) {
            self.latest = Some(Said { index, what: at });
        }
        found.or_else(|| {
            let (earlier, seconds) = late?;
            let detail =
                format!("it is dated {seconds} seconds before an entry that stands before it: it was back-dated");
            breach(Rule::InOrderOfTime, detail, vec![earlier])
        })
    }

    /// Whether a keyset of this id was announced.
    pub fn has_keyset(&self, id: &str) -> bool {
        self.keysets.values().any(|said| said.what == id)
    }

    /// Whether a predicate's key of this id (hex) was announced.
    pub fn has_predicate_key(&self, spki_sha256: &str) -> bool {
        self.predicate_keys.values().any(|said| said.what == spki_sha256)
    }

    /// Whether a list of trusted entities of this hash (hex) was announced.
    pub fn has_trusted_list(&self, sha256: &str) -> bool {
        self.trusted_lists.values().any(|said| said.what == sha256)
    }
}

/// Remembers what is said for the first time. Where something else was said before, gives the index of that.
fn said_before<K: Ord>(
    entry: std::collections::btree_map::Entry<'_, K, Said<String>>,
    index: u64,
    what: &str,
) -> Option<u64> {
    use std::collections::btree_map::Entry;
    match entry {
        Entry::Vacant(place) => {
            place.insert(Said { index, what: what.to_owned() });
            None
        }
        Entry::Occupied(first) if first.get().what == what => None,
        Entry::Occupied(first) => Some(first.get().index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "usd";

    fn keyset(id: &str, at: u64) -> Entry {
        Entry::Keyset {
            id: id.into(),
            unit: UNIT.into(),
            input_fee_ppk: 0,
            final_expiry: Some(1),
            keys_sha256: "00".into(),
            at,
        }
    }

    fn programme() -> Entry {
        Entry::Programme {
            id: "p".into(),
            name: "Food".into(),
            unit: UNIT.into(),
            amount_minor: 50,
            period: "2026-12".into(),
            rule: "everyone".into(),
            at: 0,
        }
    }

    fn prepared(run: &str, hash: &str, total_minor: u64) -> Entry {
        let (run, programme, hash) = (run.into(), "p".into(), hash.into());
        Entry::RunPrepared { run, programme, hash, lines: 1, total_minor, at: 0 }
    }

    fn approved(run: &str, hash: &str) -> Entry {
        Entry::RunApproved { run: run.into(), hash: hash.into(), at: 0 }
    }

    fn totals(funded_minor: u64, parts: [u64; 6]) -> Entry {
        let [available_minor, committed_minor, outstanding_minor, merchants_minor, paid_out_minor, lapsed_minor] =
            parts;
        Entry::Totals {
            date: "2026-12-01".into(),
            unit: UNIT.into(),
            funded_minor,
            available_minor,
            committed_minor,
            outstanding_minor,
            merchants_minor,
            paid_out_minor,
            lapsed_minor,
            at: 0,
        }
    }

    /// The first breach: its rule, and the entries that show it. These alone show it, too.
    fn found(entries: &[Entry]) -> Option<(Rule, Vec<u64>)> {
        let first = |indices: &[u64]| {
            let mut rules = Rules::default();
            indices.iter().find_map(|index| rules.take(*index, &entries[*index as usize]))
        };
        let breach = first(&(0..entries.len() as u64).collect::<Vec<_>>())?;
        let alone = first(&breach.entries);
        assert_eq!(alone.as_ref(), Some(&breach), "what convicts does so alone");
        Some((breach.rule, breach.entries))
    }

    #[test]
    fn a_good_log_breaks_no_rule_and_each_breach_is_found() {
        let good = [
            keyset("01aa", 10),
            programme(),
            prepared("r", "h", 100),
            approved("r", "h"),
            totals(200, [100, 40, 30, 20, 10, 0]),
            keyset("01aa", 20),
            approved("r", "h"),
            totals(200, [100, 0, 0, 0, 50, 50]),
        ];
        assert_eq!(found(&good), None);
        let with = |at: usize, entry: Entry| {
            let mut entries = good.to_vec();
            entries.insert(at, entry);
            found(&entries)
        };
        assert_eq!(with(3, keyset("01bb", 10)), Some((Rule::OneKeyset, vec![0, 3])));
        assert_eq!(with(3, prepared("r", "other", 100)), Some((Rule::ApprovalsMatch, vec![2, 3])));
        assert_eq!(with(3, approved("r", "other")), Some((Rule::ApprovalsMatch, vec![2, 3])));
        assert_eq!(with(3, approved("s", "h")), Some((Rule::PreparedBeforeApproved, vec![3])));
        assert_eq!(with(4, totals(200, [100, 40, 30, 20, 10, 1])), Some((Rule::TotalsBalance, vec![4])));
        assert_eq!(with(4, totals(u64::MAX, [u64::MAX, 1, 0, 0, 0, 0])), Some((Rule::TotalsBalance, vec![4])));
        // More was approved than there is, though the sums add up.
        assert_eq!(with(4, totals(90, [0, 90, 0, 0, 0, 0])), Some((Rule::TotalsBalance, vec![1, 2, 3, 4])));
        assert_eq!(with(5, totals(199, [99, 40, 30, 20, 10, 0])), Some((Rule::TotalsBalance, vec![4, 5])));
        assert_eq!(with(8, totals(200, [100, 51, 0, 0, 49, 0])), Some((Rule::TotalsBalance, vec![7, 8])));
        let suspended = Entry::RelyingPartySuspended { id: "x".into(), suspended: true, at: 0 };
        assert_eq!(with(2, suspended), Some((Rule::RegisteredBeforeSuspended, vec![2])));
        let opened = |purpose: &str, fields: &[&str]| Entry::RecordOpened {
            tag: crate::tag::Tag { nonce: [0; 16], mac: [0; 16] },
            purpose: purpose.into(),
            role: "registrar".into(),
            officers: Vec::new(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            at: 0,
        };
        assert_eq!(with(2, opened("answer-person", &["address"])), None);
        assert_eq!(with(2, opened("curiosity", &["address"])), Some((Rule::OpenedForPurpose, vec![2])));
        assert_eq!(with(2, opened("answer-person", &[])), Some((Rule::OpenedForPurpose, vec![2])));
        let closed = |spent_minor| Entry::KeysetClosed {
            id: "01aa".into(),
            unit: UNIT.into(),
            signed_minor: 10,
            spent_minor,
            at: 0,
        };
        assert_eq!(with(2, closed(10)), None);
        assert_eq!(with(2, closed(11)), Some((Rule::SpentWasSigned, vec![2])));
    }

    #[test]
    fn an_entry_that_is_dated_back_is_found_and_one_that_was_rounded_is_not() {
        assert_eq!(found(&[keyset("01aa", 100_000), keyset("01aa", 100_000 - BACK_MAX)]), None);
        let back = [keyset("01aa", 50), keyset("01aa", 100_000), keyset("01aa", 90_000), keyset("01aa", 99_000)];
        assert_eq!(found(&back), Some((Rule::InOrderOfTime, vec![1, 2])));
    }
}
