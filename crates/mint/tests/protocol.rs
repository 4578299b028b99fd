//! The optional parts of the protocol that this mint speaks: spending conditions, batches, the sandbox, subscriptions.

mod world;

use cashu::conditions::{self, LockBuilder};
use cashu::messages::{
    CheckStateRequest, MeltQuoteRequest, MeltRequest, MintBatchRequest, MintQuoteRequest, MintRequest, ProofState,
    SwapRequest,
};
use cashu::secret::{BlindingFactor, Secret};
use cashu::{Amount, BlindedMessage, ErrorCode, Point, Proof, bdhke, quote};
use futures_util::{SinkExt, StreamExt};
use mint::store::Method;
use mint::{Mint, Options};
use secp256k1::SecretKey;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use world::{Holder, Place, code, mint_request, order, quote_key, usd, world};

fn key(byte: u8) -> SecretKey {
    SecretKey::from_secret_bytes([byte; 32]).unwrap()
}

fn public(byte: u8) -> Point {
    Point::of_secret(&key(byte))
}

/// A token with this secret, made from an ordinary one.
fn with_secret(mint: &Mint, holder: &mut Holder, from: Proof, text: String) -> Proof {
    let r = BlindingFactor::from_bytes([77; 32]).unwrap();
    let secret = Secret::new(text).unwrap();
    let blinded = bdhke::blind(secret.as_bytes(), r.key()).unwrap();
    let output = BlindedMessage { amount: from.amount, id: from.id, blinded };
    let (amount, id) = (from.amount, from.id);
    let signature = mint.swap(&SwapRequest { inputs: vec![from], outputs: vec![output] }).unwrap().remove(0);
    let signature = bdhke::unblind(&signature.signature, r.key(), &holder.keyset.keys[&amount]).unwrap();
    Proof { amount, id, secret, signature, witness: None, dleq: None, p2pk_e: None }
}

on_both_stores! {
    fn a_locked_token_is_spent_by_its_key_alone_and_shows_the_witness(place) {
        let mint = place.open(&world());
        let mut holder = Holder::new(&mint, 1);
        let plain = holder.collect(&mint, "q-1", &[8]).remove(0);
        let locked = with_secret(&mint, &mut holder, plain, LockBuilder::new(public(1)).sig_all().secret(&[1; 32]));
        let (_, outputs) = holder.outputs(&[8]);
        let mut request = SwapRequest { inputs: vec![locked], outputs };
        assert_eq!(code(mint.swap(&request)), ErrorCode::ProofInvalid);
        conditions::sign_all(&mut request.inputs, &request.outputs, None, &key(2), &[0; 32]).unwrap();
        assert_eq!(code(mint.swap(&request)), ErrorCode::ProofInvalid);
        request.inputs[0].witness = None;
        conditions::sign_all(&mut request.inputs, &request.outputs, None, &key(1), &[0; 32]).unwrap();
        // Somebody on the way puts in outputs of their own.
        let (_, stolen) = Holder::new(&mint, 66).outputs(&[8]);
        assert_eq!(code(mint.swap(&SwapRequest { outputs: stolen, ..request.clone() })), ErrorCode::ProofInvalid);
        mint.swap(&request).unwrap();
        let state = mint.check_state(&CheckStateRequest { ys: vec![request.inputs[0].secret.y()] }).unwrap().remove(0);
        assert_eq!((state.state, state.witness), (ProofState::Spent, request.inputs[0].witness.clone()));
        assert!(mint.audit().unwrap().problems.is_empty());
    }

    fn a_preimage_opens_a_hash_lock_and_can_be_read_afterwards(place) {
        let mint = place.open(&world());
        let mut holder = Holder::new(&mint, 1);
        let plain = holder.collect(&mint, "q-1", &[4]).remove(0);
        // NUT-14's own example of a hash and its preimage.
        let hash = "ec4916dd28fc4c10d78e287ca5d9cc51ee1ae73cbfde08c6b37324cbfaac8bc5";
        let preimage = format!("{:064}", 1);
        let secret = format!(r#"["HTLC",{{"nonce":"00","data":"{hash}","tags":[]}}]"#);
        let mut locked = with_secret(&mint, &mut holder, plain, secret);
        let melt = mint.request_melt_quote(&MeltQuoteRequest { request: "m-1:4".into(), unit: usd() }).unwrap();
        let with = |witness: Option<String>, locked: &mut Proof| {
            locked.witness = witness;
            mint.melt(&MeltRequest { quote: melt.quote.clone(), inputs: vec![locked.clone()], outputs: Vec::new() })
        };
        assert_eq!(code(with(None, &mut locked)), ErrorCode::ProofInvalid);
        let wrong = format!(r#"{{"preimage":"{:064}"}}"#, 2);
        assert_eq!(code(with(Some(wrong), &mut locked)), ErrorCode::ProofInvalid);
        let right = format!(r#"{{"preimage":"{preimage}"}}"#);
        let paid = with(Some(right.clone()), &mut locked).unwrap();
        // Again, and with another's token: the first is the same request, the second is not.
        assert_eq!(with(Some(right.clone()), &mut locked).unwrap(), paid);
        let other = holder.collect(&mint, "q-2", &[4]);
        let again = MeltRequest { quote: melt.quote.clone(), inputs: other, outputs: Vec::new() };
        assert_eq!(code(mint.melt(&again)), ErrorCode::AlreadyPaid);
        let state = mint.check_state(&CheckStateRequest { ys: vec![locked.secret.y()] }).unwrap().remove(0);
        assert_eq!(state.witness, Some(right));
    }

    fn a_batch_of_quotes_is_minted_as_a_whole_or_not_at_all(place) {
        let mint = place.open(&world());
        let mut holder = Holder::new(&mint, 1);
        for (id, amount) in [("q-1", 5), ("q-2", 3), ("q-3", 1)] {
            order(&mint, id, amount);
        }
        let batch = |quotes: &[&str], outputs: &[BlindedMessage]| MintBatchRequest {
            quotes: quotes.iter().map(|id| (*id).to_owned()).collect(),
            quote_amounts: None,
            outputs: outputs.to_vec(),
            signatures: Some(quotes.iter().map(|id| Some(quote::sign(id, outputs, &quote_key(), &[0; 32]))).collect()),
        };
        let mint_batch = |request: &MintBatchRequest| mint.mint_batch(Method::Entitlement, request);
        let (_, outputs) = holder.outputs(&[8]);
        let good = batch(&["q-1", "q-2"], &outputs);
        let refused = |change: &dyn Fn(&mut MintBatchRequest)| {
            let mut request = good.clone();
            change(&mut request);
            code(mint_batch(&request))
        };
        assert_eq!(refused(&|r| (r.quotes, r.signatures) = (Vec::new(), Some(Vec::new()))), ErrorCode::Unbalanced);
        assert_eq!(refused(&|r| r.quotes[1] = "q-1".into()), ErrorCode::DuplicateQuotes);
        assert_eq!(refused(&|r| r.quotes[1] = "q-9".into()), ErrorCode::QuoteNotPaid);
        assert_eq!(refused(&|r| r.quotes = (0..101).map(|n| n.to_string()).collect()), ErrorCode::BatchTooLarge);
        assert_eq!(refused(&|r| r.quote_amounts = Some(vec![Amount::new(3), Amount::new(5)])), ErrorCode::Unbalanced);
        assert_eq!(refused(&|r| r.quote_amounts = Some(vec![Amount::new(8)])), ErrorCode::Unbalanced);
        assert_eq!(refused(&|r| r.signatures = None), ErrorCode::QuoteSignatureInvalid);
        assert_eq!(refused(&|r| drop(r.signatures.as_mut().unwrap().pop())), ErrorCode::QuoteSignatureInvalid);
        assert_eq!(refused(&|r| r.signatures.as_mut().unwrap()[1] = None), ErrorCode::QuoteSignatureInvalid);
        assert_eq!(refused(&|r| r.signatures.as_mut().unwrap().swap(0, 1)), ErrorCode::QuoteSignatureInvalid);
        let (_, nine) = holder.outputs(&[8, 1]);
        assert_eq!(code(mint_batch(&batch(&["q-1", "q-2"], &nine))), ErrorCode::Unbalanced);

        let signatures = mint_batch(&good).unwrap();
        assert_eq!(mint_batch(&good).unwrap(), signatures, "the same request, the same answer");
        // One of the two is minted: none is.
        assert_eq!(code(mint_batch(&batch(&["q-3", "q-2"], &holder.outputs(&[4]).1))), ErrorCode::QuoteIssued);
        let ids: Vec<String> = ["q-3", "q-1"].map(str::to_owned).into();
        let states = mint.mint_quotes(Method::Entitlement, &ids).unwrap();
        assert_eq!(states.iter().map(|quote| quote.amount.minor()).collect::<Vec<_>>(), [1, 5]);
        assert_eq!(code(mint.mint_quotes(Method::Entitlement, &["q-1".into(), "q-9".into()])), ErrorCode::QuoteNotPaid);
        mint.mint(Method::Entitlement, &mint_request("q-3", holder.outputs(&[1]).1)).unwrap();
        let audit = mint.audit().unwrap();
        assert_eq!((audit.problems.len(), audit.outstanding(&usd()).minor()), (0, 9));
    }

    fn a_sandbox_gives_worthless_money_to_everybody_and_real_money_to_nobody(place) {
        let world = world();
        let ask = |unit: &str, amount| MintQuoteRequest {
            amount: Amount::new(amount),
            unit: unit.parse().unwrap(),
            pubkey: None,
        };
        let closed = place.open(&world);
        for method in [Method::Entitlement, Method::Sandbox] {
            assert_eq!(code(closed.request_mint_quote(method, &ask("sandbox", 5))), ErrorCode::MintingDisabled);
        }
        drop(closed);
        let mint = place.open_with(&world, Options { sandbox: true, ..Options::default() }).unwrap();
        let request = |method, ask| mint.request_mint_quote(method, &ask);
        assert_eq!(code(request(Method::Entitlement, ask("sandbox", 5))), ErrorCode::MintingDisabled);
        assert_eq!(code(request(Method::Sandbox, ask("usd", 5))), ErrorCode::UnitUnsupported);
        assert_eq!(code(request(Method::Sandbox, ask("sandbox", 0))), ErrorCode::AmountOutOfRange);
        let made = request(Method::Sandbox, ask("sandbox", 5)).unwrap();
        assert_eq!(code(mint.mint_quote(Method::Entitlement, &made.quote)), ErrorCode::QuoteNotPaid, "of another method");
        let keyset = mint.keys(None).unwrap().into_iter().find(|keyset| keyset.unit.as_str() == "sandbox").unwrap();
        let mut holder = Holder { keyset, ..Holder::new(&mint, 1) };
        let (_, outputs) = holder.outputs(&[1, 4]);
        let minted = mint.mint(Method::Sandbox, &MintRequest { quote: made.quote, outputs, signature: None }).unwrap();
        assert_eq!(minted.len(), 2);
        assert_eq!(mint.last_event().unwrap(), 0, "the treasury hears nothing of it");
        assert!(mint.audit().unwrap().problems.is_empty());
    }

    fn fees_are_taken_from_inputs(place) {
        let mint = place.open_with(&world(), Options { input_fee_ppk: 100, ..Options::default() }).unwrap();
        let mut holder = Holder::new(&mint, 1);
        assert!(holder.keyset.check_id() && holder.keyset.input_fee_ppk == 100);
        let tokens = holder.collect(&mint, "q-1", &[8, 8, 4]);
        // Three inputs cost 0.3, so one.
        let (_, all) = holder.outputs(&[16, 4]);
        assert_eq!(code(mint.swap(&SwapRequest { inputs: tokens.clone(), outputs: all })), ErrorCode::Unbalanced);
        let (_, less) = holder.outputs(&[16, 2, 1]);
        mint.swap(&SwapRequest { inputs: tokens, outputs: less }).unwrap();
    }
}

/// NUT-17, over a real connection: the state at once, and again when it changes.
#[tokio::test]
async fn who_watches_is_told() {
    let place = Place::embedded();
    let mint = place.open(&world());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
    let router = mint::api::router(mint.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut next = async |send: Option<&str>| -> Value {
        if let Some(text) = send {
            socket.send(Message::text(text)).await.unwrap();
        }
        let message = tokio::time::timeout(std::time::Duration::from_secs(20), socket.next()).await;
        serde_json::from_str(message.expect("an answer").unwrap().unwrap().to_text().unwrap()).unwrap()
    };
    let (token, request) = tokio::task::spawn_blocking({
        let mint = mint.clone();
        move || {
            let mut holder = Holder::new(&mint, 1);
            let token = holder.collect(&mint, "q-1", &[8]).remove(0);
            order(&mint, "q-2", 2);
            (token, mint_request("q-2", holder.outputs(&[2]).1))
        }
    })
    .await
    .unwrap();
    let y = token.secret.y();
    let subscribe = |id: u8, kind: &str, filter: &str| {
        json!({"jsonrpc": "2.0", "id": id, "method": "subscribe",
               "params": {"kind": kind, "filters": [filter], "subId": format!("s-{id}")}})
        .to_string()
    };
    assert_eq!(
        next(Some(&subscribe(1, "proof_state", &y.to_string()))).await,
        json!({"jsonrpc": "2.0", "result": {"status": "OK", "subId": "s-1"}, "id": 1})
    );
    assert_eq!(next(None).await["params"]["payload"]["state"], "UNSPENT");
    next(Some(&subscribe(2, "entitlement_mint_quote", "q-2"))).await;
    assert_eq!(next(None).await["params"]["payload"]["state"], "PAID");

    let work = mint.clone();
    tokio::task::spawn_blocking(move || {
        work.mint(Method::Entitlement, &request).unwrap();
        let (_, outputs) = Holder { next: 50, ..Holder::new(&work, 1) }.outputs(&[8]);
        work.swap(&SwapRequest { inputs: vec![token], outputs }).unwrap();
    })
    .await
    .unwrap();
    let issued = next(None).await;
    assert_eq!((&issued["params"]["subId"], &issued["params"]["payload"]["state"]), (&json!("s-2"), &json!("ISSUED")));
    let spent = next(None).await;
    assert_eq!((&spent["params"]["subId"], &spent["params"]["payload"]["state"]), (&json!("s-1"), &json!("SPENT")));

    // What can't be understood gets a JSON-RPC error and changes nothing.
    for (sent, error) in [
        ("nonsense".to_owned(), -32_700),
        (r#"{"jsonrpc":"2.0","id":3,"method":"delete"}"#.into(), -32_601),
        (subscribe(4, "weather", "x"), -32_602),
        (subscribe(4, "proof_state", "not a point"), -32_602),
        (subscribe(1, "proof_state", &y.to_string()), -32_602),
        (r#"{"jsonrpc":"2.0","id":5,"method":"unsubscribe","params":{"subId":"s-9"}}"#.into(), -32_602),
    ] {
        assert_eq!(next(Some(&sent)).await["error"]["code"], error, "{sent}");
    }
    let gone = next(Some(r#"{"jsonrpc":"2.0","id":6,"method":"unsubscribe","params":{"subId":"s-1"}}"#)).await;
    assert_eq!(gone["result"]["status"], "OK");
}
