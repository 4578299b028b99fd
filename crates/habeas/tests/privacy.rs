//! What a wallet shows of its holder, seen from the wire; and a mint that marks its holders, played from the middle of the wire.

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::{Json, Router};
use cashu::conditions::{self, Condition};
use cashu::messages::SwapRequest;
use cashu::payment_request::{Nut10Option, PaymentPayload, PaymentRequest, Transport};
use cashu::token::Token;
use cashu::{Amount, BlindedMessage, Point, Proof, Unit, bdhke};
use running::Programme;
use serde_json::Value;
use terminal::Till;
use terminal::till::{Merchant, TillSetup};
use wallet::holder::Offer;
use wallet::lock::Lock;
use wallet::state::Services;
use wallet::{Wallet, WalletError};

/// Changes an answer of the mint, given the path of the request.
type Alter = Box<dyn Fn(&str, &mut Value) + Send>;

/// A request as it went over the wire.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
    peer: SocketAddr,
}

/// Stands between a client and a server: writes down what passes, and may change the answers.
struct Wire {
    url: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    target: String,
    seen: Mutex<Vec<Seen>>,
    alter: Mutex<Alter>,
}

impl Wire {
    fn to(target: &str) -> Wire {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            seen: Mutex::default(),
            alter: Mutex::new(Box::new(|_, _| {})),
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service =
            Router::new().fallback(pass).with_state(shared.clone()).into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, service).await });
        Wire { url, shared, _runtime: runtime }
    }

    fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    fn alter(&self, alter: impl Fn(&str, &mut Value) + Send + 'static) {
        *self.shared.alter.lock().unwrap() = Box::new(alter);
    }
}

async fn pass(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let path = uri.path().to_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = String::from_utf8(body.to_vec()).unwrap();
    shared.seen.lock().unwrap().push(Seen { path: path.clone(), headers, body: body.clone(), peer });
    let work = move || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let url = format!("{}{path}", shared.target);
        let answer = match method {
            Method::GET => agent.get(&url).call(),
            _ => agent.post(&url).content_type("application/json").send(&body),
        };
        let mut answer = answer.unwrap();
        let bytes = answer.body_mut().read_to_vec().unwrap();
        let bytes = match serde_json::from_slice::<Value>(&bytes) {
            Ok(mut json) => {
                (shared.alter.lock().unwrap())(&path, &mut json);
                serde_json::to_vec(&json).unwrap()
            }
            Err(_) => bytes,
        };
        (StatusCode::from_u16(answer.status().as_u16()).unwrap(), bytes)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// An approved programme, with the wire between everybody and the mint.
struct World {
    programme: Programme,
    mint: Wire,
}

impl World {
    fn new() -> World {
        let programme = Programme::with_officers();
        let id = programme.enrolled_and_funded("4000.00");
        programme.approve(&id);
        let mint = Wire::to(&programme.up.url);
        World { programme, mint }
    }

    fn offer(&self, number: usize) -> Offer {
        let offers = std::fs::read_to_string(self.programme.files.join("offers")).unwrap();
        let mut offer = Offer::decode(offers.lines().nth(number).unwrap()).unwrap();
        offer.habeas.services.mint = self.mint.url.clone();
        offer
    }

    fn wallet(&self, number: usize) -> (Wallet, PathBuf) {
        let (path, offer) = (self.programme.files.join(format!("wire-{number}.json")), self.offer(number));
        let mut wallet = Wallet::create(&path, offer.habeas.services.clone()).unwrap();
        let codes = std::fs::read_to_string(self.programme.files.join("offers.codes")).unwrap();
        wallet.accept_offer(&offer, codes.lines().nth(number).unwrap()).unwrap();
        (wallet, path)
    }

    fn till(&self) -> Till {
        let merchant: Value = serde_json::from_slice(&{
            self.programme.till();
            std::fs::read(self.programme.files.join("till-setup.json")).unwrap()
        })
        .unwrap();
        let merchant: Merchant = serde_json::from_value(merchant["merchant"].clone()).unwrap();
        let services = Services { registry: None, issuer: None, ..self.offer(0).habeas.services };
        Till::create(&self.programme.files.join("wire-till"), &TillSetup { merchant, services }).unwrap()
    }
}

/// Serves a till; gives its address and what keeps it running.
fn serve(till: &Till) -> (String, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = terminal::server::router(till.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    (address, runtime)
}

#[test]
fn nothing_on_the_wire_ties_two_acts_together() {
    let world = World::new();
    let till = world.till();
    let (address, _serving) = serve(&till);
    let shop = Wire::to(&address);
    let (mut wallet, _) = world.wallet(0);
    world.mint.shared.seen.lock().unwrap().clear();
    wallet.collect_all().unwrap();
    for amount in [1_234, 777, 1] {
        let charge = till.charge(Amount::new(amount), &shop.url).unwrap();
        wallet.pay(&charge.request, None).unwrap();
    }
    let token = wallet.send(Amount::new(500), &"usd".parse().unwrap(), None).unwrap();
    world.wallet(1).0.receive(&token).unwrap();
    till.redeem().unwrap();

    let (at_mint, at_shop) = (world.mint.seen(), shop.seen());
    assert_eq!(at_shop.len(), 3);
    assert!(
        at_mint.iter().any(|seen| seen.path == "/v1/swap") && at_mint.iter().any(|seen| seen.path.contains("melt"))
    );
    for seen in at_mint.iter().chain(&at_shop) {
        // A DLEQ proof carries the blinding factor, which links a token to the request that made it.
        assert!(!seen.body.contains("dleq") && !seen.body.contains("\"r\""), "{seen:?}");
    }
    // One connection a request.
    for wire in [&at_mint, &at_shop] {
        let peers: BTreeSet<SocketAddr> = wire.iter().map(|seen| seen.peer).collect();
        assert_eq!(peers.len(), wire.len(), "a connection was used twice");
    }
    // The same headers from everybody: two wallets and a till.
    let mut kinds: BTreeMap<&str, BTreeSet<Vec<(String, String)>>> = BTreeMap::new();
    for seen in &at_mint {
        let of_request = ["host", "content-length"];
        let headers =
            seen.headers.clone().into_iter().filter(|(name, _)| !of_request.contains(&name.as_str())).collect();
        kinds.entry(if seen.body.is_empty() { "GET" } else { "POST" }).or_default().insert(headers);
    }
    for (method, headers) in kinds {
        assert_eq!(headers.len(), 1, "{method} requests differ: {headers:?}");
    }
    // No secret, quote or blinded output appears in two acts.
    let mut outputs = BTreeSet::new();
    for body in at_mint.iter().filter_map(|seen| serde_json::from_str::<Value>(&seen.body).ok()) {
        for output in body["outputs"].as_array().into_iter().flatten() {
            assert!(outputs.insert(output["B_"].as_str().unwrap().to_owned()), "an output was sent twice");
        }
    }
    // A wallet's own exchanges spend one token each: two together would lie in one wallet.
    let payer_swaps = at_mint.iter().filter(|seen| seen.path == "/v1/swap").map(|seen| {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        (body["inputs"].as_array().unwrap().len(), body["outputs"].as_array().unwrap().len())
    });
    assert!(payer_swaps.clone().any(|(inputs, outputs)| inputs == 1 && outputs > 1), "the wallet made change");
    for (inputs, outputs) in payer_swaps {
        assert!(inputs == 1 || inputs >= outputs, "{inputs} of the wallet's tokens were exchanged together");
    }
}

#[test]
fn a_mint_that_marks_a_holder_is_noticed() {
    let world = World::new();
    let other_key = || Point::of_secret(&secp256k1::SecretKey::from_secret_bytes([7; 32]).unwrap()).to_string();

    // Signs with another key than the one in the log.
    let (mut wallet, path) = world.wallet(0);
    world.mint.alter(move |path, answer| {
        if path == "/v1/mint/entitlement" && answer["signatures"].is_array() {
            answer["signatures"][0]["C_"] = other_key().into();
        }
    });
    assert!(matches!(wallet.collect_all(), Err(WalletError::Tagged)));
    assert!(wallet.balance().is_empty());
    // Leaves the proof out.
    drop(wallet);
    let (mut second, _) = world.wallet(1);
    world.mint.alter(|path, answer| {
        if path == "/v1/mint/entitlement" && answer["signatures"].is_array() {
            answer["signatures"][0].as_object_mut().unwrap().remove("dleq");
        }
    });
    assert!(matches!(second.collect_all(), Err(WalletError::Tagged | WalletError::MintMisbehaves)));
    assert!(second.balance().is_empty());

    // Shows one key of its own under the id in the log.
    let (mut third, _) = world.wallet(2);
    world.mint.alter(move |path, answer| {
        if path.starts_with("/v1/keys/") {
            answer["keysets"][0]["keys"]["1"] = other_key().into();
        }
    });
    assert!(matches!(third.collect_all(), Err(WalletError::KeysetNotInLog)));
    // Points to no entry, or to another.
    for index in [Value::Null, 0.into(), 1_000_000.into()] {
        world.mint.alter(move |path, answer| {
            if path == "/v1/keysets" {
                answer["keysets"][0]["log_index"] = index.clone();
            }
        });
        let refused = third.collect_all();
        assert!(matches!(refused, Err(WalletError::KeysetNotInLog | WalletError::Log { .. })), "{refused:?}");
    }
    // Another expiry would make a crowd of one.
    world.mint.alter(|path, answer| {
        if path.starts_with("/v1/keys/") {
            let expiry = answer["keysets"][0]["final_expiry"].as_u64().unwrap();
            answer["keysets"][0]["final_expiry"] = (expiry + 1).into();
        }
    });
    assert!(matches!(third.collect_all(), Err(WalletError::KeysetNotInLog)));

    // An honest mint again: nothing was lost.
    world.mint.alter(|_, _| {});
    let mut wallet = Wallet::open(&path).unwrap();
    wallet.recover().unwrap();
    third.collect_all().unwrap();
    for wallet in [&wallet, &third] {
        assert_eq!(wallet.balance().values().copied().collect::<Vec<_>>(), [Amount::new(5_000)]);
    }
}

#[test]
fn a_till_takes_each_payment_once_and_nothing_else() {
    let world = World::new();
    let till = world.till();
    let (address, _serving) = serve(&till);
    let shop = Wire::to(&address);
    let (mut wallet, _) = world.wallet(0);
    wallet.collect_all().unwrap();

    // Paid, and the answer lost: the same payment again gets the same receipt, and the money is taken once.
    let charge = till.charge(Amount::new(300), &shop.url).unwrap();
    wallet.pay(&charge.request, None).unwrap();
    let paid = shop.seen().pop().unwrap();
    let send = |body: &str| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut answer = agent.post(format!("{address}/pay")).content_type("application/json").send(body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let (status, receipt) = send(&paid.body);
    assert!(status == 200 && receipt.contains(&charge.id), "{status} {receipt}");
    assert_eq!(till.balance(), Amount::new(300));

    // Another's tokens for a request that is paid, another amount, no such request, no payment at all.
    let (mut other, _) = world.wallet(1);
    other.collect_all().unwrap();
    assert!(other.pay(&charge.request, None).unwrap_err().to_string().contains("paid already"));
    let second = till.charge(Amount::new(301), &shop.url).unwrap();
    let (status, told) = send(&paid.body.replace(&charge.id, &second.id));
    assert!(status == 400 && told.contains("asks for 301"), "{told}");
    let (status, told) = send(&paid.body.replace(&charge.id, "0000000000000000"));
    assert!(status == 400 && told.contains("no such request"), "{told}");
    let third = till.charge(Amount::new(300), &shop.url).unwrap();
    let (status, told) = send(&paid.body.replace(&charge.id, &third.id));
    assert!(status == 400 && told.contains("spent already"), "{told}");
    assert_eq!(send("{}").0, 400);
    assert_eq!(till.balance(), Amount::new(300));
    assert_eq!(
        other.balance().values().copied().collect::<Vec<_>>(),
        [Amount::new(5_000)],
        "a refused payer keeps the money"
    );
    assert!(matches!(till.charge(Amount::ZERO, &shop.url), Err(terminal::TillError::ZeroAmount)));
    world.programme.assert_balanced();
}

fn usd() -> Unit {
    "usd".parse().unwrap()
}

/// The value of a wallet's money.
fn worth(wallet: &Wallet) -> u64 {
    wallet.balance().values().map(|amount| amount.minor()).sum()
}

/// The tokens of a string.
fn proofs_of(token: &str) -> Vec<Proof> {
    Token::decode(token).unwrap().into_proofs(&[]).unwrap()
}

impl World {
    /// A wallet that has collected its 50.00.
    fn rich(&self, number: usize) -> (Wallet, PathBuf) {
        let (mut wallet, path) = self.wallet(number);
        wallet.collect_all().unwrap();
        (wallet, path)
    }

    /// How many bodies at the mint hold a text.
    fn shown(&self, text: &str) -> usize {
        self.mint.seen().iter().filter(|seen| seen.body.contains(text)).count()
    }

    /// Exchanges tokens at the mint, as a thief would; gives the status.
    fn swap_at_mint(&self, inputs: Vec<Proof>) -> u16 {
        let outputs = inputs.iter().zip(1..).map(|(input, number)| {
            let r = secp256k1::SecretKey::from_secret_bytes([number; 32]).unwrap();
            let blinded = bdhke::blind(&[number; 32], &r).unwrap();
            BlindedMessage { amount: input.amount, id: input.id, blinded }
        });
        let mut outputs: Vec<BlindedMessage> = outputs.collect();
        outputs.sort_by_key(|output| output.amount);
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let answer = agent.post(format!("{}/v1/swap", self.mint.url)).send_json(SwapRequest { inputs, outputs });
        answer.unwrap().status().as_u16()
    }
}

#[test]
fn a_lock_shows_the_mint_nothing_of_its_receiver() {
    let world = World::new();
    let (mut payer, _) = world.rich(0);
    let (mut receiver, _) = world.wallet(1);
    let (mut thief, _) = world.wallet(2);
    let (key, other_key) = (receiver.new_key().unwrap(), receiver.new_key().unwrap());
    assert_ne!(key, other_key, "a key is given out once");
    let x_of = |key: &Point| key.to_string()[2..].to_owned();

    world.mint.shared.seen.lock().unwrap().clear();
    let token = payer.send_locked(Amount::new(1_234), &usd(), None, &Lock::Blinded(key)).unwrap();
    let proofs = proofs_of(&token);
    assert!(proofs.len() > 1 && worth(&payer) == 5_000 - 1_234);
    assert!(proofs.iter().all(|proof| !proof.secret.as_str().contains(&x_of(&key))));
    let one_time: BTreeSet<Point> = proofs.iter().map(|proof| proof.p2pk_e.unwrap()).collect();
    assert_eq!(one_time.len(), proofs.len(), "each token has a one-time key of its own");
    for seen in world.mint.seen().iter().filter(|seen| seen.path == "/v1/swap") {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        assert_eq!(body["inputs"].as_array().unwrap().len(), 1, "tokens of one wallet were exchanged together");
    }

    // Neither a third wallet nor the payer can take it back, with our code or without.
    let swaps = world.shown("inputs");
    assert!(matches!(thief.receive(&token), Err(WalletError::LockedToOthers)));
    assert!(matches!(payer.receive(&token), Err(WalletError::LockedToOthers)));
    assert_eq!(world.shown("inputs"), swaps, "nothing was sent");
    let bare: Vec<Proof> = proofs.iter().cloned().map(|proof| Proof { p2pk_e: None, ..proof }).collect();
    assert_eq!(world.swap_at_mint(bare.clone()), 400);
    let mut signed = bare;
    let thiefs = secp256k1::SecretKey::from_secret_bytes([9; 32]).unwrap();
    conditions::sign_inputs(&mut signed, &thiefs, &[0; 32]).unwrap();
    assert_eq!(world.swap_at_mint(signed), 400);
    // The control: without a lock, the same request takes the money.
    let unlocked = proofs_of(&payer.send(Amount::new(2), &usd(), None).unwrap());
    assert_eq!(world.swap_at_mint(unlocked), 200);

    assert_eq!(receiver.receive(&token).unwrap(), (Amount::new(1_234), usd()));
    assert!(matches!(receiver.receive(&token), Err(WalletError::AlreadySpent)));
    assert_eq!((world.shown(&x_of(&key)), world.shown("p2pk_e"), world.shown("dleq")), (0, 0, 0));
    // The control: a plain lock shows the key when it is opened, and not before.
    let plain = payer.send_locked(Amount::new(300), &usd(), None, &Lock::Plain(other_key)).unwrap();
    assert_eq!(world.shown(&x_of(&other_key)), 0);
    assert!(matches!(thief.receive(&plain), Err(WalletError::LockedToOthers)));
    receiver.receive(&plain).unwrap();
    assert!(world.shown(&x_of(&other_key)) > 0);
    assert_eq!(worth(&receiver), 1_534);
    // What was unlocked is ordinary money.
    let token = receiver.send(Amount::new(1_534), &usd(), None).unwrap();
    thief.receive(&token).unwrap();

    // A mint that keeps no locks would take the tokens from anybody.
    let (before, swaps) = (worth(&payer), world.shown("inputs"));
    world.mint.alter(|path, answer| {
        if path == "/v1/info" {
            answer["nuts"]["11"]["supported"] = false.into();
        }
    });
    let refused = payer.send_locked(Amount::new(1), &usd(), None, &Lock::Blinded(key));
    assert!(matches!(refused, Err(WalletError::LockUnusable { .. })), "{refused:?}");
    assert_eq!((worth(&payer), world.shown("inputs")), (before, swaps));
}

#[test]
fn a_lock_survives_a_broken_connection_and_a_loss() {
    let world = World::new();
    let (mut payer, path) = world.rich(0);
    let (mut receiver, _) = world.wallet(1);
    let key = receiver.new_key().unwrap();

    // The second answer is lost: the mint has signed, the wallet does not know.
    let swaps = Arc::new(Mutex::new(0));
    world.mint.alter(move |path, answer| {
        if path == "/v1/swap" {
            let mut swaps = swaps.lock().unwrap();
            *swaps += 1;
            if *swaps == 2 {
                *answer = Value::Null;
            }
        }
    });
    assert!(payer.send_locked(Amount::new(776), &usd(), None, &Lock::Blinded(key)).is_err());
    assert_eq!((payer.pending(), worth(&payer)), (1, 5_000 - 776));
    world.mint.alter(|_, _| {});
    drop(payer);
    let mut payer = Wallet::open(&path).unwrap();
    payer.recover().unwrap();
    let last = payer.history().last().unwrap().clone();
    assert_eq!((last.what.as_str(), last.amount, payer.pending()), ("sent", Amount::new(776), 0));
    let token = last.note.unwrap();

    // The receiver lost everything but the words. Keys that were given out before fit, and none is given out again.
    let words = receiver.recovery_words().to_owned();
    let lost: BTreeSet<Point> = (0..50).map(|_| receiver.new_key().unwrap()).chain([key]).collect();
    let services = receiver.services().clone();
    let mut again = Wallet::create_from_words(&world.programme.files.join("again.json"), services, &words).unwrap();
    assert_eq!(again.receive(&token).unwrap().0, Amount::new(776));
    assert!((0..50).all(|_| !lost.contains(&again.new_key().unwrap())));

    // A wallet that was copied, and spent from the copy: what could be locked is not lost.
    let copy = world.programme.files.join("copy.json");
    drop(payer);
    let (mut payer, path) = world.rich(2);
    std::fs::copy(&path, &copy).unwrap();
    let mut copied = Wallet::open(&copy).unwrap();
    let spent = copied.send(Amount::new(128), &usd(), None).unwrap();
    again.receive(&spent).unwrap();
    let refused = payer.send_locked(Amount::new(5_000), &usd(), None, &Lock::Blinded(key));
    let Err(WalletError::PartlyLocked { locked, wanted, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((wanted, locked.minor() + 128 + worth(&payer)), (Amount::new(5_000), 5_000));
    let sent = payer.history().iter().rfind(|line| line.what == "sent").unwrap().note.clone().unwrap();
    assert_eq!(again.receive(&sent).unwrap().0, locked);
    assert_eq!(payer.pending(), 0);
}

/// A payee who answers with a status; gives the address and what arrived.
fn payee(status: StatusCode) -> (String, Arc<Mutex<Vec<PaymentPayload>>>, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}/pay", listener.local_addr().unwrap());
    let arrived: Arc<Mutex<Vec<PaymentPayload>>> = Arc::default();
    let keep = arrived.clone();
    let router = Router::new().fallback(move |Json(payload): Json<PaymentPayload>| async move {
        keep.lock().unwrap().push(payload);
        (status, "{}")
    });
    runtime.spawn(async move { axum::serve(listener, router).await });
    (address, arrived, runtime)
}

#[test]
fn a_request_for_a_lock_gets_locked_tokens_or_nothing() {
    let world = World::new();
    let (mut payer, _) = world.rich(0);
    let (mut receiver, _) = world.wallet(1);
    let (mut thief, _) = world.wallet(2);
    let (address, arrived, _serving) = payee(StatusCode::OK);
    let key = receiver.new_key().unwrap();
    let request = |target: &str, kind: &str, data: &str, tags: &[&[&str]]| PaymentRequest {
        id: Some("one".into()),
        amount: Some(Amount::new(300)),
        unit: Some(usd()),
        mints: vec![world.mint.url.clone()],
        transports: vec![Transport { kind: "post".into(), target: target.into(), tags: None }],
        nut10: Some(Nut10Option {
            kind: kind.into(),
            data: data.into(),
            tags: Some(tags.iter().map(|tag| tag.iter().map(|text| (*text).to_owned()).collect()).collect()),
        }),
        ..PaymentRequest::default()
    };
    let (key_text, hash) = (key.to_string(), "11".repeat(32));
    let other = Point::of_secret(&secp256k1::SecretKey::from_secret_bytes([8; 32]).unwrap()).to_string();

    // In both forms, with signatures over each token and over everything.
    for tags in [&[&["purpose", "shop"][..]][..], &[&["sigflag", "SIG_ALL"]]] {
        let request = request(&address, "P2PK", &key_text, tags);
        for text in [request.encode(), request.encode_bech32m().unwrap()] {
            assert_eq!(payer.pay(&text, None).unwrap(), Amount::new(300));
            let payload = arrived.lock().unwrap().pop().unwrap();
            assert!(payload.proofs.len() > 1);
            for proof in &payload.proofs {
                let secret = proof.secret.as_str();
                assert!(secret.contains(&key_text) && secret.contains(tags[0][1]), "{secret}");
                assert!(proof.p2pk_e.is_none() && proof.dleq.is_none());
            }
            assert!(matches!(thief.receive_payment(payload.clone()), Err(WalletError::LockedToOthers)));
            assert_eq!(receiver.receive_payment(payload).unwrap(), Amount::new(300));
        }
    }
    assert_eq!((worth(&payer), worth(&receiver)), (3_800, 1_200));

    // Locks that the receiver of this test can't open alone, made as asked all the same.
    for (kind, data, tags, told) in [
        ("P2PK", &key_text, &[&["pubkeys", &other][..], &["n_sigs", "2"]][..], "need more keys"),
        ("HTLC", &hash, &[&["pubkeys", &key_text]], "preimage"),
    ] {
        payer.pay(&request(&address, kind, data, tags).encode(), None).unwrap();
        let refused = receiver.receive_payment(arrived.lock().unwrap().pop().unwrap()).unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
    }

    // Locks that can't be: nothing is sent, least of all without a lock.
    let before = (worth(&payer), world.shown("inputs"));
    for (kind, data, tags) in [
        ("OTHER", &key_text, &[][..]),
        ("7", &key_text, &[]),
        ("", &key_text, &[]),
        ("P2PK", &hash, &[]),
        ("P2PK", &key_text, &[&["n_sigs", "2"][..]]),
        ("P2PK", &key_text, &[&["locktime", "1"]]),
        ("HTLC", &key_text, &[]),
    ] {
        let refused = payer.pay(&request(&address, kind, data, tags).encode(), None);
        assert!(matches!(refused, Err(WalletError::LockUnusable { .. })), "{kind} {tags:?}: {refused:?}");
    }
    assert_eq!((before, arrived.lock().unwrap().len()), ((worth(&payer), world.shown("inputs")), 0));

    // A payee who asks for a lock and refuses, and one who never answers: the tokens are the payee's alone, and are not lost.
    let (refusing, _, _refusing) = payee(StatusCode::BAD_REQUEST);
    let (silent, _, _silent) = payee(StatusCode::SERVICE_UNAVAILABLE);
    let refused = payer.pay(&request(&refusing, "P2PK", &key_text, &[]).encode(), None);
    assert!(matches!(refused, Err(WalletError::LockedRefused { .. })), "{refused:?}");
    assert!(payer.pay(&request(&silent, "P2PK", &key_text, &[]).encode(), None).unwrap_err().is_unreachable());
    assert_eq!(payer.pending(), 1);
    payer.reclaim_payments().unwrap();
    assert_eq!(payer.pending(), 0);
    let before = worth(&receiver);
    for line in payer.history().iter().filter(|line| line.what == "locked") {
        receiver.receive(line.note.as_ref().unwrap()).unwrap();
    }
    assert_eq!(worth(&receiver), before + 600);
    assert_eq!(worth(&payer), 3_800 - 600 - 600);
    for proof in payer.send(Amount::new(worth(&payer)), &usd(), None).map(|token| proofs_of(&token)).unwrap() {
        assert_eq!(Condition::of(proof.secret.as_str()), Ok(None), "no locked token lies among the wallet's own");
    }
}
