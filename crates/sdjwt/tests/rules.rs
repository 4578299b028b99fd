//! Each rule of RFC 9901 section 7 and of SD-JWT VC, broken in a text that is signed well, so that nothing but its rule refuses it.

use es256::{PublicKey, Signer, SigningKey};
use jose::{Header, JoseError, Jwk, base64url};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sdjwt::{
    ClaimPath, ExpectedBinding, Issuing, KeyBinding, SdJwt, SdJwtError, TYP, Verified, issue, verify, verify_plain,
};
use serde_json::{Map, Value, json};

const NOW: u64 = 1_800_000_000;
const SEED: u64 = 7;

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn path(value: Value) -> ClaimPath {
    serde_json::from_value(value).unwrap()
}

fn disclosure(content: Value) -> (String, String) {
    let text = base64url::encode(content.to_string());
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    (text, base64url::encode(hash))
}

/// Signs a payload and appends disclosures; verified as a credential, and as any SD-JWT when `plain`.
fn play_as(plain: bool, payload: &Value, disclosures: &[&str]) -> Result<Verified, SdJwtError> {
    let key = key();
    let mut text = jose::sign(&Header::es256(TYP), payload, &key).unwrap() + "~";
    for disclosure in disclosures {
        text += disclosure;
        text += "~";
    }
    let issuer = |_: &Header, _: Option<&str>| Some(*key.public_key());
    let held = SdJwt::parse(&text).map(|held| held.claims().clone());
    let verified = if plain { verify_plain(&text, issuer, None, NOW) } else { verify(&text, issuer, None, NOW) };
    // The holder sees what the verifier sees, when it is about disclosures.
    if plain {
        assert_eq!(verified.as_ref().map(|verified| &verified.claims).ok(), held.as_ref().ok());
    }
    verified
}

fn play(payload: Value, disclosures: &[&str]) -> Result<Verified, SdJwtError> {
    play_as(true, &payload, disclosures)
}

#[test]
fn disclosures_are_put_where_their_digests_stand() {
    let (inner, inner_digest) = disclosure(json!(["s", "street", "Main"]));
    let (outer, outer_digest) = disclosure(json!(["s", "address", {"_sd": [inner_digest], "city": "X"}]));
    let (item, item_digest) = disclosure(json!(["s", {"a": [1]}]));
    let decoy = base64url::encode([1; 32]);
    let payload = json!({
        "_sd_alg": "sha-256",
        "_sd": [outer_digest, decoy],
        "list": [1, {"...": item_digest}, {"...": base64url::encode([2; 32])}, 2],
        "empty": {"_sd": []}
    });
    let claims = play(payload.clone(), &[&item, &inner, &outer]).unwrap().claims;
    let expected = json!({"address": {"street": "Main", "city": "X"}, "list": [1, {"a": [1]}, 2], "empty": {}});
    assert_eq!(Value::from(claims), expected);
    let claims = play(payload.clone(), &[&outer]).unwrap().claims;
    assert_eq!(Value::from(claims), json!({"address": {"city": "X"}, "list": [1, 2], "empty": {}}));
    assert_eq!(play(payload, &[&inner]), Err(SdJwtError::Unreferenced), "its parent is not there");
}

#[test]
fn malformed_disclosures_and_digests_are_refused() {
    let (name, digest) = disclosure(json!(["s", "name", 1]));
    let (element, element_digest) = disclosure(json!(["s", 1]));
    let (stray, _) = disclosure(json!(["s", "stray", 1]));
    let refused = |payload, disclosures: &[&str], error| {
        assert_eq!(play_as(true, &payload, disclosures), Err(error), "{payload}");
    };
    assert!(play(json!({"_sd": [digest]}), &[&name]).is_ok());
    assert!(play(json!({"a": [{"...": element_digest}]}), &[&element]).is_ok());
    refused(json!({"_sd": [digest]}), &[&name, &stray], SdJwtError::Unreferenced);
    refused(json!({"_sd": [digest]}), &[&name, &name], SdJwtError::DigestTwice);
    refused(json!({"_sd": [digest, digest]}), &[&name], SdJwtError::DigestTwice);
    refused(json!({"_sd": [digest], "a": {"_sd": [digest]}}), &[&name], SdJwtError::DigestTwice);
    refused(json!({"_sd": ["decoy"], "a": [{"...": "decoy"}]}), &[], SdJwtError::DigestTwice);
    refused(json!({"_sd": [digest], "name": 2}), &[&name], SdJwtError::Clash);
    refused(json!({"a": [{"...": digest}]}), &[&name], SdJwtError::Disclosure);
    refused(json!({"_sd": [element_digest]}), &[&element], SdJwtError::Disclosure);
    refused(json!({"_sd": digest}), &[&name], SdJwtError::Malformed);
    refused(json!({"_sd": [1]}), &[], SdJwtError::Malformed);
    refused(json!({"_sd": [digest], "_sd_alg": "sha-512"}), &[&name], SdJwtError::HashAlgorithm);
    refused(json!({"_sd": [digest], "_sd_alg": null}), &[&name], SdJwtError::HashAlgorithm);
    refused(json!({"a": [{"...": element_digest, "b": 1}]}), &[&element], SdJwtError::Malformed);
    refused(json!({"a": [{"...": 1}]}), &[], SdJwtError::Malformed);
    refused(json!({"...": "x"}), &[], SdJwtError::ReservedName);
    refused(json!({"a": {"...": "x"}}), &[], SdJwtError::ReservedName);
    refused(json!({"a": {"_sd_alg": "sha-256"}}), &[], SdJwtError::ReservedName);
    for reserved in ["_sd", "...", "_sd_alg"] {
        let (text, digest) = disclosure(json!(["s", reserved, ["x"]]));
        refused(json!({"_sd": [digest]}), &[&text], SdJwtError::ReservedName);
    }
    // A value that brings the digest of its own parent's sibling, or a name twice.
    let (text, twice) = disclosure(json!(["s", "b", {"_sd": [digest]}]));
    refused(json!({"_sd": [digest, twice]}), &[&name, &text], SdJwtError::DigestTwice);
    for content in
        [json!([]), json!(["s"]), json!(["s", "a", 1, 2]), json!([1, "a", 1]), json!(["s", 1, 1]), json!({"s": 1})]
    {
        let (text, digest) = disclosure(content);
        refused(json!({"_sd": [digest]}), &[&text], SdJwtError::Disclosure);
    }
    for text in ["", "=", "eyI", &format!("{name}=")] {
        refused(json!({"_sd": [digest]}), &[text], SdJwtError::Disclosure);
    }
    let twice = base64url::encode(r#"["s","a",{"b":1,"b":2}]"#);
    refused(json!({"_sd": ["x"]}), &[&twice], SdJwtError::Disclosure);
}

#[test]
fn nesting_is_bounded_over_all_disclosures_together() {
    let nested = |depth: usize| {
        let mut disclosures = Vec::new();
        let (text, mut digest) = disclosure(json!(["s", "a", 1]));
        disclosures.push(text);
        for _ in 1..depth {
            let (text, next) = disclosure(json!(["s", "a", {"_sd": [digest]}]));
            disclosures.push(text);
            digest = next;
        }
        let disclosures: Vec<&str> = disclosures.iter().map(String::as_str).collect();
        play(json!({"_sd": [digest]}), &disclosures)
    };
    assert!(nested(jose::json::DEPTH_MAX).is_ok());
    assert_eq!(nested(jose::json::DEPTH_MAX + 1), Err(SdJwtError::TooLarge));
}

#[test]
fn sizes_are_bounded() {
    let issuer = |_: &Header, _: Option<&str>| -> Option<PublicKey> { unreachable!("too long to be looked at") };
    let long = "~".repeat(sdjwt::SD_JWT_MAX_LEN + 1);
    assert_eq!(verify(&long, issuer, None, NOW), Err(SdJwtError::TooLarge));
    assert_eq!(verify(&long[1..], issuer, None, NOW), Err(SdJwtError::TooLarge), "too many disclosures");
    assert_eq!(verify("a.b.c", issuer, None, NOW), Err(SdJwtError::Malformed));
    assert_eq!(verify("", issuer, None, NOW), Err(SdJwtError::Malformed));
}

#[test]
fn what_a_verifier_judges_by_is_never_disclosed_selectively() {
    let (text, digest) = disclosure(json!(["s", "sub", "me"]));
    assert!(play_as(false, &json!({"vct": "t", "_sd": [digest]}), &[&text]).is_ok());
    for name in ["iss", "nbf", "exp", "cnf", "vct#integrity", "aka_vcts", "status"] {
        let (text, digest) = disclosure(json!(["s", name, 1]));
        let payload = json!({"vct": "t", "_sd": [digest]});
        assert_eq!(play_as(false, &payload, &[&text]), Err(SdJwtError::MustBeVisible), "{name}");
    }
    let (text, digest) = disclosure(json!(["s", "uri", "x"]));
    let payload = json!({"vct": "t", "status": {"status_list": {"_sd": [digest]}}});
    assert_eq!(play_as(false, &payload, &[&text]), Err(SdJwtError::MustBeVisible));
    assert_eq!(play_as(false, &payload, &[]), Err(SdJwtError::MustBeVisible), "not disclosed, so unknown");
    assert!(play(payload, &[&text]).is_ok());
    assert_eq!(play_as(false, &json!({"a": 1}), &[]), Err(SdJwtError::Type));
    assert_eq!(play_as(false, &json!({"vct": 1}), &[]), Err(SdJwtError::Type));
}

#[test]
fn times_are_kept() {
    let at = |payload: Value| play_as(false, &payload, &[]).map(|verified| verified.validity);
    let validity = at(json!({"vct": "t", "iat": 1, "nbf": NOW, "exp": NOW + 1})).unwrap();
    assert_eq!((validity.issued_at, validity.not_before, validity.expires_at), (Some(1), Some(NOW), Some(NOW + 1)));
    assert_eq!(at(json!({"vct": "t", "exp": NOW})), Err(SdJwtError::Expired));
    assert_eq!(at(json!({"vct": "t", "exp": NOW as f64 + 0.5})), Err(SdJwtError::Expired));
    assert_eq!(at(json!({"vct": "t", "exp": -1})), Err(SdJwtError::Expired));
    assert_eq!(at(json!({"vct": "t", "nbf": NOW + 1})), Err(SdJwtError::NotYetValid));
    assert_eq!(at(json!({"vct": "t", "nbf": NOW as f64 + 0.5})), Err(SdJwtError::NotYetValid));
    assert_eq!(at(json!({"vct": "t", "exp": "never"})), Err(SdJwtError::Malformed));
    assert_eq!(at(json!({"vct": "t", "iss": 1})), Err(SdJwtError::Malformed));
}

fn person() -> Map<String, Value> {
    object(json!({
        "given_name": "Adaline",
        "address": {"street": "Main", "city": "X"},
        "nationalities": ["DE", "FR"],
        "phones": [],
        "level": "high"
    }))
}

fn disclosable() -> Vec<ClaimPath> {
    let paths =
        [json!(["given_name"]), json!(["address"]), json!(["address", "street"]), json!(["nationalities", null])];
    paths.into_iter().chain([json!(["phones", null])]).map(path).collect()
}

#[test]
fn what_is_issued_is_read_shown_in_part_and_verified() {
    let (issuer, holder) = (key(), key());
    let (claims, disclosable, cnf) = (person(), disclosable(), Jwk::from(*holder.public_key()));
    let status = json!({"status_list": {"idx": 1, "uri": "https://a"}});
    let issuing = Issuing {
        iss: Some("https://issuer"),
        iat: Some(NOW - 10),
        exp: Some(NOW + 10),
        cnf: Some(&cnf),
        status: Some(&status),
        disclosable: &disclosable,
        decoys: 3,
        ..Issuing::new("urn:habeas:person", &claims)
    };
    let mut rng = StdRng::seed_from_u64(SEED);
    let text = issue(&issuing, &issuer, &[vec![1, 2], vec![3]], &mut rng).unwrap();
    let held = SdJwt::parse(&text).unwrap();
    assert_eq!(held.header().x5c, [vec![1, 2], vec![3]]);
    held.verify(issuer.public_key()).unwrap();
    for (name, value) in &claims {
        assert_eq!(held.claims().get(name), Some(value));
    }
    // Nothing that can be hidden is in the signed part; digests are sorted, two of claims and three of nothing.
    let payload = base64url::decode(text.split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    for hidden in ["Adaline", "address", "Main", "DE", "FR"] {
        assert!(!payload.to_string().contains(&format!("\"{hidden}\"")), "{hidden}");
    }
    let digests = payload["_sd"].as_array().unwrap();
    assert_eq!(digests.len(), 5);
    assert!(digests.is_sorted_by_key(|digest| digest.as_str()));
    // The same again has other salts, and the same seed the same.
    assert_ne!(issue(&issuing, &issuer, &[], &mut rng).unwrap().split('~').nth(1), text.split('~').nth(1));
    let again = issue(&issuing, &issuer, &[], &mut StdRng::seed_from_u64(SEED)).unwrap();
    assert_eq!(again.split('~').nth(1), text.split('~').nth(1));

    let binding = KeyBinding { aud: "https://clinic", nonce: "n", iat: NOW, key: &holder };
    let show = |paths: &[Value]| {
        let paths: Vec<ClaimPath> = paths.iter().cloned().map(path).collect();
        let shown = held.present(&paths, Some(binding))?;
        let expected = ExpectedBinding { aud: "https://clinic", nonce: "n", iat_window: 60 };
        let key = |header: &Header, iss: Option<&str>| {
            assert_eq!((header.x5c.len(), iss), (2, Some("https://issuer")));
            Some(*issuer.public_key())
        };
        verify(&shown, key, Some(&expected), NOW)
    };
    let base = |more: Value| {
        let mut all = json!({
            "vct": "urn:habeas:person", "iss": "https://issuer", "iat": NOW - 10, "exp": NOW + 10,
            "cnf": {"jwk": cnf}, "status": status, "nationalities": [], "phones": [], "level": "high"
        });
        all.as_object_mut().unwrap().extend(object(more));
        object(all)
    };
    let verified = show(&[]).unwrap();
    assert_eq!(verified.claims, base(json!({})));
    assert_eq!((verified.vct(), verified.iss()), ("urn:habeas:person", Some("https://issuer")));
    assert_eq!((verified.status(), verified.bound), (Some(&status), true));
    assert_eq!(verified.key.as_ref(), Some(holder.public_key()));
    let shown = |paths: &[Value], more| assert_eq!(show(paths).unwrap().claims, base(more), "{paths:?}");
    shown(&[json!(["given_name"]), json!(["level"])], json!({"given_name": "Adaline"}));
    shown(&[json!(["address", "street"])], json!({"address": {"street": "Main", "city": "X"}}));
    // A member that is visible within: its parent is shown, its sibling not.
    shown(&[json!(["address", "city"])], json!({"address": {"city": "X"}}));
    shown(&[json!(["address"])], json!({"address": {"street": "Main", "city": "X"}}));
    shown(&[json!(["nationalities", 1])], json!({"nationalities": ["FR"]}));
    shown(&[json!(["nationalities", null])], json!({"nationalities": ["DE", "FR"]}));
    for nothing in
        [json!(["birthdate"]), json!(["nationalities", 2]), json!(["given_name", "x"]), json!(["phones", null])]
    {
        assert_eq!(show(&[json!(["given_name"]), nothing]), Err(SdJwtError::NoSuchClaim));
    }
}

#[test]
fn what_must_not_be_issued_is_refused() {
    let signer = key();
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut refused = |claims: Value, paths: &[Value]| {
        let (claims, paths) = (object(claims), paths.iter().cloned().map(path).collect::<Vec<_>>());
        issue(&Issuing { disclosable: &paths, ..Issuing::new("t", &claims) }, &signer, &[], &mut rng).err()
    };
    assert_eq!(refused(json!({"a": 1, "vct#integrity": "x"}), &[json!(["a"])]), None);
    for name in ["vct", "iss", "iat", "nbf", "exp", "cnf", "status", "_sd", "...", "_sd_alg"] {
        assert_eq!(refused(json!({name: 1}), &[]), Some(SdJwtError::ReservedName), "{name}");
    }
    assert_eq!(refused(json!({"a": [{"...": "x"}]}), &[]), Some(SdJwtError::ReservedName));
    assert_eq!(refused(json!({"vct#integrity": "x"}), &[json!(["vct#integrity"])]), Some(SdJwtError::MustBeVisible));
    for misspelt in [json!(["b"]), json!(["a", "b"]), json!(["a", 1]), json!(["a", 0, "b"]), json!([0])] {
        assert_eq!(refused(json!({"a": [1]}), &[misspelt]), Some(SdJwtError::NoSuchClaim));
    }
    assert_eq!(refused(json!({"a": "x".repeat(70_000)}), &[]), Some(SdJwtError::TooLarge));
    assert_eq!(refused(json!({"a": "x".repeat(120_000)}), &[json!(["a"])]), Some(SdJwtError::TooLarge));
    let many: Vec<u32> = (0..600).collect();
    assert_eq!(refused(json!({"a": many}), &[json!(["a", null])]), Some(SdJwtError::TooLarge));
    // As deep as can be issued can be read.
    let deep = |depth: usize| (1..depth).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(refused(json!({"a": deep(30)}), &[]), Some(SdJwtError::TooLarge));
    let deepest = (1..30).rev().find(|depth| refused(json!({"a": deep(*depth)}), &[json!(["a"])]).is_none()).unwrap();
    let claims = object(json!({"a": deep(deepest)}));
    for disclosable in [&[ClaimPath::from("a")][..], &[]] {
        let issuing = Issuing { disclosable, ..Issuing::new("t", &claims) };
        let text = issue(&issuing, &signer, &[], &mut StdRng::seed_from_u64(SEED)).unwrap();
        assert!(SdJwt::parse(&text).is_ok());
    }
}

/// A presentation and the verifier that it is for; each control changes one thing.
struct Bound {
    issuer: SigningKey,
    holder: SigningKey,
    issued: String,
}

fn bound() -> Bound {
    let (issuer, holder) = (key(), key());
    let (claims, cnf) = (person(), Jwk::from(*holder.public_key()));
    let paths = disclosable();
    let issuing = Issuing { cnf: Some(&cnf), disclosable: &paths, ..Issuing::new("t", &claims) };
    let issued = issue(&issuing, &issuer, &[], &mut StdRng::seed_from_u64(SEED)).unwrap();
    Bound { issuer, holder, issued }
}

impl Bound {
    fn show(&self, binding: KeyBinding<'_>) -> String {
        SdJwt::parse(&self.issued).unwrap().present(&["given_name".into()], Some(binding)).unwrap()
    }

    fn check(&self, text: &str) -> Result<Verified, SdJwtError> {
        let expected = ExpectedBinding { aud: "v", nonce: "n", iat_window: 60 };
        verify(text, |_, _| Some(*self.issuer.public_key()), Some(&expected), NOW)
    }
}

#[test]
fn a_key_binding_is_for_one_verifier_request_time_and_presentation() {
    let bound = bound();
    let good = KeyBinding { aud: "v", nonce: "n", iat: NOW, key: &bound.holder };
    let result = |binding| bound.check(&bound.show(binding)).map(|verified| verified.bound);
    assert_eq!(result(good), Ok(true));
    assert_eq!(result(KeyBinding { iat: NOW - 60, ..good }), Ok(true));
    assert_eq!(result(KeyBinding { iat: NOW - 61, ..good }), Err(SdJwtError::Binding));
    assert_eq!(result(KeyBinding { iat: NOW + 61, ..good }), Err(SdJwtError::Binding));
    assert_eq!(result(KeyBinding { aud: "w", ..good }), Err(SdJwtError::Binding));
    assert_eq!(result(KeyBinding { nonce: "m", ..good }), Err(SdJwtError::Binding));
    let thief = key();
    assert_eq!(result(KeyBinding { key: &thief, ..good }), Err(JoseError::Signature.into()));
    let shown = bound.show(good);
    let (covered, proof) = shown.rsplit_once('~').unwrap();
    assert_eq!(bound.check(&format!("{covered}~")).err(), Some(SdJwtError::BindingMissing));
    // The proof under a presentation that shows less, and more.
    let less = format!("{}~{proof}", covered.split('~').next().unwrap());
    assert_eq!(bound.check(&less).err(), Some(SdJwtError::Binding));
    assert_eq!(bound.check(&format!("{}{proof}", bound.issued)).err(), Some(SdJwtError::Binding));
    // Without being asked for, a proof counts for nothing, but must be one.
    let unasked = |text: &str| verify(text, |_, _| Some(*bound.issuer.public_key()), None, NOW);
    assert!(!unasked(&shown).unwrap().bound);
    assert_eq!(unasked(&format!("{covered}~x")), Err(JoseError::Malformed.into()));
}

#[test]
fn a_key_binding_of_another_type_or_without_a_claim_is_refused() {
    let bound = bound();
    let covered = SdJwt::parse(&bound.issued).unwrap().present(&[], None).unwrap();
    let hash = base64url::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, covered.as_bytes()));
    let play = |typ: &str, claims: &Value| {
        let proof = jose::sign(&Header::es256(typ), claims, &bound.holder).unwrap();
        bound.check(&format!("{covered}{proof}")).map(|verified| verified.bound)
    };
    let claims = json!({"aud": "v", "nonce": "n", "iat": NOW, "sd_hash": hash});
    assert_eq!(play("kb+jwt", &claims), Ok(true));
    assert_eq!(play("JWT", &claims), Err(SdJwtError::Binding));
    for name in ["aud", "nonce", "iat", "sd_hash"] {
        let mut fewer = claims.clone();
        fewer.as_object_mut().unwrap().remove(name);
        assert_eq!(play("kb+jwt", &fewer), Err(SdJwtError::Binding), "{name}");
    }
    let mut expired = claims.clone();
    expired["exp"] = NOW.into();
    assert_eq!(play("kb+jwt", &expired), Err(SdJwtError::Binding));
}

#[test]
fn a_credential_without_a_holder_key_can_not_be_bound() {
    let (issuer, holder) = (key(), key());
    let expected = ExpectedBinding { aud: "v", nonce: "n", iat_window: 60 };
    let mut off = serde_json::to_value(Jwk::from(*holder.public_key())).unwrap();
    off["y"] = base64url::encode([7; 32]).into();
    for cnf in [json!({}), json!({"kid": "x"}), json!({"jwk": {"kty": "RSA"}}), json!({"jwk": off})] {
        let payload = json!({"vct": "t", "cnf": cnf});
        let text = jose::sign(&Header::es256(TYP), &payload, &issuer).unwrap() + "~";
        let binding = KeyBinding { aud: "v", nonce: "n", iat: NOW, key: &holder };
        let shown = SdJwt::parse(&text).unwrap().present(&[], Some(binding)).unwrap();
        let result = verify(&shown, |_, _| Some(*issuer.public_key()), Some(&expected), NOW);
        assert_eq!(result, Err(SdJwtError::HolderKey));
        assert_eq!(verify(&shown, |_, _| Some(*issuer.public_key()), None, NOW).unwrap().key, None);
    }
}

#[test]
fn an_unknown_issuer_and_another_type_are_refused() {
    let bound = bound();
    assert_eq!(verify(&bound.issued, |_, _| None, None, NOW), Err(SdJwtError::UnknownIssuer));
    let other = key();
    assert_eq!(verify(&bound.issued, |_, _| Some(*other.public_key()), None, NOW), Err(JoseError::Signature.into()));
    let text = jose::sign(&Header::es256("vc+sd-jwt"), &json!({"vct": "t"}), &bound.issuer).unwrap() + "~";
    assert_eq!(verify(&text, |_, _| Some(*bound.issuer.public_key()), None, NOW), Err(SdJwtError::Type));
    assert!(verify_plain(&text, |_, _| Some(*bound.issuer.public_key()), None, NOW).is_ok());
}
