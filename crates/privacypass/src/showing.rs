//! Showing a token: the holder's key signs the verifier's challenge, so that what is shown is worth something to that verifier, now, and
//! to nobody else.
//!
//! ## What relying parties can tell
//! One of them can tell that a token was shown to it before: by its [`TokenId`], which it keeps for as long as the issuer key is valid.
//! It can't tell anything else: not who shows, nor which other tokens are in the same wallet, nor when a token was issued within
//! the period. All of them together, with the issuer, can tell that one token was shown to two of them, and nothing that ties two
//! tokens. So a wallet shows a token once. A cheat who shows one token to several verifiers that don't compare their lists
//! gets the same answer from each, which says no more than that it is true; where a token stands for something that is used up,
//! verifiers share a list.
//!
//! The signature (ES256) covers the token, so it can't be moved to another, and the verifier's challenge, so it can't be replayed.

use std::fmt;

use es256::{POINT_LEN, PublicKey as HolderKey, SIGNATURE_LEN, Signer};
use sha2::{Digest, Sha256};

use crate::client::nonce_of;
use crate::keys::PublicKey;
use crate::messages::{TOKEN_LEN, Token};
use crate::{DIGEST_LEN, Error, end, take};

/// Bytes of a showing: token, the holder's point, its signature.
pub const SHOWING_LEN: usize = TOKEN_LEN + POINT_LEN + SIGNATURE_LEN;
/// What makes a holder's signature a showing and nothing else.
const SHOWING_DOMAIN: &[u8] = b"habeas.org/privacypass/showing/v1\0";
const VERIFIER_DOMAIN: &[u8] = b"habeas.org/privacypass/verifier/v1\0";
const ID_DOMAIN: &[u8] = b"habeas.org/privacypass/token-id/v1\0";

/// What a verifier asks for: who asks, where the answer goes, and a nonce that it uses once, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierChallenge([u8; DIGEST_LEN]);

impl VerifierChallenge {
    /// From the parameters of an OpenID4VP request. The nonce is fresh and unguessable.
    pub fn new(client_id: &str, nonce: &str, response_uri: &str) -> Self {
        let mut hash = Sha256::new().chain_update(VERIFIER_DOMAIN);
        for part in [client_id, nonce, response_uri] {
            // With its length before it, no part can take from its neighbour.
            hash = hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part);
        }
        VerifierChallenge(hash.finalize().into())
    }
}

/// What a relying party keeps, to know a token again: a hash of its nonce. It is the same for every token with that nonce, so asking the
/// issuer twice with one nonce gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub [u8; DIGEST_LEN]);

impl TokenId {
    fn of(token: &Token) -> Self {
        TokenId(Sha256::new().chain_update(ID_DOMAIN).chain_update(token.nonce()).finalize().into())
    }
}

/// A token with the signature of its holder's key over a verifier's challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Showing {
    token: Token,
    holder: HolderKey,
    signature: [u8; SIGNATURE_LEN],
}

impl Showing {
    /// Shows a token.
    ///
    /// # Errors
    /// When the token does not belong to the key, or the key can't be used.
    pub fn new(token: &Token, holder: &dyn Signer, challenge: &VerifierChallenge) -> Result<Self, Error> {
        if *token.nonce() != nonce_of(holder.public_key()) {
            return Err(Error::OtherHolder);
        }
        let signature = holder.sign(&signed(token, challenge)).map_err(|_| Error::Unusable)?;
        Ok(Showing { token: token.clone(), holder: *holder.public_key(), signature })
    }

    /// Reads a showing.
    ///
    /// # Errors
    /// When its length, the token's type or the holder's point is another.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "showing of a token";
        let token = Token::from_bytes(take::<TOKEN_LEN>(&mut bytes, WHAT)?)?;
        let point: &[u8; POINT_LEN] = take(&mut bytes, WHAT)?;
        let signature = *take(&mut bytes, WHAT)?;
        end(bytes, WHAT)?;
        let holder = HolderKey::from_point(point).map_err(|_| Error::Malformed(WHAT))?;
        Ok(Showing { token, holder, signature })
    }

    /// The showing as it travels.
    pub fn to_bytes(&self) -> [u8; SHOWING_LEN] {
        let mut bytes = [0; SHOWING_LEN];
        bytes[..TOKEN_LEN].copy_from_slice(&self.token.to_bytes());
        bytes[TOKEN_LEN..][..POINT_LEN].copy_from_slice(self.holder.as_point());
        bytes[TOKEN_LEN + POINT_LEN..].copy_from_slice(&self.signature);
        bytes
    }

    /// The token. Not verified.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl fmt::Debug for Showing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Showing")
    }
}

/// What the holder's key signs. All parts have one length each.
fn signed(token: &Token, challenge: &VerifierChallenge) -> Vec<u8> {
    [SHOWING_DOMAIN, &token.digest(), &challenge.0].concat()
}

/// Verifies a showing: the token is of this issuer key and for this challenge ([`TokenChallenge::digest`]), and its holder answers this
/// verifier. Gives what to keep and to look up: a token that is in the list was shown before.
///
/// [`TokenChallenge::digest`]: crate::challenge::TokenChallenge::digest
///
/// # Errors
/// When any of that does not hold; each has its own error.
pub fn verify_showing(
    showing: &Showing,
    issuer: &PublicKey,
    challenge_digest: &[u8; DIGEST_LEN],
    challenge: &VerifierChallenge,
) -> Result<TokenId, Error> {
    let token = &showing.token;
    if *token.nonce() != nonce_of(&showing.holder) {
        return Err(Error::OtherHolder);
    }
    token.verify(issuer, challenge_digest)?;
    if !showing.holder.verify(&signed(token, challenge), &showing.signature) {
        return Err(Error::HolderSignature);
    }
    Ok(TokenId::of(token))
}
