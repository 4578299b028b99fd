//! The committer: changes that wait join a batch, the batch is made durable, everybody is answered.
//!
//! While one batch is being synced the next gathers.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::{Answer, Pending};
use crate::MintError;
use crate::changes::Changes;
use crate::metrics::Metrics;
use crate::store::{Change, Outcome, Store, Table};

/// How many changes may wait; past it callers are told to come back.
const WAITING_MAX: usize = 1_024;
/// How many changes one write makes durable: bounds the wait of the last.
const BATCH_MAX: usize = 512;

/// The thread and its queue.
pub struct Committer {
    queue: Mutex<Option<Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Waiting {
    change: Change,
    answer: Answer<Outcome>,
}

impl Committer {
    /// Starts the committer of a store.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Arc<dyn Store>, listeners: Changes, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (queue, waiting) = bounded(WAITING_MAX);
        let run = move || run(&*store, &waiting, &listeners, &metrics);
        let thread = std::thread::Builder::new().name("mint-committer".into()).spawn(run)?;
        Ok(Committer { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Hands in a change for the next commit.
    ///
    /// # Errors
    /// When too many wait, or the mint is closed: the change is then not made.
    pub fn submit(&self, change: Change) -> Result<Pending<Outcome>, MintError> {
        let (answer, pending) = Pending::new();
        let queue = self.queue.lock().expect("no holder of this lock panics");
        queue.as_ref().ok_or(MintError::Closed)?.try_send(Waiting { change, answer }).map_err(|error| match error {
            TrySendError::Full(_) => MintError::Overloaded,
            TrySendError::Disconnected(_) => MintError::Closed,
        })?;
        Ok(pending)
    }

    /// Finishes what waits and stops.
    pub fn close(&self) {
        drop(self.queue.lock().expect("no holder of this lock panics").take());
        if let Some(thread) = self.thread.lock().expect("no holder of this lock panics").take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(store: &dyn Store, waiting: &Receiver<Waiting>, listeners: &Changes, metrics: &Metrics) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH_MAX - 1));
        let (changes, answers): (Vec<Change>, Vec<_>) = batch.into_iter().map(|w| (w.change, w.answer)).unzip();
        let begin = Instant::now();
        let committed = store.commit(&changes);
        metrics.committed(changes.len(), waiting.len(), begin.elapsed());
        match committed {
            Ok(outcomes) => {
                let done = || changes.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(c, _)| c);
                metrics
                    .moved(done().map(|c| c.count(Table::Spent)).sum(), done().map(|c| c.count(Table::Signed)).sum());
                listeners.tell(done());
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(error) => {
                metrics.commit_failed();
                let goes_on = store.goes_on_after_failure();
                tracing::error!(%error, goes_on, "a commit failed");
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
                if !goes_on {
                    return;
                }
            }
        }
    }
}
