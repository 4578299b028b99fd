//! The treasury: programmes' funds, e-cash outstanding and merchants' balances in double entry, and the bank's files.
//!
//! In scope: the journal, bank statements (camt.053.001.08), payment files (pain.001.001.09), merchants, totals and their audit.
//! Out of scope: people (it has no type for one), tokens, and bank connections (files go in and out).
//!
//! In the order in which money passes: [`camt053`] and [`statement`] (a deposit arrives) → [`ledger`] (funds are committed, issued, redeemed) →
//! [`settlement`] (merchants are paid) → [`audit`]. Beside them: [`money`], [`bank`] (a pretended bank, for demonstrations) and [`api`].

pub mod api;
pub mod audit;
pub mod bank;
pub mod camt053;
pub mod ledger;
pub mod money;
pub mod settlement;
pub mod statement;

pub use ledger::Treasury;

/// Why the treasury can't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TreasuryError {
    /// More than there is.
    #[error(
        "the programme has {available_minor} available and {wanted_minor} are asked for (minor units): fund it first"
    )]
    InsufficientFunds {
        /// What there is.
        available_minor: u64,
        /// What was asked.
        wanted_minor: u64,
    },
    /// A programme that was not registered.
    #[error("there is no programme {0} in the treasury")]
    UnknownProgramme(String),
    /// An order beyond its run.
    #[error("the order is more than its run has left: it was refused")]
    BeyondRun,
    /// The same reference with other contents.
    #[error("{0} is booked already with other contents")]
    Conflict(String),
    /// A unit that is not in ISO 4217.
    #[error("'{0}' is not a currency of ISO 4217 that is known here: use a code such as usd")]
    UnknownUnit(String),
    /// An IBAN whose check digits are wrong.
    #[error("this is not an IBAN: check the digits")]
    BadIban,
    /// A name that a bank file can't carry.
    #[error("a name has 1 to 70 letters")]
    BadName,
    /// A bank statement that is not acceptable; nothing of it was booked.
    #[error("the bank statement is not acceptable: {0}; nothing was booked")]
    BadStatement(String),
    /// A statement that was imported before.
    #[error("statement {0} was imported before: nothing was booked again")]
    StatementRepeated(String),
    /// Nobody to pay.
    #[error("no merchant has a balance to settle")]
    NothingToSettle,
    /// The database can't be read or written.
    #[error("the treasury's database can't be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// The folder can't be used.
    #[error("the treasury's folder can't be used: {0}")]
    Folder(#[from] std::io::Error),
    /// The mint can't be read.
    #[error("the mint's events can't be read: {0}")]
    Feed(String),
}

/// Unix time.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn unix_now(&self) -> u64;
}

/// What happened at the mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MintEvent {
    /// A quote was minted.
    Issued {
        /// The quote.
        quote: String,
        /// Unit.
        unit: String,
        /// How much.
        amount_minor: u64,
    },
    /// Tokens were redeemed.
    Redeemed {
        /// The melt quote.
        quote: String,
        /// Into whose balance.
        merchant: String,
        /// Unit.
        unit: String,
        /// How much.
        amount_minor: u64,
    },
    /// Tokens that nobody spent are worth nothing now.
    Lapsed {
        /// The keyset that was closed.
        keyset: String,
        /// Unit.
        unit: String,
        /// How much.
        amount_minor: u64,
    },
}

/// The mint's events, in order, each with its number (1, 2, 3, …).
pub trait MintFeed: Send + Sync {
    /// Events after number `cursor`, at most `limit`.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, MintEvent)>, String>;

    /// The number of the last event, 0 when there is none.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn last_event(&self) -> Result<u64, String>;
}
