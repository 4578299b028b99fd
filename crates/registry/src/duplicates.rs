//! Likely duplicates, found on keyed encodings: nothing is compared in the clear, and nothing is merged.
//!
//! Each person's name, birth date and address become a bit field (a keyed Bloom filter over pairs of letters, as in Schnell, Bachteler
//! and Reiher 2009): people whose texts share most pairs share most bits. Candidates are those who share a keyed hash of birth date,
//! of name parts or of the address's number and postcode; of those, a Dice similarity of at least [`THRESHOLD`] is flagged.

use rusqlite::{Transaction, params};

use crate::RegistryError;
use crate::person::Attributes;
use crate::seal::Keys;

/// Bytes of a bit field: about 60 pairs set 10 bits each, so that a third to half of 1,024 bits are set.
const FIELD_LEN: usize = 128;
/// Bits a pair of letters sets.
const BITS_PER_PAIR: usize = 10;
/// Dice similarity from which two people are flagged: one or two typing errors in all fields together stay above it.
const THRESHOLD: f64 = 0.8;
/// How many candidates of one hash are compared: bounds the time for a birth date such as 1 January 1900.
const CANDIDATES_MAX: u32 = 200;

/// What a person is compared by.
pub struct Encoding {
    /// The bit field.
    pub field: Vec<u8>,
    /// Keyed hashes under which candidates are looked for.
    pub blocks: Vec<Vec<u8>>,
}

/// Encodes a person.
pub fn encode(keys: &Keys, attributes: &Attributes) -> Encoding {
    let mut field = vec![0u8; FIELD_LEN];
    let normal = |text: &str| -> String { text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect() };
    let (given, family) = (normal(&attributes.given_name), normal(&attributes.family_name));
    let (birth, address) = (normal(&attributes.birth_date), normal(&attributes.address));
    // Names swapped between columns still meet: both are encoded alike.
    for (kind, text) in [("name", &given), ("name", &family), ("birth", &birth), ("address", &address)] {
        let padded: Vec<char> = format!("_{text}_").chars().collect();
        for pair in padded.windows(2) {
            let digest = keys.index_hash("pair", &format!("{kind} {}{}", pair[0], pair[1]));
            for position in digest.chunks(2).take(BITS_PER_PAIR) {
                let bit = usize::from(u16::from_be_bytes([position[0], position[1]])) % (FIELD_LEN * 8);
                field[bit / 8] |= 1 << (bit % 8);
            }
        }
    }
    let start = |text: &str, length: usize| -> String { text.chars().take(length).collect() };
    let mut names = [start(&given, 3), start(&family, 3)];
    names.sort();
    let blocks =
        [format!("birth {birth}"), format!("names {}", names.join(" ")), format!("address {}", start(&address, 12))];
    let blocks = blocks.iter().map(|block| keys.index_hash("block", block)[..16].to_vec()).collect();
    Encoding { field, blocks }
}

/// The Dice similarity of two bit fields: twice the shared bits over all set bits.
pub fn similarity(a: &[u8], b: &[u8]) -> f64 {
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let shared: u32 = a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum();
    match ones(a) + ones(b) {
        0 => 0.0,
        all => f64::from(2 * shared) / f64::from(all),
    }
}

/// Flags the people who are likely the same as `person`, and gives how many.
pub(crate) fn flag(transaction: &Transaction<'_>, person: &str, encoding: &Encoding) -> Result<usize, RegistryError> {
    let mut seen = std::collections::BTreeMap::new();
    for block in &encoding.blocks {
        let mut candidates = transaction.prepare_cached(
            "SELECT people.id, people.encoding FROM blocks JOIN people ON people.id = blocks.person
             WHERE blocks.block = ?1 AND people.id <> ?2 LIMIT ?3",
        )?;
        let mut rows = candidates.query(params![block, person, CANDIDATES_MAX])?;
        while let Some(row) = rows.next()? {
            let field: Vec<u8> = row.get(1)?;
            seen.insert(row.get::<_, String>(0)?, similarity(&encoding.field, &field));
        }
    }
    let mut flagged = 0;
    for (other, score) in seen.into_iter().filter(|(_, score)| *score >= THRESHOLD) {
        transaction
            .prepare_cached("INSERT INTO possible_duplicates (person, other, score) VALUES (?1, ?2, ?3)")?
            .execute(params![person, other, score])?;
        flagged += 1;
    }
    for block in &encoding.blocks {
        transaction
            .prepare_cached("INSERT INTO blocks (block, person) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![block, person])?;
    }
    Ok(flagged)
}
