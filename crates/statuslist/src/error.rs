use jose::JoseError;

/// Why a list or a reference can't be made, read or trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusListError {
    /// Statuses have 1, 2, 4 or 8 bits.
    #[error("a status has 1, 2, 4 or 8 bits")]
    Bits,
    /// Longer than is read here, compressed or not.
    #[error("the status list is longer than anything that is expected here")]
    TooLarge,
    /// The status does not fit into the bits of the list.
    #[error("the status does not fit into the bits of this list")]
    StatusTooLarge,
    /// The index is beyond the end: nothing is known of the credential, which must be refused.
    #[error("the index is beyond the end of the status list, so that nothing is known of the credential")]
    OutOfRange,
    /// Not zlib, damaged, or with something after it.
    #[error("the status list can't be decompressed")]
    Compression,
    /// Not the structure of a status list token.
    #[error("this is no status list token")]
    Malformed,
    /// A token of another type.
    #[error("this token is of another type than a status list")]
    Type,
    /// Not a reference to a status list.
    #[error("this is no reference to a status list: it has an index and a URI")]
    Reference,
    /// The token is for another URI than was asked for.
    #[error("the status list is another than was asked for")]
    Subject,
    /// Nobody whom the caller knows signed it.
    #[error("who signed the status list is not known here")]
    UnknownIssuer,
    /// The signature does not hold.
    #[error("the signature of the status list does not hold")]
    Signature,
    /// Too old to be trusted.
    #[error("the status list has expired: fetch it again")]
    Expired,
    /// The key can't be used just now.
    #[error("the key can't be used just now")]
    Unusable,
}

impl From<JoseError> for StatusListError {
    fn from(error: JoseError) -> Self {
        match error {
            JoseError::TooLong => StatusListError::TooLarge,
            JoseError::Signature => StatusListError::Signature,
            JoseError::Unusable => StatusListError::Unusable,
            _ => StatusListError::Malformed,
        }
    }
}

impl From<cose::Malformed> for StatusListError {
    fn from(_: cose::Malformed) -> Self {
        StatusListError::Malformed
    }
}
