//! The messages of OpenID4VCI and OpenID4VP: links, forms, queries, registrations, lists of whom to trust.

use std::collections::BTreeSet;

use openid4vc::dcql::{ClaimQuery, CredentialQuery, Query};
use openid4vc::offer::OfferLink;
use openid4vc::registration::Registration;
use openid4vc::request::{RequestLink, link};
use openid4vc::token::{AuthorizationRequest, TokenRequest};
use openid4vc::trusted_list::{Service, ServiceKind, TrustedList};
use serde_json::{Value, json};

/// Links and forms are written and read again as the same.
pub fn links(data: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(OfferLink::Value(offer)) = OfferLink::parse(text) {
            let written = offer.to_uri();
            // What is longer when it is written again, since each letter takes three, may be too long to be read.
            assert!(
                OfferLink::parse(&written).is_ok_and(|again| again == OfferLink::Value(offer))
                    || written.len() > 8 * 1024
            );
            taken = true;
        }
        if let Ok(request) = RequestLink::parse(text) {
            let written = link(&request.client_id, &request.request_uri);
            let again = RequestLink::parse(&written);
            assert!(
                again.is_ok_and(|again| again.request_uri == request.request_uri && again.post)
                    || written.len() > 4 * 1024
            );
            taken = true;
        }
    }
    if let Ok(request) = TokenRequest::from_form(data) {
        assert_eq!(TokenRequest::from_form(request.to_form().as_bytes()), Ok(request));
        taken = true;
    }
    if let Ok(request) = AuthorizationRequest::from_form(data) {
        assert_eq!(AuthorizationRequest::from_form(request.to_form().as_bytes()), Ok(request));
        taken = true;
    }
    taken
}

/// A link of each kind, and forms.
pub fn links_seeds() -> Vec<Vec<u8>> {
    [
        "openid-credential-offer://?credential_offer=%7B%22credential_issuer%22%3A%22https%3A%2F%2Fi%22%2C%22credential_configuration_ids%22%3A%5B%22a%22%5D%2C%22grants%22%3A%7B%22urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Apre-authorized_code%22%3A%7B%22pre-authorized_code%22%3A%22c%22%2C%22tx_code%22%3A%7B%22length%22%3A6%7D%7D%7D%7D",
        "openid4vp://?client_id=x509_hash%3Aa&request_uri=https%3A%2F%2Frp%2Fr&request_uri_method=post",
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Apre-authorized_code&pre-authorized_code=c&tx_code=123456",
        "response_type=code&client_id=w&redirect_uri=app%3A%2F%2Fx&code_challenge=c&code_challenge_method=S256&issuer_state=s",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// What may be asked here.
fn registration() -> Registration {
    serde_json::from_value(json!({
        "sub": "NTRUT-1", "name": "Clinic", "sub_ln": "Clinic", "country": "UT", "registry_uri": "r", "entitlements": [],
        "purpose": [], "intended_use_id": "1", "legal_basis": "b", "retention_days": 0, "status": {}, "iat": 0, "exp": 1,
        "credentials": [
            {"format": "mso_mdoc", "meta": {"doctype_value": "d"}, "claim": [{"path": ["d", "x"]}]},
            {"format": "dc+sd-jwt", "meta": {"vct_values": ["v"]}, "claim": [{"path": ["x"]}]},
        ],
    }))
    .expect("a registration")
}

/// A query is written and read again as the same; what is chosen for it answers it; and a query that stays within a registration does
/// not any more with a claim that is not registered.
pub fn query(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return false };
    let Ok(query) = Query::from_value(&value) else { return false };
    let written = serde_json::to_value(&query).expect("plain data");
    assert_eq!(Query::from_value(&written).as_ref(), Ok(&query), "what is written is read again");
    // A holder who has every other claim, and one who has all.
    for odd in [true, false] {
        let has = |_: &CredentialQuery, claim: Option<&ClaimQuery>| {
            claim.is_none_or(|claim| !odd || claim.path.len() % 2 == 1)
        };
        let Some(chosen) = query.choose(has) else {
            assert!(
                odd || !query.credential_sets.is_empty(),
                "who has all can answer, unless a set contradicts itself"
            );
            continue;
        };
        let ids: BTreeSet<&str> = chosen.iter().map(|choice| choice.credential.id.as_str()).collect();
        assert_eq!(ids.len(), chosen.len(), "each part once");
        assert!(query.answered_by(ids), "what is chosen answers");
        for choice in &chosen {
            let shown = |claim: &ClaimQuery| choice.claims.contains(&claim);
            assert!(choice.credential.answered_by(shown, choice.claims.len()), "with the claims that are chosen");
        }
    }
    let registration = registration();
    if registration.allows(&query).is_ok() {
        let mut more = query.clone();
        let claim =
            ClaimQuery { id: None, path: vec![json!("d"), json!("secret")], values: None, intent_to_retain: None };
        more.credentials[0].claims.push(claim);
        assert!(registration.allows(&more).is_err(), "a claim more than is registered");
    }
    true
}

/// Queries with each part of the language.
pub fn query_seeds() -> Vec<Vec<u8>> {
    let mdoc =
        json!({"id": "a", "format": "mso_mdoc", "meta": {"doctype_value": "d"}, "claims": [{"path": ["d", "x"]}]});
    let sd_jwt = json!({"id": "b", "format": "dc+sd-jwt", "meta": {"vct_values": ["v"]}, "claims": [{"id": "x", "path": ["x"]}, {"id": "y", "path": ["y", null, 1], "values": [true]}], "claim_sets": [["x", "y"], ["x"]]});
    let predicate = json!({"id": "p", "format": "org.habeas.predicate", "meta": {"predicate": "age_over_60"}});
    let queries = [
        json!({"credentials": [mdoc]}),
        json!({"credentials": [sd_jwt]}),
        json!({"credentials": [predicate, mdoc, sd_jwt], "credential_sets": [{"options": [["p"], ["a", "b"]]}, {"options": [["b"]], "required": false}]}),
    ];
    queries.iter().map(|query| query.to_string().into_bytes()).collect()
}

/// A list of trusted entities is written and read again as the same.
pub fn trusted_list(data: &[u8]) -> bool {
    let Ok(list) = TrustedList::from_json(data) else { return false };
    assert_eq!(TrustedList::from_json(&list.to_json()), Ok(list), "what is written is read again");
    true
}

/// A list with two entities and each kind of service.
pub fn trusted_list_seeds() -> Vec<Vec<u8>> {
    let service = |(entity, kind): (&str, ServiceKind)| Service {
        entity: entity.into(),
        name: "service".into(),
        kind,
        certificates: vec![vec![48, 1, 2], vec![255; 4]],
    };
    let kinds = [
        ("issuer", ServiceKind::Credentials),
        ("issuer", ServiceKind::Statuses),
        ("register", ServiceKind::AccessCertificates),
        ("register", ServiceKind::RegistrationCertificates),
        ("wallets", ServiceKind::Wallets),
    ];
    let list = TrustedList {
        operator: "operator".into(),
        territory: "UT".into(),
        sequence: 1,
        issued: jiff::Timestamp::UNIX_EPOCH,
        next_update: jiff::Timestamp::UNIX_EPOCH,
        services: kinds.map(service).into(),
    };
    vec![list.to_json()]
}
