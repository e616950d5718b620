//! The drain in a request's extensions: handlers of long streams can see it, wait for it, and know
//! its deadline.

use drain_signal::{DrainEvent, DrainHandle};
use http::{Method, Request, header};
use hyper::service::Service;
use std::sync::Arc;
use std::time::Instant;

/// What a handler finds in its request's extensions: the drain of the connection that the request
/// came on.
///
/// A stream that lives for hours (gRPC, server-sent events, a tunnel) outlives both GOAWAYs and is
/// reset at the deadline. A handler that looks here can end it before that: a last message, a
/// status, trailers. Cheap to clone; it keeps neither the connection nor the drain open.
///
/// # Examples
///
/// ```
/// # async fn tick() -> Option<u32> { None }
/// use proto_drain_h2::RequestDrain;
///
/// async fn events<B>(request: http::Request<B>) {
///     let Some(drain) = request.extensions().get::<RequestDrain>().cloned() else {
///         return;
///     };
///     let handle = drain.handle(); // of this task alone
///     loop {
///         tokio::select! {
///             Some(_event) = tick() => { /* send it */ }
///             // The connection leaves. Say so to the client, which may come back on another one.
///             _phase = handle.signaled() => break,
///             else => break,
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RequestDrain {
    /// Shared by the connection's requests, so that each costs one count on a line of its own
    /// connection.
    connection: Arc<DrainHandle>,
}

impl RequestDrain {
    /// For services that put it into the extensions themselves; one for all requests of a
    /// connection.
    #[must_use]
    pub fn new(connection: DrainHandle) -> Self {
        Self {
            connection: Arc::new(connection),
        }
    }

    /// Whether a drain that concerns the connection has begun; its slot may still be to come.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.connection.is_draining()
    }

    /// The facts of the drain, once one has begun.
    #[must_use]
    pub fn event(&self) -> Option<Arc<DrainEvent>> {
        self.connection.event()
    }

    /// When the stream is reset at the latest. It may come nearer from one call to the next, never
    /// later.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.connection.deadline()
    }

    /// A handle for one task to wait on: [`signaled`](DrainHandle::signaled),
    /// [`finishing`](DrainHandle::finishing), [`expired`](DrainHandle::expired).
    #[must_use]
    pub fn handle(&self) -> DrainHandle {
        DrainHandle::clone(&self.connection)
    }
}

/// Puts a [`RequestDrain`] into the extensions of the requests of one connection.
///
/// An entry in the extensions is three allocations, more than everything else that this crate does
/// for a request. Where that matters [`to_long_streams`](Self::to_long_streams) spares the others.
#[derive(Clone, Debug)]
pub struct WithDrain<S> {
    inner: S,
    drain: RequestDrain,
    long_streams_only: bool,
}

impl<S> WithDrain<S> {
    /// Every request's handler sees the drain that `connection` belongs to.
    pub fn new(inner: S, connection: DrainHandle) -> Self {
        Self {
            inner,
            drain: RequestDrain::new(connection),
            long_streams_only: false,
        }
    }

    /// Only handlers of requests that may be answered by a long stream see it: `content-type:
    /// application/grpc..`, `accept: text/event-stream`, and CONNECT.
    #[must_use]
    pub fn to_long_streams(mut self) -> Self {
        self.long_streams_only = true;
        self
    }
}

impl<S: Service<Request<R>>, R> Service<Request<R>> for WithDrain<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<R>) -> Self::Future {
        if !self.long_streams_only || may_be_long(&request) {
            request.extensions_mut().insert(self.drain.clone());
        }
        self.inner.call(request)
    }
}

fn may_be_long<R>(request: &Request<R>) -> bool {
    let begins = |name, with: &[u8]| {
        let value = request.headers().get(name);
        value.is_some_and(|value| value.as_bytes().starts_with(with))
    };
    request.method() == Method::CONNECT
        || begins(header::CONTENT_TYPE, b"application/grpc")
        || begins(header::ACCEPT, b"text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_event_streams_and_tunnels_may_be_long() {
        let request = |method: &str, name: &str, value: &str| {
            let request = Request::builder()
                .method(method)
                .uri("http://a/")
                .header(name, value);
            request.body(()).is_ok_and(|request| may_be_long(&request))
        };
        assert!(request("POST", "content-type", "application/grpc"));
        assert!(request("POST", "content-type", "application/grpc+proto"));
        assert!(request("GET", "accept", "text/event-stream, */*"));
        assert!(request("CONNECT", "accept", "*/*"));
        assert!(!request("POST", "content-type", "application/json"));
        assert!(!request("GET", "accept", "*/*"));
    }
}
