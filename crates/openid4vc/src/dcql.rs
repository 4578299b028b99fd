//! The question that a verifier asks (OpenID4VP section 6, DCQL): which credentials, which of their claims, and in which alternatives.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{MSO_MDOC, MessageError, SD_JWT_VC};

/// The format of an anonymous predicate, which is ours: a Privacy Pass token with the fresh key that it is bound to. No claims.
pub const PREDICATE: &str = "org.habeas.predicate";
/// Credentials in a query, alternatives in a set, claims of a credential, at most: a person has to be able to read it.
const ITEMS_MAX: usize = 64;
/// Steps of a claim's path, at most.
const PATH_MAX: usize = 8;

/// A query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// What may be asked for.
    pub credentials: Vec<CredentialQuery>,
    /// Which of them together answer. Without sets, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential_sets: Vec<CredentialSet>,
}

/// One credential of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CredentialQuery {
    /// Its name in the query and in the answer.
    pub id: String,
    /// Its format.
    pub format: String,
    /// Which kind.
    #[serde(default)]
    pub meta: Meta,
    /// Which claims. Without any, none that can be left out is disclosed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<ClaimQuery>,
    /// Alternatives among the claims, best first. Without any, all claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claim_sets: Vec<Vec<String>>,
    /// Whether several may be shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiple: bool,
}

/// Which kind of credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Of an mdoc: its document type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctype_value: Option<String>,
    /// Of an SD-JWT VC: its type, one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vct_values: Option<Vec<String>>,
    /// Of an anonymous predicate: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
}

/// One claim of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimQuery {
    /// Its name in claim sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it is: of an mdoc, namespace and element.
    pub path: Vec<Value>,
    /// Values that answer; none means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Value>>,
    /// Of an mdoc: whether the verifier means to keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_to_retain: Option<bool>,
}

/// Alternatives among credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialSet {
    /// Each a list of ids that answer together, best first.
    pub options: Vec<Vec<String>>,
    /// Whether one of them has to.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

/// A credential that answers a part of a query, and the claims that it discloses for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    /// Which part.
    pub credential: &'a CredentialQuery,
    /// Which claims.
    pub claims: Vec<&'a ClaimQuery>,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// When it is not what section 6 defines: the error says which rule is broken.
    pub fn from_value(value: &Value) -> Result<Self, MessageError> {
        let query =
            Self::deserialize(value).map_err(|_| refused("it is not the JSON that OpenID4VP section 6 defines"))?;
        query.check()?;
        Ok(query)
    }

    /// Holds a query against the rules of section 6.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), MessageError> {
        if self.credentials.is_empty() || self.credentials.len() > ITEMS_MAX || self.credential_sets.len() > ITEMS_MAX {
            return Err(refused("it has to ask for 1 to 64 credentials"));
        }
        let mut ids = BTreeSet::new();
        for credential in &self.credentials {
            if !is_id(&credential.id) || !ids.insert(credential.id.as_str()) {
                return Err(refused("each credential needs an id of its own, of letters, digits, _ and -"));
            }
            credential.check()?;
        }
        for set in &self.credential_sets {
            if set.options.is_empty() || set.options.len() > ITEMS_MAX || set.options.iter().any(Vec::is_empty) {
                return Err(refused("a credential set has to have options, and each option ids"));
            }
            if set.options.iter().flatten().any(|id| !ids.contains(id.as_str())) {
                return Err(refused("a credential set names a credential that is not there"));
            }
        }
        Ok(())
    }

    /// The credentials and claims that answer, by what a holder has: the first option of each required set that can be answered, and
    /// nothing optional. `None` when something required is missing. `has` says whether the holder can show a claim of the credential that
    /// a query asks for; it is asked with no claim first.
    pub fn choose(&self, has: impl Fn(&CredentialQuery, Option<&ClaimQuery>) -> bool) -> Option<Vec<Choice<'_>>> {
        let mut chosen: Vec<Choice<'_>> = Vec::new();
        let by_id = |id: &str| self.credentials.iter().find(|credential| credential.id == id);
        let all = [self.credentials.iter().map(|credential| credential.id.clone()).collect::<Vec<_>>()];
        let sets: Vec<&[Vec<String>]> = if self.credential_sets.is_empty() {
            vec![&all]
        } else {
            self.credential_sets.iter().filter(|set| set.required).map(|set| set.options.as_slice()).collect()
        };
        for options in sets {
            let answer = |option: &Vec<String>| -> Option<Vec<Choice<'_>>> {
                let choice = |id: &String| {
                    by_id(id).and_then(|credential| Some(Choice { credential, claims: credential.pick(&has)? }))
                };
                option.iter().map(choice).collect()
            };
            for choice in options.iter().find_map(answer)? {
                if chosen.iter().all(|other| other.credential.id != choice.credential.id) {
                    chosen.push(choice);
                }
            }
        }
        Some(chosen)
    }

    /// Whether answers to these parts answer the query: every id is known, and each required set has an option that is there whole.
    pub fn answered_by<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> bool {
        let ids: BTreeSet<&str> = ids.into_iter().collect();
        let there = |id: &String| ids.contains(id.as_str());
        let known = ids.iter().all(|id| self.credentials.iter().any(|credential| credential.id == *id));
        let complete = if self.credential_sets.is_empty() {
            self.credentials.iter().all(|credential| ids.contains(credential.id.as_str()))
        } else {
            let option = |set: &CredentialSet| set.options.iter().any(|option| option.iter().all(there));
            self.credential_sets.iter().filter(|set| set.required).all(option)
        };
        known && complete
    }

    /// The query without credentials of a format, for a wallet that does not know it; the query itself where nothing would be left.
    pub fn without_format(&self, format: &str) -> Query {
        let kept: Vec<CredentialQuery> =
            self.credentials.iter().filter(|credential| credential.format != format).cloned().collect();
        let is_kept = |id: &String| kept.iter().any(|credential| credential.id == *id);
        let mut credential_sets = self.credential_sets.clone();
        credential_sets.iter_mut().for_each(|set| set.options.retain(|option| option.iter().all(is_kept)));
        credential_sets.retain(|set| set.required || !set.options.is_empty());
        if kept.is_empty() || credential_sets.iter().any(|set| set.options.is_empty()) {
            return self.clone();
        }
        Query { credentials: kept, credential_sets }
    }

    /// A part by its id.
    pub fn credential(&self, id: &str) -> Option<&CredentialQuery> {
        self.credentials.iter().find(|credential| credential.id == id)
    }
}

impl CredentialQuery {
    fn check(&self) -> Result<(), MessageError> {
        let kind_is_named = match self.format.as_str() {
            MSO_MDOC => self.meta.doctype_value.is_some(),
            SD_JWT_VC => self.meta.vct_values.as_ref().is_some_and(|values| !values.is_empty()),
            PREDICATE => self.meta.predicate.is_some() && self.claims.is_empty(),
            // A format that nobody here holds is no fault of the query.
            _ => true,
        };
        if !kind_is_named {
            return Err(refused("meta has to name the doctype_value, vct_values or predicate that the format needs"));
        }
        if self.claims.len() > ITEMS_MAX || self.claim_sets.len() > ITEMS_MAX {
            return Err(refused("it asks for more than 64 claims of a credential"));
        }
        let mut ids = BTreeSet::new();
        for claim in &self.claims {
            if claim.path.is_empty() || claim.path.len() > PATH_MAX || !claim.path.iter().all(is_step) {
                return Err(refused("a claim's path is a list of 1 to 8 names, numbers and nulls"));
            }
            if self.format == MSO_MDOC && !(claim.path.len() == 2 && claim.path.iter().all(Value::is_string)) {
                return Err(refused("a claim's path in an mdoc is its namespace and its element"));
            }
            if claim.values.as_ref().is_some_and(Vec::is_empty) {
                return Err(refused("a claim's values can't be an empty list"));
            }
            match &claim.id {
                Some(id) if !is_id(id) || !ids.insert(id.as_str()) => {
                    return Err(refused("each claim's id has to be its own, of letters, digits, _ and -"));
                }
                None if !self.claim_sets.is_empty() => return Err(refused("with claim_sets each claim needs an id")),
                _ => {}
            }
        }
        if !self.claim_sets.is_empty() && self.claims.is_empty() {
            return Err(refused("claim_sets need claims"));
        }
        if self.claim_sets.iter().flatten().any(|id| !ids.contains(id.as_str())) {
            return Err(refused("claim_sets name a claim that is not there"));
        }
        Ok(())
    }

    /// The claims of the first claim set that can be shown.
    fn pick(&self, has: &impl Fn(&CredentialQuery, Option<&ClaimQuery>) -> bool) -> Option<Vec<&ClaimQuery>> {
        has(self, None).then_some(())?;
        let has = |claim: &&ClaimQuery| has(self, Some(claim));
        self.alternatives().into_iter().find(|claims| claims.iter().all(has))
    }

    /// Each list of claims that answers, best first.
    fn alternatives(&self) -> Vec<Vec<&ClaimQuery>> {
        if self.claim_sets.is_empty() {
            return vec![self.claims.iter().collect()];
        }
        let named = |id: &String| self.claims.iter().find(|claim| claim.id.as_ref() == Some(id));
        self.claim_sets.iter().map(|set| set.iter().filter_map(named).collect()).collect()
    }

    /// Whether an answer that shows these claims is what was asked: one of the alternatives, and not a claim more. `shown` says
    /// whether a claim was shown (with a value that fits), `count` how many claims were shown that can be left out.
    pub fn answered_by(&self, shown: impl Fn(&ClaimQuery) -> bool, count: usize) -> bool {
        self.alternatives().iter().any(|claims| claims.len() == count && claims.iter().all(|claim| shown(claim)))
    }
}

impl ClaimQuery {
    /// The namespace and the element of an mdoc's claim.
    pub fn mdoc_element(&self) -> Option<(&str, &str)> {
        match self.path.as_slice() {
            [namespace, element] => Some((namespace.as_str()?, element.as_str()?)),
            _ => None,
        }
    }

    /// Whether a value answers.
    pub fn accepts(&self, value: &Value) -> bool {
        self.values.as_ref().is_none_or(|values| values.contains(value))
    }
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn is_step(step: &Value) -> bool {
    step.is_string() || step.is_null() || step.is_u64()
}

const fn refused(why: &'static str) -> MessageError {
    MessageError::new("the query", why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(value: Value) -> Query {
        Query::from_value(&value).unwrap()
    }

    fn mdoc(id: &str, elements: &[&str]) -> Value {
        let claims: Vec<Value> =
            elements.iter().map(|element| json!({"id": element, "path": ["ns", element]})).collect();
        json!({"id": id, "format": "mso_mdoc", "meta": {"doctype_value": "doc"}, "claims": claims})
    }

    /// What a holder has: these elements, in these formats.
    fn chosen(query: &Query, formats: &[&str], elements: &[&str]) -> Option<Vec<(String, Vec<String>)>> {
        let has = |credential: &CredentialQuery, claim: Option<&ClaimQuery>| {
            formats.contains(&credential.format.as_str())
                && claim.is_none_or(|claim| elements.contains(&claim.mdoc_element().unwrap().1))
        };
        let name = |choice: &Choice<'_>| {
            let claims = choice.claims.iter().map(|claim| claim.id.clone().unwrap()).collect();
            (choice.credential.id.clone(), claims)
        };
        Some(query.choose(has)?.iter().map(name).collect())
    }

    #[test]
    fn all_credentials_and_claims_answer_where_there_are_no_sets() {
        let query = query(json!({"credentials": [mdoc("a", &["x", "y"]), mdoc("b", &["z"])]}));
        let expected = vec![("a".into(), vec!["x".into(), "y".into()]), ("b".into(), vec!["z".into()])];
        assert_eq!(chosen(&query, &[MSO_MDOC], &["x", "y", "z"]), Some(expected));
        assert_eq!(chosen(&query, &[MSO_MDOC], &["x", "y"]), None);
        assert!(query.answered_by(["a", "b"]) && !query.answered_by(["a"]) && !query.answered_by(["a", "b", "c"]));
    }

    #[test]
    fn the_first_option_that_can_be_answered_is_chosen_and_nothing_optional() {
        let predicate = json!({"id": "p", "format": PREDICATE, "meta": {"predicate": "age_over_60"}});
        let query = query(json!({
            "credentials": [predicate, mdoc("a", &["x"]), mdoc("more", &["y"])],
            "credential_sets": [{"options": [["p"], ["a"]]}, {"options": [["more"]], "required": false}],
        }));
        assert_eq!(chosen(&query, &[PREDICATE, MSO_MDOC], &["x", "y"]), Some(vec![("p".into(), vec![])]));
        assert_eq!(chosen(&query, &[MSO_MDOC], &["x", "y"]), Some(vec![("a".into(), vec!["x".into()])]));
        assert_eq!(chosen(&query, &[MSO_MDOC], &["y"]), None);
        assert!(query.answered_by(["p"]) && query.answered_by(["a", "more"]) && !query.answered_by(["more"]));
    }

    #[test]
    fn a_format_that_a_wallet_does_not_know_is_left_out_unless_nothing_would_be_left() {
        let predicate = json!({"id": "p", "format": PREDICATE, "meta": {"predicate": "age_over_60"}});
        let sets = json!([{"options": [["p"], ["a"]]}]);
        let both = query(json!({"credentials": [predicate, mdoc("a", &["x"])], "credential_sets": sets}));
        let expected = query(json!({"credentials": [mdoc("a", &["x"])], "credential_sets": [{"options": [["a"]]}]}));
        assert_eq!(both.without_format(PREDICATE), expected);
        assert!(expected.check().is_ok() && both.answered_by(["a"]), "what answers the shorter answers the longer");
        let only = query(json!({"credentials": [predicate]}));
        assert_eq!(only.without_format(PREDICATE), only);
    }

    #[test]
    fn the_first_claim_set_that_can_be_shown_is_chosen_and_nothing_more_answers() {
        let mut credential = mdoc("a", &["x", "y", "z"]);
        credential["claim_sets"] = json!([["x", "y"], ["z"]]);
        let query = query(json!({"credentials": [credential]}));
        assert_eq!(chosen(&query, &[MSO_MDOC], &["x", "z"]), Some(vec![("a".into(), vec!["z".into()])]));
        let credential = &query.credentials[0];
        let shown =
            |names: &'static [&'static str]| move |claim: &ClaimQuery| names.contains(&claim.mdoc_element().unwrap().1);
        assert!(credential.answered_by(shown(&["z"]), 1) && credential.answered_by(shown(&["x", "y"]), 2));
        assert!(!credential.answered_by(shown(&["x"]), 1) && !credential.answered_by(shown(&["x", "y", "z"]), 3));
    }

    #[test]
    fn what_section_6_forbids_is_refused() {
        let refused = [
            json!({}),
            json!({"credentials": []}),
            json!({"credentials": [mdoc("a", &[]), mdoc("a", &[])]}),
            json!({"credentials": [mdoc("a b", &[])]}),
            json!({"credentials": [{"id": "a", "format": "mso_mdoc", "meta": {}}]}),
            json!({"credentials": [{"id": "a", "format": "dc+sd-jwt", "meta": {"vct_values": []}}]}),
            json!({"credentials": [{"id": "a", "format": "mso_mdoc", "meta": {"doctype_value": "d"}, "claims": [{"path": ["x"]}]}]}),
            json!({"credentials": [{"id": "a", "format": "x", "claims": [{"path": [1.5]}]}]}),
            json!({"credentials": [{"id": "a", "format": "x", "claims": [{"path": ["p"], "values": []}]}]}),
            json!({"credentials": [{"id": "a", "format": "x", "claims": [{"path": ["p"]}], "claim_sets": [["p"]]}]}),
            json!({"credentials": [mdoc("a", &[])], "credential_sets": [{"options": [["b"]]}]}),
            json!({"credentials": [mdoc("a", &[])], "credential_sets": [{"options": []}]}),
        ];
        for query in refused {
            assert!(Query::from_value(&query).is_err(), "{query}");
        }
    }
}
