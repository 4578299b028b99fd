use ciborium::Value;
use cose::{Sign1, TYP, decode_up_to, encode, field, map, sign1_typed};
use es256::{PublicKey, Signer};

use crate::token::Claims;
use crate::{Issuing, LIST_MAX_LEN, StatusList, StatusListError, StatusListToken};

/// The type in the protected header. The draft allows a number too, which is not assigned yet.
pub const CWT_TYP: &str = "application/statuslist+cwt";
/// The longest token that is read: a list that does not compress, and what is around it.
pub const CWT_MAX_LEN: usize = LIST_MAX_LEN + 64 * 1024;

/// Certificates in a header: a signer, and authorities above it.
const CHAIN_MAX: usize = 8;
/// Claims of a CWT; a list has five.
const CLAIMS_MAX: usize = 32;

/// Tag of COSE_Sign1 (RFC 9052 section 2).
const SIGN1: u64 = 18;
/// Header label of the certificate chain (RFC 9360).
const X5CHAIN: i64 = 33;
/// Labels of claims (RFC 8392 section 4, and the draft).
const SUB: i64 = 2;
const EXP: i64 = 4;
const NBF: i64 = 5;
const IAT: i64 = 6;
const STATUS_LIST: i64 = 65533;
const TTL: i64 = 65534;

impl StatusList {
    /// The list as a signed CWT (section "Status List Token in CWT Format"). `x5chain` is the certificate chain, the signer's first.
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn to_cwt(
        &self,
        issuing: &Issuing<'_>,
        signer: &dyn Signer,
        x5chain: &[Vec<u8>],
    ) -> Result<Vec<u8>, StatusListError> {
        let list = map([("bits", Value::from(self.bits())), ("lst", Value::Bytes(self.compress()))]);
        let mut claims = vec![(SUB, Value::from(issuing.uri)), (IAT, Value::from(issuing.iat))];
        claims.extend(issuing.exp.map(|exp| (EXP, Value::from(exp))));
        claims.extend(issuing.ttl.map(|ttl| (TTL, Value::from(ttl))));
        claims.push((STATUS_LIST, list));
        let claims = claims.into_iter().map(|(label, value)| (Value::from(label), value)).collect();
        // One certificate is a byte string, several are an array (RFC 9360 section 2).
        let unprotected = match x5chain {
            [] => Vec::new(),
            [one] => vec![(Value::from(X5CHAIN), Value::Bytes(one.clone()))],
            several => {
                vec![(Value::from(X5CHAIN), several.iter().cloned().map(Value::Bytes).collect::<Vec<_>>().into())]
            }
        };
        let signed = sign1_typed(signer, CWT_TYP, encode(&Value::Map(claims)), unprotected);
        Ok(encode(&Value::Tag(SIGN1, Box::new(signed.map_err(|_| StatusListError::Unusable)?))))
    }
}

/// The value of a label in a map.
fn labelled(entries: &[(Value, Value)], label: i64) -> Option<&Value> {
    entries.iter().find(|(key, _)| *key == Value::from(label)).map(|(_, value)| value)
}

fn chain(value: Option<&Value>) -> Result<Vec<Vec<u8>>, StatusListError> {
    let certificate = |value: &Value| value.as_bytes().cloned().ok_or(StatusListError::Malformed);
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(several)) if (2..=CHAIN_MAX).contains(&several.len()) => {
            several.iter().map(certificate).collect()
        }
        Some(one) => Ok(vec![certificate(one)?]),
    }
}

/// Verifies a list as CWT that was fetched from a URI. The closure gives the signer's key for the certificate chain (DER, empty when
/// there is none), or nothing when it does not trust it.
///
/// # Errors
/// As [`crate::verify_jwt`].
pub fn verify_cwt(
    bytes: &[u8],
    uri: &str,
    issuer_key: impl FnOnce(&[Vec<u8>]) -> Option<PublicKey>,
    now: u64,
) -> Result<StatusListToken, StatusListError> {
    if bytes.len() > CWT_MAX_LEN {
        return Err(StatusListError::TooLarge);
    }
    let Value::Tag(SIGN1, signed) = decode_up_to(bytes, CWT_MAX_LEN)? else { return Err(StatusListError::Malformed) };
    let signed = Sign1::parse(&signed)?;
    let protected = signed.protected_header()?;
    let (protected, unprotected) = match (&protected, signed.unprotected) {
        (Value::Map(protected), Value::Map(unprotected)) => (protected, unprotected),
        _ => return Err(StatusListError::Malformed),
    };
    if labelled(protected, TYP).and_then(Value::as_text) != Some(CWT_TYP) {
        return Err(StatusListError::Type);
    }
    let payload = signed.payload.ok_or(StatusListError::Malformed)?;
    let chain = chain(labelled(protected, X5CHAIN).or(labelled(unprotected, X5CHAIN)))?;
    if !signed.holds(&issuer_key(&chain).ok_or(StatusListError::UnknownIssuer)?, payload) {
        return Err(StatusListError::Signature);
    }
    let payload = decode_up_to(payload, CWT_MAX_LEN)?;
    let entries = payload.as_map().filter(|entries| entries.len() <= CLAIMS_MAX).ok_or(StatusListError::Malformed)?;
    // Two readers might see two lists.
    if (1..entries.len()).any(|n| entries[..n].iter().any(|(label, _)| *label == entries[n].0)) {
        return Err(StatusListError::Malformed);
    }
    let number =
        |value: &Value| value.as_integer().and_then(|n| u64::try_from(n).ok()).ok_or(StatusListError::Malformed);
    let time = |label| labelled(entries, label).map(number).transpose();
    let list = labelled(entries, STATUS_LIST).ok_or(StatusListError::Malformed)?;
    let claims = Claims {
        sub: labelled(entries, SUB).and_then(Value::as_text).ok_or(StatusListError::Malformed)?,
        iat: time(IAT)?.ok_or(StatusListError::Malformed)?,
        exp: time(EXP)?,
        nbf: time(NBF)?,
        ttl: time(TTL)?,
        bits: u8::try_from(number(field(list, "bits")?)?).map_err(|_| StatusListError::Bits)?,
    };
    claims.check(uri, now, field(list, "lst")?.as_bytes().ok_or(StatusListError::Malformed)?)
}
