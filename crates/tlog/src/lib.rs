//! Transparency logs as C2SP defines them (tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature, tlog-witness), and the typed entries of ours.
//!
//! In scope: tree hashes and proofs, tiles and their paths, signed notes, checkpoints and witnesses' cosignatures, entries, the tags by which a person
//! finds the entries about them, and the verification of a log over any source of its files.
//! Out of scope: HTTP, files, keys on disk, sequencing (the crate `transparency`).
//!
//! In the order in which an entry passes: [`entry`] and [`tag`] (what is said) → [`merkle`] (the tree) → [`tile`] (the files) →
//! [`checkpoint`] in a [`note`] (the operator's word for it) → [`witness`] and [`cosignature`] (others' word that it is the only one) →
//! [`client`] (anybody's check of it) with [`rules`] (what has to hold between entries) → [`evidence`] (what convicts whoever breaks them).

pub mod checkpoint;
pub mod client;
pub mod cosignature;
pub mod entry;
pub mod evidence;
pub mod merkle;
pub mod note;
pub mod rules;
pub mod tag;
pub mod tile;
pub mod witness;

/// A SHA-256 hash: of an entry, a subtree or the whole tree.
pub type Hash = [u8; 32];
