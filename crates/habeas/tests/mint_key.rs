//! `habeas mint make-key` and `habeas up --mint-key`: a whole life of a mint whose seed is in a token, and what is refused. No message,
//! log or file holds the token's PIN.

mod running;
#[path = "../../mint/tests/world/softhsm.rs"]
mod softhsm;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cashu::messages::{KeysResponse, KeysetsResponse, MintRequest, SignaturesResponse, SwapRequest};
use cashu::secret::{BlindingFactor, Secret};
use cashu::{Amount, BlindedMessage, Keyset, Proof, bdhke};
use running::{HABEAS, Up, failed, value};
use serde_json::{Value, json};
use softhsm::{PIN, SoftHsm};

/// What the mint worth nothing has been seen to print, log and store.
struct Place<'a> {
    softhsm: &'a SoftHsm,
    folder: tempfile::TempDir,
    said: String,
}

impl Place<'_> {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs `habeas` to its end, with the tokens of this place.
    fn run(&mut self, arguments: &[&str]) -> Output {
        let output = Command::new(HABEAS).args(arguments).envs(self.softhsm.environment()).output().unwrap();
        for said in [&output.stdout, &output.stderr] {
            self.said.push_str(&String::from_utf8_lossy(said));
        }
        output
    }

    fn good(&mut self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn bad(&mut self, arguments: &[&str], told: &[&str]) {
        let output = self.run(arguments);
        failed(&arguments.join(" "), &output, told);
    }

    /// `habeas up` that must fail with a sentence that has all of `told`.
    fn bad_up(&mut self, data: &Path, options: &[&str], told: &[&str]) {
        let data = data.display().to_string();
        let arguments = [&["up", "--sandbox", "--listen", "127.0.0.1:0", "--data", &data], options].concat();
        self.bad(&arguments, told);
    }

    /// A running mint that logs all it can into a file.
    fn up(&mut self, options: &[&str]) -> Up {
        let log = self.folder.path().join("log");
        let mut command = Command::new(HABEAS);
        command.args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data"]).arg(self.data()).args(options);
        command.envs(self.softhsm.environment()).env("RUST_LOG", "trace");
        command.stderr(File::options().create(true).append(true).open(&log).unwrap());
        Up::start_command(command).unwrap_or_else(|_| panic!("{}", fs::read_to_string(&log).unwrap()))
    }

    fn audit(&mut self) {
        let data = self.data().display().to_string();
        assert!(self.good(&["audit", "--data", &data]).trim_end().ends_with("balanced"));
    }

    fn make_key(&mut self, uri: &str) -> String {
        value(&self.good(&["mint", "make-key", "--key", uri]), "fingerprint")
    }

    /// Nothing that was said, logged or stored has the PIN.
    fn assert_discreet(&self) {
        assert!(!self.said.contains(PIN) && !self.said.is_empty());
        assert_eq!(files_that_hold(self.folder.path(), PIN), Vec::<PathBuf>::new());
        // The control: where it is, it is found.
        let pin = self.softhsm.pin_file("pin", PIN);
        assert_eq!(files_that_hold(pin.parent().unwrap(), PIN), [pin]);
    }
}

fn files_that_hold(folder: &Path, secret: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files_that_hold(&entry.path(), secret));
        } else if fs::read(entry.path()).unwrap().windows(secret.len()).any(|part| part == secret.as_bytes()) {
            found.push(entry.path());
        }
    }
    found
}

fn get<Answer: serde::de::DeserializeOwned>(url: &str) -> Answer {
    ureq::get(url).call().unwrap().body_mut().read_json().unwrap()
}

fn post(url: &str, body: &Value) -> Value {
    ureq::post(url).send_json(body).unwrap().body_mut().read_json().unwrap()
}

/// The keysets' ids, and the keys of the one that signs.
fn keyset_of(url: &str) -> (Vec<String>, Keyset) {
    let keysets: KeysetsResponse = get(&format!("{url}/v1/keysets"));
    let ids = keysets.keysets.iter().map(|keyset| keyset.id.to_string()).collect();
    (ids, get::<KeysResponse>(&format!("{url}/v1/keys")).keysets.remove(0))
}

/// Tokens to be: their secrets, blinding factors, and what is sent.
fn outputs(keyset: &Keyset, amounts: &[u64]) -> Vec<(Secret, BlindingFactor, BlindedMessage)> {
    let output = |amount: &u64| {
        let secret = Secret::new(hex::encode(rand::random::<[u8; 32]>())).unwrap();
        let r = BlindingFactor::from_bytes(rand::random()).unwrap();
        let blinded = bdhke::blind(secret.as_bytes(), r.key()).unwrap();
        (secret, r, BlindedMessage { amount: Amount::new(*amount), id: keyset.id, blinded })
    };
    amounts.iter().map(output).collect()
}

fn messages(outputs: &[(Secret, BlindingFactor, BlindedMessage)]) -> Vec<BlindedMessage> {
    outputs.iter().map(|(_, _, message)| message.clone()).collect()
}

/// Mints 12 and gives a request that swaps them.
fn mint_some(url: &str, keyset: &Keyset) -> Value {
    let quote = post(&format!("{url}/v1/mint/quote/sandbox"), &json!({"amount": 12, "unit": "sandbox"}));
    let made = outputs(keyset, &[4, 8]);
    let quote = quote["quote"].as_str().unwrap().to_owned();
    let request = MintRequest { quote, outputs: messages(&made), signature: None };
    let signed: SignaturesResponse =
        serde_json::from_value(post(&format!("{url}/v1/mint/sandbox"), &json!(request))).unwrap();
    let token = |((secret, r, _), signed): ((Secret, BlindingFactor, _), cashu::BlindSignature)| {
        let signature = bdhke::unblind(&signed.signature, r.key(), &keyset.keys[&signed.amount]).unwrap();
        Proof { amount: signed.amount, id: signed.id, secret, signature, witness: None, dleq: None, p2pk_e: None }
    };
    let inputs = made.into_iter().zip(signed.signatures).map(token).collect();
    json!(SwapRequest { inputs, outputs: messages(&outputs(keyset, &[4, 8])) })
}

#[test]
fn a_mint_lives_with_its_seed_in_a_token() {
    let Some(softhsm) = SoftHsm::new() else { return };
    let serial = softhsm.make_token("habeas");
    let uri = softhsm.uri("habeas", "mint-2026");
    let mut place = Place { softhsm: &softhsm, folder: tempfile::tempdir().unwrap(), said: String::new() };
    let (data, name) = (place.data(), place.data().display().to_string());

    // No key yet, or another than was meant: the folder stays new, and takes the right one.
    place.bad_up(&data, &["--mint-key", &uri], &["no secret key 'mint-2026'", "habeas mint make-key"]);
    place.bad_up(&data, &["--mint-key", &softhsm.uri("habeas", "mimt")], &["no secret key 'mimt'"]);
    assert!(!data.join("mint").exists());
    let fingerprint = place.make_key(&uri);
    assert_eq!(fingerprint.len(), 32);
    place.bad(&["mint", "make-key", "--key", &uri], &["has a secret key 'mint-2026' already"]);

    let up = place.up(&["--mint-key", &uri]);
    let (ids, keyset) = keyset_of(&up.url);
    let swap = mint_some(&up.url, &keyset);
    let answer = post(&format!("{}/v1/swap", up.url), &swap);
    place.audit();
    up.stop();
    assert!(!data.join("mint/mint.seed").exists());
    assert_eq!(fs::metadata(data.join("mint-key")).unwrap().permissions().mode() & 0o777, 0o600);

    // Remembered; and the same key by another way: the PIN's file has moved, and the token is named more closely.
    place.audit();
    let other_pin = softhsm.pin_file("other-pin", PIN);
    let moved = softhsm.uri_with_pin(&format!("habeas;serial={serial}"), "mint-2026", &other_pin);
    for options in [&[][..], &["--mint-key", &moved], &[]] {
        let up = place.up(options);
        assert_eq!(keyset_of(&up.url).0, ids);
        assert_eq!(post(&format!("{}/v1/swap", up.url), &swap), answer, "the same request, the same answer");
        up.stop();
    }
    assert_eq!(fs::read_to_string(data.join("mint-key")).unwrap(), moved);
    place.audit();

    // Another key is another mint.
    let other = softhsm.uri("habeas", "mint-2027");
    place.make_key(&other);
    place.bad_up(&data, &["--mint-key", &other], &["made with another key", "'mint-2026' in the token 'habeas'"]);
    // Another key under the same label, in a token of the same label.
    let elsewhere = SoftHsm::new().expect("it is installed");
    elsewhere.make_token("habeas");
    let same_name = elsewhere.uri("habeas", "mint-2026");
    let mut there = Place { softhsm: &elsewhere, folder: tempfile::tempdir().unwrap(), said: String::new() };
    let other_fingerprint = there.make_key(&same_name);
    fs::write(data.join("mint-key"), &same_name).unwrap();
    let told = ["made with another one", fingerprint.as_str(), other_fingerprint.as_str()];
    there.bad_up(&data, &[], &told);
    there.bad(&["audit", "--data", &name], &told);
    fs::write(data.join("mint-key"), &moved).unwrap();

    // What goes wrong at a start says so in a sentence.
    fs::write(&other_pin, "wrong-pin").unwrap();
    place.bad_up(&data, &[], &["the token 'habeas' refuses the PIN in", "other-pin"]);
    fs::write(&other_pin, PIN).unwrap();
    fs::set_permissions(&other_pin, fs::Permissions::from_mode(0o644)).unwrap();
    place.bad_up(&data, &[], &["the PIN is not used", "other-pin", "0644", "chmod 600"]);
    fs::set_permissions(&other_pin, fs::Permissions::from_mode(0o600)).unwrap();
    let put_back = softhsm::pull(&softhsm.tokens());
    place.bad_up(&data, &[], &["the token 'habeas' is not there", "plug it in"]);
    put_back();
    fs::remove_file(&other_pin).unwrap();
    place.bad_up(&data, &[], &["the PIN can't be read", "other-pin"]);
    // After all that it starts as ever.
    place.up(&["--mint-key", &uri]).stop();
    place.audit();

    let log = fs::read_to_string(place.folder.path().join("log")).unwrap();
    assert!(log.contains("stopping"), "the mint's standard error is not there: {log}");
    place.assert_discreet();
    assert!(!there.said.contains(PIN) && !place.said.contains("wrong-pin"));
}

#[test]
fn a_mint_keeps_the_kind_of_key_that_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let start = |options: &[&str]| Up::start_with(&data, "127.0.0.1:0", options);
    start(&["--sandbox"]).unwrap().stop();
    let uri = "pkcs11:token=t;object=k?module-path=/none.so&pin-source=file:/none";
    let told = start(&["--sandbox", "--mint-key", uri]).err().expect("refused");
    assert!(told.contains("made with another key (the file mint/mint.seed)"), "{told}");
    // A seed that is gone, or that others can read, is named; and nothing is put in its place.
    let (seed, away) = (data.join("mint/mint.seed"), folder.path().join("away"));
    fs::set_permissions(&seed, fs::Permissions::from_mode(0o644)).unwrap();
    let told = start(&["--sandbox"]).err().expect("refused");
    assert!(told.contains("mint.seed is open to others") && told.contains("chmod 600"), "{told}");
    fs::set_permissions(&seed, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&seed, &away).unwrap();
    let told = start(&["--sandbox"]).err().expect("refused");
    assert!(told.contains("mint.seed is not there") && told.contains("bring it back"), "{told}");
    assert!(!seed.exists());
    fs::rename(&away, &seed).unwrap();
    start(&["--sandbox"]).unwrap().stop();
}

#[test]
fn a_uri_that_is_not_understood_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let way = "module-path=/none.so&pin-source=file:/none";
    for (uri, told) in [
        (format!("pkcs11:token=t;object=k?{way}&pin-value=314159"), "pin-source=file:/"),
        ("habeas-token".to_owned(), "begin with 'pkcs11:'"),
        (format!("pkcs11:token=t;object=k;id=%01?{way}"), "'id' is not used"),
        (format!("pkcs11:object=k?{way}"), "lacks token"),
    ] {
        for arguments in [&["up", "--data", &data, "--mint-key", &uri][..], &["mint", "make-key", "--key", &uri]] {
            let told = failed(&arguments.join(" "), &running::habeas(arguments), &["PKCS#11 URI", told]);
            assert!(!told.contains("314159"), "{told}");
        }
    }
    assert!(!Path::new(&data).exists());
}
