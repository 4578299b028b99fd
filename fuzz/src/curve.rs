//! Points, ids, units, and everything that proves something: DLEQ proofs and signatures hold for what they were made for alone.

use std::sync::OnceLock;

use cashu::dleq::{self, Dleq, ProofDleq};
use cashu::keyset::KeysetId;
use cashu::secret::BlindingFactor;
use cashu::{BlindSignature, Keyset, Point, Unit, bdhke, quote};

use crate::json::{key, keyset, output, public, same_again};
use crate::vectors;

const SECRET: &[u8] = b"a secret";

/// A blind signature with its proof, and a signature for a quote: what is true.
struct Genuine {
    blinded: Point,
    promise: Point,
    dleq: Dleq,
    signature: Point,
    proof: ProofDleq,
    quote: String,
}

fn genuine() -> &'static Genuine {
    static GENUINE: OnceLock<Genuine> = OnceLock::new();
    GENUINE.get_or_init(|| {
        let r = BlindingFactor::from_bytes([5; 32]).expect("a factor");
        let blinded = bdhke::blind(SECRET, r.key()).expect("a point");
        let promise = bdhke::sign(&blinded, &key(3));
        let dleq = dleq::prove(&blinded, &promise, &key(3), &public(3));
        let signature = bdhke::unblind(&promise, r.key(), &public(3)).expect("a point");
        let quote = quote::sign("q-1", &[output(2)], &key(4), &[0; 32]);
        Genuine { blinded, promise, dleq, signature, proof: ProofDleq::new(dleq, r), quote }
    })
}

/// Points, ids and units as text and bytes; keysets, proofs and signatures as JSON.
pub fn curve(data: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(point) = Point::from_bytes(data) {
        assert_eq!(point.to_bytes(), data, "a point has one form");
        taken = true;
    }
    if let Ok(id) = KeysetId::from_bytes(data) {
        assert_eq!(id.as_bytes(), data, "an id has one form");
        taken = true;
    }
    let text = std::str::from_utf8(data).unwrap_or_default();
    if let Ok(point) = text.parse::<Point>() {
        assert_eq!(point.to_string(), text.to_ascii_lowercase());
        taken = true;
    }
    if let Ok(id) = text.parse::<KeysetId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        taken = true;
    }
    if let Ok(unit) = text.parse::<Unit>() {
        assert_eq!(unit.as_str(), text);
        taken = true;
    }
    let Genuine { blinded, promise, dleq, signature, proof, quote } = genuine();
    if let Ok(other) = serde_json::from_slice::<Dleq>(data) {
        assert_eq!(dleq::verify(&other, blinded, promise, &public(3)), other == *dleq, "one proof holds");
    }
    if let Ok(other) = serde_json::from_slice::<ProofDleq>(data) {
        assert_eq!(dleq::verify_proof(&other, SECRET, signature, &public(3)), other == *proof, "one proof holds");
    }
    if quote::verify("q-1", &[output(2)], text, &public(4)) {
        assert_eq!(text.to_ascii_lowercase(), *quote, "one signature holds");
        taken = true;
    }
    let json = [
        same_again::<Dleq>(data),
        same_again::<ProofDleq>(data),
        same_again::<BlindSignature>(data),
        same_again::<Keyset>(data),
        same_again::<BlindingFactor>(data),
    ];
    taken || json.contains(&true)
}

/// One of each.
pub fn curve_seeds() -> Vec<Vec<u8>> {
    let Genuine { dleq, promise, proof, quote, .. } = genuine();
    let json = |value: serde_json::Value| value.to_string().into_bytes();
    let mut seeds = vec![
        promise.to_bytes().to_vec(),
        promise.to_string().into_bytes(),
        keyset().as_bytes().to_vec(),
        keyset().to_string().into_bytes(),
        b"usd".to_vec(),
        quote.clone().into_bytes(),
        json(serde_json::json!(dleq)),
        json(serde_json::json!(proof)),
        json(serde_json::json!("05".repeat(32))),
        json(serde_json::json!({"id": keyset(), "unit": "usd", "keys": {"1": public(1)}})),
    ];
    seeds.extend(vectors::json().into_iter().filter(|block| curve(block)));
    seeds
}
