//! The mint's seed in a PKCS#11 token.
//!
//! What a token can do here, and what it can't. A blind signature (NUT-00) is `k·B_` with both coordinates, and its proof (NUT-12) is
//! `s = r + e·k`: no PKCS#11 mechanism computes either (ECDH gives one coordinate or its hash, ECDSA another equation). So the keys
//! of the keysets must be in the mint's memory, and the token keeps what they come from: the seed is a secret in it that never
//! leaves it, and every key is an HMAC-SHA256 (`CKM_SHA256_HMAC`) that it computes. Who takes the disk, a backup, or the memory as it
//! was in one quarter has no key of a later one.
//!
//! What it does not protect against: somebody in the running mint's memory has the keys of every keyset that the mint works with,
//! and the key of the rows' MACs; somebody who is the mint (its user, with the PIN's file and the token plugged in) can have the
//! token derive any key. A token can't be copied: who loses it loses the seed, unless the token was backed up in its own way.
//!
//! The token is asked at start and when a keyset is made. In between nothing is held open: no session, no PIN in memory, so that a
//! token may be away and come back, and is needed again once a quarter.

use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use storage::token::{Access, Token, TokenError};
use storage::token_uri::TokenUri;
use zeroize::Zeroizing;

use crate::MintError;

/// Bytes of a seed.
const SEED_LEN: usize = 32;

/// A secret in a token, that computes HMAC-SHA256.
pub(crate) struct TokenKey {
    token: Token,
}

impl From<TokenError> for MintError {
    fn from(error: TokenError) -> Self {
        MintError::Key(error.to_string())
    }
}

impl TokenKey {
    /// Loads the module. The token is not asked yet.
    ///
    /// # Errors
    /// When the module is no PKCS#11 module.
    pub(crate) fn new(uri: &TokenUri) -> Result<Self, MintError> {
        Ok(TokenKey { token: Token::new(uri)? })
    }

    /// Makes the secret in the token: random, sensitive, not extractable.
    ///
    /// # Errors
    /// When the token can't do it, or has a secret key of this label. A secret that can't be used is taken away again.
    pub(crate) fn make(uri: &TokenUri) -> Result<Self, MintError> {
        let key = TokenKey::new(uri)?;
        key.token.logged_in(Access::Write, |slot, session| {
            let needed = [
                (MechanismType::GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN"),
                (MechanismType::SHA256_HMAC, "CKM_SHA256_HMAC"),
            ];
            key.token.must_offer(slot, &needed, "keep a mint's seed")?;
            if !key.found(session)?.is_empty() {
                let object = uri.object();
                return Err(
                    key.unfit(&format!("has a secret key '{object}' already: use that, or name another object"))
                );
            }
            let template = [
                Attribute::Label(uri.object().as_bytes().to_vec()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                Attribute::Derive(false),
                Attribute::ValueLen((SEED_LEN as u64).into()),
            ];
            let made = session.generate_key(&Mechanism::GenericSecretKeyGen, &template);
            let made = made.map_err(|error| key.failed(&error))?;
            key.check(session, made).and_then(|()| key.hmac(session, made, b"")).map(drop).inspect_err(|_| {
                let _ = session.destroy_object(made);
            })
        })?;
        Ok(key)
    }

    /// HMAC-SHA256 of each message, under the secret.
    ///
    /// # Errors
    /// When the token is away or refuses, or the secret is not there or could be taken out. Then there is no result at all.
    pub(crate) fn hmac_sha256(&self, messages: &[Vec<u8>]) -> Result<Vec<Zeroizing<[u8; 32]>>, MintError> {
        self.token.logged_in(Access::Read, |_, session| {
            let handle = match self.found(session)?[..] {
                [handle] => handle,
                [] => {
                    let object = self.object();
                    let told = format!("has no secret key '{object}': `habeas mint make-key` makes one in a new token");
                    return Err(self.unfit(&told));
                }
                _ => return Err(self.unfit(&format!("has several secret keys '{}'", self.object()))),
            };
            self.check(session, handle)?;
            messages.iter().map(|message| self.hmac(session, handle, message)).collect()
        })
    }

    /// What is wrong with the token.
    fn unfit(&self, told: &str) -> MintError {
        self.token.unfit(told).into()
    }

    fn failed(&self, error: &Error) -> MintError {
        self.token.failed(error).into()
    }

    fn object(&self) -> &str {
        self.token.uri().object()
    }

    fn found(&self, session: &Session) -> Result<Vec<ObjectHandle>, MintError> {
        let label = self.object().as_bytes().to_vec();
        let wanted = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(label)];
        session.find_objects(&wanted).map_err(|error| self.failed(&error))
    }

    /// Whether the secret is bound to the token. A secret that a session could read out, or copy piece by piece by deriving
    /// (`CKM_EXTRACT_KEY_FROM_KEY`), is in no token's keeping.
    fn check(&self, session: &Session, handle: ObjectHandle) -> Result<(), MintError> {
        let asked = [
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::Token,
            AttributeType::Private,
            AttributeType::Derive,
            AttributeType::ValueLen,
        ];
        let attributes = session.get_attributes(handle, &asked).map_err(|error| self.failed(&error))?;
        let refuse = |told: &str| {
            let object = self.object();
            Err(self.unfit(&format!(
                "has the key '{object}', but {told}: it is no seed for a mint; make one with `habeas mint make-key`"
            )))
        };
        let (mut is_sensitive, mut stays) = (false, false);
        for attribute in attributes {
            match attribute {
                Attribute::Sensitive(yes) => is_sensitive = yes,
                Attribute::Extractable(yes) => stays = !yes,
                Attribute::Token(false) => return refuse("it goes away with the session (CKA_TOKEN is false)"),
                Attribute::Private(false) => return refuse("it can be used without the PIN (CKA_PRIVATE is false)"),
                Attribute::Derive(true) => return refuse("other keys can be derived from it (CKA_DERIVE is true)"),
                Attribute::ValueLen(length) if *length < SEED_LEN as u64 => {
                    return refuse("it is shorter than 32 bytes");
                }
                _ => {}
            }
        }
        match (is_sensitive, stays) {
            (true, true) => Ok(()),
            (_, false) => refuse("it can be taken out of the token (CKA_EXTRACTABLE is not false)"),
            (false, _) => refuse("it can be read in the clear (CKA_SENSITIVE is not true)"),
        }
    }

    fn hmac(&self, session: &Session, key: ObjectHandle, message: &[u8]) -> Result<Zeroizing<[u8; 32]>, MintError> {
        let mac = session.sign(&Mechanism::Sha256Hmac, key, message).map_err(|error| self.failed(&error))?;
        let mac = Zeroizing::new(mac);
        let mut result = Zeroizing::new([0; 32]);
        if mac.len() != result.len() {
            return Err(self.unfit(&format!("gave {} bytes for an HMAC-SHA256", mac.len())));
        }
        result.copy_from_slice(&mac);
        Ok(result)
    }
}
