//! Who may mint a quote: the holder of the key that was named when it was made (NUT-20).

use secp256k1::{Keypair, SecretKey, XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};

use crate::{BlindedMessage, Point};

/// SHA-256 of the quote's id and the `B_` of each output, in order.
fn message(quote: &str, outputs: &[BlindedMessage]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(quote.as_bytes());
    for output in outputs {
        hasher.update(output.blinded.to_string().as_bytes());
    }
    hasher.finalize().into()
}

/// The BIP-340 signature that a mint request carries, 64 bytes as hex. `aux` is 32 fresh random bytes.
pub fn sign(quote: &str, outputs: &[BlindedMessage], key: &SecretKey, aux: &[u8; 32]) -> String {
    let signature = schnorr::sign_with_aux_rand(&message(quote, outputs), &Keypair::from_secret_key(key), aux);
    hex::encode(signature.to_byte_array())
}

/// Whether the signature is the key's over this quote and these outputs. Anything unreadable is a no.
pub fn verify(quote: &str, outputs: &[BlindedMessage], signature: &str, key: &Point) -> bool {
    let mut bytes = [0; 64];
    if hex::decode_to_slice(signature, &mut bytes).is_err() {
        return false;
    }
    let (key, _parity): (XOnlyPublicKey, _) = key.inner().x_only_public_key();
    schnorr::verify(&schnorr::Signature::from_byte_array(bytes), &message(quote, outputs), &key).is_ok()
}
