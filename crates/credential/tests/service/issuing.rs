//! What a batch says, and to whom.

use credential::Clock;
use credential::attributes::NAMES;
use es256::Signer;
use jiff::Timestamp;
use serde_json::json;

use crate::world::{DAY, FORMATS, NOW, Place, key, read};

#[test]
fn a_batch_attests_the_person_to_the_issuers_root_in_both_formats() {
    let (place, other) = (Place::new(), Place::new());
    let (ada, bea) = (place.device("ada"), place.device("bea"));
    for format in FORMATS {
        let batch = ada.batch(format, 30).unwrap();
        assert_eq!(batch.credentials.len(), 30);
        for held in &batch.credentials {
            let told = place.read(held);
            assert_eq!(told.values.len(), NAMES.len());
            assert_eq!(told.values["given_name"], "ada");
            assert_eq!(told.values["document_number"], "number of ada");
            assert_eq!(told.values["birth_date"], "1961-11-23");
            assert_eq!(told.key, *held.key.public_key(), "each is for the key that was proven at its place");
        }
        assert_eq!(place.read(&bea.held(format)).values["given_name"], "bea");
        let held = &batch.credentials[0];
        assert!(read(held, other.credentials.issuer_root(), place.world.now()).is_err(), "another issuer's root");
        assert!(read(held, place.credentials.register_root(), place.world.now()).is_err(), "the register's root");
        let after = Timestamp::from_second(NOW + 61 * DAY).unwrap();
        assert!(read(held, place.credentials.issuer_root(), after).is_err(), "out of date");
    }
}

#[test]
fn ages_are_of_the_day_of_issuing() {
    let place = Place::new();
    let ada = place.device("ada");
    for format in FORMATS {
        let told = place.read(&ada.held(format));
        assert_eq!(told.values["age_over_65"], json!(true), "65 on this very day");
        assert_eq!(told.values["age_over_60"], json!(true));
    }
    let before = Place::new();
    before.world.pass(-DAY);
    // Its certificates are of the day that it was opened on.
    let before = {
        std::fs::remove_dir_all(before.folder.path()).unwrap();
        let credentials = crate::world::open(before.folder.path(), &before.world).unwrap();
        Place { credentials, ..before }
    };
    let ada = before.device("ada");
    for format in FORMATS {
        let told = before.read(&ada.held(format));
        assert_eq!(
            (&told.values["age_over_65"], &told.values["age_over_60"]),
            (&json!(false), &json!(true)),
            "{format}"
        );
    }
}

#[test]
fn a_credential_for_another_key_is_seen() {
    let place = Place::new();
    let held = place.device("ada").held(FORMATS[0]);
    assert_ne!(place.read(&held).key, *key().public_key());
}
