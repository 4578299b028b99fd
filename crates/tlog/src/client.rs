//! Anybody's check of a log, over any source of its files: all of it ([`verify_log`]), or one entry ([`prove_inclusion`]).

use std::collections::BTreeMap;

use crate::Hash;
use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::merkle::{Frontier, Subtree, inclusion_path, leaf_hash, node_hash, subtrees, verify_inclusion};
use crate::note::{NoteError, Verifier};
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
    /// An issuer that marks people makes more keys than one.
    #[error("entry {index} is a second key for {predicate} in {period}: somebody may be marked by it")]
    SecondPredicateKey {
        /// The entry.
        index: u64,
        /// The predicate.
        predicate: String,
        /// The month.
        period: String,
    },
    /// Somebody may be given another list of whom to trust than everybody else.
    #[error(
        "entry {index} is a second list of trusted entities with the number {sequence}: somebody may be marked by it"
    )]
    SecondTrustedList {
        /// The entry.
        index: u64,
        /// The list's number.
        sequence: u64,
    },
    /// An operator who tags makes more keysets than one.
    #[error("entry {index} is a second keyset for {unit} in one period: somebody may be marked by it")]
    SecondKeyset {
        /// The entry.
        index: u64,
        /// The unit.
        unit: String,
    },
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

/// Checks a whole log: the signature, every entry against every tile, the root, and that it continues `previous`; and that each
/// unit and expiry has one keyset, each predicate and month one key, each list of trusted entities a number of its own.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_log(
    source: &dyn TileSource,
    verifier: &Verifier,
    previous: Option<&Checkpoint>,
) -> Result<VerifiedLog, LogError> {
    let (note, checkpoint) = fetch_checkpoint(source, verifier)?;
    let before = previous.map_or(0, |previous| previous.size);
    if checkpoint.size < before {
        return Err(LogError::Shrunk { before, now: checkpoint.size });
    }
    let mut entries = Vec::new();
    let mut frontier = Frontier::default();
    let mut row: Vec<Hash> = Vec::new();
    let bundles = tile::tiles_of_level(0, checkpoint.size).map(|tile| TileId { level: None, ..tile });
    for bundle in bundles {
        for entry in fetch_entries(source, bundle)? {
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
    one_keyset_each(&entries)?;
    one_predicate_key_each(&entries)?;
    one_trusted_list_each(&entries)?;
    Ok(VerifiedLog { checkpoint, note, entries })
}

/// That each unit and expiry has one keyset. A keyset that is announced twice is the same one.
fn one_keyset_each(entries: &[Vec<u8>]) -> Result<(), LogError> {
    let mut seen: BTreeMap<(String, Option<u64>), String> = BTreeMap::new();
    for (index, bytes) in (0u64..).zip(entries) {
        if let Ok(Entry::Keyset { id, unit, final_expiry, .. }) = Entry::parse(bytes) {
            let first = seen.entry((unit.clone(), final_expiry)).or_insert_with(|| id.clone());
            if *first != id {
                return Err(LogError::SecondKeyset { index, unit });
            }
        }
    }
    Ok(())
}

/// That each predicate and month has one key. A key that is announced twice is the same one.
fn one_predicate_key_each(entries: &[Vec<u8>]) -> Result<(), LogError> {
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    for (index, bytes) in (0u64..).zip(entries) {
        if let Ok(Entry::PredicateKey { predicate, period, spki_sha256, .. }) = Entry::parse(bytes) {
            let first = seen.entry((predicate.clone(), period.clone())).or_insert_with(|| spki_sha256.clone());
            if *first != spki_sha256 {
                return Err(LogError::SecondPredicateKey { index, predicate, period });
            }
        }
    }
    Ok(())
}

/// That each number of a list of trusted entities is that of one list. One that is announced twice is the same.
fn one_trusted_list_each(entries: &[Vec<u8>]) -> Result<(), LogError> {
    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    for (index, bytes) in (0u64..).zip(entries) {
        if let Ok(Entry::TrustedList { sequence, sha256, .. }) = Entry::parse(bytes) {
            let first = seen.entry(sequence).or_insert_with(|| sha256.clone());
            if *first != sha256 {
                return Err(LogError::SecondTrustedList { index, sequence });
            }
        }
    }
    Ok(())
}

/// Fetches the checkpoint, as signed and as read.
///
/// # Errors
/// When it can't be got or is not signed by `verifier`.
pub fn fetch_checkpoint(source: &dyn TileSource, verifier: &Verifier) -> Result<(String, Checkpoint), LogError> {
    let bytes = source.get("checkpoint")?;
    let note = String::from_utf8(bytes).map_err(|_| NoteError::Malformed)?;
    let checkpoint = Checkpoint::open(&note, verifier)?;
    Ok((note, checkpoint))
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

/// Proves that `newer` continues `older`, from the tiles of the newer tree: the older root is computed from them again.
///
/// # Errors
/// When the log was cut or rewritten, or a tile is missing or wrong.
pub fn prove_consistency(source: &dyn TileSource, older: &Checkpoint, newer: &Checkpoint) -> Result<(), LogError> {
    if newer.size < older.size {
        return Err(LogError::Shrunk { before: older.size, now: newer.size });
    }
    let rewritten = LogError::Rewritten { before: older.size };
    if older.size == 0 {
        return Ok(());
    }
    if older.size == newer.size {
        return if older.root == newer.root { Ok(()) } else { Err(rewritten) };
    }
    let mut tiles = TileCache { source, size: newer.size, fetched: BTreeMap::new() };
    let old_parts = tiles.hashes(&subtrees(0, older.size))?;
    let old = Frontier::from_parts(older.size, old_parts).expect("one subtree a set bit");
    let new_parts = tiles.hashes(&subtrees(0, newer.size))?;
    let new = Frontier::from_parts(newer.size, new_parts).expect("one subtree a set bit");
    // Both roots come from the same tiles, and the tiles of the older part lie within subtrees of the newer root only
    // if each subtree of the old tree is proven in the new one.
    if old.root() != older.root {
        return Err(rewritten);
    }
    if new.root() != newer.root || !tiles.old_lies_in_new(older.size, newer)? {
        return Err(LogError::WrongRoot);
    }
    Ok(())
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

    /// That each complete subtree of the old tree is a part of the new one: its hash and the hashes beside it on the way up
    /// give the new root.
    fn old_lies_in_new(&mut self, old_size: u64, newer: &Checkpoint) -> Result<bool, LogError> {
        for part in subtrees(0, old_size) {
            let hash = self.subtree(part)?;
            // The way up from the first entry of the subtree, from where the subtree is a node of its own.
            let first = part.index << part.level;
            let inside = 1u64 << part.level;
            let mut node = hash;
            for (start, end) in inclusion_path(first, newer.size) {
                if start >= first && end <= first + inside {
                    continue;
                }
                let sibling = self.range_hash(start, end)?;
                node = if start > first { node_hash(&node, &sibling) } else { node_hash(&sibling, &node) };
            }
            if node != newer.root {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
