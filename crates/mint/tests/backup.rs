//! Backups: whole, of one moment, restored into either store; and every one that is not what was written is refused.

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cashu::messages::{MeltQuoteRequest, MeltRequest, RestoreRequest, SwapRequest};
use cashu::{ErrorCode, Point, Proof};
use mint::Options;
use mint::backup::{self, BackupError, Place as Target};
use mint::keysets::MintSeed;
use mint::store::{Store, StoreKind, Table};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use world::{Holder, NOW, Place, code, usd, world};

/// Events of [`played`].
const EVENTS: u64 = 5;

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn seed_of(place: &Place) -> MintSeed {
    MintSeed::open(&place.path().join("mint.seed")).unwrap()
}

fn rows(store: &dyn Store) -> Rows {
    let mut rows = Rows::new();
    let mut keep = |table, key: &[u8], value: &[u8], intact: bool| {
        assert!(intact);
        rows.insert((table, key.to_vec()), value.to_vec());
    };
    store.scan(&Table::ALL, &mut keep).unwrap();
    rows
}

fn target(place: &Place) -> Target {
    match place.database() {
        Some(address) => Target::Database(address),
        None => Target::Folder(place.path().join("store")),
    }
}

/// Restores into a place of the same or the other kind, which gets the seed too.
fn restored(backup: &[u8], from: &Place, into: Place) -> Place {
    backup::restore(backup, &seed_of(from), &target(&into)).unwrap();
    fs::copy(from.path().join("mint.seed"), into.path().join("mint.seed")).unwrap();
    into
}

/// A mint in which every table has rows: what was swapped, what answer it got, and tokens that are unspent.
struct Played {
    swap: SwapRequest,
    unspent: Vec<Proof>,
    backup: Vec<u8>,
    holder: Holder,
}

fn played(place: &Place) -> Played {
    let world = world();
    world.clock.store(NOW - 3 * 365 * 24 * 3_600, Ordering::SeqCst);
    let mint = place.open(&world);
    Holder::new(&mint, 9).collect(&mint, "q-0", &[32]);
    world.clock.store(NOW, Ordering::SeqCst);
    assert_eq!(mint.follow_calendar().unwrap().len(), 1, "the keyset of three years ago is closed");
    let mut holder = Holder::new(&mint, 1);
    let mut tokens = holder.collect(&mint, "q-1", &[4, 8, 16]);
    // A witness that nothing asks for is kept all the same.
    tokens[0].witness = Some("{}".into());
    let (first, outputs) = holder.outputs(&[4, 8]);
    let swap = SwapRequest { inputs: tokens[..2].to_vec(), outputs };
    let mut unspent = holder.unblind(first, &mint.swap(&swap).unwrap());
    let melt = mint.request_melt_quote(&MeltQuoteRequest { request: "m-1:16".into(), unit: usd() }).unwrap();
    mint.melt(&MeltRequest { quote: melt.quote, inputs: vec![tokens.remove(2)], outputs: Vec::new() }).unwrap();
    unspent.extend(holder.collect(&mint, "q-2", &[1, 2]));
    let mut backup = Vec::new();
    let contents = mint.back_up(&mut backup).unwrap();
    assert_eq!(contents.rows.len(), Table::ALL.len(), "every table has a row: {:?}", contents.rows);
    assert_eq!((contents.header.made_at, contents.header.last_event), (NOW, EVENTS));
    mint.close();
    Played { swap, unspent, backup, holder }
}

on_both_stores! {
    fn a_backup_restored_into_either_store_is_the_same_mint(place) {
        let played = played(place);
        let before = rows(&*place.store());
        for into in [Place::embedded(), Place::postgres()] {
            let into = restored(&played.backup, place, into);
            assert_eq!(rows(&*into.store()), before);
            for opened in 0..2u64 {
                let world = world();
                let mint = into.open(&world);
                // The same request: the same answer. Other outputs for what is spent: refused.
                let answer = mint.restore(&RestoreRequest { outputs: played.swap.outputs.clone() }).unwrap().signatures;
                assert_eq!(mint.swap(&played.swap).unwrap(), answer);
                let mut other = Holder { next: 1_000 + 100 * opened, ..Holder::new(&mint, 1) };
                let (_, outputs) = other.outputs(&[4, 8]);
                let again = SwapRequest { outputs, ..played.swap.clone() };
                assert_eq!(code(mint.swap(&again)), ErrorCode::ProofsSpent);
                // What was unspent can be spent, once.
                let token = &played.unspent[opened as usize];
                let mut holder = Holder { next: 500 + 100 * opened, ..Holder::new(&mint, 1) };
                assert_eq!(holder.keyset, played.holder.keyset);
                let mut spend = || {
                    let (_, outputs) = holder.outputs(&[token.amount.minor()]);
                    mint.swap(&SwapRequest { inputs: vec![token.clone()], outputs })
                };
                assert!(spend().is_ok());
                assert_eq!(code(spend()), ErrorCode::ProofsSpent);
                assert_eq!(mint.last_event().unwrap(), EVENTS + opened);
                other.collect(&mint, &format!("q-{}", 3 + opened), &[1]);
                assert_eq!(mint.audit().unwrap().totals[&usd()].lapsed, 32);
                let audit = mint.audit().unwrap();
                assert!(audit.problems.is_empty(), "{:?}", audit.problems);
                mint.close();
            }
        }
    }

    fn a_restored_mint_closes_a_keyset_and_drops_its_rows_as_any_other(place) {
        let played = played(place);
        let into = restored(&played.backup, place, place.fresh());
        let world = world();
        let mint = into.open(&world);
        for days in [600, 30] {
            world.clock.fetch_add(days * 24 * 3_600, Ordering::SeqCst);
            mint.follow_calendar().unwrap();
        }
        mint.close();
        drop(mint);
        let left = rows(&*into.store());
        assert!(!left.keys().any(|(table, _)| [Table::Signed, Table::Spent, Table::Witnesses].contains(table)));
        let audit = into.open(&world).audit().unwrap();
        assert!(audit.problems.is_empty(), "{:?}", audit.problems);
    }

    fn a_backup_beside_load_is_of_one_moment(place) {
        let world = world();
        let mint = place.open(&world);
        let stop = AtomicBool::new(false);
        let backups: Vec<(Vec<u8>, usize)> = std::thread::scope(|scope| {
            for seed in 1..=3u8 {
                let (mint, stop) = (&mint, &stop);
                scope.spawn(move || {
                    let mut holder = Holder::new(mint, seed);
                    for round in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let inputs = holder.collect(mint, &format!("q-{seed}-{round}"), &[2, 2]);
                        let (_, outputs) = holder.outputs(&[4]);
                        mint.swap(&SwapRequest { inputs, outputs }).unwrap();
                    }
                });
            }
            let issued = || mint.audit().unwrap().totals.get(&usd()).map_or(0, |totals| totals.issued as usize);
            let taken = (0..5).map(|_| {
                let mut backup = Vec::new();
                let before = issued().max(32);
                while issued() < before + 8 {}
                mint.back_up(&mut backup).unwrap();
                (backup, issued())
            });
            let taken = taken.collect();
            stop.store(true, Ordering::Relaxed);
            taken
        });
        let seed = seed_of(place);
        let mut grown = Vec::new();
        for (backup, issued_after) in &backups {
            let (_, audit) = backup::check_and_audit(&backup[..], &seed).unwrap();
            let totals = &audit.totals[&usd()];
            assert!(totals.issued as usize <= *issued_after);
            grown.push((totals.issued, totals.spent));
        }
        assert!(grown.is_sorted() && grown[0] < grown[4], "the mint went on meanwhile: {grown:?}");
        // Each swap is in the last one whole or not at all: what is there can't be spent, the rest can.
        let into = restored(&backups[4].0, place, place.fresh());
        let before = rows(&*into.store());
        let mint = into.open(&world);
        let (mut spent, mut unspent) = (0, 0);
        for seed in 1..=3u8 {
            let mut holder = Holder::new(&mint, seed);
            for _ in 0.. {
                let (first, collected) = holder.outputs(&[2, 2]);
                let (_, swapped) = holder.outputs(&[4]);
                let has = |table, point: &Point| before.contains_key(&(table, point.to_bytes().to_vec()));
                let signed = mint.restore(&RestoreRequest { outputs: collected.clone() }).unwrap().signatures;
                if signed.is_empty() {
                    break;
                }
                let tokens = holder.unblind(first, &signed);
                let gone = has(Table::Signed, &swapped[0].blinded);
                assert!(tokens.iter().all(|token| has(Table::Spent, &token.secret.y()) == gone));
                let fresh = Holder { next: 1_000_000 + first, ..Holder::new(&mint, seed) }.outputs(&[4]).1;
                let spend = mint.swap(&SwapRequest { inputs: tokens, outputs: fresh });
                if gone {
                    assert_eq!(code(spend), ErrorCode::ProofsSpent);
                    spent += 1;
                } else {
                    spend.unwrap();
                    unspent += 1;
                }
            }
        }
        println!("{spent} swaps were in the backup, {unspent} were not");
        assert!(spent > 10);
    }

    fn an_audit_beside_issuing_misses_no_event(place) {
        let mint = place.open(&world());
        let stop = AtomicBool::new(false);
        let problems: Vec<String> = std::thread::scope(|scope| {
            for seed in 1..=2u8 {
                let (mint, stop) = (&mint, &stop);
                scope.spawn(move || {
                    let mut holder = Holder::new(mint, seed);
                    for round in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        holder.collect(mint, &format!("q-{seed}-{round}"), &[1]);
                    }
                });
            }
            let problems = (0..40).flat_map(|_| mint.audit().unwrap().problems).collect();
            stop.store(true, Ordering::Relaxed);
            problems
        });
        assert_eq!(problems, Vec::<String>::new());
    }

    fn a_row_changed_on_disk_is_not_backed_up(place) {
        let played = played(place);
        let spent = played.swap.inputs[0].secret.y();
        let store = place.store();
        store.overwrite_raw(Table::Spent, &spent.to_bytes(), &|value| value[2] += 1).unwrap();
        let mut written = Vec::new();
        let error = backup::write(&*store, &seed_of(place), NOW, false, &mut written).unwrap_err();
        assert!(matches!(error, BackupError::ChangedRow(Table::Spent)), "{error}");
        // Nor named in the stream: who reads it is told why there is no more.
        let told = backup::check(&written[..], &seed_of(place)).unwrap_err().to_string();
        assert!(told.contains("not finished") && told.contains("a row of spent was changed"), "{told}");
        assert!(!told.contains(&spent.to_string()));
    }

    fn a_backup_that_can_not_be_written_is_broken_off_and_the_store_goes_on(place) {
        let played = played(place);
        let store = place.store();
        for room in [0, 10, 300, played.backup.len() / 2, played.backup.len() - 1] {
            let error = backup::write(&*store, &seed_of(place), NOW, false, &mut Full(room)).unwrap_err();
            assert!(matches!(error, BackupError::Stream(_)), "{error}");
        }
        let mut whole = Vec::new();
        backup::write(&*store, &seed_of(place), NOW, false, &mut whole).unwrap();
        assert_eq!(whole, played.backup, "the control: with room it is written, and is the same");
    }

    fn a_restore_goes_into_an_empty_place_only_and_a_damaged_backup_leaves_it_empty(place) {
        let played = played(place);
        let seed = seed_of(place);
        let into = place.fresh();
        let mut damaged = played.backup.clone();
        // The MAC: wrong only when all rows have been written.
        let last = damaged.len() - 2;
        damaged[last] = if damaged[last] == b'0' { b'1' } else { b'0' };
        let error = backup::restore(&damaged[..], &seed, &target(&into)).unwrap_err();
        assert!(error.to_string().contains("MAC"), "{error}");
        if into.database().is_some() {
            fs::copy(place.path().join("mint.seed"), into.path().join("mint.seed")).unwrap();
            assert!(rows(&*into.store()).is_empty());
            backup::restore(&played.backup[..], &seed, &target(&into)).unwrap();
            let again = backup::restore(&played.backup[..], &seed, &target(&into)).unwrap_err();
            assert!(matches!(again, BackupError::Occupied), "{again}");
        }
    }
}

/// Why a backup is refused.
fn refusal(backup: &[u8], seed: &MintSeed) -> String {
    match backup::check(backup, seed) {
        Ok(_) => panic!("a backup of {} bytes that was changed is taken for whole", backup.len()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn whatever_is_done_to_a_backup_it_is_refused() {
    let place = Place::embedded();
    let Played { backup, .. } = played(&place);
    let seed = seed_of(&place);
    assert!(backup::check(&backup[..], &seed).is_ok(), "the control: as it was written it is right");
    for cut in 0..backup.len() {
        let told = refusal(&backup[..cut], &seed);
        // The last byte of all is the end of the MAC's line.
        assert!(told.contains("cut off"), "cut at {cut}: {told}");
    }
    for place in 0..backup.len() {
        let mut changed = backup.clone();
        changed[place] ^= 1 << (place % 8);
        refusal(&changed, &seed);
    }
    let number: u64 = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    println!("SEED={number}");
    let mut rng = StdRng::seed_from_u64(number);
    for _ in 0..500 {
        let mut changed = backup.clone();
        match rng.random_range(0..3) {
            0 => changed.insert(rng.random_range(0..=backup.len()), rng.random()),
            1 => drop(changed.remove(rng.random_range(0..backup.len()))),
            _ => {
                let (from, to) = (rng.random_range(0..backup.len()), rng.random_range(0..backup.len()));
                let length = rng.random_range(1..200).min(backup.len() - from).min(backup.len() - to);
                changed.copy_within(from..from + length, to);
            }
        }
        if changed != backup {
            refusal(&changed, &seed);
        }
    }
    assert!(refusal(&[&backup[..], &b"\n"[..]].concat(), &seed).contains("added after its end"));
    assert!(refusal(&[&backup[..], &backup[..]].concat(), &seed).contains("added after its end"));
}

#[test]
fn another_mints_seed_a_newer_format_and_other_files_are_told_apart() {
    let place = Place::embedded();
    let Played { backup, .. } = played(&place);
    let other = Place::embedded();
    let told = refusal(&backup, &seed_of(&other));
    assert!(told.contains("the backup is of mint") && told.contains(&backup::mint_id(&seed_of(&place))), "{told}");
    let text = |from: &str, to: &str| {
        let at = backup.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
        [&backup[..at], to.as_bytes(), &backup[at + from.len()..]].concat()
    };
    let seed = seed_of(&place);
    let told = refusal(&text("backup\":1", "backup\":2"), &seed);
    assert!(told.contains("newer version of habeas (format 2, here 1)"), "{told}");
    assert!(refusal(&text(&NOW.to_string(), &(NOW + 86_400).to_string()), &seed).contains("MAC"));
    assert!(refusal(b"PK\x03\x04 something else", &seed).contains("not a backup"));
    assert!(refusal(b"{\"some\":\"json\"}\n", &seed).contains("not a backup"));
    // A row as long as four bytes can say takes no such memory.
    let endless =
        [&backup[..backup.iter().position(|byte| *byte == b'\n').unwrap() + 1], b"R\0\0\x01k\xff\xff\xff\xff"];
    assert!(refusal(&endless.concat(), &seed).contains("longer than rows are"));
}

#[test]
fn a_restored_embedded_store_counts_its_own_commits_and_notices_lost_ones() {
    let place = Place::embedded();
    let played = played(&place);
    assert!(place.store().condition().unwrap().last_commit > Some(1));
    let into = restored(&played.backup, &place, Place::embedded());
    let condition = into.store().condition().unwrap();
    assert_eq!((into.store().kind(), condition.last_commit), (StoreKind::Embedded, Some(1)));
    // The restored rows are commit 1: without them the store is refused.
    let empty = tempfile::tempdir().unwrap();
    fs::copy(into.path().join("store.commits"), empty.path().join("store.commits")).unwrap();
    let lost = mint::store::open(empty.path(), None, &seed_of(&place)).map(drop).unwrap_err().to_string();
    assert!(lost.contains("it ends at commit 0 and 1 were answered"), "{lost}");
    // So is one that lost what was answered after the restore.
    let world = world();
    let mint = into.open(&world);
    Holder { next: 900, ..Holder::new(&mint, 1) }.collect(&mint, "q-9", &[4, 8]);
    mint.close();
    drop(mint);
    cut_journal(&into.path().join("store/0.jnl"));
    let error = into.open_with(&world, Options::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains("were answered"), "{error}");
}

/// Damages a journal's second half, as crates/mint/tests/mint.rs does.
fn cut_journal(journal: &Path) {
    let mut bytes = fs::read(journal).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[written / 2..].fill(0);
    fs::write(journal, bytes).unwrap();
}

/// Takes some bytes and then no more, as a full disk does.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.0.min(bytes.len());
        self.0 -= room;
        if room == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(room) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
