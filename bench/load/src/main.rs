//! Load for any Cashu mint: `load swaps` and `load payday`, as JSON on standard output.
//!
//! All cryptography of the wallets' side is done before the clock starts, the requests are bytes by then, and one thread sends them:
//! on a small machine the generator stands beside the mint that it measures.
//!
//! [`http`] (connections) → [`wallet`] (outputs, tokens, requests) → [`run`] (the clock).

mod http;
mod run;
mod wallet;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::run::Level;
use crate::wallet::Mint;

/// Load for a Cashu mint.
#[derive(Parser)]
struct Cli {
    /// The mint's address, http://host:port
    #[arg(long)]
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
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    mint: String,
    levels: Vec<Level>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
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
        }
    })?;
    if levels.iter().any(|level| level.refused > 0) {
        bail!("the mint refused requests: {}", serde_json::to_string(&levels)?);
    }
    println!("{}", serde_json::to_string(&Report { mint: cli.mint, levels })?);
    Ok(())
}
