//! A listener configuration for tests: a name, an address, a content, filter chains, and what else
//! a test wants. The tests in `tests` include it too: a package has no `tests`, and its unit tests
//! are to pass without.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use drain_tree::TrafficDirection;
use listener_versions::{FieldError, ListenAddress, ListenerConfig, SocketOptions};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) address: ListenAddress,
    pub(crate) more: Vec<ListenAddress>,
    pub(crate) content: u32,
    /// Identity and content.
    pub(crate) chains: Vec<(&'static str, u32)>,
    pub(crate) direction: TrafficDirection,
    pub(crate) warms: bool,
    pub(crate) socket: SocketOptions,
    pub(crate) error: Option<FieldError>,
}

impl Config {
    pub(crate) fn inbound(mut self) -> Self {
        self.direction = TrafficDirection::Inbound;
        self
    }

    /// It listens there as well.
    pub(crate) fn and(mut self, address: impl Into<ListenAddress>) -> Self {
        self.more.push(address.into());
        self
    }

    pub(crate) fn warming(mut self) -> Self {
        self.warms = true;
        self
    }

    pub(crate) fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.socket.reuse_port = reuse_port;
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.socket.mode = Some(mode);
        self
    }

    pub(crate) fn chains(mut self, chains: impl IntoIterator<Item = (&'static str, u32)>) -> Self {
        self.chains = chains.into_iter().collect();
        self
    }

    /// Where the chain `id` stands.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.chains.iter().position(|(chain, _)| *chain == id)
    }

    /// The chain `id`, if there is one.
    pub(crate) fn chain(&self, id: &str) -> Option<Arc<str>> {
        self.find(id).map(|_| Arc::from(id))
    }

    pub(crate) fn bad(mut self, field: &str) -> Self {
        self.error = Some(FieldError::new(field, "is wrong"));
        self
    }
}

/// Listener `name` at 127.0.0.1:`port`.
pub(crate) fn listener(name: &str, port: u16, content: u32) -> Config {
    at(name, at_port(port), content)
}

/// 127.0.0.1:`port`.
pub(crate) fn at_port(port: u16) -> ListenAddress {
    std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()
}

pub(crate) fn at(name: &str, address: ListenAddress, content: u32) -> Config {
    let direction = TrafficDirection::Unspecified;
    Config {
        name: name.into(),
        address,
        more: Vec::new(),
        content,
        chains: Vec::new(),
        direction,
        warms: false,
        socket: SocketOptions::default(),
        error: None,
    }
}

impl ListenerConfig for Config {
    type Chain = u32;

    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn additional_addresses(&self) -> &[ListenAddress] {
        &self.more
    }

    fn same_content(&self, other: &Self) -> bool {
        self == other
    }

    fn chains(&self) -> Vec<(Arc<str>, &u32)> {
        let chains = self.chains.iter();
        chains
            .map(|(id, content)| (Arc::from(*id), content))
            .collect()
    }

    fn differs_only_in_chains(&self, other: &Self) -> bool {
        // How a version becomes ready is not what it is.
        let same = |config: &Self| Self {
            chains: Vec::new(),
            warms: false,
            ..config.clone()
        };
        same(self) == same(other)
    }

    fn traffic_direction(&self) -> TrafficDirection {
        self.direction
    }

    fn socket_options(&self, _: &ListenAddress) -> SocketOptions {
        self.socket.clone()
    }

    fn warms(&self) -> bool {
        self.warms
    }

    fn validate(&self) -> Result<(), FieldError> {
        self.error.clone().map_or(Ok(()), Err)
    }
}
