//! The managers know each other, on sockets: counts, behavior and times of a listener manager's
//! connections.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use orion_drain::conn_tracker::ConnTracker;
use orion_drain::drain_tree::{DrainManager, DrainSettings, DrainStrategy};
use orion_drain::listener_versions::{Listeners, ListenersOptions, Update};
use orion_drain::orion::{
    ConnectionManager, ListenerDrainStrategy, ListenerManagerConfig, ManagerParts,
    ProtocolDrainBehavior,
};
use orion_drain::serve::{Http, ListenOn, ReceivedBody, serve};
use orion_drain::stats::Stats;
use serde_json::json;
use tokio::time::Instant;

use super::signaling::update;
use super::support::{
    Managed, closes, connect, echo, ends, get, http, immediate, listener, within,
};

const TCP: ListenerDrainStrategy = ListenerDrainStrategy::Tcp {
    global_timeout: Duration::from_secs(600),
};

#[tokio::test]
async fn a_context_counts_the_connections_of_the_active_version_and_sees_its_drain() {
    let managed = Managed::new(immediate());
    let to = managed.start(listener("in", 0, 1, &[http("one")])).await;
    let mut client = connect(to).await;
    get(&mut client).await;
    let signaling = managed.manager.signaling();
    let context = signaling.create_drain_context("in", TCP);
    assert_eq!(context.active_connections(), 1);
    assert_eq!(context.drain_start(), None);

    managed.start(listener("in", 0, 2, &[http("two")])).await;
    assert!(context.drain_start().is_some(), "its version was replaced");
    assert_eq!(context.initial_connections(), 1);
    let newest = signaling.create_drain_context("in", TCP);
    assert_eq!(newest.active_connections(), 0);
    assert_eq!(newest.drain_start(), None);
    assert!(closes(&get(&mut client).await));
    ends(&mut client).await;
    drop(client);
    within("its end", async {
        while !context.completed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        (context.initial_connections(), context.active_connections()),
        (1, 0)
    );
}

#[tokio::test]
async fn the_behavior_of_a_drain_reaches_the_connections_of_the_listener_manager() {
    let managed = Managed::new(immediate());
    let to = managed.start(listener("in", 0, 1, &[http("one")])).await;
    let (mut silent, mut other) = (connect(to).await, connect(to).await);
    get(&mut silent).await;
    get(&mut other).await;
    let quiet = ProtocolDrainBehavior::Http1 {
        connection_close: false,
    };
    let signaling = managed.manager.signaling();
    let drain = signaling.start_listener_draining(update().with_protocol_behavior(quiet));
    let drain = tokio::spawn(drain.expect("it is paced"));
    for _ in 0..3 {
        assert!(!closes(&get(&mut silent).await) && !closes(&get(&mut other).await));
    }
    assert!(signaling.is_listener_draining());
    within("the end", signaling.stop_listener_draining()).await;
    ends(&mut silent).await;
    ends(&mut other).await;
    within("the drain", drain).await.expect("it runs");
}

#[tokio::test]
async fn http_managers_are_known_also_after_an_update_in_place() {
    let managed = Managed::new(immediate());
    let to = managed.start(listener("in", 0, 1, &[http("one")])).await;
    managed
        .start(listener("in", 0, 1, &[http("two"), echo()]))
        .await;
    let mut client = connect(to).await;
    assert_eq!(get(&mut client).await.1, "two");
    let connections = managed.manager.connections();
    let drained = tokio::spawn(connections.start_draining_http_managers("in"));
    assert!(closes(&get(&mut client).await));
    ends(&mut client).await;
    assert_eq!(
        within("the drain", drained).await.expect("it runs").len(),
        1
    );
}

#[tokio::test]
async fn a_registry_and_statistics_of_the_hosts_own_are_those_of_its_listeners() {
    let (tracker, stats) = (ConnTracker::new(), Stats::new());
    let parts = ManagerParts::new(&immediate())
        .with_tracker(tracker.clone())
        .with_stats(stats.clone());
    let managed = Managed::with_parts(immediate(), parts);
    let to = managed.start(listener("in", 0, 1, &[http("one")])).await;
    let mut client = connect(to).await;
    get(&mut client).await;
    assert_eq!(tracker.len(), 1);
    assert_eq!(stats.listener_manager().listener_added.value(), 1);
}

#[tokio::test]
async fn a_root_of_the_hosts_own_leaves_the_drain_config_in_force() {
    let config: ListenerManagerConfig = serde_json::from_value(json!({
        "drain_config": { "drain_time": "7s", "drain_strategy": "immediate" },
    }))
    .expect("it is valid");
    let root = DrainManager::root(DrainSettings::default());
    let parts = ManagerParts::new(&config).with_root(root.clone());
    let managed = Managed::with_parts(config, parts);
    let to = managed.start(listener("in", 0, 1, &[http("one")])).await;
    let mut old: Vec<_> = Vec::new();
    for _ in 0..4 {
        let mut client = connect(to).await;
        get(&mut client).await;
        old.push(client);
    }
    let replaced = managed
        .manager
        .listeners()
        .active("in")
        .expect("it is active");
    managed.start(listener("in", 0, 2, &[http("two")])).await;
    let event = replaced.drain().event().expect("it drains");
    assert_eq!(event.drain_time, Duration::from_secs(7));
    assert_eq!(event.strategy, DrainStrategy::Immediate);
    for client in &mut old {
        assert!(closes(&get(client).await), "all are asked at once");
    }
    assert!(!root.is_draining());
}

#[tokio::test(start_paused = true)]
async fn established_at_is_when_a_connection_came_to_a_second() {
    let managed = Managed::new(immediate());
    let mut client = connect(managed.start(listener("in", 0, 1, &[http("one")])).await).await;
    get(&mut client).await;
    let came = Instant::now();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let seen = managed.manager.connections().get_active_connections("in");
    // The clock ticks once a second, and the stamp was taken before the response.
    assert!(
        seen[0].established_at <= came + Duration::from_secs(1),
        "{seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn serve_needs_no_tick_for_ages() {
    let root = DrainManager::root(DrainSettings::default());
    let tracker = ConnTracker::new();
    let options = ListenersOptions::default();
    let (listeners, driver) = Listeners::new(root, tracker.clone(), options, ());
    tokio::spawn(driver);
    let word = service_fn(|_: Request<ReceivedBody>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"word"))))
    });
    tokio::spawn(serve(&listeners, Http::new(word)));
    let on = ListenOn::new("in", "127.0.0.1:0".parse().expect("an address"));
    assert!(listeners.apply(Update::put(on)).await.is_success());
    let to = listeners
        .local_address("in")
        .and_then(|local| local.as_socket());
    let mut client = connect(to.expect("it listens")).await;
    get(&mut client).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let age = tracker.snapshot()[0].age(tracker.now());
    assert!(age >= Duration::from_secs(4), "{age:?}");
}
