use crate::{Reference, Status, StatusList, StatusListError};

/// What a status list token says beside the list.
#[derive(Clone, Copy, Debug)]
pub struct Issuing<'a> {
    /// The URI that credentials name.
    pub uri: &'a str,
    /// Signed at, seconds since 1970.
    pub iat: u64,
    /// Not to be trusted from then on; the draft recommends one.
    pub exp: Option<u64>,
    /// Seconds after which a kept copy should be fetched again; the draft recommends it.
    pub ttl: Option<u64>,
}

/// A status list that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusListToken {
    /// The list.
    pub list: StatusList,
    /// The URI that it is for.
    pub uri: String,
    /// Signed at, seconds since 1970.
    pub issued_at: u64,
    /// Not to be trusted from then on.
    pub expires_at: Option<u64>,
    /// Seconds for which a copy may be kept.
    pub ttl: Option<u64>,
}

impl StatusListToken {
    /// The status of a credential.
    ///
    /// # Errors
    /// When the credential names another list ([`StatusListError::Subject`]), or a place beyond its end.
    pub fn status(&self, reference: &Reference) -> Result<Status, StatusListError> {
        if reference.uri != self.uri {
            return Err(StatusListError::Subject);
        }
        self.list.get(reference.idx)
    }

    /// Until when a copy that was fetched at a time may be used; nothing when the token does not say.
    pub fn fresh_until(&self, fetched_at: u64) -> Option<u64> {
        let lives = self.ttl.map(|ttl| fetched_at.saturating_add(ttl));
        lives.into_iter().chain(self.expires_at).min()
    }
}

/// The claims of either encoding, checked before the list is decompressed.
pub(crate) struct Claims<'a> {
    pub sub: &'a str,
    pub iat: u64,
    pub exp: Option<u64>,
    pub nbf: Option<u64>,
    pub ttl: Option<u64>,
    pub bits: u8,
}

impl Claims<'_> {
    /// The rules of section "Validation Rules", then the list.
    pub fn check(self, uri: &str, now: u64, compressed: &[u8]) -> Result<StatusListToken, StatusListError> {
        if self.sub != uri {
            return Err(StatusListError::Subject);
        }
        if self.exp.is_some_and(|exp| now >= exp) {
            return Err(StatusListError::Expired);
        }
        // Not named by the draft, but valid in all other respects is what it asks for (RFC 7519 section 4.1.5). "Positive" is its word
        // for the time to live.
        if self.nbf.is_some_and(|nbf| now < nbf) || self.ttl == Some(0) {
            return Err(StatusListError::Malformed);
        }
        Ok(StatusListToken {
            list: StatusList::decompress(self.bits, compressed)?,
            uri: uri.into(),
            issued_at: self.iat,
            expires_at: self.exp,
            ttl: self.ttl,
        })
    }
}
