//! The design that Orion's proposal has for the same: string ids, a concurrent map of them, another
//! of counts by listener.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use dashmap::DashMap;

#[derive(Debug, Clone)]
#[expect(dead_code, reason = "what the design keeps, and nothing here reads")]
pub(crate) struct ConnInfo {
    pub(crate) id: String,
    protocol: Protocol,
    established_at: Instant,
    last_activity: Instant,
    state: State,
}

#[derive(Debug, Clone)]
#[expect(dead_code, reason = "the design's values")]
enum Protocol {
    Http1,
    Http2,
    Tcp,
    Unknown,
}

#[derive(Debug, Clone)]
#[expect(dead_code, reason = "the design's values")]
enum State {
    Active,
    Draining,
    Closing,
    Closed,
}

#[derive(Debug, Default)]
pub(crate) struct Proposal {
    next: AtomicU64,
    connections: DashMap<String, ConnInfo>,
    counts: DashMap<String, AtomicUsize>,
}

impl Proposal {
    /// Returns the id, which is all that its caller holds.
    pub(crate) fn open(&self, listener: &str) -> String {
        let id = format!("conn-{}", self.next.fetch_add(1, Relaxed));
        let now = Instant::now();
        let info = ConnInfo {
            id: id.clone(),
            protocol: Protocol::Unknown,
            established_at: now,
            last_activity: now,
            state: State::Active,
        };
        self.connections.insert(id.clone(), info);
        match self.counts.get(listener) {
            Some(count) => count.fetch_add(1, Relaxed),
            None => self
                .counts
                .entry(listener.to_owned())
                .or_default()
                .fetch_add(1, Relaxed),
        };
        id
    }

    pub(crate) fn close(&self, listener: &str, id: &str) {
        self.connections.remove(id);
        if let Some(count) = self.counts.get(listener) {
            count.fetch_sub(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<ConnInfo> {
        self.connections
            .iter()
            .map(|entry| entry.value().clone())
            .collect()
    }
}
