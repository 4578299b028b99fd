//! The issuer directory (RFC 9578 section 4): where to ask, and with which keys. A wallet takes no key on a directory's word: it looks for
//! it in the transparency log, where everybody sees the same keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE as BASE64URL;
use serde::{Deserialize, Serialize};

use crate::keys::PublicKey;
use crate::predicate::{Period, Predicate};
use crate::{Error, TOKEN_TYPE};

/// Largest directory: a thousand keys, ten years of eight predicates.
pub const DIRECTORY_MAX: usize = 1 << 19;
/// Longest address, as other parts of the web bound it.
const URI_MAX: usize = 2_048;
const WHAT: &str = "issuer directory";

/// Where to ask for tokens, and which keys sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where requests go, absolute or relative to the directory.
    pub issuer_request_uri: String,
    /// The keys, the preferred ones first.
    pub token_keys: Vec<DirectoryKey>,
}

/// A key in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryKey {
    /// The key.
    pub public_key: PublicKey,
    /// The second (Unix time) before which it is not to be used.
    pub not_before: Option<u64>,
    /// What it says, and where it was announced. Members of our own, which other readers pass over; a key without them says nothing here.
    pub announced: Option<Announced>,
}

/// What a key says, and where in the transparency log that was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The predicate.
    pub predicate: Predicate,
    /// The period.
    pub period: Period,
    /// The place of the log's entry.
    pub log_index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    issuer_request_uri: String,
    token_keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    token_type: u16,
    token_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    #[serde(rename = "habeas-predicate", default, skip_serializing_if = "Option::is_none")]
    predicate: Option<String>,
    #[serde(rename = "habeas-period", default, skip_serializing_if = "Option::is_none")]
    period: Option<String>,
    #[serde(rename = "habeas-log-index", default, skip_serializing_if = "Option::is_none")]
    log_index: Option<u64>,
}

impl Entry {
    /// What the key says; all three members or none.
    fn announced(&self) -> Result<Option<Announced>, Error> {
        match (&self.predicate, &self.period, self.log_index) {
            (None, None, None) => Ok(None),
            (Some(predicate), Some(period), Some(log_index)) => {
                Ok(Some(Announced { predicate: predicate.parse()?, period: period.parse()?, log_index }))
            }
            _ => Err(Error::Malformed(WHAT)),
        }
    }
}

impl Directory {
    /// Reads a directory (`application/private-token-issuer-directory`). Keys of other token types are left out, as the standard asks;
    /// so are members that it does not name.
    ///
    /// # Errors
    /// When it is none, is larger than [`DIRECTORY_MAX`], or a key of our type is not what it has to be.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        if json.len() > DIRECTORY_MAX {
            return Err(Error::Malformed(WHAT));
        }
        let document: Document = serde_json::from_slice(json).map_err(|_| Error::Malformed(WHAT))?;
        if document.issuer_request_uri.is_empty() || document.issuer_request_uri.len() > URI_MAX {
            return Err(Error::Malformed(WHAT));
        }
        let ours = document.token_keys.into_iter().filter(|entry| entry.token_type == TOKEN_TYPE);
        let token_keys = ours.map(|entry| {
            let spki = BASE64URL.decode(&entry.token_key).map_err(|_| Error::Key)?;
            let public_key = PublicKey::from_spki(&spki)?;
            Ok(DirectoryKey { public_key, not_before: entry.not_before, announced: entry.announced()? })
        });
        Ok(Directory {
            issuer_request_uri: document.issuer_request_uri,
            token_keys: token_keys.collect::<Result<_, _>>()?,
        })
    }

    /// The directory as it is served.
    pub fn to_json(&self) -> String {
        let entry = |key: &DirectoryKey| Entry {
            token_type: TOKEN_TYPE,
            token_key: BASE64URL.encode(key.public_key.to_spki()),
            not_before: key.not_before,
            predicate: key.announced.as_ref().map(|announced| announced.predicate.to_string()),
            period: key.announced.as_ref().map(|announced| announced.period.to_string()),
            log_index: key.announced.as_ref().map(|announced| announced.log_index),
        };
        let document = Document {
            issuer_request_uri: self.issuer_request_uri.clone(),
            token_keys: self.token_keys.iter().map(entry).collect(),
        };
        serde_json::to_string(&document).expect("texts and numbers are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::issuance;

    fn spki(number: usize) -> String {
        BASE64URL.encode(&issuance()[number].issuer_spki)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let key = |number: usize, not_before| DirectoryKey {
            public_key: PublicKey::from_spki(&issuance()[number].issuer_spki).unwrap(),
            not_before,
            announced: None,
        };
        let directory = Directory {
            issuer_request_uri: "/token-request".into(),
            token_keys: vec![key(0, Some(1_796_083_200)), key(5, None)],
        };
        let json = directory.to_json();
        assert_eq!(Directory::from_json(json.as_bytes()), Ok(directory));
        let expected = format!(
            r#"{{"issuer-request-uri":"/token-request","token-keys":[{{"token-type":2,"token-key":"{}","not-before":1796083200}},{{"token-type":2,"token-key":"{}"}}]}}"#,
            spki(0),
            spki(5)
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn what_a_key_says_is_read_whole_or_refused() {
        let announced =
            Announced { predicate: "age_over_60".parse().unwrap(), period: "2026-12".parse().unwrap(), log_index: 7 };
        let public_key = PublicKey::from_spki(&issuance()[0].issuer_spki).unwrap();
        let key = DirectoryKey { public_key, not_before: None, announced: Some(announced) };
        let directory = Directory { issuer_request_uri: "/x".into(), token_keys: vec![key] };
        let json = directory.to_json();
        assert_eq!(Directory::from_json(json.as_bytes()), Ok(directory));
        let says = r#","habeas-predicate":"age_over_60","habeas-period":"2026-12","habeas-log-index":7"#;
        assert!(json.contains(says));
        for refused in [
            r#","habeas-predicate":"age_over_60","habeas-period":"2026-12""#,
            r#","habeas-log-index":7"#,
            r#","habeas-predicate":"Age","habeas-period":"2026-12","habeas-log-index":7"#,
            r#","habeas-predicate":"age_over_60","habeas-period":"2026-13","habeas-log-index":7"#,
            r#","habeas-predicate":"age_over_60","habeas-period":"2026-12","habeas-log-index":-7"#,
        ] {
            assert!(Directory::from_json(json.replace(says, refused).as_bytes()).is_err(), "{refused}");
        }
        assert!(Directory::from_json(json.replace(says, "").as_bytes()).unwrap().token_keys[0].announced.is_none());
    }

    #[test]
    fn other_token_types_and_members_are_passed_over() {
        let json = format!(
            r#"{{"extra":[1],"issuer-request-uri":"/x","token-keys":[{{"token-type":1,"token-key":"AA=="}},{{"token-type":2,"token-key":"{}","extra":1}}]}}"#,
            spki(0)
        );
        let directory = Directory::from_json(json.as_bytes()).unwrap();
        assert_eq!(directory.token_keys.len(), 1);
        assert_eq!(directory.token_keys[0].public_key.to_spki()[..], issuance()[0].issuer_spki);
    }

    #[test]
    fn bad_directories_are_refused() {
        let malformed = Err(Error::Malformed(WHAT));
        let with = |uri: &str, keys: &str| format!(r#"{{"issuer-request-uri":"{uri}","token-keys":[{keys}]}}"#);
        assert!(Directory::from_json(with("/x", "").as_bytes()).is_ok(), "the control");
        for refused in [
            String::new(),
            "[]".into(),
            "{}".into(),
            r#"{"token-keys":[]}"#.into(),
            with("", ""),
            with(&"a".repeat(URI_MAX + 1), ""),
            with("/x", r#"{"token-type":2}"#),
            with("/x", r#"{"token-type":65536,"token-key":""}"#),
            with("/x", r#"{"token-type":2,"token-key":"","not-before":-1}"#),
            format!("{}{}", with("/x", ""), " ".repeat(DIRECTORY_MAX)),
            format!("{}x", with("/x", "")),
            "[".repeat(100_000),
        ] {
            assert_eq!(Directory::from_json(refused.as_bytes()), malformed, "{refused:.80}");
        }
        for key in ["", "AA", "****", &spki(0)[4..]] {
            let json = with("/x", &format!(r#"{{"token-type":2,"token-key":"{key}"}}"#));
            assert_eq!(Directory::from_json(json.as_bytes()), Err(Error::Key), "{key:.20}");
        }
    }
}
