//! Which filter chains of a listener stay in an update: those whose identity and content are the
//! same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ListenerConfig;

/// For each chain of the new configuration, in its order, whether the old one has it unchanged. The
/// order of chains means nothing.
///
/// Content is compared only between chains of the same identity, so there are as many comparisons
/// as chains.
pub(crate) fn kept<C: ListenerConfig>(old: &C, new: &C) -> Vec<bool> {
    let old: HashMap<Arc<str>, &C::Chain> = old.chains().into_iter().collect();
    let new = new.chains().into_iter();
    new.map(|(id, chain)| old.get(&id).is_some_and(|before| *before == chain))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ListenAddress;

    /// Chains by identity and content.
    struct Chains(ListenAddress, Vec<(&'static str, u32)>);

    impl ListenerConfig for Chains {
        type Chain = u32;

        fn name(&self) -> &str {
            "a"
        }

        fn address(&self) -> &ListenAddress {
            &self.0
        }

        fn same_content(&self, other: &Self) -> bool {
            self.1 == other.1
        }

        fn chains(&self) -> Vec<(Arc<str>, &u32)> {
            let chains = self.1.iter();
            chains
                .map(|(id, content)| (Arc::from(*id), content))
                .collect()
        }
    }

    fn kept_of(old: &[(&'static str, u32)], new: &[(&'static str, u32)]) -> Vec<bool> {
        let chains = |chains: &[_]| Chains("127.0.0.1:1".parse().unwrap(), chains.to_vec());
        kept(&chains(old), &chains(new))
    }

    #[test]
    fn a_chain_is_kept_if_identity_and_content_are_the_same_wherever_it_stands() {
        let old = [("kept", 1), ("changed", 1), ("removed", 1)];
        let new = [("added", 1), ("changed", 2), ("kept", 1)];
        assert_eq!(kept_of(&old, &new), [false, false, true]);
        assert_eq!(kept_of(&old, &old), [true, true, true]);
    }

    #[test]
    fn the_only_chain_changed_leaves_none() {
        assert_eq!(kept_of(&[("any", 1)], &[("any", 2)]), [false]);
    }

    #[test]
    fn another_identity_is_another_chain() {
        assert_eq!(kept_of(&[("x", 1)], &[("y", 1)]), [false]);
    }
}
