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
    /// What its behaviour asks for beside the words of its protocol.
    own: Option<Box<Own>>,
}

enum Own {
    /// What it leaves unsaid in a drain. A limit of its own makes it say it.
    Unsaid(Goodbye),
    /// When it is cut.
    Cut(Pin<Box<Sleep>>),
}

impl<'a, C, F: FnOnce()> Tracked<'a, C, F> {
    pub(super) const fn new(inner: C, connection: &'a Connection, on_start: F) -> Self {
        Self {
            inner,
            connection,
            on_start: Some(on_start),
            own: None,
        }
    }
}

impl<C: GracefulClose, F: FnOnce()> Tracked<'_, C, F> {
    /// Its goodbye has begun, and it has said nothing.
    #[inline]
    fn is_silent(&self) -> bool {
        matches!(self.own.as_deref(), Some(Own::Unsaid(_)))
    }

    /// Its goodbye begins in its protocol's words.
    fn say(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.project();
        if let Some(on_start) = this.on_start.take() {
            on_start();
        }
        let trace = this.connection.trace();
        trace.handler(|| this.inner.start(goodbye));
    }
}

impl<C: GracefulClose, F: FnOnce()> Future for Tracked<'_, C, F> {
    type Output = C::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut polled = self.as_mut().project().inner.poll(cx);
        if polled.is_pending() && self.is_silent() && self.connection.is_limited() {
            let own = self.as_mut().project().own.take();
            if let Some(Own::Unsaid(goodbye)) = own.as_deref() {
                self.as_mut().say(goodbye);
                polled = self.as_mut().project().inner.poll(cx);
            }
        }
        let this = self.project();
        if polled.is_ready() && this.connection.was_asked() {
            if let Some(on_start) = this.on_start.take() {
                this.connection.started();
                on_start();
            }
        }
        if let (Poll::Pending, Some(Own::Cut(cut))) = (&polled, this.own.as_deref_mut()) {
            if cut.as_mut().poll(cx).is_ready() {
                *this.own = None;
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
    fn start(mut self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.as_mut().project();
        this.connection.started();
        match this.connection.manner(this.connection.guard().protocol()) {
            Manner::Silent => {
                *this.own = Some(Box::new(Own::Unsaid(goodbye.clone())));
                return;
            }
            Manner::CutAfter(time) => {
                let cut = Box::pin(tokio::time::sleep(time));
                *this.own = Some(Box::new(Own::Cut(cut)));
            }
            Manner::Says => {}
        }
        self.say(goodbye);
    }

    fn finish(self: Pin<&mut Self>) {
        if !self.is_silent() {
            let this = self.project();
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
