//! The public log as this wallet sees it: checkpoints that only grow, and the entries about its holder.

use tlog::checkpoint::Checkpoint;
use tlog::client::{
    LogError, SourceError, TileSource, fetch_checkpoint, prove_consistency, prove_inclusion, verify_log,
};
use tlog::entry::Entry;
use tlog::note::Verifier;
use tlog::tag::TagKey;

use crate::http;
use crate::{Wallet, WalletError};

/// A log's files at an address. Each is fetched on a connection of its own.
pub struct HttpTiles {
    base: String,
}

impl HttpTiles {
    /// The log at `base`.
    pub fn new(base: &str) -> Self {
        HttpTiles { base: base.trim_end_matches('/').to_owned() }
    }
}

impl TileSource for HttpTiles {
    fn get(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        http::get_bytes(&format!("{}/{path}", self.base))
            .map_err(|error| SourceError { path: path.to_owned(), reason: error.to_string() })
    }
}

/// An opening of the holder's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where it stands in the log.
    pub index: u64,
    /// Why, from the published list.
    pub purpose: String,
    /// The role of who opened it.
    pub role: String,
    /// What was read.
    pub fields: Vec<String>,
    /// Unix time, to the hour.
    pub at: u64,
}

impl From<LogError> for WalletError {
    fn from(error: LogError) -> Self {
        WalletError::Log { detail: error.to_string() }
    }
}

impl Wallet {
    /// The entry at an index, proven against a checkpoint that continues the last one this wallet saw. `None` when the log has no such
    /// entry, or one of a kind that is not known here.
    pub(crate) fn logged_entry(&mut self, source: &HttpTiles, index: u64) -> Result<Option<Entry>, WalletError> {
        let verifier = self.log_verifier()?;
        let (note, checkpoint) = fetch_checkpoint(source, &verifier)?;
        if let Some(previous) = self.last_checkpoint(&verifier)? {
            prove_consistency(source, &previous, &checkpoint)?;
        }
        let proven = match prove_inclusion(source, &checkpoint, index) {
            Err(LogError::NoEntry { .. }) => None,
            proven => Some(proven?),
        };
        self.state.checkpoint = Some(note);
        Ok(proven.and_then(|proven| Entry::parse(&proven.entry).ok()))
    }

    /// Who opened my record: the whole log is fetched, so that nobody learns which entries are mine, and checked.
    ///
    /// # Errors
    /// When the wallet has no tag key, or the log is not whole.
    pub fn openings(&mut self) -> Result<Vec<Opening>, WalletError> {
        let key = self.state.tag_key.as_ref().ok_or(WalletError::NoHolder { missing: "key to the log's entries" })?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(key, &mut bytes)
            .map_err(|_| WalletError::NoHolder { missing: "key to the log's entries" })?;
        let key = TagKey::new(bytes);
        let verifier = self.log_verifier()?;
        let previous = self.last_checkpoint(&verifier)?;
        let log = verify_log(&HttpTiles::new(&self.state.services.log), &verifier, previous.as_ref())?;
        self.state.checkpoint = Some(log.note);
        self.save()?;
        let mine = (0u64..).zip(&log.entries).filter_map(|(index, bytes)| match Entry::parse(bytes) {
            Ok(Entry::RecordOpened { tag, purpose, role, fields, at, .. }) if key.recognises(&purpose, &tag) => {
                Some(Opening { index, purpose, role, fields, at })
            }
            _ => None,
        });
        Ok(mine.collect())
    }

    fn log_verifier(&self) -> Result<Verifier, WalletError> {
        Verifier::parse(&self.state.services.log_vkey).map_err(|error| WalletError::Log { detail: error.to_string() })
    }

    fn last_checkpoint(&self, verifier: &Verifier) -> Result<Option<Checkpoint>, WalletError> {
        let open = |note: &String| Checkpoint::open(note, verifier);
        self.state
            .checkpoint
            .as_ref()
            .map(open)
            .transpose()
            .map_err(|error| WalletError::Log { detail: error.to_string() })
    }
}
