//! What the set writes down of one version, and of one name.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use std::time::Duration;

use drain_tree::{DrainReason, DrainType, TrafficDirection};

use crate::live::Life;
use crate::{ListenerConfig, SocketKey, SocketOptions, VersionState};

/// One version of one listener, as the set knows it.
pub(crate) struct VersionRecord<C> {
    /// Larger than that of every version before it, of any name.
    pub(crate) number: u64,
    /// The listener's name.
    pub(crate) name: Arc<str>,
    /// The configuration that its connections keep for their whole life; an update in place brings
    /// newer ones another.
    pub(crate) config: Arc<C>,
    /// Its filter chains, in the order of its configuration's.
    pub(crate) chains: Vec<ChainRecord>,
    /// The xDS `version_info` of the update that brought its configuration.
    pub(crate) version_info: Arc<str>,
    /// Where it is in its life.
    pub(crate) state: VersionState,
    /// Those of its sockets whose new connections are its: it is active, and their server.
    pub(crate) serves: HashSet<SocketKey>,
    /// Why it drains as soon as it is no longer the server of any socket: a newer version of its
    /// name has taken over elsewhere, or its listener is removed, and the version that takes its
    /// address is not warm yet.
    pub(crate) superseded: Option<DrainReason>,
    pub(crate) origin: Origin,
    pub(crate) asked: Arc<Asked>,
    pub(crate) life: Arc<Life>,
}

impl<C> VersionRecord<C> {
    /// Whether new connections are its.
    pub(crate) fn accepting(&self) -> bool {
        !self.serves.is_empty()
    }
}

impl<C> fmt::Debug for VersionRecord<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionRecord")
            .field("number", &self.number)
            .field("name", &self.name)
            .field("version_info", &self.version_info)
            .field("chains", &self.chains)
            .field("state", &self.state)
            .field("sockets", &self.asked.sockets)
            .field("serves", &self.serves)
            .field("superseded", &self.superseded)
            .finish_non_exhaustive()
    }
}

/// One filter chain, as the set knows it. It lives as long as it is unchanged, whatever updates its
/// version gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChainRecord {
    /// Larger than that of every chain before it, of any listener.
    pub(crate) number: u64,
    /// What identifies it within its listener.
    pub(crate) id: Arc<str>,
    /// The number of its listener's version.
    pub(crate) version: u64,
}

/// What a configuration says of itself. It is asked once, before an update changes anything: its
/// code is not ours and may panic.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) warms: bool,
    pub(crate) chains: Vec<Arc<str>>,
    pub(crate) traffic_direction: TrafficDirection,
    pub(crate) drain_type: DrainType,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_connections: Option<usize>,
    /// In the order of its addresses: at least one, and none twice.
    pub(crate) sockets: Vec<SocketKey>,
    /// Of each of the sockets.
    socket_options: Vec<SocketOptions>,
}

impl Asked {
    pub(crate) fn of<C: ListenerConfig>(config: &C, name: &Arc<str>) -> Self {
        let addresses = || std::iter::once(config.address()).chain(config.additional_addresses());
        Self {
            warms: config.warms(),
            chains: config.chains().into_iter().map(|(id, _)| id).collect(),
            traffic_direction: config.traffic_direction(),
            drain_type: config.drain_type(),
            drain_timeout: config.drain_timeout(),
            max_connections: config.max_connections(),
            sockets: SocketKey::of(name, addresses()),
            socket_options: addresses()
                .map(|address| config.socket_options(address))
                .collect(),
        }
    }

    /// A chain whose identity another one has too.
    pub(crate) fn chain_twice(&self) -> Option<&Arc<str>> {
        let mut seen = HashSet::with_capacity(self.chains.len());
        self.chains.iter().find(|id| !seen.insert(*id))
    }

    /// A socket that is wanted twice.
    pub(crate) fn socket_twice(&self) -> Option<&SocketKey> {
        let mut seen = HashSet::with_capacity(self.sockets.len());
        self.sockets.iter().find(|socket| !seen.insert(*socket))
    }

    /// The field in which this socket's address stands.
    pub(crate) fn field_of(&self, socket: &SocketKey) -> &'static str {
        match self.sockets.first() == Some(socket) {
            true => "address",
            false => "additional_addresses",
        }
    }

    /// The field that differs from `before`, of those that this socket keeps once it is open.
    pub(crate) fn field_that_stays(
        &self,
        before: &Self,
        socket: &SocketKey,
    ) -> Option<&'static str> {
        let (now, before) = (self.options_of(socket)?, before.options_of(socket)?);
        now.field_that_stays(before, socket.address())
    }

    /// How this socket is opened, if it is one of these.
    pub(crate) fn options_of(&self, socket: &SocketKey) -> Option<&SocketOptions> {
        let mut sockets = self.sockets.iter().zip(&self.socket_options);
        sockets
            .find(|(of, _)| *of == socket)
            .map(|(_, options)| options)
    }
}

/// Who brought a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Static,
    Lds,
}

#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) active: Option<u64>,
    pub(crate) warming: Option<u64>,
    /// Superseded, and still the servers of their sockets.
    pub(crate) leaving: Vec<u64>,
    /// Oldest first.
    pub(crate) draining: VecDeque<u64>,
}
