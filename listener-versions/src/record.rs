//! What the set writes down of one version, and of one name.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::{ChainId, SocketKey, VersionState};

/// One version of one listener, as the set knows it.
#[non_exhaustive]
pub struct VersionRecord<C> {
    /// Larger than that of every version before it, of any name.
    pub number: u64,
    /// The listener's name.
    pub name: Arc<str>,
    /// The configuration that its connections keep for their whole life; an update in place brings newer ones another.
    pub config: Arc<C>,
    /// Its filter chains, in the order of its configuration's.
    pub chains: Vec<ChainRecord>,
    /// The xDS `version_info` of the update that brought its configuration.
    pub version_info: Arc<str>,
    /// Where it is in its life.
    pub state: VersionState,
    /// The socket that it accepts on, or accepted on.
    pub socket: SocketKey,
    /// Whether new connections are its: it is active, and its socket has not been stopped.
    pub accepting: bool,
    pub(crate) origin: Origin,
}

impl<C> fmt::Debug for VersionRecord<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionRecord")
            .field("number", &self.number)
            .field("name", &self.name)
            .field("version_info", &self.version_info)
            .field("chains", &self.chains)
            .field("state", &self.state)
            .field("socket", &self.socket)
            .field("accepting", &self.accepting)
            .finish_non_exhaustive()
    }
}

/// One filter chain, as the set knows it. It lives as long as it is unchanged, whatever updates its version gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainRecord {
    /// Larger than that of every chain before it, of any listener.
    pub number: u64,
    /// What identifies it within its listener.
    pub id: ChainId,
    /// The number of its listener's version.
    pub version: u64,
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
    /// Oldest first.
    pub(crate) draining: VecDeque<u64>,
}
