//! Signatures that say what they sign, in their protected header (RFC 9596): what CWTs are.

use ciborium::Value;
use es256::{KeyError, Signer};

use crate::{Malformed, Sign1, decode, encode, to_be_signed};

/// COSE's label of the type (RFC 9596).
pub const TYP: i64 = 16;

/// COSE_Sign1 with ES256 and a type in the protected header, its payload carried.
///
/// # Errors
/// When the key can't sign.
pub fn sign1_typed(
    key: &dyn Signer,
    typ: &str,
    payload: Vec<u8>,
    unprotected: Vec<(Value, Value)>,
) -> Result<Value, KeyError> {
    let protected = encode(&Value::Map(vec![(Value::from(1), Value::from(-7)), (Value::from(TYP), Value::from(typ))]));
    let signature = key.sign(&to_be_signed(&protected, &payload))?;
    let parts =
        [Value::Bytes(protected), Value::Map(unprotected), Value::Bytes(payload), Value::Bytes(signature.into())];
    Ok(Value::Array(parts.into()))
}

impl Sign1<'_> {
    /// The protected header: a map of which no label stands twice.
    ///
    /// # Errors
    /// When it is none.
    pub fn protected_header(&self) -> Result<Value, Malformed> {
        let header = decode(self.protected)?;
        let labels = header.as_map().ok_or(Malformed)?;
        let twice =
            labels.iter().enumerate().any(|(n, (label, _))| labels[..n].iter().any(|(other, _)| other == label));
        if twice { Err(Malformed) } else { Ok(header) }
    }
}

#[cfg(test)]
mod tests {
    use es256::SigningKey;

    use super::*;

    #[test]
    fn a_type_is_signed() {
        let key = SigningKey::generate().unwrap();
        let signed = sign1_typed(&key, "application/x+cwt", b"payload".to_vec(), Vec::new()).unwrap();
        let parsed = Sign1::parse(&signed).unwrap();
        assert!(parsed.holds(key.public_key(), b"payload"));
        assert!(!parsed.holds(key.public_key(), b"other"));
        let header = parsed.protected_header().unwrap();
        assert_eq!(header.as_map().unwrap()[1], (Value::from(TYP), Value::from("application/x+cwt")));
        let Value::Array(mut parts) = signed.clone() else { unreachable!() };
        let swapped = [(1, -7), (16, 0), (16, 1)].map(|(label, value)| (Value::from(label), Value::from(value)));
        parts[0] = Value::Bytes(encode(&Value::Map(swapped.into())));
        let changed = Value::Array(parts);
        let parsed = Sign1::parse(&changed).unwrap();
        assert!(!parsed.holds(key.public_key(), b"payload"), "the type is covered");
        assert_eq!(parsed.protected_header(), Err(Malformed));
    }

    #[test]
    fn a_longer_input_is_read_when_it_is_expected() {
        let long = encode(&Value::Bytes(vec![0; crate::INPUT_MAX_LEN]));
        assert_eq!(decode(&long), Err(Malformed));
        assert!(crate::decode_up_to(&long, long.len()).is_ok());
        assert_eq!(crate::decode_up_to(&long, long.len() - 1), Err(Malformed));
    }
}
