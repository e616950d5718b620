//! What of a request the upstream gets to see: upgrades that count, and whom the client is.

use crate::support::h1::header;
use crate::support::{Edge, H1, Http, discovery, websocket};

/// Starts edge with one listener that lets WebSockets through.
async fn start(more: &'static str) -> Edge {
    let listener = Http::new("http", 1).with_http(more).yaml();
    Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await
}

#[tokio::test]
async fn an_upgrade_counts_only_over_http_1_1_and_if_connection_names_it() {
    let mut edge = start("").await;
    let address = edge.address("http").await;
    for request in [
        "GET /held HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\n\r\n",
        "GET /held HTTP/1.1\r\nhost: test\r\nconnection: keep-alive\r\nupgrade: websocket\r\n\r\n",
        "GET /held HTTP/1.0\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        let mut client = H1::connect(address).await;
        client.send(request).await;
        let held = edge.upstream.held().await;
        assert_eq!(header(&held.head, "upgrade"), None, "{request}");
        held.answer("plain");
        assert_eq!(client.response().await.ok(), "plain", "{request}");
    }
    let mut tunnel = websocket::open(address).await;
    websocket::say(&mut tunnel, "hello").await.expect("an echo");
}

#[tokio::test]
async fn the_address_that_the_client_connects_from_is_added_to_x_forwarded_for_if_it_is_asked_for()
{
    for (more, sent, received) in [
        ("", "", None),
        ("", "x-forwarded-for: 192.0.2.1\r\n", Some("192.0.2.1")),
        ("use_remote_address: true", "", Some("127.0.0.1")),
        (
            "use_remote_address: true",
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\n",
            Some("192.0.2.1,192.0.2.2,127.0.0.1"),
        ),
    ] {
        let mut edge = start(more).await;
        let mut client = H1::connect(edge.address("http").await).await;
        client
            .send(&format!("GET /held HTTP/1.1\r\nhost: test\r\n{sent}\r\n"))
            .await;
        let held = edge.upstream.held().await;
        assert_eq!(
            header(&held.head, "x-forwarded-for"),
            received,
            "{more} {sent}"
        );
        held.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
}
