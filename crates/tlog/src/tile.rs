//! Tiles and entry bundles (C2SP tlog-tiles): how a log lies in files.

use crate::Hash;
use crate::merkle::node_hash;

/// The width of a full tile: 256 hashes, which stand for 8 levels of the tree.
pub const TILE_WIDTH: u64 = 256;
/// Levels of the tree in one level of tiles.
pub const TILE_HEIGHT: u32 = 8;
/// The longest entry: its length is written in two bytes.
pub const ENTRY_MAX_LEN: usize = u16::MAX as usize;

/// A file of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// `None` for an entry bundle, else the tile's level.
    pub level: Option<u32>,
    /// Its number within the level.
    pub index: u64,
    /// How many hashes or entries it has, 1 to 256.
    pub width: u64,
}

impl TileId {
    /// The path below the log's prefix: `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        let level = self.level.map_or("entries".to_owned(), |level| level.to_string());
        let mut groups = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups = format!("x{:03}/{groups}", rest % 1000);
            rest /= 1000;
        }
        let partial = if self.width == TILE_WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{level}/{groups}{partial}")
    }
}

/// The tiles of one level in a tree of `size`, full ones first and a partial one last.
pub fn tiles_of_level(level: u32, size: u64) -> impl Iterator<Item = TileId> {
    let hashes = size >> (TILE_HEIGHT * level);
    let (full, rest) = (hashes / TILE_WIDTH, hashes % TILE_WIDTH);
    let tile = move |index, width| TileId { level: Some(level), index, width };
    (0..full).map(move |index| tile(index, TILE_WIDTH)).chain((rest > 0).then(|| tile(full, rest)))
}

/// The width of the tile that holds hash number `position` of a level, in a tree of `size`.
pub fn width_at(level: u32, tile: u64, size: u64) -> u64 {
    let hashes = size >> (TILE_HEIGHT * level);
    (hashes - (tile * TILE_WIDTH).min(hashes)).min(TILE_WIDTH)
}

/// How many levels of tiles a tree of `size` has.
pub fn levels(size: u64) -> u32 {
    (0..).find(|level| size >> (TILE_HEIGHT * level) == 0 || TILE_HEIGHT * level >= 56).expect("the range is endless")
}

/// The hash of a whole tile, which is one hash of the level above.
pub fn fold(hashes: &[Hash]) -> Hash {
    debug_assert!(hashes.len().is_power_of_two());
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// Reads the hashes of a tile. `None` unless there are exactly `width`.
pub fn parse_hashes(bytes: &[u8], width: u64) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() as u64 == width).then(|| hashes.to_vec())
}

/// Adds an entry to a bundle: two bytes of length, then the entry. `false`, and nothing added, when it is too long.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend(length.to_be_bytes());
    bundle.extend(entry);
    true
}

/// Reads the entries of a bundle. `None` unless there are exactly `width` and nothing after them.
pub fn parse_entries(mut bytes: &[u8], width: u64) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    (entries.len() as u64 == width).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |level, index, width| TileId { level, index, width }.path();
        assert_eq!(path(Some(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(Some(1), 273, 112), "tile/1/273.p/112");
        assert_eq!(path(None, 0, 1), "tile/entries/000.p/1");
    }

    #[test]
    fn bundles_are_read_strictly() {
        let mut bundle = Vec::new();
        assert!(push_entry(&mut bundle, b"one") && push_entry(&mut bundle, b""));
        assert_eq!(parse_entries(&bundle, 2), Some(vec![&b"one"[..], &b""[..]]));
        assert_eq!(parse_entries(&bundle, 3), None);
        assert_eq!(parse_entries(&bundle[..bundle.len() - 1], 2), None);
        assert!(!push_entry(&mut bundle, &vec![0; ENTRY_MAX_LEN + 1]));
    }

    #[test]
    fn a_level_is_full_tiles_and_a_partial_one() {
        let widths: Vec<u64> = tiles_of_level(0, 70_000).map(|tile| tile.width).collect();
        assert_eq!((widths.len(), widths[273]), (274, 112));
        assert_eq!(tiles_of_level(1, 70_000).map(|tile| tile.width).collect::<Vec<_>>(), [256, 17]);
        assert_eq!(tiles_of_level(2, 70_000).map(|tile| tile.width).collect::<Vec<_>>(), [1]);
        assert_eq!(levels(70_000), 3);
        assert_eq!((width_at(0, 273, 70_000), width_at(0, 274, 70_000), levels(0)), (112, 0, 0));
    }
}
