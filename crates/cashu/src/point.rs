//! A curve point as the protocol writes it: 33 bytes compressed, in JSON as 66 hex digits.

use std::fmt;
use std::str::FromStr;

use secp256k1::PublicKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::DecodeError;

/// A point of secp256k1, never the point at infinity (SEC 1 compressed form has no encoding for it).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point(PublicKey);

impl Point {
    /// Reads 33 bytes of SEC 1 compressed form.
    ///
    /// # Errors
    /// When the length or the prefix is wrong, or no point of the curve has this x.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        const REFUSED: DecodeError = DecodeError::new("a curve point", "33 bytes in compressed form, on secp256k1");
        let bytes: [u8; 33] = bytes.try_into().map_err(|_| REFUSED)?;
        PublicKey::from_byte_array_compressed(bytes).map(Point).map_err(|_| REFUSED)
    }

    /// The 33 bytes of SEC 1 compressed form.
    pub fn to_bytes(self) -> [u8; 33] {
        self.0.serialize()
    }

    /// The key of libsecp256k1.
    pub(crate) fn inner(&self) -> &PublicKey {
        &self.0
    }

    /// The public key of a secret key.
    pub fn of_secret(secret: &secp256k1::SecretKey) -> Self {
        Point(PublicKey::from_secret_key(secret))
    }
}

impl From<PublicKey> for Point {
    fn from(key: PublicKey) -> Self {
        Point(key)
    }
}

impl From<Point> for PublicKey {
    fn from(point: Point) -> Self {
        point.0
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Point({self})")
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

impl FromStr for Point {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut bytes = [0; 33];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| DecodeError::new("a curve point", "66 hex digits (33 bytes in compressed form)"))?;
        Point::from_bytes(&bytes)
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 66];
        hex::encode_to_slice(self.to_bytes(), &mut text).expect("66 is twice 33");
        serializer.serialize_str(std::str::from_utf8(&text).expect("hex is ASCII"))
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
