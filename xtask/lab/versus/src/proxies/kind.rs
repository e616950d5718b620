//! Whom the page compares, and what not everybody has.

use super::nginx;

/// Whom the page compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Edge,
    Envoy,
    Haproxy,
    Nginx,
    /// A hyper-util server that binds again and lets `GracefulShutdown` end the rest.
    Rebind,
    /// The same, but it drops the old connections: the clients must notice.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests play it"))]
    Broken,
}

impl Kind {
    /// Whether it can be played here.
    pub(crate) fn has(self, what: Has) -> bool {
        match (self, what) {
            (Self::Rebind | Self::Broken, _) => false,
            (Self::Nginx, Has::Tcp) => nginx::stream_module().is_some(),
            _ => true,
        }
    }

    pub(crate) const COMPARED: [Self; 5] = [
        Self::Edge,
        Self::Envoy,
        Self::Haproxy,
        Self::Nginx,
        Self::Rebind,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Rebind => "hyper-util, rebinds",
            Self::Broken => "rebinds and drops",
        }
    }
}

/// What not everybody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Has {
    Tcp,
    Tls,
    Upstream,
}
