//! What a request must be before anything costs time: limits, keysets, units, sums. And how an output is signed. No I/O.

use std::collections::HashSet;

use cashu::messages::SwapRequest;
use cashu::{Amount, BlindSignature, BlindedMessage, ErrorCode, Point, Proof, Unit, bdhke, conditions, dleq};

use crate::keysets::{KeysetTable, SigningKeyset, exponent_of};
use crate::store::{Row, TokenRow};

/// Inputs of one request. A wallet with two hundred coins can still spend them all at once.
pub const INPUTS_MAX: usize = 256;
/// Outputs of one request.
pub const OUTPUTS_MAX: usize = 256;
/// Quotes of one batch (NUT-29).
pub const BATCH_MAX: usize = 100;
/// Points of one state check or restore.
pub const LOOKUPS_MAX: usize = 1_000;

/// What the rules found in a request that is within them: what the arithmetic needs besides the request itself.
#[derive(Clone)]
pub struct Passed {
    /// The keysets that it was checked with.
    pub keysets: KeysetTable,
    /// Unix time at which it was checked.
    pub now: u64,
    /// What each input claims to be.
    pub inputs: Vec<TokenRow>,
    /// `B_` and row of each output that is to be signed.
    pub outputs: Vec<Row>,
}

/// Checks a swap (NUT-03).
///
/// # Errors
/// The code of the first rule that is broken.
pub fn check_swap(keysets: KeysetTable, request: &SwapRequest, now: u64) -> Result<Passed, ErrorCode> {
    let outputs = check_outputs(&keysets, &request.outputs, now)?;
    let inputs = check_inputs(&keysets, &request.inputs, now)?;
    if inputs.unit != outputs.unit {
        return Err(ErrorCode::UnitMismatch);
    }
    if inputs.worth != outputs.worth {
        return Err(ErrorCode::Unbalanced);
    }
    Ok(Passed { keysets, now, inputs: inputs.rows, outputs: outputs.rows })
}

/// Inputs that may be spent if their signatures and conditions hold.
#[derive(Debug)]
pub struct CheckedInputs {
    /// What each claims to be.
    pub rows: Vec<TokenRow>,
    /// The sum, fees off.
    pub worth: Amount,
    /// Their one unit.
    pub unit: Unit,
}

/// Outputs that may be signed.
#[derive(Debug)]
pub struct CheckedOutputs {
    /// `B_` and row of each.
    pub rows: Vec<Row>,
    /// The sum.
    pub worth: Amount,
    /// Their one unit.
    pub unit: Unit,
}

/// Checks the inputs of a swap or a melt (NUT-03, NUT-05), all but what takes arithmetic: that is the pool's.
///
/// # Errors
/// The code of the first rule that is broken.
pub fn check_inputs(keysets: &KeysetTable, inputs: &[Proof], now: u64) -> Result<CheckedInputs, ErrorCode> {
    if inputs.is_empty() {
        return Err(ErrorCode::Unbalanced);
    }
    if inputs.len() > INPUTS_MAX {
        return Err(ErrorCode::TooManyInputs);
    }
    let mut secrets = HashSet::with_capacity(inputs.len());
    if !inputs.iter().all(|proof| secrets.insert(proof.secret.as_str())) {
        return Err(ErrorCode::DuplicateInputs);
    }
    let mut fee_ppk = 0u64;
    let mut unit = None;
    let mut found: Vec<&SigningKeyset> = Vec::with_capacity(inputs.len());
    for proof in inputs {
        let keyset = keysets.by_id(&proof.id).ok_or(ErrorCode::KeysetUnknown)?;
        if keysets.is_over(keyset, now) {
            return Err(ErrorCode::KeysetExpired);
        }
        one_unit(&mut unit, &keyset.record.unit)?;
        fee_ppk = fee_ppk.saturating_add(keyset.public.input_fee_ppk);
        found.push(keyset);
    }
    let sum = Amount::checked_sum(inputs.iter().map(|proof| proof.amount)).ok_or(ErrorCode::AmountOutOfRange)?;
    let worth = sum.checked_sub(Amount::new(fee_ppk.div_ceil(1000))).ok_or(ErrorCode::Unbalanced)?;
    let mut rows = Vec::with_capacity(inputs.len());
    for (proof, keyset) in inputs.iter().zip(found) {
        keyset.key(proof.amount).ok_or(ErrorCode::ProofInvalid)?;
        if proof.witness.as_ref().is_some_and(|witness| witness.len() > conditions::WITNESS_MAX_LEN) {
            return Err(ErrorCode::ProofInvalid);
        }
        rows.push(row(keyset, proof.amount)?);
    }
    Ok(CheckedInputs { rows, worth, unit: unit.ok_or(ErrorCode::Unbalanced)? })
}

/// Checks the outputs of a swap or mint (NUT-03, NUT-04).
///
/// # Errors
/// The code of the first rule that is broken.
pub fn check_outputs(keysets: &KeysetTable, outputs: &[BlindedMessage], now: u64) -> Result<CheckedOutputs, ErrorCode> {
    if outputs.is_empty() {
        return Err(ErrorCode::Unbalanced);
    }
    if outputs.len() > OUTPUTS_MAX {
        return Err(ErrorCode::TooManyOutputs);
    }
    let mut points = HashSet::with_capacity(outputs.len());
    if !outputs.iter().all(|output| points.insert(output.blinded)) {
        return Err(ErrorCode::DuplicateOutputs);
    }
    let mut unit = None;
    let mut rows = Vec::with_capacity(outputs.len());
    for output in outputs {
        let keyset = keysets.by_id(&output.id).ok_or(ErrorCode::KeysetUnknown)?;
        if keysets.is_over(keyset, now) {
            return Err(ErrorCode::KeysetExpired);
        }
        if !keyset.is_active(now) {
            return Err(ErrorCode::KeysetInactive);
        }
        one_unit(&mut unit, &keyset.record.unit)?;
        keyset.key(output.amount).ok_or(ErrorCode::AmountOutOfRange)?;
        rows.push((output.blinded, row(keyset, output.amount)?));
    }
    let worth = Amount::checked_sum(outputs.iter().map(|output| output.amount)).ok_or(ErrorCode::AmountOutOfRange)?;
    Ok(CheckedOutputs { rows, worth, unit: unit.ok_or(ErrorCode::Unbalanced)? })
}

/// Signs an output, with the DLEQ proof. A pure function of key and output: signing twice gives the same.
pub fn sign(keysets: &KeysetTable, blinded: &Point, token: TokenRow) -> Option<BlindSignature> {
    let keyset = keysets.by_number(token.keyset)?;
    let amount = Amount::new(1u64.checked_shl(token.exponent.into())?);
    let (secret_key, public_key) = keyset.key(amount)?;
    let signature = bdhke::sign(blinded, secret_key);
    let proof = dleq::prove(blinded, &signature, secret_key, public_key);
    Some(BlindSignature { amount, id: keyset.public.id, signature, dleq: Some(proof) })
}

fn one_unit(unit: &mut Option<Unit>, next: &Unit) -> Result<(), ErrorCode> {
    match unit {
        Some(unit) if unit != next => Err(ErrorCode::MultipleUnits),
        Some(_) => Ok(()),
        None => {
            *unit = Some(next.clone());
            Ok(())
        }
    }
}

fn row(keyset: &SigningKeyset, amount: Amount) -> Result<TokenRow, ErrorCode> {
    let exponent = exponent_of(amount).ok_or(ErrorCode::AmountOutOfRange)?;
    Ok(TokenRow { keyset: keyset.record.number, exponent })
}
