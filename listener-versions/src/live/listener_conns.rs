//! The connections of one listener over all its versions.

use arc_swap::ArcSwap;
use conn_tracker::ConnGroup;

/// The groups of a listener's versions that are not reaped yet. Read without a lock.
#[derive(Default)]
pub(crate) struct ListenerConns(ArcSwap<Vec<ConnGroup>>);

impl ListenerConns {
    pub(crate) fn join(&self, group: &ConnGroup) {
        self.change(|groups| groups.push(group.clone()));
    }

    pub(crate) fn leave(&self, version: u64) {
        self.change(|groups| groups.retain(|group| group.version() != version));
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.0.load().iter().map(ConnGroup::len).sum()
    }

    fn change(&self, change: impl Fn(&mut Vec<ConnGroup>)) {
        self.0.rcu(|groups| {
            let mut groups = Vec::clone(groups);
            change(&mut groups);
            groups
        });
    }
}
