//! One request, one connection, the same headers for everybody.
//!
//! A connection that is used twice ties two acts together, and so does a header that differs between wallets.
//! So every request opens its own connection, closes it, keeps no cookie and sends nothing that tells one wallet
//! from another.
//!
//! A network address ties acts together, too: what must not show where it comes from goes the [`Way`] that the services name, through
//! a relay where there is one. The functions of this module ask directly: the issuer and the registry, who are told who asks, and payees
//! and relying parties, whom no gateway serves.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

use crate::relay::{Relay, RelayFault};
use crate::state::Services;

/// The longest answer that is read: a full tile of log entries (256 × 64 KiB would be the most; ours stay far below).
const ANSWER_MAX_LEN: u64 = oblivious::ANSWER_BODY_MAX_LEN as u64;
/// Past this the network counts as down: a person stands at a till.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// The `User-Agent` of every wallet, whatever its version: a rare version would single its holder out.
const USER_AGENT: &str = "cashu-wallet";

/// Why a request brought no answer to build on.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer, or not a whole one: the request may or may not have been carried out.
    #[error("{server} can't be reached: check the network and that the service is running, then try again")]
    Unreachable {
        /// Scheme, host and port; never the path, which may hold a quote.
        server: String,
    },
    /// The server could not do its part just now: the request may or may not have been carried out.
    #[error("{server} can't serve just now (status {status}): try again in a moment")]
    Unavailable {
        /// Scheme, host and port.
        server: String,
        /// HTTP status, 500 or above.
        status: u16,
    },
    /// The server read the request and refused it.
    #[error("{detail}")]
    Refused {
        /// HTTP status, below 500.
        status: u16,
        /// The protocol's own code, where the answer has one.
        code: Option<u32>,
        /// The server's sentence for people.
        detail: String,
    },
    /// Between wallet and gateway: the request may or may not have been carried out, and is not sent in another way.
    #[error("the relay {relay} {fault}; nothing is sent without it, since that would show where you are")]
    Relay {
        /// Its address.
        relay: String,
        /// What went wrong.
        fault: RelayFault,
    },
    /// An answer that is not what the protocol says.
    #[error("{server} gave an answer that can't be read: is this the right address?")]
    Unreadable {
        /// Scheme, host and port.
        server: String,
    },
}

/// The error bodies of NUT-00 (`code`, `detail`), RFC 9457 (`title`, `detail`) and OAuth (`error_description`).
#[derive(serde::Deserialize)]
struct ErrorAnswer {
    code: Option<u32>,
    detail: Option<String>,
    title: Option<String>,
    error_description: Option<String>,
}

/// The way of requests to the mint, the log and what everybody reads: through the relay that the services name, or directly where they
/// name none.
#[derive(Clone, Copy)]
pub struct Way<'a>(Option<&'a Relay>);

impl<'a> Way<'a> {
    /// Straight to the server, which sees where a request comes from.
    pub const DIRECT: Way<'static> = Way(None);

    /// The way to these services.
    pub fn to(services: &'a Services) -> Self {
        Way(services.relay.as_ref())
    }

    /// Through this relay, where there is one.
    pub fn through(relay: Option<&'a Relay>) -> Self {
        Way(relay)
    }

    /// `GET url`, the body as bytes.
    pub fn get_bytes(self, url: &str) -> Result<Vec<u8>, HttpError> {
        self.ask(url, None, None)
    }

    /// `GET url`, the body as JSON.
    pub fn get<Answer: DeserializeOwned>(self, url: &str) -> Result<Answer, HttpError> {
        parse(url, &self.get_bytes(url)?)
    }

    /// `GET url` in a form that is asked for (a media type), the body as bytes.
    pub fn get_as(self, url: &str, accept: &str) -> Result<Vec<u8>, HttpError> {
        self.ask(url, Some(accept), None)
    }

    /// `POST url` with a JSON body, the answer as JSON.
    pub fn post<Answer: DeserializeOwned>(self, url: &str, body: &impl Serialize) -> Result<Answer, HttpError> {
        let json = serde_json::to_vec(body).expect("a request is plain data");
        parse(url, &self.ask(url, None, Some(&json))?)
    }

    fn ask(self, url: &str, accept: Option<&str>, json: Option<&[u8]>) -> Result<Vec<u8>, HttpError> {
        if let Some(relay) = self.0 {
            let answer = relay.carry(&sealable(url, accept, json)?)?;
            return judge(url, answer.status, answer.body);
        }
        let (agent, accept) = (fresh_agent(), accept.unwrap_or("*/*"));
        match json {
            Some(json) => {
                read(url, agent.post(url).header("Accept", accept).content_type("application/json").send(json))
            }
            None => read(url, agent.get(url).header("Accept", accept).call()),
        }
    }
}

/// A request as it goes through a relay: with no header but what it needs, so that all wallets' are alike.
fn sealable(url: &str, accept: Option<&str>, json: Option<&[u8]>) -> Result<oblivious::Request, HttpError> {
    let address: Option<ureq::http::Uri> = url.parse().ok();
    let parts = address.as_ref().and_then(|address| Some((address.scheme_str()?, address.authority()?)));
    let ((scheme, authority), address) =
        parts.zip(address.as_ref()).ok_or_else(|| HttpError::Unreadable { server: server_of(url) })?;
    let kind = json.map(|_| ("content-type", "application/json"));
    let headers = accept.map(|accept| ("accept", accept)).into_iter().chain(kind);
    Ok(oblivious::Request {
        method: if json.is_some() { "POST" } else { "GET" }.into(),
        scheme: scheme.into(),
        authority: authority.to_string(),
        path: address.path_and_query().map_or("/", |path| path.as_str()).into(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: json.unwrap_or_default().to_vec(),
    })
}

/// `GET url`, the body as bytes.
pub fn get_bytes(url: &str) -> Result<Vec<u8>, HttpError> {
    Way::DIRECT.get_bytes(url)
}

/// `GET url`, the body as JSON.
pub fn get<Answer: DeserializeOwned>(url: &str) -> Result<Answer, HttpError> {
    Way::DIRECT.get(url)
}

/// `GET url` in a form that is asked for (a media type), the body as bytes.
pub fn get_as(url: &str, accept: &str) -> Result<Vec<u8>, HttpError> {
    Way::DIRECT.get_as(url, accept)
}

/// `POST url` with a JSON body, the answer as JSON.
pub fn post<Answer: DeserializeOwned>(url: &str, body: &impl Serialize) -> Result<Answer, HttpError> {
    Way::DIRECT.post(url, body)
}

/// What is posted.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// JSON.
    Json(&'a [u8]),
    /// A form, encoded.
    Form(&'a str),
}

/// `POST url` with headers, the body as bytes.
pub fn send(url: &str, body: Body<'_>, headers: &[(&str, String)]) -> Result<Vec<u8>, HttpError> {
    let request = headers.iter().fold(fresh_agent().post(url), |request, (name, value)| request.header(*name, value));
    let answer = match body {
        Body::Empty => request.send_empty(),
        Body::Json(json) => request.content_type("application/json").send(json),
        Body::Form(form) => request.content_type("application/x-www-form-urlencoded").send(form),
    };
    read(url, answer)
}

/// A `POST` for a protocol whose refusals have a body of their own.
pub struct Exchange<'a> {
    /// The media type of what is sent.
    pub kind: &'a str,
    /// The media type of what is asked for.
    pub accept: &'a str,
    /// How long it may take.
    pub timeout: Duration,
    /// The longest answer that is read.
    pub max_len: usize,
}

impl Exchange<'_> {
    /// Posts a body. Gives status and body of whatever is answered; an answer that is not whole is none.
    pub fn post(&self, url: &str, body: &[u8]) -> Result<(u16, Vec<u8>), HttpError> {
        let unreachable = |_| HttpError::Unreachable { server: server_of(url) };
        let request = agent(self.timeout).post(url).header("Accept", self.accept).content_type(self.kind);
        let mut answer = request.send(body).map_err(unreachable)?;
        let limit = u64::try_from(self.max_len).unwrap_or(u64::MAX);
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(unreachable)?;
        Ok((answer.status().as_u16(), body))
    }
}

/// An agent that keeps no connection: it serves one request.
fn fresh_agent() -> Agent {
    agent(TIMEOUT)
}

fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .user_agent(USER_AGENT)
        .no_delay(true)
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .build(),
        )
        .build()
        .new_agent()
}

fn read(url: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>, HttpError> {
    let unreachable = || HttpError::Unreachable { server: server_of(url) };
    let mut answer = answer.map_err(|_| unreachable())?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_MAX_LEN).read_to_vec().map_err(|_| unreachable())?;
    judge(url, status, body)
}

/// The body of an answer that says yes; otherwise what it says.
fn judge(url: &str, status: u16, body: Vec<u8>) -> Result<Vec<u8>, HttpError> {
    if (200..300).contains(&status) {
        return Ok(body);
    }
    if status >= 500 {
        return Err(HttpError::Unavailable { server: server_of(url), status });
    }
    let told: Option<ErrorAnswer> = serde_json::from_slice(&body).ok();
    let (code, detail) =
        told.map_or((None, None), |told| (told.code, told.detail.or(told.title).or(told.error_description)));
    let detail = detail.unwrap_or_else(|| format!("{} answered with status {status}", server_of(url)));
    Err(HttpError::Refused { status, code, detail })
}

/// An answer as JSON.
pub(crate) fn parse<Answer: DeserializeOwned>(url: &str, body: &[u8]) -> Result<Answer, HttpError> {
    serde_json::from_slice(body).map_err(|_| HttpError::Unreadable { server: server_of(url) })
}

/// Scheme, host and port of an address.
fn server_of(url: &str) -> String {
    let end = url.find("://").and_then(|scheme| url[scheme + 3..].find('/').map(|path| scheme + 3 + path));
    url[..end.unwrap_or(url.len())].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_server_and_not_the_path() {
        assert_eq!(server_of("http://127.0.0.1:3338/v1/mint/quote/entitlement/secret"), "http://127.0.0.1:3338");
        assert_eq!(server_of("https://mint.example"), "https://mint.example");
    }

    #[test]
    fn a_server_that_is_down_is_said_plainly() {
        // A port that was free a moment ago: bound, then closed.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = get_bytes(&format!("http://127.0.0.1:{port}/v1/keys")).unwrap_err();
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
    }
}
