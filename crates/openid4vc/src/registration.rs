//! What a relying party is registered for (ETSI TS 119 475 clause 5, `rc-wrp+jwt`), and whether a query stays within it. Asking for more
//! is called over-asking there; wallet and verifier hold every query against the same function.

use es256::{PublicKey, Signer};
use jose::{Header, Jws};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dcql::{CredentialQuery, Meta, Query};
use crate::{CLOCK_SKEW_MAX, MessageError};

/// The type of a registration certificate.
pub const TYPE: &str = "rc-wrp+jwt";
/// A relying party that provides a service (Annex A).
pub const SERVICE_PROVIDER: &str = "https://uri.etsi.org/19475/Entitlement/Service_Provider";

/// A registration certificate's contents. Field names are those of the specification's tables 7 to 9.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The relying party's identifier (EN 319 412-1): the same stands in its access certificate.
    pub sub: String,
    /// The name that people know.
    pub name: String,
    /// The legal name.
    pub sub_ln: String,
    /// The country, two letters.
    pub country: String,
    /// Where the register is.
    pub registry_uri: String,
    /// What it is entitled to.
    pub entitlements: Vec<String>,
    /// Where its privacy policy is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy_policy: Option<String>,
    /// What it asks for, as people read it.
    pub purpose: Vec<Localised>,
    /// The id of this intended use.
    pub intended_use_id: String,
    /// The kinds of credentials and the claims that it may ask for.
    pub credentials: Vec<RegisteredCredential>,
    /// The law or contract that the purpose rests on. Ours: the specification has no field for it.
    pub legal_basis: String,
    /// Days that it may keep what it was shown. Ours, too.
    pub retention_days: u32,
    /// Where its suspension shows.
    pub status: Value,
    /// Unix time.
    pub iat: u64,
    /// Unix time, a year later at most.
    pub exp: u64,
}

/// A text and its language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Localised {
    /// BCP 47.
    pub lang: String,
    /// The text.
    pub value: String,
}

/// A kind of credential that may be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisteredCredential {
    /// Its format.
    pub format: String,
    /// Which kind.
    pub meta: Meta,
    /// Its claims. The specification's tables name the list in the singular.
    #[serde(default, alias = "claims", skip_serializing_if = "Vec::is_empty")]
    pub claim: Vec<RegisteredClaim>,
}

/// A claim that may be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisteredClaim {
    /// Where it is.
    pub path: Vec<Value>,
}

/// What was asked for without being registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this asks for more than is registered: {what}")]
pub struct OverAsking {
    /// The kind of credential, or the claim.
    pub what: String,
}

impl Registration {
    /// Signs the registration as the register, whose certificate chain (DER, leaf first) goes with it.
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn sign(&self, chain: &[Vec<u8>], key: &dyn Signer) -> Result<String, jose::JoseError> {
        jose::sign(&Header { x5c: chain.to_vec(), ..Header::es256(TYPE) }, self, key)
    }

    /// Reads a registration certificate. `trusted` holds its chain against the register's root and gives the leaf's key. Whether it is
    /// suspended is told by the list that its `status` names.
    ///
    /// # Errors
    /// When it was changed, is not the register's, or is out of date.
    pub fn verify(
        text: &str,
        trusted: impl FnOnce(&[Vec<u8>]) -> Option<PublicKey>,
        now: u64,
    ) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the registration certificate", why);
        let jws = Jws::parse(text).map_err(|_| refused("it is not signed with ES256"))?;
        if jws.header().typ.as_deref() != Some(TYPE) {
            return Err(refused("its type has to be rc-wrp+jwt"));
        }
        let key = trusted(&jws.header().x5c).ok_or(refused("it is not from the register of relying parties"))?;
        jws.verify(&key).map_err(|_| refused("its signature does not hold"))?;
        let registration: Self = jws.claims().map_err(|_| refused("it is not what ETSI TS 119 475 defines"))?;
        if registration.iat > now + CLOCK_SKEW_MAX || registration.exp <= now {
            return Err(refused("it is out of date: the relying party has to register again"));
        }
        Ok(registration)
    }

    /// Whether a query stays within the registration: each kind of credential, and each claim of it.
    ///
    /// # Errors
    /// [`OverAsking`], with the first thing that is too much.
    pub fn allows(&self, query: &Query) -> Result<(), OverAsking> {
        query.credentials.iter().try_for_each(|credential| self.allows_credential(credential))
    }

    fn allows_credential(&self, query: &CredentialQuery) -> Result<(), OverAsking> {
        let is_kind = |registered: &&RegisteredCredential| {
            let (asked, may) = (&query.meta, &registered.meta);
            registered.format == query.format
                && asked.doctype_value == may.doctype_value
                && asked.predicate == may.predicate
                // Every type that would answer has to be registered.
                && asked.vct_values.iter().flatten().all(|vct| may.vct_values.iter().flatten().any(|may| may == vct))
        };
        let registered: Vec<&RegisteredCredential> = self.credentials.iter().filter(is_kind).collect();
        if registered.is_empty() {
            return Err(OverAsking { what: format!("a credential of the format {}", query.format) });
        }
        for claim in &query.claims {
            // What lies below a registered claim is a part of it.
            let may =
                |registered: &RegisteredClaim| claim.path.starts_with(&registered.path) && !registered.path.is_empty();
            if !registered.iter().any(|credential| credential.claim.iter().any(may)) {
                let steps: Vec<String> =
                    claim.path.iter().map(|step| step.as_str().map_or(step.to_string(), str::to_owned)).collect();
                return Err(OverAsking { what: steps.join("/") });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use es256::SigningKey;
    use serde_json::json;

    use super::*;

    fn registration() -> Registration {
        serde_json::from_value(json!({
            "sub": "NTRUT-1", "name": "Clinic", "sub_ln": "Clinic Ltd", "country": "UT",
            "registry_uri": "https://register.example", "entitlements": [SERVICE_PROVIDER],
            "purpose": [{"lang": "en", "value": "to find your file"}], "intended_use_id": "1",
            "credentials": [
                {"format": "mso_mdoc", "meta": {"doctype_value": "d"}, "claim": [{"path": ["d", "age_over_60"]}]},
                {"format": "dc+sd-jwt", "meta": {"vct_values": ["v"]}, "claims": [{"path": ["address"]}]},
            ],
            "legal_basis": "Health Act", "retention_days": 0, "status": {}, "iat": 1_000, "exp": 2_000,
        }))
        .unwrap()
    }

    fn allows(query: Value) -> Result<(), OverAsking> {
        registration().allows(&Query::from_value(&json!({"credentials": [query]})).unwrap())
    }

    #[test]
    fn asking_for_more_than_is_registered_is_told() {
        let mdoc = |path: &[&str]| json!({"id": "a", "format": "mso_mdoc", "meta": {"doctype_value": "d"}, "claims": [{"path": path}]});
        assert_eq!(allows(mdoc(&["d", "age_over_60"])), Ok(()));
        assert_eq!(allows(mdoc(&["d", "birth_date"])).unwrap_err().what, "d/birth_date");
        assert!(allows(mdoc(&["e", "age_over_60"])).is_err());
        let sd_jwt = |vct: &[&str], path: Value| json!({"id": "a", "format": "dc+sd-jwt", "meta": {"vct_values": vct}, "claims": [{"path": path}]});
        assert_eq!(allows(sd_jwt(&["v"], json!(["address"]))), Ok(()));
        assert_eq!(allows(sd_jwt(&["v"], json!(["address", "street"]))), Ok(()));
        assert!(allows(sd_jwt(&["v"], json!(["name"]))).is_err());
        assert!(allows(sd_jwt(&["v", "w"], json!(["address"]))).is_err(), "a type that is not registered");
        assert!(allows(sd_jwt(&["v"], json!([null]))).is_err());
        assert!(allows(json!({"id": "a", "format": "mso_mdoc", "meta": {"doctype_value": "e"}})).is_err());
        assert!(
            allows(json!({"id": "a", "format": "org.habeas.predicate", "meta": {"predicate": "age_over_60"}})).is_err()
        );
    }

    #[test]
    fn a_certificate_is_read_from_the_register_and_in_time_alone() {
        let register = SigningKey::generate().unwrap();
        let text = registration().sign(&[b"der".to_vec()], &register).unwrap();
        let trusted = |chain: &[Vec<u8>]| (chain == [b"der".to_vec()]).then_some(*register.public_key());
        assert_eq!(Registration::verify(&text, trusted, 1_500).unwrap(), registration());
        assert!(Registration::verify(&text, trusted, 2_000).is_err());
        assert!(Registration::verify(&text, |_| None, 1_500).is_err());
        assert!(Registration::verify(&text, |_| Some(*SigningKey::generate().unwrap().public_key()), 1_500).is_err());
    }
}
