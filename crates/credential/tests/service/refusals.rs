//! What the issuer refuses, with the protocol's code. Beside each refusal stands what is accepted.

use std::sync::atomic::Ordering;

use openid4vc::credential::{CredentialRequest, Proofs};
use openid4vc::dpop;
use openid4vc::token::{
    AUTHORIZATION_CODE, AuthorizationRequest, PROOF_OF_KEY, REFRESH_TOKEN, TokenRequest, TokenResponse, code_challenge,
};
use openid4vc::{MSO_MDOC, SD_JWT_VC};

use crate::world::{
    Device, FORMATS, ISSUER, Place, TX_CODE, code, credential_uri, key, pre_authorized, request, token_uri,
};

/// Asks for one credential with a nonce.
fn with_nonce(device: &Device, nonce: &str) -> &'static str {
    let proof = device.key_proof(&key(), ISSUER, nonce);
    code(device.credentials.issue(&device.authorized().unwrap(), &request(MSO_MDOC, vec![proof]), ISSUER))
}

#[test]
fn a_nonce_is_ours_fresh_and_used_once() {
    let (place, other) = (Place::new(), Place::new());
    let ada = place.device("ada");
    let nonce = place.credentials.nonce();
    assert_eq!(with_nonce(&ada, &nonce), "accepted");
    assert_eq!(with_nonce(&ada, &nonce), "invalid_nonce", "used before");
    assert_eq!(with_nonce(&ada, "AAAA"), "invalid_nonce", "made up");
    assert_eq!(with_nonce(&ada, &other.credentials.nonce()), "invalid_nonce", "another issuer's");
    let nonce = place.credentials.nonce();
    place.world.pass(299);
    assert_eq!(with_nonce(&ada, &nonce), "accepted", "in its last second");
    let nonce = place.credentials.nonce();
    place.world.pass(300);
    assert_eq!(with_nonce(&place.device_by("offer ada 2"), &nonce), "invalid_nonce", "expired");
    // Two nonces in one request are none.
    let ada = place.device_by("offer ada 3");
    let proofs = (0..2).map(|_| ada.key_proof(&key(), ISSUER, &place.credentials.nonce())).collect();
    let refused = place.credentials.issue(&ada.authorized().unwrap(), &request(MSO_MDOC, proofs), ISSUER);
    assert_eq!(code(refused), "invalid_nonce");
}

#[test]
fn each_key_is_proven_to_this_issuer_and_there_once() {
    let place = Place::new();
    let ada = place.device("ada");
    let grant = ada.authorized().unwrap();
    let issue = |request: &CredentialRequest| code(place.credentials.issue(&grant, request, ISSUER));
    let with = |prove: &dyn Fn(&str) -> Vec<String>| issue(&request(SD_JWT_VC, prove(&place.credentials.nonce())));
    assert_eq!(with(&|nonce| vec![ada.key_proof(&key(), ISSUER, nonce)]), "accepted");
    assert_eq!(with(&|nonce| vec![ada.key_proof(&key(), "https://other.example", nonce)]), "invalid_proof");
    assert_eq!(with(&|_| Vec::new()), "invalid_proof");
    let twice = |nonce: &str| {
        let key = key();
        vec![ada.key_proof(&key, ISSUER, nonce), ada.key_proof(&key, ISSUER, nonce)]
    };
    assert_eq!(with(&twice), "invalid_proof");
    let many = |count: usize| move |nonce: &str| (0..count).map(|_| ada_proof(nonce)).collect::<Vec<_>>();
    fn ada_proof(nonce: &str) -> String {
        openid4vc::proof::prove(&key(), ISSUER, nonce, crate::world::NOW as u64).unwrap()
    }
    assert_eq!(with(&many(30)), "accepted");
    assert_eq!(with(&many(31)), "invalid_proof");
    // The header names one key, and another signed.
    let stolen = |nonce: &str| {
        let (mine, theirs) = (ada.key_proof(&key(), ISSUER, nonce), ada.key_proof(&key(), ISSUER, nonce));
        let (mine, theirs) = (mine.rsplit_once('.').unwrap(), theirs.rsplit_once('.').unwrap());
        vec![format!("{}.{}", mine.0, theirs.1)]
    };
    assert_eq!(with(&stolen), "invalid_proof");
    let old =
        |nonce: &str| vec![openid4vc::proof::prove(&key(), ISSUER, nonce, crate::world::NOW as u64 - 301).unwrap()];
    assert_eq!(with(&old), "invalid_proof");
    let untrusted = Proofs { jwt: Vec::new(), attestation: vec![ada_proof("n")] };
    assert_eq!(issue(&CredentialRequest { proofs: untrusted, ..request(SD_JWT_VC, Vec::new()) }), "invalid_proof");
    let both = Proofs { jwt: vec![ada_proof("n")], attestation: vec![ada_proof("n")] };
    assert_eq!(issue(&CredentialRequest { proofs: both, ..request(SD_JWT_VC, Vec::new()) }), "invalid_proof");
}

#[test]
fn an_unknown_configuration_is_named_as_such() {
    let place = Place::new();
    let ada = place.device("ada");
    let grant = ada.authorized().unwrap();
    let ask = |id: Option<&str>, identifier: Option<&str>| {
        let proofs = vec![ada.key_proof(&key(), ISSUER, &place.credentials.nonce())];
        let request = CredentialRequest {
            credential_configuration_id: id.map(Into::into),
            credential_identifier: identifier.map(Into::into),
            ..request(MSO_MDOC, proofs)
        };
        code(place.credentials.issue(&grant, &request, ISSUER))
    };
    assert_eq!(ask(Some("org.habeas.id.mdoc"), None), "accepted");
    assert_eq!(ask(Some("org.example.mdl"), None), "unknown_credential_configuration");
    assert_eq!(ask(None, None), "unknown_credential_configuration");
    assert_eq!(ask(None, Some("1")), "unknown_credential_identifier");
}

#[test]
fn a_token_works_with_its_key_and_a_fresh_proof_for_this_request() {
    let place = Place::new();
    let (ada, thief) = (place.device("ada"), place.device("bea"));
    let (token, uri) = (ada.access_token(), credential_uri());
    let authorize =
        |proof: Option<&str>| code(place.credentials.authorize(Some(&format!("DPoP {token}")), proof, "POST", &uri));
    let proof = ada.proof("POST", &uri, Some(token));
    assert_eq!(authorize(Some(&proof)), "accepted");
    assert_eq!(authorize(Some(&proof)), "invalid_dpop_proof", "replayed");
    assert_eq!(authorize(None), "invalid_dpop_proof", "missing");
    assert_eq!(
        authorize(Some(&thief.proof("POST", &uri, Some(token)))),
        "invalid_token",
        "another key than the token's"
    );
    assert_eq!(authorize(Some(&ada.proof("POST", &token_uri(), Some(token)))), "invalid_dpop_proof", "another address");
    assert_eq!(authorize(Some(&ada.proof("GET", &uri, Some(token)))), "invalid_dpop_proof", "another method");
    assert_eq!(
        authorize(Some(&ada.proof("POST", &uri, Some(thief.access_token())))),
        "invalid_dpop_proof",
        "another token"
    );
    let old = ada.proof("POST", &uri, Some(token));
    place.world.pass(301);
    assert_eq!(authorize(Some(&old)), "invalid_dpop_proof", "too old");
    assert_eq!(authorize(Some(&ada.proof("POST", &uri, Some(token)))), "accepted");
    let no_token = |header: Option<&str>| {
        code(place.credentials.authorize(header, Some(&ada.proof("POST", &uri, None)), "POST", &uri))
    };
    assert_eq!(no_token(None), "invalid_token");
    assert_eq!(no_token(Some(&format!("Bearer {token}"))), "invalid_token");
    let mut forged = token.to_owned();
    forged.replace_range(0..1, if token.starts_with('A') { "B" } else { "A" });
    let proof = ada.proof("POST", &uri, Some(&forged));
    assert_eq!(
        code(place.credentials.authorize(Some(&format!("DPoP {forged}")), Some(&proof), "POST", &uri)),
        "invalid_token"
    );
    place.world.pass(300);
    assert_eq!(authorize(Some(&ada.proof("POST", &uri, Some(token)))), "invalid_token", "out of date");
    // The token endpoint asks for a proof, too.
    let offer = pre_authorized("offer ada 2", TX_CODE);
    assert_eq!(code(place.credentials.token(&offer, None, &token_uri())), "invalid_dpop_proof");
}

/// A proof from a clock that is ahead is taken for ten minutes, so it is remembered to the last of their seconds.
#[test]
fn a_proof_is_remembered_for_as_long_as_it_is_taken() {
    let place = Place::new();
    let ada = place.device("ada");
    let ahead = |id: &str, seconds: i64| {
        let asked = dpop::Request { method: "POST", uri: &token_uri(), access_token: None };
        dpop::prove(&ada.key, asked, place.world.seconds().strict_add_signed(seconds), id.into(), None).unwrap()
    };
    let request = TokenRequest { grant_type: PROOF_OF_KEY.into(), ..TokenRequest::default() };
    let ask = |proof: &str| code(place.credentials.token(&request, Some(proof), &token_uri()));
    let (used, unused) = (ahead("used", 300), ahead("unused", 300));
    assert_eq!(ask(&used), "accepted");
    place.world.pass(600);
    assert_eq!(ask(&unused), "accepted", "the control: it is still in time");
    assert_eq!(ask(&used), "invalid_dpop_proof");
}

#[test]
fn a_code_works_once_and_for_one_device() {
    let place = Place::new();
    let (mut ada, mut thief) = (place.device("ada"), place.stranger());
    assert_eq!(code(thief.take("offer ada 1", TX_CODE)), "invalid_grant", "used by another device");
    assert_eq!(code(ada.take("offer ada 1", TX_CODE)), "invalid_grant", "used twice");
    assert_eq!(code(thief.take("no offer", TX_CODE)), "invalid_grant", "unknown");
    assert_eq!(code(thief.take("", TX_CODE)), "invalid_request");
    assert_eq!(code(thief.take(&"x".repeat(257), TX_CODE)), "invalid_request");
    assert_eq!(code(thief.take("offer ada 2", TX_CODE)), "accepted", "the control");
}

#[test]
fn five_wrong_transaction_codes_lock_an_offer() {
    let place = Place::new();
    let mut ada = place.stranger();
    for _ in 0..5 {
        assert_eq!(code(ada.take("offer ada 1", "000000")), "invalid_grant");
    }
    assert_eq!(code(ada.take("offer ada 1", TX_CODE)), "invalid_grant", "the right one, too late");
    for _ in 0..4 {
        assert_eq!(code(ada.take("offer ada 2", "000000")), "invalid_grant");
    }
    assert_eq!(code(ada.take("offer ada 2", TX_CODE)), "accepted", "the control: after four it is not too late");
}

#[test]
fn a_refresh_token_works_once_and_for_its_device() {
    let place = Place::new();
    let (ada, thief) = (place.device("ada"), place.device("bea"));
    let refresh = |device: &Device, token: &TokenResponse| {
        device.ask_token(&TokenRequest {
            grant_type: REFRESH_TOKEN.into(),
            refresh_token: token.refresh_token.clone(),
            ..TokenRequest::default()
        })
    };
    let first = ada.token.as_ref().unwrap();
    assert_eq!(code(refresh(&thief, first)), "invalid_grant", "another device");
    let second = refresh(&ada, first).unwrap();
    assert_eq!(code(refresh(&ada, first)), "invalid_grant", "used twice");
    assert_eq!(code(refresh(&ada, &second)), "accepted");
    let nothing = TokenRequest { grant_type: REFRESH_TOKEN.into(), ..TokenRequest::default() };
    assert_eq!(code(ada.ask_token(&nothing)), "invalid_request");
    let unknown = TokenRequest { grant_type: "password".into(), ..TokenRequest::default() };
    assert_eq!(code(ada.ask_token(&unknown)), "unsupported_grant_type");
}

#[test]
fn the_key_alone_gets_a_token_where_it_is_known() {
    let place = Place::new();
    let ask = TokenRequest { grant_type: PROOF_OF_KEY.into(), ..TokenRequest::default() };
    assert_eq!(code(place.device("ada").ask_token(&ask)), "accepted");
    assert_eq!(code(place.stranger().ask_token(&ask)), "invalid_grant");
}

/// A second offer that was begun and not finished does not hide the first.
#[test]
fn a_begun_offer_does_not_lock_a_device_out() {
    let place = Place::new();
    let mut ada = place.device("ada");
    place.world.registry_down.store(true, Ordering::SeqCst);
    assert_eq!(code(ada.take("offer ada 2", TX_CODE)), "unavailable");
    place.world.registry_down.store(false, Ordering::SeqCst);
    let ask = TokenRequest { grant_type: PROOF_OF_KEY.into(), ..TokenRequest::default() };
    assert_eq!(code(ada.ask_token(&ask)), "accepted");
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn pushed(offer: &str) -> AuthorizationRequest {
    AuthorizationRequest {
        response_type: "code".into(),
        client_id: "wallet".into(),
        redirect_uri: "app://wallet".into(),
        state: Some("a state".into()),
        code_challenge: code_challenge(VERIFIER),
        code_challenge_method: "S256".into(),
        issuer_state: Some(offer.into()),
        ..AuthorizationRequest::default()
    }
}

/// The code that consent gives, as the wallet trades it in.
fn consented(place: &Place, offer: &str) -> TokenRequest {
    let request_uri = place.credentials.push(pushed(offer)).unwrap().request_uri;
    let address = place.credentials.consent(&request_uri, TX_CODE, ISSUER).unwrap();
    let query = address.strip_prefix("app://wallet?").unwrap();
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(query.as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap()
    };
    assert_eq!((field("iss").as_str(), field("state").as_str()), (ISSUER, "a state"));
    TokenRequest {
        grant_type: AUTHORIZATION_CODE.into(),
        code: Some(field("code")),
        code_verifier: Some(VERIFIER.into()),
        redirect_uri: Some("app://wallet".into()),
        client_id: Some("wallet".into()),
        ..TokenRequest::default()
    }
}

#[test]
fn an_authorization_code_works_once_for_whoever_began() {
    let place = Place::new();
    let mut ada = place.stranger();
    let good = consented(&place, "offer ada 1");
    ada.token = Some(ada.ask_token(&good).unwrap());
    assert_eq!(place.read(&ada.held(FORMATS[0])).values["given_name"], "ada");
    assert_eq!(code(ada.ask_token(&good)), "invalid_grant", "used twice");

    let refused = |number: usize, change: &dyn Fn(&mut TokenRequest)| {
        let mut request = consented(&place, &format!("offer ada {number}"));
        let good = request.clone();
        change(&mut request);
        assert_eq!(code(ada.ask_token(&request)), "invalid_grant", "{number}");
        // Whoever tries with a stolen code uses it up.
        assert_eq!(code(ada.ask_token(&good)), "invalid_grant", "{number}");
    };
    refused(2, &|request| request.code_verifier = Some("x".repeat(43)));
    refused(3, &|request| request.redirect_uri = Some("app://other".into()));
    refused(4, &|request| request.client_id = Some("another".into()));
    refused(5, &|_| place.world.pass(60));
    let in_time = consented(&place, "offer ada 6");
    place.world.pass(59);
    assert_eq!(code(ada.ask_token(&in_time)), "accepted", "the control");
}

#[test]
fn consent_takes_the_transaction_code_and_a_request_that_is_waiting() {
    let place = Place::new();
    let request_uri = place.credentials.push(pushed("offer ada 1")).unwrap().request_uri;
    let consent = |tx_code: &str| code(place.credentials.consent(&request_uri, tx_code, ISSUER));
    assert!(place.credentials.is_pushed(&request_uri, "wallet"));
    assert!(!place.credentials.is_pushed(&request_uri, "another"));
    assert_eq!(consent("000000"), "invalid_grant");
    assert_eq!(consent(TX_CODE), "accepted", "after a wrong one the person may try again");
    assert_eq!(consent(TX_CODE), "invalid_request", "once");
    let late = place.credentials.push(pushed("offer ada 2")).unwrap().request_uri;
    place.world.pass(600);
    assert_eq!(code(place.credentials.consent(&late, TX_CODE, ISSUER)), "invalid_request", "too late");
}

#[test]
fn a_pushed_request_has_pkce_an_offer_and_an_address() {
    let place = Place::new();
    assert_eq!(code(place.credentials.push(pushed("offer ada 1"))), "accepted");
    let without_offer = AuthorizationRequest { issuer_state: None, ..pushed("") };
    assert_eq!(code(place.credentials.push(without_offer)), "invalid_request");
    for address in ["javascript:alert(1)", "DATA:text/html,x", "nothing"] {
        let request = AuthorizationRequest { redirect_uri: address.into(), ..pushed("offer ada 1") };
        assert_eq!(code(place.credentials.push(request)), "invalid_request", "{address}");
    }
    let form = pushed("offer ada 1").to_form();
    assert!(AuthorizationRequest::from_form(form.as_bytes()).is_ok());
    let without: Vec<&str> = form.split('&').filter(|field| !field.starts_with("code_challenge=")).collect();
    assert!(AuthorizationRequest::from_form(without.join("&").as_bytes()).is_err(), "PKCE is required");
}

#[test]
fn a_revoked_device_gets_nothing_more() {
    let place = Place::new();
    let (ada, bea) = (place.device("ada"), place.device("bea"));
    let grant = ada.authorized().unwrap();
    place.credentials.revoke_person("ada").unwrap();
    assert_eq!(code(ada.authorized()), "invalid_token");
    let late = ada.batch_for(&grant, MSO_MDOC, vec![key()]);
    assert_eq!(code(late), "credential_request_denied", "a request that was under way");
    let ask = TokenRequest { grant_type: PROOF_OF_KEY.into(), ..TokenRequest::default() };
    assert_eq!(code(ada.ask_token(&ask)), "invalid_grant");
    let refresh = TokenRequest {
        grant_type: REFRESH_TOKEN.into(),
        refresh_token: ada.token.as_ref().unwrap().refresh_token.clone(),
        ..TokenRequest::default()
    };
    assert_eq!(code(ada.ask_token(&refresh)), "invalid_grant");
    assert_eq!(code(bea.batch(MSO_MDOC, 1)), "accepted", "the control: nobody else");
    // The person comes back to the desk with the same device.
    let mut ada = ada;
    assert_eq!(code(ada.take("offer ada 2", TX_CODE)), "accepted");
    assert_eq!(code(ada.ask_token(&ask)), "accepted", "its key is asked for by the newest bond");
}

#[test]
fn when_the_registry_fails_nothing_is_half_done() {
    let place = Place::new();
    let (mut ada, bea) = (place.stranger(), place.device("bea"));
    place.world.registry_down.store(true, Ordering::SeqCst);
    assert_eq!(code(ada.take("offer ada 1", TX_CODE)), "unavailable");
    assert_eq!(code(bea.batch(SD_JWT_VC, 2)), "unavailable");
    assert!(
        place.credentials.status_list(0, credential::status::Form::Jwt, ISSUER).unwrap().is_none(),
        "no place was drawn"
    );
    place.world.registry_down.store(false, Ordering::SeqCst);
    assert_eq!(code(ada.take("offer ada 1", TX_CODE)), "accepted", "a repeat works");
    assert_eq!(code(bea.batch(SD_JWT_VC, 2)), "accepted");
}

/// The registry took the offer, and nobody heard: as if the process had died between the grant and its subject.
#[test]
fn an_offer_that_a_crash_interrupted_is_finished_by_its_device_alone() {
    let place = Place::new();
    let (mut ada, mut thief) = (place.stranger(), place.stranger());
    place.world.answers_lost.store(true, Ordering::SeqCst);
    assert_eq!(code(ada.take("offer ada 1", TX_CODE)), "unavailable");
    place.world.answers_lost.store(false, Ordering::SeqCst);
    let place = place.reopened();
    (ada.credentials, thief.credentials) = (place.credentials.clone(), place.credentials.clone());
    assert_eq!(code(thief.take("offer ada 1", TX_CODE)), "invalid_grant");
    assert_eq!(code(ada.take("offer ada 1", TX_CODE)), "accepted");
    assert_eq!(code(ada.batch(MSO_MDOC, 1)), "accepted");
}
