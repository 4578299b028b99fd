//! `habeas up --issuer-key`: ID cards whose issuer has its keys in a token, and what is refused.

mod running;
#[path = "../../mint/tests/world/softhsm.rs"]
mod softhsm;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use running::{HABEAS, Programme, Up, example, good};
use softhsm::{PIN, SoftHsm};

fn up(softhsm: &SoftHsm, data: &Path, options: &[&str]) -> Result<Up, String> {
    let mut command = Command::new(HABEAS);
    command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(options).stderr(Stdio::piped());
    command.envs(softhsm.environment());
    Up::start_command(command)
}

/// The sentence with which a start is refused; it has all of `told`, and no PIN.
fn refused(started: Result<Up, String>, told: &[&str]) {
    let Err(said) = started else { panic!("it started") };
    assert!(told.iter().all(|part| said.contains(part)), "should say {told:?}, and said {said}");
    assert!(!said.contains(PIN) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_wallet_gets_cards_that_a_token_signed() {
    let Some(softhsm) = SoftHsm::new() else { return };
    softhsm.make_token("habeas");
    let (uri, temporary) = (softhsm.uri("habeas", "issuer"), tempfile::tempdir().unwrap());
    let (files, data) = (temporary.path().to_owned(), temporary.path().join("data"));
    // A wrong way to the token: nothing is signed, and the folder takes the right one.
    let missing = softhsm.uri("habaes", "issuer");
    refused(up(&softhsm, &data, &["--issuer-key", &missing]), &["the token 'habaes' is not there", "plug it in"]);
    let started = up(&softhsm, &data, &["--issuer-key", &uri]).unwrap_or_else(|told| panic!("{told}"));
    let programme = Programme { temporary, files, data: data.clone(), up: started };
    programme.good("officer rita --role registrar");
    programme.enrol(&example("people.csv"), &example("people.map.toml"));
    // The wallet has verified them against the root.
    let held = good(&format!("wallet credentials --wallet {}", programme.wallet(1).display()));
    assert!(["mso_mdoc", "dc+sd-jwt"].iter().all(|format| held.contains(format)), "{held}");
    let keys = data.join("credential/keys");
    let on_disk = || -> Vec<String> {
        let names = fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| ["iaca", "signer", "regist", "list-operator"].iter().any(|part| name.contains(part)))
            .collect()
    };
    assert_eq!(on_disk().len(), 5);
    assert!(on_disk().iter().all(|name| name.ends_with(".cert.der")), "{:?}", on_disk());
    assert_eq!(fs::metadata(data.join("issuer-key")).unwrap().permissions().mode() & 0o777, 0o600);

    // Remembered; and another way to the same keys.
    let Programme { up: started, temporary: _kept, .. } = programme;
    started.stop();
    let moved = softhsm.uri_with_pin("habeas", "issuer", &softhsm.pin_file("other-pin", PIN));
    up(&softhsm, &data, &["--issuer-key", &moved]).unwrap_or_else(|told| panic!("{told}")).stop();
    assert_eq!(fs::read_to_string(data.join("issuer-key")).unwrap(), moved);
    let other = softhsm.uri("habeas", "other");
    refused(up(&softhsm, &data, &["--issuer-key", &other]), &["has other keys", "'issuer-…' in the token 'habeas'"]);
    // The token away: a sentence, and no key in its place.
    let put_back = softhsm::pull(&softhsm.tokens());
    refused(up(&softhsm, &data, &[]), &["the issuer's keys can't be used", "the token 'habeas' is not there"]);
    put_back();
    assert_eq!(on_disk().len(), 5);
    up(&softhsm, &data, &[]).unwrap_or_else(|told| panic!("{told}")).stop();
}

#[test]
fn an_issuer_with_keys_in_files_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Up::start(&data).stop();
    let uri = "pkcs11:token=t;object=k?module-path=/none.so&pin-source=file:/none";
    let told = Up::start_with(&data, "127.0.0.1:0", &["--issuer-key", uri]).err().expect("refused");
    assert!(told.contains("was made with keys in files") && told.contains("without --issuer-key"), "{told}");
    assert!(!data.join("issuer-key").exists());
    // The control: as it was, it starts.
    Up::start(&data).stop();
    // A URI that is not understood makes nothing.
    let fresh = folder.path().join("fresh");
    let told = Up::start_with(&fresh, "127.0.0.1:0", &["--issuer-key", "habeas-token"]).err().expect("refused");
    assert!(told.contains("begin with 'pkcs11:'") && !fresh.exists(), "{told}");
}
