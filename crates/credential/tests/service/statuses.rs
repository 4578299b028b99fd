//! Revoking and suspending, as readers of the lists see it.

use credential::Clock;
use credential::status::Form;
use mdoc::certificate::{Usage, verify_chain};
use openid4vc::credential::{Notification, NotificationEvent};
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use statuslist::{Status, StatusListToken};

use crate::world::{FORMATS, Held, ISSUER, Place, code, key};

/// A list as a reader verifies it.
fn list(place: &Place, form: Form) -> StatusListToken {
    let bytes = place.credentials.status_list(0, form, ISSUER).unwrap().unwrap();
    let signer = |chain: &[Vec<u8>]| {
        let roots = [place.credentials.issuer_root()];
        verify_chain(chain.first()?, &roots, Usage::DocumentSigner, place.world.now())
            .ok()
            .map(|certified| certified.key)
    };
    let (uri, now) = (format!("{ISSUER}/status/0"), place.world.seconds());
    match form {
        Form::Jwt => statuslist::verify_jwt(std::str::from_utf8(&bytes).unwrap(), &uri, signer, now).unwrap(),
        Form::Cwt => statuslist::verify_cwt(&bytes, &uri, signer, now).unwrap(),
    }
}

/// What both forms of the list say of a credential.
pub fn status(place: &Place, held: &Held) -> Status {
    let reference = place.read(held).place;
    let [jwt, cwt] = [Form::Jwt, Form::Cwt].map(|form| list(place, form).status(&reference).unwrap());
    assert_eq!(jwt, cwt);
    jwt
}

#[test]
fn revoking_a_person_revokes_all_of_hers_and_nothing_else() {
    let place = Place::new();
    let (phone, card, bea) = (place.device("ada"), place.device_by("offer ada 2"), place.device("bea"));
    let of = |device: &crate::world::Device| FORMATS.map(|format| device.batch(format, 3).unwrap().credentials);
    let (hers, others): (Vec<Held>, Vec<Held>) =
        (of(&phone).into_iter().chain(of(&card)).flatten().collect(), of(&bea).into_iter().flatten().collect());
    assert!(hers.iter().chain(&others).all(|held| status(&place, held) == Status::Valid));
    assert_eq!(place.credentials.revoke_person("ada").unwrap(), hers.len());
    assert!(hers.iter().all(|held| status(&place, held) == Status::Invalid));
    assert!(others.iter().all(|held| status(&place, held) == Status::Valid));
    let list = list(&place, Form::Cwt).list;
    let marked = (0..list.len() as u64).filter(|place| list.get(*place) != Ok(Status::Valid)).count();
    assert_eq!(marked, hers.len(), "no place of anybody else");
    assert_eq!(place.credentials.revoke_person("ada").unwrap(), 0, "once");
    assert_eq!(place.credentials.revoke_person("nobody").unwrap(), 0);
}

#[test]
fn a_suspension_is_lifted_and_a_revocation_is_not() {
    let place = Place::new();
    let (ada, bea) = (place.device("ada"), place.device("bea"));
    let (hers, other) = (ada.held(MSO_MDOC), bea.held(MSO_MDOC));
    let grant = ada.authorized().unwrap();
    assert_eq!(place.credentials.suspend(&grant.id, true).unwrap(), 1);
    assert_eq!((status(&place, &hers), status(&place, &other)), (Status::Suspended, Status::Valid));
    let fresh = ada.batch(SD_JWT_VC, 1);
    assert_eq!(code(fresh), "credential_request_denied", "a new batch would undo the suspension");
    assert_eq!(code(bea.batch(SD_JWT_VC, 1)), "accepted");
    assert_eq!(place.credentials.suspend(&grant.id, false).unwrap(), 1);
    assert_eq!(status(&place, &hers), Status::Valid);
    assert_eq!(code(ada.batch_for(&grant, SD_JWT_VC, vec![key()])), "accepted");
    place.credentials.revoke_person("ada").unwrap();
    assert_eq!(place.credentials.suspend(&grant.id, false).unwrap(), 0);
    assert_eq!(status(&place, &hers), Status::Invalid);
}

#[test]
fn what_a_wallet_could_not_keep_is_revoked() {
    let place = Place::new();
    let ada = place.device("ada");
    let events = [
        (NotificationEvent::CredentialAccepted, Status::Valid),
        (NotificationEvent::CredentialFailure, Status::Invalid),
        (NotificationEvent::CredentialDeleted, Status::Invalid),
    ];
    let bystander = ada.held(MSO_MDOC);
    for (event, expected) in events {
        let batch = ada.batch(SD_JWT_VC, 4).unwrap();
        let notification =
            Notification { notification_id: batch.notification_id.clone(), event, event_description: None };
        place.credentials.notify(&notification).unwrap();
        assert!(batch.credentials.iter().all(|held| status(&place, held) == expected), "{event:?}");
    }
    assert_eq!(status(&place, &bystander), Status::Valid);
}

#[test]
fn a_list_is_signed_again_only_when_something_changed_or_it_is_old() {
    let place = Place::new();
    let ada = place.device("ada");
    let held = ada.held(MSO_MDOC);
    for form in [Form::Jwt, Form::Cwt] {
        let fetch = || place.credentials.status_list(0, form, ISSUER).unwrap().unwrap();
        let first = fetch();
        assert_eq!(fetch(), first, "a signature is another each time, so the same bytes were kept");
        place.world.pass(10);
        ada.batch_for(&ada.authorized().unwrap(), SD_JWT_VC, vec![key()]).unwrap();
        assert_eq!(fetch(), first, "issuing changes nothing: a list does not tell how many there are");
        place.world.pass(300);
        let second = fetch();
        assert_ne!(second, first, "it is old");
        assert_eq!(list(&place, form).issued_at, place.world.seconds());
        let ada = place.device_by(&format!("offer ada {form:?}"));
        ada.held(MSO_MDOC);
        place.credentials.suspend(&ada.authorized().unwrap().id, true).unwrap();
        assert_ne!(fetch(), second, "something changed");
    }
    assert_eq!(status(&place, &held), Status::Valid);
    assert!(place.credentials.status_list(1, Form::Jwt, ISSUER).unwrap().is_none(), "no such list");
}
