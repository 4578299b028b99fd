//! Notes, checkpoints, tiles, entries, and whole logs with files that somebody changed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use tlog::checkpoint::Checkpoint;
use tlog::client::{SourceError, TileSource, prove_consistency, prove_inclusion, verify_log};
use tlog::cosignature::{Cosigner, Policy, Witness};
use tlog::entry::Entry;
use tlog::evidence::Evidence;
use tlog::merkle::{leaf_hash, root_of, verify_inclusion};
use tlog::note::{Signer, Verifier};
use tlog::tag::TagKey;
use tlog::tile::{self, TileId};
use tlog::witness::AddCheckpoint;

/// Entries of the log: a full bundle and some.
const SIZE: u64 = 259;
/// What a reader saw before.
const OLDER: u64 = 7;
/// Edits of one input.
const EDITS_MAX: usize = 8;
/// Files that one check may ask a lying log for: past it the liar only wastes time, its own too.
const FETCHES_MAX: usize = 2_000;

fn signer() -> Signer {
    Signer::new("log.example", &[7; 32]).expect("a name")
}

fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| signer().verifier())
}

fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| verifier().clone().into())
}

fn entries() -> &'static [Vec<u8>] {
    static ENTRIES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    ENTRIES.get_or_init(|| (0..SIZE).map(|number| format!("entry {number}").into_bytes()).collect())
}

fn checkpoint(size: u64) -> Checkpoint {
    let leaves: Vec<_> = entries().iter().take(size as usize).map(|entry| leaf_hash(entry)).collect();
    Checkpoint { origin: "log.example".into(), size, root: root_of(&leaves) }
}

/// Signed notes: what is accepted was signed. And the keys that verify.
pub fn note(data: &[u8]) -> bool {
    static SIGNED: OnceLock<String> = OnceLock::new();
    let (verifier, signed) = (verifier(), SIGNED.get_or_init(note_text));
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut taken = false;
    if let Ok(key) = Verifier::parse(text) {
        assert_eq!(Verifier::parse(&key.to_vkey()), Ok(key), "what is written is read again");
        taken = true;
    }
    if let Ok(key) = Witness::parse(text) {
        assert_eq!(Witness::parse(&key.to_vkey()), Ok(key), "what is written is read again");
        taken = true;
    }
    if let Ok(request) = AddCheckpoint::parse(data) {
        assert_eq!(
            AddCheckpoint::parse(request.to_body().as_bytes()),
            Ok(request.clone()),
            "what is written is read again"
        );
        if let Ok(checkpoint) = request.check(verifier, None) {
            assert_eq!(checkpoint, *checkpoint_of(SIZE), "what was not signed is not cosigned");
        }
        taken = true;
    }
    if let Ok(evidence) = Evidence::from_json(data) {
        assert_eq!(Evidence::from_json(&evidence.to_json()), Ok(evidence.clone()), "what is written is read again");
        // One checkpoint was signed, and it is honest.
        assert!(evidence.check(verifier).is_err(), "an honest log is convicted");
        taken = true;
    }
    if let Ok(opened) = verifier.open(text) {
        assert_eq!(opened, signed, "what was not signed is not accepted");
        taken = true;
    }
    if let Ok(opened) = Checkpoint::open(text, verifier) {
        assert_eq!(opened, *checkpoint_of(SIZE), "what was not signed is not accepted");
    }
    taken
}

/// The text of the one note that the key here has signed.
fn note_text() -> String {
    let note = checkpoint(SIZE).sign(&signer());
    note.split_once("\n\n").map(|(text, _)| format!("{text}\n")).expect("a note")
}

/// The signed checkpoint, with another's signature beside it, and keys.
pub fn note_seeds() -> Vec<Vec<u8>> {
    let ours = checkpoint(SIZE).sign(&signer());
    let witness = Signer::new("witness.example", &[8; 32]).expect("a name");
    let beside = witness.sign(&note_text());
    let cosigned = format!("{ours}{}", beside.split_once("\n\n").map(|(_, lines)| lines).expect("a note"));
    let cosigner = Cosigner::new("witness.example", &[9; 32]).expect("a name");
    let request = AddCheckpoint { old_size: 0, proof: Vec::new(), note: ours.clone() }.to_body();
    let longer = AddCheckpoint { old_size: 7, proof: vec![[1; 32]; 3], note: ours.clone() }.to_body();
    let fork = Evidence::Fork { log: signer().verifier().to_vkey(), one: ours.clone(), other: ours.clone() };
    let entries = Evidence::Entries { log: String::new(), checkpoint: ours.clone(), entries: Vec::new() };
    [ours, cosigned, signer().verifier().to_vkey(), cosigner.witness().to_vkey(), request, longer]
        .map(String::into_bytes)
        .into_iter()
        .chain([fork.to_json(), entries.to_json()])
        .collect()
}

/// A width, then a bundle of entries or the hashes of a tile; or an entry.
pub fn tile(data: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(entry) = Entry::parse(data) {
        // Escapes may make it longer than a bundle takes.
        if let Some(bytes) = entry.to_bytes() {
            assert_eq!(Entry::parse(&bytes), Ok(entry), "what is written is read again");
        }
        taken = true;
    }
    let Some((width, bytes)) = data.split_first() else { return taken };
    if let Some(entries) = tile::parse_entries(bytes, u64::from(*width)) {
        let mut bundle = Vec::new();
        assert!(entries.iter().all(|entry| tile::push_entry(&mut bundle, entry)));
        assert_eq!((entries.len(), bundle.as_slice()), (usize::from(*width), bytes), "a bundle has one form");
        taken = true;
    }
    if let Some(hashes) = tile::parse_hashes(bytes, u64::from(*width)) {
        assert_eq!((hashes.len(), hashes.concat().as_slice()), (usize::from(*width), bytes), "a tile has one form");
        taken = true;
    }
    taken
}

/// Bundles, a tile, and one of each kind of entry.
pub fn tile_seeds() -> Vec<Vec<u8>> {
    let tag = TagKey::new([1; 32]).tag("issue-credential", [2; 16]);
    let text = String::from;
    let entries = [
        Entry::Keyset {
            id: text("01"),
            unit: text("usd"),
            input_fee_ppk: 0,
            final_expiry: Some(9),
            keys_sha256: text("ab"),
            at: 1,
        },
        Entry::Programme {
            id: text("p"),
            name: text("Pension"),
            unit: text("usd"),
            amount_minor: 5_000,
            period: text("2026-12"),
            rule: text("everyone"),
            at: 1,
        },
        Entry::RunPrepared {
            run: text("r"),
            programme: text("p"),
            hash: text("ab"),
            lines: 2,
            total_minor: 10_000,
            at: 1,
        },
        Entry::RunApproved { run: text("r"), hash: text("ab"), at: 1 },
        Entry::RecordOpened {
            tag,
            purpose: text("p"),
            role: text("r"),
            officers: vec![text("03")],
            fields: vec![text("birth_date")],
            at: 3_600,
        },
        Entry::PredicateKey { predicate: text("age_over_60"), period: text("2026-12"), spki_sha256: text("ab"), at: 1 },
        Entry::IssuerCertificate { role: text("iaca"), sha256: text("ab"), at: 1 },
    ];
    let mut seeds: Vec<Vec<u8>> = entries.iter().filter_map(Entry::to_bytes).collect();
    let mut bundle = vec![2];
    assert!(tile::push_entry(&mut bundle, b"one") && tile::push_entry(&mut bundle, b""));
    seeds.extend([bundle, [vec![1], vec![7; 32]].concat()]);
    seeds
}

/// The files of the log.
fn files() -> &'static BTreeMap<String, Vec<u8>> {
    static FILES: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let entries = entries();
        let mut files = BTreeMap::from([("checkpoint".to_owned(), checkpoint(SIZE).sign(&signer()).into_bytes())]);
        let mut row: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        for (id, entries) in tile::tiles_of_level(0, SIZE).zip(entries.chunks(tile::TILE_WIDTH as usize)) {
            let mut bundle = Vec::new();
            assert!(entries.iter().all(|entry| tile::push_entry(&mut bundle, entry)));
            files.insert(TileId { level: None, ..id }.path(), bundle);
        }
        for level in 0..tile::levels(SIZE) {
            let mut above = Vec::new();
            for (id, hashes) in tile::tiles_of_level(level, SIZE).zip(row.chunks(tile::TILE_WIDTH as usize)) {
                files.insert(id.path(), hashes.concat());
                above.extend((id.width == tile::TILE_WIDTH).then(|| tile::fold(hashes)));
            }
            row = above;
        }
        files
    })
}

/// A log of which some files were changed.
struct Changed(BTreeMap<String, Vec<u8>>);

impl TileSource for Changed {
    fn get(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        let missing = || SourceError { path: path.to_owned(), reason: "missing".into() };
        self.0.get(path).cloned().ok_or_else(missing)
    }
}

/// A log whose operator says anything: each file is the input's bytes, over and over, in the length that was asked for.
struct Liar<'a> {
    bytes: &'a [u8],
    fetches: Cell<usize>,
}

impl TileSource for Liar<'_> {
    fn get(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        self.fetches.set(self.fetches.get() + 1);
        if self.bytes.is_empty() || self.fetches.get() > FETCHES_MAX {
            return Err(SourceError { path: path.to_owned(), reason: "missing".into() });
        }
        let width = path.rsplit_once(".p/").map_or(Ok(256), |(_, width)| width.parse()).expect("a width");
        let filled = |length: usize| self.bytes.iter().copied().cycle().take(length).collect::<Vec<u8>>();
        if path.contains("entries") {
            let mut bundle = Vec::new();
            (0..width).for_each(|_| assert!(tile::push_entry(&mut bundle, &filled(3))));
            Ok(bundle)
        } else {
            Ok(filled(32 * width))
        }
    }
}

/// A log against changes and lies, by the first byte.
///
/// Whatever files were changed: a log that verifies has the entries that were signed, an entry that is proven is the one that stands
/// there, and a root that never was is not continued. An operator who signs any size and serves anything makes no reader stumble.
pub fn log(data: &[u8]) -> bool {
    let Some((kind, rest)) = data.split_first() else { return false };
    if kind % 2 == 0 {
        changed(rest)
    } else {
        lied(rest)
    }
    true
}

/// The edits: file, place (two bytes), and what is xored in; nothing xored in cuts the file there.
fn changed(data: &[u8]) {
    let mut changed = files().clone();
    let names: Vec<String> = changed.keys().cloned().collect();
    let (edits, rest) = data.as_chunks::<4>();
    for [file, high, low, value] in edits.iter().take(EDITS_MAX) {
        let bytes = changed.get_mut(&names[usize::from(*file) % names.len()]).expect("a file");
        let place = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len().max(1);
        match bytes.get_mut(place) {
            Some(byte) if *value != 0 => *byte ^= value,
            _ => bytes.truncate(place),
        }
    }
    let source = Changed(changed);
    let (older, newer) = (checkpoint_of(OLDER), checkpoint_of(SIZE));
    if let Ok(verified) = verify_log(&source, policy(), Some(older)) {
        assert!(verified.entries == entries() && verified.checkpoint == *newer, "a changed log was verified");
    }
    let index = u64::from(rest.first().copied().unwrap_or(data.len() as u8));
    if let Ok(proven) = prove_inclusion(&source, newer, index) {
        assert_eq!(proven.entry, entries()[index as usize], "a changed entry was proven");
    }
    let mut never = older.clone();
    never.root[0] ^= 1;
    assert!(prove_consistency(&source, &never, newer).is_err(), "a root that never was is not continued");
}

/// The two genuine checkpoints, computed once.
fn checkpoint_of(size: u64) -> &'static Checkpoint {
    static BOTH: OnceLock<[Checkpoint; 2]> = OnceLock::new();
    let [older, newer] = BOTH.get_or_init(|| [checkpoint(OLDER), checkpoint(SIZE)]);
    if size == OLDER { older } else { newer }
}

/// Sizes and an index (eight bytes each), a root, and the bytes of every file.
fn lied(data: &[u8]) {
    let Some((numbers, rest)) = data.split_first_chunk::<24>() else { return };
    let number = |place: usize| u64::from_be_bytes(std::array::from_fn(|byte| numbers[place * 8 + byte]));
    let root = |byte| std::array::from_fn(|place| rest.get(place).copied().unwrap_or(byte));
    let of = |size, byte| Checkpoint { origin: "log.example".into(), size, root: root(byte) };
    let (older, newer, index) = (of(number(0), 0), of(number(1), 0), number(2));
    let source = Liar { bytes: rest, fetches: Cell::new(0) };
    if let Ok(proven) = prove_inclusion(&source, &newer, index) {
        assert!(verify_inclusion(&leaf_hash(&proven.entry), index, newer.size, &proven.proof, &newer.root));
    }
    source.fetches.set(0);
    let continued = prove_consistency(&source, &older, &newer).is_ok();
    assert!(!continued || older.size <= newer.size, "a log does not shrink");
    assert_eq!(Checkpoint::open(&newer.sign(&signer()), verifier()), Ok(newer), "as it was signed");
}

/// No edit, one in each file, and lies of some sizes.
pub fn log_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..files().len() as u8).map(|file| vec![0, file, 0, 9, 1]).collect();
    seeds.push(vec![0]);
    for (older, newer, index) in [(7u64, 259u64, 3u64), (256, 70_000, 69_999), (1, u64::MAX, u64::MAX - 1)] {
        let numbers = [older, newer, index].map(u64::to_be_bytes).concat();
        seeds.push([vec![1], numbers, vec![5; 40]].concat());
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the properties would hold for a verifier that takes nothing.
    #[test]
    fn the_log_verifies_as_long_as_nothing_is_changed() {
        let source = Changed(files().clone());
        assert!(verify_log(&source, policy(), Some(&checkpoint(OLDER))).is_ok());
        assert!(prove_inclusion(&source, &checkpoint(SIZE), 258).is_ok());
        assert!(prove_consistency(&source, &checkpoint(OLDER), &checkpoint(SIZE)).is_ok());
    }
}
