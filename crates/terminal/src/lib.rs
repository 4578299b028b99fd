//! The till: how a merchant is paid.
//!
//! In scope: a payment request on the screen, the payment over HTTP, the exchange at once, the receipt, and redeeming into
//! the merchant's balance. Out of scope: the wallet's arithmetic ([`wallet`] does it: a till is a wallet that receives), and the card reader.
//!
//! In the order in which a payment passes: [`till`] (a charge and its request) → [`server`] (the payment arrives, is exchanged and
//! confirmed) → [`display`] (what people see).

pub mod display;
pub mod server;
pub mod till;

pub use till::{Charge, Till, TillError};
