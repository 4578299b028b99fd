use jose::JoseError;

/// Why a credential was not issued, read, presented or taken. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdJwtError {
    /// Longer, deeper or with more disclosures than is read here.
    #[error("this is longer, deeper or has more disclosures than anything that is expected here")]
    TooLarge,
    /// Not `<JWT>~<disclosure>~…~[<key binding JWT>]`, or a claim is of another kind than its name asks for.
    #[error("this is no SD-JWT: its parts or claims are not of the form of RFC 9901")]
    Malformed,
    /// A disclosure is no array of salt, name and value (or salt and value, in an array), or stands in the wrong place.
    #[error("a disclosure is not of the form that its place asks for")]
    Disclosure,
    /// One digest stands at two places, or one disclosure was sent twice.
    #[error("a digest or a disclosure stands twice")]
    DigestTwice,
    /// A disclosure that no digest refers to.
    #[error("a disclosure belongs to nothing that was signed")]
    Unreferenced,
    /// A disclosure has the name of a claim that is there.
    #[error("a disclosure has the name of a claim that is there already")]
    Clash,
    /// `_sd`, `...` or `_sd_alg` used as a claim, or a claim named by its own member of [`crate::Issuing`].
    #[error("a claim has a name that is reserved")]
    ReservedName,
    /// A claim that must be visible always is disclosed selectively.
    #[error("a claim that a verifier judges by must not be selectively disclosable")]
    MustBeVisible,
    /// Another hash than SHA-256.
    #[error("only sha-256 is taken as _sd_alg")]
    HashAlgorithm,
    /// Not of type `dc+sd-jwt`, or without `vct`.
    #[error("this is an SD-JWT, but no credential of type dc+sd-jwt with a vct")]
    Type,
    /// Nobody whom the verifier knows signed it.
    #[error("the issuer is not known here")]
    UnknownIssuer,
    /// Not valid yet.
    #[error("the credential is not valid yet")]
    NotYetValid,
    /// Not valid any more.
    #[error("the credential has expired")]
    Expired,
    /// The verifier asks for key binding, and the holder gave none.
    #[error("the presentation is not bound to a key, and has to be")]
    BindingMissing,
    /// The credential names no P-256 key of the holder (`cnf.jwk`).
    #[error("the credential names no key of its holder that can be used here")]
    HolderKey,
    /// The key binding is for another verifier, another request, another time or another presentation.
    #[error("the key binding is for another verifier, request, time or presentation")]
    Binding,
    /// A path names no claim of the credential.
    #[error("a claim path selects nothing in this credential")]
    NoSuchClaim,
    /// The signed part can't be read or its signature does not hold.
    #[error(transparent)]
    Jose(#[from] JoseError),
}
