//! All services of one data folder, opened in the order in which they need one another.

use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use credential::{Credentials, Renewed};
use futures_util::stream;
use mint::Mint;
use oblivious::GatewayKey;
use registry::Registry;
use registry::officers::Role;
use tlog::entry::Entry;
use tokio::sync::{Semaphore, mpsc, watch};
use transparency::Log;
use treasury::Treasury;

use crate::audit::{self, AuditReport};
use crate::data::DataFolder;
use crate::gateway;
use crate::mint_command::{RunningServer, Status, refuse_half_restored, stream_backup};
use crate::oversight::HttpWitnesses;
use crate::wiring::{CredentialDesk, Feed, NoFunds, Orders, PublicLog, RegistryDesk, SystemClock, TreasuryDesk};

/// The name of the log, as in its key and checkpoints.
pub const LOG_ORIGIN: &str = "habeas.example/log";
/// How often the treasury reads the mint's events.
const SYNC_EVERY: Duration = Duration::from_millis(250);
/// How often the log looks whether witnesses have a checkpoint to cosign.
const COSIGN_EVERY: Duration = Duration::from_millis(250);
/// How often the mint looks for keysets that begin or end.
const CALENDAR_EVERY: Duration = Duration::from_secs(60);
/// Where an administrator gets a backup of the mint.
pub const MINT_BACKUP: &str = "/audit/v1/mint/backup";
/// Where an officer asks how the mint is.
pub const MINT_STATUS: &str = "/audit/v1/mint/status";
/// Where a registrar reports a lost card or phone.
pub const REVOCATIONS: &str = "/desk/v1/revocations";
/// Bytes of a backup that are sent at once.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait for a reader; past them the backup waits.
const CHUNKS_WAITING: usize = 4;
/// Backups at once: each holds a snapshot of the store and reads all of it.
const BACKUPS_MAX: usize = 1;

/// What an operator chooses at the start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of the mint.
    pub mint: mint::Options,
    /// Of the registry.
    pub registry: registry::Options,
}

/// The services.
#[derive(Clone)]
pub struct Services {
    /// The public log.
    pub log: Log,
    /// Funds, merchants, bank files.
    pub treasury: Treasury,
    /// E-cash.
    pub mint: Mint,
    /// People and programmes.
    pub registry: Registry,
    /// ID credentials.
    pub credentials: Credentials,
    /// What requests through a relay are sealed for.
    pub gateway: Arc<GatewayKey>,
}

impl Services {
    /// Opens the services of a folder. A first start makes keys, announces them, and makes the officer `admin`.
    ///
    /// # Errors
    /// When a store can't be used; when a sandbox is asked for on the folder of a programme, or the other way round.
    pub fn open(data: &DataFolder, options: Options) -> Result<Self> {
        refuse_half_restored(data)?;
        if options.mint.sandbox != data.is_sandbox() && data.service("registry").exists() {
            bail!(
                "{} {} a sandbox: a sandbox's money is worth nothing, so it never shares a folder with a programme; choose \
                 another with --data",
                data.root().display(),
                if options.mint.sandbox { "is not" } else { "is" }
            );
        }
        if options.mint.sandbox {
            data.mark_sandbox()?;
        }
        let sandbox = options.mint.sandbox;
        let mint_options = mint::Options { postgres: data.mint_store()?, key: data.mint_key()?, ..options.mint };
        let log = Log::open(&data.service("log"), LOG_ORIGIN)?;
        let public_log = Arc::new(PublicLog(log.clone()));
        let clock = Arc::new(SystemClock);
        let treasury = Treasury::open(&data.service("treasury"), clock.clone())?;
        let desk = Arc::new(TreasuryDesk(treasury.clone()));
        let mint = Mint::open(&data.service("mint"), public_log.clone(), desk.clone(), clock.clone(), mint_options)?;
        let orders = Arc::new(Orders { treasury: treasury.clone(), mint: mint.clone() });
        let funds: Arc<dyn registry::Funds> = if sandbox { Arc::new(NoFunds) } else { desk };
        let place = data.service("registry");
        let registry = Registry::open(&place, public_log.clone(), funds, orders, clock.clone(), options.registry)?;
        let people = Arc::new(RegistryDesk(registry.clone()));
        let (place, key) = (data.service("credential"), data.issuer_key()?);
        let credentials = Credentials::open_with_key(&place, key.as_ref(), people, public_log, clock)?;
        // Those of this month, so that nobody finds none; the next month's are made beside the work.
        credentials.make_predicate_keys(credential::predicates::Period::at(jiff::Timestamp::now()))?;
        let services = Services { log, treasury, mint, registry, credentials, gateway: Arc::new(data.gateway_key()?) };
        if !services.registry.has_officers()? {
            let token = services.registry.add_officer("admin", Role::Administrator)?;
            data.write_token("admin", &token)?;
        }
        Ok(services)
    }

    /// Books what has happened at the mint.
    pub fn sync(&self) -> Result<()> {
        self.treasury.sync(&Feed(self.mint.clone())).context("the treasury can't read the mint")?;
        Ok(())
    }

    /// Books the mint's events and follows the calendar until told to stop.
    pub async fn keep_books(self, stop: watch::Receiver<bool>) {
        let (books, calendar, credentials, log) = (self.clone(), self.mint, self.credentials, self.log);
        let refused_before = Arc::new(Mutex::new(Vec::new()));
        tokio::join!(
            again_and_again(COSIGN_EVERY, stop.clone(), "no witness could be asked", move || {
                let round = log.cosign(&HttpWitnesses)?;
                let mut before = refused_before.lock().unwrap_or_else(PoisonError::into_inner);
                // Each trouble once, and its end.
                if *before != round.refused {
                    round
                        .refused
                        .iter()
                        .for_each(|(witness, why)| tracing::warn!(%witness, %why, "a witness did not cosign"));
                    *before = round.refused;
                }
                Ok(())
            }),
            again_and_again(SYNC_EVERY, stop.clone(), "the books could not be brought up to date", move || books
                .sync()),
            again_and_again(
                CALENDAR_EVERY,
                stop.clone(),
                "the issuer's keys and lists could not follow the calendar",
                move || {
                    let renewed = credentials.follow_calendar()?;
                    if renewed != Renewed::default() {
                        tracing::info!(?renewed, "the issuer's keys and lists follow the calendar");
                    }
                    Ok(())
                }
            ),
            again_and_again(CALENDAR_EVERY, stop, "the mint's keysets could not follow the calendar", move || {
                let closed = calendar.follow_calendar()?;
                closed.iter().for_each(|keyset| tracing::info!(%keyset, "a keyset is closed"));
                Ok(())
            })
        );
    }

    /// Publishes the sums of each unit.
    pub fn publish_totals(&self) -> Result<()> {
        self.sync()?;
        let now = jiff::Timestamp::now();
        let date = jiff::tz::Offset::UTC.to_datetime(now).date().to_string();
        let at = u64::try_from(now.as_second()).unwrap_or(0);
        for unit in self.treasury.units()? {
            let totals = self.treasury.totals(&unit)?;
            self.log.append(&[Entry::Totals {
                date: date.clone(),
                unit,
                funded_minor: totals.funded_minor,
                available_minor: totals.available_minor,
                committed_minor: totals.committed_minor,
                outstanding_minor: totals.outstanding_minor,
                merchants_minor: totals.merchants_minor,
                paid_out_minor: totals.paid_out_minor,
                lapsed_minor: totals.lapsed_minor,
                at,
            }])?;
        }
        Ok(())
    }

    /// Recomputes everything. Books that can't be brought up to date are a finding, not a failure.
    pub fn audit(&self) -> Result<AuditReport> {
        let behind = self.sync().err();
        let mut report = audit::run(self)?;
        if let Some(behind) = behind {
            report.balanced = false;
            report.problems.push(format!("{behind:#}"));
        }
        Ok(report)
    }

    /// What the mint counts about itself, for Prometheus.
    pub fn metrics(&self) -> Router {
        let mint = self.mint.clone();
        let text = move || {
            let text = mint.metrics().text();
            async move { ([(header::CONTENT_TYPE, mint::metrics::CONTENT_TYPE)], text) }
        };
        Router::new().route("/metrics", get(text))
    }

    /// Finishes what is under way and closes the stores.
    pub fn close(&self) {
        self.mint.close();
        self.log.close();
    }

    /// All routes: the mint at the root (Cashu wallets expect `/v1/…` below the mint's address), the others below their names, and the gateway.
    /// `stop` cuts off a backup that is under way.
    pub fn router(&self, running: RunningServer, stop: watch::Receiver<bool>) -> Router {
        let url = running.url.clone();
        let backups = Backups { services: self.clone(), at_work: Arc::new(Semaphore::new(BACKUPS_MAX)), stop };
        let operation = Router::new().route(MINT_BACKUP, get(mint_backup)).with_state(backups);
        let services = self.clone();
        let status = move |headers| {
            let server = RunningServer { url: running.url.clone(), since: running.since };
            as_officer(services.clone(), headers, |services| {
                let treasury_read = services.treasury.booked_events()?;
                Ok(axum::Json(Status { mint: services.mint.status()?, treasury_read, server: Some(server) })
                    .into_response())
            })
        };
        let officers = Router::new()
            .route("/audit/v1/report", get(report))
            .route("/audit/v1/totals", post(totals))
            .route(MINT_STATUS, get(status))
            .route(REVOCATIONS, post(revoke))
            .with_state(self.clone());
        let treasury = treasury::api::router(
            self.treasury.clone(),
            Arc::new(RegistryDesk(self.registry.clone())),
            Arc::new(Feed(self.mint.clone())),
        );
        let officers_desk = Arc::new(RegistryDesk(self.registry.clone()));
        let holders = Arc::new(CredentialDesk(self.credentials.clone()));
        let registry = registry::api::router(self.registry.clone()).merge(registry::api::holder_router(
            self.registry.clone(),
            holders,
            &format!("{url}/registry"),
        ));
        let (credential, well_known) =
            credential::api::routers(self.credentials.clone(), officers_desk, &format!("{url}/credential"));
        let everything = mint::api::router(self.mint.clone())
            .nest("/registry", registry)
            .nest("/credential", credential)
            .merge(well_known)
            .nest("/treasury", treasury)
            .nest("/log", transparency::api::router(self.log.clone()))
            .merge(officers)
            .merge(operation);
        gateway::router(self.gateway.clone(), everything.clone()).merge(everything)
    }
}

/// Does something at once and then every so often, until told to stop.
async fn again_and_again(
    every: Duration,
    mut stop: watch::Receiver<bool>,
    failed: &str,
    act: impl Fn() -> Result<()> + Clone + Send + 'static,
) {
    while !*stop.borrow() {
        if let Ok(Err(error)) = tokio::task::spawn_blocking(act.clone()).await {
            tracing::error!(%error, "{failed}");
        }
        let _ = tokio::time::timeout(every, stop.changed()).await;
    }
}

async fn report(State(services): State<Services>, headers: HeaderMap) -> Response {
    as_officer(services, headers, |services| Ok(axum::Json(services.audit()?).into_response())).await
}

async fn totals(State(services): State<Services>, headers: HeaderMap) -> Response {
    as_officer(services, headers, |services| {
        services.publish_totals()?;
        Ok(axum::Json(serde_json::json!({"published": true})).into_response())
    })
    .await
}

/// Who lost a card or a phone.
#[derive(serde::Deserialize)]
struct Revocation {
    document_number: String,
}

/// Revokes all devices and credentials of a person in one act. Their money is not touched: it comes back from the recovery words.
async fn revoke(State(services): State<Services>, headers: HeaderMap, body: Bytes) -> Response {
    as_officer(services, headers.clone(), move |services| {
        if !services.registry.actor(bearer(&headers)).is_ok_and(|actor| actor.role == Role::Registrar) {
            return Ok(problem(StatusCode::FORBIDDEN, "a revocation needs a registrar's token"));
        }
        let Ok(revocation) = serde_json::from_slice::<Revocation>(&body) else {
            return Ok(problem(StatusCode::BAD_REQUEST, "the request has to name a document_number"));
        };
        let Some(person) = services.registry.person_by_document(&revocation.document_number)? else {
            return Ok(problem(StatusCode::NOT_FOUND, "nobody is enrolled with this document number"));
        };
        let credentials = services.credentials.revoke_person(&person)?;
        let offer = services.registry.new_offer(&person)?;
        Ok(axum::Json(serde_json::json!({"credentials": credentials, "offer": offer})).into_response())
    })
    .await
}

#[derive(Clone)]
struct Backups {
    services: Services,
    at_work: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

/// A backup as it is written: the store is read no faster than somebody takes it.
async fn mint_backup(State(backups): State<Backups>, headers: HeaderMap) -> Response {
    let Backups { services, at_work, stop } = backups;
    as_officer(services, headers.clone(), move |services| {
        if !services.registry.actor(bearer(&headers)).is_ok_and(|actor| actor.role == Role::Administrator) {
            return Ok(problem(StatusCode::FORBIDDEN, "a backup needs the administrator's token"));
        }
        let Ok(permit) = at_work.try_acquire_owned() else {
            return Ok(problem(StatusCode::CONFLICT, "another backup is under way: wait for its end"));
        };
        let (chunks, taken) = mpsc::channel(CHUNKS_WAITING);
        let mint = services.mint.clone();
        std::thread::Builder::new().name("mint-backup".into()).spawn(move || {
            stream_backup(&mint, &mut BufWriter::with_capacity(CHUNK, Chunks(chunks)));
            drop(permit);
        })?;
        let body = stream::unfold((taken, stop), |(mut taken, mut stop)| async move {
            let chunk = tokio::select! {
                chunk = taken.recv() => Ok(chunk?),
                _ = stop.wait_for(|stop| *stop) => Err(io::Error::other("the server stops")),
            };
            Some((chunk, (taken, stop)))
        });
        Ok(Response::new(Body::from_stream(body)))
    })
    .await
}

/// Writes into a channel; waits while it is full, fails when nobody takes any more.
struct Chunks(mpsc::Sender<Bytes>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the backup any more");
        self.0.blocking_send(Bytes::copy_from_slice(bytes)).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bearer(headers: &HeaderMap) -> &str {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    bearer.unwrap_or_default()
}

/// Any officer may have the books checked or published; a stranger may not, since it takes the machine's time.
async fn as_officer(
    services: Services,
    headers: HeaderMap,
    act: impl FnOnce(&Services) -> Result<Response> + Send + 'static,
) -> Response {
    let work = move || {
        if services.registry.actor(bearer(&headers)).is_err() {
            return problem(StatusCode::FORBIDDEN, "this needs an officer's token");
        }
        act(&services).unwrap_or_else(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| problem(StatusCode::INTERNAL_SERVER_ERROR, "the check failed"))
}

fn problem(status: StatusCode, title: &str) -> Response {
    (status, axum::Json(serde_json::json!({"title": title, "status": status.as_u16()}))).into_response()
}
