//! `stream_idle_timeout` and `max_stream_duration`, of the connection manager and of a route.

use std::io;

use tokio::time::interval;

use crate::support::h2::{Event, H2};
use crate::support::paths::{PACE, upstream};
use crate::support::{Edge, H1, Http, cluster, discovery, websocket};

const FLAGS: &str = "--drain-time-s 20";
const IDLE: &str = "stream_idle_timeout: 1s";
const DURATION: &str = "common_http_protocol_options: { max_stream_duration: 1s }";

/// An edge with this field in its connection manager, and this one in the route to the upstream.
async fn edge(manager: &'static str, route: &str) -> Edge {
    let listener = Http::new("http", 1).with_http(manager).yaml();
    let to = format!("cluster: paths, timeout: 0s{route}");
    let routed = listener.replace("cluster: http, timeout: 0s", &to);
    assert_ne!(routed, listener);
    let paths = cluster("paths", &[upstream().await], "");
    Edge::start_beside(FLAGS, &discovery("1", &[routed]), &paths, "").await
}

async fn client(edge: &Edge) -> H1 {
    H1::connect(edge.address("http").await).await
}

async fn timed_out(edge: &Edge) -> (u64, u64) {
    let idle = edge.stat("http.http.downstream_rq_idle_timeout").await;
    let duration = "http.http.downstream_rq_max_duration_reached";
    (idle, edge.stat(duration).await)
}

/// Sends a request whose body has nine bytes, and these of them, each a while after the other.
async fn upload(client: &mut H1, path: &str, bytes: usize) {
    let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n");
    client.send(&head).await;
    let mut pace = interval(PACE);
    for _ in 0..bytes {
        pace.tick().await;
        // It may be answered already.
        if client.try_send("x").await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_that_nothing_happens_to_is_answered_with_504_and_its_connection_goes_on() {
    for (field, says, counts) in [
        (IDLE, "stream timeout", (1, 0)),
        (DURATION, "downstream duration timeout", (0, 1)),
    ] {
        let edge = edge(field, "").await;
        let mut client = client(&edge).await;
        let response = client.get("/silent").await;
        assert_eq!((response.status, response.text().as_str()), (504, says));
        assert!(!response.says_close());
        assert_eq!(client.get("/version").await.ok(), "v1");
        assert_eq!(timed_out(&edge).await, counts);
    }
}

#[tokio::test]
async fn half_an_upload_or_half_a_head_is_answered_with_408_and_its_connection_closed() {
    let edge = edge(IDLE, "").await;
    let mut half = client(&edge).await;
    upload(&mut half, "/upload", 2).await;
    let mut unread = client(&edge).await;
    upload(&mut unread, "/version", 2).await;
    for client in [&mut half, &mut unread] {
        let response = client.response().await;
        assert_eq!((response.status, response.says_close()), (408, true));
        assert_eq!(response.text(), "stream timeout");
        client.end().await;
    }
    assert_eq!(timed_out(&edge).await, (2, 0));
    let mut head = client(&edge).await;
    head.send("GET / HTTP/1.1\r\nho").await;
    let response = head.response().await;
    assert_eq!((response.status, response.says_close()), (408, true));
}

#[tokio::test]
async fn a_slow_upload_and_a_slow_response_are_served_as_long_as_they_move() {
    let edge = edge(IDLE, "").await;
    let mut client = client(&edge).await;
    upload(&mut client, "/slow", 9).await;
    // The response takes longer than the timeout as well.
    assert_eq!(client.response().await.ok(), "yyyyyy");
    assert_eq!(timed_out(&edge).await, (0, 0));
}

#[tokio::test]
async fn a_response_under_way_is_cut_off_and_nothing_is_written_into_it() {
    let edge = edge(IDLE, "").await;
    let mut client = client(&edge).await;
    client.ask("/stalled").await;
    let cut = client.try_response().await.expect_err("it is cut off");
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    // What came of it is its own bytes.
    assert_eq!(&client.wire.ahead[..], b"yyy");
    assert_eq!(timed_out(&edge).await, (1, 0));
}

#[tokio::test]
async fn the_head_of_a_refused_upgrade_begins_the_idle_timeout_anew() {
    let edge = edge(IDLE, "").await;
    let mut client = client(&edge).await;
    let head = "GET /refuses HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: c2l4dGVlbiBieXRlcyBvZg==\r\n\r\n";
    client.send(head).await;
    let refused = client.response().await;
    assert_eq!((refused.status, refused.text().as_str()), (403, "nnnnnn"));
    assert_eq!(timed_out(&edge).await, (0, 0));
}

#[tokio::test]
async fn a_stream_that_moves_ends_with_its_duration() {
    let edge = edge(DURATION, "").await;
    let mut slow = client(&edge).await;
    slow.ask("/slow").await;
    slow.try_response().await.expect_err("it is cut off");
    let mut uploads = client(&edge).await;
    upload(&mut uploads, "/upload", 5).await;
    let response = uploads.response().await;
    assert_eq!((response.status, response.says_close()), (408, true));
    assert_eq!(timed_out(&edge).await, (0, 2));
}

#[tokio::test]
async fn a_route_has_limits_of_its_own() {
    let off = ", idle_timeout: 0s, max_stream_duration: { max_stream_duration: 0s }";
    let own = ", idle_timeout: 0.5s";
    // With a duration the route's `timeout` does not count, as in Envoy.
    let duration = ", max_stream_duration: { max_stream_duration: 1s }";
    let served = edge(IDLE, off).await;
    assert_eq!(client(&served).await.get("/late").await.ok(), "yyyyyy");
    let served = edge(DURATION, off).await;
    assert_eq!(client(&served).await.get("/late").await.ok(), "yyyyyy");
    let idle = edge("stream_idle_timeout: 0s", own).await;
    assert_eq!(client(&idle).await.get("/late").await.status, 504);
    assert_eq!(timed_out(&idle).await, (1, 0));
    let long = edge("stream_idle_timeout: 0s", duration).await;
    assert_eq!(client(&long).await.get("/late").await.status, 504);
    assert_eq!(timed_out(&long).await, (0, 1));
}

#[tokio::test]
async fn a_stream_of_http2_is_answered_or_reset_and_the_others_go_on() {
    let edge = edge(IDLE, "").await;
    let mut client = H2::connect(edge.address("http").await).await;
    client.ask(1, "/silent").await;
    let head = Event::Head {
        stream: 1,
        ok: false,
    };
    assert_eq!(client.next().await, head);
    let text = "stream timeout".to_owned();
    let body = client.next().await;
    assert!(matches!(&body, Event::Body { stream: 1, text: found, .. } if *found == text));
    client.ask(3, "/stalled").await;
    loop {
        match client.next().await {
            Event::Reset { stream: 3 } => break,
            Event::Body {
                last: true,
                stream: 3,
                ..
            } => panic!("it never ends"),
            _ => {}
        }
    }
    assert_eq!(client.get(5, "/version").await, "v1");
    assert_eq!(timed_out(&edge).await, (2, 0));
}

#[tokio::test]
async fn a_tunnel_ends_when_it_is_silent_for_so_long_or_open_for_so_long() {
    for (field, counts) in [(IDLE, (1, 0)), (DURATION, (0, 1))] {
        let edge = edge(field, "").await;
        let mut tunnel = websocket::open(edge.address("http").await).await;
        let mut pace = interval(PACE);
        // With the idle timeout it goes on as long as it is talked on.
        let talks = if field == IDLE { 6 } else { 2 };
        for _ in 0..talks {
            pace.tick().await;
            websocket::say(&mut tunnel, "hello").await.expect("an echo");
        }
        crate::support::end_of(&mut tunnel).await;
        assert_eq!(timed_out(&edge).await, counts);
    }
}
