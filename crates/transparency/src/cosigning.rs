//! How a checkpoint reaches its readers: at once, or when a quorum of witnesses has cosigned it.
//!
//! An entry is durable, and its caller answered, before a witness is asked: a witness that is away holds up what readers see, and nothing
//! else. Readers who ask for a quorum get the last checkpoint that had one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tlog::checkpoint::Checkpoint;
use tlog::client::consistency_proof;
use tlog::cosignature::{Policy, Witness};
use tlog::note::Verifier;
use tlog::witness::AddCheckpoint;

use crate::LogFailure;
use crate::store::{PublicFiles, own_checkpoint, public_folder, publish, published_checkpoint};

/// Past this, in bytes, an answer of a witness is not read.
pub const ANSWER_MAX_LEN: usize = 16 * 1024;
/// The name of the file in the log's folder.
const FILE: &str = "witnesses";

/// The witnesses that a log asks, and how many of them have to have cosigned what readers get.
///
/// As a file: a line `quorum <number>`, and a line `witness <verifier key> <address>` for each. Lines that begin with `#` are for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// How many.
    pub quorum: usize,
    /// The witnesses, and where each is reached.
    pub witnesses: Vec<(Witness, String)>,
}

impl Witnesses {
    /// Reads the file in a log's folder; without one there are none.
    ///
    /// # Errors
    /// When it can't be read, or the quorum can't be reached.
    pub fn load(folder: &Path) -> Result<Self, LogFailure> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Witnesses::default()),
            Err(error) => return Err(LogFailure::Witnesses { path, why: error.to_string() }),
        };
        Self::parse(&text).map_err(|why| LogFailure::Witnesses { path, why })
    }

    /// Writes the file, for a running log to read before its next checkpoint.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        storage::keys::write_private(&folder.join(FILE), self.to_text().as_bytes())
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut read = Witnesses::default();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["quorum", count] => read.quorum = count.parse().map_err(|_| format!("line {number}: no number"))?,
                ["witness", key, address] => {
                    let witness = Witness::parse(key).map_err(|error| format!("line {number}: {error}"))?;
                    read.witnesses.push((witness, address.trim_end_matches('/').to_owned()));
                }
                _ => return Err(format!("line {number}: expected 'quorum NUMBER' or 'witness KEY ADDRESS'")),
            }
        }
        Ok(read)
    }

    /// The text of such a file.
    pub fn to_text(&self) -> String {
        let witness = |(witness, address): &(Witness, String)| format!("witness {} {address}\n", witness.to_vkey());
        format!("quorum {}\n{}", self.quorum, self.witnesses.iter().map(witness).collect::<String>())
    }

    /// What readers of this log ask for.
    ///
    /// # Errors
    /// When the quorum can't be reached.
    pub fn policy(&self, log: Verifier) -> Result<Policy, tlog::note::NoteError> {
        Policy::new(log, self.witnesses.iter().map(|(witness, _)| witness.clone()).collect(), self.quorum)
    }
}

/// The way to a witness.
pub trait WitnessConnection: Sync {
    /// `POST <address>/add-checkpoint` with a body. Gives the status and the answer's body, of [`ANSWER_MAX_LEN`] bytes at most.
    ///
    /// # Errors
    /// A sentence for people, when there is no answer.
    fn add_checkpoint(&self, address: &str, body: &str) -> Result<(u16, Vec<u8>), String>;
}

/// What asking the witnesses once has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The size of the newest checkpoint.
    pub size: u64,
    /// Witnesses that have cosigned it.
    pub cosigned: usize,
    /// Whether readers get it.
    pub published: bool,
    /// Witnesses that did not cosign, and why.
    pub refused: Vec<(String, String)>,
}

/// Gives readers their checkpoint. The sequencer and the rounds of cosigning share it.
pub(crate) struct Publisher {
    pub folder: PathBuf,
    /// Held while the public file is looked at and replaced.
    publishing: Mutex<()>,
    /// The size that each witness has cosigned last, by its key.
    sizes: Mutex<BTreeMap<String, u64>>,
}

impl Publisher {
    pub fn new(folder: &Path) -> Self {
        Publisher { folder: folder.to_owned(), publishing: Mutex::new(()), sizes: Mutex::default() }
    }

    fn failed(&self, source: io::Error) -> LogFailure {
        LogFailure::Files { folder: self.folder.clone(), source }
    }

    /// Publishes the log's own checkpoint where no witness is needed.
    pub fn publish_own(&self) -> Result<(), LogFailure> {
        Witnesses::load(&self.folder)?;
        self.publish_own_now().map_err(|source| self.failed(source))
    }

    /// The same for the sequencer. Where the file of witnesses can't be read nothing is published: the rounds say why.
    pub fn publish_own_now(&self) -> io::Result<()> {
        if !Witnesses::load(&self.folder).is_ok_and(|witnesses| witnesses.quorum == 0) {
            return Ok(());
        }
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let own = own_checkpoint(&self.folder)?;
        let is_there = published_checkpoint(&self.folder)?.is_some_and(|published| published.starts_with(&own));
        if is_there { Ok(()) } else { publish(&self.folder, &own) }
    }

    /// See [`crate::Log::cosign`].
    pub fn round(&self, log: &Verifier, connection: &dyn WitnessConnection) -> Result<Round, LogFailure> {
        let damaged = |error: tlog::note::NoteError| LogFailure::Damaged(format!("the checkpoint: {error}"));
        let witnesses = Witnesses::load(&self.folder)?;
        let policy = witnesses
            .policy(log.clone())
            .map_err(|error| LogFailure::Witnesses { path: self.folder.join(FILE), why: error.to_string() })?;
        let own = own_checkpoint(&self.folder).map_err(|source| self.failed(source))?;
        let checkpoint = Checkpoint::open(&own, log).map_err(damaged)?;
        // What was published of the same checkpoint has lines already.
        let published = published_checkpoint(&self.folder).map_err(|source| self.failed(source))?;
        let mut note = published.filter(|published| published.starts_with(&own)).unwrap_or_else(|| own.clone());
        let missing: Vec<&(Witness, String)> =
            witnesses.witnesses.iter().filter(|(witness, _)| witness.cosigned_at(&note).is_none()).collect();
        let mut round = Round { size: checkpoint.size, ..Round::default() };
        if !missing.is_empty() {
            let answers = std::thread::scope(|scope| {
                let (own, checkpoint) = (&own, &checkpoint);
                let ask = |witness| scope.spawn(move || self.ask(witness, own, checkpoint, connection));
                let asked: Vec<_> = missing.into_iter().map(ask).collect();
                asked.into_iter().map(|asked| asked.join().expect("asking does not panic")).collect::<Vec<_>>()
            });
            for answer in answers {
                match answer {
                    Ok(line) => note.push_str(&line),
                    Err(refused) => round.refused.push(refused),
                }
            }
        }
        round.cosigned = policy.cosigned(&note).count();
        let _publishing = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let published = published_checkpoint(&self.folder).map_err(|source| self.failed(source))?;
        let later = published.as_ref().and_then(|published| Checkpoint::open(published, log).ok());
        let is_overtaken = later.is_some_and(|later| later.size > checkpoint.size);
        if !is_overtaken && policy.open(&note).is_ok() {
            if published.as_ref() != Some(&note) {
                publish(&self.folder, &note).map_err(|source| self.failed(source))?;
            }
            round.published = true;
        }
        Ok(round)
    }

    /// Asks one witness. Gives its signature line, or its name and why it did not cosign.
    fn ask(
        &self,
        (witness, address): &(Witness, String),
        own: &str,
        checkpoint: &Checkpoint,
        connection: &dyn WitnessConnection,
    ) -> Result<String, (String, String)> {
        let refused = |why: String| (witness.name().to_owned(), why);
        let key = witness.to_vkey();
        let files = PublicFiles(public_folder(&self.folder));
        let known = |sizes: &BTreeMap<String, u64>| sizes.get(&key).copied().unwrap_or(0);
        let mut old_size = known(&self.sizes.lock().unwrap_or_else(PoisonError::into_inner)).min(checkpoint.size);
        // Once more when the witness says that it knows another size.
        for _ in 0..2 {
            let proof =
                consistency_proof(&files, old_size, checkpoint.size).map_err(|error| refused(error.to_string()))?;
            let request = AddCheckpoint { old_size, proof, note: own.to_owned() };
            let (status, body) = connection.add_checkpoint(address, &request.to_body()).map_err(refused)?;
            let body = String::from_utf8(body).map_err(|_| refused("its answer is no text".into()))?;
            if status == 409
                && let Ok(size) = body.trim_end().parse::<u64>()
                && size != old_size
                && size <= checkpoint.size
            {
                old_size = size;
                continue;
            }
            if status != 200 {
                return Err(refused(format!("it refused with status {status}: {}", body.trim_end())));
            }
            // Of what it sends, only its own line over this very checkpoint is kept.
            let is_its_own = |line: &&str| witness.cosigned_at(&format!("{own}{line}\n")).is_some();
            let line = body
                .lines()
                .find(is_its_own)
                .ok_or_else(|| refused("its answer has no cosignature of its key".into()))?;
            self.sizes.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), checkpoint.size);
            return Ok(format!("{line}\n"));
        }
        Err(refused("it names another size each time".into()))
    }
}
