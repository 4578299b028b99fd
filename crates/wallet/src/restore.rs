//! Getting the money back from the recovery words alone (NUT-13 with NUT-09).
//!
//! Asking for many outputs at once would tell the mint that they lie in one wallet, and asking for the state of a token
//! right after restoring it would tie the token to the quote it was minted under. So each request holds one output or one
//! token, outputs are asked for in shuffled order within a window, states are asked for after all outputs and in another
//! order, and every request waits its time ([`Pace`]).

use cashu::messages::ProofState;
use cashu::{Amount, Unit};
use rand::seq::SliceRandom;

use crate::outputs::Output;
use crate::pace::Pace;
use crate::state::{Held, Origin, OutputRef};
use crate::{Wallet, WalletError};

/// How many output numbers are tried together, and how many in a row must be unknown to the mint before the search ends.
/// A request reserves at most some twenty numbers, so a gap of 100 takes several that all failed.
const WINDOW: u64 = 100;

impl Wallet {
    /// Restores the money of a unit and gives what came back. Calls `progress` with the number of requests made.
    ///
    /// # Errors
    /// When the mint can't be reached, or gives a signature that was not made with the logged key. What was restored up to
    /// then is not kept; run it again.
    pub fn restore(&mut self, unit: &Unit, pace: Pace, mut progress: impl FnMut(usize)) -> Result<Amount, WalletError> {
        self.refresh_keysets(unit)?;
        let keysets: Vec<_> =
            self.state.keysets.values().filter(|keyset| keyset.unit == *unit).map(|keyset| keyset.id).collect();
        let mut requests = 0;
        let mut found = Vec::new();
        for keyset in keysets {
            let mut window = 0;
            loop {
                let mut counters: Vec<u64> = (window..window + WINDOW).collect();
                counters.shuffle(&mut rand::rng());
                let before = found.len();
                for counter in counters {
                    pace.wait();
                    requests += 1;
                    progress(requests);
                    // The amount is the mint's to tell: the output is the same whatever it is.
                    let mut reference = OutputRef { keyset, counter, amount: Amount::new(1) };
                    let message = Output::derive(&self.seed, reference)?.message();
                    if let Some(signature) = self.mint().restore_one(message)? {
                        reference.amount = signature.amount;
                        found.push((reference, signature));
                    }
                }
                window += WINDOW;
                if found.len() == before {
                    break;
                }
            }
            if let Some(last) = found.iter().filter(|(output, _)| output.keyset == keyset).map(|(o, _)| o.counter).max()
            {
                let next = self.state.counters.entry(keyset).or_default();
                *next = (*next).max(last + 1);
            }
        }
        found.shuffle(&mut rand::rng());
        let mut restored = Vec::new();
        for (reference, signature) in found {
            let known = |held: &Held, y| held.proof.secret.y() == y;
            let y = Output::derive(&self.seed, reference)?.y();
            if self.state.tokens.iter().any(|held| known(held, y)) {
                continue;
            }
            pace.wait();
            requests += 1;
            progress(requests);
            if self.mint().state_of(y)? == Some(ProofState::Unspent) {
                // How it once came in is not known, so it counts as collected, the more careful of the two.
                restored.extend(self.unblind(&[reference], &[signature], Origin::Collected)?);
            }
        }
        let amount = crate::recover::sum(&restored);
        self.state.tokens.extend(restored);
        self.save()?;
        Ok(amount)
    }
}
