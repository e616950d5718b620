//! Servers that keep their connections to themselves and have one shutdown signal for all: what a
//! listener of wrapped transports gives there, and what it cannot give.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;
use crate::ticker;

use proto_drain_h2::{GoawayHandle, GoawayIo, H2Drain, H2DrainSettings, H2Phase};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use support::*;
use ticker::ticker_server::{Ticker, TickerServer};
use ticker::{CountRequest, Tick};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Response, Status};

/// A running server: where its connections come from, its signal, its end.
struct OneSignal {
    connects: mpsc::UnboundedSender<Transport>,
    shutdown: oneshot::Sender<()>,
    ended: JoinHandle<bool>,
}

impl OneSignal {
    /// A new connection, and the handle that the listener kept of it.
    async fn connect(&self) -> (RawClient, GoawayHandle) {
        let (client, served) = tokio::io::duplex(1 << 16);
        let settings = H2DrainSettings::default().with_drain_timeout(secs(2));
        let (io, handle) = GoawayIo::new(served, &H2Drain::new(settings));
        assert!(self.connects.send(Transport(io)).is_ok());
        (RawClient::new(client).await, handle)
    }
}

/// A wrapped transport as tonic's server takes it: the newtype carries its `Connected`.
struct Transport(GoawayIo<DuplexStream>);

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
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

impl tonic::transport::server::Connected for Transport {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

struct Listener(mpsc::UnboundedReceiver<Transport>);

impl axum::serve::Listener for Listener {
    type Io = Transport;
    type Addr = ();

    async fn accept(&mut self) -> (Transport, ()) {
        match self.0.recv().await {
            Some(io) => (io, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

fn axum_serve() -> OneSignal {
    let (connects, accepts) = mpsc::unbounded_channel();
    let (shutdown, signal) = oneshot::channel::<()>();
    let router = axum::Router::new().fallback(|request: axum::extract::Request| async move {
        answer(request.uri().path().to_owned())
            .await
            .map(axum::body::Body::new)
    });
    let ended = tokio::spawn(async move {
        let server = axum::serve(Listener(accepts), router);
        let server = server.with_graceful_shutdown(async { drop(signal.await) });
        server.await.is_ok()
    });
    OneSignal {
        connects,
        shutdown,
        ended,
    }
}

fn tonic_server() -> OneSignal {
    let (connects, accepts) = mpsc::unbounded_channel();
    let (shutdown, signal) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let incoming =
            tokio_stream::StreamExt::map(UnboundedReceiverStream::new(accepts), Ok::<_, io::Error>);
        let server = tonic::transport::Server::builder().add_service(TickerServer::new(NeverEnds));
        let signal = async { drop(signal.await) };
        server
            .serve_with_incoming_shutdown(incoming, signal)
            .await
            .is_ok()
    });
    OneSignal {
        connects,
        shutdown,
        ended,
    }
}

struct NeverEnds;

#[tonic::async_trait]
impl Ticker for NeverEnds {
    type CountStream = tokio_stream::Pending<Result<Tick, Status>>;

    async fn count(
        &self,
        _: tonic::Request<CountRequest>,
    ) -> Result<Response<Self::CountStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

/// Any answer will do: tonic's is "unimplemented".
async fn expect_answer(client: &mut RawClient, stream: u32) {
    let mut end = false;
    while !end {
        let frame = client.next().await.unwrap();
        assert_eq!(frame.stream, stream, "{frame:?}");
        end = frame.flags & 1 != 0;
    }
}

/// One connection, whose peer does not acknowledge, through the shutdown.
async fn has_the_gap(it: OneSignal) {
    let (mut client, handle) = it.connect().await;
    client.send(&request(1, "/")).await;
    expect_answer(&mut client, 1).await;
    it.shutdown.send(()).unwrap();
    let notice = client.expect(GOAWAY).await;
    assert_eq!(notice.goaway_id(), NOTICE);
    client.send(&request(3, "/")).await;
    expect_answer(&mut client, 3).await;
    let last = client.expect(GOAWAY).await;
    assert_eq!(last.goaway_id(), 3);
    assert_took(last.at - notice.at, secs(2));
    assert_took(client.expect_end().await, secs(1));
    assert_eq!(handle.phase(), H2Phase::Closed);
    assert!(it.ended.await.unwrap());
}

/// What there is no deadline for, and how the listener makes one of its own.
async fn has_no_deadline(it: OneSignal, endless: &[u8]) {
    let (mut client, handle) = it.connect().await;
    client.send(endless).await;
    client.expect(HEADERS).await;
    it.shutdown.send(()).unwrap();
    for kind in [GOAWAY, GOAWAY] {
        client.expect(kind).await;
    }
    let waited = tokio::time::timeout(secs(100_000), client.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    let cut = Instant::now();
    handle.cut();
    client.expect_end().await;
    assert_took(cut.elapsed(), secs(0));
    assert!(it.ended.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn axum_serve_has_the_exact_gap_over_wrapped_transports() {
    has_the_gap(axum_serve()).await;
}

#[tokio::test(start_paused = true)]
async fn tonics_own_server_has_the_exact_gap_over_wrapped_transports() {
    has_the_gap(tonic_server()).await;
}

#[tokio::test(start_paused = true)]
async fn axum_serve_has_no_deadline_but_its_listeners_handles_can_cut() {
    has_no_deadline(axum_serve(), &request(1, "/endless")).await;
}

#[tokio::test(start_paused = true)]
async fn tonics_own_server_has_no_deadline_but_its_listeners_handles_can_cut() {
    let mut block = vec![0x83, 0x86, 0x04, 20];
    block.extend(b"/ticker.Ticker/Count\x01\x09localhost\x00\x0ccontent-type\x10application/grpc");
    let endless = [frame(HEADERS, 0x4, 1, &block), frame(DATA, 0x1, 1, &[0; 5])].concat();
    has_no_deadline(tonic_server(), &endless).await;
}
