//! Writes the steps of a connection's goodbye into the registry and the statistics.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use conn_tracker::ConnState;
use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;

use super::Connection;

/// A connection whose steps are seen.
#[pin_project]
pub(super) struct Tracked<C, F> {
    #[pin]
    inner: C,
    connection: Connection,
    /// Called once, when the goodbye begins: Envoy's `downstream_cx_drain_close`.
    on_start: Option<F>,
}

impl<C, F: FnOnce()> Tracked<C, F> {
    pub(super) const fn new(inner: C, connection: Connection, on_start: F) -> Self {
        Self {
            inner,
            connection,
            on_start: Some(on_start),
        }
    }
}

impl<C: Future, F> Future for Tracked<C, F> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.project().inner.poll(cx)
    }
}

impl<C: GracefulClose, F: FnOnce()> GracefulClose for Tracked<C, F> {
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.project();
        this.connection.reach(ConnState::Draining);
        if let Some(on_start) = this.on_start.take() {
            on_start();
        }
        this.inner.start(goodbye);
    }

    fn finish(self: Pin<&mut Self>) {
        self.project().inner.finish();
    }

    fn abort(self: Pin<&mut Self>) {
        let this = self.project();
        this.connection.reach(ConnState::Closing);
        this.inner.abort();
    }
}
