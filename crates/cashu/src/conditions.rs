//! Spending conditions (NUT-10): tokens locked to keys (NUT-11, P2PK) or to a hash (NUT-14, HTLC), with locktime and refund.
//!
//! A mint asks [`check`] for each swap and melt; a wallet makes locked secrets with [`LockBuilder`] or [`asked_secret`], finds its
//! keys among the [`slots`] and signs with [`sign_inputs`] or [`sign_all`]. A secret that names a condition of these kinds but does not follow their rules can't be spent
//! at all: a token that its maker meant to lock must never be anybody's.

use std::collections::HashSet;

use secp256k1::{Keypair, SecretKey, XOnlyPublicKey, schnorr};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::p2bk::{SLOTS_MAX, SharedSecret};
use crate::payment_request::Nut10Option;
use crate::{BlindedMessage, Point, Proof};

/// Signature checks that one request may cost, some 50 µs each: the most that honest requests need are two an input.
const SIGNATURE_CHECKS_MAX: usize = 1_024;
/// The longest witness that is read: a preimage and twenty signatures.
pub const WITNESS_MAX_LEN: usize = 4_096;

/// Why tokens with a spending condition can't be spent by this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// The secret names a condition and breaks its rules: nobody can spend it.
    #[error("the secret's spending condition is malformed")]
    Malformed,
    /// The witness can't be read.
    #[error("the witness can't be read")]
    Witness,
    /// Not enough of the keys have signed.
    #[error("not enough of the keys that the condition names have signed")]
    Signatures,
    /// The preimage is missing or is another's.
    #[error("the preimage is not the one that the condition names")]
    Preimage,
    /// `SIG_ALL` on one input, and another input has other conditions.
    #[error("inputs signed with SIG_ALL must all have the same condition")]
    NotAlike,
    /// The request asks for more signature checks than a mint makes.
    #[error("the conditions of this request take too many signature checks")]
    TooMany,
}

/// The keys that must sign on one way of spending: at least `needed` of `keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pathway {
    keys: Vec<XOnlyPublicKey>,
    needed: usize,
}

/// What a secret asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// SHA-256 of the preimage that opens it (HTLC).
    hash: Option<[u8; 32]>,
    /// Always open. An HTLC without keys needs the preimage alone.
    main: Option<Pathway>,
    /// Unix time after which the refund pathway is open too.
    locktime: Option<u64>,
    /// Open after the locktime. `None` then means that anybody may spend.
    refund: Option<Pathway>,
    /// Whether signatures cover all inputs and outputs.
    sig_all: bool,
}

/// A secret as NUT-10 writes it: kind, and body.
#[derive(Deserialize, Serialize)]
struct WellKnown(String, Body);

#[derive(Deserialize, Serialize)]
struct Body {
    nonce: String,
    data: String,
    #[serde(default)]
    tags: Vec<Vec<String>>,
}

/// The witness of a locked input (NUT-11, NUT-14): JSON text in JSON.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Witness {
    /// The preimage, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preimage: Option<String>,
    /// BIP-340 signatures, 128 hex digits each.
    #[serde(default)]
    pub signatures: Vec<String>,
}

impl Condition {
    /// Reads the condition of a secret; `None` for an ordinary secret, and for kinds that are not known here (NUT-10).
    ///
    /// # Errors
    /// [`ConditionError::Malformed`].
    pub fn of(secret: &str) -> Result<Option<Self>, ConditionError> {
        let Some(kind) = kind_of(secret) else { return Ok(None) };
        let WellKnown(_, body) = serde_json::from_str(secret).map_err(|_| ConditionError::Malformed)?;
        let tags = Tags::read(&body.tags)?;
        let extra_keys = tags.keys("pubkeys")?;
        let n_sigs = tags.positive("n_sigs")?;
        let (hash, main_keys) = match kind {
            Kind::P2pk => (None, [vec![read_key(&body.data)?], extra_keys].concat()),
            Kind::Htlc => (Some(read_hex(&body.data).ok_or(ConditionError::Malformed)?), extra_keys),
        };
        Ok(Some(Condition {
            hash,
            main: Pathway::new(main_keys, n_sigs)?,
            locktime: tags.one("locktime").and_then(|text| text.parse().ok()),
            refund: Pathway::new(tags.keys("refund")?, tags.positive("n_sigs_refund")?)?,
            sig_all: match tags.one("sigflag") {
                None if !tags.has("sigflag") => false,
                Some("SIG_INPUTS") => false,
                Some("SIG_ALL") => true,
                _ => return Err(ConditionError::Malformed),
            },
        }))
    }

    /// Whether the signatures of a witness must cover all inputs and outputs (`SIG_ALL`).
    pub fn is_sig_all(&self) -> bool {
        self.sig_all
    }

    /// Whether anybody may spend at a time: the locktime has passed, and no refund key is named.
    pub fn is_anybodys(&self, now: u64) -> bool {
        self.refund.is_none() && self.locktime.is_some_and(|locktime| locktime < now)
    }

    /// Whether a witness over `message` opens it at a time. Takes the signature checks that it makes from `budget`.
    fn holds(&self, witness: &Witness, message: &[u8; 32], now: u64, budget: &mut usize) -> Result<(), ConditionError> {
        if self.is_anybodys(now) {
            return Ok(());
        }
        let refund = self.refund.as_ref().filter(|_| self.locktime.is_some_and(|locktime| locktime < now));
        let opened = match (self.hash, &witness.preimage) {
            (None, _) => Ok(()),
            (Some(hash), Some(preimage)) if opens(preimage, &hash) => Ok(()),
            (Some(_), _) => Err(ConditionError::Preimage),
        };
        let main = match (opened, &self.main) {
            (Ok(()), Some(pathway)) => pathway.signed(witness, message, budget),
            (opened, _) => opened,
        };
        match (main, refund) {
            (Err(ConditionError::TooMany), _) | (Ok(()), _) | (Err(_), None) => main,
            (Err(_), Some(refund)) => refund.signed(witness, message, budget),
        }
    }
}

impl Pathway {
    /// `None` for no keys.
    fn new(keys: Vec<XOnlyPublicKey>, needed: Option<usize>) -> Result<Option<Self>, ConditionError> {
        let distinct: HashSet<[u8; 32]> = keys.iter().map(XOnlyPublicKey::to_byte_array).collect();
        let count = keys.len();
        if distinct.len() != count || needed.is_some_and(|needed| needed > count) {
            return Err(ConditionError::Malformed);
        }
        Ok((count > 0).then_some(Pathway { keys, needed: needed.unwrap_or(1) }))
    }

    /// Whether at least `needed` different keys have signed.
    fn signed(&self, witness: &Witness, message: &[u8; 32], budget: &mut usize) -> Result<(), ConditionError> {
        let mut waiting: Vec<&XOnlyPublicKey> = self.keys.iter().collect();
        let signed_before = waiting.len();
        for text in &witness.signatures {
            if signed_before - waiting.len() >= self.needed {
                break;
            }
            let mut bytes = [0; 64];
            if hex::decode_to_slice(text, &mut bytes).is_err() {
                return Err(ConditionError::Witness);
            }
            let signature = schnorr::Signature::from_byte_array(bytes);
            for place in 0..waiting.len() {
                *budget = budget.checked_sub(1).ok_or(ConditionError::TooMany)?;
                if schnorr::verify(&signature, message, waiting[place]).is_ok() {
                    waiting.swap_remove(place);
                    break;
                }
            }
        }
        let signed = signed_before - waiting.len();
        if signed >= self.needed { Ok(()) } else { Err(ConditionError::Signatures) }
    }
}

/// Whether the conditions of all inputs are met by a swap's `outputs`, or by a melt of `quote` with its blank outputs, at a time
/// (Unix seconds).
///
/// # Errors
/// The first condition that is not met.
pub fn check(
    inputs: &[Proof],
    outputs: &[BlindedMessage],
    quote: Option<&str>,
    now: u64,
) -> Result<(), ConditionError> {
    let conditions: Vec<Option<Condition>> =
        inputs.iter().map(|input| Condition::of(input.secret.as_str())).collect::<Result<_, _>>()?;
    let mut budget = SIGNATURE_CHECKS_MAX;
    if conditions.iter().flatten().any(|condition| condition.sig_all) {
        // All alike, so the first speaks for all; and its one message covers everything.
        let (first, Some(condition)) = (&inputs[0], &conditions[0]) else { return Err(ConditionError::NotAlike) };
        let same = body_of(first).ok_or(ConditionError::NotAlike)?;
        if !inputs.iter().all(|input| body_of(input).as_ref() == Some(&same)) {
            return Err(ConditionError::NotAlike);
        }
        let message = sig_all_message(inputs, outputs, quote);
        return condition.holds(&read_witness(first)?, &message, now, &mut budget);
    }
    for (input, condition) in inputs.iter().zip(conditions) {
        if let Some(condition) = condition {
            let message = Sha256::digest(input.secret.as_bytes()).into();
            condition.holds(&read_witness(input)?, &message, now, &mut budget)?;
        }
    }
    Ok(())
}

/// What `SIG_ALL` signs: SHA-256 over each input's secret and `C`, each output's amount and `B_`, and the quote of a melt (NUT-11).
pub fn sig_all_message(inputs: &[Proof], outputs: &[BlindedMessage], quote: Option<&str>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for input in inputs {
        hasher.update(input.secret.as_bytes());
        hasher.update(input.signature.to_string());
    }
    for output in outputs {
        hasher.update(format!("{}{}", output.amount, output.blinded));
    }
    hasher.update(quote.unwrap_or_default());
    hasher.finalize().into()
}

/// Adds a key's signature to every input, over its own secret (`SIG_INPUTS`). `aux` is fresh randomness.
///
/// # Errors
/// [`ConditionError::Witness`] when an input has a witness that can't be read.
pub fn sign_inputs(inputs: &mut [Proof], key: &SecretKey, aux: &[u8; 32]) -> Result<(), ConditionError> {
    for input in inputs {
        let message = Sha256::digest(input.secret.as_bytes()).into();
        add_signature(input, &message, key, aux)?;
    }
    Ok(())
}

/// Adds a key's signature over the whole swap or melt to the first input (`SIG_ALL`). `aux` is fresh randomness.
///
/// # Errors
/// [`ConditionError::Witness`] when the first input has a witness that can't be read, or there is no input.
pub fn sign_all(
    inputs: &mut [Proof],
    outputs: &[BlindedMessage],
    quote: Option<&str>,
    key: &SecretKey,
    aux: &[u8; 32],
) -> Result<(), ConditionError> {
    let message = sig_all_message(inputs, outputs, quote);
    add_signature(inputs.first_mut().ok_or(ConditionError::Witness)?, &message, key, aux)
}

fn add_signature(input: &mut Proof, message: &[u8; 32], key: &SecretKey, aux: &[u8; 32]) -> Result<(), ConditionError> {
    let mut witness = read_witness(input)?;
    let signature = schnorr::sign_with_aux_rand(message, &Keypair::from_secret_key(key), aux);
    witness.signatures.push(hex::encode(signature.to_byte_array()));
    input.witness = Some(serde_json::to_string(&witness).expect("a witness is plain data"));
    Ok(())
}

/// A secret locked to keys (NUT-11). The nonce is the caller's: it must be random, since it makes the token unique.
#[derive(Clone, Debug)]
pub struct LockBuilder {
    key: Point,
    more_keys: Vec<Point>,
    needed: Option<usize>,
    locktime: Option<u64>,
    refund: Vec<Point>,
    sig_all: bool,
}

impl LockBuilder {
    /// Locked to one key.
    pub fn new(key: Point) -> Self {
        LockBuilder { key, more_keys: Vec::new(), needed: None, locktime: None, refund: Vec::new(), sig_all: false }
    }

    /// Further keys, and how many of all must sign.
    pub fn any_of(mut self, more_keys: Vec<Point>, needed: usize) -> Self {
        (self.more_keys, self.needed) = (more_keys, Some(needed));
        self
    }

    /// Unix time after which one of the refund keys may spend too.
    pub fn refund_after(mut self, locktime: u64, refund: Vec<Point>) -> Self {
        (self.locktime, self.refund) = (Some(locktime), refund);
        self
    }

    /// Signatures cover all inputs and outputs: what is handed over is worth something to the receiver alone.
    pub fn sig_all(mut self) -> Self {
        self.sig_all = true;
        self
    }

    /// The same lock with each key blinded by the one-time key `e`, whose public key goes with the token (NUT-28). `e` is random,
    /// and used for one token only; for tokens that are signed together (`SIG_ALL`) it is the same.
    ///
    /// `None` when the lock has more keys than NUT-28 has slots, and where [`SharedSecret::blind`] has no answer.
    pub fn blinded(&self, e: &SecretKey) -> Option<Self> {
        let mut keys = [std::slice::from_ref(&self.key), &self.more_keys, &self.refund].concat();
        if keys.len() > SLOTS_MAX {
            return None;
        }
        for (slot, key) in (0..).zip(&mut keys) {
            *key = SharedSecret::new(key, e).blind(key, slot)?;
        }
        let refund = keys.split_off(1 + self.more_keys.len());
        let more_keys = keys.split_off(1);
        Some(LockBuilder { key: keys[0], more_keys, refund, ..self.clone() })
    }

    /// The secret's text.
    pub fn secret(&self, nonce: &[u8; 32]) -> String {
        let mut tags = Vec::new();
        let mut tag = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                tags.push([vec![name.to_owned()], values].concat());
            }
        };
        let keys = |keys: &[Point]| keys.iter().map(Point::to_string).collect();
        tag("pubkeys", keys(&self.more_keys));
        tag("n_sigs", self.needed.iter().map(ToString::to_string).collect());
        tag("locktime", self.locktime.iter().map(ToString::to_string).collect());
        tag("refund", keys(&self.refund));
        tag("sigflag", if self.sig_all { vec!["SIG_ALL".to_owned()] } else { Vec::new() });
        let body = Body { nonce: hex::encode(nonce), data: self.key.to_string(), tags };
        serde_json::to_string(&WellKnown("P2PK".into(), body)).expect("a secret is plain data")
    }
}

/// The secret that a payment request asks for (NUT-18 "Locking conditions"): its kind, data and tags, with the caller's nonce.
///
/// # Errors
/// [`ConditionError::Malformed`] for kinds that are not known here, which a mint would leave open to anybody, and for locks that
/// nobody could open.
pub fn asked_secret(asked: &Nut10Option, nonce: &[u8; 32]) -> Result<String, ConditionError> {
    let tags = asked.tags.clone().unwrap_or_default();
    let body = Body { nonce: hex::encode(nonce), data: asked.data.clone(), tags };
    let secret = serde_json::to_string(&WellKnown(asked.kind.clone(), body)).expect("a secret is plain data");
    Condition::of(&secret)?.map(|_| secret).ok_or(ConditionError::Malformed)
}

/// The keys of a secret's lock, each with its slot (NUT-28): `data` in slot 0, then `pubkeys`, then `refund`. An HTLC has its hash
/// in slot 0. Nothing for an ordinary secret.
///
/// # Errors
/// [`ConditionError::Malformed`].
pub fn slots(secret: &str) -> Result<Vec<(u8, Point)>, ConditionError> {
    let Some(kind) = kind_of(secret) else { return Ok(Vec::new()) };
    let WellKnown(_, body) = serde_json::from_str(secret).map_err(|_| ConditionError::Malformed)?;
    let tags = Tags::read(&body.tags)?;
    let more = [tags.values("pubkeys"), tags.values("refund")].concat();
    let (first, texts) = match kind {
        Kind::P2pk => (0, [vec![body.data], more].concat()),
        Kind::Htlc => (1, more),
    };
    let read = |text: &String| text.parse().map_err(|_| ConditionError::Malformed);
    (first..).zip(&texts).map(|(slot, text)| Ok((slot, read(text)?))).collect()
}

enum Kind {
    P2pk,
    Htlc,
}

/// The kind of a secret that names one of ours, by its first element alone: a body that can't be read is malformed, not ordinary.
fn kind_of(secret: &str) -> Option<Kind> {
    if !secret.trim_start().starts_with('[') {
        return None;
    }
    let parts: Vec<serde_json::Value> = serde_json::from_str(secret).ok()?;
    match parts.first()?.as_str()? {
        "P2PK" => Some(Kind::P2pk),
        "HTLC" => Some(Kind::Htlc),
        _ => None,
    }
}

/// Kind, data and tags of an input's secret: what `SIG_ALL` asks to be the same on all.
fn body_of(input: &Proof) -> Option<(String, String, Vec<Vec<String>>)> {
    let WellKnown(kind, body) = serde_json::from_str(input.secret.as_str()).ok()?;
    Some((kind, body.data, body.tags))
}

fn read_witness(input: &Proof) -> Result<Witness, ConditionError> {
    match &input.witness {
        None => Ok(Witness::default()),
        Some(text) if text.len() <= WITNESS_MAX_LEN => serde_json::from_str(text).map_err(|_| ConditionError::Witness),
        Some(_) => Err(ConditionError::Witness),
    }
}

/// The tags of a secret: each name once, all values non-empty.
struct Tags<'a>(&'a [Vec<String>]);

impl<'a> Tags<'a> {
    fn read(tags: &'a [Vec<String>]) -> Result<Self, ConditionError> {
        let mut names = HashSet::new();
        let proper = tags.iter().all(|tag| {
            tag.iter().all(|text| !text.is_empty()) && tag.first().is_some_and(|name| names.insert(name.as_str()))
        });
        if proper { Ok(Tags(tags)) } else { Err(ConditionError::Malformed) }
    }

    fn values(&self, name: &str) -> &'a [String] {
        self.0.iter().find(|tag| tag[0] == name).map_or(&[], |tag| &tag[1..])
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|tag| tag[0] == name)
    }

    fn one(&self, name: &str) -> Option<&'a str> {
        match self.values(name) {
            [value] => Some(value),
            _ => None,
        }
    }

    fn positive(&self, name: &str) -> Result<Option<usize>, ConditionError> {
        if !self.has(name) {
            return Ok(None);
        }
        let number = self.one(name).and_then(|text| text.parse().ok()).filter(|number| *number > 0);
        number.map(Some).ok_or(ConditionError::Malformed)
    }

    fn keys(&self, name: &str) -> Result<Vec<XOnlyPublicKey>, ConditionError> {
        self.values(name).iter().map(|text| read_key(text)).collect()
    }
}

fn read_key(text: &str) -> Result<XOnlyPublicKey, ConditionError> {
    let point: Point = text.parse().map_err(|_| ConditionError::Malformed)?;
    Ok(point.inner().x_only_public_key().0)
}

fn read_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// Whether SHA-256 of a preimage is this hash.
fn opens(preimage: &str, hash: &[u8; 32]) -> bool {
    read_hex(preimage).is_some_and(|preimage| Sha256::digest(preimage).as_slice() == hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::{Amount, KeysetId};

    const NOW: u64 = 1_000_000;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_secret_bytes([byte; 32]).unwrap()
    }

    fn public(byte: u8) -> Point {
        Point::of_secret(&key(byte))
    }

    fn input(secret: &str) -> Proof {
        Proof {
            amount: Amount::new(1),
            id: KeysetId::from_bytes(&[1; 33]).unwrap(),
            secret: Secret::new(secret.to_owned()).unwrap(),
            signature: public(9),
            witness: None,
            dleq: None,
            p2pk_e: None,
        }
    }

    fn locked(lock: &LockBuilder, nonce: u8) -> Proof {
        input(&lock.secret(&[nonce; 32]))
    }

    #[test]
    fn the_key_opens_and_no_other_does() {
        let mut proof = [locked(&LockBuilder::new(public(1)), 1)];
        assert_eq!(check(&proof, &[], None, NOW), Err(ConditionError::Signatures));
        sign_inputs(&mut proof, &key(2), &[0; 32]).unwrap();
        assert_eq!(check(&proof, &[], None, NOW), Err(ConditionError::Signatures));
        sign_inputs(&mut proof, &key(1), &[0; 32]).unwrap();
        assert_eq!(check(&proof, &[], None, NOW), Ok(()));
    }

    #[test]
    fn one_key_that_signs_twice_counts_once() {
        let mut proof = [locked(&LockBuilder::new(public(1)).any_of(vec![public(2), public(3)], 2), 1)];
        sign_inputs(&mut proof, &key(1), &[0; 32]).unwrap();
        sign_inputs(&mut proof, &key(1), &[1; 32]).unwrap();
        assert_eq!(check(&proof, &[], None, NOW), Err(ConditionError::Signatures));
        sign_inputs(&mut proof, &key(3), &[0; 32]).unwrap();
        assert_eq!(check(&proof, &[], None, NOW), Ok(()));
    }

    #[test]
    fn after_the_locktime_the_refund_key_opens_too() {
        let lock = LockBuilder::new(public(1)).refund_after(NOW, vec![public(2)]);
        let mut by_refund = [locked(&lock, 1)];
        sign_inputs(&mut by_refund, &key(2), &[0; 32]).unwrap();
        assert_eq!(check(&by_refund, &[], None, NOW), Err(ConditionError::Signatures));
        assert_eq!(check(&by_refund, &[], None, NOW + 1), Ok(()));
        let mut by_owner = [locked(&lock, 1)];
        sign_inputs(&mut by_owner, &key(1), &[0; 32]).unwrap();
        assert_eq!(check(&by_owner, &[], None, NOW + 1), Ok(()));
        let anybodys = [locked(&LockBuilder::new(public(1)).refund_after(NOW, Vec::new()), 1)];
        assert_eq!(check(&anybodys, &[], None, NOW), Err(ConditionError::Signatures));
        assert_eq!(check(&anybodys, &[], None, NOW + 1), Ok(()));
    }

    #[test]
    fn a_signature_over_everything_is_worth_nothing_to_others() {
        let lock = LockBuilder::new(public(1)).sig_all();
        let output = |byte| BlindedMessage {
            amount: Amount::new(2),
            id: KeysetId::from_bytes(&[1; 33]).unwrap(),
            blinded: public(byte),
        };
        let mut inputs = [locked(&lock, 1), locked(&lock, 2)];
        sign_all(&mut inputs, &[output(5)], None, &key(1), &[0; 32]).unwrap();
        assert_eq!(check(&inputs, &[output(5)], None, NOW), Ok(()));
        assert_eq!(check(&inputs, &[output(6)], None, NOW), Err(ConditionError::Signatures));
        assert_eq!(check(&inputs, &[output(5)], Some("quote"), NOW), Err(ConditionError::Signatures));
        assert_eq!(check(&inputs[..1], &[output(5)], None, NOW), Err(ConditionError::Signatures));
        let strangers = [inputs[0].clone(), input("an ordinary secret")];
        assert_eq!(check(&strangers, &[output(5)], None, NOW), Err(ConditionError::NotAlike));
        let strangers = [input("an ordinary secret"), inputs[0].clone()];
        assert_eq!(check(&strangers, &[output(5)], None, NOW), Err(ConditionError::NotAlike));
    }

    #[test]
    fn a_blinded_lock_opens_for_its_keys_and_shows_none_of_them() {
        let lock = LockBuilder::new(public(1)).any_of(vec![public(2)], 2).refund_after(NOW, vec![public(3)]);
        let blinded = lock.blinded(&key(7)).unwrap();
        let mut proof = [locked(&blinded, 1)];
        let secret = proof[0].secret.as_str().to_owned();
        for byte in 1..=3 {
            assert!(!secret.contains(&public(byte).to_string()[2..]), "key {byte} is shown");
        }
        let opened = |byte: u8| -> Vec<SecretKey> {
            let shared = SharedSecret::new(&public(7), &key(byte));
            slots(&secret).unwrap().iter().filter_map(|(slot, point)| shared.open(point, *slot, &key(byte))).collect()
        };
        assert_eq!([1, 2, 3, 4].map(|byte| opened(byte).len()), [1, 1, 1, 0]);
        sign_inputs(&mut proof, &opened(1)[0], &[0; 32]).unwrap();
        assert_eq!(check(&proof, &[], None, NOW), Err(ConditionError::Signatures), "one of two");
        sign_inputs(&mut proof, &key(2), &[0; 32]).unwrap();
        assert_eq!(check(&proof, &[], None, NOW), Err(ConditionError::Signatures), "the key itself opens nothing");
        sign_inputs(&mut proof, &opened(2)[0], &[0; 32]).unwrap();
        assert_eq!(check(&proof, &[], None, NOW), Ok(()));
        let mut refunded = [locked(&blinded, 1)];
        sign_inputs(&mut refunded, &opened(3)[0], &[0; 32]).unwrap();
        assert_eq!(check(&refunded, &[], None, NOW + 1), Ok(()));
        let crowd = LockBuilder::new(public(1)).any_of((2..13).map(public).collect(), 1);
        assert!(crowd.blinded(&key(7)).is_none(), "twelve keys");
    }

    #[test]
    fn an_asked_lock_is_made_as_asked_or_not_at_all() {
        let asked = |kind: &str, data: &str, tags: &[&[&str]]| Nut10Option {
            kind: kind.into(),
            data: data.into(),
            tags: Some(tags.iter().map(|tag| tag.iter().map(|text| (*text).to_owned()).collect()).collect()),
        };
        let (a, hash) = (public(1).to_string(), "00".repeat(32));
        let secret = asked_secret(&asked("P2PK", &a, &[&["locktime", "7"], &["other", "tag"]]), &[1; 32]).unwrap();
        assert!(secret.contains(&a) && secret.contains(r#"["other","tag"]"#), "{secret}");
        let open = Condition::of(&secret).unwrap().unwrap();
        assert_eq!((open.is_anybodys(7), open.is_anybodys(8)), (false, true));
        assert!(asked_secret(&asked("HTLC", &hash, &[&["pubkeys", &a]]), &[1; 32]).is_ok());
        for bad in [
            asked("OTHER", &a, &[]),
            asked("7", &a, &[]),
            asked("P2PK", "nonsense", &[]),
            asked("P2PK", &a, &[&["n_sigs", "2"]]),
            asked("HTLC", "a]00", &[]),
        ] {
            assert_eq!(asked_secret(&bad, &[1; 32]), Err(ConditionError::Malformed), "{bad:?}");
        }
        let places = |secret: &str| slots(secret).unwrap().iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
        let htlc = asked_secret(&asked("HTLC", &hash, &[&["refund", &a], &["pubkeys", &a]]), &[1; 32]).unwrap();
        assert_eq!((places(&htlc), places("an ordinary secret")), (vec![1, 2], vec![]));
    }

    #[test]
    fn what_is_malformed_can_never_be_spent() {
        let (a, b) = (public(1).to_string(), public(2).to_string());
        let twin = format!("03{}", &a[2..]);
        let body = |kind: &str, data: &str, tags: &str| {
            format!(r#"["{kind}",{{"nonce":"00","data":"{data}","tags":[{tags}]}}]"#)
        };
        for bad in [
            body("P2PK", "nonsense", ""),
            body("P2PK", &a, r#"["locktime",12]"#),
            body("P2PK", &a, r#"["n_sigs","0"]"#),
            body("P2PK", &a, r#"["n_sigs","2"]"#),
            body("P2PK", &a, r#"["n_sigs","x"]"#),
            body("P2PK", &a, r#"["n_sigs"]"#),
            body("P2PK", &a, r#"["sigflag","SIG_SOME"]"#),
            body("P2PK", &a, r#"["sigflag"]"#),
            body("P2PK", &a, r#"["locktime","1"],["locktime","2"]"#),
            body("P2PK", &a, r#"[]"#),
            body("P2PK", &a, r#"["x",""]"#),
            body("P2PK", &a, &format!(r#"["pubkeys","{a}"]"#)),
            body("P2PK", &a, &format!(r#"["pubkeys","{twin}"]"#)),
            body("P2PK", &a, &format!(r#"["refund","{b}","{b}"]"#)),
            body("P2PK", &a, &format!(r#"["refund","{b}"],["n_sigs_refund","2"]"#)),
            body("HTLC", "00", ""),
            body("HTLC", &"00".repeat(32), r#"["n_sigs","1"]"#),
            r#"["P2PK",7]"#.into(),
            r#"["HTLC"]"#.into(),
        ] {
            assert_eq!(check(&[input(&bad)], &[], None, NOW), Err(ConditionError::Malformed), "{bad}");
        }
        for ordinary in ["[", "[1]", r#"["OTHER",{}]"#, "{}", &"ab".repeat(32)] {
            assert_eq!(check(&[input(ordinary)], &[], None, NOW), Ok(()), "{ordinary}");
        }
        // Not a valid time: locked for ever, and the key still opens it.
        let mut forever = [input(&body("P2PK", &a, r#"["locktime","soon"]"#))];
        assert_eq!(check(&forever, &[], None, u64::MAX), Err(ConditionError::Signatures));
        sign_inputs(&mut forever, &key(1), &[0; 32]).unwrap();
        assert_eq!(check(&forever, &[], None, NOW), Ok(()));
    }

    #[test]
    fn a_request_can_not_buy_hours_of_checking() {
        let more: Vec<Point> = (2..12).map(public).collect();
        let lock = LockBuilder::new(public(1)).any_of(more, 11);
        let mut inputs: Vec<Proof> = (0..100).map(|nonce| locked(&lock, nonce)).collect();
        let wrong = Witness { preimage: None, signatures: vec!["00".repeat(64); 11] };
        for input in &mut inputs {
            input.witness = Some(serde_json::to_string(&wrong).unwrap());
        }
        let refused = check(&inputs, &[], None, NOW);
        assert!(matches!(refused, Err(ConditionError::Signatures | ConditionError::TooMany)), "{refused:?}");
        inputs[0].witness = Some("x".repeat(WITNESS_MAX_LEN + 1));
        assert_eq!(check(&inputs, &[], None, NOW), Err(ConditionError::Witness));
    }
}
