//! On real sockets: what a client reads behind a response that was cut. No part may look whole.
#![cfg(feature = "hyper")]

use crate::rig;
use crate::sockets;

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use drain_signal::{GracefulClose, drive};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    AtDeadline, CloseCounters, CloseCounts, DrainService, GracefulShutdown, Http1Connection,
    Http1Settings, LingerIo, LingerSettings, RequestFacts,
};
use sockets::{connection, tls_connection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

const HTTP_10: &str = "GET / HTTP/1.0\r\n\r\n";
const HTTP_11: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Minutes, so that a slow machine does not end a lingering: what is tested is not the time bound.
fn patient() -> LingerSettings {
    LingerSettings::default().with_delayed_close_timeout(Duration::from_secs(300))
}

fn spawning<IO>(io: LingerIo<IO>) -> LingerIo<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    io.with_spawner(|lingering| {
        tokio::spawn(lingering);
    })
}

fn under(tls: &TlsStream<TcpStream>) -> Option<&TcpStream> {
    Some(tls.get_ref().0)
}

/// How a connection is made to end in the middle of its response.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The body fails.
    Body,
    /// The task is dropped.
    Drop,
    /// The deadline of a drain.
    Deadline(AtDeadline),
}

const CUTS: [Cut; 4] = [
    Cut::Body,
    Cut::Drop,
    Cut::Deadline(AtDeadline::Linger),
    Cut::Deadline(AtDeadline::Cut),
];

/// Serves one request over `io` and cuts it behind `part`; the client's bytes, and its end.
async fn cut_response<C, IO>(
    mut client: C,
    io: LingerIo<IO>,
    request: &str,
    length: Option<usize>,
    cut: Cut,
) -> (String, io::Result<usize>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (_trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let handle = watch.handle();
    let settings = match cut {
        Cut::Deadline(at) => Http1Settings::default().with_at_deadline(at),
        _ => Http1Settings::default(),
    };
    let (frames, receiver) = mpsc::unbounded_channel();
    let receiver = Mutex::new(Some(receiver));
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        let body = match cut {
            Cut::Body => rig::failing_after(4),
            _ => rig::streaming(receiver.lock().unwrap().take().unwrap()),
        };
        let mut response = Response::new(body);
        if let Some(length) = length {
            response
                .headers_mut()
                .insert("content-length", length.into());
        }
        async { Ok::<_, io::Error>(response) }
    });
    let exchanges = io.exchanges().clone();
    let service = DrainService::new(service, watch.handle(), exchanges.clone());
    let mut builder = http1::Builder::new();
    let hyper = builder
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    let served = tokio::spawn(drive(
        Http1Connection::new(hyper, exchanges, settings),
        watch,
    ));

    client.write_all(request.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    frames.send("rrrr").ok();
    let mut got = Vec::new();
    while !got.windows(4).any(|four| four == b"rrrr") {
        assert!(
            client.read_buf(&mut got).await.unwrap() > 0,
            "an end before the cut"
        );
    }
    match cut {
        Cut::Body => {}
        Cut::Drop => served.abort(),
        Cut::Deadline(_) => {
            handle.force();
        }
    }
    let end = client.read_to_end(&mut got).await;
    (String::from_utf8_lossy(&got).into_owned(), end)
}

fn assert_reset(end: io::Result<usize>, case: Cut) {
    let kind = end.map_err(|error| error.kind());
    assert_eq!(kind, Err(io::ErrorKind::ConnectionReset), "{case:?}");
}

#[tokio::test]
async fn a_cut_response_framed_by_the_close_ends_in_rst() {
    for cut in CUTS {
        let (client, server) = connection().await;
        let counters = CloseCounters::new();
        let io = spawning(LingerIo::new(server, patient(), counters.clone()));
        let (got, end) = cut_response(client, io, HTTP_10, None, cut).await;
        assert!(
            got.starts_with("HTTP/1.0 200") && !got.contains("content-length"),
            "{got}"
        );
        assert_reset(end, cut);
        assert_eq!(counters.counts().aborted, 1);
    }
}

#[tokio::test]
async fn a_cut_response_framed_by_the_close_over_tls_ends_in_rst_without_close_notify() {
    for cut in CUTS {
        let (client, server) = tls_connection().await;
        let io = spawning(LingerIo::new(server, patient(), CloseCounters::new())).with_tcp(under);
        let (_, end) = cut_response(client, io, HTTP_10, None, cut).await;
        assert_reset(end, cut);
    }
}

#[tokio::test]
async fn a_cut_response_over_tls_of_an_unknown_transport_ends_without_close_notify() {
    for cut in CUTS {
        let (client, server) = tls_connection().await;
        let io = spawning(LingerIo::new(server, patient(), CloseCounters::new()));
        let (_, end) = cut_response(client, io, HTTP_10, None, cut).await;
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::UnexpectedEof), "{cut:?}");
    }
}

#[tokio::test]
async fn a_cut_response_that_knows_its_length_ends_in_fin() {
    for cut in CUTS {
        for length in [None, Some(100)] {
            let (client, server) = connection().await;
            let io = spawning(LingerIo::new(server, patient(), CloseCounters::new()));
            let (got, end) = cut_response(client, io, HTTP_11, length, cut).await;
            assert!(end.is_ok(), "{cut:?} {length:?}: {end:?}");
            let whole =
                got.ends_with("0\r\n\r\n") || got.len() >= 100 + "HTTP/1.1 200 OK\r\n".len();
            assert!(
                got.contains("rrrr") && !(whole && length.is_none()),
                "{cut:?}: {got}"
            );
        }
    }
}

#[tokio::test]
async fn a_cut_response_that_knows_its_length_over_tls_ends_in_fin_without_close_notify() {
    for cut in CUTS {
        let (client, server) = tls_connection().await;
        let io = spawning(LingerIo::new(server, patient(), CloseCounters::new())).with_tcp(under);
        let (_, end) = cut_response(client, io, HTTP_11, None, cut).await;
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::UnexpectedEof), "{cut:?}");
    }
}

#[tokio::test]
async fn without_a_service_wrapper_a_cut_response_over_tls_ends_without_close_notify() {
    let (mut client, server) = tls_connection().await;
    let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
    let io = spawning(io);
    let service = service_fn(async |_| Ok::<_, io::Error>(Response::new(rig::failing_after(1000))));
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(io), service));
    client.write_all(HTTP_10.as_bytes()).await.unwrap();
    let end = client.read_to_end(&mut Vec::new()).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// A connection whose client does not read, with a response framed by its close that is not
/// flushed, whose last part is in the server's own buffer.
async fn unflushed(half_closes: bool) -> (TcpStream, LingerIo<BufStream<TcpStream>>) {
    let (mut client, server) = connection().await;
    let io = BufStream::new(server);
    let io = LingerIo::new(io, patient(), CloseCounters::new());
    let mut io = io.with_tcp(|io| Some(io.get_ref()));
    io.exchanges().frame_by_close();
    if half_closes {
        client.shutdown().await.unwrap();
        assert_eq!(io.read(&mut [0; 8]).await.unwrap(), 0);
    }
    // Until the client takes no more, and the buffer is full.
    let writes = async { while io.write_all(&[0; 4096]).await.is_ok() {} };
    assert!(writes.now_or_never().is_none());
    (client, io)
}

#[tokio::test]
async fn an_end_that_is_not_flushed_when_its_transport_is_dropped_ends_in_rst() {
    for half_closes in [false, true] {
        let (mut client, mut io) = unflushed(half_closes).await;
        // The end waits for what is in the buffer.
        assert!(io.shutdown().now_or_never().is_none());
        drop(io);
        let end = client.read_to_end(&mut Vec::new()).await;
        assert_reset(end, Cut::Drop);
    }
}

/// A connection that ends its transport.
struct Ends(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>);

impl Future for Ends {
    type Output = io::Result<()>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll(cx)
    }
}

impl GracefulShutdown for Ends {
    fn graceful_shutdown(self: Pin<&mut Self>) {}
}

#[tokio::test]
async fn an_end_that_is_not_flushed_at_a_deadline_that_cuts_ends_in_rst() {
    let (mut client, mut io) = unflushed(false).await;
    let exchanges = io.exchanges().clone();
    let ends = Ends(Box::pin(async move { io.shutdown().await }));
    let settings = Http1Settings::default().with_at_deadline(AtDeadline::Cut);
    let mut connection = Box::pin(Http1Connection::new(ends, exchanges, settings));
    assert!((&mut connection).now_or_never().is_none());
    connection.as_mut().abort();
    let end = client.read_to_end(&mut Vec::new()).await;
    assert_reset(end, Cut::Deadline(AtDeadline::Cut));
}

/// A transport that takes what is written, and whose reads fail, as those of TLS behind a record
/// that is not its client's.
struct Unreadable(TcpStream);

impl AsyncRead for Unreadable {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

impl AsyncWrite for Unreadable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_connection_that_has_failed_ends_in_rst_only_if_its_response_is_cut() {
    for is_cut in [true, false] {
        let (mut client, server) = connection().await;
        let counters = CloseCounters::new();
        let io = LingerIo::new(Unreadable(server), patient(), counters.clone());
        let io = io.with_tcp(|io| Some(&io.0));
        let mut io = io.with_spawner(|_| panic!("nothing more comes"));
        if is_cut {
            io.exchanges().frame_by_close();
        }
        io.write_all(b"a response").await.unwrap();
        assert!(io.read(&mut [0]).await.is_err());
        client.read_exact(&mut [0; 10]).await.unwrap();
        drop(io);
        let end = client.read(&mut [0]).await;
        assert_eq!(end.is_err(), is_cut, "{end:?}");
        assert_eq!(counters.counts(), CloseCounts::default());
    }
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_sees_the_cut_too() {
    let (mut client, server) = connection().await;
    let (_trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let handle = watch.handle();
    let (frames, receiver) = mpsc::unbounded_channel();
    let receiver = Mutex::new(Some(receiver));
    let io = spawning(LingerIo::new(server, patient(), CloseCounters::new()));
    let exchanges = io.exchanges().clone();
    let service = service_fn(move |_| {
        let body = rig::streaming(receiver.lock().unwrap().take().unwrap());
        async { Ok::<_, io::Error>(Response::new(body)) }
    });
    let service = DrainService::new(service, watch.handle(), exchanges.clone());
    let hyper = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    tokio::spawn(drive(
        Http1Connection::new(hyper, exchanges, Http1Settings::default()),
        watch,
    ));
    client.write_all(HTTP_10.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    frames.send("half").unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"half") {
        assert!(client.read_buf(&mut got).await.unwrap() > 0);
    }
    handle.force();
    assert_reset(
        client.read_to_end(&mut got).await,
        Cut::Deadline(AtDeadline::Linger),
    );
}

#[tokio::test]
async fn a_whole_response_framed_by_the_close_ends_in_fin_and_close_notify() {
    let service = || {
        service_fn(async |_| {
            let (frames, receiver) = mpsc::unbounded_channel();
            frames.send("all of it").unwrap();
            Ok::<_, io::Error>(Response::new(rig::streaming(receiver)))
        })
    };
    let (_trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let (mut client, server) = tls_connection().await;
    let io = spawning(LingerIo::new(server, patient(), CloseCounters::new())).with_tcp(under);
    let wrapped = DrainService::new(service(), watch.handle(), io.exchanges().clone());
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(io), wrapped));
    client.write_all(HTTP_10.as_bytes()).await.unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert!(got.ends_with("\r\n\r\nall of it"), "{got}");

    let (mut client, server) = connection().await;
    let io = spawning(LingerIo::new(server, patient(), CloseCounters::new()));
    let wrapped = DrainService::new(service(), watch.handle(), io.exchanges().clone());
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(io), wrapped));
    client.write_all(HTTP_10.as_bytes()).await.unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert!(got.ends_with("\r\n\r\nall of it"), "{got}");
}

#[tokio::test]
async fn a_hand_written_response_framed_by_the_close_says_so_itself() {
    for is_shut_down in [true, false] {
        let (mut client, server) = connection().await;
        let mut io = LingerIo::new(server, patient(), CloseCounters::new());
        let request = RequestFacts::new(&http::Method::GET, Version::HTTP_11, &HeaderMap::new());
        let exchange = io.exchanges().begin(&request);
        // `connection: close` and no length.
        assert!(request.framed_by_close(StatusCode::OK, &HeaderMap::new()));
        io.exchanges().frame_by_close();
        io.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nbody")
            .await
            .unwrap();
        drop(exchange);
        client.shutdown().await.unwrap();
        if is_shut_down {
            io.shutdown().await.unwrap();
        }
        let mut got = vec![0; "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nbody".len()];
        client.read_exact(&mut got).await.unwrap();
        drop(io);
        let end = client.read(&mut [0]).await;
        assert_eq!(end.is_ok(), is_shut_down, "{end:?}");
    }
}

#[tokio::test]
async fn a_tunnel_that_broke_off_ends_in_rst() {
    for breaks_off in [true, false] {
        let (mut client, server) = connection().await;
        let io = LingerIo::new(server, patient(), CloseCounters::new());
        io.exchanges().switch_to_tunnel();
        if breaks_off {
            io.exchanges().break_off_tunnel();
        }
        drop(io);
        let end = client.read(&mut [0]).await;
        assert_eq!(end.is_err(), breaks_off, "{end:?}");
    }
}
