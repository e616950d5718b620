//! The numbers, flags and addresses in a message.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use crate::ListenAddress;

/// Writes an address as [`Reader::address`] reads it.
pub(super) fn put_address(out: &mut Vec<u8>, address: &ListenAddress) {
    let (kind, text) = match address {
        ListenAddress::Socket(address) => (1, address.to_string().into_bytes()),
        ListenAddress::Unix(path) => (2, path.as_os_str().as_bytes().to_vec()),
        // There is no socket, so it is never among those that are given away.
        ListenAddress::Internal => (0, Vec::new()),
    };
    // A bound path has at most 108 bytes.
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.extend([kind, length]);
    out.extend(&text[..usize::from(length)]);
}

/// What is left of some bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn skip_rest(&mut self) {
        self.0 = &[];
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn address(&mut self) -> Option<ListenAddress> {
        let kind = self.u8()?;
        let length = self.u8()?;
        let text = self.take(length.into())?;
        match kind {
            1 => std::str::from_utf8(text)
                .ok()?
                .parse()
                .ok()
                .map(ListenAddress::Socket),
            2 => Some(ListenAddress::Unix(
                OsString::from_vec(text.to_vec()).into(),
            )),
            _ => None,
        }
    }
}
