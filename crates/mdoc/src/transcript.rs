//! What a presentation is bound to (clause 9.1.5.1), built here and nowhere else.

use ciborium::Value;
use es256::PublicKey;
use sha2::{Digest, Sha256};

use cose::{cose_key, encode, tagged};

/// How verifier and holder came together. Bytes are those that were sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover<'a> {
    /// OpenID4VP 1.0 by redirect (Annex B.2.6.1).
    OpenId4Vp {
        /// `client_id`, with its prefix.
        client_id: &'a str,
        /// `nonce`.
        nonce: &'a str,
        /// SHA-256 thumbprint (RFC 7638) of the key that the response is encrypted with, if it is.
        jwk_thumbprint: Option<&'a [u8; 32]>,
        /// `response_uri`, or `redirect_uri` where there is none.
        response_uri: &'a str,
    },
    /// A QR code (clause 9.1.5.1: the handover is null).
    Qr {
        /// The encoded `DeviceEngagement`.
        device_engagement: &'a [u8],
        /// The encoded `COSE_Key` of the reader.
        reader_key: &'a [u8],
    },
    /// NFC (clause 9.1.5.1).
    Nfc {
        /// The encoded `DeviceEngagement`, from the Handover Select message.
        device_engagement: &'a [u8],
        /// The encoded `COSE_Key` of the reader.
        reader_key: &'a [u8],
        /// The Handover Select message.
        select: &'a [u8],
        /// The Handover Request message; none in static handover.
        request: Option<&'a [u8]>,
    },
}

/// `SessionTranscript`, encoded: two of one handover are equal, and of no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTranscript(Vec<u8>);

impl SessionTranscript {
    /// The transcript of a handover.
    pub fn new(handover: &Handover<'_>) -> Self {
        let embedded = |bytes: &[u8]| tagged(bytes.to_vec());
        let parts = match *handover {
            Handover::OpenId4Vp { client_id, nonce, jwk_thumbprint, response_uri } => {
                let info = Value::Array(vec![
                    Value::from(client_id),
                    Value::from(nonce),
                    jwk_thumbprint.map_or(Value::Null, |thumbprint| Value::Bytes(thumbprint.to_vec())),
                    Value::from(response_uri),
                ]);
                let hash = Value::Bytes(Sha256::digest(encode(&info)).to_vec());
                [Value::Null, Value::Null, Value::Array(vec![Value::from("OpenID4VPHandover"), hash])]
            }
            Handover::Qr { device_engagement, reader_key } => {
                [embedded(device_engagement), embedded(reader_key), Value::Null]
            }
            Handover::Nfc { device_engagement, reader_key, select, request } => {
                let request = request.map_or(Value::Null, |request| Value::Bytes(request.to_vec()));
                let messages = Value::Array(vec![Value::Bytes(select.to_vec()), request]);
                [embedded(device_engagement), embedded(reader_key), messages]
            }
        };
        SessionTranscript(encode(&Value::Array(parts.into())))
    }

    /// The encoded `SessionTranscript`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of `SessionTranscriptBytes`: the salt of every key that is derived for the session (clauses 9.1.1.5, 9.1.3.5).
    pub(crate) fn salt(&self) -> [u8; 32] {
        Sha256::digest(encode(&tagged(self.0.clone()))).into()
    }

    /// `DeviceAuthenticationBytes` (clause 9.1.3.4), which the holder signs.
    pub(crate) fn device_authentication(&self, doc_type: &str, device_namespaces: &Value) -> Vec<u8> {
        self.authentication("DeviceAuthentication", &[&Value::from(doc_type), device_namespaces])
    }

    /// `ReaderAuthenticationBytes` (clause 9.1.4.4), which the reader signs.
    pub(crate) fn reader_authentication(&self, items_request: &Value) -> Vec<u8> {
        self.authentication("ReaderAuthentication", &[items_request])
    }

    /// An array of a context, the transcript and what follows, as tagged bytes.
    fn authentication(&self, context: &str, rest: &[&Value]) -> Vec<u8> {
        /// An array of fewer than 24 elements begins with this and their number (RFC 8949 section 3).
        const ARRAY: u8 = 0x80;
        let mut bytes = vec![ARRAY | (2 + rest.len()) as u8];
        bytes.extend(encode(&Value::from(context)));
        bytes.extend_from_slice(&self.0);
        for value in rest {
            bytes.extend(encode(value));
        }
        encode(&tagged(bytes))
    }
}

/// The encoded `COSE_Key` of a reader's ephemeral key, as it goes into the transcript and to the device.
pub fn reader_key_bytes(key: &PublicKey) -> Vec<u8> {
    encode(&cose_key(key))
}
