//! Fields of a listener and its filters that bound connections: what they take, how long they are
//! silent, how long they end.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::support::{Edge, End, H1, Http, discovery, end_of, tcp_with, within};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

#[tokio::test]
async fn per_connection_buffer_limit_bytes_bounds_a_head() {
    let own = "per_connection_buffer_limit_bytes: 1048577";
    let listener = Http::new("http", 1).yaml();
    assert!(listener.contains(own), "{listener}");
    for (limit, expected) in [(own, 200), ("per_connection_buffer_limit_bytes: 1", 431)] {
        let listener = listener.replace(own, limit);
        let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
        let stream = TcpStream::connect(edge.address("http").await).await;
        let (reads, mut writes) = tokio::io::split(stream.expect("it listens"));
        let field = "x".repeat(150_000);
        let head = format!("GET /version HTTP/1.1\r\nhost: a\r\nx-much: {field}\r\n\r\n");
        let sends = tokio::spawn(async move {
            // A head that is too long is not read to its end.
            writes.write_all(head.as_bytes()).await.ok();
            writes
        });
        let mut client = H1::over(tokio::io::join(reads, tokio::io::sink()));
        assert_eq!(client.response().await.status, expected, "{limit}");
        sends.await.expect("it is sent or refused");
    }
}

#[tokio::test]
async fn delayed_close_timeout_is_how_long_a_client_may_take_to_close() {
    for (limit, ends) in [("0.25s", true), ("60s", false)] {
        let listener = |version| {
            let listener = Http::new("http", version).yaml();
            listener.replace(
                "delayed_close_timeout: 0.25s",
                &format!("delayed_close_timeout: {limit}"),
            )
        };
        let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1)])).await;
        let mut client = H1::connect(edge.address("http").await).await;
        assert_eq!(client.get("/version").await.ok(), "v1");
        edge.update("2", &[listener(2)]).await;
        assert!(client.get("/version").await.says_close());
        assert_eq!(client.end().await, End::Fin);
        // The other side goes on reading for so long, and then resets.
        let mut pace = interval(Duration::from_millis(20));
        let refused = async {
            while client.try_send("x").await.is_ok() {
                pace.tick().await;
            }
        };
        match ends {
            true => within("the end of the other side", refused).await,
            false => {
                let still_read = timeout(Duration::from_secs(3), refused).await;
                assert!(still_read.is_err(), "reset long before {limit}");
            }
        }
    }
}

#[tokio::test]
async fn idle_timeout_closes_a_quiet_connection() {
    let quiet = "common_http_protocol_options: { idle_timeout: 0.3s }";
    let listeners = [
        Http::new("http", 1).with_http(quiet).yaml(),
        tcp_with("tcp", 1, ", idle_timeout: 0.3s"),
    ];
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    let mut http = H1::connect(edge.address("http").await).await;
    assert_eq!(http.get("/version").await.ok(), "v1");
    assert_eq!(http.end().await, End::Fin);
    let counted = edge.stat("http.http.downstream_cx_idle_timeout").await;
    assert_eq!(counted, 1);
    let tcp = TcpStream::connect(edge.address("tcp").await).await;
    assert_eq!(end_of(&mut tcp.expect("it listens")).await, End::Fin);
    assert_eq!(edge.stat("tcp.tcp.idle_timeout").await, 1);
}
