//! The write path: callers hand in entries and wait; one thread gathers what waits, makes it durable, and answers everybody.
//!
//! While one batch is being synced the next gathers, so a busy log makes larger batches, not longer queues.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tlog::entry::Entry;
use tlog::note::Verifier;

use crate::LogFailure;
use crate::cosigning::{Publisher, Round, WitnessConnection};
use crate::store::{Store, public_folder};

/// How many callers may wait. Past it they are told so: a registrar's click should fail rather than hang.
const WAITING_MAX: usize = 4_096;
/// How many entries go into one batch: bounds the time that the last caller of a batch waits.
const BATCH_MAX: usize = 32_768;

/// A handle to the log; clones share it. The sequencer stops when the last handle is dropped or [`Log::close`] is called.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Mutex<Option<SyncSender<Waiting>>>,
    sequencer: Mutex<Option<JoinHandle<()>>>,
    verifier: Verifier,
    vkey: String,
    publisher: Arc<Publisher>,
}

struct Waiting {
    entries: Vec<Vec<u8>>,
    answer: SyncSender<Result<u64, LogFailure>>,
}

impl Log {
    /// Opens the log in a folder. `origin` is its name, for ever.
    ///
    /// # Errors
    /// When the files can't be used or are damaged.
    pub fn open(folder: &Path, origin: &str) -> Result<Self, LogFailure> {
        let store = Store::open(folder, origin)?;
        let verifier = store.verifier();
        let publisher = Arc::new(Publisher::new(folder));
        publisher.publish_own()?;
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let for_sequencer = publisher.clone();
        let sequencer = std::thread::Builder::new()
            .name("log-sequencer".into())
            .spawn(move || sequence(store, &waiting, &for_sequencer))
            .map_err(|source| LogFailure::Files { folder: folder.to_owned(), source })?;
        let inner = Inner {
            queue: Mutex::new(Some(queue)),
            sequencer: Mutex::new(Some(sequencer)),
            vkey: verifier.to_vkey(),
            verifier,
            publisher,
        };
        Ok(Log { inner: Arc::new(inner) })
    }

    /// Appends entries and waits until they are durable. Gives the index of the first; the others follow it.
    ///
    /// # Errors
    /// When an entry is too long, too many callers wait, or the files can't be written.
    pub fn append(&self, entries: &[Entry]) -> Result<u64, LogFailure> {
        let entries: Option<Vec<Vec<u8>>> = entries.iter().map(Entry::to_bytes).collect();
        let (answer, receipt) = sync_channel(1);
        let waiting = Waiting { entries: entries.ok_or(LogFailure::TooLong)?, answer };
        let queue =
            self.inner.queue.lock().expect("no holder of this lock panics").clone().ok_or(LogFailure::Closed)?;
        queue.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) => LogFailure::Overloaded,
            TrySendError::Disconnected(_) => LogFailure::Closed,
        })?;
        receipt.recv().map_err(|_| LogFailure::Closed)?
    }

    /// The key that verifies the log.
    pub fn vkey(&self) -> &str {
        &self.inner.vkey
    }

    /// The folder that any web server can serve.
    pub fn public_folder(&self) -> PathBuf {
        public_folder(&self.inner.publisher.folder)
    }

    /// Asks the witnesses to cosign the newest checkpoint, those that have not, and publishes it when a quorum has. To be called again and
    /// again; costs little when there is nothing to do.
    ///
    /// # Errors
    /// When a file can't be read or written. A witness that is away or refuses is told of in the [`Round`].
    pub fn cosign(&self, connection: &dyn WitnessConnection) -> Result<Round, LogFailure> {
        self.inner.publisher.round(&self.inner.verifier, connection)
    }

    /// Finishes what waits and stops.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        drop(self.queue.lock().expect("no holder of this lock panics").take());
        if let Some(sequencer) = self.sequencer.lock().expect("no holder of this lock panics").take() {
            let _ = sequencer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// The sequencer. After a failed write it stops: what lies in memory is no longer what lies on disk.
fn sequence(mut store: Store, waiting: &Receiver<Waiting>, publisher: &Publisher) {
    while let Ok(first) = waiting.recv() {
        let mut count = first.entries.len();
        let mut batch = vec![first];
        while count < BATCH_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            count += next.entries.len();
            batch.push(next);
        }
        // Where each caller's entries begin, counted from the first of the batch.
        let mut entries = Vec::with_capacity(count);
        let starts: Vec<u64> = batch
            .iter_mut()
            .map(|caller| {
                let start = entries.len() as u64;
                entries.append(&mut caller.entries);
                start
            })
            .collect();
        let appended = store.append(&entries).and_then(|first| publisher.publish_own_now().map(|()| first));
        match appended {
            Ok(first) => {
                for (caller, start) in batch.into_iter().zip(starts) {
                    let _ = caller.answer.send(Ok(first + start));
                }
            }
            Err(source) => {
                tracing::error!(%source, "the log can't be written; it stops");
                for caller in batch {
                    let error = io_copy(&source);
                    let _ =
                        caller.answer.send(Err(LogFailure::Files { folder: publisher.folder.clone(), source: error }));
                }
                return;
            }
        }
    }
}

fn io_copy(error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), error.to_string())
}
