//! What a wallet keeps, and how it is kept: one file, replaced as a whole.
//!
//! A wallet is small (some hundred tokens), so each change writes the whole state to a new file, syncs it and
//! renames it over the old one: a wallet that loses power holds the state before or after, never between. What a
//! request will need to be finished after a crash is written before the request is sent ([`Pending`]).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cashu::secret::{BlindingFactor, Secret};
use cashu::{Amount, Keyset, KeysetId, Point, Proof, Unit};
use serde::{Deserialize, Serialize};
use tlog::cosignature::{Policy, Witness};
use tlog::note::{NoteError, Verifier};

use crate::WalletError;
use crate::relay::Relay;

/// The version of the file's layout.
const STATE_VERSION: u32 = 1;

/// Where a wallet's services are, and the key that the log signs with. From the offer that a person gets at enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// The mint, as token strings name it.
    pub mint: String,
    /// The transparency log.
    pub log: String,
    /// The log's verifier key (C2SP signed-note `vkey`).
    pub log_vkey: String,
    /// Verifier keys of witnesses that cosign the log's checkpoints (C2SP tlog-cosignature).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<String>,
    /// How many of them have to have cosigned a checkpoint.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quorum: usize,
    /// The registry, for those who have an entitlement; a till has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The credential issuer, and whom to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// The relay that everything which must not show where it comes from goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}

impl Services {
    /// Whom to believe about the log.
    ///
    /// # Errors
    /// When a key is none, or there are fewer witnesses than the quorum.
    pub fn log_policy(&self) -> Result<Policy, NoteError> {
        let witnesses = self.witnesses.iter().map(|key| Witness::parse(key)).collect::<Result<_, _>>()?;
        Policy::new(Verifier::parse(&self.log_vkey)?, witnesses, self.quorum)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(quorum: &usize) -> bool {
    *quorum == 0
}

/// A credential issuer, and the roots that the holder's offer vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Its identifier.
    pub url: String,
    /// SHA-256 of the root that signs credentials (IACA), hex.
    pub root_sha256: String,
    /// SHA-256 of the root of the register of relying parties, hex.
    pub register_sha256: String,
}

/// How a token came into the wallet. Only [`Origin::Swapped`] may ever travel with its blinding factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Minted against an entitlement: the mint saw it made under a quote that the registry can name.
    Collected,
    /// Made in a swap.
    Swapped,
}

/// A token in the wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    /// The token, without any DLEQ: that was checked when it came in.
    pub proof: Proof,
    /// How it came in.
    pub origin: Origin,
}

/// An output that was sent to the mint: enough to make it again from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRef {
    /// Its keyset.
    pub keyset: KeysetId,
    /// Its number (NUT-13).
    pub counter: u64,
    /// Its value.
    pub amount: Amount,
}

/// An output whose secret is somebody else's lock. What it is made of is random and kept here: the money is not this wallet's any
/// more, so the recovery words need not bring it back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockedOutput {
    /// Its keyset.
    pub keyset: KeysetId,
    /// Its value.
    pub amount: Amount,
    /// The lock (NUT-10).
    pub secret: Secret,
    /// The blinding factor.
    pub r: BlindingFactor,
    /// The one-time key that goes with a lock to a blinded key (NUT-28).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2pk_e: Option<Point>,
}

/// Where locked tokens go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handover {
    /// Into a token string.
    Text {
        /// A note for the receiver.
        memo: Option<String>,
    },
    /// To a payee who asked for the lock (NUT-18).
    Payment {
        /// The payee's address.
        target: String,
        /// The request's id.
        id: Option<String>,
    },
}

/// Money that came from somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The id of the payment request it answers, where it answers one.
    pub request: Option<String>,
}

/// A request whose answer has not been seen. Finished by [`crate::Wallet::recover`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Pending {
    /// Tokens being collected against a quote.
    Collect {
        /// The quote.
        quote: String,
        /// The entitlement whose key signs.
        entitlement: String,
        /// The outputs, in the order sent.
        outputs: Vec<OutputRef>,
    },
    /// Tokens being exchanged.
    Swap {
        /// What is spent. Not among the wallet's tokens meanwhile.
        inputs: Vec<Held>,
        /// What comes instead.
        outputs: Vec<OutputRef>,
        /// Set when the inputs came from somebody else.
        received: Option<Received>,
    },
    /// Tokens being exchanged for locked ones, one a request.
    Lock {
        /// What is spent. Not among the wallet's tokens meanwhile.
        inputs: Vec<Held>,
        /// What comes instead of each, in the same order.
        outputs: Vec<LockedOutput>,
        /// Those that came so far.
        locked: Vec<Proof>,
        /// What becomes of them.
        handover: Handover,
    },
    /// Tokens handed to a till that has not confirmed.
    Payment {
        /// Where they go.
        target: String,
        /// The request's id.
        id: Option<String>,
        /// What is handed over.
        tokens: Vec<Held>,
    },
    /// Tokens being redeemed into a merchant's balance.
    Redeem {
        /// The melt quote.
        quote: String,
        /// What is spent.
        inputs: Vec<Held>,
    },
}

/// One line of the history, which exists on the device only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Unix time.
    pub at: u64,
    /// `collected`, `paid`, `sent`, `received`, `redeemed`; `locked` for tokens that a payee asked to be locked and then refused.
    pub what: String,
    /// How much.
    pub amount: Amount,
    /// In which unit.
    pub unit: Unit,
    /// What it was for: a till's receipt, the token string that was sent, the request that was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One showing of a credential. Exists on the device only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Showing {
    /// Unix time.
    pub at: u64,
    /// Who asked.
    pub to: String,
    /// What for.
    pub purpose: String,
    /// What was shown.
    pub attributes: Vec<String>,
}

/// The numbers of the receiving keys that this file has given out: `first..next`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyNumbers {
    /// The first.
    pub first: u32,
    /// The next one to be given out.
    pub next: u32,
}

/// Everything a wallet keeps.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// BIP-39 words: whoever has them has the money.
    pub mnemonic: String,
    /// Where the services are.
    pub services: Services,
    /// The key with which the holder finds the log entries about them, hex; from the offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_key: Option<String>,
    /// Keysets that were found in the log.
    pub keysets: BTreeMap<KeysetId, Keyset>,
    /// The next output number of each keyset.
    pub counters: BTreeMap<KeysetId, u64>,
    /// The newest checkpoint seen: the log may only grow from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Receiving keys.
    #[serde(default)]
    pub keys: KeyNumbers,
    /// The tokens.
    pub tokens: Vec<Held>,
    /// Requests under way.
    pub pending: Vec<Pending>,
    /// What happened.
    pub history: Vec<HistoryEntry>,
    /// What was shown to whom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub showings: Vec<Showing>,
}

impl State {
    /// The state of a wallet that has seen nothing yet.
    pub fn new(mnemonic: String, services: Services, keys: KeyNumbers) -> Self {
        State {
            version: STATE_VERSION,
            mnemonic,
            services,
            tag_key: None,
            keysets: BTreeMap::new(),
            counters: BTreeMap::new(),
            checkpoint: None,
            keys,
            tokens: Vec::new(),
            pending: Vec::new(),
            history: Vec::new(),
            showings: Vec::new(),
        }
    }
}

/// The file a wallet lives in, locked while it is open: two programs that spend from one wallet would lose money.
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Makes a new wallet file (mode 0600) and writes the first state.
    ///
    /// # Errors
    /// When the file is there already, or can't be written.
    pub fn create(path: &Path, state: &State) -> Result<Self, WalletError> {
        if path.exists() {
            return Err(WalletError::Exists { path: path.to_owned() });
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| WalletError::file(path, source))?;
        }
        let file = StateFile { path: path.to_owned(), _lock: lock(path)? };
        file.save(state)?;
        Ok(file)
    }

    /// Opens a wallet file.
    ///
    /// # Errors
    /// When there is none, another program has it open, or it is damaged.
    pub fn open(path: &Path) -> Result<(Self, State), WalletError> {
        if !path.exists() {
            return Err(WalletError::Missing { path: path.to_owned() });
        }
        let lock = lock(path)?;
        let text = fs::read(path).map_err(|source| WalletError::file(path, source))?;
        let damaged = || WalletError::Damaged { path: path.to_owned() };
        let state: State = serde_json::from_slice(&text).map_err(|_| damaged())?;
        if state.version != STATE_VERSION {
            return Err(damaged());
        }
        Ok((StateFile { path: path.to_owned(), _lock: lock }, state))
    }

    /// Replaces the file's contents, durably.
    ///
    /// # Errors
    /// When the disk is full or the folder can't be written; the old contents stand.
    pub fn save(&self, state: &State) -> Result<(), WalletError> {
        replace(&self.path, state)
    }

    /// The file of credentials, which stands beside: it is larger, and changes seldom.
    pub(crate) fn credentials_path(&self) -> PathBuf {
        self.path.with_extension("credentials")
    }
}

/// Replaces a file (mode 0600) as a whole, durably.
pub(crate) fn replace(path: &Path, contents: &impl Serialize) -> Result<(), WalletError> {
    let write = || -> std::io::Result<()> {
        // Added, not exchanged: two files that differ in their extensions have two drafts.
        let mut next = path.as_os_str().to_owned();
        next.push(".next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec(contents)?)?;
        file.sync_data()?;
        fs::rename(&next, path)
    };
    write().map_err(|source| WalletError::file(path, source))
}

/// Takes the lock that stands beside the file (the file itself is replaced, so it can't carry one).
fn lock(path: &Path) -> Result<File, WalletError> {
    let lock_path = path.with_extension("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|source| WalletError::file(&lock_path, source))?;
    file.try_lock().map_err(|_| WalletError::Busy { path: path.to_owned() })?;
    Ok(file)
}
