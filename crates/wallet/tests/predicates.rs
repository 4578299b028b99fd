//! Tokens of anonymous predicates from an issuer that may lie about its key; the log and the messages are real, and travel over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::Offset;
use openid4vc::metadata::AuthorizationServerMetadata;
use openid4vc::token::TokenResponse;
use privacypass::batch;
use privacypass::directory::{Announced, Directory, DirectoryKey};
use privacypass::issuer::IssuerKey;
use privacypass::predicate::Period;
use tlog::entry::Entry;
use transparency::Log;
use wallet::predicates::TokenSummary;
use wallet::state::{Issuer, Services};
use wallet::{Wallet, WalletError};

/// An issuer: what it shows, and with which key it signs for each predicate. A predicate without one is not true of anybody.
#[derive(Default)]
struct Office {
    shown: Mutex<Vec<DirectoryKey>>,
    signs: Mutex<BTreeMap<String, Arc<IssuerKey>>>,
}

struct World {
    office: Arc<Office>,
    log: Log,
    wallet: Wallet,
    _server: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

async fn serve(State((office, base)): State<(Arc<Office>, String)>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    match (method, path.as_str()) {
        (Method::GET, path) if path.starts_with("/.well-known/oauth-authorization-server") => {
            axum::Json(AuthorizationServerMetadata {
                issuer: format!("{base}/issuer"),
                authorization_endpoint: String::new(),
                token_endpoint: format!("{base}/token"),
                pushed_authorization_request_endpoint: String::new(),
                require_pushed_authorization_requests: true,
                grant_types_supported: Vec::new(),
                response_types_supported: Vec::new(),
                code_challenge_methods_supported: Vec::new(),
                dpop_signing_alg_values_supported: Vec::new(),
                token_endpoint_auth_methods_supported: Vec::new(),
                authorization_response_iss_parameter_supported: true,
                pre_authorized_grant_anonymous_access_supported: true,
            })
            .into_response()
        }
        (Method::POST, "/token") => axum::Json(TokenResponse {
            access_token: "token".into(),
            token_type: "DPoP".into(),
            expires_in: 600,
            refresh_token: None,
            scope: None,
        })
        .into_response(),
        (Method::GET, "/issuer/predicates") => {
            let token_keys = office.shown.lock().unwrap().clone();
            Directory { issuer_request_uri: "/".into(), token_keys }.to_json().into_response()
        }
        (Method::POST, path) => {
            let predicate = path.split('/').nth(3).unwrap_or_default();
            let key = office.signs.lock().unwrap().get(predicate).cloned();
            let Some(key) = key else { return StatusCode::FORBIDDEN.into_response() };
            let requests = batch::read_requests(&body).unwrap();
            // Whoever signs with another key than it shows passes over what a request says of its key.
            let id = key.public_key().id().truncated();
            let of_this_key = |mut request: privacypass::messages::TokenRequest| {
                request.truncated_token_key_id = id;
                key.issue(&request).unwrap()
            };
            let responses: Vec<_> = requests.into_iter().map(of_this_key).collect();
            axum::Json(batch::write_responses(&responses)).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn month() -> Period {
    let date = Offset::UTC.to_datetime(Timestamp::now()).date();
    Period::new(date.year().try_into().unwrap(), date.month().try_into().unwrap()).unwrap()
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("log"), "test.example/log").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let office = Arc::new(Office::default());
        let router = Router::new()
            .fallback(serve)
            .with_state((office.clone(), base.clone()))
            .nest("/log", transparency::api::router(log.clone()));
        runtime.spawn(async move { axum::serve(listener, router).await });
        let services = Services {
            mint: base.clone(),
            log: format!("{base}/log"),
            log_vkey: log.vkey().to_owned(),
            witnesses: Vec::new(),
            quorum: 0,
            registry: None,
            issuer: Some(Issuer {
                url: format!("{base}/issuer"),
                root_sha256: String::new(),
                register_sha256: String::new(),
            }),
            relay: None,
        };
        let wallet = Wallet::create(&folder.path().join("wallet.json"), services).unwrap();
        World { office, log, wallet, _server: runtime, folder }
    }

    /// Announces a key for a predicate and month, and gives its place.
    fn announce(&self, key: &IssuerKey, predicate: &str, period: Period) -> u64 {
        let spki_sha256 = hex::encode(key.public_key().id().0);
        let entry = Entry::PredicateKey { predicate: predicate.into(), period: period.to_string(), spki_sha256, at: 1 };
        self.log.append(&[entry]).unwrap()
    }

    /// Shows a key of this month, and signs with it.
    fn show(&self, key: &Arc<IssuerKey>, predicate: &str, log_index: u64) {
        let announced = Announced { predicate: predicate.parse().unwrap(), period: month(), log_index };
        let shown = DirectoryKey { public_key: *key.public_key(), not_before: None, announced: Some(announced) };
        self.office.shown.lock().unwrap().push(shown);
        self.office.signs.lock().unwrap().insert(predicate.into(), key.clone());
    }

    fn held(&mut self) -> Vec<TokenSummary> {
        self.wallet.predicate_tokens().unwrap()
    }
}

fn key() -> Arc<IssuerKey> {
    Arc::new(IssuerKey::generate().unwrap())
}

#[test]
fn tokens_are_fetched_with_a_key_from_the_log_and_kept() {
    let mut world = World::new();
    for predicate in ["age_over_60", "age_over_65"] {
        let key = key();
        let place = world.announce(&key, predicate, month());
        world.show(&key, predicate, place);
    }
    world.office.signs.lock().unwrap().remove("age_over_65");
    assert_eq!(world.wallet.fetch_predicates(3).unwrap(), ["age_over_60"], "of the other the issuer says no");
    let expected = [TokenSummary { predicate: "age_over_60".into(), period: month().to_string(), tokens: 3 }];
    assert_eq!(world.held(), expected);
    // Not due yet; whenever it is, as many come as came before.
    assert_eq!(world.wallet.refill_predicates(0).unwrap(), 0);
    assert_eq!(world.wallet.refill_predicates(u64::MAX).unwrap(), 1);
    let path = world.folder.path().join("wallet.json");
    drop(world.wallet);
    let mut again = Wallet::open(&path).unwrap();
    assert_eq!(again.predicate_tokens().unwrap(), expected);
}

#[test]
fn a_key_that_is_not_in_the_log_is_refused() {
    let (public, marked) = (key(), key());
    for case in 0..6 {
        let mut world = World::new();
        let place = world.announce(&public, "age_over_60", month());
        match case {
            // The control.
            0 => world.show(&public, "age_over_60", place),
            // A key for one person, at the place of everybody's.
            1 => world.show(&marked, "age_over_60", place),
            // At no place.
            2 => world.show(&marked, "age_over_60", place + 100),
            // Announced for another month, or another predicate.
            3 => {
                let other = world.announce(&marked, "age_over_60", month().next());
                world.show(&marked, "age_over_60", other);
            }
            4 => {
                let other = world.announce(&marked, "age_over_18", month());
                world.show(&marked, "age_over_60", other);
            }
            // Beside everybody's.
            _ => {
                world.show(&public, "age_over_60", place);
                let other = world.announce(&marked, "age_over_60", month());
                world.show(&marked, "age_over_60", other);
            }
        }
        let result = world.wallet.fetch_predicate("age_over_60", 2);
        if case == 0 {
            assert!(result.unwrap(), "the control");
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error, WalletError::PredicateKeyNotInLog), "{case}: {error}");
        assert!(error.to_string().contains("not in the public log"));
        assert!(world.held().is_empty());
    }
}

/// The log has both, so its readers know; a wallet that saw the first does not wait for them.
#[test]
fn another_key_than_the_one_seen_before_is_refused() {
    let mut world = World::new();
    let (first, second) = (key(), key());
    let place = world.announce(&first, "age_over_60", month());
    world.show(&first, "age_over_60", place);
    assert!(world.wallet.fetch_predicate("age_over_60", 2).unwrap());
    let place = world.announce(&second, "age_over_60", month());
    world.office.shown.lock().unwrap().clear();
    world.show(&second, "age_over_60", place);
    assert!(matches!(world.wallet.fetch_predicate("age_over_60", 2), Err(WalletError::PredicateKeyNotInLog)));
    assert_eq!(world.held()[0].tokens, 2, "what was there stands");
}

#[test]
fn an_issuer_that_signs_with_another_key_than_it_shows_gives_no_token() {
    let mut world = World::new();
    let (mut public, mut marked) = (key(), key());
    // What is blinded for the key that is shown has to be a number below the other's modulus, or it could not be signed.
    if public.public_key().to_spki() > marked.public_key().to_spki() {
        std::mem::swap(&mut public, &mut marked);
    }
    let place = world.announce(&public, "age_over_60", month());
    world.show(&public, "age_over_60", place);
    world.office.signs.lock().unwrap().insert("age_over_60".into(), marked);
    let error = world.wallet.fetch_predicate("age_over_60", 2).unwrap_err();
    assert!(matches!(error, WalletError::Predicate { .. }), "{error}");
    assert!(world.held().is_empty());
}
