//! A token's secret and its blinding factor, and how both come from a seed (NUT-13, keyset ids of version 2).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secp256k1::SecretKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::bdhke::hash_to_curve;
use crate::{DecodeError, KeysetId, Point};

/// The longest secret that is taken, in bytes. A plain secret has 64; NUT-11 secrets with several keys reach a
/// few hundred; more would only fill the mint's memory.
pub const SECRET_MAX_LEN: usize = 1024;

/// A token's secret: UTF-8 text (NUT-00). Who knows it and the signature owns the money, so it is not printed.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes the text of a secret.
    ///
    /// # Errors
    /// When it is empty or longer than [`SECRET_MAX_LEN`].
    pub fn new(text: String) -> Result<Self, DecodeError> {
        if (1..=SECRET_MAX_LEN).contains(&text.len()) {
            Ok(Secret(text))
        } else {
            Err(DecodeError::new("a token's secret", "1 to 1024 bytes of text"))
        }
    }

    /// The bytes that are hashed to the curve.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text, as in JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `Y`, which names the token in the mint's spent set.
    pub fn y(&self) -> Point {
        hash_to_curve(self.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The factor `r` that hides a secret from the mint while it signs.
#[derive(Clone, PartialEq, Eq)]
pub struct BlindingFactor(SecretKey);

impl BlindingFactor {
    /// Takes 32 bytes, big-endian.
    ///
    /// # Errors
    /// When they are zero or not below the curve order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, DecodeError> {
        SecretKey::from_secret_bytes(bytes)
            .map(BlindingFactor)
            .map_err(|_| DecodeError::new("a blinding factor", "a number from 1 to the curve order"))
    }

    /// The 32 bytes, big-endian.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_secret_bytes()
    }

    /// As the scalar that the arithmetic takes.
    pub fn key(&self) -> &SecretKey {
        &self.0
    }
}

impl Drop for BlindingFactor {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for BlindingFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindingFactor(..)")
    }
}

impl Serialize for BlindingFactor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0.as_secret_bytes()))
    }
}

impl<'de> Deserialize<'de> for BlindingFactor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: [u8; 32] = hex::serde::deserialize(deserializer)?;
        BlindingFactor::from_bytes(bytes).map_err(serde::de::Error::custom)
    }
}

/// The 64 bytes of a BIP-39 seed, from which every secret of a wallet comes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 64]);

impl Seed {
    /// Takes the seed of a BIP-39 mnemonic.
    pub fn new(bytes: [u8; 64]) -> Self {
        Seed(bytes)
    }

    /// The secret and the blinding factor of token number `counter` of a keyset (NUT-13, HMAC-SHA256 derivation).
    ///
    /// # Errors
    /// For a keyset id of version 1, whose derivation NUT-13 calls unsafe, and for a blinding factor of zero,
    /// which no seed is known to give.
    pub fn derive(&self, keyset: &KeysetId, counter: u64) -> Result<(Secret, BlindingFactor), DecodeError> {
        if !keyset.is_version_2() {
            return Err(DecodeError::new("a keyset for deterministic secrets", "a keyset id of version 2 ('01…')"));
        }
        let secret = Secret(hex::encode(self.hmac(keyset, counter, 0)));
        Ok((secret, BlindingFactor(reduce(self.hmac(keyset, counter, 1))?)))
    }

    /// A key of the wallet for something that is not a token: HMAC-SHA256 of `purpose` and `context`, reduced.
    /// The purpose keeps keys for different uses apart.
    ///
    /// # Errors
    /// For a result of zero, which no seed is known to give.
    pub fn key_for(&self, purpose: &str, context: &[u8]) -> Result<SecretKey, DecodeError> {
        reduce(self.bytes_for(purpose, context))
    }

    /// 32 bytes for a use of the wallet that is not a token, kept apart by `purpose`.
    pub fn bytes_for(&self, purpose: &str, context: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(b"habeas wallet v1\0");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(context);
        mac.finalize().into_bytes().into()
    }

    fn hmac(&self, keyset: &KeysetId, counter: u64, derivation_type: u8) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(b"Cashu_KDF_HMAC_SHA256");
        mac.update(keyset.as_bytes());
        mac.update(&counter.to_be_bytes());
        mac.update(&[derivation_type]);
        mac.finalize().into_bytes().into()
    }
}

/// A hash as a scalar: modulo the curve order, as NUT-13 asks for.
fn reduce(digest: [u8; 32]) -> Result<SecretKey, DecodeError> {
    const ZERO: DecodeError =
        DecodeError::new("a usable derivation", "a digest that is not a multiple of the curve order");
    if let Ok(key) = SecretKey::from_secret_bytes(digest) {
        return Ok(key);
    }
    // Not below the order n: subtract it once. A 256-bit number is below 2n, so once is enough.
    let mut difference = [0; 32];
    let mut borrow = 0i16;
    for i in (0..32).rev() {
        let digit = i16::from(digest[i]) - i16::from(secp256k1::constants::CURVE_ORDER[i]) - borrow;
        borrow = i16::from(digit < 0);
        difference[i] = digit.rem_euclid(256) as u8;
    }
    if borrow == 1 { Err(ZERO) } else { SecretKey::from_secret_bytes(difference).map_err(|_| ZERO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_past_the_order_is_reduced() {
        let mut digest = secp256k1::constants::CURVE_ORDER;
        assert!(reduce(digest).is_err(), "the order itself is zero");
        digest[31] += 5;
        assert_eq!(reduce(digest).unwrap().to_secret_bytes()[31], 5);
        assert!(reduce([0; 32]).is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let seed = Seed::new([1; 64]);
        let id = KeysetId::from_bytes(&[1; 33]).unwrap();
        let (secret, r) = seed.derive(&id, 0).unwrap();
        assert_eq!(format!("{secret:?} {r:?}"), "Secret(..) BlindingFactor(..)");
    }
}
