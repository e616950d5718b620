//! The `listener_manager` block of a bootstrap takes effect, and the flags go before it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::h2::{Event, H2, NO_LIMIT};
use crate::support::{Edge, Http, discovery, tcp, within};

fn block(drain_config: &str) -> String {
    format!(
        "listener_manager:\n  max_versions_per_listener: 2\n  cleanup_policy:\n    count_based_only: 2\n  \
         cleanup_interval: 0.2s\n  drain_config: {drain_config}\n"
    )
}

#[tokio::test]
async fn its_drain_config_is_that_of_the_process_unless_a_flag_says_otherwise() {
    let listeners = discovery("1", &[Http::new("in", 1).yaml()]);
    let block = block("{ drain_time: 7s, drain_strategy: immediate, protocol_handling: auto }");
    for (flags, time, strategy) in [
        ("", "7s", "Immediate"),
        ("--drain-time-s 9 --drain-strategy gradual", "9s", "Gradual"),
    ] {
        let edge = Edge::start_with(flags, &listeners, &block).await;
        let info = edge.get("/server_info").await.text();
        assert!(
            info.contains(&format!("\"drain_time\": \"{time}\"")),
            "{info}"
        );
        assert!(
            info.contains(&format!("\"drain_strategy\": \"{strategy}\"")),
            "{info}"
        );
    }
}

#[tokio::test]
async fn its_protocol_handling_cuts_tcp_so_long_after_its_slot() {
    let block = block(
        "{ drain_time: 60s, drain_strategy: immediate, protocol_handling: { tcp: { force_close_after: 0.3s } } }",
    );
    let mut edge = Edge::start_with("", &discovery("1", &[tcp("echo", 1)]), &block).await;
    let mut client = TcpStream::connect(edge.address("echo").await)
        .await
        .expect("it listens");
    let mut echoed = [0; 4];
    client.write_all(b"ping").await.expect("it is open");
    within("the echo", client.read_exact(&mut echoed))
        .await
        .expect("it is open");
    let began = Instant::now();
    edge.update("2", &[tcp("echo", 2)]).await;
    within("the end", client.read(&mut echoed))
        .await
        .expect("FIN");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "not the deadline's doing"
    );
}

#[tokio::test]
async fn its_http1_handling_serves_on_without_a_word() {
    let block = block(
        "{ drain_time: 60s, drain_strategy: immediate, protocol_handling: { http1: { connection_close: false } } }",
    );
    let mut edge =
        Edge::start_with("", &discovery("1", &[Http::new("in", 1).yaml()]), &block).await;
    let mut client = crate::support::H1::connect(edge.address("in").await).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    edge.update("2", &[Http::new("in", 2).yaml()]).await;
    for _ in 0..5 {
        let response = client.get("/version").await;
        assert_eq!(
            (response.ok().as_str(), response.says_close()),
            ("v1", false)
        );
    }
}

#[tokio::test]
async fn its_http2_handling_says_goaway_or_serves_on_without_it() {
    for send in [true, false] {
        let block = block(&format!(
            "{{ drain_time: 60s, drain_strategy: immediate, protocol_handling: {{ http2: {{ send_goaway: {send} }} }} }}"
        ));
        let mut edge =
            Edge::start_with("", &discovery("1", &[Http::new("in", 1).yaml()]), &block).await;
        let mut client = H2::connect(edge.address("in").await).await;
        assert_eq!(client.get(1, "/version").await, "v1");
        edge.update("2", &[Http::new("in", 2).yaml()]).await;
        match send {
            true => assert_eq!(client.next().await, Event::GoAway(NO_LIMIT)),
            false => {
                for stream in [3, 5, 7, 9] {
                    // Nothing else comes meanwhile.
                    assert_eq!(client.get(stream, "/version").await, "v1");
                }
            }
        }
    }
}

#[tokio::test]
async fn versions_beyond_its_limit_are_hurried_long_before_their_deadline() {
    let block = block("{ drain_time: 600s, drain_strategy: gradual, protocol_handling: auto }");
    let mut edge = Edge::start_with("", &discovery("1", &[tcp("echo", 1)]), &block).await;
    let mut clients = Vec::new();
    for version in 1..=3 {
        if version > 1 {
            edge.update(&version.to_string(), &[tcp("echo", version)])
                .await;
        }
        let client = TcpStream::connect(edge.address("echo").await).await;
        clients.push(client.expect("it listens"));
        edge.until_connections(|open| open.len() == clients.len())
            .await;
    }
    let mut byte = [0; 1];
    let read = within("the end of the oldest", clients[0].read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    for client in &mut clients[1..] {
        client.write_all(b"x").await.expect("it is open");
        within("the echo", client.read_exact(&mut byte))
            .await
            .expect("it is open");
    }
}
