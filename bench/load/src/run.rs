//! The clock: requests that are ready, over many connections at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::http::{self, Connection};

/// One run.
#[derive(Serialize)]
pub struct Level {
    /// Connections at once.
    pub connections: usize,
    /// Answers with status 200.
    pub answered: usize,
    /// Answers with status 503: the mint said that it has too much to do.
    pub overloaded: usize,
    /// Any other answer.
    pub refused: usize,
    /// Length of the run.
    pub seconds: f64,
    /// Answers a second.
    pub per_second: f64,
    /// Half of the answers took at most this long, in milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred took at most this long.
    pub p99_ms: f64,
}

#[derive(Default)]
struct Tally {
    next: usize,
    latencies: Vec<Duration>,
    overloaded: usize,
    refused: usize,
    last: Option<Instant>,
}

impl Tally {
    /// Notes an answer. `false` when the request has to be sent again.
    fn note(&mut self, status: u16, body: &[u8], begin: Instant, end: Instant) -> bool {
        self.last = Some(end);
        match status {
            200 => self.latencies.push(end - begin),
            503 => {
                self.overloaded += 1;
                return false;
            }
            _ => {
                self.refused += 1;
                if self.refused == 1 {
                    eprintln!("status {status}: {}", String::from_utf8_lossy(body));
                }
            }
        }
        true
    }
}

/// Sends requests until they are used up or the time is.
pub async fn run(
    address: &str,
    path: &str,
    bodies: Vec<Vec<u8>>,
    connections: usize,
    seconds: Option<f64>,
) -> Result<Level> {
    let requests: Rc<Vec<Vec<u8>>> =
        Rc::new(bodies.iter().map(|body| http::request("POST", address, path, body)).collect());
    drop(bodies);
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let tally = Rc::new(RefCell::new(Tally::default()));
    eprintln!("clock: {connections} connections");
    let begin = Instant::now();
    let deadline = seconds.map(|seconds| begin + Duration::from_secs_f64(seconds));
    let tasks = tokio::task::LocalSet::new();
    for connection in open {
        let (requests, tally) = (requests.clone(), tally.clone());
        tasks.spawn_local(async move {
            if let Err(error) = work(connection, &requests, &tally, deadline).await {
                eprintln!("a connection failed: {error:#}");
                tally.borrow_mut().refused += 1;
            }
        });
    }
    tasks.await;
    let mut tally = Rc::into_inner(tally).context("all tasks have ended")?.into_inner();
    let seconds = tally.last.unwrap_or(begin).duration_since(begin).as_secs_f64();
    tally.latencies.sort_unstable();
    let answered = tally.latencies.len();
    let at = |share: f64| {
        let place = ((answered as f64 * share) as usize).min(answered.saturating_sub(1));
        tally.latencies.get(place).map_or(0.0, |latency| (latency.as_secs_f64() * 1e5).round() / 1e2)
    };
    Ok(Level {
        connections,
        answered,
        overloaded: tally.overloaded,
        refused: tally.refused,
        seconds,
        per_second: (answered as f64 / seconds.max(1e-9) * 10.0).round() / 10.0,
        p50_ms: at(0.50),
        p99_ms: at(0.99),
    })
}

async fn work(
    mut connection: Connection,
    requests: &[Vec<u8>],
    tally: &RefCell<Tally>,
    deadline: Option<Instant>,
) -> Result<()> {
    loop {
        let begin = Instant::now();
        if deadline.is_some_and(|deadline| begin >= deadline) {
            return Ok(());
        }
        let number = {
            let mut tally = tally.borrow_mut();
            tally.next += 1;
            tally.next - 1
        };
        let Some(request) = requests.get(number) else { return Ok(()) };
        loop {
            let (status, body) = connection.send(request).await?;
            let end = Instant::now();
            if tally.borrow_mut().note(status, body, begin, end) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
