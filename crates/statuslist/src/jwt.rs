use std::borrow::Cow;

use es256::{PublicKey, Signer};
use jose::{Header, Jws, base64url};
use serde::{Deserialize, Serialize};

use crate::token::Claims;
use crate::{Issuing, LIST_MAX_LEN, StatusList, StatusListError, StatusListToken};

/// `typ` of the token.
pub const JWT_TYP: &str = "statuslist+jwt";
/// The longest token that is read: a list that does not compress, in base64url twice, and what is around it.
pub const JWT_MAX_LEN: usize = LIST_MAX_LEN / 9 * 16 + 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    sub: Cow<'a, str>,
    iat: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(borrow)]
    status_list: List<'a>,
}

#[derive(Serialize, Deserialize)]
struct List<'a> {
    bits: u8,
    #[serde(borrow)]
    lst: Cow<'a, str>,
}

impl StatusList {
    /// The list as a signed JWT (section "Status List Token in JWT Format"). `x5c` is the certificate chain, the signer's first.
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn to_jwt(
        &self,
        issuing: &Issuing<'_>,
        signer: &dyn Signer,
        x5c: &[Vec<u8>],
    ) -> Result<String, StatusListError> {
        let payload = Payload {
            sub: issuing.uri.into(),
            iat: issuing.iat,
            exp: issuing.exp,
            nbf: None,
            ttl: issuing.ttl,
            status_list: List { bits: self.bits(), lst: base64url::encode(self.compress()).into() },
        };
        let header = Header { x5c: x5c.to_vec(), ..Header::es256(JWT_TYP) };
        Ok(jose::sign(&header, &payload, signer)?)
    }
}

/// Verifies a list as JWT that was fetched from a URI. The closure gives the signer's key for the certificate chain (DER, empty when
/// there is none), or nothing when it does not trust it.
///
/// # Errors
/// When it is too long, of another type, not signed by that key, for another URI, expired, or its list can't be read.
pub fn verify_jwt(
    text: &str,
    uri: &str,
    issuer_key: impl FnOnce(&[Vec<u8>]) -> Option<PublicKey>,
    now: u64,
) -> Result<StatusListToken, StatusListError> {
    let jws = Jws::parse_up_to(text, JWT_MAX_LEN)?;
    if jws.header().typ.as_deref() != Some(JWT_TYP) {
        return Err(StatusListError::Type);
    }
    jws.verify(&issuer_key(&jws.header().x5c).ok_or(StatusListError::UnknownIssuer)?)?;
    let payload: Payload<'_> = jose::json::parse_as(jws.payload())?;
    let compressed = base64url::decode(&payload.status_list.lst)?;
    let claims = Claims {
        sub: &payload.sub,
        iat: payload.iat,
        exp: payload.exp,
        nbf: payload.nbf,
        ttl: payload.ttl,
        bits: payload.status_list.bits,
    };
    claims.check(uri, now, &compressed)
}
