//! Multiples of the base point of secp256k1, in constant time, at the price that libsecp256k1 asks for them.
//!
//! `PublicKey::from_secret_key` of the crate `secp256k1` (0.33) blinds its context anew after each call, with a second multiplication:
//! 49 µs instead of 24 on the machine that this was measured on. A mint multiplies the base point for each signature that it proves,
//! so this would be an eighth of all its arithmetic. Here a context belongs to a thread and is blinded anew every
//! [`BLINDING_LASTS`] calls. libsecp256k1's multiplication is constant-time without blinding; blinding is its second line of defence
//! (`secp256k1_context_randomize` in its header: "this is not needed for security, but defence in depth").
//!
//! In scope: this one multiplication. It is a crate of its own since it holds the one call of C in the workspace; all other crates
//! forbid unsafe code.

use std::cell::RefCell;

use secp256k1::ffi::{self, CPtr};
use secp256k1::{PublicKey, Secp256k1, SecretKey, SignOnly};

/// How many multiplications one blinding serves: its price, one multiplication, is then a thousandth.
const BLINDING_LASTS: u32 = 1_024;

thread_local! {
    static CONTEXT: RefCell<(Secp256k1<SignOnly>, u32)> = RefCell::new((Secp256k1::signing_only(), 0));
}

/// `scalar · G`, constant-time in `scalar`: the public key of a secret key, or the commitment of a nonce.
pub fn multiply(scalar: &SecretKey) -> PublicKey {
    CONTEXT.with_borrow_mut(|(context, left)| {
        if *left == 0 {
            // The seed has to be unknown outside, no more: it is hashed with the state that is there.
            context.seeded_randomize(scalar.as_secret_bytes());
            *left = BLINDING_LASTS;
        }
        *left -= 1;
        create(context, scalar)
    })
}

#[allow(unsafe_code, reason = "the safe function blinds the context at each call")]
fn create(context: &Secp256k1<SignOnly>, scalar: &SecretKey) -> PublicKey {
    // SAFETY: a new public key is zeros, which are never read: it is written below, or the assertion fails.
    let mut point = unsafe { ffi::PublicKey::new() };
    // SAFETY: the context lives and was made for signing; `point` is writable and of the type that is written; a `SecretKey` points
    // to 32 initialised bytes. Nothing keeps a pointer after the call.
    let done = unsafe { ffi::secp256k1_ec_pubkey_create(context.ctx().as_ptr(), &mut point, scalar.as_c_ptr()) };
    assert_eq!(done, 1, "a SecretKey is from 1 to the order less one, so it has a public key");
    PublicKey::from(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_those_of_the_safe_function_before_and_after_a_blinding() {
        for number in 0..2 * BLINDING_LASTS + 2 {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            let scalar = SecretKey::from_secret_bytes(bytes).unwrap();
            let point = multiply(&scalar);
            if number % 97 == 0 {
                assert_eq!(point, PublicKey::from_secret_key(&scalar));
            }
        }
        let one = SecretKey::from_secret_bytes([[0; 31].as_slice(), &[1]].concat().try_into().unwrap()).unwrap();
        assert_eq!(multiply(&one), PublicKey::from_secret_key(&one));
    }
}
