//! What a wallet shows of its holder, seen from the wire; and a mint that marks its holders, played from the middle of the wire.

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use cashu::{Amount, Point};
use running::Programme;
use serde_json::Value;
use terminal::Till;
use terminal::till::{Merchant, TillSetup};
use wallet::holder::Offer;
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
        offer.services.mint = self.mint.url.clone();
        offer
    }

    fn wallet(&self, number: usize) -> (Wallet, PathBuf) {
        let (path, offer) = (self.programme.files.join(format!("wire-{number}.json")), self.offer(number));
        let mut wallet = Wallet::create(&path, offer.services.clone()).unwrap();
        wallet.accept_offer(&offer).unwrap();
        (wallet, path)
    }

    fn till(&self) -> Till {
        let merchant: Value = serde_json::from_slice(&{
            self.programme.till();
            std::fs::read(self.programme.files.join("till-setup.json")).unwrap()
        })
        .unwrap();
        let merchant: Merchant = serde_json::from_value(merchant["merchant"].clone()).unwrap();
        let services = Services { registry: None, issuer: None, ..self.offer(0).services };
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
