//! Receiving keys, and opening locked tokens with them (NUT-11, NUT-28).
//!
//! A key is given to one sender: two who had the same could tell that they pay one person. All come from the seed, by number, so
//! that a wallet made again from its words opens what was locked before the loss.

use cashu::conditions::{self, Condition, ConditionError};
use cashu::p2bk::SharedSecret;
use cashu::{Point, Proof};
use rand::{Rng, RngExt};
use secp256k1::SecretKey;

use crate::outputs::Output;
use crate::state::{KeyNumbers, OutputRef};
use crate::{Wallet, WalletError, unix_now};

/// A wallet that was lost does not know how many keys it gave out. So one that is made from old words begins at a block of numbers
/// drawn by lot, and does not give out a key again.
const BLOCK: u32 = 100;
const BLOCKS: u32 = 64;

/// The numbers from which a wallet with old words begins.
pub(crate) fn numbers_after_loss() -> KeyNumbers {
    let first = BLOCK * rand::rng().random_range(1..BLOCKS);
    KeyNumbers { first, next: first }
}

impl Wallet {
    /// A fresh public key to give to one sender, who locks tokens to it ([`Wallet::receive`] opens them).
    ///
    /// # Errors
    /// When the wallet can't be written: a key that is not counted could be given out twice.
    pub fn new_key(&mut self) -> Result<Point, WalletError> {
        let key = self.receiving_key(self.state.keys.next)?;
        self.state.keys.next += 1;
        self.save()?;
        Ok(Point::of_secret(&key))
    }

    fn receiving_key(&self, number: u32) -> Result<SecretKey, WalletError> {
        Ok(self.seed.key_for("receiving key", &number.to_be_bytes())?)
    }

    /// The numbers of all keys that may have been given out: those of this file, newest first, then all that another life of
    /// these words may have used. All of them take less than a second for one blinded token.
    fn key_numbers(&self) -> impl Iterator<Item = u32> {
        let KeyNumbers { first, next } = self.state.keys;
        (first..next).rev().chain((0..BLOCK * BLOCKS).filter(move |number| !(first..next).contains(number)))
    }

    /// Signs locked inputs of a swap with this wallet's keys, and takes off what the mint must not see.
    ///
    /// # Errors
    /// [`WalletError::LockedToOthers`] when keys are missing, [`WalletError::CannotUnlock`] for locks that take more than keys.
    pub(crate) fn unlock(&self, inputs: &mut [Proof], outputs: &[OutputRef]) -> Result<(), WalletError> {
        let now = unix_now();
        let outputs: Vec<_> = self.derive(outputs)?.iter().map(Output::message).collect();
        let mut found_before = Vec::new();
        for place in 0..inputs.len() {
            let sender = inputs[place].p2pk_e.take();
            let secret = inputs[place].secret.clone();
            let Some(condition) = Condition::of(secret.as_str()).map_err(WalletError::CannotUnlock)? else { continue };
            let mut aux = [0; 32];
            rand::rng().fill_bytes(&mut aux);
            if condition.is_sig_all() {
                // One signature, in the first input, over all.
                if place == 0 && !condition.is_anybodys(now) {
                    for key in self.opening_keys(secret.as_str(), sender, &mut found_before)? {
                        conditions::sign_all(inputs, &outputs, None, &key, &aux).map_err(WalletError::CannotUnlock)?;
                    }
                }
                continue;
            }
            let input = std::slice::from_mut(&mut inputs[place]);
            // Anybody's by now, or signed by the sender.
            if conditions::check(input, &outputs, None, now).is_ok() {
                continue;
            }
            let keys = self.opening_keys(secret.as_str(), sender, &mut found_before)?;
            if keys.is_empty() {
                // A search is long, so there is no second one.
                break;
            }
            for key in keys {
                conditions::sign_inputs(input, &key, &aux).map_err(WalletError::CannotUnlock)?;
            }
        }
        inputs.iter_mut().for_each(|input| input.p2pk_e = None);
        conditions::check(inputs, &outputs, None, now).map_err(|error| match error {
            ConditionError::Signatures => WalletError::LockedToOthers,
            other => WalletError::CannotUnlock(other),
        })
    }

    /// The secret keys with which one receiving key of this wallet opens a lock: none if no key fits, and several if it stands in
    /// several slots of a blinded lock. `sender` is the sender's one-time key.
    fn opening_keys(
        &self,
        secret: &str,
        sender: Option<Point>,
        found_before: &mut Vec<SecretKey>,
    ) -> Result<Vec<SecretKey>, WalletError> {
        let slots = conditions::slots(secret).map_err(WalletError::CannotUnlock)?;
        let opening = |key: &SecretKey| -> Vec<SecretKey> {
            match sender {
                Some(sender) => {
                    let shared = SharedSecret::new(&sender, key);
                    slots.iter().filter_map(|(slot, blinded)| shared.open(blinded, *slot, key)).collect()
                }
                None => {
                    // A signature fits either sign of a point.
                    let own = Point::of_secret(key).to_bytes();
                    let fits = slots.iter().any(|(_, point)| point.to_bytes()[1..] == own[1..]);
                    fits.then_some(*key).into_iter().collect()
                }
            }
        };
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(keys) = found_before.iter().map(opening).find(|keys| !keys.is_empty()) {
            return Ok(keys);
        }
        for number in self.key_numbers() {
            let key = self.receiving_key(number)?;
            let keys = opening(&key);
            if !keys.is_empty() {
                found_before.push(key);
                return Ok(keys);
            }
        }
        Ok(Vec::new())
    }
}
