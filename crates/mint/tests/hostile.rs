//! Bodies that no honest wallet sends, over HTTP: the right refusal, nothing changed, and the mint lives on.
//!
//! `FUZZ=100000 SEED=7 cargo test -p mint --test hostile` mangles as many requests, drawn from that seed.

mod world;

use std::sync::atomic::Ordering;

use cashu::messages::{
    CheckStateRequest, MeltQuoteRequest, MeltRequest, MintBatchRequest, RestoreRequest, SwapRequest,
};
use cashu::{Amount, ErrorCode, quote};
use futures_util::{SinkExt, StreamExt};
use mint::rules::LOOKUPS_MAX;
use mint::store::Method;
use mint::{Mint, socket};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use world::{Holder, Place, code, mint_request, order, quote_key, usd, world};

/// A mint that is served, and a connection to it.
struct Served {
    mint: Mint,
    address: std::net::SocketAddr,
    runtime: tokio::runtime::Runtime,
    place: Place,
}

impl Served {
    fn new() -> Self {
        let place = Place::embedded();
        let mint = place.open(&world());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = mint::api::router(mint.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Served { mint, address, runtime, place }
    }

    /// Posts a body; gives the status and the body of the answer.
    fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let length = body.len();
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: mint\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // A mint that has seen enough may hang up before the end.
            let _ = stream.write_all(body).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
            (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
        })
    }

    /// Sums of all rows: what a refused request must not change.
    fn sums(&self) -> (u64, u64, u64) {
        let audit = self.mint.audit().unwrap();
        assert!(audit.problems.is_empty(), "{:?}", audit.problems);
        let totals = audit.totals.get(&usd()).cloned().unwrap_or_default();
        (totals.signed, totals.spent, totals.issued)
    }
}

#[test]
fn each_gets_its_code_and_changes_nothing() {
    let served = Served::new();
    let mut holder = Holder::new(&served.mint, 1);
    let tokens = holder.collect(&served.mint, "q-1", &[4, 8]);
    let (_, outputs) = holder.outputs(&[4, 8]);
    let good = json!(SwapRequest { inputs: tokens, outputs });
    let before = served.sums();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.to_string().into_bytes()
    };
    let infinity = "00".repeat(33);
    let off_curve = format!("02{}", "ff".repeat(32));
    let cases: Vec<(&str, Vec<u8>, u64)> = vec![
        ("empty", Vec::new(), 10_001),
        ("not JSON", b"{{{".to_vec(), 10_001),
        ("not UTF-8", vec![0xff; 100], 10_001),
        ("another shape", b"[1,2,3]".to_vec(), 10_001),
        ("null", b"null".to_vec(), 10_001),
        ("deep", [vec![b'['; 100_000], vec![b']'; 100_000]].concat(), 10_001),
        ("infinity as B_", with(&|r| r["outputs"][0]["B_"] = infinity.clone().into()), 10_001),
        ("infinity as C", with(&|r| r["inputs"][0]["C"] = infinity.clone().into()), 10_001),
        ("B_ off the curve", with(&|r| r["outputs"][0]["B_"] = off_curve.clone().into()), 10_001),
        ("C off the curve", with(&|r| r["inputs"][0]["C"] = off_curve.clone().into()), 10_001),
        ("an uncompressed point", with(&|r| r["inputs"][0]["C"] = format!("04{}", "11".repeat(64)).into()), 10_001),
        ("a negative amount", with(&|r| r["inputs"][0]["amount"] = (-4).into()), 10_001),
        ("an amount past 64 bits", with(&|r| r["inputs"][0]["amount"] = json!(1e30)), 10_001),
        ("a fraction", with(&|r| r["outputs"][0]["amount"] = json!(4.5)), 10_001),
        ("an empty secret", with(&|r| r["inputs"][0]["secret"] = "".into()), 10_001),
        ("a long secret", with(&|r| r["inputs"][0]["secret"] = "x".repeat(2_000).into()), 10_001),
        ("a keyset id of no version", with(&|r| r["inputs"][0]["id"] = "ff".repeat(33).into()), 10_001),
        ("sums that overflow", with(&|r| r["outputs"][0]["amount"] = u64::MAX.into()), 11_006),
        (
            "inputs that overflow",
            with(&|r| {
                for input in 0..2 {
                    r["inputs"][input]["amount"] = u64::MAX.into()
                }
            }),
            11_006,
        ),
        ("the same input twice", with(&|r| r["inputs"][1] = r["inputs"][0].clone()), 11_007),
        ("the same output twice", with(&|r| r["outputs"][1] = r["outputs"][0].clone()), 11_008),
        ("an amount of zero", with(&|r| r["outputs"][0]["amount"] = 0.into()), 11_006),
        ("an unknown keyset", with(&|r| r["outputs"][0]["id"] = format!("01{}", "11".repeat(32)).into()), 12_001),
        ("unbalanced", with(&|r| drop(r["outputs"].as_array_mut().unwrap().pop())), 11_005),
    ];
    for (name, body, code) in cases {
        let (status, answer) = served.post("/v1/swap", &body);
        let told: Value = serde_json::from_str(&answer).unwrap_or_default();
        assert_eq!((status, told["code"].as_u64()), (400, Some(code)), "{name}: {answer}");
        assert_eq!(served.sums(), before, "{name}");
    }
    // The same for whatever else is read: what nests deep, is no JSON, or names no point.
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let paths = [
        "/v1/mint/entitlement",
        "/v1/mint/entitlement/batch",
        "/v1/mint/quote/entitlement",
        "/v1/mint/quote/entitlement/check",
        "/v1/melt/quote/settlement",
        "/v1/melt/settlement",
        "/v1/checkstate",
        "/v1/restore",
    ];
    let mut unreadable: Vec<(&str, Vec<u8>)> = paths.iter().map(|path| (*path, deep.clone())).collect();
    unreadable.extend(paths.iter().map(|path| (*path, b"{\"".to_vec())));
    for point in [&infinity, &off_curve] {
        let mut output = good["outputs"][0].clone();
        output["B_"] = point.as_str().into();
        unreadable.push(("/v1/checkstate", json!({"Ys": [point]}).to_string().into()));
        unreadable.push(("/v1/restore", json!({"outputs": [output]}).to_string().into()));
        unreadable.push(("/v1/mint/entitlement", json!({"quote": "q-1", "outputs": [output]}).to_string().into()));
    }
    for (path, body) in unreadable {
        let (status, answer) = served.post(path, &body);
        let told: Value = serde_json::from_str(&answer).unwrap_or_default();
        assert_eq!((status, told["code"].as_u64()), (400, Some(10_001)), "{path}: {answer}");
    }
    // More than the mint reads at all.
    assert_eq!(served.post("/v1/swap", &vec![b' '; 3 * 1024 * 1024]).0, 413);
    assert_eq!(served.post("/v1/mint/nonsense", b"{}").0, 400);
    assert_eq!(served.post("/v1/nonsense", b"{}").0, 404);
    assert_eq!(served.sums(), before);
    assert_eq!(served.post("/v1/swap", good.to_string().as_bytes()).0, 200, "the honest one still works");
    assert!(served.place.path().exists());
}

on_both_stores! {
    /// What the tests of the rules (`mint.rs`) leave out: sums at the edge, limits of lookups, times, and outputs that were signed.
    fn limits_and_times_hold_and_a_refusal_changes_nothing(place) {
        let world = world();
        let mint = place.open(&world);
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[4, 8]);
        let (_, signed_before) = Holder::new(&mint, 1).outputs(&[4, 8]);
        order(&mint, "q-2", 12);
        order(&mint, "q-3", u64::MAX);
        order(&mint, "q-4", u64::MAX);
        let melt = mint.request_melt_quote(&MeltQuoteRequest { request: "m-1:12".into(), unit: usd() }).unwrap();
        let huge = MeltQuoteRequest { request: format!("m-1:{}", u64::MAX), unit: usd() };
        let huge = mint.request_melt_quote(&huge).unwrap();
        let sums = || {
            let audit = mint.audit().unwrap();
            assert!(audit.problems.is_empty(), "{:?}", audit.problems);
            let totals = &audit.totals[&usd()];
            (totals.signed, totals.spent, totals.issued)
        };
        let before = sums();

        let again = mint_request("q-2", signed_before.clone());
        assert_eq!(code(mint.mint(Method::Entitlement, &again)), ErrorCode::OutputsSigned);
        let (_, fresh) = holder.outputs(&[4, 8]);
        assert_eq!(code(mint.mint(Method::Entitlement, &mint_request("q-3", fresh.clone()))), ErrorCode::Unbalanced);
        let quotes = ["q-3", "q-4"].map(str::to_owned);
        let signatures = quotes.iter().map(|id| Some(quote::sign(id, &fresh, &quote_key(), &[0; 32]))).collect();
        let overflowing = MintBatchRequest {
            quotes: quotes.into(),
            quote_amounts: None,
            outputs: fresh.clone(),
            signatures: Some(signatures),
        };
        assert_eq!(code(mint.mint_batch(Method::Entitlement, &overflowing)), ErrorCode::AmountOutOfRange);
        let redeem = |quote: &str| MeltRequest { quote: quote.into(), inputs: tokens.clone(), outputs: Vec::new() };
        assert_eq!(code(mint.melt(&redeem(&huge.quote))), ErrorCode::Unbalanced);
        assert_eq!(code(mint.melt(&redeem("never made"))), ErrorCode::QuoteNotPaid);
        let ys = vec![tokens[0].secret.y(); LOOKUPS_MAX + 1];
        assert_eq!(code(mint.check_state(&CheckStateRequest { ys })), ErrorCode::TooManyInputs);
        let outputs = vec![fresh[0].clone(); LOOKUPS_MAX + 1];
        assert_eq!(code(mint.restore(&RestoreRequest { outputs })), ErrorCode::TooManyOutputs);
        world.clock.store(melt.expiry, Ordering::SeqCst);
        assert_eq!(code(mint.melt(&redeem(&melt.quote))), ErrorCode::QuoteExpired);
        assert_eq!(sums(), before);

        // All that was refused is still there: the quote and the tokens, up to the quote's last second.
        mint.mint(Method::Entitlement, &mint_request("q-2", fresh)).unwrap();
        world.clock.store(melt.expiry - 1, Ordering::SeqCst);
        mint.melt(&redeem(&melt.quote)).unwrap();
        assert_eq!(sums().1, 12);
    }
}

/// A message longer than a mint reads ends the connection that sent it, and no other.
#[test]
fn a_huge_message_ends_its_own_socket() {
    let served = Served::new();
    served.runtime.block_on(async {
        let connect =
            async || tokio_tungstenite::connect_async(format!("ws://{}/v1/ws", served.address)).await.unwrap().0;
        let (mut hostile, mut other) = (connect().await, connect().await);
        // It may be refused while it is still being sent.
        let _ = hostile.send(Message::text(" ".repeat(socket::MESSAGE_MAX_LEN + 1))).await;
        assert!(!matches!(hostile.next().await, Some(Ok(Message::Text(_)))), "nothing is answered");
        other.send(Message::text("[".repeat(100_000))).await.unwrap();
        let answer = other.next().await.unwrap().unwrap();
        assert!(answer.to_text().unwrap().contains("-32700"), "{answer}");
    });
}

#[test]
fn mangled_requests_never_break_the_mint() {
    let from_environment = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
    };
    let (count, seed) = (from_environment("FUZZ", 3_000), from_environment("SEED", rand::random::<u32>().into()));
    println!("SEED={seed} FUZZ={count}");
    let mut rng = StdRng::seed_from_u64(seed);
    let served = Served::new();
    let mut holder = Holder::new(&served.mint, 1);
    let tokens = holder.collect(&served.mint, "q-1", &[4, 8]);
    order(&served.mint, "q-2", 12);
    order(&served.mint, "q-3", 12);
    let (_, outputs) = holder.outputs(&[4, 8]);
    let batch = json!({
        "quotes": ["q-2", "q-3"],
        "quote_amounts": [12, 12],
        "outputs": holder.outputs(&[8, 16]).1,
        "signatures": [quote::sign("q-2", &outputs, &quote_key(), &[0; 32]), null],
    });
    let mut locked = tokens.clone();
    locked[0].witness = Some(r#"{"signatures":["00"],"preimage":"11"}"#.into());
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("/v1/swap", json!(SwapRequest { inputs: tokens.clone(), outputs: outputs.clone() }).to_string().into()),
        ("/v1/swap", json!(SwapRequest { inputs: locked, outputs: outputs.clone() }).to_string().into()),
        ("/v1/mint/entitlement", json!(mint_request("q-2", outputs.clone())).to_string().into()),
        ("/v1/mint/entitlement/batch", batch.to_string().into()),
        ("/v1/mint/quote/entitlement/check", json!({"quotes": ["q-2"]}).to_string().into()),
        ("/v1/mint/quote/sandbox", json!({"amount": 5, "unit": "usd"}).to_string().into()),
        ("/v1/melt/quote/settlement", json!({"request": "m-1:5", "unit": "usd"}).to_string().into()),
        ("/v1/melt/settlement", json!({"quote": "x", "inputs": tokens, "outputs": null}).to_string().into()),
        ("/v1/checkstate", json!({"Ys": [tokens[0].secret.y()]}).to_string().into()),
        ("/v1/restore", json!({"outputs": outputs}).to_string().into()),
    ];
    for _ in 0..count {
        let (path, body) = bodies.choose(&mut rng).unwrap();
        let mut body = body.clone();
        for _ in 0..rng.random_range(1..4) {
            mangle(&mut rng, &mut body);
        }
        let (status, answer) = served.post(path, &body);
        assert!(
            [200, 400, 413].contains(&status),
            "{path}: status {status}: {answer}\n{}",
            String::from_utf8_lossy(&body)
        );
    }
    // Whatever was taken was taken as a whole: no money came or went.
    let (signed, spent, issued) = served.sums();
    assert_eq!(signed - spent, issued);
    assert!(served.mint.audit().unwrap().outstanding(&usd()) >= Amount::new(12));
}

/// One change as chance has it: a bit, a byte, a piece gone, doubled or moved, a number or a brace put in.
fn mangle(rng: &mut StdRng, body: &mut Vec<u8>) {
    if body.is_empty() {
        return;
    }
    let at = rng.random_range(0..body.len());
    let end = (at + rng.random_range(1..40)).min(body.len());
    match rng.random_range(0..7) {
        0 => body[at] ^= 1 << rng.random_range(0..8),
        1 => body[at] = rng.random(),
        2 => drop(body.drain(at..end)),
        3 => {
            let piece = body[at..end].to_vec();
            let to = rng.random_range(0..body.len());
            body.splice(to..to, piece);
        }
        4 => body.truncate(at),
        5 => {
            let number =
                [&b"-1"[..], b"0", b"1e999", b"18446744073709551616", b"null", b"\"\""].choose(rng).unwrap().to_vec();
            body.splice(at..end, number);
        }
        _ => {
            let brace = *b"{}[]\",:\\".choose(rng).unwrap();
            body.insert(at, brace);
        }
    }
}
