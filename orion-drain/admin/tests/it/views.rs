//! What the admin interface shows of a listener that was replaced while a client is connected.

use std::time::Duration;

use conn_tracker::{CloseReason, ConnKind, ConnState, ConnTracker};
use drain_tree::{DrainDirection, DrainManager, DrainSettings};
use listener_versions::{
    AcceptPolicy, Accepted, ListenAddress, ListenerConfig, Listeners, ListenersOptions, Update,
};
use orion_drain_admin::{ConnectionView, DrainView, ListenerView, NextStep};
use tokio::{net::TcpStream, sync::mpsc};

#[derive(PartialEq)]
struct Config(ListenAddress, u32);

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        "in"
    }

    fn address(&self) -> &ListenAddress {
        &self.0
    }

    fn same_content(&self, other: &Self) -> bool {
        self == other
    }
}

#[tokio::test]
async fn a_version_that_drains_is_no_listener_but_a_drain_with_its_connection_and_deadline() {
    let tracker = ConnTracker::new();
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, tracker.clone(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    let (to_test, mut accepted) = mpsc::unbounded_channel();
    tokio::spawn(
        listeners
            .worker()
            .run(move |connection: Accepted<Config>| to_test.send(connection).unwrap_or(())),
    );

    let address: ListenAddress = "127.0.0.1:0".parse().expect("an address");
    assert!(
        listeners
            .apply(Update::lds("a", [Config(address.clone(), 1)]))
            .await
            .is_success()
    );
    let local = listeners.local_address("in").expect("it listens");
    let _client = TcpStream::connect(local.as_socket().expect("a port"))
        .await
        .expect("a connection");
    let connection = accepted.recv().await.expect("it is accepted");
    connection.conn.set_kind(ConnKind::InRequest { streams: 2 });
    assert!(
        listeners
            .apply(Update::lds("b", [Config(address, 2)]))
            .await
            .is_success()
    );

    let versions = listeners.snapshot();
    assert_eq!(
        ListenerView::active(&versions),
        [ListenerView::new("in", &local)]
    );

    let old = connection.version.number();
    let now = versions
        .iter()
        .find_map(|version| Some(version.drain.as_ref()?.start))
        .expect("a drain");
    let now = now + Duration::from_secs(60);
    let drains = DrainView::draining(&versions, now);
    assert_eq!(drains.len(), 1);
    assert_eq!(
        (drains[0].version, drains[0].reason.as_str()),
        (Some(old), "listener_modify")
    );
    assert_eq!(
        (drains[0].elapsed, drains[0].drain_time),
        (Duration::from_secs(60), Duration::from_secs(600))
    );
    assert_eq!(
        (drains[0].deadline_in, drains[0].connections),
        (Some(Duration::from_secs(540)), 1)
    );

    let open = ConnectionView::open(&tracker.snapshot(), tracker.now(), &versions, &[], now);
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].listener.as_str(), open[0].version), ("in", old));
    assert_eq!((open[0].kind.as_str(), open[0].streams), ("in_request", 2));
    assert_eq!(open[0].deadline_in, Some(Duration::from_secs(540)));
    assert_eq!(open[0].why, "2 requests are not finished");
    assert_eq!(open[0].drain_id.as_deref(), Some(drains[0].id.as_str()));
    assert_eq!(open[0].close_reason, None);
    // Asked to leave in the first quarter, then in the close steps.
    let seconds = Duration::from_secs;
    let at = |state, elapsed| {
        if connection.conn.state() < state {
            connection.conn.set_state(state).expect("a step forward");
        }
        let now = now - seconds(60) + elapsed;
        let seen = ConnectionView::open(&tracker.snapshot(), tracker.now(), &versions, &[], now);
        (seen[0].next, seen[0].next_in)
    };
    for (state, elapsed, next, next_in) in [
        (ConnState::Active, seconds(60), NextStep::Start, seconds(90)),
        (ConnState::Active, seconds(160), NextStep::Start, seconds(0)),
        (
            ConnState::Draining,
            seconds(160),
            NextStep::Finish,
            seconds(439),
        ),
        (
            ConnState::Draining,
            Duration::from_millis(599_500),
            NextStep::Abort,
            Duration::from_millis(500),
        ),
        (
            ConnState::Closing,
            seconds(600),
            NextStep::Drop,
            Duration::from_millis(250),
        ),
    ] {
        assert_eq!(
            at(state, elapsed),
            (Some(next), Some(next_in)),
            "{state} after {elapsed:?}"
        );
    }
    connection.conn.set_close_reason(CloseReason::Aged);
    let aged = ConnectionView::open(&tracker.snapshot(), tracker.now(), &versions, &[], now);
    assert_eq!(aged[0].close_reason.as_deref(), Some("aged"));
    assert!(
        open[0]
            .peer
            .as_ref()
            .is_some_and(|peer| peer.starts_with("127.0.0.1:"))
    );

    listeners.drain(DrainDirection::All, AcceptPolicy::StopNow);
    let listed = ListenerView::active(&listeners.snapshot());
    assert_eq!(
        listed.len(),
        1,
        "a listener that an operator stopped is still listed"
    );
}

/// Listens at two addresses.
struct Two([ListenAddress; 2]);

impl ListenerConfig for Two {
    type Chain = ();

    fn name(&self) -> &str {
        "two"
    }

    fn address(&self) -> &ListenAddress {
        &self.0[0]
    }

    fn additional_addresses(&self) -> &[ListenAddress] {
        &self.0[1..]
    }

    fn same_content(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[tokio::test]
async fn a_listener_with_two_addresses_is_listed_with_both() {
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    let any = || "127.0.0.1:0".parse().expect("an address");
    let update = Update::lds("a", [Two([any(), any()])]);
    assert!(listeners.apply(update).await.is_success());
    let local = listeners.local_addresses("two");
    assert_eq!(local.len(), 2);

    let listed = ListenerView::active(&listeners.snapshot());
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].local_address, local[0].to_string());
    assert_eq!(listed[0].additional_local_addresses, [local[1].to_string()]);
    listeners.stop_listeners(DrainDirection::All);
    assert_eq!(ListenerView::active(&listeners.snapshot()), listed);
}

#[tokio::test]
async fn a_listener_without_a_socket_is_listed_with_envoys_internal_address() {
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    let update = Update::lds("a", [Config(ListenAddress::Internal, 1)]);
    assert!(listeners.apply(update).await.is_success());
    assert_eq!(
        ListenerView::active(&listeners.snapshot()),
        [ListenerView::new("in", "envoy://in/")]
    );
}
