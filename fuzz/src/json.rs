//! What travels between wallet and mint: requests, answers, subscriptions.

use cashu::conditions::LockBuilder;
use cashu::error::ErrorBody;
use cashu::messages::{
    CheckStateRequest, CheckStateResponse, KeysResponse, KeysetsResponse, MeltQuoteRequest, MeltQuoteResponse,
    MeltRequest, MintBatchRequest, MintQuoteRequest, MintQuoteResponse, MintRequest, QuoteCheckRequest, RestoreRequest,
    RestoreResponse, SignaturesResponse, SwapRequest,
};
use cashu::secret::{SECRET_MAX_LEN, Secret};
use cashu::subscription::{Command, FILTERS_MAX, ID_MAX_LEN, Request, Watch};
use cashu::{Amount, BlindedMessage, KeysetId, Point, Proof};
use secp256k1::SecretKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::vectors;

/// Whether the input is JSON of a type; what is read is written and read again as the same.
pub fn same_again<T: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return false };
    let written = serde_json::to_string(&value).expect("what was read can be written");
    let again: T = serde_json::from_str(&written).expect("what is written is read again");
    assert_eq!(serde_json::to_string(&again).expect("what was read can be written"), written);
    true
}

/// The sum of amounts is exact, or none: it never wraps around.
fn sums_hold(amounts: impl Iterator<Item = Amount> + Clone) {
    let exact: u128 = amounts.clone().map(|amount| u128::from(amount.minor())).sum();
    let sum = Amount::checked_sum(amounts);
    assert_eq!(sum.map(|sum| u128::from(sum.minor())), Some(exact).filter(|exact| *exact <= u64::MAX.into()));
    if let Some(sum) = sum {
        assert_eq!(Amount::checked_sum(sum.powers_of_two()), Some(sum));
    }
}

/// Each request that a mint reads.
pub fn mint_request(data: &[u8]) -> bool {
    if let Ok(SwapRequest { inputs, outputs }) = serde_json::from_slice(data) {
        sums_hold(inputs.iter().map(|input| input.amount));
        sums_hold(outputs.iter().map(|output| output.amount));
        assert!(inputs.iter().all(|input| (1..=SECRET_MAX_LEN).contains(&input.secret.as_bytes().len())));
    }
    let taken = [
        same_again::<SwapRequest>(data),
        same_again::<MintRequest>(data),
        same_again::<MintBatchRequest>(data),
        same_again::<MeltRequest>(data),
        same_again::<MintQuoteRequest>(data),
        same_again::<MeltQuoteRequest>(data),
        same_again::<QuoteCheckRequest>(data),
        same_again::<CheckStateRequest>(data),
        same_again::<RestoreRequest>(data),
    ];
    taken.contains(&true)
}

/// Each answer that a wallet reads.
pub fn mint_answer(data: &[u8]) -> bool {
    if let Ok(KeysResponse { keysets }) = serde_json::from_slice(data) {
        for keyset in keysets.into_iter().filter(|keyset| keyset.check_id()) {
            let mut other = keyset;
            other.input_fee_ppk = other.input_fee_ppk.wrapping_add(1);
            assert!(!other.check_id(), "an id is of one fee");
        }
    }
    let taken = [
        same_again::<KeysResponse>(data),
        same_again::<KeysetsResponse>(data),
        same_again::<SignaturesResponse>(data),
        same_again::<MintQuoteResponse>(data),
        same_again::<MeltQuoteResponse>(data),
        same_again::<CheckStateResponse>(data),
        same_again::<RestoreResponse>(data),
        same_again::<ErrorBody>(data),
    ];
    taken.contains(&true)
}

/// Messages of a WebSocket. What is read keeps its limits, and is read again as the same when it is written.
pub fn subscription(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let request = match Request::parse(text) {
        Ok(request) => request,
        Err(refusal) => {
            assert!(
                refusal.code < 0 && !refusal.id.is_array() && !refusal.id.is_object(),
                "what is sent back is small"
            );
            return false;
        }
    };
    assert!(request.id.as_str().is_none_or(|id| id.len() <= ID_MAX_LEN));
    let (method, params) = match &request.command {
        Command::Unsubscribe { sub_id } => {
            assert!(sub_id.len() <= ID_MAX_LEN);
            ("unsubscribe", json!({"subId": sub_id}))
        }
        Command::Subscribe { sub_id, watch } => {
            assert!(sub_id.len() <= ID_MAX_LEN);
            let (kind, filters) = match watch {
                Watch::Proofs(ys) => ("proof_state".to_owned(), ys.iter().map(Point::to_string).collect()),
                Watch::MintQuotes { method, ids } => (format!("{method}_mint_quote"), ids.clone()),
                Watch::MeltQuotes { method, ids } => (format!("{method}_melt_quote"), ids.clone()),
            };
            assert!(filters.len() <= FILTERS_MAX && filters.iter().all(|filter| filter.len() <= ID_MAX_LEN));
            ("subscribe", json!({"kind": kind, "filters": filters, "subId": sub_id}))
        }
    };
    let written = json!({"jsonrpc": "2.0", "id": request.id, "method": method, "params": params});
    assert_eq!(Request::parse(&written.to_string()), Ok(request), "what is written is read again");
    true
}

/// A key for tests.
pub fn key(byte: u8) -> SecretKey {
    SecretKey::from_secret_bytes([byte; 32]).expect("a secret key")
}

/// Its public key.
pub fn public(byte: u8) -> Point {
    Point::of_secret(&key(byte))
}

/// A keyset's id.
pub fn keyset() -> KeysetId {
    KeysetId::from_bytes(&[1; 33]).expect("an id")
}

/// An output.
pub fn output(byte: u8) -> BlindedMessage {
    BlindedMessage { amount: Amount::new(4), id: keyset(), blinded: public(byte) }
}

/// A token with this secret.
pub fn proof(secret: &str) -> Proof {
    Proof {
        amount: Amount::new(4),
        id: keyset(),
        secret: Secret::new(secret.to_owned()).expect("a secret"),
        signature: public(9),
        witness: None,
        dleq: None,
        p2pk_e: None,
    }
}

/// An ordinary token and a locked one.
pub fn proofs() -> Vec<Proof> {
    let mut locked = proof(&LockBuilder::new(public(1)).secret(&[1; 32]));
    locked.witness = Some(r#"{"signatures":["00"]}"#.into());
    locked.p2pk_e = Some(public(5));
    vec![proof("an ordinary secret"), locked]
}

/// One of each request, and the published ones.
pub fn mint_request_seeds() -> Vec<Vec<u8>> {
    let (inputs, outputs) = (proofs(), vec![output(2), output(3)]);
    let mut seeds: Vec<Vec<u8>> = [
        json!({"inputs": inputs, "outputs": outputs}),
        json!({"quote": "q-1", "outputs": outputs, "signature": "00".repeat(64)}),
        json!({"quotes": ["q-1", "q-2"], "quote_amounts": [4, 4], "outputs": outputs, "signatures": ["00", null]}),
        json!({"quote": "m-1", "inputs": inputs, "outputs": null}),
        json!({"amount": 8, "unit": "usd", "pubkey": public(1)}),
        json!({"request": "shop:8", "unit": "usd"}),
        json!({"quotes": ["q-1"]}),
        json!({"Ys": [public(1), public(2)]}),
        json!({"outputs": outputs}),
    ]
    .iter()
    .map(|value| value.to_string().into_bytes())
    .collect();
    seeds.extend(vectors::json().into_iter().filter(|block| mint_request(block)));
    seeds
}

/// One of each answer, and the published ones.
pub fn mint_answer_seeds() -> Vec<Vec<u8>> {
    let promise =
        json!({"amount": 4, "id": keyset(), "C_": public(5), "dleq": {"e": "11".repeat(32), "s": "22".repeat(32)}});
    let quote = json!({"quote": "q-1", "request": "", "amount": 8, "unit": "usd", "state": "PAID", "expiry": 9, "pubkey": null});
    let mut seeds: Vec<Vec<u8>> = [
        json!({"keysets": [{"id": keyset(), "unit": "usd", "active": true, "keys": {"1": public(1), "2": public(2)}}]}),
        json!({"keysets": [{"id": keyset(), "unit": "usd", "active": true, "input_fee_ppk": 100, "final_expiry": 9}]}),
        json!({"signatures": [promise]}),
        quote,
        json!({"states": [{"Y": public(1), "state": "SPENT", "witness": "{}"}]}),
        json!({"outputs": [output(2)], "signatures": [promise]}),
        json!({"detail": "no", "code": 11_001}),
    ]
    .iter()
    .map(|value| value.to_string().into_bytes())
    .collect();
    seeds.extend(vectors::json().into_iter().filter(|block| mint_answer(block)));
    seeds
}

/// One of each message.
pub fn subscription_seeds() -> Vec<Vec<u8>> {
    let at_limit = "x".repeat(ID_MAX_LEN);
    let subscribe = |kind: &str, filters: serde_json::Value| json!({"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"kind": kind, "filters": filters, "subId": "s"}});
    [
        subscribe("proof_state", json!([public(1)])),
        subscribe("bolt11_mint_quote", json!(["q-1", "q-2"])),
        subscribe("settlement_melt_quote", json!([])),
        json!({"jsonrpc": "2.0", "id": "b", "method": "unsubscribe", "params": {"subId": "s"}}),
        // As long as an id may be: one letter more is refused.
        json!({"id": at_limit, "method": "unsubscribe", "params": {"subId": at_limit}}),
        json!({"method": "subscribe", "params": {"kind": "a_mint_quote", "filters": [at_limit], "subId": at_limit}}),
    ]
    .iter()
    .map(|value| value.to_string().into_bytes())
    .collect()
}
