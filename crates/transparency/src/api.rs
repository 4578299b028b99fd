//! The log over HTTP (C2SP tlog-tiles): static files, and the verifier key.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::Log;

/// `GET /checkpoint`, `GET /tile/…`, `GET /vkey`.
pub fn router(log: Log) -> Router {
    Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .route("/vkey", get(|State(log): State<Log>| async move { log.vkey().to_owned() }))
        .with_state(log)
}

async fn checkpoint(State(log): State<Log>) -> Response {
    file(&log, "checkpoint", "text/plain; charset=utf-8", "no-store").await
}

async fn tile(State(log): State<Log>, Path(path): Path<String>) -> Response {
    // A path of the specification has digits, `x`, `entries`, `.p` and slashes: nothing that leaves the folder.
    if path.contains("..") || !path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.')) {
        return StatusCode::NOT_FOUND.into_response();
    }
    // A tile of a given width never changes.
    file(&log, &format!("tile/{path}"), "application/octet-stream", "public, max-age=31536000, immutable").await
}

async fn file(log: &Log, path: &str, content_type: &'static str, cache: &'static str) -> Response {
    match tokio::fs::read(log.public_folder().join(path)).await {
        Ok(bytes) => {
            ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, cache)], Body::from(bytes)).into_response()
        }
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}
