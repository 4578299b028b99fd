use es256::KeyError;

/// Why something could not be read, signed, verified or decrypted. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// Longer than is read here.
    #[error("this is longer than anything that is expected here")]
    TooLong,
    /// Not base64url as it is written: no padding, no other letters, no spare bits.
    #[error("this is not base64url without padding, as RFC 7515 section 2 writes it")]
    Base64,
    /// Not the parts, JSON or members that are expected, or nested too deeply.
    #[error(
        "this is not the structure that is expected here: parts or members are missing, of another kind, or too deep"
    )]
    Malformed,
    /// A member stands twice in one JSON object, so that two readers may see two things.
    #[error("a member stands twice in one JSON object")]
    Duplicate,
    /// Another algorithm than ES256, or than ECDH-ES with A128GCM or A256GCM.
    #[error("only ES256, and ECDH-ES with A128GCM or A256GCM, are taken")]
    Algorithm,
    /// The header asks for an extension (`crit`, `b64`, `zip`) that is not understood here, so that it must be refused.
    #[error("the header asks for an extension that is not understood here")]
    Extension,
    /// Not a public key of P-256.
    #[error("this is no public key of the curve P-256")]
    Key,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
    /// Encrypted to somebody else, or changed since.
    #[error("this can't be decrypted: it is for another key, or was changed")]
    Decryption,
    /// The key can't be used just now.
    #[error("the key can't be used just now")]
    Unusable,
}

impl From<KeyError> for JoseError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Invalid => JoseError::Key,
            KeyError::Unusable => JoseError::Unusable,
        }
    }
}
