//! The issuer's signing keys in a PKCS#11 token: P-256, made in it, signing only, never leaving it.
//!
//! The token computes whole signatures (`CKM_ECDSA` over a SHA-256 digest), so, other than with the mint's keys, who is in the
//! running issuer's memory has no key: they can have things signed for as long as they are there. A session stays open, since a
//! login takes milliseconds and a batch of credentials many signatures; it is opened anew once when the module or the token has let
//! go of it.

use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use es256::{KeyError, PublicKey, SIGNATURE_LEN, Signer};
use sha2::{Digest, Sha256};
use storage::token::{Access, Opened, SessionError, Token, TokenError};

use crate::IssuerError;

/// The curve P-256 by its name, `1.2.840.10045.3.1.7`, DER (RFC 5480 section 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// What stands before a point of P-256 in `CKA_EC_POINT`: an OCTET STRING of 65 bytes.
const POINT_HEADER: [u8; 2] = [0x04, 65];
/// Signed when a key is opened, to see that its private and its public half belong together. No credential begins so.
const TRIAL: &[u8] = b"habeas issuer key trial v1";

/// A key in a token, that signs.
pub struct TokenSigner {
    token: Arc<Token>,
    label: String,
    public: PublicKey,
    /// Where the key is in the session that it was last used in.
    place: Mutex<Option<(Opened, ObjectHandle)>>,
}

impl From<TokenError> for IssuerError {
    fn from(error: TokenError) -> Self {
        IssuerError::Keys(error.to_string())
    }
}

impl TokenSigner {
    /// A key that is in the token.
    ///
    /// # Errors
    /// When the token is away or refuses; when the key is not there, is not of P-256, does not match its public key, or could be
    /// taken out of the token or used for something else.
    pub fn open(token: &Arc<Token>, label: &str) -> Result<Self, TokenError> {
        let found = token.in_kept_session(|session, _| {
            private_key(token, session, label)?;
            public_key(token, session, label)
        })?;
        let signer =
            TokenSigner { token: token.clone(), label: label.to_owned(), public: found, place: Mutex::default() };
        signer.try_sign(TRIAL).map(|_| signer)
    }

    /// The key of this label in the token. Where there is none, it is made: random, sensitive, not extractable, for signing only.
    ///
    /// # Errors
    /// When the token can't do it, or as with [`TokenSigner::open`]. A key pair that can't be used is taken away again.
    pub fn open_or_make(token: &Arc<Token>, label: &str) -> Result<Self, TokenError> {
        token.logged_in(Access::Write, |slot, session| {
            let needed =
                [(MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"), (MechanismType::ECDSA, "CKM_ECDSA")];
            token.must_offer(slot, &needed, "keep an issuer's keys")?;
            let failed = |error| token.failed(&error);
            if !find(session, ObjectClass::PRIVATE_KEY, label).map_err(failed)?.is_empty() {
                return Ok(());
            }
            let both = [Attribute::Label(label.as_bytes().to_vec()), Attribute::Token(true), Attribute::Derive(false)];
            let public =
                [&both[..], &[Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())]];
            let private = [
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
            ];
            let private = [&both[..], &private].concat();
            let (public, private) = session
                .generate_key_pair(&Mechanism::EccKeyPairGen, &public.concat(), &private)
                .map_err(|error| token.failed(&error))?;
            let checked = check(token, session, private, label);
            checked.map_err(|error| error.of(token)).inspect_err(|_| {
                for object in [public, private] {
                    let _ = session.destroy_object(object);
                }
            })
        })?;
        TokenSigner::open(token, label)
    }

    /// Signs; with the reason when it can't.
    fn try_sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], TokenError> {
        let digest = Sha256::digest(message);
        let signature = self.token.in_kept_session(|session, opened| {
            let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            let key = match *place {
                Some((when, key)) if when == opened => key,
                _ => place.insert((opened, private_key(&self.token, session, &self.label)?)).1,
            };
            Ok(session.sign(&Mechanism::Ecdsa, key, &digest)?)
        })?;
        // A token that came back may be another with the same label: what it signs is no credential of ours.
        match <[u8; SIGNATURE_LEN]>::try_from(signature.as_slice()) {
            Ok(signature) if self.public.verify(message, &signature) => Ok(signature),
            _ => Err(self.token.unfit(&format!(
                "signed with another key than the public key '{}' in it belongs to: is it the right token?",
                self.label
            ))),
        }
    }
}

impl Signer for TokenSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], KeyError> {
        self.try_sign(message).map_err(|error| {
            tracing::error!(%error, "nothing was signed");
            KeyError::Unusable
        })
    }
}

fn find(session: &Session, class: ObjectClass, label: &str) -> Result<Vec<ObjectHandle>, cryptoki::error::Error> {
    session.find_objects(&[Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())])
}

/// The only object of a class and label.
fn only(
    token: &Token,
    session: &Session,
    class: ObjectClass,
    name: &str,
    label: &str,
) -> Result<ObjectHandle, SessionError> {
    match find(session, class, label)?[..] {
        [object] => Ok(object),
        [] => Err(token.unfit(&format!("has no {name} key '{label}'")).into()),
        _ => Err(token.unfit(&format!("has several {name} keys '{label}'")).into()),
    }
}

/// The private key of a label, checked.
fn private_key(token: &Token, session: &Session, label: &str) -> Result<ObjectHandle, SessionError> {
    let key = only(token, session, ObjectClass::PRIVATE_KEY, "private", label)?;
    check(token, session, key, label).map(|()| key)
}

/// The public key of a label. A private key that is an object of its own does not tell it.
fn public_key(token: &Token, session: &Session, label: &str) -> Result<PublicKey, SessionError> {
    let object = only(token, session, ObjectClass::PUBLIC_KEY, "public", label)?;
    let attributes = session.get_attributes(object, &[AttributeType::EcPoint])?;
    let point = match attributes.as_slice() {
        // Some modules leave the header away.
        [Attribute::EcPoint(point)] => {
            point.strip_prefix(&POINT_HEADER).filter(|rest| rest.len() == 65).unwrap_or(point)
        }
        _ => &[],
    };
    PublicKey::from_point(point)
        .map_err(|_| token.unfit(&format!("has the public key '{label}', which is no point of the curve P-256")).into())
}

/// Whether a private key is bound to the token, of the right curve, and for signatures alone.
fn check(token: &Token, session: &Session, key: ObjectHandle, label: &str) -> Result<(), SessionError> {
    let asked = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Token,
        AttributeType::Private,
        AttributeType::Sign,
        AttributeType::Derive,
        AttributeType::Decrypt,
        AttributeType::Unwrap,
        AttributeType::AlwaysAuthenticate,
    ];
    let refuse = |told: &str| {
        Err(token.unfit(&format!("has the key '{label}', but {told}: it is no key of an issuer; name another")).into())
    };
    let (mut is_p256, mut is_sensitive, mut stays, mut signs) = (false, false, false, false);
    for attribute in session.get_attributes(key, &asked)? {
        match attribute {
            Attribute::KeyType(kind) if kind != KeyType::EC => return refuse("it is no key of an elliptic curve"),
            Attribute::EcParams(curve) => is_p256 = curve == P256,
            Attribute::Sensitive(yes) => is_sensitive = yes,
            Attribute::Extractable(yes) => stays = !yes,
            Attribute::Sign(yes) => signs = yes,
            Attribute::Token(false) => return refuse("it goes away with the session (CKA_TOKEN is false)"),
            Attribute::Private(false) => return refuse("it can be used without the PIN (CKA_PRIVATE is false)"),
            Attribute::Derive(true) => return refuse("other keys can be derived with it (CKA_DERIVE is true)"),
            Attribute::Decrypt(true) => return refuse("it decrypts, too (CKA_DECRYPT is true)"),
            Attribute::Unwrap(true) => return refuse("it unwraps keys, too (CKA_UNWRAP is true)"),
            Attribute::AlwaysAuthenticate(true) => {
                return refuse("it wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE is true)");
            }
            _ => {}
        }
    }
    if !stays {
        return refuse("it can be taken out of the token (CKA_EXTRACTABLE is not false)");
    }
    if !is_sensitive {
        return refuse("it can be read in the clear (CKA_SENSITIVE is not true)");
    }
    if !is_p256 {
        return refuse("it is not of the curve P-256 (CKA_EC_PARAMS)");
    }
    if !signs {
        return refuse("it does not sign (CKA_SIGN is not true)");
    }
    Ok(())
}
