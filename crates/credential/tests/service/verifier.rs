//! What a verifier takes, and everything that it must not.

use std::collections::BTreeMap;

use credential::verifier::{Asked, Outcome, Question, RelyingParty, Shown, Verifier, VerifierError};
use es256::AgreementKey;
use jose::jwe::{self, Enc};
use jose::{Jwk, base64url};
use openid4vc::request::WalletPost;
use openid4vc::response::{Answer, RESPONSE_MAX_LEN, Refusal, to_form};
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use serde_json::{Value, json};

use crate::world::{ASKED, BASE, Counter, DAY, Device, FORMATS, Held, Looked, Party, Place, key, look, question, web};

impl Counter {
    fn now(&self) -> u64 {
        self.place.world.seconds()
    }

    fn outcome(&self, asked: &Asked) -> Outcome {
        self.verifier.outcome(&asked.id, None).unwrap()
    }

    /// Sends an answer to a question that must be refused for a reason that holds `told`; whoever asked learns it.
    fn refuses(&self, asked: &Asked, looked: &Looked, form: &str, told: &str) {
        let refused = self.verifier.answer(&looked.request_id, form.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(told), "'{refused}' should say '{told}'");
        let Outcome::Refused { reason } = self.outcome(asked) else { panic!("not refused: {told}") };
        assert_eq!(reason, refused);
    }

    /// The same for a new question and whatever `form` makes of it.
    fn refuses_what(&self, told: &str, form: impl FnOnce(&Looked) -> String) {
        let (asked, looked) = self.asked();
        let form = form(&looked);
        self.refuses(&asked, &looked, &form, told);
    }

    /// Sends something that nobody can read as an answer: it is refused, and the question waits on for one that can be read.
    fn ignores_what(&self, told: &str, form: impl FnOnce(&Looked) -> String) {
        let (asked, looked) = self.asked();
        let refused = self.verifier.answer(&looked.request_id, form(&looked).as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(told), "'{refused}' should say '{told}'");
        assert_eq!(self.outcome(&asked), Outcome::Waiting);
    }

    /// An honest answer that must be accepted.
    fn accepts(&self, held: &Held) {
        let (asked, looked) = self.asked();
        self.verifier.answer(&looked.request_id, looked.honest(held, self.now()).as_bytes()).unwrap();
        let shown = Shown { format: held.format.into(), attributes: attributes() };
        let presentations = BTreeMap::from([(Looked::id(held.format).to_owned(), shown)]);
        assert_eq!(self.outcome(&asked), Outcome::Verified { presentations });
    }
}

fn attributes() -> serde_json::Map<String, Value> {
    json!({"given_name": "ada", "age_over_60": true}).as_object().unwrap().clone()
}

/// A form with anything in it, encrypted to a key.
fn encrypted(plain: &[u8], to: &Jwk) -> String {
    let jwe = jwe::encrypt(to, Enc::A256Gcm, b"", b"", plain).unwrap();
    form_urlencoded::Serializer::new(String::new()).append_pair("response", &jwe).finish()
}

/// Bytes with one of `part` changed.
fn changed(bytes: &[u8], part: &[u8]) -> Vec<u8> {
    let place = bytes.windows(part.len()).position(|window| window == part).expect("the part is there");
    let mut changed = bytes.to_vec();
    changed[place + part.len() - 1] ^= 1;
    changed
}

#[test]
fn what_was_asked_is_shown_in_both_formats_and_given_out_once() {
    let counter = Counter::new();
    for format in FORMATS {
        let held = counter.device.held(format);
        let (asked, looked) = counter.asked();
        assert_eq!(counter.outcome(&asked), Outcome::Waiting);
        assert_eq!(counter.outcome(&asked), Outcome::Waiting, "looking changes nothing");
        let form = looked.honest(&held, counter.now());
        for hidden in ["ada", "Testperson", "1961"] {
            assert!(!form.contains(hidden), "it is encrypted");
        }
        let reply = counter.verifier.answer(&looked.request_id, form.as_bytes()).unwrap();
        assert_eq!(reply.redirect_uri, None);
        let Outcome::Verified { presentations } = counter.outcome(&asked) else { panic!("not verified") };
        assert_eq!(presentations[Looked::id(format)].attributes, attributes());
        let again = counter.verifier.outcome(&asked.id, None);
        assert!(matches!(again, Err(VerifierError::Unknown)), "what was shown is given out once");
        let replayed = counter.verifier.answer(&looked.request_id, form.as_bytes());
        assert!(matches!(replayed, Err(VerifierError::Unknown)), "replayed");
        // The same answer to the next question.
        counter.ignores_what("encrypted to another key", |_| form);
    }
}

#[test]
fn an_answer_is_for_one_verifier_one_nonce_and_one_question() {
    let counter = Counter::new();
    for format in FORMATS {
        let held = counter.device.held(format);
        let told =
            if format == MSO_MDOC { "holder's signature does not hold" } else { "for another verifier, request" };
        // Made for another question or verifier, and sent on by whoever was shown it.
        let made_for = |change: &dyn Fn(&mut Looked)| {
            counter.refuses_what(told, |looked| {
                let mut other = looked.clone();
                change(&mut other);
                looked.answer(format, other.present(&held, &ASKED, counter.now()))
            });
        };
        made_for(&|other| other.request.nonce = "0123456789abcdef".into());
        made_for(&|other| other.request.client_id = "x509_hash:another".into());
        if format == MSO_MDOC {
            made_for(&|other| other.request.response_uri = "https://other.example/answers/1".into());
            let key = AgreementKey::generate().unwrap();
            made_for(&|other| other.request.client_metadata.jwks.keys = vec![Jwk::from(*key.public_key())]);
        } else {
            counter
                .refuses_what(told, |looked| looked.answer(format, looked.present(&held, &ASKED, counter.now() - 301)));
        }
        counter.refuses_what("another question", |looked| {
            let mut other = looked.clone();
            other.request.state = Some("another".into());
            other.honest(&held, counter.now())
        });
        counter.refuses_what("another question", |looked| {
            let mut other = looked.clone();
            other.request.state = None;
            other.honest(&held, counter.now())
        });
        // A thief has the credential, and not its key.
        let stolen = Held { format, credential: held.credential.clone(), key: key() };
        let signature = if format == MSO_MDOC { told } else { "signature" };
        counter.refuses_what(signature, |looked| looked.honest(&stolen, counter.now()));
        counter.accepts(&held);
    }
}

#[test]
fn an_answer_is_encrypted_to_this_question() {
    let counter = Counter::new();
    let held = counter.device.held(SD_JWT_VC);
    let plain = |looked: &Looked| {
        let vp_token = BTreeMap::from([("sd_jwt".to_owned(), vec![looked.present(&held, &ASKED, counter.now())])]);
        serde_json::to_string(&Answer { vp_token, state: looked.request.state.clone() }).unwrap()
    };
    counter.ignores_what("not encrypted", |looked| {
        form_urlencoded::Serializer::new(String::new()).append_pair("response", &plain(looked)).finish()
    });
    counter.ignores_what("no response", |looked| {
        form_urlencoded::Serializer::new(String::new()).append_pair("vp_token", &plain(looked)).finish()
    });
    let other = AgreementKey::generate().unwrap();
    counter.ignores_what("encrypted to another key", |looked| {
        encrypted(plain(looked).as_bytes(), &Jwk::from(*other.public_key()))
    });
    counter.ignores_what("no response", |_| String::new());
    let (asked, looked) = counter.asked();
    let form = encrypted(plain(&looked).as_bytes(), looked.request.encryption_key().unwrap());
    counter.verifier.answer(&looked.request_id, form.as_bytes()).unwrap();
    assert!(matches!(counter.outcome(&asked), Outcome::Verified { .. }), "the control");
}

#[test]
fn oversized_and_deeply_nested_answers_are_refused() {
    let counter = Counter::new();
    let to = |looked: &Looked| looked.request.encryption_key().unwrap().clone();
    counter.ignores_what("too long", |_| "x".repeat(RESPONSE_MAX_LEN + 1));
    for nested in [format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)), "{\"vp_token\":".repeat(10_000)] {
        counter.ignores_what("not the JSON", |looked| encrypted(nested.as_bytes(), &to(looked)));
    }
    counter.ignores_what("not the JSON", |looked| {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let json =
            format!(r#"{{"vp_token": {{"mdoc": {deep}}}, "state": "{}"}}"#, looked.request.state.as_ref().unwrap());
        encrypted(json.as_bytes(), &to(looked))
    });
    for cbor in [vec![0x81; 5_000], vec![0; 100_000], vec![0x9f; 60_000], vec![0xbb; 64]] {
        counter.refuses_what("can't be read", |looked| looked.answer(MSO_MDOC, base64url::encode(&cbor)));
    }
    counter.refuses_what("not accepted", |looked| looked.answer(MSO_MDOC, "no base64url!".into()));
    // An SD-JWT whose signed part is nested deeply.
    counter.refuses_what("not accepted", |looked| {
        let header = base64url::encode(r#"{"alg":"ES256","typ":"dc+sd-jwt"}"#);
        let payload = base64url::encode(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
        looked.answer(SD_JWT_VC, format!("{header}.{payload}.{}~", base64url::encode([0; 64])))
    });
    counter.refuses_what("not accepted", |looked| looked.answer(SD_JWT_VC, "~".repeat(100_000)));
    FORMATS.iter().for_each(|format| counter.accepts(&counter.device.held(format)));
}

#[test]
fn a_changed_credential_is_refused() {
    let counter = Counter::new();
    let now = counter.now();
    let held = counter.device.held(MSO_MDOC);
    let mdoc = |told: &str, part: &[u8]| {
        counter.refuses_what(told, |looked| {
            let response = base64url::decode(&looked.present(&held, &ASKED, now)).unwrap();
            looked.answer(MSO_MDOC, base64url::encode(changed(&response, part)))
        });
    };
    mdoc("digest is not the signed one", b"elementValuecada");
    mdoc("issuer's signature does not hold", b"validUntil");
    let held_sd = counter.device.held(SD_JWT_VC);
    let sd_jwt = |told: &str, change: &dyn Fn(&str) -> String| {
        counter.refuses_what(told, |looked| {
            // The holder signs over what was changed, as a cheat would.
            let credential = change(&held_sd.credential);
            let cheat = Held { format: SD_JWT_VC, credential, key: crate::world::same_key(&held_sd.key) };
            looked.honest(&cheat, now)
        });
    };
    // One letter of the issuer's signature.
    sd_jwt("signature", &|credential| {
        let end = credential.find('~').unwrap();
        let (signed, rest) = credential.split_at(end);
        let (text, signature) = signed.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        format!("{text}.{other}{}{rest}", &signature[1..])
    });
    // A disclosure of one's own, presented past the library, which would not let it.
    counter.refuses_what("not accepted", |looked| {
        let presentation = looked.present(&held_sd, &ASKED, now);
        let (signed, rest) = presentation.split_once('~').unwrap();
        let forged = base64url::encode(r#"["c2FsdHNhbHRzYWx0c2FsdA","given_name","eva"]"#);
        let others: Vec<&str> = rest.split('~').skip(1).collect();
        looked.answer(SD_JWT_VC, format!("{signed}~{forged}~{}", others.join("~")))
    });
    counter.accepts(&held);
    counter.accepts(&held_sd);
}

#[test]
fn another_issuers_credential_is_refused() {
    let (counter, elsewhere) = (Counter::new(), Place::new());
    let theirs: Device = elsewhere.device("ada");
    for (format, told) in [(MSO_MDOC, "trusted root"), (SD_JWT_VC, "issuer is not known")] {
        let forged = theirs.held(format);
        counter.refuses_what(told, |looked| looked.honest(&forged, counter.now()));
        counter.accepts(&counter.device.held(format));
    }
}

#[test]
fn a_changed_borrowed_or_missing_status_list_is_refused() {
    let elsewhere = Place::new();
    elsewhere.device("ada").held(MSO_MDOC);
    for format in FORMATS {
        let counter = Counter::new();
        let held = counter.device.held(format);
        // The register's list is kept from here on.
        let (asked, looked) = counter.asked();
        let form = looked.honest(&held, counter.now());
        let theirs = elsewhere.credentials.clone();
        let list_form = if format == MSO_MDOC { credential::status::Form::Cwt } else { credential::status::Form::Jwt };
        let borrowed = theirs.status_list(0, list_form, crate::world::ISSUER).unwrap().unwrap();
        *counter.web.change.lock().unwrap() = Some(Box::new(move |_| Ok(borrowed.clone())));
        counter.refuses(&asked, &looked, &form, "status can't be checked");
        let flipped = |bytes: Vec<u8>| {
            let mut bytes = bytes;
            let place = bytes.len() - 20;
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            Ok(bytes)
        };
        for change in [
            Box::new(flipped) as crate::world::Change,
            Box::new(|_| Err("no network".into())),
            Box::new(|_| Ok(Vec::new())),
        ] {
            *counter.web.change.lock().unwrap() = None;
            let (asked, looked) = counter.asked();
            *counter.web.change.lock().unwrap() = Some(change);
            let form = looked.honest(&held, counter.now());
            counter.refuses(&asked, &looked, &form, "status can't be checked");
        }
        *counter.web.change.lock().unwrap() = None;
        counter.accepts(&held);
    }
}

#[test]
fn expired_suspended_and_revoked_credentials_are_refused() {
    for format in FORMATS {
        let counter = Counter::new();
        let (held, credentials) = (counter.device.held(format), &counter.place.credentials);
        counter.accepts(&held);
        let grant = counter.device.authorized().unwrap();
        credentials.suspend(&grant.id, true).unwrap();
        counter.accepts(&held);
        // A list is kept for as long as it says.
        counter.place.world.pass(300);
        counter.refuses_what("suspended", |looked| looked.honest(&held, counter.now()));
        credentials.suspend(&grant.id, false).unwrap();
        counter.place.world.pass(300);
        counter.accepts(&held);
        credentials.revoke_person("ada").unwrap();
        counter.place.world.pass(300);
        counter.refuses_what("revoked", |looked| looked.honest(&held, counter.now()));

        let counter = Counter::new();
        let held = counter.device.held(format);
        counter.place.world.pass(59 * DAY);
        counter.accepts(&held);
        counter.place.world.pass(DAY);
        let told = if format == MSO_MDOC { "not valid at this time" } else { "expired" };
        counter.refuses_what(told, |looked| looked.honest(&held, counter.now()));
    }
}

/// Asking for a list names no credential.
#[test]
fn whole_lists_are_fetched_and_kept() {
    let counter = Counter::new();
    for _ in 0..3 {
        FORMATS.iter().for_each(|format| counter.accepts(&counter.device.held(format)));
    }
    let fetched = counter.web.fetched.lock().unwrap().clone();
    let list = |path: &str| format!("{}{path}", crate::world::ISSUER);
    assert_eq!(fetched, [list("/register/status"), list("/status/0")]);
}

#[test]
fn nothing_is_shown_that_was_not_asked_and_nothing_asked_is_missing() {
    let counter = Counter::new();
    for format in FORMATS {
        let held = counter.device.held(format);
        let now = counter.now();
        for names in [&["given_name", "age_over_60", "birth_date"][..], &["given_name"], &["given_name", "birth_date"]]
        {
            counter.refuses_what("something else than was asked for", |looked| {
                looked.answer(format, looked.present(&held, names, now))
            });
        }
        counter.refuses_what("missing, or something else", |looked| {
            let answer = Answer { vp_token: BTreeMap::new(), state: looked.request.state.clone() };
            to_form(&answer, &looked.request).unwrap()
        });
        counter.refuses_what("missing, or something else", |looked| {
            let vp_token = BTreeMap::from([("other".to_owned(), vec![looked.present(&held, &ASKED, now)])]);
            to_form(&Answer { vp_token, state: looked.request.state.clone() }, &looked.request).unwrap()
        });
        counter.refuses_what("one presentation was asked for", |looked| {
            let twice = vec![looked.present(&held, &ASKED, now), looked.present(&held, &ASKED, now)];
            let vp_token = BTreeMap::from([(Looked::id(format).to_owned(), twice)]);
            to_form(&Answer { vp_token, state: looked.request.state.clone() }, &looked.request).unwrap()
        });
        // In the place of the other format.
        let other = FORMATS.into_iter().find(|other| *other != format).unwrap();
        counter.refuses_what("not accepted", |looked| looked.answer(other, looked.present(&held, &ASKED, now)));
        counter.accepts(&held);
    }
}

#[test]
fn values_that_were_asked_for_are_held_against_what_is_shown() {
    let counter = Counter::new();
    let held = counter.device.held(SD_JWT_VC);
    let ask = |value: bool| {
        let query = json!({"credentials": [{
            "id": "sd_jwt", "format": SD_JWT_VC, "meta": {"vct_values": [format!("{}/types/id", crate::world::ISSUER)]},
            "claims": [{"path": ["age_over_60"], "values": [value]}],
        }]});
        let asked = counter.verifier.ask(&Question { dcql_query: Some(query), ..Question::default() }, BASE).unwrap();
        (counter.look(&asked), asked)
    };
    let (looked, asked) = ask(false);
    let form = |looked: &Looked| looked.answer(SD_JWT_VC, looked.present(&held, &["age_over_60"], counter.now()));
    counter.refuses(&asked, &looked, &form(&looked), "something else than was asked for");
    let (looked, asked) = ask(true);
    counter.verifier.answer(&looked.request_id, form(&looked).as_bytes()).unwrap();
    assert!(matches!(counter.outcome(&asked), Outcome::Verified { .. }), "the control");
}

#[test]
fn a_holder_may_say_no() {
    let counter = Counter::new();
    counter.refuses_what("said no", |looked| {
        let refusal = Refusal { error: "access_denied".into(), state: looked.request.state.clone() };
        to_form(&refusal, &looked.request).unwrap()
    });
    counter.refuses_what("said no", |_| "error=access_denied".into());
}

#[test]
fn on_the_same_device_the_outcome_needs_the_code_of_the_redirect() {
    let counter = Counter::new();
    let held = counter.device.held(MSO_MDOC);
    let ask = |redirect_uri: &str| {
        let question = Question {
            redirect_uri: Some(redirect_uri.into()),
            webhook: Some("https://clinic.example/told".into()),
            ..question(&ASKED)
        };
        let asked = counter.verifier.ask(&question, BASE).unwrap();
        (counter.look(&asked), asked)
    };
    for (address, mark) in [("https://clinic.example/done", '?'), ("https://clinic.example/done?a=b", '&')] {
        let (looked, asked) = ask(address);
        assert_eq!(counter.outcome(&asked), Outcome::Waiting);
        let reply =
            counter.verifier.answer(&looked.request_id, looked.honest(&held, counter.now()).as_bytes()).unwrap();
        let redirect = reply.redirect_uri.unwrap();
        let code = redirect.strip_prefix(&format!("{address}{mark}response_code=")).unwrap();
        for wrong in [None, Some("another"), Some("")] {
            assert!(matches!(counter.verifier.outcome(&asked.id, wrong), Err(VerifierError::Message(_))));
        }
        assert!(matches!(counter.verifier.outcome(&asked.id, Some(code)), Ok(Outcome::Verified { .. })));
    }
    // A refusal sends nobody on, so whoever asked learns it without a code.
    let (looked, asked) = ask("https://clinic.example/done");
    counter.refuses(&asked, &looked, "error=access_denied", "said no");
    let told = counter.web.told.lock().unwrap();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|(address, _)| address == "https://clinic.example/told"));
    assert!(matches!((&told[0].1, &told[2].1), (Outcome::Verified { .. }, Outcome::Refused { .. })));
}

#[test]
fn a_question_is_forgotten_after_ten_minutes() {
    let counter = Counter::new();
    let held = counter.device.held(SD_JWT_VC);
    let (asked, looked) = counter.asked();
    assert_eq!(asked.expires_at, counter.now() + 600);
    counter.place.world.pass(599);
    assert_eq!(counter.outcome(&asked), Outcome::Waiting, "the control");
    let form = looked.honest(&held, counter.now());
    counter.place.world.pass(1);
    assert!(matches!(counter.verifier.outcome(&asked.id, None), Err(VerifierError::Unknown)));
    assert!(matches!(counter.verifier.answer(&looked.request_id, form.as_bytes()), Err(VerifierError::Unknown)));
    assert!(matches!(counter.verifier.request(&looked.request_id, WalletPost::default()), Err(VerifierError::Unknown)));
    // What was shown is forgotten, too.
    let (asked, looked) = counter.asked();
    counter.verifier.answer(&looked.request_id, looked.honest(&held, counter.now()).as_bytes()).unwrap();
    counter.place.world.pass(600);
    assert!(matches!(counter.verifier.outcome(&asked.id, None), Err(VerifierError::Unknown)));
}

/// Two relying parties side by side: neither takes what was shown to the other.
#[test]
fn a_response_for_another_verifier_is_refused() {
    let counter = Counter::new();
    let place = &counter.place;
    let other = Party::register(place, "NTRUT-2", &ASKED);
    let theirs = Verifier::new(RelyingParty { ..other.at(place) }, web(place), place.world.clone()).unwrap();
    for format in FORMATS {
        let held = counter.device.held(format);
        let asked = theirs.ask(&question(&ASKED), BASE).unwrap();
        let looked = look(place, &theirs, &asked);
        let presentation = looked.present(&held, &ASKED, counter.now());
        // Encrypted to us and with our state: only the presentation is for another.
        counter.refuses_what("not accepted", |ours| ours.answer(format, presentation.clone()));
        let form = looked.answer(format, presentation);
        theirs.answer(&looked.request_id, form.as_bytes()).unwrap();
        assert!(matches!(theirs.outcome(&asked.id, None), Ok(Outcome::Verified { .. })), "the control");
    }
}
