//! The engine: where requests wait for the processor and for the disk, in two bounded queues.
//!
//! A request that the rules have passed goes through [`pool`] (its proofs are checked and its outputs signed, on as many threads as
//! there are cores) and [`committer`] (one thread makes a batch of changes durable). Who serves a queue takes what waits there, so
//! load makes batches larger instead of queues longer: checking proofs together and syncing together are both cheaper. A queue that is
//! full refuses at once ([`MintError::Overloaded`]).

pub mod committer;
pub mod pool;

use tokio::sync::oneshot;

use crate::MintError;

/// An answer that is on its way.
#[must_use = "nothing is known before it is answered"]
pub struct Pending<T>(oneshot::Receiver<Result<T, MintError>>);

/// Who owes the answer. Dropped without one, the asker hears that the mint is closed.
pub type Answer<T> = oneshot::Sender<Result<T, MintError>>;

impl<T> Pending<T> {
    /// Both ends.
    pub fn new() -> (Answer<T>, Self) {
        let (answer, receipt) = oneshot::channel();
        (answer, Pending(receipt))
    }

    /// Waits on this thread. Not for async threads.
    ///
    /// # Errors
    /// What went wrong, or [`MintError::Closed`].
    pub fn wait(self) -> Result<T, MintError> {
        self.0.blocking_recv().unwrap_or(Err(MintError::Closed))
    }

    /// Waits without holding a thread.
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub async fn answered(self) -> Result<T, MintError> {
        self.0.await.unwrap_or(Err(MintError::Closed))
    }
}
