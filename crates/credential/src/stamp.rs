//! Stamps: what the service gives out and knows again without keeping it. Each is an id and the time of its end, under a MAC.

use aws_lc_rs::hmac;
use jose::base64url;

/// Bytes of an id, of a time, and of the MAC.
const ID_LEN: usize = 16;
const TIME_LEN: usize = 8;
const MAC_LEN: usize = 32;

/// The key that stamps are made and known with.
pub(crate) struct Stamps(hmac::Key);

impl Stamps {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Stamps(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A stamp of an id until a time (Unix), bound to a text that is not in it.
    pub(crate) fn make(&self, id: [u8; ID_LEN], until: u64, bound_to: &str) -> String {
        let contents = [&id[..], &until.to_be_bytes()].concat();
        let tag = hmac::sign(&self.0, &[&contents, bound_to.as_bytes()].concat());
        base64url::encode([&contents, tag.as_ref()].concat())
    }

    /// The id in a stamp, if it is one of ours, bound to this text and in time.
    pub(crate) fn read(&self, stamp: &str, bound_to: &str, now: u64) -> Option<[u8; ID_LEN]> {
        let bytes = base64url::decode(stamp).ok().filter(|bytes| bytes.len() == ID_LEN + TIME_LEN + MAC_LEN)?;
        let (contents, tag) = bytes.split_at(ID_LEN + TIME_LEN);
        hmac::verify(&self.0, &[contents, bound_to.as_bytes()].concat(), tag).ok()?;
        let (id, until) = contents.split_at(ID_LEN);
        (now < u64::from_be_bytes(until.try_into().ok()?)).then_some(id.try_into().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_known_by_its_key_in_time_and_for_what_it_is_bound_to() {
        let stamps = Stamps::new(&[1; 32]);
        let stamp = stamps.make([7; 16], 100, "device");
        assert_eq!(stamps.read(&stamp, "device", 99), Some([7; 16]));
        assert_eq!(stamps.read(&stamp, "device", 100), None, "its time is over");
        assert_eq!(stamps.read(&stamp, "another", 99), None);
        assert_eq!(Stamps::new(&[2; 32]).read(&stamp, "device", 99), None);
        let mut changed = base64url::decode(&stamp).unwrap();
        for place in 0..changed.len() {
            changed[place] ^= 1;
            assert_eq!(stamps.read(&base64url::encode(&changed), "device", 99), None, "byte {place}");
            changed[place] ^= 1;
        }
        assert_eq!(stamps.read(&stamp[1..], "device", 99), None);
    }
}
