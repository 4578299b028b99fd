//! The gateway of Oblivious HTTP (RFC 9458): opens what a relay brings, asks the services of this process, and seals their answer.
//!
//! It sees the relay's address and no other. Only what can be asked without a name is reachable: [`TARGETS`]. A request that is repeated
//! by a relay is answered as when it is repeated on any network: nothing here happens twice for the same request.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use oblivious::{
    ANSWER_BODY_MAX_LEN, Error, GATEWAY_PATH, GatewayKey, KEY_PROBLEM, KEYS_PATH, KEYS_TYPE, Opened, REQUEST_MAX_LEN,
    REQUEST_TYPE, RESPONSE_TYPE,
};
use serde_json::json;
use tower::ServiceExt;

/// What may be reached: a method, and a path, or what a path begins with where it ends in a slash. Nothing that takes a token or a proof
/// of a person's key is among them; whoever names a person is asked directly.
const TARGETS: [(&str, &str); 8] = [
    ("GET", "/v1/"),
    ("POST", "/v1/"),
    ("GET", "/log/"),
    ("GET", "/credential/status/"),
    ("GET", "/credential/register/status"),
    ("GET", "/credential/predicates"),
    ("GET", "/credential/trusted-list"),
    ("GET", "/credential/trusted-list/log-entry"),
];
/// The headers that a target gets. Any other could tell one wallet from another.
const PASSED_IN: [&str; 2] = ["accept", "content-type"];
/// The headers that come back.
const PASSED_OUT: [&str; 3] = ["cache-control", "content-type", "retry-after"];

#[derive(Clone)]
struct Gateway {
    key: Arc<GatewayKey>,
    targets: Router,
}

/// `GET /ohttp-keys` and `POST /ohttp`, before the routes of everything that is served.
pub fn router(key: Arc<GatewayKey>, targets: Router) -> Router {
    Router::new()
        .route(KEYS_PATH, get(keys))
        .route(GATEWAY_PATH, post(pass))
        .layer(DefaultBodyLimit::max(REQUEST_MAX_LEN))
        .with_state(Gateway { key, targets })
}

async fn keys(State(gateway): State<Gateway>) -> Response {
    ([(header::CONTENT_TYPE, KEYS_TYPE)], gateway.key.configuration().to_vec()).into_response()
}

async fn pass(State(gateway): State<Gateway>, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != REQUEST_TYPE) {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, "this takes message/ohttp-req");
    }
    let Opened { request, reply } = match gateway.key.open(&body) {
        Ok(opened) => opened,
        Err(Error::Key) => return problem(StatusCode::BAD_REQUEST, Some(KEY_PROBLEM), "the key is not known"),
        Err(error) => return problem(StatusCode::BAD_REQUEST, None, &error.to_string()),
    };
    let answer = match request {
        Ok(request) => ask(gateway.targets, request).await,
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match reply.seal(&answer) {
        Ok(sealed) => {
            let headers = [(header::CONTENT_TYPE, RESPONSE_TYPE), (header::CACHE_CONTROL, "private, no-store")];
            (headers, sealed).into_response()
        }
        Err(_) => problem(StatusCode::BAD_GATEWAY, None, "the answer can't be sealed"),
    }
}

/// Asks a target in this process. Nobody looks at the request's authority: as with a `Host` header, this server has many names.
async fn ask(targets: Router, request: oblivious::Request) -> oblivious::Response {
    if !may_be_reached(&request.method, &request.path) {
        return refusal(StatusCode::FORBIDDEN, "this can't be reached through a relay");
    }
    let headers = request.headers.iter().filter(|(name, _)| PASSED_IN.contains(&name.as_str()));
    let inner = axum::http::Request::builder().method(request.method.as_str()).uri(&request.path);
    let inner = headers.fold(inner, |inner, (name, value)| inner.header(name, value));
    let Ok(inner) = inner.body(Body::from(request.body)) else {
        return refusal(StatusCode::BAD_REQUEST, "this is no request");
    };
    let Ok(answer) = targets.oneshot(inner).await;
    let (parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, ANSWER_BODY_MAX_LEN).await else {
        return refusal(StatusCode::BAD_GATEWAY, "the answer is too long for a relay");
    };
    let told = |name: &&str| Some(((*name).to_owned(), parts.headers.get(*name)?.to_str().ok()?.to_owned()));
    oblivious::Response {
        status: parts.status.as_u16(),
        headers: PASSED_OUT.iter().filter_map(told).collect(),
        body: body.to_vec(),
    }
}

fn may_be_reached(method: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let is = |place: &str| if place.ends_with('/') { path.starts_with(place) } else { path == place };
    TARGETS.iter().any(|(allowed, place)| *allowed == method && is(place))
}

/// A refusal that nobody but the wallet reads.
fn refusal(status: StatusCode, title: &str) -> oblivious::Response {
    oblivious::Response {
        status: status.as_u16(),
        headers: vec![("content-type".into(), "application/problem+json".into())],
        body: json!({"title": title, "status": status.as_u16()}).to_string().into_bytes(),
    }
}

/// A refusal of what could not be opened, which the relay reads, too (RFC 9458 sections 5.2 and 5.3).
fn problem(status: StatusCode, kind: Option<&str>, title: &str) -> Response {
    let body = json!({"type": kind.unwrap_or("about:blank"), "title": title, "status": status.as_u16()});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_person_can_not_be_reached() {
        for (method, path) in [
            ("GET", "/v1/keys"),
            ("POST", "/v1/swap"),
            ("GET", "/log/checkpoint"),
            ("GET", "/log/tile/0/000.p/1"),
            ("GET", "/credential/status/3"),
            ("GET", "/credential/predicates"),
            ("GET", "/credential/trusted-list?again"),
        ] {
            assert!(may_be_reached(method, path), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/registry/v1/entitlements"),
            ("POST", "/registry/v1/entitlements/claim"),
            ("POST", "/credential/token"),
            ("POST", "/credential/credential"),
            ("POST", "/credential/predicates/age_over_60/2026-12"),
            ("GET", "/credential/predicates/age_over_60/2026-12"),
            ("POST", "/credential/predicates"),
            ("GET", "/credential/relying-parties"),
            ("GET", "/treasury/v1/merchants"),
            ("GET", "/audit/v1/report"),
            ("POST", "/desk/v1/revocations"),
            ("POST", "/ohttp"),
            ("GET", "http://mint.example/v1/keys"),
            ("GET", "//v1/keys"),
            ("DELETE", "/v1/keys"),
            ("get", "/v1/keys"),
            ("GET", ""),
        ] {
            assert!(!may_be_reached(method, path), "{method} {path}");
        }
    }
}
