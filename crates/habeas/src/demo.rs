//! The whole life of a programme, played on one machine over real HTTP: `habeas demo`.
//!
//! People of a file are enrolled; each gets a batch of ID credentials, and some show one fact of it to a clinic; a run is prepared and approved by two officers;
//! people collect e-cash and spend it at merchants' tills; tills redeem; merchants are paid by bank file; the books and the log are checked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use cashu::{Amount, Unit};
use credential::register::NewRelyingParty;
use credential::verifier::{self, Outcome, Question, SpentTokens};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use openid4vc::dcql::PREDICATE;
use openid4vc::registration::Localised;
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use registry::runs::{NewProgramme, Programme, Run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use terminal::till::{Merchant, TillSetup};
use terminal::{Till, server as till_server};
use tlog::client::verify_log;
use tlog::note::Verifier;
use transparency::cosigning::Witnesses;
use treasury::bank::{self, Deposit};
use treasury::settlement::Settlement;
use wallet::Wallet;
use wallet::credentials::BATCH_SIZE;
use wallet::log_view::HttpTiles;
use wallet::state::Services;

use crate::client::Officer;
use crate::data::DataFolder;
use crate::enrol::{enrol, read_map};
use crate::relying_party::{self, Serving};
use crate::server::Server;
use crate::services::Options;

/// Merchants of the demonstration.
const MERCHANTS: usize = 20;
/// What each eligible person gets: 50.00.
const ALLOWANCE_MINOR: u64 = 5_000;
/// Age checks that the clinic asks for, one of each of the first people.
const PRESENTATIONS: usize = 500;
/// Age checks that it asks for by anonymous predicate, one of each of the first people of whom it is true.
const PREDICATES: u64 = 500;
/// Tokens of a predicate that each of them fetches: one is shown, the others are left.
const TOKENS: usize = 2;
/// Wallets at work at once: more than the cores, since each waits for answers.
const WALLETS_AT_ONCE: usize = 6;
/// Accounts at the pretended bank, with right check digits.
const PROGRAMME_IBAN: &str = "GB82WEST12345698765432";
const MERCHANT_IBAN: &str = "DE89370400440532013000";

/// What the demonstration did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    /// People enrolled.
    pub people_enrolled: usize,
    /// Rows refused.
    pub rows_refused: usize,
    /// People flagged as likely duplicates.
    pub possible_duplicates: usize,
    /// Credentials issued, in batches of [`BATCH_SIZE`] a person.
    pub credentials_issued: u64,
    /// Credentials that their holder's wallet verified to the root when they came.
    pub credentials_verified: u64,
    /// Age checks that a relying party asked for by OpenID4VP.
    pub presentations: u64,
    /// Those that it verified.
    pub presentations_verified: u64,
    /// Age checks by anonymous predicate.
    pub predicates: u64,
    /// Those that were verified.
    pub predicates_verified: u64,
    /// Eligible people in the approved run.
    pub people_paid: u64,
    /// Deposited.
    pub funded_minor: u64,
    /// Collected by people.
    pub paid_minor: u64,
    /// Payments at tills.
    pub payments: u64,
    /// Redeemed by merchants.
    pub redeemed_minor: u64,
    /// Paid out by the bank.
    pub settled_minor: u64,
    /// E-cash still in people's hands.
    pub outstanding_minor: u64,
    /// `balanced`, or what is wrong.
    pub audit: String,
    /// Entries in the log.
    pub log_entries: u64,
    /// Whether the log's root was rebuilt from its tiles.
    pub log_verified: bool,
    /// Entries that one person found about themselves.
    pub openings_of_one_person: usize,
    /// The seed that the purchases were drawn with.
    pub seed: u64,
    /// Wall time.
    pub seconds: f64,
}

#[derive(Deserialize)]
struct Created {
    programme: Programme,
    reference: String,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// Plays the demonstration in a fresh folder.
pub fn run(data: &DataFolder, people: &Path, map: &Path, seed: u64) -> Result<Summary> {
    let begin = Instant::now();
    let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = Server::start(data, listen, Options::default())?;
    say(&format!("services listen at {}", server.url));
    let services = crate::services_at(&server.url, server.services.log.vkey(), &Witnesses::default(), None)?;
    let admin = Officer::of(data, "admin")?;
    let officer = |name: &str, role: &str| -> Result<Officer> {
        let token: Token = admin.post("/registry/v1/officers", &json!({"name": name, "role": role}))?;
        data.write_token(name, &token.token)?;
        Ok(Officer::new(&server.url, &token.token))
    };
    let registrar = officer("registrar", "registrar")?;
    let preparer = officer("officer-one", "programme-officer")?;
    let approver = officer("officer-two", "programme-officer")?;
    let finance = officer("finance", "finance-officer")?;

    let bar = progress("enrolling people");
    let enrolled = enrol(&registrar, people, &read_map(map)?, &bar, |_| Ok(()))?;
    ensure!(!enrolled.offers.is_empty(), "nobody was enrolled: every row of {} was refused", people.display());
    say(&format!("{} people enrolled, {} rows refused", enrolled.offers.len(), enrolled.refused.len()));

    let today = jiff::tz::Offset::UTC.to_datetime(Timestamp::now()).date();
    let new = NewProgramme {
        name: "Demonstration pension".into(),
        unit: "usd".into(),
        amount_minor: ALLOWANCE_MINOR,
        period: today.strftime("%Y-%m").to_string(),
        rule: format!("age >= 65 on {today}"),
    };
    let created: Created = preparer.post("/registry/v1/programmes", &new)?;
    let run: Run = preparer.post(&format!("/registry/v1/programmes/{}/run", created.programme.id), &json!({}))?;
    let approval = json!({"hash": run.hash});
    let approval_path = format!("/registry/v1/runs/{}/approval", run.id);
    ensure!(run.lines > 0, "nobody in {} is 65 or older, so there is nobody to pay", people.display());
    ensure!(preparer.post::<Value>(&approval_path, &approval).is_err(), "one officer must not prepare and approve");
    ensure!(approver.post::<Value>(&approval_path, &approval).is_err(), "a run must not be approved without funds");
    // A tenth more than the run needs, so that something stays available.
    let deposit = Deposit { reference: created.reference, amount_minor: run.total_minor + run.total_minor / 10 };
    let funded_minor = deposit.amount_minor;
    let statement = bank::statement("DEMO-1", "usd", 0, &[deposit], None).context("usd is a currency")?;
    finance.post_bytes("/treasury/v1/statements", "application/xml", statement.as_bytes())?;
    let _: Run = approver.post(&approval_path, &approval)?;
    say(&format!("run of {} people prepared by one officer, refused to the same, approved by another", run.lines));

    let tills = open_tills(data, &finance, &services)?;
    say(&format!("{MERCHANTS} merchants have a till each"));
    let clinic = open_clinic(&admin, &services)?;
    say("a clinic is registered: it may ask whether people are 60 or older, and nothing else");
    let tally = play_wallets(data, &services, &enrolled.offers, &tills, &clinic, seed)?;
    let collected = tally.collected_minor.load(Ordering::Relaxed);
    ensure!(collected == run.total_minor, "people collected {collected} of {}", run.total_minor);

    let bar = progress("tills redeem");
    bar.set_length(tills.len() as u64);
    let mut redeemed_minor = 0;
    for till in &tills {
        redeemed_minor += till.till.redeem()?.minor();
        bar.inc(1);
    }
    bar.finish_and_clear();
    ensure!(
        redeemed_minor == tally.spent_minor.load(Ordering::Relaxed),
        "tills redeemed something else than people spent"
    );
    server.services.sync()?;
    let order = json!({"unit": "usd", "debtor_name": "Demonstration programme", "debtor_iban": PROGRAMME_IBAN});
    let settlement: Settlement = finance.post("/treasury/v1/settlements", &order)?;
    crate::data::write_private(&data.root().join("settlement.pain001.xml"), settlement.pain001.as_bytes())?;
    let confirmed =
        bank::statement("DEMO-2", "usd", funded_minor, &[], Some(&settlement.pain001)).context("the bank pays")?;
    finance.post_bytes("/treasury/v1/statements", "application/xml", confirmed.as_bytes())?;
    say(&format!("{} merchants paid by bank file, and confirmed by the bank", settlement.payments));

    let _: Value = finance.post("/audit/v1/totals", &json!({}))?;
    say("checking the books against the stores, and the log against its tiles");
    let report = server.services.audit()?;
    let verifier = Verifier::parse(server.services.log.vkey())?;
    let log = verify_log(&HttpTiles::new(&services.log), &verifier.into(), None)?;
    let openings = Wallet::open(&wallet_path(data, 0))?.openings()?.len();
    ensure!(openings > 0, "a person found no entry about themselves");
    let totals = report.totals.get("usd").cloned().unwrap_or_default();
    let summary = Summary {
        people_enrolled: enrolled.offers.len(),
        rows_refused: enrolled.refused.len(),
        possible_duplicates: enrolled.flagged,
        credentials_issued: tally.credentials.load(Ordering::Relaxed),
        credentials_verified: tally.credentials.load(Ordering::Relaxed),
        presentations: tally.asked.load(Ordering::Relaxed),
        presentations_verified: tally.verified.load(Ordering::Relaxed),
        predicates: tally.predicates.load(Ordering::Relaxed).min(PREDICATES),
        predicates_verified: tally.predicates_verified.load(Ordering::Relaxed),
        people_paid: run.lines,
        funded_minor: totals.funded_minor,
        paid_minor: collected,
        payments: tally.payments.load(Ordering::Relaxed),
        redeemed_minor,
        settled_minor: totals.paid_out_minor,
        outstanding_minor: totals.outstanding_minor,
        audit: if report.balanced { "balanced".into() } else { report.problems.join("; ") },
        log_entries: log.checkpoint.size,
        log_verified: log.checkpoint.size == report.log_entries,
        openings_of_one_person: openings,
        seed,
        seconds: (begin.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    };
    server.stop()?;
    if !report.balanced {
        bail!("the audit failed: {}", summary.audit);
    }
    Ok(summary)
}

/// A till and where it listens.
struct OpenTill {
    till: Till,
    address: String,
    _server: tokio::runtime::Runtime,
}

fn open_tills(data: &DataFolder, finance: &Officer, services: &Services) -> Result<Vec<OpenTill>> {
    let mut tills = Vec::with_capacity(MERCHANTS);
    for number in 1..=MERCHANTS {
        let name = format!("Demonstration shop {number}");
        let new = json!({"name": name, "unit": "usd", "iban": MERCHANT_IBAN});
        let registered: treasury::ledger::Merchant = finance.post("/treasury/v1/merchants", &new)?;
        let merchant = Merchant { id: registered.id, name, unit: "usd".parse()? };
        let setup = TillSetup { merchant, services: Services { registry: None, issuer: None, ..services.clone() } };
        let till = Till::create(&data.root().join("tills").join(number.to_string()), &setup)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
        let address = format!("http://{}", listener.local_addr()?);
        let router = till_server::router(till.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        tills.push(OpenTill { till, address, _server: runtime });
    }
    Ok(tills)
}

/// A relying party and its verifier.
struct Clinic {
    verifier: verifier::Verifier,
    serving: Serving,
}

fn open_clinic(admin: &Officer, services: &Services) -> Result<Clinic> {
    let new = |key| NewRelyingParty {
        identifier: "NTRUT-DEMO0001".into(),
        name: "Demonstration clinic".into(),
        legal_name: "Demonstration clinic".into(),
        purpose: vec![
            Localised { lang: "en".into(), value: "to let people of 60 or older in first".into() },
            Localised { lang: "es".into(), value: "para atender primero a mayores de 60".into() },
        ],
        legal_basis: "Demonstration health act, article 1".into(),
        retention_days: 0,
        attributes: vec!["age_over_60".into()],
        privacy_policy: None,
        key,
    };
    let verifier = relying_party::register(admin, services, new)?.verifier(Some(SpentTokens::in_memory()))?;
    let serving = Serving::start(verifier.clone(), "demonstration", ([127, 0, 0, 1], 0).into(), None)?;
    Ok(Clinic { verifier, serving })
}

/// What the wallets did.
#[derive(Default)]
struct Tally {
    credentials: AtomicU64,
    asked: AtomicU64,
    verified: AtomicU64,
    predicates: AtomicU64,
    predicates_verified: AtomicU64,
    collected_minor: AtomicU64,
    payments: AtomicU64,
    spent_minor: AtomicU64,
}

fn wallet_path(data: &DataFolder, number: usize) -> std::path::PathBuf {
    data.root().join("wallets").join(format!("{number}.json"))
}

/// Each person's wallet: offer, credential, allowance, purchases. Several at once; the first failure ends all.
fn play_wallets(
    data: &DataFolder,
    services: &Services,
    offers: &[registry::enrol::Offer],
    tills: &[OpenTill],
    clinic: &Clinic,
    seed: u64,
) -> Result<Tally> {
    let tally = Tally::default();
    let next = AtomicUsize::new(0);
    let bar = progress("people get their card, collect, and shop");
    bar.set_length(offers.len() as u64);
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WALLETS_AT_ONCE)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(offer) = offers.get(number) else { return Ok(()) };
                        let person = Person { number, offer, services };
                        // Drawn by person and not by thread, so that a seed gives the same purchases.
                        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
                        let result = play_one(&wallet_path(data, number), &person, tills, clinic, &mut rng, &tally);
                        if result.is_err() {
                            next.store(offers.len(), Ordering::Relaxed);
                        }
                        result.with_context(|| format!("the wallet of person {number} failed"))?;
                        bar.inc(1);
                    }
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("a wallet panicked"))).collect()
    });
    bar.finish_and_clear();
    results.into_iter().collect::<Result<()>>()?;
    Ok(tally)
}

struct Person<'a> {
    number: usize,
    offer: &'a registry::enrol::Offer,
    services: &'a Services,
}

fn play_one(
    path: &Path,
    person: &Person<'_>,
    tills: &[OpenTill],
    clinic: &Clinic,
    rng: &mut StdRng,
    tally: &Tally,
) -> Result<()> {
    let usd: Unit = "usd".parse()?;
    let mut wallet = Wallet::create(path, person.services.clone())?;
    wallet.accept_offer(&crate::offer_for(person.offer, person.services), &person.offer.tx_code)?;
    // Each format for half of the people.
    wallet.fetch_credentials([MSO_MDOC, SD_JWT_VC][person.number % 2], BATCH_SIZE)?;
    tally.credentials.fetch_add(BATCH_SIZE as u64, Ordering::Relaxed);
    if person.number < PRESENTATIONS {
        tally.asked.fetch_add(1, Ordering::Relaxed);
        let question = Question { attributes: vec!["age_over_60".into()], ..Question::default() };
        let asked = clinic.verifier.ask(&question, &clinic.serving.base)?;
        let asking = wallet.look_at_request(&asked.link)?;
        wallet.show(&asking)?;
        let Outcome::Verified { presentations } = clinic.verifier.outcome(&asked.id, None)? else {
            bail!("an age check was not verified");
        };
        let shown: Vec<&String> = presentations.values().flat_map(|shown| shown.attributes.keys()).collect();
        ensure!(shown == ["age_over_60"], "a relying party saw something else than it asked for");
        tally.verified.fetch_add(1, Ordering::Relaxed);
    }
    // After the check by credential: a wallet that has a token shows that, and not who its holder is.
    if tally.predicates.load(Ordering::Relaxed) < PREDICATES
        && wallet.fetch_predicate("age_over_60", TOKENS)?
        && tally.predicates.fetch_add(1, Ordering::Relaxed) < PREDICATES
    {
        let question = Question { attributes: vec!["age_over_60".into()], ..Question::default() };
        let asked = clinic.verifier.ask(&question, &clinic.serving.base)?;
        let asking = wallet.look_at_request(&asked.link)?;
        wallet.show(&asking)?;
        let Outcome::Verified { presentations } = clinic.verifier.outcome(&asked.id, None)? else {
            bail!("an age check by predicate was not verified");
        };
        let formats: Vec<&str> = presentations.values().map(|shown| shown.format.as_str()).collect();
        ensure!(formats == [PREDICATE], "a wallet with a token showed something else");
        tally.predicates_verified.fetch_add(1, Ordering::Relaxed);
    }

    for (_, amount) in wallet.collect_all()? {
        tally.collected_minor.fetch_add(amount.minor(), Ordering::Relaxed);
    }
    let mut left = wallet.balance().get(&usd).copied().unwrap_or_default().minor();
    if left == 0 {
        return Ok(());
    }
    for _ in 0..rng.random_range(1..=3u32) {
        let amount = Amount::new(rng.random_range(100..=2_000u64).min(left));
        if amount == Amount::ZERO {
            break;
        }
        let shop = tills.choose(rng).context("there are tills")?;
        let charge = shop.till.charge(amount, &shop.address)?;
        wallet.pay(&charge.request, None)?;
        left -= amount.minor();
        tally.payments.fetch_add(1, Ordering::Relaxed);
        tally.spent_minor.fetch_add(amount.minor(), Ordering::Relaxed);
    }
    let held = wallet.balance().get(&usd).copied().unwrap_or_default().minor();
    ensure!(held == left, "a wallet holds {held} and should hold {left}");
    Ok(())
}

/// The summary as people read it.
pub fn print(summary: &Summary) {
    let money = |minor: u64| terminal::display::format_amount(Amount::new(minor), 2);
    println!("\nOne programme, from enrolment to settlement");
    println!(
        "  enrolled              {} people ({} rows refused, {} people flagged as possible duplicates)",
        summary.people_enrolled, summary.rows_refused, summary.possible_duplicates
    );
    println!(
        "  ID credentials        {} issued, {BATCH_SIZE} a person; {} age checks at a clinic, {} verified, one attribute each",
        summary.credentials_issued, summary.presentations, summary.presentations_verified
    );
    println!(
        "  anonymous predicates  {} age checks, {} verified; nobody can tell whose they were",
        summary.predicates, summary.predicates_verified
    );
    println!("  funded                {:>12} usd", money(summary.funded_minor));
    println!(
        "  paid to {:>6} people {:>12} usd, prepared by one officer and approved by another",
        summary.people_paid,
        money(summary.paid_minor)
    );
    println!(
        "  {:>6} purchases at {MERCHANTS} shops; redeemed {} usd, settled by bank {} usd",
        summary.payments,
        money(summary.redeemed_minor),
        money(summary.settled_minor)
    );
    println!("  still in people's hands {:>10} usd", money(summary.outstanding_minor));
    println!("  books                 {}", summary.audit);
    println!(
        "  public log            {} entries, {}",
        summary.log_entries,
        if summary.log_verified { "verified from its tiles" } else { "NOT verified" }
    );
    println!(
        "  one person found      {} entries about themselves in it; nobody else can tell whose they are",
        summary.openings_of_one_person
    );
    println!("  took                  {} s (seed {})\n", summary.seconds, summary.seed);
}

fn say(sentence: &str) {
    eprintln!("== {sentence}");
}

/// A bar on standard error.
pub fn progress(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    let style = ProgressStyle::with_template("   {msg} {bar:30} {pos}/{len} {elapsed}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
