//! kill -9 of a mint at random moments under load: no answered request is lost, none takes effect twice, the same request again gets
//! the same answer, and the totals balance. On both stores.
//!
//! `KILLS=200 SEED=7 cargo test -p habeas --test kill_mint -- --nocapture` repeats it with as many kills on each store.

#[path = "../../mint/tests/world/database.rs"]
mod database;
mod running;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cashu::messages::{KeysResponse, KeysetsResponse, MintRequest, SignaturesResponse, SwapRequest};
use cashu::secret::{BlindingFactor, Secret};
use cashu::{Amount, BlindedMessage, Keyset, Proof, bdhke};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use running::{Up, good};
use serde_json::{Value, json};

/// Wallets at work at once.
const WALLETS: u64 = 6;
/// Answered requests that each wallet asks again after a kill.
const ASKED_AGAIN: usize = 8;

/// A wallet that knows what it asked and what was answered.
struct Busy {
    rng: StdRng,
    tokens: Vec<Proof>,
    /// What was sent and not answered: path, body, and what it takes to unblind the answer.
    under_way: Option<(&'static str, Value, Vec<Output>)>,
    /// What was answered: path, body, answer.
    answered: Vec<(&'static str, Value, Value)>,
    /// What the mint has been asked for in all.
    minted: u64,
}

struct Output {
    secret: Secret,
    r: BlindingFactor,
    message: BlindedMessage,
}

struct Mint<'a> {
    url: &'a str,
    keyset: &'a Keyset,
}

impl Mint<'_> {
    /// The answer, or `None` when there is no mint to answer.
    fn ask(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        let mut answer = agent.post(format!("{}{path}", self.url)).send_json(body).ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.body_mut().read_json().ok()?))
    }
}

impl Busy {
    /// Asks for something until the mint is gone.
    fn work(&mut self, mint: &Mint<'_>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) && self.step(mint).is_some() {}
    }

    fn step(&mut self, mint: &Mint<'_>) -> Option<()> {
        if self.under_way.is_none() {
            let prepared = if self.tokens.is_empty() || self.rng.random_ratio(1, 5) {
                let (status, quote) = mint.ask("/v1/mint/quote/sandbox", &json!({"amount": 12, "unit": "sandbox"}))?;
                assert_eq!(status, 200, "{quote}");
                let outputs = self.outputs(mint, &[4, 8]);
                let quote = quote["quote"].as_str().unwrap().to_owned();
                let messages = outputs.iter().map(|output| output.message.clone()).collect();
                let request = MintRequest { quote, outputs: messages, signature: None };
                self.minted += 12;
                ("/v1/mint/sandbox", json!(request), outputs)
            } else {
                let inputs: Vec<Proof> = self.tokens.drain(..self.tokens.len().min(2)).collect();
                let amounts: Vec<u64> = inputs.iter().map(|token| token.amount.minor()).collect();
                let outputs = self.outputs(mint, &amounts);
                let messages = outputs.iter().map(|output| output.message.clone()).collect();
                ("/v1/swap", json!(SwapRequest { inputs, outputs: messages }), outputs)
            };
            self.under_way = Some(prepared);
        }
        let (path, body, _) = self.under_way.as_ref()?;
        let (status, answer) = mint.ask(path, body)?;
        let (path, body, outputs) = self.under_way.take()?;
        assert_eq!(status, 200, "{path}: a request that was never answered is answered at last: {answer}");
        let signed: SignaturesResponse = serde_json::from_value(answer.clone()).unwrap();
        for (output, signed) in outputs.into_iter().zip(signed.signatures) {
            let signature =
                bdhke::unblind(&signed.signature, output.r.key(), &mint.keyset.keys[&signed.amount]).unwrap();
            let (amount, id) = (signed.amount, signed.id);
            self.tokens.push(Proof {
                amount,
                id,
                secret: output.secret,
                signature,
                witness: None,
                dleq: None,
                p2pk_e: None,
            });
        }
        self.answered.push((path, body, answer));
        Some(())
    }

    fn outputs(&mut self, mint: &Mint<'_>, amounts: &[u64]) -> Vec<Output> {
        let output = |amount: &u64| {
            let secret = Secret::new(hex::encode(self.rng.random::<[u8; 32]>())).unwrap();
            let r = BlindingFactor::from_bytes(self.rng.random()).unwrap();
            let blinded = bdhke::blind(secret.as_bytes(), r.key()).unwrap();
            Output { secret, r, message: BlindedMessage { amount: Amount::new(*amount), id: mint.keyset.id, blinded } }
        };
        amounts.iter().map(output).collect()
    }

    /// After a restart: what was answered is answered in the same way again.
    fn ask_again(&mut self, mint: &Mint<'_>) {
        for (path, body, before) in self.answered.drain(..).rev().take(ASKED_AGAIN) {
            // Killed again already.
            let Some((status, again)) = mint.ask(path, &body) else { return };
            assert!(status == 200 && again == before, "{path}: {status} {again}\nand was {before}");
        }
    }

    /// What the wallet holds is what it was given: nothing lost, nothing doubled.
    fn assert_whole(&self) {
        let held: u64 = self.tokens.iter().map(|token| token.amount.minor()).sum();
        assert_eq!(held, self.minted);
    }
}

fn play(data: &Path, options: &[&str], name: &str) {
    let from_environment = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
    };
    let (kills, seed) = (from_environment("KILLS", 5), from_environment("SEED", rand::random::<u32>().into()));
    println!("{name}: SEED={seed} KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let wallets: Vec<Mutex<Busy>> = (0..WALLETS)
        .map(|number| {
            let rng = StdRng::seed_from_u64(seed ^ (number + 1) << 40);
            Mutex::new(Busy { rng, tokens: Vec::new(), under_way: None, answered: Vec::new(), minted: 0 })
        })
        .collect();
    let mut answered = 0;
    for kill in 0..=kills {
        let up = Up::start_with(data, "127.0.0.1:0", options).expect("the mint starts again where it was");
        let keyset = keyset_of(&up.url);
        let mint = Mint { url: &up.url, keyset: &keyset };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for wallet in &wallets {
                let (mint, stop) = (&mint, &stop);
                scope.spawn(move || {
                    let mut wallet = wallet.lock().unwrap();
                    wallet.ask_again(mint);
                    wallet.work(mint, stop);
                });
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(30..300)));
            if kill < kills {
                up.kill();
            } else {
                // Beside the load: an audit sees one moment, whatever goes on.
                for _ in 0..3 {
                    assert!(good(&format!("audit --data {}", data.display())).trim_end().ends_with("balanced"));
                }
                stop.store(true, Ordering::Relaxed);
            }
        });
        answered += wallets.iter().map(|wallet| wallet.lock().unwrap().answered.len()).sum::<usize>();
        if kill == kills {
            for wallet in &wallets {
                let mut wallet = wallet.lock().unwrap();
                // The last request of each may have been under way.
                while wallet.under_way.is_some() {
                    wallet.step(&mint).expect("the mint is up");
                }
                wallet.assert_whole();
            }
        }
    }
    // The last server is gone with its handle.
    assert!(good(&format!("audit --data {}", data.display())).trim_end().ends_with("balanced"));
    println!("{name}: {answered} requests answered over {kills} kills; every wallet whole, totals balanced");
}

fn keyset_of(url: &str) -> Keyset {
    let get = |path: &str| ureq::get(format!("{url}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
    let keysets: KeysetsResponse = serde_json::from_str(&get("/v1/keysets")).unwrap();
    let id = keysets.keysets.iter().find(|info| info.unit.as_str() == "sandbox").unwrap().id;
    serde_json::from_str::<KeysResponse>(&get(&format!("/v1/keys/{id}"))).unwrap().keysets.remove(0)
}

#[test]
fn the_embedded_store_survives_kills_under_load() {
    let folder = tempfile::tempdir().unwrap();
    play(&folder.path().join("data"), &["--sandbox"], "embedded");
}

#[test]
fn postgresql_survives_kills_of_its_mint_under_load() {
    let server = database::Server::start();
    let address = server.database();
    let folder = tempfile::tempdir().unwrap();
    play(&folder.path().join("data"), &["--sandbox", "--mint-store", &address], "PostgreSQL");
}
