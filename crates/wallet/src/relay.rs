//! Through a relay (Oblivious HTTP, RFC 9458): the mint and the log answer without seeing where a request comes from, and the relay carries
//! it without seeing what it is.
//!
//! Relay and operator have to be different organisations: together they see both. Whatever goes wrong on the way, nothing is sent past
//! the relay. And what the relay itself says is not what the mint says: only an answer that opens tells that a request was refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oblivious::{
    ANSWER_MAX_LEN, KEY_PROBLEM, KEYS_PATH, KeyConfiguration, REQUEST_TYPE, RESPONSE_TYPE, Request, Response,
};
use serde::{Deserialize, Serialize};

use crate::http::{self, Exchange, HttpError};

/// A relay, and the key of the gateway behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Its address.
    pub url: String,
    /// The gateway's key configuration (`application/ohttp-keys`, RFC 9458 section 3), base64url. It comes with the offer and is everybody's:
    /// whoever has a key of their own is known by it (section 7).
    pub keys: String,
}

/// What went wrong between the wallet and the gateway. Whether a request was carried out is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayFault {
    /// The relay gave no answer.
    #[error("can't be reached")]
    Unreachable,
    /// The relay, or the gateway before it opened anything, gave a status and no sealed answer.
    #[error("did not bring an answer (status {0})")]
    Status(u16),
    /// The gateway has another key.
    #[error("leads to a gateway with another key than this wallet was given: ask for a new offer")]
    Key,
    /// The wallet's own copy of the key.
    #[error("has no usable key in this wallet: ask for a new offer")]
    Configuration,
    /// An answer that was not made for this request.
    #[error("brought an answer that the gateway did not make")]
    Unsealed,
}

/// RFC 9457 problem details, as far as a gateway uses them.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
}

impl Relay {
    /// The relay at an address, before a gateway with this key configuration.
    ///
    /// # Errors
    /// When the configuration can't be used.
    pub fn new(url: &str, keys: &[u8]) -> Result<Self, HttpError> {
        let relay = Relay { url: url.trim_end_matches('/').to_owned(), keys: URL_SAFE_NO_PAD.encode(keys) };
        relay.configuration()?;
        Ok(relay)
    }

    /// The relay at an address, with the key that it has of its gateway: for a wallet whose offer names no relay. The gateway does not see
    /// who asks, so it can't have a key for one person.
    ///
    /// # Errors
    /// When the relay can't be reached or has no key that can be used.
    pub fn at(url: &str) -> Result<Self, HttpError> {
        let url = url.trim_end_matches('/');
        Self::new(url, &http::get_bytes(&format!("{url}{KEYS_PATH}"))?)
    }

    /// The bytes of the key configuration, whose digest ([`oblivious::client::digest`]) is what a public log names.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn key_bytes(&self) -> Result<Vec<u8>, HttpError> {
        URL_SAFE_NO_PAD.decode(&self.keys).map_err(|_| self.fault(RelayFault::Configuration))
    }

    fn configuration(&self) -> Result<KeyConfiguration, HttpError> {
        KeyConfiguration::from_bytes(&self.key_bytes()?).map_err(|_| self.fault(RelayFault::Configuration))
    }

    /// Has a request carried, and gives the answer of whom it was for.
    pub(crate) fn carry(&self, request: &Request) -> Result<Response, HttpError> {
        let (sealed, waiting) =
            self.configuration()?.seal(request).map_err(|_| self.fault(RelayFault::Configuration))?;
        let exchange =
            Exchange { kind: REQUEST_TYPE, accept: RESPONSE_TYPE, timeout: http::TIMEOUT, max_len: ANSWER_MAX_LEN };
        let (status, answer) = exchange.post(&self.url, &sealed).map_err(|_| self.fault(RelayFault::Unreachable))?;
        if status != 200 {
            let problem: Option<Problem> = serde_json::from_slice(&answer).ok();
            let is_key = problem.is_some_and(|problem| problem.kind == KEY_PROBLEM);
            return Err(self.fault(if is_key { RelayFault::Key } else { RelayFault::Status(status) }));
        }
        waiting.open(&answer).map_err(|_| self.fault(RelayFault::Unsealed))
    }

    fn fault(&self, fault: RelayFault) -> HttpError {
        HttpError::Relay { relay: self.url.clone(), fault }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::{HeaderMap, StatusCode, header};
    use oblivious::GatewayKey;
    use serde_json::Value;

    use super::*;
    use crate::http::Way;

    /// What a relay says: a status, a kind, a body made from what it was sent.
    type Says = Box<dyn Fn(&[u8]) -> (u16, &'static str, Vec<u8>) + Send>;

    /// A relay with its gateway, and what it was sent.
    struct World {
        key: Arc<GatewayKey>,
        relay: Relay,
        says: Arc<Mutex<Says>>,
        sent: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
        _server: tokio::runtime::Runtime,
    }

    impl World {
        fn new() -> Self {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
            let key = Arc::new(GatewayKey::from_secret(&[7; 32]));
            let relay = Relay::new(&format!("http://{}", listener.local_addr().unwrap()), key.configuration()).unwrap();
            let says: Arc<Mutex<Says>> = Arc::new(Mutex::new(Box::new(|_| (502, "", Vec::new()))));
            let sent = Arc::new(Mutex::new(Vec::new()));
            let (saying, sending) = (says.clone(), sent.clone());
            let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
                let (status, kind, answer) = saying.lock().unwrap()(&body);
                sending.lock().unwrap().push((headers, body));
                (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, kind)], answer)
            });
            runtime.spawn(async move { axum::serve(listener, router).await });
            World { key, relay, says, sent, _server: runtime }
        }

        fn says(&self, says: impl Fn(&[u8]) -> (u16, &'static str, Vec<u8>) + Send + 'static) {
            *self.says.lock().unwrap() = Box::new(says);
        }

        /// The gateway answers this.
        fn answers(&self, status: u16, body: &'static str) {
            let key = self.key.clone();
            self.says(move |sealed| {
                let answer = Response { status, headers: Vec::new(), body: body.into() };
                (200, RESPONSE_TYPE, key.open(sealed).unwrap().reply.seal(&answer).unwrap())
            });
        }

        fn asked(&self) -> Result<Value, HttpError> {
            Way::through(Some(&self.relay)).post("http://mint.invalid/v1/swap?a=1", &serde_json::json!({"inputs": []}))
        }

        fn fault(&self) -> Option<RelayFault> {
            match self.asked() {
                Err(HttpError::Relay { fault, .. }) => Some(fault),
                _ => None,
            }
        }
    }

    #[test]
    fn what_the_mint_says_comes_through() {
        let world = World::new();
        world.answers(200, "{\"signatures\":[]}");
        assert_eq!(world.asked().unwrap()["signatures"], Value::Array(Vec::new()));
        world.answers(400, "{\"code\":11001,\"detail\":\"spent\"}");
        assert!(matches!(world.asked(), Err(HttpError::Refused { status: 400, code: Some(11001), .. })));
        world.answers(503, "");
        assert!(matches!(world.asked(), Err(HttpError::Unavailable { status: 503, .. })));
        world.answers(200, "nothing");
        assert!(matches!(world.asked(), Err(HttpError::Unreadable { .. })));
    }

    /// A relay could say anything. Taken for the mint's word, a refusal would make a wallet forget what it has under way.
    #[test]
    fn what_the_relay_says_is_not_taken_for_the_mints_word() {
        let world = World::new();
        for status in [400, 403, 404, 422, 500, 503] {
            world.says(move |_| (status, "application/json", b"{\"code\":11001,\"detail\":\"spent\"}".to_vec()));
            assert_eq!(world.fault(), Some(RelayFault::Status(status)));
        }
        world.says(|_| (200, RESPONSE_TYPE, b"{\"signatures\":[]}".to_vec()));
        assert_eq!(world.fault(), Some(RelayFault::Unsealed));
        let problem = format!("{{\"type\":\"{KEY_PROBLEM}\"}}");
        world.says(move |_| (400, "application/problem+json", problem.clone().into_bytes()));
        assert_eq!(world.fault(), Some(RelayFault::Key));
        // The answer to an earlier request.
        let kept = Mutex::new(None::<Vec<u8>>);
        let key = world.key.clone();
        world.says(move |sealed| {
            let made = Response { status: 200, headers: Vec::new(), body: b"{}".to_vec() };
            let made = key.open(sealed).unwrap().reply.seal(&made).unwrap();
            (200, RESPONSE_TYPE, kept.lock().unwrap().get_or_insert(made).clone())
        });
        assert!(world.asked().is_ok());
        assert_eq!(world.fault(), Some(RelayFault::Unsealed));
        let sent = world.sent.lock().unwrap().len();
        let broken = Relay { keys: "AAAA".into(), ..world.relay.clone() };
        let asked: Result<Value, _> = Way::through(Some(&broken)).get("http://mint.invalid/v1/keys");
        assert!(matches!(asked, Err(HttpError::Relay { fault: RelayFault::Configuration, .. })));
        assert_eq!(world.sent.lock().unwrap().len(), sent, "nothing is sent that can't be sealed");
    }

    #[test]
    fn all_requests_look_alike() {
        let world = World::new();
        world.answers(200, "{}");
        for _ in 0..2 {
            world.asked().unwrap();
        }
        let way = Way::through(Some(&world.relay));
        way.get_as("http://mint.invalid/log/checkpoint", "text/plain").unwrap();
        let sent = world.sent.lock().unwrap();
        assert!(sent.iter().all(|(headers, body)| *headers == sent[0].0 && body.len() == sent[0].1.len()));
        let inside = |place: usize| world.key.open(&sent[place].1).unwrap().request.unwrap();
        assert!(inside(0) == inside(1), "and inside, too");
        assert_eq!((inside(0).path.as_str(), inside(0).authority.as_str()), ("/v1/swap?a=1", "mint.invalid"));
        assert_eq!(inside(0).headers, [("content-type".to_owned(), "application/json".to_owned())]);
        assert_eq!(inside(2).headers, [("accept".to_owned(), "text/plain".to_owned())]);
    }
}
