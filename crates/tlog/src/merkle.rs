//! The Merkle tree of RFC 6962 (section 2.1): hashes, and the arithmetic of complete subtrees.

use sha2::{Digest, Sha256};

use crate::Hash;

/// The hash of an entry: SHA-256 of `0x00` and the entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

/// The hash of two subtrees: SHA-256 of `0x01` and both hashes.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of the tree without entries: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A tree that only grows: the roots of the complete subtrees that its size is made of, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One hash a set bit of `size`, from the highest to the lowest.
    roots: Vec<Hash>,
}

impl Frontier {
    /// A frontier from its parts. `None` unless there is one root for each set bit of `size`.
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Frontier { size, roots })
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the hash of an entry.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        let mut bits = self.size;
        while bits & 1 == 1 {
            let left = self.roots.pop().expect("one root a set bit");
            node = node_hash(&left, &node);
            bits >>= 1;
        }
        self.roots.push(node);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => empty_root(),
            Some(last) => roots.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// The root of a list of entry hashes.
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// Where a range splits: the largest power of two below `n` (RFC 6962 `k`).
fn split(n: u64) -> u64 {
    debug_assert!(n > 1);
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// A complete subtree: entries `start .. start + 2^level`, aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtree {
    /// 0 for one entry.
    pub level: u32,
    /// Its number among the subtrees of its level.
    pub index: u64,
}

/// The complete subtrees that a range of entries is made of, in order. `start` must be a multiple of the range's largest subtree,
/// as it is for every range that [`inclusion_path`] gives.
pub fn subtrees(start: u64, end: u64) -> Vec<Subtree> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        parts.push(Subtree { level, index: at >> level });
        at += 1 << level;
    }
    parts
}

/// The sibling ranges on the way from entry `index` to the root of a tree of `size`, lowest first: the hash of each is one
/// step of the inclusion proof (RFC 6962 section 2.1.1).
pub fn inclusion_path(index: u64, size: u64) -> Vec<(u64, u64)> {
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push((middle, end));
            end = middle;
        } else {
            path.push((start, middle));
            start = middle;
        }
    }
    path.reverse();
    path
}

/// Whether `proof` shows that the entry with hash `leaf` stands at `index` in the tree of `size` with this root
/// (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let path = inclusion_path(index, size);
    if path.len() != proof.len() {
        return false;
    }
    let computed = path.iter().zip(proof).fold(*leaf, |node, ((start, _), sibling)| {
        if *start > index { node_hash(&node, sibling) } else { node_hash(sibling, &node) }
    });
    computed == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference inputs of the Certificate Transparency project, with their published roots.
    const INPUTS: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves() -> Vec<Hash> {
        INPUTS.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect()
    }

    #[test]
    fn roots_are_the_published_ones() {
        for (count, expected) in ROOTS.iter().enumerate() {
            assert_eq!(hex::encode(root_of(&leaves()[..=count])), *expected);
        }
        assert_eq!(hex::encode(empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn inclusion_holds_for_each_entry_and_no_other() {
        let leaves: Vec<Hash> = (0u64..300).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        for size in [1u64, 2, 3, 7, 8, 255, 256, 257, 300] {
            let root = root_of(&leaves[..size as usize]);
            for index in (0..size).step_by(7) {
                let proof: Vec<Hash> = inclusion_path(index, size)
                    .into_iter()
                    .map(|(start, end)| root_of(&leaves[start as usize..end as usize]))
                    .collect();
                assert!(verify_inclusion(&leaves[index as usize], index, size, &proof, &root));
                let other = leaf_hash(b"another entry");
                assert!(!verify_inclusion(&other, index, size, &proof, &root));
                assert!(
                    size == 1 || !verify_inclusion(&leaves[index as usize], (index + 1) % size, size, &proof, &root)
                );
            }
        }
    }

    #[test]
    fn a_range_is_made_of_its_subtrees() {
        let parts = subtrees(8, 15);
        let expected = [(2, 2), (1, 6), (0, 14)].map(|(level, index)| Subtree { level, index });
        assert_eq!(parts, expected);
    }
}
