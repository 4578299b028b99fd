//! The examples of the draft: lists of every width in both encodings, and signed tokens. Their source stands in the file.

use ciborium::Value as Cbor;
use jose::{Jwk, base64url};
use serde_json::Value;
use statuslist::{Issuing, Status, StatusList, StatusListError, verify_cwt, verify_jwt};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/draft.json")).unwrap()
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap()).collect()
}

#[test]
fn every_list_is_read_and_made() {
    let vectors = vectors();
    let lists = vectors["lists"].as_array().unwrap();
    assert_eq!(lists.len(), 6);
    for vector in lists {
        let bits = u8::try_from(vector["bits"].as_u64().unwrap()).unwrap();
        let entries = usize::try_from(vector["entries"].as_u64().unwrap()).unwrap();
        let mut made = StatusList::new(bits, entries).unwrap();
        for status in vector["statuses"].as_array().unwrap() {
            let value = u8::try_from(status[1].as_u64().unwrap()).unwrap();
            made.set(status[0].as_u64().unwrap(), Status::from(value)).unwrap();
        }
        let compressed = base64url::decode(vector["lst"].as_str().unwrap()).unwrap();
        let read = StatusList::decompress(bits, &compressed).unwrap();
        assert_eq!(read, made, "{bits} bits");
        assert_eq!(read.len(), entries);
        let cbor = cose::decode(&hex(&vector["cbor"])).unwrap();
        assert_eq!(cose::field(&cbor, "bits").unwrap(), &Cbor::from(bits));
        assert_eq!(cose::field(&cbor, "lst").unwrap().as_bytes().unwrap(), &compressed);
        // Compressors differ; ours is read again.
        assert_eq!(StatusList::decompress(bits, &made.compress()), Ok(read));
    }
    let widths: Vec<u64> = lists.iter().map(|vector| vector["bits"].as_u64().unwrap()).collect();
    assert_eq!(widths, [1, 2, 1, 2, 4, 8]);
}

#[test]
fn the_signed_tokens_are_verified() {
    let vectors = vectors();
    let key = serde_json::from_value::<Jwk>(vectors["key"].clone()).unwrap().public_key().unwrap();
    let (uri, now) = ("https://example.com/statuslists/1", 1_686_920_171);
    let jwt = vectors["jwt"].as_str().unwrap();
    let cwt = hex(&vectors["cwt"]);
    let trust = |chain: &[Vec<u8>]| chain.is_empty().then_some(key);
    let by_jwt = verify_jwt(jwt, uri, trust, now).unwrap();
    let by_cwt = verify_cwt(&cwt, uri, trust, now).unwrap();
    assert_eq!(by_jwt, by_cwt);
    assert_eq!((by_jwt.issued_at, by_jwt.expires_at, by_jwt.ttl), (1_686_920_170, Some(2_291_720_170), Some(43_200)));
    assert_eq!((by_jwt.list.as_bytes(), by_jwt.list.bits()), (&[0xb9, 0xa3][..], 1));
    let other = es256::SigningKey::generate().unwrap();
    let distrust = |_: &[Vec<u8>]| Some(*es256::Signer::public_key(&other));
    assert_eq!(verify_jwt(jwt, uri, distrust, now), Err(StatusListError::Signature));
    assert_eq!(verify_cwt(&cwt, uri, distrust, now), Err(StatusListError::Signature));
    // Our CWT of the same is the same to the byte, but for kid, order of claims and signature.
    let issuing = Issuing { uri, iat: by_cwt.issued_at, exp: by_cwt.expires_at, ttl: by_cwt.ttl };
    let ours = by_cwt.list.to_cwt(&issuing, &other, &[]).unwrap();
    assert_eq!(ours[..3], cwt[..3]);
    assert_eq!(ours[4..36], cwt[4..36], "the protected header");
    assert_eq!(verify_cwt(&ours, uri, distrust, now), Ok(by_cwt));
}
