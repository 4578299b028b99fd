//! The committer: requests that wait join a batch, the batch is made durable, everybody is answered.
//!
//! While one batch is being synced the next gathers, so load makes batches larger instead of queues longer.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::MintError;
use crate::changes::Changes;
use crate::store::{Change, Outcome, Store};

/// How many changes may wait for the committer; past it callers are told to come back.
const WAITING_MAX: usize = 1_024;
/// How many changes one write makes durable: bounds the wait of the last.
const BATCH_MAX: usize = 512;

/// The committer thread and its queue.
pub struct Engine {
    queue: Mutex<Option<SyncSender<Waiting>>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    folder: String,
}

struct Waiting {
    change: Change,
    answer: oneshot::Sender<Result<Outcome, String>>,
}

/// A change on its way into a commit.
#[must_use = "a change is durable only when it was answered"]
pub struct Submitted {
    answer: oneshot::Receiver<Result<Outcome, String>>,
    folder: String,
}

impl Submitted {
    /// Waits on this thread. Not for async threads.
    ///
    /// # Errors
    /// A store that can't be written.
    pub fn wait(self) -> Result<Outcome, MintError> {
        read(self.answer.blocking_recv(), self.folder)
    }

    /// Waits without holding a thread.
    ///
    /// # Errors
    /// A store that can't be written.
    pub async fn answered(self) -> Result<Outcome, MintError> {
        read(self.answer.await, self.folder)
    }
}

fn read(
    answer: Result<Result<Outcome, String>, oneshot::error::RecvError>,
    folder: String,
) -> Result<Outcome, MintError> {
    match answer {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(detail)) => Err(MintError::Store { folder, detail }),
        Err(_) => Err(closed(folder)),
    }
}

fn closed(folder: String) -> MintError {
    MintError::Store { folder, detail: "the mint is closed".into() }
}

impl Engine {
    /// Starts the committer of a store.
    pub fn start(store: Arc<dyn Store>, folder: String, listeners: Changes) -> Result<Self, MintError> {
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let commit = move || run(&*store, &waiting, &listeners);
        let committer = std::thread::Builder::new().name("mint-committer".into()).spawn(commit);
        let committer =
            committer.map_err(|error| MintError::Store { folder: folder.clone(), detail: error.to_string() })?;
        Ok(Engine { queue: Mutex::new(Some(queue)), committer: Mutex::new(Some(committer)), folder })
    }

    /// Hands in a change for the next commit.
    ///
    /// # Errors
    /// When too many wait, or the mint is closed: the change is then not made.
    pub fn submit(&self, change: Change) -> Result<Submitted, MintError> {
        let folder = || self.folder.clone();
        let (answer, receipt) = oneshot::channel();
        let queue = self.queue.lock().expect("no holder of this lock panics").clone();
        queue.ok_or_else(|| closed(folder()))?.try_send(Waiting { change, answer }).map_err(|error| match error {
            TrySendError::Full(_) => MintError::Overloaded,
            TrySendError::Disconnected(_) => closed(folder()),
        })?;
        Ok(Submitted { answer: receipt, folder: folder() })
    }

    /// Finishes what waits and stops.
    pub fn close(&self) {
        drop(self.queue.lock().expect("no holder of this lock panics").take());
        if let Some(committer) = self.committer.lock().expect("no holder of this lock panics").take() {
            let _ = committer.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// After a failed commit the committer stops: what the store holds is known only after it is opened again.
fn run(store: &dyn Store, waiting: &Receiver<Waiting>, listeners: &Changes) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
        let (changes, answers): (Vec<Change>, Vec<_>) = batch.into_iter().map(|w| (w.change, w.answer)).unzip();
        match store.commit(&changes) {
            Ok(outcomes) => {
                listeners.tell(changes.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(c, _)| c));
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(error) => {
                tracing::error!(%error, "the mint's store can't be written; the mint stops");
                for answer in answers {
                    let _ = answer.send(Err(error.to_string()));
                }
                return;
            }
        }
    }
}
