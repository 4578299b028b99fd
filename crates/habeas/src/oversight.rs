//! The commands of those who watch the operator, and are not the operator: `witness`, `monitor`, `evidence`. They need public addresses and
//! nothing else. And the operator's own `log witness`: which witnesses the log asks.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cashu::messages::{KeysResponse, KeysetsResponse};
use clap::{Args, Subcommand};
use openid4vc::trusted_list::LoggedList;
use privacypass::directory::Directory;
use serde_json::json;
use sha2::{Digest, Sha256};
use tlog::cosignature::{Policy, Witness};
use tlog::evidence::Evidence;
use tlog::note::Verifier;
use transparency::cosigning::{ANSWER_MAX_LEN, WitnessConnection, Witnesses};
use transparency::monitor::{Alarm, Look, Monitor};
use transparency::witness;
use wallet::http::{self, Exchange, HttpError};
use wallet::log_view::HttpTiles;

use crate::data::{DataFolder, write_private};
use crate::server::StopSignals;
use crate::wiring::unix_now;

/// How long a witness may take: it reads a small file and writes one.
const WITNESS_PATIENCE: Duration = Duration::from_secs(5);

/// The way to witnesses over HTTP.
pub struct HttpWitnesses;

impl WitnessConnection for HttpWitnesses {
    fn add_checkpoint(&self, address: &str, body: &str) -> Result<(u16, Vec<u8>), String> {
        let exchange = Exchange {
            kind: "text/plain; charset=utf-8",
            accept: "*/*",
            timeout: WITNESS_PATIENCE,
            max_len: ANSWER_MAX_LEN,
        };
        exchange.post(&format!("{address}/add-checkpoint"), body.as_bytes()).map_err(|error| error.to_string())
    }
}

/// `habeas witness`
#[derive(Args)]
pub struct WitnessCommand {
    /// A log: its verifier key, or its address such as http://127.0.0.1:4280/log, whose key is asked for once; may be given again
    #[arg(long, required = true)]
    log: Vec<String>,
    /// The name of this witness, such as witness.example; for ever
    #[arg(long, default_value = "habeas-witness")]
    name: String,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:4291")]
    listen: SocketAddr,
    /// The witness's own folder: its key, and what it cosigned
    #[arg(long, default_value = "habeas-witness")]
    data: PathBuf,
}

/// Runs a witness until told to stop.
pub fn witness(command: WitnessCommand) -> Result<()> {
    let stop = StopSignals::catch()?;
    let logs = command.log.iter().map(|log| verifier_of(log, &command.data)).collect::<Result<Vec<_>>>()?;
    let witness = Arc::new(witness::Witness::open(&command.data, &command.name, logs)?);
    let key = witness.vkey();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bound = runtime.block_on(tokio::net::TcpListener::bind(command.listen));
    let listener =
        bound.with_context(|| format!("can't listen at {}: choose another with --listen", command.listen))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { axum::serve(listener, witness::router(witness.clone())).await });
    // In one piece: whoever reads may close the pipe after the key.
    print!(
        "witness: http://{address}\nkey: {key}\n\
         the operator has it asked with: habeas log witness add http://{address} '{key}' --quorum 1\n"
    );
    stop.wait();
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// A log's key: as it is given, or as its address shows it the first time. It is kept in `folder`, and the same from then on.
fn verifier_of(log: &str, folder: &Path) -> Result<Verifier> {
    if !log.starts_with("http://") && !log.starts_with("https://") {
        return Verifier::parse(log).with_context(|| format!("'{log}' is neither a log's key nor its address"));
    }
    let address = log.trim_end_matches('/');
    let short = hex::encode(&Sha256::digest(address)[..8]);
    let path = folder.join(format!("{short}.log-key"));
    let key = match fs::read_to_string(&path) {
        Ok(key) => key,
        Err(_) => {
            let key = key_shown_at(address)?;
            fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
            write_private(&path, key.as_bytes())?;
            println!("taken on first sight: {key}");
            key
        }
    };
    Verifier::parse(&key).with_context(|| format!("{} is damaged", path.display()))
}

/// The key that a log shows at its address.
pub fn key_shown_at(address: &str) -> Result<String> {
    let shown = http::get_bytes(&format!("{}/vkey", address.trim_end_matches('/')))?;
    let key = Verifier::parse(&String::from_utf8(shown)?);
    Ok(key.with_context(|| format!("{address} shows no log's key"))?.to_vkey())
}

/// `habeas log witness …`
#[derive(Subcommand)]
pub enum LogWitnessCommand {
    /// Have a witness asked, from the next checkpoint on
    Add {
        /// Its address
        address: String,
        /// Its verifier key
        key: String,
        /// How many witnesses have to have cosigned what readers get
        #[arg(long)]
        quorum: Option<usize>,
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
    },
    /// Ask a witness no more
    Remove {
        /// Its verifier key, or its name
        key: String,
        /// How many of the others have to have cosigned
        #[arg(long)]
        quorum: Option<usize>,
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
    },
    /// Show who is asked
    List {
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
    },
}

/// `habeas log witness …`
pub fn log_witness(command: LogWitnessCommand) -> Result<()> {
    let (LogWitnessCommand::Add { data, .. }
    | LogWitnessCommand::Remove { data, .. }
    | LogWitnessCommand::List { data }) = &command;
    let data = DataFolder::existing(data)?;
    let folder = data.root().join("log");
    let mut all = Witnesses::load(&folder)?;
    match command {
        LogWitnessCommand::Add { address, key, quorum, .. } => {
            let witness = Witness::parse(&key).context("a witness's key has the form <name>+<hash>+<key>")?;
            all.witnesses.retain(|(known, _)| *known != witness);
            all.witnesses.push((witness, address.trim_end_matches('/').to_owned()));
            all.quorum = quorum.unwrap_or(all.quorum);
        }
        LogWitnessCommand::Remove { key, quorum, .. } => {
            let before = all.witnesses.len();
            all.witnesses.retain(|(witness, _)| witness.name() != key && witness.to_vkey() != key);
            if all.witnesses.len() == before {
                bail!("no witness '{key}' is asked: `habeas log witness list` shows them");
            }
            all.quorum = quorum.unwrap_or(all.quorum);
        }
        LogWitnessCommand::List { .. } => {
            print!("{}", all.to_text());
            return Ok(());
        }
    }
    // A quorum that can't be reached would hold back every checkpoint.
    all.policy(Verifier::parse(&data.server_file()?.log_vkey)?)?;
    all.save(&folder)?;
    println!("{} witnesses, of which {} have to have cosigned what readers get", all.witnesses.len(), all.quorum);
    Ok(())
}

/// `habeas monitor`
#[derive(Args)]
pub struct MonitorCommand {
    /// The address of what is watched, such as http://127.0.0.1:4280
    url: String,
    /// The log's key; default: the one that it shows the first time
    #[arg(long)]
    key: Option<String>,
    /// A witness: its verifier key, or KEY=ADDRESS to look at what it saw, too; may be given again
    #[arg(long)]
    witness: Vec<String>,
    /// How many of them have to have cosigned
    #[arg(long, default_value_t = 0)]
    quorum: usize,
    /// The monitor's own folder: what it saw last, and the evidence
    #[arg(long, default_value = "habeas-monitor")]
    data: PathBuf,
    /// Seconds between looks
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Look once; an alarm makes the command fail
    #[arg(long)]
    once: bool,
    /// Print a JSON object for each look
    #[arg(long)]
    json: bool,
}

/// Looks at a log and what it speaks of again and again.
pub fn monitor(command: MonitorCommand) -> Result<()> {
    let stop = StopSignals::catch()?;
    let url = command.url.trim_end_matches('/').to_owned();
    let log = verifier_of(command.key.as_deref().unwrap_or(&format!("{url}/log")), &command.data)?;
    let mut witnesses = Vec::new();
    let mut addresses = Vec::new();
    for named in &command.witness {
        // A key ends in base64, which may end in the same sign.
        let (key, address) = match named.split_once("=http") {
            Some((key, rest)) => (key, Some(format!("http{}", rest.trim_end_matches('/')))),
            None => (named.as_str(), None),
        };
        witnesses.push(Witness::parse(key).with_context(|| format!("'{key}' is no witness's key"))?);
        addresses.extend(address);
    }
    let policy = Policy::new(log, witnesses, command.quorum)?;
    let mut watch = Watch::open(url, policy, addresses, command.data)?;
    if command.once {
        let alarms = watch.look(command.json)?;
        if alarms > 0 {
            bail!("{alarms} alarms");
        }
        return Ok(());
    }
    let (told, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        stop.wait();
        drop(told);
    });
    loop {
        if let Err(error) = watch.look(command.json) {
            eprintln!("{} nothing could be looked at: {error:#}", jiff::Timestamp::now());
        }
        let waited = stopped.recv_timeout(Duration::from_secs(command.every.max(1)));
        if waited == Err(std::sync::mpsc::RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

/// A monitor, its folder, and what it has said already.
struct Watch {
    url: String,
    policy: Policy,
    /// Where witnesses show what they saw.
    addresses: Vec<String>,
    folder: PathBuf,
    source: HttpTiles,
    monitor: Monitor,
    said: BTreeSet<String>,
}

impl Watch {
    fn open(url: String, policy: Policy, addresses: Vec<String>, folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(folder.join("alarms")).with_context(|| format!("{} can't be made", folder.display()))?;
        let seen = match fs::read_to_string(folder.join("seen")) {
            Ok(note) => Some(note),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("what the monitor saw last can't be read"),
        };
        let monitor = Monitor::new(policy.clone(), seen).with_context(|| {
            format!("{} belongs to a monitor of another log: choose another with --data", folder.display())
        })?;
        let source = HttpTiles::new(&format!("{url}/log"));
        Ok(Watch { url, policy, addresses, folder, source, monitor, said: BTreeSet::new() })
    }

    /// Looks once, tells what is new, and gives the number of alarms.
    fn look(&mut self, as_json: bool) -> Result<usize> {
        let mut look = self.monitor.look(&self.source, unix_now())?;
        if let Some(seen) = self.monitor.seen() {
            write_private(&self.folder.join("seen"), seen.as_bytes())?;
        }
        for address in &self.addresses {
            look.alarms.extend(self.witness_saw(address)?);
        }
        // What the log says of services is known only when the log itself is good.
        if look.alarms.is_empty() {
            look.alarms.extend(self.services_keep_to_the_log()?);
        }
        let mut files = Vec::new();
        for alarm in &look.alarms {
            files.push(match &alarm.evidence {
                Some(evidence) => Some(self.keep(&alarm.what, evidence)?),
                None => None,
            });
        }
        self.tell(&look, &files, as_json);
        Ok(look.alarms.len())
    }

    /// What a witness saw, held against what we see.
    fn witness_saw(&self, address: &str) -> Result<Option<Alarm>> {
        let origin = form_urlencoded::byte_serialize(self.policy.log().name().as_bytes()).collect::<String>();
        let note = match http::get_bytes(&format!("{address}/checkpoint?origin={origin}")) {
            Ok(note) => String::from_utf8(note).context("a witness shows what is no text")?,
            // It has not seen the log yet.
            Err(HttpError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Ok(Some(spoken(format!("the witness at {address} can't be asked: {error}")))),
        };
        Ok(self.monitor.compare_with(&self.source, &note)?)
    }

    /// That keysets, predicates' keys and the trusted list that are served are those in the log.
    fn services_keep_to_the_log(&self) -> Result<Vec<Alarm>> {
        let mut alarms = Vec::new();
        let rules = self.monitor.rules();
        if let Some(served) = self.served::<KeysetsResponse>("/v1/keysets")? {
            for keyset in served.keysets {
                let id = keyset.id.to_string();
                if !rules.has_keyset(&id) {
                    alarms.push(spoken(format!(
                        "the mint has keyset {id}, and the log has not: somebody may be marked by it"
                    )));
                } else if let Some(keys) = self.served::<KeysResponse>(&format!("/v1/keys/{id}"))?
                    && !keys.keysets.iter().any(|keys| keys.id == keyset.id && keys.check_id())
                {
                    alarms.push(spoken(format!("the mint shows other keys for keyset {id} than its id commits to")));
                }
            }
        }
        if let Some(directory) = self.fetched("/credential/predicates")? {
            let directory =
                Directory::from_json(&directory).context("the directory of predicates' keys can't be read")?;
            for key in directory.token_keys.iter().filter(|key| key.announced.is_some()) {
                let id = hex::encode(key.public_key.id().0);
                if !rules.has_predicate_key(&id) {
                    alarms.push(spoken(format!(
                        "the issuer has a predicate's key {id}, and the log has not: somebody may be marked by it"
                    )));
                }
            }
        }
        if let Some(list) = self.fetched("/credential/trusted-list")? {
            let hash = hex::encode(Sha256::digest(&list));
            let told = self.served::<LoggedList>("/credential/trusted-list/log-entry")?;
            // One that was replaced between the two questions is looked at again the next time.
            if told.is_some_and(|told| told.sha256 == hash) && !rules.has_trusted_list(&hash) {
                alarms.push(spoken("the list of trusted entities that is served is not in the log".into()));
            }
        }
        Ok(alarms)
    }

    /// What a public address gives; `None` where this operator does not serve it.
    fn fetched(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match http::get_bytes(&format!("{}{path}", self.url)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(HttpError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn served<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes).with_context(|| format!("{path} can't be read"));
        self.fetched(path)?.map(read).transpose()
    }

    /// Keeps evidence under the hash of what it says, so that the same is kept once.
    fn keep(&self, what: &str, evidence: &Evidence) -> Result<PathBuf> {
        let path = self.folder.join("alarms").join(format!("{}.json", hex::encode(&Sha256::digest(what)[..8])));
        if !path.exists() {
            write_private(&path, &evidence.to_json())?;
        }
        Ok(path)
    }

    /// Says what is new. An alarm that stands is said once.
    fn tell(&mut self, look: &Look, files: &[Option<PathBuf>], as_json: bool) {
        let now = jiff::Timestamp::now();
        if as_json {
            let alarm = |(alarm, file): (&Alarm, &Option<PathBuf>)| json!({"what": alarm.what, "evidence": file});
            let alarms: Vec<_> = look.alarms.iter().zip(files).map(alarm).collect();
            let Look { size, new, unknown, cosigned, .. } = look;
            println!(
                "{}",
                json!({"at": now.to_string(), "entries": size, "new": new, "unknown": unknown, "cosigned": cosigned, "alarms": alarms})
            );
            return;
        }
        for (alarm, file) in look.alarms.iter().zip(files) {
            if self.said.insert(alarm.what.clone()) {
                println!("{now} ALARM: {}", alarm.what);
                if let Some(file) = file {
                    println!("    evidence: {} (habeas evidence checks it)", file.display());
                }
            }
        }
        if look.alarms.is_empty() && (look.new > 0 || self.said.insert(String::new())) {
            let unknown =
                if look.unknown > 0 { format!(", {} of a kind unknown here", look.unknown) } else { String::new() };
            println!(
                "{now} {} entries, {} new{unknown}; {} witnesses cosigned; nothing is wrong",
                look.size, look.new, look.cosigned
            );
        }
    }
}

fn spoken(what: String) -> Alarm {
    Alarm { what, evidence: None }
}

/// `habeas evidence`: checks a file of a monitor's or a witness's against the log's key, offline.
pub fn evidence(file: &Path, key: Option<&str>) -> Result<()> {
    let json = fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    let evidence = Evidence::from_json(&json)?;
    let log = Verifier::parse(key.unwrap_or(evidence.log())).context("the key is no log's key")?;
    println!("{}", evidence.check(&log)?);
    if key.is_none() {
        println!(
            "signed with {}: whether that is the log's key you have to know from elsewhere (--key)",
            log.to_vkey()
        );
    }
    Ok(())
}
