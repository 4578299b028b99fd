//! A verifier over HTTP: `POST /presentations` asks, `GET /presentations/{id}` tells how it ended; wallets use `/requests` and `/answers`.
//!
//! Whoever may ask has the relying party's token; a wallet needs none. Refusals are RFC 9457 problem details for the relying party, and
//! OAuth's codes for wallets.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use openid4vc::OAuthError;
use openid4vc::request::WalletPost;
use openid4vc::response::RESPONSE_MAX_LEN;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Asked, Question, Verifier, VerifierError};

/// The longest question.
const QUESTION_MAX_LEN: usize = 32 * 1024;

#[derive(Clone)]
struct Api {
    verifier: Verifier,
    /// SHA-256 of the relying party's token, so that comparing tells nothing by its time.
    token: [u8; 32],
    base: Arc<str>,
}

/// The answer to a question that was asked.
#[derive(Serialize)]
struct AskedAnswer {
    #[serde(flatten)]
    asked: Asked,
    /// The link as a QR code, SVG.
    qr: String,
}

/// A verifier's routes. `base` is the address under which wallets reach them; whoever asks shows `token`.
pub fn router(verifier: Verifier, token: &str, base: &str) -> Router {
    let api = Api { verifier, token: Sha256::digest(token).into(), base: base.trim_end_matches('/').into() };
    Router::new()
        .route("/presentations", post(ask))
        .route("/presentations/{id}", get(outcome))
        .layer(DefaultBodyLimit::max(QUESTION_MAX_LEN))
        .route("/requests/{id}", get(request).post(request))
        .route("/answers/{id}", post(answer))
        .layer(DefaultBodyLimit::max(RESPONSE_MAX_LEN))
        .with_state(api)
}

async fn ask(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_allowed(&api, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "this needs the relying party's token: Authorization: Bearer …");
    }
    let question: Question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("the question can't be read: {error}")),
    };
    let asked = tokio::task::spawn_blocking(move || api.verifier.ask(&question, &api.base)).await;
    match asked {
        Ok(Ok(asked)) => {
            let qr = qrcode::QrCode::new(&asked.link).map_or(String::new(), |code| {
                code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(240, 240).build()
            });
            (StatusCode::CREATED, Json(AskedAnswer { asked, qr })).into_response()
        }
        Ok(Err(error)) => problem(status_of(&error), &error.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the verifier failed"),
    }
}

#[derive(Deserialize)]
struct OutcomeQuery {
    response_code: Option<String>,
}

async fn outcome(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<OutcomeQuery>,
) -> Response {
    if !is_allowed(&api, &headers) {
        return problem(StatusCode::UNAUTHORIZED, "this needs the relying party's token: Authorization: Bearer …");
    }
    match api.verifier.outcome(&id, query.response_code.as_deref()) {
        Ok(outcome) => ([(header::CACHE_CONTROL, "no-store")], Json(outcome)).into_response(),
        Err(error) => problem(status_of(&error), &error.to_string()),
    }
}

async fn request(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Response {
    let request = tokio::task::spawn_blocking(move || api.verifier.request(&id, WalletPost::from_form(&body))).await;
    match request {
        Ok(Ok(jwt)) => {
            let headers =
                [(header::CONTENT_TYPE, "application/oauth-authz-req+jwt"), (header::CACHE_CONTROL, "no-store")];
            (headers, jwt).into_response()
        }
        Ok(Err(error)) => wallet_refusal(&error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the verifier failed"),
    }
}

async fn answer(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Response {
    match tokio::task::spawn_blocking(move || api.verifier.answer(&id, &body)).await {
        Ok(Ok(reply)) => ([(header::CACHE_CONTROL, "no-store")], Json(reply)).into_response(),
        Ok(Err(error)) => wallet_refusal(&error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the verifier failed"),
    }
}

fn is_allowed(api: &Api, headers: &HeaderMap) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    bearer.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token)) == api.token)
}

fn status_of(error: &VerifierError) -> StatusCode {
    match error {
        VerifierError::OverAsking(_) | VerifierError::Suspended => StatusCode::FORBIDDEN,
        VerifierError::Message(_) | VerifierError::Presentation(_) => StatusCode::BAD_REQUEST,
        VerifierError::Unknown => StatusCode::NOT_FOUND,
        VerifierError::Status(_) | VerifierError::SpentTokens(_) | VerifierError::Busy(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        VerifierError::Key(_) | VerifierError::Jose(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A refusal as a wallet reads it. It says what was wrong with the answer and nothing about the relying party's affairs.
fn wallet_refusal(error: &VerifierError) -> Response {
    let status = status_of(error);
    let code = match status {
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        StatusCode::INTERNAL_SERVER_ERROR => "server_error",
        _ => "invalid_request",
    };
    let body = OAuthError { error: code.into(), error_description: Some(error.to_string()) };
    let mut answer = (status, Json(body)).into_response();
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn problem(status: StatusCode, title: &str) -> Response {
    (status, Json(json!({"title": title, "status": status.as_u16()}))).into_response()
}
