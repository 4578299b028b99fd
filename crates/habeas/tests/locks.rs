//! Locked tokens and moving QR codes, as people use them: `wallet key`, `send --lock`, `send --animated`, `receive --parts`.

mod running;

use std::fs;
use std::path::Path;

use running::{Programme, bad, good};

fn balance(wallet: &Path) -> String {
    good(&format!("wallet balance --wallet {}", wallet.display())).trim().to_owned()
}

#[test]
fn a_locked_token_is_its_receivers_alone() {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let wallets = [0, 1, 2].map(|number| programme.wallet(number));
    let [payer, receiver, third] = wallets.each_ref().map(|wallet| wallet.display());
    good(&format!("wallet collect --wallet {payer}"));

    let key = good(&format!("wallet key --wallet {receiver}"));
    let key = key.trim();
    assert_ne!(good(&format!("wallet key --wallet {receiver}")).trim(), key, "a key is given out once");
    let token = good(&format!("wallet send 12.34 --lock {key} --wallet {payer}"));
    let others = ["locked", "not this wallet's"];
    bad(&format!("wallet receive {} --wallet {third}", token.trim()), &others);
    bad(&format!("wallet receive {} --wallet {payer}", token.trim()), &others);
    assert_eq!(good(&format!("wallet receive {} --wallet {receiver}", token.trim())).trim(), "received 12.34 usd");
    bad(&format!("wallet receive {} --wallet {receiver}", token.trim()), &["spent already"]);

    // To the key as it is, and to its x alone, as other wallets show it.
    let plain = good(&format!("wallet send 1.00 --lock {} --plain-lock --wallet {payer}", &key[2..]));
    bad(&format!("wallet receive {} --wallet {third}", plain.trim()), &others);
    good(&format!("wallet receive {} --wallet {receiver}", plain.trim()));
    let by_x = good(&format!("wallet send 1.00 --lock {} --wallet {payer}", &key[2..]));
    good(&format!("wallet receive {} --wallet {receiver}", by_x.trim()));
    assert_eq!(balance(&wallets[1]), "14.34 usd");
    assert_eq!(balance(&wallets[0]), "35.66 usd");
    assert!(good(&format!("wallet history --wallet {payer}")).contains(token.trim()));
    programme.assert_balanced();
}

#[test]
fn a_long_token_goes_over_as_parts() {
    let programme = Programme::with_officers();
    let id = programme.enrolled_and_funded("4000.00");
    programme.approve(&id);
    let wallets = [0, 1].map(|number| programme.wallet(number));
    let [payer, receiver] = wallets.each_ref().map(|wallet| wallet.display());
    good(&format!("wallet collect --wallet {payer}"));
    let key = good(&format!("wallet key --wallet {receiver}"));

    let shown = good(&format!("wallet send 12.34 --lock {} --animated --wallet {payer}", key.trim()));
    let mut parts: Vec<&str> = shown.lines().collect();
    assert!(parts.len() > 10 && parts.iter().all(|part| part.starts_with("UR:BYTES/")), "{shown}");
    // Backwards, every fifth lost, one damaged.
    let few = parts[..3].join("\n");
    parts.reverse();
    let mut place = 0;
    parts.retain(|_| {
        place += 1;
        place % 5 != 0
    });
    let damaged = parts[4].replace("UR:BYTES/", "UR:BYTES/1");
    parts[4] = &damaged;
    let file = programme.files.join("scanned");
    fs::write(&file, few).unwrap();
    let receive = format!("wallet receive --parts {} --wallet {receiver}", file.display());
    bad(&receive, &["3 parts could be read", "scan more"]);
    fs::write(&file, parts.join("\n")).unwrap();
    assert_eq!(good(&receive).trim(), "received 12.34 usd");

    // What fits one code is one line.
    let short = good(&format!("wallet send 0.08 --animated --wallet {payer}"));
    assert!(short.starts_with("cashuB") && short.lines().count() == 1, "{short}");
    fs::write(&file, &short).unwrap();
    assert_eq!(good(&receive).trim(), "received 0.08 usd");
    assert_eq!(balance(&wallets[1]), "12.42 usd");
}
