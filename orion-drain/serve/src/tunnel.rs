//! An HTTP/1 connection that became a tunnel (101, 2xx to CONNECT): its transport keeps it open in
//! the drain and in the registry, in whichever task that is, and the connection's own task leads it
//! through the drain's steps until the transport is gone.
//!
//! ```text
//! slot ── listed as draining ──► finish_before ── reads end ──► deadline ── writes fail ──► no longer waited for
//! ```
//!
//! A handler that uses [`serve_tunnel`](super::serve_tunnel) leads it by itself: then it is only
//! kept and waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use conn_tracker::{ConnKind, ConnProtocol, ConnState};
use drain_signal::{CloseCause, Goodbye, GracefulClose, drive_held};
use http::Response;
use http::header::UPGRADE;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Connection;

/// What passes between the transport of a tunnel and the connection's task.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// Kept open as long as the transport is there.
    connection: Connection,
    orders: AtomicU8,
    reader: AtomicWaker,
    writer: AtomicWaker,
    gone: Notify,
    is_gone: AtomicBool,
}

/// Reads end once nothing more lies in the socket.
const READS_END: u8 = 1;
/// Reads end and writes fail.
const CUT: u8 = 2;

impl Tunnel {
    /// The connection answers with a response that makes it a tunnel.
    pub(super) fn new<B>(connection: Connection, response: &Response<B>) -> Self {
        let guard = connection.guard();
        guard.set_kind(ConnKind::Tunnel);
        let is_websocket =
            |name: &http::HeaderValue| name.as_bytes().eq_ignore_ascii_case(b"websocket");
        if response.headers().get(UPGRADE).is_some_and(is_websocket) {
            guard.set_protocol(ConnProtocol::WebSocket);
        }
        Self {
            connection,
            orders: AtomicU8::new(0),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            gone: Notify::new(),
            is_gone: AtomicBool::new(false),
        }
    }

    // Towards the transport. Release in `order` pairs with the Acquire in `has`; the wakers order
    // it before the next look.

    #[inline]
    pub(super) fn is_cut(&self) -> bool {
        self.has(CUT)
    }

    /// Nothing can be read now: whether that is the end.
    pub(super) fn read_ends(&self, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        self.has(READS_END | CUT)
    }

    /// Nothing can be written now: whether that is the end.
    pub(super) fn write_ends(&self, cx: &Context<'_>) -> bool {
        self.writer.register(cx.waker());
        self.is_cut()
    }

    /// The transport is dropped.
    pub(super) fn gone(&self) {
        // Relaxed: its reader only spares a dropped transport an order.
        self.is_gone.store(true, Ordering::Relaxed);
        self.gone.notify_one();
    }

    fn has(&self, orders: u8) -> bool {
        self.orders.load(Ordering::Acquire) & orders != 0
    }

    fn order(&self, order: u8) {
        self.orders.fetch_or(order, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    // Towards the connection's task.

    /// Leads the tunnel through the drain until its transport is gone. Dropping the future cuts it.
    pub(super) async fn lead(&self) -> CloseCause {
        let led = Led {
            gone: Box::pin(self.gone.notified()),
            tunnel: self,
        };
        drive_held(led, self.connection.drain()).await.cause
    }

    fn is_led_here(&self) -> bool {
        !self.connection.is_led_by_handler()
    }
}

struct Led<'a> {
    gone: Pin<Box<Notified<'a>>>,
    tunnel: &'a Tunnel,
}

impl Future for Led<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.gone.as_mut().poll(cx)
    }
}

impl GracefulClose for Led<'_> {
    fn start(self: Pin<&mut Self>, _: &Goodbye) {
        if self.tunnel.is_led_here() {
            self.tunnel.connection.started();
        }
    }

    fn finish(self: Pin<&mut Self>) {
        if self.tunnel.is_led_here() {
            let connection = &self.tunnel.connection;
            connection
                .trace()
                .finishing(connection.guard(), connection.drain());
            self.tunnel.order(READS_END);
        }
    }

    fn abort(self: Pin<&mut Self>) {
        if self.tunnel.is_led_here() {
            let connection = &self.tunnel.connection;
            connection.reach(ConnState::Closing);
            connection
                .trace()
                .aborting(connection.guard(), connection.drain());
            self.tunnel.order(CUT);
        }
    }
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        if !self.tunnel.is_gone.load(Ordering::Relaxed) && self.tunnel.is_led_here() {
            self.tunnel.order(CUT);
        }
    }
}
