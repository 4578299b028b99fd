//! Secret files, readable by their owner alone; key files among them: 32 secret bytes as 64 hex digits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The bits of a file's mode that let others than its owner read, change or run it.
const OTHERS: u32 = 0o077;
/// Bytes of the longest secret file: no key or PIN comes near it, and a wrong path is found early.
const SECRET_MAX_LEN: usize = 4_096;

/// Reads a secret from a file that its owner alone can get at (mode 0600 or tighter).
///
/// # Errors
/// When there is no file ([`io::ErrorKind::NotFound`]) or it can't be read; when others can get at it, or it is too long to be a
/// secret: that is not read.
pub fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Asked of the open file: the name may lead elsewhere a moment later.
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        let told = format!(
            "{0} is open to others than its owner (mode {mode:04o}): if nobody has read it, close it with `chmod 600 {0}`; \
             otherwise what it holds is no secret any more",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, told));
    }
    // In one piece, so that growing leaves no copy behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(SECRET_MAX_LEN + 1));
    file.take(SECRET_MAX_LEN as u64 + 1).read_to_end(&mut secret)?;
    if secret.len() > SECRET_MAX_LEN {
        let told =
            format!("{} is longer than {SECRET_MAX_LEN} bytes: it is not the file that was meant", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, told));
    }
    Ok(secret)
}

/// Writes a file (mode 0600), in place of one that is there: a crash leaves the old one or the new one, whole.
///
/// # Errors
/// When it can't be written.
pub fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    // Added, not exchanged: two files that differ in their endings have two drafts.
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Reads the key in a file (mode 0600), or makes a random one where there is no file.
///
/// The file comes into being whole: a crash leaves either no key or this one.
///
/// # Errors
/// When the file can't be used, others can get at it, or it is not 64 hex digits: it is never replaced, since what it sealed would
/// be lost.
pub fn read_or_make(path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    match read_private(path) {
        Ok(text) => hex::decode_to_slice(text.trim_ascii(), &mut *key).map_err(|_| {
            let told = format!("the key file {} is not 64 hex digits: bring it back from a backup", path.display());
            io::Error::new(io::ErrorKind::InvalidData, told)
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            aws_lc_rs::rand::fill(&mut *key).map_err(|_| io::Error::other("no randomness"))?;
            write_private(path, Zeroizing::new(hex::encode(*key)).as_bytes())?;
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
    #[test]
    fn a_key_that_others_can_read_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let key = read_or_make(&path).unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o700 | 0o001] {
            set(mode);
            let told = read_or_make(&path).unwrap_err().to_string();
            assert!(
                told.contains("a.key") && told.contains(&format!("{mode:04o}")) && told.contains("chmod 600"),
                "{told}"
            );
            assert!(!told.contains(&hex::encode(*key)), "an error never holds the key");
        }
        // Nobody but the owner: tighter than what is made here is as good.
        for mode in [0o600, 0o400] {
            set(mode);
            assert_eq!(*read_or_make(&path).unwrap(), *key);
        }
    }

    #[test]
    fn what_is_too_long_for_a_secret_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        for (length, fits) in [(SECRET_MAX_LEN, true), (SECRET_MAX_LEN + 1, false)] {
            fs::write(&path, vec![b'1'; length]).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(read_private(&path).is_ok(), fits, "{length}");
        }
    }
}
