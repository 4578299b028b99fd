//! Credentials as SD-JWT (RFC 9901) and SD-JWT VC (draft-ietf-oauth-sd-jwt-vc): claims that a holder shows one by one.
//!
//! In scope: issuing, choosing what to show, key binding, verifying, the metadata of a type. Only the compact serialisation, SHA-256
//! and ES256. Out of scope: whom a key or certificate belongs to (the caller's closure says), the status of a credential, fetching.
//!
//! [`ClaimPath`] (what is meant) → [`issue`] → [`SdJwt`] (the holder's side) → [`verify`]; beside them [`TypeMetadata`].

mod disclosure;
mod error;
mod holder;
mod issue;
mod metadata;
mod path;
mod verify;

pub use error::SdJwtError;
pub use holder::{KeyBinding, SdJwt};
pub use issue::{Issuing, issue};
pub use metadata::{ClaimDisplay, ClaimMetadata, Selective, TypeDisplay, TypeMetadata, integrity, integrity_holds};
pub use path::{ClaimPath, PathElement};
pub use verify::{ExpectedBinding, Validity, Verified, verify, verify_plain};

/// The longest text that is read: a signed part of at most [`jose::TOKEN_MAX_LEN`], as much again in disclosures.
pub const SD_JWT_MAX_LEN: usize = 128 * 1024;
/// Disclosures of one credential, decoys left out: a credential has some dozens.
pub const DISCLOSURES_MAX: usize = 512;
/// `typ` of a credential (draft-ietf-oauth-sd-jwt-vc section "JOSE Header").
pub const TYP: &str = "dc+sd-jwt";

const KEY_BINDING_TYP: &str = "kb+jwt";
/// The one hash that is taken, as `_sd_alg` names it (the IANA registry "Named Information Hash Algorithm").
const SHA_256: &str = "sha-256";

/// Digests of an object's members, a digest of an array's element, and the hash. None is a claim.
const SD: &str = "_sd";
const ELEMENT: &str = "...";
const SD_ALG: &str = "_sd_alg";

/// Claims that must not be disclosed selectively, nor anything within them (section "Registered JWT Claims" of the draft): what a
/// verifier judges by must not be left out by the holder.
const ALWAYS_VISIBLE: [&str; 8] = ["iss", "nbf", "exp", "cnf", "vct", "vct#integrity", "aka_vcts", "status"];

/// Letters of a digest: 32 bytes in base64url.
const DIGEST_LEN: usize = 43;

/// The digest of a text, as it is written.
fn digest(text: &[u8]) -> [u8; DIGEST_LEN] {
    use base64::Engine as _;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    let mut letters = [0; DIGEST_LEN];
    let written = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(hash.as_ref(), &mut letters);
    debug_assert_eq!(written, Ok(DIGEST_LEN));
    letters
}
