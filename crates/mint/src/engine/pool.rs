//! The pool: curve arithmetic, on as many threads as there are cores.
//!
//! A thread takes its share of what waits and checks the proofs of all of it together ([`bdhke::verify_many`]): one multiplication a
//! key instead of one a proof. Then it signs and answers, request by request. Whoever sends a wrong proof makes the batch it lies in
//! be checked one by one, which costs the mint a third more for that batch and nobody an answer.

use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use cashu::bdhke::{self, Claim};
use cashu::{BlindSignature, BlindedMessage, ErrorCode, Point, Proof, conditions};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rand::RngExt;

use super::{Answer, Pending};
use crate::MintError;
use crate::metrics::Metrics;
use crate::rules::{self, Passed};
use crate::store::Row;

/// How many requests may wait; past it callers are told to come back.
const WAITING_MAX: usize = 1_024;
/// Proofs and outputs from which on a thread takes no further request: some 10 ms of work, the most that the last of them waits for the
/// others.
const POINTS_MAX: usize = 128;

/// A request that has passed the rules, but for its proofs and their conditions.
pub struct Work {
    /// What the rules found.
    pub passed: Passed,
    /// What is spent.
    pub inputs: Vec<Proof>,
    /// The outputs, which `SIG_ALL` covers.
    pub outputs: Vec<BlindedMessage>,
    /// The melt quote, which `SIG_ALL` covers.
    pub quote: Option<String>,
}

/// What came of it. Withheld from the asker until the commit.
#[derive(Debug)]
pub struct Worked {
    /// `Y` and row of each input.
    pub inputs: Vec<Row>,
    /// The witness of each input that has one: whoever locked the token may ask what opened it (NUT-14).
    pub witnesses: Vec<(Point, String)>,
    /// `B_` and row of each output.
    pub outputs: Vec<Row>,
    /// A signature an output.
    pub signatures: Vec<BlindSignature>,
}

struct Waiting {
    work: Work,
    answer: Answer<Worked>,
}

/// The threads and their queue.
pub struct Pool {
    queue: Mutex<Option<Sender<Waiting>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let (queue, waiting) = bounded(WAITING_MAX);
        let start = |number| {
            let (waiting, metrics) = (waiting.clone(), metrics.clone());
            let run = move || run(&waiting, cores, &metrics);
            std::thread::Builder::new().name(format!("mint-pool-{number}")).spawn(run)
        };
        let threads = (0..cores).map(start).collect::<Result<_, _>>()?;
        Ok(Pool { queue: Mutex::new(Some(queue)), threads: Mutex::new(threads) })
    }

    /// Hands in work.
    ///
    /// # Errors
    /// When too much waits, or the mint is closed.
    pub fn submit(&self, work: Work) -> Result<Pending<Worked>, MintError> {
        let (answer, pending) = Pending::new();
        let queue = self.queue.lock().expect("no holder of this lock panics");
        queue.as_ref().ok_or(MintError::Closed)?.try_send(Waiting { work, answer }).map_err(|error| match error {
            TrySendError::Full(_) => MintError::Overloaded,
            TrySendError::Disconnected(_) => MintError::Closed,
        })?;
        Ok(pending)
    }

    /// Finishes what waits and stops.
    pub fn close(&self) {
        drop(self.queue.lock().expect("no holder of this lock panics").take());
        for thread in self.threads.lock().expect("no holder of this lock panics").drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(waiting: &Receiver<Waiting>, cores: usize, metrics: &Metrics) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        let mut points = batch[0].work.points();
        // The others of these belong to the other threads.
        for _ in 0..waiting.len() / cores {
            if points >= POINTS_MAX {
                break;
            }
            let Ok(next) = waiting.try_recv() else { break };
            points += next.work.points();
            batch.push(next);
        }
        metrics.pool_took(batch.len(), waiting.len());
        work_on(batch);
    }
}

/// Works on requests together and answers each.
fn work_on(batch: Vec<Waiting>) {
    let (works, answers): (Vec<Work>, Vec<Answer<Worked>>) = batch.into_iter().map(|w| (w.work, w.answer)).unzip();
    let claims: Vec<Result<Vec<Claim<'_>>, ErrorCode>> = works.iter().map(Work::claims).collect();
    let all: Vec<Claim<'_>> = claims.iter().flatten().flatten().copied().collect();
    let mut rng = rand::rng();
    let mut checked = bdhke::verify_many(&all, || rng.random()).into_iter();
    for ((work, claims), answer) in works.iter().zip(claims).zip(answers) {
        let worked = claims.and_then(|claims| work.finish(checked.by_ref().take(claims.len()).collect()));
        let _ = answer.send(worked.map_err(MintError::from));
    }
}

impl Work {
    fn points(&self) -> usize {
        self.inputs.len() + self.passed.outputs.len()
    }

    /// Checks the spending conditions (NUT-10), and gives the proofs to be checked.
    fn claims(&self) -> Result<Vec<Claim<'_>>, ErrorCode> {
        let Passed { keysets, now, inputs: claimed, .. } = &self.passed;
        conditions::check(&self.inputs, &self.outputs, self.quote.as_deref(), *now)
            .map_err(|_| ErrorCode::ProofInvalid)?;
        let mut claims = Vec::with_capacity(self.inputs.len());
        for (proof, token) in self.inputs.iter().zip(claimed) {
            let keyset = keysets.by_number(token.keyset).ok_or(ErrorCode::KeysetUnknown)?;
            let (key, public_key) = keyset.key(proof.amount).ok_or(ErrorCode::ProofInvalid)?;
            claims.push(Claim { secret: proof.secret.as_bytes(), signature: &proof.signature, key, public_key });
        }
        Ok(claims)
    }

    /// Signs, when all proofs hold.
    fn finish(&self, ys: Vec<Option<Point>>) -> Result<Worked, ErrorCode> {
        let Passed { keysets, inputs: claimed, outputs, .. } = &self.passed;
        let ys: Vec<Point> = ys.into_iter().collect::<Option<_>>().ok_or(ErrorCode::ProofInvalid)?;
        let witness = |(proof, y): (&Proof, &Point)| proof.witness.clone().map(|witness| (*y, witness));
        let sign = |(blinded, token): &Row| rules::sign(keysets, blinded, *token).ok_or(ErrorCode::KeysetUnknown);
        Ok(Worked {
            witnesses: self.inputs.iter().zip(&ys).filter_map(witness).collect(),
            inputs: ys.into_iter().zip(claimed.iter().copied()).collect(),
            signatures: outputs.iter().map(sign).collect::<Result<_, _>>()?,
            outputs: outputs.clone(),
        })
    }
}
