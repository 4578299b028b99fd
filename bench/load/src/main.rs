//! Load for any Cashu mint: `load swaps` and `load payday`, as JSON on standard output.
//!
//! All cryptography of the wallets' side is done before the clock starts, the requests are bytes by then, and one thread sends them:
//! on a small machine the generator stands beside the mint that it measures.
//!
//! Beside these: `load arithmetic`, what the curve arithmetic of a swap takes on one core when nothing else costs anything, and `load
//! fill`, a spent set of many millions written straight into the embedded store.
//!
//! [`http`] (connections) → [`wallet`] (outputs, tokens, requests) → [`run`] (the clock).

mod arithmetic;
mod fill;
mod http;
mod run;
mod wallet;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::run::Level;
use crate::wallet::Mint;

/// Load for a Cashu mint.
#[derive(Parser)]
struct Cli {
    /// The mint's address, http://host:port
    #[arg(long, default_value = "http://127.0.0.1:4280")]
    mint: String,
    /// NUT-04 method whose quotes are paid by themselves: sandbox, or bolt11 at a mint with a fake wallet
    #[arg(long, default_value = "sandbox")]
    method: String,
    /// The unit
    #[arg(long, default_value = "sandbox")]
    unit: String,
    /// The seed of all that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Count refused requests instead of failing: for mints that refuse under load
    #[arg(long)]
    tolerate_refusals: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Swaps of two tokens into two
    Swaps {
        /// Connections at once; one run for each number
        #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
        connections: Vec<usize>,
        /// Length of each run
        #[arg(long, default_value_t = 6.0)]
        seconds: f64,
        /// Requests to prepare for each second; a run ends early when they are used up
        #[arg(long, default_value_t = 5_000.0)]
        rate: f64,
    },
    /// Quotes minted into eight tokens each
    Payday {
        /// How many quotes
        #[arg(long, default_value_t = 20_000)]
        quotes: usize,
        /// Connections at once
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// The curve arithmetic of swaps and of minting alone, on one core
    Arithmetic {
        /// How long
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
    /// Writes spent tokens into the store of a data folder; no server may run on it
    Fill {
        /// The data folder of a sandbox
        #[arg(long)]
        data: PathBuf,
        /// How many in all
        #[arg(long)]
        spent: u64,
    },
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    mint: String,
    levels: Vec<Level>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Command::Arithmetic { seconds } => return arithmetic::measure(seconds),
        Command::Fill { data, spent } => return fill::fill(&data, spent, cli.seed),
        Command::Swaps { .. } | Command::Payday { .. } => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let levels = runtime.block_on(async {
        let mint = Mint::open(&cli.mint, &cli.method, &cli.unit, cli.seed).await?;
        match cli.command {
            Command::Swaps { connections, seconds, rate } => {
                let mut levels = Vec::new();
                for connections in connections {
                    // One connection waits for each answer: it can't use more than a fraction.
                    let share = if connections == 1 { 0.5 } else { 1.0 };
                    let count = (rate * seconds * share).ceil() as usize;
                    eprintln!("== {connections} connections: preparing {count} swaps");
                    let requests = mint.swaps(count).await?;
                    levels.push(run::run(&mint.address, "/v1/swap", requests, connections, Some(seconds)).await?);
                }
                anyhow::Ok(levels)
            }
            Command::Payday { quotes, connections } => {
                eprintln!("== payday: preparing {quotes} quotes of 8 outputs");
                let requests = mint.payday(quotes).await?;
                let path = format!("/v1/mint/{}", cli.method);
                Ok(vec![run::run(&mint.address, &path, requests, connections, None).await?])
            }
            Command::Arithmetic { .. } | Command::Fill { .. } => Ok(Vec::new()),
        }
    })?;
    if !cli.tolerate_refusals && levels.iter().any(|level| level.refused > 0) {
        bail!("the mint refused requests: {}", serde_json::to_string(&levels)?);
    }
    println!("{}", serde_json::to_string(&Report { mint: cli.mint, levels })?);
    Ok(())
}
