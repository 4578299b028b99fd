//! A till: a wallet that receives, with the merchant it belongs to.
//!
//! What makes a payment safe to repeat is the wallet's history: the exchange and the line that says which request it paid are
//! saved in one step, so a payer whose connection broke sends the same payment again and gets the receipt, not a second charge.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use cashu::payment_request::{PaymentPayload, PaymentRequest, Transport};
use cashu::{Amount, Unit};
use serde::{Deserialize, Serialize};
use wallet::pay::PaymentAnswer;
use wallet::state::Services;
use wallet::{Wallet, WalletError};

/// How many requests may be open at once: past it the oldest would be forgotten by the people too.
const OPEN_CHARGES_MAX: usize = 1_000;

/// Why a till can't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TillError {
    /// The wallet behind it can't.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// There is no till in the folder.
    #[error("there is no till in {path}: make one with `habeas till init`")]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The folder can't be used.
    #[error("the till's folder {path} can't be used: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The payer answers a request that this till did not make, or made too long ago.
    #[error("this till has no such request: ask for a new one")]
    UnknownRequest,
    /// The request was paid with other tokens.
    #[error("this request is paid already: ask for a new one")]
    PaidAlready,
    /// The payment has another amount or unit.
    #[error("the payment is {paid} but the request asks for {asked} (minor units)")]
    WrongAmount {
        /// What arrived.
        paid: Amount,
        /// What was asked.
        asked: Amount,
    },
    /// An amount of zero.
    #[error("an amount must be more than zero")]
    ZeroAmount,
    /// Too many requests are open.
    #[error("too many requests are open: wait until some are paid")]
    TooManyOpen,
}

/// Who is paid at this till.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merchant {
    /// The treasury's id of the merchant.
    pub id: String,
    /// The name on the request and the receipt.
    pub name: String,
    /// The unit it sells in.
    pub unit: Unit,
}

/// What the finance officer hands to a merchant, from which a till is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TillSetup {
    /// Who is paid.
    pub merchant: Merchant,
    /// Where the services are.
    pub services: Services,
}

/// An open request.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The request's id.
    pub id: String,
    /// How much.
    pub amount: Amount,
    /// The request as text, for the payer's wallet: `CREQB1…` (NUT-26), whose QR code is the smaller.
    pub request: String,
    /// The same as `creqA…` (NUT-18), for wallets that do not know the other.
    pub request_creq_a: String,
}

/// A till. Clones are handles to the same one.
#[derive(Clone)]
pub struct Till {
    inner: Arc<Inner>,
}

struct Inner {
    merchant: Merchant,
    /// The mint's address, as requests name it.
    mint: String,
    wallet: Mutex<Wallet>,
    /// Open requests, by id. May be locked while `wallet` is, never the other way round: a payment holds `wallet` for as long
    /// as the mint takes.
    open: Mutex<HashMap<String, Amount>>,
    /// Told after each payment.
    paid: Condvar,
}

impl Till {
    /// Makes a till in a folder.
    ///
    /// # Errors
    /// When there is one already, or the folder can't be written.
    pub fn create(folder: &Path, setup: &TillSetup) -> Result<Self, TillError> {
        let wallet = Wallet::create(&folder.join(WALLET_FILE), setup.services.clone())?;
        let text = serde_json::to_vec_pretty(&setup.merchant).expect("a merchant is plain data");
        fs::write(folder.join(MERCHANT_FILE), text)
            .map_err(|source| TillError::Folder { path: folder.to_owned(), source })?;
        Ok(Self::with(setup.merchant.clone(), wallet))
    }

    /// Opens the till of a folder, and finishes what a crash left unfinished.
    ///
    /// # Errors
    /// When there is none, or another program has it open. A network that is down is no error here: `redeem` will tell.
    pub fn open(folder: &Path) -> Result<Self, TillError> {
        let missing = || TillError::Missing { path: folder.to_owned() };
        let text = fs::read(folder.join(MERCHANT_FILE)).map_err(|_| missing())?;
        let merchant = serde_json::from_slice(&text).map_err(|_| missing())?;
        let mut wallet = Wallet::open(&folder.join(WALLET_FILE))?;
        match wallet.recover() {
            Err(error) if !error.is_unreachable() => {
                tracing::warn!(%error, "an unfinished exchange could not be finished")
            }
            _ => {}
        }
        Ok(Self::with(merchant, wallet))
    }

    fn with(merchant: Merchant, wallet: Wallet) -> Self {
        let mint = wallet.services().mint.clone();
        let inner = Inner { merchant, mint, wallet: Mutex::new(wallet), open: Mutex::default(), paid: Condvar::new() };
        Till { inner: Arc::new(inner) }
    }

    /// Who is paid here.
    pub fn merchant(&self) -> &Merchant {
        &self.inner.merchant
    }

    /// What the till holds, not yet redeemed.
    pub fn balance(&self) -> Amount {
        self.wallet().balance().get(&self.inner.merchant.unit).copied().unwrap_or_default()
    }

    /// Whether the mint can be reached: asked before a customer is, since an online till can't take money without it.
    ///
    /// # Errors
    /// When it can't, or its keysets are not those of the log.
    pub fn check_mint(&self) -> Result<(), TillError> {
        Ok(self.wallet().refresh_keysets(&self.inner.merchant.unit)?)
    }

    /// Opens a request for `amount`, to be paid at `address` (the till's own server).
    ///
    /// # Errors
    /// For an amount of zero, or when too many requests are open.
    pub fn charge(&self, amount: Amount, address: &str) -> Result<Charge, TillError> {
        if amount == Amount::ZERO {
            return Err(TillError::ZeroAmount);
        }
        let mut open = self.inner.open.lock().expect("no holder of this lock panics");
        if open.len() >= OPEN_CHARGES_MAX {
            return Err(TillError::TooManyOpen);
        }
        let id = hex::encode(rand::random::<[u8; 8]>());
        let request = PaymentRequest {
            id: Some(id.clone()),
            amount: Some(amount),
            unit: Some(self.inner.merchant.unit.clone()),
            single_use: Some(true),
            mints: vec![self.inner.mint.clone()],
            description: Some(self.inner.merchant.name.clone()),
            transports: vec![Transport { kind: "post".into(), target: format!("{address}/pay"), tags: None }],
            nut10: None,
        };
        let (short, long) = (request.encode_bech32m().map_err(WalletError::from)?, request.encode());
        open.insert(id.clone(), amount);
        Ok(Charge { id, amount, request: short, request_creq_a: long })
    }

    /// Takes a payment: checks it against the request, exchanges the tokens at once, and gives the receipt.
    ///
    /// The same payment sent again gets the same receipt.
    ///
    /// # Errors
    /// When the request is unknown or paid, the amount is another, or the tokens are not good: nothing was kept.
    pub fn take_payment(&self, payload: PaymentPayload) -> Result<PaymentAnswer, TillError> {
        let id = payload.id.clone().ok_or(TillError::UnknownRequest)?;
        let mut wallet = self.wallet();
        if let Some(amount) = paid_before(&wallet, &id) {
            // The payer who asks again holds tokens that are spent by now; anybody else holds tokens that are not, and keeps them.
            let repeated = wallet.is_spent(&payload.proofs)?;
            return if repeated { Ok(self.receipt(&id, amount)) } else { Err(TillError::PaidAlready) };
        }
        let asked = *self
            .inner
            .open
            .lock()
            .expect("no holder of this lock panics")
            .get(&id)
            .ok_or(TillError::UnknownRequest)?;
        let paid = Amount::checked_sum(payload.proofs.iter().map(|proof| proof.amount)).unwrap_or_default();
        if paid != asked || payload.unit != self.inner.merchant.unit {
            return Err(TillError::WrongAmount { paid, asked });
        }
        wallet.receive_payment(payload)?;
        self.inner.open.lock().expect("no holder of this lock panics").remove(&id);
        self.inner.paid.notify_all();
        Ok(self.receipt(&id, asked))
    }

    /// Waits until a request is paid. `false` when it was not within `patience`.
    pub fn wait_until_paid(&self, id: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut open = self.inner.open.lock().expect("no holder of this lock panics");
        while open.contains_key(id) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            open = self.inner.paid.wait_timeout(open, left).expect("no holder of this lock panics").0;
        }
        true
    }

    /// Redeems all that the till holds into the merchant's balance, and gives the amount.
    ///
    /// # Errors
    /// When the mint refuses or can't be reached; nothing is lost, try again.
    pub fn redeem(&self) -> Result<Amount, TillError> {
        let mut wallet = self.wallet();
        wallet.recover()?;
        Ok(wallet.redeem(&self.inner.merchant.id, &self.inner.merchant.unit)?)
    }

    fn wallet(&self) -> MutexGuard<'_, Wallet> {
        self.inner.wallet.lock().expect("no holder of this lock panics")
    }

    fn receipt(&self, id: &str, amount: Amount) -> PaymentAnswer {
        let merchant = &self.inner.merchant;
        PaymentAnswer {
            receipt: Some(format!("{}, request {id}, {amount} {} (minor units)", merchant.name, merchant.unit)),
        }
    }
}

/// The amount with which a request was paid, if it was.
fn paid_before(wallet: &Wallet, id: &str) -> Option<Amount> {
    let line = wallet.history().iter().find(|line| line.what == "received" && line.note.as_deref() == Some(id))?;
    Some(line.amount)
}

const WALLET_FILE: &str = "till-wallet.json";
const MERCHANT_FILE: &str = "merchant.json";
