//! Locking tokens to their receiver before they are handed over (NUT-11, NUT-28).
//!
//! Each token is exchanged for a locked one in a request of its own, since several together would lie in one wallet. A lock is in
//! the token's secret, which the mint does not see until the receiver opens it.

use cashu::conditions::{Condition, LockBuilder, asked_secret};
use cashu::messages::SwapRequest;
use cashu::payment_request::Nut10Option;
use cashu::secret::{BlindingFactor, Secret};
use cashu::{Amount, ErrorCode, KeysetId, Point, Proof, Unit};
use rand::Rng;
use secp256k1::SecretKey;

use crate::http::HttpError;
use crate::mint_client::code_of;
use crate::outputs::Output;
use crate::recover::{same, sum, was_done_before};
use crate::state::{Handover, Held, LockedOutput, Origin, Pending};
use crate::{Wallet, WalletError, unix_now};

/// What a token is locked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// A key that is blinded afresh for each token (NUT-28): the mint sees a key that nobody else can tie to this one.
    Blinded(Point),
    /// A key as it is (NUT-11), for wallets that do not know NUT-28. Its holder's payments can be counted by it.
    Plain(Point),
    /// What a payment request asks for (NUT-18).
    Asked(Nut10Option),
}

impl Lock {
    /// A secret with this lock, and the one-time key that goes with it.
    fn secret(&self) -> Result<(Secret, Option<Point>), WalletError> {
        let nonce: [u8; 32] = rand::random();
        let (text, p2pk_e) = match self {
            Lock::Blinded(key) => {
                let e = random_key();
                let blinded = LockBuilder::new(*key).blinded(&e).ok_or(UNKNOWN)?;
                (blinded.secret(&nonce), Some(Point::of_secret(&e)))
            }
            Lock::Plain(key) => (LockBuilder::new(*key).secret(&nonce), None),
            Lock::Asked(asked) => (asked_secret(asked, &nonce).map_err(|_| UNKNOWN)?, None),
        };
        Ok((Secret::new(text)?, p2pk_e))
    }

    /// The NUT that the mint must keep for this lock to hold.
    fn nut(&self) -> &'static str {
        match self {
            Lock::Asked(asked) if asked.kind == "HTLC" => "14",
            _ => "11",
        }
    }

    fn output(&self, keyset: KeysetId, amount: Amount) -> Result<LockedOutput, WalletError> {
        let (secret, p2pk_e) = self.secret()?;
        let r = BlindingFactor::from_bytes(random_key().to_secret_bytes())?;
        Ok(LockedOutput { keyset, amount, secret, r, p2pk_e })
    }
}

const UNKNOWN: WalletError = WalletError::LockUnusable { why: "is of an unknown kind, or nobody could open it" };
const ANYBODYS: WalletError = WalletError::LockUnusable { why: "is open to anybody already" };
const NOT_KEPT: WalletError =
    WalletError::LockUnusable { why: "is not kept by this mint, which would take the tokens from anybody" };

impl Wallet {
    /// A token string worth `amount` that only the holder of a key can use.
    ///
    /// # Errors
    /// When the amount is zero, there is not enough money, the lock can't be made, or the mint does not keep locks: nothing was
    /// sent. When the mint can't be reached half-way, [`Wallet::recover`] goes on, and the history has the token.
    pub fn send_locked(
        &mut self,
        amount: Amount,
        unit: &Unit,
        memo: Option<String>,
        lock: &Lock,
    ) -> Result<String, WalletError> {
        let locked = self.lock_tokens(amount, unit, lock, Handover::Text { memo: memo.clone() })?;
        Ok(self.token_text(locked.into_iter().map(|held| held.proof).collect(), unit, memo))
    }

    /// Locks tokens worth `amount` and hands them over. Gives the tokens where they become a string.
    pub(crate) fn lock_tokens(
        &mut self,
        amount: Amount,
        unit: &Unit,
        lock: &Lock,
        handover: Handover,
    ) -> Result<Vec<Held>, WalletError> {
        if amount == Amount::ZERO {
            return Err(WalletError::ZeroAmount);
        }
        // Tried once before anything is touched.
        let (secret, _) = lock.secret()?;
        let condition = Condition::of(secret.as_str()).ok().flatten().ok_or(UNKNOWN)?;
        if condition.is_anybodys(unix_now()) {
            return Err(ANYBODYS);
        }
        if !self.mint().supports(lock.nut())? {
            return Err(NOT_KEPT);
        }
        let keyset = self.active_keyset(unit)?.id;
        let inputs = self.take_exactly(amount, unit)?;
        match inputs.iter().map(|held| lock.output(keyset, held.proof.amount)).collect() {
            Ok(outputs) => self.start(Pending::Lock { inputs, outputs, locked: Vec::new(), handover }),
            Err(error) => {
                self.state.tokens.extend(inputs);
                Err(error)
            }
        }
    }

    /// Exchanges the tokens that are left, one a request, and hands all over.
    pub(crate) fn send_lock(
        &mut self,
        pending: &Pending,
        inputs: &[Held],
        outputs: &[LockedOutput],
        locked: &[Proof],
        handover: &Handover,
    ) -> Result<Vec<Held>, WalletError> {
        let mut locked = locked.to_vec();
        for (input, output) in inputs.iter().zip(outputs).skip(locked.len()) {
            match self.lock_one(input, output) {
                Ok(proof) => locked.push(proof),
                Err(WalletError::Http(refusal @ HttpError::Refused { .. })) => {
                    return Err(self.give_up_lock(pending, inputs, locked, refusal)?);
                }
                Err(other) => return Err(other),
            }
            // Kept before the next is sent: a locked token can't be made a second time.
            for other in self.state.pending.iter_mut().filter(|other| same(other, pending)) {
                if let Pending::Lock { locked: kept, .. } = other {
                    kept.clone_from(&locked);
                }
            }
            self.save()?;
        }
        self.state.pending.retain(|other| !same(other, pending));
        let unit = self.unit_of(&locked[0]);
        let tokens: Vec<Held> = locked.into_iter().map(|proof| Held { proof, origin: Origin::Swapped }).collect();
        match handover {
            Handover::Text { memo } => {
                let proofs = tokens.iter().map(|held| held.proof.clone()).collect();
                let text = self.token_text(proofs, &unit, memo.clone());
                self.note_history("sent", sum(&tokens), unit, Some(text));
                self.save()?;
                Ok(tokens)
            }
            Handover::Payment { target, id } => {
                self.start(Pending::Payment { target: target.clone(), id: id.clone(), tokens })
            }
        }
    }

    fn lock_one(&self, input: &Held, output: &LockedOutput) -> Result<Proof, WalletError> {
        let output = Output::locked(output)?;
        let message = output.message();
        let keyset = self.state.keysets.get(&message.id).ok_or(WalletError::MintMisbehaves)?;
        let request = SwapRequest { inputs: vec![input.proof.clone()], outputs: vec![message.clone()] };
        let signature = match self.mint().swap(&request) {
            Ok(signatures) => signatures.into_iter().next().ok_or(WalletError::MintMisbehaves)?,
            Err(refusal) if was_done_before(&refusal) => self.mint().restore_one(message)?.ok_or(refusal)?,
            Err(error) => return Err(error.into()),
        };
        output.unblind(&signature, keyset)
    }

    /// Undoes what is left of a lock that the mint refused: those tokens are the wallet's again, unless they are spent.
    fn give_up_lock(
        &mut self,
        pending: &Pending,
        inputs: &[Held],
        locked: Vec<Proof>,
        refusal: HttpError,
    ) -> Result<WalletError, WalletError> {
        let code = code_of(&refusal);
        let mut left = inputs[locked.len()..].to_vec();
        if code == Some(ErrorCode::ProofsSpent) {
            // This wallet's own, and spent by somebody else: a till that took a payment after all.
            let spent = left.remove(0);
            self.note_history("paid", spent.proof.amount, self.unit_of(&spent.proof), None);
        }
        self.state.tokens.extend(left);
        self.state.pending.retain(|other| !same(other, pending));
        self.forget_active_keysets(code);
        let (detail, wanted) = (refusal.to_string(), sum(inputs));
        let told = match locked.first() {
            Some(first) => {
                let unit = self.unit_of(first);
                let amount = Amount::checked_sum(locked.iter().map(|proof| proof.amount)).unwrap_or_default();
                let text = self.token_text(locked, &unit, None);
                self.note_history("sent", amount, unit, Some(text));
                WalletError::PartlyLocked { locked: amount, wanted, detail }
            }
            None if code == Some(ErrorCode::ProofsSpent) => WalletError::AlreadySpent,
            None => refusal.into(),
        };
        self.save()?;
        Ok(told)
    }
}

/// A fresh random key.
fn random_key() -> SecretKey {
    loop {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        // Zero and numbers past the curve order come once in 2^127 tries.
        if let Ok(key) = SecretKey::from_secret_bytes(bytes) {
            return key;
        }
    }
}
