//! What each of two processes says of itself first.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use super::HandoverError;

/// Each side says one. Fields may be added behind the last one: a process ignores what it does not
/// know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// A random number of the process that served last: this one, or the dead one whose sockets it
    /// keeps.
    pub(super) owner: u64,
    /// The network namespace: device and inode; zeros if it is not known.
    pub(super) namespace: (u64, u64),
    /// Its number in the row of processes, from 0.
    pub(super) epoch: u32,
    /// How long ago the first process in the row was started, in milliseconds.
    pub(super) uptime: u64,
    /// A bit for each thing that not every process with this protocol number does. A thing is done
    /// only if both processes have its bit. There is none so far.
    pub(super) features: u32,
}

impl Hello {
    pub(super) fn new(owner: u64, epoch: u32, uptime: Duration) -> Self {
        Self {
            owner,
            namespace: network_namespace(),
            epoch,
            uptime: uptime.as_millis().try_into().unwrap_or(u64::MAX),
            features: super::hooks::features(),
        }
    }

    /// Whether this process can do with one that says `theirs`.
    pub(super) fn fits(&self, theirs: &Self) -> Result<(), HandoverError> {
        let unknown = (0, 0);
        if self.namespace != theirs.namespace
            && self.namespace != unknown
            && theirs.namespace != unknown
        {
            return Err(HandoverError::Namespace {
                theirs: theirs.namespace.1,
                ours: self.namespace.1,
            });
        }
        Ok(())
    }
}

/// A number that no other process has.
pub(super) fn random() -> u64 {
    // The keys are random, and the value that is hashed does not matter.
    RandomState::new().build_hasher().finish()
}

#[cfg(target_os = "linux")]
fn network_namespace() -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;

    let file = std::fs::metadata("/proc/self/ns/net");
    file.map_or((0, 0), |file| (file.dev(), file.ino()))
}

#[cfg(not(target_os = "linux"))]
fn network_namespace() -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_that_differ_are_refused_with_both_named() {
        let hello = |namespace| Hello {
            namespace,
            ..Hello::new(0, 0, Duration::ZERO)
        };
        let error = hello((4, 10))
            .fits(&hello((4, 11)))
            .expect_err("they differ");
        assert_eq!(
            error.to_string(),
            "the other process is in network namespace 11, this one in 10"
        );
        assert!(hello((4, 10)).fits(&hello((5, 10))).is_err());
        assert!(hello((4, 10)).fits(&hello((4, 10))).is_ok());
        assert!(hello((4, 10)).fits(&hello((0, 0))).is_ok(), "not known");
    }
}
