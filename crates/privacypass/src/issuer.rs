//! The issuer: one key for one predicate and period, and the blind signature (RFC 9578 section 6.2).
//!
//! Whether somebody is eligible, and how many tokens a person gets, is decided before a request comes here: a signature can't be told
//! from any other afterwards, nor taken back before the key's period ends.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use rsasp1::PrivateKey;
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::messages::{TokenRequest, TokenResponse};
use crate::{Error, MODULUS_LEN};

/// PKCS#8 before the key itself (RFC 5208 section 5): the version and the algorithm rsaEncryption. A header of four bytes, whose length is
/// the key's, stands before it, and one after it.
const PKCS8_MIDDLE: [u8; 18] = *b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// A header in DER of something from 256 to 65,535 bytes long: tag, 0x82, length.
const HEADER_LEN: usize = 4;

/// An issuer's key.
pub struct IssuerKey {
    private: PrivateKey,
    public: PublicKey,
}

impl IssuerKey {
    /// Reads PKCS#8 (DER, as [`IssuerKey::generate_pkcs8`] writes it).
    ///
    /// # Errors
    /// When it is no RSA key of 2048 bits with the exponent 65537.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let private = PrivateKey::from_pkcs1(pkcs1(der).ok_or(Error::Key)?).ok_or(Error::Key)?;
        let pair = KeyPair::from_pkcs8(der).map_err(|_| Error::Key)?;
        Ok(IssuerKey { private, public: PublicKey::from_pkcs1(pair.public_key().as_ref())? })
    }

    /// A fresh key as PKCS#8, for whoever keeps it. Takes a tenth of a second or several.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_pkcs8() -> Result<Zeroizing<Vec<u8>>, Error> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Unusable)?;
        let der = pair.as_der().map_err(|_| Error::Unusable)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// A fresh key that is not kept.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, Error> {
        Self::from_pkcs8(&Self::generate_pkcs8()?)
    }

    /// The public key. It belongs in the transparency log before the first signature.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs what a client blinded. The same request gets the same answer, so it may be asked again.
    ///
    /// # Errors
    /// When the request is for another key, its number is not from 2 to the modulus less 2, or the key can't be used.
    pub fn issue(&self, request: &TokenRequest) -> Result<TokenResponse, Error> {
        if request.truncated_token_key_id != self.public.id().truncated() {
            return Err(Error::OtherIssuerKey);
        }
        if !self.signs(&request.blinded_msg) {
            return Err(Error::OutOfRange);
        }
        let mut blind_sig = [0; MODULUS_LEN];
        if self.private.sign(&request.blinded_msg, &mut blind_sig) {
            Ok(TokenResponse { blind_sig })
        } else {
            Err(Error::Unusable)
        }
    }

    /// Signs several requests, each for itself: one that is refused does not hold up the others. RSA gains nothing from a batch, so this
    /// is a loop; a key may be used by several threads at once.
    pub fn issue_many(&self, requests: &[TokenRequest]) -> Vec<Result<TokenResponse, Error>> {
        requests.iter().map(|request| self.issue(request)).collect()
    }

    /// Whether a number is above 1 and below the modulus less 1. The three others are their own signatures, and the library refuses them.
    fn signs(&self, number: &[u8; MODULUS_LEN]) -> bool {
        let mut last = *self.public.modulus();
        // The modulus is odd.
        last[MODULUS_LEN - 1] -= 1;
        let [head @ .., low] = number;
        *number < last && (*low > 1 || head.iter().any(|byte| *byte != 0))
    }
}

/// The `RSAPrivateKey` in PKCS#8.
fn pkcs1(der: &[u8]) -> Option<&[u8]> {
    let outer = within(der, 0x30)?;
    within(outer.strip_prefix(&PKCS8_MIDDLE)?, 0x04)
}

/// What stands behind the header of a tag, all the rest.
fn within(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&[first, 0x82, high, low], rest) = der.split_first_chunk::<HEADER_LEN>()? else { return None };
    (first == tag && usize::from(u16::from_be_bytes([high, low])) == rest.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::issuance;

    fn request(key: &IssuerKey, number: &[u8]) -> TokenRequest {
        let mut blinded_msg = [0; MODULUS_LEN];
        blinded_msg[MODULUS_LEN - number.len()..].copy_from_slice(number);
        TokenRequest { truncated_token_key_id: key.public_key().id().truncated(), blinded_msg }
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let der = IssuerKey::generate_pkcs8().unwrap();
        let (key, again) = (IssuerKey::from_pkcs8(&der).unwrap(), IssuerKey::from_pkcs8(&der).unwrap());
        assert_eq!(key.public_key(), again.public_key());
        let two = request(&key, &[2]);
        assert!(key.issue(&two).unwrap() == again.issue(&two).unwrap());
        for place in [0, 1, 4, 20, 24, 40, 600, der.len() - 1] {
            let mut changed = der.to_vec();
            changed[place] ^= 2;
            assert_eq!(IssuerKey::from_pkcs8(&changed).err(), Some(Error::Key), "{place}");
        }
        for refused in [&der[1..], &der[..der.len() - 1], &[&der[..], &[0]].concat(), &[]] {
            assert_eq!(IssuerKey::from_pkcs8(refused).err(), Some(Error::Key));
        }
    }

    /// A key of another size would make tokens of another type.
    #[test]
    fn keys_of_other_sizes_are_refused() {
        let pair = KeyPair::generate(KeySize::Rsa3072).unwrap();
        assert_eq!(IssuerKey::from_pkcs8(pair.as_der().unwrap().as_ref()).err(), Some(Error::Key));
        let point = es256::SigningKey::generate_pkcs8().unwrap();
        assert_eq!(IssuerKey::from_pkcs8(&point).err(), Some(Error::Key));
    }

    #[test]
    fn requests_for_another_key_and_numbers_out_of_range_are_refused() {
        let key = IssuerKey::from_pkcs8(&issuance()[0].issuer_pkcs8).unwrap();
        let good = request(&key, &[2]);
        assert!(key.issue(&good).is_ok(), "the control");
        let other = TokenRequest { truncated_token_key_id: good.truncated_token_key_id ^ 1, ..good.clone() };
        let mut last = *key.public_key().modulus();
        last[MODULUS_LEN - 1] -= 1;
        let results = key.issue_many(&[
            good.clone(),
            other,
            request(&key, &[0]),
            request(&key, &[1]),
            request(&key, &last),
            request(&key, key.public_key().modulus()),
            request(&key, &[0xff; MODULUS_LEN]),
            good,
        ]);
        let errors: Vec<_> = results.iter().map(|result| result.as_ref().err().copied()).collect();
        let (no_key, no_number) = (Some(Error::OtherIssuerKey), Some(Error::OutOfRange));
        assert_eq!(errors, [None, no_key, no_number, no_number, no_number, no_number, no_number, None]);
        assert!(results[0] == results[7], "the same request gets the same answer");
    }
}
