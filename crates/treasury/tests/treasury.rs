//! The books, from a deposit to a confirmed payment, and everything that must not be booked.

use std::path::Path;
use std::sync::Arc;

use treasury::bank::{self, Deposit};
use treasury::ledger::Merchant;
use treasury::{Clock, MintEvent, MintFeed, Treasury, TreasuryError};

struct Noon;

impl Clock for Noon {
    fn unix_now(&self) -> u64 {
        1_795_435_200
    }
}

struct Feed(Vec<MintEvent>);

impl MintFeed for Feed {
    fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, MintEvent)>, String> {
        Ok((1..).zip(self.0.iter().cloned()).skip(cursor as usize).take(limit).collect())
    }

    fn last_event(&self) -> Result<u64, String> {
        Ok(self.0.len() as u64)
    }
}

fn open(folder: &Path) -> Treasury {
    Treasury::open(folder, Arc::new(Noon)).unwrap()
}

fn merchant(treasury: &Treasury) -> Merchant {
    treasury.register_merchant("Corner shop", "usd", "GB82 WEST 1234 5698 7654 32").unwrap()
}

fn funded(treasury: &Treasury, amount_minor: u64) {
    let reference = treasury.register_programme("p-1", "Pension", "usd").unwrap();
    let deposits = [Deposit { reference, amount_minor }];
    let xml = bank::statement("S-1", "usd", 0, &deposits, None).unwrap();
    assert_eq!(treasury.import_statement(xml.as_bytes()).unwrap().funded_minor, amount_minor);
}

fn issued(quote: &str, amount_minor: u64) -> MintEvent {
    MintEvent::Issued { quote: quote.into(), unit: "usd".into(), amount_minor }
}

fn redeemed(quote: &str, merchant: &str, amount_minor: u64) -> MintEvent {
    MintEvent::Redeemed { quote: quote.into(), merchant: merchant.into(), unit: "usd".into(), amount_minor }
}

fn no_problems(treasury: &Treasury) {
    let problems = treasury.audit().unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn money_goes_from_the_bank_through_people_to_merchants_and_the_books_close() {
    let folder = tempfile::tempdir().unwrap();
    let treasury = open(folder.path());
    funded(&treasury, 10_000);
    let shop = merchant(&treasury);
    treasury.commit("run-1", "p-1", 6_000).unwrap();
    treasury.commit("run-1", "p-1", 6_000).unwrap();
    treasury.record_order("q-1", "run-1", "p-1", 5_000).unwrap();
    treasury.record_order("q-1", "run-1", "p-1", 5_000).unwrap();
    let feed = Feed(vec![issued("q-1", 5_000), redeemed("m-1", &shop.id, 1_234)]);
    assert_eq!(treasury.sync(&feed).unwrap(), 2);
    assert_eq!(treasury.sync(&feed).unwrap(), 0, "each event once");
    let totals = treasury.totals("usd").unwrap();
    assert_eq!((totals.available_minor, totals.committed_minor, totals.outstanding_minor), (4_000, 1_000, 3_766));
    assert!(totals.balance());

    let settlement = treasury.prepare_settlement("usd", "Pension office", "GB82WEST12345698765432").unwrap();
    assert_eq!((settlement.payments, settlement.total_minor), (1, 1_234));
    assert!(settlement.pain001.contains("<InstdAmt Ccy=\"USD\">12.34</InstdAmt>"));
    assert!(matches!(
        treasury.prepare_settlement("usd", "x", "GB82WEST12345698765432"),
        Err(TreasuryError::NothingToSettle)
    ));
    let confirmed = bank::statement("S-2", "usd", 10_000, &[], Some(&settlement.pain001)).unwrap();
    assert_eq!(treasury.import_statement(confirmed.as_bytes()).unwrap().confirmed_minor, 1_234);
    let totals = treasury.totals("usd").unwrap();
    assert_eq!((totals.merchants_minor, totals.paid_out_minor), (0, 1_234));
    no_problems(&treasury);
    drop(treasury);
    assert_eq!(open(folder.path()).totals("usd").unwrap(), totals);
}

#[test]
fn nothing_is_committed_or_ordered_beyond_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let treasury = open(folder.path());
    funded(&treasury, 100);
    let above = treasury.commit("run-1", "p-1", 101);
    assert!(matches!(above, Err(TreasuryError::InsufficientFunds { available_minor: 100, wanted_minor: 101 })));
    assert_eq!(treasury.totals("usd").unwrap().available_minor, 100);
    treasury.commit("run-1", "p-1", 100).unwrap();
    assert!(matches!(treasury.commit("run-1", "p-1", 99), Err(TreasuryError::Conflict(_))));
    treasury.record_order("q-1", "run-1", "p-1", 60).unwrap();
    assert!(matches!(treasury.record_order("q-2", "run-1", "p-1", 41), Err(TreasuryError::BeyondRun)));
    assert!(matches!(treasury.record_order("q-3", "run-2", "p-1", 1), Err(TreasuryError::BeyondRun)));
    assert!(matches!(treasury.record_order("q-1", "run-1", "p-1", 61), Err(TreasuryError::Conflict(_))));
    no_problems(&treasury);
}

#[test]
fn e_cash_that_nobody_spent_in_time_lapses_and_the_books_still_balance() {
    let folder = tempfile::tempdir().unwrap();
    let treasury = open(folder.path());
    funded(&treasury, 100);
    let shop = merchant(&treasury);
    treasury.commit("run-1", "p-1", 100).unwrap();
    treasury.record_order("q-1", "run-1", "p-1", 100).unwrap();
    let lapsed = |amount_minor| MintEvent::Lapsed { keyset: "01aa".into(), unit: "usd".into(), amount_minor };
    let feed = Feed(vec![issued("q-1", 100), redeemed("m-1", &shop.id, 60), lapsed(40)]);
    treasury.sync(&feed).unwrap();
    let totals = treasury.totals("usd").unwrap();
    assert_eq!((totals.outstanding_minor, totals.merchants_minor, totals.lapsed_minor), (0, 60, 40));
    assert!(totals.balance());
    no_problems(&treasury);
    // The control: more than was outstanding can't lapse unseen.
    let feed = Feed(vec![issued("q-1", 100), redeemed("m-1", &shop.id, 60), lapsed(40), {
        MintEvent::Lapsed { keyset: "01bb".into(), unit: "usd".into(), amount_minor: 1 }
    }]);
    treasury.sync(&feed).unwrap();
    let problems = treasury.audit().unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("overdrawn")), "{problems:?}");
}

#[test]
fn e_cash_without_funds_shows() {
    let folder = tempfile::tempdir().unwrap();
    let treasury = open(folder.path());
    funded(&treasury, 100);
    treasury.sync(&Feed(vec![issued("forged", 50)])).unwrap();
    let audit = treasury.audit().unwrap();
    assert!(audit.problems.iter().any(|problem| problem.contains("forged")), "{:?}", audit.problems);
    assert!(!treasury.totals("usd").unwrap().balance());
}

#[test]
fn a_changed_row_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let treasury = open(folder.path());
    funded(&treasury, 100);
    treasury.commit("run-1", "p-1", 40).unwrap();
    no_problems(&treasury);
    let thief = rusqlite::Connection::open(folder.path().join("treasury.db")).unwrap();
    thief.execute("UPDATE journal SET amount_minor = 41 WHERE seq = 2", []).unwrap();
    let problems = treasury.audit().unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("row 2 of the journal (commit run-1)")), "{problems:?}");
}

#[test]
fn statements_that_are_not_acceptable_book_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let treasury = open(folder.path());
    let reference = treasury.register_programme("p-1", "Pension", "usd").unwrap();
    let deposits = [Deposit { reference, amount_minor: 100 }];
    let good = bank::statement("S-1", "usd", 0, &deposits, None).unwrap();
    let refused = |xml: &str| match treasury.import_statement(xml.as_bytes()) {
        Err(TreasuryError::BadStatement(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused("not xml").contains("not a camt.053"));
    assert!(refused(&good.replace("001.08", "001.02")).contains("camt.053.001.08"));
    assert!(refused(&good.replace("Ccy=\"USD\"", "Ccy=\"XXX\"")).contains("currency"));
    assert!(refused(&good.replacen("Ccy=\"USD\"", "Ccy=\"EUR\"", 1)).contains("mixes"));
    assert!(refused(&good.replace(">1.00<", ">-1.00<")).contains("amount"));
    let cut = good.split_once("<Ntry>").unwrap().0.to_owned() + "</Stmt></BkToCstmrStmt></Document>";
    assert!(refused(&cut).contains("closing balance"));
    assert!(refused(&good.replacen("<Document", "<!DOCTYPE x><Document", 1)).contains("entities"));
    assert_eq!(treasury.totals("usd").unwrap().funded_minor, 0);

    treasury.import_statement(good.as_bytes()).unwrap();
    assert!(matches!(treasury.import_statement(good.as_bytes()), Err(TreasuryError::StatementRepeated(_))));
    let stranger = [Deposit { reference: "RF18539007547034".into(), amount_minor: 5 }];
    let unmatched = bank::statement("S-2", "usd", 100, &stranger, None).unwrap();
    assert_eq!(treasury.import_statement(unmatched.as_bytes()).unwrap().unmatched, ["D0"]);
    assert_eq!(treasury.totals("usd").unwrap().funded_minor, 100);
    assert!(matches!(treasury.register_merchant("x", "usd", "GB83WEST12345698765432"), Err(TreasuryError::BadIban)));
    assert!(matches!(treasury.register_programme("p", "x", "xyz"), Err(TreasuryError::UnknownUnit(_))));
}
