//! Checkpoints (C2SP tlog-checkpoint): how large the log is, and its root.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Hash;
use crate::note::{NoteError, Signer, Verifier};

/// What the operator signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name: that of the key that signs.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        signer.sign(&self.text())
    }

    /// Reads a signed checkpoint.
    ///
    /// # Errors
    /// When it is not signed by `verifier`, or is not a checkpoint of that log.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, NoteError> {
        let mut lines = verifier.open(note)?.lines();
        let (origin, size, root) = match (lines.next(), lines.next(), lines.next()) {
            (Some(origin), Some(size), Some(root)) if origin == verifier.name() => (origin, size, root),
            _ => return Err(NoteError::Malformed),
        };
        let leading_zero = size.len() > 1 && size.starts_with('0');
        let digits = size.bytes().all(|b| b.is_ascii_digit()) && !leading_zero;
        let size = size.parse().ok().filter(|_| digits).ok_or(NoteError::Malformed)?;
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or(NoteError::Malformed)?;
        Ok(Checkpoint { origin: origin.to_owned(), size, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_signed() {
        let signer = Signer::new("log.example", &[1; 32]).unwrap();
        let checkpoint = Checkpoint { origin: "log.example".into(), size: 15_368, root: [7; 32] };
        let note = checkpoint.sign(&signer);
        assert_eq!(Checkpoint::open(&note, &signer.verifier()), Ok(checkpoint.clone()));
        assert!(Checkpoint::open(&note.replace("15368", "15369"), &signer.verifier()).is_err());
        let other = Checkpoint { origin: "other.example".into(), ..checkpoint };
        assert!(Checkpoint::open(&other.sign(&signer), &signer.verifier()).is_err());
    }
}
