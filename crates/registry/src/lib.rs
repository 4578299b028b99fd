//! The registry: who is enrolled, in which programmes, and what they are owed. It knows people, and nothing about payments made.
//!
//! In scope: enrolment, sealed records and the one gate to them, likely duplicates, programmes and their rules, payment runs,
//! and the holder's requests. Out of scope: e-cash (it orders quotes and never sees a token), credentials' signatures, bank money.
//!
//! In the order in which a person passes: [`person`] (what is held) → [`enrol`] (rows become people) → [`seal`] and [`duplicates`] →
//! [`gate`] (the only way to read) → [`look_up`] (an officer reads one record) → [`offers`] (a device becomes theirs) → [`rule`] and [`runs`] (who is paid) → [`holder`] (what the
//! wallet asks) → [`api`].
//! Beside them: [`officers`], [`store`] and [`audit`].

pub mod api;
pub mod audit;
pub mod duplicates;
pub mod enrol;
pub mod gate;
pub mod holder;
pub mod look_up;
pub mod offers;
pub mod officers;
pub mod person;
pub mod rule;
pub mod runs;
pub mod seal;
pub mod store;

pub use store::{Options, Registry};

/// Why the registry can't do what was asked. No variant holds personal data.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// What was sent is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Nobody knows who asks.
    #[error("{0}")]
    Unauthorized(String),
    /// The officer may not do this.
    #[error("this needs another role or officer: {0}")]
    Forbidden(&'static str),
    /// The officer has looked up as many records as a day allows.
    #[error("{limit} records are looked up today: this look-up, {id}, waits for another registrar's approval")]
    OverLimit {
        /// How many a day.
        limit: u32,
        /// The look-up.
        id: String,
    },
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It is there already with other contents.
    #[error("{0}")]
    Conflict(&'static str),
    /// The public log did not take the entry, so the record stays closed.
    #[error("the public log can't be written, so nothing was opened or published: {0}")]
    Log(String),
    /// The funds were refused.
    #[error("{0}")]
    Funds(String),
    /// The order was refused.
    #[error("{0}")]
    Orders(String),
    /// A sealed record can't be opened: the key is another or the row was changed.
    #[error("a record can't be opened: the key is another, or the row was changed on disk")]
    Sealed,
    /// The database can't be read or written.
    #[error("the registry's database can't be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// The folder can't be used.
    #[error("the registry's folder can't be used: {0}")]
    Folder(#[from] std::io::Error),
}

/// Unix time.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn unix_now(&self) -> u64;
}

/// An opening of one record, as it is written to the public log.
#[derive(Clone, Debug)]
pub struct AccessEntry {
    /// Random.
    pub tag_nonce: [u8; 16],
    /// MAC of purpose and nonce under the person's tag key.
    pub tag_mac: [u8; 16],
    /// Why.
    pub purpose: &'static str,
    /// The role of who opens it.
    pub role: &'static str,
    /// Marks of the officers who took part ([`seal::Keys::officer_mark`]).
    pub officers: Vec<[u8; 16]>,
    /// What is read.
    pub fields: Vec<&'static str>,
    /// Unix time, rounded down to the hour.
    pub at: u64,
}

/// What the registry publishes besides.
#[derive(Clone, Debug)]
pub enum PublicEntry {
    /// A programme was set up.
    Programme(runs::Programme),
    /// A run was prepared.
    RunPrepared(runs::Run),
    /// A run was approved.
    RunApproved {
        /// The run.
        run: String,
        /// Its hash.
        hash: String,
    },
}

/// The public log. Both calls return once the entries are durable; an error is a sentence for people.
pub trait AccessLog: Send + Sync {
    /// Records openings.
    ///
    /// # Errors
    /// When the entries are not durable.
    fn record(&self, entries: &[AccessEntry]) -> Result<(), String>;

    /// Publishes something.
    ///
    /// # Errors
    /// When the entry is not durable.
    fn publish(&self, entry: &PublicEntry) -> Result<(), String>;
}

/// The funds of programmes. Calls can be repeated; an error is a sentence for people.
pub trait Funds: Send + Sync {
    /// Opens a programme's account and gives the reference that deposits must carry.
    ///
    /// # Errors
    /// For a unit that is not a currency.
    fn register(&self, programme: &runs::Programme) -> Result<String, String>;

    /// Commits funds to a run.
    ///
    /// # Errors
    /// Above what there is: nothing is committed then.
    fn commit(&self, run: &str, programme: &str, amount_minor: u64) -> Result<(), String>;
}

/// An order for a quote: without a person.
#[derive(Clone, Debug)]
pub struct Order {
    /// The quote's id, UUID version 7.
    pub quote: String,
    /// The run it belongs to.
    pub run: String,
    /// The programme that pays.
    pub programme: String,
    /// Unit.
    pub unit: String,
    /// How much.
    pub amount_minor: u64,
    /// The fresh key that the holder gave, 33 bytes in hex.
    pub pubkey: String,
}

/// Where quotes are ordered. Calls can be repeated; an error is a sentence for people.
pub trait PaymentOrders: Send + Sync {
    /// Orders a quote.
    ///
    /// # Errors
    /// When the order is refused or can't be made just now.
    fn order(&self, order: &Order) -> Result<(), String>;
}
