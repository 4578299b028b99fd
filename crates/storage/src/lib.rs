//! How the services keep things on disk: key files, and SQLite databases in which a changed row is found.
//!
//! In scope: [`keys`] (files of 32 secret bytes) and [`sqlite`] (durability, migrations, a MAC in every row). Out of scope: what the
//! rows mean. The mint's and the log's own stores have other forms and take only the keys from here.

pub mod keys;
pub mod sqlite;
