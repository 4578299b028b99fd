//! `habeas mint …`: what the operator of a mint does beside running it. Its key, backup, restore, status.
//!
//! A backup holds the mint's rows and no key. A restore checks all of it before anything counts, works into a place of its own
//! (`DATA/mint.restoring`, or one transaction of the database), and puts the result where `habeas up` looks last. Nothing starts
//! on a folder in which a restore was cut off.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::Timestamp;
use mint::TokenUri;
use mint::audit::MintAudit;
use mint::backup::{self, Contents, Header, Place};
use mint::keysets::MintSeed;
use mint::status::MintStatus;
use mint::store::lsm::LsmStore;
use mint::store::{self, Store, StoreKind};
use serde::{Deserialize, Serialize};
use treasury::Treasury;

use crate::client::Officer;
use crate::data::{DataFolder, FolderLock};
use crate::mint_key;
use crate::services::{MINT_BACKUP, MINT_STATUS};
use crate::wiring::{SystemClock, unix_now};

/// Bytes that are read or written at once.
const BUFFER: usize = 1024 * 1024;

/// The operation of a mint.
#[derive(Subcommand)]
pub enum MintCommand {
    /// Make the seed of a new mint in a PKCS#11 token: random, and never to leave it
    MakeKey {
        /// Which key of which token: 'pkcs11:token=…;object=…?module-path=…&pin-source=file:/…' (RFC 7512)
        #[arg(long)]
        key: String,
    },
    /// Write everything that the mint has at one moment to a file; works beside a running server too
    Backup {
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
        /// Where the backup goes; a file that is there is never overwritten
        #[arg(long)]
        out: PathBuf,
    },
    /// Bring a mint back from a backup, into a data folder that has none, on either store
    Restore {
        /// The backup
        #[arg(long)]
        from: PathBuf,
        /// The data folder: a fresh one, or one whose `mint` folder is gone
        #[arg(long)]
        data: PathBuf,
        /// The file with the mint's seed, which is not in the backup
        #[arg(long, required_unless_present = "mint_key", conflicts_with = "mint_key")]
        seed: Option<PathBuf>,
        /// The mint's seed in a PKCS#11 token ('pkcs11:token=…;object=…?module-path=…&pin-source=file:/…')
        #[arg(long)]
        mint_key: Option<String>,
        /// Keep the mint's rows in this empty PostgreSQL database (postgres://…) instead of the data folder
        #[arg(long)]
        mint_store: Option<String>,
    },
    /// How the mint is: store, keysets, rows, events; works beside a running server too
    Status {
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Carries a command out.
pub fn run(command: MintCommand) -> Result<()> {
    match command {
        MintCommand::MakeKey { key } => mint_key::make_key(&key.parse()?),
        MintCommand::Backup { data, out } => back_up(&data, &out),
        MintCommand::Restore { from, data, seed, mint_key, mint_store } => {
            let place = match (seed, mint_key) {
                (_, Some(uri)) => SeedPlace::Token(Box::new(uri.parse()?)),
                (Some(file), None) => SeedPlace::File(file),
                (None, None) => bail!("name the mint's seed with --seed or --mint-key"),
            };
            restore(&from, &data, &place, mint_store)
        }
        MintCommand::Status { data, json } => status(&data, json),
    }
}

/// A mint whose server does not run.
struct Resting {
    seed: MintSeed,
    store: Box<dyn Store>,
    _lock: FolderLock,
}

fn seed_file(data: &DataFolder) -> PathBuf {
    data.service("mint").join("mint.seed")
}

/// Where a mint's seed is.
enum SeedPlace {
    File(PathBuf),
    Token(Box<TokenUri>),
}

impl SeedPlace {
    /// Where the mint of a folder has it.
    fn of(data: &DataFolder) -> Result<Self> {
        Ok(match data.mint_key()? {
            Some(uri) => SeedPlace::Token(Box::new(uri)),
            None => SeedPlace::File(seed_file(data)),
        })
    }

    /// Reads a seed that must be there: one that is made here and now would be of no mint.
    fn read(&self) -> Result<MintSeed> {
        match self {
            SeedPlace::Token(uri) => Ok(MintSeed::in_token(uri)?),
            SeedPlace::File(path) if path.is_file() => {
                MintSeed::open(path).with_context(|| format!("the seed {} can't be read", path.display()))
            }
            SeedPlace::File(path) => bail!(
                "there is no seed {}: it is the file mint.seed of the mint's folder, kept apart from its backups",
                path.display()
            ),
        }
    }
}

/// Opens the mint of a folder, which must have one.
fn resting(data: &DataFolder, lock: FolderLock) -> Result<Resting> {
    refuse_half_restored(data)?;
    let (mint, database, place) = (data.service("mint"), data.mint_store()?, SeedPlace::of(data)?);
    let has_seed = matches!(place, SeedPlace::Token(_)) || seed_file(data).is_file();
    let has_store = if database.is_some() { mint.is_dir() } else { mint.join("store").is_dir() };
    if !has_seed || !has_store {
        bail!(
            "there is no mint in {}: `habeas up` makes one, `habeas mint restore` brings one back",
            data.root().display()
        );
    }
    let seed = place.read()?;
    let store = store::open(&mint, database.as_deref(), &seed)?;
    Ok(Resting { seed, store, _lock: lock })
}

/// A file that comes into being whole: written beside, checked, renamed. Gone when dropped before.
struct Beside {
    next: PathBuf,
    path: PathBuf,
    renamed: bool,
}

impl Beside {
    fn create(path: &Path) -> Result<(Self, File)> {
        if path.exists() {
            bail!("{} is there already: a backup never overwrites anything, choose another name", path.display());
        }
        let mut next = path.as_os_str().to_owned();
        next.push(".partial");
        let next = PathBuf::from(next);
        let make = || -> std::io::Result<File> {
            if next.exists() {
                // What a crash left.
                fs::remove_file(&next)?;
            }
            OpenOptions::new().create_new(true).write(true).mode(0o600).open(&next)
        };
        let file = make().with_context(|| format!("{} can't be written", next.display()))?;
        Ok((Beside { next, path: path.to_owned(), renamed: false }, file))
    }

    fn rename(mut self) -> Result<()> {
        let rename = || -> std::io::Result<()> {
            fs::rename(&self.next, &self.path)?;
            sync_folder(&self.path)
        };
        rename().with_context(|| format!("{} can't be written", self.path.display()))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.next);
        }
    }
}

/// Makes the entry of a file in its folder durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn open_backup(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(BufReader::with_capacity(BUFFER, file))
}

fn back_up(data: &Path, out: &Path) -> Result<()> {
    let data = DataFolder::existing(data)?;
    let lock = data.try_lock()?;
    let (beside, mut file) = Beside::create(out)?;
    let seed = match lock {
        Some(lock) => {
            let mint = resting(&data, lock)?;
            let mut writer = BufWriter::with_capacity(BUFFER, &mut file);
            backup::write(&*mint.store, &mint.seed, unix_now(), data.is_sandbox(), &mut writer)
                .with_context(|| format!("no backup was written to {}", out.display()))?;
            mint.seed
        }
        None => {
            let mut stream = Officer::of(&data, "admin")?.stream(MINT_BACKUP)?;
            std::io::copy(&mut stream, &mut file)
                .with_context(|| format!("no backup was written to {}", out.display()))?;
            SeedPlace::of(&data)?.read()?
        }
    };
    file.sync_all().with_context(|| format!("{} can't be written", out.display()))?;
    let contents = backup::check(open_backup(&beside.next)?, &seed)?;
    beside.rename()?;
    println!("{}", described(&contents.header));
    println!("rows: {}\nfile: {}", contents.row_count(), out.display());
    match SeedPlace::of(&data)? {
        SeedPlace::File(path) => println!(
            "No key is in it: keep a copy of {} apart from all backups (once; it never changes). Without it a backup is worth \
             nothing.",
            path.display()
        ),
        SeedPlace::Token(uri) => println!(
            "No key is in it: the seed is '{}' in the token '{}', to be backed up in the way that its maker gives. Without it a \
             backup is worth nothing.",
            uri.object(),
            uri.token()
        ),
    }
    println!(
        "Who finds a backup alone learns amounts, quote numbers and merchants' takings, can spend nothing, and learns nothing \
         about people."
    );
    Ok(())
}

/// A backup in one line.
fn described(header: &Header) -> String {
    let commit = header.last_commit.map_or(String::new(), |number| format!(" commit {number},"));
    format!(
        "backup: mint {}, made {}, up to{commit} event {}, from the {} store{}",
        header.mint,
        show_time(header.made_at),
        header.last_event,
        header.store.name(),
        if header.sandbox { ", a sandbox" } else { "" }
    )
}

fn show_time(unix: u64) -> String {
    i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok()).unwrap_or_default().to_string()
}

/// The folder that a restore works in.
fn workplace(data: &DataFolder) -> PathBuf {
    data.service("mint.restoring")
}

/// Fails where a restore was cut off: what it left is not a mint.
pub fn refuse_half_restored(data: &DataFolder) -> Result<()> {
    if workplace(data).exists() {
        bail!(
            "a restore of the mint in {} was cut off: run `habeas mint restore` again, into an empty database if it was one",
            data.root().display()
        );
    }
    Ok(())
}

fn restore(from: &Path, data_path: &Path, seed_place: &SeedPlace, mint_store: Option<String>) -> Result<()> {
    let seed = seed_place.read()?;
    let (contents, audit) = backup::check_and_audit(open_backup(from)?, &seed)?;
    let header = &contents.header;
    let mut undo = Undo::of(data_path);
    let data = DataFolder::create(data_path)?;
    let _lock = data.lock()?;
    refuse_another_mint(&data, header, &seed)?;
    refuse_another_kind(&data, header)?;
    refuse_older_than_the_books(&data, header)?;
    if mint_store.is_none() && data.mint_store()?.is_some() {
        bail!(
            "the mint of {0} is kept in a database: name it (or another empty one) with --mint-store, or remove {0}/mint-store to \
             bring the mint into the folder",
            data.root().display()
        );
    }

    refuse_another_key(&data, seed_place)?;

    let place = workplace(&data);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("{} can't be removed", place.display()))?;
    }
    undo.folders.push(place.clone());
    fs::create_dir(&place).with_context(|| format!("{} can't be made", place.display()))?;
    let target = match &mint_store {
        None => Place::Folder(place.join("store")),
        Some(address) => Place::Database(address.clone()),
    };
    let restored = backup::restore(open_backup(from)?, &seed, &target)?;
    if restored.totals != audit.totals {
        bail!(
            "what was restored has other sums than the backup: this is a fault of habeas, keep the backup and report it"
        );
    }
    put_in_place(&data, &place, seed_place, mint_store.as_deref(), header)?;
    undo.folders.clear();
    println!("{}", described(header));
    println!(
        "restored: {} rows, into {}",
        contents.row_count(),
        match &target {
            Place::Folder(_) => data.service("mint").display().to_string(),
            Place::Database(_) => "the database".to_owned(),
        }
    );
    print_totals(&restored);
    print_risk(&data, header);
    Ok(())
}

/// Removes what a restore has made, when it fails.
struct Undo {
    folders: Vec<PathBuf>,
}

impl Undo {
    /// The data folder itself, if it is not there yet.
    fn of(data: &Path) -> Self {
        Undo { folders: if data.exists() { Vec::new() } else { vec![data.to_owned()] } }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for folder in &self.folders {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A mint that is there is never replaced: it may know of tokens that were spent after the backup.
fn refuse_another_mint(data: &DataFolder, header: &Header, seed: &MintSeed) -> Result<()> {
    let mint = data.service("mint");
    let others = match fs::read_dir(&mint) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.and_then(|entries| {
            let others = entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name() != "mint.seed"));
            others.collect::<std::io::Result<Vec<_>>>()
        }),
    };
    if others.with_context(|| format!("{} can't be read", mint.display()))?.is_empty() {
        if seed_file(data).is_file()
            && backup::mint_id(&SeedPlace::File(seed_file(data)).read()?) != backup::mint_id(seed)
        {
            bail!("{} is another mint's seed: move it away first, and keep it", seed_file(data).display());
        }
        return Ok(());
    }
    let forgotten = match (LsmStore::answered_in(&mint.join("store"), seed), header.last_commit) {
        (Some(answered), Some(saved)) if answered > saved => {
            format!(
                " It answered {answered} commits and the backup has {saved}: the {} after it would be forgotten, and what they \
                 spent could be spent again.",
                answered - saved
            )
        }
        _ => String::new(),
    };
    bail!(
        "{} has a mint, which may know of more than the backup: nothing was restored.{forgotten} Use it if it can be used; if not, \
         move that folder away and keep it, then restore",
        mint.display()
    )
}

/// A folder has its mint's seed in one place.
fn refuse_another_key(data: &DataFolder, seed_place: &SeedPlace) -> Result<()> {
    match (seed_place, data.mint_key()?) {
        (SeedPlace::File(_), Some(known)) => bail!(
            "the mint of {0} has its seed in a token ('{1}' in '{2}'): name it with --mint-key, or remove {0}/mint-key to have the \
             seed in a file",
            data.root().display(),
            known.object(),
            known.token()
        ),
        (SeedPlace::Token(_), _) if seed_file(data).exists() => bail!(
            "{} is there, and a seed that lies on a disk is in no token's keeping: take it away from this machine, or name it with \
             --seed",
            seed_file(data).display()
        ),
        _ => Ok(()),
    }
}

/// A sandbox and a programme never share a folder.
fn refuse_another_kind(data: &DataFolder, header: &Header) -> Result<()> {
    if data.service("registry").exists() && data.is_sandbox() != header.sandbox {
        bail!(
            "{} {} a sandbox and the backup's mint {}: choose another folder with --data",
            data.root().display(),
            if data.is_sandbox() { "is" } else { "is not" },
            if header.sandbox { "is one" } else { "is none" }
        );
    }
    Ok(())
}

/// The events that the treasury has booked, if the folder has one.
fn booked(data: &DataFolder) -> Result<Option<u64>> {
    let folder = data.service("treasury");
    if !folder.join("treasury.db").is_file() {
        return Ok(None);
    }
    Ok(Some(Treasury::open(&folder, Arc::new(SystemClock))?.booked_events()?))
}

/// A backup that the books have passed lacks money that was issued or redeemed.
fn refuse_older_than_the_books(data: &DataFolder, header: &Header) -> Result<()> {
    match booked(data)? {
        Some(booked) if booked > header.last_event => bail!(
            "the backup is older than the books: it ends at event {} and the treasury of {} has booked {booked}. Its mint would \
             let tokens be spent and quotes be minted a second time. Nothing was restored: take a newer backup. If there is none, \
             this mint must not go on: no keyset that it has may be used again",
            header.last_event,
            data.root().display()
        ),
        _ => Ok(()),
    }
}

/// Puts what was restored where `habeas up` looks for it. Until [`workplace`] is gone nothing starts.
fn put_in_place(
    data: &DataFolder,
    place: &Path,
    seed_place: &SeedPlace,
    mint_store: Option<&str>,
    header: &Header,
) -> Result<()> {
    let mint = data.service("mint");
    let put = || -> Result<()> {
        if header.sandbox {
            data.mark_sandbox()?;
        }
        if let Some(address) = mint_store {
            data.move_mint_store(address)?;
        }
        if seed_file(data).is_file() {
            // The counter first: without a store it is a store that lost commits, which is refused.
            for name in ["store.commits", "store"] {
                if place.join(name).exists() {
                    fs::rename(place.join(name), mint.join(name))?;
                }
            }
            File::open(&mint)?.sync_all()?;
            fs::remove_dir(place)?;
        } else {
            match seed_place {
                SeedPlace::File(path) => {
                    crate::data::write_private(&place.join("mint.seed"), &fs::read(path)?)?;
                    sync_folder(&place.join("mint.seed"))?;
                }
                SeedPlace::Token(uri) => data.write_mint_key(uri)?,
            }
            // Over an empty folder, if there is one.
            fs::rename(place, &mint)?;
        }
        Ok(sync_folder(&mint)?)
    };
    put().with_context(|| format!("what was restored can't be put into {}", mint.display()))
}

fn print_totals(audit: &MintAudit) {
    for (unit, totals) in &audit.totals {
        let show = |minor| crate::show(minor, unit.as_str());
        println!(
            "{unit}: issued {}, redeemed {}, outstanding {} (signed {}, spent {})",
            show(totals.issued),
            show(totals.redeemed),
            show(audit.outstanding(unit).minor()),
            show(totals.signed),
            show(totals.spent)
        );
    }
    println!("balanced");
}

/// What is at risk, and how to be safe.
fn print_risk(data: &DataFolder, header: &Header) {
    let made = show_time(header.made_at);
    let age = unix_now().saturating_sub(header.made_at);
    let last = header.last_commit.map_or(String::new(), |number| format!("commit {number}, "));
    println!(
        "
This is the mint as it was {} ago, at {made} ({last}event {}). It has forgotten whatever it answered later:
- tokens that were spent later can be spent a second time, by whoever kept a copy;
- quotes that were minted later can be minted a second time;
- tokens that were made later are good all the same: their signatures are.",
        show_age(age),
        header.last_event
    );
    match booked(data) {
        Ok(Some(booked)) => println!(
            "The treasury has booked {booked} events of {}: no minting or redeeming that it knows of is forgotten. Exchanges \
             between tokens are no events: it can't know of those.",
            header.last_event
        ),
        _ if header.sandbox => {}
        _ => println!(
            "There is no treasury in {}: put the other services' folders back before the first `habeas up`, or a fresh treasury \
             takes all e-cash for counterfeit.",
            data.root().display()
        ),
    }
    println!(
        "If the mint answered anybody after {made}, do not start it: use the old store, or a newer backup. If there is neither, \
         the keysets that signed up to the loss should be spent no more, other than by hand, against receipts; habeas can't retire \
         a keyset by itself yet.
Safe from this: PostgreSQL with a synchronous replica (nothing is lost); less at risk: a backup every few minutes."
    );
}

fn show_age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How a mint and its surroundings are.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// The mint itself.
    pub mint: MintStatus,
    /// The number of the last event that the treasury has booked.
    pub treasury_read: u64,
    /// The server, if one runs.
    pub server: Option<RunningServer>,
}

/// A server that runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunningServer {
    /// `http://host:port`.
    pub url: String,
    /// Unix time of its start.
    pub since: u64,
}

fn status(data: &Path, json: bool) -> Result<()> {
    let data = DataFolder::existing(data)?;
    let status = match data.try_lock()? {
        Some(lock) => {
            let mint = resting(&data, lock)?;
            Status {
                mint: mint::status::of_store(&*mint.store, &mint.seed, unix_now(), data.is_sandbox())?,
                treasury_read: booked(&data)?.unwrap_or(0),
                server: None,
            }
        }
        None => Officer::of(&data, "admin")?.get(MINT_STATUS)?,
    };
    if json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        print_status(&status);
    }
    Ok(())
}

fn print_status(status: &Status) {
    let mint = &status.mint;
    println!("mint: {}\nversion: {}", mint.mint, mint.version);
    match &status.server {
        Some(server) => println!("server: runs at {} since {}", server.url, show_time(server.since)),
        None => println!("server: none runs"),
    }
    println!("sandbox: {}", if mint.sandbox { "yes" } else { "no" });
    println!("store: {}, {} on disk", mint.store.name(), show_bytes(mint.bytes));
    let commit = match (mint.last_commit, mint.store) {
        (Some(number), _) => number.to_string(),
        (None, StoreKind::PostgreSql) => "the database counts its own".to_owned(),
        (None, StoreKind::Embedded) => "none".to_owned(),
    };
    println!("last commit: {commit}");
    println!("last event: {}, the treasury has read {}", mint.last_event, status.treasury_read);
    println!("rows, about: {}", show_rows(&mint.approximate_rows));
    for keyset in &mint.keysets {
        println!(
            "keyset: {} {}, {} to {}, {}, spendable until {}, log entry {}, fee {} ppk",
            keyset.id,
            keyset.unit,
            show_time(keyset.starts_at),
            show_time(keyset.ends_at),
            if keyset.active { "active" } else { "not active" },
            keyset.final_expiry.map_or_else(|| "any time".to_owned(), show_time),
            keyset.log_index,
            keyset.input_fee_ppk
        );
    }
}

fn show_rows(rows: &BTreeMap<String, Option<u64>>) -> String {
    let show = |(table, count): (&String, &Option<u64>)| {
        let count = count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        format!("{table} {count}")
    };
    rows.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A mint's backup as it is written, for the server's route: what became of it is logged.
pub fn stream_backup(mint: &mint::Mint, out: &mut dyn Write) {
    let begun = std::time::Instant::now();
    let written = mint.back_up(out);
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match &written {
        Ok(contents) => log_backup(contents, milliseconds),
        Err(error) => tracing::error!(%error, milliseconds, "backup failed"),
    }
}

fn log_backup(contents: &Contents, milliseconds: u64) {
    let Header { last_commit, last_event, .. } = &contents.header;
    tracing::info!(rows = contents.row_count(), last_commit, last_event, milliseconds, "backup written");
}
