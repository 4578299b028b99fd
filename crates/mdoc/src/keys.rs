//! Keys of a session: HKDF with SHA-256 over an agreed secret, with the transcript as salt (clauses 9.1.1.5, 9.1.3.5).

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use es256::{AgreementKey, KeyError, PublicKey};
use zeroize::Zeroizing;

use crate::transcript::SessionTranscript;

/// The key for one use, named by `info`.
pub(crate) fn derive(
    ours: &AgreementKey,
    theirs: &PublicKey,
    transcript: &SessionTranscript,
    info: &str,
) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let shared = ours.agree(theirs)?;
    let extracted = Salt::new(HKDF_SHA256, &transcript.salt()).extract(&*shared);
    let mut key = Zeroizing::new([0; 32]);
    let info = [info.as_bytes()];
    let expanded = extracted.expand(&info, HKDF_SHA256).map_err(|_| KeyError::Unusable)?;
    expanded.fill(&mut *key).map_err(|_| KeyError::Unusable)?;
    Ok(key)
}

/// The key of the device's MAC (clause 9.1.3.5).
pub(crate) fn device_mac(
    ours: &AgreementKey,
    theirs: &PublicKey,
    transcript: &SessionTranscript,
) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    derive(ours, theirs, transcript, "EMacKey")
}
