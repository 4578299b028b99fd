//! The client: blinds, waits for the issuer, takes the blinding off (RFC 9578 sections 6.1 and 6.3).
//!
//! ## The nonce
//! RFC 9577 section 2.2 leaves the nonce to the client, 32 bytes that have to be unpredictable and used once. Here it is SHA-256 over a
//! domain string and a P-256 public key that was made for this token alone. So the token is a standard one, and yet bound: who
//! only copied it, on the way or from the issuer's answer, can't show it.
//!
//! It stays as good as random. The key has 2²⁵⁶ equally likely secrets and SHA-256 spreads its points: before it is shown, the nonce can
//! be neither guessed nor told from 32 random bytes by whoever does not have the key, and two keys with one nonce would be a collision.
//! And it ties nothing to anything, since the key appears nowhere else: not in the request, whose number is blinded, and not in
//! any other token. The condition is that a key is never used for two tokens or for anything else; a wallet makes one per
//! [`Blinding`] and destroys it after its showing.

use std::fmt;

use es256::PublicKey as HolderKey;
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::blinding::{Modulus, SALT_LEN};
use crate::challenge::TokenChallenge;
use crate::keys::PublicKey;
use crate::messages::{Token, TokenInput, TokenRequest, TokenResponse};
use crate::{DIGEST_LEN, Error, MODULUS_LEN, end, take};

/// What makes the digest of a holder's key a nonce and nothing else.
const NONCE_DOMAIN: &[u8] = b"habeas.org/privacypass/nonce/v1\0";
/// The form of [`Blinding::to_bytes`].
const STATE_VERSION: u8 = 1;

/// The nonce of a token that belongs to a key.
pub(crate) fn nonce_of(holder: &HolderKey) -> [u8; DIGEST_LEN] {
    Sha256::new().chain_update(NONCE_DOMAIN).chain_update(holder.as_point()).finalize().into()
}

/// A token that is being asked for. Secret: with it the token can be tied to the request.
pub struct Blinding {
    input: TokenInput,
    blinded_msg: [u8; MODULUS_LEN],
    inverse: Zeroizing<[u8; MODULUS_LEN]>,
}

impl Blinding {
    /// Begins a token of an issuer's key for a challenge, bound to a holder's key that is used for nothing else. The blinding and the
    /// holder's key are kept (written down) before the request goes out.
    ///
    /// # Errors
    /// When the issuer's key is none that can be trusted.
    pub fn new(
        issuer: &PublicKey,
        challenge: &TokenChallenge,
        holder: &HolderKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        let modulus = Modulus::new(issuer.modulus())?;
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        let factor = modulus.factor(rng);
        Self::with(issuer, &modulus, challenge.digest(), nonce_of(holder), &salt, &factor)
    }

    fn with(
        issuer: &PublicKey,
        modulus: &Modulus,
        challenge_digest: [u8; DIGEST_LEN],
        nonce: [u8; DIGEST_LEN],
        salt: &[u8],
        factor: &[u8],
    ) -> Result<Self, Error> {
        let input = TokenInput { nonce, challenge_digest, token_key_id: issuer.id() };
        let blinded = modulus.blind(&input.to_bytes(), salt, factor)?;
        let mut inverse = Zeroizing::new([0; MODULUS_LEN]);
        inverse.copy_from_slice(&blinded.inverse);
        let blinded_msg = blinded.message.try_into().map_err(|_| Error::Key)?;
        Ok(Blinding { input, blinded_msg, inverse })
    }

    /// The request. Asked again after a crash, it is the same one, so that no second signature is made for one token.
    pub fn request(&self) -> TokenRequest {
        TokenRequest { truncated_token_key_id: self.input.token_key_id.truncated(), blinded_msg: self.blinded_msg }
    }

    /// Makes the token from the issuer's answer, and verifies it. After an error the answer may be asked for again.
    ///
    /// # Errors
    /// When this was begun for another key, or the answer is no signature.
    pub fn finish(&self, issuer: &PublicKey, response: &TokenResponse) -> Result<Token, Error> {
        if self.input.token_key_id != issuer.id() {
            return Err(Error::OtherIssuerKey);
        }
        let signature = Modulus::new(issuer.modulus())?.unblind(&response.blind_sig, &*self.inverse)?;
        let token = Token::new(self.input.clone(), signature.try_into().map_err(|_| Error::Response)?);
        token.verify(issuer, &self.input.challenge_digest).map_err(|_| Error::Response)?;
        Ok(token)
    }

    /// The whole state, for a wallet that outlives a crash: sealed, and destroyed once the token is there.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + crate::messages::TOKEN_LEN + MODULUS_LEN));
        bytes.push(STATE_VERSION);
        bytes.extend(self.input.to_bytes());
        bytes.extend(self.blinded_msg);
        bytes.extend(*self.inverse);
        bytes
    }

    /// Reads a state.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "blinding of ours";
        if *take::<1>(&mut bytes, WHAT)? != [STATE_VERSION] {
            return Err(Error::Malformed(WHAT));
        }
        let input = TokenInput::take(&mut bytes, WHAT)?;
        let blinded_msg = *take(&mut bytes, WHAT)?;
        let inverse = Zeroizing::new(*take(&mut bytes, WHAT)?);
        end(bytes, WHAT)?;
        Ok(Blinding { input, blinded_msg, inverse })
    }
}

impl Drop for Blinding {
    fn drop(&mut self) {
        // The inverse clears itself; nonce and blinded message together would still be half of a tie.
        self.input.nonce.zeroize();
        self.blinded_msg.zeroize();
    }
}

impl fmt::Debug for Blinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blinding")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::issuer::IssuerKey;
    use crate::vectors::issuance;
    use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
    use crypto_bigint::{BoxedUint, Odd};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// RFC 9578 Appendix B.2, each side's part of it.
    #[test]
    fn issuing_is_that_of_rfc_9578() {
        for (number, case) in issuance().into_iter().enumerate() {
            let key = IssuerKey::from_pkcs8(&case.issuer_pkcs8).unwrap();
            let issuer = PublicKey::from_spki(&case.issuer_spki).unwrap();
            assert_eq!(*key.public_key(), issuer, "{number}");
            assert_eq!(issuer.to_spki()[..], case.issuer_spki, "{number}");
            let challenge = TokenChallenge::from_bytes(&case.token_challenge).unwrap();
            assert_eq!(challenge.to_bytes(), case.token_challenge, "{number}");

            let modulus = Modulus::new(issuer.modulus()).unwrap();
            let digest = challenge.digest();
            let blinding = Blinding::with(&issuer, &modulus, digest, case.nonce, &case.salt, &case.blind).unwrap();
            assert_eq!(blinding.request().to_bytes()[..], case.token_request, "{number}");
            let request = TokenRequest::from_bytes(&case.token_request).unwrap();
            let response = key.issue(&request).unwrap();
            assert_eq!(response.to_bytes()[..], case.token_response, "{number}");
            let token = blinding.finish(&issuer, &TokenResponse::from_bytes(&case.token_response).unwrap()).unwrap();
            assert_eq!(token.to_bytes()[..], case.token, "{number}");
            assert_eq!(Token::from_bytes(&case.token).unwrap().verify(&issuer, &digest), Ok(()), "{number}");
        }
    }

    fn issuer_key() -> IssuerKey {
        IssuerKey::from_pkcs8(&issuance()[0].issuer_pkcs8).unwrap()
    }

    fn holder(rng: &mut StdRng) -> HolderKey {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        *es256::AgreementKey::from_secret(&secret).unwrap().public_key()
    }

    /// What an issuer keeps of one request, and what it sees at a verifier's later.
    struct Seen {
        blinded_msg: [u8; MODULUS_LEN],
        blind_sig: [u8; MODULUS_LEN],
    }

    /// What an issuer that pools its log with all verifiers can compute: the factor that would lead from each request to each token. Where
    /// one factor leads from several requests to several tokens, it was not fresh, and those belong together. Gives for each token
    /// the requests that it is tied to.
    fn tied(issuer: &PublicKey, log: &[Seen], tokens: &[Token]) -> Vec<Vec<usize>> {
        let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, 8 * MODULUS_LEN as u32).unwrap();
        let params = BoxedMontyParams::new(Odd::new(number(issuer.modulus())).unwrap());
        let form = |bytes: &[u8]| BoxedMontyForm::new(number(bytes), &params);
        let mut by_factor: HashMap<Box<[u8]>, Vec<(usize, usize)>> = HashMap::new();
        for (which, token) in tokens.iter().enumerate() {
            let signature = form(&token.to_bytes()[crate::messages::TOKEN_INPUT_LEN..]);
            let padded = signature.pow_bounded_exp(&BoxedUint::from(65537u32), 17);
            let inverse = signature.invert().unwrap();
            for (request, seen) in log.iter().enumerate() {
                let factor = form(&seen.blind_sig).mul(&inverse);
                // Each request fits each token: there is a factor for every pair, so the fit itself says nothing.
                let fits = padded.mul(&factor.pow_bounded_exp(&BoxedUint::from(65537u32), 17)).retrieve();
                assert_eq!(fits.to_be_bytes()[..], seen.blinded_msg);
                by_factor.entry(factor.retrieve().to_be_bytes()).or_default().push((which, request));
            }
        }
        let mut tied = vec![Vec::new(); tokens.len()];
        for pairs in by_factor.into_values().filter(|pairs| pairs.len() > 1) {
            pairs.into_iter().for_each(|(which, request)| tied[which].push(request));
        }
        tied
    }

    /// Issues tokens with factors that the closure chooses, and gives what can be tied together afterwards. Token `i` belongs to request `i`.
    fn run(mut factor: impl FnMut(&Modulus, &mut StdRng) -> Vec<u8>) -> Vec<Vec<usize>> {
        const TOKENS: usize = 12;
        let mut rng = StdRng::seed_from_u64(9_578);
        let key = issuer_key();
        let issuer = *key.public_key();
        let modulus = Modulus::new(issuer.modulus()).unwrap();
        let digest = TokenChallenge::shared("issuer.example").unwrap().digest();
        let issued = (0..TOKENS).map(|_| {
            let (nonce, factor) = (nonce_of(&holder(&mut rng)), factor(&modulus, &mut rng));
            let mut salt = [0; SALT_LEN];
            rng.fill_bytes(&mut salt);
            let blinding = Blinding::with(&issuer, &modulus, digest, nonce, &salt, &factor).unwrap();
            let request = blinding.request();
            let response = key.issue(&request).unwrap();
            let seen = Seen { blinded_msg: request.blinded_msg, blind_sig: response.blind_sig };
            (seen, blinding.finish(&issuer, &response).unwrap())
        });
        let (log, tokens): (Vec<_>, Vec<_>) = issued.unzip();
        tied(&issuer, &log, &tokens)
    }

    #[test]
    fn a_log_of_requests_ties_nothing_to_tokens() {
        let tied = run(|modulus, rng| modulus.factor(rng).to_vec());
        assert!(tied.iter().all(Vec::is_empty), "{tied:?}");
    }

    /// The control of the test above: without blinding the same program ties every token to its request.
    #[test]
    fn without_blinding_a_log_of_requests_ties_everything() {
        let one = [vec![0; MODULUS_LEN - 1], vec![1]].concat();
        let all: Vec<_> = (0..12).map(|number| vec![number]).collect();
        assert_eq!(run(|_, _| one.clone()), all);
        // And one secret factor for all is no better.
        let mut same = None;
        assert_eq!(run(|modulus, rng| same.get_or_insert_with(|| modulus.factor(rng).to_vec()).clone()), all);
    }

    #[test]
    fn a_blinding_outlives_a_crash_and_asks_the_same_again() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = issuer_key();
        let challenge = TokenChallenge::shared("issuer.example").unwrap();
        let blinding = Blinding::new(key.public_key(), &challenge, &holder(&mut rng), &mut rng).unwrap();
        let bytes = blinding.to_bytes();
        let again = Blinding::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert!(again.request() == blinding.request());
        let response = key.issue(&again.request()).unwrap();
        let token = again.finish(key.public_key(), &response).unwrap();
        assert!(token == blinding.finish(key.public_key(), &response).unwrap());
        for length in 0..bytes.len() {
            assert!(Blinding::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Blinding::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        let mut newer = bytes.to_vec();
        newer[0] += 1;
        assert!(Blinding::from_bytes(&newer).is_err());
    }

    #[test]
    fn answers_that_are_no_signature_give_no_token() {
        let mut rng = StdRng::seed_from_u64(2);
        let (key, other) = (issuer_key(), IssuerKey::from_pkcs8(&issuance()[5].issuer_pkcs8).unwrap());
        let challenge = TokenChallenge::shared("issuer.example").unwrap();
        let [one, two] =
            [0; 2].map(|_| Blinding::new(key.public_key(), &challenge, &holder(&mut rng), &mut rng).unwrap());
        let response = key.issue(&one.request()).unwrap();
        assert!(one.finish(key.public_key(), &response).is_ok(), "the control");
        assert_eq!(two.finish(key.public_key(), &response).err(), Some(Error::Response));
        assert_eq!(one.finish(other.public_key(), &response).err(), Some(Error::OtherIssuerKey));
        for place in [0, 100, MODULUS_LEN - 1] {
            let mut changed = response.clone();
            changed.blind_sig[place] ^= 1;
            assert_eq!(one.finish(key.public_key(), &changed).err(), Some(Error::Response), "{place}");
        }
        let above = TokenResponse { blind_sig: [0xff; MODULUS_LEN] };
        assert_eq!(one.finish(key.public_key(), &above).err(), Some(Error::Response));
        let nothing = TokenResponse { blind_sig: [0; MODULUS_LEN] };
        assert_eq!(one.finish(key.public_key(), &nothing).err(), Some(Error::Response));
    }

    /// The nonce is that of the holder's key and of no other.
    #[test]
    fn nonces_differ_from_key_to_key_and_from_a_plain_digest() {
        let mut rng = StdRng::seed_from_u64(3);
        let (one, two) = (holder(&mut rng), holder(&mut rng));
        assert_eq!(nonce_of(&one), nonce_of(&one));
        assert_ne!(nonce_of(&one), nonce_of(&two));
        assert_ne!(nonce_of(&one), <[u8; DIGEST_LEN]>::from(Sha256::digest(one.as_point())));
    }
}
