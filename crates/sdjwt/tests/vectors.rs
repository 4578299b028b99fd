//! The examples of RFC 9901 and of SD-JWT VC, whole: read, verified, presented again. Their source stands in the file.

use std::collections::BTreeSet;

use es256::PublicKey;
use jose::{JoseError, Jwk};
use sdjwt::{ClaimPath, ExpectedBinding, SdJwt, SdJwtError, Verified, verify, verify_plain};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Vectors {
    issuer: Jwk,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    made: String,
    presentation: String,
    verified: Map<String, Value>,
    binding: Option<Binding>,
    issuance: Option<String>,
    claims: Option<Map<String, Value>>,
    paths: Option<Vec<ClaimPath>>,
}

#[derive(Deserialize)]
struct Binding {
    aud: String,
    nonce: String,
    iat: u64,
}

fn vectors() -> (PublicKey, Vec<Case>) {
    let vectors: Vectors = serde_json::from_str(include_str!("vectors/rfc9901.json")).unwrap();
    (vectors.issuer.public_key().unwrap(), vectors.cases)
}

/// After they were issued (2023-05-02), before they expire (2029-09-01); the proofs of the generator are of the day it was run.
fn now(case: &Case) -> u64 {
    case.binding.as_ref().map_or(1_700_000_000, |binding| binding.iat + 10)
}

fn check(case: &Case, text: &str, key: PublicKey, credential: bool) -> Result<Verified, SdJwtError> {
    let binding = case.binding.as_ref().map(|b| ExpectedBinding { aud: &b.aud, nonce: &b.nonce, iat_window: 60 });
    let issuer = |_: &jose::Header, _: Option<&str>| Some(key);
    if credential {
        verify(text, issuer, binding.as_ref(), now(case))
    } else {
        verify_plain(text, issuer, binding.as_ref(), now(case))
    }
}

/// Of type dc+sd-jwt are the examples of SD-JWT VC, and that of a person's identity in the RFC.
fn is_credential(case: &Case) -> bool {
    case.name.starts_with("vc-") || case.name == "arf-pid"
}

#[test]
fn every_presentation_is_verified_as_published() {
    let (key, cases) = vectors();
    assert_eq!(cases.len(), 14);
    assert_eq!(cases.iter().filter(|case| case.made == "published").count(), 5);
    for case in &cases {
        let verified =
            check(case, &case.presentation, key, false).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(verified.claims, case.verified, "{}", case.name);
        assert_eq!(verified.bound, case.binding.is_some());
        if is_credential(case) {
            let verified = check(case, &case.presentation, key, true).unwrap();
            assert_eq!(verified.claims, case.verified);
            assert_eq!(verified.vct(), case.verified["vct"].as_str().unwrap());
            assert_eq!(verified.validity.expires_at, Some(1_883_000_000));
        } else {
            assert_eq!(check(case, &case.presentation, key, true).err(), Some(SdJwtError::Type), "{}", case.name);
        }
    }
    assert_eq!(cases.iter().filter(|case| is_credential(case)).count(), 4);
}

/// The control: each letter of each published presentation with another in its place.
#[test]
fn no_changed_presentation_is_verified() {
    let (key, cases) = vectors();
    let other = *es256::Signer::public_key(&es256::SigningKey::generate().unwrap());
    let mut tried = 0;
    for case in &cases {
        assert_eq!(check(case, &case.presentation, other, false), Err(JoseError::Signature.into()));
        for place in (0..case.presentation.len()).step_by(7) {
            let mut changed = case.presentation.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(check(case, &changed, key, false).is_err(), "{}: {place}", case.name);
            tried += 1;
        }
    }
    assert!(tried > 2_000);
}

#[test]
fn the_holder_reads_every_issued_text_and_shows_what_the_example_shows() {
    let (key, cases) = vectors();
    let (mut read, mut shown) = (0, 0);
    for case in &cases {
        let Some(issuance) = &case.issuance else { continue };
        let held = SdJwt::parse(issuance).unwrap();
        held.verify(&key).unwrap();
        for (name, value) in case.claims.as_ref().unwrap() {
            assert_eq!(held.claims().get(name), Some(value), "{}: {name}", case.name);
        }
        // All disclosures of the example's presentation, and no others.
        let disclosures = |text: &str| {
            text.split('~')
                .skip(1)
                .filter(|part| !part.is_empty() && !part.contains('.'))
                .map(String::from)
                .collect::<BTreeSet<_>>()
        };
        if let Some(paths) = &case.paths {
            let ours = held.present(paths, None).unwrap();
            assert_eq!(disclosures(&ours), disclosures(&case.presentation), "{}", case.name);
            shown += 1;
        }
        // All of them, named one by one, are the whole text again.
        let all: Vec<ClaimPath> = held.disclosable().collect();
        assert_eq!(held.present(&all, None).unwrap(), *issuance);
        let none = held.present(&[], None).unwrap();
        assert_eq!(none.matches('~').count(), 1);
        read += 1;
    }
    assert_eq!((read, shown), (12, 2));
    let bound = cases.iter().find(|case| case.name == "simple").unwrap();
    assert_eq!(SdJwt::parse(&bound.presentation).err(), Some(SdJwtError::Malformed), "a holder is never given a proof");
}
