//! The mint over HTTP: `/v1/…` as the NUTs define it.
//!
//! Refusals are status 400 with a NUT error code (NUT-00); a request that can't be read gets code 10001; an overload is 503 with
//! `Retry-After`; a store that fails is 500 without details. Every answer carries the same headers for everybody.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State, WebSocketUpgrade};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cashu::error::ErrorBody;
use cashu::messages::{
    CheckStateResponse, KeysResponse, KeysetsResponse, QuoteCheckRequest, SignaturesResponse, SwapRequest,
};
use cashu::{ErrorCode, Unit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::rules::BATCH_MAX;
use crate::store::Method;
use crate::{Mint, MintError, SANDBOX_UNIT, socket};

/// The largest request that is read: 256 inputs and 256 outputs with long secrets stay under half of it.
const BODY_MAX_LEN: usize = 1024 * 1024;
/// How many requests may be at work at once; past it the mint says 503 instead of letting everybody wait.
pub const AT_WORK_MAX: usize = 480;
/// How many WebSockets may be open at once: each holds some kilobytes.
const LISTENERS_MAX: usize = 1_000;

#[derive(Clone)]
struct Service {
    mint: Mint,
    at_work: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

/// The mint's routes.
pub fn router(mint: Mint) -> Router {
    let service = Service {
        mint,
        at_work: Arc::new(Semaphore::new(AT_WORK_MAX)),
        listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
    };
    Router::new()
        .route("/v1/info", get(info))
        .route("/v1/keys", get(keys))
        .route("/v1/keys/{id}", get(keys_of))
        .route("/v1/keysets", get(keysets))
        .route("/v1/swap", post(swap))
        .route("/v1/mint/quote/{method}", post(request_mint_quote))
        .route("/v1/mint/quote/{method}/{id}", get(mint_quote))
        .route("/v1/mint/quote/{method}/check", post(check_mint_quotes))
        .route("/v1/mint/{method}", post(mint_tokens))
        .route("/v1/mint/{method}/batch", post(mint_batch))
        .route("/v1/melt/quote/settlement", post(request_melt_quote))
        .route("/v1/melt/quote/settlement/{id}", get(melt_quote))
        .route("/v1/melt/settlement", post(melt))
        .route("/v1/checkstate", post(check_state))
        .route("/v1/restore", post(restore))
        .route("/v1/ws", get(socket))
        .layer(DefaultBodyLimit::max(BODY_MAX_LEN))
        .layer(middleware::from_fn_with_state(service.mint.clone(), count))
        .with_state(service)
}

/// Counts an answer under its route: the pattern, never the path, which may hold an id.
async fn count(State(mint): State<Mint>, route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let answer = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    mint.metrics().answered(route, answer.status().as_u16(), begin.elapsed());
    answer
}

async fn info(State(service): State<Service>) -> Response {
    let sandbox = service.mint.options().sandbox;
    let (play, real): (Vec<_>, Vec<_>) =
        service.mint.units().into_iter().partition(|unit| unit.as_str() == SANDBOX_UNIT);
    let methods = |method: &str, units: &[Unit]| -> Vec<Value> {
        units.iter().map(|unit| json!({"method": method, "unit": unit})).collect()
    };
    let watch = |method: &str, command: &str, units: &[Unit]| -> Vec<Value> {
        let commands = [command, "proof_state"];
        units.iter().map(|unit| json!({"method": method, "unit": unit, "commands": commands})).collect()
    };
    let play = if sandbox { play } else { Vec::new() };
    let mut minting = vec![("entitlement", &real)];
    minting.extend(sandbox.then_some(("sandbox", &play)));
    let cached: Vec<Value> = ["/v1/swap", "/v1/melt/settlement"]
        .into_iter()
        .map(str::to_owned)
        .chain(minting.iter().map(|(method, _)| format!("/v1/mint/{method}")))
        .map(|path| json!({"method": "POST", "path": path}))
        .collect();
    let mut watching = watch("settlement", "settlement_melt_quote", &real);
    for (method, units) in &minting {
        watching.extend(watch(method, &format!("{method}_mint_quote"), units));
    }
    let supported = json!({"supported": true});
    Json(json!({
        "name": "Habeas mint",
        "version": concat!("Habeas/", env!("CARGO_PKG_VERSION")),
        "description": "E-cash of public programmes. Signs blindly, knows no person.",
        "nuts": {
            "4": {"methods": minting.iter().flat_map(|(m, units)| methods(m, units)).collect::<Vec<_>>(), "disabled": false},
            "5": {"methods": methods("settlement", &real), "disabled": false},
            "7": supported, "9": supported, "10": supported, "11": supported, "12": supported, "14": supported,
            "17": {"supported": watching},
            "19": {"ttl": null, "cached_endpoints": cached},
            "20": supported,
            "29": {"max_batch_size": BATCH_MAX, "methods": minting.iter().map(|(m, _)| *m).collect::<Vec<_>>()},
        },
    }))
    .into_response()
}

async fn keys(State(service): State<Service>) -> Response {
    service.work(|mint| mint.keys(None).map(|keysets| KeysResponse { keysets })).await
}

async fn keys_of(State(service): State<Service>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else { return refusal(ErrorCode::KeysetUnknown) };
    service.work(move |mint| mint.keys(Some(&id)).map(|keysets| KeysResponse { keysets })).await
}

async fn keysets(State(service): State<Service>) -> Response {
    service.work(|mint| mint.keysets().map(|keysets| KeysetsResponse { keysets })).await
}

/// The request that there are most of: it holds no thread while it waits.
async fn swap(State(service): State<Service>, body: Bytes) -> Response {
    let Ok(_permit) = service.at_work.clone().try_acquire_owned() else { return overloaded() };
    let Ok(request) = serde_json::from_slice::<SwapRequest>(&body) else { return refusal(ErrorCode::ProofInvalid) };
    answer(service.mint.swap_async(request).await.map(|signatures| SignaturesResponse { signatures }))
}

async fn request_mint_quote(State(service): State<Service>, Path(method): Path<String>, body: Bytes) -> Response {
    let Some(method) = method_of(&method) else { return refusal(ErrorCode::MintingDisabled) };
    service.read_and_work(body, move |mint, request| mint.request_mint_quote(method, &request)).await
}

async fn mint_quote(State(service): State<Service>, Path((method, id)): Path<(String, String)>) -> Response {
    let Some(method) = method_of(&method) else { return refusal(ErrorCode::QuoteNotPaid) };
    service.work(move |mint| mint.mint_quote(method, &id)).await
}

async fn check_mint_quotes(State(service): State<Service>, Path(method): Path<String>, body: Bytes) -> Response {
    let Some(method) = method_of(&method) else { return refusal(ErrorCode::QuoteNotPaid) };
    let check = move |mint: &Mint, request: QuoteCheckRequest| mint.mint_quotes(method, &request.quotes);
    service.read_and_work(body, check).await
}

async fn mint_tokens(State(service): State<Service>, Path(method): Path<String>, body: Bytes) -> Response {
    let Some(method) = method_of(&method) else { return refusal(ErrorCode::QuoteNotPaid) };
    let work =
        move |mint: &Mint, request| mint.mint(method, &request).map(|signatures| SignaturesResponse { signatures });
    service.read_and_work(body, work).await
}

async fn mint_batch(State(service): State<Service>, Path(method): Path<String>, body: Bytes) -> Response {
    let Some(method) = method_of(&method) else { return refusal(ErrorCode::QuoteNotPaid) };
    let work = move |mint: &Mint, request| {
        mint.mint_batch(method, &request).map(|signatures| SignaturesResponse { signatures })
    };
    service.read_and_work(body, work).await
}

async fn socket(State(service): State<Service>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(listening) = service.listeners.clone().try_acquire_owned() else { return overloaded() };
    upgrade.max_message_size(socket::MESSAGE_MAX_LEN).on_upgrade(move |connection| async move {
        socket::serve(connection, service.mint).await;
        drop(listening);
    })
}

/// The method in a path.
fn method_of(name: &str) -> Option<Method> {
    match name {
        "entitlement" => Some(Method::Entitlement),
        "sandbox" => Some(Method::Sandbox),
        _ => None,
    }
}

async fn request_melt_quote(State(service): State<Service>, body: Bytes) -> Response {
    service.read_and_work(body, |mint, request| mint.request_melt_quote(&request)).await
}

async fn melt_quote(State(service): State<Service>, Path(id): Path<String>) -> Response {
    service.work(move |mint| mint.melt_quote(&id)).await
}

async fn melt(State(service): State<Service>, body: Bytes) -> Response {
    service.read_and_work(body, |mint, request| mint.melt(&request)).await
}

async fn check_state(State(service): State<Service>, body: Bytes) -> Response {
    service
        .read_and_work(body, |mint, request| mint.check_state(&request).map(|states| CheckStateResponse { states }))
        .await
}

async fn restore(State(service): State<Service>, body: Bytes) -> Response {
    service.read_and_work(body, |mint, request| mint.restore(&request)).await
}

impl Service {
    /// Reads a request and does the work.
    async fn read_and_work<Request, Answer>(
        self,
        body: Bytes,
        act: impl FnOnce(&Mint, Request) -> Result<Answer, MintError> + Send + 'static,
    ) -> Response
    where
        Request: DeserializeOwned + Send + 'static,
        Answer: Serialize + Send + 'static,
    {
        self.work(move |mint| {
            let request = serde_json::from_slice(&body).map_err(|_| ErrorCode::ProofInvalid)?;
            act(mint, request)
        })
        .await
    }

    /// Does blocking work off the async threads, if not too much is under way.
    async fn work<Answer: Serialize + Send + 'static>(
        self,
        act: impl FnOnce(&Mint) -> Result<Answer, MintError> + Send + 'static,
    ) -> Response {
        let Ok(_permit) = self.at_work.clone().try_acquire_owned() else { return overloaded() };
        let mint = self.mint.clone();
        match tokio::task::spawn_blocking(move || act(&mint)).await {
            Ok(result) => answer(result),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

fn answer<Answer: Serialize>(result: Result<Answer, MintError>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(MintError::Refused(code)) => refusal(code),
        Err(MintError::Overloaded | MintError::Closed) => overloaded(),
        Err(error @ MintError::Unreachable(_)) => {
            tracing::error!(%error, "a request could not be served");
            overloaded()
        }
        Err(error) => {
            tracing::error!(%error, "a request could not be served");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn refusal(code: ErrorCode) -> Response {
    (StatusCode::BAD_REQUEST, Json(ErrorBody::from(code))).into_response()
}

fn overloaded() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
}
