//! The mint's seed in a PKCS#11 token: the same keys as from a file of the same bytes, and what happens while the token is away.
//!
//! A test that works with tokens runs itself again as a child, whose environment leads to tokens of its own.

#[path = "world/softhsm.rs"]
mod softhsm;
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cashu::Amount;
use cashu::messages::SwapRequest;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use mint::keysets::{KeysetRecord, MintSeed, Quarter, SigningKeyset};
use mint::{
    Clock, KeysetLog, Mint, MintError, Options, PublishedClosing, PublishedKeyset, SettlementDirectory, TokenUri,
};
use softhsm::PIN;
use world::{Holder, NOW, usd};

/// The seed that is both in a file and in a token.
const SEED: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

/// Runs `body` in a child of this test: it is given a fresh folder and the URI of the key `mint` in a token.
fn with_token(test: &str, body: impl FnOnce(&Path, &TokenUri)) {
    softhsm::with_token(test, "mint", |folder, uri| body(folder, &uri.parse().unwrap()));
}

/// Puts a secret into the token, as another program would.
fn import(uri: &TokenUri, value: &[u8], extra: &[Attribute]) {
    let module = Pkcs11::new(uri.module_path()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_token().unwrap().into_iter();
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == uri.token()).unwrap();
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    let mut template = vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Label(uri.object().as_bytes().to_vec()),
        Attribute::Value(value.to_vec()),
        Attribute::Sign(true),
    ];
    let usual =
        [Attribute::Token(true), Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false)];
    let is_changed = |usual: &Attribute| extra.iter().any(|other| other.attribute_type() == usual.attribute_type());
    template.extend(usual.into_iter().filter(|usual| !is_changed(usual)));
    template.extend(extra.iter().cloned());
    session.create_object(&template).unwrap();
    drop(session);
    module.finalize().unwrap();
}

fn file_seed(folder: &Path, seed: &[u8; 32]) -> MintSeed {
    let path = folder.join("mint.seed");
    fs::write(&path, hex::encode(seed)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    MintSeed::open(&path).unwrap()
}

/// A world that counts what is announced.
struct Announced {
    clock: AtomicU64,
    keysets: AtomicU64,
}

impl Clock for Announced {
    fn unix_now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }
}

impl KeysetLog for Announced {
    fn publish(&self, _: &PublishedKeyset) -> Result<u64, String> {
        Ok(self.keysets.fetch_add(1, Ordering::SeqCst))
    }

    fn publish_closed(&self, _: &PublishedClosing) -> Result<u64, String> {
        Ok(0)
    }
}

impl SettlementDirectory for Announced {
    fn accepts(&self, _: &str, _: &cashu::Unit) -> bool {
        true
    }
}

fn announced() -> Arc<Announced> {
    Arc::new(Announced { clock: AtomicU64::new(NOW), keysets: AtomicU64::new(0) })
}

fn open(folder: &Path, world: &Arc<Announced>, key: Option<&TokenUri>) -> Result<Mint, MintError> {
    open_with(folder, world, Options { key: key.cloned(), ..Options::default() })
}

fn open_with(folder: &Path, world: &Arc<Announced>, options: Options) -> Result<Mint, MintError> {
    Mint::open(folder, world.clone(), world.clone(), world.clone(), options)
}

/// What a key error says.
fn refused<T>(result: Result<T, MintError>) -> String {
    match result.map(drop) {
        Err(error @ MintError::Key(_)) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

/// Fails unless `told` has all of `parts`.
fn says(told: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| told.contains(part)), "should say {parts:?}, and said {told}");
}

#[test]
fn a_file_seed_derives_what_hmac_sha256_of_its_bytes_is() {
    let folder = tempfile::tempdir().unwrap();
    let seed = file_seed(folder.path(), &SEED);
    // Python: hmac.new(seed, b"habeas test" + (3).to_bytes(8, "big") + b"abc" + (0).to_bytes(8, "big"), "sha256").hexdigest()
    let derived = seed.derive("habeas test", &[b"abc", b""]).unwrap();
    assert_eq!(hex::encode(*derived), "2a57e5f112a6de2fd17e9869060d7985fc95e0160488f2d59b03c9f605e9907c");
    assert_eq!(hex::encode(seed.fingerprint()), "0479e185c5aac5c81bceeaea8abde0b4");
    // The keys of a keyset, computed from the same derivation by other hands: what was signed with them stays good.
    let keys = SigningKeyset::derive(&seed, record()).unwrap().public.keys;
    assert_eq!(keys[&Amount::new(1)].to_string(), "03516fa90829a58a268766397e15529944912ad2b72095b398f8620ff5395c3ed1");
    assert_eq!(
        keys[&Amount::new(1 << 31)].to_string(),
        "028bea35f2ed02dc078000705f4d89e897aa245ae10d81454d7cb03a22afe77ffd"
    );
}

fn record() -> KeysetRecord {
    KeysetRecord { number: 0, unit: usd(), quarter: Quarter::of(NOW), input_fee_ppk: 0, log_index: 0 }
}

#[test]
fn a_token_derives_what_a_file_of_the_same_bytes_does() {
    with_token("a_token_derives_what_a_file_of_the_same_bytes_does", |folder, uri| {
        import(uri, &SEED, &[]);
        let (file, token) = (file_seed(folder, &SEED), MintSeed::in_token(uri).unwrap());
        assert_eq!(file.fingerprint(), token.fingerprint());
        for context in [&[][..], &[&b"a"[..]], &[b"", b"bc"]] {
            assert_eq!(file.derive("p", context).unwrap(), token.derive("p", context).unwrap());
        }
        let keys = |seed| SigningKeyset::derive(seed, record()).unwrap().public;
        assert_eq!(keys(&file), keys(&token));
        // The control: one bit of the seed.
        let mut other = SEED;
        other[31] ^= 1;
        let other = file_seed(folder, &other);
        assert_ne!(other.fingerprint(), token.fingerprint());
        assert_ne!(keys(&other).id, keys(&token).id);
    });
}

#[test]
fn a_mint_moves_from_a_file_to_a_token_and_its_money_goes_on() {
    with_token("a_mint_moves_from_a_file_to_a_token_and_its_money_goes_on", |folder, uri| {
        let (place, world) = (folder.join("mint"), announced());
        let mint = open(&place, &world, None).unwrap();
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[4, 8]);
        let keys = mint.keys(None).unwrap();
        mint.close();
        drop(mint);
        let text = fs::read_to_string(place.join("mint.seed")).unwrap();
        let seed = hex::decode(text.trim()).unwrap();
        import(uri, &seed, &[]);
        // While the seed lies on the disk, a token keeps nothing.
        says(&refused(open(&place, &world, Some(uri))), &["mint.seed", "take it away"]);
        fs::rename(place.join("mint.seed"), folder.join("away")).unwrap();
        let mint = open(&place, &world, Some(uri)).unwrap();
        assert_eq!(mint.keys(None).unwrap(), keys);
        let (first, outputs) = holder.outputs(&[4, 8]);
        let fresh = holder.unblind(first, &mint.swap(&SwapRequest { inputs: tokens, outputs }).unwrap());
        assert_eq!(fresh.len(), 2);
        assert_eq!(mint.audit().unwrap().problems, Vec::<String>::new());
        assert_eq!(world.keysets.load(Ordering::SeqCst), 1, "no keyset is announced twice");
        mint.close();
        drop(mint);
        // Nothing of the folder has the seed any more; the control: the file that was taken away has it.
        assert_eq!(files_that_hold(&place, &seed), Vec::<PathBuf>::new());
        assert_eq!(files_that_hold(folder, &seed), [folder.join("away")]);
        // Without its key it does not start, and makes no other.
        says(&refused(open(&place, &world, None)), &["mint.seed is not there", "bring it back"]);
        assert!(!place.join("mint.seed").exists());
    });
}

/// The files below a folder that hold these bytes, as they are or in hex.
fn files_that_hold(folder: &Path, secret: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_that_hold(&entry.path(), secret));
        } else if kind.is_file() && holds(&fs::read(entry.path()).unwrap(), secret) {
            found.push(entry.path());
        }
    }
    found
}

/// Whether a text has a secret in it: as it is, in hex, or as `Debug` shows bytes.
fn holds(text: &[u8], secret: &[u8]) -> bool {
    let as_debug = format!("{secret:?}");
    let forms = [secret.to_vec(), hex::encode(secret).into(), hex::encode_upper(secret).into(), as_debug[1..].into()];
    forms.iter().any(|form| text.windows(form.len()).any(|part| part == form.as_slice()))
}

#[test]
fn a_token_that_is_away_stops_new_keysets_alone_and_none_is_announced() {
    with_token("a_token_that_is_away_stops_new_keysets_alone_and_none_is_announced", |folder, uri| {
        MintSeed::make_in_token(uri).unwrap();
        let world = announced();
        let mint = open(&folder.join("mint"), &world, Some(uri)).unwrap();
        let mut holder = Holder::new(&mint, 1);
        let tokens = holder.collect(&mint, "q-1", &[8]);
        let put_back = softhsm::pull(&folder.join("tokens"));
        // This quarter's keys are in memory.
        let (first, outputs) = holder.outputs(&[8]);
        let tokens = holder.unblind(first, &mint.swap(&SwapRequest { inputs: tokens, outputs }).unwrap());
        assert_eq!(mint.keysets().unwrap().len(), 1);
        // The next quarter's are not.
        world.clock.store(Quarter::of(NOW).end, Ordering::SeqCst);
        for _ in 0..2 {
            says(&refused(mint.ensure_keyset(&usd())), &["the token 'habeas' is not there", "plug it in"]);
            says(&refused(mint.keysets()), &["is not there"]);
        }
        assert_eq!((world.keysets.load(Ordering::SeqCst), mint.units().len()), (1, 1), "nothing is half done");
        assert!(mint.keys(None).unwrap().is_empty());
        // It comes back, and the mint goes on without a restart.
        put_back();
        mint.ensure_keyset(&usd()).unwrap();
        assert_eq!((world.keysets.load(Ordering::SeqCst), mint.keysets().unwrap().len()), (2, 2));
        let mut next = Holder::new(&mint, 2);
        let (_, outputs) = next.outputs(&[8]);
        mint.swap(&SwapRequest { inputs: tokens, outputs }).unwrap();
        assert!(mint.audit().unwrap().problems.is_empty());
    });
}

/// Processes that share a database look for new keysets at each request for the list: the token is asked for new ones alone.
#[test]
fn a_list_of_known_keysets_does_not_ask_the_token() {
    with_token("a_list_of_known_keysets_does_not_ask_the_token", |folder, uri| {
        MintSeed::make_in_token(uri).unwrap();
        let (place, world) = (world::Place::postgres(), announced());
        let options = Options { key: Some(uri.clone()), postgres: place.database(), ..Options::default() };
        let mint = open_with(&folder.join("one"), &world, options.clone()).unwrap();
        mint.ensure_keyset(&usd()).unwrap();
        let other = open_with(&folder.join("other"), &world, options).unwrap();
        fs::rename(uri.pin_source(), folder.join("pin-away")).unwrap();
        for mint in [&mint, &other] {
            assert_eq!(mint.keysets().unwrap().len(), 1);
        }
        // The control: a keyset that another process has made is new to this one.
        fs::rename(folder.join("pin-away"), uri.pin_source()).unwrap();
        other.ensure_keyset(&"eur".parse().unwrap()).unwrap();
        fs::rename(uri.pin_source(), folder.join("pin-away")).unwrap();
        says(&refused(mint.keysets()), &["the PIN can't be read"]);
        fs::rename(folder.join("pin-away"), uri.pin_source()).unwrap();
        assert_eq!(mint.keysets().unwrap().len(), 2);
    });
}

#[test]
fn a_wrong_pin_is_shown_once_and_never_said() {
    with_token("a_wrong_pin_is_shown_once_and_never_said", |folder, uri| {
        let seed = MintSeed::make_in_token(uri).unwrap();
        let (pin, right) = (uri.pin_source(), fs::read(uri.pin_source()).unwrap());
        let told = |change: &dyn Fn()| {
            change();
            let told = refused(MintSeed::in_token(uri));
            fs::write(pin, &right).unwrap();
            fs::set_permissions(pin, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(!told.contains(PIN) && !told.contains("wrong-pin"), "{told}");
            told
        };
        says(&told(&|| fs::write(pin, "wrong-pin-1").unwrap()), &["refuses the PIN in", &pin.display().to_string()]);
        says(&told(&|| fs::write(pin, "\n").unwrap()), &["holds no PIN"]);
        says(&told(&|| fs::write(pin, [0xff, 0xfe]).unwrap()), &["holds no PIN"]);
        says(&told(&|| fs::remove_file(pin).unwrap()), &["can't be read", &pin.display().to_string()]);
        let open = || fs::set_permissions(pin, fs::Permissions::from_mode(0o640)).unwrap();
        says(&told(&open), &["the PIN is not used", "0640", "chmod 600"]);
        // A running mint that was refused does not try again by itself: a few tries would lock the token.
        fs::write(pin, "wrong-pin-2").unwrap();
        says(&refused(seed.derive("p", &[])), &["refuses the PIN"]);
        fs::write(pin, &right).unwrap();
        says(&refused(seed.derive("p", &[])), &["is not asked again before a restart"]);
        // The control, and the restart: the right PIN opens it.
        MintSeed::in_token(uri).unwrap().derive("p", &[]).unwrap();
        assert!(!holds(format!("{seed:?} {uri:?} {uri}").as_bytes(), PIN.as_bytes()));
        assert!(files_that_hold(folder, PIN.as_bytes()).is_empty());
    });
}

#[test]
fn a_key_that_the_token_would_give_away_is_refused() {
    with_token("a_key_that_the_token_would_give_away_is_refused", |_, uri| {
        let named = |object: &str| {
            uri.to_string().replace("object=mint", &format!("object={object}")).parse::<TokenUri>().unwrap()
        };
        for (object, extra, parts) in [
            ("extractable", vec![Attribute::Extractable(true)], "CKA_EXTRACTABLE"),
            ("clear", vec![Attribute::Sensitive(false)], "CKA_SENSITIVE"),
            ("public", vec![Attribute::Private(false)], "CKA_PRIVATE"),
            ("deriving", vec![Attribute::Derive(true)], "CKA_DERIVE"),
        ] {
            import(&named(object), &SEED, &extra);
            let told = refused(MintSeed::in_token(&named(object)));
            says(&told, &[object, parts, "no seed for a mint", "make-key"]);
            assert!(!holds(told.as_bytes(), &SEED));
        }
        import(&named("short"), &SEED[..31], &[]);
        says(&refused(MintSeed::in_token(&named("short"))), &["shorter than 32 bytes"]);
        says(&refused(MintSeed::in_token(&named("none"))), &["no secret key 'none'", "make-key"]);
        import(&named("twice"), &SEED, &[]);
        // The control: alone it is good.
        MintSeed::in_token(&named("twice")).unwrap();
        import(&named("twice"), &[7; 32], &[]);
        says(&refused(MintSeed::in_token(&named("twice"))), &["several secret keys 'twice'"]);
        says(&refused(MintSeed::make_in_token(&named("twice"))), &["has a secret key 'twice' already"]);
        let other = uri.to_string().replace("token=habeas", "token=other").parse().unwrap();
        says(&refused(MintSeed::in_token(&other)), &["'other' is not there"]);
        let other = uri.to_string().replace("token=habeas", "token=habeas;serial=0").parse().unwrap();
        says(&refused(MintSeed::in_token(&other)), &["is not there", "serial number"]);
    });
}

#[test]
fn a_file_that_is_no_module_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.so");
    fs::write(&text, "no library").unwrap();
    for path in [text, folder.path().join("none.so")] {
        let path = path.display().to_string();
        let uri = format!("pkcs11:token=t;object=k?module-path={path}&pin-source=file:/none").parse().unwrap();
        says(&refused(MintSeed::in_token(&uri)), &["module", &path, "can't be loaded"]);
    }
}

#[test]
fn nothing_that_is_formatted_holds_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let (seed, world) = (file_seed(folder.path(), &SEED), announced());
    let mint = open(folder.path(), &world, None).unwrap();
    let mut holder = Holder::new(&mint, 1);
    holder.collect(&mint, "q-1", &[4, 8]);
    let mut said = format!("{seed:?} {seed:#?} {:?} {:?} {:?}", mint.options(), mint.keysets(), mint.keys(None));
    mint.close();
    drop(mint);
    // Errors: a seed that others can read, a damaged one, and one that did not make the store.
    let path = folder.path().join("mint.seed");
    let mut fail = || said.push_str(&refused(open(folder.path(), &world, None)));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fail();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, format!("{}x", hex::encode(SEED))).unwrap();
    fail();
    fs::write(&path, hex::encode([7; 32])).unwrap();
    fail();
    says(&said, &["MintSeed(in a file, fingerprint", "0644", "not 64 hex digits", "made with another one"]);
    // Derived keys are as secret.
    let derived = seed.derive("habeas mint row mac v1", &[]).unwrap();
    for secret in [&SEED, &*derived, &[7; 32]] {
        assert!(!holds(said.as_bytes(), secret), "{said}");
        // The controls: each form in which it could have been said is found.
        for form in [format!("{secret:?}"), hex::encode(secret), format!("Key({secret:?})"), hex::encode_upper(secret)]
        {
            assert!(holds(format!("{said}{form}").as_bytes(), secret));
        }
    }
}

on_both_stores! {
    fn a_store_opens_with_the_seed_that_made_it_and_no_other(place) {
        let world = world::world();
        let mint = place.open(&world);
        Holder::new(&mint, 1).collect(&mint, "q-1", &[4, 8]);
        mint.close();
        drop(mint);
        let path = place.path().join("mint.seed");
        let right = fs::read(&path).unwrap();
        let refusal = |place: &world::Place| refused(place.open_with(&world, Options::default()));
        fs::write(&path, hex::encode([7; 32])).unwrap();
        says(&refusal(place), &["made with another one", "fingerprint"]);
        fs::write(&path, &right).unwrap();
        let mint = place.open(&world);
        assert!(mint.audit().unwrap().problems.is_empty());
    }
}

#[test]
fn another_process_of_a_mint_needs_the_seed_of_the_first() {
    let (place, world) = (world::Place::postgres(), world::world());
    let mint = place.open(&world);
    let keys = Holder::new(&mint, 1).keyset;
    let fingerprint = |act: &str| {
        let mut client = ::postgres::Client::connect(&place.database().unwrap(), ::postgres::NoTls).unwrap();
        client.execute(act, &[]).unwrap()
    };
    let beside = place.beside();
    // Its own seed would give other keys for the same keysets: in a database that says whose it is, and in one from before.
    says(&refused(beside.open_with(&world, Options::default())), &["made with another one"]);
    assert_eq!(fingerprint("DELETE FROM seed"), 1);
    says(&refused(beside.open_with(&world, Options::default())), &["keysets in the database were not made with it"]);
    fs::copy(place.path().join("mint.seed"), beside.path().join("mint.seed")).unwrap();
    let other = beside.open(&world);
    assert_eq!(other.keys(Some(&keys.id)).unwrap()[0].keys, keys.keys);
    assert_eq!(fingerprint("DELETE FROM seed"), 1, "a database from before is marked when the right seed opens it");
}
