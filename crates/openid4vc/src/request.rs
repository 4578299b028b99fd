//! A verifier's signed request (OpenID4VP sections 5 and 5.8, HAIP 1.0 section 5), and the link that leads to it.

use es256::{PublicKey, Signer};
use jose::{Header, Jwk, Jws};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::dcql::Query;
use crate::{CLOCK_SKEW_MAX, MSO_MDOC, MessageError, SD_JWT_VC, parameter};

/// The type of a request object.
pub const TYPE: &str = "oauth-authz-req+jwt";
/// Who a request object is for, where the wallet is not known beforehand (section 5.8).
pub const AUDIENCE: &str = "https://self-issued.me/v2";
/// The scheme of a request's link.
const SCHEME: &str = "openid4vp://";
/// The prefix of a client id that is the hash of its certificate (section 5.9.3).
const CERTIFICATE_HASH: &str = "x509_hash:";
/// The longest link and the longest request object that are read.
const LINK_MAX_LEN: usize = 4 * 1024;
const REQUEST_MAX_LEN: usize = 64 * 1024;
/// How a registration certificate is called among a request's attestations (ETSI TS 119 472-2).
pub const REGISTRATION_FORMAT: &str = "registration_cert";

/// What a request object says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestObject {
    /// `vp_token`.
    pub response_type: String,
    /// `direct_post.jwt`.
    pub response_mode: String,
    /// Who asks: `x509_hash:` and the hash of its certificate.
    pub client_id: String,
    /// Where the answer goes.
    pub response_uri: String,
    /// Fresh, so that an answer can't be used twice.
    pub nonce: String,
    /// Given back with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// [`AUDIENCE`].
    pub aud: String,
    /// What is asked.
    pub dcql_query: Value,
    /// How to encrypt the answer.
    pub client_metadata: ClientMetadata,
    /// Attestations about who asks: the registration certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verifier_info: Vec<VerifierInfo>,
    /// The nonce that the wallet sent, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet_nonce: Option<String>,
    /// Unix time.
    pub iat: u64,
    /// Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

/// How a verifier takes answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientMetadata {
    /// The keys that answers are encrypted to.
    pub jwks: Jwks,
    /// The encryptions, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encrypted_response_enc_values_supported: Vec<String>,
    /// The formats.
    #[serde(default)]
    pub vp_formats_supported: Value,
}

/// A set of keys (RFC 7517).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys.
    pub keys: Vec<Jwk>,
}

/// An attestation about a verifier (section 5.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifierInfo {
    /// Its format.
    pub format: String,
    /// The attestation.
    pub data: Value,
}

/// The formats and signatures that are taken here, as `vp_formats_supported` says it.
pub fn formats_supported() -> Value {
    json!({
        MSO_MDOC: {"issuerauth_alg_values": [-7], "deviceauth_alg_values": [-7]},
        SD_JWT_VC: {"sd-jwt_alg_values": ["ES256"], "kb-jwt_alg_values": ["ES256"]},
    })
}

/// The client id of whoever has a certificate (DER).
pub fn client_id(certificate: &[u8]) -> String {
    format!("{CERTIFICATE_HASH}{}", jose::base64url::encode(Sha256::digest(certificate)))
}

impl RequestObject {
    /// Signs the request with the key of the first certificate of a chain (DER, without the root).
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn sign(&self, chain: &[Vec<u8>], key: &dyn Signer) -> Result<String, jose::JoseError> {
        let header = Header { x5c: chain.to_vec(), ..Header::es256(TYPE) };
        jose::sign(&header, self, key)
    }

    /// Reads a signed request: its signature holds, the client id is that of its certificate, and it is what HAIP allows. `trusted` holds
    /// the certificate chain against the roots of the relying-party register and gives the leaf's key.
    ///
    /// # Errors
    /// When it was changed, is not from a registered relying party, is too old, or is not what is understood here.
    pub fn verify(
        text: &str,
        expected_client_id: &str,
        trusted: impl FnOnce(&[Vec<u8>]) -> Option<PublicKey>,
        now: u64,
    ) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the verifier's request", why);
        if text.len() > REQUEST_MAX_LEN {
            return Err(refused("it is too long"));
        }
        let jws = Jws::parse(text).map_err(|_| refused("it is not signed with ES256"))?;
        if jws.header().typ.as_deref() != Some(TYPE) {
            return Err(refused("its type has to be oauth-authz-req+jwt"));
        }
        let chain = &jws.header().x5c;
        let leaf = chain.first().ok_or(refused("it carries no certificate"))?;
        let key = trusted(chain).ok_or(refused("whoever asks is not in the register of relying parties"))?;
        jws.verify(&key).map_err(|_| refused("its signature does not hold"))?;
        let request: Self =
            jws.claims().map_err(|_| refused("it is not the request that OpenID4VP with HAIP defines"))?;
        if request.client_id != client_id(leaf) || request.client_id != expected_client_id {
            return Err(refused("its client id is not that of its certificate, or not that of the link"));
        }
        if request.response_type != "vp_token" || request.response_mode != "direct_post.jwt" {
            return Err(refused("it does not ask for an encrypted answer by direct_post.jwt"));
        }
        if request.aud != AUDIENCE {
            return Err(refused("it is for another audience"));
        }
        if request.iat > now + CLOCK_SKEW_MAX || request.exp.is_none_or(|exp| exp <= now) {
            return Err(refused("it is out of date: ask for a new one"));
        }
        if request.nonce.len() < 16 {
            return Err(refused("its nonce is too short to be fresh"));
        }
        Ok(request)
    }

    /// The query.
    ///
    /// # Errors
    /// When it is not what DCQL allows.
    pub fn query(&self) -> Result<Query, MessageError> {
        Query::from_value(&self.dcql_query)
    }

    /// The registration certificate, if the request carries one.
    pub fn registration(&self) -> Option<&str> {
        self.verifier_info.iter().find(|info| info.format == REGISTRATION_FORMAT).and_then(|info| info.data.as_str())
    }

    /// The key that the answer is to be encrypted to.
    ///
    /// # Errors
    /// When there is none of P-256.
    pub fn encryption_key(&self) -> Result<&Jwk, MessageError> {
        let usable = |jwk: &&Jwk| jwk.public_key().is_ok() && jwk.use_.as_deref().is_none_or(|use_| use_ == "enc");
        let key = self.client_metadata.jwks.keys.iter().find(usable);
        key.ok_or(MessageError::new("the verifier's request", "it has no key that the answer could be encrypted to"))
    }
}

/// The link of a request, for a QR code.
pub fn link(client_id: &str, request_uri: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", client_id)
        .append_pair("request_uri", request_uri)
        .append_pair("request_uri_method", "post")
        .finish();
    format!("{SCHEME}?{query}")
}

/// What a wallet sends when it fetches a request (section 5.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalletPost {
    /// Fresh; given back in the request, so that it can't be an older one.
    pub wallet_nonce: Option<String>,
    /// The formats that it knows; none where it does not say.
    pub formats: Vec<String>,
}

/// The longest nonce of a wallet that is given back.
const WALLET_NONCE_MAX_LEN: usize = 256;

#[derive(Deserialize)]
struct WalletMetadata {
    #[serde(default)]
    vp_formats_supported: serde_json::Map<String, Value>,
}

impl WalletPost {
    /// The form.
    pub fn to_form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        if let Some(nonce) = &self.wallet_nonce {
            form.append_pair("wallet_nonce", nonce);
        }
        if !self.formats.is_empty() {
            let formats: serde_json::Map<String, Value> =
                self.formats.iter().map(|format| (format.clone(), json!({}))).collect();
            form.append_pair("wallet_metadata", &json!({"vp_formats_supported": formats}).to_string());
        }
        form.finish()
    }

    /// Reads a form. What can't be read counts as not said: the request is for whoever asks.
    pub fn from_form(form: &[u8]) -> Self {
        let form = std::str::from_utf8(form).unwrap_or_default();
        let metadata =
            parameter(form, "wallet_metadata").and_then(|json| serde_json::from_str::<WalletMetadata>(&json).ok());
        WalletPost {
            wallet_nonce: parameter(form, "wallet_nonce").filter(|nonce| nonce.len() <= WALLET_NONCE_MAX_LEN),
            formats: metadata
                .map(|metadata| metadata.vp_formats_supported.into_iter().map(|(name, _)| name).collect())
                .unwrap_or_default(),
        }
    }
}

/// What a request's link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLink {
    /// Who asks.
    pub client_id: String,
    /// Where the request is.
    pub request_uri: String,
    /// Whether it is fetched with POST.
    pub post: bool,
}

impl RequestLink {
    /// Reads a link, of any scheme.
    ///
    /// # Errors
    /// When it names no request. A request that stands in the link itself is not taken: it could not be fresh.
    pub fn parse(link: &str) -> Result<Self, MessageError> {
        let refused = |why| MessageError::new("the verifier's link", why);
        if link.len() > LINK_MAX_LEN {
            return Err(refused("it is too long"));
        }
        let (_, query) = link.trim().split_once('?').ok_or(refused("it has no parameters; scan it again"))?;
        Ok(RequestLink {
            client_id: parameter(query, "client_id").ok_or(refused("it does not say who asks"))?,
            request_uri: parameter(query, "request_uri").ok_or(refused("it does not say where the request is"))?,
            post: parameter(query, "request_uri_method").as_deref() == Some("post"),
        })
    }
}

#[cfg(test)]
mod tests {
    use es256::SigningKey;

    use super::*;

    fn request(certificate: &[u8]) -> RequestObject {
        RequestObject {
            response_type: "vp_token".into(),
            response_mode: "direct_post.jwt".into(),
            client_id: client_id(certificate),
            response_uri: "https://rp.example/answer".into(),
            nonce: "0123456789abcdef".into(),
            state: Some("s".into()),
            aud: AUDIENCE.into(),
            dcql_query: json!({"credentials": [{"id": "a", "format": "x"}]}),
            client_metadata: ClientMetadata {
                jwks: Jwks { keys: vec![Jwk::from(*SigningKey::generate().unwrap().public_key())] },
                encrypted_response_enc_values_supported: vec!["A256GCM".into()],
                vp_formats_supported: formats_supported(),
            },
            verifier_info: vec![VerifierInfo { format: REGISTRATION_FORMAT.into(), data: json!("jwt") }],
            wallet_nonce: None,
            iat: 1_000,
            exp: Some(1_300),
        }
    }

    #[test]
    fn a_request_is_read_from_whom_it_says_and_only_in_time() {
        let (key, certificate) = (SigningKey::generate().unwrap(), b"a certificate".to_vec());
        let asked = request(&certificate);
        let id = client_id(&certificate);
        let text = asked.sign(std::slice::from_ref(&certificate), &key).unwrap();
        let trusted = |_: &[Vec<u8>]| Some(*key.public_key());
        assert_eq!(RequestObject::verify(&text, &id, trusted, 1_100).unwrap(), asked);
        assert!(asked.query().is_ok() && asked.registration() == Some("jwt") && asked.encryption_key().is_ok());
        assert!(RequestObject::verify(&text, &id, |_| None, 1_100).is_err(), "not registered");
        assert!(RequestObject::verify(&text, "x509_hash:other", trusted, 1_100).is_err(), "the link said another");
        assert!(RequestObject::verify(&text, &id, trusted, 1_300).is_err(), "out of date");
        assert!(
            RequestObject::verify(&text, &id, |_| Some(*SigningKey::generate().unwrap().public_key()), 1_100).is_err()
        );
        let other = RequestObject { client_id: client_id(b"another"), ..asked.clone() };
        let other = other.sign(std::slice::from_ref(&certificate), &key).unwrap();
        assert!(RequestObject::verify(&other, &client_id(b"another"), trusted, 1_100).is_err(), "borrowed client id");
        let open = RequestObject { response_mode: "direct_post".into(), ..asked };
        let open = open.sign(std::slice::from_ref(&certificate), &key).unwrap();
        assert!(RequestObject::verify(&open, &id, trusted, 1_100).is_err(), "an answer in the clear");
    }

    #[test]
    fn what_a_wallet_sends_is_read_as_written() {
        let post = WalletPost { wallet_nonce: Some("n&=".into()), formats: vec!["a".into(), "b".into()] };
        assert_eq!(WalletPost::from_form(post.to_form().as_bytes()), post);
        assert_eq!(WalletPost::from_form(b"wallet_metadata=%7B"), WalletPost::default());
        assert_eq!(WalletPost::from_form(&[0xff]), WalletPost::default());
    }

    #[test]
    fn a_link_is_read_as_written() {
        let link = link("x509_hash:a", "https://rp.example/request?id=1&x=2");
        let expected = RequestLink {
            client_id: "x509_hash:a".into(),
            request_uri: "https://rp.example/request?id=1&x=2".into(),
            post: true,
        };
        assert_eq!(RequestLink::parse(&link), Ok(expected));
        assert!(RequestLink::parse("openid4vp://?client_id=a").is_err());
    }
}
