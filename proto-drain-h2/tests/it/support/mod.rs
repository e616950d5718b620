//! A raw HTTP/2 client over a duplex pipe, real servers behind the wrapper, and a drain to begin.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses its part"
)]

use bytes::Bytes;
use drain_signal::{
    DrainEvent, DrainReason, DrainStrategy, DrainTrigger, DrainWatch, Draining, drive,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use proto_drain_h2::{
    CLIENT_PREFACE, GoawayHandle, H2Drain, H2DrainSettings, NoticeFirst, ResetHandle, ServeStreams,
    WithDrain,
};
pub use rig::h2::kind::{
    CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
pub use rig::h2::{NO_LIMIT as NOTICE, frame};
use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What h2 has in the PING of its graceful shutdown.
pub const SHUTDOWN_PING: [u8; 8] = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Equal but for the granularity of tokio's timers.
#[track_caller]
pub fn assert_took(took: Duration, expected: Duration) {
    assert!(
        took >= expected && took <= expected + millis(2),
        "took {took:?}, expected {expected:?}"
    );
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
    pub at: Instant,
}

impl Frame {
    /// The next frame; `None` when the connection has ended.
    pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let frame = match rig::h2::Frame::read_alone(io).await {
            Ok(frame) => frame?,
            Err(error) => {
                let kind = error.kind();
                assert_ne!(kind, ErrorKind::UnexpectedEof, "inside a frame");
                return None;
            }
        };
        Some(Self {
            kind: frame.kind,
            flags: frame.flags,
            stream: frame.stream,
            payload: frame.payload.into(),
            at: Instant::now(),
        })
    }

    /// How much more a WINDOW_UPDATE allows.
    pub fn window(&self) -> i64 {
        u32::from_be_bytes(self.payload[..].try_into().unwrap()).into()
    }

    pub fn goaway_id(&self) -> u32 {
        assert_eq!(self.kind, GOAWAY, "{self:?}");
        assert_eq!(
            &self.payload[4..8],
            [0; 4],
            "GOAWAY with an error: {self:?}"
        );
        u32::from_be_bytes(self.payload[..4].try_into().unwrap()) & NOTICE
    }
}

/// The header block of a GET.
pub fn get(path: &str) -> Vec<u8> {
    rig::h2::block("GET", path)
}

pub fn request(stream: u32, path: &str) -> Vec<u8> {
    rig::h2::request("GET", path, stream, true)
}

/// The header block of a POST.
pub fn post(path: &str) -> Vec<u8> {
    rig::h2::block("POST", path)
}

pub fn ping_ack(payload: &[u8]) -> Vec<u8> {
    frame(PING, 1, 0, payload)
}

pub struct RawClient<IO = DuplexStream> {
    pub io: IO,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> RawClient<IO> {
    /// Says the preface and waits for nothing.
    pub async fn new(mut io: IO) -> Self {
        io.write_all(CLIENT_PREFACE).await.unwrap();
        io.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self { io }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// The next frame, SETTINGS and WINDOW_UPDATE aside; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = Frame::read(&mut self.io).await?;
            if frame.kind == SETTINGS && frame.flags & 1 == 0 {
                self.send(&self::frame(SETTINGS, 1, 0, &[])).await;
            }
            if !matches!(frame.kind, SETTINGS | WINDOW_UPDATE) {
                return Some(frame);
            }
        }
    }

    pub async fn expect(&mut self, kind: u8) -> Frame {
        let frame = self.next().await.expect("the connection ended");
        assert_eq!(frame.kind, kind, "{frame:?}");
        frame
    }

    /// Reads the whole answer of a stream, which must be a 200.
    pub async fn expect_ok(&mut self, stream: u32) {
        let head = self.expect(HEADERS).await;
        assert_eq!((head.stream, head.payload[0]), (stream, 0x88), "{head:?}");
        let mut end = head.flags & 1 != 0;
        while !end {
            let data = self.expect(DATA).await;
            assert_eq!(data.stream, stream);
            end = data.flags & 1 != 0;
        }
    }

    /// Reads the answers of several streams, in any order.
    pub async fn expect_all_ok(&mut self, streams: &[u32]) {
        let mut open = streams.to_vec();
        while !open.is_empty() {
            let frame = self.next().await.expect("the connection ended");
            assert!(open.contains(&frame.stream), "{frame:?}");
            assert!(
                frame.kind == DATA || (frame.kind == HEADERS && frame.payload[0] == 0x88),
                "{frame:?}"
            );
            if frame.flags & 1 != 0 {
                open.retain(|stream| *stream != frame.stream);
            }
        }
    }

    /// Waits for the end; how long it took.
    pub async fn expect_end(&mut self) -> Duration {
        let from = Instant::now();
        assert_eq!(self.next().await, None);
        from.elapsed()
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Server {
    Hyper,
    Auto,
    AutoUpgradeable,
    H2,
}

pub const SERVERS: [Server; 4] = [
    Server::Hyper,
    Server::Auto,
    Server::AutoUpgradeable,
    Server::H2,
];

pub type Ended = JoinHandle<End<Result<(), String>>>;

pub async fn answer(path: String) -> Response<BoxBody<Bytes, Infallible>> {
    let full = |text: &'static str| Full::new(Bytes::from_static(text.as_bytes())).boxed();
    match path.split_once('/').map(|(_, rest)| rest) {
        Some("never") => std::future::pending().await,
        Some("endless") => Response::new(Endless.boxed()),
        Some("drips") => Response::new(Drips(None).boxed()),
        Some("floods") => Response::new(Floods.boxed()),
        Some(slow) if slow.starts_with("slow-") => {
            tokio::time::sleep(millis(slow[5..].parse().unwrap())).await;
            Response::new(full("slow"))
        }
        _ => Response::new(full("ok")),
    }
}

/// A body that begins and never goes on.
pub struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// A body that has four bytes every five seconds.
pub struct Drips(Option<Pin<Box<tokio::time::Sleep>>>);

impl http_body::Body for Drips {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(secs(5))));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.0 = None;
        let drip = http_body::Frame::data(Bytes::from_static(b"drip"));
        Poll::Ready(Some(Ok(drip)))
    }
}

/// A body that always has more.
pub struct Floods;

impl http_body::Body for Floods {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let more = http_body::Frame::data(Bytes::from_static(&[b'f'; 1000]));
        Poll::Ready(Some(Ok(more)))
    }
}

pub fn service() -> impl Service<
    Request<Incoming>,
    Response = Response<BoxBody<Bytes, Infallible>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send {
    service_fn(|request: Request<Incoming>| async move {
        if request.uri().path() == "/sum" {
            let body = request.into_body().collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let sum = format!("{} bytes, {trailers:?}", body.to_bytes().len());
            return Ok(Response::new(Full::new(Bytes::from(sum)).boxed()));
        }
        Ok::<_, Infallible>(answer(request.uri().path().to_owned()).await)
    })
}

/// Serves `io` with a real server under `watch`.
pub fn serve<IO>(
    server: Server,
    io: IO,
    settings: &H2DrainSettings,
    watch: DrainWatch,
) -> (GoawayHandle, ResetHandle, Ended)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_with(server, service(), io, settings, watch)
}

/// The same with another service; h2 alone has its own.
pub fn serve_with<IO, S, B>(
    server: Server,
    service: S,
    io: IO,
    settings: &H2DrainSettings,
    watch: DrainWatch,
) -> (GoawayHandle, ResetHandle, Ended)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let drain = H2Drain::new(settings.clone());
    let mut shared = None;
    macro_rules! spawn {
        (|$io:ident, $service:ident| $server:expr) => {{
            let connection = drain.connection(io, |$io, parts| {
                let service = WithDrain::new(parts.service(service), watch.handle());
                let handle = parts.handle().clone();
                shared = Some((handle.clone(), parts.resets()));
                let $service = NoticeFirst::new(service, watch.handle(), watch.handle(), handle);
                $server
            });
            tokio::spawn(async move {
                let closed = drive(connection, watch).await;
                let cause = closed.cause;
                let output = closed
                    .output
                    .map(|result| result.map_err(|error| format!("{error:?}")));
                into_closed(output, cause)
            })
        }};
    }
    let ended = match server {
        Server::Hyper => spawn!(|io, service| hyper::server::conn::http2::Builder::new(
            TokioExecutor::new()
        )
        .enable_connect_protocol()
        .serve_connection(TokioIo::new(io), service)),
        Server::Auto => spawn!(|io, service| auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service)
            .into_owned()),
        Server::AutoUpgradeable => {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().enable_connect_protocol();
            spawn!(|io, service| builder
                .serve_connection_with_upgrades(TokioIo::new(io), service)
                .into_owned())
        }
        Server::H2 => spawn!(|io, _service| ServeStreams::new(
            io,
            &h2::server::Builder::new(),
            |request, mut respond| {
                tokio::spawn(async move {
                    let response = answer(request.uri().path().to_owned()).await;
                    let mut body = respond.send_response(response.map(|_| ()), false).unwrap();
                    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
                });
            }
        )),
    };
    let (handle, resets) = shared.unwrap();
    (handle, resets, ended)
}

/// How a connection ended, with its error as text.
pub struct End<T> {
    pub output: Option<T>,
    pub cause: drain_signal::CloseCause,
}

fn into_closed<T>(output: Option<T>, cause: drain_signal::CloseCause) -> End<T> {
    End { output, cause }
}

/// Begins an immediate drain and paces it.
pub fn begin(trigger: DrainTrigger, drain_time: Duration) -> Draining {
    let event = DrainEvent::new(
        Instant::now().into_std(),
        drain_time,
        DrainReason::ListenerModify,
    )
    .with_strategy(DrainStrategy::Immediate);
    let draining = trigger.start(event);
    let pump = draining.clone();
    tokio::spawn(async move {
        loop {
            let advance = pump.advance(Instant::now().into_std());
            if advance.more {
                tokio::task::yield_now().await;
            } else if let Some(next) = advance.next {
                tokio::time::sleep_until(Instant::from_std(next)).await;
            } else {
                break;
            }
        }
    });
    draining
}
