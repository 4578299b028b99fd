//! What the issuer says of itself and of its credentials (OpenID4VCI section 12.2; type metadata of SD-JWT VC).

use std::collections::BTreeMap;

use jose::Header;
use mdoc::DOC_TYPE;
use openid4vc::MSO_MDOC;
use openid4vc::metadata::{
    BatchIssuance, ClaimMetadata, CredentialConfiguration, CredentialMetadata, Display, IssuerMetadata, ProofType,
    SIGNED_TYPE,
};
use sdjwt::{ClaimDisplay, Selective, TypeDisplay, TypeMetadata};
use serde_json::json;

use crate::attributes::{self, NAMES, TYPE_PATH};
use crate::certificates::Authority;
use crate::issuer::{BATCH_SIZE, CONFIGURATIONS};
use crate::{Credentials, IssuerError};

impl Credentials {
    /// The issuer's metadata. `issuer` is our address.
    pub fn metadata(&self, issuer: &str) -> IssuerMetadata {
        let configurations = CONFIGURATIONS.map(|(id, format)| (id.to_owned(), configuration(format, issuer)));
        IssuerMetadata {
            credential_issuer: issuer.to_owned(),
            credential_endpoint: format!("{issuer}/credential"),
            nonce_endpoint: Some(format!("{issuer}/nonce")),
            notification_endpoint: Some(format!("{issuer}/notification")),
            batch_credential_issuance: Some(BatchIssuance { batch_size: BATCH_SIZE }),
            display: vec![named("Habeas")],
            credential_configurations_supported: configurations.into(),
        }
    }

    /// The same, signed.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn signed_metadata(&self, issuer: &str) -> Result<String, IssuerError> {
        let mut claims = serde_json::to_value(self.metadata(issuer)).expect("metadata is plain data");
        claims["sub"] = json!(issuer);
        claims["iat"] = json!(self.now());
        let signer = self.inner.certificates.signer(Authority::Issuer);
        let header = Header { x5c: signer.chain.clone(), ..Header::es256(SIGNED_TYPE) };
        Ok(jose::sign(&header, &claims, &*signer.key)?)
    }

    /// The type metadata of the SD-JWT VC.
    pub fn type_metadata(&self, issuer: &str) -> TypeMetadata {
        let claim = |(name, label): &(&str, &str)| sdjwt::ClaimMetadata {
            path: (*name).into(),
            display: vec![ClaimDisplay { locale: "en".into(), label: (*label).into(), description: None }],
            mandatory: false,
            sd: Selective::Always,
            svg_id: None,
        };
        let called = |locale: &str, name: &str| TypeDisplay {
            locale: locale.into(),
            name: name.into(),
            description: None,
            rendering: None,
        };
        TypeMetadata {
            vct: format!("{issuer}{TYPE_PATH}"),
            name: Some("Habeas ID".into()),
            description: Some("Who a person is, and which ages they have reached".into()),
            extends: None,
            extends_integrity: None,
            display: vec![called("en", "Habeas ID"), called("es", "Identidad Habeas")],
            claims: NAMES.iter().map(claim).collect(),
        }
    }
}

fn configuration(format: &str, issuer: &str) -> CredentialConfiguration {
    let is_mdoc = format == MSO_MDOC;
    let proof = |key_attestations_required| ProofType {
        proof_signing_alg_values_supported: vec!["ES256".into()],
        key_attestations_required,
    };
    let claims = NAMES
        .iter()
        .map(|(name, label)| ClaimMetadata { path: attributes::path(format, name), display: vec![named(label)] });
    CredentialConfiguration {
        format: format.into(),
        scope: Some(if is_mdoc { "org.habeas.id.mdoc".into() } else { "org.habeas.id.sd-jwt".into() }),
        doctype: is_mdoc.then(|| DOC_TYPE.into()),
        vct: (!is_mdoc).then(|| format!("{issuer}{TYPE_PATH}")),
        cryptographic_binding_methods_supported: vec![if is_mdoc { "cose_key".into() } else { "jwk".into() }],
        credential_signing_alg_values_supported: vec![if is_mdoc { json!(-7) } else { json!("ES256") }],
        proof_types_supported: BTreeMap::from([
            ("jwt".to_owned(), proof(None)),
            ("attestation".to_owned(), proof(Some(json!({})))),
        ]),
        credential_metadata: Some(CredentialMetadata {
            display: vec![named("Habeas ID"), Display { name: "Identidad Habeas".into(), locale: Some("es".into()) }],
            claims: claims.collect(),
        }),
    }
}

fn named(name: &str) -> Display {
    Display { name: name.into(), locale: Some("en".into()) }
}
