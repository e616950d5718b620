//! No value that a user can pass panics or hangs.

use conn_tracker::{
    ConnInfo, ConnKind, ConnLabel, ConnProtocol, ConnTracker, Peer, TrackerOptions,
};
use std::time::Duration;
use tokio_test::{assert_pending, assert_ready, task::spawn};

const DURATIONS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(60),
    Duration::from_millis(u64::MAX),
    Duration::MAX,
];

#[test]
fn any_time() {
    for tick in DURATIONS {
        let tracker = ConnTracker::new();
        let early = tracker.group("ingress", 1).open(Peer::Unix);
        tracker.advance(tick);
        let late = tracker.group("ingress", 1).open(Peer::Unix);
        for guard in [&early, &late] {
            guard.touch();
            assert!(guard.last_activity() <= tick);
        }
        tracker.advance(Duration::ZERO);
        for of in DURATIONS {
            for shown in tracker.snapshot() {
                assert!(shown.age(of) <= of && shown.quiet(of) <= of);
            }
        }
    }
}

#[test]
fn any_number_of_shards_and_any_excluded_labels() {
    for shards in [0, 1, 3, 64, 65, 1 << 20, usize::MAX] {
        let options = TrackerOptions::default().with_shards(shards);
        let tracker = ConnTracker::with_options(options.with_excluded([]));
        let _guard = tracker.group("", u64::MAX).open(Peer::Unknown);
        assert_eq!((tracker.len(), tracker.awaited()), (1, 1));
        let excluded = [ConnLabel::Traffic, ConnLabel::Admin, ConnLabel::Admin];
        let options = TrackerOptions::default().with_shards(shards);
        let tracker = ConnTracker::with_options(options.with_excluded(excluded));
        let group = tracker.group("", 0);
        let admin = ConnInfo::new(Peer::Unknown).with_label(ConnLabel::Admin);
        let _guards = [group.open(Peer::Unknown), group.open(admin)];
        assert_eq!((tracker.len(), tracker.awaited()), (2, 1));
    }
}

#[test]
fn any_number_to_wait_for_or_to_list() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let _guards = [group.open(Peer::Unix), group.open(Peer::Unix)];
    let mut waits: Vec<_> = [0, 1, 2, u64::MAX - 1, u64::MAX]
        .map(|few| (few, spawn(tracker.wait_at_most(few))))
        .into();
    for (few, wait) in &mut waits {
        if *few < 2 {
            assert_pending!(wait.poll());
        } else {
            assert_ready!(wait.poll());
        }
    }
    for limit in [0, 1, usize::MAX] {
        assert!(tracker.snapshot_page(None, limit).connections.len() <= 2);
    }
}

/// Ends that were not begun, and as many requests as are begun.
#[test]
fn any_number_of_requests() {
    let guard = ConnTracker::new().group("ingress", 1).open(Peer::Unix);
    guard.request_ended();
    (0..1000).for_each(|_| guard.request_started());
    assert!(matches!(guard.kind(), ConnKind::InRequest { .. }));
    (0..2000).for_each(|_| guard.request_ended());
    assert_eq!(guard.kind(), ConnKind::Idle);
    guard.set_protocol(ConnProtocol::Unknown);
}
