//! How the services keep things on disk: key files, and SQLite databases in which a changed row is found. And how they get at a key
//! that is on no disk.
//!
//! In scope: [`keys`] (files of 32 secret bytes), [`sqlite`] (durability, migrations, a MAC in every row), [`token`] (a PKCS#11 token,
//! which a [`token_uri`] names). Out of scope: what the rows mean, and what a token's keys are for. The mint's and the log's own
//! stores have other forms and take only the keys and tokens from here.

pub mod keys;
pub mod sqlite;
pub mod token;
pub mod token_uri;
