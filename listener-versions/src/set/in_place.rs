//! Updates in which only filter chains differ: the version goes on with the new configuration, and only chains that changed drain.
//!
//! The version keeps its number, its socket and its place in the drain tree, as in Envoy the new listener takes over the old one's
//! tag. A chain lives as long as it is unchanged, whatever updates its version gets; a later drain of the version covers all that is
//! left of its chains.

use std::sync::Arc;

use drain_tree::DrainReason;

use super::chain_diff::ChainDiff;
use super::effect::Work;
use super::plan::Candidate;
use super::record::Origin;
use crate::{ChainId, ChainRecord, Change, Effect, ListenerConfig, VersionRecord, VersionSet};

/// Which chains stay if `active` goes on with this configuration: it takes what comes, and nothing outside of the chains differs.
pub(crate) fn diff<C: ListenerConfig>(
    active: &VersionRecord<C>,
    candidate: &Candidate<C>,
) -> Option<ChainDiff> {
    let (before, now) = (&active.asked, &candidate.asked);
    // What the socket and the drain node were made of must be the same, whatever the configuration thinks of itself.
    let can_go_on = active.accepting
        && before.socket == now.socket
        && before.traffic_direction == now.traffic_direction
        && before.drain_type == now.drain_type
        && now.field_that_stays(before).is_none()
        && active.config.differs_only_in_chains(&candidate.config);
    can_go_on.then(|| {
        let before = (&*active.config, &before.chains[..]);
        ChainDiff::between(before, (&candidate.config, &now.chains))
    })
}

impl<C: ListenerConfig> VersionSet<C> {
    /// The filter chains that drain by themselves and are not reaped yet, oldest first.
    #[cfg(test)]
    pub(crate) fn draining_chains(&self) -> impl Iterator<Item = &ChainRecord> {
        self.draining_chains.values()
    }

    /// Nothing is left of a draining filter chain: it is taken out of the set. `None` if no such chain drains (any more).
    pub(crate) fn complete_chain(&mut self, chain: u64) -> Option<ChainRecord> {
        self.draining_chains.remove(&chain)
    }

    /// The records of a new version's chains.
    pub(crate) fn new_chains(&mut self, version: u64, ids: &[ChainId]) -> Vec<ChainRecord> {
        ids.iter().map(|id| self.new_chain(version, id.clone())).collect()
    }

    fn new_chain(&mut self, version: u64, id: ChainId) -> ChainRecord {
        let number = self.next_chain;
        self.next_chain += 1;
        ChainRecord { number, id, version }
    }

    /// The active version of `name`, if there is one, goes on with `config`; its chains that are not in it drain.
    pub(crate) fn update_in_place(
        &mut self,
        name: &str,
        candidate: Candidate<C>,
        diff: &ChainDiff,
        origin: Origin,
        version_info: &Arc<str>,
        work: &mut Work,
    ) -> Option<Change> {
        let version = self.names.get(name)?.active?;
        let ids = candidate.asked.chains.iter().zip(&diff.kept);
        let ids = ids.filter(|(_, kept)| kept.is_none()).map(|(id, _)| id.clone());
        let fresh: Vec<ChainRecord> = ids.map(|id| self.new_chain(version, id)).collect();
        let mut fresh = fresh.into_iter();
        let record = self.versions.get_mut(&version)?;
        let old = std::mem::take(&mut record.chains);
        let kept = diff.kept.iter();
        record.chains = kept
            .filter_map(|kept| match kept {
                Some(index) => old.get(*index).cloned(),
                None => fresh.next(),
            })
            .collect();
        record.config = candidate.config;
        record.asked = candidate.asked;
        record.version_info = Arc::clone(version_info);
        record.origin = origin;
        let total = record.chains.len();
        work.begin.push(Effect::UpdateInPlace { version });
        for chain in diff.gone.iter().filter_map(|index| old.get(*index)) {
            self.draining_chains.insert(chain.number, chain.clone());
            work.drain.push(Effect::DrainChain {
                chain: chain.number,
                reason: DrainReason::FilterChainUpdate,
            });
        }
        let added = diff.kept.iter().filter(|kept| kept.is_none()).count();
        Some(Change::UpdatedInPlace {
            version,
            kept: total - added,
            added,
            draining: diff.gone.len(),
        })
    }
}
