//! The client's side of blind RSA (RFC 9474 sections 4.2 and 4.4): pad, blind, unblind. The issuer's side is the bare private operation.
//!
//! A modulus may have any whole number of 64-bit words here, with its top bit set: the standard's vectors are of 4096 bits.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use rand::CryptoRng;
use sha2::{Digest, Sha384};
use zeroize::Zeroizing;

use crate::Error;

/// The salt of the variant that tokens use, as long as the hash (RFC 9474 section 5).
pub const SALT_LEN: usize = 48;
const HASH_LEN: usize = 48;
/// Numbers are computed, and written, in whole words.
const WORD_LEN: usize = 8;
/// The public exponent.
const EXPONENT: u32 = 65537;

/// A modulus with what multiplying by it needs.
pub struct Modulus {
    params: BoxedMontyParams,
    len: usize,
}

/// A blinded message, and what takes the blinding off again.
pub struct Blinded {
    /// For the issuer.
    pub message: Vec<u8>,
    /// Secret: whoever has it can tie the token to the request.
    pub inverse: Zeroizing<Vec<u8>>,
}

impl Modulus {
    /// A modulus, big-endian.
    ///
    /// # Errors
    /// When it is even, its top bit is not set, or its length is no whole number of words.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.first().is_none_or(|first| *first < 0x80) || !bytes.len().is_multiple_of(WORD_LEN) {
            return Err(Error::Key);
        }
        let number = BoxedUint::from_be_slice(bytes, 8 * bytes.len() as u32).map_err(|_| Error::Key)?;
        let odd: Odd<BoxedUint> = Option::from(Odd::new(number)).ok_or(Error::Key)?;
        Ok(Modulus { params: BoxedMontyParams::new(odd), len: bytes.len() })
    }

    /// A factor to blind with: uniform from 1 to the modulus less 1. That some draws are refused tells nothing about the one that is not.
    pub fn factor(&self, rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
        let mut factor = Zeroizing::new(vec![0; self.len]);
        loop {
            rng.fill_bytes(&mut factor);
            if factor.iter().any(|byte| *byte != 0) && self.number(&factor).is_ok() {
                return factor;
            }
        }
    }

    /// Pads a message and blinds it with a factor (RFC 9474 section 4.2).
    ///
    /// # Errors
    /// When factor or message share a divisor with the modulus. By chance that does not happen, so the key is none that can be trusted.
    pub fn blind(&self, message: &[u8], salt: &[u8], factor: &[u8]) -> Result<Blinded, Error> {
        let padded = self.number(&self.pad(message, salt)).map_err(|_| Error::Key)?;
        let factor = self.number(factor).map_err(|_| Error::Key)?;
        // One inversion for both: 1 / factor = padded / (padded · factor), and there is none when either shares a divisor.
        let (padded, factor) = (self.form(&padded), Zeroizing::new(self.form(&factor)));
        let product = Zeroizing::new(padded.mul(&factor).retrieve());
        let inverse: Option<BoxedUint> = product.invert_odd_mod(self.params.modulus()).into();
        let inverse = Zeroizing::new(inverse.ok_or(Error::Key)?);
        let inverse = Zeroizing::new(self.form(&inverse).mul(&padded).retrieve());
        let (exponent, bits) = (BoxedUint::from(EXPONENT), EXPONENT.ilog2() + 1);
        let power = Zeroizing::new(factor.pow_bounded_exp(&exponent, bits));
        let message = padded.mul(&power).retrieve();
        Ok(Blinded { message: message.to_be_bytes().into(), inverse: Zeroizing::new(inverse.to_be_bytes().into()) })
    }

    /// Takes the blinding off a signature (RFC 9474 section 4.4). It still has to be verified.
    ///
    /// # Errors
    /// When the signature is not below the modulus.
    pub fn unblind(&self, blind_sig: &[u8], inverse: &[u8]) -> Result<Vec<u8>, Error> {
        let (blind_sig, inverse) = (self.number(blind_sig)?, self.number(inverse)?);
        Ok(self.form(&blind_sig).mul(&self.form(&inverse)).retrieve().to_be_bytes().into())
    }

    /// A number of the modulus's length and below it.
    fn number(&self, bytes: &[u8]) -> Result<Zeroizing<BoxedUint>, Error> {
        let precision = self.params.bits_precision();
        let number = BoxedUint::from_be_slice(bytes, precision).map_err(|_| Error::Response)?;
        let number = Zeroizing::new(number);
        if bytes.len() == self.len && *number < *self.params.modulus().as_ref() {
            Ok(number)
        } else {
            Err(Error::Response)
        }
    }

    fn form(&self, number: &BoxedUint) -> BoxedMontyForm {
        BoxedMontyForm::new(number.clone(), &self.params)
    }

    /// EMSA-PSS-ENCODE (RFC 8017 section 9.1.1) with SHA-384 and MGF1 with SHA-384, for a modulus whose top bit is set: the encoding has
    /// one bit less, so as many bytes.
    fn pad(&self, message: &[u8], salt: &[u8]) -> Vec<u8> {
        let hash =
            Sha384::new().chain_update([0; 8]).chain_update(Sha384::digest(message)).chain_update(salt).finalize();
        let mut encoded = vec![0; self.len];
        let (block, tail) = encoded.split_at_mut(self.len - HASH_LEN - 1);
        let one = block.len() - salt.len() - 1;
        block[one] = 1;
        block[one + 1..].copy_from_slice(salt);
        for (counter, chunk) in (0u32..).zip(block.chunks_mut(HASH_LEN)) {
            let mask = Sha384::new().chain_update(hash).chain_update(counter.to_be_bytes()).finalize();
            chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        block[0] &= 0x7f;
        tail[..HASH_LEN].copy_from_slice(&hash);
        tail[HASH_LEN] = 0xbc;
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::blind_rsa;
    use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA384};
    use crypto_bigint::NonZero;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rsasp1::PrivateKey;

    /// DER of a SEQUENCE or of an INTEGER, whose bytes get a zero before them where the first would be a sign.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let sign = if tag == 2 && content[0] >= 0x80 { &[0][..] } else { &[] };
        let length = sign.len() + content.len();
        let header = match length {
            0..=0x7f => vec![tag, length as u8],
            0x80..=0xff => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [&header, sign, content].concat()
    }

    /// `RSAPrivateKey` (RFC 8017 appendix A.1.2): the vectors give primes and exponents, the rest is computed.
    fn private_key(n: &[u8], e: &[u8], d: &[u8], p: &[u8], q: &[u8]) -> Vec<u8> {
        let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, 8 * n.len() as u32).unwrap();
        let trimmed = |number: BoxedUint| {
            let bytes = number.to_be_bytes();
            bytes[bytes.iter().position(|byte| *byte != 0).unwrap()..].to_vec()
        };
        let reduced = |prime: &[u8]| {
            let less = number(prime).wrapping_sub(BoxedUint::one());
            trimmed(number(d).rem(&NonZero::new(less).unwrap()))
        };
        let coefficient = trimmed(number(q).invert_odd_mod(&Odd::new(number(p)).unwrap()).unwrap());
        let fields = [&[0][..], n, e, &trimmed(number(d)), p, q, &reduced(p), &reduced(q), &coefficient];
        der(0x30, &fields.map(|field| der(2, field)).concat())
    }

    /// RFC 9474 Appendix A: pad, blind, sign, take off, verify. (`msg_prefix` is what the randomised variants put before a message.)
    #[test]
    fn all_four_variants_are_those_of_rfc_9474() {
        for case in blind_rsa() {
            let name = case.text("name");
            let n = case.bytes("n");
            let modulus = Modulus::new(&n).unwrap();
            let message = [case.bytes("msg_prefix"), case.bytes("msg")].concat();
            assert_eq!(message, case.bytes("input_msg"), "{name}");
            let salt = case.bytes("salt");
            if name != "RSABSSA-SHA384-PSS-Randomized" {
                assert_eq!(modulus.pad(&message, &salt), case.bytes("encoded_msg"), "{name}");
            }
            let inverse = case.bytes("inv");
            let factor = modulus.number(&inverse).unwrap().invert_odd_mod(modulus.params.modulus()).unwrap();
            let blinded = modulus.blind(&message, &salt, &factor.to_be_bytes()).unwrap();
            assert_eq!(*blinded.inverse, inverse, "{name}");
            assert_eq!(blinded.message, case.bytes("blinded_msg"), "{name}");

            let [e, d, p, q] = ["e", "d", "p", "q"].map(|field| case.bytes(field));
            let key = PrivateKey::from_pkcs1(&private_key(&n, &e, &d, &p, &q)).unwrap();
            let mut blind_sig = vec![0; n.len()];
            assert!(key.sign(&blinded.message, &mut blind_sig));
            assert_eq!(blind_sig, case.bytes("blind_sig"), "{name}");

            let signature = modulus.unblind(&blind_sig, &inverse).unwrap();
            assert_eq!(signature, case.bytes("sig"), "{name}");
            // The library verifies signatures with a salt as long as the hash, and no others.
            let public = der(0x30, &[der(2, &n), der(2, &e)].concat());
            let public = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, public).unwrap();
            assert_eq!(public.verify_sig(&message, &signature).is_ok(), salt.len() == SALT_LEN, "{name}");
            assert!(public.verify_sig(&message[1..], &signature).is_err(), "{name}");
        }
    }

    #[test]
    fn numbers_that_are_not_below_the_modulus_are_refused() {
        let n = blind_rsa()[0].bytes("n");
        let modulus = Modulus::new(&n).unwrap();
        let mut below = n.clone();
        below[n.len() - 1] -= 1;
        let one = [vec![0; n.len() - 1], vec![1]].concat();
        assert_eq!(modulus.unblind(&below, &one), Ok(below.clone()), "the control");
        for refused in [&n[..], &vec![0xff; n.len()], &below[1..], &[&[0], &below[..]].concat(), &[]] {
            assert_eq!(modulus.unblind(refused, &one), Err(Error::Response));
            assert_eq!(modulus.unblind(&below, refused), Err(Error::Response));
        }
        for refused in [&[][..], &below, &n[..n.len() - 1], &[&[0; 8], &n[..]].concat()] {
            assert!(Modulus::new(refused).is_err());
        }
    }

    /// A factor without an inverse shares a prime with the modulus.
    #[test]
    fn factors_without_an_inverse_are_refused() {
        let case = &blind_rsa()[0];
        let (n, p) = (case.bytes("n"), case.bytes("p"));
        let modulus = Modulus::new(&n).unwrap();
        let prime = [vec![0; n.len() - p.len()], p].concat();
        for refused in [prime, vec![0; n.len()], n] {
            assert_eq!(modulus.blind(b"message", &[], &refused).err(), Some(Error::Key));
        }
    }

    #[test]
    fn factors_are_fresh_and_below_the_modulus() {
        let modulus = Modulus::new(&blind_rsa()[0].bytes("n")).unwrap();
        let mut rng = StdRng::seed_from_u64(9_474);
        let mut factors: Vec<_> = (0..64).map(|_| modulus.factor(&mut rng).to_vec()).collect();
        assert!(factors.iter().all(|factor| modulus.number(factor).is_ok()));
        factors.sort();
        factors.dedup();
        assert_eq!(factors.len(), 64);
    }
}
