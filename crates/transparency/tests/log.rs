//! The log as its readers see it, and every way to tamper with it that a reader must notice.

use std::fs;
use std::path::Path;

use tlog::checkpoint::Checkpoint;
use tlog::client::{LogError, fetch_checkpoint, prove_consistency, prove_inclusion, verify_log};
use tlog::cosignature::Policy;
use tlog::entry::Entry;
use tlog::note::Verifier;
use tlog::rules::{Breach, Rule};
use transparency::store::PublicFiles;
use transparency::{Log, LogFailure};

fn approval(n: u64) -> Entry {
    Entry::RunApproved { run: format!("run-{n}"), hash: "00".into(), at: n }
}

fn approvals(range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(approval).collect()
}

fn open(folder: &Path) -> (Log, Policy, PublicFiles) {
    let log = Log::open(folder, "log.example").unwrap();
    let policy = Policy::from(Verifier::parse(log.vkey()).unwrap());
    let files = PublicFiles(log.public_folder());
    (log, policy, files)
}

fn checkpoint(files: &PublicFiles, policy: &Policy) -> Checkpoint {
    fetch_checkpoint(files, policy).unwrap().1
}

#[test]
fn it_grows_is_opened_again_and_every_entry_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    let mut checkpoints = vec![checkpoint(&files, &policy)];
    let mut size = 0;
    for batch in [1, 2, 253, 1, 300, 1, 70_000] {
        assert_eq!(log.append(&approvals(size..size + batch)).unwrap(), size);
        size += batch;
        checkpoints.push(checkpoint(&files, &policy));
    }
    log.close();
    assert!(matches!(log.append(&[approval(0)]), Err(LogFailure::Closed)));
    let (log, _, _) = open(folder.path());
    assert_eq!(log.append(&[approval(size)]).unwrap(), size);
    let newest = checkpoint(&files, &policy);
    checkpoints.push(newest.clone());

    let verified = verify_log(&files, &policy, Some(&checkpoints[3])).unwrap();
    assert_eq!(verified.entries.len() as u64, size + 1);
    for index in [0, 1, 255, 256, 557, 65_535, 65_536, size] {
        let proven = prove_inclusion(&files, &newest, index).unwrap();
        assert_eq!(Entry::parse(&proven.entry), Ok(approval(index)));
    }
    assert!(matches!(prove_inclusion(&files, &newest, size + 1), Err(LogError::NoEntry { .. })));
    for older in &checkpoints {
        assert_eq!(prove_consistency(&files, older, &newest), Ok(()), "from {}", older.size);
    }
}

#[test]
fn callers_at_once_each_get_their_own_place() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    log.append(&[approval(thread * 1000 + n), approval(thread * 1000 + n + 500)]).unwrap();
                }
            });
        }
    });
    assert_eq!(verify_log(&files, &policy, None).unwrap().entries.len(), 800);
}

#[test]
fn a_reader_with_an_older_checkpoint_finds_its_tiles_while_the_log_grows() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    log.append(&approvals(0..300)).unwrap();
    let old = checkpoint(&files, &policy);
    for size in [310, 600, 70_000] {
        let before = checkpoint(&files, &policy).size;
        log.append(&approvals(before..size)).unwrap();
        assert!(prove_inclusion(&files, &old, 299).is_ok(), "at {size}");
    }
    assert!(!log.public_folder().join("tile/entries/001.p").exists(), "partial files of a full tile are gone");
}

/// A log of 600 entries, its files, and what `verify_log` says after `tamper`.
fn tampered(tamper: impl Fn(&Path)) -> Result<(), LogError> {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    log.append(&approvals(0..400)).unwrap();
    let before = checkpoint(&files, &policy);
    log.append(&approvals(400..600)).unwrap();
    log.close();
    tamper(&log.public_folder());
    verify_log(&files, &policy, Some(&before)).map(|_| ())
}

fn replace(path: &Path, from: &str, to: &str) {
    let bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    fs::write(path, [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()).unwrap();
}

#[test]
fn tampering_is_noticed_and_an_honest_log_is_not_accused() {
    assert_eq!(tampered(|_| ()), Ok(()));
    let changed = tampered(|public| replace(&public.join("tile/entries/000"), "run-17\"", "run-71\""));
    assert_eq!(changed, Err(LogError::Rewritten { before: 400 }));
    let late = tampered(|public| replace(&public.join("tile/entries/001"), "run-500\"", "run-501\""));
    assert_eq!(late, Err(LogError::BadTile { path: "tile/0/001".into() }));
    let tile = tampered(|public| {
        let path = public.join("tile/0/001");
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    assert_eq!(tile, Err(LogError::BadTile { path: "tile/0/001".into() }));
    let cut = tampered(|public| fs::remove_file(public.join("tile/entries/001")).unwrap());
    assert!(matches!(cut, Err(LogError::Source(_))), "{cut:?}");
    let signed = tampered(|public| replace(&public.join("checkpoint"), "\n600\n", "\n599\n"));
    assert!(matches!(signed, Err(LogError::Checkpoint(_))), "{signed:?}");
}

#[test]
fn a_log_that_is_rewritten_with_its_own_key_is_noticed_by_who_saw_it_before() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    log.append(&approvals(0..300)).unwrap();
    let before = checkpoint(&files, &policy);
    log.close();
    fs::remove_dir_all(log.public_folder()).unwrap();
    fs::remove_file(folder.path().join("checkpoint")).unwrap();
    let (log, _, _) = open(folder.path());
    log.append(&approvals(1..302)).unwrap();
    let forked = verify_log(&files, &policy, Some(&before)).unwrap_err();
    assert_eq!(forked, LogError::Rewritten { before: 300 });
    let newest = checkpoint(&files, &policy);
    assert_eq!(prove_consistency(&files, &before, &newest), Err(LogError::Rewritten { before: 300 }));
    // Control: who never saw it can't know.
    assert!(verify_log(&files, &policy, None).is_ok());
}

#[test]
fn a_crash_before_the_checkpoint_leaves_the_log_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    log.append(&approvals(0..10)).unwrap();
    log.close();
    let kept = fs::read(log.public_folder().join("checkpoint")).unwrap();
    let partial = log.public_folder().join("tile/entries/000.p/10");
    let partial_bytes = fs::read(&partial).unwrap();
    let hashes = log.public_folder().join("tile/0/000.p/10");
    let hash_bytes = fs::read(&hashes).unwrap();
    let (log, _, _) = open(folder.path());
    log.append(&approvals(10..20)).unwrap();
    log.close();
    // As if power had failed just before the rename: new tiles lie there, the old checkpoint stands.
    fs::write(folder.path().join("checkpoint"), &kept).unwrap();
    fs::write(log.public_folder().join("checkpoint"), kept).unwrap();
    fs::write(partial, partial_bytes).unwrap();
    fs::write(hashes, hash_bytes).unwrap();
    let (log, _, _) = open(folder.path());
    assert_eq!(log.append(&approvals(90..95)).unwrap(), 10);
    assert_eq!(verify_log(&files, &policy, None).unwrap().checkpoint.size, 15);
}

#[test]
fn a_second_keyset_in_one_period_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    let keyset = |id: &str| Entry::Keyset {
        id: id.into(),
        unit: "usd".into(),
        input_fee_ppk: 0,
        final_expiry: Some(1),
        keys_sha256: "00".into(),
        at: 0,
    };
    log.append(&[keyset("01aa"), keyset("01aa")]).unwrap();
    assert!(verify_log(&files, &policy, None).is_ok());
    log.append(&[keyset("01bb")]).unwrap();
    assert!(matches!(
        verify_log(&files, &policy, None),
        Err(LogError::Marks(Breach { index: 2, rule: Rule::OneKeyset, .. }))
    ));
}

#[test]
fn a_second_list_of_trusted_entities_with_one_number_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy, files) = open(folder.path());
    let list = |sequence, sha256: &str| Entry::TrustedList { sequence, sha256: sha256.into(), at: 0 };
    log.append(&[list(1, "aa"), list(1, "aa"), list(2, "bb")]).unwrap();
    assert!(verify_log(&files, &policy, None).is_ok());
    log.append(&[list(1, "cc")]).unwrap();
    let told = verify_log(&files, &policy, None);
    assert!(matches!(told, Err(LogError::Marks(Breach { index: 3, rule: Rule::OneTrustedList, .. }))));
}

#[test]
fn a_file_that_a_checkpoint_covers_is_never_written_again() {
    // A reader may be half-way through it: found as a wrong tile under load.
    let folder = tempfile::tempdir().unwrap();
    let (log, _, files) = open(folder.path());
    log.append(&approvals(0..600)).unwrap();
    let marked = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let tiles = tiles_below(&files.0.join("tile"));
    assert!(tiles.iter().any(|tile| tile.ends_with("tile/1/000.p/2")), "{tiles:?}");
    for tile in &tiles {
        fs::File::options().write(true).open(tile).unwrap().set_modified(marked).unwrap();
    }
    log.append(&approvals(600..650)).unwrap();
    for tile in tiles {
        assert_eq!(fs::metadata(&tile).unwrap().modified().unwrap(), marked, "{} was written again", tile.display());
    }
}

fn tiles_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let (folders, mut files): (Vec<_>, Vec<_>) =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| tiles_below(folder)));
    files
}
