//! What survives the end of the process, and what is used only after it was announced.

use std::sync::atomic::Ordering;

use credential::status::Form;
use credential::{Announcement, Clock, IssuerError};
use openid4vc::token::{REFRESH_TOKEN, TokenRequest};
use sha2::{Digest, Sha256};
use statuslist::Status;

use crate::statuses::status;
use crate::world::{DAY, FORMATS, ISSUER, Party, Place, World, code, open, read};

#[test]
fn grants_batches_statuses_and_relying_parties_survive() {
    let place = Place::new();
    let (mut ada, bea) = (place.device("ada"), place.device("bea"));
    let (kept, revoked) = (ada.held(FORMATS[0]), bea.held(FORMATS[1]));
    place.credentials.revoke_person("bea").unwrap();
    Party::register(&place, "NTRUT-1", &["age_over_60"]);
    Party::register(&place, "NTRUT-2", &["age_over_60"]);
    place.credentials.suspend_relying_party("NTRUT-2", true).unwrap();
    let register = place.credentials.register_status_list(Form::Jwt, ISSUER).unwrap();
    let (roots, parties) = (
        (place.credentials.issuer_root().to_vec(), place.credentials.register_root().to_vec()),
        place.credentials.relying_parties().unwrap(),
    );

    let place = place.reopened();
    ada.credentials = place.credentials.clone();
    let again = (place.credentials.issuer_root().to_vec(), place.credentials.register_root().to_vec());
    assert_eq!(again, roots);
    assert_eq!(place.credentials.relying_parties().unwrap(), parties);
    assert_eq!(parties.iter().map(|party| party.suspended).collect::<Vec<_>>(), [false, true]);
    assert_eq!((status(&place, &kept), status(&place, &revoked)), (Status::Valid, Status::Invalid));
    let list = |jwt: &[u8]| {
        let text = std::str::from_utf8(jwt).unwrap().to_owned();
        let payload = jose::base64url::decode(text.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&payload).unwrap()["status_list"].clone()
    };
    assert_eq!(list(&place.credentials.register_status_list(Form::Jwt, ISSUER).unwrap()), list(&register));
    assert_eq!(code(ada.batch(FORMATS[0], 1)), "accepted", "the token's key and the grant are there");
    let refresh = TokenRequest {
        grant_type: REFRESH_TOKEN.into(),
        refresh_token: ada.token.as_ref().unwrap().refresh_token.clone(),
        ..TokenRequest::default()
    };
    assert_eq!(code(ada.ask_token(&refresh)), "accepted");
    assert_eq!(place.credentials.revoke_person("ada").unwrap(), 2, "what was issued before and after");
    assert!(place.credentials.store().audit().unwrap().is_empty());
}

/// A place in the list that was drawn before the restart is not drawn again.
#[test]
fn places_stay_taken() {
    let place = Place::new();
    let ada = place.device("ada");
    let mut before: Vec<u64> = (0..20)
        .flat_map(|_| ada.batch(FORMATS[1], 10).unwrap().credentials)
        .map(|held| place.read(&held).place.idx)
        .collect();
    let place = place.reopened();
    let bea = place.device("bea");
    before.extend(
        (0..20).flat_map(|_| bea.batch(FORMATS[1], 10).unwrap().credentials).map(|held| place.read(&held).place.idx),
    );
    let all = before.len();
    before.sort_unstable();
    before.dedup();
    assert_eq!(before.len(), all);
}

#[test]
fn signers_follow_one_another_and_old_credentials_still_verify() {
    let place = Place::new();
    let old = place.device("ada").held(FORMATS[0]);
    assert_eq!(place.world.roles(), ["iaca", "document-signer", "register-root", "registrar"]);
    place.world.pass(59 * DAY);
    let place = place.reopened();
    assert_eq!(place.world.roles().len(), 4, "within the quarter nothing changes");
    place.read(&old);
    let old = place.device("bea").held(FORMATS[0]);
    place.world.pass(32 * DAY);
    let place = place.reopened();
    assert_eq!(place.world.roles()[4..], ["document-signer", "registrar"]);
    let new = place.device("cid").held(FORMATS[0]);
    assert_eq!(place.read(&old).values["given_name"], "bea", "signed by the one before");
    assert_eq!(place.read(&new).values["given_name"], "cid");
    let signers = |number: usize| {
        std::fs::read(place.folder.path().join(format!("keys/document-signer.{number}.cert.der"))).unwrap()
    };
    let holds = |held: &crate::world::Held, signer: &[u8]| {
        let bytes = jose::base64url::decode(&held.credential).unwrap();
        bytes.windows(signer.len()).any(|window| window == signer)
    };
    assert!(holds(&old, &signers(1)) && !holds(&old, &signers(2)));
    assert!(holds(&new, &signers(2)) && !holds(&new, &signers(1)));
    // The control: one whose time is over is refused.
    place.world.pass(61 * DAY);
    assert!(read(&old, place.credentials.issuer_root(), place.world.now()).is_err());
}

#[test]
fn no_certificate_is_used_before_it_is_announced() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
    world.log_down.store(true, Ordering::SeqCst);
    assert!(matches!(open(folder.path(), &world), Err(IssuerError::Log(_))));
    assert!(!folder.path().join("keys/iaca.cert.der").exists());
    world.log_down.store(false, Ordering::SeqCst);
    let credentials = open(folder.path(), &world).unwrap();
    let announced: Vec<[u8; 32]> = world
        .announced
        .lock()
        .unwrap()
        .iter()
        .filter_map(|announcement| match announcement {
            Announcement::Certificate { sha256, .. } => Some(*sha256),
            _ => None,
        })
        .collect();
    for root in [credentials.issuer_root(), credentials.register_root()] {
        assert!(announced.contains(&Sha256::digest(root).into()));
    }
    drop(credentials);
    // The same where a signer's quarter is over.
    world.pass(92 * DAY);
    world.log_down.store(true, Ordering::SeqCst);
    assert!(matches!(open(folder.path(), &world), Err(IssuerError::Log(_))));
    assert!(!folder.path().join("keys/document-signer.2.cert.der").exists());
    world.log_down.store(false, Ordering::SeqCst);
    assert!(open(folder.path(), &world).is_ok(), "a second try works");
    assert!(folder.path().join("keys/document-signer.2.cert.der").exists());
}

#[test]
fn keys_and_certificates_that_dont_belong_together_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    let file = |place: &Place| place.folder.path().join("keys/document-signer.1.key.der");
    std::fs::copy(file(&other), file(&place)).unwrap();
    assert!(matches!(open(place.folder.path(), &place.world), Err(IssuerError::Keys(_))));
}

#[test]
fn rows_changed_on_disk_are_found() {
    for sql in [
        "UPDATE grants SET subject = 'bea'",
        "UPDATE grants SET revoked = 1",
        "UPDATE batches SET status = 2",
        "DELETE FROM batches",
        "UPDATE relying_parties SET suspended = 1",
    ] {
        let place = Place::new();
        place.device("ada").held(FORMATS[0]);
        Party::register(&place, "NTRUT-1", &["age_over_60"]);
        assert!(place.credentials.store().audit().unwrap().is_empty(), "the control");
        place.tampered(sql);
        assert!(!place.credentials.store().audit().unwrap().is_empty(), "{sql}");
    }
}
