//! What is signed and encrypted as text: JOSE, SD-JWT and status lists, around published examples (the vectors of each crate).
//!
//! Behind each text is base64, where one changed letter shifts all that follows; so these targets also take what is inside and wrap it
//! themselves.

use std::sync::OnceLock;

use ciborium::Value as Cbor;
use es256::{AgreementKey, PublicKey};
use jose::jwe::Jwe;
use jose::{Header, JoseError, Jwk, Jws, base64url, json};
use sdjwt::{ClaimPath, SdJwt, TypeMetadata, verify_plain};
use serde_json::{Map, Value, json};
use statuslist::{LIST_MAX_LEN, Reference, StatusList, verify_cwt, verify_jwt};

/// No text begins with it: what follows are changes of a published example, whose number is next.
const CHANGES: u8 = 0xff;
/// Nor with this: what follows is wrapped.
const WRAPPED: u8 = 0xfd;
/// Changes of one input.
const CHANGES_MAX: usize = 4;

/// The example with changes: a place (two bytes), and what is xored in.
fn changed(examples: &[Vec<u8>], changes: &[u8]) -> Option<Vec<u8>> {
    let (number, changes) = changes.split_first()?;
    let mut example = examples.get(usize::from(*number))?.clone();
    for [high, low, value] in changes.as_chunks::<3>().0.iter().take(CHANGES_MAX) {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % example.len();
        example[place] ^= value;
    }
    Some(example)
}

/// Seeds that change an example here and there; only those that something takes.
fn changes(play: fn(&[u8]) -> bool, examples: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let change = |number: usize, place: usize| {
        let [high, low] = (place as u16).to_be_bytes();
        vec![CHANGES, number as u8, high, low, 1]
    };
    let numbered = examples.iter().enumerate();
    let all =
        numbered.flat_map(|(number, example)| (0..example.len()).step_by(97).map(move |place| change(number, place)));
    all.chain([vec![CHANGES, 0]]).filter(|seed| play(seed)).collect()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("a file of vectors")
}

fn text(value: &Value) -> Vec<u8> {
    value.as_str().expect("a text").as_bytes().to_vec()
}

fn key(jwk: &Value) -> PublicKey {
    let mut public = jwk.as_object().expect("a key").clone();
    public.remove("d");
    serde_json::from_value::<Jwk>(public.into()).expect("a key").public_key().expect("a point")
}

struct Jose {
    public: PublicKey,
    secret: AgreementKey,
    /// A signature, then encrypted texts.
    examples: Vec<Vec<u8>>,
    plaintext: Vec<u8>,
}

fn jose_examples() -> &'static Jose {
    static EXAMPLES: OnceLock<Jose> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let vectors = parsed(include_str!("../../crates/jose/tests/vectors/npm-jose.json"));
        let secret = base64url::decode(vectors["key"]["d"].as_str().expect("a secret")).expect("base64url");
        let encrypted = vectors["jwe"].as_array().expect("a list").iter().map(|jwe| text(&jwe["jwe"]));
        Jose {
            public: key(&vectors["key"]),
            secret: AgreementKey::from_secret(&secret).expect("a key"),
            examples: [text(&vectors["jws"])].into_iter().chain(encrypted).collect(),
            plaintext: text(&vectors["plaintext"]),
        }
    })
}

/// JSON, keys, headers, signed and encrypted texts.
///
/// Each byte string has one text. JSON is read as serde_json reads it, or refused. A header that is taken names the one algorithm and no
/// extension. A signature holds for the genuine text alone, and only genuine texts are decrypted.
pub fn jose(data: &[u8]) -> bool {
    let genuine = jose_examples();
    if let Some((&CHANGES, changes)) = data.split_first() {
        return changed(&genuine.examples, changes).is_some_and(|text| jose(&text));
    }
    let value = json::parse(data);
    if let Ok(value) = &value {
        assert_eq!(serde_json::from_slice::<Value>(data).ok().as_ref(), Some(value), "as serde_json reads it");
        return header(data, value);
    }
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut taken = false;
    if let Ok(bytes) = base64url::decode(text) {
        assert_eq!(base64url::encode(bytes), text, "one text");
        taken = true;
    }
    if let Ok(jws) = Jws::parse(text) {
        taken = true;
        if jws.verify(&genuine.public).is_ok() {
            let signed = |text: &[u8]| text.rsplitn(2, |b| *b == b'.').last().map(<[u8]>::to_vec);
            assert_eq!(signed(data), signed(&genuine.examples[0]), "what was signed, and nothing else");
        }
    }
    if let Ok(jwe) = Jwe::parse(text) {
        taken = true;
        if let Ok(plaintext) = jwe.decrypt(&genuine.secret) {
            assert_eq!(*plaintext, genuine.plaintext, "what was encrypted, and nothing else");
            assert!(genuine.examples.iter().any(|example| example == data), "as it was sent");
        }
    }
    taken
}

/// JSON as a key, and as the header of either text.
fn header(data: &[u8], value: &Value) -> bool {
    if let Ok(jwk) = serde_json::from_slice::<Jwk>(data) {
        let written = serde_json::to_vec(&jwk).expect("a key");
        assert_eq!(serde_json::from_slice::<Jwk>(&written).ok(), Some(jwk), "what is written is read again");
        assert!(value.get("d").is_none_or(Value::is_null), "no secret key");
    }
    let wrapped = base64url::encode(data);
    let signed = format!("{wrapped}.e30.{}", base64url::encode([0; 64]));
    match Jws::parse(&signed) {
        Ok(jws) => {
            assert!(value["alg"] == "ES256" && value.get("crit").is_none() && value.get("b64").is_none());
            let written = serde_json::to_vec(jws.header()).expect("a header");
            assert_eq!(serde_json::from_slice::<Header>(&written).ok().as_ref(), Some(jws.header()));
        }
        Err(error) => assert!(error != JoseError::Base64 && error != JoseError::Duplicate, "it was read before"),
    }
    let encrypted = format!("{wrapped}..{}.AA.{}", base64url::encode([0; 12]), base64url::encode([0; 16]));
    if Jwe::parse(&encrypted).is_ok() {
        assert!(value["alg"] == "ECDH-ES" && value.get("crit").is_none() && value.get("zip").is_none());
        assert!(value["enc"] == "A128GCM" || value["enc"] == "A256GCM");
    }
    true
}

/// The published texts, changes of them, their headers, and a key.
pub fn jose_seeds() -> Vec<Vec<u8>> {
    let examples = &jose_examples().examples;
    let header = |text: &Vec<u8>| {
        let header = text.split(|b| *b == b'.').next().and_then(|part| std::str::from_utf8(part).ok());
        base64url::decode(header.expect("a header")).expect("base64url")
    };
    let jwk = serde_json::to_vec(&Jwk::from(jose_examples().public)).expect("a key");
    let chain = br#"{"alg":"ES256","typ":"dc+sd-jwt","x5c":["AQIDBA=="],"crit":[]}"#.to_vec();
    // An extension in each, so that a rule left out is found at once.
    let extended = ["\"crit\":[\"b64\"]", "\"b64\":true", "\"zip\":\"DEF\""].into_iter().flat_map(|member| {
        let headers = examples.iter().map(header);
        headers.map(move |header| [format!("{{{member},").as_bytes(), &header[1..]].concat())
    });
    let headers: Vec<_> = examples.iter().map(header).chain([jwk, chain]).chain(extended).collect();
    [changes(jose, examples), examples.clone(), headers].concat()
}

struct Credentials {
    issuer: PublicKey,
    /// Issued texts.
    examples: Vec<Vec<u8>>,
    /// All that the issuer signed, by example.
    claims: Vec<Map<String, Value>>,
}

/// After the examples were issued, before they expire.
const NOW: u64 = 1_800_000_000;

fn credentials() -> &'static Credentials {
    static EXAMPLES: OnceLock<Credentials> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let vectors = parsed(include_str!("../../crates/sdjwt/tests/vectors/rfc9901.json"));
        let cases = vectors["cases"].as_array().expect("a list");
        let examples: Vec<_> = cases.iter().filter_map(|case| case.get("issuance")).map(text).collect();
        let claims = examples.iter().map(|example| {
            let held = SdJwt::parse(std::str::from_utf8(example).expect("a text")).expect("a credential");
            held.claims().clone()
        });
        Credentials { issuer: key(&vectors["issuer"]), claims: claims.collect(), examples }
    })
}

/// Whether all that is shown was signed: members and elements may be missing, and nothing else.
fn is_part(shown: &Value, whole: &Value) -> bool {
    match (shown, whole) {
        (Value::Object(shown), Value::Object(whole)) => {
            shown.iter().all(|(name, value)| whole.get(name).is_some_and(|whole| is_part(value, whole)))
        }
        (Value::Array(shown), Value::Array(whole)) => {
            let mut rest = whole.iter();
            shown.iter().all(|item| rest.any(|whole| is_part(item, whole)))
        }
        (shown, whole) => shown == whole,
    }
}

/// Whether a name of the mechanism is left somewhere.
fn has_rest(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, value)| ["_sd", "...", "_sd_alg"].contains(&name.as_str()) || has_rest(value))
        }
        Value::Array(items) => items.iter().any(has_rest),
        _ => false,
    }
}

/// Payload and disclosures as JSON, one a line, made into a text that nobody signed. `#` and a number within a payload or disclosure
/// stand for the digest of that later line, which nobody could guess.
fn unsigned(lines: &[u8]) -> Option<String> {
    const LINES_MAX: usize = 16;
    let lines: Vec<&str> = std::str::from_utf8(lines).ok()?.split('\n').take(LINES_MAX).collect();
    let mut encoded = vec![String::new(); lines.len()];
    let mut digests = vec![String::new(); lines.len()];
    for number in (0..lines.len()).rev() {
        let mut line = lines[number].to_owned();
        for (later, digest) in digests.iter().enumerate().skip(number + 1) {
            line = line.replace(&format!("\"#{later}\""), &format!("\"{digest}\""));
        }
        encoded[number] = base64url::encode(line);
        digests[number] = sdjwt_digest(&encoded[number]);
    }
    let header = base64url::encode(r#"{"alg":"ES256","typ":"dc+sd-jwt"}"#);
    let mut text = format!("{header}.{}.{}~", encoded[0], base64url::encode([0; 64]));
    for disclosure in &encoded[1..] {
        text.push_str(disclosure);
        text.push('~');
    }
    Some(text)
}

/// The digest of a disclosure (RFC 9901 section 4.2.3).
fn sdjwt_digest(disclosure: &str) -> String {
    let integrity = sdjwt::integrity(disclosure.as_bytes());
    let standard = integrity.strip_prefix("sha256-").expect("a hash");
    standard.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// Credentials, and documents of types.
///
/// What a holder reads has nothing of the mechanism in it, is put together again as the same text, and each claim can be shown alone.
/// What a verifier takes is a part of what was signed. A path is written and read again as the same.
pub fn sdjwt(data: &[u8]) -> bool {
    let genuine = credentials();
    let text = match data.split_first() {
        Some((&CHANGES, changes)) => changed(&genuine.examples, changes).and_then(|text| String::from_utf8(text).ok()),
        Some((&WRAPPED, lines)) => unsigned(lines),
        _ => std::str::from_utf8(data).ok().map(String::from),
    };
    let Some(text) = text else { return false };
    // Of what is wrapped, the JSON is read in any case.
    let mut taken = data
        .strip_prefix(&[WRAPPED])
        .is_some_and(|lines| lines.split(|b| *b == b'\n').all(|line| json::parse(line).is_ok()));
    if let Ok(verified) = verify_plain(&text, |_, _| Some(genuine.issuer), None, NOW) {
        let shown = Value::from(verified.claims);
        let whole = genuine.claims.iter().any(|whole| is_part(&shown, &Value::from(whole.clone())));
        assert!(whole, "what was signed, and nothing else");
        taken = true;
    }
    if let Ok(held) = SdJwt::parse(&text) {
        taken = true;
        let claims = Value::from(held.claims().clone());
        assert!(!has_rest(&claims), "claims alone");
        let paths: Vec<ClaimPath> = held.disclosable().collect();
        assert_eq!(held.present(&paths, None).as_deref(), Ok(text.as_str()), "all of it is the text again");
        let parts = paths.iter().map(std::slice::from_ref).chain([&[][..]]);
        for chosen in parts {
            let shown = held.present(chosen, None).expect("the paths are there");
            let shown = SdJwt::parse(&shown).expect("a part is whole");
            assert!(is_part(&Value::from(shown.claims().clone()), &claims));
            assert!(shown.disclosable().count() >= chosen.len(), "what was chosen is shown");
        }
    }
    if let Ok(path) = serde_json::from_str::<ClaimPath>(&text) {
        let written = serde_json::to_string(&path).expect("a path");
        assert_eq!(serde_json::from_str::<ClaimPath>(&written).ok(), Some(path));
        taken = true;
    }
    if let Ok(metadata) = TypeMetadata::parse(text.as_bytes()) {
        let written = serde_json::to_vec(&metadata).expect("a document");
        // Compared as JSON: a number in what is only carried may be written in another way.
        let again = TypeMetadata::parse(&written).map(|again| serde_json::to_vec(&again).expect("a document"));
        assert_eq!(again, Ok(written), "what is written is read again");
        taken = true;
    }
    taken
}

/// The published credentials, changes of them, unsigned ones of every form, a path, a document.
pub fn sdjwt_seeds() -> Vec<Vec<u8>> {
    let wrapped = [
        r##"{"_sd":["#1"],"_sd_alg":"sha-256"}"##.to_owned() + "\n" + r#"["s","name",{"a":[1,null]}]"#,
        r##"{"a":[{"...":"#1"},{"...":"decoy"},2]}"##.to_owned() + "\n" + r#"["s",["x"]]"#,
        r##"{"_sd":["#1","decoy"]}"##.to_owned() + "\n" + r##"["s","b",{"_sd":["#2"]}]"## + "\n" + r#"["s","c",1]"#,
        // What is refused, so that a rule left out is found at once.
        r#"{"a":{"_sd_alg":"sha-256"}}"#.to_owned(),
        r#"{"a":{"...":"d"}}"#.to_owned(),
        r##"{"_sd":["#1"]}"##.to_owned() + "\n" + r#"["s","_sd",["d"]]"#,
        r##"{"_sd":["#1"]}"##.to_owned() + "\n" + r#"["s","...","d"]"#,
    ];
    let wrapped = wrapped.iter().map(|lines| [&[WRAPPED][..], lines.as_bytes()].concat());
    let document = json!({
        "vct": "t", "display": [{"locale": "en", "name": "N", "rendering": {}}],
        "claims": [{"path": ["a", null, 0], "sd": "always", "mandatory": true, "display": [{"locale": "en", "label": "L"}]}]
    });
    let small = [document.to_string().into_bytes(), br#"["degrees",null,1,"type"]"#.to_vec()];
    let examples = &credentials().examples;
    wrapped.chain(small).chain(changes(sdjwt, examples)).chain(examples.clone()).collect()
}

struct Lists {
    key: PublicKey,
    /// A JWT and a CWT.
    examples: Vec<Vec<u8>>,
}

/// The URI of the examples, and a time after they were signed.
const LIST_URI: &str = "https://example.com/statuslists/1";
/// The list within.
const LIST: [u8; 2] = [0xb9, 0xa3];

fn lists() -> &'static Lists {
    static EXAMPLES: OnceLock<Lists> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let vectors = parsed(include_str!("../../crates/statuslist/tests/vectors/draft.json"));
        let cwt = vectors["cwt"].as_str().expect("hex");
        let cwt = (0..cwt.len()).step_by(2).map(|place| u8::from_str_radix(&cwt[place..place + 2], 16).expect("hex"));
        Lists { key: key(&vectors["key"]), examples: vec![text(&vectors["jwt"]), cwt.collect()] }
    })
}

/// Status lists, compressed and signed, and references to them.
///
/// What is decompressed is bounded, and is compressed and decompressed again as the same. A verifier takes the genuine list or none. A
/// reference is written and read again as the same, in both encodings.
pub fn statuslist(data: &[u8]) -> bool {
    let genuine = lists();
    if let Some((&CHANGES, changes)) = data.split_first() {
        return changed(&genuine.examples, changes).is_some_and(|token| statuslist(&token));
    }
    let mut taken = false;
    let trust = |_: &[Vec<u8>]| Some(genuine.key);
    if let Ok(token) = verify_cwt(data, LIST_URI, trust, NOW) {
        assert_eq!(token.list.as_bytes(), LIST, "what was signed, and nothing else");
        taken = true;
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(token) = verify_jwt(text, LIST_URI, trust, NOW) {
            assert_eq!(token.list.as_bytes(), LIST, "what was signed, and nothing else");
            taken = true;
        }
        if let Ok(reference) = serde_json::from_str::<Reference>(text) {
            let written = serde_json::to_string(&reference).expect("a reference");
            assert_eq!(serde_json::from_str(&written).ok().as_ref(), Some(&reference));
            assert_eq!(Reference::from_cbor(&reference.to_cbor()).as_ref(), Ok(&reference));
            taken = true;
        }
    }
    if let Ok(reference) =
        cose::decode(data).map_err(|_| ()).and_then(|status: Cbor| Reference::from_cbor(&status).map_err(|_| ()))
    {
        assert_eq!(Reference::from_cbor(&reference.to_cbor()), Ok(reference));
        taken = true;
    }
    if let Some((bits, compressed)) = data.split_first()
        && let Ok(list) = StatusList::decompress(*bits, compressed)
    {
        assert!(list.as_bytes().len() <= LIST_MAX_LEN, "bounded");
        let len = list.len() as u64;
        assert!(list.get(len).is_err() && (len == 0 || list.get(len - 1).is_ok()));
        let more = StatusList::decompress(*bits, &[compressed, &[0]].concat());
        assert!(more.is_err(), "one stream and nothing after it");
        // Long ones take too long at the highest level.
        if len < 1 << 16 {
            assert_eq!(StatusList::decompress(*bits, &list.compress()), Ok(list));
        }
        taken = true;
    }
    taken
}

/// The published tokens, changes of them, lists of each width, references.
pub fn statuslist_seeds() -> Vec<Vec<u8>> {
    let list = |bits: u8| {
        let list = StatusList::from_bytes(bits, vec![0xe4; 40]).expect("a list");
        [&[bits][..], &list.compress()].concat()
    };
    let reference = Reference { uri: LIST_URI.into(), idx: 412 };
    let written = [serde_json::to_vec(&reference).expect("a reference"), cose::encode(&reference.to_cbor())];
    let examples = &lists().examples;
    let seeds = [1, 2, 4, 8].map(list).into_iter().chain(written);
    seeds.chain(changes(statuslist, examples)).chain(examples.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the properties would hold for verifiers that take nothing.
    #[test]
    fn the_genuine_ones_are_taken() {
        let text = |example: &[u8]| String::from_utf8(example.to_vec()).unwrap();
        let signed = text(&jose_examples().examples[0]);
        Jws::parse(&signed).unwrap().verify(&jose_examples().public).unwrap();
        for encrypted in &jose_examples().examples[1..] {
            Jwe::parse(&text(encrypted)).unwrap().decrypt(&jose_examples().secret).unwrap();
        }
        for credential in &credentials().examples {
            verify_plain(&text(credential), |_, _| Some(credentials().issuer), None, NOW).unwrap();
        }
        let trust = |_: &[Vec<u8>]| Some(lists().key);
        verify_jwt(&text(&lists().examples[0]), LIST_URI, trust, NOW).unwrap();
        verify_cwt(&lists().examples[1], LIST_URI, trust, NOW).unwrap();
    }

    #[test]
    fn a_part_is_told_from_a_change() {
        let whole = json!({"a": [1, 2, {"b": 1, "c": 2}], "d": {"e": 1}});
        let parts = [json!({}), json!({"a": []}), json!({"a": [2, {"c": 2}], "d": {}}), whole.clone()];
        assert!(parts.iter().all(|part| is_part(part, &whole)));
        let changes =
            [json!({"x": 1}), json!({"a": [2, 1]}), json!({"a": [{"b": 2}]}), json!({"d": {"e": 2}}), json!(1)];
        assert!(!changes.iter().any(|change| is_part(change, &whole)));
    }
}
