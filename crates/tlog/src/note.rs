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
}

/// A key that signs notes.
pub struct Signer {
    name: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// The signer `name` with a 32-byte Ed25519 seed. `None` for a name that is empty or has spaces or a plus sign.
    pub fn new(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let fits = !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+');
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        fits.then(|| Signer { name: name.to_owned(), pair })
    }

    /// The key that verifies.
    pub fn verifier(&self) -> Verifier {
        let key = self.pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes");
        Verifier { name: self.name.clone(), key }
    }

    /// The note with this key's signature. The text must end with a line feed.
    pub fn sign(&self, text: &str) -> String {
        debug_assert!(text.ends_with('\n'));
        let mut signature = self.verifier().key_hash().to_vec();
        signature.extend(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n\u{2014} {} {}\n", self.name, STANDARD.encode(signature))
    }
}

/// A key that verifies notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: [u8; 32],
}

impl Verifier {
    /// Reads `<name>+<hash>+<base64 of type and key>`.
    ///
    /// # Errors
    /// When it is not of that form, of another type, or the hash is not that of name and key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let mut parts = vkey.trim().splitn(3, '+');
        let (name, hash, encoded) = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(hash), Some(encoded)) if !name.is_empty() => (name, hash, encoded),
            _ => return Err(NoteError::BadKey),
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::BadKey)?;
        let key = match bytes.split_first() {
            Some((&ED25519_TYPE, key)) => key.try_into().map_err(|_| NoteError::BadKey)?,
            _ => return Err(NoteError::BadKey),
        };
        let verifier = Verifier { name: name.to_owned(), key };
        if hex::encode(verifier.key_hash()) == hash { Ok(verifier) } else { Err(NoteError::BadKey) }
    }

    /// The key's name; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key as text.
    pub fn to_vkey(&self) -> String {
        let mut bytes = vec![ED25519_TYPE];
        bytes.extend(self.key);
        format!("{}+{}+{}", self.name, hex::encode(self.key_hash()), STANDARD.encode(bytes))
    }

    /// The text of a note that this key has signed, final line feed included.
    ///
    /// # Errors
    /// When the note is malformed or has no good signature of this key.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        if note.len() > NOTE_MAX_LEN {
            return Err(NoteError::Malformed);
        }
        let (text_end, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
        let text = &note[..text_end.len() + 1];
        for line in signatures.lines() {
            let (name, encoded) =
                line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' ')).ok_or(NoteError::Malformed)?;
            let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Malformed)?;
            let Some((hash, signature)) = bytes.split_first_chunk::<4>() else { return Err(NoteError::Malformed) };
            if name == self.name
                && *hash == self.key_hash()
                && UnparsedPublicKey::new(&ED25519, self.key).verify(text.as_bytes(), signature).is_ok()
            {
                return Ok(text);
            }
        }
        Err(NoteError::NotSigned { name: self.name.clone() })
    }

    /// The first four bytes of SHA-256 over name, line feed, type and key.
    fn key_hash(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519_TYPE])
            .chain_update(self.key)
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }
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
