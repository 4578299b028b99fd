//! Encryption to a key, compact: ECDH-ES with direct key agreement and AES-GCM (RFC 7518 sections 4.6 and 5.3). What a wallet answers
//! a relying party with (OpenID4VP `direct_post.jwt`).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use es256::AgreementKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{JoseError, Jwk, base64url, json};

/// The longest encrypted text that is read: a response with several credentials.
pub const JWE_MAX_LEN: usize = 512 * 1024;
/// The longest plaintext that is encrypted, so that the other side reads it: three quarters of that, less the header.
pub const PLAINTEXT_MAX_LEN: usize = 380 * 1024;
/// The longest name of a party: a nonce, or a thumbprint.
const PARTY_MAX_LEN: usize = 1024;
/// The longest `kid`.
const KID_MAX_LEN: usize = 1024;
/// Header members that change the plaintext or have to be understood (RFC 7516 sections 4.1.3 and 4.1.13).
const EXTENSIONS: &[&str] = &["crit", "zip"];
const ECDH_ES: &str = "ECDH-ES";
const TAG_LEN: usize = 16;

/// How the content is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enc {
    /// AES-128 in Galois/Counter Mode.
    #[serde(rename = "A128GCM")]
    A128Gcm,
    /// AES-256 in Galois/Counter Mode.
    #[serde(rename = "A256GCM")]
    A256Gcm,
}

impl Enc {
    fn name(self) -> &'static str {
        match self {
            Enc::A128Gcm => "A128GCM",
            Enc::A256Gcm => "A256GCM",
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Enc::A128Gcm => &AES_128_GCM,
            Enc::A256Gcm => &AES_256_GCM,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    // As text first: another one is another error than rubbish.
    enc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    epk: Jwk,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apu: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apv: Option<String>,
}

/// The key for the content: one round of the concat KDF (NIST SP 800-56A section 5.8.1 as RFC 7518 section 4.6.2 uses it), which
/// SHA-256 gives enough of.
fn content_key(shared: &[u8; 32], enc: Enc, apu: &[u8], apv: &[u8]) -> Zeroizing<Vec<u8>> {
    let key_len = enc.algorithm().key_len();
    let mut hash = Context::new(&SHA256);
    hash.update(&1u32.to_be_bytes());
    hash.update(shared);
    for part in [enc.name().as_bytes(), apu, apv] {
        hash.update(&u32::try_from(part.len()).expect("parties' names are short").to_be_bytes());
        hash.update(part);
    }
    let bits = u32::try_from(key_len * 8).expect("a key is short");
    hash.update(&bits.to_be_bytes());
    Zeroizing::new(hash.finish().as_ref()[..key_len].to_vec())
}

fn cipher(key: &[u8], enc: Enc) -> Result<LessSafeKey, JoseError> {
    UnboundKey::new(enc.algorithm(), key).map(LessSafeKey::new).map_err(|_| JoseError::Unusable)
}

/// Encrypts to a key with a fresh one. Its `kid` goes into the header, so that the recipient finds it. `apu` and `apv` name the
/// parties; empty ones are left out.
///
/// # Errors
/// When the recipient's key is not on the curve, there is no randomness, or something is longer than [`Jwe::parse`] would read.
pub fn encrypt(recipient: &Jwk, enc: Enc, apu: &[u8], apv: &[u8], plaintext: &[u8]) -> Result<String, JoseError> {
    encrypt_from(&AgreementKey::generate()?, recipient, enc, apu, apv, plaintext)
}

fn encrypt_from(
    ephemeral: &AgreementKey,
    recipient: &Jwk,
    enc: Enc,
    apu: &[u8],
    apv: &[u8],
    plaintext: &[u8],
) -> Result<String, JoseError> {
    let kid_len = recipient.kid.as_ref().map_or(0, String::len);
    if plaintext.len() > PLAINTEXT_MAX_LEN || apu.len().max(apv.len()) > PARTY_MAX_LEN || kid_len > KID_MAX_LEN {
        return Err(JoseError::TooLong);
    }
    let shared = ephemeral.agree(&recipient.public_key()?)?;
    let cipher = cipher(&content_key(&shared, enc, apu, apv), enc)?;
    let party = |name: &[u8]| (!name.is_empty()).then(|| base64url::encode(name));
    let header = Header {
        alg: ECDH_ES.into(),
        enc: enc.name().into(),
        kid: recipient.kid.clone(),
        epk: Jwk::from(*ephemeral.public_key()),
        apu: party(apu),
        apv: party(apv),
    };
    let header = serde_json::to_vec(&header).map_err(|_| JoseError::Malformed)?;
    let mut text = String::with_capacity((header.len() + plaintext.len()) * 4 / 3 + 64);
    base64url::encode_onto(header, &mut text);
    let mut iv = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut iv).map_err(|_| JoseError::Unusable)?;
    let mut content = plaintext.to_vec();
    let tag = cipher
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(text.as_bytes()), &mut content)
        .map_err(|_| JoseError::Unusable)?;
    // The second part, the encrypted key, is empty: the key is agreed directly.
    text.push_str("..");
    base64url::encode_onto(iv, &mut text);
    text.push('.');
    base64url::encode_onto(content, &mut text);
    text.push('.');
    base64url::encode_onto(tag, &mut text);
    Ok(text)
}

/// An encrypted text taken apart.
pub struct Jwe<'a> {
    header: Header,
    enc: Enc,
    apu: Vec<u8>,
    apv: Vec<u8>,
    /// The header as it was sent, which the tag covers.
    covered: &'a str,
    iv: [u8; NONCE_LEN],
    /// The content and the tag.
    sealed: Vec<u8>,
}

impl<'a> Jwe<'a> {
    /// Takes an encrypted text apart.
    ///
    /// # Errors
    /// When it is longer than [`JWE_MAX_LEN`], not five parts of base64url, has other algorithms, a header with an extension, or a
    /// member twice.
    pub fn parse(text: &'a str) -> Result<Self, JoseError> {
        if text.len() > JWE_MAX_LEN {
            return Err(JoseError::TooLong);
        }
        let mut parts = text.splitn(6, '.');
        let mut part = || parts.next().ok_or(JoseError::Malformed);
        let (covered, encrypted_key, iv, content, tag) = (part()?, part()?, part()?, part()?, part()?);
        if parts.next().is_some() || !encrypted_key.is_empty() {
            return Err(JoseError::Malformed);
        }
        let header = base64url::decode(covered)?;
        json::check(&header, EXTENSIONS)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| JoseError::Malformed)?;
        let enc = match (header.alg.as_str(), header.enc.as_str()) {
            (ECDH_ES, "A128GCM") => Enc::A128Gcm,
            (ECDH_ES, "A256GCM") => Enc::A256Gcm,
            _ => return Err(JoseError::Algorithm),
        };
        let party = |name: &Option<String>| name.as_deref().map_or(Ok(Vec::new()), base64url::decode);
        let (apu, apv) = (party(&header.apu)?, party(&header.apv)?);
        if apu.len().max(apv.len()) > PARTY_MAX_LEN {
            return Err(JoseError::TooLong);
        }
        let mut sealed = base64url::decode(content)?;
        sealed.extend_from_slice(&base64url::decode_array::<TAG_LEN>(tag)?);
        Ok(Jwe { enc, apu, apv, covered, iv: base64url::decode_array(iv)?, sealed, header })
    }

    /// The name of the key that it is encrypted to, if it says so.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// How the content is encrypted.
    pub fn enc(&self) -> Enc {
        self.enc
    }

    /// `apu`: the sender's name, which may be empty.
    pub fn apu(&self) -> &[u8] {
        &self.apu
    }

    /// `apv`: the recipient's name, which may be empty.
    pub fn apv(&self) -> &[u8] {
        &self.apv
    }

    /// The plaintext.
    ///
    /// # Errors
    /// [`JoseError::Decryption`] when it is for another key or was changed, [`JoseError::Key`] when the sender's key is not on the
    /// curve (a secret must never meet such a point: it would leak).
    pub fn decrypt(&self, key: &AgreementKey) -> Result<Zeroizing<Vec<u8>>, JoseError> {
        let shared = key.agree(&self.header.epk.public_key()?)?;
        let cipher = cipher(&content_key(&shared, self.enc, &self.apu, &self.apv), self.enc)?;
        let mut content = Zeroizing::new(self.sealed.clone());
        let nonce = Nonce::assume_unique_for_key(self.iv);
        let opened = cipher.open_in_place(nonce, Aad::from(self.covered.as_bytes()), &mut content);
        let len = opened.map_err(|_| JoseError::Decryption)?.len();
        content.truncate(len);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAINTEXT: &[u8] = br#"{"vp_token":"what was shown"}"#;

    /// RFC 7518 Appendix C, to the derived key.
    #[test]
    fn the_derived_key_is_that_of_rfc_7518() {
        let alice = base64url::decode("0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo").unwrap();
        let bob: Jwk = serde_json::from_str(
            r#"{"kty":"EC","crv":"P-256","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
                "y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"}"#,
        )
        .unwrap();
        let shared = AgreementKey::from_secret(&alice).unwrap().agree(&bob.public_key().unwrap()).unwrap();
        let key = content_key(&shared, Enc::A128Gcm, b"Alice", b"Bob");
        assert_eq!(base64url::encode(&*key), "VqqN6vgjbSBcIijNcacQGg");
        assert_ne!(content_key(&shared, Enc::A128Gcm, b"AliceB", b"ob"), key);
    }

    fn recipient() -> (AgreementKey, Jwk) {
        let key = AgreementKey::generate().unwrap();
        let mut jwk = Jwk::from(*key.public_key());
        jwk.kid = Some("enc-1".into());
        (key, jwk)
    }

    #[test]
    fn the_recipient_alone_decrypts() {
        let (key, jwk) = recipient();
        for enc in [Enc::A128Gcm, Enc::A256Gcm] {
            let text = encrypt(&jwk, enc, b"", b"nonce", PLAINTEXT).unwrap();
            let jwe = Jwe::parse(&text).unwrap();
            assert_eq!((jwe.kid(), jwe.enc(), jwe.apu(), jwe.apv()), (Some("enc-1"), enc, &b""[..], &b"nonce"[..]));
            assert_eq!(&*jwe.decrypt(&key).unwrap(), PLAINTEXT);
            assert_eq!(jwe.decrypt(&recipient().0).err(), Some(JoseError::Decryption));
            assert_ne!(encrypt(&jwk, enc, b"", b"nonce", PLAINTEXT).unwrap(), text);
        }
        assert_eq!(
            Jwe::parse(&encrypt(&jwk, Enc::A128Gcm, b"", b"", b"").unwrap()).unwrap().decrypt(&key).unwrap().len(),
            0
        );
        let longest = vec![0; PLAINTEXT_MAX_LEN];
        let text = encrypt(&jwk, Enc::A128Gcm, &[0; PARTY_MAX_LEN], &[0; PARTY_MAX_LEN], &longest).unwrap();
        assert_eq!(Jwe::parse(&text).unwrap().decrypt(&key).unwrap().len(), longest.len());
        assert_eq!(encrypt(&jwk, Enc::A128Gcm, b"", b"", &[&longest[..], &[0]].concat()), Err(JoseError::TooLong));
    }

    #[test]
    fn a_change_in_any_part_is_noticed() {
        let (key, jwk) = recipient();
        let text = encrypt(&jwk, Enc::A256Gcm, b"a", b"b", PLAINTEXT).unwrap();
        let mut decrypted = 0;
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            decrypted += usize::from(Jwe::parse(&changed).and_then(|jwe| jwe.decrypt(&key)).is_ok());
        }
        assert_eq!(decrypted, 0);
    }

    #[test]
    fn headers_that_must_not_be_taken_are_refused() {
        let (key, jwk) = recipient();
        let epk = serde_json::to_string(&Jwk::from(*key.public_key())).unwrap();
        let parse = |header: String| {
            let rest = format!("..{}.AA.{}", base64url::encode([0; NONCE_LEN]), base64url::encode([0; TAG_LEN]));
            Jwe::parse(&(base64url::encode(header) + &rest)).err()
        };
        assert_eq!(parse(format!(r#"{{"alg":"ECDH-ES","enc":"A128GCM","epk":{epk},"x":1}}"#)), None);
        for (members, error) in [
            (r#""alg":"ECDH-ES+A128KW","enc":"A128GCM""#, JoseError::Algorithm),
            (r#""alg":"dir","enc":"A128GCM""#, JoseError::Algorithm),
            (r#""alg":"ECDH-ES","enc":"A128CBC-HS256""#, JoseError::Algorithm),
            (r#""alg":"ECDH-ES""#, JoseError::Malformed),
            (r#""alg":"ECDH-ES","enc":"A128GCM","zip":"DEF""#, JoseError::Extension),
            (r#""alg":"ECDH-ES","enc":"A128GCM","crit":[]"#, JoseError::Extension),
            (r#""alg":"ECDH-ES","enc":"A128GCM","x":1,"x":1"#, JoseError::Duplicate),
            (r#""alg":"ECDH-ES","enc":"A128GCM","apu":"=""#, JoseError::Base64),
        ] {
            assert_eq!(parse(format!(r#"{{{members},"epk":{epk}}}"#)), Some(error), "{members}");
        }
        assert_eq!(parse(r#"{"alg":"ECDH-ES","enc":"A128GCM"}"#.into()), Some(JoseError::Malformed));
        let long = base64url::encode([0; PARTY_MAX_LEN + 1]);
        let header = format!(r#"{{"alg":"ECDH-ES","enc":"A128GCM","apv":"{long}","epk":{epk}}}"#);
        assert_eq!(parse(header), Some(JoseError::TooLong));
        let text = encrypt(&jwk, Enc::A128Gcm, b"", b"", b"").unwrap();
        for changed in [format!("{text}."), text.replacen("..", ".AA.", 1), text.replacen('.', "", 1), String::new()] {
            assert_eq!(Jwe::parse(&changed).err(), Some(JoseError::Malformed), "{changed}");
        }
        assert_eq!(Jwe::parse(&"A".repeat(JWE_MAX_LEN + 1)).err(), Some(JoseError::TooLong));
    }

    /// The classic attack: the sender's point is on another curve, and the answer tells bits of the key.
    #[test]
    fn a_point_off_the_curve_never_meets_the_key() {
        let (key, jwk) = recipient();
        let text = encrypt(&jwk, Enc::A128Gcm, b"", b"", b"x").unwrap();
        let (header, rest) = text.split_once('.').unwrap();
        let mut header: serde_json::Value = serde_json::from_slice(&base64url::decode(header).unwrap()).unwrap();
        header["epk"]["y"] = base64url::encode([7; 32]).into();
        let text = format!("{}.{rest}", base64url::encode(header.to_string()));
        assert_eq!(Jwe::parse(&text).unwrap().decrypt(&key).err(), Some(JoseError::Key));
    }
}
