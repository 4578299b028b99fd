//! Requests under way: sent, finished after the answer, and finished later when no answer came.
//!
//! The state says what was sent before it is sent. A request that got no answer is sent again, unchanged, and if the mint
//! says that it was carried out, its signatures are fetched output by output (NUT-09).

use cashu::messages::{MeltQuoteState, MeltRequest, MintRequest, SwapRequest};
use cashu::payment_request::PaymentPayload;
use cashu::{Amount, BlindSignature, ErrorCode, quote};
use rand::Rng;

use crate::http::HttpError;
use crate::mint_client::code_of;
use crate::outputs::Output;
use crate::pay::{PaymentAnswer, is_locked};
use crate::state::{Held, Origin, OutputRef, Pending};
use crate::{Wallet, WalletError, http};

impl Wallet {
    /// Finishes every request that got no answer.
    ///
    /// # Errors
    /// The first failure; what could be finished is finished, the rest stays for the next time.
    pub fn recover(&mut self) -> Result<(), WalletError> {
        let mut first_failure = None;
        for pending in self.state.pending.clone() {
            if let Err(error) = self.resume(pending) {
                first_failure.get_or_insert(error);
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Writes down a request, sends it and finishes it. Gives the tokens that it brought.
    pub(crate) fn start(&mut self, pending: Pending) -> Result<Vec<Held>, WalletError> {
        self.state.pending.push(pending.clone());
        self.save()?;
        self.resume(pending)
    }

    /// Sends a request (perhaps again) and finishes it.
    pub(crate) fn resume(&mut self, pending: Pending) -> Result<Vec<Held>, WalletError> {
        match &pending {
            Pending::Collect { quote, entitlement, outputs } => {
                let answer = self.send_collect(quote, entitlement, outputs);
                self.finish_outputs(&pending, outputs, answer, Origin::Collected)
            }
            Pending::Swap { inputs, outputs, .. } => {
                let request = SwapRequest {
                    inputs: inputs.iter().map(|held| held.proof.clone()).collect(),
                    outputs: self.derive(outputs)?.iter().map(Output::message).collect(),
                };
                let answer = self.mint().swap(&request).map_err(WalletError::from);
                self.finish_outputs(&pending, outputs, answer, Origin::Swapped)
            }
            Pending::Lock { inputs, outputs, locked, handover } => {
                self.send_lock(&pending, inputs, outputs, locked, handover)
            }
            Pending::Payment { target, id, tokens } => self.send_payment(&pending, target, id, tokens),
            Pending::Redeem { quote, inputs } => self.send_redeem(&pending, quote, inputs),
        }
    }

    fn send_collect(
        &self,
        quote: &str,
        entitlement: &str,
        outputs: &[OutputRef],
    ) -> Result<Vec<BlindSignature>, WalletError> {
        let outputs: Vec<_> = self.derive(outputs)?.iter().map(Output::message).collect();
        let mut aux = [0; 32];
        rand::rng().fill_bytes(&mut aux);
        let signature = quote::sign(quote, &outputs, &self.quote_key(entitlement)?, &aux);
        let request = MintRequest { quote: quote.to_owned(), outputs, signature: Some(signature) };
        Ok(self.mint().mint_entitlement(&request)?)
    }

    /// Turns the mint's answer into tokens, or a refusal into what it means for the wallet.
    fn finish_outputs(
        &mut self,
        pending: &Pending,
        outputs: &[OutputRef],
        answer: Result<Vec<BlindSignature>, WalletError>,
        origin: Origin,
    ) -> Result<Vec<Held>, WalletError> {
        let signatures = match answer {
            Ok(signatures) => signatures,
            Err(WalletError::Http(refusal @ HttpError::Refused { .. })) => {
                match was_done_before(&refusal).then(|| self.fetch_signatures(outputs)).transpose()?.flatten() {
                    Some(signatures) => signatures,
                    None => return Err(self.give_up(pending, refusal)?),
                }
            }
            Err(other) => return Err(other),
        };
        let tokens = self.unblind(outputs, &signatures, origin)?;
        self.state.pending.retain(|other| !same(other, pending));
        self.state.tokens.extend(tokens.iter().cloned());
        let what = match pending {
            Pending::Collect { entitlement, .. } => Some(("collected", Some(entitlement.clone()))),
            Pending::Swap { received: Some(received), .. } => Some(("received", received.request.clone())),
            _ => None,
        };
        if let (Some((what, note)), Some(first)) = (what, tokens.first()) {
            self.note_history(what, sum(&tokens), self.unit_of(&first.proof), note);
        }
        self.save()?;
        Ok(tokens)
    }

    /// The signatures of outputs that were signed in an earlier try; `None` if the mint never signed them.
    fn fetch_signatures(&self, outputs: &[OutputRef]) -> Result<Option<Vec<BlindSignature>>, WalletError> {
        let mut signatures = Vec::with_capacity(outputs.len());
        for output in self.derive(outputs)? {
            match self.mint().restore_one(output.message())? {
                Some(signature) => signatures.push(signature),
                None => return Ok(None),
            }
        }
        Ok(Some(signatures))
    }

    /// Undoes a request that the mint refused: its tokens are the wallet's again, unless they are spent.
    fn give_up(&mut self, pending: &Pending, refusal: HttpError) -> Result<WalletError, WalletError> {
        let code = code_of(&refusal);
        if let Pending::Swap { inputs, received: None, .. } = pending {
            if code == Some(ErrorCode::ProofsSpent) {
                // This wallet's own, and spent by somebody else: a till that took a payment after all.
                self.note_history("paid", sum(inputs), self.unit_of(&inputs[0].proof), None);
            } else {
                self.state.tokens.extend(inputs.iter().cloned());
            }
        }
        self.state.pending.retain(|other| !same(other, pending));
        self.forget_active_keysets(code);
        self.save()?;
        Ok(if code == Some(ErrorCode::ProofsSpent) { WalletError::AlreadySpent } else { refusal.into() })
    }

    /// After a refusal because the period is over: the next act asks for the new keyset.
    pub(crate) fn forget_active_keysets(&mut self, code: Option<ErrorCode>) {
        if code == Some(ErrorCode::KeysetInactive) {
            for keyset in self.state.keysets.values_mut() {
                keyset.active = Some(false);
            }
        }
    }

    fn send_payment(
        &mut self,
        pending: &Pending,
        target: &str,
        id: &Option<String>,
        tokens: &[Held],
    ) -> Result<Vec<Held>, WalletError> {
        let unit = self.unit_of(&tokens[0].proof);
        let payload = PaymentPayload {
            id: id.clone(),
            memo: None,
            mint: self.state.services.mint.clone(),
            unit: unit.clone(),
            proofs: tokens.iter().map(|held| held.proof.clone()).collect(),
        };
        let answer: Result<PaymentAnswer, HttpError> = http::post(target, &payload);
        match answer {
            Ok(answer) => {
                let amount = sum(tokens);
                self.state.pending.retain(|other| !same(other, pending));
                self.note_history("paid", amount, unit, answer.receipt);
                self.save()?;
                Ok(Vec::new())
            }
            Err(refusal @ HttpError::Refused { .. }) if is_locked(tokens) => {
                self.state.pending.retain(|other| !same(other, pending));
                self.note_stranded(tokens);
                self.save()?;
                Err(WalletError::LockedRefused { detail: refusal.to_string() })
            }
            Err(refusal @ HttpError::Refused { .. }) => {
                // The till did not take them: they are still this wallet's.
                self.state.pending.retain(|other| !same(other, pending));
                self.state.tokens.extend(tokens.iter().cloned());
                self.save()?;
                Err(refusal.into())
            }
            Err(other) => Err(other.into()),
        }
    }

    fn send_redeem(&mut self, pending: &Pending, quote: &str, inputs: &[Held]) -> Result<Vec<Held>, WalletError> {
        let request = MeltRequest {
            quote: quote.to_owned(),
            inputs: inputs.iter().map(|held| held.proof.clone()).collect(),
            outputs: Vec::new(),
        };
        let paid = match self.mint().settle(&request) {
            Ok(answer) => answer.state == MeltQuoteState::Paid,
            Err(refusal @ HttpError::Refused { .. }) => {
                // Refused because it was carried out before, or for good?
                if self.mint().settlement_state(quote)?.state != MeltQuoteState::Paid {
                    self.state.pending.retain(|other| !same(other, pending));
                    self.state.tokens.extend(inputs.iter().cloned());
                    self.save()?;
                    return Err(refusal.into());
                }
                true
            }
            Err(other) => return Err(other.into()),
        };
        if !paid {
            return Err(WalletError::MintMisbehaves);
        }
        let unit = self.unit_of(&inputs[0].proof);
        self.state.pending.retain(|other| !same(other, pending));
        self.note_history("redeemed", sum(inputs), unit, None);
        self.save()?;
        Ok(Vec::new())
    }

    pub(crate) fn derive(&self, outputs: &[OutputRef]) -> Result<Vec<Output>, WalletError> {
        outputs.iter().map(|reference| Output::derive(&self.seed, *reference)).collect()
    }

    pub(crate) fn unblind(
        &self,
        outputs: &[OutputRef],
        signatures: &[BlindSignature],
        origin: Origin,
    ) -> Result<Vec<Held>, WalletError> {
        if outputs.len() != signatures.len() {
            return Err(WalletError::MintMisbehaves);
        }
        self.derive(outputs)?
            .into_iter()
            .zip(signatures)
            .map(|(output, signature)| {
                let keyset = self.state.keysets.get(&signature.id).ok_or(WalletError::MintMisbehaves)?;
                Ok(Held { proof: output.unblind(signature, keyset)?, origin })
            })
            .collect()
    }
}

/// The value of tokens that the wallet holds, and so has added up before.
pub(crate) fn sum(tokens: &[Held]) -> Amount {
    Amount::checked_sum(tokens.iter().map(|held| held.proof.amount)).unwrap_or_default()
}

/// Whether a refusal may mean that the request was carried out in an earlier try.
pub(crate) fn was_done_before(refusal: &HttpError) -> bool {
    matches!(code_of(refusal), Some(ErrorCode::ProofsSpent | ErrorCode::OutputsSigned | ErrorCode::QuoteIssued))
}

/// Whether two entries are the same request: no two requests share an output, a quote or a token.
pub(crate) fn same(a: &Pending, b: &Pending) -> bool {
    let first = |tokens: &[Held]| tokens.first().map(|held| held.proof.secret.clone());
    match (a, b) {
        (Pending::Collect { outputs: a, .. }, Pending::Collect { outputs: b, .. })
        | (Pending::Swap { outputs: a, .. }, Pending::Swap { outputs: b, .. }) => a == b,
        (Pending::Lock { inputs: a, .. }, Pending::Lock { inputs: b, .. })
        | (Pending::Payment { tokens: a, .. }, Pending::Payment { tokens: b, .. }) => first(a) == first(b),
        (Pending::Redeem { quote: a, .. }, Pending::Redeem { quote: b, .. }) => a == b,
        _ => false,
    }
}
