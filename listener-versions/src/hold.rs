//! While it is not sure which process goes on: updates wait, and sockets are another process's too.

use std::collections::HashSet;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use drain_tree::{DrainDirection, DrainReason, DrainStart};

use crate::net::Slot;
use crate::shell::{Job, Shell};
use crate::{AcceptPolicy, ListenAddress, ListenerConfig, SharedSocket, VersionState};

/// Updates wait as long as it lives. Dropped, everything goes on as if it had not been.
#[must_use]
pub(crate) struct Hold<'a, C: ListenerConfig> {
    shell: &'a Shell<C>,
    /// What another process has too, and which of it another one had before.
    shared: Vec<(Arc<Slot<C>>, Vec<bool>)>,
}

impl<'a, C: ListenerConfig> Hold<'a, C> {
    pub(crate) fn new(shell: &'a Shell<C>) -> Self {
        // Under the lock: an update is done by now, or waits.
        let state = shell.lock();
        shell.held.send_modify(|held| *held += 1);
        drop(state);
        let shared = Vec::new();
        Self { shell, shared }
    }

    /// As [`Listeners::share_sockets`](crate::Listeners::share_sockets), until this is dropped.
    pub(crate) fn share(&mut self) -> io::Result<Vec<SharedSocket>> {
        let (sockets, shared) = self.shell.share_sockets()?;
        self.shared = shared;
        Ok(sockets)
    }

    /// Another process goes on with what listens at these addresses; we stop, and drain.
    pub(crate) fn retire(mut self, taken: &HashSet<ListenAddress>) {
        let (taken, left): (Vec<_>, _) = std::mem::take(&mut self.shared)
            .into_iter()
            .partition(|(slot, _)| taken.contains(slot.local()));
        self.shared = left;
        self.give_back();
        // Stopped first: what is accepted at the last moment holds the drain up, so that it cannot be over before.
        self.shell.stop(DrainDirection::All);
        self.shell.drop_unclaimed();
        drop(taken);
        let start = DrainStart::new(DrainReason::HotRestart);
        let sequence = self.shell.root().start_drain_sequence(start);
        self.shell.run(Job::Admin {
            sequence,
            direction: DrainDirection::All,
            policy: AcceptPolicy::Keep,
        });
        // Others drain for a reason of their own.
        self.shell.asked_to_leave(DrainReason::HotRestart, |version| {
            version.state == VersionState::Active
        });
    }

    fn give_back(&mut self) {
        for (slot, before) in self.shared.drain(..) {
            slot.set_shared_as(&before);
            if slot.is_closed() && !before.contains(&true) {
                // Stopped meanwhile, and nobody else serves there.
                for socket in self.shell.lock().inherited.take(slot.local()) {
                    drop(socket.shutdown(Shutdown::Both));
                }
            }
        }
    }
}

impl<C: ListenerConfig> Drop for Hold<'_, C> {
    fn drop(&mut self) {
        self.give_back();
        self.shell.held.send_modify(|held| *held -= 1);
    }
}
