//! What belongs to every connection: its watch, its entry in the registry, its full decision.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use conn_tracker::{CloseReason, ConnGuard, ConnProtocol, ConnRequest, ConnState};
use drain_signal::{CloseCause, DrainDecision, DrainHandle, DrainWatch};
use drain_tree::{Decision, DrainManager};
use listener_versions::{ListenerConfig, ListenerVersion};
use proto_drain_http1::Exchanges;
use tokio::time::Instant;

use super::behavior::{Cell, Manner, ProtocolDrainBehavior, SharedBehavior, manner};
use super::stream::StreamTunnel;
use orion_drain_telemetry::ConnTrace;

/// A connection that is being served. Cheap to clone; it is in requests' extensions, so that a
/// handler can see the drain and its deadline, and so that whatever outlives the connection's task
/// (a tunnel after an upgrade) keeps it open.
///
/// It is open until the last clone is dropped: the drain waits for it, the registry lists it.
///
/// # Examples
///
/// A handler of a long poll, which answers when the connection's slot has come:
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Empty;
/// use hyper::body::Bytes;
/// use orion_drain_serve::{Connection, ReceivedBody};
///
/// # async fn next_event() -> StatusCode { StatusCode::OK }
/// async fn poll(request: Request<ReceivedBody>) -> Result<Response<Empty<Bytes>>, Infallible> {
///     let connection = request.extensions().get::<Connection>().cloned();
///     let status = match connection {
///         Some(connection) => tokio::select! {
///             status = next_event() => status,
///             _ = connection.drain().signaled() => StatusCode::NO_CONTENT, // ask again
///         },
///         None => next_event().await,
///     };
///     let mut response = Response::new(Empty::new());
///     *response.status_mut() = status;
///     Ok(response)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<Inner>,
    /// The HTTP/2 tunnel that the request opens that this was shown to.
    stream: Option<Arc<StreamTunnel>>,
}

/// A connection that may have ended: this does not keep it open.
#[derive(Debug, Clone)]
pub struct WeakConnection(Weak<Inner>);

#[derive(Debug)]
struct Inner {
    /// Dropped before the watch: when the drain has seen its last connection gone, the registry
    /// counts none.
    guard: ConnGuard,
    /// Has the watch.
    decision: Decision<DrainWatch>,
    requests: AtomicU64,
    trace: ConnTrace,
    listener: OnceLock<SharedBehavior>,
    /// Its decision has said yes: a response has informed its client.
    asked: AtomicBool,
    /// The address of the other end, if it is a socket address.
    peer: OnceLock<SocketAddr>,
    /// It is as old as it may be, or has served as many requests.
    retired: AtomicBool,
    /// A limit of its own ends it, not a drain.
    limited: AtomicBool,
    /// The handler leads the tunnel that it has become.
    led_by_handler: AtomicBool,
    rare: OnceLock<Box<Rare>>,
}

/// What most connections do not have while they are served.
#[derive(Debug, Default)]
struct Rare {
    /// Its own behaviour; unset, that of its listener counts.
    behavior: Cell,
    started: OnceLock<Instant>,
    /// What its transport knows, once it is a tunnel that HTTP/1 has become.
    exchanges: OnceLock<Exchanges>,
    /// Dropped with the connection.
    attached: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Connection {
    /// A connection accepted under `node`. Closing it in the registry forces it to its deadline.
    pub fn new(node: &DrainManager, watch: DrainWatch, guard: ConnGuard) -> Self {
        // Closing it from the registry means that its own deadline is now; there is no other way to
        // force it.
        let handle = watch.handle();
        guard.set_control(move |request| {
            match request {
                ConnRequest::Drain => handle.start_now(),
                _ => handle.force(),
            };
        });
        Self::accepted(node, watch, guard)
    }

    fn accepted(node: &DrainManager, watch: DrainWatch, guard: ConnGuard) -> Self {
        let trace = ConnTrace::opened(&guard);
        Self {
            inner: Arc::new(Inner {
                guard,
                decision: node.decision(watch),
                requests: AtomicU64::new(0),
                trace,
                listener: OnceLock::new(),
                asked: AtomicBool::new(false),
                peer: OnceLock::new(),
                retired: AtomicBool::new(false),
                limited: AtomicBool::new(false),
                led_by_handler: AtomicBool::new(false),
                rare: OnceLock::new(),
            }),
            stream: None,
        }
    }

    /// A connection of a version that has no filter chains, or none that takes it. The registry
    /// knows how to close it already.
    pub fn of<C: ListenerConfig>(
        version: &ListenerVersion<C>,
        watch: DrainWatch,
        guard: ConnGuard,
    ) -> Self {
        Self::of_chain(version, version.drain(), watch, guard)
    }

    /// A connection of a filter chain of this version, which drains with `node`. The registry knows
    /// how to close it already.
    pub fn of_chain<C: ListenerConfig>(
        version: &ListenerVersion<C>,
        node: &DrainManager,
        watch: DrainWatch,
        guard: ConnGuard,
    ) -> Self {
        Self::accepted(node, watch, guard).with_names(version.name(), version.number())
    }

    /// The same connection, which belongs to this version of this listener as far as logs and
    /// traces say. [`Self::of`] does it by itself; this is for hosts with listeners of their own.
    #[must_use]
    pub fn with_names(self, listener: &str, version: u64) -> Self {
        self.trace().entered(listener, version);
        self
    }

    /// The same connection with the address of the other end, for its handlers. The first address
    /// given counts; a PROXY header is read before anything is served. The registry has an address
    /// of its own ([`ConnGuard::set_peer`]).
    #[must_use]
    pub fn with_peer(self, peer: SocketAddr) -> Self {
        self.inner.peer.set(peer).ok();
        self
    }

    /// The address of the other end; `None` if it is unknown or a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.inner.peer.get().copied()
    }

    /// The same connection with the behaviour of its listener. The first one given counts.
    #[must_use]
    pub fn with_behavior(self, behavior: SharedBehavior) -> Self {
        // It has one already: that one counts.
        self.inner.listener.set(behavior).ok();
        self
    }

    /// The connection's view of its drain: whether it has begun, its deadline, a future of the
    /// slot.
    #[inline]
    pub fn drain(&self) -> &DrainHandle {
        self.inner.decision.handle()
    }

    /// The connection's entry in the registry.
    #[inline]
    pub fn guard(&self) -> &ConnGuard {
        &self.inner.guard
    }

    /// What is asked before each response: whether the connection's slot has come, or health failed.
    pub fn decision(&self) -> &Decision<DrainWatch> {
        &self.inner.decision
    }

    fn rare(&self) -> &Rare {
        self.inner.rare.get_or_init(Box::default)
    }

    /// How many requests have begun on it so far.
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// When it was asked to finish; `None` if it was not yet.
    pub fn drain_started_at(&self) -> Option<Instant> {
        self.inner.rare.get()?.started.get().copied()
    }

    /// What it does when it drains: its own behaviour, else its listener's, else `auto`.
    pub fn behavior(&self) -> ProtocolDrainBehavior {
        let inner = &self.inner;
        let own = inner.rare.get().and_then(|rare| rare.behavior.get());
        own.or_else(|| inner.listener.get().map(SharedBehavior::get))
            .unwrap_or_default()
    }

    /// The time between its two GOAWAYs, if its listener's behavior says one.
    pub(super) fn http_drain_timeout(&self) -> Option<std::time::Duration> {
        self.inner.listener.get()?.http_drain_timeout()
    }

    /// The connection's slot is now, also without a drain, with a behaviour of its own.
    pub fn start_draining(&self, behavior: &ProtocolDrainBehavior) {
        self.rare().behavior.set(behavior);
        self.drain().start_now();
    }

    /// The same connection, without keeping it open.
    pub fn downgrade(&self) -> WeakConnection {
        WeakConnection(Arc::downgrade(&self.inner))
    }

    /// Drops `value` with the connection; only the first value is taken.
    pub fn attach(&self, value: impl Any + Send + Sync) {
        self.rare().attached.set(Box::new(value)).ok();
    }

    /// It becomes a tunnel over the transport of these exchanges.
    pub(super) fn switched(&self, exchanges: &Exchanges) {
        // It becomes one once.
        self.rare().exchanges.set(exchanges.clone()).ok();
    }

    /// The same connection, for the request that opens this tunnel on it.
    pub(super) fn on_stream(&self, stream: Option<Arc<StreamTunnel>>) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            stream,
        }
    }

    /// The HTTP/2 tunnel that this was shown to.
    pub(super) const fn stream(&self) -> Option<&Arc<StreamTunnel>> {
        self.stream.as_ref()
    }

    /// The other side of the tunnel that this connection, or a stream of it, has become was reset:
    /// its client is, too.
    pub(super) fn break_off_tunnel(&self) {
        if let Some(stream) = &self.stream {
            stream.reset();
        } else if let Some(exchanges) = self.inner.rare.get().and_then(|rare| rare.exchanges.get())
        {
            exchanges.break_off_tunnel();
        }
    }

    /// The handler leads the tunnel through the drain.
    pub(super) fn lead_by_handler(&self) {
        // Relaxed: the drain's steps are far apart from it.
        self.inner.led_by_handler.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_led_by_handler(&self) -> bool {
        self.inner.led_by_handler.load(Ordering::Relaxed)
    }

    /// A request begins; its number.
    #[inline]
    pub(crate) fn request_started(&self) -> u64 {
        self.inner.guard.request_started();
        self.inner.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// It is as old as it may be, or has served as many requests: its goodbye begins.
    pub(super) fn retire(&self) {
        // Relaxed: the connection's task, which `start_now` wakes, reads it.
        self.inner.retired.store(true, Ordering::Relaxed);
        self.inner.guard.set_close_reason(CloseReason::Aged);
        self.reach_limit();
    }

    /// A limit of its own ends it: its goodbye begins, and is said whatever is left unsaid in a
    /// drain.
    pub(super) fn reach_limit(&self) {
        // Relaxed: as above.
        self.inner.limited.store(true, Ordering::Relaxed);
        self.drain().start_now();
    }

    pub(super) fn has_retired(&self) -> bool {
        self.inner.retired.load(Ordering::Relaxed)
    }

    pub(super) fn is_limited(&self) -> bool {
        self.inner.limited.load(Ordering::Relaxed)
    }

    /// Its log events and spans.
    pub(crate) fn trace(&self) -> &ConnTrace {
        &self.inner.trace
    }

    /// What its goodbye is like, by what it speaks.
    pub(super) fn manner(&self, protocol: ConnProtocol) -> Manner {
        match manner(&self.behavior(), protocol) {
            Manner::Silent if self.is_limited() => Manner::Says,
            manner => manner,
        }
    }

    /// Its goodbye begins.
    pub(super) fn started(&self) {
        self.reach(ConnState::Draining);
        self.inner.trace.started(&self.inner.guard, self.drain());
        self.rare().started.get_or_init(Instant::now);
    }

    /// Whether a response has informed its client. It may have ended with that,
    /// before its goodbye was begun.
    #[inline]
    pub(super) fn was_asked(&self) -> bool {
        self.inner.asked.load(Ordering::Relaxed)
    }

    /// Moves the registry entry on; a step it has already passed is no step.
    pub(crate) fn reach(&self, state: ConnState) {
        let from = self.inner.guard.state();
        // The registry refuses a step back only; two tasks of one connection may arrive at the same
        // step.
        if from < state && self.inner.guard.set_state(state).is_ok() {
            self.inner.trace.moved(&self.inner.guard, from, state);
        }
    }

    /// Writes down why the connection ended; `failed`: its transport or its protocol did.
    pub(crate) fn ended(&self, cause: CloseCause, failed: bool) {
        self.inner.guard.set_close_reason(match cause {
            CloseCause::BeforeDrain | CloseCause::Drained if failed => CloseReason::Error,
            CloseCause::BeforeDrain if self.drain_started_at().is_none() => CloseReason::Finished,
            CloseCause::BeforeDrain | CloseCause::Drained | CloseCause::Finished => {
                CloseReason::Drained
            }
            CloseCause::Forced => CloseReason::Admin,
            _ => CloseReason::Deadline,
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.trace.closed(&self.guard, self.decision.handle());
    }
}

impl WeakConnection {
    /// The connection, if it has not ended.
    pub fn upgrade(&self) -> Option<Connection> {
        self.0.upgrade().map(|inner| Connection {
            inner,
            stream: None,
        })
    }
}

impl Connection {
    fn is_silent(&self) -> bool {
        self.manner(self.inner.guard.protocol()) == Manner::Silent
    }

    /// It is to leave with this response: whether it does. Its slot is now.
    fn leaves(&self) -> bool {
        if self.is_silent() {
            return false;
        }
        // Relaxed: the connection's own tasks ask, and its own task reads it.
        self.inner.asked.store(true, Ordering::Relaxed);
        self.drain().start_now();
        true
    }
}

impl DrainDecision for Connection {
    #[inline]
    fn is_due(&self) -> bool {
        // Nearly every response says no: how it leaves is looked at after a yes.
        self.inner.decision.is_due() && !self.is_silent()
    }

    #[inline]
    fn leave_if_due(&self) -> bool {
        self.inner.decision.is_due() && self.leaves()
    }

    #[inline]
    fn progress(&self) -> Option<u16> {
        self.inner.decision.progress()
    }

    fn leave_early(&self) -> bool {
        self.leaves()
    }
}
