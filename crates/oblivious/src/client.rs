//! The client's side: a gateway's key configuration, and requests that are sealed for it.

use ohttp::{ClientRequest, ClientResponse, KeyConfig};
use sha2::{Digest, Sha256};

use crate::gateway::SUITES;
use crate::{Error, KEYS_MAX_LEN, Request, Response};

/// A gateway's key, as clients are given it (RFC 9458 section 3).
///
/// Whoever is given a key that nobody else has is known by it (section 7), so it has to be the same for everybody: [`digest`] is what two
/// people, or a public log, compare.
#[derive(Clone)]
pub struct KeyConfiguration(KeyConfig);

/// SHA-256 of key configurations as they are served (`application/ohttp-keys`): what a public log names.
pub fn digest(configurations: &[u8]) -> [u8; 32] {
    Sha256::digest(configurations).into()
}

impl KeyConfiguration {
    /// Takes the first configuration that can be used from a list (`application/ohttp-keys`).
    ///
    /// # Errors
    /// [`Error::Configuration`] when the list is damaged or too long, or there is none in it.
    pub fn from_bytes(configurations: &[u8]) -> Result<Self, Error> {
        if configurations.len() > KEYS_MAX_LEN {
            return Err(Error::Configuration);
        }
        let list = KeyConfig::decode_list(configurations).map_err(|_| Error::Configuration)?;
        // A configuration whose algorithms are all unknown comes without any, and can't be sealed for.
        let usable = |config: &KeyConfig| SUITES.iter().any(|suite| config.select(*suite).is_ok());
        list.into_iter().find(usable).map(KeyConfiguration).ok_or(Error::Configuration)
    }

    /// Seals a request (section 4.3), each with a fresh key of the client's. Gives what is sent, and what opens the answer.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the key is no point that can be agreed with.
    pub fn seal(&self, request: &Request) -> Result<(Vec<u8>, Waiting), Error> {
        let client = ClientRequest::from_config(&mut self.0.clone()).map_err(|_| Error::Configuration)?;
        let (sealed, answer) = client.encapsulate(&request.to_bytes()).map_err(|_| Error::Configuration)?;
        Ok((sealed, Waiting(answer)))
    }
}

/// What opens the answer to one request.
pub struct Waiting(ClientResponse);

impl Waiting {
    /// Opens the answer (section 4.4).
    ///
    /// # Errors
    /// [`Error::Key`] when it was not made by the gateway for this request; [`Error::Message`] when something else was.
    pub fn open(self, sealed: &[u8]) -> Result<Response, Error> {
        let opened = self.0.decapsulate(sealed).map_err(|_| Error::Key)?;
        Response::from_bytes(&opened)
    }
}
