//! Several requests at once, and the answers to them: how our issuer takes and gives them, as lists of texts in JSON. Each text is a
//! message of RFC 9578 in base64url without padding; answers stand in the order of their requests.
//!
//! The standard's own batches (draft-ietf-privacypass-batched-tokens) are of other token types or of one signature over all; here each
//! token stays one that RFC 9578 knows.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::messages::{TokenRequest, TokenResponse};
use crate::{Error, MODULUS_LEN};

/// Requests in a batch, at most: as many as a batch of credentials has.
pub const BATCH_MAX: usize = 30;
/// Longest batch of requests: 30 texts of 346 letters with their quotes and commas, and some room for spaces.
pub const BATCH_JSON_MAX: usize = 16 * 1024;
const REQUESTS: &str = "batch of 1 to 30 token requests";
const RESPONSES: &str = "batch of token responses";

/// Requests as they travel.
pub fn write_requests(requests: &[TokenRequest]) -> Vec<String> {
    requests.iter().map(|request| URL_SAFE_NO_PAD.encode(request.to_bytes())).collect()
}

/// Reads a batch of requests.
///
/// # Errors
/// When it is no list of texts, is empty, has more than [`BATCH_MAX`], or one of them is no request.
pub fn read_requests(json: &[u8]) -> Result<Vec<TokenRequest>, Error> {
    const WRONG: Error = Error::Malformed(REQUESTS);
    if json.len() > BATCH_JSON_MAX {
        return Err(WRONG);
    }
    let texts: Vec<String> = serde_json::from_slice(json).map_err(|_| WRONG)?;
    if texts.is_empty() || texts.len() > BATCH_MAX {
        return Err(WRONG);
    }
    let read = |text: &String| TokenRequest::from_bytes(&URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG)?);
    texts.iter().map(read).collect()
}

/// Answers as they travel.
pub fn write_responses(responses: &[TokenResponse]) -> Vec<String> {
    responses.iter().map(|response| URL_SAFE_NO_PAD.encode(response.to_bytes())).collect()
}

/// Reads the answers to a number of requests.
///
/// # Errors
/// When there are more or fewer, or one of them is no answer.
pub fn read_responses(texts: &[String], requests: usize) -> Result<Vec<TokenResponse>, Error> {
    const WRONG: Error = Error::Malformed(RESPONSES);
    // The longest text first: nothing long is decoded.
    if texts.len() != requests || texts.iter().any(|text| text.len() > 2 * MODULUS_LEN) {
        return Err(WRONG);
    }
    let read = |text: &String| TokenResponse::from_bytes(&URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG)?);
    texts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::issuance;

    fn requests(count: usize) -> Vec<TokenRequest> {
        let request = TokenRequest::from_bytes(&issuance()[0].token_request).unwrap();
        vec![request; count]
    }

    fn json(texts: &[String]) -> Vec<u8> {
        serde_json::to_vec(texts).unwrap()
    }

    #[test]
    fn a_batch_is_read_as_written_and_has_1_to_30_requests() {
        for count in [1, BATCH_MAX] {
            let all = requests(count);
            let read = read_requests(&json(&write_requests(&all))).unwrap();
            assert!(read == all);
        }
        for count in [0, BATCH_MAX + 1] {
            assert!(read_requests(&json(&write_requests(&requests(count)))).is_err(), "{count}");
        }
        let good = json(&write_requests(&requests(1)));
        let text = String::from_utf8(good.clone()).unwrap();
        let padded = [&good[..], &vec![b' '; BATCH_JSON_MAX]].concat();
        for refused in [
            b"[".to_vec(),
            b"{}".to_vec(),
            b"[1]".to_vec(),
            b"[\"\"]".to_vec(),
            text.replace('A', "=").into(),
            padded,
            vec![b'['; 10_000],
        ] {
            assert!(read_requests(&refused).is_err());
        }
        // A request of another token type.
        let mut other = issuance()[0].token_request.clone();
        other[1] = 1;
        let other = json(&[URL_SAFE_NO_PAD.encode(other)]);
        assert!(matches!(read_requests(&other), Err(Error::TokenType(1))));
    }

    #[test]
    fn answers_are_as_many_as_requests() {
        let response = TokenResponse::from_bytes(&issuance()[0].token_response).unwrap();
        let texts = write_responses(&[response.clone(), response.clone()]);
        assert!(read_responses(&texts, 2).unwrap() == [response.clone(), response]);
        assert!(read_responses(&texts, 1).is_err() && read_responses(&texts, 3).is_err());
        for refused in [String::new(), "A".repeat(342), "*".into(), "A".repeat(100_000)] {
            assert_eq!(
                read_responses(std::slice::from_ref(&refused), 1).is_ok(),
                refused.len() == 342,
                "256 bytes and no others"
            );
        }
    }
}
