//! The mint: signs e-cash blindly and remembers what was spent. It speaks the Cashu protocol and knows no person.
//!
//! In scope: keysets by period, swaps, spending conditions, minting against entitlements, redeeming into merchants' balances,
//! restoring, state checks and subscriptions, and the feed of events that the treasury keeps its books from. Out of scope: who a quote is for (nobody tells it),
//! who merchants are, and bank money.
//!
//! In the order in which a request passes: [`api`] (HTTP and JSON) → [`mint`] (the handle, one method an act) → [`rules`] (what a
//! request must be) → [`engine`] (arithmetic, then batches) → [`store`] (one durable commit decides) → [`changes`] (who waits is
//! told). Beside them: [`keysets`] (from a seed, which may be in a [`token`]), [`socket`], [`metrics`],
//! [`audit`], [`backup`] and [`status`].

pub mod api;
pub mod audit;
pub mod backup;
pub mod changes;
pub mod engine;
pub mod keysets;
pub mod metrics;
pub mod mint;
pub mod rules;
pub mod socket;
pub mod status;
pub mod store;
pub mod token;

use cashu::{Amount, ErrorCode, KeysetId, Point, Unit};

pub use mint::Mint;
pub use storage::token_uri::TokenUri;

/// Why the mint can't do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MintError {
    /// The request is against the protocol's rules.
    #[error("{}", .0.detail())]
    Refused(ErrorCode),
    /// Too many requests are under way.
    #[error("the mint is overloaded: try again in a moment")]
    Overloaded,
    /// The store can't be read or written; the request had no effect, or will be found to have had it when repeated.
    #[error("the mint's store in {folder} can't be used: {detail}")]
    Store {
        /// The mint's folder.
        folder: String,
        /// What the system says.
        detail: String,
    },
    /// The database can't be reached for the moment; the request had no effect, or will be found to have had it when repeated.
    #[error("the mint's database can't be reached: {0}; try again in a moment")]
    Unreachable(String),
    /// The mint is being stopped, or stopped when its store failed.
    #[error("the mint is closed: try again when it is back")]
    Closed,
    /// The seed can't be used: its file, its token, or it is not the one that the store was made with.
    #[error("the mint's key can't be used: {0}")]
    Key(String),
    /// A new keyset could not be announced, so it is not used.
    #[error("the keyset can't be announced in the public log, so it is not used: {0}")]
    Log(String),
}

impl From<ErrorCode> for MintError {
    fn from(code: ErrorCode) -> Self {
        MintError::Refused(code)
    }
}

/// How a mint is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The PostgreSQL database to keep the rows in (`postgres://…`); `None` for the embedded store.
    pub postgres: Option<String>,
    /// Where the seed lies if it is in a token; `None` for the file `mint.seed`.
    pub key: Option<TokenUri>,
    /// Fee for each input, in thousandths of the unit (NUT-02); for keysets made from now on.
    pub input_fee_ppk: u64,
    /// Offers the method `sandbox` in the unit `sandbox`, whose quotes count as paid at once: for wallet developers and load tests.
    pub sandbox: bool,
}

/// The unit of the sandbox, worth nothing.
pub const SANDBOX_UNIT: &str = "sandbox";

/// Unix time.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn unix_now(&self) -> u64;
}

/// Where a keyset is announced before its first signature.
pub trait KeysetLog: Send + Sync {
    /// Publishes a keyset and waits until the entry is durable. Gives its index.
    ///
    /// # Errors
    /// What went wrong, for people; the keyset is then not used.
    fn publish(&self, keyset: &PublishedKeyset) -> Result<u64, String>;

    /// Publishes what a keyset came to, and waits until the entry is durable. Gives its index.
    ///
    /// # Errors
    /// What went wrong, for people; the keyset is then not closed.
    fn publish_closed(&self, closed: &PublishedClosing) -> Result<u64, String>;
}

/// A keyset as it is announced.
#[derive(Clone, Debug)]
pub struct PublishedKeyset {
    /// The id.
    pub id: KeysetId,
    /// The unit.
    pub unit: Unit,
    /// Fee per input in thousandths.
    pub input_fee_ppk: u64,
    /// Unix time after which the mint owes nothing for it.
    pub final_expiry: u64,
    /// SHA-256 over amounts and keys.
    pub keys_sha256: [u8; 32],
    /// Unix time.
    pub at: u64,
}

/// The end of a keyset as it is announced.
#[derive(Clone, Debug)]
pub struct PublishedClosing {
    /// The id.
    pub id: KeysetId,
    /// The unit.
    pub unit: Unit,
    /// Worth of all signatures, in minor units.
    pub signed_minor: u64,
    /// Worth of all tokens spent. What is missing lapsed.
    pub spent_minor: u64,
    /// Unix time.
    pub at: u64,
}

/// Who may be paid by redeeming.
pub trait SettlementDirectory: Send + Sync {
    /// Whether a merchant is registered for a unit.
    fn accepts(&self, merchant: &str, unit: &Unit) -> bool;
}

/// A quote that a programme has paid for: what the mint is told of an entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitlementQuote {
    /// The quote's id, UUID version 7.
    pub id: String,
    /// How much.
    pub amount: Amount,
    /// In which unit.
    pub unit: Unit,
    /// The key that must sign the mint request (NUT-20).
    pub pubkey: Point,
}

/// What the treasury keeps its books from, in the order it happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum MintEvent {
    /// A quote was minted.
    Issued {
        /// The quote.
        quote: String,
        /// The unit.
        unit: Unit,
        /// How much.
        amount: Amount,
    },
    /// Tokens were redeemed.
    Redeemed {
        /// The melt quote.
        quote: String,
        /// Into whose balance.
        merchant: String,
        /// The unit.
        unit: Unit,
        /// How much.
        amount: Amount,
    },
    /// A keyset was closed, and tokens of it that nobody spent are worth nothing now.
    Lapsed {
        /// The keyset's id.
        keyset: String,
        /// The unit.
        unit: Unit,
        /// How much.
        amount: Amount,
    },
}

impl MintEvent {
    /// The quote or keyset that it is about. Each has one event.
    pub fn subject(&self) -> &str {
        match self {
            MintEvent::Issued { quote, .. } | MintEvent::Redeemed { quote, .. } => quote,
            MintEvent::Lapsed { keyset, .. } => keyset,
        }
    }
}
