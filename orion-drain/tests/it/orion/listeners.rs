//! The listener manager, on sockets.

use std::sync::Arc;

use orion_drain::drain_tree::DrainEnding;
use orion_drain::listener_versions::Change;
use orion_drain::orion::{
    CleanupPolicy, ListenerConfigurationChange, ListenerManagerConfig, RouteConfigurationChange,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{
    Managed, closes, connect, echo, ends, get, http, immediate, listener, routes, within,
};

#[tokio::test]
async fn a_changed_listener_takes_new_connections_and_the_old_ones_are_told_and_gone() {
    let managed = Managed::new(immediate());
    let to = managed.start(listener("in", 0, 1, &[http("one")])).await;
    let mut old = connect(to).await;
    let answer = get(&mut old).await;
    assert!(!closes(&answer) && answer.1 == "one");

    let changed = managed.made(listener("in", 0, 2, &[http("two")]));
    let change = managed.manager.start_listener(changed).await;
    let Ok(Change::Modified { version, replaced }) = change else {
        panic!("{change:?}");
    };
    let monitor = managed.manager.start_drain_monitor("in", replaced);
    let monitor = monitor.expect("it drains");
    assert!(managed.manager.start_drain_monitor("in", version).is_none());

    assert_eq!(
        get(&mut connect(managed.address("in")).await).await.1,
        "two"
    );
    let answer = get(&mut old).await;
    assert!(
        closes(&answer) && answer.1 == "one",
        "its version goes with it for life"
    );
    ends(&mut old).await;
    drop(old);
    assert_eq!(
        within("the end of the drain", monitor).await.ending,
        DrainEnding::Empty
    );
}

#[tokio::test]
async fn changes_come_over_the_channels_and_a_removed_listener_drains() {
    let managed = Managed::new(immediate());
    let added = ListenerConfigurationChange::Added(Box::new(managed.made(listener(
        "in",
        0,
        1,
        &[http("one")],
    ))));
    managed.listeners.send(added).await.expect("it is taken");
    let to = within("the listener", async {
        loop {
            if managed.manager.listeners().active("in").is_some() {
                break managed.address("in");
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut client = connect(to).await;
    assert_eq!(get(&mut client).await.1, "one");

    let named = serde_json::from_value(routes("other")).expect("routes");
    let change = RouteConfigurationChange::Added("words".into(), Arc::new(named));
    managed.routes.send(change).await.expect("it is taken");
    within("the route change", async {
        loop {
            let answer = get(&mut client).await;
            assert!(!closes(&answer), "a route change drains nothing");
            if answer.1 == "other" {
                break;
            }
        }
    })
    .await;

    let removed = ListenerConfigurationChange::Removed("in".into());
    managed.listeners.send(removed).await.expect("it is taken");
    within("the drain", async {
        while !closes(&get(&mut client).await) {}
    })
    .await;
    ends(&mut client).await;
    assert!(TcpStream::connect(to).await.is_err(), "it accepts no more");
}

#[tokio::test]
async fn routes_that_are_withdrawn_leave_those_of_the_listener() {
    let managed = Managed::new(immediate());
    let mut client = connect(managed.start(listener("in", 0, 1, &[http("inline")])).await).await;
    let named = serde_json::from_value(routes("found")).expect("routes");
    managed
        .manager
        .change_routes(RouteConfigurationChange::Added(
            "words".into(),
            Arc::new(named),
        ));
    assert_eq!(get(&mut client).await.1, "found");
    managed
        .manager
        .change_routes(RouteConfigurationChange::Removed("words".into()));
    assert_eq!(get(&mut client).await.1, "inline");
}

#[tokio::test]
async fn an_address_passes_to_another_listener_and_nobody_is_refused() {
    let managed = Managed::new(immediate());
    // A port of its own, so that both can name it.
    let port = managed
        .start(listener("probe", 0, 1, &[http("probe")]))
        .await
        .port();
    drop(managed.manager.start_draining("probe").await);
    let to = managed
        .start(listener("first", port, 1, &[http("first")]))
        .await;
    let mut old = connect(to).await;
    assert_eq!(get(&mut old).await.1, "first");

    let second = listener("second", port, 1, &[http("second")]);
    assert!(
        managed
            .manager
            .start_listener(managed.made(second.clone()))
            .await
            .is_err(),
        "it is taken"
    );
    assert!(
        !closes(&get(&mut old).await),
        "a refused update changes nothing"
    );
    let resolved = managed
        .manager
        .resolve_address_conflicts(managed.made(second))
        .await;
    let (change, gave_way) = resolved.expect("it is resolved");
    assert!(matches!(change, Change::Added { .. }));
    assert_eq!(gave_way, ["first"]);
    assert_eq!(get(&mut connect(to).await).await.1, "second");
    assert!(closes(&get(&mut old).await));
}

#[tokio::test]
async fn versions_beyond_the_policy_are_hurried_oldest_first() {
    let config: ListenerManagerConfig = serde_json::from_value(serde_json::json!({
        "max_versions_per_listener": 9, "cleanup_policy": { "count_based_only": 9 },
    }))
    .expect("it is valid");
    let managed = Managed::new(config);
    let mut held = Vec::new();
    for buffer in 1..=3 {
        let to = managed
            .start(listener("in", 0, buffer, &[http("word")]))
            .await;
        let mut client = connect(to).await;
        get(&mut client).await;
        held.push(client);
    }
    let versions: Vec<_> = managed.manager.listeners().snapshot();
    let before: Vec<_> = versions.iter().map(|version| version.deadline).collect();
    let policy = CleanupPolicy::CountBasedOnly(2);
    assert_eq!(
        managed.manager.drain_old_listeners("in", policy),
        [versions[0].number]
    );
    let after: Vec<_> = managed.manager.listeners().snapshot();
    assert!(after[0].deadline < before[0]);
    assert_eq!(after[1].deadline, before[1]);
    assert_eq!(after[2].deadline, None);
}

#[tokio::test]
async fn http_drains_by_itself_and_tcp_stays() {
    let managed = Managed::new(immediate());
    let to = managed
        .start(listener("in", 0, 1, &[http("word"), echo()]))
        .await;
    let mut web = connect(to).await;
    get(&mut web).await;
    let tcp = TcpSocket::new_v4().expect("a socket");
    tcp.bind("127.0.0.2:0".parse().expect("an address"))
        .expect("it is loopback");
    let mut tcp = within("a connection", tcp.connect(to))
        .await
        .expect("it listens");

    let drained = managed
        .manager
        .connections()
        .start_draining_http_managers("in");
    let drained = tokio::spawn(drained);
    assert!(closes(&get(&mut web).await));
    ends(&mut web).await;
    let outcomes = within("the drain", drained).await.expect("it runs");
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].ending, DrainEnding::Empty);
    let mut echoed = [0; 4];
    tcp.write_all(b"ping").await.expect("it is open");
    within("the echo", tcp.read_exact(&mut echoed))
        .await
        .expect("it is open");
    assert_eq!(&echoed, b"ping");
}

#[tokio::test]
async fn an_audit_finds_nothing_and_says_so() {
    let managed = Managed::new(immediate());
    let mut client = connect(managed.start(listener("in", 0, 1, &[http("one")])).await).await;
    get(&mut client).await;
    managed.start(listener("in", 0, 2, &[http("two")])).await;
    assert_eq!(managed.manager.audit().overdue, 0);
    assert!(closes(&get(&mut client).await));
}
