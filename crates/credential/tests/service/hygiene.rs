//! 1,000 batches: nothing in a credential tells which others are of the same batch or person. Each statistic stands beside an allocation
//! that must fail it, and beside one by a seeded generator that must pass.

use std::collections::{BTreeMap, HashSet};

use credential::Clock;
use jose::base64url;
use openid4vc::MSO_MDOC;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::world::{FORMATS, Held, Place, Told, key};

const BATCHES: usize = 1_000;
/// Small, so that a thousand take seconds; the rules are the same for 30.
const BATCH_SIZE: usize = 2;
const SEED: u64 = 20_261_123;
/// Places of a list.
const PLACES: u64 = 1 << 20;

/// Correlation of each place with the next: 0 by lot, within 1 / √n or so.
fn serial_correlation(places: &[u64]) -> f64 {
    let values: Vec<f64> = places.iter().map(|place| *place as f64).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let together: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    together / variance
}

/// How much the gaps between neighbouring places spread: their standard deviation over their mean, which is 1 by lot.
fn gap_spread(places: &[u64]) -> f64 {
    let mut sorted = places.to_vec();
    sorted.sort_unstable();
    let gaps: Vec<f64> = sorted.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt() / mean
}

/// The share of steps from one place to the next that were taken before: 0 by lot, nearly.
fn repeated_steps(places: &[u64]) -> f64 {
    let steps: HashSet<u64> = places.windows(2).map(|pair| (pair[1] + PLACES - pair[0]) % PLACES).collect();
    1.0 - steps.len() as f64 / (places.len() - 1) as f64
}

/// Bounds of five standard deviations and more for 2,000 places, so that chance fails once in a million runs.
fn looks_drawn_by_lot(places: &[u64]) -> bool {
    let correlation = serial_correlation(places);
    let (spread, repeated) = (gap_spread(places), repeated_steps(places));
    correlation.abs() < 0.12 && (0.85..1.15).contains(&spread) && repeated < 0.02
}

/// χ² of counts against equal ones.
fn chi_squared(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
}

/// Eight places, seven degrees of freedom: chance exceeds it once in ten million runs.
const CHI_SQUARED_MAX: f64 = 45.0;

/// The salts of a credential, and where among the digests that of the given name stands.
fn salts_and_place(held: &Held) -> (Vec<Vec<u8>>, usize) {
    if held.format == MSO_MDOC { of_mdoc(&held.credential) } else { of_sd_jwt(&held.credential) }
}

fn of_mdoc(credential: &str) -> (Vec<Vec<u8>>, usize) {
    let field = |value: &ciborium::Value, name: &str| {
        let entries = value.as_map().unwrap();
        entries.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value.clone()).unwrap()
    };
    let decode = |bytes: &[u8]| ciborium::from_reader::<ciborium::Value, _>(bytes).unwrap();
    let namespaces = field(&decode(&base64url::decode(credential).unwrap()), "nameSpaces");
    let (mut salts, mut found) = (Vec::new(), None);
    for item in namespaces.as_map().unwrap()[0].1.as_array().unwrap() {
        let ciborium::Value::Tag(24, inner) = item else { panic!("an item is tagged") };
        let item = decode(inner.as_bytes().unwrap());
        salts.push(field(&item, "random").as_bytes().unwrap().clone());
        if field(&item, "elementIdentifier").as_text() == Some("given_name") {
            found = Some(u64::try_from(field(&item, "digestID").as_integer().unwrap()).unwrap() as usize);
        }
    }
    (salts, found.unwrap())
}

fn of_sd_jwt(credential: &str) -> (Vec<Vec<u8>>, usize) {
    let mut parts = credential.split('~');
    let payload = base64url::decode(parts.next().unwrap().split('.').nth(1).unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let (mut salts, mut found) = (Vec::new(), None);
    for text in parts.filter(|text| !text.is_empty()) {
        let disclosure: Value = serde_json::from_slice(&base64url::decode(text).unwrap()).unwrap();
        salts.push(disclosure[0].as_str().unwrap().as_bytes().to_vec());
        if disclosure[1] == "given_name" {
            let digest = base64url::encode(<sha2::Sha256 as sha2::Digest>::digest(text));
            found = payload["_sd"].as_array().unwrap().iter().position(|other| *other == digest.as_str());
        }
    }
    (salts, found.unwrap())
}

#[test]
fn a_thousand_batches_tell_nothing_of_one_another() {
    let place = Place::new();
    let people: Vec<_> = ["ada", "bea", "cid", "dora"].map(|person| place.device(person)).into();
    let grants: Vec<_> = people.iter().map(|device| device.authorized().unwrap()).collect();
    let (mut held, mut batches): (Vec<Held>, HashSet<String>) = (Vec::new(), HashSet::new());
    for number in 0..BATCHES {
        let who = number % people.len();
        let keys = (0..BATCH_SIZE).map(|_| key()).collect();
        let batch = people[who].batch_for(&grants[who], FORMATS[number / people.len() % 2], keys).unwrap();
        assert!(batches.insert(batch.notification_id));
        held.extend(batch.credentials);
    }
    let told: Vec<Told> = held.iter().map(|held| place.read(held)).collect();
    let places: Vec<u64> = told.iter().map(|told| told.place.idx).collect();
    let distinct: HashSet<u64> = places.iter().copied().collect();
    assert_eq!(distinct.len(), BATCHES * BATCH_SIZE, "each credential has a place of its own");
    assert!(told.iter().all(|one| one.place.uri == told[0].place.uri), "in one list");
    assert!(
        looks_drawn_by_lot(&places),
        "{} {} {}",
        serial_correlation(&places),
        gap_spread(&places),
        repeated_steps(&places)
    );
    // Neither do the first places of batches, nor those of one person.
    let first: Vec<u64> = places.chunks(BATCH_SIZE).map(|batch| batch[0]).collect();
    assert!(serial_correlation(&first).abs() < 0.17, "{}", serial_correlation(&first));

    let times: HashSet<(u64, u64)> = told.iter().map(|told| told.times).collect();
    assert_eq!(times.len(), 1, "all credentials of a day share their times");
    let (from, until) = told[0].times;
    assert!(from % 86_400 == 0 && until % 86_400 == 0 && from <= place.world.seconds());

    let keys: HashSet<[u8; 65]> = told.iter().map(|told| *told.key.as_point()).collect();
    assert_eq!(keys.len(), held.len());
    let (mut salts, mut all) = (HashSet::new(), 0);
    let mut counts: BTreeMap<&str, [u64; 8]> = BTreeMap::new();
    for held in &held {
        let (of_one, at) = salts_and_place(held);
        assert!(of_one.iter().all(|salt| salt.len() >= 16), "128 bits at least");
        all += of_one.len();
        salts.extend(of_one);
        counts.entry(held.format).or_default()[at] += 1;
    }
    assert_eq!((all, salts.len()), (held.len() * 8, all), "no salt comes twice");
    for (format, counts) in counts {
        assert!(chi_squared(&counts) < CHI_SQUARED_MAX, "{format}: {counts:?}");
    }
}

#[test]
fn the_statistics_tell_lots_from_anything_else() {
    println!("seed {SEED}");
    let mut rng = StdRng::seed_from_u64(SEED);
    let count = (BATCHES * BATCH_SIZE) as u64;
    for _ in 0..20 {
        let by_lot: Vec<u64> = (0..count).map(|_| rng.random_range(0..PLACES)).collect();
        assert!(looks_drawn_by_lot(&by_lot));
    }
    let one_after_another: Vec<u64> = (0..count).collect();
    assert!(!looks_drawn_by_lot(&one_after_another) && serial_correlation(&one_after_another) > 0.99);
    let mut dealt = one_after_another.clone();
    dealt.shuffle(&mut rng);
    assert!(!looks_drawn_by_lot(&dealt), "shuffled, and all in one corner: {}", gap_spread(&dealt));
    let strides: Vec<u64> = (0..count).map(|number| number * 648_055 % PLACES).collect();
    assert!(!looks_drawn_by_lot(&strides), "{}", gap_spread(&strides));
    // Each person by lot within a range of their own, served in turns.
    let ranges: Vec<u64> =
        (0..count).map(|number| number / 100 * (PLACES / 20) + rng.random_range(0..PLACES / 20)).collect();
    assert!(!looks_drawn_by_lot(&ranges), "{}", serial_correlation(&ranges));

    let fixed = [count, 0, 0, 0, 0, 0, 0, 0];
    assert!(chi_squared(&fixed) > CHI_SQUARED_MAX);
    let mut drawn = [0; 8];
    (0..count).for_each(|_| drawn[rng.random_range(0..8usize)] += 1);
    assert!(chi_squared(&drawn) < CHI_SQUARED_MAX);
}

/// The first and the last second of a day give the same times, and the next day others.
#[test]
fn times_are_those_of_the_day() {
    let place = Place::new();
    place.world.pass(-12 * 3_600);
    let times = |place: &Place, person: &str| {
        let device = place.device(person);
        FORMATS.map(|format| place.read(&device.held(format)).times)
    };
    let morning = times(&place, "ada");
    assert_eq!(morning[0], morning[1], "both formats");
    place.world.pass(86_399);
    assert_eq!(times(&place, "bea"), morning);
    place.world.pass(1);
    assert_ne!(times(&place, "cid"), morning, "the control");
    assert_eq!(place.world.now().as_second() % 86_400, 0);
}
