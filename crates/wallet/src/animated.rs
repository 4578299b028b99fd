//! Tokens as moving QR codes (NUT-16): a text that does not fit one code is shown as parts, one after the other, over and over.
//!
//! The parts are Uniform Resources of the type `bytes` (BCR-2020-005), as other Cashu wallets show and read them; the bytes are the
//! token string. They are cut by a fountain code, so that any sufficiently many of them will do, in any order.

use ciborium::Value;
use ur::fountain;

use crate::WalletError;

/// The longest text that is shown as one code, in bytes: it makes a QR code of version 20 (97 modules a side), the largest that
/// phones read well from a screen.
pub const STATIC_MAX_LEN: usize = 666;
/// Bytes of the token in one part: a code of version 10, which a phone reads in passing.
const PART_LEN: usize = 100;
/// Parts that a token may be cut into: five a second take minutes already, and a decoder's work grows with them.
pub const PARTS_MAX: usize = 1_000;
/// The longest part that is read: what a QR code holds of capital letters and digits.
const PART_TEXT_MAX_LEN: usize = 4_296;
/// Parts for each piece that are enough whatever was drawn by lot: with three, one token in 400 is still incomplete after a fifth
/// was lost; with five none of thousands was.
const PARTS_PER_PIECE: usize = 5;
/// Scanned parts that are looked at.
const SCANS_MAX: usize = PARTS_PER_PIECE * PARTS_MAX;
/// Different tokens that may be among the scanned parts: the last one's code was still on the screen.
const TOKENS_MAX: usize = 4;
/// The type that Cashu wallets use.
const UR_TYPE: &str = "bytes";

/// The parts of a text, without end: first each piece once, then mixtures that make up for those missed.
pub struct Parts {
    encoder: ur::Encoder<'static>,
}

impl Parts {
    /// Cuts a text.
    ///
    /// # Errors
    /// When it is too long to be shown like this.
    pub fn of(text: &str) -> Result<Self, WalletError> {
        let mut cbor = Vec::new();
        ciborium::into_writer(&Value::Bytes(text.as_bytes().to_vec()), &mut cbor)
            .expect("writing to memory does not fail");
        let encoder = ur::Encoder::bytes(&cbor, PART_LEN).expect("neither text nor part is empty");
        if encoder.fragment_count() > PARTS_MAX {
            let why =
                format!("the token takes {} parts, more than {PARTS_MAX}: send less at once", encoder.fragment_count());
            return Err(WalletError::Parts { why });
        }
        Ok(Parts { encoder })
    }

    /// As many parts as a reader needs that misses some: for a file or a pipe, where nobody says when it is enough.
    pub fn enough(self) -> impl Iterator<Item = String> {
        let parts = PARTS_PER_PIECE * self.pieces();
        self.take(parts)
    }

    /// How many pieces the text has, and parts before mixtures begin.
    pub fn pieces(&self) -> usize {
        self.encoder.fragment_count()
    }
}

impl Iterator for Parts {
    type Item = String;

    /// The next part, in capitals, for which QR codes take less room.
    fn next(&mut self) -> Option<String> {
        Some(self.encoder.next_part().expect("a part is plain data").to_uppercase())
    }
}

/// Puts scanned lines together: parts in any order, with losses and repeats, or a text that was in one code. Lines that are damaged
/// or of other tokens are passed over.
///
/// # Errors
/// When no token is complete; says how much was read.
pub fn join<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<String, WalletError> {
    let mut decoders: Vec<ur::Decoder> = Vec::new();
    let (mut read, mut passed_over) = (0, 0);
    for line in lines.into_iter().map(str::trim).filter(|line| !line.is_empty()).take(SCANS_MAX) {
        if !line.get(..3).is_some_and(|scheme| scheme.eq_ignore_ascii_case("ur:")) {
            return Ok(line.to_owned());
        }
        match scan(line, &mut decoders) {
            Scan::Whole(text) => return Ok(text),
            Scan::Part => read += 1,
            Scan::Unusable => passed_over += 1,
        }
    }
    let furthest = decoders.iter().filter_map(|d| Some((d.resolved_fragment_count()?, d.fragment_count()))).max();
    let told =
        furthest.map_or_else(String::new, |(known, of)| format!(", {known} of {of} pieces are known: scan more"));
    Err(WalletError::Parts { why: format!("{read} parts could be read, {passed_over} could not{told}") })
}

/// What a line brought.
enum Scan {
    /// The text is complete.
    Whole(String),
    /// A part.
    Part,
    /// Nothing.
    Unusable,
}

fn scan(line: &str, decoders: &mut Vec<ur::Decoder>) -> Scan {
    // Before the decoder sees it: it makes room for as many pieces as the part says that there are.
    let fields: Vec<&str> = line.split('/').collect();
    if line.len() > PART_TEXT_MAX_LEN || !fields[0][3..].eq_ignore_ascii_case(UR_TYPE) {
        return Scan::Unusable;
    }
    match fields.as_slice() {
        [_, _] => {
            let payload = ur::decode(line).ok().and_then(|(_, payload)| text_of(&payload));
            return payload.map_or(Scan::Unusable, Scan::Whole);
        }
        [_, place, _] => {
            let count = place.split_once('-').and_then(|(_, count)| count.parse::<usize>().ok());
            if count.is_none_or(|count| count > PARTS_MAX) {
                return Scan::Unusable;
            }
        }
        _ => return Scan::Unusable,
    }
    for decoder in decoders.iter_mut() {
        match decoder.receive(line) {
            Ok(()) => return progress(decoder),
            // Of another token.
            Err(ur::ur::Error::Fountain(fountain::Error::InconsistentPart)) => {}
            Err(_) => return Scan::Unusable,
        }
    }
    let mut decoder = ur::Decoder::default();
    if decoders.len() >= TOKENS_MAX || decoder.receive(line).is_err() {
        return Scan::Unusable;
    }
    let scan = progress(&decoder);
    decoders.push(decoder);
    scan
}

fn progress(decoder: &ur::Decoder) -> Scan {
    match decoder.message() {
        Ok(Some(message)) => text_of(&message).map_or(Scan::Unusable, Scan::Whole),
        Ok(None) => Scan::Part,
        // Complete, and the sum is wrong.
        Err(_) => Scan::Unusable,
    }
}

/// The text in a byte string of CBOR.
fn text_of(cbor: &[u8]) -> Option<String> {
    match ciborium::from_reader(cbor).ok()? {
        Value::Bytes(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    fn text(length: usize) -> String {
        "cashuB".chars().chain(('a'..='z').cycle()).take(length).collect()
    }

    fn parts(text: &str, how_many: usize) -> Vec<String> {
        Parts::of(text).unwrap().take(how_many).collect()
    }

    fn joined(lines: &[String]) -> Result<String, WalletError> {
        join(lines.iter().map(String::as_str))
    }

    #[test]
    fn any_sufficient_parts_in_any_order_make_the_token() {
        let seed: u64 = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for length in [1, 99, 700, 5_000, 40_000] {
            let text = text(length);
            let count = Parts::of(&text).unwrap().pieces();
            let mut lines = parts(&text, 10 * count + 40);
            lines.retain(|_| rng.random_bool(0.5));
            lines.extend(lines.clone().into_iter().take(3));
            lines.shuffle(&mut rng);
            assert_eq!(joined(&lines).unwrap(), text, "{length}");
            let lower: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
            assert_eq!(joined(&lower).unwrap(), text);
            if count > 1 {
                let few = joined(&parts(&text, count - 1)).unwrap_err().to_string();
                assert!(few.contains(&format!("{} of {count} pieces", count - 1)), "{few}");
            }
        }
    }

    #[test]
    fn a_damaged_part_is_passed_over() {
        let whole = text(900);
        let mut lines = parts(&whole, Parts::of(&whole).unwrap().pieces());
        let place = lines[2].len() - 30;
        let changed = if lines[2].as_bytes()[place] == b'A' { "E" } else { "A" };
        lines[2].replace_range(place..place + 1, changed);
        let told = joined(&lines).unwrap_err().to_string();
        assert!(told.contains("1 could not"), "{told}");
        // Made good by a mixture or a second look.
        lines.extend(parts(&whole, 60));
        assert_eq!(joined(&lines).unwrap(), whole);
    }

    #[test]
    fn parts_of_other_tokens_do_not_stand_in_the_way() {
        let (old, new) = (text(2_000), text(2_001));
        let mut lines = parts(&old, 5);
        lines.extend(parts(&new, 60));
        assert_eq!(joined(&lines).unwrap(), new);
    }

    #[test]
    fn hostile_parts_cost_little() {
        // The count is the part's own word: millions of pieces would be gigabytes.
        let body = parts(&text(700), 1)[0].rsplit('/').next().unwrap().to_owned();
        for place in ["1-4294967295", "4294967295-1", "1-0", "0-1", "1-", "-", "x-y", "1-99999999999999999999"] {
            let told = joined(&[format!("UR:BYTES/{place}/{body}")]).unwrap_err().to_string();
            assert!(told.contains("0 parts could be read, 1 could not"), "{place}: {told}");
        }
        for bad in ["ur:", "ur:bytes", "ur:bytes/", "ur:bytes/1-2", "ur:bytes/a/b/c/d", "ur:seed/1-2/aeae", "UR:é"] {
            assert!(joined(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(joined(&["ur:bytes/".to_owned() + &"ae".repeat(1 << 20)]).is_err());
        assert!(joined(&[]).unwrap_err().to_string().contains("0 parts"));
        assert!(Parts::of(&text(PART_LEN * PARTS_MAX + 1)).is_err());
    }

    #[test]
    fn parts_that_fit_one_another_and_not_their_sum_make_nothing() {
        let whole = text(900);
        let forge = |line: &String| {
            let (start, body) = line.rsplit_once('/').unwrap();
            let cbor = ur::bytewords::decode(&body.to_lowercase(), ur::bytewords::Style::Minimal).unwrap();
            let Value::Array(mut fields) = ciborium::from_reader(cbor.as_slice()).unwrap() else { panic!("an array") };
            let Some(Value::Bytes(data)) = fields.last_mut() else { panic!("bytes") };
            data[50] ^= 1;
            let mut cbor = Vec::new();
            ciborium::into_writer(&Value::Array(fields), &mut cbor).unwrap();
            format!("{start}/{}", ur::bytewords::encode(&cbor, ur::bytewords::Style::Minimal))
        };
        let mut lines = parts(&whole, Parts::of(&whole).unwrap().pieces());
        lines[3] = forge(&lines[3]);
        assert!(joined(&lines).unwrap_err().to_string().contains("1 could not"));
    }

    #[test]
    fn one_code_is_read_as_it_is() {
        assert_eq!(joined(&["  cashuBabc ".to_owned()]).unwrap(), "cashuBabc");
        let mut cbor = Vec::new();
        ciborium::into_writer(&Value::Bytes(b"cashuBabc".to_vec()), &mut cbor).unwrap();
        assert_eq!(joined(&[ur::encode(&cbor, &ur::Type::Bytes)]).unwrap(), "cashuBabc");
        assert!(joined(&[ur::encode(b"\xff", &ur::Type::Bytes)]).is_err());
    }
}
