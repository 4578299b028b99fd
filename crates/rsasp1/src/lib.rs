//! RSASP1 (RFC 8017 section 5.2.1), the bare private operation of RSA, in constant time, at the price that AWS-LC asks for it.
//!
//! A blind signature is this operation and nothing else: padding and hash are the client's, behind the blinding. `aws-lc-rs` (1.19),
//! which signs everything else here, only offers it with a padding around it. The safe choice, the crate `rsa` (0.10.0), took
//! 2.7 ms for a 2048-bit key with its blinding, built at level 2 on the machine that this was measured on, and AWS-LC 0.64 ms: 4.2 times.
//! It is all that an issuer of tokens computes. (Without blinding `rsa` took 1.5 ms; but whoever asks for a blind signature chooses the number that
//! meets the secret key, which is where a side channel pays most.)
//!
//! AWS-LC exponentiates in constant time, blinds the input with factors from randomness of its own, and checks the result
//! with the public exponent before it gives it, so that a fault in the arithmetic does not give away the primes
//! (`rsa_default_private_transform` in its `rsa_impl.c`).
//!
//! In scope: this one operation. It is a crate of its own, like `basepoint`, so that all other crates forbid unsafe code.

use std::ptr::NonNull;

use aws_lc_sys::{RSA, RSA_NO_PADDING, RSA_free, RSA_private_key_from_bytes, RSA_sign_raw};

/// A private key. Its numbers lie in AWS-LC's memory, which clears what it frees.
pub struct PrivateKey(NonNull<RSA>);

#[allow(unsafe_code, reason = "AWS-LC offers the bare operation in C only")]
mod calls {
    use super::*;

    // SAFETY: this value alone owns the key, and AWS-LC ties none to a thread.
    unsafe impl Send for PrivateKey {}
    // SAFETY: through a shared reference only `RSA_sign_raw` is called, and `openssl/rsa.h` says that signing does not mutate the key
    // and may run in several threads at once (the blindings that it caches are behind a lock of its own).
    unsafe impl Sync for PrivateKey {}

    impl Drop for PrivateKey {
        fn drop(&mut self) {
            // SAFETY: the pointer came from `RSA_private_key_from_bytes`, was not null, and is used by nobody after this.
            unsafe { RSA_free(self.0.as_ptr()) }
        }
    }

    impl PrivateKey {
        /// Reads an `RSAPrivateKey` (RFC 8017 appendix A.1.2, DER). Nothing when it is none, or its numbers don't belong together.
        pub fn from_pkcs1(der: &[u8]) -> Option<Self> {
            // SAFETY: pointer and length are those of one slice, which is only read, and of which nothing is kept.
            NonNull::new(unsafe { RSA_private_key_from_bytes(der.as_ptr(), der.len()) }).map(PrivateKey)
        }

        /// `input^d mod n`, big-endian, into `output`; whether it was done. Both have as many bytes as the modulus. Refused are
        /// numbers that are not below the modulus, and those that are their own signature (0, 1, n − 1).
        #[must_use]
        pub fn sign(&self, input: &[u8], output: &mut [u8]) -> bool {
            let mut written = 0;
            let (key, padding) = (self.0.as_ptr(), RSA_NO_PADDING);
            // SAFETY: the key lives as long as `self`; each pointer has the length of its slice beside it, which AWS-LC holds against
            // the modulus before it reads or writes; the two slices don't overlap; nothing keeps a pointer after the call.
            let done = unsafe {
                RSA_sign_raw(key, &mut written, output.as_mut_ptr(), output.len(), input.as_ptr(), input.len(), padding)
            };
            done == 1 && written == output.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;

    /// Before the `RSAPrivateKey` in PKCS#8: two headers, the version, the algorithm, the header of an octet string.
    const PKCS8_HEAD: usize = 26;

    fn key() -> (PrivateKey, Vec<u8>, Vec<u8>) {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.as_der().unwrap().as_ref()[PKCS8_HEAD..].to_vec();
        // SEQUENCE { INTEGER n, INTEGER e }: n begins after eight bytes and a leading zero.
        let modulus = pair.public_key().as_ref()[9..265].to_vec();
        (PrivateKey::from_pkcs1(&der).unwrap(), der, modulus)
    }

    #[test]
    fn the_result_is_a_signature_of_the_number() {
        let (key, der, _) = key();
        // PKCS#1 v1.5 is deterministic: the library's signature is the operation on this number.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"message");
        let info = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
        let padded = [&[0, 1][..], &[0xff; 202], &[0], info, digest.as_ref()].concat();
        let pair = KeyPair::from_der(&der).unwrap();
        let mut expected = [0; 256];
        let random = aws_lc_rs::rand::SystemRandom::new();
        pair.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &random, b"message", &mut expected).unwrap();
        let mut signature = [0; 256];
        assert!(key.sign(&padded, &mut signature));
        assert_eq!(signature, expected);
        // From several threads at once, the same.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut again = [0; 256];
                    assert!(key.sign(&padded, &mut again) && again == expected);
                });
            }
        });
    }

    #[test]
    fn numbers_out_of_range_and_other_lengths_are_refused() {
        let (key, _, modulus) = key();
        let mut output = [0; 256];
        let mut last = modulus.clone();
        last[255] -= 1;
        let number = |value: u8| [&[0; 255][..], &[value]].concat();
        assert!(key.sign(&number(2), &mut output), "the control");
        for refused in
            [modulus, last, vec![0xff; 256], number(0), number(1), vec![2], vec![], [number(2), vec![0]].concat()]
        {
            assert!(!key.sign(&refused, &mut output), "{refused:?}");
        }
        for length in [0, 255, 257] {
            assert!(!key.sign(&number(2), &mut vec![0; length]), "{length}");
        }
    }

    #[test]
    fn keys_whose_numbers_do_not_belong_together_are_refused() {
        let (_, der, _) = key();
        assert!(PrivateKey::from_pkcs1(&der).is_some(), "the control");
        // The header, the modulus, the private exponent, the last coefficient.
        for place in [0, 100, 400, der.len() - 1] {
            let mut changed = der.clone();
            changed[place] ^= 4;
            assert!(PrivateKey::from_pkcs1(&changed).is_none(), "{place}");
        }
        for refused in [&der[1..], &der[..der.len() - 1], &[&der[..], &[0]].concat(), &[]] {
            assert!(PrivateKey::from_pkcs1(refused).is_none());
        }
    }
}
