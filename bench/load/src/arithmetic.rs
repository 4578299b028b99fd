//! What the curve arithmetic takes on one core when nothing else costs anything: done plainly, which is the ceiling of a mint that
//! calls libsecp256k1 for each token, and as our mint does it, many requests together.

use std::time::Instant;

use anyhow::Result;
use cashu::bdhke::{self, Claim};
use cashu::{Point, dleq};
use rand::RngExt;
use secp256k1::{PublicKey, SecretKey};
use serde_json::json;

/// Swaps whose proofs are checked together.
const TOGETHER: u64 = 16;
/// Keys that their proofs are of.
const KEYS: u8 = 6;

/// Measures: parsing, hashing to the curve, verifying, signing and proving, as a swap of two into two needs them, and parsing, signing
/// and proving as an output of a mint request needs them.
pub fn measure(seconds: f64) -> Result<()> {
    let keys: Vec<(SecretKey, Point)> = (1..=KEYS)
        .map(|byte| SecretKey::from_secret_bytes([byte; 32]).map(|key| (key, Point::of_secret(&key))))
        .collect::<Result<_, _>>()?;
    let proofs: Vec<(String, String)> = (0..2 * TOGETHER)
        .map(|number| {
            let secret = format!("{number:064x}");
            let y = bdhke::hash_to_curve(secret.as_bytes());
            let signature = bdhke::sign(&y, &keys[number as usize % keys.len()].0);
            (secret, signature.to_string())
        })
        .collect();
    let parse = |text: &str| text.parse::<Point>().expect("a point");
    let verify = |number: usize| {
        let (secret, signature) = &proofs[number % proofs.len()];
        let key = &keys[number % proofs.len() % keys.len()].0;
        assert!(bdhke::verify(secret.as_bytes(), &parse(signature), key).is_some());
    };
    let verify_together = || {
        let signatures: Vec<Point> = proofs.iter().map(|(_, signature)| parse(signature)).collect();
        let mut claims = Vec::with_capacity(proofs.len());
        for (((secret, _), signature), (key, public_key)) in proofs.iter().zip(&signatures).zip(keys.iter().cycle()) {
            claims.push(Claim { secret: secret.as_bytes(), signature, key, public_key });
        }
        let mut rng = rand::rng();
        assert!(bdhke::verify_many(&claims, || rng.random()).iter().all(Option::is_some));
    };
    let blinded_text = bdhke::hash_to_curve(b"blinded").to_string();
    let (key, public_key) = &keys[0];
    let sign = || {
        let blinded = parse(&blinded_text);
        let signed = bdhke::sign(&blinded, key);
        let proof = dleq::prove(&blinded, &signed, key, public_key);
        std::hint::black_box((signed.to_string(), proof));
    };
    let share = seconds / 5.0;
    // The crate's own function, instead of the one that `dleq::prove` uses.
    let base_point_us = time(share, |_| {
        std::hint::black_box(PublicKey::from_secret_key(key));
    });
    let base_point_ours_us = time(share, |_| {
        std::hint::black_box(basepoint::multiply(key));
    });
    let output_us = time(share, |_| sign());
    let one_by_one_us = time(share, |number| {
        verify(2 * number as usize);
        verify(2 * number as usize + 1);
        sign();
        sign();
    });
    let together_us = time(share, |_| {
        verify_together();
        (0..2 * TOGETHER).for_each(|_| sign());
    });
    let dearer = base_point_us - base_point_ours_us;
    println!(
        "{}",
        json!({
            "swap_plain_us": round(one_by_one_us + 2.0 * dearer),
            "swap_us": round(together_us / TOGETHER as f64),
            "output_plain_us": round(output_us + dearer),
            "output_us": round(output_us),
        })
    );
    Ok(())
}

fn round(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

/// Microseconds a call.
fn time(seconds: f64, act: impl Fn(u64)) -> f64 {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed().as_secs_f64() < seconds {
        act(count);
        count += 1;
    }
    begin.elapsed().as_secs_f64() * 1e6 / count as f64
}
