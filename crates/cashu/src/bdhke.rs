//! Blind Diffie-Hellman key exchange (NUT-00): blind, sign, unblind, verify.
//!
//! Multiplications by a secret go through libsecp256k1's ECDH, which is constant-time; its tweak multiplication
//! is not, and is used for public values only.

use std::collections::BTreeMap;

use secp256k1::{PublicKey, Scalar, SecretKey, ecdh};
use sha2::{Digest, Sha256};

use crate::Point;
use crate::msm::{self, Multiplier, Sum};

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

/// A proof as a mint checks it: a secret, the signature on it, and the key that the keyset has for its amount.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// The secret.
    pub secret: &'a [u8],
    /// The signature `C`.
    pub signature: &'a Point,
    /// The key.
    pub key: &'a SecretKey,
    /// Its public key, by which claims of one key are known.
    pub public_key: &'a Point,
}

/// From how many claims of one key on they are checked together. Fewer are faster one by one, or as fast.
const TOGETHER_MIN: usize = 3;

/// Checks many proofs, those of one key together: `Y` of each that holds, `None` of each that does not.
///
/// For the claims `i` of all keys `k` that have enough of them, with random multipliers `ρ` that the one who made the proofs can't
/// know, one equation stands for all:
///
/// ```text
/// Σᵢ ρᵢ·Cᵢ = Σₖ k·(Σᵢ ρᵢ·Yᵢ)        (the inner sum over the claims of key k)
/// ```
///
/// Each key is multiplied once and in constant time, whatever the number of claims; all else is public, and a sum of multiples is
/// cheap ([`msm`]). **Sound**: let `Dᵢ = Cᵢ − kYᵢ`. The equation says `Σ ρᵢ·Dᵢ = 0`. If some `Dⱼ` is not zero, it generates the group,
/// whose order is prime, so with all other multipliers given one value of `ρⱼ` at most makes the equation true; `ρⱼ` is one of
/// 2^128 that are all different modulo the order. So a wrong proof passes with probability 2^-128 a try, and each try is a request.
/// If the equation fails, each claim is checked by itself, so the honest ones of a batch are not refused with the others.
///
/// `random` gives each multiplier: 16 fresh random bytes.
pub fn verify_many(claims: &[Claim<'_>], mut random: impl FnMut() -> [u8; 16]) -> Vec<Option<Point>> {
    let mut by_key: BTreeMap<&Point, Vec<usize>> = BTreeMap::new();
    for (place, claim) in claims.iter().enumerate() {
        by_key.entry(claim.public_key).or_default().push(place);
    }
    let verify_one = |claim: &Claim<'_>| verify(claim.secret, claim.signature, claim.key);
    by_key.retain(|_, places| places.len() >= TOGETHER_MIN);
    if by_key.is_empty() {
        return claims.iter().map(verify_one).collect();
    }
    let mut ys: Vec<Option<Point>> = vec![None; claims.len()];
    let (mut signatures, mut messages) = (Vec::new(), Vec::new());
    for places in by_key.values() {
        let mut of_key = Vec::with_capacity(places.len());
        for place in places {
            let bytes = random();
            let part = |from: usize| u64::from_be_bytes(bytes[from..from + 8].try_into().expect("8 of 16 bytes"));
            let multiplier = Multiplier { low: part(0), high: part(8) };
            let y = hash_to_curve(claims[*place].secret);
            ys[*place] = Some(y);
            of_key.push((multiplier, *y.inner()));
            signatures.push((multiplier, *claims[*place].signature.inner()));
        }
        messages.push(msm::sum(&of_key));
    }
    // A sum at infinity, which nobody can bring about, has no point to multiply.
    let all_hold = Sum::points(&messages).is_some_and(|messages| {
        let keys = by_key.values().map(|places| claims[places[0]].key);
        let expected = messages.into_iter().zip(keys).map(|(sum, key)| multiply_secret(&sum.into(), key));
        expected.fold(msm::sum(&signatures), |rest, point| rest.minus(point.inner())).is_infinity()
    });
    let check = |(claim, y): (&Claim<'_>, Option<Point>)| match y {
        Some(y) if all_hold => Some(y),
        _ => verify_one(claim),
    };
    claims.iter().zip(ys).map(check).collect()
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

    /// Proofs of three keys: many of the first, few of the second, one of the third.
    fn proofs() -> Vec<(Vec<u8>, Point, SecretKey, Point)> {
        let proof = |number: u8| {
            let k = secret_key(if number < 20 { 1 } else { number / 4 });
            let secret = vec![b'a', number];
            (secret.clone(), sign(&hash_to_curve(&secret), &k), k, Point::of_secret(&k))
        };
        (0..25).map(proof).collect()
    }

    fn verify_all(proofs: &[(Vec<u8>, Point, SecretKey, Point)]) -> Vec<Option<Point>> {
        let claim = |(secret, signature, key, public_key)| Claim { secret, signature, key, public_key };
        let claims: Vec<Claim<'_>> = proofs.iter().map(|(s, c, k, p)| claim((s.as_slice(), c, k, p))).collect();
        let mut counter = 0u8;
        verify_many(&claims, || {
            counter += 1;
            Sha256::digest([counter])[..16].try_into().unwrap()
        })
    }

    #[test]
    fn many_are_checked_as_each_by_itself() {
        let right = proofs();
        let ys: Vec<_> = right.iter().map(|(secret, ..)| Some(hash_to_curve(secret))).collect();
        assert_eq!(verify_all(&right), ys);
        assert!(verify_all(&[]).is_empty());
        // Each wrong one is found, and only that one.
        for place in 0..right.len() {
            let mut wrong = right.clone();
            wrong[place].1 = right[(place + 1) % right.len()].1;
            let mut expected = ys.clone();
            expected[place] = None;
            assert_eq!(verify_all(&wrong), expected, "{place}");
        }
    }

    /// What equal multipliers would let through: two errors that cancel each other.
    #[test]
    fn errors_that_cancel_are_found() {
        let mut wrong = proofs();
        let error = hash_to_curve(b"error");
        wrong[0].1 = wrong[0].1.inner().combine(error.inner()).unwrap().into();
        wrong[1].1 = wrong[1].1.inner().combine(&error.inner().negate()).unwrap().into();
        let found = verify_all(&wrong);
        assert_eq!((found[0], found[1]), (None, None));
        assert!(found[2..].iter().all(Option::is_some));
        // The control: with one multiplier for all, the same two pass.
        let claims: Vec<Claim<'_>> =
            wrong.iter().map(|(s, c, k, p)| Claim { secret: s, signature: c, key: k, public_key: p }).collect();
        assert!(verify_many(&claims, || [1; 16])[..2].iter().all(Option::is_some));
    }
}
