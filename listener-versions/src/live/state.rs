//! What is there at the moment: the version set, and the sockets, versions and chains that belong
//! to it. Under one lock, which no accept takes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{Event, Later, ListenerConns};
use crate::net::{Acceptor, Listening};
use crate::{
    Inherited, ListenerChain, ListenerConfig, ListenerVersion, SocketKey, VersionRecord,
    VersionSet, VersionState, VersionView,
};

/// Under one lock, which no accept takes.
pub(crate) struct State<C> {
    pub(crate) set: VersionSet<C>,
    pub(crate) live: HashMap<u64, Arc<ListenerVersion<C>>>,
    /// Filter chains that their version went on without.
    pub(crate) gone: BTreeMap<u64, Arc<ListenerChain>>,
    pub(crate) listening: HashMap<SocketKey, Arc<Listening<C>>>,
    /// Sockets that other processes opened and no listener wants, or wants no more.
    pub(crate) inherited: Inherited,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Acceptor<C>>>,
    /// How many workers there have been.
    pub(crate) workers_made: usize,
    /// What has happened and is not reported yet.
    pub(crate) events: Vec<Event>,
    /// A thread reports events, without the lock, until there are none left.
    pub(crate) is_reporting: bool,
    /// What is left to do without the lock.
    pub(crate) later: Vec<Later<C>>,
    /// Listenings that no worker gets as long as another process accepts on inherited sockets;
    /// `None` if there is no such process.
    pub(crate) held_back: Option<Vec<Arc<Listening<C>>>>,
    /// Of the versions that are waited for while they warm. Dropped when they are not warming any
    /// more, which wakes those who wait for this one.
    pub(crate) warming: HashMap<u64, watch::Sender<()>>,
}

impl<C: ListenerConfig> State<C> {
    /// What the living versions of a listener share; of a new one, something new.
    pub(super) fn listener_conns(&self, name: &str) -> Arc<ListenerConns> {
        let named = self.set.names.get(name);
        let versions = named.map(|named| {
            named
                .draining
                .iter()
                .rev()
                .chain(&named.leaving)
                .chain(&named.active)
                .chain(&named.warming)
        });
        let live =
            versions.and_then(|mut versions| versions.find_map(|version| self.live.get(version)));
        live.map(|version| Arc::clone(version.listener_conns()))
            .unwrap_or_default()
    }

    /// Closes when the version is not warming any more; `None`: it is not warming.
    pub(super) fn leaves_warming(&mut self, version: u64) -> Option<watch::Receiver<()>> {
        let record = self.set.get(version)?;
        if record.state != VersionState::Warming {
            return None;
        }
        let leaves = self.warming.entry(version);
        Some(leaves.or_insert_with(|| watch::Sender::new(())).subscribe())
    }

    pub(super) fn activate(&mut self, version: u64, sockets: &[SocketKey]) {
        let Some(version) = self.live.get(&version) else {
            return;
        };
        let listening = sockets
            .iter()
            .filter_map(|socket| self.listening.get(socket));
        version.set_local(
            listening
                .map(|listening| listening.local().clone())
                .collect(),
        );
        // Active before it is served: an accept that finds it must find it ready.
        version.set_state(VersionState::Active);
        let record = self.set.get(version.number());
        for socket in sockets {
            let Some(listening) = self.listening.get(socket) else {
                continue;
            };
            let first = listening.current().is_none();
            if let Some(options) = record.and_then(|record| record.asked.options_of(socket)) {
                listening.set_backlog(options.backlog);
            }
            listening.serve(Arc::clone(version));
            if first {
                match &mut self.held_back {
                    Some(held_back) => held_back.push(Arc::clone(listening)),
                    None => {
                        self.workers.retain(|worker| !worker.is_closed());
                        self.later.extend(offers(&self.workers, listening));
                    }
                }
            }
        }
    }

    /// No other process accepts any more: workers get what was held back.
    pub(crate) fn release(&mut self) {
        self.workers.retain(|worker| !worker.is_closed());
        for listening in self.held_back.take().unwrap_or_default() {
            self.later.extend(offers(&self.workers, &listening));
        }
    }

    /// New connections find the new configuration from now on; the chains that are not in it drain
    /// later than this.
    pub(super) fn update_in_place(&mut self, version: u64) {
        let (Some(live), Some(record)) = (self.live.get(&version), self.set.get(version)) else {
            return;
        };
        let (updated, gone) = live.updated(record);
        let updated = Arc::new(updated);
        for socket in &record.asked.sockets {
            let options = record.asked.options_of(socket);
            if let (Some(listening), Some(options)) = (self.listening.get(socket), options) {
                listening.set_backlog(options.backlog);
                listening.serve(Arc::clone(&updated));
            }
        }
        self.gone
            .extend(gone.into_iter().map(|chain| (chain.number(), chain)));
        let unused = self.live.insert(version, updated);
        self.later.extend(unused.map(Later::Unused));
    }

    /// Writes down what has happened to a version.
    pub(super) fn record(&mut self, version: u64, event: impl FnOnce(VersionView) -> Event) {
        self.events.extend(self.view(version).map(event));
    }

    /// Every version that is not reaped yet, oldest first.
    pub(crate) fn views(&self) -> impl Iterator<Item = VersionView> {
        self.set
            .iter()
            .filter_map(|record| self.view(record.number))
    }

    pub(crate) fn view(&self, version: u64) -> Option<VersionView> {
        let live = self.live.get(&version)?;
        let record = self.set.get(version);
        let serves = record.map(|record| &record.serves);
        Some(live.view_at(|socket| serves.is_some_and(|serves| serves.contains(socket))))
    }

    /// The socket's listening, if this version takes what comes there.
    pub(crate) fn listening_of(
        &self,
        version: &VersionRecord<C>,
        socket: &SocketKey,
    ) -> Option<&Arc<Listening<C>>> {
        let served = version.serves.get(socket)?;
        self.listening.get(served)
    }
}

/// Each worker accepts there, unless it is closed by now.
pub(super) fn offers<C>(
    workers: &[mpsc::UnboundedSender<Acceptor<C>>],
    listening: &Arc<Listening<C>>,
) -> impl Iterator<Item = Later<C>> {
    workers.iter().filter_map(|worker| {
        let acceptor = listening.acceptor()?;
        Some(Later::Offer(worker.clone(), acceptor))
    })
}
