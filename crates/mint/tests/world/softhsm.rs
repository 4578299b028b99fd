//! Tokens of software (SoftHSM) of the tests' own, in a temporary folder.
//!
//! SoftHSM finds its tokens by the environment variable `SOFTHSM2_CONF`, so what works with them runs in a child process.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The PIN of each token here. Nothing that a mint prints, logs or stores may hold it.
pub const PIN: &str = "pin-271828-of-the-token";
const SECURITY_OFFICER_PIN: &str = "so-pin-577215";

/// Where the child of [`with_token`] finds its files.
const FOLDER: &str = "HABEAS_TEST_FOLDER";

/// Runs `body` in a child of the test `test`, with a token `habeas`: it is given a fresh folder and the URI of the key
/// `object`. The folder's `tokens` leads to the tokens, for [`pull`].
pub fn with_token(test: &str, object: &str, body: impl FnOnce(&Path, &str)) {
    if let Ok(folder) = std::env::var(FOLDER) {
        let folder = PathBuf::from(folder);
        return body(&folder, &fs::read_to_string(folder.join("uri")).unwrap());
    }
    let Some(softhsm) = SoftHsm::new() else { return };
    softhsm.make_token("habeas");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("uri"), softhsm.uri("habeas", object)).unwrap();
    std::os::unix::fs::symlink(softhsm.tokens(), folder.path().join("tokens")).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .envs(softhsm.environment())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains(PIN), "the PIN was said: {said}");
}

/// The tokens that lie here are pulled out, and put back by what this gives.
#[must_use = "the tokens are away until it is called"]
pub fn pull(tokens: &Path) -> impl FnOnce() + use<> {
    let tokens = fs::canonicalize(tokens).unwrap();
    let away = tokens.with_file_name("away");
    fs::rename(&tokens, &away).unwrap();
    fs::create_dir(&tokens).unwrap();
    move || {
        fs::remove_dir(&tokens).unwrap();
        fs::rename(&away, &tokens).unwrap();
    }
}

/// A place for tokens.
pub struct SoftHsm {
    folder: tempfile::TempDir,
    module: PathBuf,
}

impl SoftHsm {
    /// An empty one; `None`, said aloud, where SoftHSM is not installed.
    pub fn new() -> Option<SoftHsm> {
        let Some(module) = module().filter(|_| Command::new("softhsm2-util").arg("--version").output().is_ok()) else {
            println!("NOT CHECKED: keys in a token need SoftHSM: run `make setup`, or install Debian's softhsm2");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let configuration = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
        fs::write(folder.path().join("softhsm2.conf"), configuration).unwrap();
        Some(SoftHsm { folder, module })
    }

    /// Where the tokens lie, each in a folder.
    pub fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    /// What a process that works with these tokens has in its environment.
    pub fn environment(&self) -> [(&'static str, PathBuf); 1] {
        [("SOFTHSM2_CONF", self.folder.path().join("softhsm2.conf"))]
    }

    /// Makes a token, and gives its serial number.
    pub fn make_token(&self, label: &str) -> String {
        let made =
            self.util(&["--init-token", "--free", "--label", label, "--so-pin", SECURITY_OFFICER_PIN, "--pin", PIN]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let shown = String::from_utf8(self.util(&["--show-slots"]).stdout).unwrap();
        let mut serial = String::new();
        for line in shown.lines().map(str::trim) {
            if let Some(number) = line.strip_prefix("Serial number:") {
                serial = number.trim().to_owned();
            }
            if line.strip_prefix("Label:").is_some_and(|name| name.trim() == label) {
                return serial;
            }
        }
        panic!("the token is not there: {shown}");
    }

    fn util(&self, arguments: &[&str]) -> Output {
        Command::new("softhsm2-util").args(arguments).envs(self.environment()).output().expect("softhsm2-util runs")
    }

    /// A file of this folder with a PIN, that its owner alone reads.
    pub fn pin_file(&self, name: &str, pin: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("{pin}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The URI of a key; the PIN lies in a file named `pin`.
    pub fn uri(&self, token: &str, object: &str) -> String {
        self.uri_with_pin(token, object, &self.pin_file("pin", PIN))
    }

    /// The URI of a key.
    pub fn uri_with_pin(&self, token: &str, object: &str, pin: &Path) -> String {
        format!(
            "pkcs11:token={token};object={object}?module-path={}&pin-source=file:{}",
            self.module.display(),
            pin.display()
        )
    }
}

/// Where systems keep SoftHSM's module.
fn module() -> Option<PathBuf> {
    let named = |folder: PathBuf| ["softhsm/libsofthsm2.so", "pkcs11/libsofthsm2.so"].map(|name| folder.join(name));
    let libraries = [PathBuf::from("/usr/lib"), "/usr/local/lib".into(), "/usr/lib64".into()];
    // Debian's folders of an architecture, such as /usr/lib/x86_64-linux-gnu.
    let of_architecture = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    libraries.into_iter().chain(of_architecture).flat_map(named).find(|path| path.exists())
}
