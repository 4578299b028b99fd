//! How many a second, on some threads at once, beside what the bare signatures would allow: each figure is measured in the same run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PSS_2048_8192_SHA384, RSA_PSS_SHA384};
use credential::issuer::BATCH_SIZE;
use credential::register::NewRelyingParty;
use credential::status::Form;
use credential::verifier::{Network, Outcome, Question, RelyingParty, Verifier};
use es256::{Signer, SigningKey};
use jose::Jwk;
use mdoc::DOC_TYPE;
use mdoc::certificate::{Roots, Usage, key_of_chain};
use mdoc::issue::{StatusReference, Validity};
use mdoc::present::{DeviceKey, Presented, present};
use mdoc::transcript::{Handover, SessionTranscript};
use openid4vc::registration::Localised;
use openid4vc::{MSO_MDOC, SD_JWT_VC};
use privacypass::challenge::TokenChallenge;
use privacypass::client::Blinding;
use privacypass::issuer::IssuerKey;
use privacypass::showing::{Showing, VerifierChallenge, verify_showing};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use statuslist::{Issuing, Status, StatusList};

use crate::world::{Held, ISSUER, Now, World, now};

/// Places of the large status list, and bits of each.
const LIST_PLACES: usize = 10_000_000;
const LIST_BITS: u8 = 2;
/// Questions that are open at once when memory is looked at.
const SESSIONS: usize = 1_000;

/// All figures. Rates are a second, over all threads.
#[derive(Serialize)]
pub struct Rates {
    threads: usize,
    /// Bare P-256 signatures and verifications (aws-lc-rs).
    p256_signs: f64,
    p256_verifies: f64,
    mdoc: FormatRates,
    sd_jwt: FormatRates,
    predicates: PredicateRates,
    /// Bytes of memory for each thousand open questions.
    bytes_per_1000_sessions: u64,
    status_list: ListFigures,
}

/// Of one format.
#[derive(Serialize)]
struct FormatRates {
    /// Credentials signed by the format's crate alone.
    signed: f64,
    /// Of the bare signatures.
    signed_of_limit: f64,
    /// Credentials issued by the service, in batches, with proofs of keys checked and the batch durable.
    issued: f64,
    /// Of what the bare signatures allow: one signature and one verification for each credential.
    issued_of_limit: f64,
    /// Presentations verified to the root.
    verified: f64,
    /// Of what the bare verifications allow: issuer's and holder's signature.
    verified_of_limit: f64,
}

/// Of anonymous predicates, beside RSA-2048 of the same library.
#[derive(Serialize)]
struct PredicateRates {
    rsa_signs: f64,
    issued: f64,
    issued_of_limit: f64,
    rsa_verifies: f64,
    /// Tokens verified, without the holder's signature.
    tokens_verified: f64,
    tokens_of_limit: f64,
    /// Showings verified: the token and the holder's signature.
    showings_verified: f64,
}

/// Of a status list of ten million places.
#[derive(Serialize)]
struct ListFigures {
    places: usize,
    build_ms: f64,
    sign_ms: f64,
    bytes: usize,
    verify_ms: f64,
    look_up_ns: f64,
}

/// Calls a second of an act on some threads, each with its own number.
fn rate(seconds: f64, threads: usize, act: impl Fn(usize) + Sync) -> f64 {
    let count = AtomicU64::new(0);
    let begin = Instant::now();
    let until = begin + Duration::from_secs_f64(seconds);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (act, count) = (&act, &count);
            scope.spawn(move || {
                while Instant::now() < until {
                    act(thread);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64()
}

/// Measures all.
pub fn measure(seconds: f64, threads: usize) -> Result<Rates> {
    let key = SigningKey::generate()?;
    let message = [7; 300];
    let signature = key.sign(&message)?;
    let p256_signs = rate(seconds, threads, |_| {
        key.sign(&message).expect("a key");
    });
    let p256_verifies = rate(seconds, threads, |_| assert!(key.public_key().verify(&message, &signature)));
    let world = World::new()?;
    let limit_issuing = 1.0 / (1.0 / p256_signs + 1.0 / p256_verifies);
    let limit_verifying = p256_verifies / 2.0;
    let format = |format: &str| -> Result<FormatRates> {
        let signed = signed(format, seconds, threads)?;
        let issued = issued(&world, format, seconds, threads)?;
        let verified = verified(&world, format, seconds, threads)?;
        Ok(FormatRates {
            signed,
            signed_of_limit: signed / p256_signs,
            issued,
            issued_of_limit: issued / limit_issuing,
            verified,
            verified_of_limit: verified / limit_verifying,
        })
    };
    Ok(Rates {
        threads,
        p256_signs,
        p256_verifies,
        mdoc: format(MSO_MDOC)?,
        sd_jwt: format(SD_JWT_VC)?,
        predicates: predicates(seconds, threads)?,
        bytes_per_1000_sessions: session_bytes(&world)?,
        status_list: status_list()?,
    })
}

/// The format's own work: salts, digests, encoding, one signature.
fn signed(format: &str, seconds: f64, threads: usize) -> Result<f64> {
    let (world, device) = (World::new()?, SigningKey::generate()?);
    let signer = world.credentials.document_signer();
    let person = crate::world::person("1");
    let attributes = person.on(jiff::civil::date(2026, 12, 1));
    let day = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() / 86_400 * 86_400)?;
    let until = day.checked_add(jiff::Span::new().hours(24 * 60))?;
    if format == MSO_MDOC {
        let elements = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        let namespaces = [(DOC_TYPE.to_owned(), elements)].into();
        let status = Some(StatusReference { idx: 7, uri: format!("{ISSUER}/status/0") });
        let validity = Validity { signed: day, from: day, until, expected_update: None };
        return Ok(rate(seconds, threads, |_| {
            let issuing = mdoc::issue::Issuing {
                doc_type: DOC_TYPE,
                namespaces: &namespaces,
                device: device.public_key(),
                validity,
                status: status.clone(),
                signer: &*signer.key,
                chain: &signer.chain,
            };
            issuing.issue(&mut rand::rng()).expect("a good credential");
        }));
    }
    let claims = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    let disclosable: Vec<sdjwt::ClaimPath> = attributes.iter().map(|(name, _)| (*name).into()).collect();
    let (jwk, status) =
        (Jwk::from(*device.public_key()), serde_json::json!({"status_list": {"idx": 7, "uri": ISSUER}}));
    let vct = format!("{ISSUER}/types/id");
    let issuing = sdjwt::Issuing {
        iss: Some(ISSUER),
        iat: Some(now()),
        exp: Some(now() + 86_400),
        cnf: Some(&jwk),
        status: Some(&status),
        disclosable: &disclosable,
        ..sdjwt::Issuing::new(&vct, &claims)
    };
    Ok(rate(seconds, threads, |_| {
        sdjwt::issue(&issuing, &*signer.key, &signer.chain, &mut rand::rng()).expect("a good credential");
    }))
}

/// One presentation of an mdoc, as the third-party verifier of the tests reads it.
pub fn sample() -> Result<serde_json::Value> {
    let world = World::new()?;
    let grant = world.grant("sample")?;
    let Held { credential, key } = world.batch(&grant, MSO_MDOC, 1)?.pop().context("one")?;
    let (client_id, nonce, response_uri) = ("x509_hash:verifier", "nonce", "https://verifier.example/answers");
    let transcript =
        SessionTranscript::new(&Handover::OpenId4Vp { client_id, nonce, jwk_thumbprint: None, response_uri });
    let issuer_signed = jose::base64url::decode(&credential)?;
    let elements = [(DOC_TYPE, "age_over_60")];
    let presented =
        Presented { issuer_signed: &issuer_signed, elements: &elements, device: DeviceKey::Signature(&key) };
    let response = present(&[presented], &transcript)?;
    Ok(serde_json::json!({
        "root": jose::base64url::encode(world.credentials.issuer_root()), "response": jose::base64url::encode(response),
        "client_id": client_id, "nonce": nonce, "response_uri": response_uri, "now": now(),
    }))
}

fn issued(world: &World, format: &str, seconds: f64, threads: usize) -> Result<f64> {
    let grant = world.grant(&format!("issued as {format}"))?;
    // More than are used up: what wallets do is done before the clock starts.
    let batches = (seconds * 400.0 * threads as f64) as usize;
    let requests = (0..batches).map(|_| world.request(format, BATCH_SIZE)).collect::<Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while begin.elapsed().as_secs_f64() < seconds {
                    let Some((request, _)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    world.credentials.issue(&grant, request, ISSUER).expect("a good request");
                }
            });
        }
    });
    let done = next.load(Ordering::Relaxed).min(batches);
    Ok((done * BATCH_SIZE) as f64 / begin.elapsed().as_secs_f64())
}

fn verified(world: &World, format: &str, seconds: f64, threads: usize) -> Result<f64> {
    let grant = world.grant(&format!("verified as {format}"))?;
    let Held { credential, key } = world.batch(&grant, format, 1)?.pop().context("one")?;
    // As a verifier keeps them.
    let roots = Roots::new(vec![world.credentials.issuer_root().to_vec()]);
    if format == MSO_MDOC {
        let transcript = SessionTranscript::new(&Handover::OpenId4Vp {
            client_id: "x509_hash:verifier",
            nonce: "nonce",
            jwk_thumbprint: None,
            response_uri: "https://verifier.example/answers",
        });
        let issuer_signed = jose::base64url::decode(&credential)?;
        let elements = [(DOC_TYPE, "age_over_60")];
        let presented =
            Presented { issuer_signed: &issuer_signed, elements: &elements, device: DeviceKey::Signature(&key) };
        let response = present(&[presented], &transcript)?;
        let check = || mdoc::verify::verify(&response, &transcript, &roots, jiff::Timestamp::now(), None);
        check()?;
        return Ok(rate(seconds, threads, |_| assert!(check().is_ok())));
    }
    let binding = sdjwt::KeyBinding { aud: "verifier", nonce: "nonce", iat: now(), key: &key };
    let text = sdjwt::SdJwt::parse(&credential)?.present(&["age_over_60".into()], Some(binding))?;
    let expected = sdjwt::ExpectedBinding { aud: "verifier", nonce: "nonce", iat_window: 600 };
    let issuer = |header: &jose::Header, _: Option<&str>| {
        key_of_chain(&header.x5c, &roots, Usage::DocumentSigner, jiff::Timestamp::now())
    };
    let check = || sdjwt::verify(&text, issuer, Some(&expected), now());
    check()?;
    Ok(rate(seconds, threads, |_| assert!(check().is_ok())))
}

fn predicates(seconds: f64, threads: usize) -> Result<PredicateRates> {
    let der = IssuerKey::generate_pkcs8()?;
    let issuer = IssuerKey::from_pkcs8(&der)?;
    let public = issuer.public_key();
    let holder = SigningKey::generate()?;
    let challenge = TokenChallenge::shared(ISSUER)?;
    let blinding = Blinding::new(public, &challenge, holder.public_key(), &mut rand::rng())?;
    let request = blinding.request();
    let token = blinding.finish(public, &issuer.issue(&request)?)?;
    let verifier = VerifierChallenge::new("verifier", "nonce", "https://verifier.example/answers");
    let showing = Showing::new(&token, &holder, &verifier)?;
    let digest = challenge.digest();
    let bare = |_| anyhow::anyhow!("the bare RSA key can't be used");
    let pair = KeyPair::from_pkcs8(&der).map_err(bare)?;
    let (random, message) = (SystemRandom::new(), b"message");
    let sign = |signature: &mut [u8]| pair.sign(&RSA_PSS_SHA384, &random, message, signature).expect("a key");
    let mut signature = vec![0; pair.public_modulus_len()];
    sign(&mut signature);
    let rsa_signs = rate(seconds, threads, |_| sign(&mut vec![0; pair.public_modulus_len()]));
    let issued = rate(seconds, threads, |_| {
        issuer.issue(&request).expect("a good request");
    });
    let parsed = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, pair.public_key().as_ref())?;
    let rsa_verifies = rate(seconds, threads, |_| assert!(parsed.verify_sig(message, &signature).is_ok()));
    let tokens_verified = rate(seconds, threads, |_| assert!(token.verify(public, &digest).is_ok()));
    let showings_verified =
        rate(seconds, threads, |_| assert!(verify_showing(&showing, public, &digest, &verifier).is_ok()));
    Ok(PredicateRates {
        rsa_signs,
        issued,
        issued_of_limit: issued / rsa_signs,
        rsa_verifies,
        tokens_verified,
        tokens_of_limit: tokens_verified / rsa_verifies,
        showings_verified,
    })
}

/// The status lists of the world's own service.
struct InProcess(credential::Credentials);

impl Network for InProcess {
    fn status_list(&self, uri: &str, form: Form) -> Result<Vec<u8>, String> {
        let list = match uri.strip_prefix(&format!("{ISSUER}/status/")) {
            Some(number) => self.0.status_list(number.parse().unwrap_or(usize::MAX), form, ISSUER),
            None => self.0.register_status_list(form, ISSUER).map(Some),
        };
        list.map_err(|error| error.to_string())?.ok_or_else(|| "no such list".to_owned())
    }

    fn tell(&self, _: &str, _: &Outcome) {}
}

fn session_bytes(world: &World) -> Result<u64> {
    let key = SigningKey::generate()?;
    let new = NewRelyingParty {
        identifier: "NTRUT-BENCH".into(),
        name: "Bench".into(),
        legal_name: "Bench".into(),
        purpose: vec![Localised { lang: "en".into(), value: "to measure".into() }],
        legal_basis: "none".into(),
        retention_days: 0,
        attributes: vec!["age_over_60".into()],
        privacy_policy: None,
        key: Jwk::from(*key.public_key()),
    };
    let registered = world.credentials.register(&new, ISSUER)?;
    let party = RelyingParty {
        key: Box::new(key),
        certificate: jose::base64url::decode(&registered.certificate)?,
        registration_certificate: registered.registration,
        issuer_roots: vec![world.credentials.issuer_root().to_vec()],
        register_root: world.credentials.register_root().to_vec(),
    };
    let verifier = Verifier::new(party, Arc::new(InProcess(world.credentials.clone())), Arc::new(Now))?;
    let question = Question { attributes: vec!["age_over_60".into()], ..Question::default() };
    let ask = |count: usize| -> Result<()> {
        for _ in 0..count {
            verifier.ask(&question, "https://verifier.example")?;
        }
        Ok(())
    };
    // Several thousand, so that pages and tables that grow by doubling even out.
    ask(SESSIONS)?;
    let before = resident_bytes()?;
    ask(8 * SESSIONS)?;
    Ok((resident_bytes()?.saturating_sub(before)) / 8)
}

fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("resident memory")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

fn status_list() -> Result<ListFigures> {
    let signer = SigningKey::generate()?;
    let milliseconds = |begin: Instant| begin.elapsed().as_secs_f64() * 1e3;
    let begin = Instant::now();
    let mut list = StatusList::new(LIST_BITS, LIST_PLACES)?;
    // One in fifty is revoked, as in a programme that has run for years.
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..LIST_PLACES / 50 {
        list.set(rng.random_range(0..LIST_PLACES as u64), Status::Invalid)?;
    }
    let build_ms = milliseconds(begin);
    let begin = Instant::now();
    let issuing =
        Issuing { uri: "https://issuer.example/status/0", iat: now(), exp: Some(now() + 86_400), ttl: Some(300) };
    let cwt = list.to_cwt(&issuing, &signer, &[])?;
    let sign_ms = milliseconds(begin);
    let begin = Instant::now();
    let token = statuslist::verify_cwt(&cwt, issuing.uri, |_| Some(*signer.public_key()), now())?;
    let verify_ms = milliseconds(begin);
    let begin = Instant::now();
    let looks = 1_000_000u64;
    let mut revoked = 0u64;
    for number in 0..looks {
        revoked += u64::from(token.list.get(number.wrapping_mul(7_919) % LIST_PLACES as u64)? == Status::Invalid);
    }
    let look_up_ns = begin.elapsed().as_secs_f64() * 1e9 / looks as f64;
    anyhow::ensure!(revoked > 0, "some are revoked");
    Ok(ListFigures { places: LIST_PLACES, build_ms, sign_ms, bytes: cwt.len(), verify_ms, look_up_ns })
}
