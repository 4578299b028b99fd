//! What the public log does: appends a second, each durable before its caller goes on, and how long callers wait; verification; bytes an
//! entry. Beside it, what the disk allows: the same batches written to one file and synced.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use tlog::client::verify_log;
use tlog::entry::Entry;
use tlog::note::Verifier;
use tlog::tag::Tag;
use transparency::Log;
use transparency::store::PublicFiles;

/// Entries that are appended at once while the log is filled.
const FILL_BATCH: u64 = 32_768;

#[derive(Parser)]
struct Arguments {
    /// Entries in the log before it is measured
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Seconds that appends are measured for
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Callers at once
    #[arg(long, default_value_t = 256)]
    callers: usize,
    /// Entries that a caller appends at once; the registry's gate does so for a payment run
    #[arg(long, default_value_t = 16)]
    at_once: u64,
}

#[derive(Serialize)]
struct Figures {
    entries: u64,
    callers: usize,
    at_once: u64,
    /// Entries a second, each durable.
    appends: f64,
    /// How long a caller waits, milliseconds.
    median_ms: f64,
    p99_ms: f64,
    /// Syncs a second of one file to which a page is appended, on the same disk: what no durable log goes past with one sync for each.
    bare_syncs: f64,
    /// Entries a second while a reader verifies the whole log.
    verified: Option<f64>,
    /// All files of the log, by its entries.
    bytes_an_entry: f64,
    filled: f64,
}

/// An entry as the gate writes most: a record was opened.
fn entry(number: u64) -> Entry {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    Entry::RecordOpened {
        tag: Tag { nonce, mac: [7; 16] },
        purpose: "evaluate-rule".into(),
        role: "programme-officer".into(),
        officers: vec!["07".repeat(16)],
        fields: vec!["birth_date".into()],
        at: 1_800_000_000,
    }
}

fn main() -> Result<()> {
    let Arguments { entries, seconds, callers, at_once } = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let bare_syncs = bare_syncs(folder.path())?;
    let log = Log::open(&folder.path().join("log"), "bench.example/log")?;
    let begin = Instant::now();
    let mut size = 0;
    while size < entries {
        let batch = FILL_BATCH.min(entries - size);
        log.append(&(size..size + batch).map(entry).collect::<Vec<_>>())?;
        size += batch;
    }
    let filled = entries as f64 / begin.elapsed().as_secs_f64();
    let waits = Mutex::new(Vec::new());
    let (begin, end) = (Instant::now(), Duration::from_secs(seconds));
    std::thread::scope(|scope| {
        for caller in 0..callers as u64 {
            let (log, waits) = (&log, &waits);
            scope.spawn(move || {
                let mut own = Vec::new();
                let batch: Vec<Entry> = (0..at_once).map(|number| entry(caller << 32 | number)).collect();
                while begin.elapsed() < end {
                    let asked = Instant::now();
                    log.append(&batch).expect("the disk is not full");
                    own.push(asked.elapsed());
                }
                waits.lock().expect("no holder panics").extend(own);
            });
        }
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let mut waits = waits.into_inner().context("no holder panics")?;
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let appended = waits.len() as u64 * at_once;
    let total = entries + appended;
    log.close();
    // A reader holds all entries: past some millions that is another figure.
    let verified = (total <= 5_000_000).then(|| -> Result<f64> {
        let begin = Instant::now();
        let policy = Verifier::parse(log.vkey())?.into();
        let read = verify_log(&PublicFiles(log.public_folder()), &policy, None)?;
        anyhow::ensure!(read.checkpoint.size == total, "as many entries as were appended");
        Ok(total as f64 / begin.elapsed().as_secs_f64())
    });
    let figures = Figures {
        entries,
        callers,
        at_once,
        appends: appended as f64 / elapsed,
        median_ms: at(0.5),
        p99_ms: at(0.99),
        bare_syncs,
        verified: verified.transpose()?,
        bytes_an_entry: bytes_below(&log.public_folder())? as f64 / total as f64,
        filled,
    };
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}

fn bare_syncs(folder: &Path) -> Result<f64> {
    const SYNCS: u32 = 500;
    let mut file = File::create(folder.join("bare"))?;
    let begin = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(&[1; 4_096])?;
        file.sync_data()?;
    }
    Ok(f64::from(SYNCS) / begin.elapsed().as_secs_f64())
}

fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
