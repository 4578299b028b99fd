//! What travels between wallet and mint in JSON (NUT-00, 03, 04, 05, 07, 09).

use serde::{Deserialize, Deserializer, Serialize};

use crate::dleq::{Dleq, ProofDleq};
use crate::keyset::KeysetInfo;
use crate::secret::Secret;
use crate::{Amount, Keyset, KeysetId, Point, Unit};

/// An output: a secret hidden from the mint, that asks for a signature worth `amount` (NUT-00).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlindedMessage {
    /// The value, one of the keyset's amounts.
    pub amount: Amount,
    /// The keyset that is to sign.
    pub id: KeysetId,
    /// `B_`.
    #[serde(rename = "B_")]
    pub blinded: Point,
}

/// A blind signature, or promise (NUT-00), with its DLEQ proof (NUT-12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlindSignature {
    /// The value.
    pub amount: Amount,
    /// The keyset that signed.
    pub id: KeysetId,
    /// `C_`.
    #[serde(rename = "C_")]
    pub signature: Point,
    /// The proof that the keyset's own key signed. Our mint always sends it and our wallet always asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dleq: Option<Dleq>,
}

/// A token: a secret and the mint's signature on it (NUT-00). An input of a swap or a melt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The value.
    pub amount: Amount,
    /// The keyset that signed.
    pub id: KeysetId,
    /// The secret.
    pub secret: Secret,
    /// `C`.
    #[serde(rename = "C")]
    pub signature: Point,
    /// The signatures or preimage that a spending condition asks for (NUT-10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// The proof for a receiver who is offline (NUT-12). Never sent to the mint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dleq: Option<ProofDleq>,
    /// The sender's one-time key, by which the receiver finds the key of a lock to a blinded key (NUT-28). Never sent to the
    /// mint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p2pk_e: Option<Point>,
}

/// `GET /v1/keys`, `GET /v1/keys/{id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeysResponse {
    /// The keysets with their keys.
    pub keysets: Vec<Keyset>,
}

/// `GET /v1/keysets`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeysetsResponse {
    /// All keysets, active or not.
    pub keysets: Vec<KeysetInfo>,
}

/// `POST /v1/swap`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwapRequest {
    /// What is spent.
    pub inputs: Vec<Proof>,
    /// What is to be signed instead.
    pub outputs: Vec<BlindedMessage>,
}

/// The answer to a swap or a mint: signatures in the order of the outputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignaturesResponse {
    /// One signature an output.
    pub signatures: Vec<BlindSignature>,
}

/// `POST /v1/mint/{method}` (NUT-04, with the signature of NUT-20).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MintRequest {
    /// The quote's id.
    pub quote: String,
    /// What is to be signed; the sum is the quote's amount.
    pub outputs: Vec<BlindedMessage>,
    /// By the quote's key over the quote and the outputs ([`crate::quote`]), 64 bytes as hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// `POST /v1/mint/{method}/batch` (NUT-29): several quotes at once, or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MintBatchRequest {
    /// The quotes' ids.
    pub quotes: Vec<String>,
    /// What each quote is expected to bring; each must be the quote's own amount where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_amounts: Option<Vec<Amount>>,
    /// What is to be signed; the sum is that of the quotes' amounts.
    pub outputs: Vec<BlindedMessage>,
    /// For each quote the signature of its key over its id and all outputs; `null` for one without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Vec<Option<String>>>,
}

/// `POST /v1/mint/quote/{method}/check` (NUT-29).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuoteCheckRequest {
    /// The quotes' ids, none twice.
    pub quotes: Vec<String>,
}

/// `POST /v1/mint/quote/{method}` (NUT-04, NUT-20).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MintQuoteRequest {
    /// How much.
    pub amount: Amount,
    /// In which unit.
    pub unit: Unit,
    /// The key that is to sign the mint request; without one anybody who knows the quote can mint it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<Point>,
}

/// The state of a mint quote (NUT-04).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MintQuoteState {
    /// Not paid for.
    Unpaid,
    /// Paid for, not minted.
    Paid,
    /// Minted.
    Issued,
}

/// A mint quote, as `GET /v1/mint/quote/{method}/{id}` tells it (NUT-04, NUT-20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintQuoteResponse {
    /// The quote's id.
    pub quote: String,
    /// What a payer would pay; empty for `entitlement`, which a programme has paid.
    pub request: String,
    /// How much it is for.
    pub amount: Amount,
    /// In which unit.
    pub unit: Unit,
    /// Where it stands.
    pub state: MintQuoteState,
    /// Unix time after which it cannot be minted.
    pub expiry: Option<u64>,
    /// The key that must sign the mint request (NUT-20).
    pub pubkey: Option<Point>,
}

/// `POST /v1/melt/quote/{method}` (NUT-05). For `settlement` the request is `MERCHANT:AMOUNT`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeltQuoteRequest {
    /// What is to be paid.
    pub request: String,
    /// In which unit the wallet pays.
    pub unit: Unit,
}

/// The state of a melt quote (NUT-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MeltQuoteState {
    /// Not paid.
    Unpaid,
    /// Being paid.
    Pending,
    /// Paid.
    Paid,
}

/// A melt quote (NUT-05).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeltQuoteResponse {
    /// The quote's id.
    pub quote: String,
    /// What is paid.
    pub request: String,
    /// How much the inputs must bring.
    pub amount: Amount,
    /// In which unit.
    pub unit: Unit,
    /// Always 0 for `settlement`; wallets made for Lightning ask for it.
    #[serde(default)]
    pub fee_reserve: Amount,
    /// Where it stands.
    pub state: MeltQuoteState,
    /// Unix time after which it cannot be melted.
    pub expiry: u64,
}

/// `POST /v1/melt/{method}` (NUT-05).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeltRequest {
    /// The quote's id.
    pub quote: String,
    /// What is spent.
    pub inputs: Vec<Proof>,
    /// Blank outputs for change (NUT-08). A settlement has none: they are signed by `SIG_ALL` and otherwise ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_none")]
    pub outputs: Vec<BlindedMessage>,
}

/// Some wallets write `null` for a list that they leave out.
fn null_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<BlindedMessage>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `POST /v1/checkstate` (NUT-07).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckStateRequest {
    /// `Y` of each proof.
    #[serde(rename = "Ys")]
    pub ys: Vec<Point>,
}

/// Whether a proof is spent (NUT-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProofState {
    /// Can be spent.
    Unspent,
    /// Part of a payment under way.
    Pending,
    /// Spent.
    Spent,
}

/// One answer of a state check (NUT-07).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofStateEntry {
    /// The proof's `Y`.
    #[serde(rename = "Y")]
    pub y: Point,
    /// Where it stands.
    pub state: ProofState,
    /// The witness it was spent with, if it was locked (NUT-14).
    #[serde(default)]
    pub witness: Option<String>,
}

/// The answer to a state check, in the order asked (NUT-07).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckStateResponse {
    /// One entry a `Y`.
    pub states: Vec<ProofStateEntry>,
}

/// `POST /v1/restore` (NUT-09).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// Outputs that may have been signed before.
    pub outputs: Vec<BlindedMessage>,
}

/// The outputs that were signed before, each with its signature at the same place (NUT-09).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreResponse {
    /// Those of the request that the mint knows.
    pub outputs: Vec<BlindedMessage>,
    /// Their signatures.
    pub signatures: Vec<BlindSignature>,
}
