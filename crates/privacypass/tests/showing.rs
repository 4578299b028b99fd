//! A token's whole life, through the public interface, and what must not work.

use es256::{Signer, SigningKey};
use privacypass::Error;
use privacypass::challenge::TokenChallenge;
use privacypass::client::Blinding;
use privacypass::issuer::IssuerKey;
use privacypass::messages::{TOKEN_LEN, Token, TokenRequest, TokenResponse};
use privacypass::showing::{SHOWING_LEN, Showing, TokenId, VerifierChallenge, verify_showing};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::OnceLock;

/// Two issuer keys, those of the first and of the sixth published vector.
fn issuer(number: usize) -> &'static IssuerKey {
    static KEYS: OnceLock<Vec<IssuerKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let lines = include_str!("vectors/rfc9578-b2.txt").lines();
        let keys: Vec<_> = lines.filter_map(|line| line.strip_prefix("issuer_pkcs8 = ")).collect();
        [keys[0], keys[5]].map(|key| IssuerKey::from_pkcs8(&hex::decode(key).unwrap()).unwrap()).into()
    });
    &keys[number]
}

/// A holder's key from a seed.
fn holder(rng: &mut StdRng) -> SigningKey {
    // PKCS#8 of a P-256 key (RFC 5915 inside), without the public key, which is computed.
    let head = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
    let mut der = hex::decode(head).unwrap();
    let mut secret = [0; 32];
    rng.fill_bytes(&mut secret);
    der.extend(secret);
    SigningKey::from_pkcs8(&der).unwrap()
}

fn challenge() -> TokenChallenge {
    TokenChallenge::shared("issuer.example").unwrap()
}

fn clinic() -> VerifierChallenge {
    VerifierChallenge::new("x509_san_dns:clinic.example", "n-0S6_WzA2Mj", "https://clinic.example/response")
}

/// A token of an issuer key for a holder's key, issued with every message written and read again.
fn token(key: &IssuerKey, challenge: &TokenChallenge, holder: &SigningKey, rng: &mut StdRng) -> Token {
    let blinding = Blinding::new(key.public_key(), challenge, holder.public_key(), rng).unwrap();
    let kept = blinding.to_bytes();
    let request = TokenRequest::from_bytes(&blinding.request().to_bytes()).unwrap();
    let response = TokenResponse::from_bytes(&key.issue(&request).unwrap().to_bytes()).unwrap();
    let token = Blinding::from_bytes(&kept).unwrap().finish(key.public_key(), &response).unwrap();
    Token::from_bytes(&token.to_bytes()).unwrap()
}

/// What the clinic says to a showing.
fn clinic_says(showing: &Showing) -> Result<TokenId, Error> {
    verify_showing(showing, issuer(0).public_key(), &challenge().digest(), &clinic())
}

#[test]
fn a_token_is_shown_and_known_again() {
    let mut rng = StdRng::seed_from_u64(60);
    let (one, two) = (holder(&mut rng), holder(&mut rng));
    let [first, second] = [&one, &two].map(|key| token(issuer(0), &challenge(), key, &mut rng));
    let showing = Showing::new(&first, &one, &clinic()).unwrap();
    let again = Showing::from_bytes(&showing.to_bytes()).unwrap();
    assert!(again == showing);
    let id = clinic_says(&again).unwrap();
    // Shown anew it is the same token, to whomever, although the signature is another.
    let shop = VerifierChallenge::new("x509_san_dns:shop.example", "n", "https://shop.example/");
    let elsewhere = Showing::new(&first, &one, &shop).unwrap();
    assert_eq!(verify_showing(&elsewhere, issuer(0).public_key(), &challenge().digest(), &shop), Ok(id));
    assert_ne!(clinic_says(&Showing::new(&second, &two, &clinic()).unwrap()).unwrap(), id);
    // Two signatures of the issuer's over one nonce are one token.
    let doubled = token(issuer(0), &challenge(), &one, &mut rng);
    assert!(doubled != first);
    assert_eq!(clinic_says(&Showing::new(&doubled, &one, &clinic()).unwrap()), Ok(id));
}

#[test]
fn a_showing_holds_for_one_verifier_and_one_request() {
    let mut rng = StdRng::seed_from_u64(61);
    let key = holder(&mut rng);
    let token = token(issuer(0), &challenge(), &key, &mut rng);
    let (client, nonce, uri) = ("x509_san_dns:clinic.example", "n-0S6_WzA2Mj", "https://clinic.example/response");
    let others = [
        VerifierChallenge::new("x509_san_dns:clinic.exampl", nonce, uri),
        VerifierChallenge::new(client, "n-0S6_WzA2Mk", uri),
        VerifierChallenge::new(client, nonce, "https://clinic.example/other"),
        // The same text, cut elsewhere.
        VerifierChallenge::new(&client[..5], &format!("{}{nonce}", &client[5..]), uri),
        VerifierChallenge::new(client, &nonce[..3], &format!("{}{uri}", &nonce[3..])),
        VerifierChallenge::new("", "", ""),
    ];
    let showing = Showing::new(&token, &key, &clinic()).unwrap();
    assert!(clinic_says(&showing).is_ok(), "the control");
    for other in others {
        let result = verify_showing(&showing, issuer(0).public_key(), &challenge().digest(), &other);
        assert_eq!(result, Err(Error::HolderSignature));
        assert_eq!(clinic_says(&Showing::new(&token, &key, &other).unwrap()), Err(Error::HolderSignature));
    }
}

#[test]
fn a_stolen_token_is_worth_nothing_with_another_key() {
    let mut rng = StdRng::seed_from_u64(62);
    let (key, thief) = (holder(&mut rng), holder(&mut rng));
    let stolen = token(issuer(0), &challenge(), &key, &mut rng);
    assert!(Showing::new(&stolen, &thief, &clinic()).is_err_and(|error| error == Error::OtherHolder));
    // By hand: the thief's point and signature around the stolen token; the thief's signature under the holder's point.
    let own = token(issuer(0), &challenge(), &thief, &mut rng);
    let forged = Showing::new(&own, &thief, &clinic()).unwrap().to_bytes();
    let mut swapped = forged;
    swapped[..TOKEN_LEN].copy_from_slice(&stolen.to_bytes());
    assert_eq!(clinic_says(&Showing::from_bytes(&swapped).unwrap()), Err(Error::OtherHolder));
    swapped[TOKEN_LEN..][..65].copy_from_slice(key.public_key().as_point());
    assert_eq!(clinic_says(&Showing::from_bytes(&swapped).unwrap()), Err(Error::HolderSignature));
    assert!(clinic_says(&Showing::from_bytes(&forged).unwrap()).is_ok(), "the control");
}

#[test]
fn tokens_of_another_key_or_challenge_are_refused() {
    let mut rng = StdRng::seed_from_u64(63);
    let key = holder(&mut rng);
    let other = token(issuer(1), &challenge(), &key, &mut rng);
    assert_eq!(clinic_says(&Showing::new(&other, &key, &clinic()).unwrap()), Err(Error::OtherIssuerKey));
    // With the id of the right key written in.
    let mut claimed = other.to_bytes();
    claimed[66..98].copy_from_slice(&issuer(0).public_key().id().0);
    let claimed = Token::from_bytes(&claimed).unwrap();
    assert_eq!(clinic_says(&Showing::new(&claimed, &key, &clinic()).unwrap()), Err(Error::TokenSignature));

    let own = TokenChallenge::new("issuer.example", None, "clinic.example").unwrap();
    let named = token(issuer(0), &own, &key, &mut rng);
    assert_eq!(clinic_says(&Showing::new(&named, &key, &clinic()).unwrap()), Err(Error::OtherChallenge));
    let result = verify_showing(
        &Showing::new(&named, &key, &clinic()).unwrap(),
        issuer(0).public_key(),
        &own.digest(),
        &clinic(),
    );
    assert!(result.is_ok(), "the control: who asks for that challenge takes it");
}

/// Every byte of a showing is held by something.
#[test]
fn a_showing_with_any_byte_changed_is_refused() {
    let mut rng = StdRng::seed_from_u64(64);
    let key = holder(&mut rng);
    let showing = Showing::new(&token(issuer(0), &challenge(), &key, &mut rng), &key, &clinic()).unwrap().to_bytes();
    assert!(clinic_says(&Showing::from_bytes(&showing).unwrap()).is_ok(), "the control");
    for place in 0..SHOWING_LEN {
        let mut changed = showing;
        changed[place] ^= 1 << (rng.next_u32() % 8);
        assert!(Showing::from_bytes(&changed).and_then(|showing| clinic_says(&showing)).is_err(), "{place}");
    }
    for length in 0..SHOWING_LEN {
        assert!(Showing::from_bytes(&showing[..length]).is_err(), "{length}");
    }
    assert!(Showing::from_bytes(&[&showing[..], &[0]].concat()).is_err());
}

/// What could be recognised or used does not get into a log by way of `{:?}`.
#[test]
fn nothing_prints_its_bytes() {
    let mut rng = StdRng::seed_from_u64(65);
    let key = holder(&mut rng);
    let blinding = Blinding::new(issuer(0).public_key(), &challenge(), key.public_key(), &mut rng).unwrap();
    let token = token(issuer(0), &challenge(), &key, &mut rng);
    let showing = Showing::new(&token, &key, &clinic()).unwrap();
    let printed = format!("{blinding:?} {:?} {token:?} {showing:?}", blinding.request());
    assert_eq!(printed, "Blinding TokenRequest Token Showing");
}

/// `cargo test -p privacypass --test showing -- --ignored` writes `fuzz/fixtures` again: a blinding and the showing of its token.
#[test]
#[ignore = "writes files of the repository: after a change of the token's format"]
fn the_fuzz_fixtures() {
    let mut rng = StdRng::seed_from_u64(66);
    let key = holder(&mut rng);
    let blinding = Blinding::new(issuer(0).public_key(), &challenge(), key.public_key(), &mut rng).unwrap();
    let response = issuer(0).issue(&blinding.request()).unwrap();
    let token = blinding.finish(issuer(0).public_key(), &response).unwrap();
    let showing = Showing::new(&token, &key, &clinic()).unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fixtures");
    std::fs::write(folder.join("blinding.bin"), blinding.to_bytes()).unwrap();
    std::fs::write(folder.join("showing.bin"), showing.to_bytes()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, rng_seed: proptest::test_runner::RngSeed::Fixed(9_577), ..ProptestConfig::default() })]

    /// Whatever a parser takes, it writes again as the same bytes: there is one encoding.
    #[test]
    fn what_is_read_is_written_as_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..600), typed: bool, fit in 0usize..6) {
        use privacypass::messages::REQUEST_LEN;
        let mut bytes = bytes;
        // Random bytes alone would be refused by their length.
        if let Some(length) = [REQUEST_LEN, 256, TOKEN_LEN, SHOWING_LEN, 611].get(fit) {
            bytes.resize(*length, 7);
        }
        if typed && bytes.len() > 1 {
            bytes[..2].copy_from_slice(&[0, 2]);
        }
        if let Ok(read) = TokenRequest::from_bytes(&bytes) { prop_assert_eq!(&read.to_bytes()[..], &bytes) }
        if let Ok(read) = TokenResponse::from_bytes(&bytes) { prop_assert_eq!(&read.to_bytes()[..], &bytes) }
        if let Ok(read) = Token::from_bytes(&bytes) { prop_assert_eq!(&read.to_bytes()[..], &bytes) }
        if let Ok(read) = Blinding::from_bytes(&bytes) { prop_assert_eq!(&read.to_bytes()[..], &bytes) }
        if let Ok(read) = TokenChallenge::from_bytes(&bytes) { prop_assert_eq!(&read.to_bytes()[..], &bytes) }
        prop_assert_eq!(TokenRequest::from_bytes(&bytes).is_ok(), bytes.len() == REQUEST_LEN && bytes[..2] == [0, 2]);
        prop_assert_eq!(Token::from_bytes(&bytes).is_ok(), bytes.len() == TOKEN_LEN && bytes[..2] == [0, 2]);
    }
}
