//! Listeners over TLS: an update loses nothing, and every connection ends with `close_notify`.

use crate::support::h1::header;
use crate::support::h2::{Event, H2, NO_LIMIT};
use crate::support::tls::Secured;
use crate::support::{Edge, End, H1, Http, discovery, tcp, websocket};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

fn listener(secured: &Secured, version: u32) -> String {
    let http = Http::new("https", version);
    http.with_chain(&secured.transport_socket()).yaml()
}

async fn start(secured: &Secured) -> Edge {
    Edge::start(FLAGS, &discovery("1", &[listener(secured, 1)])).await
}

async fn update(edge: &mut Edge, secured: &Secured) {
    let lines = edge.update("2", &[listener(secured, 2)]).await;
    assert_eq!(
        lines,
        ["lds: version \"2\": https modified (v2 replaces v1)"]
    );
}

#[tokio::test]
async fn http1_over_tls_is_told_by_a_response_and_ends_with_close_notify() {
    let secured = Secured::new();
    let mut edge = start(&secured).await;
    let address = edge.address("https").await;
    let mut idle = H1::over(secured.connect(address, "http/1.1").await);
    let mut busy = H1::over(secured.connect(address, "http/1.1").await);
    assert_eq!(idle.get("/version").await.ok(), "v1");
    busy.ask("/held").await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "x-forwarded-proto"), Some("https"));

    update(&mut edge, &secured).await;

    held.answer("done");
    let response = busy.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("done", true)
    );
    assert_eq!(busy.end().await, End::Fin);
    let after = idle.get("/version").await;
    assert_eq!((after.ok().as_str(), after.says_close()), ("v1", true));
    assert_eq!(idle.end().await, End::Fin);
    let mut fresh = H1::over(secured.connect(address, "http/1.1").await);
    assert_eq!(fresh.get("/version").await.ok(), "v2");
}

#[tokio::test]
async fn http2_over_tls_gets_both_goaways_finishes_its_streams_and_ends_with_close_notify() {
    let secured = Secured::new();
    let mut edge = start(&secured).await;
    let address = edge.address("https").await;
    let mut client = H2::over(secured.connect(address, "h2").await).await;
    assert_eq!(client.get(1, "/version").await, "v1");
    client.ask(3, "/held").await;
    let held = edge.upstream.held().await;

    update(&mut edge, &secured).await;

    assert_eq!(client.next().await, Event::GoAway(NO_LIMIT));
    assert_eq!(client.get(5, "/version").await, "v1");
    assert_eq!(client.next().await, Event::GoAway(5));
    held.answer("done");
    assert_eq!(client.answered(3).await, "done");
    // Without `close_notify` reading fails.
    assert_eq!(client.next().await, Event::Fin);
    let mut fresh = H2::over(secured.connect(address, "h2").await).await;
    assert_eq!(fresh.get(1, "/version").await, "v2");
}

#[tokio::test]
async fn clients_over_tls_that_never_stop_lose_no_request_over_updates() {
    let secured = Secured::new();
    let mut edge = start(&secured).await;
    let address = edge.address("https").await;
    let asking = async {
        let client = async |_: usize| {
            let mut connections = 0;
            let mut seen = String::new();
            while seen != "v4" {
                connections += 1;
                let mut client = H1::over(secured.connect(address, "http/1.1").await);
                loop {
                    let response = client.get("/version").await;
                    seen = response.ok();
                    if response.says_close() {
                        assert_eq!(client.end().await, End::Fin);
                        break;
                    }
                    if seen == "v4" {
                        break;
                    }
                }
            }
            connections
        };
        futures_util::future::join_all((0..8).map(client)).await
    };
    let updating = async {
        for version in 2..=4 {
            edge.update(&version.to_string(), &[listener(&secured, version)])
                .await;
        }
    };
    let (connections, ()) = tokio::join!(asking, updating);
    assert!(
        connections.iter().all(|connections| *connections > 1),
        "{connections:?}"
    );
}

#[tokio::test]
async fn a_websocket_over_tls_lives_through_an_update() {
    let secured = Secured::new();
    let mut edge = start(&secured).await;
    let address = edge.address("https").await;
    let mut stream =
        websocket::open_over(H1::over(secured.connect(address, "http/1.1").await)).await;
    websocket::say(&mut stream, "before")
        .await
        .expect("an echo");
    update(&mut edge, &secured).await;
    websocket::say(&mut stream, "after").await.expect("an echo");
}

#[tokio::test]
async fn a_tcp_proxy_over_tls_relays_what_is_clear() {
    let secured = Secured::new();
    let chain = format!("  - {}\n    filters:", secured.transport_socket());
    let listener = tcp("tcp", 1).replace("  - filters:", &chain);
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let mut client = H1::over(secured.connect(edge.address("tcp").await, "h2").await);
    // The upstream sends back what it gets: a response without a body.
    client.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.response().await.status, 204);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_refuses_the_listener_and_the_old_one_goes_on() {
    let secured = Secured::new();
    let mut edge = start(&secured).await;
    let bad = listener(&secured, 2).replace("cert.pem", "none.pem");
    let lines = edge.update("2", &[bad]).await;
    let path = "filter_chains[0].transport_socket.typed_config.common_tls_context.tls_certificates[0].certificate_chain.filename";
    assert!(
        lines[0].contains(path) && lines[0].contains("none.pem"),
        "{lines:?}"
    );
    assert_eq!(edge.stat("lds.update_rejected").await, 1);
    let mut client = H1::over(
        secured
            .connect(edge.address("https").await, "http/1.1")
            .await,
    );
    assert_eq!(client.get("/version").await.ok(), "v1");
}
