//! Showing a credential (OpenID4VP 1.0): first the holder sees who asks, for what purpose, for which attributes and how long they are
//! kept; nothing leaves before the holder says yes.
//!
//! Refused before anybody is asked: a verifier that is not in the register, is suspended, or asks for more than it registered.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use mdoc::certificate::{Certified, Usage, key_of_chain, verify_chain};
use mdoc::present::{DeviceKey, Presented, present};
use mdoc::transcript::{Handover, SessionTranscript};
use openid4vc::dcql::{ClaimQuery, CredentialQuery, PREDICATE, Query};
use openid4vc::registration::{Localised, Registration};
use openid4vc::request::{RequestLink, RequestObject, WalletPost};
use openid4vc::response::{self, Answer, Refusal, Reply};
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use rand::RngExt;
use serde_json::Value;
use statuslist::{Reference, Status};

use crate::credentials::RootOf;
use crate::http::{self, Body};
use crate::state::Showing;
use crate::{Wallet, WalletError, unix_now};

/// What a verifier asks, as the holder is to see it. Nothing has left the wallet yet but the fact that somebody looks.
pub struct Asking {
    request: RequestObject,
    /// Who asks, and what it is registered for.
    pub registration: Registration,
    /// What would be shown, in the order of the query.
    pub chosen: Vec<Chosen>,
}

/// A credential that would be shown, and what of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The query's id.
    pub id: String,
    /// The format.
    pub format: String,
    /// The attributes: their paths. Of an anonymous predicate, its name.
    pub claims: Vec<Vec<Value>>,
}

impl Chosen {
    /// Whether nobody can tell from it who shows it.
    pub fn is_anonymous(&self) -> bool {
        self.format == PREDICATE
    }
}

impl Asking {
    /// What it is asked for, in a language if it is told in it.
    pub fn purpose(&self, language: &str) -> &str {
        let told = &self.registration.purpose;
        let found = told.iter().find(|text| text.lang.starts_with(language)).or(told.first());
        found.map_or("", |text: &Localised| text.value.as_str())
    }

    /// The names of the attributes that would be shown.
    pub fn attributes(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.chosen.iter().flat_map(|chosen| &chosen.claims).filter_map(|path| path.last()?.as_str()).collect();
        names.dedup();
        names
    }
}

impl Wallet {
    /// Fetches a verifier's request and holds it against the register.
    ///
    /// # Errors
    /// When the verifier is not registered, is suspended, or asks for more than it registered; when this wallet has nothing that
    /// answers, or the register can't be asked.
    pub fn look_at_request(&mut self, link: &str) -> Result<Asking, WalletError> {
        let refused = |detail: String| WalletError::Presentation { detail };
        let link = RequestLink::parse(link)?;
        let wallet_nonce = URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 16]>());
        let text = if link.post {
            let accept = [("Accept", "application/oauth-authz-req+jwt".to_owned())];
            let formats = [MSO_MDOC, SD_JWT_VC, PREDICATE].map(str::to_owned).into();
            let post = WalletPost { wallet_nonce: Some(wallet_nonce.clone()), formats };
            http::send(&link.request_uri, Body::Form(&post.to_form()), &accept)?
        } else {
            http::get_bytes(&link.request_uri)?
        };
        let text = String::from_utf8(text).map_err(|_| refused("the verifier's request is no text".into()))?;
        let (root, now) = (self.root(RootOf::Register)?, Timestamp::now());
        let certified = |chain: &[Vec<u8>]| verify_chain(chain.first()?, &[&root], Usage::Reader, now).ok();
        let mut asker: Option<Certified> = None;
        let trusted = |chain: &[Vec<u8>]| {
            asker = certified(chain);
            asker.as_ref().map(|asker| asker.key)
        };
        let request = RequestObject::verify(&text, &link.client_id, trusted, unix_now())?;
        if link.post && request.wallet_nonce.as_ref() != Some(&wallet_nonce) {
            return Err(refused("the verifier's request was made for another wallet".into()));
        }
        let registration =
            request.registration().ok_or_else(|| refused("whoever asks shows no registration".into()))?;
        let registrar = |chain: &[Vec<u8>]| certified(chain).map(|registrar| registrar.key);
        let registration = Registration::verify(registration, registrar, unix_now())?;
        // Otherwise one relying party could ask under another's registration.
        if asker.and_then(|asker| asker.organization).as_ref() != Some(&registration.sub) {
            return Err(refused("whoever asks shows the registration of another".into()));
        }
        let query = request.query()?;
        registration.allows(&query).map_err(|over_asking| refused(over_asking.to_string()))?;
        self.check_not_suspended(&registration)?;
        let chosen = self.choose(&query)?;
        Ok(Asking { request, registration, chosen })
    }

    /// Shows what was chosen, after the holder's yes. Gives the address where the holder goes on, if there is one.
    ///
    /// # Errors
    /// When the verifier does not accept it or can't be reached. The credential counts as shown all the same.
    pub fn show(&mut self, asking: &Asking) -> Result<Option<String>, WalletError> {
        let mut answer = Answer { vp_token: Default::default(), state: asking.request.state.clone() };
        for chosen in &asking.chosen {
            if let (PREDICATE, [path]) = (chosen.format.as_str(), chosen.claims.as_slice()) {
                let predicate = path.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                let presentation = self.show_token(&predicate, &asking.request)?;
                answer.vp_token.insert(chosen.id.clone(), vec![presentation]);
                continue;
            }
            let held = self.take_credential(&chosen.format)?;
            let key = held.key()?;
            let presentation = match chosen.format.as_str() {
                MSO_MDOC => {
                    let jwk = asking.request.encryption_key()?;
                    let transcript = SessionTranscript::new(&Handover::OpenId4Vp {
                        client_id: &asking.request.client_id,
                        nonce: &asking.request.nonce,
                        jwk_thumbprint: Some(&jwk.thumbprint()),
                        response_uri: &asking.request.response_uri,
                    });
                    let issuer_signed =
                        URL_SAFE_NO_PAD.decode(&held.credential).map_err(|_| mdoc::MdocError::Malformed)?;
                    let elements: Vec<(&str, &str)> = chosen
                        .claims
                        .iter()
                        .filter_map(|path| Some((path.first()?.as_str()?, path.get(1)?.as_str()?)))
                        .collect();
                    let device = DeviceKey::Signature(&key);
                    let presented = Presented { issuer_signed: &issuer_signed, elements: &elements, device };
                    URL_SAFE_NO_PAD.encode(present(&[presented], &transcript)?)
                }
                _ => {
                    let path = |path: &Vec<Value>| serde_json::from_value(Value::Array(path.clone())).ok();
                    let paths: Vec<sdjwt::ClaimPath> = chosen.claims.iter().filter_map(path).collect();
                    let request = &asking.request;
                    let binding = sdjwt::KeyBinding {
                        aud: &request.client_id,
                        nonce: &request.nonce,
                        iat: unix_now(),
                        key: &key,
                    };
                    sdjwt::SdJwt::parse(&held.credential)?.present(&paths, Some(binding))?
                }
            };
            answer.vp_token.insert(chosen.id.clone(), vec![presentation]);
        }
        // Written down before it leaves: a history that lacks a showing would be worth nothing.
        self.state.showings.push(Showing {
            at: unix_now(),
            to: asking.registration.name.clone(),
            purpose: asking.purpose("en").to_owned(),
            attributes: asking.attributes().iter().map(|name| (*name).to_owned()).collect(),
        });
        self.save()?;
        let form = response::to_form(&answer, &asking.request)?;
        let reply = http::send(&asking.request.response_uri, Body::Form(&form), &[])?;
        let reply: Reply = http::parse(&asking.request.response_uri, &reply)?;
        Ok(reply.redirect_uri)
    }

    /// Tells the verifier that the holder said no, and nothing else.
    ///
    /// # Errors
    /// When the verifier can't be reached.
    pub fn decline(&self, asking: &Asking) -> Result<(), WalletError> {
        let refusal = Refusal { error: "access_denied".into(), state: asking.request.state.clone() };
        let form = response::to_form(&refusal, &asking.request)?;
        match http::send(&asking.request.response_uri, Body::Form(&form), &[]) {
            // A refusal is no answer that is accepted.
            Ok(_) | Err(http::HttpError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What was shown, oldest first. Kept on this device only.
    pub fn showings(&self) -> &[Showing] {
        &self.state.showings
    }

    fn choose(&mut self, query: &Query) -> Result<Vec<Chosen>, WalletError> {
        let held = self.credentials()?;
        let (batches, tokens) = (&held.batches, &held.predicates);
        let now = unix_now();
        let has = |credential: &CredentialQuery, claim: Option<&ClaimQuery>| {
            if credential.format == PREDICATE {
                return credential.meta.predicate.as_ref().is_some_and(|name| Wallet::has_token(tokens, name));
            }
            let is_kind = |kind: &String| match credential.format.as_str() {
                MSO_MDOC => credential.meta.doctype_value.as_ref() == Some(kind),
                SD_JWT_VC => credential.meta.vct_values.iter().flatten().any(|vct| vct == kind),
                _ => false,
            };
            let batch = batches
                .iter()
                .find(|batch| batch.format == credential.format && is_kind(&batch.kind) && now < batch.expires_at);
            let Some(batch) = batch else { return false };
            claim.is_none_or(|claim| {
                batch.claims.iter().any(|(path, value)| *path == claim.path && claim.accepts(value))
            })
        };
        let chosen = query.choose(has).ok_or_else(|| WalletError::Presentation {
            detail: "this wallet has no credential that answers what is asked".into(),
        })?;
        let chosen = chosen.into_iter().map(|choice| Chosen {
            id: choice.credential.id.clone(),
            format: choice.credential.format.clone(),
            claims: match &choice.credential.meta.predicate {
                Some(name) if choice.credential.format == PREDICATE => vec![vec![Value::from(name.as_str())]],
                _ => choice.claims.iter().map(|claim| claim.path.clone()).collect(),
            },
        });
        Ok(chosen.collect())
    }

    /// Looks the relying party up in the register's list: the whole list is fetched.
    fn check_not_suspended(&mut self, registration: &Registration) -> Result<(), WalletError> {
        let refused = |detail: &str| WalletError::Presentation { detail: detail.to_owned() };
        let place: Reference = serde_json::from_value(registration.status.clone())
            .map_err(|_| refused("the registration does not say where its status is told"))?;
        let (root, now) = (self.root(RootOf::Issuer)?, Timestamp::now());
        let list = self.way().get_as(&place.uri, "application/statuslist+jwt")?;
        let list = String::from_utf8(list).map_err(|_| refused("the register's list is no text"))?;
        let signer = |chain: &[Vec<u8>]| key_of_chain(chain, &[&root], Usage::DocumentSigner, now);
        let list = statuslist::verify_jwt(&list, &place.uri, signer, unix_now())
            .map_err(|error| WalletError::Presentation { detail: error.to_string() })?;
        if list.status(&place) == Ok(Status::Valid) {
            Ok(())
        } else {
            Err(refused("whoever asks is suspended: it may not ask anybody for anything"))
        }
    }
}

#[cfg(test)]
mod tests;
