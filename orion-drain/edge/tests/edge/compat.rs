//! `--compat envoy-1.40`: connections are let go as Envoy does.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::h1::get;
use crate::support::h2::{Event, H2, NO_LIMIT};
use crate::support::{Edge, End, H1, Http, discovery, end_of, websocket, within};

/// The time since `start` is in this part of the drain time; a busy machine may be late, never
/// early.
fn not_before(start: Instant, seconds: u64) {
    assert!(
        start.elapsed() >= Duration::from_secs(seconds),
        "{:?}",
        start.elapsed()
    );
}

/// Slots in the last third of 12 s, up to a short `drain_timeout` before the deadline.
async fn start() -> Edge {
    let listener = Http::new("http", 1)
        .yaml()
        .replace("drain_timeout: 2s", "drain_timeout: 0.2s");
    Edge::start(
        "--compat envoy-1.40 --drain-time-s 12",
        &discovery("1", &[listener]),
    )
    .await
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_own_slots_and_nobody_before() {
    let mut edge = start().await;
    let address = edge.address("http").await;
    let mut idle = Vec::new();
    for _ in 0..12 {
        let mut client = H1::connect(address).await;
        assert_eq!(client.get("/version").await.ok(), "v1");
        idle.push(client);
    }
    let started = Instant::now();
    edge.update("2", &[Http::new("http", 2).yaml()]).await;

    let ends = idle.iter_mut().map(|client| Box::pin(client.end()));
    let (end, first, rest) = futures_util::future::select_all(ends).await;
    assert_eq!(end, End::Fin);
    not_before(started, 8);
    drop(rest);
    // The last ones' slots are seconds away: not told, they are served still.
    idle.remove(first);
    let mut served = 0;
    for client in &mut idle {
        if client.try_send(&get("/version")).await.is_ok() {
            served += usize::from(client.try_response().await.is_ok());
        }
    }
    assert!(served > 0, "all were closed at once");
}

#[tokio::test]
async fn a_busy_connection_is_cut_at_the_deadline_without_a_word() {
    let mut edge = start().await;
    let mut client = H2::connect(edge.address("http").await).await;
    client.ask(1, "/held").await;
    let held = edge.upstream.held().await;
    let started = Instant::now();
    edge.update("2", &[Http::new("http", 2).yaml()]).await;
    assert_eq!(client.next().await, Event::GoAway(NO_LIMIT));
    assert_eq!(client.next().await, Event::GoAway(1));
    // By default the stream would be reset before.
    assert_eq!(client.next().await, Event::Fin);
    not_before(started, 11);
    drop(held);
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

#[tokio::test]
async fn a_websocket_ends_at_its_slot_as_envoys_does() {
    let mut edge = start().await;
    let mut tunnel = websocket::open(edge.address("http").await).await;
    websocket::say(&mut tunnel, "hello").await.expect("an echo");
    let started = Instant::now();
    edge.update("2", &[Http::new("http", 2).yaml()]).await;
    assert_eq!(
        within("the end of the tunnel", end_of(&mut tunnel)).await,
        End::Fin
    );
    not_before(started, 8);
    // By default it would live to the deadline, after 12 s.
    assert_eq!(edge.stat("total_listeners_draining").await, 1);
}
