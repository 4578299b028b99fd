//! The gateway's side: its key, requests opened with it, answers sealed.

use ohttp::hpke::{Aead, Kdf, Kem};
use ohttp::{KeyConfig, Server, ServerResponse, SymmetricSuite};
use sha2::{Digest, Sha256};

use crate::{Error, REQUEST_MAX_LEN, Request, Response};

/// What a request may be sealed with, the preferred first.
pub(crate) const SUITES: [SymmetricSuite; 2] = [
    SymmetricSuite::new(Kdf::HkdfSha256, Aead::Aes128Gcm),
    SymmetricSuite::new(Kdf::HkdfSha256, Aead::ChaCha20Poly1305),
];

/// A gateway's key (DHKEM of X25519, HKDF-SHA256), wiped when it goes.
pub struct GatewayKey {
    server: Server,
    configuration: Vec<u8>,
}

/// A request that was opened. What it says may be no request: that is told in a sealed answer (RFC 9458 section 5.2).
pub struct Opened {
    /// The request, or why it is none.
    pub request: Result<Request, Error>,
    /// What seals the answer.
    pub reply: Reply,
}

/// What seals the answer to one request.
pub struct Reply(ServerResponse);

impl GatewayKey {
    /// The key that comes from 32 secret bytes (RFC 9180 section 7.1.3): the same from the same.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        const KNOWN: &str = "32 bytes make a key, and the algorithms are known";
        let derive = |id| KeyConfig::derive(id, Kem::X25519Sha256, SUITES.to_vec(), secret).expect(KNOWN);
        // Drawn from the public key, so that a request for a key that was replaced is told from one that was damaged.
        let id = Sha256::digest(derive(0).encode().expect(KNOWN))[0];
        let config = derive(id);
        let configuration = KeyConfig::encode_list(std::slice::from_ref(&config)).expect(KNOWN);
        GatewayKey { server: Server::new(config).expect(KNOWN), configuration }
    }

    /// What clients are given (`application/ohttp-keys`, RFC 9458 section 3).
    pub fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    /// Opens a request (section 4.3).
    ///
    /// # Errors
    /// [`Error::Capsule`] when it is too short or longer than [`REQUEST_MAX_LEN`]; [`Error::Key`] when it was made for another key.
    pub fn open(&self, sealed: &[u8]) -> Result<Opened, Error> {
        if sealed.len() > REQUEST_MAX_LEN {
            return Err(Error::Capsule);
        }
        let (request, reply) = self.server.decapsulate(sealed).map_err(|error| match error {
            ohttp::Error::Truncated | ohttp::Error::Io(_) => Error::Capsule,
            _ => Error::Key,
        })?;
        Ok(Opened { request: Request::from_bytes(&request), reply: Reply(reply) })
    }
}

impl Reply {
    /// Seals the answer (section 4.4).
    ///
    /// # Errors
    /// [`Error::Message`] for a status that ends no exchange.
    pub fn seal(self, answer: &Response) -> Result<Vec<u8>, Error> {
        self.0.encapsulate(&answer.to_bytes()?).map_err(|_| Error::Message)
    }
}
