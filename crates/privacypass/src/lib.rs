//! Anonymous predicates ("over 60, December 2026") as Privacy Pass tokens: RFC 9576, 9577 and 9578, the publicly verifiable type 2, which
//! is blind RSA of 2048 bits (RFC 9474, RSABSSA-SHA384-PSS-Deterministic).
//!
//! One issuer key stands for one predicate and one period. The issuer checks who may have a token when it signs, and signs without
//! seeing what; anybody verifies offline with the public key; nobody can tell whose a token is, the issuer included.
//!
//! In scope: the messages of issuing, the issuer's key and signature, the client's blinding, tokens bound to a fresh key of their
//! holder, and showing them. Out of scope: transport (the HTTP authentication scheme too), who is eligible, the list of spent
//! tokens, and the log that keys are found in.
//!
//! In the order in which a token lives: [`predicate`] names a key → [`challenge`], the same for everybody → [`keys`] and
//! [`directory`] → [`client`] blinds (`blinding`) → [`messages`] travel (several at once: [`batch`]) → [`issuer`] signs → [`showing`].
//!
//! ## Why nobody can tell whose a token is
//! The issuer sees `m · r^e mod n`, with a fresh `r`. Between every token of that key and every request that it ever saw there are equally
//! many `r` that lead from one to the other (one, if the key is honest), and all are equally likely: what it has seen fits every
//! token equally well, and more computing does not help. What is left are the circumstances, and they are kept equal: the
//! challenge is the same for everybody, the nonce comes from a key that is used once, and an issuer key that was given to few people
//! would show in the log.

pub mod batch;
pub mod challenge;
pub mod client;
pub mod directory;
pub mod issuer;
pub mod keys;
pub mod messages;
pub mod predicate;
pub mod showing;

mod blinding;
#[cfg(test)]
mod vectors;

/// The token type: blind RSA, 2048 bits (RFC 9578 section 8.2.1).
pub const TOKEN_TYPE: u16 = 2;
/// Bytes of the modulus, of a blinded message and of a signature: `Nk` of the token type.
pub const MODULUS_LEN: usize = 256;
/// Bytes of a nonce and of a SHA-256 digest.
pub const DIGEST_LEN: usize = 32;

/// Why something can't be read, made or accepted. Holds no token, key or person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the bytes that the standard asks for.
    #[error("this is no {0}: its length or its form is another")]
    Malformed(&'static str),
    /// Another token type.
    #[error("token type {0:#06x} is not spoken here: only 0x0002, blind RSA of 2048 bits")]
    TokenType(u16),
    /// Not an RSASSA-PSS key of 2048 bits with the parameters of RFC 9578 section 6.5.
    #[error("this is no key for tokens: it has to be RSASSA-PSS of 2048 bits, SHA-384, salt 48, exponent 65537")]
    Key,
    /// Made for, or with, another issuer key.
    #[error("this is for another issuer key: the period may be over")]
    OtherIssuerKey,
    /// The blinded message is no number that this key signs.
    #[error("the blinded message is not between 1 and the modulus less 1")]
    OutOfRange,
    /// The issuer's answer is no signature of what was blinded.
    #[error("the issuer's answer is no signature of this request: ask again, or distrust the issuer")]
    Response,
    /// There is no randomness, or a key does not answer.
    #[error("the key can't be used just now")]
    Unusable,
    /// A token for another challenge than the verifier's.
    #[error("this token was made for another challenge")]
    OtherChallenge,
    /// The token is not bound to the key that shows it.
    #[error("this token belongs to another key than the one that shows it")]
    OtherHolder,
    /// The holder's signature does not hold for this verifier's challenge.
    #[error("the holder's signature does not hold for this request: it was made for another, or with another key")]
    HolderSignature,
    /// The issuer's signature in the token does not hold.
    #[error("the issuer's signature does not hold: the token was changed, or is of another issuer")]
    TokenSignature,
}

/// Cuts bytes of a known length off the front.
fn take<'a, const N: usize>(bytes: &mut &'a [u8], what: &'static str) -> Result<&'a [u8; N], Error> {
    let (head, rest) = bytes.split_first_chunk().ok_or(Error::Malformed(what))?;
    *bytes = rest;
    Ok(head)
}

/// Cuts a token type off the front; any but ours is refused.
fn take_type(bytes: &mut &[u8], what: &'static str) -> Result<(), Error> {
    match u16::from_be_bytes(*take(bytes, what)?) {
        TOKEN_TYPE => Ok(()),
        other => Err(Error::TokenType(other)),
    }
}

/// Nothing may be left.
fn end(bytes: &[u8], what: &'static str) -> Result<(), Error> {
    if bytes.is_empty() { Ok(()) } else { Err(Error::Malformed(what)) }
}
