//! Signed notes (C2SP signed-note) with Ed25519 keys.
//!
//! A note is text, a blank line, and signature lines `— <name> <base64 of key hash and signature>`. Lines of keys that are not
//! known are passed over, so that witnesses can add theirs.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The signature type of Ed25519 keys in C2SP signed-note.
const ED25519_TYPE: u8 = 0x01;

/// The longest note that is read.
const NOTE_MAX_LEN: usize = 64 * 1024;

/// Why a note is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note.
    #[error("this is not a signed note")]
    Malformed,
    /// No good signature of the key that was asked for.
    #[error("the note is not signed by {name}")]
    NotSigned {
        /// The key's name.
        name: String,
    },
    /// Not a verifier key.
    #[error("this is not a verifier key: expected <name>+<hash>+<key>")]
    BadKey,
    /// Fewer witnesses cosigned than are needed.
    #[error("{found} witnesses have cosigned the checkpoint, and {needed} are needed")]
    NoQuorum {
        /// Witnesses that are known here, each once.
        found: usize,
        /// The quorum.
        needed: usize,
    },
    /// A quorum that can't be reached.
    #[error("a quorum of {quorum} can't be reached by {witnesses} witnesses: each key counts once")]
    BadQuorum {
        /// The quorum.
        quorum: usize,
        /// Witnesses, each once.
        witnesses: usize,
    },
}

/// A key that signs notes.
pub struct Signer {
    key: NamedKey,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// The signer `name` with a 32-byte Ed25519 seed. `None` for a name that is empty or has spaces or a plus sign.
    pub fn new(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let (key, pair) = key_pair(name, ED25519_TYPE, seed)?;
        Some(Signer { key, pair })
    }

    /// The key that verifies.
    pub fn verifier(&self) -> Verifier {
        Verifier(self.key.clone())
    }

    /// The note with this key's signature. The text must end with a line feed.
    pub fn sign(&self, text: &str) -> String {
        debug_assert!(text.ends_with('\n'));
        format!("{text}\n{}", self.key.line(self.pair.sign(text.as_bytes()).as_ref()))
    }
}

/// A named key from a 32-byte Ed25519 seed, and what signs with it.
pub(crate) fn key_pair(name: &str, kind: u8, seed: &[u8; 32]) -> Option<(NamedKey, Ed25519KeyPair)> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok().filter(|_| is_name(name))?;
    let key = pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes");
    Some((NamedKey { name: name.to_owned(), kind, key }, pair))
}

/// A key that verifies notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier(NamedKey);

impl Verifier {
    /// Reads `<name>+<hash>+<base64 of type and key>`.
    ///
    /// # Errors
    /// When it is not of that form, of another type, or the hash is not that of name and key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        NamedKey::parse(vkey, ED25519_TYPE).map(Verifier)
    }

    /// The key's name; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The key as text.
    pub fn to_vkey(&self) -> String {
        self.0.to_vkey()
    }

    /// The text of a note that this key has signed, final line feed included.
    ///
    /// # Errors
    /// When the note is malformed or has no good signature of this key.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, lines) = split(note)?;
        let is_good = |line: &Line<'_>| self.0.verifies(text.as_bytes(), &line.signature);
        let signed = lines.iter().filter(|line| self.0.is_of(line)).any(is_good);
        if signed { Ok(text) } else { Err(NoteError::NotSigned { name: self.0.name.clone() }) }
    }
}

/// An Ed25519 key, its name and the type of its signatures: what a verifier key says, and what signature lines are known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedKey {
    pub name: String,
    pub kind: u8,
    pub key: [u8; 32],
}

impl NamedKey {
    pub fn parse(vkey: &str, kind: u8) -> Result<Self, NoteError> {
        let mut parts = vkey.trim().splitn(3, '+');
        let (name, hash, encoded) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(hash), Some(encoded)) if is_name(name) => (name, hash, encoded),
            _ => return Err(NoteError::BadKey),
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::BadKey)?;
        let key = match bytes.split_first() {
            Some((first, key)) if *first == kind => key.try_into().map_err(|_| NoteError::BadKey)?,
            _ => return Err(NoteError::BadKey),
        };
        let named = NamedKey { name: name.to_owned(), kind, key };
        if hex::encode(named.hash()) == hash { Ok(named) } else { Err(NoteError::BadKey) }
    }

    pub fn to_vkey(&self) -> String {
        let mut bytes = vec![self.kind];
        bytes.extend(self.key);
        format!("{}+{}+{}", self.name, hex::encode(self.hash()), STANDARD.encode(bytes))
    }

    /// A signature line of this key, line feed included.
    pub fn line(&self, signature: &[u8]) -> String {
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode([&self.hash(), signature].concat()))
    }

    /// Whether a line says that it is of this key.
    pub fn is_of(&self, line: &Line<'_>) -> bool {
        line.name == self.name && line.hash == self.hash()
    }

    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key).verify(message, signature).is_ok()
    }

    /// The first four bytes of SHA-256 over name, line feed, type and key.
    fn hash(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', self.kind])
            .chain_update(self.key)
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

/// Whether a key may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+')
}

/// A signature line: whose it says that it is, and the signature.
pub(crate) struct Line<'a> {
    pub name: &'a str,
    pub hash: [u8; 4],
    pub signature: Vec<u8>,
}

/// Takes a note apart: its text, final line feed included, and its signature lines.
pub(crate) fn split(note: &str) -> Result<(&str, Vec<Line<'_>>), NoteError> {
    if note.len() > NOTE_MAX_LEN {
        return Err(NoteError::Malformed);
    }
    let (text_end, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
    let lines = lines.lines().map(|line| {
        let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (hash, signature) = bytes.split_first_chunk::<4>()?;
        Some(Line { name, hash: *hash, signature: signature.to_vec() })
    });
    let lines = lines.collect::<Option<Vec<_>>>().ok_or(NoteError::Malformed)?;
    Ok((&note[..text_end.len() + 1], lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_is_accepted_and_a_changed_one_is_not() {
        // From the documentation of golang.org/x/mod/sumdb/note.
        let verifier = Verifier::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let note = format!(
            "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        assert_eq!(verifier.open(&note), Ok(text));
        assert_eq!(verifier.to_vkey(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        assert!(verifier.open(&note.replace("your problem is", "your problem was")).is_err());
    }

    #[test]
    fn lines_of_other_keys_are_passed_over() {
        let (a, b) = (Signer::new("a.example", &[1; 32]).unwrap(), Signer::new("b.example", &[2; 32]).unwrap());
        let both = format!("{}{}", a.sign("text\n"), b.sign("text\n").rsplit_once("\n\n").unwrap().1);
        assert_eq!(a.verifier().open(&both), Ok("text\n"));
        assert_eq!(b.verifier().open(&both), Ok("text\n"));
        assert!(b.verifier().open(&a.sign("text\n")).is_err());
        let same_name = Signer::new("a.example", &[3; 32]).unwrap();
        assert!(a.verifier().open(&same_name.sign("text\n")).is_err());
    }
}
