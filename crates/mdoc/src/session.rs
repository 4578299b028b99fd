//! Session encryption (clause 9.1.1): messages between a reader and a device that share no secret before, over any pipe of bytes.
//!
//! The reader [`establish`]es the session with its first request; the device reads an [`Establishment`] and accepts it. From then on both
//! sides are a [`Session`]. Ephemeral keys are handed over for good: a key that served two sessions would encrypt twice with one IV, which
//! breaks AES-GCM. Nothing here sends or waits: bytes go in, bytes come out, and the caller carries them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ciborium::Value;
use es256::{AgreementKey, PublicKey};

use crate::keys::derive;
use crate::transcript::{SessionTranscript, reader_key_bytes};
use cose::{INPUT_MAX_LEN, decode, encode, field, key_of, map, tagged, untag};

/// What is added to the data by a message: the tag of AES-GCM, the map, and in an establishment the reader's key; rounded up.
const OVERHEAD_LEN: usize = 256;
/// The longest request or response that fits into a message that is read.
pub const DATA_MAX_LEN: usize = INPUT_MAX_LEN - OVERHEAD_LEN;

/// Status of a session (table 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The message could not be decrypted.
    EncryptionError = 10,
    /// The message could not be read.
    DecodingError = 11,
    /// The session is over.
    Termination = 20,
}

impl Status {
    /// A message that says so, and nothing else. It is not encrypted.
    pub fn message(self) -> Vec<u8> {
        encode(&map([("status", self.into())]))
    }

    fn read(value: &Value) -> Option<Self> {
        [Status::EncryptionError, Status::DecodingError, Status::Termination]
            .into_iter()
            .find(|status| *value == Value::from(*status))
    }
}

impl From<Status> for Value {
    fn from(status: Status) -> Value {
        Value::from(status as u8)
    }
}

/// Why a session does not go on. Once a message was refused, it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A message is not what the other side encrypted, or not the next one.
    #[error("a message can't be decrypted: it was changed, lost or repeated, or is of another session")]
    Encryption,
    /// A message can't be read.
    #[error("a message can't be read: it is not what ISO/IEC 18013-5 defines")]
    Decoding,
    /// The session is over.
    #[error("the session is over: begin a new one")]
    Over,
    /// The data is longer than the other side reads, or too much was sent in one session.
    #[error("this is more than a session carries")]
    TooMuch,
    /// A key can't be used.
    #[error(transparent)]
    Key(#[from] es256::KeyError),
}

impl SessionError {
    /// What to send to the other side, if anything: it should know why the session is over.
    pub fn message(self) -> Option<Vec<u8>> {
        match self {
            SessionError::Encryption => Some(Status::EncryptionError.message()),
            SessionError::Decoding => Some(Status::DecodingError.message()),
            SessionError::TooMuch | SessionError::Key(_) => Some(Status::Termination.message()),
            SessionError::Over => None,
        }
    }
}

impl From<cose::Malformed> for SessionError {
    fn from(_: cose::Malformed) -> Self {
        SessionError::Decoding
    }
}

/// One direction: its key, and the number of the last message.
struct Direction {
    key: LessSafeKey,
    identifier: u64,
    counter: u32,
}

impl Direction {
    fn new(key: &[u8; 32], identifier: u64) -> Result<Self, SessionError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| es256::KeyError::Unusable)?;
        Ok(Direction { key: LessSafeKey::new(key), identifier, counter: 0 })
    }

    /// The IV (clause 9.1.1.5): who sends, and the message's number, from 1. No number is used twice with a key.
    fn next(&mut self) -> Result<Nonce, SessionError> {
        self.counter = self.counter.checked_add(1).ok_or(SessionError::TooMuch)?;
        let mut iv = [0; 12];
        iv[..8].copy_from_slice(&self.identifier.to_be_bytes());
        iv[8..].copy_from_slice(&self.counter.to_be_bytes());
        Ok(Nonce::assume_unique_for_key(iv))
    }

    fn seal(&mut self, data: &[u8]) -> Result<Vec<u8>, SessionError> {
        if data.len() > DATA_MAX_LEN {
            return Err(SessionError::TooMuch);
        }
        let nonce = self.next()?;
        let mut sealed = data.to_vec();
        let done = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed);
        done.map_err(|_| SessionError::TooMuch)?;
        Ok(sealed)
    }

    fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, SessionError> {
        let nonce = self.next()?;
        let mut opened = sealed.to_vec();
        let done = self.key.open_in_place(nonce, Aad::empty(), &mut opened);
        Ok(done.map_err(|_| SessionError::Encryption)?.to_vec())
    }
}

/// The keys of both directions.
struct Directions {
    reader: Direction,
    device: Direction,
}

impl Directions {
    fn new(ours: &AgreementKey, theirs: &PublicKey, transcript: &SessionTranscript) -> Result<Self, SessionError> {
        /// Who sends, in the IV (clause 9.1.1.5).
        const READER: u64 = 0;
        const DEVICE: u64 = 1;
        Ok(Directions {
            reader: Direction::new(&*derive(ours, theirs, transcript, "SKReader")?, READER)?,
            device: Direction::new(&*derive(ours, theirs, transcript, "SKDevice")?, DEVICE)?,
        })
    }
}

/// What came from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// A request or a response.
    pub data: Option<Vec<u8>>,
    /// With a status, the session is over.
    pub status: Option<Status>,
}

/// One side of an established session.
pub struct Session {
    /// What this side sends with and reads with; gone once the session is over.
    open: Option<Pair>,
    /// The reader's ephemeral key, on its side.
    reader_key: Option<AgreementKey>,
}

struct Pair {
    sends: Direction,
    reads: Direction,
}

impl Session {
    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.open.is_none()
    }

    /// The reader's ephemeral key, for [`crate::verify::verify`]; the device has none of it. It stays when the session is over.
    pub fn reader_key(&self) -> Option<&AgreementKey> {
        self.reader_key.as_ref()
    }

    /// A message with data.
    ///
    /// # Errors
    /// When the session is over, or the data longer than [`DATA_MAX_LEN`].
    pub fn send(&mut self, data: &[u8]) -> Result<Vec<u8>, SessionError> {
        let sealed = self.open.as_mut().ok_or(SessionError::Over)?.sends.seal(data)?;
        Ok(encode(&map([("data", Value::Bytes(sealed))])))
    }

    /// A message with data that ends the session.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_last(&mut self, data: &[u8]) -> Result<Vec<u8>, SessionError> {
        let sealed = self.open.as_mut().ok_or(SessionError::Over)?.sends.seal(data)?;
        self.open = None;
        Ok(encode(&map([("data", Value::Bytes(sealed)), ("status", Status::Termination.into())])))
    }

    /// A message that ends the session.
    pub fn end(&mut self) -> Vec<u8> {
        self.open = None;
        Status::Termination.message()
    }

    /// Takes the other side's next message (`SessionData`). Whoever can write to the pipe can end the session: a status is not encrypted.
    ///
    /// # Errors
    /// When it can't be read or decrypted: the session is over then, and [`SessionError::message`] tells the other side.
    pub fn receive(&mut self, message: &[u8]) -> Result<Received, SessionError> {
        // Put back only when all is well.
        let mut pair = self.open.take().ok_or(SessionError::Over)?;
        let message = decode(message)?;
        let status = match field(&message, "status") {
            Ok(status) => Some(Status::read(status).ok_or(SessionError::Decoding)?),
            Err(_) => None,
        };
        let data = match field(&message, "data") {
            Ok(data) => Some(pair.reads.open(data.as_bytes().ok_or(SessionError::Decoding)?)?),
            Err(_) => None,
        };
        if status.is_none() {
            if data.is_none() {
                return Err(SessionError::Decoding);
            }
            self.open = Some(pair);
        }
        Ok(Received { data, status })
    }
}

/// The reader begins: a session with the device of an engagement, and the message with the first request (`SessionEstablishment`). The
/// transcript is one with this reader's key ([`reader_key_bytes`]).
///
/// # Errors
/// When the request is longer than [`DATA_MAX_LEN`], or a key can't be used.
pub fn establish(
    reader: AgreementKey,
    device: &PublicKey,
    transcript: &SessionTranscript,
    request: &[u8],
) -> Result<(Session, Vec<u8>), SessionError> {
    let mut keys = Directions::new(&reader, device, transcript)?;
    let message = encode(&map([
        ("eReaderKey", tagged(reader_key_bytes(reader.public_key()))),
        ("data", Value::Bytes(keys.reader.seal(request)?)),
    ]));
    let open = Some(Pair { sends: keys.reader, reads: keys.device });
    Ok((Session { open, reader_key: Some(reader) }, message))
}

/// `SessionEstablishment`, as the device reads it: the reader's key comes first, since the transcript has it.
pub struct Establishment {
    reader_key_bytes: Vec<u8>,
    reader_key: PublicKey,
    data: Vec<u8>,
}

impl Establishment {
    /// Reads the reader's first message.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(message: &[u8]) -> Result<Self, SessionError> {
        let message = decode(message)?;
        let reader_key_bytes = untag(field(&message, "eReaderKey")?)?.to_vec();
        let reader_key = key_of(&decode(&reader_key_bytes)?)?;
        let data = field(&message, "data")?.as_bytes().ok_or(SessionError::Decoding)?.clone();
        Ok(Establishment { reader_key_bytes, reader_key, data })
    }

    /// The reader's encoded key as received, for the transcript.
    pub fn reader_key_bytes(&self) -> &[u8] {
        &self.reader_key_bytes
    }

    /// The reader's ephemeral key.
    pub fn reader_key(&self) -> &PublicKey {
        &self.reader_key
    }

    /// The device accepts, with the key that it showed: a session, and the first request.
    ///
    /// # Errors
    /// When the request was not encrypted for this device and transcript: [`SessionError::message`] tells the reader.
    pub fn accept(
        self,
        device: AgreementKey,
        transcript: &SessionTranscript,
    ) -> Result<(Session, Vec<u8>), SessionError> {
        let mut keys = Directions::new(&device, &self.reader_key, transcript)?;
        let request = keys.reader.open(&self.data)?;
        let open = Some(Pair { sends: keys.device, reads: keys.reader });
        Ok((Session { open, reader_key: None }, request))
    }
}
