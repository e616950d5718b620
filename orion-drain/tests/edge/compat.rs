//! `--compat envoy-1.40`: connections are let go as Envoy does.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Edge, End, H1, Http, discovery};

const DRAIN_TIME: Duration = Duration::from_secs(9);

/// The time since `start` is in this part of the drain time; a busy machine may be late, never early.
fn not_before(start: Instant, seconds: u64) {
    assert!(
        start.elapsed() >= Duration::from_secs(seconds),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_slot_and_a_busy_one_cut_at_the_deadline() {
    // Slots are in [2T/3, T - drain_timeout]; `drain_timeout` is 2 s, `delayed_close_timeout` 0.25 s.
    let flags = format!("--compat envoy-1.40 --drain-time-s {}", DRAIN_TIME.as_secs());
    let mut edge = Edge::start(&flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    let address = edge.address("http").await;
    let (mut idle, mut busy) = (H1::connect(address).await, H1::connect(address).await);
    assert_eq!(idle.get("/version").await.ok(), "v1");
    busy.ask("/held").await;
    let held = edge.upstream.held().await;
    let started = Instant::now();
    edge.update("2", &[Http::new("http", 2).yaml()]).await;

    // Nobody said a word to it: it was idle.
    assert_eq!(idle.end().await, End::Fin);
    not_before(started, 6);
    // Its request is open still: cut, without a response.
    busy.end().await;
    not_before(started, 8);
    drop(held);
    // Envoy's drains last their full time.
    edge.until_list("/drain", <[_]>::is_empty).await;
}

#[tokio::test]
async fn a_drain_lasts_its_full_time_though_nobody_is_there() {
    let flags = "--compat envoy-1.40 --drain-time-s 2";
    let mut edge = Edge::start(flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    let started = Instant::now();
    edge.update("2", &[Http::new("http", 2).yaml()]).await;
    edge.until_list("/drain", <[_]>::is_empty).await;
    not_before(started, 1);
}
