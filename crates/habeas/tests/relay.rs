//! Through a relay (RFC 9458): what the relay sees, what the gateway sees, what is refused, and that a wallet never goes past it.

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use bhttp::{Message, Mode};
use cashu::Amount;
use ohttp::ClientRequest;
use openid4vc::SD_JWT_VC;
use running::{HABEAS, Programme, Up, bad, good};
use serde_json::Value;
use terminal::Till;
use terminal::till::TillSetup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wallet::holder::Offer;
use wallet::relay::Relay;
use wallet::state::Services;
use wallet::{Wallet, WalletError};

/// What a gateway says of a key that it does not have (RFC 9458 section 5.3).
const KEY_PROBLEM: &str = "https://iana.org/assignments/http-problem-types#ohttp-key";
/// Where nothing listens.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A running `habeas relay`; killed when dropped.
struct Relaying {
    child: Child,
    url: String,
    stderr: PathBuf,
}

impl Relaying {
    /// One before a gateway, which would log all that it can be made to.
    fn start(gateway: &str, listen: &str, files: &Path) -> Relaying {
        let stderr = files.join("relay.stderr");
        let mut child = Command::new(HABEAS)
            .args(["relay", "--gateway", gateway, "--listen", listen])
            .env("RUST_LOG", "trace,hyper=trace,axum=trace,ureq=trace,habeas=trace")
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        // Both lines: whoever prints to a pipe that is closed fails.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (url, _gateway) = lines.next().zip(lines.next()).expect("habeas relay starts");
        Relaying { child, url: url.strip_prefix("relay: ").unwrap().to_owned(), stderr }
    }

    fn before(gateway: &str, files: &Path) -> Relaying {
        Self::start(gateway, "127.0.0.1:0", files)
    }

    fn logged(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request as a server gets it.
#[derive(Clone, Debug)]
struct Seen {
    from: IpAddr,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Seen {
    /// Whether a text is anywhere in it.
    fn holds(&self, text: &str) -> bool {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        holds(&self.body) || holds(format!("{} {:?}", self.path, self.headers).as_bytes())
    }
}

/// Stands before a server, and writes down what arrives.
struct Tap {
    url: String,
    shared: Arc<(String, Mutex<Vec<Seen>>)>,
    _runtime: tokio::runtime::Runtime,
}

impl Tap {
    fn before(target: &str) -> Tap {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new((target.to_owned(), Mutex::default()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service =
            Router::new().fallback(tap).with_state(shared.clone()).into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, service).await });
        Tap { url, shared, _runtime: runtime }
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.1.lock().unwrap())
    }
}

async fn tap(
    State(shared): State<Arc<(String, Mutex<Vec<Seen>>)>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let kind = headers.get("content-type").map(text).unwrap_or_default();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let seen = Seen { from: peer.ip(), path: uri.path().to_owned(), headers, body: body.to_vec() };
    shared.1.lock().unwrap().push(seen);
    let url = format!("{}{uri}", shared.0);
    let (status, kind, body) =
        tokio::task::spawn_blocking(move || request(method.as_str(), &url, &kind, &body)).await.unwrap();
    (StatusCode::from_u16(status).unwrap(), [("content-type", kind)], body)
}

/// Status, kind and body of an answer.
fn request(method: &str, url: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let answer = match method {
        "GET" => agent.get(url).call(),
        _ => agent.post(url).content_type(kind).send(body),
    };
    let mut answer = answer.unwrap();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let body = answer.body_mut().with_config().limit(64 * 1024 * 1024).read_to_vec().unwrap();
    (answer.status().as_u16(), kind.unwrap_or_default(), body)
}

/// A request sealed by the `ohttp` crate's own client, with the `bhttp` crate's own encoding; and what opens the answer.
fn sealed(keys: &[u8], method: &str, path: &str, body: &[u8]) -> (Vec<u8>, ohttp::ClientResponse) {
    let [method, scheme, authority, path] =
        [method, "https", "mint.example", path].map(|text| text.as_bytes().to_vec());
    let mut message = Message::request(method, scheme, authority, path);
    message.put_header("content-type", "application/json");
    message.write_content(body);
    let mut bytes = Vec::new();
    message.write_bhttp(Mode::KnownLength, &mut bytes).unwrap();
    ClientRequest::from_encoded_config_list(keys).unwrap().encapsulate(&bytes).unwrap()
}

/// Status and body of what was sealed.
fn opened(waiting: ohttp::ClientResponse, answer: &[u8]) -> (u16, Vec<u8>) {
    let bytes = waiting.decapsulate(answer).unwrap();
    assert_eq!(bytes.len() % (8 * 1024), 0, "an answer is padded");
    let message = Message::read_bhttp(&mut Cursor::new(&bytes[..])).unwrap();
    (message.control().status().unwrap().code(), message.content().to_vec())
}

/// Asks obliviously; `at` is the gateway resource or a relay.
fn ask(at: &str, keys: &[u8], method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let (sealed, waiting) = sealed(keys, method, path, body);
    let (status, kind, answer) = request("POST", at, "message/ohttp-req", &sealed);
    assert_eq!((status, kind.as_str()), (200, "message/ohttp-res"), "{}", String::from_utf8_lossy(&answer));
    opened(waiting, &answer)
}

fn keys_of(url: &str) -> Vec<u8> {
    let (status, kind, keys) = request("GET", &format!("{url}/ohttp-keys"), "", b"");
    assert_eq!((status, kind.as_str()), (200, "application/ohttp-keys"));
    keys
}

#[test]
fn a_gateway_answers_others_clients_and_reaches_nothing_that_names_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("data"));
    let (keys, gateway) = (keys_of(&up.url), format!("{}/ohttp", up.url));
    assert_eq!(keys[3..5], [0, 0x20], "X25519");
    // The second of the two algorithms alone.
    let chacha = [&[0, 41][..], &keys[2..37], &[0, 4, 0, 1, 0, 3]].concat();
    for keys in [&keys, &chacha] {
        for (method, path) in [
            ("GET", "/v1/keysets"),
            ("GET", "/v1/keys"),
            ("POST", "/v1/checkstate"),
            ("GET", "/log/checkpoint"),
            ("GET", "/log/tile/entries/000"),
            ("GET", "/credential/predicates"),
            ("GET", "/credential/trusted-list"),
        ] {
            let body = b"{\"Ys\":[]}";
            let (status, _, direct) = request(method, &format!("{}{path}", up.url), "application/json", body);
            assert!(ask(&gateway, keys, method, path, body) == (status, direct), "{method} {path}");
        }
    }
    for (method, path) in [
        ("GET", "/credential/relying-parties"),
        ("POST", "/credential/token"),
        ("POST", "/credential/nonce"),
        ("POST", "/registry/v1/entitlements"),
        ("GET", "/registry/v1/runs"),
        ("GET", "/treasury/v1/settlements"),
        ("GET", "/audit/v1/report"),
        ("POST", "/desk/v1/revocations"),
        ("GET", "/.well-known/openid-credential-issuer/credential"),
        ("POST", "/ohttp"),
    ] {
        let (status, told) = ask(&gateway, &keys, method, path, b"{}");
        let refused = |told: &[u8]| String::from_utf8_lossy(told).contains("can't be reached through a relay");
        assert!(status == 403 && refused(&told), "{method} {path}: {status}");
        let (status, _, told) = request(method, &format!("{}{path}", up.url), "application/json", b"{}");
        assert!(status != 404 && !refused(&told), "the control: {method} {path} is there, {status}");
    }
    for path in ["/v1/../credential/relying-parties", "/v1/%2e%2e/credential/relying-parties", "/v1/ws"] {
        assert!(ask(&gateway, &keys, "GET", path, b"").0 >= 400, "{path}");
    }
    // A path that is none.
    assert_eq!(ask(&gateway, &keys, "GET", "/v1/ key", b"").0, 400);
}

#[test]
fn what_is_no_sealed_request_is_refused_by_gateway_and_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (up, other) = (Up::start(&folder.path().join("data")), Up::start(&folder.path().join("other")));
    let relay = Relaying::before(&up.url, folder.path());
    let (keys, others) = (keys_of(&up.url), keys_of(&other.url));
    assert_ne!(keys, others);
    assert_eq!(keys_of(&relay.url), keys, "the relay passes the key configuration on");
    for at in [format!("{}/ohttp", up.url), relay.url.clone()] {
        let post = |kind: &str, body: &[u8]| {
            let (status, kind, told) = request("POST", &at, kind, body);
            (status, kind, String::from_utf8_lossy(&told).into_owned())
        };
        let (wrong_key, _) = sealed(&others, "GET", "/v1/info", b"");
        let (status, kind, told) = post("message/ohttp-req", &wrong_key);
        assert_eq!((status, kind.as_str()), (400, "application/problem+json"), "{at}");
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["type"], KEY_PROBLEM);
        let (status, _, told) = post("message/ohttp-req", b"short");
        assert!(status == 400 && !told.contains("ohttp-key"), "{at}: {told}");
        assert_eq!(post("application/json", &sealed(&keys, "GET", "/v1/info", b"").0).0, 415, "{at}");
        assert_eq!(post("message/ohttp-req", &vec![0; 1024 * 1024 + 64 * 1024 + 1]).0, 413, "{at}");
        // The longest that is taken, and no request for this key.
        assert_eq!(post("message/ohttp-req", &vec![0; 1024 * 1024 + 64 * 1024]).0, 400, "{at}");
        assert_eq!(request("GET", &at, "", b"").0, 405, "{at}");
        // What is sealed and no message is told in a sealed answer.
        let (nonsense, waiting) =
            ClientRequest::from_encoded_config_list(&keys).unwrap().encapsulate(b"no message").unwrap();
        let (status, _, answer) = request("POST", &at, "message/ohttp-req", &nonsense);
        assert_eq!((status, opened(waiting, &answer).0), (200, 400), "{at}");
        assert_eq!(ask(&at, &keys, "GET", "/v1/info", b"").0, 200, "the control: {at}");
    }
    // Not an open proxy: no other path leads anywhere.
    for path in ["/ohttp", "/v1/keys", "/registry/v1/runs", "/http://127.0.0.1:1/"] {
        assert_eq!(request("GET", &format!("{}{path}", relay.url), "", b"").0, 404, "{path}");
    }
    drop(up);
    assert_eq!(request("POST", &relay.url, "message/ohttp-req", b"anything").0, 502, "a gateway that is down");
    bad("relay --gateway mint.example", &["no gateway's address"]);
    bad(&format!("relay --gateway {} --listen {}", other.url, &relay.url["http://".len()..]), &["--listen"]);
}

/// Sends a whole HTTP request from another address of this machine; gives the answer's body.
fn send_from(from: &str, to: &str, request: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(to.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..head]));
        answer.split_off(head + 4)
    })
}

#[test]
fn a_relay_reads_nothing_and_shows_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("data"));
    let gateway = Tap::before(&up.url);
    let relay = Relaying::before(&gateway.url, folder.path());
    let keys = keys_of(&relay.url);
    assert_eq!(gateway.seen().len(), 1);
    assert_eq!(keys_of(&relay.url), keys);
    assert!(gateway.seen().is_empty(), "the key configuration is kept");

    let point = "02c0ded00ddc0ffee0ddba11c0ded00ddc0ffee0ddba11c0ded00ddc0ffee0ddba";
    let question = format!("{{\"Ys\":[\"{point}\"]}}");
    let message = |path: &str, kind: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             user-agent: peculiar\r\ncookie: who=me\r\naccept-language: eu\r\nforwarded: for=203.0.113.9\r\n\
             x-forwarded-for: 203.0.113.9\r\nvia: 1.1 home\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let telling = ["checkstate", "Ys", point, "peculiar", "who=me", "203.0.113.9", "1.1 home", "\"eu\""];
    let mut bodies = BTreeSet::new();
    for _ in 0..2 {
        let (sealed, waiting) = sealed(&keys, "POST", "/v1/checkstate", question.as_bytes());
        let answer = send_from("127.0.0.2", &relay.url, &message("/", "message/ohttp-req", &sealed));
        let (status, told) = opened(waiting, &answer);
        assert!(status == 200 && String::from_utf8_lossy(&told).contains(point), "the mint has answered");
        let seen = gateway.seen();
        let [seen] = seen.as_slice() else { panic!("one request becomes one: {seen:?}") };
        assert_eq!((seen.from.to_string().as_str(), seen.path.as_str()), ("127.0.0.1", "/ohttp"));
        assert!(seen.body == sealed, "the body goes on as it is");
        for text in telling {
            assert!(!seen.holds(text), "'{text}' in {seen:?}");
        }
        let names: Vec<&str> = seen.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["accept", "content-length", "content-type", "host", "user-agent"]);
        assert_eq!(seen.headers["user-agent"], "habeas-relay");
        bodies.insert(seen.body.clone());
    }
    assert_eq!(bodies.len(), 2, "the same request looks another each time");
    assert_eq!(relay.logged(), "", "nothing is written down");

    // The control: sent directly, all of it is seen.
    send_from("127.0.0.2", &gateway.url, &message("/v1/checkstate", "application/json", question.as_bytes()));
    let seen = gateway.seen().remove(0);
    assert_eq!(seen.from.to_string(), "127.0.0.2");
    for text in telling {
        assert!(seen.holds(text), "'{text}' in {seen:?}");
    }
}

/// An approved programme of which a test makes wallets that know the services by other addresses.
struct World {
    programme: Programme,
}

impl World {
    fn new() -> World {
        let programme = Programme::with_officers();
        let id = programme.enrolled_and_funded("4000.00");
        programme.approve(&id);
        World { programme }
    }

    fn line(&self, file: &str, number: usize) -> String {
        let text = fs::read_to_string(self.programme.files.join(file)).unwrap();
        text.lines().nth(number).unwrap().to_owned()
    }

    /// The services with mint and log at an address.
    fn services(&self, mint: &str, relay: Option<Relay>) -> Services {
        let offered = Offer::decode(&self.line("offers", 0)).unwrap().habeas.services;
        Services { mint: mint.to_owned(), log: format!("{mint}/log"), relay, ..offered }
    }

    fn wallet(&self, number: usize, services: Services) -> Wallet {
        let mut offer = Offer::decode(&self.line("offers", number)).unwrap();
        offer.habeas.services = services.clone();
        let mut wallet =
            Wallet::create(&self.programme.files.join(format!("relayed-{number}.json")), services).unwrap();
        wallet.accept_offer(&offer, &self.line("offers.codes", number)).unwrap();
        wallet
    }

    fn relay(&self, url: &str) -> Relay {
        Relay::new(url, &keys_of(&self.programme.up.url)).unwrap()
    }
}

#[test]
fn a_wallet_does_everything_anonymous_through_its_relay() {
    let world = World::new();
    let relaying = Relaying::before(&world.programme.up.url, &world.programme.files);
    // Mint and log have an address at which nobody answers: what reaches them has come through the relay.
    let services = world.services(NOWHERE, Some(world.relay(&relaying.url)));
    let mut wallet = world.wallet(0, services.clone());
    wallet.fetch_credentials(SD_JWT_VC, 2).unwrap();
    let collected = wallet.collect_all().unwrap();
    assert_eq!(collected.iter().map(|(_, amount)| amount.minor()).sum::<u64>(), 5_000);
    assert!(!wallet.openings().unwrap().is_empty());

    world.programme.till();
    let setup: Value =
        serde_json::from_slice(&fs::read(world.programme.files.join("till-setup.json")).unwrap()).unwrap();
    let merchant = serde_json::from_value(setup["merchant"].clone()).unwrap();
    let of_till = Services { registry: None, issuer: None, ..services.clone() };
    let till = Till::create(&world.programme.files.join("relayed-till"), &TillSetup { merchant, services: of_till });
    let till = till.unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = terminal::server::router(till.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    for amount in [1_234, 777] {
        let charge = till.charge(Amount::new(amount), &address).unwrap();
        wallet.pay(&charge.request, None).unwrap();
    }
    // A refusal of the mint's comes through as one.
    let token = wallet.send(Amount::new(500), &"usd".parse().unwrap(), None).unwrap();
    let mut second = world.wallet(1, services);
    second.receive(&token).unwrap();
    assert!(matches!(wallet.receive(&token), Err(WalletError::AlreadySpent)));
    assert_eq!(till.redeem().unwrap(), Amount::new(2_011));
    world.programme.assert_balanced();

    // The control: without the relay nobody answers there.
    let mut direct = world.wallet(2, world.services(NOWHERE, None));
    assert!(direct.collect_all().unwrap_err().to_string().contains(&format!("{NOWHERE} can't be reached")));
}

#[test]
fn a_wallet_whose_relay_is_down_sends_nothing_another_way() {
    let world = World::new();
    let (up, files) = (&world.programme.up.url, &world.programme.files);
    let mint = Tap::before(up);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut wallet = world.wallet(0, world.services(&mint.url, Some(world.relay(&format!("http://{free}")))));
    for _ in 0..2 {
        let error = wallet.collect_all().unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&free) && told.contains("can't be reached; nothing is sent without it"), "{told}");
        assert!(error.is_unreachable());
    }
    assert!(wallet.openings().unwrap_err().to_string().contains("nothing is sent without it"));
    assert!(mint.seen().is_empty(), "the mint saw a wallet whose relay is down");

    // A relay whose gateway is down is no better.
    let lost = Relaying::start(NOWHERE, &free, files);
    assert!(wallet.collect_all().unwrap_err().to_string().contains("status 502"));
    drop(lost);
    // A gateway with another key says so.
    let other = Up::start(&files.join("other"));
    let elsewhere = Relaying::start(&other.url, &free, files);
    assert!(wallet.collect_all().unwrap_err().to_string().contains("another key"));
    drop(elsewhere);
    assert!(mint.seen().is_empty());

    // Back again, it goes on where it was.
    let _relay = Relaying::start(up, &free, files);
    assert_eq!(wallet.collect_all().unwrap().len(), 1);
    assert!(mint.seen().is_empty());
    // The control: a wallet without a relay is seen.
    world.wallet(1, world.services(&mint.url, None)).collect_all().unwrap();
    assert!(mint.seen().iter().any(|seen| seen.path == "/v1/mint/entitlement"));
}

#[test]
fn offers_name_the_relay_and_a_holder_may_choose_another() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let programme = Programme::with_officers_and(&["--relay", &format!("http://{free}/")]);
    let relay = Relaying::start(&programme.up.url, &free, &programme.files);
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let offers = fs::read_to_string(programme.files.join("offers")).unwrap();
    let named: BTreeSet<String> = offers
        .lines()
        .map(|line| Offer::decode(line).unwrap().habeas.services.relay.unwrap())
        .map(|relay| format!("{} {}", relay.url, hex::encode(relay.key_bytes().unwrap())))
        .collect();
    let everybodys = format!("http://{free} {}", hex::encode(keys_of(&programme.up.url)));
    assert_eq!(named, BTreeSet::from([everybodys]), "everybody is given the same");

    let wallet = programme.wallet(0);
    good(&format!("wallet collect --wallet {}", wallet.display()));
    drop(relay);
    // There is no token of this amount, so one is exchanged.
    bad(&format!("wallet send 0.01 --wallet {}", wallet.display()), &["the relay", &free, "can't be reached"]);

    // Another relay, by the holder's choice; what was under way comes to its end.
    let another = Relaying::before(&programme.up.url, &programme.files);
    let codes = fs::read_to_string(programme.files.join("offers.codes")).unwrap();
    let (offer, code) = (offers.lines().next().unwrap(), codes.lines().next().unwrap());
    let init = format!("wallet init --offer {offer} --code {code} --wallet {}", wallet.display());
    bad(&init, &["the relay", &free, "can't be reached"]);
    let told = good(&format!("{init} --relay {}", another.url));
    assert!(told.contains(&another.url), "{told}");
    good(&format!("wallet recover --wallet {}", wallet.display()));
    assert_eq!(good(&format!("wallet balance --wallet {}", wallet.display())).trim(), "50.00 usd");
    programme.assert_balanced();

    // An offer that names none: the relay has the key.
    let (plain, wallet) = (Programme::with_officers(), programme.files.join("plain.json"));
    plain.enrolled_and_funded("4000.00");
    let relay = Relaying::before(&plain.up.url, &plain.files);
    let line = |file: &str| fs::read_to_string(plain.files.join(file)).unwrap().lines().next().unwrap().to_owned();
    let init = format!("wallet init --offer {} --code {}", line("offers"), line("offers.codes"));
    good(&format!("{init} --wallet {} --relay {}", wallet.display(), relay.url));
    assert_eq!(
        Wallet::open(&wallet).unwrap().services().relay,
        Some(Relay::new(&relay.url, &keys_of(&plain.up.url)).unwrap())
    );
    // And the wallet keeps to it.
    good(&format!("{init} --wallet {}", wallet.display()));
    assert!(Wallet::open(&wallet).unwrap().services().relay.is_some());
    let folder = plain.files.join("new");
    bad(&format!("up --listen 127.0.0.1:0 --relay mint.example --data {}", folder.display()), &["no relay's address"]);
}
