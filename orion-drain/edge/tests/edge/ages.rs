//! How old a connection may get, and how many requests it may serve, as the listener says: without
//! any drain.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::interval;

use crate::support::h2::{Event, H2, NO_LIMIT};
use crate::support::{Edge, End, H1, Http, discovery, end_of, tcp_with, within};

const FLAGS: &str = "--drain-time-s 20";

async fn http(options: &'static str) -> Edge {
    let listener = Http::new("http", 1).with_http(options).yaml();
    Edge::start(FLAGS, &discovery("1", &[listener])).await
}

#[tokio::test]
async fn the_response_to_the_last_request_that_a_connection_may_serve_says_close() {
    let edge = http("common_http_protocol_options: { max_requests_per_connection: 2 }").await;
    let mut client = H1::connect(edge.address("http").await).await;
    let first = client.get("/version").await;
    assert_eq!((first.says_close(), first.ok().as_str()), (false, "v1"));
    let last = client.get("/version").await;
    assert_eq!((last.says_close(), last.ok().as_str()), (true, "v1"));
    assert_eq!(client.end().await, End::Fin);
    let reached = "http.http.downstream_cx_max_requests_reached";
    assert_eq!(edge.stat(reached).await, 1);
}

#[tokio::test]
async fn the_last_stream_that_a_connection_may_serve_is_served_and_both_goaways_follow() {
    let edge = http("common_http_protocol_options: { max_requests_per_connection: 2 }").await;
    let mut client = H2::connect(edge.address("http").await).await;
    assert_eq!(client.get(1, "/version").await, "v1");
    client.ask(3, "/version").await;
    let (mut goaways, mut body) = (Vec::new(), String::new());
    loop {
        match client.next().await {
            Event::GoAway(last) => goaways.push(last),
            Event::Body { text, .. } => body += &text,
            Event::Head { ok, .. } => assert!(ok),
            Event::Reset { stream } => panic!("stream {stream} is reset"),
            Event::Fin => break,
        }
    }
    assert_eq!((goaways, body.as_str()), (vec![NO_LIMIT, 3], "v1"));
}

#[tokio::test]
async fn old_connections_leave_with_a_response_or_else_when_they_are_idle() {
    let edge = http(
        "common_http_protocol_options: { max_connection_duration: 0.5s, max_connection_duration_jitter: { value: 20 } }",
    )
    .await;
    let address = edge.address("http").await;
    let mut idle = H1::connect(address).await;
    idle.get("/version").await.ok();
    let mut busy = H1::connect(address).await;
    let mut pace = interval(Duration::from_millis(50));
    within("a response that says close", async {
        loop {
            pace.tick().await;
            let response = busy.get("/version").await;
            let says_close = response.says_close();
            response.ok();
            if says_close {
                break;
            }
        }
    })
    .await;
    assert_eq!(busy.end().await, End::Fin);
    assert_eq!(idle.end().await, End::Fin);
    let reached = "http.http.downstream_cx_max_duration_reached";
    assert_eq!(edge.stat(reached).await, 2);
}

#[tokio::test]
async fn a_tcp_connection_that_is_as_old_as_it_may_be_ends_in_fin() {
    let more = ", max_downstream_connection_duration: 0.5s, \
                max_downstream_connection_duration_jitter_percentage: { value: 20 }";
    let edge = Edge::start(FLAGS, &discovery("1", &[tcp_with("tcp", 1, more)])).await;
    let connected = TcpStream::connect(edge.address("tcp").await).await;
    let mut stream = connected.expect("it listens");
    stream.write_all(b"hello").await.expect("it reads");
    let mut back = [0; 5];
    within("an echo", stream.read_exact(&mut back))
        .await
        .expect("an echo");
    assert_eq!((&back, end_of(&mut stream).await), (b"hello", End::Fin));
}
