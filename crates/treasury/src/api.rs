//! The treasury over HTTP, for finance officers; totals are for everybody. Refusals are RFC 9457 problem details.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{MintFeed, Treasury, TreasuryError};

/// The largest request that is read; a statement is the largest.
const BODY_MAX_LEN: usize = 64 * 1024 * 1024;

/// Who may act as a finance officer.
pub trait FinanceAuth: Send + Sync {
    /// Whether a bearer token is a finance officer's.
    fn is_finance_officer(&self, token: &str) -> bool;
}

/// The treasury's routes. Answers about balances first read what has happened at the mint.
pub fn router(treasury: Treasury, auth: Arc<dyn FinanceAuth>, mint: Arc<dyn MintFeed>) -> Router {
    Router::new()
        .route("/v1/statements", post(import))
        .route("/v1/merchants", post(register_merchant).get(merchants))
        .route("/v1/settlements", post(settle).get(settlements))
        .route("/v1/totals/{unit}", get(totals))
        .layer(DefaultBodyLimit::max(BODY_MAX_LEN))
        .with_state(Service { treasury, auth, mint })
}

#[derive(Clone)]
struct Service {
    treasury: Treasury,
    auth: Arc<dyn FinanceAuth>,
    mint: Arc<dyn MintFeed>,
}

#[derive(Deserialize)]
struct NewMerchant {
    name: String,
    unit: String,
    iban: String,
}

#[derive(Deserialize)]
struct NewSettlement {
    unit: String,
    debtor_name: String,
    debtor_iban: String,
}

async fn import(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    service.officer_work(&headers, move |treasury| treasury.import_statement(&body)).await
}

async fn register_merchant(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(new) = serde_json::from_slice::<NewMerchant>(&body) else { return unreadable() };
    service.officer_work(&headers, move |treasury| treasury.register_merchant(&new.name, &new.unit, &new.iban)).await
}

async fn merchants(State(service): State<Service>, headers: HeaderMap) -> Response {
    let mint = service.mint.clone();
    service
        .officer_work(&headers, move |treasury| {
            treasury.sync(&*mint)?;
            let merchants = treasury.merchants()?;
            let line = |(merchant, owed, settling)| json!({"merchant": merchant, "owed_minor": owed, "settling_minor": settling});
            Ok(merchants.into_iter().map(line).collect::<Vec<_>>())
        })
        .await
}

async fn settle(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(new) = serde_json::from_slice::<NewSettlement>(&body) else { return unreadable() };
    let mint = service.mint.clone();
    service
        .officer_work(&headers, move |treasury| {
            treasury.sync(&*mint)?;
            treasury.prepare_settlement(&new.unit, &new.debtor_name, &new.debtor_iban)
        })
        .await
}

async fn settlements(State(service): State<Service>, headers: HeaderMap) -> Response {
    service.officer_work(&headers, Treasury::settlements).await
}

async fn totals(State(service): State<Service>, Path(unit): Path<String>) -> Response {
    let work_on = move |treasury: &Treasury| {
        treasury.sync(&*service.mint)?;
        treasury.totals(&unit)
    };
    work(service.treasury, work_on).await
}

impl Service {
    async fn officer_work<Answer: Serialize + Send + 'static>(
        self,
        headers: &HeaderMap,
        act: impl FnOnce(&Treasury) -> Result<Answer, TreasuryError> + Send + 'static,
    ) -> Response {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !bearer.is_some_and(|token| self.auth.is_finance_officer(token)) {
            return problem(StatusCode::FORBIDDEN, "this needs a finance officer");
        }
        work(self.treasury, act).await
    }
}

async fn work<Answer: Serialize + Send + 'static>(
    treasury: Treasury,
    act: impl FnOnce(&Treasury) -> Result<Answer, TreasuryError> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(move || act(&treasury)).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(TreasuryError::Database(error))) => {
            tracing::error!(%error, "the treasury could not serve a request");
            let told = format!("the treasury: {}", storage::sqlite::sentence(&error));
            problem(StatusCode::INTERNAL_SERVER_ERROR, &told)
        }
        Ok(Err(error @ (TreasuryError::Folder(_) | TreasuryError::Feed(_)))) => {
            tracing::error!(%error, "the treasury could not serve a request");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the treasury can't read the mint just now")
        }
        Ok(Err(error)) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the treasury failed"),
    }
}

fn unreadable() -> Response {
    problem(StatusCode::BAD_REQUEST, "the request can't be read: it is not the JSON that this address takes")
}

fn problem(status: StatusCode, title: &str) -> Response {
    (status, Json(json!({"title": title, "status": status.as_u16()}))).into_response()
}
