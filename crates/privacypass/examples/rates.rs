//! How many tokens one core issues, blinds, finishes and verifies, beside the same library's own signatures.
//!
//! `cargo run -p privacypass --example rates`

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PSS_2048_8192_SHA384, RSA_PSS_SHA384};
use es256::{Signer, SigningKey};
use privacypass::challenge::TokenChallenge;
use privacypass::client::Blinding;
use privacypass::issuer::IssuerKey;
use privacypass::showing::{Showing, VerifierChallenge, verify_showing};

/// Calls of each; their median is told, so that a machine that is busy now and then does not matter.
const CALLS: usize = 301;

fn measure<T>(what: &str, mut call: impl FnMut() -> T) {
    let mut times: Vec<Duration> = (0..CALLS)
        .map(|_| {
            let start = Instant::now();
            black_box(call());
            start.elapsed()
        })
        .collect();
    times.sort();
    let median = times[CALLS / 2];
    println!("{what:<44} {:>9.1} µs {:>8.0} a second", median.as_secs_f64() * 1e6, 1.0 / median.as_secs_f64());
}

fn main() {
    let der = IssuerKey::generate_pkcs8().expect("randomness");
    let issuer = IssuerKey::from_pkcs8(&der).expect("our own key");
    let public = issuer.public_key();
    let holder = SigningKey::generate().expect("randomness");
    let challenge = TokenChallenge::shared("issuer.example").expect("a name");
    let verifier = VerifierChallenge::new("clinic.example", "nonce", "https://clinic.example/response");
    let mut rng = rand::rng();
    let blinding = Blinding::new(public, &challenge, holder.public_key(), &mut rng).expect("a good key");
    let request = blinding.request();
    let response = issuer.issue(&request).expect("a good request");
    let token = blinding.finish(public, &response).expect("a good answer");
    let showing = Showing::new(&token, &holder, &verifier).expect("its own key");
    let digest = challenge.digest();

    let pair = KeyPair::from_pkcs8(&der).expect("our own key");
    let mut signature = [0; 256];
    let random = SystemRandom::new();
    measure("aws-lc-rs: RSA-PSS signature", || pair.sign(&RSA_PSS_SHA384, &random, b"message", &mut signature));
    measure("issue", || issuer.issue(&request));
    let key = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, pair.public_key().as_ref()).expect("a key");
    measure("aws-lc-rs: RSA-PSS verification", || key.verify_sig(b"message", &signature));
    measure("verify a token", || token.verify(public, &digest));
    let (point, message) = (*holder.public_key(), holder.sign(b"message").expect("a key"));
    measure("aws-lc-rs: ES256 verification", || point.verify(b"message", &message));
    measure("verify a showing", || verify_showing(&showing, public, &digest, &verifier));
    measure("client: make a key", SigningKey::generate);
    measure("client: blind", || Blinding::new(public, &challenge, holder.public_key(), &mut rng));
    measure("client: finish", || blinding.finish(public, &response));
    measure("client: show", || Showing::new(&token, &holder, &verifier));
}
