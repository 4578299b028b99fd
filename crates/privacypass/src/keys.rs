//! The issuer's public key as it is published (RFC 9578 section 6.5), and its id.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA384};
use sha2::{Digest, Sha256};

use crate::{DIGEST_LEN, Error, MODULUS_LEN};

/// Bytes of a published key.
pub const SPKI_LEN: usize = 342;
/// Before the modulus in `RSAPublicKey` (RFC 8017 appendix A.1.1): the headers of a sequence and of an integer, whose first byte is zero
/// since the modulus has its top bit set.
const PKCS1_HEAD: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
/// After the modulus: the exponent 65537. The standard leaves it open; every library makes this one, and one exponent is one less
/// thing in which keys can differ.
const PKCS1_TAIL: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
/// Bytes of an `RSAPublicKey`.
const PKCS1_LEN: usize = PKCS1_HEAD.len() + MODULUS_LEN + PKCS1_TAIL.len();
/// Before `RSAPublicKey` in SubjectPublicKeyInfo. DER has one form, so of a key of 2048 bits everything but the modulus is known.
const SPKI_HEAD: [u8; SPKI_LEN - PKCS1_LEN] = *b"\
    \x30\x82\x01\x52\x30\x3d\
    \x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\
    \x30\x30\
    \xa0\x0d\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\
    \xa1\x1a\x30\x18\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\
    \xa2\x03\x02\x01\x30\
    \x03\x82\x01\x0f\x00";

/// The id of an issuer key: SHA-256 of its published form (RFC 9578 section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenKeyId(pub [u8; DIGEST_LEN]);

impl TokenKeyId {
    /// The last byte, which is all that a request carries: enough to choose among an issuer's keys, too little to single a client out.
    pub fn truncated(&self) -> u8 {
        self.0[DIGEST_LEN - 1]
    }
}

/// An issuer's public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    modulus: [u8; MODULUS_LEN],
    id: TokenKeyId,
}

impl PublicKey {
    /// Reads SubjectPublicKeyInfo: RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes, a modulus of 2048 bits and the
    /// exponent 65537, in DER.
    ///
    /// # Errors
    /// [`Error::Key`] for anything else.
    pub fn from_spki(der: &[u8]) -> Result<Self, Error> {
        let pkcs1 = der.strip_prefix(&SPKI_HEAD).ok_or(Error::Key)?;
        let modulus =
            pkcs1.strip_prefix(&PKCS1_HEAD).and_then(|rest| rest.strip_suffix(&PKCS1_TAIL)).ok_or(Error::Key)?;
        let modulus: [u8; MODULUS_LEN] = modulus.try_into().map_err(|_| Error::Key)?;
        // Refuses a modulus that is even, or has fewer bits than the header says.
        ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, pkcs1).map_err(|_| Error::Key)?;
        Ok(PublicKey { modulus, id: TokenKeyId(Sha256::digest(der).into()) })
    }

    /// Reads `RSAPublicKey`, as libraries write it.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Self, Error> {
        Self::from_spki(&[&SPKI_HEAD, der].concat())
    }

    /// The published form.
    pub fn to_spki(&self) -> [u8; SPKI_LEN] {
        let mut spki = [0; SPKI_LEN];
        spki[..SPKI_HEAD.len()].copy_from_slice(&SPKI_HEAD);
        spki[SPKI_HEAD.len()..].copy_from_slice(&self.to_pkcs1());
        spki
    }

    fn to_pkcs1(self) -> [u8; PKCS1_LEN] {
        let mut pkcs1 = [0; PKCS1_LEN];
        pkcs1[..PKCS1_HEAD.len()].copy_from_slice(&PKCS1_HEAD);
        pkcs1[PKCS1_HEAD.len()..][..MODULUS_LEN].copy_from_slice(&self.modulus);
        pkcs1[PKCS1_HEAD.len() + MODULUS_LEN..].copy_from_slice(&PKCS1_TAIL);
        pkcs1
    }

    /// The id.
    pub fn id(&self) -> TokenKeyId {
        self.id
    }

    /// The modulus, big-endian.
    pub(crate) fn modulus(&self) -> &[u8; MODULUS_LEN] {
        &self.modulus
    }

    /// Whether a signature over a message holds (RSASSA-PSS-VERIFY, RFC 8017 section 8.1.2).
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; MODULUS_LEN]) -> bool {
        ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, self.to_pkcs1())
            .is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::issuance;

    #[test]
    fn every_byte_but_the_modulus_is_fixed() {
        let spki = issuance()[0].issuer_spki.clone();
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.to_spki()[..], spki);
        let modulus = SPKI_HEAD.len() + PKCS1_HEAD.len()..SPKI_LEN - PKCS1_TAIL.len();
        for place in 0..SPKI_LEN {
            let mut changed = spki.clone();
            changed[place] ^= 2;
            match PublicKey::from_spki(&changed) {
                Err(error) => assert!(error == Error::Key && !modulus.contains(&place), "{place}"),
                Ok(other) => assert!(modulus.contains(&place) && other.id() != key.id(), "{place}"),
            }
        }
        for length in 0..SPKI_LEN {
            assert_eq!(PublicKey::from_spki(&spki[..length]), Err(Error::Key), "{length}");
        }
        assert_eq!(PublicKey::from_spki(&[&spki[..], &[0]].concat()), Err(Error::Key));
    }

    #[test]
    fn keys_for_other_signatures_and_weak_moduli_are_refused() {
        let spki = issuance()[0].issuer_spki.clone();
        // The same key as rsaEncryption, as most libraries write it.
        let plain =
            [b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00", &spki[67..]].concat();
        assert_eq!(PublicKey::from_spki(&plain), Err(Error::Key));
        let (first, last) = (SPKI_HEAD.len() + PKCS1_HEAD.len(), SPKI_LEN - PKCS1_TAIL.len() - 1);
        for (place, bit) in [(first, 0x80), (last, 1)] {
            let mut changed = spki.clone();
            changed[place] ^= bit;
            assert_eq!(PublicKey::from_spki(&changed), Err(Error::Key), "{place}");
        }
    }

    #[test]
    fn the_id_is_the_digest_of_the_published_form() {
        let case = &issuance()[0];
        let id = PublicKey::from_spki(&case.issuer_spki).unwrap().id();
        assert_eq!(id.0, <[u8; DIGEST_LEN]>::from(Sha256::digest(&case.issuer_spki)));
        assert_eq!(id.0, case.token[66..98]);
        assert_eq!(id.truncated(), case.token_request[2]);
    }
}
