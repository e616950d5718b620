//! The sockets of an update: which listener has them, which are opened, and which are given up.

use std::io;
use std::sync::Arc;

use super::Plan;
use crate::set::decision::Wanted;
use crate::set::record::Asked;
use crate::{ListenerConfig, SocketKey};

impl<C: ListenerConfig> Plan<'_, C> {
    /// The other listener that has this socket, and whether it may leave it yet in this update.
    pub(super) fn taken_by(
        &self,
        name: &Arc<str>,
        socket: &SocketKey,
    ) -> Option<(&Arc<str>, bool)> {
        if let Some(other) = self.claimed.get(socket).filter(|other| *other != name) {
            return Some((other, false));
        }
        let owner = self.set.sockets.get(socket).map(|owned| &owned.name);
        let other = owner.filter(|other| *other != name && !self.released.contains(socket))?;
        let wanted = self.waiting.get(other);
        let leaves = wanted.is_some_and(|wanted| !wanted.sockets.contains(socket));
        Some((other, leaves))
    }

    /// Opens what is not open yet, and lets it listen unless the version warms. If one socket
    /// fails, this is undone for the others.
    pub(super) fn open<'b>(
        &mut self,
        config: &C,
        asked: &'b Asked,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) -> Result<(), (&'b SocketKey, io::Error)> {
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
        match outcome {
            Ok(()) => self.fresh.extend(bound.into_iter().cloned()),
            Err(_) => {
                for socket in bound {
                    drop(bind(config, asked, Wanted::Close(socket)));
                }
            }
        }
        outcome
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
        let Some(named) = self.set.names.get(name) else {
            return;
        };
        let active = named.active.and_then(|version| self.set.get(version));
        let warming = named.warming.and_then(|version| self.set.get(version));
        let kept = |socket: &SocketKey| {
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
        let left = warming.chain(active).filter(|socket| !kept(socket));
        self.released.extend(left.cloned());
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
