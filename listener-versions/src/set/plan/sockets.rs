//! The sockets of an update: which are opened, and which are given up.

use std::io;
use std::sync::Arc;

use super::Plan;
use crate::set::decision::{Candidate, Wanted};
use crate::set::record::Asked;
use crate::{ListenerConfig, SocketKey, UpdateError};

impl<C: ListenerConfig> Plan<'_, C> {
    /// Opens what is not open yet, and lets it listen unless the version warms. If one socket
    /// fails, this is undone for the others.
    pub(super) fn open(
        &mut self,
        name: &Arc<str>,
        candidate: &Candidate<C>,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) -> Result<(), UpdateError> {
        let (config, asked) = (&*candidate.config, &*candidate.asked);
        let sockets = &self.set.sockets;
        let (open, closed): (Vec<_>, Vec<_>) =
            (asked.sockets.iter()).partition(|socket| sockets.contains_key(socket));
        // The socket of a version that warms does not listen yet.
        let listens = |socket: &&SocketKey| {
            let owned = sockets.get(*socket);
            owned.is_some_and(|owned| owned.server.is_some())
        };
        let mut bound = Vec::new();
        let mut outcome = Ok(());
        for socket in closed {
            outcome = bind(config, asked, Wanted::Bind(socket)).map_err(|error| (socket, error));
            if outcome.is_err() {
                break;
            }
            bound.push(socket);
        }
        if !asked.warms && outcome.is_ok() {
            // Those that were opened before come last: they cannot stop listening.
            let silent = open.into_iter().filter(|socket| !listens(socket));
            outcome = bound.iter().copied().chain(silent).try_for_each(|socket| {
                bind(config, asked, Wanted::Listen(socket)).map_err(|error| (socket, error))
            });
        }
        self.fresh.extend(bound.into_iter().cloned());
        outcome.map_err(|(socket, source)| {
            self.close(candidate, bind);
            UpdateError::Bind {
                listener: Arc::clone(name),
                field: asked.field_of(socket),
                address: socket.address().clone(),
                source: Arc::new(source),
            }
        })
    }

    /// Closes what was [opened](Self::open) for the listener in this update.
    pub(super) fn close(
        &mut self,
        candidate: &Candidate<C>,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) {
        for socket in &candidate.asked.sockets {
            if self.fresh.remove(socket) {
                drop(bind(
                    &candidate.config,
                    &candidate.asked,
                    Wanted::Close(socket),
                ));
            }
        }
    }

    /// What is wanted otherwise of sockets that are open. They stay open, with their queues, so it
    /// cannot be had.
    pub(super) fn field_that_stays(&self, wanted: &Asked) -> Option<&'static str> {
        wanted.sockets.iter().find_map(|socket| {
            let owner = &self.set.sockets.get(socket)?.name;
            let named = self.set.names.get(owner)?;
            let versions = [named.active, named.warming].into_iter().flatten();
            let mut there = versions
                .filter_map(|version| self.set.get(version))
                .filter(|version| version.asked.sockets.contains(socket));
            there.find_map(|version| wanted.field_that_stays(&version.asked, socket))
        })
    }

    /// The listener gives up the sockets that it does not need next.
    pub(super) fn release(&mut self, name: &Arc<str>, next: Next<'_>) {
        let left: Vec<SocketKey> = self.left_by(name, next).cloned().collect();
        self.released.extend(left);
    }

    /// The sockets that the listener has now and does not need next.
    pub(super) fn left_by<'b>(
        &'b self,
        name: &Arc<str>,
        next: Next<'b>,
    ) -> impl Iterator<Item = &'b SocketKey> {
        let named = self.set.names.get(name);
        let active = named.and_then(|named| self.set.get(named.active?));
        let warming = named.and_then(|named| self.set.get(named.warming?));
        let is_kept = move |socket: &SocketKey| {
            let is_active = || active.is_some_and(|active| active.serves.contains(socket));
            match next {
                Next::Gone => false,
                Next::Active(wanted) => wanted.contains(socket),
                Next::Warming(wanted) => wanted.contains(socket) || is_active(),
                Next::ActiveStays => is_active(),
            }
        };
        let warming = warming
            .into_iter()
            .flat_map(|version| &version.asked.sockets);
        let active = active.into_iter().flat_map(|version| &version.serves);
        warming.chain(active).filter(move |socket| !is_kept(socket))
    }
}

/// What a listener is about to be, as far as its sockets are concerned.
#[derive(Clone, Copy)]
pub(super) enum Next<'a> {
    Gone,
    Active(&'a [SocketKey]),
    Warming(&'a [SocketKey]),
    ActiveStays,
}

impl<'a> Next<'a> {
    /// With a new version.
    pub(super) fn of(asked: &'a Asked) -> Self {
        match asked.warms {
            true => Self::Warming(&asked.sockets),
            false => Self::Active(&asked.sockets),
        }
    }
}
