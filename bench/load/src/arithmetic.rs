//! What the curve arithmetic takes, done plainly with libsecp256k1: the ceiling of any mint on this machine.

use std::time::Instant;

use anyhow::Result;
use cashu::{Point, bdhke, dleq};
use secp256k1::SecretKey;
use serde_json::json;

/// Measures, on one core: parsing, hashing to the curve, verifying, signing and proving, as a swap of two into two needs them, and
/// parsing, signing and proving as an output of a mint request needs them.
pub fn measure(seconds: f64) -> Result<()> {
    let key = SecretKey::from_secret_bytes([7; 32])?;
    let public = Point::of_secret(&key);
    let secret = |n: u64| format!("{n:064x}");
    let signature = bdhke::sign(&bdhke::hash_to_curve(secret(1).as_bytes()), &key);
    let (signature_text, blinded_text) = (signature.to_string(), bdhke::hash_to_curve(b"blinded").to_string());
    let verify = |n: u64| {
        let claimed: Point = signature_text.parse().expect("a point");
        std::hint::black_box(bdhke::verify(secret(n).as_bytes(), &claimed, &key));
    };
    let sign = || {
        let blinded: Point = blinded_text.parse().expect("a point");
        let signed = bdhke::sign(&blinded, &key);
        let proof = dleq::prove(&blinded, &signed, &key, &public);
        std::hint::black_box((signed.to_string(), proof));
    };
    let output_us = time(seconds / 2.0, |_| sign());
    let swap_us = time(seconds / 2.0, |n| {
        verify(n);
        verify(n + 1);
        sign();
        sign();
    });
    println!("{}", json!({"swap_us": swap_us, "output_us": output_us}));
    Ok(())
}

/// Microseconds a call.
fn time(seconds: f64, act: impl Fn(u64)) -> f64 {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed().as_secs_f64() < seconds {
        act(count);
        count += 1;
    }
    (begin.elapsed().as_secs_f64() * 1e7 / count as f64).round() / 10.0
}
