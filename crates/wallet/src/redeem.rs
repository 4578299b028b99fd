//! Redeeming into a merchant's balance (NUT-05, method `settlement`): a till's last step.

use cashu::messages::MeltQuoteRequest;
use cashu::{Amount, Unit};

use crate::state::Pending;
use crate::{Wallet, WalletError};

impl Wallet {
    /// Redeems all money of a unit into the balance of `merchant`, and gives the amount; nothing to redeem is zero.
    ///
    /// # Errors
    /// When the mint refuses (an unknown merchant) or can't be reached; then [`Wallet::recover`] finishes it.
    pub fn redeem(&mut self, merchant: &str, unit: &Unit) -> Result<Amount, WalletError> {
        let amount = self.balance().get(unit).copied().unwrap_or_default();
        if amount == Amount::ZERO {
            return Ok(amount);
        }
        let mut redeemed = Amount::ZERO;
        // Whole tokens, at most as many a request as a mint takes.
        while self.balance().get(unit).is_some_and(|left| *left > Amount::ZERO) {
            redeemed = redeemed.checked_add(self.redeem_some(merchant, unit)?).unwrap_or(redeemed);
        }
        Ok(redeemed)
    }

    fn redeem_some(&mut self, merchant: &str, unit: &Unit) -> Result<Amount, WalletError> {
        let mut part: Vec<Amount> = self
            .state
            .tokens
            .iter()
            .filter(|held| self.unit_of(&held.proof) == *unit)
            .map(|held| held.proof.amount)
            .collect();
        part.truncate(REDEEM_MAX_INPUTS);
        let amount = Amount::checked_sum(part).ok_or(WalletError::MintMisbehaves)?;
        let request = MeltQuoteRequest { request: format!("{merchant}:{amount}"), unit: unit.clone() };
        let quote = self.mint().settlement_quote(&request)?;
        if quote.amount != amount {
            return Err(WalletError::MintMisbehaves);
        }
        let inputs = self.take_exactly(amount, unit)?;
        self.start(Pending::Redeem { quote: quote.quote, inputs })?;
        Ok(amount)
    }
}

/// Tokens redeemed in one request: below what our mint takes, and what others take.
const REDEEM_MAX_INPUTS: usize = 100;
