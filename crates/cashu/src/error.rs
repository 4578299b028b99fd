//! The protocol's error codes, and the one error of decoding.

use serde::{Deserialize, Serialize};

/// Bytes or text that are not what the protocol asks for. Holds no part of the input: that could be money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not {what}: expected {expected}")]
pub struct DecodeError {
    what: &'static str,
    expected: &'static str,
}

impl DecodeError {
    /// An error that says what the input was taken for and what was expected of it.
    pub const fn new(what: &'static str, expected: &'static str) -> Self {
        Self { what, expected }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The error codes of `error_codes.md` in the NUTs, with a sentence for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum ErrorCode { $($(#[$doc])* $name = $code,)* }

        impl ErrorCode {
            /// The sentence for people, which names no amount, token or key.
            pub const fn detail(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// The code that has this number.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($code => Some(ErrorCode::$name),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// NUT-03, 05: a proof's signature is wrong, or the request cannot be read.
    ProofInvalid = 10001, "proof verification failed";
    /// NUT-03, 05.
    ProofsSpent = 11001, "proofs already spent";
    /// NUT-03, 04, 05.
    OutputsSigned = 11003, "outputs already signed: make new outputs, or restore these with /v1/restore";
    /// NUT-02, 03, 05.
    Unbalanced = 11005, "transaction is not balanced: inputs less fees must equal outputs";
    /// NUT-04, 05.
    AmountOutOfRange = 11006, "amount outside of limit range";
    /// NUT-03, 05.
    DuplicateInputs = 11007, "duplicate inputs provided";
    /// NUT-03, 04.
    DuplicateOutputs = 11008, "duplicate outputs provided";
    /// NUT-03, 05.
    MultipleUnits = 11009, "inputs or outputs of multiple units";
    /// NUT-03.
    UnitMismatch = 11010, "inputs and outputs not of same unit";
    /// NUT-04, 05.
    UnitUnsupported = 11013, "unit in request is not supported";
    /// NUT-03, 05.
    TooManyInputs = 11014, "max inputs exceeded";
    /// NUT-03, 04, 05.
    TooManyOutputs = 11015, "max outputs exceeded";
    /// NUT-29.
    DuplicateQuotes = 11016, "duplicate quote ids provided";
    /// NUT-29.
    BatchTooLarge = 11017, "max batch size exceeded";
    /// NUT-02, 04.
    KeysetUnknown = 12001, "keyset is not known";
    /// NUT-02, 03, 04.
    KeysetInactive = 12002, "keyset is inactive, cannot sign messages";
    /// NUT-02, 03, 04, 05.
    KeysetExpired = 12003, "keyset has expired";
    /// NUT-04.
    QuoteNotPaid = 20001, "quote request is not paid";
    /// NUT-04.
    QuoteIssued = 20002, "quote has already been issued";
    /// NUT-04: quotes of the method `entitlement` are made by a programme, not asked for.
    MintingDisabled = 20003, "minting is disabled for this method: quotes come from a programme";
    /// NUT-04, 05.
    QuotePending = 20005, "quote is pending";
    /// NUT-05.
    AlreadyPaid = 20006, "this quote is already paid";
    /// NUT-04, 05.
    QuoteExpired = 20007, "quote is expired";
    /// NUT-20.
    QuoteSignatureInvalid = 20008, "signature for mint request invalid";
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// The body of an error answer (NUT-00, status 400).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A sentence for people.
    pub detail: String,
    /// A number of `error_codes.md`.
    pub code: u32,
}

impl From<ErrorCode> for ErrorBody {
    fn from(code: ErrorCode) -> Self {
        ErrorBody { detail: code.detail().to_owned(), code: code.number() }
    }
}
