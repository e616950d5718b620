//! What an operator can ask of the admin port, and see there.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Edge, End, H1, Http, discovery, is_refused, until_refused};

const FLAGS: &str = "--drain-time-s 2 --drain-strategy immediate";
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// edge with an inbound, an outbound and an unspecified listener, the first of which has a busy and an idle connection.
async fn start() -> Edge {
    let listeners = [
        Http::new("in", 1).with("traffic_direction: INBOUND").yaml(),
        Http::new("out", 1).with("traffic_direction: OUTBOUND").yaml(),
        Http::new("any", 1).yaml(),
    ];
    Edge::start(FLAGS, &discovery("1", &listeners)).await
}

/// Asks for `/version` on a new connection; whether it was told to leave.
async fn is_told(client: &mut H1) -> bool {
    let response = client.get("/version").await;
    assert_eq!(response.ok(), "v1");
    response.says_close()
}

/// Goes on until the drain time is well over; the process is ready all the time.
async fn outlast_the_drain_time(edge: &Edge, began: Instant) {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while began.elapsed() < DRAIN_TIME + Duration::from_millis(500) {
        pace.tick().await;
        assert_eq!(edge.get("/ready").await.text(), "LIVE\n");
    }
}

#[tokio::test]
async fn drain_listeners_refuses_at_once_on_every_listener_and_cuts_nobody() {
    let mut edge = start().await;
    let [inbound, outbound] = [edge.address("in").await, edge.address("out").await];
    let (mut idle, mut busy) = (H1::connect(inbound).await, H1::connect(inbound).await);
    assert!(!is_told(&mut idle).await);
    busy.ask("/held").await;
    let held = edge.upstream.held().await;

    let began = Instant::now();
    edge.post("/drain_listeners").await;

    until_refused(inbound).await;
    until_refused(outbound).await;
    assert!(is_told(&mut idle).await);
    assert_eq!(idle.end().await, End::Fin);
    outlast_the_drain_time(&edge, began).await;
    held.answer("late");
    let response = busy.response().await;
    assert_eq!((response.ok().as_str(), response.says_close()), ("late", true));
    assert_eq!(busy.end().await, End::Fin);
    assert!(edge.is_running());
}

#[tokio::test]
async fn drain_listeners_graceful_accepts_and_tells_until_the_drain_time_is_over() {
    let edge = start().await;
    let inbound = edge.address("in").await;
    let began = Instant::now();
    edge.post("/drain_listeners?graceful").await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut served = 0;
    while let Ok(mut client) = H1::try_connect(inbound).await {
        // Who comes in the very moment in which accepting stops may find the door closing.
        if began.elapsed() < DRAIN_TIME {
            assert!(is_told(&mut client).await);
            served += 1;
        }
        pace.tick().await;
    }
    assert!(
        began.elapsed() >= DRAIN_TIME,
        "refused after {:?}",
        began.elapsed()
    );
    assert!(served > 0);
    until_refused(edge.address("out").await).await;
}

#[tokio::test]
async fn drain_listeners_skip_exit_accepts_and_tells_for_ever() {
    let edge = start().await;
    let inbound = edge.address("in").await;
    let began = Instant::now();
    edge.post("/drain_listeners?graceful&skip_exit").await;
    assert!(is_told(&mut H1::connect(inbound).await).await);
    outlast_the_drain_time(&edge, began).await;
    assert!(is_told(&mut H1::connect(inbound).await).await);
}

#[tokio::test]
async fn drain_listeners_inboundonly_leaves_the_other_directions_alone() {
    let edge = start().await;
    let [inbound, outbound, any] = [
        edge.address("in").await,
        edge.address("out").await,
        edge.address("any").await,
    ];
    let [mut entering, mut leaving] = [H1::connect(inbound).await, H1::connect(outbound).await];
    assert!(!is_told(&mut entering).await && !is_told(&mut leaving).await);
    edge.post("/drain_listeners?inboundonly").await;
    until_refused(inbound).await;
    assert!(is_told(&mut entering).await);
    assert!(!is_told(&mut leaving).await);
    assert!(!is_told(&mut H1::connect(outbound).await).await);
    assert!(!is_told(&mut H1::connect(any).await).await);
}

#[tokio::test]
async fn a_failed_health_check_tells_everybody_but_modify_only_listeners() {
    let listeners = [
        Http::new("http", 1).yaml(),
        Http::new("stays", 1).with("drain_type: MODIFY_ONLY").yaml(),
    ];
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    let [address, stays] = [edge.address("http").await, edge.address("stays").await];
    let [mut kept, mut staying] = [H1::connect(address).await, H1::connect(stays).await];
    assert!(!is_told(&mut kept).await && !is_told(&mut staying).await);
    let ready = edge.get("/ready").await;
    assert_eq!((ready.status, ready.text().as_str()), (200, "LIVE\n"));

    edge.post("/healthcheck/fail").await;
    let ready = edge.get("/ready").await;
    assert_eq!((ready.status, ready.text().as_str()), (503, "DRAINING\n"));
    assert!(is_told(&mut kept).await);
    assert_eq!(kept.end().await, End::Fin);
    assert!(is_told(&mut H1::connect(address).await).await);
    assert!(!is_told(&mut staying).await);

    edge.post("/healthcheck/ok").await;
    assert_eq!(edge.get("/ready").await.status, 200);
    assert!(!is_told(&mut H1::connect(address).await).await);
    assert!(!is_refused(address).await);
}

#[tokio::test]
async fn what_changes_anything_takes_a_post() {
    let mut edge = start().await;
    for path in [
        "/drain_listeners",
        "/drain_listeners?graceful",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/quitquitquit",
    ] {
        let refusal = edge.get(path).await;
        assert_eq!(
            (refusal.status, refusal.header("allow")),
            (405, Some("post")),
            "{path}"
        );
    }
    assert_eq!(edge.get("/ready").await.text(), "LIVE\n");
    assert!(!is_told(&mut H1::connect(edge.address("in").await).await).await);
    assert!(edge.is_running());
}

#[tokio::test]
async fn a_drain_and_its_connections_are_listed_while_it_lasts() {
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start("--drain-time-s 30 --drain-strategy immediate", &first).await;
    let address = edge.address("http").await;
    assert_eq!(edge.get("/listeners").await.text(), format!("http::{address}\n"));
    assert!(edge.list("/drain").await.is_empty());
    let mut client = H1::connect(address).await;
    assert!(!is_told(&mut client).await);
    let [connection] = &edge.list("/connections").await[..] else {
        panic!("one connection");
    };
    let here = client.stream.local_addr().expect("an address").to_string();
    for (field, value) in [
        ("listener", "http"),
        ("protocol", "http1"),
        ("state", "active"),
        ("kind", "idle"),
        ("peer", &here),
    ] {
        assert_eq!(connection[field], value, "{connection}");
    }
    assert_eq!(connection["version"], 1);

    edge.update("2", &[Http::new("http", 2).yaml()]).await;

    edge.until_connections(|connections| connections.iter().all(|one| one["state"] == "draining"))
        .await;
    assert!(edge.list("/connections").await[0]["deadline_in_ms"].is_u64());
    let [drain] = &edge.list("/drain").await[..] else {
        panic!("one drain");
    };
    for (field, value) in [
        ("listener", "http"),
        ("reason", "listener_modify"),
        ("strategy", "immediate"),
    ] {
        assert_eq!(drain[field], value, "{drain}");
    }
    for (field, value) in [("version", 1), ("connections", 1), ("drain_time_ms", 30_000)] {
        assert_eq!(drain[field], value, "{drain}");
    }
    assert_eq!(edge.stat("total_listeners_draining").await, 1);
    assert_eq!(edge.get("/listeners").await.text(), format!("http::{address}\n"));

    assert!(is_told(&mut client).await);
    assert_eq!(client.end().await, End::Fin);
    drop(client);
    edge.until_list("/drain", |drains| drains.is_empty()).await;
    assert!(edge.list("/connections").await.is_empty());
    assert_eq!(edge.stat("total_listeners_draining").await, 0);
}
