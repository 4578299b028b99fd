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

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::MintError;
use crate::token_uri::TokenUri;

/// Bytes of a seed.
const SEED_LEN: usize = 32;
/// Bytes of the longest PIN; tokens take far less.
const PIN_MAX_LEN: usize = 255;

/// A module is initialised once in a process, so one at a time works with one.
static MODULES: Mutex<()> = Mutex::new(());

/// A secret in a token, that computes HMAC-SHA256.
pub(crate) struct TokenKey {
    uri: TokenUri,
    module: Pkcs11,
    /// A token locks itself after a few wrong PINs: one that was refused is not shown again by this process.
    pin_refused: AtomicBool,
}

/// Takes leave of a module, also when what was done with it failed.
struct Initialised<'a>(&'a Pkcs11);

impl Drop for Initialised<'_> {
    fn drop(&mut self) {
        let _ = self.0.clone().finalize();
    }
}

impl TokenKey {
    /// Loads the module. The token is not asked yet.
    ///
    /// # Errors
    /// When the module is no PKCS#11 module.
    pub(crate) fn new(uri: &TokenUri) -> Result<Self, MintError> {
        let module = Pkcs11::new(uri.module_path()).map_err(|error| {
            let (path, told) = (uri.module_path().display(), told(&error));
            MintError::Key(format!("the PKCS#11 module {path} can't be loaded: {told}"))
        })?;
        Ok(TokenKey { uri: uri.clone(), module, pin_refused: AtomicBool::new(false) })
    }

    /// Makes the secret in the token: random, sensitive, not extractable.
    ///
    /// # Errors
    /// When the token can't do it, or has a secret key of this label. A secret that can't be used is taken away again.
    pub(crate) fn make(uri: &TokenUri) -> Result<Self, MintError> {
        let key = TokenKey::new(uri)?;
        key.logged_in(Access::Write, |slot, session| {
            let offered = key.module.get_mechanism_list(slot).map_err(|error| key.failed(&error))?;
            for (needed, name) in [
                (MechanismType::GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN"),
                (MechanismType::SHA256_HMAC, "CKM_SHA256_HMAC"),
            ] {
                if !offered.contains(&needed) {
                    return Err(key.unfit(&format!("does not offer {name}, so it can't keep a mint's seed")));
                }
            }
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
        self.logged_in(Access::Read, |_, session| {
            let handle = match self.found(session)?[..] {
                [handle] => handle,
                [] => {
                    let object = self.uri.object();
                    let told = format!("has no secret key '{object}': `habeas mint make-key` makes one in a new token");
                    return Err(self.unfit(&told));
                }
                _ => return Err(self.unfit(&format!("has several secret keys '{}'", self.uri.object()))),
            };
            self.check(session, handle)?;
            messages.iter().map(|message| self.hmac(session, handle, message)).collect()
        })
    }

    fn found(&self, session: &Session) -> Result<Vec<ObjectHandle>, MintError> {
        let label = self.uri.object().as_bytes().to_vec();
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
            let object = self.uri.object();
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

    /// Does something in a session of the token, logged in; closes everything afterwards.
    fn logged_in<T>(
        &self,
        access: Access,
        act: impl FnOnce(Slot, &Session) -> Result<T, MintError>,
    ) -> Result<T, MintError> {
        let _alone = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if self.pin_refused.load(Ordering::Relaxed) {
            return Err(self.pin_is_wrong());
        }
        let pin = self.pin()?;
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        // Anew each time: some modules see a token that comes back only then.
        self.module.initialize(arguments).map_err(|error| self.failed(&error))?;
        let _initialised = Initialised(&self.module);
        let slot = self.slot()?;
        let session = match access {
            Access::Read => self.module.open_ro_session(slot),
            Access::Write => self.module.open_rw_session(slot),
        }
        .map_err(|error| self.failed(&error))?;
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) => {}
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.pin_refused.store(true, Ordering::Relaxed);
                return Err(self.pin_is_wrong());
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => {
                return Err(self.unfit("is locked after too many wrong PINs: its security officer unlocks it"));
            }
            Err(error) => return Err(self.failed(&error)),
        }
        act(slot, &session)
    }

    /// The slot that the token is in.
    fn slot(&self) -> Result<Slot, MintError> {
        let slots = self.module.get_slots_with_token().map_err(|error| self.failed(&error))?;
        // A reader that fails holds up nobody else's token.
        let tokens = slots.into_iter().filter_map(|slot| Some((slot, self.module.get_token_info(slot).ok()?)));
        let mut ours = tokens.filter(|(_, token)| {
            let right_serial = self.uri.serial().is_none_or(|serial| token.serial_number() == serial);
            token.token_initialized() && token.label() == self.uri.token() && right_serial
        });
        match (ours.next(), ours.next()) {
            (Some((slot, _)), None) => Ok(slot),
            (None, _) => {
                Err(self.unfit("is not there: plug it in, or look for its label and serial number with its own tool"))
            }
            (Some(_), Some(_)) => {
                Err(self.unfit("is not the only one of this label: name its serial number as well (serial=…)"))
            }
        }
    }

    /// The PIN, read when it is needed and not kept.
    fn pin(&self) -> Result<AuthPin, MintError> {
        let path = self.uri.pin_source();
        let secret = storage::keys::read_private(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData if error.get_ref().is_some() => {
                MintError::Key(format!("the PIN is not used: {error}"))
            }
            _ => MintError::Key(format!("the PIN can't be read from {}: {error}", path.display())),
        })?;
        let text = std::str::from_utf8(&secret).ok().map(|text| text.trim_end_matches(['\r', '\n']));
        match text.filter(|pin| !pin.is_empty() && pin.len() <= PIN_MAX_LEN) {
            Some(pin) => Ok(AuthPin::new(pin.into())),
            None => Err(MintError::Key(format!("{} holds no PIN: one line of text", path.display()))),
        }
    }

    fn pin_is_wrong(&self) -> MintError {
        let path = self.uri.pin_source().display();
        self.unfit(&format!(
            "refuses the PIN in {path}, and is not asked again before a restart, since a few wrong ones lock it: put the right one there"
        ))
    }

    /// What is wrong with this token.
    fn unfit(&self, told: &str) -> MintError {
        MintError::Key(format!("the token '{}' {told}", self.uri.token()))
    }

    fn failed(&self, error: &Error) -> MintError {
        self.unfit(&format!("can't be used: {}", told(error)))
    }
}

enum Access {
    Read,
    Write,
}

/// A module's answer by its name in the standard, under which its manual explains it.
fn told(error: &Error) -> String {
    match error {
        Error::Pkcs11(answer, function) => format!("C_{function:?} answered {answer:?}"),
        other => other.to_string(),
    }
}
