//! The issuer over HTTP: `POST /v1/credentials`, `GET /v1/iaca`. Refusals are RFC 9457 problem details.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Issuer, IssuerError};

/// The largest request that is read.
const BODY_MAX_LEN: usize = 4 * 1024;

#[derive(Deserialize)]
struct CredentialRequest {
    /// The offer's code.
    offer: String,
    /// The device's public point, 65 bytes, hex.
    device_key: String,
    /// 64 bytes, hex.
    proof: String,
}

#[derive(Serialize)]
struct CredentialAnswer {
    /// `IssuerSigned`, base64url.
    credential: String,
}

/// The issuer's routes.
pub fn router(issuer: Issuer) -> Router {
    Router::new()
        .route("/v1/credentials", post(credential))
        .route("/v1/iaca", get(|State(issuer): State<Issuer>| async move { issuer.root().to_vec() }))
        .layer(DefaultBodyLimit::max(BODY_MAX_LEN))
        .with_state(issuer)
}

async fn credential(State(issuer): State<Issuer>, body: Bytes) -> Response {
    let problem = |status: StatusCode, title: &str| {
        (status, Json(json!({"title": title, "status": status.as_u16()}))).into_response()
    };
    let Ok(request) = serde_json::from_slice::<CredentialRequest>(&body) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "the request can't be read: it is not the JSON that this address takes",
        );
    };
    let work = move || {
        let unreadable = |_| IssuerError::Refused("the device's key or proof can't be read".into());
        let key = hex::decode(&request.device_key).map_err(unreadable)?;
        let proof = hex::decode(&request.proof).map_err(unreadable)?;
        issuer.issue(&request.offer, &key, &proof)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(credential)) => Json(CredentialAnswer { credential: URL_SAFE_NO_PAD.encode(credential) }).into_response(),
        Ok(Err(IssuerError::Refused(why))) => problem(StatusCode::BAD_REQUEST, &why),
        Ok(Err(error)) => {
            tracing::error!(%error, "a credential could not be issued");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the issuer can't issue just now")
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the issuer failed"),
    }
}
