//! Key files: 32 secret bytes as 64 hex digits, readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Reads the key in a file (mode 0600), or makes a random one where there is no file.
///
/// The file comes into being whole: a crash leaves either no key or this one.
///
/// # Errors
/// When the file can't be used, or is not 64 hex digits: it is never replaced, since what it sealed would be lost.
pub fn read_or_make(path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => hex::decode_to_slice(text.trim(), &mut *key).map_err(|_| {
            let told = format!("the key file {} is not 64 hex digits: bring it back from a backup", path.display());
            io::Error::new(io::ErrorKind::InvalidData, told)
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            aws_lc_rs::rand::fill(&mut *key).map_err(|_| io::Error::other("no randomness"))?;
            let next = path.with_extension("new");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(Zeroizing::new(hex::encode(*key)).as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_a_damaged_one_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let key = read_or_make(&path).unwrap();
        assert_ne!(*key, [0; 32]);
        assert_eq!(*read_or_make(&path).unwrap(), *key);
        fs::write(&path, "0011").unwrap();
        assert!(read_or_make(&path).unwrap_err().to_string().contains("a.key"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "0011");
    }
}
