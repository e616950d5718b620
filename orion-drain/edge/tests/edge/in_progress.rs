//! What is half done when an update comes, and is finished all the same.

use crate::support::h1::get;
use crate::support::{Edge, End, H1, Http, discovery};

async fn start() -> Edge {
    let flags = "--drain-time-s 20 --drain-strategy immediate";
    Edge::start(flags, &discovery("1", &[Http::new("http", 1).yaml()])).await
}

/// Updates once all of edge's connections are `kind`.
async fn update_when(edge: &mut Edge, kind: &str) {
    edge.until_connections(|connections| {
        !connections.is_empty()
            && connections
                .iter()
                .all(|connection| connection["kind"] == kind)
    })
    .await;
    edge.update("2", &[Http::new("http", 2).yaml()]).await;
}

#[tokio::test]
async fn a_chunked_upload_that_spans_an_update_arrives_whole() {
    let mut edge = start().await;
    let mut client = H1::connect(edge.address("http").await).await;
    let chunks: Vec<String> = (1..=200)
        .map(|size| format!("{size:04}").repeat(size))
        .collect();
    let framed = |chunks: &[String]| -> String {
        let framed = chunks
            .iter()
            .map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        framed.collect()
    };
    client
        .send("POST /upload HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.send(&framed(&chunks[..100])).await;

    update_when(&mut edge, "in_request").await;

    client.send(&framed(&chunks[100..])).await;
    client.send("0\r\n\r\n").await;
    let held = edge.upstream.held().await;
    assert!(
        held.body == chunks.concat().as_bytes(),
        "{} bytes",
        held.body.len()
    );
    held.answer("thanks");
    let response = client.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("thanks", true)
    );
    assert_eq!(client.end().await, End::Fin);
}

#[tokio::test]
async fn a_request_whose_head_was_half_sent_before_the_update_is_served() {
    let mut edge = start().await;
    let address = edge.address("http").await;
    let (mut kept, mut new) = (H1::connect(address).await, H1::connect(address).await);
    assert_eq!(kept.get("/version").await.ok(), "v1");
    let request = get("/version");
    let (first, second) = request.split_at(request.len() / 2);
    kept.send(first).await;
    new.send(first).await;
    edge.until_connections(|connections| connections.len() == 2)
        .await;

    edge.update("2", &[Http::new("http", 2).yaml()]).await;

    for client in [&mut kept, &mut new] {
        client.send(second).await;
        let response = client.response().await;
        assert_eq!(
            (response.ok().as_str(), response.says_close()),
            ("v1", true)
        );
        assert_eq!(client.end().await, End::Fin);
    }
}
