//! Keysets and their ids (NUT-01, NUT-02).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{Amount, DecodeError, Point, Unit};

/// The id of a keyset: 33 bytes in version 2 (`01…`), which commits to the keys, the unit, the fee and the expiry;
/// 8 bytes in version 1 (`00…`), read but not made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeysetId {
    /// 8 bytes, deprecated by NUT-02.
    V1([u8; 8]),
    /// 33 bytes.
    V2([u8; 33]),
}

/// The first 8 bytes of an id, as tokens may carry it (NUT-00 "Short keyset ID").
pub const SHORT_ID_LEN: usize = 8;

impl KeysetId {
    /// Reads the raw bytes of an id.
    ///
    /// # Errors
    /// When version byte and length don't agree.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(0x00) => bytes.try_into().map(KeysetId::V1).ok(),
            Some(0x01) => bytes.try_into().map(KeysetId::V2).ok(),
            _ => None,
        }
        .ok_or(DecodeError::new("a keyset id", "33 bytes that begin with 01, or 8 that begin with 00"))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            KeysetId::V1(bytes) => bytes,
            KeysetId::V2(bytes) => bytes,
        }
    }

    /// Whether the id commits to unit, fee and expiry.
    pub fn is_version_2(&self) -> bool {
        matches!(self, KeysetId::V2(_))
    }

    /// The id of a keyset, version 2 (NUT-02 "Keyset ID V2").
    pub fn derive(
        keys: &BTreeMap<Amount, Point>,
        unit: &Unit,
        input_fee_ppk: u64,
        final_expiry: Option<u64>,
    ) -> KeysetId {
        let pairs: Vec<String> = keys.iter().map(|(amount, key)| format!("{amount}:{key}")).collect();
        let mut preimage = format!("{}|unit:{unit}", pairs.join(","));
        if input_fee_ppk != 0 {
            preimage += &format!("|input_fee_ppk:{input_fee_ppk}");
        }
        if let Some(expiry) = final_expiry.filter(|expiry| *expiry != 0) {
            preimage += &format!("|final_expiry:{expiry}");
        }
        let mut id = [0x01; 33];
        id[1..].copy_from_slice(&Sha256::digest(preimage));
        KeysetId::V2(id)
    }
}

impl fmt::Display for KeysetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for KeysetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeysetId({self})")
    }
}

impl FromStr for KeysetId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let bytes =
            hex::decode(text).map_err(|_| DecodeError::new("a keyset id", "66 hex digits that begin with 01"))?;
        KeysetId::from_bytes(&bytes)
    }
}

impl Serialize for KeysetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeysetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The public side of a keyset: one key for each amount, as `GET /v1/keys` tells it (NUT-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyset {
    /// The id, which a wallet computes again ([`Keyset::check_id`]).
    pub id: KeysetId,
    /// What the amounts are counted in.
    pub unit: Unit,
    /// Whether the mint signs new outputs with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The fee per input, in thousandths of the unit.
    #[serde(default)]
    pub input_fee_ppk: u64,
    /// Unix time after which the mint owes nothing for it.
    #[serde(default)]
    pub final_expiry: Option<u64>,
    /// Amount to public key.
    pub keys: BTreeMap<Amount, Point>,
}

impl Keyset {
    /// Whether the id is the one that keys, unit, fee and expiry give: a mint that shows other keys under a known
    /// id is found out here.
    pub fn check_id(&self) -> bool {
        self.id == KeysetId::derive(&self.keys, &self.unit, self.input_fee_ppk, self.final_expiry)
    }

    /// SHA-256 over the amounts and keys alone, as the transparency log shows it beside the id.
    pub fn keys_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for (amount, key) in &self.keys {
            hasher.update(amount.minor().to_be_bytes());
            hasher.update(key.to_bytes());
        }
        hasher.finalize().into()
    }
}

/// A keyset without its keys, as `GET /v1/keysets` lists it (NUT-02).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysetInfo {
    /// The id.
    pub id: KeysetId,
    /// What the amounts are counted in.
    pub unit: Unit,
    /// Whether the mint signs new outputs with it.
    pub active: bool,
    /// The fee per input, in thousandths of the unit.
    #[serde(default)]
    pub input_fee_ppk: u64,
    /// Unix time after which the mint owes nothing for it.
    #[serde(default)]
    pub final_expiry: Option<u64>,
    /// Where the keyset's entry stands in the transparency log. Ours: other mints leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}
