//! The log's files (C2SP tlog-tiles) and how they are made durable.
//!
//! Order is all: bundles and tiles are written and synced first, then the checkpoint that speaks of them, in one rename. A crash
//! before the rename leaves files that no checkpoint covers; they are written again, with other contents, by the next batch.
//!
//! This checkpoint is the log's own. What readers get is a copy of it, published at once ([`publish`]) or, where witnesses are needed,
//! when enough of them have cosigned ([`crate::cosigning`]).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use storage::keys::read_or_make;
use tlog::checkpoint::Checkpoint;
use tlog::client::{SourceError, TileSource};
use tlog::merkle::{Frontier, leaf_hash};
use tlog::note::{Signer, Verifier};
use tlog::tile::{self, TILE_WIDTH, TileId};
use tlog::{Hash, client};

use crate::LogFailure;

/// The name of a checkpoint's file: the log's own in its folder, and the one for readers in the public one.
const CHECKPOINT: &str = "checkpoint";

/// The files and the edge of the tree. Owned by the sequencer alone.
pub struct Store {
    folder: PathBuf,
    signer: Signer,
    frontier: Frontier,
    /// For each level of tiles, the hashes of its last, partial tile.
    edge: Vec<Vec<Hash>>,
    /// The entries of the last, partial bundle.
    bundle: Vec<Vec<u8>>,
}

/// The public files of a folder, as anybody reads them.
pub struct PublicFiles(pub PathBuf);

impl TileSource for PublicFiles {
    fn get(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        fs::read(self.0.join(path))
            .map_err(|error| SourceError { path: path.to_owned(), reason: error.kind().to_string() })
    }
}

/// Where the public files of a log's folder lie.
pub fn public_folder(folder: &Path) -> PathBuf {
    folder.join("public")
}

impl Store {
    /// Opens the log in `folder`, or makes one with a fresh key.
    ///
    /// # Errors
    /// When files can't be used, or the tiles don't give the root of the checkpoint.
    pub fn open(folder: &Path, origin: &str) -> Result<Self, LogFailure> {
        let failed = |source| LogFailure::Files { folder: folder.to_owned(), source };
        fs::create_dir_all(public_folder(folder)).map_err(failed)?;
        let seed = read_or_make(&folder.join("log.key")).map_err(failed)?;
        let signer = Signer::new(origin, &seed)
            .ok_or_else(|| LogFailure::Damaged("the log's name has spaces or a plus sign".into()))?;
        let mut store = Store {
            folder: folder.to_owned(),
            signer,
            frontier: Frontier::default(),
            edge: Vec::new(),
            bundle: Vec::new(),
        };
        if folder.join(CHECKPOINT).exists() {
            store.load()?;
        } else if public_folder(folder).join(CHECKPOINT).exists() {
            // A log from before witnesses: what it published was its own.
            replace(folder, &fs::read(public_folder(folder).join(CHECKPOINT)).map_err(failed)?).map_err(failed)?;
            store.load()?;
        } else {
            store.write_checkpoint().map_err(failed)?;
        }
        Ok(store)
    }

    /// The key that verifies.
    pub fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }

    fn load(&mut self) -> Result<(), LogFailure> {
        let files = PublicFiles(public_folder(&self.folder));
        let damaged = |error: client::LogError| LogFailure::Damaged(error.to_string());
        let own =
            own_checkpoint(&self.folder).map_err(|source| LogFailure::Files { folder: self.folder.clone(), source })?;
        let checkpoint = Checkpoint::open(&own, &self.signer.verifier())
            .map_err(|error| damaged(client::LogError::Checkpoint(error)))?;
        let size = checkpoint.size;
        let bad = |path: String| LogFailure::Damaged(format!("{path} is missing or wrong"));
        let read = |id: &TileId| files.get(&id.path()).map_err(|_| bad(id.path()));
        for level in 0..tile::levels(size) {
            let last = tile::tiles_of_level(level, size).last().filter(|tile| tile.width < TILE_WIDTH);
            let hashes = match last {
                Some(id) => tile::parse_hashes(&read(&id)?, id.width).ok_or_else(|| bad(id.path()))?,
                None => Vec::new(),
            };
            self.edge.push(hashes);
        }
        let partial = TileId { level: None, index: size / TILE_WIDTH, width: size % TILE_WIDTH };
        if partial.width > 0 {
            let bytes = read(&partial)?;
            let entries = tile::parse_entries(&bytes, partial.width).ok_or_else(|| bad(partial.path()))?;
            self.bundle = entries.into_iter().map(<[u8]>::to_vec).collect();
        }
        // Roots of the complete subtrees, largest first: within each level's partial tile, by its bits.
        let mut roots = Vec::new();
        for hashes in self.edge.iter().rev() {
            let mut start = 0;
            for bit in (0..tile::TILE_HEIGHT).rev().filter(|bit| hashes.len() >> bit & 1 == 1) {
                roots.push(tile::fold(&hashes[start..start + (1 << bit)]));
                start += 1 << bit;
            }
        }
        self.frontier = Frontier::from_parts(size, roots).ok_or_else(|| bad("tile".into()))?;
        if self.frontier.root() != checkpoint.root {
            return Err(LogFailure::Damaged("the tiles don't give the root of the checkpoint".into()));
        }
        Ok(())
    }

    /// Appends entries and makes them durable. Gives the index of the first.
    ///
    /// # Errors
    /// When a file can't be written. The old checkpoint stands, and the store must be opened again.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> io::Result<u64> {
        let first = self.frontier.size();
        let mut written = Vec::new();
        for entry in entries {
            self.frontier.push(leaf_hash(entry));
            self.bundle.push(entry.clone());
            if self.bundle.len() as u64 == TILE_WIDTH {
                self.write_bundle(&mut written)?;
                self.bundle.clear();
            }
            self.push_hash(0, leaf_hash(entry), &mut written)?;
        }
        if !self.bundle.is_empty() {
            self.write_bundle(&mut written)?;
        }
        // Only tiles that grew: one that a checkpoint covers is being read, and must never be written again.
        for level in 0..self.edge.len() {
            let height = tile::TILE_HEIGHT * level as u32;
            if !self.edge[level].is_empty() && self.frontier.size() >> height != first >> height {
                self.write_tile(level, &mut written)?;
            }
        }
        for folder in folders_of(&written) {
            File::open(folder)?.sync_all()?;
        }
        self.write_checkpoint()?;
        self.remove_superseded(first);
        Ok(first)
    }

    fn push_hash(&mut self, level: usize, hash: Hash, written: &mut Vec<PathBuf>) -> io::Result<()> {
        if self.edge.len() == level {
            self.edge.push(Vec::new());
        }
        self.edge[level].push(hash);
        if self.edge[level].len() as u64 == TILE_WIDTH {
            self.write_tile(level, written)?;
            let folded = tile::fold(&std::mem::take(&mut self.edge[level]));
            self.push_hash(level + 1, folded, written)?;
        }
        Ok(())
    }

    fn write_tile(&self, level: usize, written: &mut Vec<PathBuf>) -> io::Result<()> {
        let hashes = &self.edge[level];
        let position = self.position(level as u32, hashes.len() as u64);
        let id = TileId { level: Some(level as u32), index: position, width: hashes.len() as u64 };
        self.write_file(&id, &hashes.concat(), written)
    }

    fn write_bundle(&self, written: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for entry in &self.bundle {
            tile::push_entry(&mut bytes, entry);
        }
        let width = self.bundle.len() as u64;
        let index = (self.frontier.size() - 1) / TILE_WIDTH;
        self.write_file(&TileId { level: None, index, width }, &bytes, written)
    }

    /// The number of the level's last tile.
    fn position(&self, level: u32, width: u64) -> u64 {
        let hashes = self.frontier.size() >> (tile::TILE_HEIGHT * level);
        (hashes - width) / TILE_WIDTH
    }

    fn write_file(&self, id: &TileId, bytes: &[u8], written: &mut Vec<PathBuf>) -> io::Result<()> {
        let path = public_folder(&self.folder).join(id.path());
        fs::create_dir_all(path.parent().expect("a tile lies in a folder"))?;
        let mut file = File::create(&path)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        written.push(path);
        Ok(())
    }

    fn write_checkpoint(&self) -> io::Result<()> {
        let verifier = self.signer.verifier();
        let checkpoint =
            Checkpoint { origin: verifier.name().to_owned(), size: self.frontier.size(), root: self.frontier.root() };
        replace(&self.folder, checkpoint.sign(&self.signer).as_bytes())
    }

    /// Deletes the partial files of tiles and bundles that are full now: tlog-tiles allows it, since readers fall back to the full
    /// one. A failure costs room only.
    fn remove_superseded(&self, before: u64) {
        let after = self.frontier.size();
        let filled = |level: Option<u32>| {
            let height = tile::TILE_HEIGHT * level.unwrap_or(0);
            let index = (before >> height) / TILE_WIDTH;
            let is_full = (after >> height) / TILE_WIDTH > index;
            is_full.then_some(TileId { level, index, width: TILE_WIDTH })
        };
        for id in (0..tile::levels(before)).map(Some).chain([None]).filter_map(filled) {
            let _ = fs::remove_dir_all(public_folder(&self.folder).join(id.path() + ".p"));
        }
    }
}

/// The log's own checkpoint, as it is signed.
///
/// # Errors
/// When the file can't be read.
pub fn own_checkpoint(folder: &Path) -> io::Result<String> {
    fs::read_to_string(folder.join(CHECKPOINT))
}

/// The checkpoint that readers get, with the cosignatures that it has. `None` when none was published yet.
///
/// # Errors
/// When the file can't be read.
pub fn published_checkpoint(folder: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(public_folder(folder).join(CHECKPOINT)) {
        Ok(note) => Ok(Some(note)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives readers a checkpoint. Not synced: after a crash it is published again, since the log's own one is durable.
///
/// # Errors
/// When the file can't be written.
pub fn publish(folder: &Path, note: &str) -> io::Result<()> {
    let folder = public_folder(folder);
    let next = folder.join("checkpoint.next");
    fs::write(&next, note)?;
    fs::rename(&next, folder.join(CHECKPOINT))
}

/// Replaces the log's own checkpoint, so that a crash keeps the old one or the new one, whole.
fn replace(folder: &Path, note: &[u8]) -> io::Result<()> {
    let next = folder.join("checkpoint.next");
    let mut file = File::create(&next)?;
    file.write_all(note)?;
    file.sync_data()?;
    fs::rename(&next, folder.join(CHECKPOINT))?;
    File::open(folder)?.sync_all()
}

/// The folders that hold these files.
fn folders_of(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
    folders.sort();
    folders.dedup();
    folders
}
