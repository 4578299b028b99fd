//! The wallets' side: tokens to spend, outputs to sign, requests as bytes.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use cashu::keyset::KeysetInfo;
use cashu::messages::{KeysResponse, KeysetsResponse, MintRequest, SignaturesResponse, SwapRequest};
use cashu::secret::{BlindingFactor, Secret};
use cashu::{Amount, BlindSignature, BlindedMessage, Keyset, Proof, bdhke};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::http::{self, Connection};

/// Tokens that one preparing request asks for; every mint takes as many.
const OUTPUTS_PER_QUOTE: usize = 100;
/// Amounts of 2⁰ to 2⁵: what purchases are made of.
const EXPONENTS: u32 = 6;
/// Tokens of a payday quote.
const PAYDAY_AMOUNTS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// A mint, with the keyset it signs with.
pub struct Mint {
    /// `host:port`.
    pub address: String,
    method: String,
    unit: String,
    keyset: Keyset,
    seed: u64,
}

/// An output with what it takes to unblind it.
struct Output {
    secret: Secret,
    r: BlindingFactor,
    message: BlindedMessage,
}

impl Mint {
    /// Finds the active keyset of a unit.
    pub async fn open(url: &str, method: &str, unit: &str, seed: u64) -> Result<Self> {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let mut connection = Connection::open(&address).await?;
        let keysets: KeysetsResponse = get(&mut connection, &address, "/v1/keysets").await?;
        let active = |info: &&KeysetInfo| info.unit.as_str() == unit && info.active;
        let info = keysets.keysets.iter().find(active).with_context(|| format!("no active keyset for {unit}"))?;
        let keys: KeysResponse = get(&mut connection, &address, &format!("/v1/keys/{}", info.id)).await?;
        let keyset = keys.keysets.into_iter().next().context("a keyset without keys")?;
        Ok(Mint { address, method: method.to_owned(), unit: unit.to_owned(), keyset, seed })
    }

    /// Swap requests of two tokens into two of the same amounts.
    pub async fn swaps(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let tokens = self.tokens(2 * count).await?;
        let pairs: Vec<&[Proof]> = tokens.chunks_exact(2).collect();
        Ok(parallel(&pairs, self.seed, |rng, pair| {
            let outputs = pair.iter().map(|proof| self.output(rng, proof.amount).message).collect();
            serde_json::to_vec(&SwapRequest { inputs: pair.to_vec(), outputs }).expect("plain data")
        }))
    }

    /// Mint requests against quotes that are paid, eight outputs each.
    pub async fn payday(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut connection = Connection::open(&self.address).await?;
        let mut quotes = Vec::with_capacity(count);
        for _ in 0..count {
            quotes.push(self.paid_quote(&mut connection, PAYDAY_AMOUNTS.iter().sum()).await?);
        }
        Ok(parallel(&quotes, self.seed, |rng, quote| {
            let outputs = PAYDAY_AMOUNTS.iter().map(|amount| self.output(rng, Amount::new(*amount)).message).collect();
            let request = MintRequest { quote: quote.clone(), outputs, signature: None };
            serde_json::to_vec(&request).expect("plain data")
        }))
    }

    /// Tokens of random small amounts.
    async fn tokens(&self, count: usize) -> Result<Vec<Proof>> {
        let mut connection = Connection::open(&self.address).await?;
        let places: Vec<usize> = (0..count).collect();
        let outputs = parallel(&places, self.seed, |rng, _| {
            let amount = Amount::new(1 << rng.random_range(0..EXPONENTS));
            self.output(rng, amount)
        });
        let mut signatures: Vec<BlindSignature> = Vec::with_capacity(count);
        for part in outputs.chunks(OUTPUTS_PER_QUOTE) {
            let amount = part.iter().map(|output| output.message.amount.minor()).sum();
            let quote = self.paid_quote(&mut connection, amount).await?;
            let outputs = part.iter().map(|output| output.message.clone()).collect();
            let request = MintRequest { quote, outputs, signature: None };
            let path = format!("/v1/mint/{}", self.method);
            let answer: SignaturesResponse = post(&mut connection, &self.address, &path, &request).await?;
            signatures.extend(answer.signatures);
        }
        let pairs: Vec<(&Output, &BlindSignature)> = outputs.iter().zip(&signatures).collect();
        Ok(parallel(&pairs, self.seed, |_, (output, signature)| {
            let key = &self.keyset.keys[&signature.amount];
            Proof {
                amount: signature.amount,
                id: signature.id,
                secret: output.secret.clone(),
                signature: bdhke::unblind(&signature.signature, output.r.key(), key).expect("an honest mint"),
                witness: None,
                dleq: None,
                p2pk_e: None,
            }
        }))
    }

    async fn paid_quote(&self, connection: &mut Connection, amount: u64) -> Result<String> {
        let path = format!("/v1/mint/quote/{}", self.method);
        let asked = json!({"amount": amount, "unit": self.unit});
        let answer: serde_json::Value = post(connection, &self.address, &path, &asked).await?;
        let id = answer["quote"].as_str().context("a quote has an id")?.to_owned();
        let mut state = answer["state"].clone();
        for _ in 0..600 {
            if state == "PAID" {
                return Ok(id);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            let answer: serde_json::Value = get(connection, &self.address, &format!("{path}/{id}")).await?;
            state = answer["state"].clone();
        }
        bail!("quote {id} was not paid within half a minute")
    }

    fn output(&self, rng: &mut StdRng, amount: Amount) -> Output {
        let secret = Secret::new(hex::encode(rng.random::<[u8; 32]>())).expect("64 bytes of text");
        let r = BlindingFactor::from_bytes(rng.random()).expect("a scalar, but for 2^-128");
        let blinded = bdhke::blind(secret.as_bytes(), r.key()).expect("not at infinity");
        let message = BlindedMessage { amount, id: self.keyset.id, blinded };
        Output { secret, r, message }
    }
}

/// Does work on all cores, in order; each core draws from its own generator.
fn parallel<In: Sync, Out: Send>(items: &[In], seed: u64, work: impl Fn(&mut StdRng, &In) -> Out + Sync) -> Vec<Out> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let salt = rand::rng().next_u64();
    std::thread::scope(|scope| {
        let parts: Vec<_> = items
            .chunks(items.len().div_ceil(cores).max(1))
            .enumerate()
            .map(|(core, part)| {
                let work = &work;
                // Salted, since one mint is asked in many runs and an output is signed once.
                let mut rng = StdRng::seed_from_u64(seed ^ salt ^ (core as u64) << 48);
                scope.spawn(move || part.iter().map(|item| work(&mut rng, item)).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("no work panics")).collect()
    })
}

async fn get<Answer: DeserializeOwned>(connection: &mut Connection, address: &str, path: &str) -> Result<Answer> {
    read(connection.send(&http::request("GET", address, path, b"")).await?, path)
}

async fn post<Answer: DeserializeOwned>(
    connection: &mut Connection,
    address: &str,
    path: &str,
    body: &impl serde::Serialize,
) -> Result<Answer> {
    read(connection.send(&http::request("POST", address, path, &serde_json::to_vec(body)?)).await?, path)
}

fn read<Answer: DeserializeOwned>((status, body): (u16, &[u8]), path: &str) -> Result<Answer> {
    if status != 200 {
        bail!("{path}: status {status}: {}", String::from_utf8_lossy(body));
    }
    serde_json::from_slice(body).with_context(|| format!("{path}: {}", String::from_utf8_lossy(body)))
}
