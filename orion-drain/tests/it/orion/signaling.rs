//! The signalling manager: a listener's drain from start to stop, on pipes under paused time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use orion_drain::conn_tracker::{ConnTracker, Peer};
use orion_drain::drain_signal::Phase;
use orion_drain::drain_tree::{
    ChildOptions, DrainEnding, DrainManager, DrainReason, DrainSettings, DrainStart,
};
use orion_drain::orion::{
    DrainScenario, DrainSignalingManager, DrainStrategy, DrainType, ListenerDrainContext,
    ListenerDrainState, ListenerDrainStrategy,
};
use orion_drain::serve::{CodecType, HttpServer, HttpTimeouts, ReceivedBody, serve_http};
use orion_drain::stats::Stats;
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

use super::support::{closes, echo, ends, get, http, immediate, listener};

const T: Duration = Duration::from_secs(60);

pub(crate) fn signaling() -> DrainSignalingManager {
    let root = DrainManager::root(DrainSettings::default());
    DrainSignalingManager::with_timeouts(root, ConnTracker::new(), T, Duration::from_secs(5))
}

pub(crate) fn context(manager: &DrainSignalingManager) -> Arc<ListenerDrainContext> {
    manager.create_drain_context("in", ListenerDrainStrategy::Tcp { global_timeout: T })
}

/// A client of a listener.
pub(crate) fn client(context: &ListenerDrainContext) -> DuplexStream {
    let (client, accepted) = duplex(64 * 1024);
    let server = HttpServer::new(
        CodecType::Auto,
        &HttpTimeouts::default(),
        Stats::new().http("in"),
    );
    let connection = context
        .connection(Peer::Unknown)
        .expect("it is not drained");
    let answer = service_fn(|_: Request<ReceivedBody>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"word"))))
    });
    tokio::spawn(async move { serve_http(accepted, answer, connection, &server).await });
    client
}

pub(crate) fn update() -> ListenerDrainState {
    ListenerDrainState::new(DrainScenario::ListenerUpdate).with_strategy(DrainStrategy::Immediate)
}

#[tokio::test(start_paused = true)]
async fn a_started_drain_tells_connections_and_its_counts_are_live() {
    let manager = signaling();
    let context = context(&manager);
    let (mut a, mut b) = (client(&context), client(&context));
    assert!(!closes(&get(&mut a).await) && !closes(&get(&mut b).await));
    assert!(!manager.is_listener_draining() && context.drain_start().is_none());

    let sequence = manager
        .start_listener_draining(update())
        .expect("it is paced");
    let drain = tokio::spawn(sequence);
    assert!(manager.is_listener_draining() && context.drain_start().is_some());
    assert_eq!(
        (context.initial_connections(), context.active_connections()),
        (2, 2)
    );
    assert!(closes(&get(&mut a).await));
    ends(&mut a).await;
    drop(a);
    // The close is staged: the server waits for the client's end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (context.initial_connections(), context.active_connections()),
        (2, 1)
    );
    assert!(!context.completed());
    assert!(closes(&get(&mut b).await));
    drop(b);
    assert_eq!(drain.await.expect("it runs").ending, DrainEnding::Empty);
    assert!(context.completed());
    assert!(
        context.connection(Peer::Unknown).is_err(),
        "it takes no more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stopped_drain_is_over_now_and_the_listener_is_not_revived() {
    let manager = signaling();
    let context = context(&manager);
    let mut idle = client(&context);
    get(&mut idle).await;
    let drain = tokio::spawn(
        manager
            .start_listener_draining(update())
            .expect("it is paced"),
    );
    let start = Instant::now();
    let outcome = manager.stop_listener_draining().await.expect("it drained");
    assert_eq!(outcome.ending, DrainEnding::Deadline);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(context.active_connections(), 0);
    ends(&mut idle).await;
    drain.await.expect("it runs");
    assert!(manager.is_listener_draining() && context.completed());
}

/// An operator's drain from above has no deadline. Stopped, it has one, also when its time is over.
#[tokio::test(start_paused = true)]
async fn a_stopped_drain_of_an_operator_is_over_now_too() {
    for drained in [Duration::ZERO, 2 * T] {
        let root = DrainManager::root(DrainSettings::default().with_drain_time(T));
        let node = root.child(ChildOptions::default());
        let manager = DrainSignalingManager::new(node, ConnTracker::new());
        let connection = context(&manager).drain().watch().expect("nothing drains");
        let start = DrainStart::new(DrainReason::Admin);
        let drain = tokio::spawn(root.start_drain_sequence(start));
        tokio::time::sleep(drained).await;
        let start = Instant::now();
        let outcome = manager.stop_listener_draining().await.expect("it drained");
        assert_eq!((outcome.ending, outcome.left), (DrainEnding::Deadline, 1));
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(connection.phase(), Phase::Overdue);
        drain.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn failed_health_is_a_level_that_stopping_restores() {
    let manager = signaling();
    let context = context(&manager);
    let (mut told, mut spared) = (client(&context), client(&context));
    let failed = ListenerDrainState::new(DrainScenario::HealthCheckFail);
    assert!(manager.start_listener_draining(failed.clone()).is_none());
    assert!(manager.is_listener_draining());
    assert!(closes(&get(&mut told).await));
    assert!(manager.stop_listener_draining().await.is_none());
    assert!(!manager.is_listener_draining());
    assert!(!closes(&get(&mut spared).await));

    let modify_only = failed.with_drain_type(DrainType::ModifyOnly);
    assert!(manager.start_listener_draining(modify_only).is_none());
    assert!(!closes(&get(&mut spared).await), "MODIFY_ONLY ignores it");
}

#[test]
fn the_filter_chains_say_what_a_listener_serves() {
    let gradual = Default::default();
    let of = |chains: &[_]| ListenerDrainStrategy::of(&listener("in", 0, 1, chains), &gradual);
    let five = Duration::from_secs(5);
    assert_eq!(of(&[http("a")]).as_str(), "http");
    assert_eq!(of(&[http("a")]).http_drain_timeout(), Some(five));
    assert_eq!(of(&[echo()]).as_str(), "tcp");
    assert_eq!(of(&[http("a"), echo()]).as_str(), "mixed");
    assert_eq!(of(&[http("a"), echo()]).http_drain_timeout(), Some(five));
    let at_once = immediate().drain_config;
    let listener = listener("in", 0, 1, &[echo()]);
    assert_eq!(
        ListenerDrainStrategy::of(&listener, &at_once).as_str(),
        "immediate"
    );
}
