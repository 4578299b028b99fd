//! Disclosures put back where their digests stand (RFC 9901 section 7.1, step 3): what holder and verifier both do.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::path::PathElement;
use crate::{ALWAYS_VISIBLE, DISCLOSURES_MAX, ELEMENT, SD, SD_ALG, SD_JWT_MAX_LEN, SHA_256, SdJwtError, digest};

/// The text taken apart.
pub(crate) struct Parts<'a> {
    /// The issuer's signature.
    pub jws: &'a str,
    pub disclosures: Vec<&'a str>,
    /// All up to the last tilde and with it, which a key binding covers.
    pub covered: &'a str,
    /// What follows the last tilde; empty without key binding.
    pub binding: &'a str,
}

impl<'a> Parts<'a> {
    pub fn split(text: &'a str) -> Result<Self, SdJwtError> {
        if text.len() > SD_JWT_MAX_LEN {
            return Err(SdJwtError::TooLarge);
        }
        let end = text.rfind('~').ok_or(SdJwtError::Malformed)?;
        let (covered, binding) = text.split_at(end + 1);
        let mut parts = covered[..end].split('~');
        let jws = parts.next().ok_or(SdJwtError::Malformed)?;
        let disclosures: Vec<&str> = parts.by_ref().take(DISCLOSURES_MAX).collect();
        if parts.next().is_some() {
            Err(SdJwtError::TooLarge)
        } else {
            Ok(Parts { jws, disclosures, covered, binding })
        }
    }
}

/// Where a disclosure was put: its number, and the path of its claim.
pub(crate) type Place = (usize, Vec<PathElement>);

enum Content {
    Member(String, Value),
    Element(Value),
}

fn read(disclosure: &str) -> Result<Content, SdJwtError> {
    let text = jose::base64url::decode(disclosure).map_err(|_| SdJwtError::Disclosure)?;
    let Ok(Value::Array(parts)) = jose::json::parse(&text) else { return Err(SdJwtError::Disclosure) };
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Value::String(_)), Some(Value::String(name)), Some(value), None) => Ok(Content::Member(name, value)),
        (Some(Value::String(_)), Some(value), None, None) => Ok(Content::Element(value)),
        _ => Err(SdJwtError::Disclosure),
    }
}

/// Puts all disclosures into a payload and takes the digests out. With `credential`, what a verifier judges by must not come from a
/// disclosure. With `places`, notes where each was put.
pub(crate) fn reveal(
    payload: &mut Map<String, Value>,
    disclosures: &[&str],
    credential: bool,
    places: Option<&mut Vec<Place>>,
) -> Result<(), SdJwtError> {
    match payload.remove(SD_ALG) {
        None => {}
        Some(Value::String(name)) if name == SHA_256 => {}
        Some(_) => return Err(SdJwtError::HashAlgorithm),
    }
    let mut by_digest = HashMap::with_capacity(disclosures.len());
    for (number, disclosure) in disclosures.iter().enumerate() {
        if by_digest.insert(digest(disclosure.as_bytes()), (number, read(disclosure)?)).is_some() {
            return Err(SdJwtError::DigestTwice);
        }
    }
    let mut walk = Walk { by_digest, seen: HashSet::new(), credential, places, path: Vec::new() };
    walk.object(payload, 0, false)?;
    if walk.by_digest.is_empty() { Ok(()) } else { Err(SdJwtError::Unreferenced) }
}

struct Walk<'a> {
    by_digest: HashMap<[u8; crate::DIGEST_LEN], (usize, Content)>,
    /// All digests so far, decoys too.
    seen: HashSet<String>,
    credential: bool,
    places: Option<&'a mut Vec<Place>>,
    /// Where the walk is; kept only for `places`.
    path: Vec<PathElement>,
}

impl Walk<'_> {
    fn enter(&mut self, element: impl FnOnce() -> PathElement) {
        if self.places.is_some() {
            self.path.push(element());
        }
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    /// The disclosure of a digest, if it was sent. `visible`: nothing may be disclosed here.
    fn take(&mut self, digest: String, visible: bool) -> Result<Option<(usize, Content)>, SdJwtError> {
        let found = digest.as_bytes().try_into().ok().and_then(|key: &[u8; _]| self.by_digest.remove(key));
        if !self.seen.insert(digest) {
            return Err(SdJwtError::DigestTwice);
        }
        if visible { Err(SdJwtError::MustBeVisible) } else { Ok(found) }
    }

    fn note(&mut self, number: usize) {
        if let Some(places) = &mut self.places {
            places.push((number, self.path.clone()));
        }
    }

    fn value(&mut self, value: &mut Value, depth: usize, visible: bool) -> Result<(), SdJwtError> {
        match value {
            Value::Object(members) => self.object(members, depth + 1, visible),
            Value::Array(items) => self.array(items, depth + 1, visible),
            _ => Ok(()),
        }
    }

    fn object(&mut self, members: &mut Map<String, Value>, depth: usize, visible: bool) -> Result<(), SdJwtError> {
        if depth >= jose::json::DEPTH_MAX {
            return Err(SdJwtError::TooLarge);
        }
        // In an array it would have been taken for a digest; `_sd_alg` is gone at the top.
        if members.contains_key(ELEMENT) || members.contains_key(SD_ALG) {
            return Err(SdJwtError::ReservedName);
        }
        let digests = members.remove(SD);
        let judged = |name: &str| visible || depth == 0 && self.credential && ALWAYS_VISIBLE.contains(&name);
        // Looked up before the walk goes on, which changes it.
        let judged: Vec<bool> = members.keys().map(|name| judged(name)).collect();
        for ((name, value), judged) in members.iter_mut().zip(judged) {
            self.enter(|| PathElement::Name(name.clone()));
            self.value(value, depth, judged)?;
            self.leave();
        }
        let digests = match digests {
            None => return Ok(()),
            Some(Value::Array(digests)) => digests,
            Some(_) => return Err(SdJwtError::Malformed),
        };
        for digest in digests {
            let Value::String(digest) = digest else { return Err(SdJwtError::Malformed) };
            let Some((number, content)) = self.take(digest, visible)? else { continue };
            let Content::Member(name, mut value) = content else { return Err(SdJwtError::Disclosure) };
            if [SD, ELEMENT, SD_ALG].contains(&name.as_str()) {
                return Err(SdJwtError::ReservedName);
            }
            if members.contains_key(&name) {
                return Err(SdJwtError::Clash);
            }
            if depth == 0 && self.credential && ALWAYS_VISIBLE.contains(&name.as_str()) {
                return Err(SdJwtError::MustBeVisible);
            }
            self.enter(|| PathElement::Name(name.clone()));
            self.note(number);
            self.value(&mut value, depth, visible)?;
            self.leave();
            members.insert(name, value);
        }
        Ok(())
    }

    fn array(&mut self, items: &mut Vec<Value>, depth: usize, visible: bool) -> Result<(), SdJwtError> {
        if depth >= jose::json::DEPTH_MAX {
            return Err(SdJwtError::TooLarge);
        }
        let mut kept = Vec::with_capacity(items.len());
        for mut item in items.drain(..) {
            let place = kept.len();
            self.enter(|| PathElement::Index(place));
            if let Some(digest) = digest_of_element(&mut item)? {
                if let Some((number, content)) = self.take(digest, visible)? {
                    let Content::Element(mut value) = content else { return Err(SdJwtError::Disclosure) };
                    self.note(number);
                    self.value(&mut value, depth, visible)?;
                    kept.push(value);
                }
            } else {
                self.value(&mut item, depth, visible)?;
                kept.push(item);
            }
            self.leave();
        }
        *items = kept;
        Ok(())
    }
}

/// The digest of `{"...": digest}`; none for any other value.
fn digest_of_element(item: &mut Value) -> Result<Option<String>, SdJwtError> {
    let Value::Object(members) = item else { return Ok(None) };
    match members.remove(ELEMENT) {
        None => Ok(None),
        Some(Value::String(digest)) if members.is_empty() => Ok(Some(digest)),
        Some(_) => Err(SdJwtError::Malformed),
    }
}
