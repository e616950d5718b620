//! Unmodified stacks over the wrapper: axum routers, tonic routes, TLS with ALPN; each has the
//! exact gap.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;
use crate::ticker;
use crate::tls as tls_pair;

use drain_signal::CloseCause;
use hyper_util::service::TowerToHyperService;
use proto_drain_h2::{H2DrainSettings, H2Phase, RequestDrain, WireProtocol};
use std::pin::Pin;
use support::*;
use ticker::ticker_server::{Ticker, TickerServer};
use ticker::{CountRequest, Tick};
use tls_pair::secured;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use tokio_rustls::{client, server};
use tokio_stream::Stream;
use tonic::{Response, Status};

const HYPER: [Server; 3] = [Server::Hyper, Server::Auto, Server::AutoUpgradeable];

fn settings() -> H2DrainSettings {
    H2DrainSettings::default().with_drain_timeout(secs(2))
}

/// Begins a drain, has a stream of each kind served in the gap, and checks the gap and the end.
async fn drains_exactly<IO>(
    client: &mut RawClient<IO>,
    trigger: drain_signal::DrainTrigger,
    ended: Ended,
    in_the_gap: &[u8],
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    begin(trigger, secs(60));
    let notice = client.expect(GOAWAY).await;
    assert_eq!(notice.goaway_id(), NOTICE);
    client.send(in_the_gap).await;
    client.expect_ok(3).await;
    let last = client.expect(GOAWAY).await;
    assert_eq!(last.goaway_id(), 3);
    assert_took(last.at - notice.at, secs(2));
    assert_took(client.expect_end().await, secs(1));
    let end = ended.await.unwrap();
    assert_eq!((end.output, end.cause), (Some(Ok(())), CloseCause::Drained));
}

fn router() -> axum::Router {
    axum::Router::new()
        .route("/", axum::routing::get(|| async { "axum" }))
        .route(
            "/draining",
            axum::routing::get(|request: axum::extract::Request| async move {
                let drain = request.extensions().get::<RequestDrain>().unwrap().clone();
                assert!(!drain.is_draining() && drain.deadline().is_none());
                let _phase = drain.handle().signaled().await;
                assert!(drain.is_draining());
                let left = drain.deadline().unwrap() - Instant::now().into_std();
                format!(
                    "{:?}: {}",
                    drain.event().unwrap().reason,
                    left.as_secs_f64().round()
                )
            }),
        )
}

#[tokio::test(start_paused = true)]
async fn an_axum_router_has_the_exact_gap() {
    for server in HYPER {
        let (io, served) = tokio::io::duplex(1 << 16);
        let (trigger, signal) = drain_signal::channel();
        let service = TowerToHyperService::new(router());
        let (_, _, ended) = serve_with(
            server,
            service,
            served,
            &settings(),
            signal.watch().unwrap(),
        );
        let mut client = RawClient::new(io).await;
        client.send(&request(1, "/")).await;
        client.expect_ok(1).await;
        drains_exactly(&mut client, trigger, ended, &request(3, "/")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_drain_and_its_deadline_in_the_request() {
    let (io, served) = tokio::io::duplex(1 << 16);
    let (trigger, signal) = drain_signal::channel();
    let service = TowerToHyperService::new(router());
    let _served = serve_with(
        Server::Auto,
        service,
        served,
        &settings(),
        signal.watch().unwrap(),
    );
    let mut client = RawClient::new(io).await;
    client.send(&request(1, "/draining")).await;
    tokio::time::sleep(millis(100)).await;
    begin(trigger, secs(60));
    let (mut told, mut body) = (false, Vec::new());
    while body.is_empty() {
        let frame = client.next().await.unwrap();
        told |= frame.kind == GOAWAY;
        if frame.kind == DATA {
            body = frame.payload;
        }
    }
    assert!(told);
    assert_eq!(String::from_utf8(body).unwrap(), "ListenerModify: 60");
}

/// Ticks every so often, until its connection is told; then says so and ends.
struct UntilTold;

#[tonic::async_trait]
impl Ticker for UntilTold {
    type CountStream = Pin<Box<dyn Stream<Item = Result<Tick, Status>> + Send>>;

    async fn count(
        &self,
        request: tonic::Request<CountRequest>,
    ) -> Result<Response<Self::CountStream>, Status> {
        let drain = request.extensions().get::<RequestDrain>().cloned();
        let (send, receive) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let handle = drain.as_ref().map(RequestDrain::handle);
            let told = async {
                match &handle {
                    Some(handle) => drop(handle.signaled().await),
                    None => std::future::pending().await,
                }
            };
            let mut told = std::pin::pin!(told);
            for number in 1.. {
                tokio::select! {
                    () = tokio::time::sleep(millis(100)) => {}
                    () = told.as_mut() => break,
                }
                if send.send(Ok(Tick { number })).await.is_err() {
                    return;
                }
            }
            send.send(Err(Status::unavailable("draining"))).await.ok();
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receive),
        )))
    }
}

/// `/ticker.Ticker/Count` with an empty message.
fn count(stream: u32) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, 20];
    block.extend(b"/ticker.Ticker/Count");
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        block.extend([0x00, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    [
        frame(HEADERS, 0x4, stream, &block),
        frame(DATA, 0x1, stream, &[0; 5]),
    ]
    .concat()
}

/// Reads a stream of ticks to its trailers; how many there were.
async fn expect_ticks(client: &mut RawClient, stream: u32) -> usize {
    let mut ticks = 0;
    loop {
        let frame = client.next().await.unwrap();
        match (frame.kind, frame.stream) {
            (DATA, at) if at == stream => ticks += 1,
            (HEADERS, at) if at == stream && frame.flags & 1 != 0 => return ticks,
            (HEADERS, at) if at == stream => {}
            (GOAWAY, 0) => {}
            _ => panic!("{frame:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_tonic_route_ends_in_its_own_words_when_its_connection_is_told() {
    for server in HYPER {
        let (io, served) = tokio::io::duplex(1 << 16);
        let (trigger, signal) = drain_signal::channel();
        let routes = tonic::service::Routes::new(TickerServer::new(UntilTold));
        let service = TowerToHyperService::new(routes);
        let (handle, _, ended) = serve_with(
            server,
            service,
            served,
            &settings(),
            signal.watch().unwrap(),
        );
        let mut client = RawClient::new(io).await;
        client.send(&count(1)).await;
        tokio::time::sleep(millis(1050)).await;
        let start = Instant::now();
        begin(trigger, secs(60));
        assert_eq!(expect_ticks(&mut client, 1).await, 10, "{server:?}");
        assert_took(start.elapsed(), millis(0));
        // The gap has its time all the same: requests may be on their way.
        assert_eq!(handle.phase(), H2Phase::Noticed);
        client.send(&count(3)).await;
        assert!(expect_ticks(&mut client, 3).await <= 1, "told already");
        assert_eq!(client.expect(GOAWAY).await.goaway_id(), 3);
        assert_took(start.elapsed(), secs(2));
        assert_took(client.expect_end().await, secs(1));
        assert_eq!(ended.await.unwrap().output, Some(Ok(())), "{server:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tonic_stream_whose_handler_does_not_look_is_reset_at_the_deadline() {
    let (io, served) = tokio::io::duplex(1 << 16);
    let (trigger, signal) = drain_signal::channel();
    let routes = tonic::service::Routes::new(TickerServer::new(NeverLooks));
    let service = TowerToHyperService::new(routes);
    let (_, _, ended) = serve_with(
        Server::Auto,
        service,
        served,
        &settings(),
        signal.watch().unwrap(),
    );
    let mut client = RawClient::new(io).await;
    client.send(&count(1)).await;
    client.expect(HEADERS).await;
    let start = Instant::now();
    begin(trigger, secs(8));
    for kind in [GOAWAY, GOAWAY] {
        client.expect(kind).await;
    }
    let reset = client.expect(RST_STREAM).await;
    assert_eq!((reset.stream, reset.payload), (1, vec![0, 0, 0, 8]));
    assert_took(start.elapsed(), secs(8));
    client.expect_end().await;
    assert_eq!(ended.await.unwrap().cause, CloseCause::Aborted);
}

struct NeverLooks;

#[tonic::async_trait]
impl Ticker for NeverLooks {
    type CountStream = tokio_stream::Pending<Result<Tick, Status>>;

    async fn count(
        &self,
        _: tonic::Request<CountRequest>,
    ) -> Result<Response<Self::CountStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }
}

/// A TLS connection over a pipe, with what the client offers.
async fn tls(
    alpn: &[&[u8]],
) -> (
    client::TlsStream<DuplexStream>,
    server::TlsStream<DuplexStream>,
) {
    let (io, served) = tokio::io::duplex(1 << 16);
    secured(io, served, alpn).await
}

#[tokio::test(start_paused = true)]
async fn over_tls_with_alpn_the_gap_is_exact_and_the_end_is_a_close_notify() {
    for server in HYPER {
        let (io, served) = tls(&[b"h2", b"http/1.1"]).await;
        assert_eq!(served.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (trigger, signal) = drain_signal::channel();
        let (_, _, ended) = serve(server, served, &settings(), signal.watch().unwrap());
        let mut client = RawClient::new(io).await;
        client.send(&request(1, "/")).await;
        client.expect_ok(1).await;
        drains_exactly(&mut client, trigger, ended, &request(3, "/")).await;
        // A TCP end without it would be an error here.
        assert_eq!(client.io.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn over_tls_without_alpn_http_1_is_told_in_its_own_way() {
    let (mut io, served) = tls(&[b"http/1.1"]).await;
    assert_eq!(served.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (trigger, signal) = drain_signal::channel();
    let (handle, _, ended) = serve(Server::Auto, served, &settings(), signal.watch().unwrap());
    io.write_all(b"GET /slow-500 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(millis(100)).await;
    assert_eq!(handle.protocol(), WireProtocol::Other);
    begin(trigger, secs(60));
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("connection: close") && answer.ends_with("slow"),
        "{answer}"
    );
    assert_eq!(ended.await.unwrap().output, Some(Ok(())));
}
