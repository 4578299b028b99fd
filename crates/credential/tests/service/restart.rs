//! What survives the end of the process, and what is used only after it was announced.

use std::sync::atomic::Ordering;

use credential::status::Form;
use credential::{Announcement, Clock, IssuerError, Renewed};
use mdoc::certificate::{Usage, key_of_own};
use openid4vc::token::{REFRESH_TOKEN, TokenRequest};
use openid4vc::trusted_list::{ServiceKind, TrustedList};
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

/// What is announced at the first start.
const FIRST_ENTRIES: [&str; 6] =
    ["iaca", "document-signer", "register-root", "registrar", "list-operator", "trusted list"];

/// A service that is never stopped does the same.
#[test]
fn signers_follow_one_another_while_running() {
    let place = Place::new();
    place.world.pass(59 * DAY);
    let old = place.device("ada").held(FORMATS[0]);
    let renewed = place.credentials.follow_calendar().unwrap();
    assert_eq!((renewed.signers, renewed.trusted_list), (0, false));
    let before = place.credentials.document_signer().chain.clone();
    place.world.pass(32 * DAY);
    place.world.log_down.store(true, Ordering::SeqCst);
    assert!(matches!(place.credentials.follow_calendar(), Err(IssuerError::Log(_))));
    assert_eq!(place.credentials.document_signer().chain, before, "what can't be announced is not used");
    place.world.log_down.store(false, Ordering::SeqCst);
    let renewed = place.credentials.follow_calendar().unwrap();
    assert_eq!((renewed.signers, renewed.trusted_list), (2, true));
    assert_ne!(place.credentials.document_signer().chain, before);
    let entries: Vec<_> =
        place.world.roles().into_iter().skip(FIRST_ENTRIES.len()).filter(|role| *role != "predicate key").collect();
    assert_eq!(entries, ["document-signer", "registrar", "trusted list"]);
    assert_eq!(place.credentials.follow_calendar().unwrap(), Renewed::default(), "once");
    let new = place.device("bea").held(FORMATS[0]);
    assert_eq!(place.read(&old).values["given_name"], "ada", "signed by the one before");
    assert_eq!(place.read(&new).values["given_name"], "bea");
}

fn trusted_list(credentials: &credential::Credentials, now: jiff::Timestamp) -> TrustedList {
    let own = |certificate: &[u8]| key_of_own(certificate, Usage::TrustedList, now);
    TrustedList::verify(&credentials.trusted_list().jws, own, now).unwrap()
}

#[test]
fn the_trusted_list_names_the_roots_and_is_renewed_in_time() {
    let place = Place::new();
    let list = trusted_list(&place.credentials, place.world.now());
    assert_eq!(list.certificates(ServiceKind::Credentials), [place.credentials.issuer_root()]);
    assert_eq!(list.certificates(ServiceKind::AccessCertificates), [place.credentials.register_root()]);
    assert_eq!(list.sequence, 1);
    let published = place.credentials.trusted_list();
    let place = place.reopened();
    assert_eq!(place.credentials.trusted_list(), published, "the same after a restart");
    // In the log in the words that are served, under its place.
    let hash: [u8; 32] = Sha256::digest(&published.jws).into();
    let entry = &place.world.announced.lock().unwrap()[usize::try_from(published.log_index).unwrap()].clone();
    assert_eq!(*entry, Announcement::TrustedList { sequence: 1, sha256: hash });
    place.world.pass(90 * DAY);
    assert!(!place.credentials.follow_calendar().unwrap().trusted_list);
    place.world.pass(2 * DAY);
    assert!(place.credentials.follow_calendar().unwrap().trusted_list, "half of its time is over");
    assert_eq!(trusted_list(&place.credentials, place.world.now()).sequence, 2);
    // A wallet provider that is added is in the next list.
    let providers = place.folder.path().join("keys/wallet-providers");
    std::fs::create_dir_all(&providers).unwrap();
    std::fs::write(providers.join("a.der"), place.credentials.issuer_root()).unwrap();
    let place = place.reopened();
    let list = trusted_list(&place.credentials, place.world.now());
    assert_eq!((list.sequence, list.certificates(ServiceKind::Wallets).len()), (3, 1));
}

/// The process ends after the list was written down for the log, and before anybody knows whether it is there: it is announced again,
/// since another one with its number would look like a list for one person.
#[test]
fn a_list_that_may_be_in_the_log_is_announced_again() {
    let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
    drop(open(folder.path(), &world).unwrap());
    world.pass(92 * DAY);
    let waiting = folder.path().join("trusted-list.next");
    // The log takes the two signers' certificates, and then nothing.
    world.log_takes.store(2, Ordering::SeqCst);
    assert!(matches!(open(folder.path(), &world), Err(IssuerError::Log(_))));
    let begun = std::fs::read_to_string(&waiting).unwrap();
    world.log_takes.store(usize::MAX, Ordering::SeqCst);
    world.pass(DAY);
    let credentials = open(folder.path(), &world).unwrap();
    assert_eq!(credentials.trusted_list().jws, begun);
    assert!(!waiting.exists());
    // One that was served before is not taken for one that waits.
    std::fs::write(&waiting, &begun).unwrap();
    world.pass(92 * DAY);
    assert!(credentials.follow_calendar().unwrap().trusted_list);
    assert_ne!(credentials.trusted_list().jws, begun);
    assert_eq!(trusted_list(&credentials, world.now()).sequence, 3);
}

#[test]
fn signers_follow_one_another_and_old_credentials_still_verify() {
    let place = Place::new();
    let old = place.device("ada").held(FORMATS[0]);
    assert_eq!(place.world.roles(), FIRST_ENTRIES);
    place.world.pass(59 * DAY);
    let place = place.reopened();
    assert_eq!(place.world.roles().len(), 6, "within the quarter nothing changes");
    place.read(&old);
    let old = place.device("bea").held(FORMATS[0]);
    place.world.pass(32 * DAY);
    let place = place.reopened();
    assert_eq!(place.world.roles()[6..], ["document-signer", "registrar", "trusted list"]);
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
