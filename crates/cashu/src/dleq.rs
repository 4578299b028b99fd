//! DLEQ proofs (NUT-12): that a blind signature was made with the key that the keyset names.
//!
//! Without it a mint could sign one person's tokens with a key of their own and know them again.

use hmac::{Hmac, KeyInit, Mac};
use secp256k1::{PublicKey, Scalar, SecretKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Point;
use crate::bdhke::{hash_to_curve, multiply_public, multiply_secret};
use crate::secret::BlindingFactor;

const NONCE_DOMAIN: &[u8] = b"Cashu_DLEQ_R_v1";

/// Challenge and response, as in the `dleq` of a blind signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dleq {
    /// The challenge, 32 bytes as hex.
    #[serde(with = "hex::serde")]
    pub e: [u8; 32],
    /// The response, 32 bytes as hex.
    #[serde(with = "hex::serde")]
    pub s: [u8; 32],
}

/// A DLEQ proof for another party: with the blinding factor `r`.
///
/// `r` links the token to the request that made it, so only a token made in an anonymous single-token swap
/// may carry it, and a till that is online gets none (the design's rules on unlinkable payments).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofDleq {
    /// The challenge and the response.
    #[serde(flatten)]
    pub dleq: Dleq,
    /// The blinding factor.
    pub r: BlindingFactor,
}

/// The challenge, NUT-12 `hash_e`: SHA-256 over the uncompressed points (R1, R2, the mint's key and `C_`) in hex.
pub fn challenge(points: [&Point; 4]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut text = [0; 130];
    for point in points {
        hex::encode_to_slice(point.inner().serialize_uncompressed(), &mut text).expect("130 is twice 65");
        hasher.update(text);
    }
    hasher.finalize().into()
}

/// The nonce of a proof: a pure function of key and message, so that no generator can fail and no nonce serves
/// two challenges.
fn nonce(k: &SecretKey, mint_key: &Point, blinded: &Point, signature: &Point) -> SecretKey {
    (0..=u8::MAX)
        .find_map(|counter| {
            let mut mac = Hmac::<Sha256>::new_from_slice(k.as_secret_bytes()).expect("HMAC takes a key of any length");
            mac.update(NONCE_DOMAIN);
            for point in [mint_key, blinded, signature] {
                mac.update(&point.inner().serialize_uncompressed());
            }
            mac.update(&[counter]);
            SecretKey::from_secret_bytes(mac.finalize().into_bytes().into()).ok()
        })
        .expect("each of 256 tries fails with probability 2^-128")
}

/// Proves that `signature` = k·`blinded` for the `k` behind `mint_key`. Constant-time in `k`.
pub fn prove(blinded: &Point, signature: &Point, k: &SecretKey, mint_key: &Point) -> Dleq {
    let r = nonce(k, mint_key, blinded, signature);
    let r1 = basepoint::multiply(&r).into();
    let r2 = multiply_secret(blinded, &r);
    let e = challenge([&r1, &r2, mint_key, signature]);
    // e is a hash and s a sum: that one is out of range or zero takes 2^128 tries.
    let e_scalar = Scalar::from_be_bytes(e).expect("a hash is below the curve order but for 2^-128");
    let s = k
        .mul_tweak(&e_scalar)
        .and_then(|product| product.add_tweak(&Scalar::from(r)))
        .expect("the sum is zero with probability 2^-256");
    Dleq { e, s: s.to_secret_bytes() }
}

/// Whether the proof holds for a blind signature (the wallet's check of what it gets from the mint).
pub fn verify(dleq: &Dleq, blinded: &Point, signature: &Point, mint_key: &Point) -> bool {
    let check = || {
        let e = Scalar::from_be_bytes(dleq.e).ok()?;
        let s = SecretKey::from_secret_bytes(dleq.s).ok()?;
        let r1 = PublicKey::from_secret_key(&s).combine(&multiply_public(mint_key, &e)?.negate()).ok()?;
        let r2 = multiply_public(blinded, &Scalar::from(s))?;
        let r2 = r2.combine(&multiply_public(signature, &e)?.negate()).ok()?;
        Some(challenge([&r1.into(), &r2.into(), mint_key, signature]) == dleq.e)
    };
    check().unwrap_or(false)
}

/// Whether the proof holds for an unblinded token (a receiver's check, offline): `C_` and `B_` are made again from `r`.
pub fn verify_proof(proof: &ProofDleq, secret: &[u8], signature: &Point, mint_key: &Point) -> bool {
    let check = || {
        let r = proof.r.key();
        let blinded = hash_to_curve(secret).inner().combine(&PublicKey::from_secret_key(r)).ok()?;
        let blind_signature = signature.inner().combine(multiply_secret(mint_key, r).inner()).ok()?;
        Some(verify(&proof.dleq, &blinded.into(), &blind_signature.into(), mint_key))
    };
    check().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bdhke;

    #[test]
    fn a_proof_holds_for_its_key_and_for_no_other() {
        let key = |byte: u8| SecretKey::from_secret_bytes([byte; 32]).unwrap();
        let (k, other) = (key(3), key(4));
        let blinded = bdhke::blind(b"secret", &key(5)).unwrap();
        let signature = bdhke::sign(&blinded, &k);
        let dleq = prove(&blinded, &signature, &k, &Point::of_secret(&k));
        assert!(verify(&dleq, &blinded, &signature, &Point::of_secret(&k)));
        // An operator who tags: signed with a key made for one person, shown with the public one.
        let tagged = bdhke::sign(&blinded, &other);
        let lie = prove(&blinded, &tagged, &other, &Point::of_secret(&other));
        assert!(!verify(&lie, &blinded, &tagged, &Point::of_secret(&k)));
        assert!(!verify(&dleq, &blinded, &tagged, &Point::of_secret(&k)));
    }
}
