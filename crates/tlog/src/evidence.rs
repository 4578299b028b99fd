//! What convicts an operator: a file that anybody can check with the log's key alone, offline, years later.

use serde::{Deserialize, Serialize};

use crate::Hash;
use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use crate::note::Verifier;
use crate::rules::{Breach, Rules};

/// An entry, and the proof that a checkpoint's tree holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Its place.
    pub index: u64,
    /// The entry as it stands in the log.
    pub entry: String,
    /// The inclusion proof, lowest first (RFC 6962), each hash in hex.
    #[serde(with = "hashes")]
    pub proof: Vec<Hash>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// Two checkpoints of one size and different roots, both signed.
    Fork {
        /// The log's verifier key.
        log: String,
        /// A checkpoint.
        one: String,
        /// Another.
        other: String,
    },
    /// A checkpoint whose own tree begins with other entries than an older checkpoint has.
    Rewritten {
        /// The log's verifier key.
        log: String,
        /// The older checkpoint.
        older: String,
        /// The newer checkpoint.
        newer: String,
        /// The root of as many entries of the newer tree as the older has.
        #[serde(with = "hash")]
        beginning: Hash,
        /// The proof that the newer tree begins so (RFC 6962 section 2.1.2).
        #[serde(with = "hashes")]
        proof: Vec<Hash>,
    },
    /// Entries that break a rule of the log, together. Each is in the log.
    Entries {
        /// The log's verifier key.
        log: String,
        /// The checkpoint that the proofs are for.
        checkpoint: String,
        /// The entries, in their order.
        entries: Vec<Proven>,
    },
}

/// Evidence that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this proves nothing: {0}")]
pub struct Unproven(pub &'static str);

impl Evidence {
    /// The evidence as a file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("evidence is plain data")
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(json: &[u8]) -> Result<Self, Unproven> {
        serde_json::from_slice(json).map_err(|_| Unproven("the file is not what a monitor writes"))
    }

    /// The key of the log that it accuses, as the file says: whose it is has to be known from elsewhere.
    pub fn log(&self) -> &str {
        match self {
            Evidence::Fork { log, .. } | Evidence::Rewritten { log, .. } | Evidence::Entries { log, .. } => log,
        }
    }

    /// Checks the evidence against the key of the log. Gives a sentence that says what it proves.
    ///
    /// # Errors
    /// When it proves nothing.
    pub fn check(&self, log: &Verifier) -> Result<String, Unproven> {
        let open =
            |note: &str| Checkpoint::open(note, log).map_err(|_| Unproven("a checkpoint is not signed by this log"));
        match self {
            Evidence::Fork { one, other, .. } => {
                let (one, other) = (open(one)?, open(other)?);
                if one.size != other.size || one.root == other.root {
                    return Err(Unproven("the checkpoints don't contradict each other"));
                }
                Ok(format!("the log signed two histories of {} entries", one.size))
            }
            Evidence::Rewritten { older, newer, beginning, proof, .. } => {
                let (older, newer) = (open(older)?, open(newer)?);
                if !verify_consistency(older.size, beginning, newer.size, &newer.root, proof) {
                    return Err(Unproven("the newer tree does not begin as is said"));
                }
                if *beginning == older.root {
                    return Err(Unproven("the newer tree begins with the older one"));
                }
                Ok(format!("the log rewrote one of its first {} entries", older.size))
            }
            Evidence::Entries { checkpoint, entries, .. } => {
                let checkpoint = open(checkpoint)?;
                let is_in = |proven: &Proven| {
                    let leaf = leaf_hash(proven.entry.as_bytes());
                    verify_inclusion(&leaf, proven.index, checkpoint.size, &proven.proof, &checkpoint.root)
                };
                if !entries.iter().all(is_in) || !entries.is_sorted_by_key(|proven| proven.index) {
                    return Err(Unproven("an entry is not in the log where it is said to be"));
                }
                let mut rules = Rules::default();
                let breach = |proven: &Proven| {
                    Entry::parse(proven.entry.as_bytes()).ok().and_then(|entry| rules.take(proven.index, &entry))
                };
                let breaches: Vec<Breach> = entries.iter().filter_map(breach).collect();
                let breach = breaches.first().ok_or(Unproven("the entries are in the log, and break no rule"))?;
                if breach.rule.rests_on_absence() {
                    return Err(Unproven(
                        "it rests on what the log lacks, which only reading it whole shows: follow it with a monitor",
                    ));
                }
                Ok(format!("the log says of itself: {}", breach.detail))
            }
        }
    }
}

mod hash {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Hash;

    pub fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(hash))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut hash = Hash::default();
        hex::decode_to_slice(&text, &mut hash).map_err(serde::de::Error::custom)?;
        Ok(hash)
    }
}

mod hashes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Hash;

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super::hash")] Hash);

    pub fn serialize<S: Serializer>(hashes: &[Hash], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(|hash| One(*hash)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
        Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|one| one.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{consistency_path, inclusion_path, root_of};
    use crate::note::Signer;

    fn signer() -> Signer {
        Signer::new("log.example", &[1; 32]).unwrap()
    }

    fn entries() -> Vec<String> {
        let keyset = |id: &str| {
            format!(
                r#"{{"v":1,"type":"keyset","id":"{id}","unit":"usd","input_fee_ppk":0,"final_expiry":1,"keys_sha256":"","at":1}}"#
            )
        };
        let approval = |number: usize| format!(r#"{{"v":1,"type":"run-approved","run":"{number}","hash":"h","at":1}}"#);
        let mut entries: Vec<String> = (0..20).map(approval).collect();
        entries[4] = keyset("01aa");
        entries[11] = keyset("01bb");
        entries
    }

    fn leaves(entries: &[String]) -> Vec<Hash> {
        entries.iter().map(|entry| leaf_hash(entry.as_bytes())).collect()
    }

    fn range(leaves: &[Hash]) -> impl Fn((u64, u64)) -> Hash {
        |(start, end)| root_of(&leaves[start as usize..end as usize])
    }

    fn signed(leaves: &[Hash]) -> String {
        Checkpoint { origin: "log.example".into(), size: leaves.len() as u64, root: root_of(leaves) }.sign(&signer())
    }

    fn proven(entries: &[String], indices: &[u64]) -> Evidence {
        let leaves = leaves(entries);
        let proven = |index: &u64| Proven {
            index: *index,
            entry: entries[*index as usize].clone(),
            proof: inclusion_path(*index, leaves.len() as u64).into_iter().map(range(&leaves)).collect(),
        };
        let entries = indices.iter().map(proven).collect();
        Evidence::Entries { log: signer().verifier().to_vkey(), checkpoint: signed(&leaves), entries }
    }

    #[test]
    fn evidence_convicts_the_log_that_it_is_of_and_is_read_as_written() {
        let log = signer().verifier();
        let (good, mut other) = (leaves(&entries()), entries());
        other[3] = other[5].clone();
        let other = leaves(&other);
        let vkey = log.to_vkey();
        let fork = Evidence::Fork { log: vkey.clone(), one: signed(&good), other: signed(&other) };
        let rewritten = Evidence::Rewritten {
            log: vkey.clone(),
            older: signed(&good[..9]),
            newer: signed(&other),
            beginning: root_of(&other[..9]),
            proof: consistency_path(9, 20).into_iter().map(range(&other)).collect(),
        };
        for evidence in [fork, rewritten, proven(&entries(), &[4, 11])] {
            assert_eq!(Evidence::from_json(&evidence.to_json()), Ok(evidence.clone()));
            assert!(evidence.check(&log).is_ok(), "{evidence:?}");
            assert_eq!(evidence.log(), vkey);
            let stranger = Signer::new("log.example", &[2; 32]).unwrap().verifier();
            assert!(evidence.check(&stranger).is_err(), "of another log");
        }
    }

    #[test]
    fn an_honest_log_is_not_convicted() {
        let log = signer().verifier();
        let good = leaves(&entries());
        let vkey = log.to_vkey();
        let same = Evidence::Fork { log: vkey.clone(), one: signed(&good), other: signed(&good) };
        let grown = Evidence::Fork { log: vkey.clone(), one: signed(&good[..9]), other: signed(&good) };
        let rewritten = |beginning| Evidence::Rewritten {
            log: vkey.clone(),
            older: signed(&good[..9]),
            newer: signed(&good),
            beginning,
            proof: consistency_path(9, 20).into_iter().map(range(&good)).collect(),
        };
        let mut reordered = proven(&entries(), &[4, 11]);
        let mut moved = reordered.clone();
        if let Evidence::Entries { entries, .. } = &mut reordered {
            entries.reverse();
        }
        if let Evidence::Entries { entries, .. } = &mut moved {
            entries[1].index = 12;
        }
        for evidence in [
            same,
            grown,
            rewritten(root_of(&good[..9])),
            rewritten([0; 32]),
            proven(&entries(), &[4]),
            // Taken alone an approval looks as if nothing had been prepared.
            proven(&entries(), &[6]),
            reordered,
            moved,
        ] {
            assert!(evidence.check(&log).is_err(), "{evidence:?}");
        }
    }
}
