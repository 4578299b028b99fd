//! The registry over HTTP: officers with bearer tokens, holders with the credential issuer's token and a proof of their key. Refusals are RFC 9457 problem details.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::officers::{Actor, Role};
use crate::{Registry, RegistryError};

/// The largest request that is read: 2,000 rows of a wide file.
const BODY_MAX_LEN: usize = 8 * 1024 * 1024;

/// The largest request of a holder.
const HOLDER_BODY_MAX_LEN: usize = 4 * 1024;

/// The routes of officers.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v1/officers", post(add_officer))
        .route("/v1/officers/behind", post(officers_behind))
        .route("/v1/enrolments", post(enrol))
        .route("/v1/duplicates", get(duplicates))
        .route("/v1/people/look-up", post(look_up))
        .route("/v1/look-ups", get(waiting_look_ups))
        .route("/v1/look-ups/{id}/approval", post(approve_look_up))
        .route("/v1/programmes", post(create_programme))
        .route("/v1/programmes/{id}/run", post(prepare_run))
        .route("/v1/runs", get(runs))
        .route("/v1/runs/{id}/approval", post(approve_run))
        .layer(DefaultBodyLimit::max(BODY_MAX_LEN))
        .with_state(registry)
}

#[derive(Deserialize)]
struct NewOfficer {
    name: String,
    role: String,
}

#[derive(Deserialize)]
struct Approval {
    hash: String,
}

async fn add_officer(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Response {
    as_officer(registry, headers, move |registry, actor| {
        actor.must_be(Role::Administrator)?;
        let new: NewOfficer = read(&body)?;
        Ok(json!({"token": registry.add_officer(&new.name, new.role.parse()?)?}))
    })
    .await
}

/// What an entry of the log says of its officers.
#[derive(Serialize, Deserialize)]
pub struct Marks {
    /// The nonce of the entry's tag, 16 bytes.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 16],
    /// The marks, 16 bytes each.
    pub officers: Vec<String>,
}

async fn officers_behind(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Response {
    as_officer(registry, headers, move |registry, actor| {
        actor.must_be(Role::Administrator)?;
        let asked: Marks = read(&body)?;
        let mark = |text: &String| hex::decode(text).ok()?.try_into().ok();
        let marks: Vec<[u8; 16]> = asked.officers.iter().filter_map(mark).collect();
        Ok(json!({"officers": registry.officers_of(&asked.nonce, &marks)?}))
    })
    .await
}

async fn enrol(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Response {
    as_officer(registry, headers, move |registry, actor| {
        actor.must_be(Role::Registrar)?;
        registry.enrol(&read(&body)?)
    })
    .await
}

async fn duplicates(State(registry): State<Registry>, headers: HeaderMap) -> Response {
    as_officer(registry, headers, |registry, actor| {
        actor.must_be(Role::Registrar)?;
        Ok(json!({"people": registry.possible_duplicates()?}))
    })
    .await
}

async fn look_up(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Response {
    as_officer(registry, headers, move |registry, actor| Ok(json!({"fields": registry.look_up(actor, &read(&body)?)?})))
        .await
}

async fn waiting_look_ups(State(registry): State<Registry>, headers: HeaderMap) -> Response {
    as_officer(registry, headers, |registry, actor| registry.waiting_look_ups(actor)).await
}

async fn approve_look_up(State(registry): State<Registry>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    as_officer(registry, headers, move |registry, actor| {
        registry.approve_look_up(actor, &id)?;
        Ok(json!({"approved": id}))
    })
    .await
}

async fn create_programme(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Response {
    as_officer(registry, headers, move |registry, actor| {
        let (programme, reference) = registry.create_programme(actor, read(&body)?)?;
        Ok(json!({"programme": programme, "reference": reference}))
    })
    .await
}

async fn prepare_run(State(registry): State<Registry>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    as_officer(registry, headers, move |registry, actor| registry.prepare_run(actor, &id)).await
}

async fn runs(State(registry): State<Registry>, headers: HeaderMap) -> Response {
    as_officer(registry, headers, |registry, _| registry.runs()).await
}

async fn approve_run(
    State(registry): State<Registry>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    as_officer(registry, headers, move |registry, actor| {
        let approval: Approval = read(&body)?;
        registry.approve_run(actor, &id, &approval.hash)
    })
    .await
}

/// What a holder's request carries to say who asks (RFC 9449).
#[derive(Clone, Copy, Debug)]
pub struct HolderRequest<'a> {
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
    /// The header `DPoP`.
    pub proof: Option<&'a str>,
    /// The method, in capitals.
    pub method: &'a str,
    /// The address that was asked.
    pub uri: &'a str,
}

/// Who says which person a holder is: the credential issuer, whose token the holder has.
pub trait HolderAuth: Send + Sync {
    /// The person behind a request.
    ///
    /// # Errors
    /// A sentence for people.
    fn person(&self, request: HolderRequest<'_>) -> Result<String, String>;
}

/// The routes of holders. `base` is the registry's address, which a holder's proof names.
pub fn holder_router(registry: Registry, holders: Arc<dyn HolderAuth>, base: &str) -> Router {
    Router::new()
        .route("/v1/entitlements", post(entitlements))
        .route("/v1/entitlements/claim", post(claim))
        .layer(DefaultBodyLimit::max(HOLDER_BODY_MAX_LEN))
        .with_state(HolderApi { registry, holders, base: base.into() })
}

#[derive(Clone)]
struct HolderApi {
    registry: Registry,
    holders: Arc<dyn HolderAuth>,
    base: Arc<str>,
}

async fn entitlements(State(api): State<HolderApi>, headers: HeaderMap) -> Response {
    as_holder(api, headers, "/v1/entitlements", |registry, person| registry.entitlements(person)).await
}

async fn claim(State(api): State<HolderApi>, headers: HeaderMap, body: Bytes) -> Response {
    as_holder(api, headers, "/v1/entitlements/claim", move |registry, person| {
        Ok(json!({"quote": registry.claim(person, &read(&body)?)?}))
    })
    .await
}

async fn as_holder<Answer: Serialize + Send + 'static>(
    api: HolderApi,
    headers: HeaderMap,
    path: &'static str,
    act: impl FnOnce(&Registry, &str) -> Result<Answer, RegistryError> + Send + 'static,
) -> Response {
    work(api.registry, move |registry| {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let uri = format!("{}{path}", api.base);
        let request =
            HolderRequest { authorization: text("authorization"), proof: text("dpop"), method: "POST", uri: &uri };
        let person = api.holders.person(request).map_err(RegistryError::Unauthorized)?;
        act(registry, &person)
    })
    .await
}

fn read<Request: DeserializeOwned>(body: &[u8]) -> Result<Request, RegistryError> {
    serde_json::from_slice(body).map_err(|_| {
        RegistryError::Invalid("the request can't be read: it is not the JSON that this address takes".into())
    })
}

async fn as_officer<Answer: Serialize + Send + 'static>(
    registry: Registry,
    headers: HeaderMap,
    act: impl FnOnce(&Registry, &Actor) -> Result<Answer, RegistryError> + Send + 'static,
) -> Response {
    work(registry, move |registry| {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let actor = registry.actor(bearer.unwrap_or_default())?;
        act(registry, &actor)
    })
    .await
}

async fn work<Answer: Serialize + Send + 'static>(
    registry: Registry,
    act: impl FnOnce(&Registry) -> Result<Answer, RegistryError> + Send + 'static,
) -> Response {
    let (status, title) = match tokio::task::spawn_blocking(move || act(&registry)).await {
        Ok(Ok(answer)) => return Json(answer).into_response(),
        Ok(Err(error)) => match error {
            RegistryError::Invalid(_) => (StatusCode::BAD_REQUEST, error.to_string()),
            RegistryError::Unauthorized(_) => (StatusCode::UNAUTHORIZED, error.to_string()),
            RegistryError::Forbidden(_) | RegistryError::OverLimit { .. } => (StatusCode::FORBIDDEN, error.to_string()),
            RegistryError::NotFound(_) => (StatusCode::NOT_FOUND, error.to_string()),
            RegistryError::Conflict(_) | RegistryError::Funds(_) => (StatusCode::CONFLICT, error.to_string()),
            RegistryError::Orders(_) | RegistryError::Log(_) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            RegistryError::Database(ref cause) => {
                tracing::error!(%error, "the registry could not serve a request");
                (StatusCode::INTERNAL_SERVER_ERROR, format!("the registry: {}", storage::sqlite::sentence(cause)))
            }
            RegistryError::Sealed | RegistryError::Folder(_) => {
                tracing::error!(%error, "the registry could not serve a request");
                (StatusCode::INTERNAL_SERVER_ERROR, "the registry can't open its records just now".to_owned())
            }
        },
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the registry failed".to_owned()),
    };
    (status, Json(json!({"title": title, "status": status.as_u16()}))).into_response()
}
