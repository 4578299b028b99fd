//! Anonymous predicates: tokens that say one thing ("over 60, this month") and nothing of whom.
//!
//! An issuer could show one person a key of their own and know their tokens by it. So a key is taken only when the public log has it,
//! proven against a checkpoint that continues the last one seen, for this predicate and month; and when no other key was seen for
//! them before. What a key signed is verified before it is kept.
//!
//! A token is destroyed before it is shown, so that it is shown once. As with credentials, a whole batch is replaced at a time that is drawn
//! by lot when it comes, with as many tokens as before: the issuer does not learn from it how many were shown.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use es256::{Signer, SigningKey};
use jiff::Timestamp;
use openid4vc::request::RequestObject;
use privacypass::batch;
use privacypass::challenge::TokenChallenge;
use privacypass::client::Blinding;
use privacypass::directory::{Announced, Directory};
use privacypass::keys::PublicKey;
use privacypass::messages::Token;
use privacypass::predicate::Period;
use privacypass::showing::{Showing, VerifierChallenge};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tlog::entry::Entry;

use crate::credentials::{REFILL_AFTER, REFILL_WHEN_OUT};
use crate::http::HttpError;
use crate::log_view::HttpTiles;
use crate::{Wallet, WalletError, unix_now};

/// Tokens of a predicate that a wallet fetches by default.
pub const TOKENS: usize = 10;
/// The status with which an issuer refuses somebody of whom a predicate is not true.
const NOT_ELIGIBLE: u16 = 403;

/// Tokens of a predicate.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TokenBatch {
    /// The predicate.
    pub predicate: String,
    /// The month of the key.
    pub period: String,
    /// How many came.
    pub fetched: usize,
    /// Unix time, drawn by lot.
    pub refill_at: u64,
    /// Those that were not shown.
    pub tokens: Vec<HeldToken>,
}

/// A token, and the key that it belongs to.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct HeldToken {
    /// The token, base64url.
    pub token: String,
    /// The key's secret number, base64url.
    pub key: String,
}

/// A key that the log has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownKey {
    /// The predicate.
    pub predicate: String,
    /// The month.
    pub period: String,
    /// SHA-256 of the published key, hex.
    pub id: String,
}

/// What a wallet tells of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSummary {
    /// The predicate.
    pub predicate: String,
    /// The month of the key; relying parties take tokens of the last month, too.
    pub period: String,
    /// Tokens that were not shown yet.
    pub tokens: usize,
}

impl From<privacypass::Error> for WalletError {
    fn from(error: privacypass::Error) -> Self {
        WalletError::Predicate { detail: error.to_string() }
    }
}

/// This month.
fn month() -> Period {
    Period::at(Timestamp::now())
}

impl Wallet {
    /// Fetches tokens of a predicate for this month, in place of those that are left. `false`, and nothing asked, where a credential in this
    /// wallet says that it is not true of the holder; `false` also where the issuer says so.
    ///
    /// # Errors
    /// [`WalletError::PredicateKeyNotInLog`]; when issuer or log can't be reached, or the issuer refuses: what the wallet has stands.
    pub fn fetch_predicate(&mut self, predicate: &str, count: usize) -> Result<bool, WalletError> {
        let directory = self.predicate_directory()?;
        self.fetch_from(&directory, predicate, count)
    }

    /// Fetches tokens of each predicate that is true of the holder. Gives the names of those.
    ///
    /// # Errors
    /// As [`Wallet::fetch_predicate`].
    pub fn fetch_predicates(&mut self, count: usize) -> Result<Vec<String>, WalletError> {
        let directory = self.predicate_directory()?;
        let now = month();
        let says = directory.token_keys.iter().filter_map(|key| key.announced.as_ref());
        let names: Vec<String> =
            says.filter(|says| says.period == now).map(|says| says.predicate.to_string()).collect();
        let mut fetched = Vec::new();
        for name in names {
            if self.fetch_from(&directory, &name, count)? {
                fetched.push(name);
            }
        }
        Ok(fetched)
    }

    /// Replaces the tokens whose time has come. A wallet calls this now and then, whatever was shown.
    ///
    /// # Errors
    /// As [`Wallet::fetch_predicate`]; the old tokens stand.
    pub fn refill_predicates(&mut self, now: u64) -> Result<usize, WalletError> {
        let due: Vec<(String, usize)> = {
            let due = |batch: &&TokenBatch| batch.refill_at <= now;
            self.credentials()?
                .predicates
                .iter()
                .filter(due)
                .map(|batch| (batch.predicate.clone(), batch.fetched))
                .collect()
        };
        for (predicate, count) in &due {
            self.fetch_predicate(predicate, *count)?;
        }
        Ok(due.len())
    }

    /// The tokens in this wallet.
    ///
    /// # Errors
    /// When the file of credentials is damaged.
    pub fn predicate_tokens(&mut self) -> Result<Vec<TokenSummary>, WalletError> {
        let summary = |batch: &TokenBatch| TokenSummary {
            predicate: batch.predicate.clone(),
            period: batch.period.clone(),
            tokens: batch.tokens.len(),
        };
        Ok(self.credentials()?.predicates.iter().map(summary).collect())
    }

    fn predicate_directory(&self) -> Result<Directory, WalletError> {
        let url = format!("{}/predicates", self.issuer()?.url);
        Ok(Directory::from_json(&self.way().get_bytes(&url)?)?)
    }

    fn fetch_from(&mut self, directory: &Directory, predicate: &str, count: usize) -> Result<bool, WalletError> {
        if self.attests(predicate)? == Some(false) {
            return Ok(false);
        }
        let now = month();
        let is_key = |says: &Announced| says.predicate.as_str() == predicate && says.period == now;
        let mut shown = directory.token_keys.iter().filter(|key| key.announced.as_ref().is_some_and(is_key));
        let missing = WalletError::Predicate { detail: format!("the issuer has no key for {predicate} in {now}") };
        let key = shown.next().ok_or(missing)?;
        let says =
            key.announced.as_ref().filter(|_| shown.next().is_none()).ok_or(WalletError::PredicateKeyNotInLog)?;
        self.check_key(&key.public_key, says)?;

        let issuer = self.issuer()?.url.clone();
        let challenge = TokenChallenge::of_issuer(&issuer)?;
        let begin = |_| {
            let holder = SigningKey::generate()?;
            let blinding = Blinding::new(&key.public_key, &challenge, holder.public_key(), &mut rand::rng())?;
            Ok((holder, blinding))
        };
        let begun = (0..count.clamp(1, batch::BATCH_MAX)).map(begin).collect::<Result<Vec<_>, WalletError>>()?;
        let requests: Vec<_> = begun.iter().map(|(_, blinding)| blinding.request()).collect();
        let url = format!("{issuer}/predicates/{predicate}/{now}");
        let answer: Vec<String> = match self.ask_as_holder(&url, &batch::write_requests(&requests)) {
            Err(WalletError::Http(HttpError::Refused { status: NOT_ELIGIBLE, .. })) => return Ok(false),
            answer => answer?,
        };
        let responses = batch::read_responses(&answer, requests.len())?;
        let finish = |((holder, blinding), response): (&(SigningKey, Blinding), _)| {
            // Verified against the key in the log: another key's signature is no token.
            let token = blinding.finish(&key.public_key, response)?;
            let key = URL_SAFE_NO_PAD.encode(&*holder.secret()?);
            Ok(HeldToken { token: URL_SAFE_NO_PAD.encode(token.to_bytes()), key })
        };
        let tokens = begun.iter().zip(&responses).map(finish).collect::<Result<Vec<_>, WalletError>>()?;
        let refill_at = unix_now() + rand::rng().random_range(REFILL_AFTER);
        let new = TokenBatch {
            predicate: predicate.into(),
            period: now.to_string(),
            fetched: tokens.len(),
            refill_at,
            tokens,
        };
        let held = self.credentials()?;
        held.predicates.retain(|old| old.predicate != predicate);
        held.predicates.push(new);
        self.save_credentials()?;
        Ok(true)
    }

    /// What a credential in this wallet says of a predicate, if it says something.
    fn attests(&mut self, predicate: &str) -> Result<Option<bool>, WalletError> {
        let is_named = |path: &[Value]| path.last().and_then(Value::as_str) == Some(predicate);
        let mut claims = self.credentials()?.batches.iter().flat_map(|batch| &batch.claims);
        Ok(claims.find(|(path, _)| is_named(path)).and_then(|(_, value)| value.as_bool()))
    }

    /// Holds a key against the log, and against the key that was seen before.
    fn check_key(&mut self, key: &PublicKey, says: &Announced) -> Result<(), WalletError> {
        let known = KnownKey {
            predicate: says.predicate.to_string(),
            period: says.period.to_string(),
            id: hex::encode(key.id().0),
        };
        let same = |other: &&KnownKey| other.predicate == known.predicate && other.period == known.period;
        match self.credentials()?.predicate_keys.iter().find(same) {
            Some(seen) if *seen == known => return Ok(()),
            Some(_) => return Err(WalletError::PredicateKeyNotInLog),
            None => {}
        }
        let source = HttpTiles::of(&self.state.services);
        let entry = self.logged_entry(&source, says.log_index)?.ok_or(WalletError::PredicateKeyNotInLog)?;
        let is_entry = matches!(
            &entry,
            Entry::PredicateKey { predicate, period, spki_sha256, .. }
                if *predicate == known.predicate && *period == known.period && *spki_sha256 == known.id
        );
        if !is_entry {
            return Err(WalletError::PredicateKeyNotInLog);
        }
        self.save()?;
        let last = month().previous();
        let held = self.credentials()?;
        held.predicate_keys.retain(|key| key.period.parse().is_ok_and(|period: Period| period >= last));
        held.predicate_keys.push(known);
        self.save_credentials()
    }

    /// Whether there is a token that relying parties take now.
    pub(crate) fn has_token(batches: &[TokenBatch], predicate: &str) -> bool {
        batches.iter().any(|batch| batch.predicate == predicate && batch.is_taken(month()) && !batch.tokens.is_empty())
    }

    /// Takes a token out of the wallet, for ever, and shows it to whoever asks.
    pub(crate) fn show_token(&mut self, predicate: &str, request: &RequestObject) -> Result<String, WalletError> {
        let (soon, now) = (unix_now() + rand::rng().random_range(REFILL_WHEN_OUT), month());
        let missing = || WalletError::Predicate { detail: format!("there is no token for {predicate} any more") };
        let held = self.credentials()?;
        let batch = held.predicates.iter_mut().find(|batch| batch.predicate == predicate && batch.is_taken(now));
        let batch = batch.ok_or_else(missing)?;
        let taken = batch.tokens.pop().ok_or_else(missing)?;
        if batch.tokens.is_empty() {
            batch.refill_at = batch.refill_at.min(soon);
        }
        self.save_credentials()?;
        let damaged = |_| WalletError::Predicate { detail: "a token in the wallet is damaged".into() };
        let token = Token::from_bytes(&URL_SAFE_NO_PAD.decode(&taken.token).map_err(damaged)?)?;
        let secret = zeroize::Zeroizing::new(URL_SAFE_NO_PAD.decode(&taken.key).map_err(damaged)?);
        let holder = SigningKey::from_secret(&secret)?;
        let challenge = VerifierChallenge::new(&request.client_id, &request.nonce, &request.response_uri);
        Ok(URL_SAFE_NO_PAD.encode(Showing::new(&token, &holder, &challenge)?.to_bytes()))
    }
}

impl TokenBatch {
    /// Whether relying parties take its tokens: those of this month and of the last.
    fn is_taken(&self, now: Period) -> bool {
        self.period.parse().is_ok_and(|period: Period| period.is_taken_in(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Services;
    use privacypass::issuer::IssuerKey;
    use privacypass::showing::verify_showing;
    use serde_json::json;

    fn request() -> RequestObject {
        serde_json::from_value(json!({
            "response_type": "vp_token", "response_mode": "direct_post.jwt", "client_id": "x509_hash:clinic",
            "response_uri": "https://clinic.example/answers/1", "nonce": "0123456789abcdef", "aud": "a", "dcql_query": {},
            "client_metadata": {"jwks": {"keys": []}}, "iat": 1,
        }))
        .unwrap()
    }

    fn held(issuer: &IssuerKey, challenge: &TokenChallenge) -> HeldToken {
        let holder = SigningKey::generate().unwrap();
        let blinding = Blinding::new(issuer.public_key(), challenge, holder.public_key(), &mut rand::rng()).unwrap();
        let response = issuer.issue(&blinding.request()).unwrap();
        let token = blinding.finish(issuer.public_key(), &response).unwrap();
        let key = URL_SAFE_NO_PAD.encode(&*holder.secret().unwrap());
        HeldToken { token: URL_SAFE_NO_PAD.encode(token.to_bytes()), key }
    }

    #[test]
    fn a_token_is_gone_from_the_file_when_it_is_shown_and_old_ones_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let services = Services {
            mint: String::new(),
            log: String::new(),
            log_vkey: String::new(),
            witnesses: Vec::new(),
            quorum: 0,
            registry: None,
            issuer: None,
            relay: None,
        };
        let mut wallet = Wallet::create(&folder.path().join("wallet.json"), services).unwrap();
        let (issuer, challenge) = (IssuerKey::generate().unwrap(), TokenChallenge::shared("issuer.example").unwrap());
        let batch = |predicate: &str, period: Period| TokenBatch {
            predicate: predicate.into(),
            period: period.to_string(),
            fetched: 1,
            refill_at: u64::MAX,
            tokens: vec![held(&issuer, &challenge)],
        };
        let (old, last) = (month().previous().previous(), month().previous());
        let batches = vec![batch("age_over_18", old), batch("age_over_60", last)];
        assert!(Wallet::has_token(&batches, "age_over_60") && !Wallet::has_token(&batches, "age_over_18"));
        wallet.credentials().unwrap().predicates = batches;
        wallet.save_credentials().unwrap();

        let shown = wallet.show_token("age_over_60", &request()).unwrap();
        let file = std::fs::read_to_string(folder.path().join("wallet.credentials")).unwrap();
        let file: crate::credentials::Credentials = serde_json::from_str(&file).unwrap();
        assert_eq!(file.predicates.iter().map(|batch| batch.tokens.len()).collect::<Vec<_>>(), [1, 0]);
        let soon = unix_now() + REFILL_WHEN_OUT.end;
        assert!(file.predicates[1].refill_at <= soon, "a new batch comes within a day");
        let showing = Showing::from_bytes(&URL_SAFE_NO_PAD.decode(shown).unwrap()).unwrap();
        let asked = VerifierChallenge::new("x509_hash:clinic", "0123456789abcdef", "https://clinic.example/answers/1");
        assert!(verify_showing(&showing, issuer.public_key(), &challenge.digest(), &asked).is_ok());
        assert!(wallet.show_token("age_over_60", &request()).is_err(), "there is no other");
        assert!(wallet.show_token("age_over_18", &request()).is_err(), "its month is over");
    }
}
