//! Pay to a blinded key (NUT-28): a lock that only its receiver can tell is theirs.
//!
//! A lock to a key (NUT-11) shows that key to the mint when it is opened, so that all payments to one published key can be
//! counted. Here the sender adds to each key of the lock a number that only sender and receiver can compute, from a one-time key
//! that travels with the token (`p2pk_e`) and never goes to the mint.
//!
//! Secrets are multiplied through ECDH and added by libsecp256k1's tweaks of secret keys, which are constant-time.

use std::fmt;

use secp256k1::SecretKey;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::bdhke::multiply_secret;
use crate::{DecodeError, Point};

const DOMAIN_SEPARATOR: &[u8] = b"Cashu_P2BK_v1";

/// The places that a lock has for keys: its `data`, then `pubkeys` and `refund` (NUT-28 "Deriving Blinded Public Keys").
pub const SLOTS_MAX: usize = 11;

/// What sender and receiver know together (`Zx`): who has it can tell which locks are the receiver's, so it is not printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// From the key that the other side shows and this side's own: `x(e·P)` at the sender, `x(p·E)` at the receiver.
    pub fn new(theirs: &Point, ours: &SecretKey) -> Self {
        let compressed = multiply_secret(theirs, ours).to_bytes();
        let mut x = [0; 32];
        x.copy_from_slice(&compressed[1..]);
        SharedSecret(x)
    }

    /// The number `rᵢ` that blinds the key in a slot.
    ///
    /// `None` when both hashes are out of range, which takes 2²⁵⁶ tries: then another one-time key is taken.
    pub fn scalar(&self, slot: u8) -> Option<SecretKey> {
        let hash = |more: &[u8]| {
            let hasher = Sha256::new().chain_update(DOMAIN_SEPARATOR).chain_update(self.0);
            SecretKey::from_secret_bytes(hasher.chain_update([slot]).chain_update(more).finalize().into()).ok()
        };
        hash(&[]).or_else(|| hash(&[0xff]))
    }

    /// The key that stands in the lock for the receiver's: `P' = P + rᵢG`. `None` as [`SharedSecret::scalar`], or if the sum is
    /// the point at infinity.
    pub fn blind(&self, key: &Point, slot: u8) -> Option<Point> {
        let offset = Point::of_secret(&self.scalar(slot)?);
        key.inner().combine(offset.inner()).ok().map(Point::from)
    }

    /// The secret key of a blinded key, if it was made for `key`: `rᵢ + p`, or `rᵢ − p` where the sender took the receiver's key
    /// with the other sign, as those do who know its x alone.
    pub fn open(&self, blinded: &Point, slot: u8, key: &SecretKey) -> Option<SecretKey> {
        let scalar = self.scalar(slot)?;
        let meant = blinded.inner().combine(&Point::of_secret(&scalar).inner().negate()).ok()?;
        let own = *Point::of_secret(key).inner();
        if meant.x_only_public_key().0 != own.x_only_public_key().0 {
            return None;
        }
        let signed = if meant == own { *key } else { key.negate() };
        signed.add_tweak(&scalar.into()).ok()
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

/// Reads a receiver's key: 66 hex digits, or 64 (x alone, BIP-340), to which NUT-28 adds `02`.
///
/// # Errors
/// When the text is neither, or no point of the curve has this x.
pub fn read_key(text: &str) -> Result<Point, DecodeError> {
    let text = text.trim();
    let whole = if text.len() == 64 { format!("02{text}") } else { text.to_owned() };
    let refused =
        DecodeError::new("a public key", "66 hex digits, as `habeas wallet key` shows them (or 64, without sign)");
    whole.parse().map_err(|_| refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_secret_bytes([byte; 32]).unwrap()
    }

    #[test]
    fn only_the_receiver_finds_the_key_of_a_blinded_lock() {
        let (sender, receiver, other) = (key(3), key(4), key(5));
        // With either sign: a receiver that is known by x alone is taken as even.
        for public in [Point::of_secret(&receiver), Point::from(Point::of_secret(&receiver).inner().negate())] {
            let blinded = SharedSecret::new(&public, &sender).blind(&public, 7).unwrap();
            let shared = SharedSecret::new(&Point::of_secret(&sender), &receiver);
            let opened = shared.open(&blinded, 7, &receiver).unwrap();
            assert_eq!(Point::of_secret(&opened), blinded);
            assert!(shared.open(&blinded, 6, &receiver).is_none(), "another slot");
            assert!(shared.open(&public, 7, &receiver).is_none(), "the key as it was published");
            let others = SharedSecret::new(&Point::of_secret(&sender), &other);
            assert!(others.open(&blinded, 7, &other).is_none());
        }
    }

    #[test]
    fn keys_are_read_whole_or_by_x_alone() {
        let whole = Point::of_secret(&key(9)).to_string();
        assert_eq!(read_key(&whole).unwrap().to_string(), whole);
        assert_eq!(read_key(&whole[2..]).unwrap().to_string(), format!("02{}", &whole[2..]));
        for bad in ["", "02", "nonsense", &whole[1..], &format!("04{}", &whole[2..]), &"0".repeat(64)] {
            assert!(read_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shared_is_not_printed() {
        assert_eq!(format!("{:?}", SharedSecret([7; 32])), "SharedSecret(..)");
    }
}
