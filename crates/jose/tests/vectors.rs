//! What another implementation made: npm `jose`, whose version stands in the file (made once, with the recipient's key of RFC 7518
//! Appendix C).

use es256::AgreementKey;
use jose::jwe::{Enc, Jwe};
use jose::{JoseError, Jwk, Jws, base64url};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/npm-jose.json")).unwrap()
}

/// The public key of the file, and the secret number.
fn key(vectors: &Value) -> (Jwk, Vec<u8>) {
    let mut public = vectors["key"].as_object().unwrap().clone();
    let secret = public.remove("d").unwrap();
    (serde_json::from_value(public.into()).unwrap(), base64url::decode(secret.as_str().unwrap()).unwrap())
}

#[test]
fn its_encrypted_texts_are_decrypted() {
    let vectors = vectors();
    let key = AgreementKey::from_secret(&key(&vectors).1).unwrap();
    let texts = vectors["jwe"].as_array().unwrap();
    assert_eq!(texts.len(), 4);
    for vector in texts {
        let jwe = Jwe::parse(vector["jwe"].as_str().unwrap()).unwrap();
        assert_eq!(jwe.kid(), Some("bob"));
        assert_eq!(serde_json::to_value(jwe.enc()).unwrap(), vector["enc"]);
        assert_eq!(jwe.apu(), vector["apu"].as_str().unwrap().as_bytes());
        assert_eq!(jwe.apv(), vector["apv"].as_str().unwrap().as_bytes());
        assert_eq!(*jwe.decrypt(&key).unwrap(), vectors["plaintext"].as_str().unwrap().as_bytes());
        let other = AgreementKey::generate().unwrap();
        assert_eq!(jwe.decrypt(&other).err(), Some(JoseError::Decryption));
    }
    assert!(texts.iter().any(|vector| vector["enc"] == serde_json::to_value(Enc::A256Gcm).unwrap()));
}

#[test]
fn its_signature_holds_and_its_thumbprint_is_ours() {
    let vectors = vectors();
    let (jwk, _) = key(&vectors);
    assert_eq!(jwk.thumbprint_text(), vectors["thumbprint"].as_str().unwrap());
    let jws = Jws::parse(vectors["jws"].as_str().unwrap()).unwrap();
    jws.verify(&jwk.public_key().unwrap()).unwrap();
    assert_eq!(jws.header().typ.as_deref(), Some("JWT"));
    assert_eq!(jws.claims::<Value>().unwrap()["iss"], "joe");
}
