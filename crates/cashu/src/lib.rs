//! The Cashu protocol: what a mint, a wallet and a till say to one another, and the arithmetic behind it.
//!
//! In scope: the types of NUT-00 to 07, 09, 10 to 14, 17, 18, 20, 26, 28 and 29 as they stand in JSON, CBOR, bech32m and token strings,
//! the blind Diffie-Hellman key exchange, DLEQ proofs, keyset ids, deterministic secrets and blinded keys of locks.
//! Out of scope: HTTP, storage, clocks, randomness (a caller passes it in) and any decision of a mint or a wallet. Also NUT-27, a
//! wallet's list of mints kept at Nostr relays: it would tell the relays, at a name that stays the same, when a wallet is used and
//! from where. A wallet of ours learns its mint from the offer, so it has no list to lose.
//!
//! In the order in which a payment passes through them:
//! [`amount`] → [`keyset`] → [`secret`] (what a wallet blinds) → [`bdhke`] (blind, sign, unblind, verify; many at once with [`msm`]) →
//! [`dleq`] → [`conditions`] (what a locked token asks for) and [`p2bk`] (for whom) → [`messages`] and [`subscription`] (what travels)
//! → [`quote`] (who may mint) → [`token`] and [`payment_request`] (what people hand over) →
//! [`error`] (the protocol's own codes).

pub mod amount;
pub mod bdhke;
pub mod conditions;
mod creq_b;
pub mod dleq;
pub mod error;
pub mod keyset;
pub mod messages;
pub mod msm;
pub mod p2bk;
pub mod payment_request;
pub mod point;
pub mod quote;
pub mod secret;
pub mod subscription;
pub mod token;

pub use amount::{Amount, Unit};
pub use error::{DecodeError, ErrorCode};
pub use keyset::{Keyset, KeysetId};
pub use messages::{BlindSignature, BlindedMessage, Proof};
pub use point::Point;
