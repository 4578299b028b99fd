//! JSON read strictly: no member twice in an object (RFC 7515 section 4, RFC 7519 section 4), bounded depth.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::JoseError;

/// The deepest nesting that is read; a credential has about 6, type metadata about 8.
pub const DEPTH_MAX: usize = 24;

/// What the visitors say when a member stands twice; serde's errors are text.
const DUPLICATE: &str = "a member twice";
/// And when an extension is asked for.
const EXTENSION: &str = "an extension";
const TOO_DEEP: &str = "too deep";

/// Reads a JSON value, all of the text.
///
/// # Errors
/// [`JoseError::Malformed`] when it is no JSON or too deep, [`JoseError::Duplicate`] when a member stands twice.
pub fn parse(text: &[u8]) -> Result<Value, JoseError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Building(DEPTH_MAX).deserialize(&mut deserializer).map_err(|error| told(&error))?;
    deserializer.end().map_err(|_| JoseError::Malformed)?;
    Ok(value)
}

/// Reads a JSON object, all of the text.
///
/// # Errors
/// As [`parse`], and when it is another kind of value.
pub fn parse_object(text: &[u8]) -> Result<Map<String, Value>, JoseError> {
    match parse(text)? {
        Value::Object(members) => Ok(members),
        _ => Err(JoseError::Malformed),
    }
}

/// Reads a JSON object, all of the text, into a type.
///
/// # Errors
/// As [`parse_object`], and when the type is another.
pub fn parse_as<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, JoseError> {
    check(text, &[])?;
    serde_json::from_slice(text).map_err(|_| JoseError::Malformed)
}

/// Checks a JSON object that is read into a type afterwards: the type would not see an unknown member that stands twice, and would
/// take an array as its members in order. Members of the outermost object that are named in `refused` are refused.
pub(crate) fn check(text: &[u8], refused: &'static [&'static str]) -> Result<(), JoseError> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(JoseError::Malformed);
    }
    checked(text, refused)
}

fn checked(text: &[u8], refused: &'static [&'static str]) -> Result<(), JoseError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Checking { depth: DEPTH_MAX, refused }.deserialize(&mut deserializer).map_err(|error| told(&error))?;
    deserializer.end().map_err(|_| JoseError::Malformed)
}

fn told(error: &serde_json::Error) -> JoseError {
    if !error.is_data() {
        return JoseError::Malformed;
    }
    // The text goes on with the place.
    let text = error.to_string();
    if text.starts_with(DUPLICATE) {
        JoseError::Duplicate
    } else if text.starts_with(EXTENSION) {
        JoseError::Extension
    } else {
        JoseError::Malformed
    }
}

/// Builds a value; the number is the depth that is left.
#[derive(Clone, Copy)]
struct Building(usize);

impl Building {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Building).ok_or_else(|| E::custom(TOO_DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Building {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Building {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(object))
    }
}

/// Checks and builds nothing.
#[derive(Clone, Copy)]
struct Checking {
    depth: usize,
    refused: &'static [&'static str],
}

impl Checking {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom(TOO_DEEP))?;
        Ok(Checking { depth, refused: &[] })
    }
}

impl<'de> DeserializeSeed<'de> for Checking {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checking {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names = HashSet::new();
        while let Some(Name(name)) = members.next_key::<Name<'de>>()? {
            if self.refused.contains(&name.as_ref()) {
                return Err(A::Error::custom(EXTENSION));
            }
            if !names.insert(name) {
                return Err(A::Error::custom(DUPLICATE));
            }
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> Result<Value, JoseError> {
        let (value, checked) = (parse(text.as_bytes()), checked(text.as_bytes(), &[]));
        assert_eq!(value.as_ref().map(|_| ()).map_err(|error| *error), checked, "{text}");
        value
    }

    #[test]
    fn a_member_twice_is_refused_at_any_depth() {
        assert_eq!(both(r#"{"a":1,"a":1}"#), Err(JoseError::Duplicate));
        assert_eq!(both(r#"[{"x":{"a":1,"b":2,"\u0061":1}}]"#), Err(JoseError::Duplicate));
        let text = r#"{"a":{"a":[{"a":-1},{"a":1.5}]},"b":"\n","c":null,"d":true,"e":18446744073709551615}"#;
        assert_eq!(both(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn depth_is_bounded_and_nothing_may_follow() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(both(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(both(&nested(DEPTH_MAX + 1)), Err(JoseError::Malformed));
        let objects = |depth: usize| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
        assert!(both(&objects(DEPTH_MAX)).is_ok());
        assert_eq!(both(&objects(DEPTH_MAX + 1)), Err(JoseError::Malformed));
        for text in ["", "{", "{} {}", "{}x", "nul", "'a'", "[1,]", r#"{"a"}"#, "\u{feff}{}", "1e999"] {
            assert_eq!(both(text), Err(JoseError::Malformed), "{text}");
        }
        for text in [&b"[]"[..], b"", b"1"] {
            assert_eq!(parse_object(text), Err(JoseError::Malformed));
            assert_eq!(check(text, &[]), Err(JoseError::Malformed));
        }
    }

    #[test]
    fn refused_members_are_those_of_the_outermost_object() {
        assert_eq!(check(br#"{"a":{"crit":1}}"#, &["crit"]), Ok(()));
        assert_eq!(check(br#"{"a":{},"crit":null}"#, &["crit"]), Err(JoseError::Extension));
        assert_eq!(check(br#"{"a":{},"cri\u0074":null}"#, &["crit"]), Err(JoseError::Extension));
    }
}
