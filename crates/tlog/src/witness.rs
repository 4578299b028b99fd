//! What a log asks of a witness (C2SP tlog-witness, `add-checkpoint`), and what the witness has to look at before it cosigns.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Hash;
use crate::checkpoint::Checkpoint;
use crate::merkle::verify_consistency;
use crate::note::{NoteError, Verifier};

/// The most hashes in a request.
const PROOF_MAX: usize = 63;
/// The longest request that is read: the proof, and a note.
pub const REQUEST_MAX_LEN: usize = 72 * 1024;

/// A checkpoint, and the proof that it continues the last one that the witness cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the last one.
    pub old_size: u64,
    /// The proof (RFC 6962 section 2.1.2).
    pub proof: Vec<Hash>,
    /// The checkpoint as the log signed it.
    pub note: String,
}

/// What a witness knows of a log: the largest checkpoint that it cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Why a witness does not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request can't be read, or its old size is above the new one.
    #[error("the request is not what tlog-witness defines, or its old size is above that of the checkpoint")]
    Malformed,
    /// The log is not one of those that are witnessed here.
    #[error("no log of this name is witnessed here")]
    UnknownLog,
    /// The log's key did not sign it.
    #[error("the checkpoint is not signed with the key of its log")]
    NotSigned,
    /// The old size is not that of the last checkpoint that was cosigned.
    #[error("the last checkpoint that was cosigned here has {size} entries")]
    OldSize {
        /// What it is.
        size: u64,
    },
    /// Another checkpoint of this size was cosigned: the log shows two histories.
    #[error("another checkpoint with {size} entries was cosigned here: the log shows two histories")]
    Fork {
        /// The size.
        size: u64,
    },
    /// The proof does not hold: it is wrong, or the log was rewritten.
    #[error("the proof does not show that the checkpoint continues the last one")]
    Inconsistent,
}

impl Refusal {
    /// The HTTP status that the protocol gives it.
    pub fn status(self) -> u16 {
        match self {
            Refusal::Malformed => 400,
            Refusal::NotSigned => 403,
            Refusal::UnknownLog => 404,
            Refusal::OldSize { .. } | Refusal::Fork { .. } => 409,
            Refusal::Inconsistent => 422,
        }
    }
}

impl AddCheckpoint {
    /// The request's body.
    pub fn to_body(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        format!("old {}\n{proof}\n{}", self.old_size, self.note)
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let body = std::str::from_utf8(body).ok().filter(|body| body.len() <= REQUEST_MAX_LEN);
        let (head, note) = body.and_then(|body| body.split_once("\n\n")).ok_or(Refusal::Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(Refusal::Malformed)?;
        let old_size: u64 = old.parse().map_err(|_| Refusal::Malformed)?;
        let hash = |line: &str| STANDARD.decode(line).ok()?.try_into().ok();
        let proof = lines.map(hash).collect::<Option<Vec<Hash>>>().ok_or(Refusal::Malformed)?;
        // One way to write a number.
        if old_size.to_string() != old || proof.len() > PROOF_MAX {
            return Err(Refusal::Malformed);
        }
        Ok(AddCheckpoint { old_size, proof, note: note.to_owned() })
    }

    /// The name of the log that the checkpoint says it is of. Nothing of it is checked.
    pub fn origin(&self) -> &str {
        self.note.lines().next().unwrap_or_default()
    }

    /// Holds the request against the log's key and what was seen of the log before.
    ///
    /// # Errors
    /// Why it must not be cosigned.
    pub fn check(&self, log: &Verifier, seen: Option<Seen>) -> Result<Checkpoint, Refusal> {
        let checkpoint = Checkpoint::open(&self.note, log).map_err(|error| match error {
            NoteError::NotSigned { .. } => Refusal::NotSigned,
            _ => Refusal::Malformed,
        })?;
        if self.old_size > checkpoint.size {
            return Err(Refusal::Malformed);
        }
        let seen = seen.unwrap_or(Seen { size: 0, root: crate::merkle::empty_root() });
        if self.old_size != seen.size {
            return Err(Refusal::OldSize { size: seen.size });
        }
        if checkpoint.size == seen.size && checkpoint.root != seen.root {
            return Err(Refusal::Fork { size: seen.size });
        }
        if !verify_consistency(seen.size, &seen.root, checkpoint.size, &checkpoint.root, &self.proof) {
            return Err(Refusal::Inconsistent);
        }
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{consistency_path, empty_root, leaf_hash, root_of};
    use crate::note::Signer;

    fn signer() -> Signer {
        Signer::new("log.example", &[1; 32]).unwrap()
    }

    fn leaves() -> Vec<Hash> {
        (0u8..30).map(|number| leaf_hash(&[number])).collect()
    }

    fn checkpoint(leaves: &[Hash]) -> Checkpoint {
        Checkpoint { origin: "log.example".into(), size: leaves.len() as u64, root: root_of(leaves) }
    }

    fn request(old_size: u64, leaves: &[Hash]) -> AddCheckpoint {
        let hash = |(start, end): (u64, u64)| root_of(&leaves[start as usize..end as usize]);
        let proof = consistency_path(old_size, leaves.len() as u64).into_iter().map(hash).collect();
        AddCheckpoint { old_size, proof, note: checkpoint(leaves).sign(&signer()) }
    }

    #[test]
    fn requests_are_read_as_written_and_others_are_refused() {
        let whole = request(7, &leaves());
        assert_eq!(AddCheckpoint::parse(whole.to_body().as_bytes()), Ok(whole.clone()));
        assert_eq!(whole.origin(), "log.example");
        let body = whole.to_body();
        for bad in [
            body.replacen("old 7", "old 07", 1),
            body.replacen("old 7", "old -7", 1),
            body.replacen("old 7", "new 7", 1),
            body.replacen("old 7\n", "old 7\nAAAA\n", 1),
            body.replacen("old 7\n", &format!("old 7\n{}", (STANDARD.encode([0; 32]) + "\n").repeat(PROOF_MAX)), 1),
            "old 7\n".into(),
            String::new(),
        ] {
            assert_eq!(AddCheckpoint::parse(bad.as_bytes()), Err(Refusal::Malformed), "{bad}");
        }
    }

    #[test]
    fn what_continues_the_last_checkpoint_is_cosigned_and_nothing_else() {
        let (log, leaves) = (signer().verifier(), leaves());
        let seen = |size: usize| Some(Seen { size: size as u64, root: root_of(&leaves[..size]) });
        let told = |request: &AddCheckpoint, seen| request.check(&log, seen).map(|checkpoint| checkpoint.size);
        assert_eq!(told(&request(0, &leaves[..5]), None), Ok(5));
        assert_eq!(told(&request(5, &leaves), seen(5)), Ok(30));
        assert_eq!(told(&request(30, &leaves), seen(30)), Ok(30), "again the same");
        assert_eq!(told(&request(0, &leaves), seen(5)), Err(Refusal::OldSize { size: 5 }));
        assert_eq!(told(&request(5, &leaves), None), Err(Refusal::OldSize { size: 0 }));
        let above = AddCheckpoint { old_size: 31, ..request(5, &leaves) };
        assert_eq!(told(&above, seen(5)), Err(Refusal::Malformed));
        // Another history of the same length, and of a greater one.
        let mut forked = leaves.clone();
        forked[2] = leaf_hash(b"another");
        assert_eq!(told(&request(30, &forked), seen(30)), Err(Refusal::Fork { size: 30 }));
        assert_eq!(told(&request(5, &forked), seen(5)), Err(Refusal::Inconsistent));
        assert_eq!(told(&request(4, &forked), seen(4)), Err(Refusal::Inconsistent));
        // Shorter than what was seen: the size tells the log what it has to continue.
        assert_eq!(told(&request(4, &leaves[..6]), seen(20)), Err(Refusal::OldSize { size: 20 }));
        let mut stranger = request(5, &leaves);
        stranger.note = checkpoint(&leaves).sign(&Signer::new("log.example", &[2; 32]).unwrap());
        assert_eq!(told(&stranger, seen(5)), Err(Refusal::NotSigned));
        let empty = Seen { size: 0, root: empty_root() };
        assert_eq!(told(&request(0, &[]), Some(empty)), Ok(0));
    }
}
