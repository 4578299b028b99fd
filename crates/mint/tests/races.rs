//! Requests that want one token at the same instant, through several mints where the store allows several: exactly one wins.
//!
//! `RACES=10000 cargo test -p mint --test races` runs as many on each store.

mod world;

use std::sync::Barrier;

use cashu::messages::SwapRequest;
use cashu::{BlindedMessage, ErrorCode, Proof};
use mint::{Mint, MintError};
use world::{Holder, Place, usd, world};

/// Requests that want each token.
const CONTENDERS: usize = 3;
/// Tokens made by one quote.
const TOKENS_PER_QUOTE: usize = 100;

fn races() -> usize {
    std::env::var("RACES").map_or(1_000, |value| value.parse().expect("a number"))
}

/// Lets contenders, each with its own outputs, race for each token; `mints[i]` is asked by contender i.
fn race(mints: &[Mint]) {
    let count = races();
    println!("RACES={count}");
    let mut holder = Holder::new(&mints[0], 1);
    let tokens: Vec<Proof> = (0..count.div_ceil(TOKENS_PER_QUOTE))
        .flat_map(|quote| holder.collect(&mints[0], &format!("q-{quote}"), &[1; TOKENS_PER_QUOTE]))
        .take(count)
        .collect();
    let outputs: Vec<Vec<BlindedMessage>> = (0..CONTENDERS).map(|_| holder.outputs(&vec![1; count]).1).collect();
    let start = Barrier::new(CONTENDERS);
    let won: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let contenders: Vec<_> = mints
            .iter()
            .zip(outputs)
            .map(|(mint, outputs)| {
                let (tokens, start) = (&tokens, &start);
                scope.spawn(move || {
                    let swap = |(token, output): (&Proof, BlindedMessage)| {
                        let request = SwapRequest { inputs: vec![token.clone()], outputs: vec![output] };
                        start.wait();
                        match mint.swap(&request) {
                            Ok(_) => Ok(true),
                            Err(MintError::Refused(ErrorCode::ProofsSpent)) => Ok(false),
                            // Not here: the others would wait for ever.
                            Err(error) => Err(error.to_string()),
                        }
                    };
                    tokens.iter().zip(outputs).map(swap).collect::<Vec<_>>()
                })
            })
            .collect();
        contenders
            .into_iter()
            .map(|contender| contender.join().unwrap().into_iter().collect::<Result<_, _>>().unwrap())
            .collect()
    });
    for number in 0..count {
        let winners = won.iter().filter(|won| won[number]).count();
        assert_eq!(winners, 1, "token {number} was spent {winners} times");
    }
    let wins: Vec<usize> = won.iter().map(|won| won.iter().filter(|won| **won).count()).collect();
    println!("wins of each contender: {wins:?}");
    let audit = mints[0].audit().unwrap();
    assert!(audit.problems.is_empty(), "{:?}", audit.problems);
    assert_eq!(audit.outstanding(&usd()).minor() as usize, count.div_ceil(TOKENS_PER_QUOTE) * TOKENS_PER_QUOTE);
}

#[test]
fn on_the_embedded_store_exactly_one_wins() {
    let (place, world) = (Place::embedded(), world());
    let mint = place.open(&world);
    race(&vec![mint; CONTENDERS]);
}

#[test]
fn on_postgresql_exactly_one_wins_through_different_mints() {
    let (place, world) = (Place::postgres(), world());
    let mints: Vec<Mint> = (0..CONTENDERS).map(|_| place.open(&world)).collect();
    race(&mints);
}
