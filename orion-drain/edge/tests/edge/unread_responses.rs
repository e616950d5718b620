//! Clients that do not take the response that they asked for.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::interval;

use crate::support::h2::{Event, H2};
use crate::support::paths::{FLOOD, upstream};
use crate::support::{Edge, H1, Http, cluster, discovery, within};

const IDLE: &str = "stream_idle_timeout: 1s";
const DURATION: &str = "common_http_protocol_options: { max_stream_duration: 1s }";

/// An edge with this field in its connection manager, in front of an upstream that sends [`FLOOD`]
/// bytes at once.
async fn edge(manager: &'static str) -> Edge {
    let listener = Http::new("http", 1).with_http(manager).yaml();
    let routed = listener.replace("cluster: http, timeout: 0s", "cluster: paths, timeout: 0s");
    assert_ne!(routed, listener);
    let paths = cluster("paths", &[upstream().await], "");
    Edge::start_beside("--drain-time-s 20", &discovery("1", &[routed]), &paths, "").await
}

async fn timed_out(edge: &Edge) -> (u64, u64) {
    let idle = edge.stat("http.http.downstream_rq_idle_timeout").await;
    let duration = "http.http.downstream_rq_max_duration_reached";
    (idle, edge.stat(duration).await)
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_response_loses_its_connection() {
    for (field, counts) in [(IDLE, (1, 0)), (DURATION, (0, 1))] {
        let edge = edge(field).await;
        let mut client = H1::connect(edge.address("http").await).await;
        client.ask("/flood").await;
        edge.until_connections(|open| !open.is_empty()).await;
        edge.until_connections(<[_]>::is_empty).await;
        assert_eq!(timed_out(&edge).await, counts);
        // What was on its way already comes, and no more.
        let mut came = client.wire.ahead.to_vec();
        let read = within("the end", client.wire.stream.read_to_end(&mut came)).await;
        assert!(came.len() < FLOOD, "{read:?}");
    }
}

#[tokio::test]
async fn a_stream_whose_client_opens_no_window_is_reset_and_the_others_go_on() {
    for (field, counts) in [(IDLE, (1, 0)), (DURATION, (0, 1))] {
        let edge = edge(field).await;
        // Its window is 64 KiB, and it never opens more.
        let mut client = H2::connect(edge.address("http").await).await;
        client.ask(1, "/flood").await;
        let mut came = 0;
        loop {
            match client.next().await {
                Event::Body { text, last, .. } => {
                    assert!(!last);
                    came += text.len();
                }
                Event::Reset { stream } => {
                    assert_eq!((stream, came), (1, 65_535));
                    break;
                }
                Event::Head { ok, .. } => assert!(ok),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(timed_out(&edge).await, counts);
        assert_eq!(client.get(3, "/version").await, "v1");
    }
}

#[tokio::test]
async fn a_client_that_takes_its_response_slowly_gets_all_of_it() {
    let edge = edge(IDLE).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/flood").await;
    let mut pace = interval(Duration::from_millis(100));
    let mut came = 0;
    // It takes three times as long as the timeout.
    let mut part = vec![0; FLOOD / 32];
    while came < FLOOD {
        pace.tick().await;
        let read = within("a part", client.wire.stream.read_exact(&mut part));
        came += read.await.expect("it goes on");
    }
    assert_eq!(timed_out(&edge).await, (0, 0));
}
