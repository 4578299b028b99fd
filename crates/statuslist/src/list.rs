use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::StatusListError;

/// The longest list that is made or read, bytes before compression: 16 million statuses of 2 bits. A few kilobytes decompress to
/// gigabytes, so reading stops here.
pub const LIST_MAX_LEN: usize = 4 * 1024 * 1024;

/// What is said of a credential (section "Status Types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 0: good.
    Valid,
    /// 1: revoked, for good.
    Invalid,
    /// 2: not good for now.
    Suspended,
    /// Whatever else an application says; never 0 to 2.
    Other(u8),
}

impl From<u8> for Status {
    fn from(value: u8) -> Self {
        match value {
            0 => Status::Valid,
            1 => Status::Invalid,
            2 => Status::Suspended,
            other => Status::Other(other),
        }
    }
}

impl From<Status> for u8 {
    fn from(status: Status) -> u8 {
        match status {
            Status::Valid => 0,
            Status::Invalid => 1,
            Status::Suspended => 2,
            Status::Other(other) => other,
        }
    }
}

/// Statuses of 1, 2, 4 or 8 bits each, the first in the lowest bits of the first byte (section "Compressed Byte Array").
#[derive(Clone, PartialEq, Eq)]
pub struct StatusList {
    bits: u8,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for StatusList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StatusList({} of {} bits)", self.len(), self.bits)
    }
}

fn check_bits(bits: u8) -> Result<(), StatusListError> {
    if matches!(bits, 1 | 2 | 4 | 8) { Ok(()) } else { Err(StatusListError::Bits) }
}

impl StatusList {
    /// A list in which all are valid, for at least that many (a byte is filled up).
    ///
    /// # Errors
    /// For other numbers of bits, and a list longer than [`LIST_MAX_LEN`].
    pub fn new(bits: u8, len: usize) -> Result<Self, StatusListError> {
        check_bits(bits)?;
        let bytes = len.div_ceil(8 / usize::from(bits));
        if bytes > LIST_MAX_LEN {
            return Err(StatusListError::TooLarge);
        }
        Ok(StatusList { bits, bytes: vec![0; bytes] })
    }

    /// A list of bytes as they are before compression, for whoever keeps them.
    ///
    /// # Errors
    /// As [`StatusList::new`].
    pub fn from_bytes(bits: u8, bytes: Vec<u8>) -> Result<Self, StatusListError> {
        check_bits(bits)?;
        if bytes.len() > LIST_MAX_LEN { Err(StatusListError::TooLarge) } else { Ok(StatusList { bits, bytes }) }
    }

    /// The bytes before compression.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bits of a status.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// How many statuses there are.
    pub fn len(&self) -> usize {
        self.bytes.len() * (8 / usize::from(self.bits))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Byte, shift and mask of a status.
    fn place(&self, index: u64) -> Result<(usize, u8, u8), StatusListError> {
        let index = usize::try_from(index).map_err(|_| StatusListError::OutOfRange)?;
        let per_byte = 8 / usize::from(self.bits);
        if index >= self.len() {
            return Err(StatusListError::OutOfRange);
        }
        let shift = u8::try_from(index % per_byte).expect("less than 8") * self.bits;
        Ok((index / per_byte, shift, u8::MAX >> (8 - self.bits)))
    }

    /// The status at an index.
    ///
    /// # Errors
    /// [`StatusListError::OutOfRange`].
    pub fn get(&self, index: u64) -> Result<Status, StatusListError> {
        let (byte, shift, mask) = self.place(index)?;
        Ok(Status::from(self.bytes[byte] >> shift & mask))
    }

    /// Changes the status at an index.
    ///
    /// # Errors
    /// [`StatusListError::OutOfRange`], and [`StatusListError::StatusTooLarge`] when it does not fit into the bits of this list.
    pub fn set(&mut self, index: u64, status: Status) -> Result<(), StatusListError> {
        let (byte, shift, mask) = self.place(index)?;
        let status = u8::from(status);
        if status > mask {
            return Err(StatusListError::StatusTooLarge);
        }
        self.bytes[byte] = self.bytes[byte] & !(mask << shift) | status << shift;
        Ok(())
    }

    /// The list compressed with zlib (RFC 1950), at the highest level, as the draft recommends.
    pub fn compress(&self) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&self.bytes).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
    }

    /// Decompresses a list.
    ///
    /// # Errors
    /// For other numbers of bits, a list longer than [`LIST_MAX_LEN`], and anything but one whole zlib stream.
    pub fn decompress(bits: u8, compressed: &[u8]) -> Result<Self, StatusListError> {
        check_bits(bits)?;
        let mut rest = compressed;
        let mut bytes = Vec::new();
        // One byte more than is taken, so that a longer list is seen.
        let mut decoder = ZlibDecoder::new(&mut rest).take(LIST_MAX_LEN as u64 + 1);
        decoder.read_to_end(&mut bytes).map_err(|_| StatusListError::Compression)?;
        if bytes.len() > LIST_MAX_LEN {
            return Err(StatusListError::TooLarge);
        }
        if rest.is_empty() { Ok(StatusList { bits, bytes }) } else { Err(StatusListError::Compression) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_its_own_bits() {
        for bits in [1, 2, 4, 8] {
            let mut list = StatusList::new(bits, 50).unwrap();
            let most = u8::MAX >> (8 - bits);
            assert!((50..58).contains(&list.len()));
            let last = list.len() as u64 - 1;
            for index in 0..=last {
                list.set(index, Status::from(most)).unwrap();
                for other in 0..=last {
                    assert_eq!(u8::from(list.get(other).unwrap()), if other <= index { most } else { 0 });
                }
            }
            list.set(7, Status::Valid).unwrap();
            assert_eq!(list.get(7), Ok(Status::Valid));
            assert_eq!(u8::from(list.get(6).unwrap()), most);
            assert_eq!(u8::from(list.get(8).unwrap()), most);
            if bits < 8 {
                assert_eq!(list.set(0, Status::Other(most + 1)), Err(StatusListError::StatusTooLarge));
            }
            for index in [last + 1, u64::MAX] {
                assert_eq!(list.get(index), Err(StatusListError::OutOfRange));
                assert_eq!(list.set(index, Status::Valid), Err(StatusListError::OutOfRange));
            }
            assert_eq!(StatusList::decompress(bits, &list.compress()), Ok(list));
        }
        assert_eq!(StatusList::new(2, 0).unwrap().get(0), Err(StatusListError::OutOfRange));
        for bits in [0, 3, 16, 255] {
            assert_eq!(StatusList::new(bits, 1), Err(StatusListError::Bits));
            assert_eq!(StatusList::from_bytes(bits, vec![0]), Err(StatusListError::Bits));
            assert_eq!(StatusList::decompress(bits, &[]), Err(StatusListError::Bits));
        }
    }

    #[test]
    fn ten_million_fit_and_more_than_the_limit_do_not() {
        let mut list = StatusList::new(2, 10_000_000).unwrap();
        list.set(9_999_999, Status::Suspended).unwrap();
        assert_eq!(StatusList::decompress(2, &list.compress()).unwrap().get(9_999_999), Ok(Status::Suspended));
        assert!(StatusList::new(8, LIST_MAX_LEN).is_ok());
        assert_eq!(StatusList::new(8, LIST_MAX_LEN + 1), Err(StatusListError::TooLarge));
        assert_eq!(StatusList::from_bytes(1, vec![0; LIST_MAX_LEN + 1]), Err(StatusListError::TooLarge));
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let compress = |len: usize| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&vec![0; len]).unwrap();
            encoder.finish().unwrap()
        };
        assert!(StatusList::decompress(1, &compress(LIST_MAX_LEN)).is_ok());
        assert_eq!(StatusList::decompress(1, &compress(LIST_MAX_LEN + 1)), Err(StatusListError::TooLarge));
        let bomb = compress(64 * LIST_MAX_LEN);
        assert!(bomb.len() < LIST_MAX_LEN / 8);
        assert_eq!(StatusList::decompress(1, &bomb), Err(StatusListError::TooLarge));
    }

    #[test]
    fn damaged_and_continued_streams_are_refused() {
        let mut list = StatusList::new(1, 4_000).unwrap();
        (0..4_000).step_by(7).for_each(|index| list.set(index, Status::Invalid).unwrap());
        let whole = list.compress();
        for end in 0..whole.len() {
            assert_eq!(StatusList::decompress(1, &whole[..end]), Err(StatusListError::Compression), "{end}");
        }
        let more = [&whole[..], &[0]].concat();
        assert_eq!(StatusList::decompress(1, &more), Err(StatusListError::Compression));
        // The checksum notices a change of the content.
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(StatusList::decompress(1, &changed), Err(StatusListError::Compression));
    }
}
