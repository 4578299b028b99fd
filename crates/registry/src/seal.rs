//! Sealed records: attributes under a key per person (AES-256-GCM), that key under the key-encryption key, the person's id as
//! associated data. Destroying the wrapped key erases the person.

use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use storage::keys::read_or_make;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::RegistryError;
use crate::gate::Receipt;
use crate::person::Attributes;

/// The registry's keys.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    key_encryption: [u8; 32],
    index: [u8; 32],
}

/// A person's own key.
pub struct DataKey(Zeroizing<[u8; 32]>);

/// A sealed record as it lies in the database.
pub struct SealedRecord {
    /// The person.
    pub id: String,
    /// The data key under the key-encryption key.
    pub wrapped_key: Vec<u8>,
    /// The attributes under the data key.
    pub sealed: Vec<u8>,
}

impl Keys {
    /// Reads the keys from files (mode 0600) in a folder, or makes them.
    ///
    /// # Errors
    /// When a file can't be used or is not 64 hex digits.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Keys {
            key_encryption: *read_or_make(&folder.join("kek.key"))?,
            index: *read_or_make(&folder.join("index.key"))?,
        })
    }

    /// A keyed hash for look-ups: of one kind, so that hashes of different things never meet.
    pub fn index_hash(&self, kind: &str, value: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.index).expect("HMAC takes a key of any length");
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The key of the MAC in every row of the database.
    pub fn row_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac(&self.index, &[b"habeas registry row key v1"]))
    }

    /// What stands for an officer in one entry of the log: whoever has the key can tell who it was, and nobody else that two are alike.
    pub fn officer_mark(&self, officer: &str, nonce: &[u8; 16]) -> [u8; 16] {
        let mac = hmac(&self.index, &[b"habeas officer mark v1", nonce, officer.as_bytes()]);
        mac[..16].try_into().expect("16 of 32 bytes")
    }

    /// Seals a new person's attributes under a fresh key.
    pub fn seal(&self, id: &str, attributes: &Attributes) -> Result<(SealedRecord, DataKey), RegistryError> {
        let mut data_key = DataKey(Zeroizing::new([0; 32]));
        aws_lc_rs::rand::fill(&mut *data_key.0).map_err(|_| RegistryError::Sealed)?;
        let clear = Zeroizing::new(serde_json::to_vec(attributes).expect("attributes are plain data"));
        let sealed = encrypt(&data_key.0, &aad("record", id), &clear)?;
        let wrapped_key = encrypt(&self.key_encryption, &aad("key", id), &*data_key.0)?;
        Ok((SealedRecord { id: id.to_owned(), wrapped_key, sealed }, data_key))
    }

    /// The person's own key.
    ///
    /// # Errors
    /// When the wrapped key was changed or belongs to another person or registry.
    pub fn unwrap(&self, record: &SealedRecord) -> Result<DataKey, RegistryError> {
        let clear = decrypt(&self.key_encryption, &aad("key", &record.id), &record.wrapped_key)?;
        let key: [u8; 32] = clear.as_slice().try_into().map_err(|_| RegistryError::Sealed)?;
        Ok(DataKey(Zeroizing::new(key)))
    }
}

impl DataKey {
    /// The key by which the person finds the log's entries about them.
    pub fn tag_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac(&*self.0, &[b"habeas person tag key v1"]))
    }

    /// Decrypts a record. Takes the log's receipt for the entry that says so: no receipt, no data.
    pub(crate) fn open(&self, record: &SealedRecord, _: &Receipt) -> Result<Attributes, RegistryError> {
        let clear = decrypt(&self.0, &aad("record", &record.id), &record.sealed)?;
        serde_json::from_slice(&clear).map_err(|_| RegistryError::Sealed)
    }

    /// Whether a record is whole, for the audit: the contents are thrown away.
    pub(crate) fn is_intact(&self, record: &SealedRecord) -> bool {
        decrypt(&self.0, &aad("record", &record.id), &record.sealed).is_ok()
    }
}

/// The tag of one opening: the same bytes as `tlog::tag` makes.
pub fn tag_mac(tag_key: &[u8; 32], purpose: &str, nonce: &[u8; 16]) -> [u8; 16] {
    let mac = hmac(tag_key, &[b"habeas log tag v1", purpose.as_bytes(), nonce]);
    mac[..16].try_into().expect("16 of 32 bytes")
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn aad(kind: &str, id: &str) -> Vec<u8> {
    format!("habeas registry v1 {kind} {id}").into_bytes()
}

fn encrypt(key: &[u8; 32], aad: &[u8], clear: &[u8]) -> Result<Vec<u8>, RegistryError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| RegistryError::Sealed)?;
    let mut body = clear.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::from(aad), &mut body).map_err(|_| RegistryError::Sealed)?;
    Ok([nonce.as_ref().as_slice(), &body].concat())
}

fn decrypt(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, RegistryError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| RegistryError::Sealed)?;
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(RegistryError::Sealed)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| RegistryError::Sealed)?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = key.open_in_place(nonce, Aad::from(aad), &mut body).map_err(|_| RegistryError::Sealed)?.len();
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tag_is_the_one_that_readers_of_the_log_compute() {
        // The same vector stands in `tlog::tag`.
        let mac = super::tag_mac(&[1; 32], "issue-credential", &[2; 16]);
        assert_eq!(hex::encode(mac), "95d12f5547fa5c226be77b2a3e57b85a");
    }
}
