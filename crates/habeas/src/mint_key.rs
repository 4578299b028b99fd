//! `habeas mint make-key`: the mint's seed, made in a PKCS#11 token.

use anyhow::Result;
use mint::TokenUri;
use mint::keysets::MintSeed;

/// Makes the key and says how to start a mint with it.
pub fn make_key(uri: &TokenUri) -> Result<()> {
    let seed = MintSeed::make_in_token(uri)?;
    println!("key: '{}' in the token '{}'", uri.object(), uri.token());
    println!("fingerprint: {}", hex::encode(seed.fingerprint()));
    println!(
        "It is in the token alone: back the token up in the way that its maker gives, before money depends on it."
    );
    println!("start a new mint with: habeas up --mint-key '{uri}'");
    Ok(())
}
