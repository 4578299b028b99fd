use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ClaimPath, SdJwtError};

/// The longest document that is read: names and labels in many languages.
const METADATA_MAX_LEN: usize = 256 * 1024;

/// What a type of credential means and how it is displayed (the draft's section "Type Metadata"). Members that are not known here are
/// read over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TypeMetadata {
    /// The type.
    pub vct: String,
    /// A name, for developers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A description, for developers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The type that it extends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// The hash of that type's document.
    #[serde(default, rename = "extends#integrity", skip_serializing_if = "Option::is_none")]
    pub extends_integrity: Option<String>,
    /// How people see it, by language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub display: Vec<TypeDisplay>,
    /// Its claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimMetadata>,
}

/// How people see a type in one language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TypeDisplay {
    /// The language (RFC 5646).
    pub locale: String,
    /// The name.
    pub name: String,
    /// A description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Logo, colours, templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<Value>,
}

/// What is known of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimMetadata {
    /// Which one.
    pub path: ClaimPath,
    /// How people see it, by language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub display: Vec<ClaimDisplay>,
    /// Whether every credential of the type has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mandatory: bool,
    /// Whether it is disclosed selectively.
    #[serde(default, skip_serializing_if = "Selective::is_default")]
    pub sd: Selective,
    /// Its name in a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svg_id: Option<String>,
}

/// How people see a claim in one language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimDisplay {
    /// The language (RFC 5646).
    pub locale: String,
    /// The name.
    pub label: String,
    /// A description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Whether a claim is disclosed selectively.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selective {
    /// It must be.
    Always,
    /// The issuer chooses.
    #[default]
    Allowed,
    /// It must not be.
    Never,
}

impl Selective {
    fn is_default(&self) -> bool {
        *self == Selective::default()
    }
}

impl TypeMetadata {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is too long, no JSON, or lacks what the draft requires.
    pub fn parse(document: &[u8]) -> Result<Self, SdJwtError> {
        if document.len() > METADATA_MAX_LEN {
            return Err(SdJwtError::TooLarge);
        }
        Ok(jose::json::parse_as(document)?)
    }

    /// The paths of the claims that have to be disclosable, for [`crate::Issuing`].
    pub fn always_disclosable(&self) -> impl Iterator<Item = &ClaimPath> {
        self.claims.iter().filter(|claim| claim.sd == Selective::Always).map(|claim| &claim.path)
    }
}

/// The hash of a document, for `vct#integrity` and its like (W3C Subresource Integrity section 3): over the bytes as they are served.
pub fn integrity(document: &[u8]) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, document)))
}

/// Whether a document is the one that was meant: the strongest hash counts, and any of several of that strength.
pub fn integrity_holds(document: &[u8], metadata: &str) -> bool {
    const STRONGEST_FIRST: [(&str, &Algorithm); 3] = [("sha512", &SHA512), ("sha384", &SHA384), ("sha256", &SHA256)];
    for (name, algorithm) in STRONGEST_FIRST {
        let mut given = metadata
            .split_ascii_whitespace()
            .filter_map(|expression| expression.strip_prefix(name)?.strip_prefix('-'))
            // Options may follow; none is defined.
            .map(|hash| hash.split_once('?').map_or(hash, |(hash, _)| hash))
            .peekable();
        if given.peek().is_some() {
            let hash = STANDARD.encode(digest(algorithm, document));
            return given.any(|given| given == hash);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Cut from the draft's section "Example Type Metadata".
    #[test]
    fn a_document_is_read_and_written_as_the_same() {
        let document = json!({
            "vct": "https://betelgeuse.example.com/education_credential/v42",
            "name": "Betelgeuse Education Credential - First Version",
            "extends": "https://galaxy.example.com/galactic-education-credential/v2",
            "extends#integrity": "sha256-ilOUJsTultOwLfz7QUcFALaRa3BP/jelX1ds04kB9yU=",
            "display": [{
                "locale": "en-US",
                "name": "Betelgeuse Education Credential",
                "rendering": {"simple": {"background_color": "#12107c"}}
            }],
            "claims": [
                {"path": ["name"], "display": [{"locale": "de-DE", "label": "Vor- und Nachname"}], "sd": "never"},
                {"path": ["degrees", null, "field_of_study"], "mandatory": true, "sd": "always", "svg_id": "f"},
                {"path": ["address"]}
            ]
        });
        let read = TypeMetadata::parse(document.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), document);
        assert_eq!(read.always_disclosable().collect::<Vec<_>>(), [&read.claims[1].path]);
        for (from, to) in [("\"vct\"", "\"x\""), ("never", "seldom"), ("[\"address\"]", "[]"), ("locale", "lang")] {
            let changed = document.to_string().replace(from, to);
            assert!(TypeMetadata::parse(changed.as_bytes()).is_err(), "{from}");
        }
        let twice = document.to_string().replacen('{', r#"{"x":1,"x":1,"#, 1);
        assert_eq!(TypeMetadata::parse(twice.as_bytes()), Err(jose::JoseError::Duplicate.into()));
        assert_eq!(TypeMetadata::parse(&vec![b' '; METADATA_MAX_LEN + 1]), Err(SdJwtError::TooLarge));
    }

    /// W3C Subresource Integrity section 3.2 has the hash of `alert('Hello, world.');`.
    #[test]
    fn the_hash_is_that_of_subresource_integrity() {
        let document = b"alert('Hello, world.');";
        let sha384 = "sha384-H8BRh8j48O9oYatfu5AZzq6A9RINhZO5H16dQZngK7T62em8MUt1FLm52t+eX6xO";
        assert!(integrity_holds(document, sha384));
        let ours = integrity(document);
        assert_eq!(ours, "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
        assert!(integrity_holds(document, &ours));
        assert!(!integrity_holds(b"alert('hello, world.');", &ours));
        // The strongest counts: a weaker one that is right does not help.
        let wrong = sha384.replace("H8", "H9");
        assert!(!integrity_holds(document, &format!("{ours} {wrong}")));
        assert!(integrity_holds(document, &format!("{wrong} {sha384}?x {ours}")));
        assert!(
            !integrity_holds(document, "")
                && !integrity_holds(document, "md5-x")
                && !integrity_holds(document, "sha256")
        );
    }
}
