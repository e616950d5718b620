//! The name of one connection: a number that finds its entry without a search and is never mistaken
//! for another.

use std::{fmt, str::FromStr};

const ENTRY_BITS: u32 = 26;
/// How many connections one shard has room for: 67 million.
pub(crate) const MAX_ENTRIES: u32 = 1 << ENTRY_BITS;
/// How many shards a tracker can have.
pub(crate) const MAX_SHARDS: usize = 64;

/// Names one tracked connection: shard (6 bits), entry (26 bits), generation (32 bits).
///
/// The generation is counted per shard, so the id of a connection that is gone finds nothing until
/// four thousand million others have opened in its shard. It prints and parses as sixteen
/// hexadecimal digits (a JSON reader that keeps numbers in doubles would damage it as a number).
///
/// ```
/// use conn_tracker::{ConnId, ConnTracker, Peer};
/// let tracker = ConnTracker::new();
/// let guard = tracker.group("ingress", 1).open(Peer::Unknown);
/// assert_eq!(guard.id().to_string().parse::<ConnId>(), Ok(guard.id()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    pub(crate) const fn new(shard: usize, entry: u32, generation: u32) -> Self {
        Self(((shard as u64) << (32 + ENTRY_BITS)) | ((entry as u64) << 32) | generation as u64)
    }

    /// The id as a number, for a label or a log field.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn shard(self) -> usize {
        (self.0 >> (32 + ENTRY_BITS)) as usize
    }

    #[inline]
    pub(crate) const fn entry(self) -> u32 {
        (self.0 >> 32) as u32 & (MAX_ENTRIES - 1)
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl From<ConnId> for u64 {
    fn from(id: ConnId) -> Self {
        id.0
    }
}

/// Any number is an id; one that no connection has finds nothing.
impl From<u64> for ConnId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

impl FromStr for ConnId {
    type Err = ParseConnIdError;

    fn from_str(text: &str) -> Result<Self, ParseConnIdError> {
        // Exactly what Display writes: `from_str_radix` alone would also take a sign.
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseConnIdError);
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| ParseConnIdError)
    }
}

/// The text is not a [`ConnId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a connection id is sixteen hexadecimal digits")]
#[non_exhaustive]
pub struct ParseConnIdError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_of_an_id_do_not_overlap(shard in 0..MAX_SHARDS, entry in 0..MAX_ENTRIES, generation: u32) {
            let id = ConnId::new(shard, entry, generation);
            prop_assert_eq!((id.shard(), id.entry(), id.generation()), (shard, entry, generation));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn a_number_with_a_sign_or_of_another_length_is_refused() {
        for text in [
            "",
            "1",
            "+000000000000001",
            "00000000000000001",
            "g000000000000000",
        ] {
            assert_eq!(text.parse::<ConnId>(), Err(ParseConnIdError), "{text:?}");
        }
    }
}
