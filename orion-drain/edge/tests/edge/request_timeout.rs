//! `request_timeout` of the connection manager: a body that is sent too slowly is answered with 408. And a route's `timeout`.

use std::time::Duration;

use crate::support::h2::{Event, H2};
use crate::support::{Edge, End, H1, Http, discovery, websocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::interval;

const FLAGS: &str = "--drain-time-s 20";

async fn start() -> Edge {
    let listener = Http::new("http", 1)
        .with_http("request_timeout: 0.3s")
        .yaml();
    Edge::start(FLAGS, &discovery("1", &[listener])).await
}

#[tokio::test]
async fn an_http1_body_that_never_ends_is_answered_with_408_and_the_connection_closed() {
    let edge = start().await;
    let mut client = H1::connect(edge.address("http").await).await;
    client
        .send("POST /held HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf")
        .await;
    let response = client.response().await;
    assert_eq!((response.status, response.says_close()), (408, true));
    assert_eq!(client.end().await, End::Fin);
    assert_eq!(edge.stat("http.http.downstream_rq_timeout").await, 1);
}

#[tokio::test]
async fn an_http2_body_that_never_ends_is_answered_with_408_and_other_streams_go_on() {
    let mut edge = start().await;
    let mut client = H2::connect(edge.address("http").await).await;
    client.begin(1, "/held").await;
    // Not 200: the status is 408.
    assert_eq!(
        client.next().await,
        Event::Head {
            stream: 1,
            ok: false
        }
    );
    loop {
        match client.next().await {
            Event::Body {
                stream: 1,
                last: true,
                ..
            }
            | Event::Reset { stream: 1 } => break,
            Event::Body { stream: 1, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    client.ask(3, "/held").await;
    edge.upstream.held().await.answer("done");
    loop {
        match client.next().await {
            // What hyper says to a client that is still sending.
            Event::Reset { stream: 1 } => {}
            head => {
                assert_eq!(
                    head,
                    Event::Head {
                        stream: 3,
                        ok: true
                    }
                );
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_outlives_it_however_long_it_is_silent() {
    let mut edge = start().await;
    let mut tunnel = websocket::open(edge.address("http").await).await;
    websocket::say(&mut tunnel, "before")
        .await
        .expect("an echo");
    edge.runs_for(Duration::from_millis(900)).await;
    websocket::say(&mut tunnel, "after").await.expect("an echo");
    assert_eq!(edge.stat("http.http.downstream_rq_timeout").await, 0);
}

#[tokio::test]
async fn half_a_head_behind_a_request_never_breaks_into_its_response() {
    let mut edge = start().await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/held").await;
    let held = edge.upstream.held().await;
    client.send("GET /next HTTP/1.1\r\nho").await;
    edge.runs_for(Duration::from_millis(900)).await;
    // More than the system's buffers take: it is under way while the timeout passes, since the
    // client does not read.
    held.answer(&"x".repeat(24 << 20));
    edge.runs_for(Duration::from_millis(900)).await;
    let response = client.response().await;
    assert_eq!((response.status, response.body.len()), (200, 24 << 20));
    assert!(
        response.body.iter().all(|byte| *byte == b'x'),
        "something broke in"
    );
}

/// An upstream that answers every head at once, with eight bytes, one each 150 ms.
async fn at_once() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = Vec::new();
                while stream.read_buf(&mut received).await? > 0 {
                    if !received.ends_with(b"\r\n\r\n") && !received.ends_with(b"\r\n\r\nhalf") {
                        continue;
                    }
                    received.clear();
                    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n";
                    stream.write_all(head).await?;
                    let mut pace = interval(Duration::from_millis(150));
                    for _ in 0..8 {
                        pace.tick().await;
                        stream.write_all(b"y").await?;
                    }
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    address
}

/// An edge with a `request_timeout` whose only route leads to such an upstream.
async fn start_at_once() -> Edge {
    let listener = Http::new("http", 1).with_http("request_timeout: 0.3s");
    let listener = listener.yaml().replace("cluster: http", "cluster: early");
    let early = crate::support::cluster("early", &[at_once().await], "");
    Edge::start_beside(FLAGS, &discovery("1", &[listener]), &early, "").await
}

#[tokio::test]
async fn an_upload_that_outlasts_the_head_of_its_response_never_breaks_into_the_response() {
    let mut edge = start_at_once().await;
    let mut client = H1::connect(edge.address("http").await).await;
    client
        .send("POST /held HTTP/1.1\r\nhost: test\r\ncontent-length: 12\r\n\r\nhalf")
        .await;
    for _ in 0..8 {
        edge.runs_for(Duration::from_millis(150)).await;
        client.send("x").await;
    }
    // The body has ended about when its response has. Nothing but the end may follow.
    assert_eq!(client.response().await.ok(), "yyyyyyyy");
    client.end().await;
    assert_eq!(edge.stat("http.http.downstream_rq_timeout").await, 0);
}

#[tokio::test]
async fn each_head_of_a_connection_has_the_whole_time() {
    let listener = Http::new("http", 1).with_http("request_timeout: 2s").yaml();
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let mut client = H1::connect(edge.address("http").await).await;
    // The first half of each comes together with the second one of the request before.
    client.send("GET /version HTT").await;
    for _ in 0..3 {
        edge.runs_for(Duration::from_millis(900)).await;
        client
            .send("P/1.1\r\nhost: test\r\n\r\nGET /version HTT")
            .await;
        assert_eq!(client.response().await.ok(), "v1");
    }
    // And the last one takes too long.
    assert_eq!(client.response().await.status, 408);
}

/// An edge whose only route has a timeout, to this upstream.
async fn routed(upstream: std::net::SocketAddr) -> Edge {
    let listener = Http::new("http", 1).yaml();
    let listener = listener.replace("cluster: http, timeout: 0s", "cluster: slow, timeout: 0.6s");
    let slow = crate::support::cluster("slow", &[upstream], "");
    Edge::start_beside(FLAGS, &discovery("1", &[listener]), &slow, "").await
}

/// An upstream that takes one request and answers it with these pieces, each after a pause.
async fn pieces(head: &'static str, pieces: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = Vec::new();
                while !received.ends_with(b"end") && !received.ends_with(b"\r\n\r\n") {
                    if stream
                        .read_buf(&mut received)
                        .await
                        .is_ok_and(|bytes| bytes == 0)
                    {
                        return;
                    }
                    // A head with a body is not the end.
                    if received.starts_with(b"POST") && received.ends_with(b"\r\n\r\n") {
                        received.push(b' ');
                    }
                }
                let mut pace = interval(Duration::from_millis(300));
                for piece in 0..=pieces {
                    pace.tick().await;
                    let bytes = if piece == 0 { head.as_bytes() } else { b"y" };
                    if stream.write_all(bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn the_timeout_of_a_route_begins_with_the_end_of_the_request() {
    let upstream = pieces("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0).await;
    let mut edge = routed(upstream).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client
        .send("POST /photo HTTP/1.1\r\nhost: test\r\ncontent-length: 8\r\n\r\nslow")
        .await;
    // Longer than the timeout.
    edge.runs_for(Duration::from_millis(1200)).await;
    client.send(" end").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn the_timeout_of_a_route_ends_with_the_response() {
    let upstream = pieces("HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n", 30).await;
    let edge = routed(upstream).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/film").await;
    client.try_response().await.expect_err("it is cut off");
    // One that never answers: 504.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let edge = routed(silent.local_addr().expect("an address")).await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/never").await.status, 504);
    // An upgrade that is never answered as well.
    let mut client = H1::connect(edge.address("http").await).await;
    client
        .send(
            "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.status, 504);
}
