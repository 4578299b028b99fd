//! Whom to trust, as one signed document: a list of trusted entities (ETSI TS 119 602, its JSON form, signed by JAdES baseline B in the
//! compact serialisation). It names the root that credentials are signed under, the root of the register of relying parties, and
//! the wallet providers whose word for keys is taken. Its types are [`TrustedList`], [`Service`] and [`ServiceKind`].
//!
//! The signature says who made the list, and nothing of whether everybody was given the same one: for that it stands in the public log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use es256::{PublicKey, Signer};
use jiff::Timestamp;
use jose::{Header, Jws};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::MessageError;

/// The media type that the list is served with (RFC 7515 section 9.2.1).
pub const MEDIA_TYPE: &str = "application/jose";
/// `typ` of its header.
const TYPE: &str = "JOSE";
/// `LoTEVersionIdentifier` (clause 6.3.1).
const VERSION: u32 = 1;
/// The language of every name here.
const LANGUAGE: &str = "en";
/// The longest list that is read.
pub const LIST_MAX_LEN: usize = 64 * 1024;

/// What a trusted entity's certificates are trusted for (`ServiceTypeIdentifier`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// Issues credentials: the root (IACA) that document signers are certified under.
    Credentials,
    /// Signs the lists that tell which credentials are still good.
    Statuses,
    /// Issues relying parties' access certificates.
    AccessCertificates,
    /// Issues relying parties' registration certificates.
    RegistrationCertificates,
    /// Attests wallets' keys.
    Wallets,
}

impl ServiceKind {
    /// Kinds and their identifiers (TS 119 602 annexes D, F, G and E).
    const ALL: [(ServiceKind, &'static str); 5] = [
        (ServiceKind::Credentials, "http://uri.etsi.org/19602/SvcType/PID/Issuance"),
        (ServiceKind::Statuses, "http://uri.etsi.org/19602/SvcType/PID/Revocation"),
        (ServiceKind::AccessCertificates, "http://uri.etsi.org/19602/SvcType/WRPAC/Issuance"),
        (ServiceKind::RegistrationCertificates, "http://uri.etsi.org/19602/SvcType/WRPRC/Issuance"),
        (ServiceKind::Wallets, "http://uri.etsi.org/19602/SvcType/WalletSolution/Issuance"),
    ];

    fn uri(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).expect("every kind is in the table").1
    }

    fn of_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == uri).map(|(kind, _)| *kind)
    }
}

/// A service of a trusted entity, and the certificates (DER) that it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The entity's name.
    pub entity: String,
    /// The service's name.
    pub name: String,
    /// What it does.
    pub kind: ServiceKind,
    /// Its certificates, DER: one, or several while one follows another.
    pub certificates: Vec<Vec<u8>>,
}

/// A list of trusted entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedList {
    /// Who makes the list. The signing certificate bears this name, too (clause 6.8).
    pub operator: String,
    /// The operator's country, two letters.
    pub territory: String,
    /// One more with each list.
    pub sequence: u64,
    /// When it was made.
    pub issued: Timestamp,
    /// When there is a newer one at the latest: after this it is not taken.
    pub next_update: Timestamp,
    /// The services. Those of one entity stand together.
    pub services: Vec<Service>,
}

impl TrustedList {
    /// The certificates of a kind of service, DER.
    pub fn certificates(&self, kind: ServiceKind) -> Vec<Vec<u8>> {
        self.services
            .iter()
            .filter(|service| service.kind == kind)
            .flat_map(|service| service.certificates.clone())
            .collect()
    }

    /// The list as JSON, unsigned.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&Document::from(self)).expect("a list is plain data")
    }

    /// Reads the JSON of a list. Who made it is not known from it.
    ///
    /// # Errors
    /// When it is no list, has a member twice, lacks a name, or has a certificate that is not base64.
    pub fn from_json(json: &[u8]) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the list of trusted entities", why);
        let document: Document =
            jose::json::parse_as(json).map_err(|_| refused("it is not what ETSI TS 119 602 defines"))?;
        document.into_list().ok_or(refused("it lacks a name, or a certificate in it is not base64"))
    }

    /// Signs the list with the key of a certificate (DER).
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn sign(&self, certificate: &[u8], key: &dyn Signer) -> Result<String, jose::JoseError> {
        let header = Header {
            x5c: vec![certificate.to_vec()],
            x5t_s256: Some(jose::base64url::encode(Sha256::digest(certificate))),
            iat: u64::try_from(self.issued.as_second()).ok(),
            ..Header::es256(TYPE)
        };
        jose::sign_bytes(&header, &self.to_json(), key)
    }

    /// Reads a signed list. `trusted` is asked for the key of the certificate (DER) that it carries.
    ///
    /// Services of kinds that are not known here are left out: a list may have more than we need.
    ///
    /// # Errors
    /// When it was changed, is signed by somebody else, is out of date, or is no list.
    pub fn verify(
        text: &str,
        trusted: impl FnOnce(&[u8]) -> Option<PublicKey>,
        now: Timestamp,
    ) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the list of trusted entities", why);
        let jws = Jws::parse_up_to(text, LIST_MAX_LEN).map_err(|_| refused("it is not signed with ES256"))?;
        let certificate = jws.header().x5c.first().ok_or(refused("it carries no certificate"))?;
        if jws
            .header()
            .x5t_s256
            .as_ref()
            .is_some_and(|hash| *hash != jose::base64url::encode(Sha256::digest(certificate)))
        {
            return Err(refused("it names another certificate than it carries"));
        }
        let key = trusted(certificate).ok_or(refused("whoever signed it is not known as its operator"))?;
        jws.verify(&key).map_err(|_| refused("its signature does not hold"))?;
        let list = Self::from_json(jws.payload())?;
        if list.next_update <= now {
            return Err(refused("a newer one was due: fetch it again"));
        }
        Ok(list)
    }
}

/// Where a list stands in the public log, as the issuer tells it besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedList {
    /// SHA-256 of the list as it is signed and served, hex: of which list this is said.
    pub sha256: String,
    /// The index of its entry.
    pub log_index: u64,
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "LoTE")]
    lote: Lote,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Lote {
    list_and_scheme_information: Scheme,
    trusted_entities_list: Vec<Entity>,
}

/// Clause 6.3.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scheme {
    #[serde(rename = "LoTEVersionIdentifier")]
    version: u32,
    #[serde(rename = "LoTESequenceNumber")]
    sequence: u64,
    scheme_operator_name: Vec<Text>,
    #[serde(default)]
    scheme_name: Vec<Text>,
    #[serde(default)]
    scheme_territory: String,
    list_issue_date_time: Timestamp,
    next_update: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entity {
    trusted_entity_information: EntityInformation,
    trusted_entity_services: Vec<EntityService>,
}

/// Clause 6.5.
#[derive(Serialize, Deserialize)]
struct EntityInformation {
    #[serde(rename = "TEName")]
    name: Vec<Text>,
    #[serde(rename = "TEAddress", default)]
    address: EntityAddress,
}

/// The list has to have it, and ours has nothing in it: it says whom to trust, not where they live.
#[derive(Default, Serialize, Deserialize)]
struct EntityAddress {
    #[serde(rename = "TEPostalAddress", default)]
    postal: Vec<serde_json::Value>,
    #[serde(rename = "TEElectronicAddress", default)]
    electronic: Vec<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntityService {
    service_information: ServiceInformation,
}

/// Clause 6.6.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceInformation {
    service_name: Vec<Text>,
    service_digital_identity: Identity,
    #[serde(default)]
    service_type_identifier: String,
}

#[derive(Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "X509Certificates", default)]
    certificates: Vec<Certificate>,
}

#[derive(Serialize, Deserialize)]
struct Certificate {
    /// DER in base64.
    val: String,
}

#[derive(Serialize, Deserialize)]
struct Text {
    lang: String,
    value: String,
}

fn text(value: &str) -> Vec<Text> {
    vec![Text { lang: LANGUAGE.into(), value: value.into() }]
}

impl From<&TrustedList> for Document {
    fn from(list: &TrustedList) -> Self {
        let service = |service: &Service| EntityService {
            service_information: ServiceInformation {
                service_name: text(&service.name),
                service_digital_identity: Identity {
                    certificates: service
                        .certificates
                        .iter()
                        .map(|der| Certificate { val: STANDARD.encode(der) })
                        .collect(),
                },
                service_type_identifier: service.kind.uri().into(),
            },
        };
        let entity = |services: &[Service]| Entity {
            trusted_entity_information: EntityInformation {
                name: text(&services[0].entity),
                address: EntityAddress::default(),
            },
            trusted_entity_services: services.iter().map(service).collect(),
        };
        let entities = list.services.chunk_by(|one, next| one.entity == next.entity).map(entity).collect();
        Document {
            lote: Lote {
                list_and_scheme_information: Scheme {
                    version: VERSION,
                    sequence: list.sequence,
                    scheme_operator_name: text(&list.operator),
                    scheme_name: text(&format!("{}: whom to trust", list.operator)),
                    scheme_territory: list.territory.clone(),
                    list_issue_date_time: list.issued,
                    next_update: list.next_update,
                },
                trusted_entities_list: entities,
            },
        }
    }
}

impl Document {
    /// `None` where a name is missing, a certificate is not base64, or the version is another.
    fn into_list(self) -> Option<TrustedList> {
        let Lote { list_and_scheme_information: scheme, trusted_entities_list: entities } = self.lote;
        let name = |names: Vec<Text>| names.into_iter().next().map(|name| name.value);
        let mut services = Vec::new();
        for entity in entities {
            let of = name(entity.trusted_entity_information.name)?;
            for EntityService { service_information: service } in entity.trusted_entity_services {
                let Some(kind) = ServiceKind::of_uri(&service.service_type_identifier) else { continue };
                let certificates = service.service_digital_identity.certificates.iter();
                let certificates = certificates.map(|one| STANDARD.decode(&one.val)).collect::<Result<_, _>>().ok()?;
                services.push(Service { entity: of.clone(), name: name(service.service_name)?, kind, certificates });
            }
        }
        (scheme.version == VERSION).then_some(TrustedList {
            operator: name(scheme.scheme_operator_name)?,
            territory: scheme.scheme_territory,
            sequence: scheme.sequence,
            issued: scheme.list_issue_date_time,
            next_update: scheme.next_update,
            services,
        })
    }
}

#[cfg(test)]
mod tests {
    use es256::SigningKey;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn list() -> TrustedList {
        let service = |entity: &str, kind, certificate: &[u8]| Service {
            entity: entity.into(),
            name: format!("{kind:?}"),
            kind,
            certificates: vec![certificate.to_vec()],
        };
        TrustedList {
            operator: "Habeas".into(),
            territory: "UT".into(),
            sequence: 7,
            issued: at(1_000),
            next_update: at(2_000),
            services: vec![
                service("Issuer", ServiceKind::Credentials, b"root"),
                service("Issuer", ServiceKind::Statuses, b"root"),
                service("Register", ServiceKind::AccessCertificates, b"other root"),
            ],
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_signed() {
        let key = SigningKey::generate().unwrap();
        let signed = list().sign(b"certificate", &key).unwrap();
        let trusted = |certificate: &[u8]| (certificate == b"certificate").then_some(*key.public_key());
        assert_eq!(TrustedList::verify(&signed, trusted, at(1_999)), Ok(list()));
        assert_eq!(list().certificates(ServiceKind::Statuses), [b"root"]);
        assert_eq!(list().certificates(ServiceKind::Wallets), Vec::<Vec<u8>>::new());
        let payload = jose::base64url::decode(signed.split('.').nth(1).unwrap()).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(document["LoTE"]["TrustedEntitiesList"].as_array().unwrap().len(), 2, "one an entity");
        let scheme = &document["LoTE"]["ListAndSchemeInformation"];
        assert_eq!(scheme["LoTESequenceNumber"], 7);
        assert_eq!(scheme["ListIssueDateTime"], "1970-01-01T00:16:40Z");
    }

    #[test]
    fn what_is_changed_late_or_anothers_is_refused() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let signed = list().sign(b"certificate", &key).unwrap();
        let of = |key: &SigningKey| {
            let key = *key.public_key();
            move |_: &[u8]| Some(key)
        };
        let why = |text: &str, key: &SigningKey, now| TrustedList::verify(text, of(key), at(now)).unwrap_err().why;
        assert!(why(&signed, &key, 2_000).contains("newer"));
        assert!(why(&signed, &other, 1_000).contains("signature"));
        assert!(TrustedList::verify(&signed, |_| None, at(1_000)).unwrap_err().why.contains("operator"));
        let changed = list().sign(b"another", &key).unwrap();
        let (header, _) = changed.split_once('.').unwrap();
        let (_, rest) = signed.split_once('.').unwrap();
        assert!(why(&format!("{header}.{rest}"), &key, 1_000).contains("signature"));
        let header = Header { x5c: vec![b"certificate".to_vec()], ..Header::es256(TYPE) };
        let other_version = serde_json::json!({"LoTE": {"ListAndSchemeInformation": {}, "TrustedEntitiesList": []}});
        assert!(why(&jose::sign(&header, &other_version, &key).unwrap(), &key, 1_000).contains("119 602"));
        let lying = Header { x5t_s256: Some("AAAA".into()), ..header };
        assert!(why(&jose::sign(&lying, &Document::from(&list()), &key).unwrap(), &key, 1_000).contains("another"));
        let bare = Header::es256(TYPE);
        assert!(
            why(&jose::sign(&bare, &Document::from(&list()), &key).unwrap(), &key, 1_000).contains("no certificate")
        );
        assert!(why("no list", &key, 1_000).contains("ES256"));
    }

    #[test]
    fn services_of_other_kinds_are_passed_by() {
        let key = SigningKey::generate().unwrap();
        let mut document = serde_json::to_value(Document::from(&list())).unwrap();
        let first = &mut document["LoTE"]["TrustedEntitiesList"][0]["TrustedEntityServices"][0]["ServiceInformation"];
        first["ServiceTypeIdentifier"] = "http://uri.etsi.org/19602/SvcType/PubEAA/Issuance".into();
        let header = Header { x5c: vec![b"certificate".to_vec()], ..Header::es256(TYPE) };
        let signed = jose::sign(&header, &document, &key).unwrap();
        let read = TrustedList::verify(&signed, |_| Some(*key.public_key()), at(1_000)).unwrap();
        assert_eq!(read.services, list().services[1..]);
    }
}
