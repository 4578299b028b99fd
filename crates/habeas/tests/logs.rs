//! What a server logs, at the lowest level, while everything happens to it: no token, secret, point, signature, quote id, key or
//! caller's address, in any writing that a log would use; and the events that an operator needs.

#[path = "../../mint/tests/world/database.rs"]
mod database;
mod running;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use cashu::messages::{KeysResponse, MintRequest, SignaturesResponse, SwapRequest};
use cashu::secret::{BlindingFactor, Secret};
use cashu::{Amount, BlindedMessage, Keyset, Point, Proof, bdhke, quote};
use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use running::{HABEAS, bad, good};
use secp256k1::SecretKey;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Everything that `RUST_LOG` could be made to say.
const EVERYTHING: &str = "trace,habeas=trace,mint=trace,hyper=trace,hyper_util=trace,axum=trace,tower=trace,tokio=trace,\
                          tungstenite=trace,tokio_tungstenite=trace,postgres=trace,tokio_postgres=trace,fjall=trace,\
                          lsm_tree=trace,rustls=trace,ureq=trace,log=trace";

/// Strings of a request or an answer that are shorter say nothing of a person's money: units, states, error sentences' words.
const TELLING_LEN: usize = 16;

/// A server whose output goes into files.
struct Logged {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Logged {
    fn start(folder: &Path, data: &Path, options: &[&str]) -> Logged {
        let file = |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
        let child = Command::new(HABEAS)
            .args(["up", "--listen", "127.0.0.1:0", "--log-format", "json", "--data"])
            .arg(data)
            .args(options)
            .env("RUST_LOG", EVERYTHING)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut server = Logged { child, url: String::new(), folder: folder.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(120);
        while server.url.is_empty() {
            assert!(Instant::now() < deadline, "{}", server.output());
            std::thread::sleep(Duration::from_millis(20));
            let stdout = fs::read_to_string(folder.join("stdout")).unwrap();
            if stdout.contains("stop with") {
                server.url = running::value(&stdout, "mint");
            }
        }
        server
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// All that it has printed and logged.
    fn output(&self) -> String {
        self.read("stdout") + &self.read("stderr")
    }

    fn stop(mut self) -> (String, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        (self.output(), self.read("stderr"))
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What must not be in a log.
#[derive(Default)]
struct Secrets(BTreeSet<String>);

impl Secrets {
    fn text(&mut self, text: &str) {
        self.0.insert(text.to_owned());
        // A body that is logged as the bytes that it is.
        self.0.insert(format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned());
        if let Ok(bytes) = hex::decode(text) {
            self.bytes(&bytes);
        }
    }

    /// In each form in which bytes are written down.
    fn bytes(&mut self, bytes: &[u8]) {
        let listed = format!("{bytes:?}");
        self.0.extend([
            hex::encode(bytes),
            hex::encode_upper(bytes),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            listed.trim_matches(['[', ']']).to_owned(),
        ]);
    }

    /// Every telling string of a request or an answer, but for what the mint publishes.
    fn json(&mut self, value: &Value, public: &str) {
        match value {
            Value::String(text) if text.len() >= TELLING_LEN && text != public && !text.contains(' ') => {
                self.text(text)
            }
            Value::Array(values) => values.iter().for_each(|value| self.json(value, public)),
            Value::Object(values) => values.values().for_each(|value| self.json(value, public)),
            _ => {}
        }
    }

    fn found_in<'a>(&'a self, log: &str) -> Vec<&'a String> {
        self.0.iter().filter(|secret| log.contains(secret.as_str())).collect()
    }
}

/// Somebody who asks for everything and remembers what must stay unsaid.
struct Load {
    url: String,
    keyset: Keyset,
    agent: ureq::Agent,
    secrets: Secrets,
}

impl Load {
    fn new(url: &str) -> Load {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let keys: KeysResponse = agent.get(format!("{url}/v1/keys")).call().unwrap().body_mut().read_json().unwrap();
        let keyset = keys.keysets.into_iter().next().unwrap();
        Load { url: url.to_owned(), keyset, agent, secrets: Secrets::default() }
    }

    fn ask(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let public = self.keyset.id.to_string();
        self.secrets.json(body, &public);
        let mut answer = self.agent.post(format!("{}{path}", self.url)).send_json(body).unwrap();
        let status = answer.status().as_u16();
        let answer = answer.body_mut().read_json().unwrap_or(Value::Null);
        self.secrets.json(&answer, &public);
        (status, answer)
    }

    fn outputs(&mut self, amounts: &[u64]) -> (Vec<(Secret, BlindingFactor)>, Vec<BlindedMessage>) {
        let mut rng = rand::rng();
        let output = |amount: &u64| {
            let secret = Secret::new(hex::encode(rng.random::<[u8; 32]>())).unwrap();
            let r: [u8; 32] = rng.random();
            self.secrets.bytes(&r);
            let r = BlindingFactor::from_bytes(r).unwrap();
            self.secrets.text(std::str::from_utf8(secret.as_bytes()).unwrap());
            self.secrets.bytes(&secret.y().to_bytes());
            let blinded = bdhke::blind(secret.as_bytes(), r.key()).unwrap();
            self.secrets.bytes(&blinded.to_bytes());
            ((secret, r), BlindedMessage { amount: Amount::new(*amount), id: self.keyset.id, blinded })
        };
        amounts.iter().map(output).unzip()
    }

    fn unblind(&mut self, kept: Vec<(Secret, BlindingFactor)>, answer: Value) -> Vec<Proof> {
        let answer: SignaturesResponse = serde_json::from_value(answer).unwrap();
        let token = |((secret, r), signed): ((Secret, BlindingFactor), cashu::BlindSignature)| {
            let signature = bdhke::unblind(&signed.signature, r.key(), &self.keyset.keys[&signed.amount]).unwrap();
            self.secrets.bytes(&signature.to_bytes());
            self.secrets.bytes(&signed.signature.to_bytes());
            Proof { amount: signed.amount, id: signed.id, secret, signature, witness: None, dleq: None, p2pk_e: None }
        };
        kept.into_iter().zip(answer.signatures).map(token).collect()
    }

    /// Mints, exchanges, spends twice, is wrong in every way, restores, checks, listens.
    fn play(&mut self) {
        let key = SecretKey::from_secret_bytes(rand::rng().random()).unwrap();
        self.secrets.bytes(&key.to_secret_bytes());
        let pubkey = Point::of_secret(&key);
        let ask = json!({"amount": 12, "unit": "sandbox", "pubkey": pubkey});
        let (status, made) = self.ask("/v1/mint/quote/sandbox", &ask);
        assert_eq!(status, 200, "{made}");
        let id = made["quote"].as_str().unwrap().to_owned();
        let (kept, outputs) = self.outputs(&[4, 8]);
        // Signed for other outputs, with something that is no signature, and not at all.
        let (_, others) = self.outputs(&[4, 8]);
        for signature in [Some(quote::sign(&id, &others, &key, &[3; 32])), Some("not a signature".repeat(9)), None] {
            let wrong = MintRequest { quote: id.clone(), outputs: outputs.clone(), signature };
            assert_eq!(self.ask("/v1/mint/sandbox", &json!(wrong)).0, 400);
        }
        let signature = Some(quote::sign(&id, &outputs, &key, &[3; 32]));
        let request = MintRequest { quote: id.clone(), outputs: outputs.clone(), signature };
        let (status, answer) = self.ask("/v1/mint/sandbox", &json!(request));
        assert_eq!(status, 200, "{answer}");
        let tokens = self.unblind(kept, answer);
        let (status, _) = self.ask("/v1/restore", &json!({"outputs": outputs}));
        assert_eq!(status, 200);

        let (kept, outputs) = self.outputs(&[4, 4, 4]);
        let swap = SwapRequest { inputs: tokens.clone(), outputs };
        let (status, answer) = self.ask("/v1/swap", &json!(swap));
        assert_eq!(status, 200, "{answer}");
        let fresh = self.unblind(kept, answer);
        assert_eq!(self.ask("/v1/swap", &json!(swap)).0, 200, "the same again");
        let (_, outputs) = self.outputs(&[4, 8]);
        assert_eq!(self.ask("/v1/swap", &json!(SwapRequest { inputs: tokens.clone(), outputs })).0, 400, "twice");
        let ys: Vec<Point> = tokens.iter().chain(&fresh).map(|token| token.secret.y()).collect();
        assert_eq!(self.ask("/v1/checkstate", &json!({"Ys": ys})).0, 200);
        let melt = json!({"quote": id, "inputs": fresh, "outputs": []});
        assert_eq!(self.ask("/v1/melt/settlement", &melt).0, 400);
        let batch = json!({"quotes": [id, id], "outputs": [], "signatures": [null, null]});
        assert_eq!(self.ask("/v1/mint/sandbox/batch", &batch).0, 400);

        // Malformed, each with something in it that must stay unsaid.
        let secret = String::from_utf8(fresh[0].secret.as_bytes().to_vec()).unwrap();
        let c = fresh[0].signature.to_string();
        for body in [
            format!("{{\"inputs\":[{{\"secret\":\"{secret}\",\"C\":\"{c}\""),
            format!("[\"{secret}\"]"),
            format!(
                "{{\"inputs\":[{{\"amount\":4,\"id\":\"{secret}\",\"secret\":\"{secret}\",\"C\":\"{c}\"}}],\"outputs\":[]}}"
            ),
            secret.clone(),
            "x".repeat(2 * 1024 * 1024) + &secret,
        ] {
            for path in ["/v1/swap", "/v1/mint/sandbox", "/v1/checkstate", "/v1/restore", "/v1/melt/settlement"] {
                // What is too long is cut off on its way; restoring nothing is no fault.
                if let Ok(answer) = self.agent.post(format!("{}{path}", self.url)).send(&body) {
                    assert!(answer.status().is_client_error() || path == "/v1/restore", "{path} {body}");
                }
            }
        }
        for path in
            [format!("/v1/keys/{secret}"), format!("/v1/mint/quote/sandbox/{id}"), format!("/v1/no/{secret}?c={c}")]
        {
            let _ = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        }
        let officer = self.agent.get(format!("{}/audit/v1/report", self.url));
        assert_eq!(officer.header("authorization", format!("Bearer {secret}")).call().unwrap().status(), 403);
        self.connections(&id, &secret, &ys);
    }

    /// Connections of which the address is known: a bare one with nonsense, and a WebSocket.
    fn connections(&mut self, id: &str, secret: &str, ys: &[Point]) {
        let address = self.url.strip_prefix("http://").unwrap().to_owned();
        for request in [
            format!(
                "GET /v1/keys/{secret} HTTP/1.1\r\nhost: mint\r\nx-forwarded-for: 203.0.113.77\r\nconnection: close\r\n\r\n"
            ),
            format!("{secret}\r\n\r\n"),
            format!(
                "POST /v1/swap HTTP/1.1\r\nhost: mint\r\ncontent-length: 900\r\n\r\n{{\"inputs\":[{{\"secret\":\"{secret}\""
            ),
        ] {
            let mut connection = TcpStream::connect(&address).unwrap();
            self.secrets.0.insert(connection.local_addr().unwrap().to_string());
            connection.write_all(request.as_bytes()).unwrap();
            connection.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = connection.read_to_end(&mut Vec::new());
        }
        self.secrets.0.insert("203.0.113.77".into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            let local = stream.local_addr().unwrap();
            let (mut socket, _) =
                tokio_tungstenite::client_async(format!("ws://{address}/v1/ws"), stream).await.unwrap();
            for (number, (kind, filters)) in
                [("proof_state", json!(ys)), ("sandbox_mint_quote", json!([id]))].into_iter().enumerate()
            {
                let params = json!({"kind": kind, "filters": filters, "subId": format!("{secret}{number}")});
                let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": params});
                socket.send(Message::text(ask.to_string())).await.unwrap();
                socket.next().await.unwrap().unwrap();
                socket.next().await.unwrap().unwrap();
            }
            for nonsense in [secret.to_owned(), format!("{{\"method\":\"{secret}\"}}")] {
                socket.send(Message::text(nonsense)).await.unwrap();
            }
            local
        });
        self.secrets.0.insert(local.to_string());
    }
}

/// The keys and tokens of a data folder.
fn keys_of(data: &Path, secrets: &mut Secrets) -> usize {
    let mut found = 0;
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "seed" || kind == "key" || kind == "token") {
                let text = fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                secrets.text(&text);
                secrets.0.insert(STANDARD.encode(hex::decode(&text).unwrap_or(text.into_bytes())));
                found += 1;
            }
        }
    }
    found
}

fn lines(stderr: &str) -> Vec<Value> {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("this line is not JSON: {line}"));
    stderr.lines().map(read).collect()
}

fn has<'a>(lines: &'a [Value], message: &str) -> &'a Value {
    let found = lines.iter().find(|line| line["message"] == message);
    found.unwrap_or_else(|| panic!("no line says '{message}': {lines:#?}"))
}

fn check(log: &str, stderr: &str, secrets: &Secrets) -> Vec<Value> {
    assert!(secrets.0.len() > 200, "only {} secrets", secrets.0.len());
    assert_eq!(secrets.found_in(log), Vec::<&String>::new());
    // The control: the same search finds each of them in a line that has it.
    for secret in &secrets.0 {
        let line = format!("{{\"level\":\"TRACE\",\"message\":\"a line with {secret} in it\"}}");
        assert!(secrets.found_in(&format!("{log}{line}\n")).contains(&secret));
    }
    let lines = lines(stderr);
    for line in &lines {
        let target = line["target"].as_str().unwrap().split("::").next().unwrap();
        let ours = ["habeas", "mint", "registry", "treasury", "transparency", "credential"].contains(&target);
        assert!(
            ours || ["WARN", "ERROR"].contains(&line["level"].as_str().unwrap()),
            "RUST_LOG lifted the cap: {line}"
        );
    }
    lines
}

#[test]
fn nothing_that_passes_through_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Logged::start(folder.path(), &data, &["--sandbox"]);
    let mut load = Load::new(&server.url);
    for _ in 0..3 {
        load.play();
    }
    good(&format!("audit --data {}", data.display()));
    good(&format!("mint status --data {}", data.display()));
    good(&format!("mint backup --data {} --out {}", data.display(), folder.path().join("backup").display()));
    // Another one is refused, and logs it as one line.
    let other = Command::new(HABEAS)
        .args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--log-format", "json", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(!other.status.success());
    let refused = lines(std::str::from_utf8(&other.stderr).unwrap());
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0]["error"].as_str().unwrap().contains("another habeas is running"), "{refused:?}");
    assert_eq!(refused[0]["level"], "ERROR");

    assert!(keys_of(&data, &mut load.secrets) >= 4);
    let (log, stderr) = server.stop();
    let lines = check(&log, &stderr, &load.secrets);
    let started = has(&lines, "started");
    assert_eq!(
        (&started["sandbox"], &started["store"], &started["version"]),
        (&true.into(), &"embedded".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let announced = has(&lines, "keyset announced");
    assert_eq!(announced["keyset"], load.keyset.id.to_string());
    assert!(has(&lines, "backup written")["rows"].as_u64().unwrap() > 20);
    has(&lines, "stopping");
    has(&lines, "stopped");
}

#[test]
fn nor_with_postgresql_and_a_commit_that_fails_is_told() {
    let database = database::Server::start();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Logged::start(folder.path(), &data, &["--sandbox", "--mint-store", &database.database()]);
    let mut load = Load::new(&server.url);
    load.play();
    drop(database);
    let (status, _) = load.ask("/v1/mint/quote/sandbox", &json!({"amount": 12, "unit": "sandbox"}));
    assert_eq!(status, 503);
    assert!(keys_of(&data, &mut load.secrets) >= 4);
    let (log, stderr) = server.stop();
    let lines = check(&log, &stderr, &load.secrets);
    assert_eq!(has(&lines, "a commit failed")["level"], "ERROR");
    assert_eq!(has(&lines, "started")["store"], "PostgreSQL");
}

#[test]
fn a_log_that_can_not_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let up = |variable: &str, value: &str| {
        let mut command = Command::new(HABEAS);
        command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
        let output = command.env(variable, value).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(up("RUST_LOG", "mint=loud=very").contains("RUST_LOG='mint=loud=very' can't be read"));
    assert!(up("HABEAS_LOG_FORMAT", "xml").contains("json"));
    bad("mint status --data nothing-there", &["no data folder"]);
}
