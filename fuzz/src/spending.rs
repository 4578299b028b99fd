//! Spending conditions: secrets and witnesses as somebody sends them, and locks against a model of who may open them.

use cashu::Point;
use cashu::conditions::{Condition, LockBuilder, check, sign_all, sign_inputs};
use cashu::messages::{MeltRequest, SwapRequest};

use crate::json::{key, output, proof, public};
use crate::vectors;

/// The locktime of the locks here.
const LOCKTIME: u64 = 1_000_000;

/// Swaps and melts with conditions, as JSON.
///
/// A token that names a condition is never spent without a witness before its time; what may be spent may be spent later; a condition
/// that is malformed can't be spent at all.
pub fn condition(data: &[u8]) -> bool {
    let (mut inputs, outputs, quote) = if let Ok(melt) = serde_json::from_slice::<MeltRequest>(data) {
        (melt.inputs, melt.outputs, Some(melt.quote))
    } else if let Ok(swap) = serde_json::from_slice::<SwapRequest>(data) {
        (swap.inputs, swap.outputs, None)
    } else {
        return false;
    };
    let quote = quote.as_deref();
    let at = |now| check(&inputs, &outputs, quote, now).is_ok();
    let verdicts = [0, 1, LOCKTIME, 1_700_000_000, u64::MAX].map(at);
    assert!(verdicts.is_sorted(), "time opens, and never locks: {verdicts:?}");
    let conditions: Vec<_> = inputs.iter().map(|input| Condition::of(input.secret.as_str())).collect();
    if conditions.iter().any(Result::is_err) {
        assert!(!verdicts.contains(&true), "what is malformed is nobody's");
    }
    let locked = conditions.iter().any(|condition| !matches!(condition, Ok(None)));
    inputs.iter_mut().for_each(|input| input.witness = None);
    // No locktime is before the year 1970.
    let open = check(&inputs, &outputs, quote, 0).is_ok();
    assert!(open != locked, "without witnesses, before any locktime: what is ordinary is spent, and nothing else");
    true
}

/// The published requests of NUT-11 and NUT-14, and locks of ours.
pub fn condition_seeds() -> Vec<Vec<u8>> {
    let mut seeds = lock_seeds().iter().map(|choices| swap_of(choices).0).collect::<Vec<_>>();
    let htlc = format!(
        r#"["HTLC",{{"nonce":"00","data":"{}","tags":[["locktime","1"],["sigflag","SIG_ALL"]]}}]"#,
        "ab".repeat(32)
    );
    let mut hashed = proof(&htlc);
    hashed.witness = Some(format!(r#"{{"preimage":"{}","signatures":[]}}"#, "cd".repeat(32)));
    let swap = SwapRequest { inputs: vec![proof("an ordinary secret"), hashed], outputs: vec![output(2)] };
    seeds.push(serde_json::to_vec(&swap).expect("plain data"));
    seeds.extend(vectors::json().into_iter().filter(|block| condition(block)));
    seeds
}

/// What a lock is made of, and who signs: taken from bytes.
struct Choices {
    /// Main keys, one to four.
    keys: u8,
    /// How many must sign, from one to all.
    needed: u8,
    sig_all: bool,
    /// `None` for a lock without a time, else the number of refund keys, none to two.
    refunds: Option<u8>,
    /// Who signs, a bit each: main keys in the low half, refund keys in the high one.
    signers: u8,
    expired: bool,
    /// Whether the outputs are changed after signing.
    tampered: bool,
    inputs: u8,
}

impl Choices {
    fn read(data: &[u8]) -> Self {
        let byte = |place: usize| data.get(place).copied().unwrap_or(0);
        let keys = 1 + byte(0) % 4;
        Choices {
            keys,
            needed: 1 + byte(1) % keys,
            sig_all: byte(2) & 1 == 1,
            refunds: (byte(2) & 2 == 2).then_some(byte(3) % 3),
            signers: byte(4),
            expired: byte(2) & 4 == 4,
            tampered: byte(2) & 8 == 8,
            inputs: 1 + byte(5) % 2,
        }
    }

    /// Whether the request is to be taken, from the words of NUT-11.
    fn opens(&self) -> bool {
        let signed = |low: u8, count: u8| (low..low + count).filter(|bit| self.signers >> bit & 1 == 1).count();
        let void = self.tampered && self.sig_all;
        let by_keys = !void && signed(0, self.keys) >= self.needed.into();
        let by_time = match self.refunds {
            Some(refunds) if self.expired => refunds == 0 || (!void && signed(4, refunds) >= 1),
            _ => false,
        };
        by_keys || by_time
    }
}

/// A signed swap as the choices say, as JSON; and whether it is taken.
fn swap_of(data: &[u8]) -> (Vec<u8>, bool) {
    let choices = Choices::read(data);
    let publics = |from: u8, count: u8| (from..from + count).map(public).collect::<Vec<Point>>();
    let mut lock = LockBuilder::new(public(1)).any_of(publics(2, choices.keys - 1), choices.needed.into());
    if let Some(refunds) = choices.refunds {
        lock = lock.refund_after(LOCKTIME, publics(5, refunds));
    }
    if choices.sig_all {
        lock = lock.sig_all();
    }
    let mut inputs: Vec<_> = (0..choices.inputs).map(|nonce| proof(&lock.secret(&[nonce; 32]))).collect();
    let mut outputs = vec![output(20)];
    for bit in (0..8).filter(|bit| choices.signers >> bit & 1 == 1) {
        let signed = if choices.sig_all {
            sign_all(&mut inputs, &outputs, None, &key(bit + 1), &[0; 32])
        } else {
            sign_inputs(&mut inputs, &key(bit + 1), &[0; 32])
        };
        signed.expect("our own witnesses can be read");
    }
    if choices.tampered {
        outputs[0] = output(21);
    }
    let now = if choices.expired { LOCKTIME + 1 } else { LOCKTIME };
    let taken = check(&inputs, &outputs, None, now).is_ok();
    (serde_json::to_vec(&SwapRequest { inputs, outputs }).expect("plain data"), taken)
}

/// Locks against the model: whoever may open one can, and nobody else.
pub fn lock(data: &[u8]) -> bool {
    assert_eq!(swap_of(data).1, Choices::read(data).opens());
    true
}

/// One of each kind of lock.
pub fn lock_seeds() -> Vec<Vec<u8>> {
    [
        [0, 0, 0, 0, 1, 0],
        [2, 1, 1, 0, 5, 1],
        [1, 1, 6, 1, 16, 0],
        [0, 0, 6, 0, 0, 1],
        [3, 2, 9, 2, 15, 0],
        [0, 0, 2, 2, 32, 0],
    ]
    .map(Vec::from)
    .into()
}
