//! The public log as a service: appends entries durably and serves its files.
//!
//! In scope: the write path, the files, the HTTP routes; and those who watch it from outside, a witness and a monitor. Out of scope: what
//! an entry says and how a log is verified (the crate `tlog`), and who may append.
//!
//! In the order in which an entry passes: [`log`] (callers wait while a sequencer batches) → [`store`] (files made durable) →
//! [`cosigning`] (witnesses are asked, and readers get the checkpoint) → [`api`]. At other organisations: [`witness`], [`monitor`].

pub mod api;
pub mod cosigning;
pub mod log;
pub mod monitor;
pub mod store;
pub mod witness;

pub use log::Log;

/// Why the log can't do its part.
#[derive(Debug, thiserror::Error)]
pub enum LogFailure {
    /// The files can't be read or written: a full disk, wrong permissions.
    #[error("the log's files in {folder} can't be used: {source}")]
    Files {
        /// The log's folder.
        folder: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The files contradict one another.
    #[error("the log's files are damaged: {0}; restore them from a copy that any reader of the log has")]
    Damaged(String),
    /// Too many callers wait.
    #[error("the log is overloaded: try again in a moment")]
    Overloaded,
    /// The log was closed, or its sequencer stopped after a failed write.
    #[error("the log is closed")]
    Closed,
    /// The file that names the witnesses can't be read.
    #[error("the log's witnesses can't be read from {path}: {why}")]
    Witnesses {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An entry that no bundle holds.
    #[error("an entry is longer than 65,535 bytes: shorten its name or rule")]
    TooLong,
}
