//! `TokenChallenge` (RFC 9577 section 2.1): what a token is made for.

use sha2::{Digest, Sha256};

use crate::{DIGEST_LEN, Error, TOKEN_TYPE, end, take, take_type};

/// Longest issuer name: that of a host (RFC 1035 section 2.3.4). The standard's field would hold 65,535 bytes.
pub const ISSUER_NAME_MAX: usize = 255;
/// Longest list of origins: sixteen of the longest host names. The standard's field would hold 65,535 bytes.
pub const ORIGIN_INFO_MAX: usize = 16 * 256;
const WHAT: &str = "TokenChallenge";

/// What a token is made for; its digest is signed in the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenChallenge {
    issuer_name: String,
    redemption_context: Option<[u8; DIGEST_LEN]>,
    origin_info: String,
}

impl TokenChallenge {
    /// The challenge of the predicates of an issuer, the same for every person and every verifier: no redemption context, no origins.
    ///
    /// A challenge is in each token as its digest. One of a person's own would name that person, and one of a verifier's own (an
    /// origin, a context) would split all holders into those who got tokens for this verifier and the rest: the smaller the crowd, the
    /// better a guess. Predicate and period are not in it either: the issuer's key says them. That a showing is fresh and for one
    /// verifier is told by the holder's signature instead ([`crate::showing`]).
    ///
    /// # Errors
    /// When the name is empty, longer than 255 bytes, or not printable ASCII.
    pub fn shared(issuer_name: &str) -> Result<Self, Error> {
        Self::new(issuer_name, None, "")
    }

    /// The same, of the issuer at an address: its name is the address's host, with the port where it has one.
    ///
    /// # Errors
    /// As [`TokenChallenge::shared`]; when the address has no scheme.
    pub fn of_issuer(address: &str) -> Result<Self, Error> {
        let (_, rest) = address.split_once("://").ok_or(Error::Malformed(WHAT))?;
        Self::shared(rest.split(['/', '?', '#']).next().unwrap_or_default())
    }

    /// A challenge with all that the standard knows.
    ///
    /// # Errors
    /// When a text is too long or not printable ASCII, or the name is empty.
    pub fn new(
        issuer_name: &str,
        redemption_context: Option<[u8; DIGEST_LEN]>,
        origin_info: &str,
    ) -> Result<Self, Error> {
        let printable = |text: &str| text.bytes().all(|c| matches!(c, b' '..=b'~'));
        if issuer_name.is_empty()
            || issuer_name.len() > ISSUER_NAME_MAX
            || origin_info.len() > ORIGIN_INFO_MAX
            || !printable(issuer_name)
            || !printable(origin_info)
        {
            return Err(Error::Malformed(WHAT));
        }
        Ok(TokenChallenge { issuer_name: issuer_name.into(), redemption_context, origin_info: origin_info.into() })
    }

    /// Reads a challenge.
    ///
    /// # Errors
    /// When it is none, or of another token type.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, Error> {
        let bytes = &mut bytes;
        take_type(bytes, WHAT)?;
        let issuer_name = text(bytes)?;
        let redemption_context = match take::<1>(bytes, WHAT)? {
            [0] => None,
            [32] => Some(*take(bytes, WHAT)?),
            _ => return Err(Error::Malformed(WHAT)),
        };
        let origin_info = text(bytes)?;
        end(bytes, WHAT)?;
        Self::new(issuer_name, redemption_context, origin_info)
    }

    /// The challenge as it travels and is hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let context = self.redemption_context.as_ref().map_or(&[][..], |context| context);
        let mut bytes = TOKEN_TYPE.to_be_bytes().to_vec();
        // Lengths are below their limits, so they fit.
        bytes.extend((self.issuer_name.len() as u16).to_be_bytes());
        bytes.extend(self.issuer_name.as_bytes());
        bytes.push(context.len() as u8);
        bytes.extend(context);
        bytes.extend((self.origin_info.len() as u16).to_be_bytes());
        bytes.extend(self.origin_info.as_bytes());
        bytes
    }

    /// The digest that is signed in a token.
    pub fn digest(&self) -> [u8; DIGEST_LEN] {
        Sha256::digest(self.to_bytes()).into()
    }

    /// Who is to issue.
    pub fn issuer_name(&self) -> &str {
        &self.issuer_name
    }

    /// What binds tokens to a context of the verifier's.
    pub fn redemption_context(&self) -> Option<&[u8; DIGEST_LEN]> {
        self.redemption_context.as_ref()
    }

    /// The origins that take the token, with commas between them.
    pub fn origin_info(&self) -> &str {
        &self.origin_info
    }
}

/// A text behind its length of two bytes.
fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Error> {
    let length = usize::from(u16::from_be_bytes(*take(bytes, WHAT)?));
    let (text, rest) = bytes.split_at_checked(length).ok_or(Error::Malformed(WHAT))?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| Error::Malformed(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_named_by_its_host() {
        let shared = TokenChallenge::shared("issuer.example:8443").unwrap();
        for address in
            ["https://issuer.example:8443", "https://issuer.example:8443/credential", "http://issuer.example:8443?x"]
        {
            assert_eq!(TokenChallenge::of_issuer(address), Ok(shared.clone()), "{address}");
        }
        for refused in ["", "issuer.example", "https://", "https:///credential"] {
            assert!(TokenChallenge::of_issuer(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = "a".repeat(ISSUER_NAME_MAX);
        for (name, context, origins) in
            [("issuer.example", None, ""), (&long, Some([7; 32]), "a.example,b.example"), ("x", None, "y")]
        {
            let challenge = TokenChallenge::new(name, context, origins).unwrap();
            let bytes = challenge.to_bytes();
            let again = TokenChallenge::from_bytes(&bytes).unwrap();
            assert_eq!(again, challenge);
            assert_eq!(
                (again.issuer_name(), again.redemption_context(), again.origin_info()),
                (name, context.as_ref(), origins)
            );
            // Every length but its own is refused.
            for length in 0..bytes.len() {
                assert_eq!(TokenChallenge::from_bytes(&bytes[..length]), Err(Error::Malformed(WHAT)), "{length}");
            }
            assert_eq!(TokenChallenge::from_bytes(&[&bytes[..], &[0]].concat()), Err(Error::Malformed(WHAT)));
        }
    }

    #[test]
    fn other_types_contexts_and_texts_are_refused() {
        let bytes = TokenChallenge::shared("issuer.example").unwrap().to_bytes();
        for other in [0u16, 1, 3, 0xda7a] {
            let changed = [&other.to_be_bytes()[..], &bytes[2..]].concat();
            assert_eq!(TokenChallenge::from_bytes(&changed), Err(Error::TokenType(other)));
        }
        // The context's length stands after the name.
        for length in [1, 31, 33, 255] {
            let mut changed = bytes.clone();
            changed[18] = length;
            changed.extend([0; 255]);
            assert_eq!(TokenChallenge::from_bytes(&changed), Err(Error::Malformed(WHAT)));
        }
        for name in ["", "issuer\n", "ïssuer", &"a".repeat(ISSUER_NAME_MAX + 1)] {
            assert!(TokenChallenge::shared(name).is_err(), "{name}");
        }
        assert!(TokenChallenge::new("a", None, &"a".repeat(ORIGIN_INFO_MAX + 1)).is_err());
    }

    /// Otherwise verifiers or persons could be told apart by their challenge.
    #[test]
    fn the_shared_challenge_holds_the_issuer_and_nothing_else() {
        let challenge = TokenChallenge::shared("issuer.example").unwrap();
        assert_eq!(challenge.to_bytes(), b"\x00\x02\x00\x0eissuer.example\x00\x00\x00");
        let own = TokenChallenge::new("issuer.example", None, "clinic.example").unwrap();
        assert_ne!(own.digest(), challenge.digest());
    }
}
