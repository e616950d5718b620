//! What the parts of one connection share: bytes have come, a request is being answered, it is a
//! tunnel now.
//!
//! The transport wrapper sees bytes, the service wrapper sees requests and responses, the
//! connection wrapper must know "is a request in flight?": one whose first bytes have arrived is
//! (RFC 9112 section 9.5 lets either side close at any time; a server that closes on half a request
//! has lost it). hyper knows it for the first request of a connection only: its `graceful_shutdown`
//! closes an idle kept-alive connection even with half a head in its buffer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

use drain_signal::DrainDecision;

use crate::{Activity, ActivityObserver};

use crate::request::RequestFacts;
use crate::response::Leaving;

/// The shared knowledge of one connection; clones are handles to the same connection.
///
/// [`LingerIo`](crate::LingerIo) makes one; give a clone to the service wrapper and to
/// [`Http1Connection`](crate::Http1Connection).
#[derive(Clone, Default)]
pub struct Exchanges {
    inner: Arc<Inner>,
}

/// Relaxed throughout: the flags are read and written by the connection's own task (an exchange
/// that ends on another task at worst makes the connection look busy until its next poll), and they
/// publish no other memory.
#[derive(Default)]
struct Inner {
    /// Bytes have come behind the last request that the service has taken, its body aside.
    pending: AtomicBool,
    /// The last four bytes that came.
    tail: AtomicU32,
    /// The request that is being answered has a body.
    body: AtomicBool,
    /// The guards of request bodies that may still have bytes to come.
    bodies: AtomicU32,
    /// A head was taken since the transport last asked.
    head_taken: AtomicBool,
    read: AtomicBool,
    written: AtomicBool,
    tracked: AtomicBool,
    /// The service wrapper has a request that it has not answered. Written by the connection's own
    /// task alone, so that a request costs no read-modify-write.
    answering: AtomicBool,
    /// The guards that are held.
    active: AtomicU32,
    framed_by_close: AtomicBool,
    /// What happens to a connection at most once, a bit for each.
    once: AtomicU8,
    /// How far the drain had come at the last response; zero before it.
    spoke_at: AtomicU16,
    observer: Option<Box<dyn ActivityObserver + Send + Sync>>,
}

const TUNNEL: u8 = 1;
const BROKEN_OFF: u8 = 1 << 1;
/// Nothing reads what is left of the request's body.
const DISCARDS: u8 = 1 << 2;
const SHUT_DOWN: u8 = 1 << 3;
/// The client has said that it sends nothing more.
const CLIENT_ENDS: u8 = 1 << 4;
/// The transport's owner closes in stages by itself.
const OWNER_WAITS: u8 = 1 << 5;
const CUT: u8 = 1 << 6;
/// The connection closes as soon as it can.
const LEAVES: u8 = 1 << 7;

impl Inner {
    /// Whether this has happened.
    #[inline]
    fn has(&self, once: u8) -> bool {
        self.once.load(Ordering::Relaxed) & once != 0
    }

    /// This happens. Whether it is the first time.
    fn set(&self, once: u8) -> bool {
        self.once.fetch_or(once, Ordering::Relaxed) & once == 0
    }
}

impl Exchanges {
    /// A connection nothing has happened on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with an observer, which is called at the first request in flight, at the last
    /// one's end, and at a tunnel.
    #[must_use]
    pub fn with_observer(observer: impl ActivityObserver + Send + Sync + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                observer: Some(Box::new(observer)),
                ..Inner::default()
            }),
        }
    }

    /// A request was taken from the connection. Hold the guard until the response is out;
    /// [`DrainService`] holds it until the head is handed on, [`ExchangeBody`](crate::ExchangeBody)
    /// until the body is.
    ///
    /// [`DrainService`]: crate::DrainService
    pub fn begin(&self, request: &RequestFacts) -> Exchange {
        self.taken(request.has_body());
        self.guard()
    }

    /// [`begin`](Self::begin) without a guard, for the connection's own task;
    /// [`answered`](Self::answered) ends it.
    #[cfg(any(feature = "hyper", feature = "tower"))]
    #[inline]
    pub(crate) fn answer(&self, has_body: bool) {
        self.taken(has_body);
        let inner = &self.inner;
        if !inner.answering.load(Ordering::Relaxed) {
            inner.answering.store(true, Ordering::Relaxed);
            if inner.active.load(Ordering::Relaxed) == 0 {
                self.report(Activity::InRequest { streams: 1 });
            }
        }
    }

    /// The response is handed on, or will never be.
    #[cfg(any(feature = "hyper", feature = "tower"))]
    #[inline]
    pub(crate) fn answered(&self) {
        let inner = &self.inner;
        inner.answering.store(false, Ordering::Relaxed);
        if inner.active.load(Ordering::Relaxed) == 0 {
            self.over();
        }
    }

    #[inline]
    fn taken(&self, has_body: bool) {
        let inner = &self.inner;
        inner.tracked.store(true, Ordering::Relaxed);
        inner.head_taken.store(true, Ordering::Relaxed);
        // Bytes behind a head without a body are the next request's. Behind a head with a body they
        // count as the body's until the exchange ends: where a body ends is not known here.
        let behind = !has_body && !ends_a_head(inner.tail.load(Ordering::Relaxed));
        inner.pending.store(behind, Ordering::Relaxed);
        inner.body.store(has_body, Ordering::Relaxed);
        inner.framed_by_close.store(false, Ordering::Relaxed);
    }

    /// Nothing is being answered any more.
    #[inline]
    fn over(&self) {
        let inner = &self.inner;
        if inner.body.load(Ordering::Relaxed) {
            // What came meanwhile counts as the request's body.
            inner.pending.store(false, Ordering::Relaxed);
        }
        if !self.is_tunnel() {
            self.report(Activity::Idle);
        }
    }

    /// One more guard for the exchange that is under way: it lasts until all are dropped.
    pub fn guard(&self) -> Exchange {
        let first = self.inner.active.fetch_add(1, Ordering::Relaxed) == 0;
        if first && !self.inner.answering.load(Ordering::Relaxed) {
            self.report(Activity::InRequest { streams: 1 });
        }
        Exchange { of: self.clone() }
    }

    /// The body of the request that was just taken. Hold the guard until the body has come whole or
    /// is given up, which may be after its response: what comes meanwhile is no head.
    pub fn body(&self) -> OpenBody {
        self.inner.bodies.fetch_add(1, Ordering::Relaxed);
        OpenBody { of: self.clone() }
    }

    /// Whether a request's body may still have bytes to come. Without [guards](Self::body) this is
    /// not known.
    #[must_use]
    pub fn has_open_body(&self) -> bool {
        self.inner.bodies.load(Ordering::Relaxed) > 0
    }

    /// Whether a head was taken since this was last asked: what has come since then is another
    /// one's.
    #[must_use]
    pub fn took_head(&self) -> bool {
        // The connection's own task alone writes it.
        let taken = self.inner.head_taken.load(Ordering::Relaxed);
        if taken {
            self.inner.head_taken.store(false, Ordering::Relaxed);
        }
        taken
    }

    /// The connection is a tunnel from here on (101, or 2xx to CONNECT): the transport wrapper
    /// steps aside, so that half-closing works as without it.
    pub fn switch_to_tunnel(&self) {
        if self.inner.set(TUNNEL) {
            self.report(Activity::Tunnel);
        }
    }

    /// Asks `decision` whether the connection leaves with the response that is about to be written;
    /// once per response. One that [closes](crate::Http1Connection::close_when_idle) as soon as it
    /// can leaves in any case.
    ///
    /// Its slot decides; and a connection that speaks rarely leaves before its slot: one whose
    /// drain has come further by more than a sixteenth of its drain time since the connection's
    /// last response, or since the drain's start. Slots spread connections over time; these are
    /// spread already, and may not speak again before the deadline.
    pub fn leaving(&self, decision: &impl DrainDecision) -> Leaving {
        let leaving = Leaving::ask(decision);
        if leaving == Leaving::Yes || self.inner.has(LEAVES) {
            return Leaving::Yes;
        }
        let Some(progress) = decision.progress() else {
            return leaving;
        };
        // The connection's own task alone writes it.
        let before = self.inner.spoke_at.load(Ordering::Relaxed);
        self.inner.spoke_at.store(progress, Ordering::Relaxed);
        if speaks_rarely(before, progress) && decision.leave_early() {
            Leaving::Yes
        } else {
            Leaving::No
        }
    }

    /// The connection opens now, and its requests will be made known here: in a drain that is on
    /// already, how rarely it speaks is measured from here on. Without this it is measured from the
    /// drain's start. [`DrainService`] does it by itself.
    ///
    /// [`DrainService`]: crate::DrainService
    pub fn opened(&self, decision: &impl DrainDecision) {
        self.inner.tracked.store(true, Ordering::Relaxed);
        let progress = decision.progress().unwrap_or(0);
        self.inner.spoke_at.store(progress, Ordering::Relaxed);
    }

    /// The other side of the tunnel was reset, or ended without its protocol's end: when the
    /// transport is dropped, the client gets RST and not FIN, which would say that it has got
    /// everything.
    pub fn break_off_tunnel(&self) {
        self.inner.set(BROKEN_OFF);
    }

    pub(crate) fn has_broken_off(&self) -> bool {
        self.inner.has(BROKEN_OFF)
    }

    /// The body of the response that is being written ends with the connection
    /// ([`RequestFacts::framed_by_close`], RFC 9112 section 6.3): if the transport is dropped
    /// before it is shut down, the client gets RST. FIN would make what it has got look whole.
    /// [`DrainService`] says it by itself.
    ///
    /// [`DrainService`]: crate::DrainService
    pub fn frame_by_close(&self) {
        self.inner.framed_by_close.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_framed_by_close(&self) -> bool {
        self.inner.framed_by_close.load(Ordering::Relaxed)
    }

    /// The response that is being written says `close`, and nothing reads the rest of its request's
    /// body any more: as long as the response has to wait for its client, the transport discards
    /// what comes, up to [`discard_limit`](crate::LingerSettings::discard_limit). A client that
    /// sends everything before it reads must not wait for a server that waits for it.
    pub fn discard_rest(&self) {
        self.inner.set(DISCARDS);
    }

    #[inline]
    pub(crate) fn discards_rest(&self) -> bool {
        self.inner.has(DISCARDS)
    }

    /// Whether the connection has become a tunnel.
    #[must_use]
    #[inline]
    pub fn is_tunnel(&self) -> bool {
        self.inner.has(TUNNEL)
    }

    /// The owner of the transport ends it: nothing more is written.
    pub(crate) fn shut_down(&self) {
        self.inner.set(SHUT_DOWN);
    }

    /// The client has said that it sends nothing behind this request (`close`, [RFC 9112 section
    /// 9.6], and no body): over a transport without TLS its owner's shutdown ends with the
    /// half-close, since nothing is to come that an RST could answer. [`DrainService`] says it by
    /// itself.
    ///
    /// [`DrainService`]: crate::DrainService
    /// [RFC 9112 section 9.6]: https://www.rfc-editor.org/rfc/rfc9112#section-9.6
    pub fn client_ends(&self) {
        self.inner.set(CLIENT_ENDS);
    }

    /// The owner of the transport closes in stages by itself, as proto-drain-h2's does for HTTP/2:
    /// its shutdown ends with the half-close. A transport that is dropped without one lingers all
    /// the same.
    pub fn owner_waits(&self) {
        self.inner.set(OWNER_WAITS);
    }

    /// Whether a shutdown by the owner has nothing to wait for.
    pub(crate) fn nothing_follows(&self, without_tls: bool) -> bool {
        let inner = &self.inner;
        inner.has(OWNER_WAITS)
            || without_tls && inner.has(CLIENT_ENDS) && !inner.pending.load(Ordering::Relaxed)
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.inner.has(SHUT_DOWN)
    }

    /// The transport, once it is dropped, does not linger.
    pub(crate) fn cut(&self) {
        self.inner.set(CUT);
    }

    /// The connection closes as soon as it can: the next response says so.
    pub(crate) fn leave(&self) {
        self.inner.set(LEAVES);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.inner.has(CUT)
    }

    /// Whether the peer has ever sent a byte.
    #[must_use]
    pub fn has_spoken(&self) -> bool {
        self.inner.read.load(Ordering::Relaxed)
    }

    /// Whether we have ever written a byte.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.inner.written.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    #[must_use]
    #[inline]
    pub fn is_answering(&self) -> bool {
        self.inner.answering.load(Ordering::Relaxed)
            || self.inner.active.load(Ordering::Relaxed) > 0
    }

    /// Whether first bytes of a request have come that the service has not seen yet.
    ///
    /// Not seen: half a head that came in one piece with the end of the previous request's *body*.
    #[must_use]
    #[inline]
    pub fn is_receiving(&self) -> bool {
        self.inner.pending.load(Ordering::Relaxed)
    }

    /// The connection speaks HTTP/2: its bytes and requests are not this crate's to match.
    #[cfg(any(feature = "hyper", feature = "tower"))]
    pub(crate) fn untrack(&self) {
        self.inner.tracked.store(false, Ordering::Relaxed);
    }

    /// Whether requests are announced at all (without a service wrapper they are not).
    pub(crate) fn is_tracked(&self) -> bool {
        self.inner.tracked.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn came(&self, bytes: &[u8]) {
        let inner = &self.inner;
        let tail = match bytes.last_chunk() {
            Some(last) => u32::from_be_bytes(*last),
            None => bytes
                .iter()
                .fold(inner.tail.load(Ordering::Relaxed), |tail, byte| {
                    (tail << 8) | u32::from(*byte)
                }),
        };
        inner.tail.store(tail, Ordering::Relaxed);
        if !is_blank(bytes) {
            inner.pending.store(true, Ordering::Relaxed);
        }
        inner.read.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn wrote(&self) {
        if !self.inner.written.load(Ordering::Relaxed) {
            self.inner.written.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    fn report(&self, activity: Activity) {
        if let Some(observer) = &self.inner.observer {
            observer.activity(activity);
        }
    }
}

impl fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanges")
            .field("spoken", &self.has_spoken())
            .field("receiving", &self.is_receiving())
            .field("answering", &self.is_answering())
            .field("tunnel", &self.is_tunnel())
            .finish_non_exhaustive()
    }
}

/// A request in flight. Dropping it says that its response is out, or will never be.
#[derive(Debug)]
#[must_use = "dropping it says that the request is answered"]
pub struct Exchange {
    of: Exchanges,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let inner = &self.of.inner;
        if inner.active.fetch_sub(1, Ordering::Relaxed) == 1
            && !inner.answering.load(Ordering::Relaxed)
        {
            self.of.over();
        }
    }
}

/// A request's body that may still have bytes to come. Dropping it says that none come any more.
#[derive(Debug)]
#[must_use = "dropping it says that the body is over"]
pub struct OpenBody {
    of: Exchanges,
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        let inner = &self.of.inner;
        let last = inner.bodies.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && !self.of.is_answering() {
            // The response was before the body's end: what has come since then counts as the body.
            inner.pending.store(false, Ordering::Relaxed);
        }
    }
}

/// Whether a connection that spoke at `before` and speaks at `now`, in 65 535ths of the drain time,
/// may be late for its slot.
const fn speaks_rarely(before: u16, now: u16) -> bool {
    now.saturating_sub(before) > u16::MAX / 16
}

/// Whether these are empty lines alone, which begin no request: some clients send one behind a
/// request, and servers skip them ([RFC 9112 section
/// 2.2](https://www.rfc-editor.org/rfc/rfc9112#section-2.2)).
#[inline]
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Whether the last bytes end a request head: an empty line, with the line ends that parsers
/// accept.
fn ends_a_head(tail: u32) -> bool {
    let tail = tail.to_be_bytes();
    tail.ends_with(b"\n\n") || tail.ends_with(b"\n\r\n")
}
