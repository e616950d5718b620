//! What a guard says is what the tracker shows.

use conn_tracker::{
    CloseReason, ConnKind, ConnLabel, ConnProtocol, ConnState, ConnTracker, InvalidTransition, Peer,
};
use std::time::Duration;

fn kinds(tracker: &ConnTracker) -> Vec<ConnKind> {
    tracker
        .snapshot()
        .into_iter()
        .map(|conn| conn.kind)
        .collect()
}

#[test]
fn a_clone_keeps_the_entry_under_its_id_when_the_first_guard_is_gone() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    let id = guard.id();
    let tunnel = guard.clone();
    drop(guard);
    assert_eq!(tunnel.id(), id);
    assert_eq!((tracker.len(), group.len()), (1, 1));
    drop(tunnel);
    assert_eq!((tracker.len(), group.len()), (0, 0));
}

#[test]
fn a_guard_dropped_on_another_thread_leaves_the_right_shard() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guards: Vec<_> = (0..300).map(|_| group.open(Peer::Unix)).collect();
    std::thread::spawn(move || drop(guards)).join().unwrap();
    assert_eq!(tracker.counts().total, 0);
    assert_eq!(tracker.transitions(ConnState::Closed), 300);
    assert!(tracker.snapshot().is_empty());
}

#[test]
fn an_illegal_move_changes_nothing() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    guard.set_state(ConnState::Closing).unwrap();
    let before = tracker.counts();
    let error = guard.set_state(ConnState::Active).unwrap_err();
    assert!(matches!(
        error,
        InvalidTransition {
            from: ConnState::Closing,
            to: ConnState::Active,
            ..
        }
    ));
    assert_eq!(guard.state(), ConnState::Closing);
    assert_eq!(tracker.counts(), before);
}

#[test]
fn a_state_that_is_set_twice_counts_once() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    guard.set_state(ConnState::Draining).unwrap();
    guard.set_state(ConnState::Draining).unwrap();
    assert_eq!(tracker.transitions(ConnState::Draining), 1);
    assert_eq!(tracker.counts().state(ConnState::Draining), 1);
}

#[test]
fn each_state_entered_is_counted_per_version_and_in_all() {
    let tracker = ConnTracker::new();
    let (old, new) = (tracker.group("ingress", 1), tracker.group("ingress", 2));
    let (a, b) = (old.open(Peer::Unix), new.open(Peer::Unix));
    a.set_state(ConnState::Draining).unwrap();
    a.set_state(ConnState::Closed).unwrap();
    drop((a, b));
    let entered =
        |counts: conn_tracker::ConnCounts| ConnState::ALL.map(|state| counts.transitions(state));
    assert_eq!(entered(old.counts()), [1, 1, 0, 1]);
    assert_eq!(entered(new.counts()), [1, 0, 0, 1]);
    assert_eq!(entered(tracker.counts()), [2, 1, 0, 2]);
}

#[test]
fn protocol_and_label_move_the_counts() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    assert_eq!(group.counts().protocol(ConnProtocol::Unknown), 1);
    guard.set_protocol(ConnProtocol::Http2);
    assert_eq!(group.counts().protocol(ConnProtocol::Unknown), 0);
    assert_eq!(group.counts().protocol(ConnProtocol::Http2), 1);
    guard.set_label(ConnLabel::Metrics);
    assert_eq!((group.awaited(), group.len()), (0, 1));
    guard.set_label(ConnLabel::Traffic);
    assert_eq!((group.awaited(), group.len()), (1, 1));
    drop(guard);
    assert_eq!(
        (group.awaited(), tracker.awaited(), tracker.len()),
        (0, 0, 0)
    );
}

#[test]
fn requests_are_counted_and_end_in_idle() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    assert_eq!(kinds(&tracker), [ConnKind::Handshaking]);
    guard.request_started();
    guard.clone().request_started();
    assert_eq!(kinds(&tracker), [ConnKind::InRequest { streams: 2 }]);
    guard.request_ended();
    guard.request_ended();
    assert_eq!(kinds(&tracker), [ConnKind::Idle]);
}

#[test]
fn a_reused_slot_remembers_nothing() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let first = group.open("[2001:db8::1]:9".parse::<std::net::SocketAddr>().unwrap());
    let id = first.id();
    first.set_state(ConnState::Draining).unwrap();
    first.set_protocol(ConnProtocol::Tcp);
    first.set_kind(ConnKind::Tunnel);
    first.set_close_reason(CloseReason::Error);
    first.attach_chain(&group.chain("tls")).unwrap();
    first.set_closer(|| ());
    drop(first);
    let second = group.open(Peer::Unknown);
    assert_ne!(second.id(), id);
    let seen = tracker.find(second.id()).unwrap();
    assert_eq!((seen.state, seen.protocol, seen.kind), Default::default());
    assert_eq!(
        (seen.chain, seen.close_reason, seen.peer),
        (None, None, Peer::Unknown)
    );
    assert!(tracker.close(second.id()).is_err(), "no closer");
}

#[test]
fn stamps_follow_the_ticks_and_never_go_back() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    tracker.advance(Duration::from_secs(10));
    let guard = group.open(Peer::Unix);
    tracker.advance(Duration::from_secs(12));
    guard.touch();
    tracker.advance(Duration::from_secs(11));
    assert_eq!(tracker.now(), Duration::from_secs(12));
    tracker.advance(Duration::from_secs(15));
    let seen = tracker.find(guard.id()).unwrap();
    assert_eq!(seen.age(tracker.now()), Duration::from_secs(5));
    assert_eq!(seen.quiet(tracker.now()), Duration::from_secs(3));
}

#[test]
fn a_chain_counts_the_connections_that_were_attached_to_it() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let (plain, tls) = (group.chain("plain"), group.chain("tls"));
    let guard = group.open(Peer::Unix);
    guard.set_state(ConnState::Draining).unwrap();
    guard.attach_chain(&plain).unwrap();
    guard.attach_chain(&plain).unwrap();
    assert_eq!(
        (plain.len(), plain.counts().state(ConnState::Draining)),
        (1, 1)
    );
    guard.attach_chain(&tls).unwrap();
    assert_eq!((plain.len(), tls.len(), group.len()), (0, 1, 1));
    guard.set_state(ConnState::Closing).unwrap();
    assert_eq!(tls.counts().state(ConnState::Closing), 1);
    assert_eq!(tls.snapshot()[0].chain.as_deref(), Some("tls"));
    drop(guard);
    assert!(tls.is_empty());
    assert_eq!(plain.counts().transitions(ConnState::Closed), 0);
    assert_eq!(tls.counts().transitions(ConnState::Closed), 1);
}

#[test]
fn an_end_without_a_reason_is_counted_with_what_was_seen() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    drop(group.open(Peer::Unix));
    let draining = group.open(Peer::Unix);
    draining.set_state(ConnState::Draining).unwrap();
    drop(draining);
    let late = group.open(Peer::Unix);
    late.set_close_reason(CloseReason::Deadline);
    late.set_close_reason(CloseReason::Error);
    drop(late);
    let guard = group.open(Peer::Unix);
    std::thread::spawn(move || {
        let _guard = guard;
        std::panic::resume_unwind(Box::new(())); // a panic without a message on stderr
    })
    .join()
    .unwrap_err();
    let ends: Vec<_> = CloseReason::ALL
        .iter()
        .map(|reason| (*reason, tracker.closed(*reason)))
        .collect();
    let ends: Vec<_> = ends.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        ends,
        [
            (CloseReason::Finished, 1),
            (CloseReason::Drained, 1),
            (CloseReason::Deadline, 1),
            (CloseReason::Panicked, 1)
        ]
    );
}

#[test]
fn a_guard_outlives_the_last_handle() {
    let guard = {
        let tracker = ConnTracker::new();
        tracker.group("ingress", 1).open(Peer::Unix)
    };
    guard.request_started();
    guard.set_state(ConnState::Draining).unwrap();
    assert_eq!(guard.state(), ConnState::Draining);
    drop(guard.clone());
    drop(guard);
}
