//! The holder's side: money and credential on a phone, and the rules that keep payments unlinkable.
//!
//! In scope: collecting an allowance, paying, sending, receiving, restoring from the seed, the holder's requests to the
//! registry, the ID credential, and the holder's view of the log. Out of scope: screens, and anything a service decides.
//!
//! The privacy rules of the design live in these places:
//! - [`http`]: one request a connection, the same headers for everybody;
//! - [`relay`]: nothing that must not show where it comes from goes past the relay, where there is one;
//! - [`keysets`] and [`predicates`]: keysets, and keys of predicates, are taken only as the log has them;
//! - [`outputs`]: each DLEQ is checked, and no token leaves with its blinding factor;
//! - [`selection`], [`exchange`] and [`lock`]: a swap spends one token of this wallet, never several together;
//! - [`lock`] and [`keys`]: a lock shows the mint a key that is used once and that only the receiver can tell is theirs;
//! - [`restore`]: one token a request, in shuffled order, spread over time ([`pace`]).
//!
//! In the order in which money passes: [`state`] (what is kept) → [`holder`] (who is asked as whom) → [`collect`] →
//! [`exchange`] → [`lock`] → [`pay`] and [`transfer`] (as text or moving QR codes: [`animated`]) → [`keys`] (what opens a lock) → [`redeem`] (a till's own) → [`recover`] and [`restore`] (after a crash or a loss)
//! → [`log_view`] (who opened my record). And as identity passes: [`holder`] → [`trusted`] (whose credentials) → [`credentials`] (batches) and [`predicates`] (tokens) → [`present`] (who asks, for what,
//! yes or no).

pub mod animated;
pub mod collect;
pub mod credentials;
pub mod exchange;
pub mod holder;
pub mod http;
pub mod keys;
pub mod keysets;
pub mod lock;
pub mod log_view;
pub mod mint_client;
pub mod outputs;
pub mod pace;
pub mod pay;
pub mod predicates;
pub mod present;
pub mod recover;
pub mod redeem;
pub mod relay;
pub mod restore;
pub mod selection;
pub mod state;
pub mod transfer;
pub mod trusted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bip39::Mnemonic;
use cashu::secret::Seed;
use cashu::{Amount, DecodeError, Unit};
use rand::Rng;

use crate::http::{HttpError, Way};
use crate::mint_client::MintClient;
use crate::state::{HistoryEntry, KeyNumbers, Services, State, StateFile};

/// Why a wallet can't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// A service can't be reached or refused.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// What was pasted or scanned can't be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// There is a wallet already.
    #[error("there is a wallet at {path} already: choose another file")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no wallet.
    #[error(
        "there is no wallet at {path}: make one with `habeas wallet init`, or restore it with `habeas wallet restore`"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another program has it open.
    #[error("the wallet at {path} is open in another program: close that one first")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "the wallet file {path} is damaged: restore the money from the recovery words with `habeas wallet restore`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read or written.
    #[error("the wallet file {path} can't be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The words are not a recovery phrase.
    #[error("these are not recovery words: check that there are 12, in order, spelled as written down")]
    BadWords,
    /// Not enough money.
    #[error("not enough money: the wallet holds {held} {unit} (minor units), {wanted} are needed")]
    NotEnough {
        /// What is held.
        held: Amount,
        /// What was asked.
        wanted: Amount,
        /// The unit.
        unit: Unit,
    },
    /// An amount of zero.
    #[error("an amount must be more than zero")]
    ZeroAmount,
    /// The tokens are locked to keys that this wallet does not have.
    #[error(
        "these tokens are locked to a key that is not this wallet's (or need more keys than one): only its holder can take them"
    )]
    LockedToOthers,
    /// The tokens are locked in another way that this wallet can't open.
    #[error("these tokens can't be taken in: {0}")]
    CannotUnlock(cashu::conditions::ConditionError),
    /// A lock that can't be made.
    #[error("the lock that is asked for {why}: nothing was sent")]
    LockUnusable {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Some of the tokens were locked, then the mint refused.
    #[error(
        "only {locked} of {wanted} (minor units) could be locked: `habeas wallet history` has the token for them; {detail}"
    )]
    PartlyLocked {
        /// The value of those that were.
        locked: Amount,
        /// The value of all.
        wanted: Amount,
        /// What the mint said.
        detail: String,
    },
    /// A payee asked for locked tokens and refused them.
    #[error(
        "the payee refused tokens that only it can use: `habeas wallet history` has them, to hand over in another way; {detail}"
    )]
    LockedRefused {
        /// What the payee said.
        detail: String,
    },
    /// Scanned parts of a moving QR code that don't make a token.
    #[error("no token can be put together from these parts: {why}")]
    Parts {
        /// What is missing.
        why: String,
    },
    /// The request is for another mint.
    #[error("this is for another mint than this wallet's: nothing was sent")]
    OtherMint,
    /// The request leaves out what a payment needs.
    #[error("this payment request names no {missing}: ask the till for a new one")]
    IncompleteRequest {
        /// What is missing.
        missing: &'static str,
    },
    /// A token that was received or held is spent.
    #[error("these tokens are spent already: they were used before, perhaps by the sender")]
    AlreadySpent,
    /// The mint's keyset is not in the log.
    #[error("the mint's keyset is not in the public log as it should be: don't use this mint, and report it")]
    KeysetNotInLog,
    /// A signature that was not made with the key in the log.
    #[error("the mint signed with another key than the one in the public log: it may be marking your money; report it")]
    Tagged,
    /// An answer that no honest mint gives.
    #[error("the mint's answer is not what the protocol says: nothing was changed in the wallet")]
    MintMisbehaves,
    /// The mint has no keyset for a unit.
    #[error("the mint has no active keyset for '{unit}'")]
    NoKeyset {
        /// The unit.
        unit: Unit,
    },
    /// The log can't be verified.
    #[error("the public log can't be verified: {detail}")]
    Log {
        /// What is wrong with it.
        detail: String,
    },
    /// The wallet was made without what this needs.
    #[error("this wallet has no {missing}: it was made without an offer from the registry")]
    NoHolder {
        /// What is missing.
        missing: &'static str,
    },
    /// A verifier's request is not answered.
    #[error("nothing was shown: {detail}")]
    Presentation {
        /// Why not.
        detail: String,
    },
    /// The issuer shows a key for a predicate that the log does not have, or two of them.
    #[error(
        "the issuer's key for this predicate is not in the public log as it should be: it may have been made for you alone, to know you \
         again, so no token was fetched; report it"
    )]
    PredicateKeyNotInLog,
    /// A predicate's tokens can't be had or shown.
    #[error("the anonymous predicate can't be used: {detail}")]
    Predicate {
        /// What is wrong.
        detail: String,
    },
    /// The credential can't be held or shown.
    #[error("the ID credential can't be used: {detail}")]
    Credential {
        /// What is wrong with it.
        detail: String,
    },
}

impl WalletError {
    fn file(path: &Path, source: std::io::Error) -> Self {
        WalletError::File { path: path.to_owned(), source }
    }

    /// Whether the network failed, so that the act may have been carried out and [`Wallet::recover`] will tell.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            WalletError::Http(HttpError::Unreachable { .. } | HttpError::Unavailable { .. } | HttpError::Relay { .. })
        )
    }
}

/// A wallet: its file, and the seed that everything in it comes from.
pub struct Wallet {
    file: StateFile,
    state: State,
    seed: Seed,
    /// The credentials, once they were read.
    held: Option<credentials::Credentials>,
    /// The issuer's token, for as long as it works.
    access: Option<holder::Access>,
}

impl Wallet {
    /// Makes a new wallet with fresh recovery words.
    ///
    /// # Errors
    /// When there is a file at `path` already, or it can't be written.
    pub fn create(path: &Path, services: Services) -> Result<Self, WalletError> {
        let mut entropy = [0; 16];
        rand::rng().fill_bytes(&mut entropy);
        let mnemonic = Mnemonic::from_entropy(&entropy).expect("16 bytes make 12 words");
        Self::make(path, services, &mnemonic, KeyNumbers::default())
    }

    /// Makes a wallet from recovery words. Its money comes back with [`Wallet::restore`].
    ///
    /// # Errors
    /// When the words are not a BIP-39 phrase, or as [`Wallet::create`].
    pub fn create_from_words(path: &Path, services: Services, words: &str) -> Result<Self, WalletError> {
        let mnemonic = Mnemonic::parse_normalized(words.trim()).map_err(|_| WalletError::BadWords)?;
        Self::make(path, services, &mnemonic, keys::numbers_after_loss())
    }

    fn make(path: &Path, services: Services, mnemonic: &Mnemonic, keys: KeyNumbers) -> Result<Self, WalletError> {
        let state = State::new(mnemonic.to_string(), services, keys);
        let file = StateFile::create(path, &state)?;
        Ok(Wallet { file, state, seed: Seed::new(mnemonic.to_seed("")), held: None, access: None })
    }

    /// Opens a wallet.
    ///
    /// # Errors
    /// When there is none, another program has it open, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, WalletError> {
        let (file, state) = StateFile::open(path)?;
        let mnemonic =
            Mnemonic::parse_normalized(&state.mnemonic).map_err(|_| WalletError::Damaged { path: path.to_owned() })?;
        Ok(Wallet { file, state, seed: Seed::new(mnemonic.to_seed("")), held: None, access: None })
    }

    /// The recovery words, to be written down.
    pub fn recovery_words(&self) -> &str {
        &self.state.mnemonic
    }

    /// Where the services are.
    pub fn services(&self) -> &Services {
        &self.state.services
    }

    /// What the wallet holds, by unit. Tokens under way ([`Wallet::pending`]) are not in it.
    pub fn balance(&self) -> BTreeMap<Unit, Amount> {
        let mut balance = BTreeMap::new();
        for held in &self.state.tokens {
            let sum: &mut Amount = balance.entry(self.unit_of(&held.proof)).or_default();
            *sum = sum.checked_add(held.proof.amount).unwrap_or(*sum);
        }
        balance
    }

    /// How many requests are under way.
    pub fn pending(&self) -> usize {
        self.state.pending.len()
    }

    /// What happened, oldest first. Kept on this device only.
    pub fn history(&self) -> &[HistoryEntry] {
        &self.state.history
    }

    fn mint(&self) -> MintClient<'_> {
        MintClient::of(&self.state.services)
    }

    /// The way to what everybody reads.
    fn way(&self) -> Way<'_> {
        Way::to(&self.state.services)
    }

    fn save(&self) -> Result<(), WalletError> {
        self.file.save(&self.state)
    }

    fn note_history(&mut self, what: &str, amount: Amount, unit: Unit, note: Option<String>) {
        let at = unix_now();
        self.state.history.push(HistoryEntry { at, what: what.to_owned(), amount, unit, note });
    }

    fn unit_of(&self, proof: &cashu::Proof) -> Unit {
        self.state.keysets.get(&proof.id).expect("a token is held only with its keyset").unit.clone()
    }
}

/// Unix time. A wallet's clock sets nothing but the times of its own history and of the holder's signed requests.
fn unix_now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
