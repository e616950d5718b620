//! Connections served by the facade, from the client's side of the wire, on a paused clock.

mod age;
mod alone;
mod borrowed;
mod counts;
mod endings;
mod h2_wire;
#[cfg(all(feature = "axum-serve", feature = "tonic-serve"))]
mod hosts;
mod limits;
mod memory;
mod resets;
mod settings;
mod timers;
#[cfg(feature = "tls")]
mod tls;
mod unread;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conn_tracker::{CloseReason, ConnKind, ConnState, ConnTracker, Peer};
use counts::Counts;
use drain_signal::{CloseCause, Closed, DrainCompleted};
use drain_tree::{
    DrainEnding, DrainManager, DrainReason, DrainSettings, DrainStart, DrainStrategy,
};
use h2_wire::H2Client;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orion_drain_serve::{
    CodecType, Connection, ConnectionShown, HttpServer, HttpTimeouts, ReceivedBody, TcpServer,
    serve_http, serve_tcp, serve_tunnel,
};
use proto_drain_tcp::CopyOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const T: Duration = Duration::from_secs(60);
const MODIFY: DrainStart = DrainStart::new(DrainReason::ListenerModify);

/// A listener without sockets: a drain node, a registry, statistics.
struct Listener {
    node: DrainManager,
    tracker: ConnTracker,
    http: Arc<Counts>,
}

type Served = JoinHandle<Closed<Result<(), Box<dyn std::error::Error + Send + Sync>>>>;
type Body = BoxBody<Bytes, Infallible>;

impl Listener {
    fn new(strategy: DrainStrategy) -> Self {
        let settings = DrainSettings::default()
            .with_drain_time(T)
            .with_strategy(strategy);
        Self {
            node: DrainManager::root(settings),
            tracker: ConnTracker::new(),
            http: Arc::default(),
        }
    }

    fn connection(&self) -> Result<Connection, DrainCompleted> {
        let guard = self.tracker.group("in", 1).open(Peer::Unknown);
        Ok(Connection::new(&self.node, self.node.watch()?, guard))
    }

    /// Serves one connection with these timeouts.
    fn serve(&self, timeouts: &HttpTimeouts) -> (DuplexStream, Served) {
        self.serve_with(timeouts, |server| server)
    }

    fn serve_with(
        &self,
        timeouts: &HttpTimeouts,
        change: impl FnOnce(HttpServer) -> HttpServer,
    ) -> (DuplexStream, Served) {
        let (client, accepted) = duplex(64 * 1024);
        let server = change(HttpServer::new(
            CodecType::Auto,
            timeouts,
            self.http.clone(),
        ));
        let connection = self.connection().expect("the drain is not completed");
        let service = service_fn(answer);
        let served = async move { serve_http(accepted, service, connection, &server).await };
        (client, tokio::spawn(served))
    }
}

fn timeouts(change: impl FnOnce(&mut HttpTimeouts)) -> HttpTimeouts {
    let mut timeouts = HttpTimeouts::default();
    change(&mut timeouts);
    timeouts
}

/// `/` answers, `/tunnel` echoes what is upgraded, `/endless` never ends its body.
async fn answer(mut request: Request<ReceivedBody>) -> Result<Response<Body>, Infallible> {
    let full = |text: &'static str| Full::new(Bytes::from_static(text.as_bytes())).boxed();
    let connection = request.extensions().get::<Connection>().cloned();
    if request.uri().path() == "/shown" {
        let shown = if connection.is_some() { "yes" } else { "no" };
        return Ok(Response::new(full(shown)));
    }
    let connection = connection.expect("every request has its connection");
    match request.uri().path() {
        "/tunnel" => {
            let client = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (near, mut far) = duplex(1024);
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(&mut far);
                    tokio::io::copy(&mut read, &mut write).await
                });
                if let Ok(client) = client.await {
                    serve_tunnel(TokioIo::new(client), near, connection, CopyOptions::new()).await;
                }
            });
            let mut response = Response::new(full(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
                .headers_mut()
                .insert("upgrade", http::HeaderValue::from_static("echo"));
            response
                .headers_mut()
                .insert("connection", http::HeaderValue::from_static("upgrade"));
            Ok(response)
        }
        "/upload" => {
            let body = request.into_body().collect().await.expect("a body");
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(body.to_bytes(), "abc");
            Ok(Response::new(full("hello")))
        }
        "/stalled" => {
            let _unread = request.into_body();
            std::future::pending().await
        }
        "/discard" => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            Ok(Response::new(full("hello")))
        }
        "/endless" => {
            let frames = stream_of(Bytes::from_static(b"first"));
            Ok(Response::new(StreamBody::new(frames).boxed()))
        }
        _ => Ok(Response::new(full("hello"))),
    }
}

/// One frame, then silence.
fn stream_of(first: Bytes) -> impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let (frames, mut receiver) = mpsc::unbounded_channel();
    frames
        .send(Ok(Frame::data(first)))
        .expect("the receiver is right here");
    futures_util::stream::poll_fn(move |cx| {
        let _keep_it_open = &frames;
        receiver.poll_recv(cx)
    })
}

/// The head and the body of the response.
async fn request(client: &mut DuplexStream, path: &str) -> String {
    let answer = rig::h1::get(client, path).await;
    let (head, body) = answer.expect("an answer comes");
    head.text + &String::from_utf8_lossy(&body)
}

async fn rest(client: &mut DuplexStream) -> Vec<u8> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("it ends");
    rest
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_connection_is_told_on_the_response_after_its_slot() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (mut client, served) = listener.serve(&HttpTimeouts::default());
    assert!(
        !request(&mut client, "/")
            .await
            .contains("connection: close")
    );
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    tokio::time::sleep(T / 4).await;
    assert!(
        request(&mut client, "/")
            .await
            .contains("connection: close")
    );
    assert!(rest(&mut client).await.is_empty());
    drop(client);
    assert_eq!(served.await.unwrap().cause, CloseCause::Drained);
    assert_eq!(drain.await.unwrap().ending, DrainEnding::Empty);
    assert_eq!(listener.http.get("cx_drain_close"), 1);
    assert_eq!(listener.tracker.closed(CloseReason::Drained), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_left_alone_until_the_deadline() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (mut client, _served) = listener.serve(&HttpTimeouts::default());
    request(&mut client, "/").await;
    let start = Instant::now();
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    assert!(rest(&mut client).await.is_empty());
    assert_eq!(start.elapsed().as_secs(), 60);
    drop(client);
    // It was there until then, with nothing to finish.
    let report = drain.await.unwrap();
    assert_eq!((report.ending, report.left), (DrainEnding::Deadline, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_with_its_first_bytes_in_a_drain_is_served() {
    let preface = rig::h2::preface(65_535);
    let http2 = [preface, rig::h2::request("GET", "/", 1, true)].concat();
    let http1 = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    // One byte, and each half of the preface, may be of either version.
    for (bytes, part) in [(&http2[..], 10), (&http2, 1), (&http2, 23), (http1, 1)] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let (mut client, _served) = listener.serve(&HttpTimeouts::default());
        let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.write_all(&bytes[..part]).await.expect("it is open");
        tokio::time::sleep(T / 4).await;
        client.write_all(&bytes[part..]).await.expect("it is open");
        let mut answer = vec![];
        while !answer.ends_with(b"hello") {
            let read = client.read_buf(&mut answer).await.expect("it is open");
            assert_ne!(read, 0, "{part}: {answer:?}");
        }
        drop(client);
        assert_eq!(drain.await.unwrap().ending, DrainEnding::Empty);
    }
}

#[tokio::test(start_paused = true)]
async fn the_registry_shows_how_far_a_connection_is() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (mut client, served) = listener.serve(&HttpTimeouts::default());
    let seen = || {
        let all = listener.tracker.snapshot();
        assert_eq!(all.len(), 1);
        (all[0].state, all[0].kind)
    };
    tokio::task::yield_now().await;
    assert_eq!(seen(), (ConnState::Active, ConnKind::Handshaking));
    request(&mut client, "/").await;
    assert_eq!(seen(), (ConnState::Active, ConnKind::Idle));
    assert_eq!(listener.http.get("rq_total"), 1);
    assert_eq!(listener.http.get("rq_active"), 0);
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(seen(), (ConnState::Draining, ConnKind::Idle));
    request(&mut client, "/").await;
    drop(client);
    drop((served.await, drain.await));
    assert!(listener.tracker.is_empty());
}

#[tokio::test(start_paused = true)]
async fn http2_hears_both_goaways_with_the_drain_timeout_between() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let timeouts = timeouts(|timeouts| timeouts.drain = Duration::from_secs(2));
    let (client, served) = listener.serve(&timeouts);
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    assert_eq!(client.goaway().await, 0x7fff_ffff);
    let noticed = Instant::now();
    assert_eq!(client.get("/").await, b"hello", "served between the two");
    assert_eq!(client.goaway().await, 3);
    assert_eq!(noticed.elapsed().as_millis() / 10, 200);
    client.end().await;
    assert!(
        noticed.elapsed() < Duration::from_millis(3_100),
        "the delayed close is a second"
    );
    assert_eq!(served.await.unwrap().cause, CloseCause::Drained);
    assert_eq!(drain.await.unwrap().ending, DrainEnding::Empty);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_outlives_the_deadline_is_reset_and_the_connection_closed() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (client, _served) = listener.serve(&HttpTimeouts::default());
    let mut client = H2Client::new(client).await;
    let stream = client.open("/endless").await;
    let start = Instant::now();
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    assert_eq!(client.reset(stream).await, 8, "CANCEL");
    assert_eq!(start.elapsed().as_secs(), 60);
    client.end().await;
    assert_eq!(drain.await.unwrap().ending, DrainEnding::Deadline);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_keeps_the_drain_waiting_and_ends_at_the_deadline() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (mut client, served) = listener.serve(&HttpTimeouts::default());
    client
        .write_all(
            b"GET /tunnel HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n",
        )
        .await
        .unwrap();
    let head = rig::h1::head(&mut client).await.unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(listener.tracker.snapshot()[0].kind, ConnKind::Tunnel);
    let start = Instant::now();
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    let mut echoed = [0; 4];
    while start.elapsed() < T - Duration::from_secs(2) {
        client.write_all(b"ping").await.unwrap();
        client.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"ping");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(rest(&mut client).await.is_empty());
    assert!(start.elapsed() <= T);
    drop(client);
    drain.await.unwrap();
    served.await.unwrap();
    assert!(listener.tracker.is_empty());
}

#[tokio::test(start_paused = true)]
async fn tcp_is_relayed_until_the_deadline_and_loses_nothing() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (mut client, accepted) = duplex(1024);
    let (upstream, mut far) = duplex(1024);
    let connection = listener.connection().unwrap();
    let counts = Arc::<Counts>::default();
    let counted = Arc::clone(&counts);
    let served = tokio::spawn(async move {
        serve_tcp(
            accepted,
            upstream,
            connection,
            &TcpServer::new(CopyOptions::new(), counted),
        )
        .await
    });
    let start = Instant::now();
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    let mut got = [0; 3];
    for _ in 0..57 {
        client.write_all(b"abc").await.unwrap();
        far.read_exact(&mut got).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    client.write_all(b"end").await.unwrap();
    assert_eq!(rest(&mut far).await, b"end");
    assert!(rest(&mut client).await.is_empty());
    assert!(start.elapsed() <= T);
    drop((client, far));
    assert!(served.await.unwrap().output.unwrap().is_lossless());
    assert_eq!(counts.get("cx_drain_close"), 1);
    drain.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_by_id_ends_the_socket() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (mut client, served) = listener.serve(&HttpTimeouts::default());
    request(&mut client, "/").await;
    let connection = listener.tracker.snapshot().remove(0);
    assert!(listener.tracker.close(connection.id).is_ok());
    assert!(rest(&mut client).await.is_empty());
    assert_eq!(served.await.unwrap().cause, CloseCause::Forced);
}

#[tokio::test(start_paused = true)]
async fn failed_health_says_close_on_every_response_and_stops_when_restored() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (mut told, _a) = listener.serve(&HttpTimeouts::default());
    let (mut spared, _b) = listener.serve(&HttpTimeouts::default());
    listener.node.fail_health();
    assert!(request(&mut told, "/").await.contains("connection: close"));
    listener.node.restore_health();
    assert!(
        !request(&mut spared, "/")
            .await
            .contains("connection: close")
    );
}

#[tokio::test(start_paused = true)]
async fn failed_health_sends_the_goaway_before_the_response() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (client, _served) = listener.serve(&HttpTimeouts::default());
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    listener.node.fail_health();
    assert_eq!(client.get("/").await, b"hello");
    assert_eq!(
        client.first_after_goaway(),
        Some(1),
        "HEADERS of the response came after it"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_gives_http2_its_drain_timeout_and_serves_who_asks_in_it() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let idle = timeouts(|timeouts| {
        timeouts.idle = Some(Duration::from_secs(5));
        timeouts.drain = Duration::from_secs(2);
    });
    let (client, _served) = listener.serve(&idle);
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    assert_eq!(client.goaway().await, 0x7fff_ffff);
    let noticed = Instant::now();
    assert_eq!(client.get("/").await, b"hello", "it was on its way");
    assert_eq!(client.goaway().await, 3);
    assert_eq!(noticed.elapsed().as_millis() / 10, 200);
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_begins_when_a_long_request_has_ended() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let idle = timeouts(|timeouts| timeouts.idle = Some(Duration::from_secs(4)));
    let (mut client, _served) = listener.serve(&idle);
    // Answered after ten seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let upload = b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    client.write_all(upload).await.unwrap();
    rig::h1::response(&mut client).await.unwrap();
    let answered = Instant::now();
    rest(&mut client).await;
    let (waited, idle) = (answered.elapsed(), Duration::from_secs(4));
    assert!(waited >= idle && waited <= idle * 33 / 32, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_timeout_closes_a_quiet_connection_and_a_maximum_age_a_busy_one() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let idle = timeouts(|timeouts| timeouts.idle = Some(Duration::from_secs(5)));
    let (mut client, _served) = listener.serve(&idle);
    let start = Instant::now();
    for _ in 0..8 {
        request(&mut client, "/").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    rest(&mut client).await;
    // The last request came after 7 s.
    let lived = start.elapsed().as_millis();
    assert!((12_000..12_200).contains(&lived), "{lived} ms");

    let aged = timeouts(|timeouts| timeouts.max_connection_duration = Some(Duration::from_secs(5)));
    let (mut client, _served) = listener.serve(&aged);
    let mut answers = 0;
    while !request(&mut client, "/")
        .await
        .contains("connection: close")
    {
        answers += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((5..=6).contains(&answers), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn tcp_on_which_nothing_moves_is_closed_and_busy_tcp_is_not() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (mut client, accepted) = duplex(1024);
    let (upstream, mut far) = duplex(1024);
    let counts = Arc::<Counts>::default();
    let server = TcpServer::new(CopyOptions::new(), counts.clone());
    let server = server.with_idle_timeout(Some(Duration::from_secs(5)));
    let connection = listener.connection().unwrap();
    let served =
        tokio::spawn(async move { serve_tcp(accepted, upstream, connection, &server).await });
    let mut got = [0; 3];
    for _ in 0..20 {
        far.write_all(b"abc").await.unwrap();
        client.read_exact(&mut got).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let quiet = Instant::now();
    assert!(rest(&mut client).await.is_empty());
    assert!(
        (4..=10).contains(&quiet.elapsed().as_secs()),
        "{:?}",
        quiet.elapsed()
    );
    assert!(rest(&mut far).await.is_empty());
    drop((client, far));
    assert!(served.await.unwrap().output.unwrap().is_lossless());
    assert_eq!(counts.get("idle_timeout"), 1);
    assert_eq!(counts.get("cx_drain_close"), 0);
    assert_eq!(listener.tracker.closed(CloseReason::Finished), 1);
}

#[tokio::test(start_paused = true)]
async fn envoys_way_closes_idle_connections_after_their_slot_and_cuts_at_the_deadline() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let envoys = |server: HttpServer| server.with_envoy_1_40();
    let (mut idle, _idle) = listener.serve_with(&HttpTimeouts::default(), envoys);
    let (mut silent, _silent) = listener.serve_with(&HttpTimeouts::default(), envoys);
    let (busy, _busy) = listener.serve_with(&HttpTimeouts::default(), envoys);
    request(&mut idle, "/").await;
    let mut busy = H2Client::new(busy).await;
    let stream = busy.open("/endless").await;
    let start = Instant::now();
    drop(tokio::spawn(listener.node.start_drain_sequence(MODIFY)));
    assert!(rest(&mut silent).await.is_empty());
    assert_eq!(start.elapsed().as_secs(), 0, "it never spoke");
    assert!(rest(&mut idle).await.is_empty());
    assert_eq!(
        start.elapsed().as_secs(),
        6,
        "drain_timeout and delayed_close_timeout"
    );
    busy.end().await;
    assert_eq!(start.elapsed().as_secs(), 60);
    assert!(!busy.was_reset(stream), "cut without a word");
}

#[tokio::test(start_paused = true)]
async fn envoys_way_closes_after_an_idle_timeout_as_late_as_after_a_slot() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let soon = timeouts(|timeouts| timeouts.idle = Some(Duration::from_secs(32)));
    let (mut idle, _idle) = listener.serve_with(&soon, |server| server.with_envoy_1_40());
    let (mut silent, _silent) = listener.serve_with(&soon, |server| server.with_envoy_1_40());
    request(&mut idle, "/").await;
    let start = Instant::now();
    assert!(rest(&mut silent).await.is_empty());
    let silent = start.elapsed().as_secs();
    assert!((32..=33).contains(&silent), "it never spoke: {silent}");
    assert!(rest(&mut idle).await.is_empty());
    let idle = start.elapsed().as_secs();
    let after = "idle_timeout, drain_timeout and delayed_close_timeout";
    assert!((38..=39).contains(&idle), "{after}: {idle}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_in_time_gets_408_and_an_idle_connection_nothing() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let soon = timeouts(|timeouts| timeouts.request = Some(Duration::from_secs(2)));
    for (begun, slowly) in [
        ("GET / HT", "GET "),
        (
            "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na",
            "POST",
        ),
    ] {
        let (mut client, _served) = listener.serve(&soon);
        request(&mut client, "/").await;
        // Idle for longer than that is nothing, also behind an empty line, which is no head.
        client.write_all(b"\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        request(&mut client, "/").await;
        client.write_all(begun.as_bytes()).await.unwrap();
        let start = Instant::now();
        let answer = String::from_utf8(rest(&mut client).await).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"),
            "{slowly}: {answer}"
        );
        assert_eq!(start.elapsed().as_secs(), 2, "{slowly}");
    }
    assert_eq!(listener.http.get("rq_timeout"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_arrived_may_take_any_time_to_be_answered() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let soon = timeouts(|timeouts| timeouts.request = Some(Duration::from_secs(2)));
    let (mut client, _served) = listener.serve(&soon);
    let head = b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na";
    client.write_all(head).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.write_all(b"bc").await.unwrap();
    let (head, _) = rig::h1::response(&mut client).await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(listener.http.get("rq_timeout"), 0);
}

#[tokio::test(start_paused = true)]
async fn where_only_upgrades_are_shown_their_connection_a_tunnel_still_holds_up_the_drain() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let only_upgrades =
        |server: HttpServer| server.with_connection_shown(ConnectionShown::Upgrades);
    let (mut client, _served) = listener.serve_with(&HttpTimeouts::default(), only_upgrades);
    let (_, shown) = rig::h1::get(&mut client, "/shown").await.unwrap();
    assert_eq!(shown, "no");
    client
        .write_all(
            b"GET /tunnel HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n",
        )
        .await
        .unwrap();
    rig::h1::head(&mut client).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(listener.tracker.snapshot()[0].kind, ConnKind::Tunnel);
    assert!(listener.node.open_watches() > 0);
}
