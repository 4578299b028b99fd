//! Anybody's check of a log, over any source of its files: all of it ([`verify_log`]), or one entry ([`prove_inclusion`]).

use std::collections::BTreeMap;

use crate::Hash;
use crate::checkpoint::Checkpoint;
use crate::cosignature::Policy;
use crate::entry::Entry;
use crate::merkle::{
    Frontier, Subtree, consistency_path, inclusion_path, leaf_hash, node_hash, subtrees, verify_consistency,
    verify_inclusion,
};
use crate::note::NoteError;
use crate::rules::{Breach, Rules};
use crate::tile::{self, TILE_HEIGHT, TILE_WIDTH, TileId};

/// A file of the log could not be got.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} can't be read from the log: {reason}")]
pub struct SourceError {
    /// The file's path below the log's address.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Where the log's files come from: a web server, a folder.
pub trait TileSource {
    /// The file at `path` below the log's address.
    fn get(&self, path: &str) -> Result<Vec<u8>, SourceError>;
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// A file is missing.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The checkpoint is not signed as it should be.
    #[error("the checkpoint is not acceptable: {0}")]
    Checkpoint(#[from] NoteError),
    /// A tile is not what its path and the checkpoint say.
    #[error("{path} is not what the checkpoint says")]
    BadTile {
        /// The tile.
        path: String,
    },
    /// The entries don't give the signed root.
    #[error("the entries don't give the signed root: an entry was changed")]
    WrongRoot,
    /// The log forgot something.
    #[error("the log has {now} entries, and had {before}: it was cut")]
    Shrunk {
        /// Entries before.
        before: u64,
        /// Entries now.
        now: u64,
    },
    /// The log rewrote something.
    #[error("the first {before} entries are not those that were there before: the log was rewritten")]
    Rewritten {
        /// Entries before.
        before: u64,
    },
    /// There is no such entry.
    #[error("the log has no entry {index}")]
    NoEntry {
        /// The index.
        index: u64,
    },
    /// An operator who tags people makes more keys, keysets or lists than one.
    #[error("{0}")]
    Marks(Breach),
}

/// A log that was checked as a whole.
#[derive(Debug)]
pub struct VerifiedLog {
    /// The checkpoint it was checked against.
    pub checkpoint: Checkpoint,
    /// The checkpoint as it was signed, to be kept for the next time.
    pub note: String,
    /// All entries, as bytes.
    pub entries: Vec<Vec<u8>>,
}

/// Checks a whole log: the signatures, every entry against every tile, the root, and that it continues `previous`; and that each
/// unit and expiry has one keyset, each predicate and month one key, each list of trusted entities a number of its own.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_log(
    source: &dyn TileSource,
    policy: &Policy,
    previous: Option<&Checkpoint>,
) -> Result<VerifiedLog, LogError> {
    let (note, checkpoint) = fetch_checkpoint(source, policy)?;
    let before = previous.map_or(0, |previous| previous.size);
    if checkpoint.size < before {
        return Err(LogError::Shrunk { before, now: checkpoint.size });
    }
    let mut entries = Vec::new();
    let mut frontier = Frontier::default();
    let mut row: Vec<Hash> = Vec::new();
    for bundle in fetch_bundles(source, 0, checkpoint.size) {
        for entry in bundle? {
            let leaf = leaf_hash(&entry);
            row.push(leaf);
            frontier.push(leaf);
            entries.push(entry);
            if let Some(previous) = previous
                && frontier.size() == before
                && frontier.root() != previous.root
            {
                return Err(LogError::Rewritten { before });
            }
        }
    }
    // Every published tile, not the root alone: a proof made from a wrong tile would fail later, at somebody else's.
    for level in 0..tile::levels(checkpoint.size) {
        let mut above = Vec::new();
        for (tile, expected) in tile::tiles_of_level(level, checkpoint.size).zip(row.chunks(TILE_WIDTH as usize)) {
            if fetch_hashes(source, tile)? != expected {
                return Err(LogError::BadTile { path: tile.path() });
            }
            if tile.width == TILE_WIDTH {
                above.push(tile::fold(expected));
            }
        }
        row = above;
    }
    if frontier.root() != checkpoint.root {
        return Err(LogError::WrongRoot);
    }
    marks_nobody(&entries)?;
    Ok(VerifiedLog { checkpoint, note, entries })
}

/// That nothing in the log may mark people ([`crate::rules`]).
fn marks_nobody(entries: &[Vec<u8>]) -> Result<(), LogError> {
    let mut rules = Rules::default();
    for (index, bytes) in (0u64..).zip(entries) {
        let breach = Entry::parse(bytes).ok().and_then(|entry| rules.take(index, &entry));
        if let Some(breach) = breach.filter(|breach| breach.rule.may_mark_people()) {
            return Err(LogError::Marks(breach));
        }
    }
    Ok(())
}

/// Fetches the checkpoint, as signed and as read.
///
/// # Errors
/// When it can't be got, is not signed by the log, or not cosigned by a quorum.
pub fn fetch_checkpoint(source: &dyn TileSource, policy: &Policy) -> Result<(String, Checkpoint), LogError> {
    let bytes = source.get("checkpoint")?;
    let note = String::from_utf8(bytes).map_err(|_| NoteError::Malformed)?;
    let checkpoint = policy.open(&note)?;
    Ok((note, checkpoint))
}

/// The entries from `start` to the end of a log of `size` entries, bundle by bundle.
pub fn fetch_bundles<'a>(
    source: &'a dyn TileSource,
    start: u64,
    size: u64,
) -> impl Iterator<Item = Result<Vec<Vec<u8>>, LogError>> + 'a {
    let first = start / TILE_WIDTH;
    let bundles = tile::tiles_of_level(0, size).skip_while(move |tile| tile.index < first);
    bundles.take(if start < size { usize::MAX } else { 0 }).map(move |tile| {
        let mut entries = fetch_entries(source, TileId { level: None, ..tile })?;
        if tile.index == first {
            entries.drain(..entries.len().min((start % TILE_WIDTH) as usize));
        }
        Ok(entries)
    })
}

/// The entries of a bundle.
///
/// A partial bundle may be gone once the full one is published (tlog-tiles): then its entries are the first of that.
fn fetch_entries(source: &dyn TileSource, id: TileId) -> Result<Vec<Vec<u8>>, LogError> {
    let (bytes, width) = fetch_or_full(source, id)?;
    let entries = tile::parse_entries(&bytes, width).ok_or_else(|| LogError::BadTile { path: id.path() })?;
    Ok(entries.into_iter().take(id.width as usize).map(<[u8]>::to_vec).collect())
}

/// The hashes of a tile, with the same fallback.
fn fetch_hashes(source: &dyn TileSource, id: TileId) -> Result<Vec<Hash>, LogError> {
    let (bytes, width) = fetch_or_full(source, id)?;
    let mut hashes = tile::parse_hashes(&bytes, width).ok_or_else(|| LogError::BadTile { path: id.path() })?;
    hashes.truncate(id.width as usize);
    Ok(hashes)
}

/// A file, or the full one that replaced it; with the width of what was got.
fn fetch_or_full(source: &dyn TileSource, id: TileId) -> Result<(Vec<u8>, u64), LogError> {
    match source.get(&id.path()) {
        Ok(bytes) => Ok((bytes, id.width)),
        Err(missing) if id.width < TILE_WIDTH => {
            let full = TileId { width: TILE_WIDTH, ..id };
            source.get(&full.path()).map(|bytes| (bytes, TILE_WIDTH)).map_err(|_| missing.into())
        }
        Err(missing) => Err(missing.into()),
    }
}

/// One entry, with the proof that a checkpoint's tree holds it.
#[derive(Debug)]
pub struct ProvenEntry {
    /// Its place.
    pub index: u64,
    /// Its bytes.
    pub entry: Vec<u8>,
    /// Inclusion proof, lowest first (RFC 6962).
    pub proof: Vec<Hash>,
}

/// Fetches the entry at `index` and proves that the tree of `checkpoint` holds it, from the few tiles that takes.
///
/// # Errors
/// When there is no such entry, a tile is missing or wrong, or the proof does not hold.
pub fn prove_inclusion(source: &dyn TileSource, checkpoint: &Checkpoint, index: u64) -> Result<ProvenEntry, LogError> {
    if index >= checkpoint.size {
        return Err(LogError::NoEntry { index });
    }
    let size = checkpoint.size;
    let tile_index = index / TILE_WIDTH;
    let bundle = TileId { level: None, index: tile_index, width: tile::width_at(0, tile_index, size) };
    let entry = fetch_entries(source, bundle)?.swap_remove((index % TILE_WIDTH) as usize);
    let mut tiles = TileCache { source, size, fetched: BTreeMap::new() };
    let mut proof = Vec::new();
    for (start, end) in inclusion_path(index, size) {
        proof.push(tiles.range_hash(start, end)?);
    }
    if !verify_inclusion(&leaf_hash(&entry), index, size, &proof, &checkpoint.root) {
        return Err(LogError::WrongRoot);
    }
    Ok(ProvenEntry { index, entry, proof })
}

/// Proves that `newer` continues `older`, from the tiles of the newer tree.
///
/// # Errors
/// When the log was cut or rewritten, or a tile is missing or wrong.
pub fn prove_consistency(source: &dyn TileSource, older: &Checkpoint, newer: &Checkpoint) -> Result<(), LogError> {
    if newer.size < older.size {
        return Err(LogError::Shrunk { before: older.size, now: newer.size });
    }
    let proof = consistency_proof(source, older.size, newer.size)?;
    if verify_consistency(older.size, &older.root, newer.size, &newer.root, &proof) {
        return Ok(());
    }
    Err(LogError::Rewritten { before: older.size })
}

/// The proof that the tree of `new` entries begins with that of `old` (RFC 6962 section 2.1.2), from the tiles of the larger.
///
/// # Errors
/// When a tile is missing or malformed.
pub fn consistency_proof(source: &dyn TileSource, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
    let mut tiles = TileCache { source, size: new, fetched: BTreeMap::new() };
    consistency_path(old, new).into_iter().map(|(start, end)| tiles.range_hash(start, end)).collect()
}

/// The root of the first `old` entries, from the tiles of the tree of `new` entries.
///
/// # Errors
/// When a tile is missing or malformed.
pub fn root_at(source: &dyn TileSource, old: u64, new: u64) -> Result<Hash, LogError> {
    let mut tiles = TileCache { source, size: new, fetched: BTreeMap::new() };
    let parts = tiles.hashes(&subtrees(0, old))?;
    Ok(Frontier::from_parts(old, parts).expect("one subtree a set bit").root())
}

/// Tiles of one tree, each fetched once.
struct TileCache<'a> {
    source: &'a dyn TileSource,
    size: u64,
    fetched: BTreeMap<TileId, Vec<Hash>>,
}

impl TileCache<'_> {
    fn tile(&mut self, level: u32, index: u64) -> Result<&[Hash], LogError> {
        let id = TileId { level: Some(level), index, width: tile::width_at(level, index, self.size) };
        if !self.fetched.contains_key(&id) {
            let hashes = fetch_hashes(self.source, id)?;
            self.fetched.insert(id, hashes);
        }
        Ok(&self.fetched[&id])
    }

    /// The hash of a complete subtree, from the tile that holds its level or folds to it.
    fn subtree(&mut self, part: Subtree) -> Result<Hash, LogError> {
        let level = part.level / TILE_HEIGHT;
        let within = part.level % TILE_HEIGHT;
        let first = part.index << within;
        let hashes = self.tile(level, first / TILE_WIDTH)?;
        let start = (first % TILE_WIDTH) as usize;
        let range = hashes.get(start..start + (1 << within));
        range.map(tile::fold).ok_or(LogError::WrongRoot)
    }

    fn hashes(&mut self, parts: &[Subtree]) -> Result<Vec<Hash>, LogError> {
        parts.iter().map(|part| self.subtree(*part)).collect()
    }

    /// The hash of a range as RFC 6962 nests it.
    fn range_hash(&mut self, start: u64, end: u64) -> Result<Hash, LogError> {
        let mut hashes = self.hashes(&subtrees(start, end))?.into_iter().rev();
        let last = hashes.next().ok_or(LogError::WrongRoot)?;
        Ok(hashes.fold(last, |right, left| node_hash(&left, &right)))
    }
}
