//! The commands of relying parties and their register: `relying-party`, `verify`, `verifier`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use credential::register::{NewRelyingParty, Registered, RelyingParty};
use credential::status::Form;
use credential::verifier::{self, Network, Outcome, Predicates, Question, SpentTokens, Verifier};
use es256::{Signer, SigningKey};
use jose::{Jwk, base64url};
use openid4vc::registration::Localised;
use openid4vc::trusted_list::ServiceKind;
use serde::{Deserialize, Serialize};
use serde_json::json;
use terminal::display;
use wallet::http::{self, Body};
use wallet::state::Services;

use crate::client::Officer;
use crate::data::{DataFolder, write_private};
use crate::services_of;
use crate::wiring::SystemClock;

/// How long `habeas verify` waits for an answer, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The register of relying parties.
#[derive(Subcommand)]
pub enum RelyingPartyCommand {
    /// Register one: writes the file with which it asks
    Register {
        /// The name that people know
        name: String,
        /// The identifier (EN 319 412-1), such as NTRUT-12345678
        #[arg(long)]
        identifier: String,
        /// The legal name; default: the name
        #[arg(long)]
        legal_name: Option<String>,
        /// What it asks for, a sentence; LANG=TEXT for other languages than English; may be given again
        #[arg(long, required = true)]
        purpose: Vec<String>,
        /// The law or contract that the purpose rests on
        #[arg(long)]
        legal_basis: String,
        /// Days that it may keep what it is shown
        #[arg(long, default_value_t = 0)]
        retention_days: u32,
        /// The attributes that it may ask for, such as age_over_60,given_name
        #[arg(long, value_delimiter = ',', required = true)]
        attributes: Vec<String>,
        /// Where its privacy policy is
        #[arg(long)]
        privacy_policy: Option<String>,
        /// The file with its key and certificates
        #[arg(long)]
        out: PathBuf,
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
    },
    /// Suspend one: wallets refuse it from then on
    Suspend {
        /// The identifier
        identifier: String,
        /// Let it ask again
        #[arg(long)]
        lift: bool,
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
    },
    /// Show all
    List {
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
}

/// A relying party's file: its key, and what the register gave it.
#[derive(Serialize, Deserialize)]
pub struct RelyingPartyFile {
    /// The key's secret number, base64url.
    key: String,
    /// What the register gave.
    #[serde(flatten)]
    registered: Registered,
    /// The issuer's roots, DER in base64url: of the list of trusted entities.
    issuer_roots: Vec<String>,
    /// The register's root, DER in base64url.
    register_root: String,
    /// The issuer's address, where the keys of anonymous predicates are. A file without it asks for credentials only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
}

impl RelyingPartyFile {
    /// The verifier of this relying party; with a list of spent tokens it takes anonymous predicates.
    pub fn verifier(&self, spent: Option<SpentTokens>) -> Result<Verifier> {
        let bytes = |text: &str| base64url::decode(text).context("the relying party's file is damaged");
        let key = SigningKey::from_secret(&bytes(&self.key)?)?;
        let party = verifier::RelyingParty {
            key: Box::new(key),
            certificate: bytes(&self.registered.certificate)?,
            registration_certificate: self.registered.registration.clone(),
            issuer_roots: self.issuer_roots.iter().map(|root| bytes(root)).collect::<Result<_>>()?,
            register_root: bytes(&self.register_root)?,
        };
        let (network, clock) = (Arc::new(Web), Arc::new(SystemClock));
        Ok(match self.issuer.clone().zip(spent) {
            Some((issuer, spent)) => Verifier::with_predicates(party, Predicates { issuer, spent }, network, clock)?,
            None => Verifier::new(party, network, clock)?,
        })
    }
}

/// The network, for a verifier.
struct Web;

impl Network for Web {
    fn status_list(&self, uri: &str, form: Form) -> Result<Vec<u8>, String> {
        let accept = match form {
            Form::Jwt => "application/statuslist+jwt",
            Form::Cwt => "application/statuslist+cwt",
        };
        http::get_as(uri, accept).map_err(|error| error.to_string())
    }

    fn directory(&self, uri: &str) -> Result<Vec<u8>, String> {
        http::get_bytes(uri).map_err(|error| error.to_string())
    }

    fn tell(&self, address: &str, outcome: &Outcome) {
        let json = serde_json::to_vec(outcome).expect("an outcome is plain data");
        if let Err(error) = http::send(address, Body::Json(&json), &[]) {
            tracing::warn!(%error, "a webhook did not take an outcome: it can be asked for");
        }
    }
}

/// Registers a relying party with a fresh key, which `new` gets the public half of. Whom it trusts, it has from the list of trusted entities.
pub fn register(
    admin: &Officer,
    services: &Services,
    new: impl FnOnce(Jwk) -> NewRelyingParty,
) -> Result<RelyingPartyFile> {
    let list = wallet::trusted::fetch_trusted_list(services)?;
    let roots = |kind| list.certificates(kind).iter().map(base64url::encode).collect::<Vec<_>>();
    let mut registers = roots(ServiceKind::AccessCertificates);
    let register_root = registers.pop().context("the list of trusted entities names no register of relying parties")?;
    let key = SigningKey::generate()?;
    let registered: Registered = admin.post("/credential/relying-parties", &new(Jwk::from(*key.public_key())))?;
    Ok(RelyingPartyFile {
        key: base64url::encode(&*key.secret()?),
        registered,
        issuer_roots: roots(ServiceKind::Credentials),
        register_root,
        issuer: services.issuer.as_ref().map(|issuer| issuer.url.clone()),
    })
}

/// `habeas relying-party …`
pub fn relying_party(command: RelyingPartyCommand) -> Result<()> {
    match command {
        RelyingPartyCommand::Register {
            name,
            identifier,
            legal_name,
            purpose,
            legal_basis,
            retention_days,
            attributes,
            privacy_policy,
            out,
            data,
        } => {
            if out.exists() {
                bail!("{} is there already: choose another file", out.display());
            }
            let services = services_of(&data)?;
            let data = DataFolder::existing(&data)?;
            let new = |key| NewRelyingParty {
                legal_name: legal_name.unwrap_or_else(|| name.clone()),
                purpose: purpose.iter().map(|text| localised(text)).collect(),
                key,
                identifier,
                name,
                legal_basis,
                retention_days,
                attributes,
                privacy_policy,
            };
            let file = register(&Officer::of(&data, "admin")?, &services, new)?;
            write_private(&out, &serde_json::to_vec_pretty(&file)?)?;
            println!(
                "registered; {} has the key and the certificates: give it to the relying party alone",
                out.display()
            );
        }
        RelyingPartyCommand::Suspend { identifier, lift, data } => {
            let admin = Officer::of(&DataFolder::existing(&data)?, "admin")?;
            let path = format!("/credential/relying-parties/{identifier}/suspension");
            let _: serde_json::Value = if lift { admin.delete(&path)? } else { admin.post(&path, &json!({}))? };
            println!(
                "{identifier} {}",
                if lift { "may ask again" } else { "is suspended: wallets refuse it from now on" }
            );
        }
        RelyingPartyCommand::List { data, json } => {
            let admin = Officer::of(&DataFolder::existing(&data)?, "admin")?;
            let parties: Vec<RelyingParty> = admin.get("/credential/relying-parties")?;
            if json {
                println!("{}", serde_json::to_string_pretty(&parties)?);
                return Ok(());
            }
            if parties.is_empty() {
                println!("nobody is registered");
            }
            for RelyingParty { registration, suspended } in parties {
                let purpose = registration.purpose.first().map_or("", |purpose| purpose.value.as_str());
                let state = if suspended { " (SUSPENDED)" } else { "" };
                println!(
                    "{} {}{state}: {purpose}; keeps it {} days",
                    registration.sub, registration.name, registration.retention_days
                );
            }
        }
    }
    Ok(())
}

/// A purpose and its language: `es=…`, or English.
fn localised(text: &str) -> Localised {
    match text.split_once('=') {
        Some((lang, value))
            if (2..=5).contains(&lang.len()) && lang.chars().all(|c| c.is_ascii_alphabetic() || c == '-') =>
        {
            Localised { lang: lang.to_owned(), value: value.to_owned() }
        }
        _ => Localised { lang: "en".into(), value: text.to_owned() },
    }
}

fn read_file(path: &Path) -> Result<RelyingPartyFile> {
    let text = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a file of `habeas relying-party register`", path.display()))
}

/// The verifier of a file. Its list of spent tokens lies beside the file; while another process has it, credentials are asked for instead.
fn verifier_of(path: &Path) -> Result<Verifier> {
    let spent = path.with_extension("spent");
    let spent = match SpentTokens::open(&spent) {
        Ok(spent) => Some(spent),
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
            eprintln!("{error}: no anonymous predicate is asked for here, only credentials");
            None
        }
        Err(error) => return Err(error).with_context(|| format!("{} can't be used", spent.display())),
    };
    read_file(path)?.verifier(spent)
}

/// `habeas verify …`: asks one person, here at the terminal.
pub fn verify(attributes: Vec<String>, party: &Path, listen: SocketAddr) -> Result<()> {
    let verifier = verifier_of(party)?;
    let token = hex::encode(rand::random::<[u8; 16]>());
    let serving = Serving::start(verifier.clone(), &token, listen, None)?;
    let asked = verifier.ask(&Question { attributes, ..Question::default() }, &serving.base)?;
    let registration = verifier.registration();
    let purpose = registration.purpose.first().map_or("", |purpose| purpose.value.as_str());
    println!("{} asks, {purpose}:\n", registration.name);
    if let Some(code) = display::qr(&asked.link) {
        println!("{code}");
    }
    println!("{}\n\nwaiting for a wallet …", asked.link);
    let begin = std::time::Instant::now();
    while begin.elapsed() < PATIENCE {
        match verifier.outcome(&asked.id, None)? {
            Outcome::Waiting => std::thread::sleep(LOOK_EVERY),
            Outcome::Refused { reason } => bail!("{reason}"),
            Outcome::Verified { presentations } => {
                // The wallet's answer is still on its way.
                serving.runtime.shutdown_timeout(Duration::from_secs(1));
                println!("\nVERIFIED");
                for shown in presentations.values() {
                    shown.attributes.iter().for_each(|(name, value)| println!("{name}: {}", plain(value)));
                }
                return Ok(());
            }
        }
    }
    bail!("nobody answered within ten minutes")
}

/// `habeas verifier …`: the same as a service.
pub fn serve(party: &Path, listen: SocketAddr, token: Option<String>, base: Option<String>) -> Result<()> {
    let verifier = verifier_of(party)?;
    let made = token.is_none();
    let token = token.unwrap_or_else(|| hex::encode(rand::random::<[u8; 32]>()));
    let signals = crate::server::StopSignals::catch()?;
    let serving = Serving::start(verifier, &token, listen, base)?;
    println!("verifier: {}", serving.base);
    if made {
        println!("token: {token}");
    }
    signals.wait();
    serving.runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(())
}

/// A verifier's routes on a thread of their own.
pub struct Serving {
    /// The address under which it is reached.
    pub base: String,
    runtime: tokio::runtime::Runtime,
}

impl Serving {
    /// Serves a verifier. `base` is its address where it is reached under another than it listens at.
    pub fn start(verifier: Verifier, token: &str, listen: SocketAddr, base: Option<String>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(listen))
            .with_context(|| format!("can't listen at {listen}: choose another address with --listen"))?;
        let base = base.unwrap_or(format!("http://{}", listener.local_addr()?));
        let router = verifier::api::router(verifier, token, &base);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Serving { base, runtime })
    }
}

/// A value as people read it.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Bool(answer) => (if *answer { "yes" } else { "no" }).to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
