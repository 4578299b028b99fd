//! Tokens as people hand them over: `cashuB…` (NUT-00 version 4, CBOR), and `cashuA…` (version 3, JSON), which is read only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::dleq::{Dleq, ProofDleq};
use crate::keyset::SHORT_ID_LEN;
use crate::secret::{BlindingFactor, Secret};
use crate::{Amount, DecodeError, KeysetId, Point, Proof, Unit};

/// The longest token string that is read: some thousand proofs. A longer one would only fill memory.
pub const TOKEN_MAX_LEN: usize = 512 * 1024;

const NOT_A_TOKEN: DecodeError =
    DecodeError::new("a token", "text that begins with 'cashuB' (or 'cashuA'), complete and unchanged");

/// Tokens of one mint and unit, with a memo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The mint's address, without a slash at the end.
    pub mint: String,
    /// The unit; a version 3 token may leave it out.
    pub unit: Option<Unit>,
    /// A note from the sender.
    pub memo: Option<String>,
    groups: Vec<(KeysetRef, Vec<Proof>)>,
}

/// A keyset id as a token may carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeysetRef {
    Full(KeysetId),
    /// The first 8 bytes of a version 2 id.
    Short([u8; SHORT_ID_LEN]),
}

impl KeysetRef {
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        match (bytes.first(), <[u8; SHORT_ID_LEN]>::try_from(bytes)) {
            (Some(0x01), Ok(short)) => Ok(KeysetRef::Short(short)),
            _ => KeysetId::from_bytes(bytes).map(KeysetRef::Full),
        }
    }

    fn resolve(self, known: &[KeysetId]) -> Result<KeysetId, DecodeError> {
        let short = match self {
            KeysetRef::Full(id) => return Ok(id),
            KeysetRef::Short(short) => short,
        };
        let mut matches = known.iter().filter(|id| id.as_bytes().starts_with(&short));
        match (matches.next(), matches.next()) {
            (Some(id), None) => Ok(*id),
            (None, _) => Err(DecodeError::new("a token of this mint", "a short keyset id that the mint knows")),
            (Some(_), Some(_)) => {
                Err(DecodeError::new("a token that can be read", "a short keyset id that names one keyset"))
            }
        }
    }
}

impl Token {
    /// A token of proofs that all have one unit.
    pub fn new(mint: &str, unit: Unit, memo: Option<String>, proofs: Vec<Proof>) -> Self {
        Self::grouped(mint, Some(unit), memo, proofs)
    }

    fn grouped(mint: &str, unit: Option<Unit>, memo: Option<String>, proofs: Vec<Proof>) -> Self {
        let mut groups: Vec<(KeysetRef, Vec<Proof>)> = Vec::new();
        for proof in proofs {
            let id = KeysetRef::Full(proof.id);
            match groups.iter_mut().find(|(group, _)| *group == id) {
                Some((_, members)) => members.push(proof),
                None => groups.push((id, vec![proof])),
            }
        }
        Token { mint: mint.trim_end_matches('/').to_owned(), unit, memo, groups }
    }

    /// The value of all proofs, or `None` past 2⁶⁴ − 1.
    pub fn amount(&self) -> Option<Amount> {
        Amount::checked_sum(self.groups.iter().flat_map(|(_, proofs)| proofs).map(|proof| proof.amount))
    }

    /// The proofs, short keyset ids resolved among the mint's keysets.
    ///
    /// # Errors
    /// When a short id names no keyset of `known`, or more than one (NUT-00: fail, don't guess).
    pub fn into_proofs(self, known: &[KeysetId]) -> Result<Vec<Proof>, DecodeError> {
        let mut all = Vec::new();
        for (id, proofs) in self.groups {
            let id = id.resolve(known)?;
            all.extend(proofs.into_iter().map(|proof| Proof { id, ..proof }));
        }
        Ok(all)
    }

    /// The token as `cashuB…`, with full keyset ids.
    pub fn encode(&self) -> String {
        let wire = v4::Token {
            t: self
                .groups
                .iter()
                .map(|(id, proofs)| v4::Group {
                    i: v4::Bytes(match id {
                        KeysetRef::Full(id) => id.as_bytes().to_vec(),
                        KeysetRef::Short(short) => short.to_vec(),
                    }),
                    p: proofs.iter().map(v4::Proof::from).collect(),
                })
                .collect(),
            d: self.memo.clone(),
            m: self.mint.clone(),
            u: self.unit.clone(),
        };
        let mut cbor = Vec::new();
        ciborium::into_writer(&wire, &mut cbor).expect("writing to memory does not fail");
        format!("cashuB{}", URL_SAFE_NO_PAD.encode(cbor))
    }

    /// Reads `cashuB…` or `cashuA…`, with or without `cashu:` before it and padding behind it.
    ///
    /// # Errors
    /// When the text is too long, or anything in it is not as NUT-00 says.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let text = text.trim();
        let text = text.strip_prefix("cashu:").unwrap_or(text);
        if text.len() > TOKEN_MAX_LEN {
            return Err(DecodeError::new("a token", "at most 512 KiB of text"));
        }
        let bytes = |body: &str| URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).map_err(|_| NOT_A_TOKEN);
        if let Some(body) = text.strip_prefix("cashuB") {
            ciborium::from_reader::<v4::Token, _>(bytes(body)?.as_slice()).map_err(|_| NOT_A_TOKEN)?.try_into()
        } else if let Some(body) = text.strip_prefix("cashuA") {
            serde_json::from_slice::<v3::Token>(&bytes(body)?).map_err(|_| NOT_A_TOKEN)?.try_into()
        } else {
            Err(NOT_A_TOKEN)
        }
    }
}

/// Version 4, as it stands in CBOR.
mod v4 {
    use super::*;

    #[derive(Serialize, Deserialize)]
    pub struct Token {
        pub t: Vec<Group>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub d: Option<String>,
        pub m: String,
        pub u: Option<Unit>,
    }

    #[derive(Serialize, Deserialize)]
    pub struct Group {
        pub i: Bytes,
        pub p: Vec<Proof>,
    }

    #[derive(Serialize, Deserialize)]
    pub struct Proof {
        pub a: Amount,
        pub s: String,
        pub c: Bytes,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub d: Option<ProofDleq>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub w: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pe: Option<Bytes>,
    }

    #[derive(Serialize, Deserialize)]
    pub struct ProofDleq {
        pub e: Bytes,
        pub s: Bytes,
        pub r: Bytes,
    }

    /// A CBOR byte string.
    pub struct Bytes(pub Vec<u8>);

    impl Bytes {
        fn array(self) -> Result<[u8; 32], DecodeError> {
            self.0.try_into().map_err(|_| NOT_A_TOKEN)
        }
    }

    impl Serialize for Bytes {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = Bytes;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a byte string")
                }
                fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                    Ok(Bytes(bytes.to_vec()))
                }
            }
            deserializer.deserialize_bytes(Visitor)
        }
    }

    impl From<&super::Proof> for Proof {
        fn from(proof: &super::Proof) -> Self {
            Proof {
                a: proof.amount,
                s: proof.secret.as_str().to_owned(),
                c: Bytes(proof.signature.to_bytes().to_vec()),
                d: proof.dleq.as_ref().map(|with_r| ProofDleq {
                    e: Bytes(with_r.dleq.e.to_vec()),
                    s: Bytes(with_r.dleq.s.to_vec()),
                    r: Bytes(with_r.r.to_bytes().to_vec()),
                }),
                w: proof.witness.clone(),
                pe: proof.p2pk_e.map(|key| Bytes(key.to_bytes().to_vec())),
            }
        }
    }

    impl TryFrom<ProofDleq> for super::ProofDleq {
        type Error = DecodeError;

        fn try_from(wire: ProofDleq) -> Result<Self, DecodeError> {
            let dleq = Dleq { e: wire.e.array()?, s: wire.s.array()? };
            Ok(super::ProofDleq { dleq, r: BlindingFactor::from_bytes(wire.r.array()?)? })
        }
    }

    impl TryFrom<Token> for super::Token {
        type Error = DecodeError;

        fn try_from(wire: Token) -> Result<Self, DecodeError> {
            let mut groups = Vec::with_capacity(wire.t.len());
            for group in wire.t {
                let id = KeysetRef::from_bytes(&group.i.0)?;
                let mut proofs = Vec::with_capacity(group.p.len());
                for proof in group.p {
                    proofs.push(super::Proof {
                        amount: proof.a,
                        id: placeholder(id),
                        secret: Secret::new(proof.s)?,
                        signature: Point::from_bytes(&proof.c.0)?,
                        witness: proof.w,
                        dleq: proof.d.map(TryInto::try_into).transpose()?,
                        p2pk_e: proof.pe.map(|key| Point::from_bytes(&key.0)).transpose()?,
                    });
                }
                groups.push((id, proofs));
            }
            Ok(super::Token { mint: wire.m.trim_end_matches('/').to_owned(), unit: wire.u, memo: wire.d, groups })
        }
    }

    /// The id that stands in a proof until [`super::Token::into_proofs`] resolves it.
    fn placeholder(id: KeysetRef) -> KeysetId {
        match id {
            KeysetRef::Full(id) => id,
            KeysetRef::Short(short) => KeysetId::V1(short),
        }
    }
}

/// Version 3, as it stands in JSON.
mod v3 {
    use super::*;

    #[derive(Deserialize)]
    pub struct Token {
        token: Vec<Entry>,
        unit: Option<Unit>,
        memo: Option<String>,
    }

    #[derive(Deserialize)]
    struct Entry {
        mint: String,
        proofs: Vec<Proof>,
    }

    impl TryFrom<Token> for super::Token {
        type Error = DecodeError;

        fn try_from(wire: Token) -> Result<Self, DecodeError> {
            let mut entries = wire.token.into_iter();
            match (entries.next(), entries.next()) {
                (Some(entry), None) => Ok(super::Token::grouped(&entry.mint, wire.unit, wire.memo, entry.proofs)),
                _ => Err(DecodeError::new("a token that can be received", "proofs of one mint")),
            }
        }
    }
}

impl ProofDleq {
    /// Puts a DLEQ proof together with the blinding factor that makes it convincing to another party.
    pub fn new(dleq: Dleq, r: BlindingFactor) -> Self {
        ProofDleq { dleq, r }
    }
}
