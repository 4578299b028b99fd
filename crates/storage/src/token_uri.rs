//! Which key of which PKCS#11 token, and how to get at it: a PKCS#11 URI (RFC 7512).
//!
//! ```text
//! pkcs11:token=habeas;object=mint-2026?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/habeas/pin
//! ```
//!
//! Read strictly: an attribute that would be ignored might be the one that names another key. What an error quotes is the names of
//! attributes, never a value, since a PIN may have been put in the wrong place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Bytes of the longest URI: paths and labels are far shorter.
const URI_MAX_LEN: usize = 2_048;

/// A key in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    /// As it was given.
    text: String,
    token: String,
    serial: Option<String>,
    object: String,
    module_path: PathBuf,
    pin_source: PathBuf,
}

/// Why a URI can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key's PKCS#11 URI can't be used: {0}")]
pub struct TokenUriError(String);

impl TokenUri {
    /// The label of the token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The serial number of the token, to choose among tokens of one label.
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// The label of the key.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The PKCS#11 module: a shared library.
    pub fn module_path(&self) -> &Path {
        &self.module_path
    }

    /// The file that holds the PIN.
    pub fn pin_source(&self) -> &Path {
        &self.pin_source
    }

    /// Whether both name one key, whatever way leads there: a module or a PIN file may move.
    pub fn names_key_of(&self, other: &TokenUri) -> bool {
        let same_token = match (&self.serial, &other.serial) {
            (Some(serial), Some(others)) => serial == others,
            _ => true,
        };
        same_token && self.token == other.token && self.object == other.object
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for TokenUri {
    type Err = TokenUriError;

    /// Reads a URI.
    ///
    /// # Errors
    /// When it is not one, lacks an attribute, has one twice, or has one that is not used here. `pin-value` (RFC 7512, section 2.4)
    /// is refused: who lists processes would see it.
    fn from_str(text: &str) -> Result<Self, TokenUriError> {
        let refuse = |told: String| Err(TokenUriError(told));
        if text.len() > URI_MAX_LEN {
            return refuse(format!("it is longer than {URI_MAX_LEN} bytes"));
        }
        let Some(rest) = text.strip_prefix("pkcs11:") else {
            return refuse("it must begin with 'pkcs11:' (RFC 7512)".into());
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut read = Attributes::default();
        let attributes = path.split(';').map(|attribute| (attribute, Part::Path));
        for (attribute, part) in attributes.chain(query.split('&').map(|attribute| (attribute, Part::Query))) {
            if !attribute.is_empty() {
                read.add(attribute, part)?;
            }
        }
        let missing = |name: &str, example: &str| TokenUriError(format!("it lacks {name} (such as {example})"));
        let module_path = read.module_path.ok_or_else(|| {
            missing("module-path, the token's PKCS#11 library", "?module-path=/usr/lib/softhsm/libsofthsm2.so")
        })?;
        let pin_source = read
            .pin_source
            .ok_or_else(|| missing("pin-source, the file that holds the PIN", "&pin-source=file:/etc/habeas/pin"))?;
        Ok(TokenUri {
            text: text.to_owned(),
            token: read.token.ok_or_else(|| missing("token, the label of the token", "token=habeas"))?,
            serial: read.serial,
            object: read.object.ok_or_else(|| missing("object, the label of the key", "object=mint-2026"))?,
            module_path: absolute(&module_path).ok_or_else(|| {
                TokenUriError("module-path must be an absolute path, such as /usr/lib/softhsm/libsofthsm2.so".into())
            })?,
            pin_source: file_of(&pin_source).ok_or_else(|| {
                TokenUriError("pin-source must name a file by its absolute path, such as file:/etc/habeas/pin".into())
            })?,
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// Before the question mark, separated by ';'.
    Path,
    /// After it, separated by '&'.
    Query,
}

#[derive(Default)]
struct Attributes {
    token: Option<String>,
    serial: Option<String>,
    object: Option<String>,
    module_path: Option<String>,
    pin_source: Option<String>,
}

impl Attributes {
    fn add(&mut self, attribute: &str, part: Part) -> Result<(), TokenUriError> {
        let refuse = |told: String| Err(TokenUriError(told));
        let Some((name, value)) = attribute.split_once('=') else {
            return refuse("each attribute is name=value, separated by ';' before the '?' and by '&' after it".into());
        };
        let (place, at_home) = match name {
            "token" => (&mut self.token, Part::Path),
            "serial" => (&mut self.serial, Part::Path),
            "object" => (&mut self.object, Part::Path),
            "module-path" => (&mut self.module_path, Part::Query),
            "pin-source" => (&mut self.pin_source, Part::Query),
            "pin-value" => {
                return refuse(
                    "pin-value would show the PIN to everybody who lists processes: put it into a file that only its owner \
                     reads, and name that with pin-source=file:/…"
                        .into(),
                );
            }
            _ => {
                let known = "token, serial and object before the '?', module-path and pin-source after it";
                return refuse(match name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
                    true => format!("the attribute '{name}' is not used here; there are {known}"),
                    false => format!("it has an attribute of another name than {known}"),
                });
            }
        };
        if at_home != part {
            let right = if at_home == Part::Path { "before" } else { "after" };
            return refuse(format!("{name} belongs {right} the '?'"));
        }
        let Some(value) = decoded(value, part) else {
            return refuse(format!(
                "{name} has a character that must be written as % and two hex digits (a space is %20), or is not UTF-8"
            ));
        };
        if value.is_empty() || value.contains('\0') {
            return refuse(format!("{name} is empty or has a zero byte"));
        }
        if place.replace(value).is_some() {
            return refuse(format!("{name} is there twice"));
        }
        Ok(())
    }
}

/// The value that a percent-encoded text stands for (RFC 7512, section 2.3); `None` for other characters than the grammar has.
fn decoded(text: &str, part: Part) -> Option<String> {
    let others = match part {
        Part::Path => &b":[]@!$'()*+,=&"[..],
        Part::Query => &b":[]@!$'()*+,=/?|"[..],
    };
    let mut bytes = text.bytes();
    let mut value = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || others.contains(&byte);
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                value.push(hex::decode(digits).ok()?[0]);
            }
            _ if plain => value.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(value).ok()
}

/// The path in a `file:` URI of this machine (RFC 8089). Programs (`|…`, RFC 7512 section 2.4) are not run.
fn file_of(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file:")?;
    absolute(path.strip_prefix("//").unwrap_or(path))
}

fn absolute(path: &str) -> Option<PathBuf> {
    // A second slash would be a host's name, or a slip.
    (path.starts_with('/') && !path.starts_with("//")).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: &str = "module-path=/m.so&pin-source=file:/pin";

    fn read(text: &str) -> TokenUri {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_what_rfc_7512_writes() {
        let uri = read(
            "pkcs11:token=My%20token%3b;serial=0a:1;object=m%C3%BCnze&co?pin-source=file:///etc/p%20in&module-path=/usr/l.so",
        );
        assert_eq!((uri.token(), uri.serial(), uri.object()), ("My token;", Some("0a:1"), "münze&co"));
        assert_eq!((uri.module_path(), uri.pin_source()), (Path::new("/usr/l.so"), Path::new("/etc/p in")));
        assert_eq!(read(&uri.to_string()), uri, "what is remembered is what was given");
        assert_eq!(read(&format!("pkcs11:object=k;token=t;?{WAY}")).pin_source(), Path::new("/pin"));
    }

    #[test]
    fn refuses_what_is_not_used_and_says_which() {
        for (text, told) in [
            (format!("PKCS11:token=t;object=k?{WAY}"), "begin with 'pkcs11:'"),
            (format!("pkcs11:object=k?{WAY}"), "lacks token"),
            (format!("pkcs11:token=t?{WAY}"), "lacks object"),
            ("pkcs11:token=t;object=k?pin-source=file:/pin".into(), "lacks module-path"),
            ("pkcs11:token=t;object=k?module-path=/m.so".into(), "lacks pin-source"),
            ("pkcs11:".into(), "lacks module-path"),
            (format!("pkcs11:token=t;object=k;id=%01?{WAY}"), "'id' is not used"),
            (format!("pkcs11:token=t;object=k;type=secret-key?{WAY}"), "'type' is not used"),
            (format!("pkcs11:token=t;object=k?{WAY}&module-name=softhsm2"), "'module-name' is not used"),
            (format!("pkcs11:token=t;object=k;object=l?{WAY}"), "object is there twice"),
            (format!("pkcs11:token=t;object=k?{WAY}&pin-source=file:/other"), "pin-source is there twice"),
            (format!("pkcs11:token=t;object?{WAY}"), "name=value"),
            (format!("pkcs11:token=t;object=?{WAY}"), "object is empty"),
            (format!("pkcs11:token=t;object=%00?{WAY}"), "zero byte"),
            (format!("pkcs11:token=my token;object=k?{WAY}"), "%20"),
            (format!("pkcs11:token=a/b;object=k?{WAY}"), "token has a character"),
            (format!("pkcs11:token=%2;object=k?{WAY}"), "two hex digits"),
            (format!("pkcs11:token=%+1;object=k?{WAY}"), "two hex digits"),
            (format!("pkcs11:token=%ff;object=k?{WAY}"), "not UTF-8"),
            ("pkcs11:token=t;object=k;module-path=%2Fm.so?pin-source=file:/pin".into(), "belongs after"),
            (format!("pkcs11:object=k?{WAY}&token=t"), "belongs before"),
            ("pkcs11:token=t;object=k?module-path=m.so&pin-source=file:/pin".into(), "absolute path"),
            ("pkcs11:token=t;object=k?module-path=/m.so&pin-source=file:pin".into(), "absolute path"),
            ("pkcs11:token=t;object=k?module-path=/m.so&pin-source=/pin".into(), "name a file"),
            ("pkcs11:token=t;object=k?module-path=/m.so&pin-source=file://host/pin".into(), "name a file"),
            ("pkcs11:token=t;object=k?module-path=/m.so&pin-source=|cat%20/pin".into(), "name a file"),
            (format!("pkcs11:token={};object=k?{WAY}", "t".repeat(URI_MAX_LEN)), "longer than"),
        ] {
            let error = text.parse::<TokenUri>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}\nshould say '{told}', and said {error}");
        }
    }

    #[test]
    fn a_pin_in_the_wrong_place_is_refused_and_not_repeated() {
        for text in [
            format!("pkcs11:token=t;object=k?{WAY}&pin-value=314159"),
            "pkcs11:token=t;object=k;pin-value=314159".to_owned(),
            format!("pkcs11:token=t;object=k?{WAY}&pin-vaule=314159"),
            format!("pkcs11:token=t;object=k?{WAY}&314159"),
            format!("pkcs11:token=t;object=k?{WAY}&314159=pin"),
            "pkcs11:token=t;object=k?module-path=/m.so&pin-source=314159".to_owned(),
            "pkcs11:token=t;object=k?module-path=/m.so&pin-source=314159%".to_owned(),
            "314159".to_owned(),
        ] {
            let error = text.parse::<TokenUri>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("314159"), "{error}");
        }
        let told = format!("pkcs11:token=t;object=k?{WAY}&pin-value=1").parse::<TokenUri>().unwrap_err().to_string();
        assert!(told.contains("pin-source=file:/"), "{told}");
    }

    #[test]
    fn the_way_to_a_key_may_change_and_the_key_may_not() {
        let key = read(&format!("pkcs11:token=t;object=k?{WAY}"));
        let moved = read("pkcs11:object=k;token=t?module-path=/other.so&pin-source=file:/other");
        assert!(
            key.names_key_of(&moved) && key.names_key_of(&read(&format!("pkcs11:token=t;serial=1;object=k?{WAY}")))
        );
        for other in ["token=u;object=k", "token=t;object=l"] {
            assert!(!key.names_key_of(&read(&format!("pkcs11:{other}?{WAY}"))), "{other}");
        }
        let serial = |serial| read(&format!("pkcs11:token=t;object=k;serial={serial}?{WAY}"));
        assert!(!serial("1").names_key_of(&serial("2")));
    }
}
