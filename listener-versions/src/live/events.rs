//! What has happened, for the observer: written down under the lock, in order, and reported without
//! it, in the same order.

use std::sync::Arc;
use std::time::Instant;

use drain_tree::{DrainOutcome, DrainReason};

use crate::{ListenerChain, ListenerObserver, UpdateError, VersionView};

pub(crate) enum Event {
    Created(VersionView),
    Activated(VersionView, Option<u64>),
    Discarded(VersionView),
    UpdatedInPlace(VersionView),
    ChainDrainStarted(Arc<ListenerChain>, DrainReason),
    ChainDrained(Arc<ListenerChain>, DrainOutcome),
    DrainStarted(VersionView, DrainReason),
    AskedToLeave(VersionView, DrainReason),
    Hurried(VersionView, Instant),
    Drained(VersionView, DrainOutcome),
    Stopped(VersionView),
    Rejected(UpdateError),
}

impl Event {
    pub(crate) fn report(&self, observer: &dyn ListenerObserver) {
        match self {
            Self::Created(view) => observer.created(view),
            Self::Activated(view, replaced) => observer.activated(view, *replaced),
            Self::Discarded(view) => observer.discarded(view),
            Self::UpdatedInPlace(view) => observer.in_place_updated(view),
            Self::ChainDrainStarted(chain, reason) => observer.chain_drain_started(chain, *reason),
            Self::ChainDrained(chain, outcome) => observer.chain_drained(chain, outcome),
            Self::DrainStarted(view, reason) => observer.drain_started(view, *reason),
            Self::AskedToLeave(view, reason) => observer.asked_to_leave(view, *reason),
            Self::Hurried(view, deadline) => observer.drain_hurried(view, *deadline),
            Self::Drained(view, outcome) => observer.drained(view, outcome),
            Self::Stopped(view) => observer.stopped(view),
            Self::Rejected(error) => observer.update_rejected(error),
        }
    }
}
