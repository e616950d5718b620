//! What the observer is told of an update, once nothing is locked any more.

use std::time::Instant;

use drain_tree::DrainReason;

use crate::observer::Teller;
use crate::{ChainView, VersionView};

pub(crate) enum News {
    Created(VersionView),
    Activated(VersionView, Option<u64>),
    Discarded(VersionView),
    UpdatedInPlace(VersionView),
    ChainDrainStarted(ChainView, DrainReason),
    DrainStarted(VersionView, DrainReason),
    Hurried(VersionView, Instant),
    Stopped(VersionView),
}

impl News {
    pub(crate) fn tell(self, teller: &Teller) {
        teller.tell(|observer| match &self {
            Self::Created(view) => observer.created(view),
            Self::Activated(view, replaced) => observer.activated(view, *replaced),
            Self::Discarded(view) => observer.discarded(view),
            Self::UpdatedInPlace(view) => observer.in_place_updated(view),
            Self::ChainDrainStarted(view, reason) => observer.chain_drain_started(view, *reason),
            Self::DrainStarted(view, reason) => observer.drain_started(view, *reason),
            Self::Hurried(view, deadline) => observer.drain_hurried(view, *deadline),
            Self::Stopped(view) => observer.stopped(view),
        });
    }
}
