//! Tags: how a person finds the entries about them, and nobody else can group them.
//!
//! A tag is a fresh nonce and a MAC of purpose and nonce under a key that the registry and the person share. Without the key two
//! tags of one person look like tags of two.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

const DOMAIN: &[u8] = b"habeas log tag v1";

/// A person's key for tags.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TagKey([u8; 32]);

impl TagKey {
    /// Takes the 32 bytes of a key.
    pub fn new(bytes: [u8; 32]) -> Self {
        TagKey(bytes)
    }

    /// The tag for one opening of the record. `nonce` is 16 fresh random bytes.
    pub fn tag(&self, purpose: &str, nonce: [u8; 16]) -> Tag {
        let mac = self.mac(purpose, &nonce).finalize().into_bytes();
        Tag { nonce, mac: mac[..16].try_into().expect("16 of 32 bytes") }
    }

    /// Whether a tag is this person's. Constant-time.
    pub fn recognises(&self, purpose: &str, tag: &Tag) -> bool {
        self.mac(purpose, &tag.nonce).verify_truncated_left(&tag.mac).is_ok()
    }

    fn mac(&self, purpose: &str, nonce: &[u8; 16]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(DOMAIN);
        mac.update(purpose.as_bytes());
        mac.update(nonce);
        mac
    }
}

/// A blinded tag: 32 bytes, in JSON as 64 hex digits (nonce, then MAC).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Random.
    pub nonce: [u8; 16],
    /// HMAC-SHA256 of domain, purpose and nonce, its first half.
    pub mac: [u8; 16],
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({}{})", hex::encode(self.nonce), hex::encode(self.mac))
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex::serde::serialize([self.nonce, self.mac].concat(), serializer)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: [u8; 32] = hex::serde::deserialize(deserializer)?;
        let (nonce, mac) = bytes.split_at(16);
        Ok(Tag { nonce: nonce.try_into().expect("16 bytes"), mac: mac.try_into().expect("16 bytes") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_recognised_by_its_person_for_its_purpose_alone() {
        let (key, other) = (TagKey::new([1; 32]), TagKey::new([2; 32]));
        let tag = key.tag("issue-credential", [2; 16]);
        // The same vector stands in the registry's `seal`, which makes the tags.
        assert_eq!(hex::encode(tag.mac), "95d12f5547fa5c226be77b2a3e57b85a");
        assert!(key.recognises("issue-credential", &tag));
        assert!(!other.recognises("issue-credential", &tag));
        assert!(!key.recognises("evaluate-rule", &tag));
    }
}
