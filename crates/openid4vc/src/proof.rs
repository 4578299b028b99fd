//! Proofs of keys (OpenID4VCI Appendix F): a wallet shows that it has the keys that credentials are to be bound to.

use es256::{PublicKey, Signer};
use jose::{Header, Jwk, Jws};
use serde::{Deserialize, Serialize};

use crate::{CLOCK_SKEW_MAX, MessageError};

/// The type of a proof of one key (F.1).
pub const TYPE: &str = "openid4vci-proof+jwt";
/// The types of a wallet provider's word for many keys (Appendix D.1): the standard's, and that of its drafts, which libraries in
/// use still write.
pub const ATTESTATION_TYPES: [&str; 2] = ["key-attestation+jwt", "keyattestation+jwt"];

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

/// Makes a proof of one key for an issuer, with the issuer's nonce.
///
/// # Errors
/// When the key can't sign.
pub fn prove(key: &dyn Signer, issuer: &str, nonce: &str, now: u64) -> Result<String, jose::JoseError> {
    let header = Header { jwk: Some(Jwk::from(*key.public_key())), ..Header::es256(TYPE) };
    jose::sign(&header, &Claims { aud: issuer.into(), iat: now, nonce: Some(nonce.into()), iss: None }, key)
}

/// A key that was proven, and the nonce that the proof carries: the caller knows whether it is fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenKey {
    /// The key.
    pub key: PublicKey,
    /// The nonce.
    pub nonce: Option<String>,
}

/// Checks a proof of one key.
///
/// # Errors
/// When it is for another issuer or time, or its signature does not hold.
pub fn verify(proof: &str, issuer: &str, now: u64) -> Result<ProvenKey, MessageError> {
    let refused = |why| MessageError::new("the proof of a key", why);
    let jws = Jws::parse(proof).map_err(|_| refused("it is not a signed JWT with ES256"))?;
    if jws.header().typ.as_deref() != Some(TYPE) {
        return Err(refused("its type has to be openid4vci-proof+jwt"));
    }
    let jwk = jws.header().jwk.as_ref().ok_or(refused("it has to carry its key as jwk"))?;
    let key = jwk.public_key().map_err(|_| refused("its key is not of P-256"))?;
    jws.verify(&key).map_err(|_| refused("its signature does not hold"))?;
    let claims: Claims = jws.claims().map_err(|_| refused("aud and iat have to be there"))?;
    if claims.aud.trim_end_matches('/') != issuer.trim_end_matches('/') {
        return Err(refused("it is for another issuer"));
    }
    if claims.iat.abs_diff(now) > CLOCK_SKEW_MAX {
        return Err(refused("it is too old, or the device's clock is wrong: set it and try again"));
    }
    Ok(ProvenKey { key, nonce: claims.nonce })
}

#[derive(Deserialize)]
struct Attestation {
    #[serde(default)]
    iat: u64,
    #[serde(default)]
    exp: Option<u64>,
    attested_keys: Vec<Jwk>,
    #[serde(default)]
    nonce: Option<String>,
}

/// Checks a wallet provider's attestation of keys, and gives them in its order. `provider` gives the key of a provider that is
/// trusted, from the attestation's header.
///
/// # Errors
/// When the provider is not trusted, it is out of date, or its signature does not hold.
pub fn verify_attestation(
    attestation: &str,
    provider: impl FnOnce(&Header) -> Option<PublicKey>,
    now: u64,
) -> Result<Vec<ProvenKey>, MessageError> {
    let refused = |why| MessageError::new("the attestation of keys", why);
    let jws = Jws::parse(attestation).map_err(|_| refused("it is not a signed JWT with ES256"))?;
    if !jws.header().typ.as_deref().is_some_and(|typ| ATTESTATION_TYPES.contains(&typ)) {
        return Err(refused("its type has to be key-attestation+jwt"));
    }
    let key = provider(jws.header()).ok_or(refused("its wallet provider is not trusted here"))?;
    jws.verify(&key).map_err(|_| refused("its signature does not hold"))?;
    let claims: Attestation = jws.claims().map_err(|_| refused("attested_keys has to be there"))?;
    if claims.iat > now + CLOCK_SKEW_MAX || claims.exp.is_some_and(|exp| exp <= now) {
        return Err(refused("it is out of date"));
    }
    let proven = |jwk: &Jwk| {
        let key = jwk.public_key().map_err(|_| refused("an attested key is not of P-256"))?;
        Ok(ProvenKey { key, nonce: claims.nonce.clone() })
    };
    claims.attested_keys.iter().map(proven).collect()
}

#[cfg(test)]
mod tests {
    use es256::SigningKey;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://issuer.example";

    #[test]
    fn a_proof_holds_for_its_issuer_and_time_alone() {
        let key = SigningKey::generate().unwrap();
        let proof = prove(&key, ISSUER, "n", 1_000).unwrap();
        let proven = verify(&proof, ISSUER, 1_100).unwrap();
        assert_eq!(proven, ProvenKey { key: *key.public_key(), nonce: Some("n".into()) });
        assert!(verify(&proof, "https://other.example", 1_100).is_err());
        assert!(verify(&proof, ISSUER, 2_000).is_err());
        let other =
            Header { jwk: Some(Jwk::from(*SigningKey::generate().unwrap().public_key())), ..Header::es256(TYPE) };
        let stolen = jose::sign(&other, &json!({"aud": ISSUER, "iat": 1_000, "nonce": "n"}), &key).unwrap();
        assert!(verify(&stolen, ISSUER, 1_000).is_err(), "the key in the header is not the one that signed");
        let wrong_type = Header { jwk: Some(Jwk::from(*key.public_key())), ..Header::es256("dpop+jwt") };
        let wrong_type = jose::sign(&wrong_type, &json!({"aud": ISSUER, "iat": 1_000}), &key).unwrap();
        assert!(verify(&wrong_type, ISSUER, 1_000).is_err());
    }

    #[test]
    fn an_attestation_of_either_type_holds_from_a_trusted_provider_alone() {
        let (provider, device) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let claims =
            json!({"iat": 1_000, "exp": 2_000, "nonce": "n", "attested_keys": [Jwk::from(*device.public_key())]});
        for typ in ATTESTATION_TYPES {
            let attestation = jose::sign(&Header::es256(typ), &claims, &provider).unwrap();
            let keys = verify_attestation(&attestation, |_| Some(*provider.public_key()), 1_500).unwrap();
            assert_eq!(keys, [ProvenKey { key: *device.public_key(), nonce: Some("n".into()) }]);
            assert!(verify_attestation(&attestation, |_| None, 1_500).is_err());
            assert!(verify_attestation(&attestation, |_| Some(*device.public_key()), 1_500).is_err());
            assert!(verify_attestation(&attestation, |_| Some(*provider.public_key()), 2_000).is_err());
        }
    }
}
