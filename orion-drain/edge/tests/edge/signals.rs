//! How the process ends.

use crate::support::upstream::Held;
use crate::support::{Edge, End, H1, Http, discovery, until_refused};

/// edge with a request that waits for its upstream.
async fn start(flags: &str) -> (Edge, H1, Held) {
    let mut edge = Edge::start(flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/held").await;
    let held = edge.upstream.held().await;
    (edge, client, held)
}

async fn a_signal_drains(signal: &str) {
    let (mut edge, mut client, held) = start("--drain-time-s 3").await;
    let address = edge.address("http").await;
    edge.signal(signal).await;
    edge.until("draining 1 connections").await;
    until_refused(address).await;
    assert!(edge.is_running());
    held.answer("done");
    let response = client.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("done", true)
    );
    assert_eq!(client.end().await, End::Fin);
    drop(client);
    edge.until(", 0 left").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_lets_a_request_finish_and_exits_with_success() {
    a_signal_drains("TERM").await;
}

#[tokio::test]
async fn sigint_lets_a_request_finish_and_exits_with_success() {
    a_signal_drains("INT").await;
}

/// The signals of who rotates logs, and of a terminal that is closed.
#[tokio::test]
async fn sighup_and_sigusr1_end_no_request_before_and_in_a_drain() {
    let (mut edge, mut client, held) = start("--drain-time-s 60").await;
    let address = edge.address("http").await;
    for signal in ["USR1", "HUP"] {
        edge.signal(signal).await;
        let response = H1::connect(address).await.get("/version").await;
        assert_eq!(response.ok(), "v1", "{signal}");
    }
    edge.signal("TERM").await;
    edge.until("draining 1 connections").await;
    for signal in ["USR1", "HUP"] {
        edge.signal(signal).await;
        assert_eq!(edge.get("/ready").await.status, 503, "{signal}");
    }
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn what_is_left_at_the_deadline_of_a_shutdown_does_not_keep_the_process() {
    let (mut edge, _client, _held) = start("--drain-time-s 1").await;
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_sigterm_exits_at_once() {
    let (mut edge, _client, _held) = start("--drain-time-s 600").await;
    edge.signal("TERM").await;
    edge.until("draining 1 connections").await;
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn in_the_lead_time_of_a_shutdown_it_is_not_ready_and_serves_everybody() {
    let (mut edge, _client, held) = start("--drain-time-s 3 --shutdown-lead-time-s 2").await;
    let address = edge.address("http").await;
    edge.signal("TERM").await;
    edge.until("not ready, drain in 2.0s").await;
    assert_eq!(edge.get("/ready").await.status, 503);
    let response = H1::connect(address).await.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("v1", false)
    );
    held.answer("done");
    edge.until("draining ").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_sigterm_in_the_lead_time_exits_at_once() {
    let (mut edge, _client, _held) = start("--drain-time-s 600 --shutdown-lead-time-s 600").await;
    edge.signal("TERM").await;
    edge.until("not ready").await;
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn on_sigterm_exit_does_not_drain() {
    let (mut edge, _client, _held) = start("--drain-time-s 600 --on-sigterm exit").await;
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn quitquitquit_does_not_drain() {
    let (mut edge, _client, _held) = start("--drain-time-s 600").await;
    edge.post("/quitquitquit").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn quitquitquit_exits_at_once_also_during_a_drain() {
    let (mut edge, _client, _held) = start("--drain-time-s 600").await;
    edge.signal("TERM").await;
    edge.until("draining 1 connections").await;
    edge.post("/quitquitquit").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

/// `shutdown` in `/drain`.
async fn progress(edge: &Edge) -> serde_json::Value {
    let mut shown: serde_json::Value =
        serde_json::from_str(&edge.get("/drain").await.ok()).expect("/drain is JSON");
    shown["shutdown"].take()
}

#[tokio::test]
async fn drain_shows_how_far_a_shutdown_is_and_what_comes_next() {
    let (mut edge, mut client, held) =
        start("--shutdown-deadline-s 60 --drain-strategy immediate").await;
    let serving = progress(&edge).await;
    assert_eq!(
        (&serving["state"], &serving["ready"]),
        (&"serving".into(), &true.into())
    );
    let dump: serde_json::Value =
        serde_json::from_str(&edge.get("/config_dump").await.ok()).expect("it is JSON");
    let planned = &dump["configs"]
        .as_array()
        .and_then(|configs| configs.last())
        .expect("it is last")["process"]["shutdown"];
    assert_eq!(
        (&planned["lead_time"], &planned["drain_time"]),
        (&"10s".into(), &"45s".into())
    );
    edge.signal("TERM").await;
    edge.until("not ready, drain in ").await;
    let lead = progress(&edge).await;
    assert_eq!(
        (&lead["state"], &lead["next"]),
        (&"lead_time".into(), &"drain".into())
    );
    assert!(
        lead["next_in_ms"]
            .as_u64()
            .is_some_and(|left| left <= 10_000),
        "{lead}"
    );
    assert!(
        lead["deadline_in_ms"]
            .as_u64()
            .is_some_and(|left| left <= 55_000),
        "{lead}"
    );
    edge.until("draining 1 connections").await;
    let drain = progress(&edge).await;
    assert_eq!(
        (&drain["state"], &drain["reason"]),
        (&"draining".into(), &"process_shutdown".into())
    );
    assert_eq!(
        (&drain["next"], &drain["connections"]),
        (&"stop_accepting".into(), &1.into())
    );
    assert_eq!(edge.get("/ready").await.status, 503);
    held.answer("done");
    assert!(client.response().await.says_close());
    edge.signal("TERM").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_sigterm_exits_at_once_also_when_only_the_minimum_time_is_left() {
    let mut edge = Edge::start(
        "--drain-time-s 600",
        &discovery("1", &[Http::new("http", 1).yaml()]),
    )
    .await;
    edge.signal("TERM").await;
    edge.until("draining 0 connections").await;
    assert_eq!(progress(&edge).await["state"], "minimum");
    edge.signal("TERM").await;
    edge.until("second signal").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn with_failed_health_everybody_is_told_in_the_lead_time() {
    let (mut edge, _client, _held) =
        start("--drain-time-s 3 --shutdown-lead-time-s 600 --shutdown-health failed").await;
    let mut other = H1::connect(edge.address("http").await).await;
    assert!(!other.get("/version").await.says_close());
    edge.signal("TERM").await;
    edge.until("not ready").await;
    assert!(other.get("/version").await.says_close());
    edge.post("/quitquitquit").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}
