//! The commands of people and merchants: `wallet`, `till`, `log`.

use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cashu::payment_request::PaymentRequest;
use cashu::{Amount, Unit, p2bk};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use terminal::{Till, display};
use tlog::checkpoint::Checkpoint;
use tlog::client::verify_log;
use tlog::cosignature::{Policy, Witness};
use tlog::note::Verifier;
use wallet::animated::{self, Parts};
use wallet::holder::Offer;
use wallet::lock::Lock;
use wallet::log_view::HttpTiles;
use wallet::pace::Pace;
use wallet::relay::Relay;
use wallet::state::HistoryEntry;
use wallet::{Wallet, credentials, predicates};

use crate::oversight::{self, LogWitnessCommand};

/// How long a till waits for a payment before it gives up.
const CHARGE_PATIENCE: Duration = Duration::from_secs(300);

/// How long each part of a moving QR code is shown: time for a camera to see it twice.
const FRAME_TIME: Duration = Duration::from_millis(200);
/// How much of a file of scanned parts is read: more than as many parts as are looked at take.
const SCANS_MAX_LEN: u64 = 32 * 1024 * 1024;

/// What a person does.
#[derive(Subcommand)]
pub enum WalletCommand {
    /// Make a wallet from an offer; get the ID credential
    Init {
        /// The offer, as text
        #[arg(long)]
        offer: String,
        /// The transaction code that came with it on another way
        #[arg(long)]
        code: String,
        /// Go through this relay instead of the one that the offer names
        #[arg(long, value_name = "URL")]
        relay: Option<String>,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Show the money
    Balance {
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Collect what you are owed
    Collect {
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Pay a till's request
    Pay {
        /// The request, `CREQB1…` or `creqA…`
        request: String,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Make a token string; whoever has it has the money, unless it is locked
    Send {
        /// How much, such as 12.50
        #[arg(allow_hyphen_values = true)]
        amount: String,
        /// Currency
        #[arg(long, default_value = "usd")]
        unit: Unit,
        /// Lock it to the receiver's public key (`habeas wallet key`), blinded so that the mint can't recognise the key
        #[arg(long, value_name = "PUBKEY")]
        lock: Option<String>,
        /// Lock to the key as it is, for wallets that don't know NUT-28: the mint sees the key when the token is used
        #[arg(long, requires = "lock")]
        plain_lock: bool,
        /// Show it as a QR code, as a moving one if it is long, until Ctrl-C; into a file or pipe, one part a line
        #[arg(long)]
        animated: bool,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Make a fresh public key, to be given to one sender only
    Key {
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Take in a token string; opens locks to this wallet's keys
    Receive {
        /// The token, `cashuB…`
        #[arg(required_unless_present = "parts")]
        token: Option<String>,
        /// Instead: a file of what was scanned from a moving QR code, one part a line, in any order
        #[arg(long, value_name = "FILE", conflicts_with = "token")]
        parts: Option<PathBuf>,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Get the money back from the recovery words, after a loss
    Restore {
        /// The twelve words
        #[arg(long)]
        words: String,
        /// An offer or a till's setup from before, which tells where the services are
        #[arg(long)]
        offer: String,
        /// Currency
        #[arg(long, default_value = "usd")]
        unit: Unit,
        /// The longest wait between two requests, in milliseconds: waiting keeps the mint from seeing them as one wallet's
        #[arg(long, default_value_t = 300)]
        pace_ms: u64,
        /// The new wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Finish what a broken connection left open
    Recover {
        /// Take back payments that no till confirmed
        #[arg(long)]
        reclaim: bool,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Show the history, which is on this device only
    History {
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Answer a relying party's question: shows who asks, what for and which attributes first
    Show {
        /// The link, `openid4vp://…`
        link: String,
        /// Say yes without being asked
        #[arg(long)]
        yes: bool,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Show the ID credentials, and what was shown to whom
    Credentials {
        /// Get new ones
        #[arg(long)]
        refill: bool,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Show the tokens of anonymous predicates: what they say, and how many there are
    Predicates {
        /// Get new ones
        #[arg(long)]
        refill: bool,
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
    /// Show the recovery words
    Words {
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
    },
}

/// What a merchant does.
#[derive(Subcommand)]
pub enum TillCommand {
    /// Make a till from the file of `habeas merchant`
    Init {
        /// The file
        #[arg(long)]
        setup: PathBuf,
        /// The till's folder
        #[arg(long)]
        till: PathBuf,
    },
    /// Show a request, wait for the payment, print the receipt
    Charge {
        /// How much, such as 12.50
        #[arg(allow_hyphen_values = true)]
        amount: String,
        /// How the request is written: creqB (NUT-26) makes the smaller QR code, creqA (NUT-18) is known to older wallets
        #[arg(long, value_enum, default_value_t = RequestFormat::CreqB)]
        format: RequestFormat,
        /// Where to listen for the payment
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The till's folder
        #[arg(long)]
        till: PathBuf,
    },
    /// Show what the till holds
    Balance {
        /// The till's folder
        #[arg(long)]
        till: PathBuf,
    },
    /// Redeem what the till holds into the merchant's balance
    Redeem {
        /// The till's folder
        #[arg(long)]
        till: PathBuf,
    },
}

/// How a payment request is written.
#[derive(Clone, Copy, ValueEnum)]
pub enum RequestFormat {
    /// NUT-18
    #[value(name = "creqA", alias = "creqa")]
    CreqA,
    /// NUT-26
    #[value(name = "creqB", alias = "creqb")]
    CreqB,
}

/// What anybody does with the log.
#[derive(Subcommand)]
pub enum LogCommand {
    /// Rebuild the root from the tiles, and check that the log only grew
    Verify {
        /// The log's address
        url: String,
        /// The log's key; default: the one that the log shows
        #[arg(long)]
        key: Option<String>,
        /// Where the last checkpoint seen is kept
        #[arg(long, default_value = "habeas-log.checkpoint")]
        state: PathBuf,
        /// A witness's verifier key; may be given again
        #[arg(long)]
        witness: Vec<String>,
        /// How many of the witnesses have to have cosigned
        #[arg(long, default_value_t = 0)]
        quorum: usize,
    },
    /// Which witnesses the log asks to cosign its checkpoints
    #[command(subcommand)]
    Witness(LogWitnessCommand),
    /// Show who opened my record, when and why
    Mine {
        /// The wallet file
        #[arg(long)]
        wallet: PathBuf,
        /// Write the entries with their inclusion proofs into this file, for others to check
        #[arg(long)]
        proofs: Option<PathBuf>,
    },
}

/// `habeas wallet …`
pub fn wallet(command: WalletCommand) -> Result<()> {
    match command {
        WalletCommand::Init { offer, code, relay, wallet } => {
            let mut offer = Offer::decode(&offer)?;
            if let Some(url) = relay {
                offer.habeas.services.relay = Some(chosen_relay(url, offer.habeas.services.relay)?);
            }
            let mut wallet = if wallet.exists() {
                Wallet::open(&wallet)?
            } else {
                Wallet::create(&wallet, offer.habeas.services.clone())?
            };
            wallet.accept_offer(&offer, &code)?;
            for format in [MSO_MDOC, SD_JWT_VC] {
                wallet.fetch_credentials(format, credentials::BATCH_SIZE)?;
            }
            println!("Write down these words; whoever has them has your money:\n\n  {}\n", wallet.recovery_words());
            println!("The wallet is ready and holds your ID credentials.");
            if let Some(relay) = &wallet.services().relay {
                println!("Where you are is shown to the relay {} and not to the mint.", relay.url);
            }
            let told = wallet.fetch_predicates(predicates::TOKENS)?;
            if !told.is_empty() {
                println!("Without saying who you are, you can show: {}", told.join(", "));
            }
        }
        WalletCommand::Show { link, yes, wallet } => show_credential(&link, yes, &wallet)?,
        WalletCommand::Credentials { refill, wallet } => {
            let mut wallet = Wallet::open(&wallet)?;
            if refill {
                let count = wallet.refill_credentials(u64::MAX)?;
                println!("{count} batches replaced");
            }
            for batch in wallet.credential_batches()? {
                let until = Timestamp::from_second(i64::try_from(batch.expires_at)?)?;
                println!("{}: {} of {} not shown yet, valid until {until}", batch.format, batch.fresh, batch.all);
            }
            for showing in wallet.showings() {
                let at = Timestamp::from_second(i64::try_from(showing.at)?)?;
                println!("{at} shown to {}, {}: {}", showing.to, showing.purpose, showing.attributes.join(", "));
            }
        }
        WalletCommand::Predicates { refill, wallet } => {
            let mut wallet = Wallet::open(&wallet)?;
            if refill {
                let told = wallet.fetch_predicates(predicates::TOKENS)?;
                println!("fetched tokens for {} predicates", told.len());
            }
            for held in wallet.predicate_tokens()? {
                println!("{}: {} tokens of {}", held.predicate, held.tokens, held.period);
            }
        }
        WalletCommand::Balance { wallet } => {
            let wallet = Wallet::open(&wallet)?;
            if wallet.balance().is_empty() {
                println!("nothing yet");
            }
            for (unit, amount) in wallet.balance() {
                println!("{} {unit}", show(amount, &unit));
            }
            if wallet.pending() > 0 {
                println!("{} requests are under way: habeas wallet recover", wallet.pending());
            }
        }
        WalletCommand::Collect { wallet } => {
            let mut wallet = Wallet::open(&wallet)?;
            wallet.recover()?;
            let collected = wallet.collect_all()?;
            if collected.is_empty() {
                bail!("nothing to collect: no approved payment names you, or you have it already");
            }
            for (entitlement, amount) in collected {
                let unit = &entitlement.unit;
                println!(
                    "collected {} {unit} of {}, {}",
                    show(amount, unit),
                    entitlement.programme,
                    entitlement.period
                );
            }
        }
        WalletCommand::Pay { request, wallet } => {
            let unit = PaymentRequest::decode(&request)?.unit.context("the payment request names no unit")?;
            let amount = Wallet::open(&wallet)?.pay(&request, None)?;
            println!("paid {} {unit}", show(amount, &unit));
        }
        WalletCommand::Send { amount, unit, lock, plain_lock, animated, wallet } => {
            let amount = Amount::new(crate::read_amount(&amount, unit.as_str())?);
            let lock = lock.map(|key| p2bk::read_key(&key)).transpose()?;
            let mut wallet = Wallet::open(&wallet)?;
            let token = match lock {
                None => wallet.send(amount, &unit, None)?,
                Some(key) if plain_lock => wallet.send_locked(amount, &unit, None, &Lock::Plain(key))?,
                Some(key) => wallet.send_locked(amount, &unit, None, &Lock::Blinded(key))?,
            };
            // The history has the token, so the wallet is free while the codes move.
            drop(wallet);
            if animated { show_animated(&token)? } else { println!("{token}") }
        }
        WalletCommand::Key { wallet } => println!("{}", Wallet::open(&wallet)?.new_key()?),
        WalletCommand::Receive { token, parts, wallet } => {
            let token = match parts {
                Some(parts) => animated::join(read_scans(&parts)?.lines())?,
                None => token.context("name the token, or a file of scanned parts with --parts")?,
            };
            let (amount, unit) = Wallet::open(&wallet)?.receive(&token)?;
            println!("received {} {unit}", show(amount, &unit));
        }
        WalletCommand::Restore { words, offer, unit, pace_ms, wallet } => {
            let services = Offer::decode(&offer)?.habeas.services;
            let mut wallet = Wallet::create_from_words(&wallet, services, &words)?;
            let pace = Pace::up_to(Duration::from_millis(pace_ms));
            let amount = wallet.restore(&unit, pace, |requests| {
                if requests % 50 == 0 {
                    eprintln!("{requests} requests made");
                }
            })?;
            println!("restored {} {unit}", show(amount, &unit));
        }
        WalletCommand::Recover { reclaim, wallet } => {
            let mut wallet = Wallet::open(&wallet)?;
            let known = wallet.history().len();
            let recovered = if reclaim { wallet.reclaim_payments() } else { Ok(()) }.and_then(|()| wallet.recover());
            // What came to its end may be a token that nobody has seen yet.
            print_history(&wallet.history()[known..])?;
            recovered?;
            println!("nothing is under way");
        }
        WalletCommand::History { wallet } => {
            print_history(Wallet::open(&wallet)?.history())?;
        }
        WalletCommand::Words { wallet } => println!("{}", Wallet::open(&wallet)?.recovery_words()),
    }
    Ok(())
}

/// A relay that the holder chose. The gateway's key is that of the offer, which is everybody's; an offer without one leaves it to the relay.
fn chosen_relay(url: String, offered: Option<Relay>) -> Result<Relay> {
    Ok(match offered {
        Some(offered) => Relay { url, ..offered },
        None => Relay::at(&url)?,
    })
}

/// Who asks, what for, which attributes; then yes or no.
fn show_credential(link: &str, yes: bool, wallet: &Path) -> Result<()> {
    let mut wallet = Wallet::open(wallet)?;
    let asking = wallet.look_at_request(link)?;
    let registration = &asking.registration;
    eprintln!("{} ({}, {}) asks:", registration.name, registration.sub_ln, registration.sub);
    eprintln!("  what for    {}", asking.purpose("en"));
    eprintln!("  by          {}", registration.legal_basis);
    eprintln!("  kept for    {} days", registration.retention_days);
    eprintln!("  would see   {}", asking.attributes().join(", "));
    if asking.chosen.iter().all(wallet::present::Chosen::is_anonymous) {
        eprintln!("  and not     who you are: nobody can tell whose token this is");
    }
    if !yes {
        eprint!("Show it? [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes" | "s" | "si" | "sí") {
            wallet.decline(&asking)?;
            println!("nothing was shown");
            return Ok(());
        }
    }
    let next = wallet.show(&asking)?;
    println!("shown to {}: {}", registration.name, asking.attributes().join(", "));
    if let Some(address) = next {
        println!("go on at {address}");
    }
    Ok(())
}

fn print_history(lines: &[HistoryEntry]) -> Result<()> {
    for line in lines {
        let time = Timestamp::from_second(i64::try_from(line.at)?)?;
        let note = line.note.as_deref().unwrap_or_default();
        println!("{time} {} {} {} {note}", line.what, show(line.amount, &line.unit), line.unit);
    }
    Ok(())
}

/// Shows a token as one QR code if it fits, and otherwise as parts, over and over, until Ctrl-C. Where nobody looks (a file, a
/// pipe), each part is a line.
fn show_animated(token: &str) -> Result<()> {
    let screen = std::io::stdout().is_terminal();
    if token.len() <= animated::STATIC_MAX_LEN {
        if let Some(code) = display::qr(token).filter(|_| screen) {
            println!("{code}");
        }
        println!("{token}");
        return Ok(());
    }
    let mut parts = Parts::of(token)?;
    let pieces = parts.pieces();
    if !screen {
        parts.enough().for_each(|part| println!("{part}"));
        return Ok(());
    }
    for shown in 1.. {
        let Some(code) = parts.next().and_then(|part| display::qr(&part)) else { break };
        // To the top left, and clear what is below: the codes stay in one place.
        print!("\x1b[H\x1b[J{code}\npart {shown}, {pieces} needed; Ctrl-C when the other wallet has them\n");
        std::io::stdout().flush()?;
        std::thread::sleep(FRAME_TIME);
    }
    Ok(())
}

/// Reads a file of scanned parts, up to what is looked at of it.
fn read_scans(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
    let read = file.take(SCANS_MAX_LEN).read_to_string(&mut text);
    read.with_context(|| format!("{} can't be read as text, one scanned part a line", path.display()))?;
    Ok(text)
}

/// `habeas till …`
pub fn till(command: TillCommand) -> Result<()> {
    match command {
        TillCommand::Init { setup, till } => {
            let text = std::fs::read(&setup).with_context(|| format!("{} can't be read", setup.display()))?;
            let setup = serde_json::from_slice(&text).context("this is not a file of `habeas merchant`")?;
            let till = Till::create(&till, &setup)?;
            println!("the till of {} is ready", till.merchant().name);
        }
        TillCommand::Charge { amount, format, listen, till } => charge(&amount, format, listen, &till)?,
        TillCommand::Balance { till } => {
            let till = Till::open(&till)?;
            println!("{} {}", show(till.balance(), &till.merchant().unit), till.merchant().unit);
        }
        TillCommand::Redeem { till } => {
            let till = Till::open(&till)?;
            println!("redeemed {} {}", show(till.redeem()?, &till.merchant().unit), till.merchant().unit);
        }
    }
    Ok(())
}

fn charge(amount: &str, format: RequestFormat, listen: SocketAddr, till: &Path) -> Result<()> {
    let till = Till::open(till)?;
    let unit = till.merchant().unit.clone();
    let amount = Amount::new(crate::read_amount(amount, unit.as_str())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(listen))
        .with_context(|| format!("can't listen at {listen}: choose another address with --listen"))?;
    let charge = till.charge(amount, &format!("http://{}", listener.local_addr()?))?;
    till.check_mint()?;
    let router = terminal::server::router(till.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    let request = match format {
        RequestFormat::CreqA => &charge.request_creq_a,
        RequestFormat::CreqB => &charge.request,
    };
    if let Some(code) = display::qr(request) {
        println!("{code}");
    }
    println!("{request}\n\nwaiting for {} {unit} …", show(amount, &unit));
    if !till.wait_until_paid(&charge.id, CHARGE_PATIENCE) {
        bail!("nobody paid within five minutes: the request is void, make a new one");
    }
    // The payer's answer is still on its way.
    runtime.shutdown_timeout(Duration::from_secs(1));
    println!(
        "\nPAID\n{}\n{} {unit}\nrequest {}\n{}",
        till.merchant().name,
        show(amount, &unit),
        charge.id,
        Timestamp::now()
    );
    Ok(())
}

/// `habeas log …`
pub fn log(command: LogCommand) -> Result<()> {
    match command {
        LogCommand::Witness(command) => oversight::log_witness(command)?,
        LogCommand::Verify { url, key, state, witness, quorum } => {
            let source = HttpTiles::new(&url);
            let key = match key {
                Some(key) => key,
                None => oversight::key_shown_at(&url)?,
            };
            let verifier = Verifier::parse(&key)?;
            let witnesses = witness.iter().map(|key| Witness::parse(key)).collect::<Result<_, _>>()?;
            let policy = Policy::new(verifier.clone(), witnesses, quorum)?;
            let previous = match std::fs::read_to_string(&state) {
                Ok(note) => Some(Checkpoint::open(&note, &verifier).with_context(|| {
                    format!("the checkpoint in {} is of another log: name another file with --state", state.display())
                })?),
                Err(_) => None,
            };
            let log = verify_log(&source, &policy, previous.as_ref())?;
            crate::data::write_private(&state, log.note.as_bytes())?;
            println!("{} entries, root {}", log.checkpoint.size, hex::encode(log.checkpoint.root));
            match previous {
                Some(previous) => println!("continues the {} entries seen before", previous.size),
                None => println!("first seen now; the key was {key}"),
            }
        }
        LogCommand::Mine { wallet, proofs } => {
            let mut wallet = Wallet::open(&wallet)?;
            let (openings, proven) = wallet.proven_openings()?;
            if let Some(path) = proofs {
                crate::data::write_private(&path, &proven.to_json())?;
            }
            println!("your record was opened {} times", openings.len());
            for opening in openings {
                let time = Timestamp::from_second(i64::try_from(opening.at)?)?;
                let fields = opening.fields.join(", ");
                println!("entry {}: {time} {} by a {}: {fields}", opening.index, opening.purpose, opening.role);
            }
        }
    }
    Ok(())
}

fn show(amount: Amount, unit: &Unit) -> String {
    crate::show(amount.minor(), unit.as_str())
}
