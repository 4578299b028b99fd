//! DPoP (RFC 9449): a proof, made for one request, that whoever uses a token has its key.

use es256::{PublicKey, Signer};
use jose::{Header, Jwk, Jws};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{CLOCK_SKEW_MAX, MessageError};

/// The type of a proof.
pub const TYPE: &str = "dpop+jwt";
/// The longest `jti` that is kept against replay.
const JTI_MAX_LEN: usize = 128;

#[derive(Serialize, Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

/// The request that a proof is for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The address, without query and fragment.
    pub uri: &'a str,
    /// The access token that goes with it, unless this asks for one.
    pub access_token: Option<&'a str>,
}

/// A proof that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The key's thumbprint (RFC 7638), base64url: what tokens are bound to.
    pub jkt: String,
    /// The key.
    pub key: PublicKey,
    /// Its id; a second proof with it is a replay.
    pub jti: String,
    /// The server's nonce, if it carries one.
    pub nonce: Option<String>,
}

/// Makes a proof for a request, at `now`, under a fresh `jti`.
///
/// # Errors
/// When the key can't sign.
pub fn prove(
    key: &dyn Signer,
    request: Request<'_>,
    now: u64,
    jti: String,
    nonce: Option<&str>,
) -> Result<String, jose::JoseError> {
    let claims = Claims {
        jti,
        htm: request.method.into(),
        htu: request.uri.into(),
        iat: now,
        ath: request.access_token.map(token_hash),
        nonce: nonce.map(Into::into),
    };
    let header = Header { jwk: Some(Jwk::from(*key.public_key())), ..Header::es256(TYPE) };
    jose::sign(&header, &claims, key)
}

/// Checks a proof against the request that it came with (section 4.3). Whether its id was seen before is for the caller, who keeps
/// ids for as long as proofs are accepted.
///
/// # Errors
/// When it is for another request, token or time, or its signature does not hold.
pub fn verify(proof: &str, request: Request<'_>, now: u64) -> Result<Proof, MessageError> {
    let refused = |why| MessageError::new("the DPoP proof", why);
    let jws = Jws::parse(proof).map_err(|_| refused("it is not a signed JWT with ES256"))?;
    if jws.header().typ.as_deref() != Some(TYPE) {
        return Err(refused("its type has to be dpop+jwt"));
    }
    let jwk = jws.header().jwk.as_ref().ok_or(refused("it has to carry its key"))?;
    let key = jwk.public_key().map_err(|_| refused("its key is not of P-256"))?;
    jws.verify(&key).map_err(|_| refused("its signature does not hold"))?;
    let claims: Claims = jws.claims().map_err(|_| refused("jti, htm, htu and iat have to be there"))?;
    if claims.htm != request.method || without_query(&claims.htu) != request.uri {
        return Err(refused("it is for another request"));
    }
    if claims.iat.abs_diff(now) > CLOCK_SKEW_MAX {
        return Err(refused("it is too old, or the device's clock is wrong: set it and try again"));
    }
    if claims.ath != request.access_token.map(token_hash) {
        return Err(refused("it is for another access token"));
    }
    if claims.jti.is_empty() || claims.jti.len() > JTI_MAX_LEN {
        return Err(refused("its jti is empty or too long"));
    }
    Ok(Proof { jkt: jwk.thumbprint_text(), key, jti: claims.jti, nonce: claims.nonce })
}

fn without_query(uri: &str) -> &str {
    uri.split(['?', '#']).next().unwrap_or(uri)
}

fn token_hash(token: &str) -> String {
    jose::base64url::encode(Sha256::digest(token))
}

#[cfg(test)]
mod tests {
    use es256::SigningKey;

    use super::*;

    #[test]
    fn a_proof_holds_for_its_request_token_and_time_alone() {
        let key = SigningKey::generate().unwrap();
        let request = Request { method: "POST", uri: "https://a.example/token", access_token: Some("t") };
        let proof = prove(&key, request, 1_000, "1".into(), Some("n")).unwrap();
        let verified = verify(&proof, request, 1_200).unwrap();
        assert_eq!((verified.key, verified.nonce.as_deref()), (*key.public_key(), Some("n")));
        let wrong = [
            (Request { method: "GET", ..request }, 1_000),
            (Request { uri: "https://a.example/other", ..request }, 1_000),
            (Request { access_token: Some("u"), ..request }, 1_000),
            (Request { access_token: None, ..request }, 1_000),
            (request, 1_301),
            (request, 699),
        ];
        for (request, now) in wrong {
            assert!(verify(&proof, request, now).is_err(), "{request:?} at {now}");
        }
        assert!(verify(&proof[..proof.len() - 2], request, 1_000).is_err());
        let no_id = prove(&key, request, 1_000, String::new(), None).unwrap();
        assert!(verify(&no_id, request, 1_000).is_err());
    }
}
