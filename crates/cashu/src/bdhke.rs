//! Blind Diffie-Hellman key exchange (NUT-00): blind, sign, unblind, verify.
//!
//! Multiplications by a secret go through libsecp256k1's ECDH, which is constant-time; its tweak multiplication
//! is not, and is used for public values only.

use secp256k1::{PublicKey, Scalar, SecretKey, ecdh};
use sha2::{Digest, Sha256};

use crate::Point;

const DOMAIN_SEPARATOR: &[u8] = b"Secp256k1_HashToCurve_Cashu_";

/// `Y`, the point that stands for a secret (NUT-00 `hash_to_curve`).
pub fn hash_to_curve(secret: &[u8]) -> Point {
    let message_hash = Sha256::new().chain_update(DOMAIN_SEPARATOR).chain_update(secret).finalize();
    (0u32..=u32::MAX)
        .find_map(|counter| {
            let x = Sha256::new().chain_update(message_hash).chain_update(counter.to_le_bytes()).finalize();
            let mut candidate = [0x02; 33];
            candidate[1..].copy_from_slice(&x);
            PublicKey::from_byte_array_compressed(candidate).ok()
        })
        .expect("each try succeeds with probability one half, and there are 2^32")
        .into()
}

/// `scalar · point` in constant time.
pub(crate) fn multiply_secret(point: &Point, scalar: &SecretKey) -> Point {
    let xy = ecdh::shared_secret_point(point.inner(), scalar);
    let mut uncompressed = [0x04; 65];
    uncompressed[1..].copy_from_slice(&xy);
    PublicKey::from_byte_array_uncompressed(uncompressed)
        .expect("a multiple of a point by a non-zero scalar is on the curve")
        .into()
}

/// `B_ = Y + rG`: the blinded message for `secret` with blinding factor `r`.
///
/// `None` if the sum is the point at infinity, which takes an `r` that nobody can find.
pub fn blind(secret: &[u8], r: &SecretKey) -> Option<Point> {
    let y = hash_to_curve(secret);
    y.inner().combine(&PublicKey::from_secret_key(r)).ok().map(Point::from)
}

/// `C_ = kB_`: the blind signature of key `k` on a blinded message. Constant-time in `k`.
pub fn sign(blinded: &Point, k: &SecretKey) -> Point {
    multiply_secret(blinded, k)
}

/// `C = C_ − rK`: the signature on the secret itself. Constant-time in `r`.
///
/// `None` if the difference is the point at infinity, which an honest mint never causes.
pub fn unblind(signature: &Point, r: &SecretKey, mint_key: &Point) -> Option<Point> {
    let r_times_key = multiply_secret(mint_key, r);
    signature.inner().combine(&r_times_key.inner().negate()).ok().map(Point::from)
}

/// Whether `C = k·hash_to_curve(secret)`: the mint's check of a proof. Gives `Y` as well, which names the proof
/// in the spent set.
pub fn verify(secret: &[u8], signature: &Point, k: &SecretKey) -> Option<Point> {
    let y = hash_to_curve(secret);
    (multiply_secret(&y, k) == *signature).then_some(y)
}

/// `scalar · point` in variable time, for public values. `None` for a zero scalar or a result at infinity.
pub(crate) fn multiply_public(point: &Point, scalar: &Scalar) -> Option<PublicKey> {
    point.inner().mul_tweak(scalar).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret_key(last: u8) -> SecretKey {
        let mut bytes = [0; 32];
        bytes[31] = last;
        SecretKey::from_secret_bytes(bytes).unwrap()
    }

    #[test]
    fn a_blinded_signature_unblinds_to_one_that_verifies() {
        let (k, r) = (secret_key(7), secret_key(9));
        let signature = sign(&blind(b"a secret", &r).unwrap(), &k);
        let unblinded = unblind(&signature, &r, &Point::of_secret(&k)).unwrap();
        assert_eq!(verify(b"a secret", &unblinded, &k), Some(hash_to_curve(b"a secret")));
        assert_eq!(verify(b"another secret", &unblinded, &k), None);
        assert_eq!(verify(b"a secret", &unblinded, &secret_key(8)), None);
    }
}
