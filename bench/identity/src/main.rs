//! What credentials cost, and what can be told from them: `identity-bench rates` and `identity-bench linking`, as JSON on standard output.
//!
//! [`world`] (an issuer in a fresh folder, and holders) → [`rates`] (how many a second, beside the bare signatures) and [`linking`] (can two
//! showings of one holder be told from those of two?).

mod linking;
mod rates;
mod world;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Batches, presentations, tokens, sessions and status lists
    Rates {
        /// Seconds for each figure
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Threads at once
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// One presentation of an mdoc, for other people's verifiers
    Sample,
    /// How well an adversary with all that relying parties keep ties showings together
    Linking {
        /// Holders
        #[arg(long, default_value_t = 1_000)]
        holders: usize,
        /// Showings of each
        #[arg(long, default_value_t = 10)]
        showings: usize,
        /// The seed of who shows what when
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> Result<()> {
    let json = match Cli::parse().command {
        Command::Rates { seconds, threads } => serde_json::to_string_pretty(&rates::measure(seconds, threads)?)?,
        Command::Sample => serde_json::to_string_pretty(&rates::sample()?)?,
        Command::Linking { holders, showings, seed } => {
            serde_json::to_string_pretty(&linking::measure(holders, showings, seed)?)?
        }
    };
    println!("{json}");
    Ok(())
}
