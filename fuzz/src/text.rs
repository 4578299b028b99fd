//! What people hand to one another as text: tokens, payment requests, offers.
//!
//! Behind each text is base64, where one changed letter shifts all that follows; so these targets also take the inner CBOR or JSON and
//! wrap it themselves.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bech32::{Bech32m, Hrp};
use cashu::payment_request::{PaymentPayload, PaymentRequest};
use cashu::token::Token;
use cashu::{Amount, Proof, Unit};
use wallet::holder::Offer;

use crate::json::{proofs, same_again};
use crate::vectors;

/// The prefix of NUT-26.
const CREQ_B: Hrp = Hrp::parse_unchecked("creqb");

/// The input as a text, or wrapped into one: `prefix` and the base64 of the input.
fn wrapped(data: &[u8], shown: &str, prefix: &str) -> Option<String> {
    match std::str::from_utf8(data) {
        Ok(text) if text.trim_start().starts_with(shown) => Some(text.to_owned()),
        _ if data.starts_with(shown.as_bytes()) => None,
        _ => Some(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(data))),
    }
}

/// The inner bytes of `prefix` and base64.
fn inner(text: &str, prefix: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.strip_prefix(prefix)?.trim_end_matches('=')).ok()
}

/// Tokens: text, or the CBOR of `cashuB`, or the JSON of `cashuA`.
///
/// What is read is written and read again as the same; the amount is the sum, or none; an id that is not known in full is never guessed.
pub fn token(data: &[u8]) -> bool {
    let prefix = if data.starts_with(b"{") { "cashuA" } else { "cashuB" };
    let Some(token) = wrapped(data, "cashu", prefix).and_then(|text| Token::decode(&text).ok()) else { return false };
    let text = token.encode();
    assert!(text.starts_with("cashuB"));
    assert_eq!(Token::decode(&text).as_ref(), Ok(&token), "what is written is read again");
    let amount = token.amount();
    let Ok(proofs) = token.clone().into_proofs(&[]) else { return true };
    let sum: u128 = proofs.iter().map(|proof| u128::from(proof.amount.minor())).sum();
    assert_eq!(amount.map(|amount| u128::from(amount.minor())), Some(sum).filter(|sum| *sum <= u64::MAX.into()));
    let known: Vec<_> = proofs.iter().map(|proof| proof.id).collect();
    assert_eq!(token.into_proofs(&known).as_ref(), Ok(&proofs), "full ids need no help");
    true
}

/// The published tokens, two of ours, and what is inside them.
pub fn token_seeds() -> Vec<Vec<u8>> {
    let unit: Unit = "usd".parse().expect("a unit");
    let ours = Token::new("https://mint.example", unit, Some("for bread".into()), proofs()).encode();
    let mut seeds = vectors::lines(&["cashuA", "cashuB"]);
    seeds.retain(|seed| token(seed));
    let version_3 = |proofs: Vec<Proof>| {
        let token = serde_json::json!({"token": [{"mint": "https://mint.example", "proofs": proofs}], "unit": "usd"});
        token.to_string().into_bytes()
    };
    // Amounts whose sum does not fit.
    let too_much = proofs().into_iter().map(|proof| Proof { amount: Amount::new(u64::MAX), ..proof }).collect();
    seeds.extend([ours.into_bytes(), version_3(proofs()), version_3(too_much)]);
    let inside = |seed: &Vec<u8>| {
        let text = std::str::from_utf8(seed).ok()?;
        inner(text, "cashuB").or_else(|| inner(text, "cashuA"))
    };
    seeds.extend(seeds.iter().filter_map(inside).collect::<Vec<_>>());
    seeds
}

/// Payment requests (text, or the CBOR inside), and the payment that answers one (JSON).
pub fn payment_request(data: &[u8]) -> bool {
    if data.starts_with(b"{") {
        return same_again::<PaymentPayload>(data);
    }
    let text = wrapped(data, "creq", "creqA");
    let Some(request) = text.and_then(|text| PaymentRequest::decode(&text).ok()) else { return false };
    assert!(request.amount.is_none() || request.unit.is_some(), "an amount has a unit");
    assert_eq!(PaymentRequest::decode(&request.encode()).as_ref(), Ok(&request), "what is written is read again");
    true
}

/// The published requests and what is inside them, and a payment.
pub fn payment_request_seeds() -> Vec<Vec<u8>> {
    let unit: Unit = "usd".parse().expect("a unit");
    let ours =
        PaymentRequest { amount: Some(Amount::new(1250)), unit: Some(unit.clone()), ..PaymentRequest::default() };
    let mut seeds = vectors::lines(&["creqA"]);
    seeds.push(ours.encode().into_bytes());
    let inside = |seed: &Vec<u8>| inner(std::str::from_utf8(seed).ok()?, "creqA");
    seeds.extend(seeds.iter().filter_map(inside).collect::<Vec<_>>());
    let payment = PaymentPayload {
        id: Some("b7a9".into()),
        memo: None,
        mint: "https://mint.example".into(),
        unit,
        proofs: proofs(),
    };
    seeds.push(serde_json::to_vec(&payment).expect("plain data"));
    seeds
}

/// Payment requests in bech32m: the fields inside, under a checksum that is always right.
pub fn payment_request_bech32m(data: &[u8]) -> bool {
    let Ok(text) = bech32::encode_upper::<Bech32m>(CREQ_B, data) else { return false };
    let Ok(request) = PaymentRequest::decode(&text) else { return false };
    assert_eq!(PaymentRequest::decode(&request.encode()).as_ref(), Ok(&request), "what is written is read again");
    true
}

/// What is inside the published requests.
pub fn payment_request_bech32m_seeds() -> Vec<Vec<u8>> {
    let unit: Unit = "usd".parse().expect("a unit");
    let ours = PaymentRequest { amount: Some(Amount::new(1250)), unit: Some(unit), ..PaymentRequest::default() };
    let ours = ours.encode_bech32m().expect("a short request").into_bytes();
    let inside = |seed: Vec<u8>| Some(bech32::decode(std::str::from_utf8(&seed).ok()?).ok()?.1);
    vectors::lines(&["CREQB1"]).into_iter().chain([ours]).filter_map(inside).collect()
}

/// Scanned parts of a moving code, one a line.
pub fn animated(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| wallet::animated::join(text.lines()).is_ok())
}

/// The parts of a token of a few pieces, and one whose parts are not all there.
pub fn animated_seeds() -> Vec<Vec<u8>> {
    let token = format!("cashuB{}", "ab".repeat(1_000));
    let parts = wallet::animated::Parts::of(&token).expect("a token of a few pieces");
    let lines: Vec<String> = parts.enough().collect();
    vec![lines.join("\n").into_bytes()]
}

/// Offers: text, or the JSON inside.
pub fn offer(data: &[u8]) -> bool {
    let text = wrapped(data, "openid-credential-offer:", OFFER);
    let Some(offer) = text.and_then(|text| Offer::decode(&text).ok()) else { return false };
    // Written out, it may be longer than it was: JSON has shorter ways to leave a field out.
    assert!(Offer::decode(&offer.encode()).is_ok_and(|again| again == offer), "what is written is read again");
    true
}

/// The part of an offer that any wallet reads; what is ours follows.
const OFFER: &str = "openid-credential-offer://?credential_offer=%7B%22credential_issuer%22%3A%22https%3A%2F%2Fa.example%22%2C%22\
    credential_configuration_ids%22%3A%5B%22a%22%5D%7D&habeas=";

/// Two offers.
pub fn offer_seeds() -> Vec<Vec<u8>> {
    let services = r#"{"mint":"https://a.example","log":"https://a.example/log","log_vkey":"a+1+b""#;
    let issuer = r#"{"url":"https://a.example/credential","root_sha256":"00","register_sha256":"11"}"#;
    let holder = format!(r#","registry":"https://a.example/registry","issuer":{issuer}}}"#);
    let with = |services: String| format!(r#"{{"tag_key":"11","services":{services}}}"#).into_bytes();
    let inside = with(format!("{services}{holder}"));
    let text = format!("{OFFER}{}", URL_SAFE_NO_PAD.encode(&inside));
    vec![inside, with(format!("{services}}}")), text.into_bytes()]
}
