//! The published test vectors of the NUTs, read from their own files beside the repository.
//!
//! A vector file is Markdown: values stand as `name: hex` lines and as fenced JSON. Each test asserts how many
//! it found, so that a file that moved or was reworded fails instead of passing empty.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bech32::{Bech32, Hrp};
use cashu::dleq::{self, Dleq};
use cashu::keyset::KeysetId;
use cashu::messages::{MeltRequest, MintBatchRequest, QuoteCheckRequest, SwapRequest};
use cashu::p2bk::SharedSecret;
use cashu::payment_request::PaymentRequest;
use cashu::secret::{BlindingFactor, Seed};
use cashu::token::Token;
use cashu::{Amount, BlindSignature, Keyset, Point, Proof, Unit, bdhke, conditions, quote};
use hmac::{Hmac, KeyInit, Mac};
use secp256k1::SecretKey;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

/// The folder of the vector files.
fn folder() -> PathBuf {
    std::env::var_os("HABEAS_VECTORS")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/cashu"))
}

/// The text of a vector file, or `None` (said on standard error) where the vectors are not beside the repository.
fn vectors(name: &str) -> Option<String> {
    let path = folder().join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            eprintln!(
                "NOT CHECKED against {}: {error}; set HABEAS_VECTORS to the tests/ folder of cashubtc/nuts",
                path.display()
            );
            None
        }
    }
}

/// The values of all lines `name: value`, comments and quotes off.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|rest| rest.split('#').next().unwrap_or_default().trim().trim_matches('"'))
        .collect()
}

/// The fenced blocks of a language (`json`, or nothing).
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).expect("a vector in hex")
}

fn key(hex: &str) -> SecretKey {
    SecretKey::from_secret_bytes(bytes(hex).try_into().expect("32 bytes")).expect("a secret key")
}

fn point(hex: &str) -> Point {
    hex.parse().expect("a curve point")
}

/// The quoted values of all lines `number: "hex"` of a chapter.
fn numbered<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, chapter) = text.split_once(heading).unwrap_or_else(|| panic!("no chapter '{heading}'"));
    let chapter = chapter.split("```").nth(1).expect("a block");
    chapter.lines().filter_map(|line| line.split('"').nth(1)).collect()
}

/// Whether some test of this file reads a vector file.
fn is_read(name: &str) -> bool {
    include_str!("vectors.rs").contains(&format!("vectors({name:?})"))
}

#[test]
fn every_vector_file_has_a_test() {
    let Ok(files) = std::fs::read_dir(folder()) else {
        eprintln!("NOT CHECKED: there is no folder of vectors");
        return;
    };
    let names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let unread: Vec<&String> = names.iter().filter(|name| *name != "README.md" && !is_read(name)).collect();
    assert!(unread.is_empty(), "no test reads {unread:?}");
    assert!(names.len() > 12, "the folder holds {names:?}");
    assert!(!is_read(&["99", "tests.md"].join("-")), "a file without a test goes unnoticed");
}

#[test]
fn nut00_hash_to_curve_blinding_and_signing() {
    let Some(text) = vectors("00-tests.md") else {
        return;
    };
    let messages = values(&text, "Message");
    assert_eq!(messages.len(), 3);
    for (message, expected) in messages.iter().zip(values(&text, "Point")) {
        assert_eq!(bdhke::hash_to_curve(&bytes(message)), point(expected));
    }
    let (secrets, factors, points) = (values(&text, "x"), values(&text, "r"), values(&text, "B_"));
    assert_eq!((secrets.len(), points.len()), (2, 4));
    for ((secret, r), expected) in secrets.iter().zip(factors).zip(&points[..2]) {
        assert_eq!(bdhke::blind(&bytes(secret), &key(r)).unwrap(), point(expected));
    }
    let keys = values(&text, "mint private key");
    for ((k, blinded), expected) in keys.iter().zip(&points[2..]).zip(values(&text, "C_")) {
        assert_eq!(bdhke::sign(&point(blinded), &key(k)), point(expected));
    }
}

#[test]
fn nut00_tokens() {
    let Some(text) = vectors("00-tests.md") else {
        return;
    };
    let tokens: Vec<&str> =
        text.lines().filter(|line| line.starts_with("cashuA") || line.starts_with("cashuB")).collect();
    assert_eq!(tokens.len(), 6);
    for text in &tokens {
        let token = Token::decode(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let again = Token::decode(&token.encode());
        assert_eq!(again.as_ref(), Ok(&token));
        let proofs = token.into_proofs(&[]).unwrap();
        assert!(!proofs.is_empty());
    }
    // Version 4 text is the same again, byte for byte but for the padding.
    for text in tokens.iter().filter(|text| text.starts_with("cashuB")) {
        assert_eq!(Token::decode(text).unwrap().encode().len(), text.trim_end_matches('=').len());
    }
    // What they hold is what stands beside them: one in JSON, two in a notation like JSON with bytes as h'…'.
    let described: Vec<&str> = blocks(&text, "json").into_iter().filter(|block| !block.contains("h'")).collect();
    let v3: Value = serde_json::from_str(described[0]).unwrap();
    assert_eq!(described.len(), 1);
    let token = Token::decode(tokens[0]).unwrap();
    assert_eq!(token.mint, v3["token"][0]["mint"]);
    assert_eq!((token.unit.as_ref().unwrap().as_str(), token.memo.as_deref()), ("sat", v3["memo"].as_str()));
    assert_eq!(serde_json::to_value(token.into_proofs(&[]).unwrap()).unwrap(), v3["token"][0]["proofs"]);
    let v4: Vec<&str> = tokens.iter().copied().filter(|text| text.starts_with("cashuB")).collect();
    let notation = blocks(&text, "json").into_iter().filter(|block| block.contains("h'"));
    let mut compared = 0;
    for (text, described) in v4.iter().zip(notation) {
        let token = Token::decode(text).unwrap();
        let said: Value = serde_json::from_str(&strict(described)).unwrap();
        assert_eq!((token.mint.as_str(), token.memo.as_deref()), (said["m"].as_str().unwrap(), said["d"].as_str()));
        let mut proofs = token.into_proofs(&[]).unwrap().into_iter();
        for group in said["t"].as_array().unwrap() {
            for expected in group["p"].as_array().unwrap() {
                let proof = proofs.next().unwrap();
                assert_eq!(proof.id.to_string(), group["i"]);
                assert_eq!(Value::from(proof.amount.minor()), expected["a"]);
                assert_eq!(
                    (proof.secret.as_str(), proof.signature.to_string().into()),
                    (expected["s"].as_str().unwrap(), expected["c"].clone())
                );
                compared += 1;
            }
        }
        assert!(proofs.next().is_none());
    }
    assert_eq!((v4.len(), compared), (2, 4));
    // The raw form is the same CBOR behind another prefix.
    let raw = text.lines().find_map(|line| line.strip_prefix("`h'")?.strip_suffix("'`")).expect("a raw token");
    let cbor = bytes(raw).strip_prefix(b"crawB").expect("the prefix of version 4").to_vec();
    let as_text = format!("cashuB{}", URL_SAFE_NO_PAD.encode(cbor));
    assert_eq!(Token::decode(&as_text), Token::decode(v4[0]));
    assert_eq!(Token::decode(v4[0]).unwrap().encode(), as_text);

    let refused: Vec<&str> =
        text.lines().filter(|line| line.starts_with("casshuA") || line.starts_with("eyJ0")).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|text| Token::decode(text).is_err()));
}

/// The files' notation for CBOR as JSON: bytes become hex, commas at an end go.
fn strict(notation: &str) -> String {
    let mut text = notation.replace("h'", "\"").replace('\'', "\"");
    while let Some(place) = (0..text.len())
        .find(|place| text[*place..].strip_prefix(',').is_some_and(|rest| rest.trim_start().starts_with(['}', ']'])))
    {
        text.remove(place);
    }
    text
}

#[test]
fn nut01_keys_are_read_strictly() {
    let Some(text) = vectors("01-tests.md") else {
        return;
    };
    let results: Vec<bool> = blocks(&text, "json")
        .into_iter()
        .map(|block| serde_json::from_str::<BTreeMap<Amount, Point>>(block).is_ok())
        .collect();
    assert_eq!(results, [false, false, true, true]);
}

/// Ids of version 1 are read in tokens, and computed here alone: 56 bits, which name neither unit nor fee, are few enough that a
/// mint could make two keysets with one id and tell holders apart by them. So a keyset under such an id is never taken.
#[test]
fn nut02_keyset_ids_of_version_1() {
    let Some(text) = vectors("02-tests.md") else {
        return;
    };
    let (version_1, _) = text.split_once("## Version 2").expect("the chapter on version 2");
    let ids: Vec<&str> =
        version_1.lines().filter_map(|line| line.strip_prefix("Keyset id: `")?.strip_suffix('`')).collect();
    let keysets = blocks(version_1, "json");
    assert_eq!((ids.len(), keysets.len()), (2, 2));
    for (id, block) in ids.iter().zip(keysets) {
        let keys: BTreeMap<Amount, Point> = serde_json::from_str(block).unwrap();
        let concatenated: Vec<u8> = keys.values().flat_map(|key| key.to_bytes()).collect();
        assert_eq!(*id, format!("00{}", &hex::encode(Sha256::digest(concatenated))[..14]));
        let id: KeysetId = id.parse().unwrap();
        let (unit, active) = ("sat".parse().unwrap(), None);
        assert!(!Keyset { id, unit, active, input_fee_ppk: 0, final_expiry: None, keys }.check_id());
    }
}

#[test]
fn nut02_keyset_ids_of_version_2() {
    let Some(text) = vectors("02-tests.md") else {
        return;
    };
    let (_, version_2) = text.split_once("## Version 2").expect("the chapter on version 2");
    let mut checked = 0;
    for vector in version_2.split("### Vector").skip(1) {
        let field = |name: &str| {
            let (_, rest) = vector.split_once(&format!("- {name}: `"))?;
            rest.split('`').next()
        };
        let keys: BTreeMap<Amount, Point> = serde_json::from_str(blocks(vector, "json")[0]).unwrap();
        let unit: Unit = field("Unit").expect("a unit").parse().unwrap();
        let fee = field("Input fee ppk").map_or(0, |fee| fee.parse().unwrap());
        let expiry = field("Final expiry").and_then(|expiry| expiry.parse().ok());
        let id = KeysetId::derive(&keys, &unit, fee, expiry);
        assert_eq!(id.to_string(), field("Keyset id").expect("an id"));
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn nut12_dleq_proofs() {
    let Some(text) = vectors("12-tests.md") else {
        return;
    };
    let of_hash = ["R1", "R2", "K", "C_"].map(|name| point(values(&text, name)[0]));
    let hash = dleq::challenge(of_hash.each_ref());
    assert_eq!(hex::encode(hash), values(&text, "hash(R1, R2, K, C_)")[0]);

    let a = key(values(&text, "a")[0]);
    let mint_keys = values(&text, "A");
    let blinded = values(&text, "B_");
    let signature = point(values(&text, "C_").last().unwrap());
    let proof = dleq::prove(&point(blinded[0]), &signature, &a, &point(mint_keys[0]));
    assert_eq!(
        (hex::encode(proof.e), hex::encode(proof.s)),
        (values(&text, "e")[0].into(), values(&text, "s")[0].into())
    );
    assert!(dleq::verify(&proof, &point(blinded[0]), &signature, &point(mint_keys[0])));

    let json = blocks(&text, "json");
    let promise: BlindSignature = serde_json::from_str(json[0]).unwrap();
    let good = promise.dleq.unwrap();
    assert!(dleq::verify(&good, &point(blinded[1]), &promise.signature, &point(mint_keys[1])));
    let bad = Dleq { s: good.e, ..good };
    assert!(!dleq::verify(&bad, &point(blinded[1]), &promise.signature, &point(mint_keys[1])));

    let carried: Proof = serde_json::from_str(json[1]).unwrap();
    let with_r = carried.dleq.clone().unwrap();
    assert!(dleq::verify_proof(&with_r, carried.secret.as_bytes(), &carried.signature, &point(mint_keys[2])));
    assert!(!dleq::verify_proof(&with_r, b"another secret", &carried.signature, &point(mint_keys[2])));
}

#[test]
fn nut13_secrets_from_a_seed() {
    let Some(text) = vectors("13-tests.md") else {
        return;
    };
    let (_, version_2) = text.split_once("## Version 2").expect("the chapter on version 2");
    let json = blocks(version_2, "json");
    let objects: Vec<BTreeMap<String, String>> =
        json.iter().map(|block| serde_json::from_str(block).unwrap()).collect();
    let mnemonic: bip39::Mnemonic = objects[0]["mnemonic"].parse().unwrap();
    let seed = Seed::new(mnemonic.to_seed(""));
    let (_, rest) = version_2.split_once("keyset ID `").unwrap();
    let id: KeysetId = rest.split('`').next().unwrap().parse().unwrap();
    for counter in 0..5 {
        let (secret, r) = seed.derive(&id, counter).unwrap();
        assert_eq!(secret.as_str(), objects[1][&format!("secret_{counter}")]);
        assert_eq!(hex::encode(r.to_bytes()), objects[2][&format!("r_{counter}")]);
    }
    assert_ne!(seed.derive(&id, 0).unwrap().0, seed.derive(&id, 1).unwrap().0);
    assert!(BlindingFactor::from_bytes([0; 32]).is_err());
}

/// Version 1 is read from its file and computed here alone: NUT-13 calls it unsafe, and keysets of version 1 are never taken.
#[test]
fn nut13_secrets_of_version_1_are_not_made() {
    let Some(text) = vectors("13-tests.md") else {
        return;
    };
    let (version_1, _) = text.split_once("## Version 2").expect("the chapter on version 2");
    let objects: Vec<Value> =
        blocks(version_1, "json").into_iter().map(|block| serde_json::from_str(block).unwrap()).collect();
    assert_eq!(objects.len(), 5);
    let id: KeysetId = objects[0]["keyset_id"].as_str().unwrap().parse().unwrap();
    let as_number = u64::from_be_bytes(id.as_bytes().try_into().unwrap()) % ((1 << 31) - 1);
    // The file's own spelling.
    assert_eq!(objects[0]["keyest_id_int"], as_number);
    let path = format!("m/129372'/0'/{as_number}'/{{counter}}'");
    assert_eq!(objects[0]["derivation_path"], path.as_str());
    let seed = objects[1]["mnemonic"].as_str().unwrap().parse::<bip39::Mnemonic>().unwrap().to_seed("");
    for counter in 0..5 {
        let path = path.replace("{counter}", &counter.to_string());
        assert_eq!(objects[4][format!("derivation_path_{counter}")], path.as_str());
        for (object, name, last) in [(&objects[2], "secret", 0), (&objects[3], "r", 1)] {
            let derived = bip32(&seed, &format!("{path}/{last}"));
            assert_eq!(object[format!("{name}_{counter}")], hex::encode(derived), "{name} {counter}");
        }
    }
    assert!(Seed::new(seed).derive(&id, 0).is_err());
}

/// The private key at a path of BIP-32.
fn bip32(seed: &[u8], path: &str) -> [u8; 32] {
    let hmac = |key: &[u8], parts: &[&[u8]]| {
        let mut mac = Hmac::<Sha512>::new_from_slice(key).unwrap();
        parts.iter().for_each(|part| mac.update(part));
        let bytes: [u8; 64] = mac.finalize().into_bytes().into();
        (SecretKey::from_secret_bytes(bytes[..32].try_into().unwrap()).unwrap(), bytes[32..].to_vec())
    };
    let (mut key, mut chain) = hmac(b"Bitcoin seed", &[seed]);
    for step in path.split('/').skip(1) {
        let (tweak, next) = match step.strip_suffix('\'') {
            Some(number) => {
                let index = number.parse::<u32>().unwrap() | 1 << 31;
                hmac(&chain, &[&[0], key.as_secret_bytes(), &index.to_be_bytes()])
            }
            None => {
                let index = step.parse::<u32>().unwrap();
                hmac(&chain, &[&Point::of_secret(&key).to_bytes(), &index.to_be_bytes()])
            }
        };
        (key, chain) = (key.add_tweak(&tweak.into()).unwrap(), next);
    }
    key.to_secret_bytes()
}

#[test]
fn nut18_payment_requests() {
    let Some(text) = vectors("18-tests.md") else {
        return;
    };
    let json = blocks(&text, "json");
    let encoded: Vec<&str> = text.lines().filter(|line| line.starts_with("creqA")).collect();
    assert_eq!((json.len(), encoded.len()), (6, 6));
    // The first vector of the file carries another request than its JSON (an older profile and mint), so its
    // JSON is not compared.
    for (index, (json, encoded)) in json.iter().zip(&encoded).enumerate() {
        let expected: PaymentRequest = serde_json::from_str(json).unwrap();
        let decoded = PaymentRequest::decode(encoded).unwrap_or_else(|error| panic!("vector {index}: {error}"));
        if index > 0 {
            assert_eq!(decoded, expected, "vector {index}");
        }
        assert_eq!(PaymentRequest::decode(&expected.encode()), Ok(expected.clone()));
        let lower_prefix = encoded.replacen("creqA", "CREQa", 1);
        assert_eq!(PaymentRequest::decode(&lower_prefix), Ok(decoded));
        if index == 0 {
            // The request that the specification has as its example.
            let decoded = PaymentRequest::decode(encoded).unwrap();
            assert_eq!((decoded.id, decoded.amount, decoded.unit), (expected.id, expected.amount, expected.unit));
            assert_eq!(decoded.mints, ["https://nofees.testnut.cashu.space"]);
            assert_eq!(decoded.transports[0].tags, expected.transports[0].tags);
        }
    }
}

#[test]
fn nut26_payment_requests_in_bech32m() {
    let Some(text) = vectors("26-test.md") else {
        return;
    };
    let json = blocks(&text, "json");
    let encoded: Vec<&str> = text.lines().filter(|line| line.starts_with("CREQB1")).collect();
    assert_eq!((json.len(), encoded.len()), (16, 16));
    let mut nostr = 0;
    for (index, (json, encoded)) in json.iter().zip(&encoded).enumerate() {
        let request: PaymentRequest = serde_json::from_str(json).unwrap();
        assert_eq!(request.encode_bech32m().as_deref(), Ok(*encoded), "vector {index}");
        let decoded = PaymentRequest::decode(encoded).unwrap_or_else(|error| panic!("vector {index}: {error}"));
        // A profile without relays is its key alone, which NUT-26 gives back as an npub.
        let mut expected = request.clone();
        for transport in expected.transports.iter_mut().filter(|transport| transport.kind == "nostr") {
            let (_, profile) = bech32::decode(&transport.target).unwrap();
            if profile.len() == 34 {
                let npub = Hrp::parse("npub").unwrap();
                transport.target = bech32::encode::<Bech32>(npub, &profile[2..]).unwrap();
            }
            nostr += 1;
        }
        assert_eq!(decoded, expected, "vector {index}");
        assert_eq!(PaymentRequest::decode(&encoded.to_lowercase()), Ok(decoded), "vector {index} in lower case");
        assert_eq!(PaymentRequest::decode(&request.encode()), Ok(request), "vector {index} as creqA");
        // One character changed: bech32m finds it.
        let last = if encoded.ends_with('Q') { "P" } else { "Q" };
        let damaged = format!("{}{last}", &encoded[..encoded.len() - 1]);
        assert!(PaymentRequest::decode(&damaged).is_err(), "vector {index} damaged");
    }
    assert_eq!(nostr, 5);
}

/// The key under which other wallets keep their list of mints at Nostr relays. Habeas publishes no such list (see the head of
/// `lib.rs`), so the derivation stands here and nowhere else.
#[test]
fn nut27_key_of_the_mint_backup() {
    let Some(text) = vectors("27-test.md") else {
        return;
    };
    let values: BTreeMap<String, String> = blocks(&text, "json")
        .into_iter()
        .flat_map(|block| serde_json::from_str::<BTreeMap<String, String>>(block).unwrap())
        .collect();
    assert_eq!(values.len(), 3);
    let seed = values["mnemonic"].parse::<bip39::Mnemonic>().unwrap().to_seed("");
    let backup: [u8; 32] = Sha256::new().chain_update(seed).chain_update("cashu-mint-backup").finalize().into();
    assert_eq!(hex::encode(backup), values["secret_key"]);
    let backup = SecretKey::from_secret_bytes(backup).unwrap();
    assert_eq!(Point::of_secret(&backup).to_string()[2..], values["public_key"]);
    // And no key of ours is that one, so that a seed used in both places gives nothing away.
    assert_ne!(Seed::new(seed).key_for("cashu-mint-backup", b"").unwrap(), backup);
}

#[test]
fn nut28_blinded_keys() {
    let Some(text) = vectors("28-tests.md") else {
        return;
    };
    let (e, p) = (key(values(&text, "e")[0]), key(values(&text, "p")[0]));
    let (public_e, public_p) = (point(values(&text, "E")[0]), point(values(&text, "P")[0]));
    assert_eq!(Point::of_secret(&e), public_e);
    // Sender and receiver, and the hash that the published Zx gives.
    let (sender, receiver) = (SharedSecret::new(&public_p, &e), SharedSecret::new(&public_e, &p));
    let zx = bytes(values(&text, "Zx")[0]);
    let scalars: Vec<&str> = numbered(&text, "### Deterministic blinding scalar (r)");
    let blinded = numbered(&text, "### Blinded Public Keys (P')");
    let (standard, negated): (Vec<&str>, Vec<&str>) = {
        let mut both = numbered(&text, "### Derived Secret Keys");
        let negated = both.split_off(both.len() / 2);
        (both, negated)
    };
    assert_eq!([&scalars, &blinded, &standard, &negated].map(Vec::len), [11; 4]);
    let natural = point(values(&text, "pG")[0]);
    assert_eq!((Point::of_secret(&p), public_p), (natural, point(values(&text, "P")[1])));
    assert_ne!(natural, public_p, "the receiver's key was published with the other sign");
    for slot in 0..11u8 {
        let at = usize::from(slot);
        let hash = Sha256::new().chain_update("Cashu_P2BK_v1").chain_update(&zx).chain_update([slot]).finalize();
        assert_eq!(hex::encode(hash), scalars[at]);
        for shared in [&sender, &receiver] {
            assert_eq!(shared.scalar(slot), Some(key(scalars[at])), "slot {slot}");
        }
        assert_eq!(sender.blind(&public_p, slot), Some(point(blinded[at])), "slot {slot}");
        assert_eq!(receiver.open(&point(blinded[at]), slot, &p), Some(key(negated[at])), "slot {slot}");
        let as_is = sender.blind(&natural, slot).unwrap();
        assert_eq!(receiver.open(&as_is, slot, &p), Some(key(standard[at])), "slot {slot}");
        assert_eq!(receiver.open(&point(blinded[at]), (slot + 1) % 11, &p), None, "another slot");
    }
    // The example: in JSON, and through both forms of token.
    let [json] = blocks(&text, "json")[..] else { panic!("one example") };
    let proof: Proof = serde_json::from_str(json).unwrap();
    assert_eq!(proof.p2pk_e, Some(public_e));
    let slots = conditions::slots(proof.secret.as_str()).unwrap();
    assert_eq!(slots, [(0, point(blinded[0]))]);
    let mut signed = [proof.clone()];
    conditions::sign_inputs(&mut signed, &key(negated[0]), &[0; 32]).unwrap();
    assert_eq!(conditions::check(&signed, &[], None, 0), Ok(()));
    let mut unblinded = [proof.clone()];
    conditions::sign_inputs(&mut unblinded, &p, &[0; 32]).unwrap();
    assert!(conditions::check(&unblinded, &[], None, 0).is_err(), "the receiver's own key opens nothing");
    let unit: Unit = "sat".parse().unwrap();
    let token = Token::new("https://mint.example", unit, None, vec![proof.clone()]).encode();
    assert_eq!(Token::decode(&token).unwrap().into_proofs(&[]), Ok(vec![proof.clone()]));
    let cbor = URL_SAFE_NO_PAD.decode(token.strip_prefix("cashuB").unwrap()).unwrap();
    let field = [&[0x62][..], b"pe", &[0x58, 33], &public_e.to_bytes()].concat();
    assert!(cbor.windows(field.len()).any(|window| window == field), "'pe' is a byte string of 33 bytes");
    let v3 = serde_json::json!({"token": [{"mint": "https://mint.example", "proofs": [proof]}], "unit": "sat"});
    let v3 = format!("cashuA{}", URL_SAFE_NO_PAD.encode(v3.to_string()));
    assert_eq!(Token::decode(&v3).unwrap().into_proofs(&[]).unwrap()[0].p2pk_e, Some(public_e));
}

#[test]
fn nut20_quote_signatures() {
    let Some(text) = vectors("20-test.md") else {
        return;
    };
    let pubkey = point("03d56ce4e446a85bbdaa547b4ec2b073d40ff802831352b8272b7dd7a4de5a7cac");
    let verdicts: Vec<bool> = blocks(&text, "json")
        .into_iter()
        .map(|block| {
            let request: cashu::messages::MintRequest = serde_json::from_str(block).unwrap();
            quote::verify(&request.quote, &request.outputs, &request.signature.unwrap(), &pubkey)
        })
        .collect();
    assert_eq!(verdicts, [true, false]);
    // The message byte by byte, which the first signature is over.
    let listed: Vec<u8> = serde_json::from_str(blocks(&text, "")[0]).unwrap();
    let first: Value = serde_json::from_str(blocks(&text, "json")[0]).unwrap();
    let outputs = first["outputs"].as_array().unwrap().iter().map(|output| output["B_"].as_str().unwrap());
    let message = first["quote"].as_str().unwrap().to_owned() + &outputs.collect::<String>();
    assert_eq!(listed, message.as_bytes());
}

/// NUT-11, with the HTLCs of NUT-14: each request as the file has it, and whether it is to be accepted.
#[test]
fn nut_11_conditions() {
    let Some(text) = vectors("11-test.md") else { return };
    let expected = [
        // A proof without a witness, then: locktime multisig, refund multisig.
        false, true, true,
        // SIG_INPUTS: right, another secret's signature, two of two, one of two, refund after and before the locktime.
        true, false, true, false, true, false,
        // SIG_ALL on swaps: twice the same, unlike inputs, multisig, refund, HTLC, HTLC too early, HTLC refund.
        true, true, false, true, true, true, false, true, // SIG_ALL on melts.
        true, true, true,
    ];
    let blocks = crate::blocks(&text, "json");
    assert_eq!(blocks.len(), expected.len());
    let hashes: Vec<&str> = text
        .split("sha256sum(msg_to_sign) should look like this: `")
        .skip(1)
        .filter_map(|rest| rest.get(..64))
        .collect();
    assert_eq!(hashes.len(), 2);
    let messages = crate::blocks(&text, "");
    let hashed: Vec<String> = messages.iter().map(|text| hex::encode(Sha256::digest(text.trim_end()))).collect();
    assert_eq!(hashed, hashes);
    // Between the locktimes that have passed and those that have not.
    let now = 1_700_000_000;
    for (number, (block, expected)) in blocks.into_iter().zip(expected).enumerate() {
        // A melt has all that a swap has, and a quote.
        let accepted = if let Ok(melt) = serde_json::from_str::<MeltRequest>(block) {
            if number == 17 {
                let message = conditions::sig_all_message(&melt.inputs, &melt.outputs, Some(&melt.quote));
                assert_eq!(hex::encode(message), hashes[1]);
            }
            conditions::check(&melt.inputs, &melt.outputs, Some(&melt.quote), now)
        } else if let Ok(swap) = serde_json::from_str::<SwapRequest>(block) {
            if number == 9 {
                let message = conditions::sig_all_message(&swap.inputs, &swap.outputs, None);
                assert_eq!(hex::encode(message), hashes[0]);
            }
            conditions::check(&swap.inputs, &swap.outputs, None, now)
        } else {
            let proof: Proof = serde_json::from_str(block).expect("a proof");
            conditions::check(&[proof], &[], None, now)
        };
        assert_eq!(accepted.is_ok(), expected, "vector {number}: {accepted:?}");
    }
}

/// NUT-29: a batch's signature covers all outputs, in their order. The mint's rules on batches are in its own tests.
#[test]
fn nut_29_batch_signature() {
    let Some(text) = vectors("29-tests.md") else { return };
    let signed: Vec<MintBatchRequest> = blocks(&text, "json")
        .into_iter()
        .filter_map(|block| serde_json::from_str(block).ok())
        .filter(|request: &MintBatchRequest| request.signatures.is_some())
        .collect();
    let [request] = signed.as_slice() else { panic!("{} signed requests", signed.len()) };
    let signature = request.signatures.as_ref().unwrap()[0].as_deref().unwrap();
    let key = point(values(&text, "pubkey")[0]);
    // The published hash and signature are over the quote id "locked-quote": the specification renamed the id later (its commit
    // 7b99ff0) and kept them. A file that is put right is taken as well.
    let holds = |outputs: &[_]| {
        [request.quotes[0].as_str(), "locked-quote"].iter().any(|id| quote::verify(id, outputs, signature, &key))
    };
    assert!(holds(&request.outputs));
    let mut swapped = request.outputs.clone();
    swapped.reverse();
    assert!(!holds(&swapped));
    // The published hash is over the points' bytes, the published signature over their hex, as NUT-20 has it and its vectors.
    let points = request.outputs.iter().map(|output| output.blinded.to_bytes());
    let hashed = points.fold(Sha256::new().chain_update("locked-quote"), |hasher, point| hasher.chain_update(point));
    assert_eq!(hex::encode(hashed.finalize()), values(&text, "msg_hash")[0]);
    assert_eq!(signature, values(&text, "signature[0]")[0]);

    // The other requests have words where points and ids belong. With those put in they can be read, all but the one that is cut
    // short; what a mint answers to them is in the mint's own tests.
    let (id, blinded) = (request.outputs[0].id.to_string(), request.outputs[0].blinded.to_string());
    let filled = |block: &str| {
        let words = ["<blinded_message>", "<blinded_message_0>", "<blinded_message_1>"];
        words.iter().fold(block.replace("keyset_1", &id), |text, word| text.replace(word, &blinded))
    };
    let read: Vec<Option<MintBatchRequest>> =
        blocks(&text, "json").into_iter().map(|block| serde_json::from_str(&filled(block)).ok()).collect();
    let sizes: Vec<usize> = read.iter().flatten().map(|request| request.quotes.len()).collect();
    assert_eq!((read.len(), sizes), (10, vec![2, 0, 2, 2, 2, 1]));
    assert_eq!(read[6].as_ref().map(|twice| twice.quotes[0] == twice.quotes[1]), Some(true));
    let check: QuoteCheckRequest = serde_json::from_str(blocks(&text, "json")[2]).unwrap();
    assert_eq!(check.quotes, ["known-1", "bogus", "unknown-2"]);
}
