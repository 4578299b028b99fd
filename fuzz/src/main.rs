//! One target under libFuzzer. `FUZZ_TARGET` names it; `FUZZ_TARGET=list` lists all; with `FUZZ_SEEDS` its seeds are written into
//! that folder, and nothing is run. `scripts/fuzz.sh` does all of this.

#![no_main]

use std::process::exit;
use std::sync::OnceLock;

static PLAY: OnceLock<fn(&[u8]) -> bool> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: start(), |data: &[u8]| {
    // Whether it was taken is for the tests: what was refused may lead to what is taken.
    PLAY.get().expect("set at the start")(data);
});

#[expect(clippy::disallowed_methods, reason = "libFuzzer has the main function; no store is open here")]
fn start() {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if name == "list" {
        fuzz::TARGETS.iter().for_each(|target| println!("{}", target.name));
        exit(0);
    }
    let Some(target) = fuzz::target(&name) else {
        eprintln!("set FUZZ_TARGET to one of the names that FUZZ_TARGET=list prints");
        exit(2);
    };
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
            if let Err(error) = std::fs::write(&path, seed) {
                eprintln!("{} can't be written: {error}", path.display());
                exit(2);
            }
        }
        exit(0);
    }
    PLAY.get_or_init(|| target.play);
}
