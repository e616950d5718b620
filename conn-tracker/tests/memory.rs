//! What the books take, counted by the allocator.
#![cfg(not(loom))]

use allocation_counter::measure;
use conn_tracker::{ConnGuard, ConnInfo, ConnProtocol, ConnTracker, Peer, TrackerOptions};
use std::{net::SocketAddr, sync::Arc};

#[test]
fn a_connection_with_everything_told_takes_at_most_160_bytes() {
    const MANY: usize = 100_000;
    let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(1));
    let group = tracker.group("ingress", 1);
    let chain = group.chain("tls");
    let mut guards = Vec::with_capacity(MANY);
    let (place, numbers) = (Arc::new(()), [7_u64; 3]); // as much as a handle on a drain
    let heap = measure(|| {
        for _ in 0..MANY {
            let place = Arc::clone(&place);
            let peer = Peer::Ip(SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 443)));
            let closer = move || assert_eq!((Arc::strong_count(&place), numbers), (0, [0; 3]));
            let info = ConnInfo::new(peer).with_closer(closer);
            let guard = group.open(info);
            guard.set_protocol(ConnProtocol::Http2);
            guard.attach_chain(&chain);
            guards.push(guard);
        }
    });
    let bytes = heap.bytes_current as f64 / MANY as f64 + size_of::<ConnGuard>() as f64;
    assert!(bytes <= 160.0, "{bytes} bytes");
}

#[test]
fn a_connection_that_opens_in_the_place_of_another_allocates_nothing() {
    let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(2));
    let group = tracker.group("ingress", 1);
    drop(group.open(Peer::Unix));
    let heap = measure(|| {
        let guard = group.open(Peer::Unix);
        guard.set_protocol(ConnProtocol::Tcp);
        guard.request_started();
        drop(guard.clone());
    });
    assert_eq!(heap.count_total, 0);
}

#[test]
fn trackers_one_after_the_other_use_the_same_books() {
    let one = || {
        let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(4));
        let group = tracker.group("ingress", 1);
        let guards: Vec<_> = (0..300).map(|_| group.open(Peer::Unix)).collect();
        drop((tracker, group)); // the guards give the books back
        drop(guards);
    };
    one();
    let heap = measure(|| (0..1000).for_each(|_| one()));
    assert!(heap.bytes_current < 4096, "{} bytes are left", heap.bytes_current);
}
