//! Each setting has an effect that a client sees; without the setting it sees something else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use drain_tree::DrainStrategy;
use hyper::service::service_fn;
use orion_drain_serve::{
    AtDeadline, CodecType, ConnectionAge, HttpServer, HttpTimeouts, ProtocolDrainBehavior,
    SharedBehavior, TcpServer, serve_http, serve_tcp,
};
use proto_drain_http1::IdlePolicy;
use proto_drain_tcp::CopyOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::h2_wire::H2Client;
use super::{Listener, MODIFY, answer, request, rest};

const SECOND: Duration = Duration::from_secs(1);

/// A client of a listener whose drains begin at once, by default and with this change.
fn both(change: impl FnOnce(HttpServer) -> HttpServer) -> (Listener, [DuplexStream; 2]) {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (plain, _) = listener.serve(&HttpTimeouts::default());
    let (changed, _) = listener.serve_with(&HttpTimeouts::default(), change);
    (listener, [plain, changed])
}

/// What comes within a minute of paused time.
async fn comes(client: &mut DuplexStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = timeout(Duration::from_secs(50), client.read(&mut bytes)).await;
    bytes.truncate(read.map_or(0, |read| read.expect("no error")));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(start_paused = true)]
async fn with_head_timeout_bounds_the_head_alone() {
    let (_listener, [mut plain, mut changed]) =
        both(|server| server.with_head_timeout(Some(3 * SECOND)));
    let upload = b"POST /discard HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na";
    changed.write_all(upload).await.expect("it is open");
    tokio::time::sleep(5 * SECOND).await;
    changed.write_all(b"bc").await.expect("it is open");
    assert!(comes(&mut changed).await.starts_with("HTTP/1.1 200"));
    let start = Instant::now();
    for client in [&mut plain, &mut changed] {
        client.write_all(b"GET / HT").await.expect("it is open");
    }
    assert!(comes(&mut changed).await.starts_with("HTTP/1.1 408"));
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(comes(&mut plain).await, "");
}

#[tokio::test(start_paused = true)]
async fn with_hyper_reaches_both_builders() {
    let (_listener, clients) = both(|server| {
        server.with_hyper(|builders| {
            builders.http1().title_case_headers(true);
            builders.http2().max_concurrent_streams(7);
        })
    });
    let listener = Listener::new(DrainStrategy::Immediate);
    for (mut client, changed) in clients.into_iter().zip([false, true]) {
        let head = request(&mut client, "/").await;
        assert_eq!(head.contains("Content-Length"), changed, "{head}");
    }
    for streams in [200_u32, 7] {
        let (mut client, _) = listener.serve_with(&HttpTimeouts::default(), |server| {
            server.with_hyper(|builders| {
                if streams == 7 {
                    builders.http2().max_concurrent_streams(7);
                }
            })
        });
        let preface = rig::h2::preface(65_535);
        client.write_all(&preface).await.expect("it is open");
        let mut settings = vec![0; 1024];
        let read = client.read(&mut settings).await.expect("SETTINGS");
        let mut setting = vec![0, 3];
        setting.extend(streams.to_be_bytes());
        let has = settings[..read].windows(6).any(|six| six == setting);
        assert!(has, "{streams}: {:?}", &settings[..read]);
    }
}

#[tokio::test(start_paused = true)]
async fn for_codec_speaks_that_one_alone() {
    let (_listener, [_, mut http2]) = both(|server| server.for_codec(CodecType::Http2));
    http2
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .expect("it is open");
    let end = rest(&mut http2).await;
    assert!(!end.windows(4).any(|four| four == b"HTTP"), "{end:?}");

    let (_listener, [_, mut http1]) = both(|server| server.for_codec(CodecType::Http1));
    let preface = rig::h2::preface(65_535);
    http1.write_all(&preface).await.expect("it is open");
    let end = rest(&mut http1).await;
    // SETTINGS would come first.
    assert!(end.is_empty() || end.starts_with(b"HTTP/1.1 4"), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn with_buffer_limit_bounds_a_head_and_leaves_it_60_kilobytes() {
    let (_listener, clients) = both(|server| server.with_buffer_limit(1));
    let head = |bytes: usize| {
        let field = "x".repeat(bytes);
        format!("GET / HTTP/1.1\r\nhost: a\r\nx-much: {field}\r\n\r\n")
    };
    for (mut client, status) in clients.into_iter().zip(["200", "431"]) {
        for (bytes, status) in [(50_000, "200"), (150_000, status)] {
            let (mut reads, mut writes) = tokio::io::split(&mut client);
            let head = head(bytes);
            let writes = async { writes.write_all(head.as_bytes()).await.ok() };
            let reads = async {
                let mut bytes = vec![0; 4096];
                let read = reads.read(&mut bytes).await.expect("a response");
                String::from_utf8_lossy(&bytes[..read]).into_owned()
            };
            let (_, response) = tokio::join!(timeout(50 * SECOND, writes), reads);
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status}")),
                "{bytes}: {response}"
            );
        }
    }
}

/// How much a client can send to an upstream that takes nothing.
async fn taken(change: impl FnOnce(TcpServer) -> TcpServer) -> usize {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (mut client, accepted) = duplex(1024);
    let (upstream, _far) = duplex(1024);
    let connection = listener.connection().expect("it is open");
    let server = change(TcpServer::new(CopyOptions::new(), Arc::new(())));
    tokio::spawn(async move { serve_tcp(accepted, upstream, connection, &server).await });
    let mut taken = 0;
    while let Ok(Ok(more)) = timeout(SECOND, client.write(&[0; 512])).await {
        taken += more;
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn the_buffer_limit_of_tcp_bounds_what_a_relay_takes() {
    let (all, few) = (
        taken(|server| server).await,
        taken(|server| server.with_buffer_limit(1)).await,
    );
    // Each pipe takes 1024 bytes, and the relay what it may have of them.
    assert_eq!((all, few), (3 * 1024, 2 * 1024 + 1));
}

/// How long the gap between the two GOAWAYs is, in milliseconds.
async fn gap(listener: &Listener, client: DuplexStream) -> u128 {
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    client.goaway().await;
    let noticed = Instant::now();
    client.goaway().await;
    let gap = noticed.elapsed().as_millis();
    client.end().await;
    drop(client);
    drain.await.expect("it runs");
    gap
}

#[tokio::test(start_paused = true)]
async fn the_drain_timeout_of_a_server_and_of_a_behavior_is_the_gap() {
    let (listener, [_, client]) =
        both(|server| server.with_drain(|drain| drain.with_drain_timeout(2 * SECOND)));
    assert_eq!(gap(&listener, client).await / 10, 200);

    let listener = Listener::new(DrainStrategy::Immediate);
    let behavior = SharedBehavior::new(&ProtocolDrainBehavior::Auto);
    let behavior = behavior.with_http_drain_timeout(3 * SECOND);
    let connection = listener.connection().expect("it is open");
    let connection = connection.with_behavior(behavior);
    let (client, accepted) = duplex(64 * 1024);
    let timeouts = HttpTimeouts::default();
    let server = HttpServer::new(CodecType::Auto, &timeouts, Arc::new(()));
    let service = service_fn(answer);
    tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
    assert_eq!(gap(&listener, client).await / 10, 300);
}

#[tokio::test(start_paused = true)]
async fn the_delayed_close_of_a_server_is_how_long_it_waits_for_its_client() {
    for (cap, waits) in [(1, 3), (0, 0)] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let (mut client, _) = listener.serve_with(&HttpTimeouts::default(), |server| {
            server.with_drain(|drain| {
                let drain = drain.with_delayed_close_timeout(3 * SECOND);
                drain.with_max_lingering(cap)
            })
        });
        tokio::spawn(listener.node.start_drain_sequence(MODIFY));
        request(&mut client, "/").await;
        assert!(rest(&mut client).await.is_empty());
        let start = Instant::now();
        // It is open on the other side as long as it takes what comes.
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(start.elapsed().as_secs(), waits);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_at_its_slot_where_http1_says_so() {
    let (listener, [mut plain, mut changed]) = both(|server| {
        server.with_drain(|drain| {
            let http1 = drain.http1();
            drain.with_http1(http1.with_idle(IdlePolicy::AfterGrace(2 * SECOND)))
        })
    });
    for client in [&mut plain, &mut changed] {
        request(client, "/").await;
    }
    let start = Instant::now();
    tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    assert!(rest(&mut changed).await.is_empty());
    assert_eq!(start.elapsed().as_secs(), 2);
    assert!(rest(&mut plain).await.is_empty());
    assert!(start.elapsed().as_secs() > 50);
}

#[tokio::test(start_paused = true)]
async fn the_first_peer_and_the_first_behavior_count() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let [first, second]: [SocketAddr; 2] = [([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into()];
    let connection = listener.connection().expect("it is open");
    assert_eq!(connection.peer(), None);
    let connection = connection.with_peer(first).with_peer(second);
    assert_eq!(connection.peer(), Some(first));
    let silent = ProtocolDrainBehavior::Http1 {
        connection_close: false,
    };
    let connection = connection
        .with_behavior(SharedBehavior::new(&silent))
        .with_behavior(SharedBehavior::new(&ProtocolDrainBehavior::Auto));
    assert_eq!(connection.behavior(), silent);
}

#[tokio::test(start_paused = true)]
async fn the_drain_jitter_makes_the_gap_of_some_connections_longer() {
    let jitter = HttpTimeouts::default()
        .with_drain(SECOND)
        .with_drain_jitter(8 * SECOND);
    let listener = Listener::new(DrainStrategy::Immediate);
    let server = HttpServer::new(CodecType::Auto, &jitter, Arc::new(()));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (client, accepted) = duplex(64 * 1024);
        let connection = listener.connection().expect("it is open");
        let server = server.clone();
        let service = service_fn(answer);
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
        let mut client = H2Client::new(client).await;
        assert_eq!(client.get("/").await, b"hello");
        clients.push(client);
    }
    let start = Instant::now();
    tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    let gaps = clients.into_iter().map(|mut client| async move {
        client.goaway().await;
        client.goaway().await;
        start.elapsed().as_secs()
    });
    let mut gaps = futures_util::future::join_all(gaps).await;
    gaps.sort_unstable();
    assert_eq!(gaps[0], 1, "{gaps:?}");
    assert!((7..=9).contains(&gaps[7]), "{gaps:?}");
    gaps.dedup();
    assert!(gaps.len() >= 6, "spread evenly: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn cut_at_the_deadline_leaves_out_what_the_steps_would_say() {
    for (at_deadline, is_reset) in [(AtDeadline::Steps, true), (AtDeadline::Cut, false)] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let change =
            |server: HttpServer| server.with_drain(|drain| drain.with_at_deadline(at_deadline));
        let (mut http1, _) = listener.serve_with(&HttpTimeouts::default(), change);
        let (http2, _) = listener.serve_with(&HttpTimeouts::default(), change);
        let endless = b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n";
        http1.write_all(endless).await.expect("it is open");
        let mut http2 = H2Client::new(http2).await;
        let stream = http2.open("/endless").await;
        let start = Instant::now();
        tokio::spawn(listener.node.start_drain_sequence(MODIFY));
        http2.end().await;
        assert_eq!(http2.was_reset(stream), is_reset);
        rest(&mut http1).await;
        assert_eq!(start.elapsed().as_secs(), 60);
        // Lingering takes what the client still sends; cut does not.
        assert_eq!(http1.write_all(b"x").await.is_ok(), is_reset);
    }
}

#[tokio::test(start_paused = true)]
async fn times_without_end_are_none() {
    for as_envoy in [false, true] {
        let never = HttpTimeouts::default()
            .with_drain(Duration::MAX)
            .with_drain_jitter(Duration::MAX)
            .with_delayed_close(Duration::MAX);
        let age = ConnectionAge::default()
            .with_max_duration(Some(Duration::MAX))
            .with_jitter(Duration::MAX)
            .with_grace(Duration::MAX)
            .with_cut_after(Some(Duration::MAX))
            .with_max_requests(Some(1));
        let listener = Listener::new(DrainStrategy::Immediate);
        let server = HttpServer::new(CodecType::Auto, &never, Arc::new(())).with_age(age);
        let server = match as_envoy {
            true => server.with_envoy_1_40(),
            false => server,
        };
        // Not the first one: that has no share of the jitter.
        for _ in 0..3 {
            let (client, accepted) = duplex(64 * 1024);
            let connection = listener.connection().expect("it is open");
            let (server, service) = (server.clone(), service_fn(answer));
            tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
            let mut client = H2Client::new(client).await;
            assert_eq!(client.get("/").await, b"hello");
            assert_eq!(client.goaway().await, 0x7fff_ffff);
            assert_eq!(client.get("/").await, b"hello");
        }
    }
}
