//! What an operator sees and can do.

use conn_tracker::{
    AttachError, CloseError, CloseReason, ConnGuard, ConnId, ConnInfo, ConnLabel, ConnProtocol,
    ConnState, ConnTracker, Peer, TrackerOptions,
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

#[test]
fn a_snapshot_shows_everything_that_was_set() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 7);
    let chain = group.chain("tls");
    let peer = Peer::Ip("192.0.2.7:40312".parse().unwrap());
    let info = ConnInfo::new(peer)
        .with_protocol(ConnProtocol::Http1)
        .with_label(ConnLabel::HealthCheck);
    let guard = group.open(info);
    guard.attach_chain(&chain).unwrap();
    guard.set_state(ConnState::Draining).unwrap();
    let seen = tracker.snapshot().pop().unwrap();
    assert_eq!(
        (seen.id, &*seen.listener, seen.version),
        (guard.id(), "ingress", 7)
    );
    assert_eq!((seen.chain.as_deref(), seen.peer), (Some("tls"), peer));
    assert_eq!(
        (seen.state, seen.protocol),
        (ConnState::Draining, ConnProtocol::Http1)
    );
    assert_eq!(seen.label, ConnLabel::HealthCheck);
    assert_eq!(tracker.find(guard.id()), Some(seen));
}

#[test]
fn a_snapshot_spans_pages_and_holes() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let mut guards: Vec<_> = (0..1000).map(|_| group.open(Peer::Unix)).collect();
    let mut index = 0;
    guards.retain(|_| {
        index += 1;
        index % 3 == 0
    });
    let seen: HashSet<_> = tracker.snapshot().into_iter().map(|conn| conn.id).collect();
    assert_eq!(seen, guards.iter().map(|guard| guard.id()).collect());
}

#[test]
fn by_state_and_by_group_pick_theirs() {
    let tracker = ConnTracker::new();
    let (old, new) = (tracker.group("ingress", 1), tracker.group("ingress", 2));
    let (a, b) = (old.open(Peer::Unix), new.open(Peer::Unix));
    a.set_state(ConnState::Closing).unwrap();
    let ids =
        |list: Vec<conn_tracker::ConnSnapshot>| list.into_iter().map(|c| c.id).collect::<Vec<_>>();
    assert_eq!(ids(tracker.by_state(ConnState::Closing)), [a.id()]);
    assert_eq!(ids(tracker.by_state(ConnState::Draining)), []);
    assert_eq!(ids(new.snapshot()), [b.id()]);
}

#[test]
fn the_id_of_a_connection_that_is_gone_finds_nothing() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let old = group
        .open(ConnInfo::new(Peer::Unix).with_closer(|| ()))
        .id();
    let _new = group.open(ConnInfo::new(Peer::Unix).with_closer(|| ())); // in the same entry
    assert_eq!(tracker.find(old), None);
    assert_eq!(tracker.close(old), Err(CloseError::NotFound { id: old }));
    for number in [0, u64::MAX, 1 << 63] {
        assert_eq!(tracker.find(ConnId::from(number)), None, "{number}");
    }
}

#[test]
fn close_calls_the_closer_and_counts_the_reason_when_the_connection_has_ended() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let calls = Arc::new(AtomicUsize::new(0));
    let guard = group.open(Peer::Unix);
    assert_eq!(
        tracker.close(guard.id()),
        Err(CloseError::NoCloser { id: guard.id() })
    );
    guard.set_closer({
        let calls = Arc::clone(&calls);
        move || {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    });
    tracker
        .close_with(guard.id(), CloseReason::SoftCap)
        .unwrap();
    tracker.close(guard.id()).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(
        tracker.snapshot()[0].close_reason,
        Some(CloseReason::SoftCap)
    );
    assert_eq!(
        (tracker.len(), tracker.closed(CloseReason::SoftCap)),
        (1, 0),
        "asked, not gone"
    );
    drop(guard);
    assert_eq!(
        (
            tracker.closed(CloseReason::SoftCap),
            tracker.closed(CloseReason::Admin)
        ),
        (1, 0)
    );
    assert_eq!(
        Arc::strong_count(&calls),
        1,
        "the closer went with the connection"
    );
}

#[test]
fn a_closer_may_use_the_tracker_and_drop_the_guard() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let id = guard.id();
    let held = std::sync::Mutex::new(Some(guard.clone()));
    guard.set_closer({
        let tracker = tracker.clone();
        move || {
            assert_eq!(tracker.snapshot().len(), 1);
            drop(held.lock().unwrap().take());
        }
    });
    drop(guard);
    tracker.close(id).unwrap();
    assert!(tracker.is_empty());
}

#[test]
fn a_group_is_removed_after_its_last_handle_and_its_last_connection() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let chain = group.chain("tls");
    let guard = group.open(ConnInfo::new(Peer::Unix).with_label(ConnLabel::Metrics));
    guard.attach_chain(&chain).unwrap();
    drop((group, chain));
    assert_eq!(tracker.groups().len(), 2);
    assert_eq!(tracker.snapshot()[0].version, 1);
    drop(guard);
    assert!(tracker.groups().is_empty());

    let group = tracker.group("ingress", 2);
    drop(group.open(Peer::Unix));
    assert_eq!(tracker.groups().len(), 1);
    drop(group);
    assert!(tracker.groups().is_empty());
}

#[test]
fn asking_again_for_a_group_finds_the_same_one() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    assert_eq!(tracker.group("ingress", 1).len(), 1);
    drop(group); // retired, but its connection is still open
    let again = tracker.group("ingress", 1);
    drop(guard);
    assert_eq!(again.counts().transitions(ConnState::Active), 1);
    assert_eq!(tracker.groups().len(), 1);
    assert!(tracker.group("ingress", 2).is_empty());
}

#[test]
fn ten_thousand_versions_leave_nothing_behind() {
    let tracker = ConnTracker::new();
    let mut last = None;
    for version in 0..10_000 {
        let group = tracker.group("ingress", version);
        last = Some((group.open(Peer::Unix), group)); // the one before is gone now
        assert_eq!(tracker.groups().len(), 1);
    }
    drop(last);
    assert!(tracker.groups().is_empty());
}

#[test]
fn a_closer_that_closes_its_own_connection_is_not_called_again_meanwhile() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let id = guard.id();
    let calls = Arc::new(AtomicUsize::new(0));
    guard.set_closer({
        let (tracker, calls) = (tracker.clone(), Arc::clone(&calls));
        move || {
            calls.fetch_add(1, Ordering::Relaxed);
            tracker.close(id).unwrap();
        }
    });
    tracker.close(id).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    tracker.close(id).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    drop(guard);
}

#[test]
fn a_closer_given_while_the_old_one_is_called_is_called_too_and_stays() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let calls = Arc::new(AtomicUsize::new(0));
    guard.set_closer({
        let (guard, calls) = (
            std::sync::Mutex::new(Some(guard.clone())),
            Arc::clone(&calls),
        );
        move || {
            let calls = Arc::clone(&calls);
            if let Some(guard) = guard.lock().unwrap().take() {
                guard.set_closer(move || {
                    calls.fetch_add(1, Ordering::Relaxed);
                });
            }
        }
    });
    for times in 1..3 {
        tracker.close(guard.id()).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), times);
    }
    drop(guard);
    assert_eq!(Arc::strong_count(&calls), 1);
}

#[test]
fn a_closer_that_panicked_can_be_called_again() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let calls = Arc::new(AtomicUsize::new(0));
    guard.set_closer({
        let calls = Arc::clone(&calls);
        move || {
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                std::panic::resume_unwind(Box::new(())); // a panic without a message on stderr
            }
        }
    });
    let id = guard.id();
    let closing = tracker.clone();
    std::thread::spawn(move || closing.close(id))
        .join()
        .unwrap_err();
    tracker.close(id).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    drop(guard);
}

#[test]
fn pages_list_each_connection_once_while_others_open_and_end() {
    let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(1));
    let group = tracker.group("ingress", 1);
    let mut guards: Vec<_> = (0..500).map(|_| group.open(Peer::Unix)).collect();
    let stay: HashSet<_> = guards.iter().step_by(2).map(|guard| guard.id()).collect();
    let mut seen: Vec<ConnId> = vec![];
    let mut after = None;
    loop {
        let page = tracker.snapshot_page(after, 37);
        assert!(page.connections.len() <= 37);
        seen.extend(page.connections.iter().map(|conn| conn.id));
        // The connection that the next page begins behind may be gone by then.
        guards.retain(|guard| stay.contains(&guard.id()) || Some(guard.id()) != page.next);
        guards.push(group.open(Peer::Unix));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let once: HashSet<_> = seen.iter().copied().collect();
    assert_eq!(once.len(), seen.len(), "none twice");
    assert!(stay.is_subset(&once));
}

#[test]
fn a_page_takes_any_cursor_and_any_limit() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guards: Vec<_> = (0..3).map(|_| group.open(Peer::Unix)).collect();
    for number in [
        0,
        1,
        u64::MAX,
        1 << 63,
        u64::from(guards[0].id()) | 0xffff_ffff,
    ] {
        for limit in [0, 1, usize::MAX] {
            let page = tracker.snapshot_page(Some(ConnId::from(number)), limit);
            assert!(page.connections.len() <= 3);
        }
    }
    let page = tracker.snapshot_page(None, 0);
    assert_eq!(page.connections.len(), 1);
    assert_eq!(page.next, Some(page.connections[0].id));
    let rest = tracker.snapshot_page(page.next, usize::MAX);
    assert_eq!(rest.next, None);
    // Their order is that of the entries, which other tests may have recycled.
    let all = page.connections.iter().chain(&rest.connections);
    let seen: HashSet<_> = all.map(|conn| conn.id).collect();
    assert_eq!(seen, guards.iter().map(|guard| guard.id()).collect());
    drop(guards);
    assert_eq!(tracker.snapshot_page(None, 5).next, None);
}

#[test]
fn a_peer_that_is_known_later_replaces_the_first() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unknown);
    for peer in ["192.0.2.7:40312", "[2001:db8::1]:9"] {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        guard.set_peer(peer);
        assert_eq!(tracker.find(guard.id()).unwrap().peer, Peer::Ip(peer));
    }
    guard.set_peer(Peer::Unix);
    assert_eq!(tracker.snapshot()[0].peer, Peer::Unix);
}

#[test]
fn a_chain_of_another_version_or_tracker_is_refused_and_changes_nothing() {
    let (tracker, other) = (ConnTracker::new(), ConnTracker::new());
    let group = tracker.group("ingress", 1);
    let (own, next) = (group.chain("tls"), tracker.group("ingress", 2).chain("tls"));
    let (renamed, foreign) = (
        tracker.group("egress", 1).chain("tls"),
        other.group("ingress", 1).chain("tls"),
    );
    let guard = group.open(Peer::Unix);
    guard.attach_chain(&own).unwrap();
    let error = guard.attach_chain(&next).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a connection of listener \"ingress\" version 1 cannot enter a filter chain of listener \"ingress\" version 2"
    );
    let error = guard.attach_chain(&renamed).unwrap_err();
    assert!(matches!(error, AttachError::OtherVersion { .. }), "{error}");
    let error = guard.attach_chain(&foreign).unwrap_err();
    assert_eq!(
        error.to_string(),
        "filter chain \"tls\" of listener \"ingress\" belongs to another tracker"
    );
    assert_eq!(
        [&own, &next, &renamed, &foreign].map(|chain| chain.len()),
        [1, 0, 0, 0]
    );
    let unattached = group.open(Peer::Unix);
    unattached.attach_chain(&next).unwrap_err();
    assert_eq!(tracker.find(unattached.id()).unwrap().chain, None);
    drop(group);
    // Another handle on the same version is as good.
    unattached
        .attach_chain(&tracker.group("ingress", 1).chain("tls"))
        .unwrap();
    assert_eq!(own.len(), 2);
}

/// Counts the group's connections whenever something is written to it.
struct Counts(conn_tracker::ConnGroup, usize);

impl std::fmt::Write for Counts {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        assert_eq!(self.0.len(), 1);
        self.1 += text.len();
        Ok(())
    }
}

#[test]
fn a_debug_text_is_written_with_nothing_locked() {
    use std::fmt::Write;
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    let (chain, wait) = (group.chain("tls"), group.wait_empty());
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut counts = Counts(group.clone(), 0);
        write!(counts, "{tracker:?} {group:?} {chain:?} {wait:?} {guard:?}").unwrap();
        done.send(counts.1).unwrap();
    });
    let length = is_done.recv_timeout(std::time::Duration::from_secs(60));
    assert!(length.expect("it hangs under a lock") < 1000);
}

/// Sets a new closer whenever it is called.
fn set_again(guard: &Arc<ConnGuard>, calls: &Arc<AtomicUsize>) {
    let (again, counted) = (Arc::downgrade(guard), Arc::clone(calls));
    guard.set_closer(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        if let Some(guard) = again.upgrade() {
            set_again(&guard, &counted);
        }
    });
}

#[test]
fn a_closer_that_always_sets_another_comes_to_an_end() {
    let tracker = ConnTracker::new();
    let guard = Arc::new(tracker.group("ingress", 1).open(Peer::Unix));
    let calls = Arc::new(AtomicUsize::new(0));
    set_again(&guard, &calls);
    for nth in 1..=3 {
        tracker.close(guard.id()).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 16 * nth);
    }
}
