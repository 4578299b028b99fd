//! Outputs: made from the seed, blinded, and turned into tokens once the mint has signed.

use cashu::secret::{BlindingFactor, Secret, Seed};
use cashu::{Amount, BlindSignature, BlindedMessage, Keyset, KeysetId, Point, Proof, bdhke, dleq};

use crate::WalletError;
use crate::state::{LockedOutput, OutputRef};

/// An output with what only the wallet knows about it.
pub struct Output {
    keyset: KeysetId,
    amount: Amount,
    secret: Secret,
    r: BlindingFactor,
    p2pk_e: Option<Point>,
    blinded: Point,
}

impl Output {
    /// Makes an output, or makes it again: the same seed and reference give the same output (NUT-13).
    pub fn derive(seed: &Seed, reference: OutputRef) -> Result<Self, WalletError> {
        let (secret, r) = seed.derive(&reference.keyset, reference.counter)?;
        Self::new(reference.keyset, reference.amount, secret, r, None)
    }

    /// The output of a lock, as it was written down.
    pub fn locked(lock: &LockedOutput) -> Result<Self, WalletError> {
        Self::new(lock.keyset, lock.amount, lock.secret.clone(), lock.r.clone(), lock.p2pk_e)
    }

    fn new(
        keyset: KeysetId,
        amount: Amount,
        secret: Secret,
        r: BlindingFactor,
        p2pk_e: Option<Point>,
    ) -> Result<Self, WalletError> {
        let blinded = bdhke::blind(secret.as_bytes(), r.key()).ok_or(WalletError::MintMisbehaves)?;
        Ok(Output { keyset, amount, secret, r, p2pk_e, blinded })
    }

    /// What goes to the mint.
    pub fn message(&self) -> BlindedMessage {
        BlindedMessage { amount: self.amount, id: self.keyset, blinded: self.blinded }
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
            p2pk_e: self.p2pk_e,
        })
    }
}
