//! The till's HTTP server: where payers' wallets send payments (NUT-18, transport `post`).

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use cashu::payment_request::PaymentPayload;
use serde::Serialize;
use wallet::WalletError;

use crate::{Till, TillError};

/// The largest payment that is read: 64 powers of two take some 30 KiB; a wallet with worse change still fits.
const PAYMENT_MAX_LEN: usize = 256 * 1024;

/// `POST /pay`: takes a payment payload, gives the receipt.
pub fn router(till: Till) -> Router {
    Router::new().route("/pay", post(pay)).layer(DefaultBodyLimit::max(PAYMENT_MAX_LEN)).with_state(till)
}

async fn pay(
    State(till): State<Till>,
    payload: Result<Json<PaymentPayload>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let Ok(Json(payload)) = payload else {
        return refuse(StatusCode::BAD_REQUEST, "this is not a payment (NUT-18 payload)");
    };
    // The exchange talks to the mint and writes to disk.
    let answer = tokio::task::spawn_blocking(move || till.take_payment(payload)).await;
    match answer {
        Ok(Ok(receipt)) => Json(receipt).into_response(),
        Ok(Err(error)) => refuse(status_of(&error), &error.to_string()),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the till failed: try again"),
    }
}

/// A payer's fault is a 400; a mint that can't be reached is not, and leaves the payment under way.
fn status_of(error: &TillError) -> StatusCode {
    match error {
        TillError::Wallet(error) if error.is_unreachable() => StatusCode::SERVICE_UNAVAILABLE,
        TillError::Wallet(WalletError::File { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// RFC 9457 problem details.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
}

fn refuse(status: StatusCode, title: &str) -> Response {
    (status, Json(Problem { title, status: status.as_u16() })).into_response()
}
