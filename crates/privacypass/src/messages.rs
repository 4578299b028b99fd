//! What travels: `TokenRequest` and `TokenResponse` (RFC 9578 sections 6.1 and 6.2), and the `Token` itself (RFC 9577 section 2.2).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::keys::{PublicKey, TokenKeyId};
use crate::{DIGEST_LEN, Error, MODULUS_LEN, TOKEN_TYPE, end, take, take_type};

/// Bytes of a request: type, truncated key id, blinded message.
pub const REQUEST_LEN: usize = 2 + 1 + MODULUS_LEN;
/// Bytes of a token without its signature: type, nonce, challenge's digest, key id.
pub const TOKEN_INPUT_LEN: usize = 2 + 3 * DIGEST_LEN;
/// Bytes of a token.
pub const TOKEN_LEN: usize = TOKEN_INPUT_LEN + MODULUS_LEN;

/// Asks an issuer for one signature.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The last byte of the key's id.
    pub truncated_token_key_id: u8,
    /// What is to be signed.
    pub blinded_msg: [u8; MODULUS_LEN],
}

impl TokenRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// When its length or its type is another.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "TokenRequest";
        take_type(&mut bytes, WHAT)?;
        let [truncated_token_key_id] = *take(&mut bytes, WHAT)?;
        let blinded_msg = *take(&mut bytes, WHAT)?;
        end(bytes, WHAT)?;
        Ok(TokenRequest { truncated_token_key_id, blinded_msg })
    }

    /// The request as it travels (`application/private-token-request`).
    pub fn to_bytes(&self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        bytes[..2].copy_from_slice(&TOKEN_TYPE.to_be_bytes());
        bytes[2] = self.truncated_token_key_id;
        bytes[3..].copy_from_slice(&self.blinded_msg);
        bytes
    }
}

/// An issuer's answer.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenResponse {
    /// The signature of what was blinded.
    pub blind_sig: [u8; MODULUS_LEN],
}

impl TokenResponse {
    /// Reads an answer.
    ///
    /// # Errors
    /// When its length is another.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let blind_sig = bytes.try_into().map_err(|_| Error::Malformed("TokenResponse"))?;
        Ok(TokenResponse { blind_sig })
    }

    /// The answer as it travels (`application/private-token-response`).
    pub fn to_bytes(&self) -> [u8; MODULUS_LEN] {
        self.blind_sig
    }
}

/// What the issuer signs: a token without its signature.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenInput {
    pub nonce: [u8; DIGEST_LEN],
    pub challenge_digest: [u8; DIGEST_LEN],
    pub token_key_id: TokenKeyId,
}

impl TokenInput {
    pub(crate) fn take(bytes: &mut &[u8], what: &'static str) -> Result<Self, Error> {
        take_type(bytes, what)?;
        let nonce = *take(bytes, what)?;
        let challenge_digest = *take(bytes, what)?;
        Ok(TokenInput { nonce, challenge_digest, token_key_id: TokenKeyId(*take(bytes, what)?) })
    }

    pub(crate) fn to_bytes(&self) -> [u8; TOKEN_INPUT_LEN] {
        let mut bytes = [0; TOKEN_INPUT_LEN];
        let (token_type, digests) = bytes.split_at_mut(2);
        token_type.copy_from_slice(&TOKEN_TYPE.to_be_bytes());
        for (place, digest) in
            digests.chunks_exact_mut(DIGEST_LEN).zip([&self.nonce, &self.challenge_digest, &self.token_key_id.0])
        {
            place.copy_from_slice(digest);
        }
        bytes
    }
}

/// A token. Whoever reads one has not verified it: [`crate::showing::verify_showing`] does, or [`Token::verify`] for a token alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    input: TokenInput,
    authenticator: [u8; MODULUS_LEN],
}

impl Token {
    pub(crate) fn new(input: TokenInput, authenticator: [u8; MODULUS_LEN]) -> Self {
        Token { input, authenticator }
    }

    /// Reads a token.
    ///
    /// # Errors
    /// When its length or its type is another.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "Token";
        let input = TokenInput::take(&mut bytes, WHAT)?;
        let authenticator = *take(&mut bytes, WHAT)?;
        end(bytes, WHAT)?;
        Ok(Token { input, authenticator })
    }

    /// The token as it travels.
    pub fn to_bytes(&self) -> [u8; TOKEN_LEN] {
        let mut bytes = [0; TOKEN_LEN];
        bytes[..TOKEN_INPUT_LEN].copy_from_slice(&self.input.to_bytes());
        bytes[TOKEN_INPUT_LEN..].copy_from_slice(&self.authenticator);
        bytes
    }

    /// The nonce that the client chose.
    pub fn nonce(&self) -> &[u8; DIGEST_LEN] {
        &self.input.nonce
    }

    /// The digest of the challenge that it was made for.
    pub fn challenge_digest(&self) -> &[u8; DIGEST_LEN] {
        &self.input.challenge_digest
    }

    /// The id of the issuer key that signed it.
    pub fn token_key_id(&self) -> TokenKeyId {
        self.input.token_key_id
    }

    /// SHA-256 of the whole token.
    pub fn digest(&self) -> [u8; DIGEST_LEN] {
        Sha256::digest(self.to_bytes()).into()
    }

    /// Verifies the issuer's signature (RFC 9578 section 6.4), and that the token is for the challenge. That nobody else could have copied
    /// it is only told by a showing.
    ///
    /// # Errors
    /// When the token is for another key or challenge, or the signature does not hold.
    pub fn verify(&self, issuer: &PublicKey, challenge_digest: &[u8; DIGEST_LEN]) -> Result<(), Error> {
        if self.input.token_key_id != issuer.id() {
            return Err(Error::OtherIssuerKey);
        }
        if self.input.challenge_digest != *challenge_digest {
            return Err(Error::OtherChallenge);
        }
        if issuer.verify(&self.input.to_bytes(), &self.authenticator) { Ok(()) } else { Err(Error::TokenSignature) }
    }
}

// What could be used or recognised is not printed.
macro_rules! name_only {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
name_only!(TokenRequest TokenResponse TokenInput Token);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::issuance;

    #[test]
    fn other_lengths_and_types_are_refused() {
        let case = &issuance()[0];
        assert!(TokenRequest::from_bytes(&case.token_request).is_ok(), "the control");
        for length in (0..case.token_request.len()).step_by(37).chain([REQUEST_LEN - 1]) {
            assert!(TokenRequest::from_bytes(&case.token_request[..length]).is_err(), "{length}");
        }
        for length in (0..case.token.len()).step_by(37).chain([TOKEN_LEN - 1]) {
            assert!(Token::from_bytes(&case.token[..length]).is_err(), "{length}");
        }
        for length in [0, MODULUS_LEN - 1, MODULUS_LEN + 1] {
            assert!(TokenResponse::from_bytes(&vec![1; length]).is_err(), "{length}");
        }
        let longer = |bytes: &[u8]| [bytes, &[0]].concat();
        assert!(TokenRequest::from_bytes(&longer(&case.token_request)).is_err());
        assert!(Token::from_bytes(&longer(&case.token)).is_err());
        for other in [0u16, 1, 3, 0x0200, 0xffff] {
            let changed = |bytes: &[u8]| [&other.to_be_bytes()[..], &bytes[2..]].concat();
            assert_eq!(TokenRequest::from_bytes(&changed(&case.token_request)).err(), Some(Error::TokenType(other)));
            assert_eq!(Token::from_bytes(&changed(&case.token)).err(), Some(Error::TokenType(other)));
        }
    }

    #[test]
    fn a_token_with_any_part_changed_is_refused() {
        let case = &issuance()[0];
        let issuer = PublicKey::from_spki(&case.issuer_spki).unwrap();
        let digest: [u8; DIGEST_LEN] = Sha256::digest(&case.token_challenge).into();
        let verified = |bytes: &[u8]| Token::from_bytes(bytes).and_then(|token| token.verify(&issuer, &digest));
        assert_eq!(verified(&case.token), Ok(()), "the control");
        for (place, error) in [
            (2, Error::TokenSignature),
            (33, Error::TokenSignature),
            (34, Error::OtherChallenge),
            (65, Error::OtherChallenge),
            (66, Error::OtherIssuerKey),
            (97, Error::OtherIssuerKey),
            (98, Error::TokenSignature),
            (TOKEN_LEN - 1, Error::TokenSignature),
        ] {
            let mut changed = case.token.clone();
            changed[place] ^= 1;
            assert_eq!(verified(&changed), Err(error), "{place}");
        }
        // A signature of this key, of another token.
        let other = &issuance()[1];
        let moved = [&case.token[..TOKEN_INPUT_LEN], &other.token[TOKEN_INPUT_LEN..]].concat();
        assert_eq!(verified(&moved), Err(Error::TokenSignature));
    }
}
