//! A spent set of many millions, written straight into the embedded store: as if a programme had run for years.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use mint::keysets::MintSeed;
use mint::store::lsm::LsmStore;
use mint::store::{Change, Store, Table};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Rows of one commit.
const ROWS_PER_COMMIT: u64 = 50_000;

/// Adds spent rows under random keys until there are `spent` in all.
pub fn fill(data: &Path, spent: u64, seed: u64) -> Result<()> {
    // Fills stores whose seed is in a file; without one, none is made.
    let seed_file = data.join("mint/mint.seed");
    seed_file.metadata().context("start `habeas up --sandbox` there once, without --mint-key")?;
    let store = LsmStore::open(&data.join("mint/store"), &MintSeed::open(&seed_file)?)?;
    let mut count = 0;
    store.scan(&[Table::Spent], &mut |_, _, _, _| count += 1)?;
    let mut rng = StdRng::seed_from_u64(seed ^ count);
    let begin = Instant::now();
    while count < spent {
        let rows = ROWS_PER_COMMIT.min(spent - count);
        let row = |_| {
            // As a compressed point: 33 bytes, random but for the first. What it was worth is a row of keyset 0.
            let mut key = vec![2; 33];
            rng.fill_bytes(&mut key[1..]);
            (Table::Spent, key, vec![0, 0, 0])
        };
        store.commit(&[Change { rows: (0..rows).map(row).collect(), events: Vec::new() }])?;
        count += rows;
        if count / 1_000_000 > (count - rows) / 1_000_000 {
            eprintln!("{count} spent tokens after {:.0} s", begin.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
