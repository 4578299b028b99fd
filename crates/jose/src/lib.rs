//! JOSE as far as credentials need it: JSON Web Keys of P-256 (RFC 7517, 7518), compact signatures with ES256 (RFC 7515), and compact
//! encryption with ECDH-ES and AES-GCM (RFC 7516, 7518). What OpenID4VC and SD-JWT are written in.
//!
//! In scope: the three serialisations, and what makes them safe to read: bounded size and depth, one way to write each byte, no
//! member twice, no algorithm but the one that is expected. Out of scope: what claims mean, times, whom a key belongs to.
//!
//! [`base64url`] and [`json`] (strict reading) → [`Jwk`] → [`Header`], [`sign`] and [`Jws`] → [`jwe`].

pub mod base64url;
mod error;
pub mod json;
pub mod jwe;
mod jwk;
mod jws;

pub use error::JoseError;
pub use jwk::Jwk;
pub use jws::{Header, Jws, TOKEN_MAX_LEN, sign, sign_bytes};
