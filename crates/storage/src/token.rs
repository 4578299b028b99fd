//! A PKCS#11 token: which one, its PIN, and a session that is logged in.
//!
//! What a key in it is for, and which keys are good enough, is the service's that keeps one there. An error here is a sentence for
//! people; it names the token and the PIN's file, and never holds the PIN.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{io, mem};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::token_uri::TokenUri;

/// Bytes of the longest PIN; tokens take far less.
const PIN_MAX_LEN: usize = 255;

/// A module is initialised once in a process, so one at a time works with one. Counts how often that was done: sessions and handles of
/// before then name nothing any more, or something else.
static MODULES: Mutex<u64> = Mutex::new(0);

/// Why a token can't be used: a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(String);

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Find and use objects.
    Read,
    /// Make and destroy them, too.
    Write,
}

/// Which opening of a token a session is. A handle of an object is good in one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened(u64);

/// Why something in a session did not work.
#[derive(Debug)]
pub enum SessionError {
    /// What the module answered.
    Module(Error),
    /// The token, or what is in it, is not good enough.
    Unfit(TokenError),
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        SessionError::Module(error)
    }
}

impl From<TokenError> for SessionError {
    fn from(error: TokenError) -> Self {
        SessionError::Unfit(error)
    }
}

impl SessionError {
    /// As what is wrong with the token.
    pub fn of(self, token: &Token) -> TokenError {
        match self {
            SessionError::Module(error) => token.failed(&error),
            SessionError::Unfit(error) => error,
        }
    }

    /// Whether the module or the token has let go of the session, or of an object in it.
    fn is_lost(&self) -> bool {
        use RvError::*;
        let SessionError::Module(Error::Pkcs11(answer, _)) = self else { return false };
        matches!(
            answer,
            CryptokiNotInitialized
                | SessionHandleInvalid
                | SessionClosed
                | UserNotLoggedIn
                | TokenNotPresent
                | TokenNotRecognized
                | DeviceRemoved
                | DeviceError
                | ObjectHandleInvalid
                | KeyHandleInvalid
        )
    }
}

/// A token, and the way to it.
pub struct Token {
    uri: TokenUri,
    module: Pkcs11,
    /// A token locks itself after a few wrong PINs: one that was refused is not shown again by this process.
    pin_refused: AtomicBool,
    /// The session that stays open, and which it is. Locked after [`MODULES`].
    kept: Mutex<Option<(Opened, Session)>>,
}

impl Drop for Token {
    fn drop(&mut self) {
        let modules = modules();
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Otherwise somebody else has initialised the module since, and goes on with it.
        if kept.as_ref().is_some_and(|(opened, _)| opened.0 == *modules) {
            drop(Initialised(&self.module));
        }
    }
}

/// Takes leave of a module, also when what was done with it failed.
struct Initialised<'a>(&'a Pkcs11);

impl Drop for Initialised<'_> {
    fn drop(&mut self) {
        let _ = self.0.clone().finalize();
    }
}

impl Token {
    /// Loads the module. The token is not asked yet.
    ///
    /// # Errors
    /// When the module is no PKCS#11 module.
    pub fn new(uri: &TokenUri) -> Result<Self, TokenError> {
        let module = Pkcs11::new(uri.module_path()).map_err(|error| {
            let (path, told) = (uri.module_path().display(), told(&error));
            TokenError(format!("the PKCS#11 module {path} can't be loaded: {told}"))
        })?;
        Ok(Token { uri: uri.clone(), module, pin_refused: AtomicBool::new(false), kept: Mutex::default() })
    }

    /// Where it is.
    pub fn uri(&self) -> &TokenUri {
        &self.uri
    }

    /// Does something in a session of the token, logged in; closes everything afterwards.
    ///
    /// # Errors
    /// When the token is away, refuses the PIN or fails; what `act` gives.
    pub fn logged_in<T, E: From<TokenError>>(
        &self,
        access: Access,
        act: impl FnOnce(Slot, &Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut modules = modules();
        let pin = self.pin()?;
        let _initialised = self.initialise(&mut modules)?;
        let slot = self.slot()?;
        let session = match access {
            Access::Read => self.module.open_ro_session(slot),
            Access::Write => self.module.open_rw_session(slot),
        }
        .map_err(|error| self.failed(&error))?;
        self.log_in(&session, &pin)?;
        act(slot, &session)
    }

    /// Does something in a session that stays open and logged in for the next time. Where the module or the token has let go of it,
    /// it is opened anew and `act` done again, once. `act` must not work with a token itself.
    ///
    /// # Errors
    /// When the token is away, refuses the PIN or fails; what `act` gives.
    pub fn in_kept_session<T>(
        &self,
        act: impl Fn(&Session, Opened) -> Result<T, SessionError>,
    ) -> Result<T, TokenError> {
        let mut modules = modules();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((opened, session)) = kept.as_ref()
            && opened.0 == *modules
        {
            match act(session, *opened) {
                Err(error) if error.is_lost() => {}
                other => return other.map_err(|error| error.of(self)),
            }
        }
        *kept = None;
        let pin = self.pin()?;
        let initialised = self.initialise(&mut modules)?;
        // Not closed when it is dropped: by then its number may be another session's. With the module all its sessions end.
        let session = self.module.open_ro_session_no_drop(self.slot()?).map_err(|error| self.failed(&error))?;
        self.log_in(&session, &pin)?;
        mem::forget(initialised);
        let (opened, session) = kept.insert((Opened(*modules), session));
        act(session, *opened).map_err(|error| error.of(self))
    }

    /// Initialises the module, anew each time: some see a token that comes back only then. Sessions that were kept open end.
    fn initialise(&self, modules: &mut u64) -> Result<Initialised<'_>, TokenError> {
        *modules += 1;
        let initialise = || self.module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let initialised = match initialise() {
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                drop(Initialised(&self.module));
                initialise()
            }
            other => other,
        };
        initialised.map(|()| Initialised(&self.module)).map_err(|error| self.failed(&error))
    }

    /// Whether the token has each of these mechanisms, given with their names in the standard.
    ///
    /// # Errors
    /// When it lacks one, which it needs for something, such as "keep a mint's seed".
    pub fn must_offer(&self, slot: Slot, needed: &[(MechanismType, &str)], for_what: &str) -> Result<(), TokenError> {
        let offered = self.module.get_mechanism_list(slot).map_err(|error| self.failed(&error))?;
        match needed.iter().find(|(mechanism, _)| !offered.contains(mechanism)) {
            Some((_, name)) => Err(self.unfit(&format!("does not offer {name}, so it can't {for_what}"))),
            None => Ok(()),
        }
    }

    fn log_in(&self, session: &Session, pin: &AuthPin) -> Result<(), TokenError> {
        match session.login(UserType::User, Some(pin)) {
            Ok(()) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.pin_refused.store(true, Ordering::Relaxed);
                Err(self.pin_is_wrong())
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => {
                Err(self.unfit("is locked after too many wrong PINs: its security officer unlocks it"))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The slot that the token is in.
    fn slot(&self) -> Result<Slot, TokenError> {
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
    fn pin(&self) -> Result<AuthPin, TokenError> {
        if self.pin_refused.load(Ordering::Relaxed) {
            return Err(self.pin_is_wrong());
        }
        let path = self.uri.pin_source();
        let secret = crate::keys::read_private(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData if error.get_ref().is_some() => {
                TokenError(format!("the PIN is not used: {error}"))
            }
            _ => TokenError(format!("the PIN can't be read from {}: {error}", path.display())),
        })?;
        let text = std::str::from_utf8(&secret).ok().map(|text| text.trim_end_matches(['\r', '\n']));
        match text.filter(|pin| !pin.is_empty() && pin.len() <= PIN_MAX_LEN) {
            Some(pin) => Ok(AuthPin::new(pin.into())),
            None => Err(TokenError(format!("{} holds no PIN: one line of text", path.display()))),
        }
    }

    fn pin_is_wrong(&self) -> TokenError {
        let path = self.uri.pin_source().display();
        self.unfit(&format!(
            "refuses the PIN in {path}, and is not asked again before a restart, since a few wrong ones lock it: put the right one there"
        ))
    }

    /// What is wrong with this token.
    pub fn unfit(&self, told: &str) -> TokenError {
        TokenError(format!("the token '{}' {told}", self.uri.token()))
    }

    /// What the module answered, as what is wrong with the token.
    pub fn failed(&self, error: &Error) -> TokenError {
        self.unfit(&format!("can't be used: {}", told(error)))
    }
}

fn modules() -> MutexGuard<'static, u64> {
    MODULES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A module's answer by its name in the standard, under which its manual explains it.
fn told(error: &Error) -> String {
    match error {
        Error::Pkcs11(answer, function) => format!("C_{function:?} answered {answer:?}"),
        other => other.to_string(),
    }
}
