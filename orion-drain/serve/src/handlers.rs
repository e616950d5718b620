//! The ready-made handlers: an HTTP service, or a function over the bytes of a TCP connection.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use conn_tracker::{ConnKind, ConnProtocol};
use drain_signal::{Goodbye, GracefulClose, drive_held};
use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use listener_versions::{Accepted, ListenerConfig, Stream};
use pin_project::pin_project;

use super::http::serve_codec;
use super::run::Handler;
use super::tracked::Tracked;
use super::{CodecType, Connection, HttpServer, ReceivedBody};

/// Serves every connection with one HTTP service, over HTTP/1.1 or HTTP/2 as its client speaks.
///
/// For listeners without filter chains. A listener with chains needs a handler that enters them
/// ([`Accepted::enter_chain`](listener_versions::Accepted::enter_chain)).
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::Arc;
/// use std::time::Duration;
/// # use http::{Request, Response};
/// # use http_body_util::Empty;
/// # use hyper::{body::Bytes, service::service_fn};
/// # use orion_drain_serve::ReceivedBody;
/// use orion_drain_serve::{CodecType, Http, HttpServer, HttpTimeouts};
///
/// # let service = service_fn(|_: Request<ReceivedBody>| async {
/// #     Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
/// # });
/// let timeouts = HttpTimeouts::envoy().with_request(Some(Duration::from_secs(30)));
/// let server = HttpServer::new(CodecType::Auto, &timeouts, Arc::new(())); // counts nothing
/// let handler = Http::new(service).with_server(server); // for `serve`
/// # drop(handler);
/// ```
#[derive(Debug, Clone)]
pub struct Http<S> {
    service: S,
    server: Arc<HttpServer>,
    #[cfg(feature = "tls")]
    tls: Option<super::Tls>,
}

impl<S> Http<S> {
    /// Serves with a hyper service, as [`HttpServer::default`] says. Each connection gets a clone.
    pub fn new(service: S) -> Self {
        Self {
            service,
            server: Arc::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The same handler with another server: its timeouts, codec and statistics.
    #[must_use]
    pub fn with_server(mut self, server: HttpServer) -> Self {
        self.server = Arc::new(server);
        self
    }

    /// The same handler over TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: super::Tls) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl<S> Http<TowerToHyperService<S>> {
    /// Serves with a tower service: an axum router, tonic's routes.
    pub fn tower(service: S) -> Self {
        Self::new(TowerToHyperService::new(service))
    }
}

impl<C, S, B> Handler<C> for Http<S>
where
    C: ListenerConfig,
    S: Service<Request<ReceivedBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn handle(&self, accepted: Accepted<C>) -> impl Future<Output = ()> + Send + 'static {
        let (service, server) = (self.service.clone(), Arc::clone(&self.server));
        #[cfg(feature = "tls")]
        let tls = self.tls.clone();
        let (stream, connection) = connection(accepted);
        async move {
            #[cfg(feature = "tls")]
            if let Some(tls) = tls {
                if let Some(stream) = tls.accept(stream, &connection).await {
                    let codec = super::tls::negotiated(&stream);
                    serve_codec(stream, service, connection, &server, codec).await;
                }
                return;
            }
            // How it ended is in the registry and the statistics.
            serve_codec(stream, service, connection, &server, CodecType::Auto).await;
        }
    }
}

/// Serves every connection with a function over its bytes.
///
/// The function's future is the connection: it ends when that ends. It learns of its slot by
/// [`Connection::drain`]'s `signaled()`, and is dropped soon after the deadline. To relay bytes to
/// an upstream, use [`serve_tcp`](super::serve_tcp) in a handler of your own: it knows how to end
/// without losing any.
#[derive(Debug, Clone)]
pub struct Tcp<F>(F);

impl<F> Tcp<F> {
    /// Serves with this function.
    pub const fn new(handler: F) -> Self {
        Self(handler)
    }
}

impl<C, F, Served> Handler<C> for Tcp<F>
where
    C: ListenerConfig,
    F: Fn(Stream, Connection) -> Served + Send + 'static,
    Served: Future<Output = ()> + Send + 'static,
{
    fn handle(&self, accepted: Accepted<C>) -> impl Future<Output = ()> + Send + 'static {
        let (stream, connection) = connection(accepted);
        connection.guard().set_protocol(ConnProtocol::Tcp);
        connection.guard().set_kind(ConnKind::Tunnel);
        let served = Handled(self.0(stream, connection.clone()));
        async move {
            let tracked = Tracked::new(served, &connection, || {});
            let closed = drive_held(tracked, connection.drain()).await;
            connection.ended(closed.cause, false);
        }
    }
}

/// The parts of an accepted connection of a listener without filter chains.
pub(super) fn connection<C: ListenerConfig>(accepted: Accepted<C>) -> (Stream, Connection) {
    let Accepted {
        stream,
        version,
        watch,
        conn,
        peer,
        ..
    } = accepted;
    if let Stream::Tcp(tcp) = &stream {
        // Small frames must not wait for each other's acknowledgements. A socket that refuses is
        // served all the same.
        tcp.set_nodelay(true).ok();
    }
    let connection = Connection::of(&version, watch, conn);
    let connection = match peer.as_socket() {
        Some(peer) => connection.with_peer(peer),
        None => connection,
    };
    (stream, connection)
}

/// A future as a connection: it waits for its slot by itself, and the driver drops it in the end.
#[pin_project]
struct Handled<F>(#[pin] F);

impl<F: Future> Future for Handled<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().0.poll(cx)
    }
}

impl<F: Future> GracefulClose for Handled<F> {
    fn start(self: Pin<&mut Self>, _: &Goodbye) {}

    fn finish(self: Pin<&mut Self>) {}

    fn abort(self: Pin<&mut Self>) {}
}
