//! What the mint counts about itself, for Prometheus (OpenMetrics text).
//!
//! Sums and times of routes and queues, and nothing about any one request: no label holds an id, a key, an amount or an address.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

/// The counters; all methods may be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    request_seconds: Family<Route, Histogram>,
    pool_waiting: Gauge,
    pool_batch: Histogram,
    commit_waiting: Gauge,
    commit_batch: Histogram,
    commit_seconds: Histogram,
    commits_failed: Counter,
    spent: Counter,
    signed: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 0.5 ms to 8 s, and from 1 to 512.
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 15));
        let sizes = || Histogram::new(exponential_buckets(1.0, 2.0, 10));
        let metrics = Metrics {
            registry: Registry::with_prefix("habeas_mint"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            pool_waiting: Gauge::default(),
            pool_batch: sizes(),
            commit_waiting: Gauge::default(),
            commit_batch: sizes(),
            commit_seconds: seconds(),
            commits_failed: Counter::default(),
            spent: Counter::default(),
            signed: Counter::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let all = &mut self.registry;
        all.register("requests", "Requests by route and status", self.requests.clone());
        let help = "Time from a request's head to its answer, by route";
        all.register_with_unit("request", help, Unit::Seconds, self.request_seconds.clone());
        all.register("pool_waiting", "Requests that wait for arithmetic", self.pool_waiting.clone());
        all.register("pool_batch", "Requests whose proofs were checked together", self.pool_batch.clone());
        all.register("commit_waiting", "Changes that wait for a commit", self.commit_waiting.clone());
        all.register("commit_batch", "Changes that one commit made durable", self.commit_batch.clone());
        all.register_with_unit("commit", "Time of a commit", Unit::Seconds, self.commit_seconds.clone());
        all.register("commits_failed", "Commits that failed", self.commits_failed.clone());
        all.register("tokens_spent", "Tokens spent since the start", self.spent.clone());
        all.register("tokens_signed", "Tokens signed since the start", self.signed.clone());
        self
    }

    /// Counts an answer.
    pub fn answered(&self, route: &str, status: u16, time: Duration) {
        let route = route.to_owned();
        self.request_seconds.get_or_create(&Route { route: route.clone() }).observe(time.as_secs_f64());
        self.requests.get_or_create(&Answered { route, status }).inc();
    }

    /// Counts a batch of the pool, and what is left waiting.
    pub fn pool_took(&self, batch: usize, waiting: usize) {
        self.pool_batch.observe(batch as f64);
        self.pool_waiting.set(waiting as i64);
    }

    /// Counts a commit, and what is left waiting.
    pub fn committed(&self, batch: usize, waiting: usize, time: Duration) {
        self.commit_batch.observe(batch as f64);
        self.commit_waiting.set(waiting as i64);
        self.commit_seconds.observe(time.as_secs_f64());
    }

    /// Counts a commit that failed.
    pub fn commit_failed(&self) {
        self.commits_failed.inc();
    }

    /// Counts tokens that a commit spent and signed.
    pub fn moved(&self, spent: usize, signed: usize) {
        self.spent.inc_by(spent as u64);
        self.signed.inc_by(signed as u64);
    }

    /// All counters as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes all text");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_written_as_openmetrics() {
        let metrics = Metrics::default();
        metrics.answered("/v1/swap", 200, Duration::from_millis(3));
        metrics.answered("/v1/swap", 400, Duration::from_millis(1));
        metrics.committed(7, 2, Duration::from_millis(1));
        metrics.moved(2, 3);
        let text = metrics.text();
        for line in [
            "habeas_mint_requests_total{route=\"/v1/swap\",status=\"400\"} 1",
            "habeas_mint_request_seconds_count{route=\"/v1/swap\"} 2",
            "habeas_mint_commit_batch_sum 7.0",
            "habeas_mint_commit_waiting 2",
            "habeas_mint_tokens_spent_total 2",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
