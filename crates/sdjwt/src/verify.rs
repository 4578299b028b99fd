use es256::PublicKey;
use jose::{Header, Jwk, Jws};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::disclosure::{Parts, reveal};
use crate::{KEY_BINDING_TYP, SdJwtError, TYP, digest};

/// When a credential is valid, seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// `iat`: issued.
    pub issued_at: Option<u64>,
    /// `nbf`: valid from.
    pub not_before: Option<u64>,
    /// `exp`: valid before.
    pub expires_at: Option<u64>,
}

/// What a verifier asks of a key binding.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedBinding<'a> {
    /// Who the verifier is.
    pub aud: &'a str,
    /// What the verifier's request said.
    pub nonce: &'a str,
    /// Seconds by which the holder's clock may differ, and the presentation may have travelled.
    pub iat_window: u64,
}

/// A credential that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The claims, with what was disclosed in its place and nothing of the mechanism.
    pub claims: Map<String, Value>,
    /// When it is valid.
    pub validity: Validity,
    /// The holder's key (`cnf.jwk`), if the credential names one of P-256.
    pub key: Option<PublicKey>,
    /// Whether the holder proved to have that key.
    pub bound: bool,
}

impl Verified {
    /// The type, `vct`; empty for an SD-JWT that is no credential.
    pub fn vct(&self) -> &str {
        self.claims.get("vct").and_then(Value::as_str).unwrap_or_default()
    }

    /// The issuer, `iss`, if it is named.
    pub fn iss(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Where the status is, `status`.
    pub fn status(&self) -> Option<&Value> {
        self.claims.get("status")
    }
}

/// Verifies a presentation of a credential (the draft's section "Verification and Processing", RFC 9901 section 7.3). The closure gives
/// the issuer's key for the header (`x5c`, `kid`) and `iss`, or nothing when it does not trust them. With `binding`, the holder has to
/// prove the key of the credential; without, a proof that is there counts for nothing.
///
/// # Errors
/// For everything that RFC 9901 section 7 refuses, another type than `dc+sd-jwt`, a missing `vct`, a claim in a disclosure that must be
/// visible, and a time outside the validity.
pub fn verify(
    text: &str,
    issuer_key: impl FnOnce(&Header, Option<&str>) -> Option<PublicKey>,
    binding: Option<&ExpectedBinding<'_>>,
    now: u64,
) -> Result<Verified, SdJwtError> {
    verify_as(true, text, issuer_key, binding, now)
}

/// Verifies any SD-JWT (RFC 9901), whatever its type: the closure sees `typ` in the header and judges it.
///
/// # Errors
/// For everything that RFC 9901 section 7 refuses, and a time outside the validity.
pub fn verify_plain(
    text: &str,
    issuer_key: impl FnOnce(&Header, Option<&str>) -> Option<PublicKey>,
    binding: Option<&ExpectedBinding<'_>>,
    now: u64,
) -> Result<Verified, SdJwtError> {
    verify_as(false, text, issuer_key, binding, now)
}

fn verify_as(
    credential: bool,
    text: &str,
    issuer_key: impl FnOnce(&Header, Option<&str>) -> Option<PublicKey>,
    binding: Option<&ExpectedBinding<'_>>,
    now: u64,
) -> Result<Verified, SdJwtError> {
    let parts = Parts::split(text)?;
    if binding.is_some() && parts.binding.is_empty() {
        return Err(SdJwtError::BindingMissing);
    }
    let jws = Jws::parse(parts.jws)?;
    if credential && jws.header().typ.as_deref() != Some(TYP) {
        return Err(SdJwtError::Type);
    }
    let mut claims = jose::json::parse_object(jws.payload())?;
    let iss = match claims.get("iss") {
        None => None,
        Some(Value::String(iss)) => Some(iss.as_str()),
        Some(_) => return Err(SdJwtError::Malformed),
    };
    jws.verify(&issuer_key(jws.header(), iss).ok_or(SdJwtError::UnknownIssuer)?)?;
    reveal(&mut claims, &parts.disclosures, credential, None)?;
    if credential && !claims.get("vct").is_some_and(Value::is_string) {
        return Err(SdJwtError::Type);
    }
    let validity = validity(&claims)?;
    check_times(&validity, now)?;
    let key = holder_key(&claims);
    let holder = match (binding, key) {
        (None, key) => key.ok(),
        (Some(_), key) => Some(key?),
    };
    let proof = if parts.binding.is_empty() { None } else { Some(Jws::parse(parts.binding)?) };
    if let (Some(expected), Some(proof), Some(key)) = (binding, &proof, &holder) {
        check_binding(proof, expected, parts.covered, key, now)?;
    }
    Ok(Verified { claims, validity, key: holder, bound: binding.is_some() })
}

/// Seconds of a NumericDate (RFC 7519 section 2), which may have a fraction: rounded to where the credential is valid for less.
fn seconds(claims: &Map<String, Value>, name: &str, up: bool) -> Result<Option<u64>, SdJwtError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(whole) = value.as_u64() {
        return Ok(Some(whole));
    }
    let fraction = value.as_f64().ok_or(SdJwtError::Malformed)?;
    // A float becomes the nearest whole number that there is; before 1970 is 0.
    Ok(Some(if up { fraction.ceil() } else { fraction.floor() } as u64))
}

fn validity(claims: &Map<String, Value>) -> Result<Validity, SdJwtError> {
    Ok(Validity {
        issued_at: seconds(claims, "iat", false)?,
        not_before: seconds(claims, "nbf", true)?,
        expires_at: seconds(claims, "exp", false)?,
    })
}

fn check_times(validity: &Validity, now: u64) -> Result<(), SdJwtError> {
    if validity.not_before.is_some_and(|time| now < time) {
        return Err(SdJwtError::NotYetValid);
    }
    if validity.expires_at.is_some_and(|time| now >= time) { Err(SdJwtError::Expired) } else { Ok(()) }
}

fn holder_key(claims: &Map<String, Value>) -> Result<PublicKey, SdJwtError> {
    let jwk = claims.get("cnf").and_then(|cnf| cnf.get("jwk")).ok_or(SdJwtError::HolderKey)?;
    let jwk = Jwk::deserialize(jwk).map_err(|_| SdJwtError::HolderKey)?;
    jwk.public_key().map_err(|_| SdJwtError::HolderKey)
}

/// RFC 9901 section 7.3, step 5.
fn check_binding(
    proof: &Jws<'_>,
    expected: &ExpectedBinding<'_>,
    covered: &str,
    key: &PublicKey,
    now: u64,
) -> Result<(), SdJwtError> {
    if proof.header().typ.as_deref() != Some(KEY_BINDING_TYP) {
        return Err(SdJwtError::Binding);
    }
    let claims = jose::json::parse_object(proof.payload())?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let times = validity(&claims)?;
    let fresh = times.issued_at.is_some_and(|iat| iat.abs_diff(now) <= expected.iat_window);
    let hash = digest(covered.as_bytes());
    let meant = text("aud") == Some(expected.aud)
        && text("nonce") == Some(expected.nonce)
        && text("sd_hash").map(str::as_bytes) == Some(&hash[..]);
    if !(fresh && meant) || check_times(&times, now).is_err() {
        return Err(SdJwtError::Binding);
    }
    Ok(proof.verify(key)?)
}
