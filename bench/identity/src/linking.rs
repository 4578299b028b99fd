//! Can two showings be told to be of one holder? An adversary sees everything that relying parties keep, and scores pairs of showings; how
//! well the scores separate pairs of one holder from pairs of two is the area under the curve: 0.5 is guessing, 1 is certainty.
//!
//! All people have the same disclosed attribute, show at times drawn by lot, and enrolled on one day: what is left is what the
//! credentials themselves give away. Each rule has its control, in which it is broken and the same adversary must win.

use std::collections::HashMap;

use anyhow::{Context, Result};
use ciborium::Value;
use cose::decode;
use es256::{Signer, SigningKey};
use mdoc::DOC_TYPE;
use mdoc::present::{DeviceKey, Presented, present};
use mdoc::transcript::{Handover, SessionTranscript};
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use privacypass::challenge::TokenChallenge;
use privacypass::client::Blinding;
use privacypass::issuer::IssuerKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::world::{ISSUER, World, now};

/// Pairs of two holders that are scored for each pair of one.
const OTHERS: usize = 2;
/// Seconds of the month over which showings are spread.
const MONTH: u64 = 30 * 86_400;

/// How well one adversary did.
#[derive(Serialize)]
pub struct Linking {
    /// What was shown, and what the adversary had.
    pub name: &'static str,
    /// The area under the curve.
    pub area: f64,
    /// Half the width of its interval of 95 %.
    pub plus_minus: f64,
    /// Pairs of one holder.
    pub pairs: usize,
}

/// One showing as a relying party keeps it.
struct Record {
    holder: usize,
    at: u64,
    /// Whatever in it could be equal in two showings: keys, signatures, salts, digests, the place in the status list.
    marks: Vec<Vec<u8>>,
    /// The place in the status list, for those who look for neighbours.
    place: Option<u64>,
}

/// Measures all.
pub fn measure(holders: usize, showings: usize, seed: u64) -> Result<Vec<Linking>> {
    eprintln!("seed {seed}, {holders} holders, {showings} showings each");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    for (format, fresh, twice, with_issuer) in [
        (
            MSO_MDOC,
            "mdoc, each credential once: all relying parties",
            "control: mdoc, one credential shown every time",
            "mdoc: all relying parties and the issuer's records (reported, since it is so)",
        ),
        (
            SD_JWT_VC,
            "SD-JWT VC, each credential once: all relying parties",
            "control: SD-JWT VC, one credential shown every time",
            "SD-JWT VC: all relying parties and the issuer's records (reported, since it is so)",
        ),
    ] {
        let world = World::new()?;
        let batches = batches(&world, format, holders, showings)?;
        let once = records(&batches, format, showings, false, &mut rng)?;
        let again = records(&batches, format, showings, true, &mut rng)?;
        all.push(score(fresh, &once, similar, &mut rng));
        all.push(score(twice, &again, similar, &mut rng));
        // The issuer knows which batch a place belongs to.
        let of_place: HashMap<u64, usize> =
            once.iter().filter_map(|record| Some((record.place?, record.holder))).collect();
        let joined = |a: &Record, b: &Record| {
            let batch = |record: &Record| record.place.and_then(|place| of_place.get(&place));
            f64::from(u8::from(batch(a) == batch(b)))
        };
        all.push(score(with_issuer, &once, joined, &mut rng));
    }
    let (blinded, unblinded) = predicates(holders, showings, &mut rng)?;
    all.push(score("predicate: all relying parties and the issuer, its key and its log", &blinded, similar, &mut rng));
    all.push(score("control: predicate issued without blinding", &unblinded, similar, &mut rng));
    Ok(all)
}

struct Holder {
    credentials: Vec<crate::world::Held>,
}

fn batches(world: &World, format: &str, holders: usize, count: usize) -> Result<Vec<Holder>> {
    let batch = |number: usize| {
        let grant = world.grant(&format!("person {number}"))?;
        Ok(Holder { credentials: world.batch(&grant, format, count)? })
    };
    (0..holders).map(batch).collect()
}

/// What relying parties keep of everybody's showings: a fresh credential each time, or the same one `again`.
fn records(holders: &[Holder], format: &str, showings: usize, again: bool, rng: &mut StdRng) -> Result<Vec<Record>> {
    let mut records = Vec::with_capacity(holders.len() * showings);
    for (holder, Holder { credentials }) in holders.iter().enumerate() {
        for number in 0..showings {
            let held = credentials.get(if again { 0 } else { number }).context("a credential for each showing")?;
            let nonce = hex::encode(rng.random::<[u8; 16]>());
            let shown = show(format, &held.credential, &held.key, &nonce)?;
            let (marks, place) = if format == MSO_MDOC { fields_of_mdoc(&shown)? } else { fields_of_sd_jwt(&shown)? };
            records.push(Record { holder, at: rng.random_range(0..MONTH), marks, place });
        }
    }
    Ok(records)
}

fn show(format: &str, credential: &str, key: &SigningKey, nonce: &str) -> Result<Vec<u8>> {
    if format == MSO_MDOC {
        let transcript = SessionTranscript::new(&Handover::OpenId4Vp {
            client_id: "x509_hash:verifier",
            nonce,
            jwk_thumbprint: None,
            response_uri: "https://verifier.example/answers",
        });
        let issuer_signed = jose::base64url::decode(credential)?;
        let elements = [(DOC_TYPE, "age_over_60")];
        let device = DeviceKey::Signature(key);
        Ok(present(&[Presented { issuer_signed: &issuer_signed, elements: &elements, device }], &transcript)?)
    } else {
        let binding = sdjwt::KeyBinding { aud: "x509_hash:verifier", nonce, iat: now(), key };
        let shown = sdjwt::SdJwt::parse(credential)?.present(&["age_over_60".into()], Some(binding))?;
        Ok(shown.into_bytes())
    }
}

/// The adversary without a key: equal marks tie; failing that, near places, and near times, count a little.
fn similar(a: &Record, b: &Record) -> f64 {
    let equal = a.marks.iter().filter(|mark| b.marks.contains(mark)).count();
    let near_places = match (a.place, b.place) {
        (Some(a), Some(b)) => 1.0 / (1.0 + a.abs_diff(b) as f64),
        _ => 0.0,
    };
    let near_times = 1.0 / (1.0 + a.at.abs_diff(b.at) as f64);
    equal as f64 + 0.1 * near_places + 0.01 * near_times
}

/// The area under the curve of a score over pairs of one holder and pairs of two, with ties as halves, and its interval (Hanley and
/// McNeil 1982). Marks that everybody has are no marks: the adversary drops them.
fn score(
    name: &'static str,
    records: &[Record],
    scorer: impl Fn(&Record, &Record) -> f64,
    rng: &mut StdRng,
) -> Linking {
    let records = &without_common_marks(records);
    let mut by_holder: HashMap<usize, Vec<usize>> = HashMap::new();
    records.iter().enumerate().for_each(|(place, record)| by_holder.entry(record.holder).or_default().push(place));
    let (mut same, mut other) = (Vec::new(), Vec::new());
    for places in by_holder.values() {
        for (number, a) in places.iter().enumerate() {
            for b in &places[number + 1..] {
                same.push(scorer(&records[*a], &records[*b]));
                for _ in 0..OTHERS {
                    let stranger = loop {
                        let stranger = rng.random_range(0..records.len());
                        if records[stranger].holder != records[*a].holder {
                            break stranger;
                        }
                    };
                    other.push(scorer(&records[*a], &records[stranger]));
                }
            }
        }
    }
    let mut all: Vec<(f64, bool)> =
        same.iter().map(|score| (*score, true)).chain(other.iter().map(|score| (*score, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The mean rank of those that tie (Mann and Whitney).
    let mut ranks = 0.0;
    let mut begin = 0;
    while begin < all.len() {
        let end = begin + all[begin..].iter().take_while(|(score, _)| *score == all[begin].0).count();
        let rank = (begin + 1 + end) as f64 / 2.0;
        ranks += rank * all[begin..end].iter().filter(|(_, is_same)| *is_same).count() as f64;
        begin = end;
    }
    let (n, m) = (same.len() as f64, other.len() as f64);
    let area = (ranks - n * (n + 1.0) / 2.0) / (n * m);
    let (q1, q2) = (area / (2.0 - area), 2.0 * area * area / (1.0 + area));
    let variance = (area * (1.0 - area) + (n - 1.0) * (q1 - area * area) + (m - 1.0) * (q2 - area * area)) / (n * m);
    Linking { name, area, plus_minus: 1.96 * variance.max(0.0).sqrt(), pairs: same.len() }
}

fn without_common_marks(records: &[Record]) -> Vec<Record> {
    let mut holders: HashMap<&Vec<u8>, Vec<usize>> = HashMap::new();
    for record in records {
        for mark in &record.marks {
            let of_mark = holders.entry(mark).or_default();
            if !of_mark.contains(&record.holder) && of_mark.len() < 3 {
                of_mark.push(record.holder);
            }
        }
    }
    let is_mark = |mark: &&Vec<u8>| holders.get(mark).is_some_and(|holders| holders.len() < 3);
    let kept = |record: &Record| Record {
        holder: record.holder,
        at: record.at,
        marks: record.marks.iter().filter(is_mark).cloned().collect(),
        place: record.place,
    };
    records.iter().map(kept).collect()
}

/// Every string and byte string of a presentation but the holder's fresh signature, and the place in the status list.
fn fields_of_sd_jwt(shown: &[u8]) -> Result<(Vec<Vec<u8>>, Option<u64>)> {
    let text = std::str::from_utf8(shown)?;
    let issued = text.split('~').next().context("a signed part")?;
    let payload: serde_json::Value =
        serde_json::from_slice(&jose::base64url::decode(issued.split('.').nth(1).context("a payload")?)?)?;
    let mut marks = vec![issued.as_bytes().to_vec()];
    marks.extend(text.split('~').skip(1).filter(|part| !part.contains('.')).map(|part| part.as_bytes().to_vec()));
    fn strings(value: &serde_json::Value, marks: &mut Vec<Vec<u8>>) {
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, marks)),
            serde_json::Value::Object(members) => members.values().for_each(|member| strings(member, marks)),
            other => marks.push(other.to_string().into_bytes()),
        }
    }
    strings(&payload, &mut marks);
    let place = payload["status"]["status_list"]["idx"].as_u64();
    Ok((marks, place))
}

/// What relying parties keep of predicates, with what the issuer keeps added: to each token the requests of the log that it could come from.
/// With blinding, and without: then the signature in the log is the token's own.
fn predicates(holders: usize, showings: usize, rng: &mut StdRng) -> Result<(Vec<Record>, Vec<Record>)> {
    let issuer = IssuerKey::generate()?;
    let challenge = TokenChallenge::shared(ISSUER)?;
    let (mut log, mut log_without) = (HashMap::new(), HashMap::new());
    let mut tokens = Vec::with_capacity(holders * showings);
    for holder in 0..holders {
        for _ in 0..showings {
            let key = SigningKey::generate()?;
            let blinding = Blinding::new(issuer.public_key(), &challenge, key.public_key(), &mut rand::rng())?;
            let response = issuer.issue(&blinding.request())?;
            let token = blinding.finish(issuer.public_key(), &response)?.to_bytes();
            let signature = token[token.len() - response.blind_sig.len()..].to_vec();
            log.insert(response.blind_sig.to_vec(), holder);
            // A factor of one leaves the signature as it is (RFC 9474 section 4.4).
            log_without.insert(signature.clone(), holder);
            tokens.push((holder, token.to_vec(), signature));
        }
    }
    let mut kept = |log: &HashMap<Vec<u8>, usize>| -> Vec<Record> {
        let record = |(holder, token, signature): &(usize, Vec<u8>, Vec<u8>)| {
            let tied = log.get(signature).map(|holder| format!("request of {holder}").into_bytes());
            let marks = [token.clone()].into_iter().chain(tied).collect();
            Record { holder: *holder, at: rng.random_range(0..MONTH), marks, place: None }
        };
        tokens.iter().map(record).collect()
    };
    Ok((kept(&log), kept(&log_without)))
}

/// Every string and byte string of an mdoc presentation but the holder's fresh signature, and the place in the status list.
fn fields_of_mdoc(shown: &[u8]) -> Result<(Vec<Vec<u8>>, Option<u64>)> {
    fn collect(value: &Value, marks: &mut Vec<Vec<u8>>, place: &mut Option<u64>) {
        match value {
            Value::Bytes(bytes) => {
                marks.push(bytes.clone());
                // Encoded CBOR within: the security object, the elements.
                if let Ok(inner) = decode(bytes) {
                    collect(&inner, marks, place);
                }
            }
            Value::Text(text) => marks.push(text.as_bytes().to_vec()),
            Value::Tag(_, inner) => collect(inner, marks, place),
            Value::Array(items) => items.iter().for_each(|item| collect(item, marks, place)),
            Value::Map(members) => {
                for (name, member) in members {
                    match (name.as_text(), member.as_integer()) {
                        (Some("idx"), Some(number)) => *place = u64::try_from(number).ok(),
                        (Some("deviceSigned"), _) => {}
                        _ => collect(member, marks, place),
                    }
                }
            }
            _ => {}
        }
    }
    let (mut marks, mut place) = (Vec::new(), None);
    collect(&decode(shown)?, &mut marks, &mut place);
    Ok((marks, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds of the issue, with fewer holders: so the interval is wider, and counts.
    #[test]
    fn showings_are_not_tied_together_and_the_adversary_is_able_to() {
        for linking in measure(120, 8, 1).unwrap() {
            let Linking { name, area, plus_minus, .. } = &linking;
            let must_win = name.starts_with("control") || name.contains("reported");
            if must_win {
                assert!(*area > 0.99, "{name}: {area}");
            } else {
                assert!(*area - plus_minus <= 0.51, "{name}: {area} ± {plus_minus}");
            }
        }
    }
}
