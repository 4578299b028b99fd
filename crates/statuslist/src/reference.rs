use ciborium::Value;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, json};

use crate::StatusListError;

/// The longest URI that is read.
const URI_MAX_LEN: usize = 2048;
/// The names in a credential (section "Referenced Token").
const STATUS_LIST: &str = "status_list";
const IDX: &str = "idx";
const URI: &str = "uri";

/// Where the status of a credential is: the value of its `status`, in JSON `{"status_list": {"idx": 0, "uri": "https://…"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The list.
    pub uri: String,
    /// The place in it.
    pub idx: u64,
}

/// Whether a text may be a URI (RFC 3986): a scheme, then letters that are visible ASCII.
fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let letters = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    text.len() <= URI_MAX_LEN
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && letters
        && text.bytes().all(|b| b.is_ascii_graphic())
}

impl Reference {
    fn checked(idx: Option<u64>, uri: Option<&str>) -> Result<Self, StatusListError> {
        match (idx, uri) {
            (Some(idx), Some(uri)) if is_uri(uri) => Ok(Reference { uri: uri.into(), idx }),
            _ => Err(StatusListError::Reference),
        }
    }

    /// As the `status` of an mdoc's mobile security object has it.
    pub fn to_cbor(&self) -> Value {
        let list = cose::map([(IDX, Value::from(self.idx)), (URI, Value::from(self.uri.as_str()))]);
        cose::map([(STATUS_LIST, list)])
    }

    /// Reads the `status` of an mdoc's mobile security object.
    ///
    /// # Errors
    /// [`StatusListError::Reference`] when it has no status list with an index and a URI.
    pub fn from_cbor(status: &Value) -> Result<Self, StatusListError> {
        let field = |value, name| cose::field(value, name).map_err(|_| StatusListError::Reference);
        let list = field(status, STATUS_LIST)?;
        let idx = field(list, IDX)?.as_integer().and_then(|idx| u64::try_from(idx).ok());
        Self::checked(idx, field(list, URI)?.as_text())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({ STATUS_LIST: { IDX: self.idx, URI: self.uri } }).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let status = Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let list = status.get(STATUS_LIST);
        let get = |name: &str| list.and_then(|list| list.get(name));
        let (idx, uri) = (get(IDX).and_then(|idx| idx.as_u64()), get(URI).and_then(|uri| uri.as_str()));
        Self::checked(idx, uri).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_written_and_read_as_the_same_in_both_encodings() {
        let reference = Reference { uri: "https://example.com/statuslists/1".into(), idx: 412 };
        let json = serde_json::to_value(&reference).unwrap();
        assert_eq!(json, json!({"status_list": {"idx": 412, "uri": "https://example.com/statuslists/1"}}));
        assert_eq!(serde_json::from_value::<Reference>(json).unwrap(), reference);
        // The draft's example in CBOR, {"status_list": {"idx": 412, "uri": …}}.
        let bytes = cose::encode(&reference.to_cbor());
        let text = "a16b7374617475735f6c697374a26369647819019c63757269782168747470733a2f2f6578616d706c652e636f6d2f7374617475\
                    736c697374732f31";
        assert_eq!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), text);
        assert_eq!(Reference::from_cbor(&cose::decode(&bytes).unwrap()), Ok(reference));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = format!("https://{}", "a".repeat(URI_MAX_LEN));
        for (idx, uri) in [
            (json!(-1), json!("https://a")),
            (json!(1.5), json!("https://a")),
            (json!("1"), json!("https://a")),
            (json!(null), json!("https://a")),
            (json!(1), json!(null)),
            (json!(1), json!("")),
            (json!(1), json!("a")),
            (json!(1), json!("1:a")),
            (json!(1), json!("https://a b")),
            (json!(1), json!("https://ü")),
            (json!(1), json!(long)),
        ] {
            let status = json!({"status_list": {"idx": idx, "uri": uri}});
            assert!(serde_json::from_value::<Reference>(status.clone()).is_err(), "{status}");
            let cbor = Value::serialized(&status).unwrap();
            assert_eq!(Reference::from_cbor(&cbor), Err(StatusListError::Reference), "{status}");
        }
        for status in [json!({}), json!({"status_list": 1}), json!({"status_list": [1, "https://a"]}), json!([])] {
            assert!(serde_json::from_value::<Reference>(status.clone()).is_err(), "{status}");
            assert_eq!(Reference::from_cbor(&Value::serialized(&status).unwrap()), Err(StatusListError::Reference));
        }
    }
}
