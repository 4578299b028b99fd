//! The credential service's guarantees, each with the break that it must notice. The wallet is a small one of our own in `world`, so
//! that it can also do what a wallet must not.

mod fixtures;
mod hygiene;
mod issuing;
mod refusals;
mod register;
mod restart;
mod statuses;
mod verifier;
mod world;
