//! Transparency logs as C2SP defines them (tlog-tiles, tlog-checkpoint, signed-note), and the typed entries of ours.
//!
//! In scope: tree hashes and proofs, tiles and their paths, signed notes and checkpoints, entries, the tags by which a person
//! finds the entries about them, and the verification of a log over any source of its files.
//! Out of scope: HTTP, files, keys on disk, sequencing (the crate `transparency`), cosignatures of witnesses (a note may carry
//! them already; nothing here counts them yet).
//!
//! In the order in which an entry passes: [`entry`] and [`tag`] (what is said) → [`merkle`] (the tree) → [`tile`] (the files) →
//! [`checkpoint`] in a [`note`] (the operator's word for it) → [`client`] (anybody's check of it).

pub mod checkpoint;
pub mod client;
pub mod entry;
pub mod merkle;
pub mod note;
pub mod tag;
pub mod tile;

/// A SHA-256 hash: of an entry, a subtree or the whole tree.
pub type Hash = [u8; 32];
