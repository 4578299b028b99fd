//! A monitor: follows a log from its public address, holds every checkpoint against the last one, every entry against the rules, and
//! keeps what convicts the operator. Needs nothing that is not public, and trusts nobody but the keys that it was given.

use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::client::{LogError, SourceError, TileSource, consistency_proof, fetch_bundles, prove_inclusion, root_at};
use tlog::cosignature::Policy;
use tlog::entry::Entry;
use tlog::evidence::{Evidence, Proven};
use tlog::merkle::{Frontier, leaf_hash, verify_consistency};
use tlog::note::{NoteError, Verifier};
use tlog::rules::{Breach, Rules};

/// How old the youngest cosignature of a quorum may be, in seconds, before readers are told that the log stands still or is held back.
pub const STALE_AFTER: u64 = 3_600;

/// Something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What, for people.
    pub what: String,
    /// What convicts the operator, where something does. Without it, the alarm is for whoever can look again.
    pub evidence: Option<Evidence>,
}

/// What a look at the log has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Entries of the log.
    pub size: u64,
    /// Entries that were read and checked in this look.
    pub new: u64,
    /// Entries of a kind that this program does not know. Of these only their place was checked.
    pub unknown: u64,
    /// Witnesses that have cosigned.
    pub cosigned: usize,
    /// What is wrong.
    pub alarms: Vec<Alarm>,
}

/// A monitor of one log.
pub struct Monitor {
    policy: Policy,
    /// The last checkpoint that was good, as signed and as read.
    seen: Option<(String, Checkpoint)>,
    frontier: Frontier,
    rules: Rules,
    /// Whether the log stood still at the last look: said once.
    is_stale: bool,
}

impl Monitor {
    /// A monitor that has seen nothing, or the checkpoint `seen` in an earlier life: it reads the log from the beginning either way.
    ///
    /// # Errors
    /// When `seen` is not a checkpoint of this log.
    pub fn new(policy: Policy, seen: Option<String>) -> Result<Self, NoteError> {
        let opened = seen.map(|note| Checkpoint::open(&note, policy.log()).map(|checkpoint| (note, checkpoint)));
        Ok(Monitor {
            policy,
            seen: opened.transpose()?,
            frontier: Frontier::default(),
            rules: Rules::default(),
            is_stale: false,
        })
    }

    /// The last checkpoint that was good: to be kept for the next life.
    pub fn seen(&self) -> Option<&str> {
        self.seen.as_ref().map(|(note, _)| note.as_str())
    }

    /// The rules with all entries so far.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Looks at the log. `now`: Unix time.
    ///
    /// # Errors
    /// When a file can't be got: nothing is known then, and the next look does it again.
    pub fn look(&mut self, source: &dyn TileSource, now: u64) -> Result<Look, SourceError> {
        let note = String::from_utf8(source.get("checkpoint")?).unwrap_or_default();
        let mut look = Look { cosigned: self.policy.cosigned(&note).count(), ..Look::default() };
        let checkpoint = match self.policy.open(&note) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                look.alarms.push(alarm(format!("the checkpoint is not acceptable: {error}")));
                return Ok(look);
            }
        };
        look.size = checkpoint.size;
        if let Some((seen_note, seen)) = &self.seen
            && let Some(alarm) = compare(self.policy.log(), source, (seen_note, seen), (&note, &checkpoint))?
        {
            look.alarms.push(alarm);
            return Ok(look);
        }
        look.alarms.extend(self.is_late(&note, now));
        self.read(source, &note, &checkpoint, &mut look)?;
        Ok(look)
    }

    /// Holds a checkpoint that somebody else was given, such as a witness or a wallet, against what this monitor saw.
    ///
    /// # Errors
    /// When a file can't be got.
    pub fn compare_with(&self, source: &dyn TileSource, note: &str) -> Result<Option<Alarm>, SourceError> {
        let log = self.policy.log();
        let Ok(theirs) = Checkpoint::open(note, log) else {
            return Ok(Some(alarm("a witness has a checkpoint that the log did not sign".into())));
        };
        match &self.seen {
            None => Ok(None),
            Some((own_note, own)) if own.size >= theirs.size => compare(log, source, (note, &theirs), (own_note, own)),
            // Without the tiles of the larger tree nothing is proven, and the log shows no such tree.
            Some((own_note, own)) => Ok(compare(log, source, (own_note, own), (note, &theirs)).unwrap_or_else(|_| {
                Some(alarm(format!(
                    "a witness cosigned {} entries, which the log does not show us: it is held back from us, or they were shown another",
                    theirs.size
                )))
            })),
        }
    }

    /// Whether the log stands still: its cosignatures are old.
    fn is_late(&mut self, note: &str, now: u64) -> Option<Alarm> {
        let youngest = self.policy.cosigned(note).map(|(_, at)| at).max()?;
        let was_stale = std::mem::replace(&mut self.is_stale, youngest + STALE_AFTER < now);
        let minutes = now.saturating_sub(youngest) / 60;
        (self.is_stale && !was_stale).then(|| {
            alarm(format!(
                "no witness has cosigned for {minutes} minutes: the log stands still, or is held back from us"
            ))
        })
    }

    /// Reads the entries that are new, and holds them against the checkpoint and the rules.
    fn read(
        &mut self,
        source: &dyn TileSource,
        note: &str,
        checkpoint: &Checkpoint,
        look: &mut Look,
    ) -> Result<(), SourceError> {
        let mut breaches: Vec<Breach> = Vec::new();
        let bundles = fetch_bundles(source, self.frontier.size(), checkpoint.size);
        for bundle in bundles {
            let entries = match bundle {
                Ok(entries) => entries,
                Err(LogError::Source(error)) => return Err(error),
                Err(other) => {
                    look.alarms.push(alarm(other.to_string()));
                    return Ok(());
                }
            };
            for bytes in entries {
                let index = self.frontier.size();
                self.frontier.push(leaf_hash(&bytes));
                look.new += 1;
                match Entry::parse(&bytes) {
                    Ok(entry) => breaches.extend(self.rules.take(index, &entry)),
                    Err(_) => look.unknown += 1,
                }
            }
        }
        if self.frontier.root() != checkpoint.root {
            let what = "the entries that are shown don't give the root that is signed: an entry was changed or dropped";
            look.alarms.push(alarm(what.into()));
            // Read again from the beginning: what was taken in is not what was signed.
            self.frontier = Frontier::default();
            self.rules = Rules::default();
            return Ok(());
        }
        for breach in breaches {
            let evidence = self.prove(source, note, checkpoint, &breach)?;
            look.alarms.push(Alarm { what: breach.to_string(), evidence });
        }
        self.seen = Some((note.to_owned(), checkpoint.clone()));
        Ok(())
    }

    /// What convicts: the entries of a breach, each with its proof. `None` where only the whole log shows it.
    fn prove(
        &self,
        source: &dyn TileSource,
        note: &str,
        checkpoint: &Checkpoint,
        breach: &Breach,
    ) -> Result<Option<Evidence>, SourceError> {
        if breach.rule.rests_on_absence() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for index in &breach.entries {
            match prove_inclusion(source, checkpoint, *index) {
                Ok(proven) => entries.push(Proven {
                    index: proven.index,
                    entry: String::from_utf8_lossy(&proven.entry).into_owned(),
                    proof: proven.proof,
                }),
                Err(LogError::Source(error)) => return Err(error),
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(Evidence::Entries { log: self.policy.log().to_vkey(), checkpoint: note.to_owned(), entries }))
    }
}

/// Holds a checkpoint against one that was seen before it; each as signed and as read.
fn compare(
    log: &Verifier,
    source: &dyn TileSource,
    (seen_note, seen): (&str, &Checkpoint),
    (note, checkpoint): (&str, &Checkpoint),
) -> Result<Option<Alarm>, SourceError> {
    let (seen_note, note, key) = (seen_note.to_owned(), note.to_owned(), log.to_vkey());
    if checkpoint.size < seen.size {
        let what = format!(
            "the log has {} entries, and had {}: it was cut, or an old copy is shown",
            checkpoint.size, seen.size
        );
        return Ok(Some(alarm(what)));
    }
    if checkpoint.size == seen.size {
        let fork = Evidence::Fork { log: key, one: seen_note, other: note };
        return Ok((checkpoint.root != seen.root).then(|| convicted(fork, log)));
    }
    let tile = |error: LogError| match error {
        LogError::Source(error) => Err(error),
        other => Ok(Some(alarm(other.to_string()))),
    };
    let proof: Vec<Hash> = match consistency_proof(source, seen.size, checkpoint.size) {
        Ok(proof) => proof,
        Err(error) => return tile(error),
    };
    if verify_consistency(seen.size, &seen.root, checkpoint.size, &checkpoint.root, &proof) {
        return Ok(None);
    }
    let beginning = match root_at(source, seen.size, checkpoint.size) {
        Ok(root) => root,
        Err(error) => return tile(error),
    };
    let rewritten = Evidence::Rewritten { log: key, older: seen_note, newer: note, beginning, proof };
    Ok(Some(convicted(rewritten, log)))
}

fn alarm(what: String) -> Alarm {
    Alarm { what, evidence: None }
}

/// An alarm that says what the evidence proves; where it does not hold (a tile was wrong) it is left out.
fn convicted(evidence: Evidence, log: &Verifier) -> Alarm {
    match evidence.check(log) {
        Ok(what) => Alarm { what, evidence: Some(evidence) },
        Err(_) => alarm("the log's tiles contradict its checkpoint".into()),
    }
}
