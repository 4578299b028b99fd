//! `habeas mint make-key`: the mint's seed, made in a PKCS#11 token.

use anyhow::Result;
use clap::Subcommand;
use mint::TokenUri;
use mint::keysets::MintSeed;

/// Commands about the mint.
#[derive(Subcommand)]
pub enum MintCommand {
    /// Make the seed of a new mint in a PKCS#11 token: random, and never to leave it
    MakeKey {
        /// Which key of which token: 'pkcs11:token=…;object=…?module-path=…&pin-source=file:/…' (RFC 7512)
        #[arg(long)]
        key: String,
    },
}

/// Does what a command says.
pub fn run(command: MintCommand) -> Result<()> {
    match command {
        MintCommand::MakeKey { key } => make_key(&key.parse()?),
    }
}

/// Makes the key and says how to start a mint with it.
fn make_key(uri: &TokenUri) -> Result<()> {
    let seed = MintSeed::make_in_token(uri)?;
    println!("key: '{}' in the token '{}'", uri.object(), uri.token());
    println!("fingerprint: {}", hex::encode(seed.fingerprint()));
    println!(
        "It is in the token alone: back the token up in the way that its maker gives, before money depends on it."
    );
    println!("start a new mint with: habeas up --mint-key '{uri}'");
    Ok(())
}
