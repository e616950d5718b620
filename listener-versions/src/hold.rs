//! [`Listeners`] as a source of sockets: while it is not sure which process goes on, updates wait,
//! and closing a socket does not end listening.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use drain_tree::{DrainDirection, DrainReason, DrainStart};

use crate::handover::{Settled, SocketSource};
use crate::live::{DrainJob, Job, Later};
use crate::{AcceptPolicy, ListenAddress, ListenerConfig, Listeners, SharedSocket, VersionState};

impl<C: ListenerConfig> SocketSource for Listeners<C> {
    fn share(&self) -> io::Result<Vec<SharedSocket>> {
        self.let_updates_wait(true);
        let shared = self.inner().share_sockets();
        if shared.is_err() {
            self.let_updates_wait(false);
        }
        Ok(shared?.0)
    }

    fn claim(&self, offered: &HashSet<ListenAddress>) -> HashSet<ListenAddress> {
        self.let_updates_wait(true);
        self.inner().inherited_among(offered)
    }

    fn settle(&self, settled: Settled<'_>) {
        match settled {
            Settled::Unchanged { shared } => self.take_back(shared, &HashSet::new()),
            Settled::Given { shared, taken } => {
                self.take_back(shared, taken);
                self.leave();
            }
            Settled::Owned { kept } => self.inner().own_sockets(kept),
        }
        self.let_updates_wait(false);
    }
}

/// One is several of which there is one: a handover takes a slice of them.
impl<C: ListenerConfig> AsRef<[Self]> for Listeners<C> {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// One of several does what each does, with its own sockets.
impl<C: ListenerConfig> SocketSource for [Listeners<C>] {
    fn share(&self) -> io::Result<Vec<SharedSocket>> {
        let mut all: Vec<SharedSocket> = Vec::new();
        for (part, listeners) in self.iter().enumerate() {
            match listeners.share() {
                Ok(shared) => all.extend(
                    shared
                        .into_iter()
                        .map(|socket| SharedSocket { part, ..socket }),
                ),
                Err(error) => {
                    self[..part].settle(Settled::Unchanged { shared: &all });
                    return Err(error);
                }
            }
        }
        // Each of them has counted its own.
        let mut count: HashMap<ListenAddress, usize> = HashMap::new();
        for socket in &mut all {
            let next = count.entry(socket.address.clone()).or_default();
            socket.index = *next;
            *next += 1;
        }
        Ok(all)
    }

    fn claim(&self, offered: &HashSet<ListenAddress>) -> HashSet<ListenAddress> {
        let claimed = self.iter().map(|listeners| listeners.claim(offered));
        claimed.flatten().collect()
    }

    fn settle(&self, settled: Settled<'_>) {
        for (part, listeners) in self.iter().enumerate() {
            listeners.settle(match settled {
                Settled::Unchanged { shared } => Settled::Unchanged {
                    shared: of_part(shared, part),
                },
                Settled::Given { shared, taken } => Settled::Given {
                    shared: of_part(shared, part),
                    taken,
                },
                owned @ Settled::Owned { .. } => owned,
            });
        }
    }
}

/// What this part has shared: all parts have shared one after the other.
fn of_part(shared: &[SharedSocket], part: usize) -> &[SharedSocket] {
    let begin = shared.partition_point(|socket| socket.part < part);
    let end = shared.partition_point(|socket| socket.part <= part);
    &shared[begin..end]
}

impl<C: ListenerConfig> Listeners<C> {
    fn let_updates_wait(&self, wait: bool) {
        // Under the lock: an update is done by now, or waits.
        let mut state = self.inner().lock();
        self.inner().held.send_if_modified(|held| {
            match wait {
                true => *held += 1,
                false => *held -= 1,
            }
            false
        });
        let is_undecided = *self.inner().held.borrow() > 0;
        let listening = state.listening.values();
        let look = listening.filter(|listening| listening.set_undecided(is_undecided));
        let look: Vec<_> = look.map(|at| Later::Look(Arc::clone(at), None)).collect();
        state.later.extend(look);
        self.inner().report(state);
        // Wakes those who wait, with nothing locked.
        self.inner().held.send_modify(|_| {});
    }

    /// What was shared is this process's alone again, but for what another one has `taken`.
    fn take_back(&self, shared: &[SharedSocket], taken: &HashSet<ListenAddress>) {
        let mut before: HashMap<&ListenAddress, Vec<bool>> = HashMap::new();
        for socket in shared
            .iter()
            .filter(|socket| !taken.contains(&socket.address))
        {
            before
                .entry(&socket.address)
                .or_default()
                .push(socket.is_kept);
        }
        let mut state = self.inner().lock();
        for listening in state.listening.values() {
            if let Some(before) = before.remove(listening.local()) {
                listening.set_shared_as(&before);
            }
        }
        // Those at which this process has stopped meanwhile, and where no other one accepts.
        for (address, before) in before {
            if !before.contains(&true) {
                for socket in state.inherited.take(address) {
                    drop(socket.shutdown(Shutdown::Both));
                }
            }
        }
    }

    /// This process stops accepting, and drains.
    fn leave(&self) {
        // Stopped first: what is accepted at the last moment holds the drain up, so that it cannot
        // be over before.
        self.inner().stop(DrainDirection::All);
        self.inner().drop_unclaimed();
        let start = DrainStart::new(DrainReason::HotRestart);
        let sequence = self.inner().root().start_drain_sequence(start);
        self.inner().run(Job::Drain(DrainJob::Admin {
            sequence,
            direction: DrainDirection::All,
            policy: AcceptPolicy::Keep,
        }));
        // Others drain for a reason of their own.
        self.inner()
            .asked_to_leave(DrainReason::HotRestart, |version| {
                version.state == VersionState::Active
            });
    }
}
