//! What is counted about a listener, an HTTP connection manager, a TCP proxy.

use std::sync::Arc;

use listener_versions::Refusal;

use super::{Counter, Gauge, StatsSnapshot};

/// `http.<stat_prefix>.*`
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct HttpStats {
    /// Connections that were opened.
    pub downstream_cx_total: Counter,
    /// Connections that are open.
    pub downstream_cx_active: Gauge,
    /// Connections that were closed.
    pub downstream_cx_destroy: Counter,
    /// Connections whose drain began, each once, however it was told.
    pub downstream_cx_drain_close: Counter,
    /// Connections that the peer did not close within `delayed_close_timeout`.
    pub downstream_cx_delayed_close_timeout: Counter,
    /// Requests that came.
    pub downstream_rq_total: Counter,
    /// Requests that are not answered yet.
    pub downstream_rq_active: Gauge,
    /// Requests that did not arrive whole in time.
    pub downstream_rq_timeout: Counter,
}

/// `tcp.<stat_prefix>.*`
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct TcpStats {
    /// Connections that were opened.
    pub downstream_cx_total: Counter,
    /// Connections that were closed because their listener drained.
    pub downstream_cx_drain_close: Counter,
    /// Connections that were closed because nothing moved on them.
    pub idle_timeout: Counter,
}

/// `listener.<address>.*`
#[non_exhaustive]
#[derive(Debug)]
pub struct ListenerStats {
    /// Connections that were accepted.
    pub downstream_cx_total: Counter,
    /// Connections that are open.
    pub downstream_cx_active: Gauge,
    /// Connections that were closed.
    pub downstream_cx_destroy: Counter,
    /// Connections that were refused because the listener, or its version, had as many as it may have.
    pub downstream_cx_overflow: Counter,
    /// Connections that were refused because the process had as many as it may have.
    pub downstream_global_cx_overflow: Counter,
    /// Connections that were refused because a draining version had as many as it may have. Not in Envoy.
    pub downstream_cx_drain_overflow: Counter,
    /// Connections that were closed at once because the listener had been drained, or the system refused them. Not in Envoy.
    pub downstream_cx_unserved: Counter,
    /// Connections that no filter chain takes.
    pub no_filter_chain_match: Counter,
    /// `server.total_connections`
    pub(super) everywhere: Arc<Gauge>,
}

/// A connection that is counted as active while this is held.
#[must_use = "dropping it counts the connection as gone"]
#[derive(Debug)]
pub struct Held<S: Releases>(Arc<S>);

impl<S: Releases> Drop for Held<S> {
    fn drop(&mut self) {
        self.0.connection_gone();
    }
}

mod sealed {
    /// What a scope does when something it counts is gone.
    #[expect(unnameable_types, reason = "sealed")]
    pub trait Releases {
        fn connection_gone(&self);
    }
}
use sealed::Releases;

impl Releases for HttpStats {
    fn connection_gone(&self) {
        self.downstream_cx_active.dec();
        self.downstream_cx_destroy.inc();
    }
}

impl Releases for ListenerStats {
    fn connection_gone(&self) {
        self.downstream_cx_active.dec();
        self.downstream_cx_destroy.inc();
        self.everywhere.dec();
    }
}

impl HttpStats {
    /// A connection was opened; it is active while the result is held.
    pub fn connection(self: &Arc<Self>) -> Held<Self> {
        self.downstream_cx_total.inc();
        self.downstream_cx_active.inc();
        Held(Arc::clone(self))
    }

    pub(super) fn write(&self, prefix: &str, into: &mut StatsSnapshot) {
        into.set(
            format!("http.{prefix}.downstream_cx_total"),
            self.downstream_cx_total.value(),
        );
        into.set(
            format!("http.{prefix}.downstream_cx_active"),
            self.downstream_cx_active.value(),
        );
        into.set(
            format!("http.{prefix}.downstream_cx_destroy"),
            self.downstream_cx_destroy.value(),
        );
        into.set(
            format!("http.{prefix}.downstream_cx_drain_close"),
            self.downstream_cx_drain_close.value(),
        );
        into.set(
            format!("http.{prefix}.downstream_cx_delayed_close_timeout"),
            self.downstream_cx_delayed_close_timeout.value(),
        );
        into.set(
            format!("http.{prefix}.downstream_rq_total"),
            self.downstream_rq_total.value(),
        );
        into.set(
            format!("http.{prefix}.downstream_rq_active"),
            self.downstream_rq_active.value(),
        );
        into.set(
            format!("http.{prefix}.downstream_rq_timeout"),
            self.downstream_rq_timeout.value(),
        );
    }
}

impl TcpStats {
    pub(super) fn write(&self, prefix: &str, into: &mut StatsSnapshot) {
        into.set(
            format!("tcp.{prefix}.downstream_cx_total"),
            self.downstream_cx_total.value(),
        );
        into.set(
            format!("tcp.{prefix}.downstream_cx_drain_close"),
            self.downstream_cx_drain_close.value(),
        );
        into.set(format!("tcp.{prefix}.idle_timeout"), self.idle_timeout.value());
    }
}

impl ListenerStats {
    /// A connection was accepted; it is active while the result is held, here and in `server.total_connections`.
    pub fn connection(self: &Arc<Self>) -> Held<Self> {
        self.downstream_cx_total.inc();
        self.downstream_cx_active.inc();
        self.everywhere.inc();
        Held(Arc::clone(self))
    }

    /// A connection was closed at once.
    pub fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::TotalLimit => self.downstream_global_cx_overflow.inc(),
            Refusal::ListenerLimit | Refusal::VersionLimit => self.downstream_cx_overflow.inc(),
            Refusal::DrainLimit => self.downstream_cx_drain_overflow.inc(),
            _ => self.downstream_cx_unserved.inc(),
        }
    }

    pub(super) fn write(&self, address: &str, into: &mut StatsSnapshot) {
        into.set(
            format!("listener.{address}.downstream_cx_total"),
            self.downstream_cx_total.value(),
        );
        into.set(
            format!("listener.{address}.downstream_cx_active"),
            self.downstream_cx_active.value(),
        );
        into.set(
            format!("listener.{address}.downstream_cx_destroy"),
            self.downstream_cx_destroy.value(),
        );
        for (name, counter) in [
            ("downstream_cx_overflow", &self.downstream_cx_overflow),
            (
                "downstream_global_cx_overflow",
                &self.downstream_global_cx_overflow,
            ),
            ("downstream_cx_drain_overflow", &self.downstream_cx_drain_overflow),
            ("downstream_cx_unserved", &self.downstream_cx_unserved),
            ("no_filter_chain_match", &self.no_filter_chain_match),
        ] {
            into.set(format!("listener.{address}.{name}"), counter.value());
        }
    }
}
