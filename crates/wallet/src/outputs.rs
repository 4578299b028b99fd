//! Outputs: made from the seed, blinded, and turned into tokens once the mint has signed.

use cashu::secret::{BlindingFactor, Secret, Seed};
use cashu::{BlindSignature, BlindedMessage, Keyset, Point, Proof, bdhke, dleq};

use crate::WalletError;
use crate::state::OutputRef;

/// An output with what only the wallet knows about it.
pub struct Output {
    reference: OutputRef,
    secret: Secret,
    r: BlindingFactor,
    blinded: Point,
}

impl Output {
    /// Makes an output, or makes it again: the same seed and reference give the same output (NUT-13).
    pub fn derive(seed: &Seed, reference: OutputRef) -> Result<Self, WalletError> {
        let (secret, r) = seed.derive(&reference.keyset, reference.counter)?;
        let blinded = bdhke::blind(secret.as_bytes(), r.key()).ok_or(WalletError::MintMisbehaves)?;
        Ok(Output { reference, secret, r, blinded })
    }

    /// What goes to the mint.
    pub fn message(&self) -> BlindedMessage {
        BlindedMessage { amount: self.reference.amount, id: self.reference.keyset, blinded: self.blinded }
    }

    /// `Y` of the token that this output becomes.
    pub fn y(&self) -> Point {
        self.secret.y()
    }

    /// The token, from the mint's signature.
    ///
    /// # Errors
    /// [`WalletError::Tagged`] when the DLEQ proof is missing or wrong: the signature was made with a key other than
    /// the one in the log, which is how an operator would mark one person's money. [`WalletError::MintMisbehaves`]
    /// when amount or keyset are not those asked for.
    pub fn unblind(self, signature: &BlindSignature, keyset: &Keyset) -> Result<Proof, WalletError> {
        let asked = self.message();
        if (signature.amount, signature.id) != (asked.amount, asked.id) || keyset.id != asked.id {
            return Err(WalletError::MintMisbehaves);
        }
        let mint_key = keyset.keys.get(&asked.amount).ok_or(WalletError::MintMisbehaves)?;
        let proof = signature.dleq.as_ref().ok_or(WalletError::Tagged)?;
        if !dleq::verify(proof, &self.blinded, &signature.signature, mint_key) {
            return Err(WalletError::Tagged);
        }
        let unblinded =
            bdhke::unblind(&signature.signature, self.r.key(), mint_key).ok_or(WalletError::MintMisbehaves)?;
        Ok(Proof {
            amount: asked.amount,
            id: asked.id,
            secret: self.secret,
            signature: unblinded,
            witness: None,
            dleq: None,
        })
    }
}
