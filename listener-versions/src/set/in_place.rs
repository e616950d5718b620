//! Updates in which only filter chains differ: the version goes on with the new configuration, and
//! only chains that changed drain.
//!
//! The version keeps its number, its sockets and its place in the drain tree, as in Envoy the new
//! listener takes over the old one's tag. A chain lives as long as it is unchanged, whatever
//! updates its version gets; a later drain of the version covers all that is left of its chains.

use std::collections::HashMap;
use std::sync::Arc;

use drain_tree::DrainReason;

use super::chain_diff::kept;
use super::decision::Candidate;
use super::effect::Work;
use super::record::Origin;
use crate::{ChainRecord, Change, Effect, ListenerConfig, VersionRecord, VersionSet};

/// Which chains stay if `active` goes on with this configuration: it takes what comes, and nothing
/// outside of the chains differs.
pub(crate) fn diff<C: ListenerConfig>(
    active: &VersionRecord<C>,
    candidate: &Candidate<C>,
) -> Option<Vec<bool>> {
    let (before, now) = (&active.asked, &candidate.asked);
    // What the socket and the drain node were made of must be the same, whatever the configuration
    // thinks of itself.
    let can_go_on = active.accepting()
        && before.sockets == now.sockets
        && before.traffic_direction == now.traffic_direction
        && before.drain_type == now.drain_type
        && (now.sockets.iter()).all(|socket| now.field_that_stays(before, socket).is_none())
        && active.config.differs_only_in_chains(&candidate.config);
    can_go_on.then(|| kept(&*active.config, &*candidate.config))
}

impl<C: ListenerConfig> VersionSet<C> {
    /// The filter chains that drain by themselves and are not reaped yet, oldest first.
    #[cfg(test)]
    pub(crate) fn draining_chains(&self) -> impl Iterator<Item = &ChainRecord> {
        self.draining_chains.values()
    }

    /// Nothing is left of a draining filter chain: it is taken out of the set. `None` if no such
    /// chain drains (any more).
    pub(crate) fn complete_chain(&mut self, chain: u64) -> Option<ChainRecord> {
        self.draining_chains.remove(&chain)
    }

    /// The records of a new version's chains.
    pub(crate) fn new_chains(&mut self, version: u64, ids: &[Arc<str>]) -> Vec<ChainRecord> {
        ids.iter()
            .map(|id| self.new_chain(version, id.clone()))
            .collect()
    }

    fn new_chain(&mut self, version: u64, id: Arc<str>) -> ChainRecord {
        let number = self.next_chain;
        self.next_chain += 1;
        ChainRecord {
            number,
            id,
            version,
        }
    }

    /// The active version of `name`, if there is one, goes on with `config`; its chains that are
    /// not in it drain.
    pub(crate) fn update_in_place(
        &mut self,
        name: &str,
        candidate: Candidate<C>,
        kept: &[bool],
        origin: Origin,
        version_info: &Arc<str>,
        work: &mut Work,
    ) -> Option<Change> {
        let version = self.names.get(name)?.active?;
        let record = self.versions.get_mut(&version)?;
        let old = std::mem::take(&mut record.chains);
        let mut old: HashMap<Arc<str>, ChainRecord> = old
            .into_iter()
            .map(|chain| (chain.id.clone(), chain))
            .collect();
        let ids = candidate.asked.chains.iter().zip(kept);
        let chains = ids.map(|(id, kept)| {
            let before = if *kept { old.remove(id) } else { None };
            before.unwrap_or_else(|| self.new_chain(version, id.clone()))
        });
        let chains: Vec<ChainRecord> = chains.collect();
        let mut gone: Vec<ChainRecord> = old.into_values().collect();
        gone.sort_unstable_by_key(|chain| chain.number);
        let (kept, total) = (kept.iter().filter(|kept| **kept).count(), chains.len());
        let record = self.versions.get_mut(&version)?;
        record.chains = chains;
        record.config = candidate.config;
        record.asked = candidate.asked;
        record.life = candidate.life;
        record.version_info = Arc::clone(version_info);
        record.origin = origin;
        let draining = gone.len();
        work.begin.push(Effect::UpdateInPlace { version });
        for chain in gone {
            work.drain.push(Effect::DrainChain {
                chain: chain.number,
                reason: DrainReason::FilterChainUpdate,
            });
            self.draining_chains.insert(chain.number, chain);
        }
        Some(Change::UpdatedInPlace {
            version,
            kept,
            added: total - kept,
            draining,
        })
    }
}
