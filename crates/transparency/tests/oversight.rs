//! Witnesses and monitors of a log that is honest, and of one that is not. The log's own key signs every lie: that is what an operator can do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tlog::client::fetch_checkpoint;
use tlog::cosignature::Policy;
use tlog::entry::Entry;
use tlog::evidence::Evidence;
use tlog::note::{NoteError, Verifier};
use transparency::cosigning::{WitnessConnection, Witnesses};
use transparency::monitor::{Monitor, STALE_AFTER};
use transparency::store::PublicFiles;
use transparency::witness::{Witness, WitnessError};
use transparency::{Log, LogFailure};

/// Witnesses by their addresses, without a network between.
#[derive(Default)]
struct Connection {
    witnesses: BTreeMap<String, Witness>,
    down: Mutex<Vec<String>>,
    /// Answers with the line of another request.
    lies: AtomicBool,
    now: AtomicU64,
}

impl WitnessConnection for Connection {
    fn add_checkpoint(&self, address: &str, body: &str) -> Result<(u16, Vec<u8>), String> {
        if self.down.lock().unwrap().iter().any(|down| down == address) {
            return Err("it can't be reached".into());
        }
        if self.lies.load(Ordering::SeqCst) {
            return Ok((200, "\u{2014} witness/a AAAAAAAAAAAAAAAA\n".into()));
        }
        match self.witnesses[address].add_checkpoint(body.as_bytes(), self.now.load(Ordering::SeqCst)) {
            Ok(line) => Ok((200, line.into_bytes())),
            Err(WitnessError::Refused(tlog::witness::Refusal::OldSize { size })) => {
                Ok((409, format!("{size}\n").into()))
            }
            Err(WitnessError::Refused(refusal)) => Ok((refusal.status(), refusal.to_string().into_bytes())),
            Err(error) => panic!("{error}"),
        }
    }
}

const NOW: u64 = 1_800_000_000;

fn entry(number: u64) -> Entry {
    Entry::IssuerCertificate { role: "iaca".into(), sha256: format!("{number}"), at: NOW + number }
}

fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(entry).collect()
}

struct World {
    folder: tempfile::TempDir,
    connection: Connection,
    policy: Policy,
}

impl World {
    /// A log with two witnesses.
    fn new(quorum: usize) -> (Self, Log) {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("log"), "log.example").unwrap();
        let key = Verifier::parse(log.vkey()).unwrap();
        let mut connection = Connection { now: AtomicU64::new(NOW), ..Connection::default() };
        let mut witnesses = Witnesses { quorum, ..Witnesses::default() };
        for name in ["a", "b"] {
            let witness = open_witness(folder.path(), name, &key);
            witnesses.witnesses.push((tlog::cosignature::Witness::parse(&witness.vkey()).unwrap(), name.into()));
            connection.witnesses.insert(name.into(), witness);
        }
        let policy = witnesses.policy(key).unwrap();
        witnesses.save(&folder.path().join("log")).unwrap();
        (World { folder, connection, policy }, log)
    }

    fn log_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    fn files(&self) -> PublicFiles {
        PublicFiles(self.log_folder().join("public"))
    }

    /// A copy of the log with its key, as an operator can make one.
    fn copy(&self, name: &str) -> std::path::PathBuf {
        let copy = self.folder.path().join(name);
        copy_all(&self.log_folder(), &copy);
        copy
    }

    fn size(&self) -> Result<u64, tlog::client::LogError> {
        fetch_checkpoint(&self.files(), &self.policy).map(|(_, checkpoint)| checkpoint.size)
    }

    fn bare(&self) -> Policy {
        self.policy.log().clone().into()
    }
}

fn open_witness(folder: &Path, name: &str, log: &Verifier) -> Witness {
    Witness::open(&folder.join(format!("witness-{name}")), &format!("witness/{name}"), vec![log.clone()]).unwrap()
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn readers_get_a_checkpoint_when_a_quorum_has_cosigned_it() {
    let (world, log) = World::new(2);
    assert_eq!(log.append(&entries(0..3)).unwrap(), 0, "callers don't wait for witnesses");
    assert!(world.size().is_err(), "nothing is cosigned yet");
    world.connection.down.lock().unwrap().push("b".into());
    let round = log.cosign(&world.connection).unwrap();
    assert_eq!((round.size, round.cosigned, round.published), (3, 1, false));
    assert_eq!(round.refused, [("witness/b".to_owned(), "it can't be reached".to_owned())]);
    assert!(world.size().is_err());
    world.connection.down.lock().unwrap().clear();
    let round = log.cosign(&world.connection).unwrap();
    assert_eq!((round.cosigned, round.published, round.refused.len()), (2, true, 0));
    assert_eq!(world.size(), Ok(3));
    // The next one: what was cosigned stays until it is cosigned, too.
    log.append(&entries(3..700)).unwrap();
    assert_eq!(world.size(), Ok(3));
    assert!(log.cosign(&world.connection).unwrap().published);
    assert_eq!(world.size(), Ok(700));
    // Started again, log and witnesses: they know where they were.
    log.close();
    let mut world = world;
    for name in ["a", "b"] {
        let again = open_witness(world.folder.path(), name, world.policy.log());
        world.connection.witnesses.insert(name.into(), again);
    }
    let log = Log::open(&world.log_folder(), "log.example").unwrap();
    assert_eq!(world.size(), Ok(700));
    log.append(&entries(700..701)).unwrap();
    assert!(log.cosign(&world.connection).unwrap().published);
    assert_eq!(world.size(), Ok(701));
    // A reader who asks for no quorum reads the same file.
    assert_eq!(fetch_checkpoint(&world.files(), &world.bare()).unwrap().1.size, 701);
}

#[test]
fn without_a_quorum_readers_wait_for_nobody_and_get_cosignatures_when_they_come() {
    let (world, log) = World::new(0);
    log.append(&entries(0..3)).unwrap();
    assert_eq!(world.size(), Ok(3));
    assert_eq!(log.cosign(&world.connection).unwrap().cosigned, 2);
    let note = fs::read_to_string(world.log_folder().join("public/checkpoint")).unwrap();
    assert_eq!(world.policy.cosigned(&note).count(), 2);
    // Nothing to do: the same file, and no witness is asked.
    world.connection.down.lock().unwrap().extend(["a".into(), "b".into()]);
    let round = log.cosign(&world.connection).unwrap();
    assert_eq!((round.cosigned, round.refused.len()), (2, 0));
}

#[test]
fn a_witness_that_answers_with_something_else_counts_for_nothing() {
    let (world, log) = World::new(1);
    log.append(&entries(0..3)).unwrap();
    world.connection.lies.store(true, Ordering::SeqCst);
    let round = log.cosign(&world.connection).unwrap();
    assert_eq!((round.cosigned, round.published, round.refused.len()), (0, false, 2));
    world.connection.lies.store(false, Ordering::SeqCst);
    assert!(log.cosign(&world.connection).unwrap().published, "the control");
}

#[test]
fn a_file_of_witnesses_that_cant_be_read_or_reached_is_said() {
    let (world, log) = World::new(1);
    let path = world.log_folder().join("witnesses");
    let good = fs::read_to_string(&path).unwrap();
    for (bad, why) in [
        ("quorum many\n", "line 1"),
        ("witness key address\n", "line 1"),
        ("quorum 1\nnonsense\n", "line 2"),
        ("quorum 1\n", "can't be reached by 0 witnesses"),
    ] {
        fs::write(&path, bad).unwrap();
        let told = log.cosign(&world.connection).unwrap_err();
        assert!(matches!(&told, LogFailure::Witnesses { why: told, .. } if told.contains(why)), "{told}");
    }
    fs::write(&path, format!("# for people\n\n{good}")).unwrap();
    log.append(&entries(0..1)).unwrap();
    assert!(log.cosign(&world.connection).unwrap().published, "the control");
    let read = Witnesses::parse(&good).unwrap();
    assert_eq!(read.to_text(), good);
}

/// The operator makes two logs out of one and shows each to others.
#[test]
fn a_fork_gets_no_cosignature_and_the_witness_keeps_what_convicts() {
    let (world, log) = World::new(1);
    log.append(&entries(0..10)).unwrap();
    log.cosign(&world.connection).unwrap();
    let fork = Log::open(&world.copy("fork"), "log.example").unwrap();
    log.append(&entries(10..12)).unwrap();
    assert!(log.cosign(&world.connection).unwrap().published);
    fork.append(&entries(20..22)).unwrap();
    let round = fork.cosign(&world.connection).unwrap();
    assert_eq!((round.cosigned, round.published, round.refused.len()), (0, false, 2));
    let evidence: Vec<_> = fs::read_dir(world.folder.path().join("witness-a/evidence")).unwrap().collect();
    assert_eq!(evidence.len(), 1);
    let evidence = Evidence::from_json(&fs::read(evidence[0].as_ref().unwrap().path()).unwrap()).unwrap();
    assert!(evidence.check(world.policy.log()).unwrap().contains("two histories of 12 entries"));
    // A longer fork: its proof can't hold.
    fork.append(&entries(22..30)).unwrap();
    let round = fork.cosign(&world.connection).unwrap();
    assert!(round.refused.iter().all(|(_, why)| why.contains("status 422")), "{:?}", round.refused);
    // The honest one goes on.
    log.append(&entries(12..13)).unwrap();
    assert!(log.cosign(&world.connection).unwrap().published);
}

#[test]
fn a_witness_cosigns_for_logs_that_it_knows_and_forgets_nothing() {
    let (world, log) = World::new(1);
    log.append(&entries(0..1)).unwrap();
    log.cosign(&world.connection).unwrap();
    let other = Log::open(&world.folder.path().join("other"), "other.example").unwrap();
    let note = fs::read_to_string(other.public_folder().join("checkpoint")).unwrap();
    let told = world.connection.witnesses["a"].add_checkpoint(format!("old 0\n\n{note}").as_bytes(), NOW);
    assert!(matches!(told, Err(WitnessError::Refused(tlog::witness::Refusal::UnknownLog))));
    assert!(world.connection.witnesses["a"].last("other.example").unwrap().is_none());
    let last = world.connection.witnesses["a"].last("log.example").unwrap().unwrap();
    assert_eq!(world.policy.cosigned(&last).count(), 1);
    // A damaged memory: it does not go on as if it had seen nothing.
    let folder = world.folder.path().join("witness-a");
    let state = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let state = state.into_iter().find(|path| path.extension().is_some_and(|end| end == "checkpoint")).unwrap();
    fs::write(&state, "nothing").unwrap();
    let opened = Witness::open(&folder, "witness/a", vec![world.policy.log().clone()]);
    assert!(matches!(opened, Err(WitnessError::Damaged { .. })));
}

#[test]
fn a_monitor_has_nothing_to_say_of_an_honest_log() {
    let (world, log) = World::new(1);
    let mut monitor = Monitor::new(world.policy.clone(), None).unwrap();
    let mut size = 0;
    for batch in [1, 300, 0, 700] {
        log.append(&entries(size..size + batch)).unwrap();
        size += batch;
        log.cosign(&world.connection).unwrap();
        let look = monitor.look(&world.files(), NOW).unwrap();
        assert_eq!((look.size, look.new, look.unknown, look.cosigned), (size, batch, 0, 2));
        assert_eq!(look.alarms, []);
    }
    for witness in world.connection.witnesses.values() {
        let saw = witness.last("log.example").unwrap().unwrap();
        assert_eq!(monitor.compare_with(&world.files(), &saw).unwrap(), None);
    }
    // In another life it reads all again, and continues what it saw.
    let mut again = Monitor::new(world.policy.clone(), monitor.seen().map(str::to_owned)).unwrap();
    let look = again.look(&world.files(), NOW).unwrap();
    assert_eq!((look.new, look.alarms), (size, vec![]));
    // The log stands still: said once.
    let later = NOW + STALE_AFTER + 60;
    assert!(again.look(&world.files(), later).unwrap().alarms[0].what.contains("61 minutes"));
    assert_eq!(again.look(&world.files(), later + 1).unwrap().alarms, []);
}

/// What a monitor says after it saw ten entries and the operator did something, and whether that convicts.
fn tampered(tamper: impl FnOnce(&World, &Log)) -> (String, bool) {
    let (world, log) = World::new(0);
    log.append(&entries(0..10)).unwrap();
    let mut monitor = Monitor::new(world.bare(), None).unwrap();
    assert_eq!(monitor.look(&world.files(), NOW).unwrap().alarms, []);
    let seen = monitor.seen().map(str::to_owned);
    tamper(&world, &log);
    // The same for one that runs on and one that was started again.
    let mut restarted = Monitor::new(world.bare(), seen).unwrap();
    let told: Vec<_> = [&mut monitor, &mut restarted]
        .map(|monitor| monitor.look(&world.files(), NOW).unwrap().alarms)
        .into_iter()
        .map(|alarms| alarms.into_iter().next().expect("an alarm"))
        .collect();
    assert_eq!(told[0].what, told[1].what);
    for evidence in told.iter().filter_map(|alarm| alarm.evidence.as_ref()) {
        assert!(evidence.check(world.policy.log()).is_ok());
        let read = Evidence::from_json(&evidence.to_json()).unwrap();
        assert!(read.check(world.policy.log()).is_ok());
    }
    (told[0].what.clone(), told.iter().all(|alarm| alarm.evidence.is_some()))
}

/// Puts another log with the same key in the place of the one that was seen.
fn replaced(world: &World, log: &Log, written: &[Entry]) {
    log.close();
    let key = fs::read(world.log_folder().join("log.key")).unwrap();
    fs::remove_dir_all(world.log_folder()).unwrap();
    fs::create_dir_all(world.log_folder()).unwrap();
    storage::keys::write_private(&world.log_folder().join("log.key"), &key).unwrap();
    Log::open(&world.log_folder(), "log.example").unwrap().append(written).unwrap();
}

#[test]
fn a_log_that_rewrites_forks_cuts_drops_or_back_dates_is_told_of() {
    // Rewritten: an early entry is another one, and the log has grown.
    let mut rewritten = entries(0..20);
    rewritten[3] = entry(100);
    let (what, convicts) = tampered(|world, log| replaced(world, log, &rewritten));
    assert!(what.contains("rewrote one of its first 10 entries") && convicts, "{what}");
    // Forked: another history of the same length.
    let (what, convicts) = tampered(|world, log| replaced(world, log, &rewritten[..10]));
    assert!(what.contains("two histories of 10 entries") && convicts, "{what}");
    // Dropped: an entry less, others after it.
    let mut dropped = entries(0..20);
    dropped.remove(4);
    let (what, convicts) = tampered(|world, log| replaced(world, log, &dropped));
    assert!(what.contains("rewrote") && convicts, "{what}");
    // Cut: nobody can prove that a copy is not just old.
    let (what, convicts) = tampered(|world, log| replaced(world, log, &entries(0..5)));
    assert!(what.contains("it was cut") && !convicts, "{what}");
    // Back-dated: appended, with a time of days ago.
    let late = Entry::IssuerCertificate { role: "iaca".into(), sha256: "x".into(), at: NOW - 86_400 };
    let (what, convicts) = tampered(|_, log| assert!(log.append(&[late]).is_ok()));
    assert!(what.contains("entry 10") && what.contains("back-dated") && convicts, "{what}");
    // Changed on the way: the entries that are shown are not those that were signed.
    let (what, convicts) = tampered(|world, log| {
        log.append(&entries(10..12)).unwrap();
        let bundle = world.log_folder().join("public/tile/entries/000.p/12");
        let mut bytes = fs::read(&bundle).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(bundle, bytes).unwrap();
    });
    assert!(what.contains("an entry was changed or dropped") && !convicts, "{what}");
    // Signed with another key.
    let (what, convicts) = tampered(|world, log| {
        log.close();
        fs::remove_dir_all(world.log_folder()).unwrap();
        Log::open(&world.log_folder(), "log.example").unwrap().append(&entries(0..20)).unwrap();
    });
    assert!(what.contains("not signed by log.example") && !convicts, "{what}");
}

/// A mint that marks people, and books that don't add up: the log says so of itself.
#[test]
fn entries_that_break_a_rule_convict() {
    let keyset = |id: &str| Entry::Keyset {
        id: id.into(),
        unit: "usd".into(),
        input_fee_ppk: 0,
        final_expiry: Some(1),
        keys_sha256: "00".into(),
        at: NOW,
    };
    let (what, convicts) = tampered(|_, log| assert!(log.append(&[keyset("01aa"), entry(1), keyset("01bb")]).is_ok()));
    assert!(what.starts_with("entry 12: a second keyset") && convicts, "{what}");
    let totals = Entry::Totals {
        date: "2026-12-01".into(),
        unit: "usd".into(),
        funded_minor: 100,
        available_minor: 0,
        committed_minor: 0,
        outstanding_minor: 120,
        merchants_minor: 0,
        paid_out_minor: 0,
        lapsed_minor: 0,
        at: NOW,
    };
    let (what, convicts) = tampered(|_, log| assert!(log.append(&[totals]).is_ok()));
    assert!(what.contains("don't add up to the 100 that were paid in") && convicts, "{what}");
    // A registrar who reads without a purpose.
    let curious = Entry::RecordOpened {
        tag: tlog::tag::Tag { nonce: [1; 16], mac: [2; 16] },
        purpose: "curiosity".into(),
        role: "registrar".into(),
        officers: vec!["03".into()],
        fields: vec!["address".into()],
        at: NOW / 3_600 * 3_600,
    };
    let (what, convicts) = tampered(|_, log| assert!(log.append(&[curious]).is_ok()));
    assert!(what.contains("a registrar opened a record for 'curiosity'") && convicts, "{what}");
    // What is missing can't be shown by what is there.
    let approved = Entry::RunApproved { run: "r".into(), hash: "h".into(), at: NOW };
    let (what, convicts) = tampered(|_, log| assert!(log.append(&[approved]).is_ok()));
    assert!(what.contains("never prepared") && !convicts, "{what}");
}

/// The operator shows the monitor one log, and the witness another.
#[test]
fn what_a_witness_saw_convicts_a_log_that_shows_us_another() {
    for (ours, theirs) in [(12, 12), (20, 15), (15, 20)] {
        let (world, log) = World::new(0);
        log.append(&entries(0..10)).unwrap();
        let fork = Log::open(&world.copy("fork"), "log.example").unwrap();
        log.append(&entries(10..ours)).unwrap();
        fork.append(&entries(100..90 + theirs)).unwrap();
        fork.cosign(&world.connection).unwrap();
        let mut monitor = Monitor::new(world.bare(), None).unwrap();
        assert_eq!(monitor.look(&world.files(), NOW).unwrap().alarms, []);
        let saw = world.connection.witnesses["a"].last("log.example").unwrap().unwrap();
        let alarm = monitor.compare_with(&world.files(), &saw).unwrap().expect("an alarm");
        // Where theirs is longer the tiles that we are shown can't prove anything about it.
        assert_eq!(alarm.evidence.is_some(), ours >= theirs, "{ours} and {theirs}: {}", alarm.what);
        if let Some(evidence) = alarm.evidence {
            assert!(evidence.check(world.policy.log()).is_ok());
        }
    }
}

#[test]
fn a_checkpoint_without_its_quorum_is_told_of() {
    let (world, log) = World::new(0);
    log.append(&entries(0..10)).unwrap();
    let witnesses: Vec<_> = world.policy.witnesses().to_vec();
    let strict = Policy::new(world.policy.log().clone(), witnesses, 2).unwrap();
    let mut monitor = Monitor::new(strict, None).unwrap();
    let told = monitor.look(&world.files(), NOW).unwrap().alarms.remove(0).what;
    assert!(told.contains(&NoteError::NoQuorum { found: 0, needed: 2 }.to_string()), "{told}");
    log.cosign(&world.connection).unwrap();
    assert_eq!(monitor.look(&world.files(), NOW).unwrap().alarms, [], "the control");
}
