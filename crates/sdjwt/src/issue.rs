use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use es256::Signer;
use jose::{Header, JoseError, Jwk};
use rand::CryptoRng;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::path::{ClaimPath, PathElement};
use crate::{
    ALWAYS_VISIBLE, DIGEST_LEN, DISCLOSURES_MAX, ELEMENT, SD, SD_ALG, SD_JWT_MAX_LEN, SHA_256, SdJwtError, TYP, digest,
};

/// Bytes of a salt (RFC 9901 section 4.2.1 recommends 128 bits).
const SALT_LEN: usize = 16;
/// Claims with a member of their own in [`Issuing`].
const OWN_MEMBERS: [&str; 7] = ["vct", "iss", "iat", "nbf", "exp", "cnf", "status"];

/// What is issued.
#[derive(Clone, Copy, Debug)]
pub struct Issuing<'a> {
    /// The type of the credential.
    pub vct: &'a str,
    /// The issuer; may be left out when a certificate names it.
    pub iss: Option<&'a str>,
    /// Issued at, seconds since 1970. Coarse times, so that they don't single anyone out.
    pub iat: Option<u64>,
    /// Valid from.
    pub nbf: Option<u64>,
    /// Valid before.
    pub exp: Option<u64>,
    /// The holder's key.
    pub cnf: Option<&'a Jwk>,
    /// Where the status is.
    pub status: Option<&'a Value>,
    /// All other claims.
    pub claims: &'a Map<String, Value>,
    /// Which of them the holder shows one by one: members of objects, elements of arrays, also within each other. The rest is visible
    /// always.
    pub disclosable: &'a [ClaimPath],
    /// Digests of nothing among the claims at the top, so that their number does not tell how many there are.
    pub decoys: usize,
}

impl<'a> Issuing<'a> {
    /// Claims of a type that are all visible, and nothing else.
    pub fn new(vct: &'a str, claims: &'a Map<String, Value>) -> Self {
        Issuing {
            vct,
            iss: None,
            iat: None,
            nbf: None,
            exp: None,
            cnf: None,
            status: None,
            claims,
            disclosable: &[],
            decoys: 0,
        }
    }
}

/// Issues a credential: the signed part and all disclosures, for the holder. `x5c` is the certificate chain, the signer's first, none
/// for an issuer whose key is found by its name.
///
/// # Errors
/// When a claim has a reserved name, must be visible always and is to be disclosable, or is nested too deeply; when a path selects
/// nothing (a misspelt one would leave a claim visible); when the result is longer than is read; when the key can't sign.
pub fn issue(
    issuing: &Issuing<'_>,
    signer: &dyn Signer,
    x5c: &[Vec<u8>],
    rng: &mut impl CryptoRng,
) -> Result<String, SdJwtError> {
    if issuing.claims.keys().any(|name| OWN_MEMBERS.contains(&name.as_str())) {
        return Err(SdJwtError::ReservedName);
    }
    if issuing.decoys + issuing.disclosable.len() > DISCLOSURES_MAX {
        return Err(SdJwtError::TooLarge);
    }
    check_names(issuing.claims, 1)?;
    let mut paths = Vec::with_capacity(issuing.disclosable.len());
    for (number, path) in issuing.disclosable.iter().enumerate() {
        match path.0.first() {
            Some(PathElement::Name(name)) if ALWAYS_VISIBLE.contains(&name.as_str()) => {
                return Err(SdJwtError::MustBeVisible);
            }
            Some(_) => paths.push(Path { number, rest: &path.0 }),
            None => return Err(SdJwtError::NoSuchClaim),
        }
    }
    let mut writer = Writer { rng, disclosures: String::new(), count: 0, used: vec![false; paths.len()] };
    let payload = writer.payload(issuing, &paths)?;
    if writer.used.contains(&false) {
        return Err(SdJwtError::NoSuchClaim);
    }
    if writer.count > DISCLOSURES_MAX {
        return Err(SdJwtError::TooLarge);
    }
    let header = Header { x5c: x5c.to_vec(), ..Header::es256(TYP) };
    let mut text = jose::sign_bytes(&header, &payload, signer)?;
    if text.len() > jose::TOKEN_MAX_LEN || text.len() + 1 + writer.disclosures.len() > SD_JWT_MAX_LEN {
        return Err(SdJwtError::TooLarge);
    }
    text.reserve_exact(1 + writer.disclosures.len());
    text.push('~');
    text.push_str(&writer.disclosures);
    Ok(text)
}

fn check_names(members: &Map<String, Value>, depth: usize) -> Result<(), SdJwtError> {
    if [SD, ELEMENT, SD_ALG].iter().any(|name| members.contains_key(*name)) {
        return Err(SdJwtError::ReservedName);
    }
    members.values().try_for_each(|value| check_names_within(value, depth))
}

fn check_names_within(value: &Value, depth: usize) -> Result<(), SdJwtError> {
    // A disclosure puts its value into an array, one deeper.
    if depth + 1 > jose::json::DEPTH_MAX {
        return Err(SdJwtError::TooLarge);
    }
    match value {
        Value::Object(members) => check_names(members, depth + 1),
        Value::Array(items) => items.iter().try_for_each(|item| check_names_within(item, depth + 1)),
        _ => Ok(()),
    }
}

/// What is left of a path on the way down, and which one it is.
#[derive(Clone, Copy)]
struct Path<'a> {
    number: usize,
    rest: &'a [PathElement],
}

/// Writes the payload as JSON directly, and the disclosures as they come up.
struct Writer<'r, R> {
    rng: &'r mut R,
    /// Each followed by a tilde.
    disclosures: String,
    count: usize,
    /// Which paths selected something.
    used: Vec<bool>,
}

impl<R: CryptoRng> Writer<'_, R> {
    fn payload(&mut self, issuing: &Issuing<'_>, paths: &[Path<'_>]) -> Result<Vec<u8>, SdJwtError> {
        #[derive(Serialize)]
        struct Confirmation<'a> {
            jwk: &'a Jwk,
        }
        let mut out = Vec::with_capacity(1024);
        out.push(b'{');
        member(&mut out, "vct", issuing.vct)?;
        if let Some(iss) = issuing.iss {
            member(&mut out, "iss", iss)?;
        }
        for (name, time) in [("iat", issuing.iat), ("nbf", issuing.nbf), ("exp", issuing.exp)] {
            if let Some(time) = time {
                member(&mut out, name, &time)?;
            }
        }
        if let Some(jwk) = issuing.cnf {
            member(&mut out, "cnf", &Confirmation { jwk })?;
        }
        if let Some(status) = issuing.status {
            member(&mut out, "status", status)?;
        }
        let mut digests = self.members(&mut out, issuing.claims, paths)?;
        if self.count > 0 {
            for _ in 0..issuing.decoys {
                let mut random = [0; 32];
                self.rng.fill_bytes(&mut random);
                digests.push(digest(&random));
            }
            member(&mut out, SD_ALG, SHA_256)?;
        }
        write_digests(&mut out, digests)?;
        out.push(b'}');
        Ok(out)
    }

    /// Writes the members that are visible, and gives the digests of the others.
    fn members(
        &mut self,
        out: &mut Vec<u8>,
        members: &Map<String, Value>,
        paths: &[Path<'_>],
    ) -> Result<Vec<[u8; DIGEST_LEN]>, SdJwtError> {
        let mut digests = Vec::new();
        for (name, value) in members {
            let step = |element: &PathElement| matches!(element, PathElement::Name(step) if step == name);
            let (disclosable, below) = self.follow(paths, step);
            if disclosable {
                digests.push(self.disclose(Some(name), value, &below)?);
            } else {
                begin(out, name)?;
                self.value(out, value, &below)?;
            }
        }
        Ok(digests)
    }

    /// The paths that go on beyond a step, and whether one ends there.
    fn follow<'a>(&mut self, paths: &[Path<'a>], step: impl Fn(&PathElement) -> bool) -> (bool, Vec<Path<'a>>) {
        let (mut ends, mut below) = (false, Vec::new());
        for path in paths {
            match path.rest.split_first() {
                Some((element, rest)) if step(element) => {
                    if rest.is_empty() {
                        ends = true;
                        self.used[path.number] = true;
                    } else {
                        below.push(Path { rest, ..*path });
                    }
                }
                _ => {}
            }
        }
        (ends, below)
    }

    fn value(&mut self, out: &mut Vec<u8>, value: &Value, paths: &[Path<'_>]) -> Result<(), SdJwtError> {
        match value {
            Value::Object(members) if !paths.is_empty() => {
                out.push(b'{');
                let digests = self.members(out, members, paths)?;
                write_digests(out, digests)?;
                out.push(b'}');
                Ok(())
            }
            Value::Array(items) if !paths.is_empty() => {
                out.push(b'[');
                // `null` selects all elements, also when there are none.
                let all = paths.iter().filter(|path| items.is_empty() && path.rest == [PathElement::All]);
                all.for_each(|path| self.used[path.number] = true);
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    let (disclosable, below) = self.follow(paths, |element| element.meets(&PathElement::Index(index)));
                    if disclosable {
                        let digest = self.disclose(None, item, &below)?;
                        out.extend_from_slice(br#"{"...":""#);
                        out.extend_from_slice(&digest);
                        out.extend_from_slice(br#""}"#);
                    } else {
                        self.value(out, item, &below)?;
                    }
                }
                out.push(b']');
                Ok(())
            }
            _ => write(out, value),
        }
    }

    /// Adds a disclosure (RFC 9901 sections 4.2.1 and 4.2.2), and gives its digest.
    fn disclose(
        &mut self,
        name: Option<&str>,
        value: &Value,
        paths: &[Path<'_>],
    ) -> Result<[u8; DIGEST_LEN], SdJwtError> {
        let mut salt = [0; SALT_LEN];
        self.rng.fill_bytes(&mut salt);
        let mut text = Vec::with_capacity(128);
        text.push(b'[');
        write(&mut text, &URL_SAFE_NO_PAD.encode(salt))?;
        if let Some(name) = name {
            text.push(b',');
            write(&mut text, name)?;
        }
        text.push(b',');
        self.value(&mut text, value, paths)?;
        text.push(b']');
        let start = self.disclosures.len();
        URL_SAFE_NO_PAD.encode_string(&text, &mut self.disclosures);
        let digest = digest(&self.disclosures.as_bytes()[start..]);
        self.disclosures.push('~');
        self.count += 1;
        Ok(digest)
    }
}

fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), SdJwtError> {
    serde_json::to_writer(out, value).map_err(|_| SdJwtError::Jose(JoseError::Malformed))
}

/// Begins a member: a comma unless it is the first, the name, a colon.
fn begin(out: &mut Vec<u8>, name: &str) -> Result<(), SdJwtError> {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write(out, name)?;
    out.push(b':');
    Ok(())
}

fn member(out: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), SdJwtError> {
    begin(out, name)?;
    write(out, value)
}

/// `_sd`, sorted: the order of claims would tell which are there (RFC 9901 section 4.2.4.1).
fn write_digests(out: &mut Vec<u8>, mut digests: Vec<[u8; DIGEST_LEN]>) -> Result<(), SdJwtError> {
    if digests.is_empty() {
        return Ok(());
    }
    digests.sort_unstable();
    begin(out, SD)?;
    let mut next = b'[';
    for digest in digests {
        out.extend_from_slice(&[next, b'"']);
        out.extend_from_slice(&digest);
        out.push(b'"');
        next = b',';
    }
    out.push(b']');
    Ok(())
}
