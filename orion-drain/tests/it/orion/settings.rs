//! Each setting of the signaling manager has an effect, on pipes under paused time.

use std::sync::Arc;
use std::time::Duration;

use orion_drain::conn_tracker::{ConnTracker, Peer};
use orion_drain::drain_tree::{DrainManager, DrainReason, DrainSettings, DrainStart};
use orion_drain::orion::{
    ConnectionInfo, ConnectionManager, DefaultConnectionManager, DrainScenario,
    DrainSignalingManager, DrainStrategy, ListenerDrainContext, ListenerDrainState,
    ListenerDrainStrategy, ProtocolDrainBehavior,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::signaling::{client, context, signaling, update};
use super::support::{closes, ends, get};

const SILENT: ProtocolDrainBehavior = ProtocolDrainBehavior::Http1 {
    connection_close: false,
};

fn under(root: &DrainManager) -> DrainSignalingManager {
    DrainSignalingManager::new(root.clone(), ConnTracker::new())
}

#[tokio::test(start_paused = true)]
async fn initial_connections_are_those_at_the_start_of_a_drain_from_above() {
    let settings = DrainSettings::default().with_strategy(DrainStrategy::Immediate);
    let root = DrainManager::root(settings);
    let manager = under(&root);
    let context = context(&manager);
    let (mut a, mut b) = (client(&context), client(&context));
    get(&mut a).await;
    get(&mut b).await;
    tokio::spawn(root.start_drain_sequence(DrainStart::new(DrainReason::HotRestart)));
    assert!(closes(&get(&mut a).await));
    drop(a);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (context.initial_connections(), context.active_connections()),
        (2, 1)
    );
    let state = manager.listener_drain_state().expect("it drains");
    assert_eq!(state.drain_scenario, DrainScenario::HotRestart);
    assert_eq!(state.strategy, DrainStrategy::Immediate);
}

#[tokio::test(start_paused = true)]
async fn failed_health_before_a_drain_does_not_fix_its_initial_connections() {
    let manager = signaling();
    let context = context(&manager);
    let failed = ListenerDrainState::new(DrainScenario::HealthCheckFail);
    assert!(manager.start_listener_draining(failed).is_none());
    let _open = context.connection(Peer::Unknown).expect("it is open");
    let drain = manager.start_listener_draining(update());
    assert_eq!(context.initial_connections(), 1);
    drop(drain);
}

#[tokio::test(start_paused = true)]
async fn stopping_leaves_health_as_it_was_before_this_manager_failed_it() {
    for failed_before in [false, true] {
        let root = DrainManager::root(DrainSettings::default());
        if failed_before {
            root.fail_health();
        }
        let manager = under(&root);
        let context = context(&manager);
        let mut idle = client(&context);
        let failed = ListenerDrainState::new(DrainScenario::HealthCheckFail);
        assert!(manager.start_listener_draining(failed).is_none());
        assert!(root.health_failed());
        let drain = manager.start_listener_draining(update().with_protocol_behavior(SILENT));
        let drain = tokio::spawn(drain.expect("it is paced"));
        assert!(!closes(&get(&mut idle).await));
        manager.stop_listener_draining().await.expect("it drained");
        ends(&mut idle).await;
        drain.await.expect("it runs");
        assert_eq!(root.health_failed(), failed_before);
        let other = under(&root).create_drain_context("other", ListenerDrainStrategy::Immediate);
        assert!(
            other.connection(Peer::Unknown).is_err(),
            "a drained node is not revived"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_joined_drain_keeps_its_state_and_its_behavior() {
    let manager = signaling();
    let context = context(&manager);
    let mut told = client(&context);
    get(&mut told).await;
    let first = manager.start_listener_draining(update());
    let first = tokio::spawn(first.expect("it is paced"));
    let second = ListenerDrainState::new(DrainScenario::HotRestart).with_protocol_behavior(SILENT);
    let second = manager.start_listener_draining(second);
    let state = manager.listener_drain_state().expect("it drains");
    assert_eq!(state.drain_scenario, DrainScenario::ListenerUpdate);
    assert_eq!(state.strategy, DrainStrategy::Immediate);
    assert_eq!(state.protocol_behavior, ProtocolDrainBehavior::Auto);
    assert!(
        closes(&get(&mut told).await),
        "the first start asks it to close"
    );
    drop((told, second));
    first.await.expect("it runs");
}

/// Requests every 700 ms to the end of the connection, and when that is.
async fn lasts(mut client: DuplexStream) -> Duration {
    let start = Instant::now();
    loop {
        let request = client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut some = [0; 4096];
        match request {
            Ok(()) => match client.read(&mut some).await {
                Ok(0) | Err(_) => return start.elapsed(),
                Ok(_) => tokio::time::sleep(Duration::from_millis(700)).await,
            },
            Err(_) => return start.elapsed(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_drains_for_the_time_of_its_strategy_and_no_longer_than_all() {
    let manager = signaling();
    let of = |id: &str, seconds| {
        let global_timeout = Duration::from_secs(seconds);
        manager.create_drain_context(id, ListenerDrainStrategy::Tcp { global_timeout })
    };
    let (short, long) = (client(&of("short", 5)), client(&of("long", 300)));
    let drain = manager.start_listener_draining(update().with_protocol_behavior(SILENT));
    let drain = tokio::spawn(drain.expect("it is paced"));
    let (short, long) = tokio::join!(lasts(short), lasts(long));
    assert_eq!((short.as_secs(), long.as_secs()), (5, 60));
    drain.await.expect("it runs");
}

#[tokio::test(start_paused = true)]
async fn an_immediate_listener_asks_all_its_connections_at_once() {
    let manager = signaling();
    let at_once = manager.create_drain_context("once", ListenerDrainStrategy::Immediate);
    let gradual = context(&manager);
    let mut of_once: Vec<_> = (0..8).map(|_| client(&at_once)).collect();
    let mut of_gradual: Vec<_> = (0..8).map(|_| client(&gradual)).collect();
    for client in of_once.iter_mut().chain(&mut of_gradual) {
        get(client).await;
    }
    let state = ListenerDrainState::new(DrainScenario::ListenerUpdate);
    tokio::spawn(manager.start_listener_draining(state).expect("it is paced"));
    for client in &mut of_once {
        assert!(closes(&get(client).await));
    }
    let mut asked = 0;
    for client in &mut of_gradual {
        asked += usize::from(closes(&get(client).await));
    }
    assert!(asked < 8, "the others follow one after the other");
}

/// The times of the GOAWAYs that a new HTTP/2 client of the listener gets.
async fn goaways(context: &ListenerDrainContext, drain: impl FnOnce()) -> Vec<Duration> {
    let mut client = client(context);
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    client.write_all(&hello).await.expect("it is open");
    // The server's SETTINGS say that it speaks HTTP/2.
    let mut head = [0; 9];
    client.read_exact(&mut head).await.expect("a frame comes");
    let mut start = None;
    let (mut times, mut drain) = (Vec::new(), Some(drain));
    let mut length = usize::from(head[1]) << 8 | usize::from(head[2]);
    loop {
        let mut payload = vec![0; length];
        client.read_exact(&mut payload).await.expect("its payload");
        if head[3] == 7 {
            times.push(start.map_or(Duration::ZERO, |start: Instant| start.elapsed()));
        }
        if let Some(drain) = drain.take() {
            start = Some(Instant::now());
            drain();
        }
        if client.read_exact(&mut head).await.is_err() {
            return times;
        }
        length = usize::from(head[1]) << 8 | usize::from(head[2]);
    }
}

#[tokio::test(start_paused = true)]
async fn http2_waits_for_the_listeners_drain_timeout_between_its_goaways() {
    let seconds = Duration::from_secs;
    let http = ListenerDrainStrategy::Http {
        global_timeout: seconds(60),
        drain_timeout: seconds(2),
    };
    let tcp = ListenerDrainStrategy::Tcp {
        global_timeout: seconds(60),
    };
    for (strategy, gap) in [(http, 2), (tcp, 9)] {
        let root = DrainManager::root(DrainSettings::default());
        let tracker = ConnTracker::new();
        let manager = DrainSignalingManager::with_timeouts(root, tracker, seconds(60), seconds(9));
        let context = manager.create_drain_context("in", strategy);
        assert_eq!(manager.http2_drain_timeout("in"), seconds(gap));
        let start = || {
            tokio::spawn(
                manager
                    .start_listener_draining(update())
                    .expect("it is paced"),
            );
        };
        let times = goaways(&context, start).await;
        let times: Vec<_> = times.iter().map(Duration::as_secs).collect();
        assert_eq!(times, [0, gap], "{strategy:?}");
    }
}

/// A host that relays by itself, does not look at the deadline, and can be closed by id only.
fn careless(
    context: &ListenerDrainContext,
    connections: &DefaultConnectionManager,
) -> DuplexStream {
    let (client, accepted) = duplex(1024);
    let connection = context.connection(Peer::Unknown).expect("it is open");
    connections.on_connection_established("in", ConnectionInfo::of(&connection));
    let guard = connection.guard().clone();
    let task = tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(accepted);
        let copied = tokio::io::copy(&mut read, &mut write).await;
        drop(connection);
        copied
    });
    guard.set_closer(move || task.abort());
    client
}

#[tokio::test(start_paused = true)]
async fn an_audit_closes_a_connection_whose_host_ignores_its_deadline() {
    let connections = DefaultConnectionManager::default();
    let root = DrainManager::root(DrainSettings::default());
    let tracker = connections.tracker().clone();
    let time = Duration::from_secs(60);
    let manager = DrainSignalingManager::with_timeouts(root, tracker, time, time);
    let context: Arc<_> = context(&manager);
    let mut client = careless(&context, &connections);
    tokio::spawn(
        manager
            .start_listener_draining(update())
            .expect("it is paced"),
    );
    for (after, overdue) in [(59, 0), (30, 1)] {
        tokio::time::sleep(Duration::from_secs(after)).await;
        client.write_all(b"ping").await.expect("it is open");
        client.read_exact(&mut [0; 4]).await.expect("it is relayed");
        assert_eq!(connections.close_overdue(), overdue);
    }
    ends(&mut client).await;
    assert_eq!(connections.registered(), 0);
}
