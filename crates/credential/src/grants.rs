//! The authorization server: a device takes an offer and gets a token that works with its key alone (OpenID4VCI section 6, DPoP by
//! RFC 9449, PKCE by RFC 7636, PAR by RFC 9126).
//!
//! A grant is the bond between a device's key and a person. Four ways lead to a token of it: the offer's code with the transaction
//! code; a person's consent on our page, with the same two codes; a refresh token; and the device's key alone, for a wallet that was
//! made again from its words, or whose last answer was lost on the way (an extension grant, RFC 6749 section 4.5).
//!
//! Replayed DPoP proofs are refused for as long as this process remembers. What follows a restart can replay no more than a token
//! request whose code or refresh token was used up.

use openid4vc::dpop::{self, Proof};
use openid4vc::token::{
    AUTHORIZATION_CODE, AuthorizationRequest, PRE_AUTHORIZED_CODE, PROOF_OF_KEY, PushedResponse, REFRESH_TOKEN,
    TokenRequest, TokenResponse, verifier_fits,
};
use openid4vc::{CLOCK_SKEW_MAX, MessageError, with_parameters};
use rusqlite::params;
use sha2::{Digest, Sha256};

use crate::expiring::Expiring;
use crate::stamp::Stamps;
use crate::store::{Grant, GrantBy};
use crate::{Credentials, IssuerError, OfferError, random_id};

/// How long an access token works: long enough for a batch and a look at what is owed on a bad network.
const ACCESS_SECONDS: u64 = 600;
/// How long a pushed request waits for the person, and a code for the wallet.
const PUSHED_SECONDS: u64 = 600;
const CODE_SECONDS: u64 = 60;
/// Pushed requests, codes and proofs that are remembered, at most: some 100 MB in all.
const REMEMBERED_MAX: usize = 200_000;
/// What pushed requests are called.
const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";
/// The longest code, of an offer or a refresh token, that is looked at.
const CODE_MAX_LEN: usize = 256;

/// What the authorization server remembers for a short time.
pub(crate) struct State {
    tokens: Stamps,
    proofs: Expiring<(String, String), ()>,
    pushed: Expiring<String, AuthorizationRequest>,
    codes: Expiring<String, Consent>,
}

/// A person's consent, until the wallet comes for its token.
struct Consent {
    request: AuthorizationRequest,
    tx_code: Option<String>,
}

impl State {
    pub(crate) fn new(token_key: &[u8; 32]) -> Self {
        State {
            tokens: Stamps::new(token_key),
            // A proof is taken from a clock that is behind to one that is ahead, both ends included.
            proofs: Expiring::new(2 * CLOCK_SKEW_MAX + 1, REMEMBERED_MAX),
            pushed: Expiring::new(PUSHED_SECONDS, REMEMBERED_MAX),
            codes: Expiring::new(CODE_SECONDS, REMEMBERED_MAX),
        }
    }
}

impl From<OfferError> for IssuerError {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Unavailable(detail) => IssuerError::Unavailable(detail),
            error => IssuerError::refused("invalid_grant", error),
        }
    }
}

impl Credentials {
    /// Gives a token for a grant. `proof` is the request's DPoP header, `uri` the token endpoint's address.
    ///
    /// # Errors
    /// With the codes of RFC 6749 section 5.2 and RFC 9449: `invalid_grant`, `invalid_dpop_proof`, `unsupported_grant_type`, …
    pub fn token(&self, request: &TokenRequest, proof: Option<&str>, uri: &str) -> Result<TokenResponse, IssuerError> {
        let proof = self.dpop(proof, dpop::Request { method: "POST", uri, access_token: None })?;
        let grant = match request.grant_type.as_str() {
            PRE_AUTHORIZED_CODE => {
                let code = given(&request.pre_authorized_code, "pre-authorized_code")?;
                self.take_offer(code, request.tx_code.as_deref(), &proof.jkt)?
            }
            AUTHORIZATION_CODE => {
                let code = given(&request.code, "code")?;
                // Taken out whatever follows: a code works once.
                let consent = self.inner.grants.codes.take(code, self.now()).ok_or_else(unusable)?;
                let verifier = given(&request.code_verifier, "code_verifier")?;
                let asked = &consent.request;
                if !verifier_fits(verifier, &asked.code_challenge)
                    || request.redirect_uri.as_deref() != Some(asked.redirect_uri.as_str())
                    || request.client_id.as_deref() != Some(asked.client_id.as_str())
                {
                    return Err(IssuerError::refused(
                        "invalid_grant",
                        "code_verifier, redirect_uri or client_id is not that of the authorization request",
                    ));
                }
                let code = asked.issuer_state.as_deref().unwrap_or_default();
                self.take_offer(code, consent.tx_code.as_deref(), &proof.jkt)?
            }
            REFRESH_TOKEN => {
                let token = given(&request.refresh_token, "refresh_token")?;
                let grant = self.inner.store.grant(GrantBy::Refresh(&hash(token)))?;
                grant.filter(|grant| grant.jkt == proof.jkt).ok_or_else(unusable)?
            }
            PROOF_OF_KEY => {
                let grant = self.inner.store.grant(GrantBy::Key(&proof.jkt))?;
                grant.filter(|grant| grant.subject.is_some()).ok_or_else(unusable)?
            }
            _ => return Err(IssuerError::refused("unsupported_grant_type", "this grant type is not known here")),
        };
        if grant.revoked {
            return Err(IssuerError::refused("invalid_grant", "this device was revoked: ask the desk for a new offer"));
        }
        let refresh_token = hex::encode(rand::random::<[u8; 32]>());
        self.inner
            .store
            .connection()
            .execute("UPDATE grants SET refresh_hash = ?2 WHERE id = ?1", params![grant.id, hash(&refresh_token)])?;
        Ok(TokenResponse {
            access_token: self.access_token(&grant),
            token_type: "DPoP".into(),
            expires_in: ACCESS_SECONDS,
            refresh_token: Some(refresh_token),
            scope: None,
        })
    }

    /// Takes an offer for a device's key. The grant is written down before the registry takes the code, so that a crash in between is
    /// finished when the device asks again.
    fn take_offer(&self, code: &str, tx_code: Option<&str>, jkt: &str) -> Result<Grant, IssuerError> {
        let code_hash = hash(code);
        let grant = match self.inner.store.grant(GrantBy::Code(&code_hash))? {
            Some(grant) if grant.subject.is_some() || grant.jkt != jkt => return Err(OfferError::Used.into()),
            Some(begun) => begun,
            None => {
                let grant = Grant { id: random_id(), subject: None, jkt: jkt.into(), revoked: false };
                self.inner.store.connection().execute(
                    "INSERT INTO grants (id, code_hash, jkt, revoked) VALUES (?1, ?2, ?3, 0)",
                    params![grant.id, code_hash, jkt],
                )?;
                grant
            }
        };
        match self.inner.people.take_offer(code, tx_code, &grant.id) {
            Ok(subject) => {
                self.inner
                    .store
                    .connection()
                    .execute("UPDATE grants SET subject = ?2 WHERE id = ?1", params![grant.id, subject])?;
                Ok(Grant { subject: Some(subject), ..grant })
            }
            Err(error) => {
                if !matches!(error, OfferError::Unavailable(_)) {
                    self.inner.store.connection().execute("DELETE FROM grants WHERE id = ?1", [&grant.id])?;
                }
                Err(error.into())
            }
        }
    }

    /// Keeps an authorization request until the person comes to our page.
    ///
    /// # Errors
    /// `invalid_request` when it names no offer.
    pub fn push(&self, request: AuthorizationRequest) -> Result<PushedResponse, IssuerError> {
        let scheme_is_plain = request.redirect_uri.split_once(':').is_some_and(|(scheme, _)| {
            !matches!(scheme.to_ascii_lowercase().as_str(), "javascript" | "data" | "file" | "vbscript")
        });
        if !scheme_is_plain {
            return Err(IssuerError::refused("invalid_request", "redirect_uri is no address of an app or a site"));
        }
        if request.issuer_state.as_ref().is_none_or(|state| state.len() > CODE_MAX_LEN) {
            return Err(IssuerError::refused(
                "invalid_request",
                "issuer_state is missing: begin with the offer that the desk gave out",
            ));
        }
        let request_uri = format!("{REQUEST_URI}{}", random_id());
        self.inner.grants.pushed.insert(request_uri.clone(), request, self.now())?;
        Ok(PushedResponse { request_uri, expires_in: PUSHED_SECONDS })
    }

    /// Whether a pushed request of a client is waiting for the person.
    pub fn is_pushed(&self, request_uri: &str, client_id: &str) -> bool {
        let is_clients = |request: &mut AuthorizationRequest| request.client_id == client_id;
        self.inner.grants.pushed.with(request_uri, self.now(), is_clients).unwrap_or(false)
    }

    /// The person's consent, with the transaction code: gives the address at which the wallet goes on.
    ///
    /// # Errors
    /// When the request is gone, or the transaction code is wrong: then the person may try again.
    pub fn consent(&self, request_uri: &str, tx_code: &str, issuer: &str) -> Result<String, IssuerError> {
        let gone = || IssuerError::refused("invalid_request", "this took too long: begin again in your wallet");
        let state = self.inner.grants.pushed.with(request_uri, self.now(), |request| request.issuer_state.clone());
        let code = state.flatten().ok_or_else(gone)?;
        let tx_code = Some(tx_code.trim().to_owned()).filter(|code| !code.is_empty());
        self.inner.people.check_offer(&code, tx_code.as_deref())?;
        let request = self.inner.grants.pushed.take(request_uri, self.now()).ok_or_else(gone)?;
        let code = random_id();
        let state = request.state.as_deref().map(|state| ("state", state));
        let parameters = [("code", code.as_str()), ("iss", issuer)].into_iter().chain(state);
        let address = with_parameters(&request.redirect_uri, parameters);
        self.inner.grants.codes.insert(code, Consent { request, tx_code }, self.now())?;
        Ok(address)
    }

    /// The grant behind a request that carries an access token and a DPoP proof.
    ///
    /// # Errors
    /// `invalid_token` or `invalid_dpop_proof`.
    pub fn authorize(
        &self,
        authorization: Option<&str>,
        proof: Option<&str>,
        method: &str,
        uri: &str,
    ) -> Result<Grant, IssuerError> {
        let refused = |detail| IssuerError::refused("invalid_token", detail);
        let token = authorization
            .and_then(|header| header.strip_prefix("DPoP ").or(header.strip_prefix("dpop ")))
            .ok_or_else(|| refused("this needs an access token: Authorization: DPoP …"))?;
        let proof = self.dpop(proof, dpop::Request { method, uri, access_token: Some(token) })?;
        let id = self.inner.grants.tokens.read(token, &proof.jkt, self.now());
        let id = id.ok_or_else(|| refused("the token is out of date, or of another key"))?;
        let grant = self.inner.store.grant(GrantBy::Id(&hex::encode(id)))?;
        grant
            .filter(|grant| grant.subject.is_some() && !grant.revoked)
            .ok_or_else(|| refused("this device was revoked: ask the desk for a new offer"))
    }

    /// Revokes a person's devices and all their credentials in one act: a lost card, a lost phone, or the end of a programme. Gives how
    /// many credentials that were.
    ///
    /// # Errors
    /// When the database can't be written: nothing is revoked then.
    pub fn revoke_person(&self, subject: &str) -> Result<usize, IssuerError> {
        self.change_statuses(|store| store.revoke_subject(subject))
    }

    fn dpop(&self, proof: Option<&str>, request: dpop::Request<'_>) -> Result<Proof, IssuerError> {
        let refused = |error: MessageError| IssuerError::refused("invalid_dpop_proof", error);
        let missing = MessageError { what: "the request", why: "it needs a DPoP proof in the header DPoP" };
        let proof = dpop::verify(proof.ok_or(missing).map_err(refused)?, request, self.now()).map_err(refused)?;
        if !self.inner.grants.proofs.insert((proof.jkt.clone(), proof.jti.clone()), (), self.now())? {
            return Err(IssuerError::refused("invalid_dpop_proof", "this DPoP proof was used already: make a new one"));
        }
        Ok(proof)
    }

    /// An access token: the grant's id and when it ends, bound to the key's thumbprint.
    fn access_token(&self, grant: &Grant) -> String {
        let mut id = [0; 16];
        hex::decode_to_slice(&grant.id, &mut id).expect("ids are made here");
        self.inner.grants.tokens.make(id, self.now() + ACCESS_SECONDS, &grant.jkt)
    }
}

fn given<'a>(value: &'a Option<String>, name: &str) -> Result<&'a str, IssuerError> {
    let value = value.as_deref().filter(|value| (1..=CODE_MAX_LEN).contains(&value.len()));
    value.ok_or_else(|| IssuerError::refused("invalid_request", format!("{name} is missing or too long")))
}

fn unusable() -> IssuerError {
    IssuerError::refused("invalid_grant", "this code or token is unknown, was used already, or is of another device")
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}
