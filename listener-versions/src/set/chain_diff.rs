//! Which filter chains of a listener stay in an update: those whose identity and content are the same.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::ListenerConfig;

/// What identifies a filter chain within its listener: its name, or the connections that it takes.
///
/// Operators see it beside the connections that the chain serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(Arc<str>);

impl ChainId {
    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for ChainId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an update does to the filter chains of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainDiff {
    /// For each chain of the new configuration, in its order: the chain of the old one that it is, unchanged; `None` if it is new.
    pub(crate) kept: Vec<Option<usize>>,
    /// The chains of the old configuration that are changed or gone.
    pub(crate) gone: Vec<usize>,
}

impl ChainDiff {
    /// Compares the chains of two configurations of a listener. The order of chains means nothing.
    ///
    /// Content is compared only between chains of the same identity: as many comparisons as chains, if identities are unique.
    pub(crate) fn between<C: ListenerConfig>(
        (old, before): (&C, &[ChainId]),
        (new, now): (&C, &[ChainId]),
    ) -> Self {
        let mut left: HashMap<&ChainId, Vec<usize>> = HashMap::with_capacity(before.len());
        for (index, id) in before.iter().enumerate() {
            left.entry(id).or_default().push(index);
        }
        let kept = now.iter().enumerate().map(|(index, id)| {
            let same = left.get_mut(id)?;
            let at = same
                .iter()
                .position(|old_index| old.same_chain(*old_index, new, index))?;
            Some(same.remove(at))
        });
        let kept = kept.collect();
        let mut gone: Vec<usize> = left.into_values().flatten().collect();
        gone.sort_unstable();
        Self { kept, gone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ListenAddress;

    /// Chains by identity and content.
    struct Chains(ListenAddress, Vec<(&'static str, u32)>);

    impl ListenerConfig for Chains {
        fn name(&self) -> &str {
            "a"
        }

        fn address(&self) -> &ListenAddress {
            &self.0
        }

        fn same_content(&self, other: &Self) -> bool {
            self.1 == other.1
        }

        fn chains(&self) -> Vec<ChainId> {
            self.1.iter().map(|(id, _)| ChainId::from(*id)).collect()
        }

        fn same_chain(&self, index: usize, other: &Self, other_index: usize) -> bool {
            self.1[index] == other.1[other_index]
        }
    }

    fn diff(old: &[(&'static str, u32)], new: &[(&'static str, u32)]) -> (Vec<Option<usize>>, Vec<usize>) {
        let chains = |chains: &[_]| Chains("127.0.0.1:1".parse().unwrap(), chains.to_vec());
        let (old, new) = (chains(old), chains(new));
        let ChainDiff { kept, gone } = ChainDiff::between((&old, &old.chains()), (&new, &new.chains()));
        (kept, gone)
    }

    #[test]
    fn a_chain_is_kept_if_identity_and_content_are_the_same_wherever_it_stands() {
        let old = [("kept", 1), ("changed", 1), ("removed", 1)];
        let new = [("added", 1), ("changed", 2), ("kept", 1)];
        assert_eq!(diff(&old, &new), (vec![None, None, Some(0)], vec![1, 2]));
        assert_eq!(diff(&old, &old), (vec![Some(0), Some(1), Some(2)], vec![]));
    }

    #[test]
    fn the_only_chain_changed_leaves_none() {
        assert_eq!(diff(&[("any", 1)], &[("any", 2)]), (vec![None], vec![0]));
    }

    #[test]
    fn another_identity_is_another_chain() {
        assert_eq!(diff(&[("x", 1)], &[("y", 1)]), (vec![None], vec![0]));
    }

    #[test]
    fn chains_that_share_an_identity_are_told_apart_by_content_and_each_is_kept_once() {
        assert_eq!(
            diff(&[("x", 1), ("x", 2)], &[("x", 2), ("x", 2), ("x", 1)]),
            (vec![Some(1), None, Some(0)], vec![])
        );
    }
}
