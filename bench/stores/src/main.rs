//! fjall and RocksDB under the mint's pattern: batches of 64 swaps, each of which looks four random keys up and inserts them, one synced
//! write a batch; after a number of keys are there already. Both with a cache of 128 MiB and Bloom filters of 10 bits a key.
//!
//!     stores fjall|rocksdb FOLDER KEYS [KEYS …]
//!
//! One JSON line for each number of keys: swaps a second, bytes on disk a key, peak memory of the process.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Swaps of one commit, as many as gather under the load of 64 connections.
const SWAPS: usize = 64;
/// Two tokens in, two out.
const KEYS_PER_SWAP: usize = 4;
/// How many batches are timed.
const BATCHES: usize = 400;
/// Keys of one commit while filling.
const FILL: u64 = 50_000;
const CACHE: usize = 128 << 20;

type Key = [u8; 33];
/// Keyset, exponent and MAC.
const VALUE: [u8; 11] = [7; 11];

trait Store {
    /// Inserts keys of which none is there. Synced if asked.
    fn insert(&self, keys: &[Key], sync: bool) -> Result<()>;
    fn contains(&self, key: &Key) -> Result<bool>;
    /// Brings everything to rest.
    fn settle(&self) -> Result<()>;
}

struct Fjall(fjall::Database, fjall::Keyspace);

impl Fjall {
    fn open(folder: &Path) -> Result<Self> {
        let database = fjall::Database::builder(folder).cache_size(CACHE as u64).open()?;
        let keyspace = database.keyspace("spent", fjall::KeyspaceCreateOptions::default)?;
        Ok(Fjall(database, keyspace))
    }
}

impl Store for Fjall {
    fn insert(&self, keys: &[Key], sync: bool) -> Result<()> {
        let mut batch = self.0.batch().durability(sync.then_some(fjall::PersistMode::SyncAll));
        keys.iter().for_each(|key| batch.insert(&self.1, key, VALUE));
        Ok(batch.commit()?)
    }

    fn contains(&self, key: &Key) -> Result<bool> {
        Ok(self.1.contains_key(key)?)
    }

    fn settle(&self) -> Result<()> {
        self.1.rotate_memtable_and_wait()?;
        Ok(())
    }
}

struct Rocks(rocksdb::DB);

impl Rocks {
    fn open(folder: &Path) -> Result<Self> {
        let mut table = rocksdb::BlockBasedOptions::default();
        table.set_bloom_filter(10.0, false);
        table.set_block_cache(&rocksdb::Cache::new_lru_cache(CACHE)?);
        table.set_cache_index_and_filter_blocks(true);
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(64 << 20);
        options.increase_parallelism(2);
        Ok(Rocks(rocksdb::DB::open(&options, folder)?))
    }
}

impl Store for Rocks {
    fn insert(&self, keys: &[Key], sync: bool) -> Result<()> {
        let mut batch = rocksdb::WriteBatch::default();
        keys.iter().for_each(|key| batch.put(key, VALUE));
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(sync);
        Ok(self.0.write_opt(batch, &options)?)
    }

    fn contains(&self, key: &Key) -> Result<bool> {
        Ok(self.0.get_pinned(key)?.is_some())
    }

    fn settle(&self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, folder, sizes @ ..] = arguments.as_slice() else { bail!("stores fjall|rocksdb FOLDER KEYS [KEYS …]") };
    let folder = PathBuf::from(folder);
    let store: Box<dyn Store> = match kind.as_str() {
        "fjall" => Box::new(Fjall::open(&folder)?),
        "rocksdb" => Box::new(Rocks::open(&folder)?),
        other => bail!("there is no store {other}"),
    };
    let mut rng = StdRng::seed_from_u64(1);
    let mut keys = 0u64;
    for size in sizes {
        let size: u64 = size.parse().context("a number of keys")?;
        while keys < size {
            store.insert(&(0..FILL).map(|_| key(&mut rng)).collect::<Vec<_>>(), false)?;
            keys += FILL;
        }
        store.settle()?;
        std::thread::sleep(std::time::Duration::from_secs(5));
        let batches: Vec<Vec<Key>> =
            (0..BATCHES).map(|_| (0..SWAPS * KEYS_PER_SWAP).map(|_| key(&mut rng)).collect()).collect();
        let begin = Instant::now();
        for batch in &batches {
            for key in batch {
                if store.contains(key)? {
                    bail!("a random key is there already");
                }
            }
            store.insert(batch, true)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        keys += (BATCHES * SWAPS * KEYS_PER_SWAP) as u64;
        store.settle()?;
        let line = serde_json::json!({
            "store": kind, "keys": keys,
            "swaps_per_second": ((BATCHES * SWAPS) as f64 / seconds).round(),
            "bytes_per_key": (disk(&folder)? as f64 / keys as f64 * 10.0).round() / 10.0,
            "peak_memory_mib": peak_mib()?,
        });
        println!("{line}");
    }
    Ok(())
}

/// A compressed point, as far as a store can tell.
fn key(rng: &mut StdRng) -> Key {
    let mut key = [2; 33];
    rng.fill_bytes(&mut key[1..]);
    key
}

fn disk(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { disk(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}

fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1_024)
}
