//! The connection manager, on sockets.

use std::time::Duration;

use orion_drain::orion::{
    ConnectionInfo, ConnectionManager, ConnectionProtocol, ConnectionState,
    DefaultConnectionManager, ProtocolDrainBehavior,
};

use super::support::{Managed, closes, connect, ends, get, http, immediate, listener, within};

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    within(what, async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn only(connections: &DefaultConnectionManager) -> ConnectionInfo {
    let mut all = connections.get_active_connections("in");
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[tokio::test]
async fn connections_are_listed_while_they_are_there_with_what_they_speak() {
    let managed = Managed::new(immediate());
    let connections = managed.manager.connections();
    let mut client = connect(managed.start(listener("in", 0, 1, &[http("word")])).await).await;
    get(&mut client).await;
    let seen = only(connections);
    assert_eq!(seen.protocol, ConnectionProtocol::Http1);
    assert_eq!(seen.state, ConnectionState::Active);
    assert!(connections.get_active_connections("out").is_empty());
    assert_eq!(connections.registered(), 1);
    drop(client);
    until("its end", || connections.registered() == 0).await;
    assert!(connections.get_active_connections("in").is_empty());
}

#[tokio::test]
async fn one_connection_is_told_and_the_others_are_not() {
    let managed = Managed::new(immediate());
    let connections = managed.manager.connections();
    let to = managed.start(listener("in", 0, 1, &[http("word")])).await;
    let mut told = connect(to).await;
    get(&mut told).await;
    let id = only(connections).id;
    let mut spared = connect(to).await;
    get(&mut spared).await;
    connections.start_connection_draining("out", &id, &ProtocolDrainBehavior::Auto);
    assert!(!closes(&get(&mut told).await), "it is another listener's");
    connections.start_connection_draining("in", &id, &ProtocolDrainBehavior::Auto);
    until("the goodbye", || {
        connections
            .get_connections_by_state("in", ConnectionState::Draining)
            .len()
            == 1
    })
    .await;
    assert!(closes(&get(&mut told).await));
    ends(&mut told).await;
    assert!(!closes(&get(&mut spared).await));
}

#[tokio::test]
async fn forcing_a_connection_closes_its_socket() {
    let managed = Managed::new(immediate());
    let connections = managed.manager.connections();
    let mut client = connect(managed.start(listener("in", 0, 1, &[http("word")])).await).await;
    get(&mut client).await;
    let id = only(connections).id;
    connections.force_close_connection("out", &id);
    assert!(!closes(&get(&mut client).await));
    connections.force_close_connection("in", &id);
    ends(&mut client).await;
    until("its end", || connections.registered() == 0).await;
}

#[tokio::test]
async fn a_connection_that_was_told_and_stays_is_cleaned_up_and_no_other() {
    let managed = Managed::new(immediate());
    let connections = managed.manager.connections();
    let to = managed.start(listener("in", 0, 1, &[http("word")])).await;
    let mut told = connect(to).await;
    get(&mut told).await;
    let id = only(connections).id;
    let mut spared = connect(to).await;
    get(&mut spared).await;
    assert_eq!(
        connections.cleanup_stale_draining_connections(Duration::ZERO),
        0
    );
    connections.start_connection_draining("in", &id, &ProtocolDrainBehavior::Auto);
    until("the goodbye", || {
        connections
            .get_connections_by_state("in", ConnectionState::Draining)
            .len()
            == 1
    })
    .await;
    assert_eq!(
        connections.cleanup_stale_draining_connections(Duration::from_secs(3600)),
        0
    );
    until("the clean-up", || {
        connections.cleanup_stale_draining_connections(Duration::ZERO) == 1
    })
    .await;
    ends(&mut told).await;
    assert!(!closes(&get(&mut spared).await));
}

#[tokio::test]
async fn a_connection_that_is_said_to_be_closed_is_forgotten() {
    let managed = Managed::new(immediate());
    let connections = managed.manager.connections();
    let mut client = connect(managed.start(listener("in", 0, 1, &[http("word")])).await).await;
    get(&mut client).await;
    let seen = only(connections);
    connections.on_connection_closed("in", &seen.id);
    assert_eq!(connections.registered(), 0);
    let connection = seen.connection().expect("it is open");
    connections.on_connection_established("in", ConnectionInfo::of(&connection));
    assert_eq!(connections.registered(), 1);
}
