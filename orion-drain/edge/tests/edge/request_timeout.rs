//! `request_timeout` of the connection manager: who sends a body too slowly hears 408.

use crate::support::h2::{Event, H2};
use crate::support::{Edge, End, H1, Http, discovery};

const FLAGS: &str = "--drain-time-s 20";

async fn start() -> Edge {
    let listener = Http::new("http", 1).with_http("request_timeout: 0.3s").yaml();
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
    assert_eq!(client.next().await, Event::Head { stream: 1, ok: false });
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
                assert_eq!(head, Event::Head { stream: 3, ok: true });
                break;
            }
        }
    }
}
