//! Keysets come and go with the calendar: what is over is closed, published and dropped, and nothing of it is ever spent again.

mod world;

use std::sync::atomic::Ordering;

use cashu::messages::{CheckStateRequest, SwapRequest};
use cashu::{Amount, ErrorCode, Proof};
use mint::store::{Store, Table, TokenRow};
use mint::{Mint, MintEvent};
use world::{Holder, Place, World, code, usd, world};

const DAY: u64 = 24 * 3_600;

fn set_clock(world: &World, unix: u64) {
    world.clock.store(unix, Ordering::SeqCst);
}

fn swap(mint: &Mint, holder: &mut Holder, tokens: &[Proof]) -> Result<Vec<Proof>, mint::MintError> {
    let amounts: Vec<u64> = tokens.iter().map(|token| token.amount.minor()).collect();
    let (first, outputs) = holder.outputs(&amounts);
    let signatures = mint.swap(&SwapRequest { inputs: tokens.to_vec(), outputs })?;
    Ok(holder.unblind(first, &signatures))
}

/// How many rows of tokens of the first keyset are left.
fn rows_of_first(store: &dyn Store) -> usize {
    let mut count = 0;
    store
        .scan(&[Table::Spent, Table::Signed], &mut |_, _, value, _| {
            count += usize::from(TokenRow::decode(value).is_some_and(|row| row.keyset == 0));
        })
        .unwrap();
    count
}

on_both_stores! {
    fn a_keyset_that_is_over_is_closed_published_and_dropped_and_nothing_of_it_is_spent_again(place) {
        let world = world();
        let mint = place.open(&world);
        let mut old = Holder::new(&mint, 1);
        let tokens = old.collect(&mint, "q-1", &[4, 8, 16, 32]);
        let kept = swap(&mint, &mut old, &tokens[..1]).unwrap();
        let keyset = old.keyset.id;
        let quarter_end = mint.keysets().unwrap()[0].final_expiry.unwrap() - 365 * DAY;

        // The next quarter: a keyset is made by itself, the old one signs no more, its tokens can be spent.
        set_clock(&world, quarter_end);
        assert!(mint.follow_calendar().unwrap().is_empty());
        let infos = mint.keysets().unwrap();
        assert_eq!(infos.iter().map(|info| info.active).collect::<Vec<_>>(), [false, true]);
        assert_eq!(code(swap(&mint, &mut old, &tokens[1..2])), ErrorCode::KeysetInactive);
        let mut new = Holder::new(&mint, 2);
        swap(&mint, &mut new, &tokens[1..2]).unwrap();

        // Up to the expiry and a day beyond it is open.
        let expiry = quarter_end + 365 * DAY;
        set_clock(&world, expiry - 1);
        let mut last = Holder::new(&mint, 3);
        let moved = swap(&mint, &mut last, &tokens[2..3]).unwrap();
        set_clock(&world, expiry + DAY - 1);
        assert!(mint.follow_calendar().unwrap().is_empty());
        let mut late = Holder::new(&mint, 4);
        assert_eq!(code(swap(&mint, &mut late, &tokens[3..])), ErrorCode::KeysetExpired);

        // Then it is closed, once; what it came to is in the log, and what nobody spent is told to the treasury.
        set_clock(&world, expiry + DAY);
        assert_eq!(mint.follow_calendar().unwrap(), [keyset]);
        assert!(mint.follow_calendar().unwrap().is_empty());
        let closings = world.closings.lock().unwrap().clone();
        assert_eq!(closings.len(), 1);
        // Signed: 60 against the quote and 4 in a swap. Spent: 4, 8 and 16.
        assert_eq!((closings[0].id, closings[0].signed_minor, closings[0].spent_minor), (keyset, 64, 28));
        let events = mint.events_after(1, 10).unwrap();
        let lapsed = MintEvent::Lapsed { keyset: keyset.to_string(), unit: usd(), amount: Amount::new(36) };
        assert_eq!(events, [(2, lapsed)]);
        let audit = mint.audit().unwrap();
        assert!(audit.problems.is_empty(), "{:?}", audit.problems);
        assert_eq!(audit.outstanding(&usd()), Amount::new(24));
        assert_ne!(rows_of_first(&*mint.rows()), 0);

        // A day later its rows are gone, and the sums are still right.
        set_clock(&world, expiry + 2 * DAY);
        mint.follow_calendar().unwrap();
        assert_eq!(rows_of_first(&*mint.rows()), 0);
        let audit = mint.audit().unwrap();
        assert!(audit.problems.is_empty(), "{:?}", audit.problems);
        assert_eq!(audit.outstanding(&usd()), Amount::new(24));

        // Whoever puts the clock back gets nothing: neither what was spent nor what was not.
        for (back, holder) in [(quarter_end, &mut new), (expiry - 1, &mut last)] {
            set_clock(&world, back);
            for token in tokens.iter().chain(&kept) {
                assert_eq!(code(swap(&mint, holder, std::slice::from_ref(token))), ErrorCode::KeysetExpired);
            }
            assert_eq!(code(swap(&mint, &mut old, &moved)), ErrorCode::KeysetExpired, "nothing is signed with it either");
        }
        set_clock(&world, world::NOW);
        assert_eq!(code(mint.ensure_keyset(&usd())), ErrorCode::KeysetExpired, "and it is not made a second time");
        set_clock(&world, expiry - 1);
        mint.close();
        drop(mint);
        let mint = place.open(&world);
        assert_eq!(code(swap(&mint, &mut last, &tokens[..1])), ErrorCode::KeysetExpired);
        assert!(mint.audit().unwrap().problems.is_empty());
    }

    /// The control of the above: it is the closing that keeps dropped tokens from being spent again, and nothing else.
    fn without_the_closing_a_dropped_token_could_be_spent_again(place) {
        let world = world();
        let mint = place.open(&world);
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[4]);
        swap(&mint, &mut holder, &tokens).unwrap();
        assert_eq!(code(swap(&mint, &mut holder, &tokens)), ErrorCode::ProofsSpent);
        assert_eq!(mint.rows().drop_tokens(0).unwrap(), 3);
        assert!(swap(&mint, &mut holder, &tokens).is_ok());
        assert!(!mint.audit().unwrap().problems.is_empty(), "and the audit would say so");
    }

    fn a_keyset_with_a_changed_row_is_not_closed(place) {
        let world = world();
        let mint = place.open(&world);
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[4]);
        swap(&mint, &mut holder, &tokens).unwrap();
        let y = tokens[0].secret.y();
        mint.rows().overwrite_raw(Table::Spent, &y.to_bytes(), &|row| row[2] ^= 1).unwrap();
        set_clock(&world, mint.keysets().unwrap()[0].final_expiry.unwrap() + DAY);
        let told = mint.follow_calendar().unwrap_err().to_string();
        assert!(told.contains("changed on disk"), "{told}");
        assert!(world.closings.lock().unwrap().is_empty());
        let state = mint.check_state(&CheckStateRequest { ys: vec![y] }).unwrap();
        assert_eq!(state[0].state, cashu::messages::ProofState::Spent, "its rows are all there");
    }
}

#[test]
fn another_process_that_has_not_read_of_the_closing_learns_of_it() {
    let (place, world) = (Place::postgres(), world());
    let mints = [place.open(&world), place.open(&world)];
    let mut holder = Holder::new(&mints[0], 1);
    let tokens = holder.collect(&mints[0], "q-1", &[4]);
    set_clock(&world, mints[0].keysets().unwrap()[0].final_expiry.unwrap() + DAY);
    assert_eq!(mints[0].follow_calendar().unwrap().len(), 1);
    assert!(mints[1].follow_calendar().unwrap().is_empty(), "closed once");
    set_clock(&world, world::NOW);
    assert_eq!(code(swap(&mints[1], &mut holder, &tokens)), ErrorCode::KeysetExpired);
    assert_eq!(world.closings.lock().unwrap().len(), 1);
}
