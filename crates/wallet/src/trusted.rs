//! Whom the wallet trusts: the roots that the holder's offer names, as far as everybody is given the same ones.
//!
//! An issuer could sign one person's credentials under a root of their own, and know them by it at every relying party. So a root is
//! taken only from the list of trusted entities that stands in the public log, proven against a checkpoint that continues the last
//! one seen; and two lists of one number are a fault that every reader of the log sees (`tlog::client`).

use jiff::Timestamp;
use mdoc::certificate::{Usage, key_of_own};
use openid4vc::trusted_list::{LoggedList, ServiceKind, TrustedList};
use sha2::{Digest, Sha256};
use tlog::client::{fetch_checkpoint, prove_inclusion};
use tlog::entry::Entry;

use crate::http::Way;
use crate::log_view::HttpTiles;
use crate::state::Services;
use crate::{Wallet, WalletError};

impl Wallet {
    /// The issuer's list of trusted entities, which is in the log.
    ///
    /// # Errors
    /// [`WalletError::Credential`] when it is not in the log, not signed or out of date; when issuer or log can't be reached.
    pub fn trusted_list(&mut self) -> Result<TrustedList, WalletError> {
        let issuer = self.issuer()?.url.clone();
        let services = self.state.services.clone();
        let source = HttpTiles::of(&services);
        let list = read_list(Way::to(&services), &issuer, |index| self.logged_entry(&source, index))?;
        self.save()?;
        Ok(list)
    }
}

/// The list of trusted entities of the services that `services` names, for somebody who has no wallet: a relying party. It is in the log,
/// and the log's checkpoint is signed; whether the log continues what others saw is for them to compare.
///
/// # Errors
/// As [`Wallet::trusted_list`].
pub fn fetch_trusted_list(services: &Services) -> Result<TrustedList, WalletError> {
    let issuer = services.issuer.as_ref().ok_or(WalletError::NoHolder { missing: "credential issuer" })?;
    let policy = services.log_policy()?;
    let source = HttpTiles::new(&services.log);
    read_list(Way::DIRECT, &issuer.url, |index| {
        let (_, checkpoint) = fetch_checkpoint(&source, &policy)?;
        Ok(Entry::parse(&prove_inclusion(&source, &checkpoint, index)?.entry).ok())
    })
}

/// Fetches the list and holds it against its entry in the log, which `logged` looks up.
fn read_list(
    way: Way<'_>,
    issuer: &str,
    logged: impl FnOnce(u64) -> Result<Option<Entry>, WalletError>,
) -> Result<TrustedList, WalletError> {
    let refused = |detail: &str| WalletError::Credential { detail: detail.to_owned() };
    let jws = way.get_bytes(&format!("{issuer}/trusted-list"))?;
    let told: LoggedList = way.get(&format!("{issuer}/trusted-list/log-entry"))?;
    let jws = String::from_utf8(jws).map_err(|_| refused("the issuer's list of trusted entities is no text"))?;
    let hash = hex::encode(Sha256::digest(&jws));
    let sequence = match logged(told.log_index)? {
        Some(Entry::TrustedList { sequence, sha256, .. }) if sha256 == hash => sequence,
        _ => {
            return Err(refused(
                "the issuer's list of whom to trust is not in the public log, so others may be given another one: don't use it, and report it",
            ));
        }
    };
    let now = Timestamp::now();
    let list = TrustedList::verify(&jws, |operator| key_of_own(operator, Usage::TrustedList, now), now)?;
    if list.sequence != sequence {
        return Err(refused("the issuer's list of whom to trust has another number than the public log says"));
    }
    Ok(list)
}

/// The roots that a wallet asks the list for.
pub(crate) const ROOTS: [ServiceKind; 2] = [ServiceKind::Credentials, ServiceKind::AccessCertificates];

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::routing::get;
    use es256::SigningKey;
    use jiff::SignedDuration;
    use openid4vc::trusted_list::Service;
    use rcgen::{
        CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
    };
    use transparency::Log;

    use super::*;
    use crate::credentials::RootOf;
    use crate::state::Issuer;

    const ROOT: &[u8] = b"the root of everybody";
    const REGISTER: &[u8] = b"the register's root";

    /// Whoever signs lists.
    struct Operator {
        certificate: Vec<u8>,
        key: SigningKey,
    }

    impl Operator {
        fn new(usage: [u64; 6]) -> Self {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let mut params = CertificateParams::default();
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(usage.to_vec())];
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
            let certificate = params.self_signed(&key).unwrap().der().to_vec();
            Operator { certificate, key: SigningKey::from_pkcs8(&key.serialize_der()).unwrap() }
        }

        fn list(&self, sequence: u64, root: &[u8], age: i64) -> String {
            let service = |kind, certificate: &[u8]| Service {
                entity: "Issuer".into(),
                name: "service".into(),
                kind,
                certificates: vec![certificate.to_vec()],
            };
            let issued = Timestamp::now() - SignedDuration::from_secs(age);
            let list = TrustedList {
                operator: "Operator".into(),
                territory: "UT".into(),
                sequence,
                issued,
                next_update: issued + SignedDuration::from_secs(1_000),
                services: vec![service(ROOTS[0], root), service(ROOTS[1], REGISTER)],
            };
            list.sign(&self.certificate, &self.key).unwrap()
        }
    }

    /// What the issuer serves: a list, and where it says that it is.
    #[derive(Default)]
    struct Served {
        jws: String,
        log_index: u64,
    }

    struct World {
        served: Arc<Mutex<Served>>,
        log: Log,
        wallet: Wallet,
        _server: tokio::runtime::Runtime,
        _folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let log = Log::open(&folder.path().join("log"), "test.example/log").unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            let served = Arc::new(Mutex::new(Served::default()));
            let list = |State(served): State<Arc<Mutex<Served>>>| async move { served.lock().unwrap().jws.clone() };
            let entry = |State(served): State<Arc<Mutex<Served>>>| async move {
                let served = served.lock().unwrap();
                axum::Json(LoggedList { sha256: String::new(), log_index: served.log_index })
            };
            let router = Router::new()
                .route("/trusted-list", get(list))
                .route("/trusted-list/log-entry", get(entry))
                .with_state(served.clone())
                .nest("/log", transparency::api::router(log.clone()));
            runtime.spawn(async move { axum::serve(listener, router).await });
            let hash = |root: &[u8]| hex::encode(Sha256::digest(root));
            let issuer = Issuer { url: base.clone(), root_sha256: hash(ROOT), register_sha256: hash(REGISTER) };
            let services = Services {
                mint: base.clone(),
                log: format!("{base}/log"),
                log_vkey: log.vkey().to_owned(),
                witnesses: Vec::new(),
                quorum: 0,
                registry: None,
                issuer: Some(issuer),
                relay: None,
            };
            let wallet = Wallet::create(&folder.path().join("wallet.json"), services).unwrap();
            World { served, log, wallet, _server: runtime, _folder: folder }
        }

        /// Announces one list and serves another, or the same.
        fn serve(&mut self, announced: &str, sequence: u64, served: &str) {
            let sha256 = hex::encode(Sha256::digest(announced));
            let log_index = self.log.append(&[Entry::TrustedList { sequence, sha256, at: 1 }]).unwrap();
            *self.served.lock().unwrap() = Served { jws: served.to_owned(), log_index };
        }

        fn told(&mut self) -> String {
            self.wallet.root(RootOf::Issuer).unwrap_err().to_string()
        }
    }

    const LISTS: [u64; 6] = [0, 4, 0, 2231, 3, 0];

    #[test]
    fn roots_of_the_offer_are_taken_from_the_list_in_the_log() {
        let mut world = World::new();
        let list = Operator::new(LISTS).list(1, ROOT, 0);
        world.serve(&list, 1, &list);
        assert_eq!(world.wallet.root(RootOf::Issuer).unwrap(), ROOT);
        assert_eq!(world.wallet.root(RootOf::Register).unwrap(), REGISTER);
        let services = world.wallet.state.services.clone();
        assert_eq!(fetch_trusted_list(&services).unwrap().certificates(ServiceKind::Credentials), [ROOT]);
        // Kept, so that it is asked for once.
        world.served.lock().unwrap().jws.clear();
        assert_eq!(world.wallet.root(RootOf::Issuer).unwrap(), ROOT);
    }

    /// The offer of one person could name a root of their own, and the list that this person is given, too.
    #[test]
    fn a_list_or_a_root_made_for_one_person_is_refused() {
        let operator = Operator::new(LISTS);
        let of_everybody = operator.list(1, b"another root", 0);
        let mut world = World::new();
        world.serve(&of_everybody, 1, &of_everybody);
        assert!(world.told().contains("your offer names"), "the offer names another root than the list");
        let of_one = operator.list(1, ROOT, 0);
        world.serve(&of_everybody, 1, &of_one);
        assert!(world.told().contains("not in the public log"));
        world.serve(&of_one, 2, &of_one);
        assert!(world.told().contains("another number"));
        let (late, anothers) = (operator.list(3, ROOT, 1_001), Operator::new([1, 0, 18013, 5, 1, 6]).list(4, ROOT, 0));
        world.serve(&late, 3, &late);
        assert!(world.told().contains("newer one"));
        world.serve(&anothers, 4, &anothers);
        assert!(world.told().contains("not known as its operator"), "a certificate for something else");
        world.served.lock().unwrap().log_index = 0;
        assert!(world.told().contains("not in the public log"), "an entry about another list");
        let good = operator.list(5, ROOT, 0);
        world.serve(&good, 5, &good);
        assert_eq!(world.wallet.root(RootOf::Issuer).unwrap(), ROOT, "the control");
    }
}
