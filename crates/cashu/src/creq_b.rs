//! Payment requests in bech32m (NUT-26): fields as tag, length and value, in an alphabet for which QR codes have a mode of their own.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Bech32m, Checksum, Hrp};

use crate::payment_request::{Nut10Option, PaymentRequest, REQUEST_MAX_LEN, Transport};
use crate::{Amount, DecodeError, Unit};

const HRP: Hrp = Hrp::parse_unchecked("creqb");
/// NIP-19: a bare key, and a key with relays.
const NPUB: Hrp = Hrp::parse_unchecked("npub");
const NPROFILE: Hrp = Hrp::parse_unchecked("nprofile");

/// The tags of a request.
mod tag {
    pub const ID: u8 = 1;
    pub const AMOUNT: u8 = 2;
    pub const UNIT: u8 = 3;
    pub const SINGLE_USE: u8 = 4;
    pub const MINT: u8 = 5;
    pub const DESCRIPTION: u8 = 6;
    pub const TRANSPORT: u8 = 7;
    pub const NUT10: u8 = 8;
}

/// The tags within a transport and within a NUT-10 condition.
mod sub {
    pub const KIND: u8 = 1;
    pub const TARGET: u8 = 2;
    pub const TUPLE: u8 = 3;
}

/// The tags within an `nprofile` (NIP-19), whose lengths have one byte.
mod profile {
    pub const KEY: u8 = 0;
    pub const RELAY: u8 = 1;
}

const KIND_NOSTR: u8 = 0;
const KIND_POST: u8 = 1;
/// The unit that is written as one zero byte.
const SHORT_UNIT: &str = "sat";
/// The name of the tuples in which relays of a Nostr transport are written.
const RELAY_TUPLE: &str = "r";

const REFUSED: DecodeError = DecodeError::new(
    "a payment request",
    "text that begins with 'creqA' or, in one case throughout, with 'CREQB1', complete and unchanged",
);
const NOT_WRITABLE: DecodeError = DecodeError::new(
    "a payment request that bech32m can hold",
    "transports 'post' or 'nostr' (npub or nprofile), tags of 1 to 255 bytes, and 8 KiB of text in all",
);

/// A checksum of bech32 without its limit of 1,023 characters, past which it finds fewer errors but still nearly all: NUT-26 and
/// NIP-19 name no limit, and requests with several mints and relays pass it.
macro_rules! long {
    ($name:ident, $standard:ty) => {
        enum $name {}

        impl Checksum for $name {
            type MidstateRepr = <$standard as Checksum>::MidstateRepr;
            type CorrectionField = <$standard as Checksum>::CorrectionField;
            const ROOT_GENERATOR: Self::CorrectionField = <$standard as Checksum>::ROOT_GENERATOR;
            const ROOT_EXPONENTS: core::ops::RangeInclusive<usize> = <$standard as Checksum>::ROOT_EXPONENTS;
            const CODE_LENGTH: usize = REQUEST_MAX_LEN;
            const CHECKSUM_LENGTH: usize = <$standard as Checksum>::CHECKSUM_LENGTH;
            const GENERATOR_SH: [Self::MidstateRepr; 5] = <$standard as Checksum>::GENERATOR_SH;
            const TARGET_RESIDUE: Self::MidstateRepr = <$standard as Checksum>::TARGET_RESIDUE;
        }
    };
}

long!(LongBech32, Bech32);
long!(LongBech32m, Bech32m);

/// The request in upper case, for which QR codes take the least room.
pub fn encode(request: &PaymentRequest) -> Result<String, DecodeError> {
    let mut tlv = Tlv::default();
    if let Some(id) = &request.id {
        tlv.put(tag::ID, id.as_bytes())?;
    }
    if let Some(amount) = request.amount {
        tlv.put(tag::AMOUNT, &amount.minor().to_be_bytes())?;
    }
    match request.unit.as_ref().map(Unit::as_str) {
        None => {}
        Some(SHORT_UNIT) => tlv.put(tag::UNIT, &[0])?,
        Some(unit) => tlv.put(tag::UNIT, unit.as_bytes())?,
    }
    if let Some(single_use) = request.single_use {
        tlv.put(tag::SINGLE_USE, &[u8::from(single_use)])?;
    }
    for mint in &request.mints {
        tlv.put(tag::MINT, mint.as_bytes())?;
    }
    if let Some(description) = &request.description {
        tlv.put(tag::DESCRIPTION, description.as_bytes())?;
    }
    for transport in &request.transports {
        tlv.put(tag::TRANSPORT, &encode_transport(transport)?)?;
    }
    if let Some(asked) = &request.nut10 {
        tlv.put(tag::NUT10, &encode_nut10(asked)?)?;
    }
    bech32::encode_upper::<LongBech32m>(HRP, &tlv.0).map_err(|_| NOT_WRITABLE)
}

/// Reads a request. Fields that are not known are passed over, as NUT-26 asks; one that stands twice is refused, since two wallets
/// could read it in two ways.
pub fn decode(text: &str) -> Result<PaymentRequest, DecodeError> {
    let mut request = PaymentRequest::default();
    for field in fields(&bytes_of::<LongBech32m>(text, HRP).ok_or(REFUSED)?) {
        let (tag, value) = field?;
        match tag {
            tag::ID => once(&mut request.id, string(value)?)?,
            tag::AMOUNT => {
                let minor = u64::from_be_bytes(value.try_into().map_err(|_| REFUSED)?);
                once(&mut request.amount, Amount::new(minor))?;
            }
            tag::UNIT => {
                let unit = if value == [0] { SHORT_UNIT.to_owned() } else { string(value)? };
                once(&mut request.unit, unit.parse()?)?;
            }
            tag::SINGLE_USE => once(&mut request.single_use, boolean(value)?)?,
            tag::MINT => request.mints.push(string(value)?),
            tag::DESCRIPTION => once(&mut request.description, string(value)?)?,
            tag::TRANSPORT => request.transports.extend(decode_transport(value)?),
            tag::NUT10 => once(&mut request.nut10, decode_nut10(value)?)?,
            _ => {}
        }
    }
    Ok(request)
}

fn encode_transport(transport: &Transport) -> Result<Vec<u8>, DecodeError> {
    let mut tlv = Tlv::default();
    let mut relays = Vec::new();
    match transport.kind.as_str() {
        "post" => {
            tlv.put(sub::KIND, &[KIND_POST])?;
            tlv.put(sub::TARGET, transport.target.as_bytes())?;
        }
        "nostr" => {
            let (key, named) = read_nostr(&transport.target).ok_or(NOT_WRITABLE)?;
            relays = named;
            tlv.put(sub::KIND, &[KIND_NOSTR])?;
            tlv.put(sub::TARGET, &key)?;
        }
        _ => return Err(NOT_WRITABLE),
    }
    for tuple in transport.tags.iter().flatten() {
        tlv.put(sub::TUPLE, &encode_tuple(tuple)?)?;
    }
    for relay in relays {
        tlv.put(sub::TUPLE, &encode_tuple(&[RELAY_TUPLE.to_owned(), relay])?)?;
    }
    Ok(tlv.0)
}

/// `None` for a transport of a kind that is not known: a request may offer others beside it.
fn decode_transport(bytes: &[u8]) -> Result<Option<Transport>, DecodeError> {
    let Sub { kind, target, mut tuples } = read_sub(bytes)?;
    let (kind, target) = match kind {
        KIND_POST => ("post", string(target)?),
        KIND_NOSTR => {
            let is_relay = |tuple: &Vec<String>| tuple[0] == RELAY_TUPLE;
            let relays: Vec<String> =
                tuples.iter().filter(|tuple| is_relay(tuple)).flat_map(|t| t[1..].to_vec()).collect();
            tuples.retain(|tuple| !is_relay(tuple));
            ("nostr", write_nostr(target.try_into().map_err(|_| REFUSED)?, &relays)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(Transport { kind: kind.to_owned(), target, tags: (!tuples.is_empty()).then_some(tuples) }))
}

/// The names of NUT-10 kinds, by number. A kind without a name keeps its number as its name, so that it is not lost and nobody
/// takes the request for one without a lock.
const NUT10_KINDS: [&str; 2] = ["P2PK", "HTLC"];

fn encode_nut10(asked: &Nut10Option) -> Result<Vec<u8>, DecodeError> {
    let kind = match NUT10_KINDS.iter().position(|name| *name == asked.kind) {
        Some(place) => u8::try_from(place).map_err(|_| NOT_WRITABLE)?,
        None => asked.kind.parse().map_err(|_| NOT_WRITABLE)?,
    };
    let mut tlv = Tlv::default();
    tlv.put(sub::KIND, &[kind])?;
    tlv.put(sub::TARGET, asked.data.as_bytes())?;
    for tuple in asked.tags.iter().flatten() {
        tlv.put(sub::TUPLE, &encode_tuple(tuple)?)?;
    }
    Ok(tlv.0)
}

fn decode_nut10(bytes: &[u8]) -> Result<Nut10Option, DecodeError> {
    let Sub { kind, target, tuples } = read_sub(bytes)?;
    let kind = NUT10_KINDS.get(usize::from(kind)).map_or_else(|| kind.to_string(), |name| (*name).to_owned());
    Ok(Nut10Option { kind, data: string(target)?, tags: (!tuples.is_empty()).then_some(tuples) })
}

/// What transports and conditions have in common.
struct Sub<'a> {
    kind: u8,
    target: &'a [u8],
    tuples: Vec<Vec<String>>,
}

fn read_sub(bytes: &[u8]) -> Result<Sub<'_>, DecodeError> {
    let (mut kind, mut target, mut tuples) = (None, None, Vec::new());
    for field in fields(bytes) {
        let (tag, value) = field?;
        match (tag, value) {
            (sub::KIND, [number]) => once(&mut kind, *number)?,
            (sub::KIND, _) => return Err(REFUSED),
            (sub::TARGET, target_bytes) => once(&mut target, target_bytes)?,
            (sub::TUPLE, tuple) => tuples.push(decode_tuple(tuple)?),
            _ => {}
        }
    }
    Ok(Sub { kind: kind.ok_or(REFUSED)?, target: target.ok_or(REFUSED)?, tuples })
}

/// A tag with its values: each text behind one byte of length.
fn encode_tuple(tuple: &[String]) -> Result<Vec<u8>, DecodeError> {
    if tuple.first().is_none_or(String::is_empty) {
        return Err(NOT_WRITABLE);
    }
    let mut bytes = Vec::new();
    for text in tuple {
        bytes.push(u8::try_from(text.len()).map_err(|_| NOT_WRITABLE)?);
        bytes.extend(text.as_bytes());
    }
    Ok(bytes)
}

fn decode_tuple(mut bytes: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut tuple = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (text, rest) = rest.split_at_checked(usize::from(*length)).ok_or(REFUSED)?;
        tuple.push(string(text)?);
        bytes = rest;
    }
    if tuple.first().is_none_or(String::is_empty) { Err(REFUSED) } else { Ok(tuple) }
}

/// The key and the relays of an `npub` or `nprofile`.
fn read_nostr(text: &str) -> Option<([u8; 32], Vec<String>)> {
    if let Some(key) = bytes_of::<LongBech32>(text, NPUB) {
        return Some((key.try_into().ok()?, Vec::new()));
    }
    let bytes = bytes_of::<LongBech32>(text, NPROFILE)?;
    let (mut key, mut relays, mut rest) = (None, Vec::new(), bytes.as_slice());
    while let [tag, length, more @ ..] = rest {
        let (value, more) = more.split_at_checked(usize::from(*length))?;
        match *tag {
            profile::KEY => key = Some(value.try_into().ok()?),
            profile::RELAY => relays.push(std::str::from_utf8(value).ok()?.to_owned()),
            _ => {}
        }
        rest = more;
    }
    rest.is_empty().then_some((key?, relays))
}

/// An `npub`, or an `nprofile` where there are relays.
fn write_nostr(key: [u8; 32], relays: &[String]) -> Result<String, DecodeError> {
    if relays.is_empty() {
        return bech32::encode_lower::<LongBech32>(NPUB, &key).map_err(|_| REFUSED);
    }
    let mut bytes = vec![profile::KEY, 32];
    bytes.extend(key);
    for relay in relays {
        bytes.extend([profile::RELAY, u8::try_from(relay.len()).map_err(|_| REFUSED)?]);
        bytes.extend(relay.as_bytes());
    }
    bech32::encode_lower::<LongBech32>(NPROFILE, &bytes).map_err(|_| REFUSED)
}

fn bytes_of<Ck: Checksum>(text: &str, hrp: Hrp) -> Option<Vec<u8>> {
    let checked = CheckedHrpstring::new::<Ck>(text).ok()?;
    (checked.hrp() == hrp).then(|| checked.byte_iter().collect())
}

/// Fields being written: a byte of tag, two of length, the value.
#[derive(Default)]
struct Tlv(Vec<u8>);

impl Tlv {
    fn put(&mut self, tag: u8, value: &[u8]) -> Result<(), DecodeError> {
        self.0.push(tag);
        self.0.extend(u16::try_from(value.len()).map_err(|_| NOT_WRITABLE)?.to_be_bytes());
        self.0.extend(value);
        Ok(())
    }
}

/// The fields of bytes; an error ends them.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), DecodeError>> {
    std::iter::from_fn(move || {
        let (tag, value, more) = match rest {
            [] => return None,
            [tag, high, low, more @ ..] => {
                let split = more.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])));
                split.map(|(value, more)| (*tag, value, more))
            }
            _ => None,
        }
        .map_or((0, None, &[][..]), |(tag, value, more)| (tag, Some(value), more));
        rest = more;
        Some(value.map(|value| (tag, value)).ok_or(REFUSED))
    })
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(DecodeError::new("a payment request", "each field once")),
    }
}

fn string(bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| REFUSED)
}

fn boolean(bytes: &[u8]) -> Result<bool, DecodeError> {
    match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(REFUSED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tlv: &[u8]) -> String {
        bech32::encode_upper::<LongBech32m>(HRP, tlv).unwrap()
    }

    #[test]
    fn the_long_checksums_are_sound() {
        LongBech32::sanity_check();
        LongBech32m::sanity_check();
        let request =
            PaymentRequest { mints: vec!["https://mint.example.com".into(); 100], ..PaymentRequest::default() };
        let long = encode(&request).unwrap();
        assert!(long.len() > 1_023);
        assert_eq!(decode(&long), Ok(request.clone()));
        assert!(encode(&PaymentRequest { mints: vec!["x".repeat(6_000)], ..request }).is_err(), "longer than is read");
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let request =
            decode(&text(&[0x7f, 0, 2, 1, 2, tag::ID, 0, 1, b'a', tag::TRANSPORT, 0, 8, 1, 0, 1, 9, 2, 0, 1, b'x']));
        assert_eq!(request, Ok(PaymentRequest { id: Some("a".into()), ..PaymentRequest::default() }));
        // A lock of a kind that is not known stays a lock, and is written again as it was.
        let locked = text(&[tag::NUT10, 0, 8, 1, 0, 1, 9, 2, 0, 1, b'x']);
        let request = decode(&locked).unwrap();
        assert_eq!(request.nut10.as_ref().unwrap().kind, "9");
        assert_eq!(encode(&request).unwrap(), locked);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bad in [
            &[tag::ID][..],
            &[tag::ID, 0],
            &[tag::ID, 0, 2, b'a'],
            &[tag::ID, 0xff, 0xff, b'a'],
            &[tag::ID, 0, 1, 0xff],
            &[tag::ID, 0, 1, b'a', tag::ID, 0, 1, b'b'],
            &[tag::AMOUNT, 0, 1, 9],
            &[tag::UNIT, 0, 1, 1],
            &[tag::UNIT, 0, 0],
            &[tag::SINGLE_USE, 0, 1, 2],
            &[tag::TRANSPORT, 0, 0],
            &[tag::TRANSPORT, 0, 4, sub::KIND, 0, 1, KIND_POST],
            &[tag::TRANSPORT, 0, 8, sub::KIND, 0, 1, KIND_NOSTR, sub::TARGET, 0, 1, b'x'],
            &[tag::NUT10, 0, 5, sub::KIND, 0, 2, 0, 0],
            &[tag::NUT10, 0, 12, sub::KIND, 0, 1, 0, sub::TARGET, 0, 0, sub::TUPLE, 0, 2, 5, b'x'],
            &[tag::NUT10, 0, 11, sub::KIND, 0, 1, 0, sub::TARGET, 0, 0, sub::TUPLE, 0, 1, 0],
        ] {
            assert!(decode(&text(bad)).is_err(), "{bad:?}");
        }
        let good = text(&[tag::ID, 0, 1, b'a']);
        assert!(decode(&good).is_ok() && decode(&good.to_lowercase()).is_ok());
        let mixed = good[..10].to_lowercase() + &good[10..];
        let bech32 = bech32::encode_upper::<Bech32>(HRP, &[tag::ID, 0, 1, b'a']).unwrap();
        let other = bech32::encode_upper::<Bech32m>(NPUB, &[tag::ID, 0, 1, b'a']).unwrap();
        for bad in [mixed, bech32, other, good[..good.len() - 1].to_owned(), good.replace('Q', "P")] {
            assert!(decode(&bad).is_err(), "{bad}");
        }
        let transport = |kind: &str, target: &str, tag: &str| PaymentRequest {
            transports: vec![Transport {
                kind: kind.into(),
                target: target.into(),
                tags: Some(vec![vec![tag.into()]]),
            }],
            ..PaymentRequest::default()
        };
        assert!(encode(&transport("post", "https://shop.example", "tag")).is_ok());
        for bad in [
            transport("pigeon", "", "tag"),
            transport("nostr", "npub1nonsense", "tag"),
            transport("post", "https://shop.example", ""),
            transport("post", "https://shop.example", &"x".repeat(256)),
        ] {
            assert!(encode(&bad).is_err(), "{bad:?}");
        }
    }
}
