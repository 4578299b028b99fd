//! Offers: two codes make a person, once. And the database from before there were transaction codes.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hmac::{Hmac, KeyInit, Mac};
use registry::Registry;
use registry::api::{HolderAuth, HolderRequest, holder_router};
use registry::enrol::Offer;
use registry::offers::OfferRefusal;
use registry::person::Attribute;
use sha2::Sha256;
use tower::ServiceExt;

use super::{World, enrolled, open};

/// A code of six digits that is not the offer's.
fn wrong(offer: &Offer) -> &'static str {
    if offer.tx_code == "000000" { "000001" } else { "000000" }
}

fn check(registry: &Registry, offer: &Offer, tx_code: &str) -> Result<(), OfferRefusal> {
    registry.check_offer(&offer.code, Some(tx_code))
}

fn take(registry: &Registry, offer: &Offer, grant: &str) -> Result<String, OfferRefusal> {
    registry.take_offer(&offer.code, Some(&offer.tx_code), grant)
}

#[test]
fn an_offer_is_taken_once_with_both_codes() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    let offer = enrolled(&registry);
    assert!(offer.tx_code.len() == 6 && offer.tx_code.bytes().all(|byte| byte.is_ascii_digit()));
    let unknown = Offer { code: "00".repeat(32), ..offer.clone() };
    assert!(matches!(take(&registry, &unknown, "a"), Err(OfferRefusal::Unknown)));
    assert!(matches!(registry.check_offer(&offer.code, None), Err(OfferRefusal::WrongCode { left: 4 })));
    assert!(check(&registry, &offer, &offer.tx_code).is_ok());
    assert!(check(&registry, &offer, &offer.tx_code).is_ok(), "looking takes nothing");
    let person = take(&registry, &offer, "a").unwrap();
    assert_eq!(take(&registry, &offer, "a").unwrap(), person, "the same grant may take it again");
    assert!(matches!(take(&registry, &offer, "b"), Err(OfferRefusal::Used)));
    assert!(matches!(check(&registry, &offer, &offer.tx_code), Err(OfferRefusal::Used)));
    assert!(matches!(registry.take_offer(&offer.code, Some(wrong(&offer)), "a"), Err(OfferRefusal::WrongCode { .. })));
    assert_eq!(registry.person_by_document("1111111").unwrap(), Some(person));
    assert_eq!(registry.person_by_document("9999999").unwrap(), None);
    assert!(registry.audit().unwrap().problems.is_empty());
}

#[test]
fn five_wrong_transaction_codes_void_an_offer() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    let offer = enrolled(&registry);
    for left in (1..5).rev() {
        let refused = check(&registry, &offer, wrong(&offer));
        assert!(matches!(refused, Err(OfferRefusal::WrongCode { left: told }) if told == left), "{left}");
    }
    // A try counts wherever it is made, and after a restart.
    drop(registry);
    let registry = open(folder.path(), &Arc::new(World::default()));
    assert!(matches!(registry.take_offer(&offer.code, Some(wrong(&offer)), "a"), Err(OfferRefusal::Locked)));
    assert!(matches!(take(&registry, &offer, "a"), Err(OfferRefusal::Locked)), "the right one, too late");

    // The control: after four the right one is not too late.
    let person = registry.person_by_document("1111111").unwrap().unwrap();
    let offer = registry.new_offer(&person).unwrap();
    (0..4).for_each(|_| assert!(check(&registry, &offer, wrong(&offer)).is_err()));
    assert_eq!(take(&registry, &offer, "a").unwrap(), person);
}

#[test]
fn a_new_offer_voids_those_that_nobody_took() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    let first = enrolled(&registry);
    let person = registry.person_by_document("1111111").unwrap().unwrap();
    let second = registry.new_offer(&person).unwrap();
    assert_ne!((&second.code, &second.tag_key), (&first.code, &String::new()));
    assert_eq!(second.tag_key, first.tag_key, "the person's own entries in the log stay hers");
    assert!(matches!(take(&registry, &first, "a"), Err(OfferRefusal::Locked)));
    assert_eq!(take(&registry, &second, "a").unwrap(), person);
    let third = registry.new_offer(&person).unwrap();
    assert_eq!(take(&registry, &second, "a").unwrap(), person, "one that was taken stands");
    assert_eq!(take(&registry, &third, "b").unwrap(), person);
    // Another person's stands, too.
    let bea = registry.person_by_document("2222222").unwrap().unwrap();
    let offer = registry.new_offer(&bea).unwrap();
    registry.new_offer(&person).unwrap();
    assert_eq!(take(&registry, &offer, "c").unwrap(), bea);
    assert!(registry.new_offer("nobody").is_err());
}

/// Takes a request for the person whose token it shows.
struct Tokens(String);

impl HolderAuth for Tokens {
    fn person(&self, request: HolderRequest<'_>) -> Result<String, String> {
        let good = request.authorization == Some("DPoP good") && request.proof == Some("proof");
        let here = request.method == "POST" && request.uri.starts_with("https://habeas.example/v1/entitlements");
        if good && here { Ok(self.0.clone()) } else { Err("this needs an access token".into()) }
    }
}

#[test]
fn a_holders_routes_need_the_holders_token() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(folder.path(), &Arc::new(World::default()));
    let offer = enrolled(&registry);
    let person = take(&registry, &offer, "a").unwrap();
    let router = holder_router(registry, Arc::new(Tokens(person)), "https://habeas.example");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let status = |path: &str, token: Option<&str>, proof: Option<&str>, body: String| {
        let mut request = Request::post(path);
        for (name, value) in [(header::AUTHORIZATION.as_str(), token), ("dpop", proof)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Body::from(body)).unwrap();
        runtime.block_on(router.clone().oneshot(request)).unwrap().status()
    };
    let nothing = || String::from("null");
    for path in ["/v1/entitlements", "/v1/entitlements/claim"] {
        assert_eq!(status(path, None, None, nothing()), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(status(path, Some("DPoP bad"), Some("proof"), nothing()), StatusCode::UNAUTHORIZED);
        assert_eq!(status(path, Some("DPoP good"), None, nothing()), StatusCode::UNAUTHORIZED);
    }
    let claim = r#"{"entitlement": "x", "pubkey": "02"}"#;
    let good = |path: &str, body: &str| status(path, Some("DPoP good"), Some("proof"), body.to_owned());
    assert_eq!(good("/v1/entitlements", "null"), StatusCode::OK, "the control");
    assert_eq!(good("/v1/entitlements/claim", claim), StatusCode::BAD_REQUEST, "the key is none");
    assert_eq!(good("/v1/entitlements/claim", &claim.replace("02", &"02".repeat(33))), StatusCode::NOT_FOUND);
    assert_eq!(good("/v1/entitlements/claim", "nothing"), StatusCode::BAD_REQUEST);
    assert_eq!(good("/v1/entitlements/claim", &"x".repeat(5_000)), StatusCode::PAYLOAD_TOO_LARGE);
}

/// Tables whose rows are the same in versions 1 and 2 of the schema.
const UNCHANGED: [&str; 3] = ["people", "blocks", "possible_duplicates"];

/// A database as version 1 left it: its people, an offer that nobody took and one that was taken.
fn at_version_1(folder: &Path) {
    let registry = open(folder, &Arc::new(World::default()));
    enrolled(&registry);
    drop(registry);
    let (now, before) = (folder.join("registry.db"), folder.join("version-1.db"));
    let index = hex::decode(std::fs::read_to_string(folder.join("keys/index.key")).unwrap().trim()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&index).unwrap();
    mac.update(b"habeas registry row key v1");
    let row_key: [u8; 32] = mac.finalize().into_bytes().into();
    let database =
        storage::sqlite::open(&before, &[include_str!("../../migrations/0001_registry.sql")], &row_key).unwrap();
    database.execute("ATTACH ?1 AS now", [now.to_str().unwrap()]).unwrap();
    for table in UNCHANGED {
        database.execute(&format!("INSERT INTO main.{table} SELECT * FROM now.{table}"), []).unwrap();
    }
    database
        .execute_batch(
            "INSERT INTO offers (code_hash, person) SELECT zeroblob(32), id FROM main.people LIMIT 1;
             INSERT INTO offers (code_hash, person, holder_key) SELECT x'01', id, x'02' FROM main.people LIMIT 1;
             INSERT INTO holders (holder_key, person) SELECT x'02', id FROM main.people LIMIT 1;
             DETACH now;",
        )
        .unwrap();
    assert!(storage::sqlite::audit(&database).unwrap().is_empty());
    drop(database);
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("registry.db") {
            std::fs::remove_file(file).unwrap();
        }
    }
    std::fs::rename(before, now).unwrap();
}

#[test]
fn a_database_of_version_1_keeps_its_people_and_gives_new_offers() {
    let folder = tempfile::tempdir().unwrap();
    at_version_1(folder.path());
    let registry = open(folder.path(), &Arc::new(World::default()));
    let audit = registry.audit().unwrap();
    assert_eq!((audit.people, audit.problems), (2, Vec::new()));
    let person = registry.person_by_document("1111111").unwrap().expect("enrolled before");
    let opened = registry.attributes_for_credential(&person).unwrap();
    assert_eq!(opened.get(Attribute::GivenName), Some("adaline"));
    let offer = registry.new_offer(&person).unwrap();
    assert_eq!(take(&registry, &offer, "a").unwrap(), person);
    drop(registry);
    let database = rusqlite::Connection::open(folder.path().join("registry.db")).unwrap();
    let count = |table: &str| {
        let query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        database.query_row(query, [table], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((count("offers"), count("holders"), count("offer_codes")), (0, 0, 1), "what is void is gone");
    // The control: a row that was changed before the migration is found after it.
    let other = tempfile::tempdir().unwrap();
    at_version_1(other.path());
    let thief = rusqlite::Connection::open(other.path().join("registry.db")).unwrap();
    thief.execute("UPDATE people SET encoding = x'00'", []).unwrap();
    drop(thief);
    assert!(!open(other.path(), &Arc::new(World::default())).audit().unwrap().problems.is_empty());
}
