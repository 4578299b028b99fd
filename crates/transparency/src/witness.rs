//! A witness (C2SP tlog-witness): cosigns checkpoints of logs that it knows, each only when it continues the last one, and so keeps an
//! operator from showing different people different logs. Run by an organisation that is not the operator.
//!
//! Its state is a file for each log with the last checkpoint that it cosigned, replaced and synced before a cosignature is given.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use storage::keys::{read_or_make, write_private};
use tlog::checkpoint::Checkpoint;
use tlog::cosignature::Cosigner;
use tlog::evidence::Evidence;
use tlog::note::Verifier;
use tlog::witness::{AddCheckpoint, REQUEST_MAX_LEN, Refusal, Seen};

/// A witness can't do its part.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// What the protocol refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file can't be read or written.
    #[error("the witness's files can't be used: {0}")]
    Files(#[from] io::Error),
    /// A file is not what it was written as.
    #[error(
        "{path} is damaged: a witness that forgot what it cosigned must not go on under its key; make a new one in another folder"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A name that no key can have.
    #[error("'{0}' can't be a witness's name: no spaces, no plus sign, and not nothing")]
    BadName(String),
}

/// A witness in a folder.
pub struct Witness {
    folder: PathBuf,
    cosigner: Cosigner,
    logs: Vec<Verifier>,
    /// Held from looking at the last checkpoint until the next one is durable.
    state: Mutex<()>,
}

impl Witness {
    /// Opens a witness in a folder, or makes one with a fresh key, for these logs.
    ///
    /// # Errors
    /// When the folder can't be used, or the name is none.
    pub fn open(folder: &Path, name: &str, logs: Vec<Verifier>) -> Result<Self, WitnessError> {
        fs::create_dir_all(folder)?;
        let seed = read_or_make(&folder.join("witness.key"))?;
        let cosigner = Cosigner::new(name, &seed).ok_or_else(|| WitnessError::BadName(name.to_owned()))?;
        let witness = Witness { folder: folder.to_owned(), cosigner, logs, state: Mutex::new(()) };
        for log in &witness.logs {
            witness.seen(log)?;
        }
        Ok(witness)
    }

    /// The key that verifies its cosignatures.
    pub fn vkey(&self) -> String {
        self.cosigner.witness().to_vkey()
    }

    /// Answers `add-checkpoint`. `now`: Unix time. Gives a signature line.
    ///
    /// # Errors
    /// Why it does not cosign. Two checkpoints that convict the log of a fork are written into the folder `evidence`.
    pub fn add_checkpoint(&self, body: &[u8], now: u64) -> Result<String, WitnessError> {
        let request = AddCheckpoint::parse(body)?;
        let is_named = |log: &&Verifier| log.name() == request.origin();
        let log = self.logs.iter().find(is_named).ok_or(Refusal::UnknownLog)?;
        let _state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.seen(log)?;
        let seen = last.as_ref().map(|(_, seen)| *seen);
        let checkpoint = match request.check(log, seen) {
            Ok(checkpoint) => checkpoint,
            Err(refusal) => {
                if let (Refusal::Fork { size }, Some((note, _))) = (refusal, last) {
                    self.keep_evidence(
                        log,
                        size,
                        &Evidence::Fork { log: log.to_vkey(), one: note, other: request.note },
                    )?;
                }
                return Err(refusal.into());
            }
        };
        let line = self.cosigner.cosign(&checkpoint, now);
        write_private(&self.state_file(log), format!("{}{line}", request.note).as_bytes())?;
        Ok(line)
    }

    /// The last checkpoint of a log that was cosigned, with the cosignature. `None` for a log that is not known, or was never seen.
    ///
    /// # Errors
    /// When the file can't be read or is damaged.
    pub fn last(&self, origin: &str) -> Result<Option<String>, WitnessError> {
        let Some(log) = self.logs.iter().find(|log| log.name() == origin) else { return Ok(None) };
        Ok(self.seen(log)?.map(|(note, _)| note))
    }

    fn seen(&self, log: &Verifier) -> Result<Option<(String, Seen)>, WitnessError> {
        let path = self.state_file(log);
        let note = match fs::read_to_string(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match Checkpoint::open(&note, log) {
            Ok(Checkpoint { size, root, .. }) => Ok(Some((note, Seen { size, root }))),
            Err(_) => Err(WitnessError::Damaged { path }),
        }
    }

    /// By a hash: a log's name may have any letters.
    fn state_file(&self, log: &Verifier) -> PathBuf {
        self.folder.join(format!("{}.checkpoint", short_hash(log.name())))
    }

    fn keep_evidence(&self, log: &Verifier, size: u64, evidence: &Evidence) -> io::Result<()> {
        let folder = self.folder.join("evidence");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}-{size}.json", short_hash(log.name())));
        // The first one convicts; others would fill the disk.
        if path.exists() {
            return Ok(());
        }
        tracing::error!(log = log.name(), size, evidence = %path.display(), "the log shows two histories");
        write_private(&path, &evidence.to_json())
    }
}

fn short_hash(name: &str) -> String {
    Sha256::digest(name)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `POST /add-checkpoint`, `GET /vkey`, and `GET /checkpoint?origin=NAME`: the last one that was cosigned, for monitors.
pub fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint).layer(DefaultBodyLimit::max(REQUEST_MAX_LEN)))
        .route("/vkey", get(|State(witness): State<Arc<Witness>>| async move { witness.vkey() }))
        .route("/checkpoint", get(last))
        .with_state(witness)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let answer = tokio::task::spawn_blocking(move || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        witness.add_checkpoint(&body, now)
    });
    match answer.await {
        Ok(Ok(line)) => line.into_response(),
        Ok(Err(WitnessError::Refused(Refusal::OldSize { size } | Refusal::Fork { size }))) => {
            (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
        }
        Ok(Err(WitnessError::Refused(refusal))) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, format!("{refusal}\n")).into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "nothing was cosigned");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Deserialize)]
struct Origin {
    origin: String,
}

async fn last(State(witness): State<Arc<Witness>>, Query(Origin { origin }): Query<Origin>) -> Response {
    match witness.last(&origin) {
        Ok(Some(note)) => ([(header::CACHE_CONTROL, "no-store")], note).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%error, "the last checkpoint can't be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
