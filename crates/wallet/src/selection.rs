//! Which tokens pay an amount.

use cashu::Amount;

/// How to pay an amount from what is held.
#[derive(Debug, PartialEq, Eq)]
pub enum Selection {
    /// These tokens (by place) are worth exactly the amount.
    Exact(Vec<usize>),
    /// These tokens fall short, and no token fits what is missing: exchange the one at `exchange` into `missing`
    /// and the rest, then pay.
    Change {
        /// Tokens that are used as they are.
        exact: Vec<usize>,
        /// The smallest token that covers what is missing. One only: a swap with several inputs ties them together.
        exchange: usize,
        /// What is missing.
        missing: Amount,
    },
    /// There is not enough.
    Short,
}

/// Chooses tokens, all powers of two, for `amount`.
///
/// Largest first is optimal for powers of two: after it, either nothing is missing or each token left is larger than
/// what is missing.
pub fn select(held: &[Amount], amount: Amount) -> Selection {
    let mut by_value: Vec<usize> = (0..held.len()).collect();
    by_value.sort_by_key(|place| std::cmp::Reverse(held[*place]));
    let mut missing = amount;
    let mut exact = Vec::new();
    let mut too_large = None;
    for place in by_value {
        match missing.checked_sub(held[place]) {
            _ if missing == Amount::ZERO => break,
            Some(rest) => {
                missing = rest;
                exact.push(place);
            }
            None => too_large = Some(place),
        }
    }
    match too_large {
        _ if missing == Amount::ZERO => Selection::Exact(exact),
        Some(exchange) => Selection::Change { exact, exchange, missing },
        None => Selection::Short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amounts(minor: &[u64]) -> Vec<Amount> {
        minor.iter().copied().map(Amount::new).collect()
    }

    #[test]
    fn exact_where_possible_and_one_exchange_otherwise() {
        let held = amounts(&[8, 1, 4]);
        assert_eq!(select(&held, Amount::new(12)), Selection::Exact(vec![0, 2]));
        let change = Selection::Change { exact: vec![1], exchange: 2, missing: Amount::new(2) };
        assert_eq!(select(&held, Amount::new(3)), change);
        assert_eq!(select(&held, Amount::new(14)), Selection::Short);
    }

    proptest! {
        #[test]
        fn what_is_chosen_covers_the_amount(exponents in prop::collection::vec(0u32..12, 0..20), wanted in 1u64..10_000) {
            let held: Vec<Amount> = exponents.iter().map(|e| Amount::new(1 << e)).collect();
            let total: u64 = held.iter().map(|a| a.minor()).sum();
            let sum = |places: &[usize]| places.iter().map(|p| held[*p].minor()).sum::<u64>();
            match select(&held, Amount::new(wanted)) {
                Selection::Exact(places) => prop_assert_eq!(sum(&places), wanted),
                Selection::Change { exact, exchange, missing } => {
                    prop_assert_eq!(sum(&exact) + missing.minor(), wanted);
                    prop_assert!(held[exchange] > missing && !exact.contains(&exchange));
                }
                Selection::Short => prop_assert!(total < wanted),
            }
        }
    }
}
