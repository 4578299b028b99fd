//! Exchanging tokens for others (NUT-03).

use cashu::{Amount, KeysetId, Unit};

use crate::selection::{Selection, select};
use crate::state::{Held, OutputRef, Pending};
use crate::{Wallet, WalletError};

impl Wallet {
    /// Tokens worth exactly `amount`, taken out of the wallet's tokens but not yet saved as gone: the caller writes them
    /// into a [`Pending`] or hands them out, and saves.
    ///
    /// When no set of tokens fits, one token (one only, so that the mint sees no two together) is exchanged first.
    pub(crate) fn take_exactly(&mut self, amount: Amount, unit: &Unit) -> Result<Vec<Held>, WalletError> {
        let places: Vec<usize> = (0..self.state.tokens.len())
            .filter(|place| self.unit_of(&self.state.tokens[*place].proof) == *unit)
            .collect();
        let amounts: Vec<Amount> = places.iter().map(|place| self.state.tokens[*place].proof.amount).collect();
        match select(&amounts, amount) {
            Selection::Exact(chosen) => {
                let chosen: Vec<usize> = chosen.into_iter().map(|i| places[i]).collect();
                Ok(self.remove_tokens(&chosen))
            }
            Selection::Change { exchange, missing, .. } => {
                let input = self.remove_tokens(&[places[exchange]]);
                let rest = input[0].proof.amount.checked_sub(missing).ok_or(WalletError::MintMisbehaves)?;
                let mut wanted = missing.powers_of_two();
                wanted.extend(rest.powers_of_two());
                self.exchange(input, wanted, unit)?;
                // The tokens that were missing are there now, so this ends.
                self.take_exactly(amount, unit)
            }
            Selection::Short => {
                let held = Amount::checked_sum(amounts).unwrap_or_default();
                Err(WalletError::NotEnough { held, wanted: amount, unit: unit.clone() })
            }
        }
    }

    /// Swaps tokens of this wallet for new ones of these amounts.
    fn exchange(&mut self, inputs: Vec<Held>, mut amounts: Vec<Amount>, unit: &Unit) -> Result<Vec<Held>, WalletError> {
        // Ascending, so that the order does not tell what is to be paid and what is change (NUT-03).
        amounts.sort_unstable();
        let keyset = match self.active_keyset(unit) {
            Ok(keyset) => keyset.id,
            Err(error) => {
                self.state.tokens.extend(inputs);
                return Err(error);
            }
        };
        let outputs = self.reserve_outputs(keyset, &amounts);
        self.start(Pending::Swap { inputs, outputs, received: None })
    }

    /// Output numbers that were never used and never will be again: saved with the request, before it is sent.
    pub(crate) fn reserve_outputs(&mut self, keyset: KeysetId, amounts: &[Amount]) -> Vec<OutputRef> {
        let next = self.state.counters.entry(keyset).or_default();
        amounts
            .iter()
            .map(|amount| {
                let counter = *next;
                *next += 1;
                OutputRef { keyset, counter, amount: *amount }
            })
            .collect()
    }

    fn remove_tokens(&mut self, places: &[usize]) -> Vec<Held> {
        let mut taken = Vec::with_capacity(places.len());
        let mut kept = Vec::with_capacity(self.state.tokens.len());
        for (place, held) in std::mem::take(&mut self.state.tokens).into_iter().enumerate() {
            if places.contains(&place) { taken.push(held) } else { kept.push(held) }
        }
        self.state.tokens = kept;
        taken
    }
}
