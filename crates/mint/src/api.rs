//! The mint over HTTP: `/v1/…` as the NUTs define it.
//!
//! Refusals are status 400 with a NUT error code (NUT-00); a request that can't be read gets code 10001; an overload is 503 with
//! `Retry-After`; a store that fails is 500 without details. Every answer carries the same headers for everybody.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cashu::ErrorCode;
use cashu::error::ErrorBody;
use cashu::messages::{CheckStateResponse, KeysResponse, KeysetsResponse, SignaturesResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{Mint, MintError};

/// The largest request that is read: 256 inputs and 256 outputs with long secrets stay under half of it.
const BODY_MAX_LEN: usize = 1024 * 1024;
/// How many requests may be at work at once; past it the mint says 503 instead of letting everybody wait.
const AT_WORK_MAX: usize = 480;

#[derive(Clone)]
struct Service {
    mint: Mint,
    at_work: Arc<Semaphore>,
}

/// The mint's routes.
pub fn router(mint: Mint) -> Router {
    let service = Service { mint, at_work: Arc::new(Semaphore::new(AT_WORK_MAX)) };
    Router::new()
        .route("/v1/info", get(info))
        .route("/v1/keys", get(keys))
        .route("/v1/keys/{id}", get(keys_of))
        .route("/v1/keysets", get(keysets))
        .route("/v1/swap", post(swap))
        .route("/v1/mint/quote/entitlement", post(|| async { refusal(ErrorCode::MintingDisabled) }))
        .route("/v1/mint/quote/entitlement/{id}", get(mint_quote))
        .route("/v1/mint/entitlement", post(mint_tokens))
        .route("/v1/melt/quote/settlement", post(request_melt_quote))
        .route("/v1/melt/quote/settlement/{id}", get(melt_quote))
        .route("/v1/melt/settlement", post(melt))
        .route("/v1/checkstate", post(check_state))
        .route("/v1/restore", post(restore))
        .layer(DefaultBodyLimit::max(BODY_MAX_LEN))
        .with_state(service)
}

async fn info(State(service): State<Service>) -> Response {
    let units = service.mint.units();
    let methods = |method: &str, name: &str| -> Vec<_> {
        units.iter().map(|unit| json!({"method": method, "unit": unit, "method_name": name})).collect()
    };
    let supported = json!({"supported": true});
    Json(json!({
        "name": "Habeas mint",
        "version": concat!("Habeas/", env!("CARGO_PKG_VERSION")),
        "description": "E-cash of public programmes. Signs blindly, knows no person.",
        "nuts": {
            "4": {"methods": methods("entitlement", "Entitlement of a programme"), "disabled": false},
            "5": {"methods": methods("settlement", "Settlement to a merchant's balance"), "disabled": false},
            "7": supported, "9": supported, "12": supported, "20": supported,
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

async fn swap(State(service): State<Service>, body: Bytes) -> Response {
    service
        .read_and_work(body, |mint, request| mint.swap(&request).map(|signatures| SignaturesResponse { signatures }))
        .await
}

async fn mint_quote(State(service): State<Service>, Path(id): Path<String>) -> Response {
    service.work(move |mint| mint.mint_quote(&id)).await
}

async fn mint_tokens(State(service): State<Service>, body: Bytes) -> Response {
    service
        .read_and_work(body, |mint, request| mint.mint(&request).map(|signatures| SignaturesResponse { signatures }))
        .await
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
            Ok(Ok(answer)) => Json(answer).into_response(),
            Ok(Err(MintError::Refused(code))) => refusal(code),
            Ok(Err(MintError::Overloaded)) => overloaded(),
            Ok(Err(error)) => {
                tracing::error!(%error, "a request could not be served");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

fn refusal(code: ErrorCode) -> Response {
    (StatusCode::BAD_REQUEST, Json(ErrorBody::from(code))).into_response()
}

fn overloaded() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
}
