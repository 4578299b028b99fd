//! The mint as wallets and tills see it: what it does, what it refuses and with which code, and what survives.

mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cashu::messages::{MeltQuoteRequest, MeltRequest, MintRequest, ProofState, RestoreRequest, SwapRequest};
use cashu::secret::Secret;
use cashu::{Amount, BlindedMessage, ErrorCode, KeysetId, Proof};
use mint::store::{Method, Table};
use mint::{MintError, MintEvent, Options};
use world::{Holder, NOW, Place, World, code, entitlement, mint_request, order, usd, world};

on_both_stores! {
    fn the_whole_life_of_a_token(place) {
        let world = world();
        let mint = place.open(&world);
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[4, 8]);
        let (first, outputs) = holder.outputs(&[1, 1, 2, 8]);
        let request = SwapRequest { inputs: tokens.clone(), outputs: outputs.clone() };
        let signatures = mint.swap(&request).unwrap();
        let fresh = holder.unblind(first, &signatures);
        // The same request again: the same answer, and nothing twice (NUT-19). Other outputs for spent tokens: refused.
        assert_eq!(mint.swap(&request).unwrap(), signatures);
        let (_, others) = holder.outputs(&[1, 1, 2, 8]);
        assert_eq!(code(mint.swap(&SwapRequest { outputs: others, ..request.clone() })), ErrorCode::ProofsSpent);
        // What the answer was is told again to who asks with the outputs (NUT-09).
        assert_eq!(mint.restore(&RestoreRequest { outputs }).unwrap().signatures, signatures);

        let ask = MeltQuoteRequest { request: "m-1:12".into(), unit: usd() };
        let melt = mint.request_melt_quote(&ask).unwrap();
        let redeem = MeltRequest { quote: melt.quote.clone(), inputs: fresh.clone(), outputs: Vec::new() };
        let paid = mint.melt(&redeem).unwrap();
        assert_eq!(mint.melt(&redeem).unwrap(), paid, "the same request, the same answer");
        let ys = tokens.iter().chain(&fresh).map(|proof| proof.secret.y()).collect();
        let states = mint.check_state(&cashu::messages::CheckStateRequest { ys }).unwrap();
        assert!(states.iter().all(|entry| entry.state == ProofState::Spent));

        // Everything is there after a restart, with the same keys.
        let keys = mint.keys(None).unwrap();
        mint.close();
        drop(mint);
        let mint = place.open(&world);
        assert_eq!(mint.keys(None).unwrap(), keys);
        assert_eq!(mint.swap(&request).unwrap(), signatures, "and the same answers");
        let spent =
            SwapRequest { outputs: Holder { next: 90, ..Holder::new(&mint, 1) }.outputs(&[12 - 8, 8]).1, ..request };
        assert_eq!(code(mint.swap(&spent)), ErrorCode::ProofsSpent);
        let expected = [
            (1, MintEvent::Issued { quote: "q-1".into(), unit: usd(), amount: Amount::new(12) }),
            (2, MintEvent::Redeemed { quote: melt.quote, merchant: "m-1".into(), unit: usd(), amount: Amount::new(12) }),
        ];
        assert_eq!(mint.events_after(0, 10).unwrap(), expected);
        assert_eq!(mint.events_after(1, 10).unwrap(), expected[1..]);
        let audit = mint.audit().unwrap();
        assert!(audit.problems.is_empty(), "{:?}", audit.problems);
        assert_eq!((audit.totals[&usd()].issued, audit.outstanding(&usd())), (12, Amount::ZERO));
    }

    fn whatever_is_against_the_rules_is_refused_with_its_code_and_changes_nothing(place) {
        let world = world();
        let mint = place.open(&world);
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[4, 8]);
        let (_, good) = holder.outputs(&[4, 8]);
        let (_, worth_more) = holder.outputs(&[8, 8]);
        let swap = |inputs: &[Proof], outputs: &[BlindedMessage]| {
            code(mint.swap(&SwapRequest { inputs: inputs.to_vec(), outputs: outputs.to_vec() }))
        };
        let with = |change: fn(&mut Proof)| {
            let mut changed = tokens.clone();
            change(&mut changed[0]);
            changed
        };
        let with_output = |change: fn(&mut BlindedMessage)| {
            let mut changed = good.clone();
            change(&mut changed[0]);
            changed
        };
        let unknown = KeysetId::V2([1; 33]);
        assert_eq!(unknown.to_string().len(), 66);
        assert_eq!(swap(&[], &good), ErrorCode::Unbalanced);
        assert_eq!(swap(&tokens, &[]), ErrorCode::Unbalanced);
        assert_eq!(swap(&tokens, &good[..1]), ErrorCode::Unbalanced);
        assert_eq!(swap(&tokens[..1], &good), ErrorCode::Unbalanced);
        assert_eq!(swap(&[tokens[0].clone(), tokens[0].clone()], &good), ErrorCode::DuplicateInputs);
        assert_eq!(swap(&tokens, &[good[0].clone(), good[0].clone()]), ErrorCode::DuplicateOutputs);
        assert_eq!(swap(&with(|proof| proof.amount = Amount::new(8)), &good), ErrorCode::Unbalanced);
        assert_eq!(swap(&with(|proof| proof.amount = Amount::new(8)), &worth_more), ErrorCode::ProofInvalid);
        assert_eq!(swap(&with(|proof| proof.amount = Amount::new(3)), &good), ErrorCode::ProofInvalid);
        assert_eq!(
            swap(&with(|proof| proof.secret = Secret::new("another".into()).unwrap()), &good),
            ErrorCode::ProofInvalid
        );
        assert_eq!(swap(&with(|proof| proof.id = KeysetId::V2([1; 33])), &good), ErrorCode::KeysetUnknown);
        assert_eq!(swap(&tokens, &with_output(|output| output.id = KeysetId::V2([1; 33]))), ErrorCode::KeysetUnknown);
        assert_eq!(swap(&tokens, &with_output(|output| output.amount = Amount::new(3))), ErrorCode::AmountOutOfRange);
        assert_eq!(swap(&tokens, &with_output(|output| output.amount = Amount::new(1 << 40))), ErrorCode::AmountOutOfRange);
        assert_eq!(swap(&vec![tokens[0].clone(); 300], &good), ErrorCode::TooManyInputs);
        assert_eq!(swap(&tokens, &vec![good[0].clone(); 300]), ErrorCode::TooManyOutputs);

        order(&mint, "q-2", 12);
        assert_eq!(code(mint.mint(Method::Entitlement, &mint_request("q-0", good.clone()))), ErrorCode::QuoteNotPaid);
        assert_eq!(
            code(mint.mint(Method::Entitlement, &MintRequest { signature: None, ..mint_request("q-2", good.clone()) })),
            ErrorCode::QuoteSignatureInvalid
        );
        let for_another = MintRequest { quote: "q-2".into(), ..mint_request("q-1", good.clone()) };
        assert_eq!(code(mint.mint(Method::Entitlement, &for_another)), ErrorCode::QuoteSignatureInvalid);
        assert_eq!(code(mint.mint(Method::Entitlement, &mint_request("q-2", good[..1].to_vec()))), ErrorCode::Unbalanced);
        assert_eq!(code(mint.mint(Method::Entitlement, &mint_request("q-1", good.clone()))), ErrorCode::QuoteIssued);
        assert_eq!(code(mint.order_quote(&entitlement("q-2", 13))), ErrorCode::QuoteIssued);
        assert!(mint.order_quote(&entitlement("q-2", 12)).is_ok(), "the same order twice is one");
        let ask = |request: &str| code(mint.request_melt_quote(&MeltQuoteRequest { request: request.into(), unit: usd() }));
        assert_eq!(ask("m-1:0"), ErrorCode::AmountOutOfRange);
        assert_eq!(ask("m-1"), ErrorCode::AmountOutOfRange);
        assert_eq!(ask("m-1:-5"), ErrorCode::AmountOutOfRange);
        assert_eq!(ask("m-2:5"), ErrorCode::UnitUnsupported);

        // Nothing of all that took effect: the tokens and the outputs are still good.
        assert!(mint.swap(&SwapRequest { inputs: tokens.clone(), outputs: good.clone() }).is_ok());
        let more = holder.collect(&mint, "q-3", &[4, 8]);
        assert_eq!(swap(&more, &good), ErrorCode::OutputsSigned);
        assert!(mint.audit().unwrap().problems.is_empty());

        // A quarter later the keyset signs no more, but its tokens are good; after its expiry they are not.
        world.clock.store(NOW + 92 * 24 * 3600, Ordering::SeqCst);
        let (_, late) = holder.outputs(&[4, 8]);
        assert_eq!(swap(&more, &late), ErrorCode::KeysetInactive);
        mint.keysets().unwrap();
        let mut later = Holder::new(&mint, 2);
        assert_ne!(later.keyset.id, holder.keyset.id);
        let (_, outputs) = later.outputs(&[4, 8]);
        assert!(mint.swap(&SwapRequest { inputs: more.clone(), outputs }).is_ok());
        world.clock.store(NOW + 500 * 24 * 3600, Ordering::SeqCst);
        mint.keysets().unwrap();
        let mut latest = Holder::new(&mint, 3);
        let (_, outputs) = latest.outputs(&[4, 8]);
        assert_eq!(swap(&more, &outputs), ErrorCode::KeysetExpired);
    }

    fn of_many_that_spend_one_token_at_once_exactly_one_wins(place) {
        let mint = place.open(&world());
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[1; 200]);
        for token in tokens {
            let requests: Vec<SwapRequest> =
                (0..4).map(|_| SwapRequest { inputs: vec![token.clone()], outputs: holder.outputs(&[1]).1 }).collect();
            let wins: usize = std::thread::scope(|scope| {
                let racers: Vec<_> = requests.iter().map(|request| scope.spawn(|| mint.swap(request).is_ok())).collect();
                racers.into_iter().map(|racer| usize::from(racer.join().unwrap())).sum()
            });
            assert_eq!(wins, 1);
        }
        assert!(mint.audit().unwrap().problems.is_empty());
    }

    fn a_keyset_that_is_not_in_the_log_signs_nothing(place) {
        let dark = Arc::new(World { log_works: false, ..World::default() });
        let mint = place.open(&dark);
        assert!(matches!(mint.order_quote(&entitlement("q-1", 5)), Err(MintError::Log(_))));
        assert!(mint.keys(None).unwrap().is_empty());
    }

    fn a_row_changed_on_disk_is_named(place) {
        let world = world();
        let mint = place.open(&world);
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[4, 8]);
        let (_, outputs) = holder.outputs(&[4, 8]);
        let spent = tokens[0].secret.y();
        mint.swap(&SwapRequest { inputs: tokens, outputs }).unwrap();
        assert!(mint.audit().unwrap().problems.is_empty());
        mint.close();
        drop(mint);
        let store = place.store();
        store.overwrite_raw(Table::Spent, &spent.to_bytes(), &|value| value[2] += 1).unwrap();
        drop(store);
        let problems = place.open(&world).audit().unwrap().problems;
        assert!(problems[0].contains(&spent.to_string()) && problems[0].contains("spent"), "{problems:?}");
    }
}

#[test]
fn a_journal_that_lost_answered_commits_is_refused() {
    let place = Place::embedded();
    let world = world();
    let mint = place.open(&world);
    Holder::new(&mint, 1).collect(&mint, "q-1", &[4, 8]);
    mint.close();
    drop(mint);
    // The LSM cuts a damaged journal at the damage, as it cuts a torn record after a crash.
    let journal = place.path().join("store/0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    // It is longer than what was written to it.
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[written / 2..].fill(0);
    std::fs::write(&journal, bytes).unwrap();
    let error = place.open_with(&world, Options::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains("were answered"), "{error}");
}
