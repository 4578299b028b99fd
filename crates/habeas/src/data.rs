//! The data folder of `habeas up`: a folder for each service, and what the command line needs to find the server.
//!
//! ```text
//! DATA/lock              held by the running server
//! DATA/server.json       where it listens
//! DATA/sandbox           there if the money is worth nothing
//! DATA/mint-store        the address of the mint's database, if it has one
//! DATA/mint-key          where the mint's seed is, if it is in a token (a PKCS#11 URI)
//! DATA/issuer-key        where the issuer's keys are, if they are in a token (a PKCS#11 URI)
//! DATA/relay            the address of the relay that offers name, if there is one
//! DATA/gateway.key       the key that requests through a relay are sealed for
//! DATA/officers/*.token  the bearer tokens of officers who work on this machine (mode 0600)
//! DATA/mint.restoring/   what a restore of the mint works in; there only while it does, or after it was cut off
//! DATA/registry/ mint/ treasury/ credential/ log/   each service's own database and keys
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mint::TokenUri;
use oblivious::GatewayKey;
use serde::{Deserialize, Serialize};

/// Names the database of the mint, if it has one; may hold a password.
const MINT_STORE: &str = "mint-store";
/// Names the key in a token that the mint's seed is, if it is in one.
const MINT_KEY: &str = "mint-key";
/// Names the token that the issuer's keys are in, if they are in one, and what their labels begin with.
const ISSUER_KEY: &str = "issuer-key";
/// The certificate of the issuer's root, in its folder: there from the first start on that found its keys.
const ISSUER_ROOT: &str = "keys/iaca.cert.der";
/// Names the relay that wallets go through.
const RELAY: &str = "relay";
/// The gateway's key.
const GATEWAY_KEY: &str = "gateway.key";
/// Marks the data folder of a sandbox.
const SANDBOX_MARK: &str = "sandbox";

/// A data folder.
#[derive(Clone)]
pub struct DataFolder {
    root: PathBuf,
}

/// Held while a process works on the stores.
pub struct FolderLock {
    _file: File,
}

/// What `habeas up` leaves for the command line.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServerFile {
    /// `http://host:port`.
    pub url: String,
    /// The log's verifier key.
    pub log_vkey: String,
    /// Unix time of its start.
    #[serde(default)]
    pub since: u64,
}

impl DataFolder {
    /// The folder at `root`, made (mode 0700) where it is not there.
    pub fn create(root: &Path) -> Result<Self> {
        let make = |path: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
                format!("the data folder {} can't be made: choose another with --data", path.display())
            })
        };
        make(root)?;
        make(&root.join("officers"))?;
        Ok(DataFolder { root: root.to_owned() })
    }

    /// The folder at `root`, which must be there.
    pub fn existing(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            bail!("there is no data folder {}: `habeas up --data {0}` makes one", root.display());
        }
        Ok(DataFolder { root: root.to_owned() })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether its money is worth nothing.
    pub fn is_sandbox(&self) -> bool {
        self.root.join(SANDBOX_MARK).exists()
    }

    /// Marks it as a sandbox, for good.
    pub fn mark_sandbox(&self) -> Result<()> {
        write_private(&self.root.join(SANDBOX_MARK), b"The money in this folder is worth nothing.\n")
    }

    /// The database that the mint's rows are kept in, if not in this folder.
    pub fn mint_store(&self) -> Result<Option<String>> {
        self.remembered(MINT_STORE)
    }

    /// What a file says that a start has left for the next; `None` when there is none.
    fn remembered(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.root.join(name)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{name} can't be read")),
        }
    }

    /// The relay that offers name, if there is one.
    pub fn relay(&self) -> Result<Option<String>> {
        self.remembered(RELAY)
    }

    /// Has offers name a relay from now on.
    pub fn set_relay(&self, url: &str) -> Result<()> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("'{url}' is no relay's address: name it as https://host");
        }
        write_private(&self.root.join(RELAY), url.trim_end_matches('/').as_bytes())
    }

    /// The gateway's key; made at the first start.
    pub fn gateway_key(&self) -> Result<GatewayKey> {
        let path = self.root.join(GATEWAY_KEY);
        let secret = storage::keys::read_or_make(&path).with_context(|| format!("{} can't be used", path.display()))?;
        Ok(GatewayKey::from_secret(&secret))
    }

    /// The key in a token that the mint's seed is, if it is not in a file.
    pub fn mint_key(&self) -> Result<Option<TokenUri>> {
        self.remembered_key(MINT_KEY)
    }

    /// The token that the issuer's keys are in, if they are not in files.
    pub fn issuer_key(&self) -> Result<Option<TokenUri>> {
        self.remembered_key(ISSUER_KEY)
    }

    fn remembered_key(&self, name: &str) -> Result<Option<TokenUri>> {
        let text = self.remembered(name)?;
        let uri = text.map(|text| text.parse()).transpose();
        uri.with_context(|| format!("{} is damaged", self.root.join(name).display()))
    }

    /// Has the issuer's keys in a token from the first day on. An issuer that is there already keeps its keys, and may be told another
    /// way to them: a module or a PIN file that has moved.
    pub fn set_issuer_key(&self, uri: &TokenUri) -> Result<()> {
        let write = || write_private(&self.root.join(ISSUER_KEY), uri.to_string().as_bytes());
        match self.issuer_key()? {
            Some(known) if known == *uri => Ok(()),
            Some(known) if known.names_key_of(uri) => write(),
            // Without a root nothing was signed: a first start found no token, and may name another.
            _ if !self.service("credential").join(ISSUER_ROOT).exists() => write(),
            Some(known) => bail!(
                "the issuer of {} has other keys ('{}-…' in the token '{}'): start it without --issuer-key",
                self.root.display(),
                known.object(),
                known.token()
            ),
            None => bail!(
                "the issuer of {} was made with keys in files (credential/keys), and what they signed goes on to need them: start it \
                 without --issuer-key",
                self.root.display()
            ),
        }
    }

    /// Has the mint's seed in a token from the first day on. A mint that is there already keeps its key, and may be told another
    /// way to it: a module or a PIN file that has moved.
    ///
    /// From a file to a token: import the file's 32 bytes into the token as a sensitive secret that can't be extracted, take
    /// `mint/mint.seed` away, write the URI to `mint-key`. The store's fingerprint tells whether it is the same seed.
    pub fn set_mint_key(&self, uri: &TokenUri) -> Result<()> {
        match self.mint_key()? {
            Some(known) if known == *uri => Ok(()),
            Some(known) if known.names_key_of(uri) => self.write_mint_key(uri),
            _ if !self.service("mint").exists() => self.write_mint_key(uri),
            Some(known) => bail!(
                "the mint of {} was made with another key ('{}' in the token '{}'): start it without --mint-key",
                self.root.display(),
                known.object(),
                known.token()
            ),
            None => bail!(
                "the mint of {} was made with another key (the file mint/mint.seed): start it without --mint-key",
                self.root.display()
            ),
        }
    }

    /// Remembers where the mint's seed is.
    pub fn write_mint_key(&self, uri: &TokenUri) -> Result<()> {
        write_private(&self.root.join(MINT_KEY), uri.to_string().as_bytes())
    }

    /// Keeps the mint's rows in a database from the first day on. A folder that has a mint already stays where it is: on another
    /// store all its money would be unknown.
    pub fn set_mint_store(&self, address: &str) -> Result<()> {
        match self.mint_store()? {
            Some(known) if known == address => Ok(()),
            None if !self.service("mint").exists() => write_private(&self.root.join(MINT_STORE), address.as_bytes()),
            _ => bail!("the mint of {} is kept in another store: start it without --mint-store", self.root.display()),
        }
    }

    /// Keeps the mint's rows in this database from now on: they were restored into it.
    pub fn move_mint_store(&self, address: &str) -> Result<()> {
        write_private(&self.root.join(MINT_STORE), address.as_bytes())
    }

    /// The folder of a service.
    pub fn service(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Takes the lock, or gives `None` while another process has it.
    pub fn try_lock(&self) -> Result<Option<FolderLock>> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} can't be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} can't be locked", path.display()))
            }
        }
    }

    /// Takes the lock for a server.
    pub fn lock(&self) -> Result<FolderLock> {
        match self.try_lock()? {
            Some(lock) => Ok(lock),
            None => bail!(
                "another habeas is running on {}: stop it first, or choose another folder with --data",
                self.root.display()
            ),
        }
    }

    /// Writes where the server listens.
    pub fn write_server_file(&self, server: &ServerFile) -> Result<()> {
        write_private(&self.root.join("server.json"), &serde_json::to_vec_pretty(server)?)
    }

    /// Where the server listens, or listened last.
    pub fn server_file(&self) -> Result<ServerFile> {
        let path = self.root.join("server.json");
        let text = fs::read(&path)
            .with_context(|| format!("no server has run on {}: start `habeas up --data {0}`", self.root.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged: start `habeas up` again", path.display()))
    }

    /// Keeps an officer's token for use on this machine.
    pub fn write_token(&self, officer: &str, token: &str) -> Result<PathBuf> {
        let path = self.token_path(officer)?;
        write_private(&path, token.as_bytes())?;
        Ok(path)
    }

    /// An officer's token.
    pub fn token(&self, officer: &str) -> Result<String> {
        let path = self.token_path(officer)?;
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "there is no officer '{officer}' on this machine: `habeas officer add {officer} --role ROLE` makes one"
            )
        })?;
        Ok(text.trim().to_owned())
    }

    fn token_path(&self, officer: &str) -> Result<PathBuf> {
        let fits = !officer.is_empty() && officer.len() <= 64;
        if !fits || !officer.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            bail!("an officer's name has 1 to 64 letters, digits, '-' or '_'");
        }
        Ok(self.root.join("officers").join(format!("{officer}.token")))
    }
}

/// Writes a file that only its owner reads, as a whole.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<()> {
    let next = path.with_extension("next");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&next)?;
        file.write_all(contents)?;
        file.sync_data()?;
        fs::rename(&next, path)
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

/// Adds to a file that only its owner reads, durably.
pub fn append_private(path: &Path, contents: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        file.write_all(contents)?;
        file.sync_data()
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}
