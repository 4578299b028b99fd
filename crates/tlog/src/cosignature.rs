//! Cosignatures of witnesses (C2SP tlog-cosignature, `cosignature/v1` with Ed25519), and how many of them a reader asks for.
//!
//! A cosignature says: at this time, this was the largest checkpoint of the log that the witness had seen, and it continued all that
//! the witness saw before. An operator who shows people different logs needs as many witnesses on its side as the quorum.

use std::collections::BTreeSet;

use aws_lc_rs::signature::Ed25519KeyPair;

use crate::checkpoint::Checkpoint;
use crate::note::{NamedKey, NoteError, Verifier, key_pair, split};

/// The signature type of Ed25519 cosignatures.
const COSIGNATURE_TYPE: u8 = 0x04;
/// Time and signature.
const COSIGNATURE_LEN: usize = 8 + 64;

/// What is signed: a line that keeps it apart from all else, the time, and the text of the checkpoint.
fn message(text: &str, at: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {at}\n{text}").into_bytes()
}

/// A key that cosigns.
pub struct Cosigner {
    key: NamedKey,
    pair: Ed25519KeyPair,
}

impl Cosigner {
    /// The witness `name` with a 32-byte Ed25519 seed. `None` for a name that is empty or has spaces or a plus sign. A seed serves one
    /// witness: what is signed does not name it.
    pub fn new(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let (key, pair) = key_pair(name, COSIGNATURE_TYPE, seed)?;
        Some(Cosigner { key, pair })
    }

    /// The key that verifies.
    pub fn witness(&self) -> Witness {
        Witness(self.key.clone())
    }

    /// A signature line for a checkpoint, line feed included. `at`: Unix time.
    pub fn cosign(&self, checkpoint: &Checkpoint, at: u64) -> String {
        let signature = self.pair.sign(&message(&checkpoint.text(), at));
        self.key.line(&[&at.to_be_bytes(), signature.as_ref()].concat())
    }
}

/// A witness, as readers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness(NamedKey);

impl Witness {
    /// Reads `<name>+<hash>+<base64 of type and key>`.
    ///
    /// # Errors
    /// When it is not of that form, of another type, or the hash is not that of name and key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        NamedKey::parse(vkey, COSIGNATURE_TYPE).map(Witness)
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The key as text.
    pub fn to_vkey(&self) -> String {
        self.0.to_vkey()
    }

    /// When this witness cosigned a note (Unix time, the latest). `None` when it did not, or the note is none.
    pub fn cosigned_at(&self, note: &str) -> Option<u64> {
        let (text, lines) = split(note).ok()?;
        let time = |signature: &[u8]| {
            let (time, signature) =
                signature.split_first_chunk::<8>().filter(|_| signature.len() == COSIGNATURE_LEN)?;
            let at = u64::from_be_bytes(*time);
            (i64::try_from(at).is_ok() && self.0.verifies(&message(text, at), signature)).then_some(at)
        };
        lines.iter().filter(|line| self.0.is_of(line)).filter_map(|line| time(&line.signature)).max()
    }
}

/// Whom a reader of a log believes: the log's key, witnesses, and how many of them have to have cosigned a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    log: Verifier,
    witnesses: Vec<Witness>,
    quorum: usize,
}

impl From<Verifier> for Policy {
    /// The log's word alone.
    fn from(log: Verifier) -> Self {
        Policy { log, witnesses: Vec::new(), quorum: 0 }
    }
}

impl Policy {
    /// A policy with witnesses.
    ///
    /// # Errors
    /// [`NoteError::BadQuorum`] when there are fewer keys than the quorum. One key under two names is one.
    pub fn new(log: Verifier, witnesses: Vec<Witness>, quorum: usize) -> Result<Self, NoteError> {
        let keys: BTreeSet<&[u8; 32]> = witnesses.iter().map(|witness| &witness.0.key).collect();
        if quorum > keys.len() {
            return Err(NoteError::BadQuorum { quorum, witnesses: keys.len() });
        }
        Ok(Policy { log, witnesses, quorum })
    }

    /// The log's key.
    pub fn log(&self) -> &Verifier {
        &self.log
    }

    /// The witnesses that are known.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// How many of them are needed.
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// Which witnesses have cosigned a note, and when.
    pub fn cosigned<'a>(&'a self, note: &'a str) -> impl Iterator<Item = (&'a Witness, u64)> {
        self.witnesses.iter().filter_map(|witness| witness.cosigned_at(note).map(|at| (witness, at)))
    }

    /// Reads a checkpoint that the log has signed and a quorum has cosigned.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`NoteError::NoQuorum`].
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::open(note, &self.log)?;
        let keys: BTreeSet<&[u8; 32]> = self.cosigned(note).map(|(witness, _)| &witness.0.key).collect();
        if keys.len() < self.quorum {
            return Err(NoteError::NoQuorum { found: keys.len(), needed: self.quorum });
        }
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Signer;

    fn signer() -> Signer {
        Signer::new("log.example", &[1; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "log.example".into(), size: 7, root: [7; 32] }
    }

    fn cosigner(number: u8) -> Cosigner {
        Cosigner::new(&format!("witness.example/{number}"), &[number; 32]).unwrap()
    }

    /// From the specification: a checkpoint with the cosignature of `witness.example.com/w1`, whose key is not told; so its form alone.
    #[test]
    fn the_published_note_is_read_and_strangers_lines_are_passed_over() {
        let note = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
        let (text, lines) = split(note).unwrap();
        assert!(text.starts_with("example.com/behind-the-sofa\n20852163\n"));
        assert_eq!(lines[1].signature.len(), COSIGNATURE_LEN);
        assert_eq!(u64::from_be_bytes(lines[1].signature[..8].try_into().unwrap()), 1_679_315_147);
        assert_eq!(cosigner(2).witness().cosigned_at(note), None);
    }

    #[test]
    fn a_cosignature_is_of_one_witness_one_time_and_one_checkpoint() {
        let (note, two) = (checkpoint().sign(&signer()), cosigner(2));
        let line = two.cosign(&checkpoint(), 1_000);
        let witness = Witness::parse(&two.witness().to_vkey()).unwrap();
        assert_eq!(witness.cosigned_at(&format!("{note}{line}")), Some(1_000));
        let later = two.cosign(&checkpoint(), 2_000);
        assert_eq!(witness.cosigned_at(&format!("{note}{line}{later}")), Some(2_000));
        assert_eq!(cosigner(3).witness().cosigned_at(&format!("{note}{line}")), None);
        let other = Checkpoint { size: 8, ..checkpoint() };
        assert_eq!(witness.cosigned_at(&format!("{}{line}", other.sign(&signer()))), None, "of another checkpoint");
        // The time is signed, too: the first byte after the key's hash is its highest.
        let text = line.trim_end().rsplit_once(' ').unwrap().1;
        let mut bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        bytes[11] ^= 1;
        let changed = two.key.line(&bytes[4..]);
        assert_eq!(witness.cosigned_at(&format!("{note}{changed}")), None);
        // A log's key is no witness's, and no line of a log counts as one.
        assert_eq!(Witness::parse(&signer().verifier().to_vkey()), Err(NoteError::BadKey));
        assert_eq!(Verifier::parse(&two.witness().to_vkey()), Err(NoteError::BadKey));
    }

    #[test]
    fn a_checkpoint_counts_from_the_quorum_and_each_key_counts_once() {
        let (two, three) = (cosigner(2), cosigner(3));
        let policy = |quorum| Policy::new(signer().verifier(), vec![two.witness(), three.witness()], quorum);
        let bare = checkpoint().sign(&signer());
        let with = |lines: &[String]| format!("{bare}{}", lines.concat());
        let (by_two, by_three) = (two.cosign(&checkpoint(), 1), three.cosign(&checkpoint(), 2));
        let both = policy(2).unwrap();
        assert_eq!(both.open(&with(&[by_two.clone(), by_three.clone()])), Ok(checkpoint()));
        for lines in [&[][..], std::slice::from_ref(&by_two), &[by_two.clone(), two.cosign(&checkpoint(), 2)]] {
            let found = lines.len().min(1);
            assert_eq!(both.open(&with(lines)), Err(NoteError::NoQuorum { found, needed: 2 }), "{lines:?}");
        }
        assert_eq!(policy(1).unwrap().open(&with(&[by_three])), Ok(checkpoint()));
        assert_eq!(policy(0).unwrap().open(&bare), Ok(checkpoint()));
        assert_eq!(policy(3), Err(NoteError::BadQuorum { quorum: 3, witnesses: 2 }));
        // Witnesses alone are not enough.
        let unsigned = Checkpoint { origin: "log.example".into(), ..checkpoint() };
        let forged = unsigned.sign(&Signer::new("log.example", &[9; 32]).unwrap());
        assert!(both.open(&format!("{forged}{}{}", by_two, three.cosign(&checkpoint(), 2))).is_err());
        // One key under two names.
        let twin = Cosigner::new("twin.example", &[2; 32]).unwrap();
        let twins = Policy::new(signer().verifier(), vec![two.witness(), twin.witness()], 2);
        assert_eq!(twins, Err(NoteError::BadQuorum { quorum: 2, witnesses: 1 }));
    }
}
