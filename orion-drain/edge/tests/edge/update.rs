//! What the connections of a listener see of an update.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::h2::{Event, H2, NO_LIMIT};
use crate::support::{Edge, End, H1, Http, discovery};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

async fn start() -> Edge {
    Edge::start(FLAGS, &discovery("1", &[Http::new("http", 1).yaml()])).await
}

async fn update(edge: &mut Edge) {
    let lines = edge.update("2", &[Http::new("http", 2).yaml()]).await;
    assert_eq!(
        lines,
        ["lds: version \"2\": http modified (v2 replaces v1)"]
    );
}

#[tokio::test]
async fn a_kept_alive_http1_connection_is_told_by_a_response_and_then_closed() {
    let mut edge = start().await;
    let address = edge.address("http").await;
    let (mut idle, mut busy) = (H1::connect(address).await, H1::connect(address).await);
    let before = idle.get("/version").await;
    assert_eq!((before.ok().as_str(), before.says_close()), ("v1", false));
    busy.ask("/held").await;
    let held = edge.upstream.held().await;

    update(&mut edge).await;

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
    let fresh = H1::connect(address).await.get("/version").await;
    assert_eq!((fresh.ok().as_str(), fresh.says_close()), ("v2", false));
}

#[tokio::test]
async fn a_busy_http2_connection_gets_both_goaways_and_is_served_to_its_last_stream() {
    let mut edge = start().await;
    let address = edge.address("http").await;
    let client = H2::connect(address).await;
    busy_http2(&mut edge, client).await;
    assert_eq!(H2::connect(address).await.get(1, "/version").await, "v2");
}

#[tokio::test]
async fn a_client_that_never_acks_a_ping_gets_both_goaways_as_well() {
    let mut edge = start().await;
    let client = H2::connect(edge.address("http").await)
        .await
        .without_ping_acks();
    busy_http2(&mut edge, client).await;
}

async fn busy_http2(edge: &mut Edge, mut client: H2) {
    assert_eq!(client.get(1, "/version").await, "v1");
    client.ask(3, "/held").await;
    let first = edge.upstream.held().await;

    update(edge).await;

    assert_eq!(client.next().await, Event::GoAway(NO_LIMIT));
    let told = Instant::now();
    // Opened between the two: the old version's, and served.
    assert_eq!(client.get(5, "/version").await, "v1");
    client.ask(7, "/held").await;
    let second = edge.upstream.held().await;
    first.answer("first");
    assert_eq!(client.answered(3).await, "first");
    assert_eq!(client.next().await, Event::GoAway(7));
    assert!(
        told.elapsed() > Duration::from_secs(1),
        "drain_timeout is 2 s"
    );
    second.answer("second");
    assert_eq!(client.answered(7).await, "second");
    assert_eq!(client.next().await, Event::Fin);
}

#[tokio::test]
async fn an_idle_http2_connection_gets_both_goaways_without_asking_for_anything() {
    let mut edge = start().await;
    let mut client = H2::connect(edge.address("http").await).await;
    assert_eq!(client.get(1, "/version").await, "v1");
    update(&mut edge).await;
    assert_eq!(client.next().await, Event::GoAway(NO_LIMIT));
    assert_eq!(client.next().await, Event::GoAway(1));
    assert_eq!(client.next().await, Event::Fin);
}

#[tokio::test]
async fn drain_timeout_jitter_spreads_the_final_goaways() {
    let listener = |version| {
        let listener = Http::new("http", version).with_http("drain_timeout_jitter: { value: 100 }");
        listener
            .yaml()
            .replace("drain_timeout: 2s", "drain_timeout: 1s")
    };
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1)])).await;
    let address = edge.address("http").await;
    let mut clients = [H2::connect(address).await, H2::connect(address).await];
    for client in &mut clients {
        assert_eq!(client.get(1, "/version").await, "v1");
    }
    edge.update("2", &[listener(2)]).await;
    let waited = clients.map(async |mut client| {
        assert_eq!(client.next().await, Event::GoAway(NO_LIMIT));
        let told = Instant::now();
        assert_eq!(client.next().await, Event::GoAway(1));
        told.elapsed()
    });
    let waited = futures_util::future::join_all(waited).await;
    // Evenly spread shares of a second: none for the one, over half of it for the other.
    assert!(
        waited
            .iter()
            .any(|waited| *waited > Duration::from_millis(1500)),
        "{waited:?}"
    );
}

#[tokio::test]
async fn the_same_content_again_changes_nothing() {
    let mut edge = start().await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    let lines = edge.update("1 again", &[Http::new("http", 1).yaml()]).await;
    assert_eq!(lines, ["lds: version \"1 again\": nothing changed"]);
    assert!(!client.get("/version").await.says_close());
    assert_eq!(edge.stat("lds.update_success").await, 2);
    assert_eq!(edge.stat("listener_modified").await, 0);
    assert_eq!(edge.stat("total_listeners_draining").await, 0);
}

#[tokio::test]
async fn updates_with_fields_that_nobody_knows_can_be_forbidden() {
    let flags = "--reject-unknown-dynamic-fields";
    let mut edge = Edge::start(flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    let misspelt = Http::new("http", 2).with("colour: blue").yaml();
    edge.replace(&discovery("2", &[misspelt]));
    edge.until("resources[0].colour: no such field").await;
    assert_eq!(edge.stat("lds.update_rejected").await, 1);
    let response = H1::connect(edge.address("http").await)
        .await
        .get("/version")
        .await;
    assert_eq!(response.ok(), "v1");
}

#[tokio::test]
async fn fields_that_are_not_known_are_ignored_and_counted() {
    let mut edge = start().await;
    assert_eq!(edge.stat("server.dynamic_unknown_fields").await, 0);
    let listener = Http::new("http", 2)
        .with("colour: blue\n  shape: { corners: 3 }")
        .yaml();
    edge.update("2", &[listener]).await;
    assert_eq!(edge.stat("server.dynamic_unknown_fields").await, 2);
    assert_eq!(edge.stat("lds.update_success").await, 2);
    let response = H1::connect(edge.address("http").await)
        .await
        .get("/version")
        .await;
    assert_eq!(response.ok(), "v2");
}
