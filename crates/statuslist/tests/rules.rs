//! Each rule of the draft, broken in a token that is signed well, so that nothing but its rule refuses it.

use ciborium::Value as Cbor;
use es256::{PublicKey, Signer, SigningKey};
use jose::{Header, base64url};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use statuslist::{
    CWT_MAX_LEN, CWT_TYP, Issuing, JWT_MAX_LEN, JWT_TYP, Reference, Status, StatusList, StatusListError, verify_cwt,
    verify_jwt,
};

const URI: &str = "https://status.example/1";
const NOW: u64 = 1_800_000_000;

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn list() -> StatusList {
    let mut list = StatusList::new(2, 100).unwrap();
    list.set(7, Status::Invalid).unwrap();
    list.set(9, Status::Suspended).unwrap();
    list
}

#[test]
fn what_is_issued_is_verified_in_both_encodings() {
    let key = key();
    for chain in [vec![], vec![vec![1, 2, 3]], vec![vec![1], vec![2]]] {
        let trust = |given: &[Vec<u8>]| {
            assert_eq!(given, chain);
            Some(*key.public_key())
        };
        let issuing = Issuing { uri: URI, iat: NOW - 5, exp: Some(NOW + 1), ttl: Some(60) };
        let by_jwt = verify_jwt(&list().to_jwt(&issuing, &key, &chain).unwrap(), URI, trust, NOW).unwrap();
        let by_cwt = verify_cwt(&list().to_cwt(&issuing, &key, &chain).unwrap(), URI, trust, NOW).unwrap();
        assert_eq!(by_jwt, by_cwt);
        assert_eq!((by_jwt.issued_at, by_jwt.expires_at, by_jwt.ttl), (NOW - 5, Some(NOW + 1), Some(60)));
        let status = |idx, uri: &str| by_jwt.status(&Reference { uri: uri.into(), idx });
        assert_eq!((status(7, URI), status(8, URI)), (Ok(Status::Invalid), Ok(Status::Valid)));
        assert_eq!(status(9, URI), Ok(Status::Suspended));
        assert_eq!(status(100, URI), Err(StatusListError::OutOfRange));
        assert_eq!(status(7, "https://status.example/2"), Err(StatusListError::Subject));
        assert_eq!(by_jwt.fresh_until(NOW), Some(NOW + 1));
        assert_eq!(by_jwt.fresh_until(NOW - 100), Some(NOW - 40));
    }
    let plain = Issuing { uri: URI, iat: NOW, exp: None, ttl: None };
    let token = verify_jwt(&list().to_jwt(&plain, &key, &[]).unwrap(), URI, |_| Some(*key.public_key()), NOW).unwrap();
    assert_eq!(token.fresh_until(NOW), None);
    // A list that does not compress fits into both limits.
    let mut noise = vec![0; statuslist::LIST_MAX_LEN];
    StdRng::seed_from_u64(7).fill_bytes(&mut noise);
    let noise = StatusList::from_bytes(8, noise).unwrap();
    assert!(noise.compress().len() > statuslist::LIST_MAX_LEN);
    assert!(verify_jwt(&noise.to_jwt(&plain, &key, &[]).unwrap(), URI, |_| Some(*key.public_key()), NOW).is_ok());
    assert!(verify_cwt(&noise.to_cwt(&plain, &key, &[]).unwrap(), URI, |_| Some(*key.public_key()), NOW).is_ok());
}

fn claims() -> Value {
    json!({
        "sub": URI, "iat": NOW, "exp": NOW + 1, "ttl": 60,
        "status_list": {"bits": 2, "lst": base64url::encode(list().compress())}
    })
}

fn jwt(typ: &str, claims: &Value) -> Result<(), StatusListError> {
    let key = key();
    let text = jose::sign(&Header::es256(typ), claims, &key).unwrap();
    verify_jwt(&text, URI, |_| Some(*key.public_key()), NOW).map(|_| ())
}

/// The claims of a JWT as those of a CWT.
fn cwt(typ: &str, claims: &Value) -> Result<(), StatusListError> {
    let key = key();
    let labels = [("sub", 2), ("exp", 4), ("nbf", 5), ("iat", 6), ("status_list", 65533), ("ttl", 65534)];
    let entries = claims.as_object().unwrap().iter().map(|(name, value)| {
        let (_, label) = labels.iter().find(|(known, _)| known == name).unwrap();
        let mut value = Cbor::serialized(value).unwrap();
        if let Cbor::Map(members) = &mut value {
            for (name, member) in members {
                if name.as_text() == Some("lst")
                    && let Some(text) = member.as_text()
                {
                    *member = Cbor::Bytes(base64url::decode(text).unwrap_or_default());
                }
            }
        }
        (Cbor::from(*label), value)
    });
    let payload = cose::encode(&Cbor::Map(entries.collect()));
    let signed = cose::sign1_typed(&key, typ, payload, Vec::new()).unwrap();
    let bytes = cose::encode(&Cbor::Tag(18, Box::new(signed)));
    verify_cwt(&bytes, URI, |_| Some(*key.public_key()), NOW).map(|_| ())
}

#[test]
fn claims_are_held_against_the_draft() {
    let both = |claims: &Value| {
        let (jwt, cwt) = (jwt(JWT_TYP, claims), cwt(CWT_TYP, claims));
        assert_eq!(jwt, cwt, "{claims}");
        jwt
    };
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        both(&claims)
    };
    assert_eq!(both(&claims()), Ok(()));
    assert_eq!(with("sub", json!("https://status.example/2")), Err(StatusListError::Subject));
    assert_eq!(with("exp", json!(NOW)), Err(StatusListError::Expired));
    assert_eq!(with("nbf", json!(NOW)), Ok(()));
    assert_eq!(with("nbf", json!(NOW + 1)), Err(StatusListError::Malformed));
    for (name, value) in [
        ("sub", json!(1)),
        ("iat", json!("now")),
        ("exp", json!(-1)),
        ("ttl", json!(0)),
        ("ttl", json!("1")),
        ("status_list", json!("x")),
        ("status_list", json!({"bits": 2})),
        ("status_list", json!({"lst": "eNrbuRgAAhcBXQ"})),
        ("status_list", json!({"bits": "1", "lst": "eNrbuRgAAhcBXQ"})),
        ("status_list", json!({"bits": 1, "lst": 1})),
    ] {
        assert_eq!(with(name, value.clone()), Err(StatusListError::Malformed), "{name} {value}");
    }
    assert_eq!(with("status_list", json!({"bits": 3, "lst": "eNrbuRgAAhcBXQ"})), Err(StatusListError::Bits));
    assert_eq!(with("status_list", json!({"bits": 1, "lst": "eNrbuRgAAhcBXA"})), Err(StatusListError::Compression));
    for name in ["sub", "iat", "status_list"] {
        let mut fewer = claims();
        fewer.as_object_mut().unwrap().remove(name);
        assert_eq!(both(&fewer), Err(StatusListError::Malformed), "{name}");
    }
    assert_eq!(jwt("JWT", &claims()), Err(StatusListError::Type));
    assert_eq!(cwt("statuslist+cwt", &claims()), Err(StatusListError::Type));
    let padded = json!({"bits": 1, "lst": "eNrbuRgAAhcBXQ=="});
    let mut claims = claims();
    claims["status_list"] = padded;
    assert_eq!(jwt(JWT_TYP, &claims), Err(StatusListError::Malformed));
}

#[test]
fn who_signed_is_judged_by_the_caller() {
    let (key, other) = (key(), key());
    let issuing = Issuing { uri: URI, iat: NOW, exp: None, ttl: None };
    let jwt = list().to_jwt(&issuing, &key, &[]).unwrap();
    let cwt = list().to_cwt(&issuing, &key, &[]).unwrap();
    let nobody = |_: &[Vec<u8>]| None;
    assert_eq!(verify_jwt(&jwt, URI, nobody, NOW), Err(StatusListError::UnknownIssuer));
    assert_eq!(verify_cwt(&cwt, URI, nobody, NOW), Err(StatusListError::UnknownIssuer));
    let wrong = |_: &[Vec<u8>]| Some(*other.public_key());
    assert_eq!(verify_jwt(&jwt, URI, wrong, NOW), Err(StatusListError::Signature));
    assert_eq!(verify_cwt(&cwt, URI, wrong, NOW), Err(StatusListError::Signature));
    let right = |_: &[Vec<u8>]| Some(*key.public_key());
    for place in 0..cwt.len() {
        let mut changed = cwt.clone();
        changed[place] ^= 1;
        assert!(verify_cwt(&changed, URI, right, NOW).is_err(), "{place}");
    }
    assert!(verify_cwt(&cwt, URI, right, NOW).is_ok());
}

#[test]
fn other_structures_and_sizes_are_refused() {
    let key = key();
    let trust = |_: &[Vec<u8>]| Some(*key.public_key());
    let never = |_: &[Vec<u8>]| -> Option<PublicKey> { unreachable!("refused before") };
    assert_eq!(verify_jwt(&"a".repeat(JWT_MAX_LEN + 1), URI, never, NOW), Err(StatusListError::TooLarge));
    assert_eq!(verify_cwt(&vec![0; CWT_MAX_LEN + 1], URI, never, NOW), Err(StatusListError::TooLarge));
    let issuing = Issuing { uri: URI, iat: NOW, exp: None, ttl: None };
    let Cbor::Tag(18, signed) = cose::decode(&list().to_cwt(&issuing, &key, &[]).unwrap()).unwrap() else { panic!() };
    let check = |value: &Cbor| verify_cwt(&cose::encode(value), URI, trust, NOW).map(|_| ());
    assert_eq!(check(&Cbor::Tag(18, signed.clone())), Ok(()));
    assert_eq!(check(&signed), Err(StatusListError::Malformed), "the tag is required");
    assert_eq!(check(&Cbor::Tag(61, Cbor::Tag(18, signed.clone()).into())), Err(StatusListError::Malformed));
    assert_eq!(check(&Cbor::Tag(17, signed.clone())), Err(StatusListError::Malformed));
    let with_chain = |chain: Cbor| {
        let mut parts = signed.as_array().unwrap().clone();
        parts[1] = Cbor::Map(vec![(Cbor::from(33), chain)]);
        check(&Cbor::Tag(18, Box::new(Cbor::Array(parts))))
    };
    assert_eq!(with_chain(Cbor::Bytes(vec![1])), Ok(()));
    for chain in [Cbor::Array(vec![]), Cbor::from("x"), Cbor::Array(vec![Cbor::Bytes(vec![1]); 9])] {
        assert_eq!(with_chain(chain), Err(StatusListError::Malformed));
    }
    // A claim twice: one reader would take the first, another the last.
    let twice = vec![(Cbor::from(2), Cbor::from(URI)); 2];
    let signed = cose::sign1_typed(&key, CWT_TYP, cose::encode(&Cbor::Map(twice)), Vec::new()).unwrap();
    assert_eq!(check(&Cbor::Tag(18, Box::new(signed))), Err(StatusListError::Malformed));
}
