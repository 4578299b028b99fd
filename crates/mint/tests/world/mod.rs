//! What a mint needs around it, and a wallet to speak to it.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod database;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cashu::messages::MintRequest;
use cashu::secret::Seed;
use cashu::{Amount, BlindedMessage, ErrorCode, Keyset, Point, Proof, Unit, bdhke, dleq, quote};
use mint::keysets::MintSeed;
use mint::store::lsm::LsmStore;
use mint::store::postgres::PostgresStore;
use mint::store::{Method, Store};
use mint::{
    Clock, EntitlementQuote, KeysetLog, Mint, MintError, Options, PublishedClosing, PublishedKeyset,
    SettlementDirectory,
};
use secp256k1::SecretKey;

/// 2026-11-23, within a quarter.
pub const NOW: u64 = 1_795_392_000;

pub struct World {
    pub clock: AtomicU64,
    pub log_works: bool,
    pub closings: Mutex<Vec<PublishedClosing>>,
}

impl Default for World {
    fn default() -> Self {
        World { clock: AtomicU64::new(NOW), log_works: true, closings: Mutex::default() }
    }
}

impl Clock for World {
    fn unix_now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }
}

impl KeysetLog for World {
    fn publish(&self, _: &PublishedKeyset) -> Result<u64, String> {
        if self.log_works { Ok(7) } else { Err("the log is down".into()) }
    }

    fn publish_closed(&self, closed: &PublishedClosing) -> Result<u64, String> {
        self.closings.lock().unwrap().push(closed.clone());
        Ok(8)
    }
}

impl SettlementDirectory for World {
    fn accepts(&self, merchant: &str, _: &Unit) -> bool {
        merchant == "m-1"
    }
}

pub fn world() -> Arc<World> {
    Arc::default()
}

/// A mint's place: a folder, and a database if it has one.
pub struct Place {
    pub folder: tempfile::TempDir,
    postgres: Option<(String, Arc<database::Server>)>,
}

impl Place {
    pub fn embedded() -> Self {
        Place { folder: tempfile::tempdir().unwrap(), postgres: None }
    }

    pub fn postgres() -> Self {
        let server = database::Server::shared();
        let postgres = Some((server.database(), server));
        Place { folder: tempfile::tempdir().unwrap(), postgres }
    }

    /// The place of another mint process: a folder of its own, the same database.
    pub fn beside(&self) -> Self {
        Place { folder: tempfile::tempdir().unwrap(), postgres: self.postgres.clone() }
    }

    /// The database, if it has one.
    pub fn database(&self) -> Option<String> {
        self.postgres.as_ref().map(|(address, _)| address.clone())
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The same kind of place, without anything in it.
    pub fn fresh(&self) -> Self {
        if self.postgres.is_some() { Place::postgres() } else { Place::embedded() }
    }

    pub fn open(&self, world: &Arc<World>) -> Mint {
        self.open_with(world, Options::default()).unwrap()
    }

    pub fn open_with(&self, world: &Arc<World>, options: Options) -> Result<Mint, MintError> {
        let postgres = self.database();
        Mint::open(self.path(), world.clone(), world.clone(), world.clone(), Options { postgres, ..options })
    }

    /// The rows, without a mint.
    pub fn store(&self) -> Box<dyn Store> {
        let seed = MintSeed::open(&self.path().join("mint.seed")).unwrap();
        match &self.postgres {
            None => Box::new(LsmStore::open(&self.path().join("store"), &seed).unwrap()),
            Some((address, _)) => Box::new(PostgresStore::open(address, &seed).unwrap()),
        }
    }
}

/// Makes two tests of each: on the embedded store, and on PostgreSQL.
#[macro_export]
macro_rules! on_both_stores {
    ($($(#[$doc:meta])* fn $name:ident($place:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($place: &world::Place) $body)*

        mod embedded {
            $(#[test] fn $name() { super::$name(&super::world::Place::embedded()); })*
        }

        mod postgres {
            $(#[test] fn $name() { super::$name(&super::world::Place::postgres()); })*
        }
    };
}

pub fn usd() -> Unit {
    "usd".parse().unwrap()
}

pub fn quote_key() -> SecretKey {
    SecretKey::from_secret_bytes([9; 32]).unwrap()
}

/// A wallet that makes outputs and tokens.
pub struct Holder {
    pub seed: Seed,
    pub keyset: Keyset,
    pub next: u64,
}

impl Holder {
    pub fn new(mint: &Mint, seed: u8) -> Self {
        mint.ensure_keyset(&usd()).unwrap();
        Holder { seed: Seed::new([seed; 64]), keyset: mint.keys(None).unwrap().remove(0), next: 0 }
    }

    /// Outputs of these amounts, and the number of the first.
    pub fn outputs(&mut self, amounts: &[u64]) -> (u64, Vec<BlindedMessage>) {
        let first = self.next;
        self.next += amounts.len() as u64;
        let output = |(counter, amount): (u64, &u64)| {
            let (secret, r) = self.seed.derive(&self.keyset.id, counter).unwrap();
            let blinded = bdhke::blind(secret.as_bytes(), r.key()).unwrap();
            BlindedMessage { amount: Amount::new(*amount), id: self.keyset.id, blinded }
        };
        (first, (first..).zip(amounts).map(output).collect())
    }

    pub fn unblind(&self, first: u64, signatures: &[cashu::BlindSignature]) -> Vec<Proof> {
        (first..)
            .zip(signatures)
            .map(|(counter, promise)| {
                let (secret, r) = self.seed.derive(&self.keyset.id, counter).unwrap();
                let key = &self.keyset.keys[&promise.amount];
                let blinded = bdhke::blind(secret.as_bytes(), r.key()).unwrap();
                assert!(dleq::verify(&promise.dleq.unwrap(), &blinded, &promise.signature, key));
                let signature = bdhke::unblind(&promise.signature, r.key(), key).unwrap();
                Proof {
                    amount: promise.amount,
                    id: promise.id,
                    secret,
                    signature,
                    witness: None,
                    dleq: None,
                    p2pk_e: None,
                }
            })
            .collect()
    }

    /// Tokens of these amounts, minted against a new entitlement.
    pub fn collect(&mut self, mint: &Mint, id: &str, amounts: &[u64]) -> Vec<Proof> {
        order(mint, id, amounts.iter().sum());
        let (first, outputs) = self.outputs(amounts);
        self.unblind(first, &mint.mint(Method::Entitlement, &mint_request(id, outputs)).unwrap())
    }
}

pub fn order(mint: &Mint, id: &str, amount: u64) {
    mint.order_quote(&entitlement(id, amount)).unwrap();
}

pub fn entitlement(id: &str, amount: u64) -> EntitlementQuote {
    EntitlementQuote { id: id.into(), amount: Amount::new(amount), unit: usd(), pubkey: Point::of_secret(&quote_key()) }
}

pub fn mint_request(id: &str, outputs: Vec<BlindedMessage>) -> MintRequest {
    let signature = Some(quote::sign(id, &outputs, &quote_key(), &[3; 32]));
    MintRequest { quote: id.into(), outputs, signature }
}

pub fn code<T: std::fmt::Debug>(result: Result<T, MintError>) -> ErrorCode {
    match result {
        Err(MintError::Refused(code)) => code,
        other => panic!("not refused: {other:?}"),
    }
}
