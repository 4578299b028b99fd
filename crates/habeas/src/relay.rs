//! `habeas relay`: the relay of Oblivious HTTP (RFC 9458), run by an organisation that is not the operator.
//!
//! It sees who asks and not what; the gateway behind it sees what is asked and not by whom. So nothing of a request goes on but its body,
//! all go on over the same connections, and nothing is written down: no log, no counter. It serves one gateway, chosen at its start.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use oblivious::{
    ANSWER_MAX_LEN, GATEWAY_PATH, KEYS_MAX_LEN, KEYS_PATH, KEYS_TYPE, REQUEST_MAX_LEN, REQUEST_TYPE, RESPONSE_TYPE,
};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use ureq::Agent;

use crate::server::StopSignals;

/// Requests under way at once, each with a megabyte at most and a thread while the gateway works; past them a 503.
const UNDER_WAY_MAX: usize = 256;
/// How long a client may take to send a request: a slow one holds a place that others need.
const SENDING_MAX: Duration = Duration::from_secs(15);
/// How long the gateway may take.
const ANSWERING_MAX: Duration = Duration::from_secs(30);
/// How long the key configuration is kept: within this time everybody gets the same bytes.
const KEYS_KEPT: Duration = Duration::from_secs(300);
/// How long a stop waits for answers that are under way.
const GRACE: Duration = Duration::from_secs(2);
/// The kind of what could not be opened.
const PROBLEM_TYPE: &str = "application/problem+json";

#[derive(Clone)]
struct Relay {
    agent: Agent,
    gateway: Arc<str>,
    under_way: Arc<Semaphore>,
    /// Locked while they are fetched, so that many who ask are one request.
    keys: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

/// What came from the gateway and goes to the client: a status, a kind that both know, a body.
type Answer = (StatusCode, &'static str, Bytes);

/// Serves until it is told to stop.
pub fn run(gateway: &str, listen: SocketAddr) -> Result<()> {
    let relay = Relay::to(gateway)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime
        .block_on(TcpListener::bind(listen))
        .with_context(|| format!("can't listen at {listen}: is the port taken? choose another with --listen"))?;
    let signals = StopSignals::catch()?;
    println!("relay: http://{}\ngateway: {}; stop with Ctrl-C", listener.local_addr()?, relay.gateway);
    runtime.spawn(axum::serve(listener, relay.router()).into_future());
    signals.wait();
    runtime.shutdown_timeout(GRACE);
    Ok(())
}

impl Relay {
    /// A relay before the gateway at an address.
    fn to(gateway: &str) -> Result<Self> {
        let gateway = gateway.trim_end_matches('/');
        let uri: Option<ureq::http::Uri> = gateway.parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/") {
            bail!("'{gateway}' is no gateway's address: name it as https://host, without a path");
        }
        // The same for every request: nothing of a client is in it, and no redirect leads elsewhere.
        let agent = Agent::config_builder()
            .timeout_global(Some(ANSWERING_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections_per_host(UNDER_WAY_MAX)
            .max_idle_connections(UNDER_WAY_MAX)
            .user_agent("habeas-relay")
            .no_delay(true)
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                    .build(),
            )
            .build()
            .new_agent();
        let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        Ok(Relay { agent, gateway: gateway.into(), under_way, keys: Arc::default() })
    }

    fn router(self) -> Router {
        Router::new().route("/", post(pass)).route(KEYS_PATH, get(keys)).with_state(self)
    }

    /// Takes a request to the gateway.
    fn forward(&self, body: &[u8]) -> Result<Answer, StatusCode> {
        let request = self.agent.post(format!("{}{GATEWAY_PATH}", self.gateway)).content_type(REQUEST_TYPE);
        read(request.header("accept", RESPONSE_TYPE).send(body), ANSWER_MAX_LEN)
    }

    fn fetch_keys(&self) -> Result<Bytes, StatusCode> {
        let answer = self.agent.get(format!("{}{KEYS_PATH}", self.gateway)).call();
        match read(answer, KEYS_MAX_LEN)? {
            (StatusCode::OK, KEYS_TYPE, keys) => Ok(keys),
            _ => Err(StatusCode::BAD_GATEWAY),
        }
    }
}

/// Reads what the gateway says; anything that is not Oblivious HTTP ends here.
fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, max_len: usize) -> Result<Answer, StatusCode> {
    let failed = |error| match error {
        ureq::Error::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut answer = answer.map_err(failed)?;
    let told = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kinds = [RESPONSE_TYPE, KEYS_TYPE, PROBLEM_TYPE];
    let kind = kinds.into_iter().find(|kind| *kind == told).ok_or(StatusCode::BAD_GATEWAY)?;
    let status = StatusCode::from_u16(answer.status().as_u16()).map_err(|_| StatusCode::BAD_GATEWAY)?;
    let body = answer.body_mut().with_config().limit(max_len as u64).read_to_vec().map_err(failed)?;
    Ok((status, kind, body.into()))
}

async fn pass(State(relay): State<Relay>, request: Request) -> Response {
    let Ok(place) = relay.under_way.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")]).into_response();
    };
    if request.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != REQUEST_TYPE) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let body = match tokio::time::timeout(SENDING_MAX, to_bytes(request.into_body(), REQUEST_MAX_LEN)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    // The place is held until the gateway has answered, whether or not the client waits for it.
    let forward = move || {
        let _place = place;
        relay.forward(&body)
    };
    let answer = tokio::task::spawn_blocking(forward).await;
    answer_with(answer.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR)))
}

async fn keys(State(relay): State<Relay>) -> Response {
    let mut kept = relay.keys.lock().await;
    if let Some((_, keys)) = kept.as_ref().filter(|(since, _)| since.elapsed() < KEYS_KEPT) {
        return answer_with(Ok((StatusCode::OK, KEYS_TYPE, keys.clone())));
    }
    let own = relay.clone();
    let fetched = tokio::task::spawn_blocking(move || own.fetch_keys()).await;
    let fetched = fetched.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR));
    if let Ok(keys) = &fetched {
        *kept = Some((Instant::now(), keys.clone()));
    }
    answer_with(fetched.map(|keys| (StatusCode::OK, KEYS_TYPE, keys)))
}

fn answer_with(answer: Result<Answer, StatusCode>) -> Response {
    match answer {
        Ok((status, kind, body)) => {
            (status, [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response()
        }
        Err(status) => status.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_by_its_host_alone() {
        for good in ["http://127.0.0.1:4280", "https://mint.example", "https://mint.example/"] {
            assert!(Relay::to(good).is_ok(), "{good}");
        }
        for bad in ["", "mint.example", "ftp://mint.example", "https://mint.example/ohttp", "https://"] {
            assert!(Relay::to(bad).is_err(), "{bad}");
        }
    }
}
