//! The control: a bug behind a word, and the word is found letter by letter or not at all.
//!
//! Blind bytes hit the eight letters once in 2⁶⁴ tries. An engine that sees which branches an input takes keeps each input that gets
//! one letter further, and needs some thousand tries a letter. A run that does not find it was not guided, and has tested little.

use std::hint::black_box;

/// Panics on one word.
pub fn planted(data: &[u8]) -> bool {
    // Each letter is a branch of its own, with something between that the compiler can't join.
    let is = |place: usize, letter: u8| data.get(place).copied() == Some(letter);
    macro_rules! letters {
        ($place:expr;) => { panic!("the planted bug was found, as it has to be") };
        ($place:expr; $letter:literal $($rest:literal)*) => {
            if is(black_box($place), $letter) {
                black_box($letter);
                letters!($place + 1; $($rest)*)
            }
        };
    }
    letters!(0; b'r' b'e' b'd' b'e' b'e' b'm' b'e' b'd');
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_sets_it_off() {
        for other in ["", "redeem", "redeemer", "Redeemed"] {
            assert!(!planted(other.as_bytes()));
        }
        assert!(std::panic::catch_unwind(|| planted(b"redeemed")).is_err());
    }
}
