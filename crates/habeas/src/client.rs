//! The command line's side of the services' own APIs: JSON over HTTP with an officer's bearer token.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::DataFolder;

/// Enrolling a large file takes its time; a server that is down is noticed at once all the same.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A running server, spoken to as one officer.
#[derive(Clone)]
pub struct Officer {
    agent: ureq::Agent,
    base: String,
    token: String,
}

/// RFC 9457 problem details.
#[derive(serde::Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl Officer {
    /// The officer `name` of a data folder, at the server that runs on it.
    pub fn of(data: &DataFolder, name: &str) -> Result<Self> {
        let token = data.token(name)?;
        Ok(Self::new(&data.server_file()?.url, &token))
    }

    /// An officer with a token, at a server.
    pub fn new(url: &str, token: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build()
            .new_agent();
        Officer { agent, base: url.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// `GET path`, as JSON.
    pub fn get<Answer: DeserializeOwned>(&self, path: &str) -> Result<Answer> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("authorization", self.bearer());
        self.json(request.call())
    }

    /// `GET path`, as a stream of bytes, however long it takes.
    pub fn stream(&self, path: &str) -> Result<impl std::io::Read + use<>> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("authorization", self.bearer());
        let answer = request.config().timeout_global(None).build().call();
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(answer.into_body().into_reader()),
            refused => Err(self.read(refused).err().context("the server refused")?),
        }
    }

    /// `POST path` with a JSON body, the answer as JSON.
    pub fn post<Answer: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Answer> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("authorization", self.bearer());
        self.json(request.send_json(body))
    }

    /// `DELETE path`, the answer as JSON.
    pub fn delete<Answer: DeserializeOwned>(&self, path: &str) -> Result<Answer> {
        let request = self.agent.delete(format!("{}{path}", self.base)).header("authorization", self.bearer());
        self.json(request.call())
    }

    /// `POST path` with a body of bytes, the answer as bytes.
    pub fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Vec<u8>> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("authorization", self.bearer());
        self.read(request.content_type(content_type).send(body))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn json<Answer: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer> {
        let body = self.read(answer)?;
        serde_json::from_slice(&body).with_context(|| format!("{} gave an answer that can't be read", self.base))
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>> {
        let down = || format!("{} can't be reached: is `habeas up` running?", self.base);
        let mut answer = answer.with_context(down)?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_MAX_LEN).read_to_vec().with_context(down)?;
        if status.is_success() {
            return Ok(body);
        }
        let told: Option<Problem> = serde_json::from_slice(&body).ok();
        match told.and_then(|told| told.detail.or(told.title)) {
            Some(sentence) => bail!("{sentence}"),
            None => bail!("{} answered with status {}", self.base, status.as_u16()),
        }
    }
}

/// The longest answer that is read: the offers of a large enrolment, some 200 bytes a person.
const ANSWER_MAX_LEN: u64 = 512 * 1024 * 1024;
