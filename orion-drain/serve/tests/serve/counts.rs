//! What a server counts, by the last parts of Envoy's names.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use orion_drain_serve::{ConnectionEnd, HttpCounts, TcpCounts};

#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.lock().get(name).copied().unwrap_or_default()
    }

    /// What is not zero, sorted by name.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        let all = self.lock();
        let all = all.iter().map(|(name, count)| (*name, *count));
        all.filter(|(_, count)| *count > 0).collect()
    }

    fn inc(&self, name: &'static str) {
        *self.lock().entry(name).or_default() += 1;
    }

    fn dec(&self, name: &'static str) {
        *self.lock().entry(name).or_default() -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().expect("no test panics in it")
    }
}

impl HttpCounts for Counts {
    fn connection_opened(&self) {
        self.inc("cx_total");
        self.inc("cx_active");
    }

    fn connection_closed(&self, end: ConnectionEnd) {
        let (by, active) = match end.by_client {
            true => ("cx_destroy_remote", "cx_destroy_remote_active_rq"),
            false => ("cx_destroy_local", "cx_destroy_local_active_rq"),
        };
        self.inc("cx_destroy");
        self.inc(by);
        if end.active_request {
            self.inc("cx_destroy_active_rq");
            self.inc(active);
        }
        self.dec("cx_active");
    }

    fn drain_started(&self) {
        self.inc("cx_drain_close");
    }

    fn delayed_close_timed_out(&self) {
        self.inc("cx_delayed_close_timeout");
    }

    fn idle_timed_out(&self) {
        self.inc("cx_idle_timeout");
    }

    fn max_requests_reached(&self) {
        self.inc("cx_max_requests_reached");
    }

    fn max_duration_reached(&self) {
        self.inc("cx_max_duration_reached");
    }

    fn request_started(&self) {
        self.inc("rq_total");
        self.inc("rq_active");
    }

    fn request_ended(&self) {
        self.dec("rq_active");
    }

    fn request_timed_out(&self) {
        self.inc("rq_timeout");
    }
}

impl TcpCounts for Counts {
    fn connection_opened(&self) {
        self.inc("cx_total");
    }

    fn drain_closed(&self) {
        self.inc("cx_drain_close");
    }

    fn idle_timed_out(&self) {
        self.inc("idle_timeout");
    }
}
