//! The issuer and the register over HTTP. Wallets are told what is wrong in OAuth's codes, officers in RFC 9457 problem details.
//!
//! All addresses are below the issuer's own (its identifier); its metadata is at well-known paths of the host.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use openid4vc::credential::{CredentialRequest, NonceResponse, Notification, REQUEST_MAX_LEN};
use openid4vc::metadata::{self, AuthorizationServerMetadata};
use openid4vc::token::{
    AUTHORIZATION_CODE, AuthorizationRequest, PRE_AUTHORIZED_CODE, PROOF_OF_KEY, REFRESH_TOKEN, TokenRequest,
};
use openid4vc::trusted_list::{self, LoggedList};
use openid4vc::{OAuthError, parameter};
use privacypass::batch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::attributes::TYPE_PATH;
use crate::predicates::{DIRECTORY_PATH, NOT_ELIGIBLE};
use crate::register::NewRelyingParty;
use crate::status::{Form, REGISTER_TTL_SECONDS, TTL_SECONDS};
use crate::{Credentials, IssuerError};

/// The longest token request, pushed request or consent.
const FORM_MAX_LEN: usize = 16 * 1024;
/// How long the directory of predicates' keys may be kept: keys are there a month ahead, but on the first day.
const DIRECTORY_TTL_SECONDS: u64 = 300;

/// Who may work on the register: officers, whom the registry knows.
pub trait RegisterAuth: Send + Sync {
    /// Whether a bearer token is that of an officer who may register and suspend relying parties.
    fn is_registrar(&self, token: &str) -> bool;
}

#[derive(Clone)]
struct Api {
    credentials: Credentials,
    officers: Arc<dyn RegisterAuth>,
    /// Our address: the issuer's identifier, without a slash at the end.
    issuer: Arc<str>,
}

/// The routes below the issuer's address, and those at well-known paths of its host.
pub fn routers(credentials: Credentials, officers: Arc<dyn RegisterAuth>, issuer: &str) -> (Router, Router) {
    let api = Api { credentials, officers, issuer: issuer.into() };
    let own = Router::new()
        .route("/token", post(token))
        .route("/par", post(push))
        .route("/authorize", get(consent_page).post(consent))
        .route("/nonce", post(nonce))
        .route("/credential", post(credential).layer(DefaultBodyLimit::max(REQUEST_MAX_LEN)))
        .route("/notification", post(notification))
        .route("/status/{list}", get(status_list))
        .route(DIRECTORY_PATH, get(predicate_directory))
        .route(&format!("{DIRECTORY_PATH}/{{predicate}}/{{period}}"), post(predicate_tokens))
        .route(TYPE_PATH, get(type_metadata))
        .route("/iaca", get(|State(api): State<Api>| async move { api.credentials.issuer_root().to_vec() }))
        .route("/register/root", get(|State(api): State<Api>| async move { api.credentials.register_root().to_vec() }))
        .route("/register/status", get(register_status))
        .route("/trusted-list", get(trusted_list))
        .route("/trusted-list/log-entry", get(trusted_list_entry))
        .route("/relying-parties", get(relying_parties).post(register))
        .route("/relying-parties/{id}/suspension", post(suspend).delete(lift))
        .layer(DefaultBodyLimit::max(FORM_MAX_LEN))
        .with_state(api.clone());
    let path = |well_known: &str| {
        let address = metadata::well_known(&api.issuer, well_known);
        let host = address.find("://").map_or(0, |at| at + 3);
        address[host..].find('/').map_or(String::from("/"), |at| address[host + at..].to_owned())
    };
    let well_known = Router::new()
        .route(&path(metadata::ISSUER_PATH), get(issuer_metadata))
        .route(&path(metadata::AUTHORIZATION_SERVER_PATH), get(server_metadata))
        .with_state(api.clone());
    (own, well_known)
}

impl Api {
    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}

async fn issuer_metadata(State(api): State<Api>, headers: HeaderMap) -> Response {
    let signed = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/jwt"));
    if !signed {
        return Json(api.credentials.metadata(&api.issuer)).into_response();
    }
    match api.credentials.signed_metadata(&api.issuer) {
        Ok(jwt) => ([(header::CONTENT_TYPE, "application/jwt")], jwt).into_response(),
        Err(error) => refusal(error),
    }
}

async fn server_metadata(State(api): State<Api>) -> Json<AuthorizationServerMetadata> {
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Json(AuthorizationServerMetadata {
        issuer: api.issuer.to_string(),
        authorization_endpoint: api.address("/authorize"),
        token_endpoint: api.address("/token"),
        pushed_authorization_request_endpoint: api.address("/par"),
        require_pushed_authorization_requests: true,
        grant_types_supported: all(&[AUTHORIZATION_CODE, PRE_AUTHORIZED_CODE, REFRESH_TOKEN, PROOF_OF_KEY]),
        response_types_supported: all(&["code"]),
        code_challenge_methods_supported: all(&["S256"]),
        dpop_signing_alg_values_supported: all(&["ES256"]),
        token_endpoint_auth_methods_supported: all(&["none"]),
        authorization_response_iss_parameter_supported: true,
        pre_authorized_grant_anonymous_access_supported: true,
    })
}

/// How long a list of trusted entities may be kept: it changes a few times a year.
const TRUSTED_LIST_TTL_SECONDS: u64 = 300;

async fn trusted_list(State(api): State<Api>) -> Response {
    let list = api.credentials.trusted_list().jws.clone();
    cached(([(header::CONTENT_TYPE, trusted_list::MEDIA_TYPE)], list).into_response(), TRUSTED_LIST_TTL_SECONDS)
}

/// Where the list stands in the log. It can't say so itself.
async fn trusted_list_entry(State(api): State<Api>) -> Response {
    let list = api.credentials.trusted_list();
    let entry = LoggedList { sha256: hex::encode(Sha256::digest(&list.jws)), log_index: list.log_index };
    cached(Json(entry).into_response(), TRUSTED_LIST_TTL_SECONDS)
}

async fn type_metadata(State(api): State<Api>) -> Response {
    let metadata = api.credentials.type_metadata(&api.issuer);
    cached(Json(metadata).into_response(), 3_600)
}

async fn token(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    work(api, move |api| {
        let request = TokenRequest::from_form(&body).map_err(invalid_request)?;
        api.credentials.token(&request, text(&headers, "dpop"), &api.address("/token"))
    })
    .await
}

async fn push(State(api): State<Api>, body: Bytes) -> Response {
    let answer =
        work(api, move |api| api.credentials.push(AuthorizationRequest::from_form(&body).map_err(invalid_request)?));
    let mut answer = answer.await;
    if answer.status() == StatusCode::OK {
        *answer.status_mut() = StatusCode::CREATED;
    }
    answer
}

#[derive(Deserialize)]
struct ConsentQuery {
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    request_uri: String,
}

async fn consent_page(State(api): State<Api>, Query(query): Query<ConsentQuery>) -> Response {
    if !api.credentials.is_pushed(&query.request_uri, &query.client_id) {
        let told = "This link is used up or took too long. Begin again in your wallet.";
        return page(StatusCode::BAD_REQUEST, &format!("<p>{told}</p>"));
    }
    page(StatusCode::OK, &consent_form(&api, &query.request_uri, ""))
}

async fn consent(State(api): State<Api>, body: Bytes) -> Response {
    let form = String::from_utf8_lossy(&body);
    let field = |name: &str| parameter(&form, name).unwrap_or_default();
    let (request_uri, tx_code) = (field("request_uri"), field("tx_code"));
    let (own, uri) = (api.clone(), request_uri.clone());
    let consented = tokio::task::spawn_blocking(move || own.credentials.consent(&uri, &tx_code, &own.issuer)).await;
    match consented {
        Ok(Ok(address)) => match HeaderValue::from_str(&address) {
            Ok(address) => (StatusCode::FOUND, [(header::LOCATION, address)]).into_response(),
            Err(_) => page(StatusCode::BAD_REQUEST, "<p>Your wallet gave an address that can't be used.</p>"),
        },
        Ok(Err(IssuerError::Refused { detail, .. })) => {
            page(StatusCode::BAD_REQUEST, &consent_form(&api, &request_uri, &detail))
        }
        _ => page(StatusCode::SERVICE_UNAVAILABLE, "<p>This does not work just now. Try again in a moment.</p>"),
    }
}

/// The form in which a person consents; `told` is what was wrong with the last try.
fn consent_form(api: &Api, request_uri: &str, told: &str) -> String {
    let told = if told.is_empty() { String::new() } else { format!("<p role=\"alert\">{}</p>", escaped(told)) };
    format!(
        "<h1>Put your ID into your wallet</h1><p>Your wallet asks for your ID credential. It goes to your wallet only.</p>{told}\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"request_uri\" value=\"{}\">\
         <label>Code that the desk gave you <input name=\"tx_code\" inputmode=\"numeric\" autocomplete=\"one-time-code\" autofocus>\
         </label><button>Agree</button></form>",
        escaped(&api.address("/authorize")),
        escaped(request_uri)
    )
}

/// A page of our own: nothing is loaded from anywhere, no frame around it, no script.
fn page(status: StatusCode, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Habeas</title><main>{body}</main></html>"
    );
    let policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, Html(html)).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

async fn nonce(State(api): State<Api>) -> Response {
    let answer = Json(NonceResponse { c_nonce: api.credentials.nonce() }).into_response();
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

async fn credential(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    work(api, move |api| {
        let grant = api.credentials.authorize(
            text(&headers, "authorization"),
            text(&headers, "dpop"),
            Method::POST.as_str(),
            &api.address("/credential"),
        )?;
        let request = CredentialRequest::from_json(&body)
            .map_err(|error| IssuerError::refused("invalid_credential_request", error))?;
        api.credentials.issue(&grant, &request, &api.issuer)
    })
    .await
}

async fn notification(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = work(api, move |api| {
        api.credentials.authorize(
            text(&headers, "authorization"),
            text(&headers, "dpop"),
            Method::POST.as_str(),
            &api.address("/notification"),
        )?;
        let notification: Notification = serde_json::from_slice(&body)
            .map_err(|_| IssuerError::refused("invalid_notification_request", "this is no notification"))?;
        api.credentials.notify(&notification)
    });
    let answer = answer.await;
    if answer.status() == StatusCode::OK { StatusCode::NO_CONTENT.into_response() } else { answer }
}

/// The keys of anonymous predicates (RFC 9578 section 4).
async fn predicate_directory(State(api): State<Api>) -> Response {
    let json = api.credentials.predicate_directory(&api.issuer).to_json();
    let kind = "application/private-token-issuer-directory";
    let mut answer = ([(header::CONTENT_TYPE, kind)], json).into_response();
    // Any web page may read it, as it may a status list.
    answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    cached(answer, DIRECTORY_TTL_SECONDS)
}

/// Tokens: a list of requests, answered by a list of responses ([`privacypass::batch`]).
async fn predicate_tokens(
    State(api): State<Api>,
    Path((predicate, period)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    work(api, move |api| {
        let grant = api.credentials.authorize(
            text(&headers, "authorization"),
            text(&headers, "dpop"),
            Method::POST.as_str(),
            &api.address(&format!("{DIRECTORY_PATH}/{predicate}/{period}")),
        )?;
        let requests =
            batch::read_requests(&body).map_err(|error| IssuerError::refused("invalid_token_request", error))?;
        let responses = api.credentials.issue_predicates(&grant, &predicate, &period, &requests)?;
        Ok(batch::write_responses(&responses))
    })
    .await
}

async fn status_list(State(api): State<Api>, Path(list): Path<usize>, headers: HeaderMap) -> Response {
    let form = form_of(&headers);
    let list = tokio::task::spawn_blocking(move || api.credentials.status_list(list, form, &api.issuer)).await;
    match list {
        Ok(Ok(Some(token))) => status_answer(token, form, TTL_SECONDS),
        Ok(Ok(None)) => problem(StatusCode::NOT_FOUND, "there is no such list"),
        Ok(Err(error)) => refusal(error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the issuer failed"),
    }
}

async fn register_status(State(api): State<Api>, headers: HeaderMap) -> Response {
    let form = form_of(&headers);
    let list = tokio::task::spawn_blocking(move || api.credentials.register_status_list(form, &api.issuer)).await;
    match list {
        Ok(Ok(token)) => status_answer(token, form, REGISTER_TTL_SECONDS),
        Ok(Err(error)) => refusal(error),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the register failed"),
    }
}

/// The form that a reader asks for; JWT where it does not say (Token Status List section 8.1).
fn form_of(headers: &HeaderMap) -> Form {
    let accepts_cwt = text(headers, "accept").is_some_and(|accept| accept.contains("statuslist+cwt"));
    if accepts_cwt { Form::Cwt } else { Form::Jwt }
}

fn status_answer(token: Vec<u8>, form: Form, ttl: u64) -> Response {
    let kind = match form {
        Form::Jwt => "application/statuslist+jwt",
        Form::Cwt => "application/statuslist+cwt",
    };
    let mut answer = ([(header::CONTENT_TYPE, kind), (header::VARY, "accept")], token).into_response();
    // Any web page may read it: that is where a browser's verifier runs.
    answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    cached(answer, ttl)
}

fn cached(mut answer: Response, seconds: u64) -> Response {
    if let Ok(value) = HeaderValue::from_str(&format!("public, max-age={seconds}")) {
        answer.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    answer
}

async fn relying_parties(State(api): State<Api>) -> Response {
    work(api, |api| api.credentials.relying_parties()).await
}

async fn register(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    as_registrar(api, headers, move |api| {
        let new: NewRelyingParty = read(&body)?;
        api.credentials.register(&new, &api.issuer)
    })
    .await
}

async fn suspend(State(api): State<Api>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    as_registrar(api, headers, move |api| {
        api.credentials.suspend_relying_party(&id, true)?;
        Ok(json!({"suspended": true}))
    })
    .await
}

async fn lift(State(api): State<Api>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    as_registrar(api, headers, move |api| {
        api.credentials.suspend_relying_party(&id, false)?;
        Ok(json!({"suspended": false}))
    })
    .await
}

fn read<Request: DeserializeOwned>(body: &[u8]) -> Result<Request, IssuerError> {
    serde_json::from_slice(body)
        .map_err(|error| IssuerError::refused("invalid_request", format!("the request can't be read: {error}")))
}

async fn as_registrar<Answer: Serialize + Send + 'static>(
    api: Api,
    headers: HeaderMap,
    act: impl FnOnce(&Api) -> Result<Answer, IssuerError> + Send + 'static,
) -> Response {
    let token =
        text(&headers, "authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    let officers = api.officers.clone();
    let allowed = tokio::task::spawn_blocking(move || officers.is_registrar(&token)).await.unwrap_or(false);
    if !allowed {
        return problem(StatusCode::FORBIDDEN, "this needs the token of an officer of the register");
    }
    let answer = tokio::task::spawn_blocking(move || act(&api)).await;
    match answer {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(IssuerError::Refused { detail, .. })) => problem(StatusCode::BAD_REQUEST, &detail),
        Ok(Err(error)) => {
            tracing::error!(%error, "the register could not serve a request");
            problem(StatusCode::SERVICE_UNAVAILABLE, "the register can't do this just now")
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the register failed"),
    }
}

async fn work<Answer: Serialize + Send + 'static>(
    api: Api,
    act: impl FnOnce(&Api) -> Result<Answer, IssuerError> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(move || act(&api)).await {
        Ok(Ok(answer)) => ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Ok(Err(error)) => refusal(error),
        Err(_) => oauth(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the issuer failed"),
    }
}

fn refusal(error: IssuerError) -> Response {
    match error {
        IssuerError::Refused { code, detail } => {
            let unauthorized = matches!(code, "invalid_token" | "invalid_dpop_proof");
            let status = match code {
                _ if unauthorized => StatusCode::UNAUTHORIZED,
                NOT_ELIGIBLE => StatusCode::FORBIDDEN,
                _ => StatusCode::BAD_REQUEST,
            };
            let mut answer = oauth(status, code, &detail);
            if code == "invalid_token" {
                let challenge = HeaderValue::from_static("DPoP error=\"invalid_token\", algs=\"ES256\"");
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            answer
        }
        IssuerError::Busy(full) => {
            let mut answer = oauth(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", &full.to_string());
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            answer
        }
        IssuerError::Unavailable(detail) => oauth(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", &detail),
        error => {
            tracing::error!(%error, "the issuer could not serve a request");
            oauth(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the issuer can't do this just now")
        }
    }
}

fn invalid_request(error: openid4vc::MessageError) -> IssuerError {
    IssuerError::refused("invalid_request", error)
}

fn oauth(status: StatusCode, error: &str, description: &str) -> Response {
    let body = OAuthError { error: error.into(), error_description: Some(description.into()) };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn problem(status: StatusCode, title: &str) -> Response {
    (status, Json(json!({"title": title, "status": status.as_u16()}))).into_response()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
