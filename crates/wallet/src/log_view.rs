//! The public log as this wallet sees it: checkpoints that only grow, and the entries about its holder.

use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::client::{
    LogError, SourceError, TileSource, VerifiedLog, fetch_checkpoint, prove_consistency, prove_inclusion, verify_log,
};
use tlog::cosignature::Policy;
use tlog::entry::Entry;
use tlog::evidence::{Evidence, Proven};
use tlog::merkle::{inclusion_path, leaf_hash, root_of};
use tlog::note::NoteError;
use tlog::tag::TagKey;

use crate::http::Way;
use crate::relay::Relay;
use crate::state::Services;
use crate::{Wallet, WalletError};

/// A log's files at an address. Each is fetched on a connection of its own.
pub struct HttpTiles {
    base: String,
    relay: Option<Relay>,
}

impl HttpTiles {
    /// The log at `base`, asked directly: for readers who have nothing to hide.
    pub fn new(base: &str) -> Self {
        HttpTiles { base: base.trim_end_matches('/').to_owned(), relay: None }
    }

    /// The log of a wallet's services, by the way that they name.
    pub fn of(services: &Services) -> Self {
        HttpTiles { relay: services.relay.clone(), ..Self::new(&services.log) }
    }
}

impl TileSource for HttpTiles {
    fn get(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        Way::through(self.relay.as_ref())
            .get_bytes(&format!("{}/{path}", self.base))
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

impl From<NoteError> for WalletError {
    fn from(error: NoteError) -> Self {
        WalletError::Log { detail: error.to_string() }
    }
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
        let policy = self.log_policy()?;
        let (note, checkpoint) = fetch_checkpoint(source, &policy)?;
        if let Some(previous) = self.last_checkpoint(&policy)? {
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
        let key = self.tag_key()?;
        Ok(openings_of(&key, &self.read_log()?.entries))
    }

    /// The same with the entries' inclusion proofs, for somebody who believes neither the operator nor this wallet: the log's key is enough
    /// to check them. They are computed here, so the log does not learn either which entries are mine.
    ///
    /// # Errors
    /// As [`Wallet::openings`].
    pub fn proven_openings(&mut self) -> Result<(Vec<Opening>, Evidence), WalletError> {
        let key = self.tag_key()?;
        let log = self.read_log()?;
        let openings = openings_of(&key, &log.entries);
        let leaves: Vec<Hash> = log.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let hash = |(start, end): (u64, u64)| root_of(&leaves[start as usize..end as usize]);
        let prove = |opening: &Opening| Proven {
            index: opening.index,
            entry: String::from_utf8_lossy(&log.entries[opening.index as usize]).into_owned(),
            proof: inclusion_path(opening.index, log.checkpoint.size).into_iter().map(hash).collect(),
        };
        let (key, entries) = (self.log_policy()?.log().to_vkey(), openings.iter().map(prove).collect());
        Ok((openings, Evidence::Entries { log: key, checkpoint: log.note, entries }))
    }

    /// Fetches the whole log and checks it.
    fn read_log(&mut self) -> Result<VerifiedLog, WalletError> {
        let policy = self.log_policy()?;
        let previous = self.last_checkpoint(&policy)?;
        let log = verify_log(&HttpTiles::of(&self.state.services), &policy, previous.as_ref())?;
        self.state.checkpoint = Some(log.note.clone());
        self.save()?;
        Ok(log)
    }

    /// The key to the log's entries about the holder.
    fn tag_key(&self) -> Result<TagKey, WalletError> {
        let missing = || WalletError::NoHolder { missing: "key to the log's entries" };
        let mut bytes = [0; 32];
        let key = self.state.tag_key.as_ref().ok_or_else(missing)?;
        hex::decode_to_slice(key, &mut bytes).map_err(|_| missing())?;
        Ok(TagKey::new(bytes))
    }

    /// Whom this wallet believes about the log: what its offer names.
    fn log_policy(&self) -> Result<Policy, WalletError> {
        Ok(self.state.services.log_policy()?)
    }

    /// The last checkpoint that this wallet saw. It counted then, whatever is asked for now.
    fn last_checkpoint(&self, policy: &Policy) -> Result<Option<Checkpoint>, WalletError> {
        let open = |note: &String| Checkpoint::open(note, policy.log());
        Ok(self.state.checkpoint.as_ref().map(open).transpose()?)
    }
}

/// The openings that a key recognises.
fn openings_of(key: &TagKey, entries: &[Vec<u8>]) -> Vec<Opening> {
    let mine = (0u64..).zip(entries).filter_map(|(index, bytes)| match Entry::parse(bytes) {
        Ok(Entry::RecordOpened { tag, purpose, role, fields, at, .. }) if key.recognises(&purpose, &tag) => {
            Some(Opening { index, purpose, role, fields, at })
        }
        _ => None,
    });
    mine.collect()
}
