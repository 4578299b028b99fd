//! An issuer in a fresh folder, whose people are all alike, and holders who get batches from it without a network between.

use std::sync::Arc;

use anyhow::{Context, Result};
use credential::attributes::Attributes;
use credential::issuer::CONFIGURATIONS;
use credential::store::Grant;
use credential::{Announcement, Clock, Credentials, OfferError, People, PublicRecord};
use es256::SigningKey;
use openid4vc::credential::{CredentialRequest, Proofs};
use openid4vc::dpop;
use openid4vc::proof;
use openid4vc::token::{PRE_AUTHORIZED_CODE, TokenRequest};

/// The issuer's address, which nobody connects to.
pub const ISSUER: &str = "https://issuer.example";

struct Stub;

impl People for Stub {
    fn check_offer(&self, _: &str, _: Option<&str>) -> Result<(), OfferError> {
        Ok(())
    }

    fn take_offer(&self, code: &str, _: Option<&str>, _: &str) -> Result<String, OfferError> {
        Ok(code.to_owned())
    }

    fn attributes(&self, subject: &str) -> Result<Attributes, String> {
        Ok(person(subject))
    }
}

/// A person.
pub fn person(subject: &str) -> Attributes {
    Attributes {
        given_name: "Adaline".into(),
        family_name: format!("Testperson {subject}"),
        birth_date: jiff::civil::date(1950, 1, 1),
        document_number: subject.to_owned(),
    }
}

impl PublicRecord for Stub {
    fn announce(&self, _: &Announcement) -> Result<u64, String> {
        Ok(0)
    }
}

/// The time of this machine.
pub struct Now;

impl Clock for Now {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

/// Unix time.
pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

/// An issuer in a folder that vanishes with it.
pub struct World {
    /// The issuer.
    pub credentials: Credentials,
    _folder: tempfile::TempDir,
}

/// A credential and its key.
pub struct Held {
    /// `IssuerSigned` in base64url, or an SD-JWT VC.
    pub credential: String,
    /// The key.
    pub key: SigningKey,
}

impl World {
    /// A fresh one.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let credentials = Credentials::open(folder.path(), Arc::new(Stub), Arc::new(Stub), Arc::new(Now))?;
        Ok(World { credentials, _folder: folder })
    }

    /// A device's grant for a person.
    pub fn grant(&self, person: &str) -> Result<Grant> {
        let (key, uri) = (SigningKey::generate()?, format!("{ISSUER}/token"));
        let id = || hex::encode(rand::random::<[u8; 8]>());
        let request = dpop::Request { method: "POST", uri: &uri, access_token: None };
        let proof = dpop::prove(&key, request, now(), id(), None)?;
        let asked = TokenRequest {
            grant_type: PRE_AUTHORIZED_CODE.into(),
            pre_authorized_code: Some(person.to_owned()),
            ..TokenRequest::default()
        };
        let token = self.credentials.token(&asked, Some(&proof), &uri)?.access_token;
        let uri = format!("{ISSUER}/credential");
        let request = dpop::Request { method: "POST", uri: &uri, access_token: Some(&token) };
        let proof = dpop::prove(&key, request, now(), id(), None)?;
        Ok(self.credentials.authorize(Some(&format!("DPoP {token}")), Some(&proof), "POST", &uri)?)
    }

    /// A request for a batch, and its keys.
    pub fn request(&self, format: &str, count: usize) -> Result<(CredentialRequest, Vec<SigningKey>)> {
        let (id, _) = CONFIGURATIONS.into_iter().find(|(_, of)| *of == format).context("a format of ours")?;
        let keys = (0..count).map(|_| SigningKey::generate()).collect::<Result<Vec<_>, _>>()?;
        let nonce = self.credentials.nonce();
        let jwt = keys.iter().map(|key| proof::prove(key, ISSUER, &nonce, now())).collect::<Result<_, _>>()?;
        let request = CredentialRequest {
            credential_configuration_id: Some(id.to_owned()),
            credential_identifier: None,
            proofs: Proofs { jwt, attestation: Vec::new() },
        };
        Ok((request, keys))
    }

    /// A batch.
    pub fn batch(&self, grant: &Grant, format: &str, count: usize) -> Result<Vec<Held>> {
        let (request, keys) = self.request(format, count)?;
        let issued = self.credentials.issue(grant, &request, ISSUER)?.credentials;
        Ok(keys.into_iter().zip(issued).map(|(key, issued)| Held { credential: issued.credential, key }).collect())
    }
}
