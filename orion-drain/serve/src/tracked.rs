//! Writes the steps of a connection's goodbye into the registry and the statistics, and takes them
//! in the manner that the connection's [`ProtocolDrainBehavior`](crate::ProtocolDrainBehavior) asks
//! for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use conn_tracker::{CloseReason, ConnState};
use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;
use tokio::time::Sleep;

use super::Connection;
use super::behavior::Manner;

/// A connection whose steps are seen.
#[pin_project]
pub(super) struct Tracked<'a, C, F> {
    #[pin]
    inner: C,
    connection: &'a Connection,
    /// Called once, when the goodbye begins: Envoy's `downstream_cx_drain_close`.
    on_start: Option<F>,
    silent: bool,
    /// When it is cut, if its behaviour says how long after its slot that is.
    cut: Option<Pin<Box<Sleep>>>,
}

impl<'a, C, F: FnOnce()> Tracked<'a, C, F> {
    pub(super) const fn new(inner: C, connection: &'a Connection, on_start: F) -> Self {
        Self {
            inner,
            connection,
            on_start: Some(on_start),
            silent: false,
            cut: None,
        }
    }
}

impl<C: Future, F: FnOnce()> Future for Tracked<'_, C, F> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.project();
        let polled = this.inner.poll(cx);
        if polled.is_ready() && this.connection.was_asked() {
            if let Some(on_start) = this.on_start.take() {
                this.connection.started();
                on_start();
            }
        }
        if let (Poll::Pending, Some(cut)) = (&polled, this.cut.as_mut()) {
            if cut.as_mut().poll(cx).is_ready() {
                *this.cut = None;
                this.connection
                    .guard()
                    .set_close_reason(CloseReason::Deadline);
                // It wakes the driver above, which takes the steps that are left.
                this.connection.drain().force();
            }
        }
        polled
    }
}

impl<C: GracefulClose, F: FnOnce()> GracefulClose for Tracked<'_, C, F> {
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.project();
        this.connection.started();
        match this.connection.manner(this.connection.guard().protocol()) {
            Manner::Silent => {
                *this.silent = true;
                return;
            }
            Manner::CutAfter(time) => *this.cut = Some(Box::pin(tokio::time::sleep(time))),
            Manner::Says => {}
        }
        if let Some(on_start) = this.on_start.take() {
            on_start();
        }
        this.connection
            .trace()
            .handler(|| this.inner.start(goodbye));
    }

    fn finish(self: Pin<&mut Self>) {
        let this = self.project();
        if !*this.silent {
            let connection = this.connection;
            connection
                .trace()
                .finishing(connection.guard(), connection.drain());
            connection.trace().handler(|| this.inner.finish());
        }
    }

    fn abort(self: Pin<&mut Self>) {
        let this = self.project();
        let connection = this.connection;
        connection.reach(ConnState::Closing);
        connection
            .trace()
            .aborting(connection.guard(), connection.drain());
        connection.trace().handler(|| this.inner.abort());
    }
}
