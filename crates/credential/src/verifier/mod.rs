//! A relying party's side: it asks, and learns what was asked and nothing else (OpenID4VP 1.0 with HAIP 1.0).
//!
//! A verifier is the relying party's own: it has the relying party's key, and runs where the relying party runs, apart from the issuer and the
//! register. It refuses to ask for more than is registered, and to ask while it is suspended. What it was shown is in memory only, is
//! given out once, and is gone after ten minutes at the latest: keeping it is the relying party's act, within its registration.

pub mod api;
mod predicates;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use es256::{AgreementKey, Signer};
use jose::Jwk;
use mdoc::certificate::{Roots, Usage, key_of_chain, verify_chain};
use mdoc::transcript::{Handover, SessionTranscript};
use mdoc::verify::to_json;
use openid4vc::dcql::{ClaimQuery, CredentialQuery, CredentialSet, PREDICATE, Query};
use openid4vc::registration::{OverAsking, Registration};
use openid4vc::request::{
    AUDIENCE, ClientMetadata, Jwks, REGISTRATION_FORMAT, RequestObject, VerifierInfo, WalletPost, client_id,
    formats_supported, link,
};
use openid4vc::response::{self, Answer, Received, Reply};
use openid4vc::{CLOCK_SKEW_MAX, MSO_MDOC, MessageError, SD_JWT_VC, with_parameters};
use privacypass::predicate::Period;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use statuslist::{Reference, Status};

pub use predicates::{Predicates, SpentTokens};

use crate::expiring::{Expiring, Full};
use crate::status::{Form, REGISTER_TTL_SECONDS};
use crate::{Clock, random_id};

/// How long a question waits for its answer, and an answer for whoever asked.
const SESSION_SECONDS: u64 = 600;
/// Questions that are open at once.
const SESSIONS_MAX: usize = 20_000;
/// Claims of an SD-JWT VC that every presentation shows: what it is, of whom, how long, and how its status is told.
const ALWAYS_SHOWN: [&str; 9] = ["vct", "vct#integrity", "iss", "iat", "nbf", "exp", "cnf", "status", "sub"];

/// A relying party: its key and what it is registered for.
pub struct RelyingParty {
    /// Its key.
    pub key: Box<dyn Signer>,
    /// Its access certificate, DER.
    pub certificate: Vec<u8>,
    /// Its registration certificate, as it was signed.
    pub registration_certificate: String,
    /// The issuers' roots that it trusts, DER.
    pub issuer_roots: Vec<Vec<u8>>,
    /// The register's root, DER.
    pub register_root: Vec<u8>,
}

/// What a verifier needs of the network.
pub trait Network: Send + Sync {
    /// Fetches a status list.
    ///
    /// # Errors
    /// A sentence for people.
    fn status_list(&self, uri: &str, form: Form) -> Result<Vec<u8>, String>;

    /// Fetches an issuer's directory of the keys of anonymous predicates. A verifier that takes none need not be able to.
    ///
    /// # Errors
    /// A sentence for people.
    fn directory(&self, uri: &str) -> Result<Vec<u8>, String> {
        Err(format!("{uri} is not fetched here"))
    }

    /// Tells a relying party's own system of an outcome. Best effort: the outcome can be asked for, too.
    fn tell(&self, address: &str, outcome: &Outcome);
}

/// Why a verifier does not ask, or does not accept an answer. Holds no attribute.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// More than is registered was to be asked.
    #[error(transparent)]
    OverAsking(#[from] OverAsking),
    /// The relying party is suspended.
    #[error("this relying party is suspended: it may not ask anybody for anything")]
    Suspended,
    /// The question or the answer is not what the protocol asks for.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// There is no such question: it was answered, or took too long.
    #[error("there is no such question: it was answered, or took too long")]
    Unknown,
    /// What was shown is not acceptable.
    #[error("what was shown is not accepted: {0}")]
    Presentation(String),
    /// A status list can't be had, so nothing is accepted.
    #[error("the status can't be checked just now, so nothing is accepted: {0}")]
    Status(String),
    /// The list of spent tokens can't be written, so no token is accepted.
    #[error("the list of spent tokens can't be written, so nothing is accepted: {0}")]
    SpentTokens(String),
    /// Too much is under way.
    #[error(transparent)]
    Busy(#[from] Full),
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] es256::KeyError),
    /// Something can't be signed.
    #[error(transparent)]
    Jose(#[from] jose::JoseError),
}

/// What is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Attributes, by name: an anonymous predicate answers where one is enough, then either format.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Or a query in DCQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dcql_query: Option<Value>,
    /// Where the person's browser goes on, on the same device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Who is told of the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its id, which whoever asked keeps to itself.
    pub id: String,
    /// What the person's wallet opens: a link, or a QR code of it.
    pub link: String,
    /// Unix time.
    pub expires_at: u64,
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Outcome {
    /// Nobody has answered yet.
    Waiting,
    /// It was answered, and all was verified.
    Verified {
        /// What was shown, by the query's ids.
        presentations: BTreeMap<String, Shown>,
    },
    /// The holder said no, or what was shown was not accepted.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A presentation that was verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its format.
    pub format: String,
    /// The attributes, by name.
    pub attributes: Map<String, Value>,
}

/// A verifier; clones are handles to the same one.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    party: RelyingParty,
    /// The issuers' roots.
    roots: Roots,
    registration: Registration,
    predicates: Option<predicates::Taking>,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    sessions: Expiring<String, Session>,
    /// Public ids of requests to the private ids of questions: whoever scans a QR code learns the first only.
    requests: Expiring<String, String>,
    lists: Mutex<BTreeMap<String, (u64, Arc<statuslist::StatusList>)>>,
}

/// A question under way.
struct Session {
    request: RequestObject,
    query: Query,
    key: Arc<AgreementKey>,
    outcome: Outcome,
    /// Shown to the browser that goes on, and asked from whoever wants the outcome then.
    response_code: Option<String>,
    redirect_uri: Option<String>,
    webhook: Option<String>,
}

impl Verifier {
    /// A verifier of a relying party.
    ///
    /// # Errors
    /// When the registration certificate is not the register's, is out of date, or is another's.
    pub fn new(party: RelyingParty, network: Arc<dyn Network>, clock: Arc<dyn Clock>) -> Result<Self, VerifierError> {
        Self::open(party, None, network, clock)
    }

    /// The same, of a relying party that takes anonymous predicates: where one is enough it is asked for first.
    ///
    /// # Errors
    /// As [`Verifier::new`]; when the issuer's address is none.
    pub fn with_predicates(
        party: RelyingParty,
        predicates: Predicates,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VerifierError> {
        Self::open(party, Some(predicates::Taking::new(predicates)?), network, clock)
    }

    fn open(
        party: RelyingParty,
        predicates: Option<predicates::Taking>,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VerifierError> {
        let now = clock.now();
        let trusted = |chain: &[Vec<u8>]| key_of_chain(chain, &[&party.register_root], Usage::Reader, now);
        let registration = Registration::verify(&party.registration_certificate, trusted, clock.unix_now())?;
        let own = verify_chain(&party.certificate, &[&party.register_root], Usage::Reader, now).ok();
        let own = own.filter(|own| own.key == *party.key.public_key()).ok_or(MessageError {
            what: "the access certificate",
            why: "it is not the register's, is out of date, or is of another key",
        })?;
        // Wallets refuse it, too: nobody asks under another's registration.
        if own.organization.as_ref() != Some(&registration.sub) {
            return Err(
                MessageError { what: "the registration certificate", why: "it is another relying party's" }.into()
            );
        }
        let (sessions, requests) =
            (Expiring::new(SESSION_SECONDS, SESSIONS_MAX), Expiring::new(SESSION_SECONDS, SESSIONS_MAX));
        let (roots, lists) = (Roots::new(party.issuer_roots.clone()), Mutex::default());
        let inner = Inner { party, roots, registration, predicates, network, clock, sessions, requests, lists };
        Ok(Verifier { inner: Arc::new(inner) })
    }

    /// What the relying party is registered for.
    pub fn registration(&self) -> &Registration {
        &self.inner.registration
    }

    /// Asks. `base` is the address under which this verifier is reached.
    ///
    /// # Errors
    /// When more is asked than is registered, or the relying party is suspended: nobody is asked then.
    pub fn ask(&self, question: &Question, base: &str) -> Result<Asked, VerifierError> {
        let query = match &question.dcql_query {
            Some(query) => {
                let query = Query::from_value(query)?;
                // Keys are had before the answer comes. Where they are not, the answer can be another.
                for predicate in query.credentials.iter().filter_map(|credential| credential.meta.predicate.as_ref()) {
                    self.takes(predicate);
                }
                query
            }
            None => self.query_for(&question.attributes)?,
        };
        self.inner.registration.allows(&query)?;
        self.check_not_suspended()?;
        let (id, request_id, now) = (random_id(), random_id(), self.now());
        let key = AgreementKey::generate()?;
        let mut jwk = Jwk::from(*key.public_key());
        (jwk.use_, jwk.alg, jwk.kid) = (Some("enc".into()), Some("ECDH-ES".into()), Some("1".into()));
        let client_id = client_id(&self.inner.party.certificate);
        let request = RequestObject {
            response_type: "vp_token".into(),
            response_mode: "direct_post.jwt".into(),
            client_id: client_id.clone(),
            response_uri: format!("{base}/answers/{request_id}"),
            nonce: random_id(),
            state: Some(request_id.clone()),
            aud: AUDIENCE.into(),
            dcql_query: serde_json::to_value(&query).expect("a query is plain data"),
            client_metadata: ClientMetadata {
                jwks: Jwks { keys: vec![jwk] },
                encrypted_response_enc_values_supported: vec!["A256GCM".into(), "A128GCM".into()],
                vp_formats_supported: formats_supported(),
            },
            // Added when the request is fetched, so that no question that is open holds a copy.
            verifier_info: Vec::new(),
            wallet_nonce: None,
            iat: now,
            exp: Some(now + SESSION_SECONDS),
        };
        let session = Session {
            request,
            query,
            key: Arc::new(key),
            outcome: Outcome::Waiting,
            response_code: None,
            redirect_uri: question.redirect_uri.clone(),
            webhook: question.webhook.clone(),
        };
        self.inner.requests.insert(request_id.clone(), id.clone(), now)?;
        self.inner.sessions.insert(id.clone(), session, now)?;
        let link = link(&client_id, &format!("{base}/requests/{request_id}"));
        Ok(Asked { id, link, expires_at: now + SESSION_SECONDS })
    }

    /// The signed request that a wallet fetches. Anonymous predicates are asked of wallets that say that they know them: libraries in
    /// use refuse a query with a format that is strange to them.
    ///
    /// # Errors
    /// When there is no such question, or it was answered.
    pub fn request(&self, request_id: &str, wallet: WalletPost) -> Result<String, VerifierError> {
        let (mut request, query) =
            self.with_session(request_id, |session| (session.request.clone(), session.query.clone()))?;
        request.wallet_nonce = wallet.wallet_nonce;
        let registration = json!(self.inner.party.registration_certificate);
        request.verifier_info = vec![VerifierInfo { format: REGISTRATION_FORMAT.into(), data: registration }];
        if !wallet.formats.iter().any(|format| format == PREDICATE) {
            let known = query.without_format(PREDICATE);
            request.dcql_query = serde_json::to_value(known).expect("a query is plain data");
        }
        Ok(request.sign(std::slice::from_ref(&self.inner.party.certificate), &*self.inner.party.key)?)
    }

    /// Takes a wallet's answer. The first one that can be read counts; a second finds no question.
    ///
    /// # Errors
    /// When it can't be read: then the question waits on. When it is not accepted: whoever asked is told of a refusal then.
    pub fn answer(&self, request_id: &str, form: &[u8]) -> Result<Reply, VerifierError> {
        let now = self.now();
        let (query, request, key) = self.with_session(request_id, |session| {
            (session.query.clone(), session.request.clone(), session.key.clone())
        })?;
        let received = response::from_form(form, &key)?;
        let id = self.inner.requests.take(request_id, now).ok_or(VerifierError::Unknown)?;
        let verified = match received {
            Received::Answer(answer) => self.verify(&answer, &query, &request, &key),
            Received::Declined => Err(VerifierError::Presentation("the holder said no".into())),
        };
        let outcome = match &verified {
            Ok(presentations) => Outcome::Verified { presentations: presentations.clone() },
            Err(error) => Outcome::Refused { reason: error.to_string() },
        };
        let told = self.inner.sessions.with(&id, now, |session| {
            session.outcome = outcome.clone();
            // Whoever was refused is not sent on, so nobody would have the code.
            let code = session.redirect_uri.as_ref().filter(|_| verified.is_ok()).map(|_| random_id());
            session.response_code.clone_from(&code);
            let redirect_uri = session.redirect_uri.as_ref().zip(code);
            let redirect_uri =
                redirect_uri.map(|(address, code)| with_parameters(address, [("response_code", code.as_str())]));
            (session.webhook.clone(), redirect_uri)
        });
        let (webhook, redirect_uri) = told.ok_or(VerifierError::Unknown)?;
        if let Some(address) = webhook {
            self.inner.network.tell(&address, &outcome);
        }
        verified.map(|_| Reply { redirect_uri })
    }

    /// How a question ended. What was shown is given out once.
    ///
    /// # Errors
    /// When there is no such question, or the response code that came with the redirect is missing.
    pub fn outcome(&self, id: &str, response_code: Option<&str>) -> Result<Outcome, VerifierError> {
        let now = self.now();
        let look = |session: &mut Session| {
            let allowed = session.response_code.as_deref().is_none_or(|code| response_code == Some(code));
            (allowed, session.outcome == Outcome::Waiting)
        };
        match self.inner.sessions.with(id, now, look) {
            Some((true, true)) => Ok(Outcome::Waiting),
            Some((true, false)) => {
                self.inner.sessions.take(id, now).map(|session| session.outcome).ok_or(VerifierError::Unknown)
            }
            Some((false, _)) => {
                let why = "the response_code that came with the redirect is missing or another's";
                Err(MessageError { what: "the question", why }.into())
            }
            None => Err(VerifierError::Unknown),
        }
    }

    fn verify(
        &self,
        answer: &Answer,
        query: &Query,
        request: &RequestObject,
        key: &AgreementKey,
    ) -> Result<BTreeMap<String, Shown>, VerifierError> {
        let refused = |why: &str| VerifierError::Presentation(why.to_owned());
        if answer.state != request.state {
            return Err(refused("it answers another question"));
        }
        if !query.answered_by(answer.vp_token.keys().map(String::as_str)) {
            return Err(refused("something that was asked for is missing, or something else was sent"));
        }
        let thumbprint = Jwk::from(*key.public_key()).thumbprint();
        let month = Period::at(self.inner.clock.now());
        let (mut shown, mut spent) = (BTreeMap::new(), Vec::new());
        for (id, presentations) in &answer.vp_token {
            let credential = query.credential(id).ok_or_else(|| refused("something else was sent"))?;
            let [presentation] = presentations.as_slice() else {
                return Err(refused("one presentation was asked for"));
            };
            let attributes = match credential.format.as_str() {
                MSO_MDOC => self.verify_mdoc(presentation, credential, request, &thumbprint)?,
                SD_JWT_VC => self.verify_sd_jwt(presentation, credential, request)?,
                PREDICATE => {
                    let taking = self.inner.predicates.as_ref();
                    let taking = taking.ok_or_else(|| refused("anonymous predicates are not taken here"))?;
                    let (attributes, token) = taking.verify(presentation, credential, request, month)?;
                    spent.push(token);
                    attributes
                }
                _ => return Err(refused("this format is not known here")),
            };
            shown.insert(id.clone(), Shown { format: credential.format.clone(), attributes });
        }
        // Last, so that no token is used up by an answer that is refused for something else.
        if let Some(taking) = &self.inner.predicates {
            taking.spend(&spent, month)?;
        }
        Ok(shown)
    }

    fn verify_mdoc(
        &self,
        presentation: &str,
        asked: &CredentialQuery,
        request: &RequestObject,
        thumbprint: &[u8; 32],
    ) -> Result<Map<String, Value>, VerifierError> {
        let refused = |error: &dyn ToString| VerifierError::Presentation(error.to_string());
        let response = jose::base64url::decode(presentation).map_err(|error| refused(&error))?;
        let transcript = SessionTranscript::new(&Handover::OpenId4Vp {
            client_id: &request.client_id,
            nonce: &request.nonce,
            jwk_thumbprint: Some(thumbprint),
            response_uri: &request.response_uri,
        });
        let roots = &self.inner.roots;
        let documents = mdoc::verify::verify(&response, &transcript, roots, self.inner.clock.now(), None)
            .map_err(|error| refused(&error))?;
        let [document] = documents.as_slice() else { return Err(refused(&"one document was asked for")) };
        if asked.meta.doctype_value.as_ref() != Some(&document.doc_type) {
            return Err(refused(&"it is another kind of document"));
        }
        let values: BTreeMap<(&str, &str), Value> = document
            .elements
            .iter()
            .flat_map(|(space, elements)| {
                elements.iter().map(|(name, value)| ((space.as_str(), name.as_str()), to_json(value)))
            })
            .collect();
        let fits = |claim: &ClaimQuery| {
            claim.mdoc_element().and_then(|element| values.get(&element)).is_some_and(|value| claim.accepts(value))
        };
        if !document.device_elements.is_empty() || !asked.answered_by(fits, values.len()) {
            return Err(refused(&"it shows something else than was asked for"));
        }
        let place = document.status.as_ref().ok_or_else(|| refused(&"it does not say where its status is told"))?;
        self.check_status(&place.uri, place.idx, Form::Cwt)?;
        Ok(values.into_iter().map(|((_, name), value)| (name.to_owned(), value)).collect())
    }

    fn verify_sd_jwt(
        &self,
        presentation: &str,
        asked: &CredentialQuery,
        request: &RequestObject,
    ) -> Result<Map<String, Value>, VerifierError> {
        let refused = |error: &dyn ToString| VerifierError::Presentation(error.to_string());
        let now = self.inner.clock.now();
        let roots = &self.inner.roots;
        let issuer =
            |header: &jose::Header, _: Option<&str>| key_of_chain(&header.x5c, roots, Usage::DocumentSigner, now);
        let binding =
            sdjwt::ExpectedBinding { aud: &request.client_id, nonce: &request.nonce, iat_window: CLOCK_SKEW_MAX };
        let verified =
            sdjwt::verify(presentation, issuer, Some(&binding), self.now()).map_err(|error| refused(&error))?;
        if !asked.meta.vct_values.iter().flatten().any(|vct| vct == verified.vct()) {
            return Err(refused(&"it is another kind of credential"));
        }
        let status = verified.status().cloned();
        let shown: Map<String, Value> =
            verified.claims.into_iter().filter(|(name, _)| !ALWAYS_SHOWN.contains(&name.as_str())).collect();
        let fits = |claim: &ClaimQuery| match claim.path.as_slice() {
            [Value::String(name)] => shown.get(name).is_some_and(|value| claim.accepts(value)),
            _ => false,
        };
        if !asked.answered_by(fits, shown.len()) {
            return Err(refused(&"it shows something else than was asked for"));
        }
        let place: Option<Reference> = status.and_then(|status| serde_json::from_value(status).ok());
        let place = place.ok_or_else(|| refused(&"it does not say where its status is told"))?;
        self.check_status(&place.uri, place.idx, Form::Jwt)?;
        Ok(shown)
    }

    /// Looks a place up in its list; the whole list is fetched, and kept for as long as it says.
    fn check_status(&self, uri: &str, place: u64, form: Form) -> Result<(), VerifierError> {
        let list = self.list(uri, form, None)?;
        match list.get(place) {
            Ok(Status::Valid) => Ok(()),
            Ok(Status::Suspended) => Err(VerifierError::Presentation("the credential is suspended".into())),
            _ => Err(VerifierError::Presentation("the credential was revoked".into())),
        }
    }

    fn check_not_suspended(&self) -> Result<(), VerifierError> {
        let place: Reference = serde_json::from_value(self.inner.registration.status.clone())
            .map_err(|_| VerifierError::Status("the registration does not say where its status is told".into()))?;
        let list = self.list(&place.uri, Form::Jwt, Some(REGISTER_TTL_SECONDS))?;
        if list.get(place.idx) == Ok(Status::Valid) { Ok(()) } else { Err(VerifierError::Suspended) }
    }

    fn list(&self, uri: &str, form: Form, ttl_max: Option<u64>) -> Result<Arc<statuslist::StatusList>, VerifierError> {
        let now = self.now();
        let kept = self.inner.lists.lock().unwrap_or_else(PoisonError::into_inner).get(uri).cloned();
        if let Some((_, list)) = kept.filter(|(until, _)| now < *until) {
            return Ok(list);
        }
        let token = self.inner.network.status_list(uri, form).map_err(VerifierError::Status)?;
        let (roots, at) = (&self.inner.roots, self.inner.clock.now());
        let trusted = |chain: &[Vec<u8>]| key_of_chain(chain, roots, Usage::DocumentSigner, at);
        let failed = |error: statuslist::StatusListError| VerifierError::Status(error.to_string());
        let read = match form {
            Form::Jwt => {
                let text = std::str::from_utf8(&token).map_err(|_| VerifierError::Status("it is no text".into()))?;
                statuslist::verify_jwt(text, uri, trusted, now).map_err(failed)?
            }
            Form::Cwt => statuslist::verify_cwt(&token, uri, trusted, now).map_err(failed)?,
        };
        let ttl = read.ttl.unwrap_or(0).min(ttl_max.unwrap_or(u64::MAX));
        let list = Arc::new(read.list);
        let mut lists = self.inner.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|_, (until, _)| now < *until);
        lists.insert(uri.to_owned(), (now + ttl, list.clone()));
        Ok(list)
    }

    /// A query for attributes: a predicate where one is enough, then a credential in either format.
    fn query_for(&self, names: &[String]) -> Result<Query, VerifierError> {
        let mut credentials = Vec::new();
        for registered in &self.inner.registration.credentials {
            if registered.format == PREDICATE {
                let is_asked = |name: &String| registered.meta.predicate.as_ref() == Some(name) && self.takes(name);
                if let [name] = names
                    && is_asked(name)
                {
                    credentials.insert(
                        0,
                        CredentialQuery {
                            id: "predicate".into(),
                            format: PREDICATE.into(),
                            meta: registered.meta.clone(),
                            claims: Vec::new(),
                            claim_sets: Vec::new(),
                            multiple: false,
                        },
                    );
                }
                continue;
            }
            let is_named = |path: &[Value], name: &String| path.last().and_then(Value::as_str) == Some(name);
            let claim = |name: &String| {
                let found = registered.claim.iter().find(|claim| is_named(&claim.path, name));
                let path = found.ok_or(OverAsking { what: name.clone() })?.path.clone();
                let retain = (registered.format == MSO_MDOC).then_some(self.inner.registration.retention_days > 0);
                Ok(ClaimQuery { id: None, path, values: None, intent_to_retain: retain })
            };
            credentials.push(CredentialQuery {
                id: if registered.format == MSO_MDOC { "mdoc".into() } else { "sd_jwt".into() },
                format: registered.format.clone(),
                meta: registered.meta.clone(),
                claims: names.iter().map(claim).collect::<Result<_, OverAsking>>()?,
                claim_sets: Vec::new(),
                multiple: false,
            });
        }
        if names.is_empty() {
            return Err(MessageError { what: "the question", why: "it names no attribute" }.into());
        }
        let options = credentials.iter().map(|credential| vec![credential.id.clone()]).collect();
        let query = Query { credentials, credential_sets: vec![CredentialSet { options, required: true }] };
        query.check()?;
        Ok(query)
    }

    /// Whether an anonymous predicate can be verified here, now.
    fn takes(&self, predicate: &str) -> bool {
        let month = Period::at(self.inner.clock.now());
        let is_ready =
            |taking: &predicates::Taking| taking.is_ready(predicate, &*self.inner.network, self.now(), month);
        self.inner.predicates.as_ref().is_some_and(is_ready)
    }

    fn with_session<R>(&self, request_id: &str, look: impl FnOnce(&mut Session) -> R) -> Result<R, VerifierError> {
        let now = self.now();
        let id = self.inner.requests.with(request_id, now, |id| id.clone());
        id.and_then(|id| self.inner.sessions.with(&id, now, look)).ok_or(VerifierError::Unknown)
    }

    fn now(&self) -> u64 {
        self.inner.clock.unix_now()
    }
}
