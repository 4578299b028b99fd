//! Handing money over as a token string, and taking it in.

use cashu::messages::ProofState;
use cashu::payment_request::PaymentPayload;
use cashu::token::Token;
use cashu::{Amount, Proof, Unit, dleq};

use crate::recover::sum;
use crate::state::{Held, Origin, Pending, Received};
use crate::{Wallet, WalletError};

impl Wallet {
    /// A token string worth `amount`. Whoever has the string has the money, so show it to one person only.
    ///
    /// # Errors
    /// When the amount is zero, there is not enough money, or an exchange is needed and the mint can't be reached.
    pub fn send(&mut self, amount: Amount, unit: &Unit, memo: Option<String>) -> Result<String, WalletError> {
        if amount == Amount::ZERO {
            return Err(WalletError::ZeroAmount);
        }
        let tokens = self.take_exactly(amount, unit)?;
        let proofs = tokens.into_iter().map(|held| held.proof).collect();
        let token = self.token_text(proofs, unit, memo);
        self.note_history("sent", amount, unit.clone(), Some(token.clone()));
        self.save()?;
        Ok(token)
    }

    pub(crate) fn token_text(&self, proofs: Vec<Proof>, unit: &Unit, memo: Option<String>) -> String {
        Token::new(&self.state.services.mint, unit.clone(), memo, proofs).encode()
    }

    /// Takes in a token string: its tokens are exchanged for new ones at once, so that the sender can't use them again.
    /// Tokens that are locked to a key of this wallet (NUT-11), blinded or not (NUT-28), are unlocked.
    ///
    /// # Errors
    /// When it can't be read, is of another mint, is locked to somebody else, is spent, or the mint can't be reached.
    pub fn receive(&mut self, text: &str) -> Result<(Amount, Unit), WalletError> {
        let token = Token::decode(text)?;
        if !self.is_own_mint(&token.mint) {
            return Err(WalletError::OtherMint);
        }
        let unit = token.unit.clone().ok_or(WalletError::IncompleteRequest { missing: "unit" })?;
        self.active_keyset(&unit)?;
        let proofs = token.into_proofs(&self.known_keysets())?;
        let amount = self.take_in(proofs, &unit, Received { request: None })?;
        Ok((amount, unit))
    }

    /// Takes in a payment that was sent to a till (NUT-18). Gives the amount.
    ///
    /// # Errors
    /// As [`Wallet::receive`].
    pub fn receive_payment(&mut self, payload: PaymentPayload) -> Result<Amount, WalletError> {
        if !self.is_own_mint(&payload.mint) {
            return Err(WalletError::OtherMint);
        }
        self.active_keyset(&payload.unit)?;
        self.take_in(payload.proofs, &payload.unit, Received { request: payload.id })
    }

    /// Whether all these tokens are spent: a till's question about a payment that it sees again. A payer never asks this.
    ///
    /// # Errors
    /// When the mint can't be reached.
    pub fn is_spent(&self, proofs: &[Proof]) -> Result<bool, WalletError> {
        for proof in proofs {
            if self.mint().state_of(proof.secret.y())? != Some(ProofState::Spent) {
                return Ok(false);
            }
        }
        Ok(!proofs.is_empty())
    }

    /// Checks foreign tokens as far as it can be done offline, then exchanges them.
    fn take_in(&mut self, proofs: Vec<Proof>, unit: &Unit, received: Received) -> Result<Amount, WalletError> {
        if proofs.is_empty() {
            return Err(WalletError::IncompleteRequest { missing: "tokens" });
        }
        let mut inputs = proofs;
        for proof in &mut inputs {
            if !self.state.keysets.contains_key(&proof.id) {
                self.refresh_keysets(unit)?;
            }
            let keyset = self.state.keysets.get(&proof.id).ok_or(WalletError::KeysetNotInLog)?;
            let mint_key = keyset.keys.get(&proof.amount).filter(|_| keyset.unit == *unit);
            let mint_key = mint_key.ok_or(WalletError::MintMisbehaves)?;
            // NUT-12: a proof that is there must hold. It stays here: the mint gets no blinding factor.
            if let Some(with_r) = proof.dleq.take()
                && !dleq::verify_proof(&with_r, proof.secret.as_bytes(), &proof.signature, mint_key)
            {
                return Err(WalletError::Tagged);
            }
        }
        let overflow = || WalletError::MintMisbehaves;
        let total = Amount::checked_sum(inputs.iter().map(|proof| proof.amount)).ok_or_else(overflow)?;
        let keyset = self.active_keyset(unit)?.id;
        let unused = self.state.counters.get(&keyset).copied().unwrap_or_default();
        let outputs = self.reserve_outputs(keyset, &total.powers_of_two());
        if let Err(error) = self.unlock(&mut inputs, &outputs) {
            // Nothing was sent, so the numbers are still free: a gap in them would hide money from a later restore.
            self.state.counters.insert(keyset, unused);
            return Err(error);
        }
        let inputs = inputs.into_iter().map(|proof| Held { proof, origin: Origin::Swapped }).collect();
        Ok(sum(&self.start(Pending::Swap { inputs, outputs, received: Some(received) })?))
    }
}
