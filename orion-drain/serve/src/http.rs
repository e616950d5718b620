//! An HTTP connection from its first byte to its last, over hyper's connection of either version.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use drain_signal::{Closed, drive_held};
use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use proto_drain_h2::H2Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::age::Age;
use super::aging::Aging;
use super::composed::{HttpConnection, HttpIo, HttpParts};
use super::ending::{Ending, EndingIo};
use super::received::ReceivedBody;
use super::request::{Requests, Shared};
use super::socket::{has_plain_shutdown, tcp_under};
use super::timeout::{Head, HeadTimeoutIo};
use super::tracked::Tracked;
use super::tunnel::Tunnel;
use super::{CodecType, Connection, HttpServer};

/// Serves one HTTP connection to its end. At its slot the client is asked to finish (`connection:
/// close` on the next response; GOAWAY, `drain_timeout`, GOAWAY); what is left at the deadline is
/// closed in steps.
///
/// `server` is a reference, or shared by an `Arc` where the connection's task owns all it needs.
/// `service` may borrow; its futures may not. It is asked for every request; the [`Connection`] is
/// in the request's extensions, unless the server says otherwise. A response that comes before the
/// end of its request's body ends an HTTP/1 connection, and says so ([`ReceivedBody`]).
///
/// A connection that becomes a tunnel (101, 2xx to CONNECT) is served until its transport is
/// dropped, by whichever task has it: the drain waits for it, the registry lists it. Shortly before
/// the deadline its reads end, at the deadline its writes fail. A handler that relays it by
/// [`serve_tunnel`](super::serve_tunnel) leads it through the drain by itself.
///
/// # Cancel safety
///
/// Dropping the future closes the connection at once.
pub fn serve_http<IO, S, B>(
    io: IO,
    service: S,
    connection: Connection,
    server: impl AsRef<HttpServer>,
) -> impl Future<Output = Closed<Result<(), Box<dyn Error + Send + Sync>>>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<ReceivedBody>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    serve_codec(io, service, connection, server, CodecType::Auto)
}

/// [`serve_http`] where ALPN has chosen this codec (`negotiated`): nothing is looked for in the
/// first bytes. A server that is [for one codec](HttpServer::for_codec) speaks that one.
///
/// # Cancel safety
///
/// As [`serve_http`]'s.
pub fn serve_codec<IO, S, B>(
    io: IO,
    service: S,
    connection: Connection,
    server: impl AsRef<HttpServer>,
    codec: CodecType,
) -> impl Future<Output = Closed<Result<(), Box<dyn Error + Send + Sync>>>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<ReceivedBody>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let codec = match server.as_ref().codec {
        CodecType::Auto => codec,
        fixed => fixed,
    };
    let ending = Ending::new(&server.as_ref().requests, &connection);
    let served = transport(io, &connection, server.as_ref(), &ending, |io, parts| {
        let service = self::service(service, &connection, &ending, parts);
        server.as_ref().builders.serve(codec, io, service)
    });
    let mut held = Held {
        served: Some(served),
        connection,
    };
    // Every connection has this future, which keeps what it captures for its whole life: so the
    // connection is made before, and stays there. No `async fn`: that keeps its arguments twice.
    async move {
        let Held { served, connection } = &mut held;
        let connection = &*connection;
        let closed = match served {
            Some(served) => {
                let led = led(Pin::new(served), connection, server.as_ref(), &ending);
                let driven = drive_held(led, connection.drain());
                connection.trace().around(driven).await
            }
            None => unreachable!("it is let go behind this"),
        };
        held.let_go();
        let connection = &held.connection;
        let closed = match ending.tunnel() {
            // Boxed: few connections become one.
            Some(tunnel) => Box::pin(led_as_tunnel(tunnel, connection, closed)).await,
            None => closed,
        };
        connection.ended(closed.cause, matches!(closed.output, Some(Err(_))));
        server.as_ref().count_closes();
        closed
    }
}

/// What is served, with its connection: whenever it goes, it goes in the connection's span.
struct Held<C> {
    /// Until it has ended.
    served: Option<C>,
    connection: Connection,
}

impl<C> Held<C> {
    fn let_go(&mut self) {
        let served = self.served.take();
        self.connection.trace().inside(|| drop(served));
    }
}

impl<C> Drop for Held<C> {
    fn drop(&mut self) {
        self.let_go();
    }
}

async fn led_as_tunnel<T>(
    tunnel: &Tunnel,
    connection: &Connection,
    mut closed: Closed<T>,
) -> Closed<T> {
    closed.cause = connection.trace().around(tunnel.lead()).await;
    closed
}

// One connection, from its socket to its service:
//
//   led         Tracked ── the steps of the drain in the registry and the statistics
//               Aging ──── idle_timeout, age
//   transport   HttpConnection ── HTTP/2's steps, around HTTP/1's
//               Codec ──── hyper, of the version that the client speaks
//               HeadTimeoutIo ─ request_timeout until the head is there
//               GoawayIo ─ both GOAWAYs at their time
//               LingerIo ─ the staged close
//               EndingIo ─ who was first to end it; keeps a tunnel open
//               the socket, or TLS over it
//   service     Requests ── all of ours about a request, in one layer (request.rs)
//               the program's service

/// The transport, and the server over it.
fn transport<IO, C, E>(
    io: IO,
    connection: &Connection,
    server: &HttpServer,
    ending: &Arc<Ending>,
    serve: impl FnOnce(HeadTimeoutIo<HttpIo<EndingIo<IO>>>, &HttpParts<'_>) -> C,
) -> HttpConnection<C>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: H2Shutdown + Future<Output = Result<(), E>> + Unpin,
{
    let has_plain_shutdown = has_plain_shutdown(&io);
    let io = EndingIo::new(io, Arc::clone(ending));
    fn tcp<IO: 'static>(io: &EndingIo<IO>) -> Option<&TcpStream> {
        tcp_under(io.get_ref())
    }
    server
        .drain
        .connection_over(io, tcp::<IO>, has_plain_shutdown, |io, parts| {
            let own = connection.http_drain_timeout();
            if let Some(drain_timeout) = own.or_else(|| server.next_drain_timeout()) {
                parts.goaway().set_drain_timeout(drain_timeout);
            }
            let head = server
                .head_timeout
                .map(|timeout| Head::new(timeout, parts.exchanges(), parts.goaway(), ending));
            let io = HeadTimeoutIo::new(io, head);
            serve(io, parts)
        })
}

/// What hyper asks for every request.
fn service<S>(
    inner: S,
    connection: &Connection,
    ending: &Arc<Ending>,
    parts: &HttpParts<'_>,
) -> Requests<S> {
    let shared = Shared {
        connection: connection.clone(),
        ending: Arc::clone(ending),
        exchanges: parts.exchanges().clone(),
        goaway: parts.goaway().clone(),
    };
    Requests::new(inner, shared)
}

/// The connection with its own limits, and what others learn of it.
fn led<'a, C>(
    served: Pin<&'a mut HttpConnection<C>>,
    connection: &'a Connection,
    server: &HttpServer,
    ending: &'a Ending,
) -> Tracked<'a, Aging<'a, HttpConnection<C>>, impl FnOnce() + use<'a, C>> {
    let jitter = server.age_jitter.as_ref().map(|jitter| jitter.next());
    let aging = Aging::new(
        served,
        connection,
        ending,
        server.idle_timeout,
        Age::new(&server.age, jitter.unwrap_or_default()),
    );
    Tracked::new(aging, connection, move || ending.stats().drain_started())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;
    use hyper::service::service_fn;

    use super::*;

    fn size_of_future<'a, S, F>(
        _: S,
        _: impl Fn(TcpStream, S, Connection, &'a HttpServer) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// Of more than 280 bytes tokio makes a task of 512, of less one of 384.
    #[test]
    fn an_idle_connection_keeps_a_small_future() {
        let service = service_fn(async |_: Request<ReceivedBody>| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
        let bytes = size_of_future(service, serve_http);
        assert!(bytes <= 280, "{bytes} bytes");
    }
}
