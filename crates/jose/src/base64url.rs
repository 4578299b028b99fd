//! base64url without padding (RFC 7515 section 2): each byte string has one text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::JoseError;

/// Encodes.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Encodes to the end of a text.
pub fn encode_onto(bytes: impl AsRef<[u8]>, text: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// Decodes. Padding, other letters, and bits after the last byte that are not zero are refused: a signed thing would have several
/// texts.
///
/// # Errors
/// When the text is not what [`encode`] gives.
pub fn decode(text: &str) -> Result<Vec<u8>, JoseError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JoseError::Base64)
}

/// Decodes bytes of a known number.
///
/// # Errors
/// As [`decode`], and when there are more or fewer.
pub fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], JoseError> {
    // Kept apart from the length that the library asks for, which is rounded up to whole groups.
    if text.len() != N.div_ceil(3) * 4 - (3 - N % 3) % 3 {
        return Err(JoseError::Base64);
    }
    decode(text)?.try_into().map_err(|_| JoseError::Base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 Appendix C, and RFC 4648 section 10 without padding.
    #[test]
    fn bytes_have_one_text() {
        assert_eq!(encode([3, 236, 255, 224, 193]), "A-z_4ME");
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        let others = ["Zg==", "Zh", "Zm9", "A+z/4ME", "Zm9v\n", " Zm9v", "Zm 9v", "Z", "Zm9vZ", "Zm9ü"];
        for other in others {
            assert_eq!(decode(other), Err(JoseError::Base64), "{other}");
        }
    }

    #[test]
    fn arrays_have_their_length() {
        assert_eq!(decode_array::<1>("Zg"), Ok(*b"f"));
        assert_eq!(decode_array::<2>("Zm8"), Ok(*b"fo"));
        assert_eq!(decode_array::<3>("Zm9v"), Ok(*b"foo"));
        assert_eq!(decode_array::<2>("Zm9v"), Err(JoseError::Base64));
        assert_eq!(decode_array::<3>("Zm8"), Err(JoseError::Base64));
    }
}
