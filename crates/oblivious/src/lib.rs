//! Oblivious HTTP (RFC 9458): a request that a relay carries without reading it, to a gateway that does not see who sent it.
//!
//! In scope: the messages inside (RFC 9292), their padding, their protection, the gateway's key configuration. Out of scope: HTTP, the
//! relay, and which targets a gateway serves. HPKE and the encodings are the crates `ohttp` and `bhttp`, which draw their own randomness;
//! here is what they leave open: sizes, strict reading, and keys that are what they say.
//!
//! In the order in which a request passes: [`message`] (as bytes, padded) → [`client`] (sealed for a gateway's key) → [`gateway`] (opened,
//! and the answer sealed).

pub mod client;
pub mod gateway;
pub mod message;

pub use client::{KeyConfiguration, Waiting};
pub use gateway::{GatewayKey, Opened, Reply};
pub use message::{Request, Response};

/// The media type of a sealed request (RFC 9458 section 9.2).
pub const REQUEST_TYPE: &str = "message/ohttp-req";
/// The media type of a sealed answer (section 9.3).
pub const RESPONSE_TYPE: &str = "message/ohttp-res";
/// The media type of key configurations (section 9.1).
pub const KEYS_TYPE: &str = "application/ohttp-keys";
/// The problem type by which a gateway says that it does not know a request's key (section 5.3).
pub const KEY_PROBLEM: &str = "https://iana.org/assignments/http-problem-types#ohttp-key";

/// The path of a gateway's key configuration, below its address and below a relay's.
pub const KEYS_PATH: &str = "/ohttp-keys";
/// The path of the gateway resource.
pub const GATEWAY_PATH: &str = "/ohttp";

/// The longest sealed request that is carried: what a mint reads (1 MiB), with what is around it.
pub const REQUEST_MAX_LEN: usize = 1024 * 1024 + 64 * 1024;
/// The longest answer inside: what a wallet reads, a full tile of the log and more.
pub const ANSWER_BODY_MAX_LEN: usize = 4 * 1024 * 1024;
/// The longest sealed answer: that, with what is around it.
pub const ANSWER_MAX_LEN: usize = ANSWER_BODY_MAX_LEN + 64 * 1024;
/// The longest list of key configurations that is read: ours takes 47 bytes.
pub const KEYS_MAX_LEN: usize = 4 * 1024;

/// Why something is not Oblivious HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What is sealed is no binary HTTP message, or not one that is spoken here.
    #[error("this is no binary HTTP message (RFC 9292)")]
    Message,
    /// Too short or too long to be sealed for anybody.
    #[error("this is no encapsulated message (RFC 9458)")]
    Capsule,
    /// Sealed for another key or with an algorithm that is not offered; or changed on its way, which looks the same.
    #[error("this was not made for this key")]
    Key,
    /// No key configuration, or none that can be used here.
    #[error("this is no key configuration that can be used (RFC 9458 section 3)")]
    Configuration,
}
