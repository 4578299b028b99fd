//! The register: over-asking, suspension, and whose registration it is, at the verifier and at the wallet.

use std::sync::atomic::Ordering;

use credential::register::NewRelyingParty;
use credential::verifier::{RelyingParty, Verifier, VerifierError};
use credential::{Announcement, Clock};
use mdoc::DOC_TYPE;
use mdoc::certificate::{Usage, verify_chain};
use openid4vc::dcql::Query;
use openid4vc::registration::Registration;
use serde_json::{Value, json};

use crate::world::{BASE, Counter, DAY, ISSUER, Looked, Party, Place, code, key, new_party, question, web};

/// A wallet's checks of a request: the registration is the register's, is the asker's own, and covers what is asked.
fn wallet_allows(place: &Place, looked: &Looked, certificate: &[u8]) -> Result<(), String> {
    let root = place.credentials.register_root();
    let certified = |leaf: &[u8]| verify_chain(leaf, &[root], Usage::Reader, place.world.now());
    let registration = Registration::verify(
        looked.request.registration().ok_or("no registration")?,
        |chain| certified(chain.first()?).ok().map(|registrar| registrar.key),
        place.world.seconds(),
    )
    .map_err(|error| error.to_string())?;
    let asker = certified(certificate).map_err(|error| error.to_string())?;
    if asker.organization.as_ref() != Some(&registration.sub) {
        return Err("the registration of another".into());
    }
    let query = looked.request.query().map_err(|error| error.to_string())?;
    registration.allows(&query).map_err(|error| error.to_string())
}

fn query(format: &str, claim: &str) -> Value {
    match format {
        "mso_mdoc" => json!({"credentials": [{
            "id": "a", "format": format, "meta": {"doctype_value": DOC_TYPE}, "claims": [{"path": [DOC_TYPE, claim]}],
        }]}),
        "dc+sd-jwt" => json!({"credentials": [{
            "id": "a", "format": format, "meta": {"vct_values": [format!("{ISSUER}/types/id")]}, "claims": [{"path": [claim]}],
        }]}),
        predicate => json!({"credentials": [{"id": "a", "format": predicate, "meta": {"predicate": claim}}]}),
    }
}

#[test]
fn asking_for_more_than_is_registered_is_refused_by_verifier_and_wallet() {
    let counter = Counter::new();
    for format in ["mso_mdoc", "dc+sd-jwt", "org.habeas.predicate"] {
        let ask = |claim: &str| {
            let question = credential::verifier::Question { dcql_query: Some(query(format, claim)), ..question(&[]) };
            counter.verifier.ask(&question, BASE)
        };
        let asked = ask("age_over_60").unwrap();
        let looked = counter.look(&asked);
        let certificate = counter.party.certificate();
        assert_eq!(wallet_allows(&counter.place, &looked, &certificate), Ok(()), "{format}");
        assert!(matches!(ask("document_number"), Err(VerifierError::OverAsking(_))), "{format}");
        // A verifier that does not hold itself to it meets the wallet.
        let mut rogue = looked;
        rogue.request.dcql_query = query(format, "document_number");
        let refused = wallet_allows(&counter.place, &rogue, &certificate).unwrap_err();
        assert!(refused.contains("more than is registered"), "{refused}");
    }
    assert!(matches!(
        counter.verifier.ask(&question(&["age_over_60", "age_over_65"]), BASE),
        Err(VerifierError::OverAsking(_))
    ));
    assert!(matches!(counter.verifier.ask(&question(&[]), BASE), Err(VerifierError::Message(_))));
    let other =
        json!({"credentials": [{"id": "a", "format": "mso_mdoc", "meta": {"doctype_value": "org.iso.18013.5.1.mDL"}}]});
    let other = credential::verifier::Question { dcql_query: Some(other), ..question(&[]) };
    assert!(matches!(counter.verifier.ask(&other, BASE), Err(VerifierError::OverAsking(_))), "another document");
}

#[test]
fn a_verifier_without_predicates_asks_for_credentials_in_either_format() {
    let counter = Counter::new();
    let formats = |names: &[&str]| -> Vec<String> {
        let looked = counter.look(&counter.ask(names));
        let query: Query = looked.request.query().unwrap();
        assert_eq!(query.credential_sets.len(), 1, "one of them is enough");
        query.credentials.into_iter().map(|credential| credential.format).collect()
    };
    assert_eq!(formats(&["age_over_60"]), ["mso_mdoc", "dc+sd-jwt"]);
    assert_eq!(formats(&["given_name"]), ["mso_mdoc", "dc+sd-jwt"]);
    assert_eq!(formats(&["given_name", "age_over_60"]), ["mso_mdoc", "dc+sd-jwt"]);
}

#[test]
fn whoever_is_suspended_asks_nobody() {
    let counter = Counter::new();
    let (place, ask) = (&counter.place, || counter.verifier.ask(&question(&["given_name"]), BASE));
    let bystander = Party::register(place, "NTRUT-2", &["given_name"]);
    let bystander = Verifier::new(bystander.at(place), web(place), place.world.clone()).unwrap();
    place.credentials.suspend_relying_party("NTRUT-1", true).unwrap();
    assert!(matches!(ask(), Err(VerifierError::Suspended)), "at once, where no list is kept");
    assert!(bystander.ask(&question(&["given_name"]), BASE).is_ok(), "nobody else");
    place.credentials.suspend_relying_party("NTRUT-1", false).unwrap();
    assert!(matches!(ask(), Err(VerifierError::Suspended)), "the list is kept for half a minute");
    place.world.pass(30);
    assert!(ask().is_ok(), "lifted");
    place.credentials.suspend_relying_party("NTRUT-1", true).unwrap();
    place.world.pass(30);
    assert!(matches!(ask(), Err(VerifierError::Suspended)), "within half a minute, where a list is kept");
    assert_eq!(code(place.credentials.suspend_relying_party("NTRUT-9", true)), "invalid_request");
    let told = place.world.roles().iter().filter(|role| **role == "suspended").count();
    assert_eq!(told, 3, "each is in the log");
}

/// The list that a wallet fetches says it at once: it keeps none.
#[test]
fn the_registers_list_tells_a_suspension_at_once() {
    let counter = Counter::new();
    let place = &counter.place;
    let registration = counter.verifier.registration().clone();
    let reference: statuslist::Reference = serde_json::from_value(registration.status).unwrap();
    let status = || {
        let list = place.credentials.register_status_list(credential::status::Form::Jwt, ISSUER).unwrap();
        let signer = |chain: &[Vec<u8>]| {
            let roots = [place.credentials.issuer_root()];
            verify_chain(chain.first()?, &roots, Usage::DocumentSigner, place.world.now()).ok().map(|signer| signer.key)
        };
        let list = std::str::from_utf8(&list).unwrap().to_owned();
        statuslist::verify_jwt(&list, &reference.uri, signer, place.world.seconds())
            .unwrap()
            .status(&reference)
            .unwrap()
    };
    assert_eq!(status(), statuslist::Status::Valid);
    place.credentials.suspend_relying_party("NTRUT-1", true).unwrap();
    assert_eq!(status(), statuslist::Status::Suspended);
    place.credentials.suspend_relying_party("NTRUT-1", false).unwrap();
    assert_eq!(status(), statuslist::Status::Valid);
}

/// A suspension holds although it can't be announced; a lifting does not.
#[test]
fn without_the_log_a_suspension_holds_and_nothing_else_does() {
    let place = Place::new();
    Party::register(&place, "NTRUT-1", &["given_name"]);
    let suspended = || place.credentials.relying_parties().unwrap()[0].suspended;
    place.world.log_down.store(true, Ordering::SeqCst);
    assert_eq!(code(place.credentials.suspend_relying_party("NTRUT-1", true)), "log");
    assert!(suspended());
    assert_eq!(code(place.credentials.suspend_relying_party("NTRUT-1", false)), "log");
    assert!(suspended());
    let key = key();
    let new = new_party("NTRUT-2", &["given_name"], &key);
    assert_eq!(code(place.credentials.register(&new, ISSUER)), "log");
    assert_eq!(place.credentials.relying_parties().unwrap().len(), 1, "nobody was registered");
    place.world.log_down.store(false, Ordering::SeqCst);
    assert_eq!(code(place.credentials.register(&new, ISSUER)), "accepted", "a repeat works");
    assert_eq!(code(place.credentials.suspend_relying_party("NTRUT-1", false)), "accepted");
    assert!(!suspended());
}

#[test]
fn nobody_asks_under_anothers_registration() {
    let counter = Counter::new();
    let place = &counter.place;
    let modest = Party::register(place, "NTRUT-2", &["age_over_60"]);
    let open = |party: RelyingParty| Verifier::new(party, web(place), place.world.clone()).map(|_| ());
    assert!(open(modest.at(place)).is_ok(), "the control");
    let borrowed =
        || RelyingParty { registration_certificate: counter.party.registered.registration.clone(), ..modest.at(place) };
    assert!(matches!(open(borrowed()), Err(VerifierError::Message(_))), "its own verifier refuses it");
    // A verifier that does not look meets the wallet.
    let looked = counter.look(&counter.ask(&["birth_date", "given_name"]));
    assert_eq!(wallet_allows(place, &looked, &counter.party.certificate()), Ok(()));
    let refused = wallet_allows(place, &looked, &modest.certificate()).unwrap_err();
    assert_eq!(refused, "the registration of another");

    let stolen = RelyingParty { key: Box::new(key()), ..counter.party.at(place) };
    assert!(matches!(open(stolen), Err(VerifierError::Message(_))), "the certificate of another key");
    let elsewhere = Place::new();
    let theirs = Party::register(&elsewhere, "NTRUT-1", &["given_name"]);
    assert!(matches!(open(theirs.at(place)), Err(VerifierError::Message(_))), "another register's");
    let changed = counter.party.registered.registration.replace('.', ".A");
    let changed = RelyingParty { registration_certificate: changed, ..counter.party.at(place) };
    assert!(matches!(open(changed), Err(VerifierError::Message(_))));
}

#[test]
fn a_registration_ends_after_a_year() {
    let counter = Counter::new();
    let place = &counter.place;
    let looked = counter.look(&counter.ask(&["given_name", "birth_date"]));
    let certificate = counter.party.certificate();
    place.world.pass(364 * DAY);
    assert!(Verifier::new(counter.party.at(place), web(place), place.world.clone()).is_ok(), "the control");
    assert_eq!(wallet_allows(place, &looked, &certificate), Ok(()));
    place.world.pass(DAY);
    let late = Verifier::new(counter.party.at(place), web(place), place.world.clone());
    assert!(matches!(late, Err(VerifierError::Message(_))));
    assert!(wallet_allows(place, &looked, &certificate).unwrap_err().contains("out of date"));
}

#[test]
fn what_is_registered_is_complete_and_in_the_log() {
    let place = Place::new();
    let key = key();
    let good = new_party("NTRUT-1", &["age_over_60"], &key);
    let refused = |change: &dyn Fn(&mut NewRelyingParty)| {
        let mut new = good.clone();
        change(&mut new);
        assert_eq!(code(place.credentials.register(&new, ISSUER)), "invalid_request", "{new:?}");
    };
    refused(&|new| new.identifier = "a b c d".into());
    refused(&|new| new.identifier = "x".repeat(65));
    refused(&|new| new.name = " ".into());
    refused(&|new| new.name = "two\nlines".into());
    refused(&|new| new.legal_name.clear());
    refused(&|new| new.legal_basis.clear());
    refused(&|new| new.purpose.clear());
    refused(&|new| new.purpose[0].value = "x".repeat(201));
    refused(&|new| new.retention_days = 3_653);
    refused(&|new| new.attributes.clear());
    refused(&|new| new.attributes.push("religion".into()));
    assert!(place.credentials.relying_parties().unwrap().is_empty());
    let registered = place.credentials.register(&good, ISSUER).unwrap();
    refused(&|_| {});
    let announced = place.world.announced.lock().unwrap();
    let Some(Announcement::RelyingParty { id, attributes, certificate_sha256, .. }) = announced.last() else {
        panic!("not in the log")
    };
    let certificate = jose::base64url::decode(&registered.certificate).unwrap();
    assert_eq!((id.as_str(), attributes.as_slice()), ("NTRUT-1", ["age_over_60".to_owned()].as_slice()));
    assert_eq!(*certificate_sha256, <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(certificate)));
}

/// When the register's list can't be had, nobody is asked.
#[test]
fn without_the_registers_list_nobody_is_asked() {
    let counter = Counter::new();
    *counter.web.change.lock().unwrap() = Some(Box::new(|_| Err("no network".into())));
    let ask = || counter.verifier.ask(&question(&["given_name"]), BASE);
    assert!(matches!(ask(), Err(VerifierError::Status(_))));
    *counter.web.change.lock().unwrap() = None;
    assert!(ask().is_ok(), "the control");
}
