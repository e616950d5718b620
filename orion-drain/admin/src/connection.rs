//! A connection as `/connections` shows it: what it is doing, why it stays, and what happens to it
//! next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conn_tracker::{ConnId, ConnKind, ConnSnapshot, ConnState, Peer};
use drain_signal::{DrainEvent, schedule::signal_window};
use listener_versions::{ListenerChain, VersionView};
use serde::Serialize;

use super::view::{millis, optional_millis};
use orion_drain_telemetry::DrainId;

/// A connection in `/connections`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionView {
    /// Its number.
    pub id: String,
    /// The listener that accepted it.
    pub listener: String,
    /// That listener's version.
    pub version: u64,
    /// The filter chain that serves it, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_chain: Option<String>,
    /// What it speaks: `http1`, `http2`, `tcp`, `websocket`, `unknown`.
    pub protocol: String,
    /// `active`, `draining`, `closing` or `closed`.
    pub state: String,
    /// What it is doing: `handshaking`, `idle`, `in_request`, `tunnel`.
    pub kind: String,
    /// The requests or streams that are not finished.
    pub streams: u32,
    /// Why it stays, in words.
    pub why: String,
    /// Why it closes, if that is known before its end: `aged` or another name of a
    /// [`CloseReason`](conn_tracker::CloseReason).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_reason: Option<String>,
    /// The address of the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Since it was accepted.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
    /// Since its last activity.
    #[serde(rename = "quiet_ms", serialize_with = "millis")]
    pub quiet: Duration,
    /// The drain that it is in, as in `/drain` and in log events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_id: Option<String>,
    /// What happens to it next; absent if no drain covers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStep>,
    /// How long until that, at most; absent for what has no time.
    #[serde(
        rename = "next_in_ms",
        serialize_with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_in: Option<Duration>,
    /// Until it will be closed, if it drains and its drain has a deadline.
    #[serde(
        rename = "deadline_in_ms",
        serialize_with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline_in: Option<Duration>,
}

/// Some of the connections that are open.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionPage {
    /// The connections.
    pub connections: Vec<ConnectionView>,
    /// What the next page follows; `None` after the last one.
    pub next: Option<ConnId>,
}

impl ConnectionPage {
    /// These connections, and what the next page follows.
    pub fn new(connections: Vec<ConnectionView>, next: Option<ConnId>) -> Self {
        Self { connections, next }
    }
}

/// A step of the way out: those of [`GracefulClose`](drain_signal::GracefulClose), and what comes
/// after them.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextStep {
    /// Its slot: it is asked to finish (`connection: close`, GOAWAY; TCP by its policy).
    Start,
    /// Shortly before the deadline: HTTP/2 gets its final GOAWAY, quiet TCP is closed.
    Finish,
    /// What is still open is reset, and it is closed.
    Abort,
    /// Its socket is dropped.
    Drop,
    /// It ends by itself: it was asked to leave, and its drain has no deadline.
    End,
}

impl NextStep {
    /// The word that JSON and text have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Finish => "finish",
            Self::Abort => "abort",
            Self::Drop => "drop",
            Self::End => "end",
        }
    }
}

/// A drain that covers some connections.
struct Covering {
    event: Arc<DrainEvent>,
    deadline: Option<Instant>,
}

impl ConnectionView {
    /// The open connections, as `/connections` shows them. `tracked_at` is the tracker's time
    /// ([`ConnTracker::now`](conn_tracker::ConnTracker::now)), `now` the time of the deadlines in
    /// `versions` and `chains`.
    pub fn open(
        connections: &[ConnSnapshot],
        tracked_at: Duration,
        versions: &[VersionView],
        chains: &[Arc<ListenerChain>],
        now: Instant,
    ) -> Vec<Self> {
        let covering = |event: &Option<Arc<DrainEvent>>, deadline| {
            let event = Arc::clone(event.as_ref()?);
            Some(Covering { event, deadline })
        };
        let of_versions: HashMap<_, _> = versions
            .iter()
            .filter_map(|version| {
                Some((version.number, covering(&version.drain, version.deadline)?))
            })
            .collect();
        // A chain that drains has left its version; its successor of the same name may be there
        // already.
        let of_chains: HashMap<_, _> = chains
            .iter()
            .filter_map(|chain| {
                let key = (chain.version(), &**chain.id());
                let drain = chain.drain();
                Some((key, covering(&drain.event(), drain.deadline())?))
            })
            .collect();
        let view = |connection: &ConnSnapshot| {
            let chain = connection.chain.as_deref();
            let drain = of_versions.get(&connection.version).or_else(|| {
                // Of those in both, only the connections of the old chain were asked to leave.
                let was_asked = connection.state > ConnState::Active;
                of_chains.get(&(connection.version, chain.filter(|_| was_asked)?))
            });
            let mut view = Self::of(connection, tracked_at);
            if let Some(drain) = drain {
                view.in_drain(connection.state, drain, now);
            }
            view
        };
        connections.iter().map(view).collect()
    }

    fn in_drain(&mut self, state: ConnState, drain: &Covering, now: Instant) {
        let until = |at: Instant| at.saturating_duration_since(now);
        let event = &*drain.event;
        self.drain_id = Some(DrainId::of(event).to_string());
        self.deadline_in = drain.deadline.map(until);
        let (next, at) = match (state, drain.deadline) {
            (ConnState::Active, deadline) => {
                let asked = event.start.checked_add(signal_window(event));
                // A connection that came later is asked by its first response.
                let asked = asked.map(|at| deadline.map_or(at, |deadline| at.min(deadline)));
                (NextStep::Start, asked)
            }
            (ConnState::Draining, None) => (NextStep::End, None),
            (ConnState::Draining, Some(deadline)) => {
                let finish = deadline.checked_sub(event.finish_before());
                match finish.filter(|finish| *finish > now) {
                    Some(finish) => (NextStep::Finish, Some(finish)),
                    None => (NextStep::Abort, Some(deadline)),
                }
            }
            (_, deadline) => {
                let dropped = deadline
                    .and_then(|deadline| deadline.checked_add(event.close_steps.drop_after));
                (NextStep::Drop, dropped)
            }
        };
        self.next = Some(next);
        self.next_in = at.map(until);
    }

    fn of(connection: &ConnSnapshot, tracked_at: Duration) -> Self {
        let streams = match connection.kind {
            ConnKind::InRequest { streams } => streams,
            _ => 0,
        };
        Self {
            id: connection.id.to_string(),
            listener: connection.listener.to_string(),
            version: connection.version,
            filter_chain: connection.chain.as_ref().map(ToString::to_string),
            protocol: connection.protocol.as_str().to_owned(),
            state: connection.state.as_str().to_owned(),
            kind: connection.kind.as_str().to_owned(),
            streams,
            why: match connection.kind {
                ConnKind::Handshaking => "nothing has been asked on it yet".to_owned(),
                ConnKind::Idle => "the client keeps it open for its next request".to_owned(),
                ConnKind::InRequest { streams: 1 } => "one request is not finished".to_owned(),
                ConnKind::InRequest { streams } => format!("{streams} requests are not finished"),
                ConnKind::Tunnel => "a tunnel ends when one of its sides does".to_owned(),
                kind => kind.as_str().to_owned(),
            },
            close_reason: connection
                .close_reason
                .map(|reason| reason.as_str().to_owned()),
            peer: match connection.peer {
                Peer::Ip(address) => Some(address.to_string()),
                _ => None,
            },
            age: connection.age(tracked_at),
            quiet: connection.quiet(tracked_at),
            ..Self::default()
        }
    }
}
