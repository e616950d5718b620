//! What is counted about a listener, an HTTP connection manager, a TCP proxy.

use std::sync::Arc;

use listener_versions::Refusal;
use orion_drain_serve::{ConnectionEnd, HttpCounts, TcpCounts};

use super::workers::Workers;
use super::{Counter, Gauge, Histogram, StatsSnapshot};

/// `http.<stat_prefix>.*`
///
/// Source: [Envoy's HTTP connection manager
/// statistics](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats).
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct HttpStats {
    /// Connections that were opened.
    pub downstream_cx_total: Counter,
    /// Connections that are open: until the socket is gone, tunnels and lingering ones too.
    pub downstream_cx_active: Gauge,
    /// Connections that were closed.
    pub downstream_cx_destroy: Counter,
    /// Connections that we were first to end.
    pub downstream_cx_destroy_local: Counter,
    /// Connections that the client was first to end.
    pub downstream_cx_destroy_remote: Counter,
    /// Connections that were closed with a request, or a tunnel, under way.
    pub downstream_cx_destroy_active_rq: Counter,
    /// Those of them that we were first to end.
    pub downstream_cx_destroy_local_active_rq: Counter,
    /// Those of them that the client was first to end.
    pub downstream_cx_destroy_remote_active_rq: Counter,
    /// Connections whose drain began, each once, however it was notified.
    pub downstream_cx_drain_close: Counter,
    /// Connections that the peer did not close within `delayed_close_timeout`.
    pub downstream_cx_delayed_close_timeout: Counter,
    /// Connections that were idle for `idle_timeout`.
    pub downstream_cx_idle_timeout: Counter,
    /// Connections that were as old as `max_connection_duration`.
    pub downstream_cx_max_duration_reached: Counter,
    /// Connections that had served `max_requests_per_connection`.
    pub downstream_cx_max_requests_reached: Counter,
    /// Requests that came.
    pub downstream_rq_total: Counter,
    /// Requests that are not answered yet.
    pub downstream_rq_active: Gauge,
    /// Requests that did not arrive whole in time.
    pub downstream_rq_timeout: Counter,
    /// Requests and tunnels on which nothing moved for `stream_idle_timeout`. The service that
    /// answers them counts.
    pub downstream_rq_idle_timeout: Counter,
    /// Requests and tunnels that took longer than `max_stream_duration`. The service that answers
    /// them counts.
    pub downstream_rq_max_duration_reached: Counter,
    /// Responses. [`responded`](Self::responded) counts them, also by their class.
    pub downstream_rq_completed: Counter,
    /// Responses by class: `1xx` to `5xx`.
    responses: [Counter; 5],
    /// How long requests took, from their head to the end of their response. The service that
    /// answers them records it.
    pub downstream_rq_time: Histogram,
    /// How long connections were open. What serves them records it.
    pub downstream_cx_length_ms: Histogram,
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

/// `listener.<address>.*`, some of it for each worker too, in
/// `listener.<address>.worker_<number>.*`: workers are numbered as they are made
/// ([`Accepted::worker`](listener_versions::Accepted::worker)).
///
/// Source: [Envoy's listener
/// statistics](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats).
#[non_exhaustive]
#[derive(Debug)]
pub struct ListenerStats {
    pub(super) workers: Workers,
    /// Connections that were closed.
    pub downstream_cx_destroy: Counter,
    /// Connections that were refused because the listener, or its version, had as many as it may
    /// have.
    pub downstream_cx_overflow: Counter,
    /// Connections that were refused because the process had as many as it may have.
    pub downstream_global_cx_overflow: Counter,
    /// Connections that were refused because a draining version had as many as it may have. Not in
    /// Envoy.
    pub downstream_cx_drain_overflow: Counter,
    /// Connections that were closed at once because the listener had been drained, or the system
    /// refused them. Not in Envoy.
    pub downstream_cx_unserved: Counter,
    /// Connections that no filter chain takes.
    pub no_filter_chain_match: Counter,
    /// `server.total_connections`
    pub(super) everywhere: Arc<Gauge>,
}

/// A connection that is counted as active while this is held.
#[must_use = "dropping it counts the connection as gone"]
#[derive(Debug)]
pub struct Held<S: Releases> {
    scope: Arc<S>,
    worker: usize,
}

impl<S: Releases> Drop for Held<S> {
    fn drop(&mut self) {
        self.scope.connection_gone(self.worker);
    }
}

mod sealed {
    /// What a scope does when something it counts is gone.
    #[expect(unnameable_types, reason = "sealed")]
    pub trait Releases {
        fn connection_gone(&self, worker: usize);
    }
}
use sealed::Releases;

impl Releases for HttpStats {
    fn connection_gone(&self, _: usize) {
        self.downstream_cx_active.dec();
        self.downstream_cx_destroy.inc();
    }
}

impl Releases for ListenerStats {
    fn connection_gone(&self, worker: usize) {
        self.workers.of(worker).downstream_cx_active.dec();
        self.downstream_cx_destroy.inc();
        self.everywhere.dec();
    }
}

impl HttpStats {
    /// A connection was opened; it is active while the result is held.
    pub fn connection(self: &Arc<Self>) -> Held<Self> {
        self.connection_opened();
        Held {
            scope: Arc::clone(self),
            worker: 0,
        }
    }

    /// A response with this status was sent.
    pub fn responded(&self, status: u16) {
        self.downstream_rq_completed.inc();
        let class = usize::from(status / 100);
        if let Some(class) = class
            .checked_sub(1)
            .and_then(|class| self.responses.get(class))
        {
            class.inc();
        }
    }

    /// Counts how a connection was closed.
    fn destroyed(&self, end: ConnectionEnd) {
        let (by, active) = if end.by_client {
            (
                &self.downstream_cx_destroy_remote,
                &self.downstream_cx_destroy_remote_active_rq,
            )
        } else {
            (
                &self.downstream_cx_destroy_local,
                &self.downstream_cx_destroy_local_active_rq,
            )
        };
        by.inc();
        if end.active_request {
            active.inc();
            self.downstream_cx_destroy_active_rq.inc();
        }
    }

    pub(super) fn write(&self, prefix: &str, into: &mut StatsSnapshot) {
        for (name, counter) in [
            ("cx_total", &self.downstream_cx_total),
            ("cx_destroy", &self.downstream_cx_destroy),
            ("cx_destroy_local", &self.downstream_cx_destroy_local),
            ("cx_destroy_remote", &self.downstream_cx_destroy_remote),
            (
                "cx_destroy_active_rq",
                &self.downstream_cx_destroy_active_rq,
            ),
            (
                "cx_destroy_local_active_rq",
                &self.downstream_cx_destroy_local_active_rq,
            ),
            (
                "cx_destroy_remote_active_rq",
                &self.downstream_cx_destroy_remote_active_rq,
            ),
            ("cx_drain_close", &self.downstream_cx_drain_close),
            (
                "cx_delayed_close_timeout",
                &self.downstream_cx_delayed_close_timeout,
            ),
            ("cx_idle_timeout", &self.downstream_cx_idle_timeout),
            (
                "cx_max_duration_reached",
                &self.downstream_cx_max_duration_reached,
            ),
            (
                "cx_max_requests_reached",
                &self.downstream_cx_max_requests_reached,
            ),
            ("rq_total", &self.downstream_rq_total),
            ("rq_timeout", &self.downstream_rq_timeout),
            ("rq_idle_timeout", &self.downstream_rq_idle_timeout),
            (
                "rq_max_duration_reached",
                &self.downstream_rq_max_duration_reached,
            ),
            ("rq_completed", &self.downstream_rq_completed),
            ("rq_1xx", &self.responses[0]),
            ("rq_2xx", &self.responses[1]),
            ("rq_3xx", &self.responses[2]),
            ("rq_4xx", &self.responses[3]),
            ("rq_5xx", &self.responses[4]),
        ] {
            into.set(format!("http.{prefix}.downstream_{name}"), counter.value());
        }
        for (name, gauge, total) in [
            (
                "cx_active",
                &self.downstream_cx_active,
                &self.downstream_cx_total,
            ),
            (
                "rq_active",
                &self.downstream_rq_active,
                &self.downstream_rq_total,
            ),
        ] {
            let name = format!("http.{prefix}.downstream_{name}");
            into.set_gauge(name, gauge.value(), total.value() > 0);
        }
        for (name, histogram) in [
            ("rq_time", &self.downstream_rq_time),
            ("cx_length_ms", &self.downstream_cx_length_ms),
        ] {
            into.set_durations(
                format!("http.{prefix}.downstream_{name}"),
                histogram.value(),
            );
        }
    }
}

impl HttpCounts for HttpStats {
    fn connection_opened(&self) {
        self.downstream_cx_total.inc();
        self.downstream_cx_active.inc();
    }

    fn connection_closed(&self, end: ConnectionEnd) {
        self.destroyed(end);
        self.connection_gone(0);
    }

    fn drain_started(&self) {
        self.downstream_cx_drain_close.inc();
    }

    fn delayed_close_timed_out(&self) {
        self.downstream_cx_delayed_close_timeout.inc();
    }

    fn idle_timed_out(&self) {
        self.downstream_cx_idle_timeout.inc();
    }

    fn max_duration_reached(&self) {
        self.downstream_cx_max_duration_reached.inc();
    }

    fn max_requests_reached(&self) {
        self.downstream_cx_max_requests_reached.inc();
    }

    fn request_started(&self) {
        self.downstream_rq_total.inc();
        self.downstream_rq_active.inc();
    }

    fn request_ended(&self) {
        self.downstream_rq_active.dec();
    }

    fn request_timed_out(&self) {
        self.downstream_rq_timeout.inc();
    }
}

impl TcpCounts for TcpStats {
    fn connection_opened(&self) {
        self.downstream_cx_total.inc();
    }

    fn drain_closed(&self) {
        self.downstream_cx_drain_close.inc();
    }

    fn idle_timed_out(&self) {
        self.idle_timeout.inc();
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
        into.set(
            format!("tcp.{prefix}.idle_timeout"),
            self.idle_timeout.value(),
        );
    }
}

impl ListenerStats {
    /// `worker` has accepted a connection; it is active while the result is held, here and in
    /// `server.total_connections`.
    pub fn connection(self: &Arc<Self>, worker: usize) -> Held<Self> {
        let of_worker = self.workers.of(worker);
        of_worker.downstream_cx_total.inc();
        of_worker.downstream_cx_active.inc();
        self.everywhere.inc();
        Held {
            scope: Arc::clone(self),
            worker,
        }
    }

    /// Connections that were accepted, by whatever worker.
    pub fn downstream_cx_total(&self) -> u64 {
        self.workers.total()
    }

    /// Connections that are open, whichever worker accepted them.
    pub fn downstream_cx_active(&self) -> u64 {
        self.workers.active()
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
        let mut connections = |of: String, total: u64, active: u64| {
            into.set(format!("listener.{address}.{of}downstream_cx_total"), total);
            let name = format!("listener.{address}.{of}downstream_cx_active");
            into.set_gauge(name, active, total > 0);
        };
        let (total, active) = (self.downstream_cx_total(), self.downstream_cx_active());
        connections(String::new(), total, active);
        self.workers.each(&mut |worker, of| {
            let (total, active) = (&of.downstream_cx_total, &of.downstream_cx_active);
            connections(format!("worker_{worker}."), total.value(), active.value());
        });
        let mut set =
            |name: &str, value: u64| into.set(format!("listener.{address}.{name}"), value);
        for (name, counter) in [
            ("downstream_cx_destroy", &self.downstream_cx_destroy),
            ("downstream_cx_overflow", &self.downstream_cx_overflow),
            (
                "downstream_global_cx_overflow",
                &self.downstream_global_cx_overflow,
            ),
            (
                "downstream_cx_drain_overflow",
                &self.downstream_cx_drain_overflow,
            ),
            ("downstream_cx_unserved", &self.downstream_cx_unserved),
            ("no_filter_chain_match", &self.no_filter_chain_match),
        ] {
            set(name, counter.value());
        }
    }
}
