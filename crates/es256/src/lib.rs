//! P-256 keys: the one kind that credentials are signed with here (ES256, RFC 7518 section 3.4; HAIP 1.0 section 7 asks for it), and
//! that sessions are agreed with (ECDH).
//!
//! In scope: public keys that are points of the curve, signing keys in memory, the [`Signer`] that a token may stand behind, and
//! key agreement. Out of scope: how a key is written (COSE, JWK) and kept.

use std::fmt;

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, agree};
use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use zeroize::Zeroizing;

/// Bytes of an uncompressed point: 4, x, y.
pub const POINT_LEN: usize = 65;
/// Bytes of a signature: r, s.
pub const SIGNATURE_LEN: usize = 64;

/// Why a key can't be used. Holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a point of P-256, or not PKCS#8 of its key.
    #[error("this is no key of the curve P-256")]
    Invalid,
    /// There is no randomness, or the token that holds the key does not answer.
    #[error("the key can't be used just now")]
    Unusable,
}

/// A public key: a point of P-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; POINT_LEN]);

impl PublicKey {
    /// Reads an uncompressed point (SEC 1 section 2.3.3).
    ///
    /// # Errors
    /// When it is none, or not on the curve.
    pub fn from_point(bytes: &[u8]) -> Result<Self, KeyError> {
        let point: [u8; POINT_LEN] = bytes.try_into().map_err(|_| KeyError::Invalid)?;
        // The library takes other encodings too; one key has one encoding here.
        if point[0] != 4 {
            return Err(KeyError::Invalid);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::Invalid)?;
        Ok(PublicKey(point))
    }

    /// Reads two coordinates of 32 bytes, as COSE and JWK write them.
    ///
    /// # Errors
    /// As [`PublicKey::from_point`].
    pub fn from_coordinates(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 32 || y.len() != 32 {
            return Err(KeyError::Invalid);
        }
        Self::from_point(&[&[4][..], x, y].concat())
    }

    /// The uncompressed point.
    pub fn as_point(&self) -> &[u8; POINT_LEN] {
        &self.0
    }

    /// The coordinate x, 32 bytes.
    pub fn x(&self) -> &[u8] {
        &self.0[1..33]
    }

    /// The coordinate y, 32 bytes.
    pub fn y(&self) -> &[u8] {
        &self.0[33..]
    }

    /// Whether a signature (r and s, 64 bytes) over a message holds.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0)
            .is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

/// Whatever signs with a P-256 key: a key in memory, or a token that the key does not leave.
pub trait Signer: Send + Sync {
    /// The public key.
    fn public_key(&self) -> &PublicKey;

    /// Signs a message (it is hashed with SHA-256).
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], KeyError>;
}

/// A key in memory that signs.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Reads PKCS#8.
    ///
    /// # Errors
    /// When it is no P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(|_| KeyError::Invalid)?;
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Ok(SigningKey { pair, public })
    }

    /// A fresh key as PKCS#8, for whoever keeps it.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_pkcs8() -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        document.map(|document| Zeroizing::new(document.as_ref().to_vec())).map_err(|_| KeyError::Unusable)
    }

    /// Reads the secret number, 32 bytes.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        let public = *AgreementKey::from_secret(secret)?.public_key();
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, secret, public.as_point());
        Ok(SigningKey { pair: pair.map_err(|_| KeyError::Invalid)?, public })
    }

    /// The secret number, 32 bytes, for whoever keeps it.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn secret(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let secret: EcPrivateKeyBin<'_> = self.pair.private_key().as_be_bytes().map_err(|_| KeyError::Unusable)?;
        Ok(Zeroizing::new(secret.as_ref().to_vec()))
    }

    /// A fresh key that is not kept.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_pkcs8(&Self::generate_pkcs8()?)
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Unusable)?;
        signature.as_ref().try_into().map_err(|_| KeyError::Unusable)
    }
}

/// A key that agrees on a secret with somebody else's.
pub struct AgreementKey {
    private: PrivateKey,
    public: PublicKey,
}

impl AgreementKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_private(PrivateKey::generate(&ECDH_P256).map_err(|_| KeyError::Unusable)?)
    }

    /// Reads the secret number, 32 bytes.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        Self::from_private(PrivateKey::from_private_key(&ECDH_P256, secret).map_err(|_| KeyError::Invalid)?)
    }

    fn from_private(private: PrivateKey) -> Result<Self, KeyError> {
        let point = private.compute_public_key().map_err(|_| KeyError::Invalid)?;
        let public = PublicKey::from_point(point.as_ref())?;
        Ok(AgreementKey { private, public })
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The secret number, 32 bytes, for whoever keeps it.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn secret(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let secret: EcPrivateKeyBin<'_> = self.private.as_be_bytes().map_err(|_| KeyError::Unusable)?;
        Ok(Zeroizing::new(secret.as_ref().to_vec()))
    }

    /// The shared secret: the coordinate x of the product (SP 800-56A section 5.7.1.2), 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn agree(&self, other: &PublicKey) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let other = agreement::UnparsedPublicKey::new(&ECDH_P256, other.as_point());
        agree(&self.private, other, KeyError::Unusable, |secret| {
            secret.try_into().map(Zeroizing::new).map_err(|_| KeyError::Unusable)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_and_message_alone() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let signature = key.sign(b"message").unwrap();
        assert!(key.public_key().verify(b"message", &signature));
        assert!(!key.public_key().verify(b"massage", &signature));
        assert!(!other.public_key().verify(b"message", &signature));
        assert!(!key.public_key().verify(b"message", &signature[1..]));
    }

    #[test]
    fn a_key_is_the_same_from_its_secret_number() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_secret(&key.secret().unwrap()).unwrap();
        assert!(key.public_key().verify(b"message", &again.sign(b"message").unwrap()));
        assert!(SigningKey::from_secret(&[0; 32]).is_err() && SigningKey::from_secret(&[255; 32]).is_err());
    }

    #[test]
    fn points_off_the_curve_and_other_encodings_are_refused() {
        let key = SigningKey::generate().unwrap();
        let point = *key.public_key().as_point();
        assert!(PublicKey::from_point(&point) == Ok(*key.public_key()));
        let mut off = point;
        off[64] ^= 1;
        let compressed = [&[2 + (point[64] & 1)][..], key.public_key().x()].concat();
        for refused in [&off[..], &compressed, &[0], &[], &[4; POINT_LEN], &[0; POINT_LEN]] {
            assert_eq!(PublicKey::from_point(refused), Err(KeyError::Invalid));
        }
    }

    /// RFC 7518 Appendix C: the ephemeral key of Alice and the key of Bob, and the shared secret Z.
    #[test]
    fn the_shared_secret_is_that_of_rfc_7518() {
        let hex = |text: &str| {
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect::<Vec<_>>()
        };
        // d of Alice: 0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo
        let alice = AgreementKey::from_secret(&hex("d3f3716913d4310a0026de741b3f18893afc8114f0c84682ba677e313a13988a"))
            .unwrap();
        // x and y of Bob: weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ, e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck
        let bob = PublicKey::from_coordinates(
            &hex("c1e349cb61ec70248ce801034c3834e1b88ebe1161cb25af38741f785fcfc4c4"),
            &hex("7bc96708ef80952b53f8d2555fe72b841ed04588628b1d378a594939500ec9c9"),
        )
        .unwrap();
        let shared = "9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4";
        assert_eq!(alice.agree(&bob).unwrap().to_vec(), hex(shared));
        let again = AgreementKey::from_secret(&alice.secret().unwrap()).unwrap();
        assert_eq!(again.public_key(), alice.public_key());
    }
}
