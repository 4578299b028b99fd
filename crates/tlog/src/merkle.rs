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

/// The ranges of a consistency proof from a tree of `old` entries to one of `new` (RFC 6962 section 2.1.2): the hash of each, in order.
/// Empty when `old` is none of the tree, or all of it.
pub fn consistency_path(old: u64, new: u64) -> Vec<(u64, u64)> {
    if old == 0 || old >= new {
        return Vec::new();
    }
    let (mut start, mut end, mut within) = (0, new, old);
    let mut path = Vec::new();
    // Whether the part of the old tree that is left begins at its first entry: then its hash is known, and not sent.
    let mut is_known = true;
    while within < end - start {
        let middle = split(end - start);
        if within <= middle {
            path.push((start + middle, end));
            end = start + middle;
        } else {
            path.push((start, start + middle));
            start += middle;
            within -= middle;
            is_known = false;
        }
    }
    if !is_known {
        path.push((start, end));
    }
    path.reverse();
    path
}

/// The roots that a consistency proof gives for a tree of `old` entries, whose root is `old_root`, and one of `new`
/// (RFC 9162 section 2.1.4.2). `None` where no proof has this form. The proof holds when they are the roots of both trees; and when the
/// second is the new tree's and the first is not the old one's, the new tree has other entries than the old one.
pub fn consistency_roots(old: u64, new: u64, old_root: &Hash, proof: &[Hash]) -> Option<(Hash, Hash)> {
    if old == 0 || old >= new || proof.is_empty() {
        return None;
    }
    let mut hashes = proof.iter();
    let first = if old.is_power_of_two() { *old_root } else { *hashes.next()? };
    let (mut at, mut last) = (old - 1, new - 1);
    let drop = at.trailing_ones();
    (at, last) = (at >> drop, last >> drop);
    let (mut old_node, mut new_node) = (first, first);
    for hash in hashes {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            old_node = node_hash(hash, &old_node);
            new_node = node_hash(hash, &new_node);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_node = node_hash(&new_node, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some((old_node, new_node))
}

/// Whether a proof shows that the tree of `new` entries begins with all those of the tree of `old`.
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    match old {
        0 => proof.is_empty(),
        _ if old == new => proof.is_empty() && old_root == new_root,
        _ => consistency_roots(old, new, old_root, proof) == Some((*old_root, *new_root)),
    }
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

    /// Every pair of sizes up to 40, and every way to spoil a proof by one hash.
    #[test]
    fn consistency_proofs_hold_for_the_trees_they_were_made_for_alone() {
        let leaves: Vec<Hash> = (0u8..40).map(|number| leaf_hash(&[number])).collect();
        let root = |size: u64| root_of(&leaves[..size as usize]);
        for new in 0..=40u64 {
            for old in 0..=new {
                let range = |(start, end): (u64, u64)| root_of(&leaves[start as usize..end as usize]);
                let proof: Vec<Hash> = consistency_path(old, new).into_iter().map(range).collect();
                let holds = |proof: &[Hash]| verify_consistency(old, &root(old), new, &root(new), proof);
                assert!(holds(&proof), "{old} to {new}");
                for at in 0..proof.len() {
                    let mut spoilt = proof.clone();
                    spoilt[at][0] ^= 1;
                    assert!(!holds(&spoilt), "{old} to {new}, hash {at}");
                    spoilt.remove(at);
                    assert!(!holds(&spoilt), "{old} to {new} without hash {at}");
                }
                assert!(!holds(&[&proof[..], &[[0; 32]]].concat()), "{old} to {new}, one more");
                if old > 0 {
                    let mut other = root(old);
                    other[0] ^= 1;
                    assert!(!verify_consistency(old, &other, new, &root(new), &proof), "{old} to {new}");
                }
            }
        }
    }

    /// A tree in which an early entry was changed: its own proof says what its beginning is, and that is not the old root.
    #[test]
    fn a_rewritten_tree_convicts_itself() {
        let leaves: Vec<Hash> = (0u8..40).map(|number| leaf_hash(&[number])).collect();
        let mut rewritten = leaves.clone();
        rewritten[3] = leaf_hash(b"changed");
        for (old, new) in [(7, 40), (8, 40), (20, 33), (39, 40)] {
            let range = |(start, end): (u64, u64)| root_of(&rewritten[start as usize..end as usize]);
            let proof: Vec<Hash> = consistency_path(old, new).into_iter().map(range).collect();
            let (old_root, new_root) = (root_of(&leaves[..old as usize]), root_of(&rewritten[..new as usize]));
            assert!(!verify_consistency(old, &old_root, new, &new_root, &proof));
            let own_root = root_of(&rewritten[..old as usize]);
            // Where the old size is a power of two the old root stands in for the first hash.
            let told = consistency_roots(old, new, &own_root, &proof).unwrap();
            assert_eq!(told, (own_root, new_root), "{old} to {new}");
            assert_ne!(told.0, old_root);
        }
    }
}
