//! A database that is slow or gone: bounded queues say so at once, and nothing is lost when it is back.

mod world;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use cashu::messages::SwapRequest;
use cashu::{Amount, Proof};
use mint::api::AT_WORK_MAX;
use mint::{Mint, Options};
use tower::ServiceExt;
use world::database::Server;
use world::{Holder, usd, world};

/// How many requests more than a mint takes at once.
const PAST_THE_BOUND: usize = 120;
/// Tokens made by one quote.
const TOKENS_PER_QUOTE: usize = 100;

fn open(folder: &tempfile::TempDir, address: &str) -> Mint {
    let world = world();
    let options = Options { postgres: Some(address.to_owned()), ..Options::default() };
    Mint::open(folder.path(), world.clone(), world.clone(), world, options).unwrap()
}

/// Swaps of one token each, as bodies of requests.
fn bodies(mint: &Mint, count: usize) -> Vec<Vec<u8>> {
    let mut holder = Holder::new(mint, 1);
    let tokens: Vec<Proof> = (0..count.div_ceil(TOKENS_PER_QUOTE))
        .flat_map(|quote| holder.collect(mint, &format!("q-{quote}"), &[1; TOKENS_PER_QUOTE]))
        .take(count)
        .collect();
    let outputs = holder.outputs(&vec![1; count]).1;
    let request = |(token, output)| SwapRequest { inputs: vec![token], outputs: vec![output] };
    tokens.into_iter().zip(outputs).map(|pair| serde_json::to_vec(&request(pair)).unwrap()).collect()
}

/// Status of the answer, and whether it says when to come back.
async fn swap(service: Router, body: Vec<u8>) -> (StatusCode, bool) {
    let request = Request::post("/v1/swap").body(Body::from(body)).unwrap();
    let answer = service.oneshot(request).await.unwrap();
    (answer.status(), answer.headers().contains_key(header::RETRY_AFTER))
}

const SERVED: (StatusCode, bool) = (StatusCode::OK, false);
const COME_BACK: (StatusCode, bool) = (StatusCode::SERVICE_UNAVAILABLE, true);

#[test]
fn past_the_bound_requests_are_refused_at_once_and_all_others_served() {
    let server = Server::start();
    let (folder, address) = (tempfile::tempdir().unwrap(), server.database());
    let mint = open(&folder, &address);
    let bodies = bodies(&mint, AT_WORK_MAX + PAST_THE_BOUND);
    // No commit gets through while somebody else holds the table.
    let mut holder = postgres::Client::connect(&address, postgres::NoTls).unwrap();
    let mut held = holder.transaction().unwrap();
    held.batch_execute("LOCK TABLE spent IN ACCESS EXCLUSIVE MODE").unwrap();
    let service = mint::api::router(mint.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tasks: Vec<_> = bodies.iter().map(|body| runtime.spawn(swap(service.clone(), body.clone()))).collect();
    let ended = || tasks.iter().filter(|task| task.is_finished()).count();
    let deadline = Instant::now() + Duration::from_secs(120);
    while ended() < PAST_THE_BOUND {
        assert!(Instant::now() < deadline, "a mint that is full makes people wait");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ended(), PAST_THE_BOUND);
    held.commit().unwrap();
    let answers: Vec<_> = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).collect();
    let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
    assert_eq!((count(SERVED), count(COME_BACK)), (AT_WORK_MAX, PAST_THE_BOUND));
    // Who comes back is served, and nobody lost a token.
    for body in bodies {
        assert_eq!(runtime.block_on(swap(service.clone(), body)), SERVED);
    }
    let audit = mint.audit().unwrap();
    assert!(audit.problems.is_empty(), "{:?}", audit.problems);
    assert_eq!(audit.outstanding(&usd()), Amount::new(600));
}

#[test]
fn a_database_that_was_gone_is_used_again_when_it_is_back() {
    let mut server = Server::start();
    let (folder, address) = (tempfile::tempdir().unwrap(), server.database());
    let mint = open(&folder, &address);
    let bodies = bodies(&mint, 20);
    let service = mint::api::router(mint.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ask = |body: &Vec<u8>| runtime.block_on(swap(service.clone(), body.clone()));
    assert!(bodies[..10].iter().all(|body| ask(body) == SERVED));
    server.cut();
    assert!(bodies.iter().all(|body| ask(body) == COME_BACK), "a repeat is not answered from memory either");
    server.restart();
    assert!(bodies.iter().all(|body| ask(body) == SERVED));
    let audit = mint.audit().unwrap();
    assert!(audit.problems.is_empty(), "{:?}", audit.problems);
    assert_eq!(audit.outstanding(&usd()), Amount::new(100));
}
