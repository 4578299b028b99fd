use es256::{PublicKey, Signer};
use jose::{Header, Jws};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::disclosure::{Parts, Place, reveal};
use crate::path::ClaimPath;
use crate::{KEY_BINDING_TYP, SdJwtError, digest};

/// A proof that the holder has the key of the credential, for one verifier and request (RFC 9901 section 4.3).
#[derive(Clone, Copy)]
pub struct KeyBinding<'a> {
    /// The verifier.
    pub aud: &'a str,
    /// What the verifier's request said.
    pub nonce: &'a str,
    /// Now, seconds since 1970.
    pub iat: u64,
    /// The key that the credential names.
    pub key: &'a dyn Signer,
}

/// A credential in its holder's hands, with all its disclosures.
pub struct SdJwt<'a> {
    parts: Parts<'a>,
    jws: Jws<'a>,
    claims: Map<String, Value>,
    places: Vec<Place>,
}

impl<'a> SdJwt<'a> {
    /// Reads what an issuer gave. [`SdJwt::verify`] says whether the issuer signed it.
    ///
    /// # Errors
    /// For everything about disclosures that RFC 9901 section 7.1 refuses, and when it has a key binding, which an issuer never gives
    /// (section 7.2).
    pub fn parse(text: &'a str) -> Result<Self, SdJwtError> {
        let parts = Parts::split(text)?;
        if !parts.binding.is_empty() {
            return Err(SdJwtError::Malformed);
        }
        let jws = Jws::parse(parts.jws)?;
        let mut claims = jose::json::parse_object(jws.payload())?;
        let mut places = Vec::with_capacity(parts.disclosures.len());
        reveal(&mut claims, &parts.disclosures, false, Some(&mut places))?;
        Ok(SdJwt { parts, jws, claims, places })
    }

    /// The header of the issuer's signature.
    pub fn header(&self) -> &Header {
        self.jws.header()
    }

    /// All claims, with what can be disclosed in its place.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The paths of the claims that are shown only when they are chosen.
    pub fn disclosable(&self) -> impl Iterator<Item = ClaimPath> + '_ {
        self.places.iter().map(|(_, path)| ClaimPath(path.clone()))
    }

    /// Whether the issuer's signature holds.
    ///
    /// # Errors
    /// When it does not.
    pub fn verify(&self, key: &PublicKey) -> Result<(), SdJwtError> {
        Ok(self.jws.verify(key)?)
    }

    /// A presentation that shows the claims of these paths: each with all that is within it, and with what it lies in, as far as
    /// showing it needs. Claims that are visible always are shown in any case.
    ///
    /// # Errors
    /// [`SdJwtError::NoSuchClaim`] when a path selects nothing, and when the key can't sign.
    pub fn present(&self, paths: &[ClaimPath], key_binding: Option<KeyBinding<'_>>) -> Result<String, SdJwtError> {
        if paths.iter().any(|path| path.select(&self.claims).is_empty()) {
            return Err(SdJwtError::NoSuchClaim);
        }
        let mut chosen = vec![false; self.parts.disclosures.len()];
        for (number, place) in &self.places {
            chosen[*number] = paths.iter().any(|path| path.touches(place));
        }
        let mut text = String::with_capacity(self.parts.covered.len() + 512);
        text.push_str(self.parts.jws);
        text.push('~');
        for (disclosure, _) in self.parts.disclosures.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
            text.push_str(disclosure);
            text.push('~');
        }
        if let Some(binding) = key_binding {
            let hash = digest(text.as_bytes());
            let sd_hash = std::str::from_utf8(&hash).expect("base64url is text");
            let claims = Claims { iat: binding.iat, aud: binding.aud, nonce: binding.nonce, sd_hash };
            text.push_str(&jose::sign(&Header::es256(KEY_BINDING_TYP), &claims, binding.key)?);
        }
        Ok(text)
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: u64,
    aud: &'a str,
    nonce: &'a str,
    sd_hash: &'a str,
}
