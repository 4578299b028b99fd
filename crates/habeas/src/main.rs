//! `habeas`: the command line.
//!
//! Commands of officers (`officer`, `enrol`, `programme`, `run`, `fund`, `merchant`, `settle`, `totals`, `person`) speak HTTP to a running
//! `habeas up`; they find it and their token in the data folder. `wallet`, `till`, `verify`, `verifier` and `log` work from anywhere, and
//! so do `witness`, `monitor` and `evidence`.
//!
//! [`data`] (the folder) → [`services`] and [`wiring`] (composition) → [`gateway`] (what a relay may reach of them) → [`server`] → [`client`],
//! [`enrol`], [`holder`], [`records`], [`relying_party`], [`mint_command`], [`mint_key`], [`relay`], [`oversight`] (commands) → [`demo`], [`audit`]. Beside them: [`logging`].

mod audit;
mod client;
mod data;
mod demo;
mod enrol;
mod gateway;
mod holder;
mod logging;
mod mint_command;
mod mint_key;
mod oversight;
mod records;
mod relay;
mod relying_party;
mod server;
mod services;
mod wiring;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cashu::Amount;
use clap::{Parser, Subcommand};
use credential::issuer::CONFIGURATIONS;
use mint::TokenUri;
use openid4vc::offer::{AuthorizationCodeGrant, CredentialOffer, Grants, PreAuthorizedCodeGrant, TxCode};
use registry::runs::{NewProgramme, Run};
use serde_json::{Value, json};
use sha2::Digest;
use transparency::cosigning::Witnesses;
use treasury::bank::{self, Deposit};
use treasury::settlement::Settlement;
use treasury::statement::Imported;
use wallet::holder::{HabeasOffer, Offer};
use wallet::relay::Relay;
use wallet::state::{Issuer, Services as WalletServices};

use crate::audit::AuditReport;
use crate::client::Officer;
use crate::data::DataFolder;
use crate::logging::LogFormat;
use crate::server::Server;
use crate::services::Options;

/// An ID card and mobile money for public programmes, whose operator cannot follow the people who hold it.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run registry, mint, treasury, issuer and log in one process
    Up {
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:4280")]
        listen: SocketAddr,
        /// Offer worthless money to everybody, for wallet developers and load tests; no programme can be in the same folder
        #[arg(long)]
        sandbox: bool,
        /// Fee for each token that is spent, in thousandths of the minor unit (NUT-02); for keysets made from now on
        #[arg(long, default_value_t = 0)]
        input_fee_ppk: u64,
        /// Keep the mint's rows in PostgreSQL (postgres://…) instead of the data folder; remembered by a new folder
        #[arg(long)]
        mint_store: Option<String>,
        /// Have the mint's seed in a PKCS#11 token instead of a file ('pkcs11:token=…;object=…?module-path=…&pin-source=file:/…');
        /// remembered by a new folder
        #[arg(long)]
        mint_key: Option<String>,
        /// Have the keys that sign ID cards in a PKCS#11 token instead of files: they are made in it, with labels that begin with the
        /// URI's object; remembered by a new folder
        #[arg(long)]
        issuer_key: Option<String>,
        /// Have wallets go through this relay (`habeas relay`), whose address goes into offers from now on; remembered
        #[arg(long, value_name = "URL")]
        relay: Option<String>,
        /// Records that a registrar looks up in a day without asking another
        #[arg(long, default_value_t = registry::look_up::DAILY_LOOK_UPS)]
        daily_look_ups: u32,
        /// Serve the mint's metrics for Prometheus at this address, path /metrics
        #[arg(long)]
        metrics: Option<SocketAddr>,
        /// What a line of the log looks like, on standard error; RUST_LOG chooses how much is seen
        #[arg(long, env = "HABEAS_LOG_FORMAT", value_enum, default_value_t)]
        log_format: LogFormat,
    },
    /// Play a whole programme, from enrolment to settlement, and check every step
    Demo {
        /// The people, CSV
        #[arg(long)]
        people: PathBuf,
        /// Which column holds what; default: the map that fits the file's header
        #[arg(long)]
        map: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// The seed of the purchases
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Keep the data in this fresh folder; default: a temporary one
        #[arg(long)]
        data: Option<PathBuf>,
        /// Keep the mint's rows in PostgreSQL (postgres://…)
        #[arg(long)]
        mint_store: Option<String>,
    },
    /// Recompute the books from the stores; works beside a running server too
    Audit {
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Add an officer, as the administrator of this machine
    Officer {
        /// The name
        name: String,
        /// administrator, registrar, programme-officer or finance-officer
        #[arg(long)]
        role: String,
        /// The data folder
        #[arg(long, default_value = "habeas-data")]
        data: PathBuf,
    },
    /// Enrol the people of a CSV file
    Enrol {
        /// The file
        file: PathBuf,
        /// Which column holds what, TOML
        #[arg(long)]
        map: PathBuf,
        #[command(flatten)]
        acting: Acting,
        /// Where refused rows go; default: FILE.refused.csv
        #[arg(long)]
        refused: Option<PathBuf>,
        /// Where the offers go, one a line; default: FILE.offers. Their transaction codes go beside, into OFFERS.codes
        #[arg(long)]
        offers: Option<PathBuf>,
    },
    /// People's records: look one up, approve another registrar's look-up
    #[command(subcommand)]
    Person(records::PersonCommand),
    /// Set up a programme
    Programme {
        /// The public name
        name: String,
        /// Currency, ISO 4217
        #[arg(long, default_value = "usd")]
        unit: String,
        /// What each person gets, such as 50.00
        #[arg(long, allow_hyphen_values = true)]
        amount: String,
        /// The month, such as 2026-12
        #[arg(long)]
        period: String,
        /// Who is eligible, such as 'age >= 65 on 2026-12-01'
        #[arg(long)]
        rule: String,
        #[command(flatten)]
        acting: Acting,
    },
    /// Payment runs
    #[command(subcommand)]
    Run(RunCommand),
    /// Import a bank statement, camt.053.001.08
    Fund {
        /// The statement
        file: PathBuf,
        #[command(flatten)]
        acting: Acting,
    },
    /// Register a merchant, and write the file from which its till is made
    Merchant {
        /// The name
        name: String,
        /// Currency, ISO 4217
        #[arg(long, default_value = "usd")]
        unit: String,
        /// The account
        #[arg(long)]
        iban: String,
        /// Where the till's file goes
        #[arg(long)]
        till: PathBuf,
        #[command(flatten)]
        acting: Acting,
    },
    /// Write a payment file for the bank, pain.001.001.09
    Settle {
        /// Currency, ISO 4217
        #[arg(long, default_value = "usd")]
        unit: String,
        /// The programme's name at the bank
        #[arg(long, required_unless_present = "again")]
        debtor: Option<String>,
        /// The programme's account
        #[arg(long, required_unless_present = "again")]
        iban: Option<String>,
        /// Write the last file once more, instead of a new one: it did not reach the bank
        #[arg(long, conflicts_with_all = ["debtor", "iban"])]
        again: bool,
        /// Where the file goes
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        acting: Acting,
    },
    /// Publish the sums in the log
    Totals {
        #[command(flatten)]
        acting: Acting,
    },
    /// A pretended bank, for trying things out: write a camt.053 statement
    Bank {
        /// The statement's id
        #[arg(long)]
        id: String,
        /// Currency, ISO 4217
        #[arg(long, default_value = "usd")]
        unit: String,
        /// The opening balance, such as 0.00
        #[arg(long, default_value = "0")]
        opening: String,
        /// A deposit, REFERENCE=AMOUNT; may be given again
        #[arg(long)]
        deposit: Vec<String>,
        /// A payment file to confirm
        #[arg(long)]
        confirm: Option<PathBuf>,
    },
    /// A person's wallet
    #[command(subcommand)]
    Wallet(holder::WalletCommand),
    /// A merchant's till
    #[command(subcommand)]
    Till(holder::TillCommand),
    /// The register of relying parties: who may ask people for what
    #[command(subcommand)]
    RelyingParty(relying_party::RelyingPartyCommand),
    /// Ask one person for attributes, with a QR code here at the terminal, as a relying party
    Verify {
        /// The attributes, such as age_over_60
        #[arg(required = true)]
        attributes: Vec<String>,
        /// The file of `habeas relying-party register`
        #[arg(long)]
        relying_party: PathBuf,
        /// Where to listen for the answer
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Ask people for attributes, as a service with a small API: POST /presentations
    Verifier {
        /// The file of `habeas relying-party register`
        #[arg(long)]
        relying_party: PathBuf,
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:4290")]
        listen: SocketAddr,
        /// What the relying party's own systems show to ask; default: a fresh one, printed
        #[arg(long, env = "HABEAS_VERIFIER_TOKEN")]
        token: Option<String>,
        /// The address under which wallets reach it, if it is another
        #[arg(long)]
        public_url: Option<String>,
    },
    /// Report a lost card or phone: revokes all credentials of a person in one act, and makes a new offer
    Revoke {
        /// The document number that the person was enrolled with
        document_number: String,
        #[command(flatten)]
        acting: Acting,
    },
    /// Carry wallets' requests to a mint and a log without showing where they come from (Oblivious HTTP); run by another organisation
    /// than theirs
    Relay {
        /// The one server that requests are carried to, such as https://mint.example
        #[arg(long, value_name = "URL")]
        gateway: String,
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:4281")]
        listen: SocketAddr,
    },
    /// The mint's own affairs: key, backup, restore, status
    #[command(subcommand)]
    Mint(mint_command::MintCommand),
    /// The public log
    #[command(subcommand)]
    Log(holder::LogCommand),
    /// Cosign a log's checkpoints, as an organisation that is not the operator
    Witness(oversight::WitnessCommand),
    /// Watch an operator from its public addresses, and keep what convicts it
    Monitor(oversight::MonitorCommand),
    /// Check a file of evidence, offline
    Evidence {
        /// The file
        file: PathBuf,
        /// The log's key, known from elsewhere
        #[arg(long)]
        key: Option<String>,
    },
}

#[derive(Subcommand)]
enum RunCommand {
    /// Evaluate a programme's rule and freeze the list
    Prepare {
        /// The programme's id
        programme: String,
        #[command(flatten)]
        acting: Acting,
    },
    /// Approve a run, as another officer
    Approve {
        /// The run's id
        run: String,
        /// The hash that you have checked
        #[arg(long)]
        hash: String,
        #[command(flatten)]
        acting: Acting,
    },
    /// Show all runs
    List {
        #[command(flatten)]
        acting: Acting,
    },
}

/// Who acts, and where.
#[derive(clap::Args)]
struct Acting {
    /// The officer, whose token lies in the data folder
    #[arg(long = "as")]
    officer: String,
    /// The data folder
    #[arg(long, default_value = "habeas-data")]
    data: PathBuf,
}

impl Acting {
    fn officer(&self) -> Result<Officer> {
        Officer::of(&DataFolder::existing(&self.data)?, &self.officer)
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let format = if let Command::Up { log_format, .. } = &command { *log_format } else { LogFormat::Text };
    match logging::start(format).and_then(|()| run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match format {
                LogFormat::Text => eprintln!("habeas: {}", sentence(&error)),
                LogFormat::Json => {
                    tracing::error!(error = sentence(&error), "refused to start, or stopped by a failure")
                }
            }
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line. Many errors say their cause themselves: it is not said again.
fn sentence(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !told.contains(&cause) {
            told = if told.is_empty() { cause } else { format!("{told}: {cause}") };
        }
    }
    told
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up {
            data,
            listen,
            sandbox,
            input_fee_ppk,
            mint_store,
            mint_key,
            issuer_key,
            relay,
            daily_look_ups,
            metrics,
            log_format,
        } => {
            let key = mint_key.map(|uri| uri.parse()).transpose()?;
            let mint = mint::Options { sandbox, input_fee_ppk, key, ..mint::Options::default() };
            let options = Options { mint, registry: registry::Options { daily_look_ups } };
            let issuer_key = issuer_key.map(|uri| uri.parse()).transpose()?;
            let remembered = Remembered { mint_store, issuer_key, relay };
            up(&data, listen, metrics, remembered, options, log_format)
        }
        Command::Demo { people, map, json, seed, data, mint_store } => demo(&people, map, json, seed, data, mint_store),
        Command::Audit { data, json } => print_audit(&data, json),
        Command::Officer { name, role, data } => {
            let data = DataFolder::existing(&data)?;
            let answer: Value =
                Officer::of(&data, "admin")?.post("/registry/v1/officers", &json!({"name": name, "role": role}))?;
            let path = data.write_token(&name, answer["token"].as_str().context("the server gave no token")?)?;
            println!("{name} is a {role}; the token lies in {}", path.display());
            Ok(())
        }
        Command::Enrol { file, map, acting, refused, offers } => {
            enrol_file(&file, &map, &acting, refused.as_deref(), offers.as_deref())
        }
        Command::Person(command) => records::person(command),
        Command::Programme { name, unit, amount, period, rule, acting } => {
            let amount_minor = read_amount(&amount, &unit)?;
            let new = NewProgramme { name, unit, amount_minor, period, rule };
            let answer: Value = acting.officer()?.post("/registry/v1/programmes", &new)?;
            println!("programme: {}", answer["programme"]["id"].as_str().unwrap_or_default());
            println!("deposits must carry the reference {}", answer["reference"].as_str().unwrap_or_default());
            Ok(())
        }
        Command::Run(command) => runs(command),
        Command::Fund { file, acting } => {
            let xml = std::fs::read(&file).with_context(|| format!("{} can't be read", file.display()))?;
            let answer = acting.officer()?.post_bytes("/treasury/v1/statements", "application/xml", &xml)?;
            print_import(&serde_json::from_slice(&answer)?);
            Ok(())
        }
        Command::Merchant { name, unit, iban, till, acting } => {
            let new = json!({"name": name, "unit": unit, "iban": iban});
            let merchant: treasury::ledger::Merchant = acting.officer()?.post("/treasury/v1/merchants", &new)?;
            let services = WalletServices { registry: None, issuer: None, ..services_of(&acting.data)? };
            let merchant = terminal::till::Merchant { id: merchant.id, name, unit: unit.parse()? };
            let setup = terminal::till::TillSetup { merchant, services };
            data::write_private(&till, &serde_json::to_vec_pretty(&setup)?)?;
            println!(
                "merchant: {}\nmake the till with: habeas till init --setup {}",
                setup.merchant.id,
                till.display()
            );
            Ok(())
        }
        Command::Settle { unit, debtor, iban, again, out, acting } => {
            let officer = acting.officer()?;
            let settlement = if again {
                let made: Vec<Settlement> = officer.get("/treasury/v1/settlements")?;
                made.into_iter().rfind(|made| made.unit == unit).context("no payment file was written yet")?
            } else {
                let order = json!({"unit": unit, "debtor_name": debtor, "debtor_iban": iban});
                officer.post("/treasury/v1/settlements", &order)?
            };
            data::write_private(&out, settlement.pain001.as_bytes())?;
            let total = show(settlement.total_minor, &settlement.unit);
            println!("{} payments, {total} {} in all, in {}", settlement.payments, settlement.unit, out.display());
            Ok(())
        }
        Command::Totals { acting } => {
            let _: Value = acting.officer()?.post("/audit/v1/totals", &json!({}))?;
            println!("the sums of today are in the public log");
            Ok(())
        }
        Command::Bank { id, unit, opening, deposit, confirm } => {
            print_statement(&id, &unit, &opening, &deposit, confirm.as_deref())
        }
        Command::Wallet(command) => holder::wallet(command),
        Command::Till(command) => holder::till(command),
        Command::RelyingParty(command) => relying_party::relying_party(command),
        Command::Verify { attributes, relying_party, listen } => {
            relying_party::verify(attributes, &relying_party, listen)
        }
        Command::Verifier { relying_party, listen, token, public_url } => {
            relying_party::serve(&relying_party, listen, token, public_url)
        }
        Command::Revoke { document_number, acting } => revoke(&document_number, &acting),
        Command::Relay { gateway, listen } => relay::run(&gateway, listen),
        Command::Mint(command) => mint_command::run(command),
        Command::Log(command) => holder::log(command),
        Command::Witness(command) => oversight::witness(command),
        Command::Monitor(command) => oversight::monitor(command),
        Command::Evidence { file, key } => oversight::evidence(&file, key.as_deref()),
    }
}

/// What a data folder remembers for the next start.
struct Remembered {
    mint_store: Option<String>,
    issuer_key: Option<TokenUri>,
    relay: Option<String>,
}

fn up(
    data: &Path,
    listen: SocketAddr,
    metrics: Option<SocketAddr>,
    remembered: Remembered,
    options: Options,
    log_format: LogFormat,
) -> Result<()> {
    let data = DataFolder::create(data)?;
    if let Some(address) = remembered.mint_store {
        data.set_mint_store(&address)?;
    }
    if let Some(url) = remembered.relay {
        data.set_relay(&url)?;
    }
    if let Some(uri) = &options.mint.key {
        data.set_mint_key(uri)?;
    }
    if let Some(uri) = &remembered.issuer_key {
        data.set_issuer_key(uri)?;
    }
    let server = Server::start_with_metrics(&data, listen, metrics, options)?;
    let signals = server::StopSignals::catch()?;
    if let Some(url) = &server.metrics_url {
        println!("metrics: {url}");
    }
    println!("mint: {0}\nregistry: {0}/registry\nlog: {0}/log\nlog key: {1}", server.url, server.services.log.vkey());
    let gateway_key = oblivious::client::digest(server.services.gateway.configuration());
    println!("gateway key: {}", hex::encode(gateway_key));
    println!("data: {}; stop with Ctrl-C", data.root().display());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data = %data.root().display(),
        listen = server.url,
        sandbox = data.is_sandbox(),
        store = if data.mint_store()?.is_some() { "PostgreSQL" } else { "embedded" },
        "started"
    );
    signals.wait();
    match log_format {
        LogFormat::Text => eprintln!("stopping"),
        LogFormat::Json => tracing::info!("stopping"),
    }
    server.stop()?;
    tracing::info!("stopped");
    Ok(())
}

fn demo(
    people: &Path,
    map: Option<PathBuf>,
    json: bool,
    seed: u64,
    keep: Option<PathBuf>,
    mint_store: Option<String>,
) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let root = keep.clone().unwrap_or_else(|| temporary.path().join("data"));
    if root.exists() && root.read_dir()?.next().is_some() {
        bail!("{} is not empty: the demonstration wants a fresh folder", root.display());
    }
    let map = match map {
        Some(map) => map,
        None => default_map(people)?,
    };
    let data = DataFolder::create(&root)?;
    if let Some(address) = mint_store {
        data.set_mint_store(&address)?;
    }
    let summary = demo::run(&data, people, &map, seed)?;
    if json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        demo::print(&summary);
        let habeas = std::env::args().next().unwrap_or_else(|| "habeas".into());
        println!("Look around: start `{habeas} up`, and go on with README.md, \"By hand\".");
    }
    Ok(())
}

/// The shipped column map that fits a file's header.
fn default_map(people: &Path) -> Result<PathBuf> {
    let text = std::fs::read(people).with_context(|| format!("{} can't be read", people.display()))?;
    let header = String::from_utf8_lossy(&text[..text.len().min(4_096)]).lines().next().unwrap_or_default().to_owned();
    let name = if header.contains("soc_sec_id") { "febrl.map.toml" } else { "people.map.toml" };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let beside = people.with_file_name(name);
    [beside, shipped].into_iter().find(|path| path.exists()).context("name the column map with --map")
}

fn print_audit(data: &Path, json: bool) -> Result<()> {
    let data = DataFolder::existing(data)?;
    let report: AuditReport = match data.try_lock()? {
        Some(_lock) => {
            let mint = mint::Options { sandbox: data.is_sandbox(), ..mint::Options::default() };
            let services = services::Services::open(&data, Options { mint, ..Options::default() })?;
            let report = services.audit()?;
            services.close();
            report
        }
        None => Officer::of(&data, "admin")?.get("/audit/v1/report")?,
    };
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for (unit, totals) in &report.totals {
            println!(
                "{unit}: funded {} = available {} + committed {} + outstanding {} + merchants {} + paid out {} + lapsed {}",
                show(totals.funded_minor, unit),
                show(totals.available_minor, unit),
                show(totals.committed_minor, unit),
                show(totals.outstanding_minor, unit),
                show(totals.merchants_minor, unit),
                show(totals.paid_out_minor, unit),
                show(totals.lapsed_minor, unit)
            );
        }
        println!("{} people, {} log entries", report.people, report.log_entries);
    }
    if !report.balanced {
        bail!("the audit failed: {}", report.problems.join("; "));
    }
    if !json {
        println!("balanced");
    }
    Ok(())
}

fn enrol_file(file: &Path, map: &Path, acting: &Acting, refused: Option<&Path>, offers: Option<&Path>) -> Result<()> {
    let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", file.display()));
    let (refused, offers) = (
        refused.map_or_else(|| beside("refused.csv"), Path::to_owned),
        offers.map_or_else(|| beside("offers"), Path::to_owned),
    );
    let services = services_of(&acting.data)?;
    let codes = PathBuf::from(format!("{}.codes", offers.display()));
    // Added to what is there: an offer that is overwritten could not be handed out again. The transaction codes go to people on another
    // way, so they are in a file of their own.
    let keep = |made: &[registry::enrol::Offer]| -> Result<()> {
        let links: String = made.iter().map(|offer| offer_for(offer, &services).encode() + "\n").collect();
        let numbers: String = made.iter().map(|offer| format!("{}\n", offer.tx_code)).collect();
        data::append_private(&offers, links.as_bytes())?;
        data::append_private(&codes, numbers.as_bytes())
    };
    let bar = demo::progress("enrolling people");
    let enrolled = enrol::enrol(&acting.officer()?, file, &enrol::read_map(map)?, &bar, keep)?;
    if !enrolled.refused.is_empty() {
        enrol::write_refused(&refused, &enrolled)?;
    }
    println!(
        "{} enrolled, {} enrolled before, {} refused",
        enrolled.offers.len(),
        enrolled.already,
        enrolled.refused.len()
    );
    println!("{} are possibly the same as others: a registrar must look; nobody was merged", enrolled.flagged);
    if !enrolled.offers.is_empty() {
        println!("offers, one a person: {}", offers.display());
        println!("transaction codes, in the same order, to be given on another way: {}", codes.display());
    }
    match enrolled.refused.len() {
        0 => Ok(()),
        count => bail!(
            "{count} rows were refused; each is in {} with the reason: mend them and enrol that file",
            refused.display()
        ),
    }
}

fn runs(command: RunCommand) -> Result<()> {
    let print = |run: &Run| {
        println!(
            "run: {}\nprogramme: {}\nstate: {}\npeople: {}\ntotal: {} {}\nhash: {}",
            run.id,
            run.programme,
            run.state,
            run.lines,
            show(run.total_minor, &run.unit),
            run.unit,
            run.hash
        );
    };
    match command {
        RunCommand::Prepare { programme, acting } => {
            print(&acting.officer()?.post(&format!("/registry/v1/programmes/{programme}/run"), &json!({}))?);
        }
        RunCommand::Approve { run, hash, acting } => {
            print(&acting.officer()?.post(&format!("/registry/v1/runs/{run}/approval"), &json!({"hash": hash}))?);
        }
        RunCommand::List { acting } => {
            let runs: Vec<Run> = acting.officer()?.get("/registry/v1/runs")?;
            runs.iter().for_each(print);
        }
    }
    Ok(())
}

fn print_statement(id: &str, unit: &str, opening: &str, deposits: &[String], confirm: Option<&Path>) -> Result<()> {
    let deposit = |text: &String| -> Result<Deposit> {
        let (reference, amount) = text.split_once('=').context("a deposit is REFERENCE=AMOUNT")?;
        Ok(Deposit { reference: reference.to_owned(), amount_minor: read_amount(amount, unit)? })
    };
    let deposits = deposits.iter().map(deposit).collect::<Result<Vec<_>>>()?;
    let confirm =
        confirm.map(|path| std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display())));
    let confirm = confirm.transpose()?;
    let statement = bank::statement(id, unit, read_amount(opening, unit)?, &deposits, confirm.as_deref());
    println!("{}", statement.context("the balance is less than what is paid")?);
    Ok(())
}

fn print_import(imported: &Imported) {
    let (statement, unit) = (&imported.statement, &imported.unit);
    println!("statement {statement}: {} {unit} credited to programmes", show(imported.funded_minor, unit));
    println!("{} {unit} of payments to merchants confirmed", show(imported.confirmed_minor, unit));
    if !imported.unmatched.is_empty() {
        println!("look at these with the bank, they match nothing here: {}", imported.unmatched.join(", "));
    }
}

/// An amount as people write it.
fn show(amount_minor: u64, unit: &str) -> String {
    terminal::display::format_amount(Amount::new(amount_minor), treasury::money::exponent(unit).unwrap_or(0))
}

/// Reads an amount as people write it.
fn read_amount(text: &str, unit: &str) -> Result<u64> {
    let exponent = treasury::money::exponent(unit).with_context(|| {
        format!("'{unit}' is not a currency of ISO 4217 that is known here: use a code such as usd")
    })?;
    let amount = terminal::display::parse_amount(text, exponent).with_context(|| {
        format!("an amount of {unit} has at most {exponent} decimals, no sign, and a point before them")
    })?;
    Ok(amount.minor())
}

/// Where the services of a data folder's server are, and whom they answer with.
fn services_of(data: &Path) -> Result<WalletServices> {
    let data = DataFolder::existing(data)?;
    let server = data.server_file()?;
    let witnesses = Witnesses::load(&data.root().join("log"))?;
    services_at(&server.url, &server.log_vkey, &witnesses, data.relay()?.as_deref())
}

/// The same for a server's address. Its roots' hashes and its gateway's key go into the offers that people trust.
fn services_at(url: &str, log_vkey: &str, witnesses: &Witnesses, relay: Option<&str>) -> Result<WalletServices> {
    let issuer = format!("{url}/credential");
    let hash = |path: &str| -> Result<String> {
        Ok(hex::encode(sha2::Sha256::digest(wallet::http::get_bytes(&format!("{issuer}/{path}"))?)))
    };
    let before_gateway = |relay| -> Result<Relay> {
        let keys = wallet::http::get_bytes(&format!("{url}{}", oblivious::KEYS_PATH))?;
        Ok(Relay::new(relay, &keys)?)
    };
    Ok(WalletServices {
        log: format!("{url}/log"),
        registry: Some(format!("{url}/registry")),
        issuer: Some(Issuer { root_sha256: hash("iaca")?, register_sha256: hash("register/root")?, url: issuer }),
        mint: url.to_owned(),
        log_vkey: log_vkey.to_owned(),
        witnesses: witnesses.witnesses.iter().map(|(witness, _)| witness.to_vkey()).collect(),
        quorum: witnesses.quorum,
        relay: relay.map(before_gateway).transpose()?,
    })
}

/// An offer as its person gets it.
fn offer_for(offer: &registry::enrol::Offer, services: &WalletServices) -> Offer {
    let tx_code = TxCode {
        input_mode: "numeric".into(),
        length: Some(registry::offers::TX_CODE_DIGITS as u32),
        description: Some("The code that the desk gave you".into()),
    };
    let grants = Grants {
        authorization_code: Some(AuthorizationCodeGrant { issuer_state: Some(offer.code.clone()) }),
        pre_authorized_code: Some(PreAuthorizedCodeGrant { code: offer.code.clone(), tx_code: Some(tx_code) }),
    };
    let credential = CredentialOffer {
        credential_issuer: services.issuer.as_ref().map(|issuer| issuer.url.clone()).unwrap_or_default(),
        credential_configuration_ids: CONFIGURATIONS.iter().map(|(id, _)| (*id).to_owned()).collect(),
        grants,
    };
    Offer { credential, habeas: HabeasOffer { tag_key: offer.tag_key.clone(), services: services.clone() } }
}

#[derive(serde::Deserialize)]
struct Revoked {
    credentials: usize,
    offer: registry::enrol::Offer,
}

fn revoke(document_number: &str, acting: &Acting) -> Result<()> {
    let body = json!({"document_number": document_number});
    let revoked: Revoked = acting.officer()?.post(services::REVOCATIONS, &body)?;
    println!("{} credentials are revoked; the money comes back with `habeas wallet restore`", revoked.credentials);
    println!("new offer: {}", offer_for(&revoked.offer, &services_of(&acting.data)?).encode());
    println!("its transaction code, to be given on another way: {}", revoked.offer.tx_code);
    Ok(())
}
