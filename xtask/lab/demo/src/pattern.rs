//! Bytes that can be verified at any offset: what was sent is a function of a seed, so nothing need
//! be kept to check it.

/// The pattern's byte at an offset of the stream named by `seed`.
fn byte(seed: u64, offset: u64) -> u8 {
    // splitmix64's finalizer over the number of the eight-byte block.
    let mut block = seed.wrapping_add((offset / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    block = (block ^ (block >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    block = (block ^ (block >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (block ^ (block >> 31)).to_le_bytes()[(offset % 8) as usize]
}

/// `length` bytes of the pattern from `offset` on.
pub(crate) fn bytes(seed: u64, offset: u64, length: usize) -> Vec<u8> {
    (offset..).take(length).map(|at| byte(seed, at)).collect()
}

/// The first offset at which `seen`, read at `offset`, is not what the pattern says.
pub(crate) fn mismatch(seed: u64, offset: u64, seen: &[u8]) -> Option<u64> {
    (offset..)
        .zip(seen)
        .find(|&(at, &seen)| byte(seed, at) != seen)
        .map(|(at, _)| at)
}

/// A running checksum (FNV-1a, 64 bit): order, length and every byte count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// The checksum of these bytes alone.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }

    /// Counts further bytes in.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_read_anywhere_equals_that_piece_of_the_whole() {
        let whole = bytes(7, 0, 100);
        assert_eq!(bytes(7, 13, 40), whole[13..53]);
        assert_eq!(mismatch(7, 13, &whole[13..53]), None);
    }

    #[test]
    fn one_wrong_or_missing_byte_is_found_where_it_is() {
        let mut piece = bytes(7, 100, 50);
        piece[20] ^= 1;
        assert_eq!(mismatch(7, 100, &piece), Some(120));
        let mut gap = bytes(7, 0, 64);
        gap.remove(30);
        assert!(mismatch(7, 0, &gap).is_some_and(|at| at >= 30));
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(Checksum::of(b"").to_string(), "cbf29ce484222325");
        assert_eq!(Checksum::of(b"a").to_string(), "af63dc4c8601ec8c");
    }
}
