//! How a connection finds its version, and how long a closed address keeps it.

use std::time::Duration;

use drain_tree::drain_signal::Phase;
use drain_tree::{
    ChildOptions, DrainManager, DrainReason, DrainSchedule, DrainSettings, DrainStart, DrainState,
};

use super::*;
use crate::{Update, VersionSet};

struct Config(ListenAddress, u32);

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        "a"
    }

    fn address(&self) -> &ListenAddress {
        &self.0
    }

    fn same_content(&self, other: &Self) -> bool {
        self.1 == other.1
    }

    fn drain_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// A listening and two versions that are active one after the other.
fn listening() -> (Arc<Listening<Config>>, [Arc<ListenerVersion<Config>>; 2]) {
    slot_with(DrainSettings::default())
}

fn slot_with(
    settings: DrainSettings,
) -> (Arc<Listening<Config>>, [Arc<ListenerVersion<Config>>; 2]) {
    let address: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let root = DrainManager::root(settings);
    let tracker = conn_tracker::ConnTracker::new();
    let mut set = VersionSet::new();
    let versions = [1, 2].map(|number| {
        drop(set.apply(
            Update::lds("v", [Config(address.clone(), number)]),
            |_, _, _| Ok(()),
        ));
        let record = set.active("a").unwrap();
        let drain = root.child(ChildOptions::default());
        let version = ListenerVersion::new(
            record,
            drain,
            tracker.group("a", record.number),
            Arc::default(),
        );
        version.set_state(VersionState::Active);
        Arc::new(version)
    });
    let mut inherited = Inherited::new();
    let listening = Listening::open(
        &SocketKey::of(&"a".into(), [versions[0].configured()])[0],
        &SocketOptions::default(),
        &**versions[0].config(),
        &mut inherited,
    )
    .unwrap();
    listening.listen().unwrap();
    (Arc::new(listening), versions)
}

#[test]
fn a_connection_that_finds_its_version_replaced_moves_on_to_the_newer_one() {
    let (listening, [old, new]) = listening();
    listening.serve(Arc::clone(&old));
    // The accept has loaded `old`, and everything else of the update comes before it registers.
    let loaded = listening.current().unwrap();
    listening.serve(Arc::clone(&new));
    old.set_state(VersionState::Draining);
    let admitted = listening
        .admit_to(loaded)
        .map(|(version, _)| version.number());
    assert_eq!(admitted.ok(), Some(new.number()));
    assert_eq!(
        old.drain().open_watches(),
        0,
        "nothing of it is left at the old one"
    );
}

#[tokio::test(start_paused = true)]
async fn envoys_window_leaves_the_listeners_drain_timeout_free() {
    let twelve = DrainSettings::default().with_drain_time(Duration::from_secs(12));
    let (listening, [version, _]) = slot_with(twelve.with_schedule(DrainSchedule::Envoy140));
    listening.serve(Arc::clone(&version));
    // 5 s of 12 s leave nothing of the window that begins at 8 s: idle connections are never
    // notified by themselves.
    let (_, watch) = listening.admit().unwrap();
    let drain = version
        .drain()
        .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    let drain = tokio::spawn(drain);
    tokio::time::sleep(Duration::from_millis(10_900)).await;
    assert_eq!(watch.phase(), Phase::Open);
    watch.expired().await;
    drop(watch);
    drain.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_drained_passes_the_connection_on_or_says_so() {
    let (listening, [old, new]) = listening();
    listening.serve(Arc::clone(&old));
    old.drain()
        .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify))
        .await;
    assert_eq!(old.drain().state(), DrainState::Completed);
    assert_eq!(
        listening
            .admit()
            .map(drop)
            .unwrap_err()
            .map(|version| version.number()),
        Some(old.number())
    );
    listening.serve(Arc::clone(&new));
    assert_eq!(
        listening.admit().map(|(version, _)| version.number()).ok(),
        Some(new.number())
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_version_of_a_closed_socket_is_not_drained_before_its_last_acceptor_is_gone() {
    let (listening, [version, _]) = listening();
    listening.serve(Arc::clone(&version));
    let acceptors = [listening.acceptor().unwrap(), listening.acceptor().unwrap()];
    assert!(
        listening
            .close(&mut version.drain().watch().ok())
            .is_empty()
    );
    assert!(
        listening.acceptor().is_none(),
        "no further worker accepts here"
    );
    version.set_state(VersionState::Draining);
    let sequence = version
        .drain()
        .start_drain_sequence(DrainStart::new(DrainReason::ListenerRemove));
    let mut sequence = tokio_test::task::spawn(sequence);
    let [first, second] = acceptors;
    drop(first);
    assert!(sequence.poll().is_pending());
    assert_eq!(
        listening.admit().map(|(version, _)| version.number()).ok(),
        Some(version.number())
    );
    drop(second);
    assert!(sequence.is_woken());
    assert!(sequence.poll().is_ready());
}
