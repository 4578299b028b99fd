//! Device engagement (clause 8.2.1): what the holder's device shows first, as a QR code or by NFC: its ephemeral key, and how to reach it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use es256::PublicKey;

use crate::MdocError;
use crate::security_object::{text, unsigned};
use cose::{cose_key, decode, encode, entry, key_of, tagged, untag};

/// The scheme of the QR code's text (clause 8.2.2.3).
const SCHEME: &str = "mdoc:";
/// The longest engagement that is read, in bytes: more than a QR code holds in its largest version.
pub const ENGAGEMENT_MAX_LEN: usize = 4 * 1024;
/// Ways to reach a device: the standard names three.
const METHODS_MAX: usize = 8;

/// The one cipher suite (table 22): ECDH, HKDF and AES-256-GCM.
const CIPHER_SUITE: i64 = 1;
/// Keys of `DeviceEngagement`.
const VERSION: i64 = 0;
const SECURITY: i64 = 1;
const RETRIEVAL_METHODS: i64 = 2;
/// Kinds of retrieval, and their one version (table 1).
const NFC: u64 = 1;
const BLUETOOTH: u64 = 2;
const METHOD_VERSION: u64 = 1;
/// Keys of the options for NFC.
const COMMAND_MAX: i64 = 0;
const RESPONSE_MAX: i64 = 1;
/// Keys of the options for Bluetooth.
const IS_PERIPHERAL: i64 = 0;
const IS_CENTRAL: i64 = 1;
const PERIPHERAL_UUID: i64 = 10;
const CENTRAL_UUID: i64 = 11;

/// How to reach the device (clause 8.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetrievalMethod {
    /// NFC: APDUs.
    Nfc {
        /// The longest command data field that the device takes.
        command_max_len: u32,
        /// The longest response data field that it sends.
        response_max_len: u32,
    },
    /// Bluetooth Low Energy: the service of each mode that the device supports.
    Bluetooth {
        /// The service in mdoc peripheral server mode.
        peripheral: Option<[u8; 16]>,
        /// The service in mdoc central client mode.
        central: Option<[u8; 16]>,
    },
}

impl RetrievalMethod {
    fn write(self) -> Value {
        let (kind, options) = match self {
            RetrievalMethod::Nfc { command_max_len, response_max_len } => {
                (NFC, vec![(COMMAND_MAX, Value::from(command_max_len)), (RESPONSE_MAX, Value::from(response_max_len))])
            }
            RetrievalMethod::Bluetooth { peripheral, central } => {
                let mut options =
                    vec![(IS_PERIPHERAL, peripheral.is_some().into()), (IS_CENTRAL, central.is_some().into())];
                options.extend(peripheral.map(|uuid| (PERIPHERAL_UUID, Value::Bytes(uuid.to_vec()))));
                options.extend(central.map(|uuid| (CENTRAL_UUID, Value::Bytes(uuid.to_vec()))));
                (BLUETOOTH, options)
            }
        };
        let options = options.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
        Value::Array(vec![Value::from(kind), Value::from(METHOD_VERSION), Value::Map(options)])
    }

    /// Reads a method; none when it is of a kind or version that is not known here.
    fn read(method: &Value) -> Result<Option<Self>, MdocError> {
        let Some([kind, version, options]) = method.as_array().map(Vec::as_slice) else {
            return Err(MdocError::Malformed);
        };
        let length = |key| u32::try_from(unsigned(entry(options, key)?)?).map_err(|_| MdocError::Malformed);
        let service = |supported, uuid| match entry(options, supported) {
            Ok(Value::Bool(true)) => {
                let uuid = entry(options, uuid)?.as_bytes().and_then(|uuid| uuid.as_slice().try_into().ok());
                uuid.map(Some).ok_or(MdocError::Malformed)
            }
            Ok(Value::Bool(false)) => Ok(None),
            _ => Err(MdocError::Malformed),
        };
        Ok(match (unsigned(kind)?, unsigned(version)?) {
            (NFC, METHOD_VERSION) => Some(RetrievalMethod::Nfc {
                command_max_len: length(COMMAND_MAX)?,
                response_max_len: length(RESPONSE_MAX)?,
            }),
            (BLUETOOTH, METHOD_VERSION) => Some(RetrievalMethod::Bluetooth {
                peripheral: service(IS_PERIPHERAL, PERIPHERAL_UUID)?,
                central: service(IS_CENTRAL, CENTRAL_UUID)?,
            }),
            _ => None,
        })
    }
}

/// `DeviceEngagement`, with its bytes as they were made or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEngagement {
    bytes: Vec<u8>,
    device_key: PublicKey,
    methods: Vec<RetrievalMethod>,
}

impl DeviceEngagement {
    /// An engagement for a device's ephemeral key.
    pub fn new(device_key: &PublicKey, methods: &[RetrievalMethod]) -> Self {
        let security = Value::Array(vec![Value::from(CIPHER_SUITE), tagged(encode(&cose_key(device_key)))]);
        let mut entries = vec![(Value::from(VERSION), Value::from("1.0")), (Value::from(SECURITY), security)];
        if !methods.is_empty() {
            let methods = methods.iter().map(|method| method.write()).collect();
            entries.push((Value::from(RETRIEVAL_METHODS), Value::Array(methods)));
        }
        DeviceEngagement { bytes: encode(&Value::Map(entries)), device_key: *device_key, methods: methods.to_vec() }
    }

    /// Reads an engagement. Ways to reach the device that are not known here are left out.
    ///
    /// # Errors
    /// When it is none, longer than [`ENGAGEMENT_MAX_LEN`], or asks for another version or cipher suite.
    pub fn parse(bytes: &[u8]) -> Result<Self, MdocError> {
        if bytes.len() > ENGAGEMENT_MAX_LEN {
            return Err(MdocError::Malformed);
        }
        let engagement = decode(bytes)?;
        if !text(entry(&engagement, VERSION)?)?.starts_with("1.") {
            return Err(MdocError::Malformed);
        }
        let security = entry(&engagement, SECURITY)?.as_array().map(Vec::as_slice);
        let Some([suite, device_key]) = security else { return Err(MdocError::Malformed) };
        if *suite != Value::from(CIPHER_SUITE) {
            return Err(MdocError::Malformed);
        }
        let methods: Vec<_> = match entry(&engagement, RETRIEVAL_METHODS) {
            Ok(methods) => methods
                .as_array()
                .filter(|methods| methods.len() <= METHODS_MAX)
                .ok_or(MdocError::Malformed)?
                .iter()
                .filter_map(|method| RetrievalMethod::read(method).transpose())
                .collect::<Result<_, _>>()?,
            Err(_) => Vec::new(),
        };
        let device_key = key_of(&decode(untag(device_key)?)?)?;
        Ok(DeviceEngagement { bytes: bytes.to_vec(), device_key, methods })
    }

    /// Reads the text of a QR code.
    ///
    /// # Errors
    /// When it is no `mdoc:` URI, or as [`DeviceEngagement::parse`].
    pub fn from_uri(uri: &str) -> Result<Self, MdocError> {
        // Longer in base64 than its bytes by a third.
        let body = uri.strip_prefix(SCHEME).filter(|body| body.len() <= ENGAGEMENT_MAX_LEN.div_ceil(3) * 4);
        let bytes = URL_SAFE_NO_PAD.decode(body.ok_or(MdocError::Malformed)?).map_err(|_| MdocError::Malformed)?;
        Self::parse(&bytes)
    }

    /// The text of a QR code.
    pub fn to_uri(&self) -> String {
        format!("{SCHEME}{}", URL_SAFE_NO_PAD.encode(&self.bytes))
    }

    /// The bytes, as they go into the transcript.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The device's ephemeral key.
    pub fn device_key(&self) -> &PublicKey {
        &self.device_key
    }

    /// How to reach the device.
    pub fn methods(&self) -> &[RetrievalMethod] {
        &self.methods
    }
}
