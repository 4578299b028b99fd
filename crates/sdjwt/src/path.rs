use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Elements of a path: as deep as JSON is read here.
const PATH_MAX: usize = jose::json::DEPTH_MAX;

/// A claims path pointer (OpenID4VP 1.0 section 7, the draft's section "Claim Path"): a JSON array of names, indices and `null`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<PathElement>")]
pub struct ClaimPath(pub Vec<PathElement>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathElement {
    /// A member of an object.
    Name(String),
    /// An element of an array, counted from 0.
    Index(usize),
    /// All elements of an array; `null` in JSON.
    All,
}

impl TryFrom<Vec<PathElement>> for ClaimPath {
    type Error = &'static str;

    fn try_from(elements: Vec<PathElement>) -> Result<Self, Self::Error> {
        match elements.len() {
            1..=PATH_MAX => Ok(ClaimPath(elements)),
            _ => Err("a claim path has 1 to 24 elements"),
        }
    }
}

impl From<&str> for ClaimPath {
    /// The path of a claim at the top.
    fn from(name: &str) -> Self {
        ClaimPath(vec![PathElement::Name(name.into())])
    }
}

impl PathElement {
    /// Whether a place of a credential lies on this step.
    pub(crate) fn meets(&self, place: &PathElement) -> bool {
        self == place || matches!((self, place), (PathElement::All, PathElement::Index(_)))
    }
}

impl ClaimPath {
    /// The values that the path selects. Nothing, also when a step asks for another kind of value than is there (the standard calls
    /// that an error; both mean that the claim is not there as it was asked for).
    pub fn select<'a>(&self, claims: &'a Map<String, Value>) -> Vec<&'a Value> {
        let Some((PathElement::Name(name), rest)) = self.0.split_first() else { return Vec::new() };
        let mut selected: Vec<&Value> = claims.get(name).into_iter().collect();
        for element in rest {
            let mut next = Vec::new();
            for value in selected {
                match (element, value) {
                    (PathElement::Name(name), Value::Object(members)) => next.extend(members.get(name)),
                    (PathElement::Index(index), Value::Array(items)) => next.extend(items.get(*index)),
                    (PathElement::All, Value::Array(items)) => next.extend(items),
                    _ => return Vec::new(),
                }
            }
            selected = next;
        }
        selected
    }

    /// Whether a place lies on the path, above what it selects or below it.
    pub(crate) fn touches(&self, place: &[PathElement]) -> bool {
        self.0.iter().zip(place).all(|(element, place)| element.meets(place))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(value: Value) -> ClaimPath {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn paths_are_json_arrays_of_names_indices_and_null() {
        let written = json!(["degrees", null, 1, "type"]);
        let read = path(written.clone());
        let name = |text: &str| PathElement::Name(text.into());
        assert_eq!(read.0, [name("degrees"), PathElement::All, PathElement::Index(1), name("type")]);
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        let deep: Vec<&str> = vec!["a"; PATH_MAX + 1];
        let refused = [json!([]), json!("a"), json!([-1]), json!([1.5]), json!([true]), json!([["a"]]), json!(deep)];
        for other in refused {
            assert!(serde_json::from_value::<ClaimPath>(other.clone()).is_err(), "{other}");
        }
    }

    /// The credential and paths of the draft's section "Claim Path".
    #[test]
    fn paths_select_as_the_draft_says() {
        let claims = json!({
            "name": "Arthur Dent",
            "address": {"street_address": "42 Market Street", "city": "Milliways"},
            "degrees": [{"type": "Bachelor of Science"}, {"type": "Master of Science"}],
            "nationalities": ["British", "Betelgeusian"]
        });
        let claims = claims.as_object().unwrap();
        let select = |value| path(value).select(claims).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(select(json!(["name"])), [json!("Arthur Dent")]);
        assert_eq!(select(json!(["address"])), [claims["address"].clone()]);
        assert_eq!(select(json!(["address", "city"])), [json!("Milliways")]);
        assert_eq!(
            select(json!(["degrees", null, "type"])),
            [json!("Bachelor of Science"), json!("Master of Science")]
        );
        assert_eq!(select(json!(["nationalities", 1])), [json!("Betelgeusian")]);
        for nothing in
            [json!(["x"]), json!(["name", 0]), json!(["nationalities", 2]), json!([0]), json!(["address", null])]
        {
            assert!(select(nothing.clone()).is_empty(), "{nothing}");
        }
    }
}
