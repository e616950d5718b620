//! What the registry takes, counted by the allocator.
#![cfg(not(loom))]

use allocation_counter::measure;
use conn_tracker::{
    ConnChain, ConnGroup, ConnGuard, ConnInfo, ConnProtocol, ConnTracker, Peer, TrackerOptions,
};
use std::{net::SocketAddr, sync::Arc};

#[test]
fn a_connection_with_everything_set_takes_at_most_160_bytes() {
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
            guard.attach_chain(&chain).unwrap();
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
fn trackers_one_after_the_other_use_the_same_registry() {
    let one = || {
        let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(4));
        let group = tracker.group("ingress", 1);
        let guards: Vec<_> = (0..300).map(|_| group.open(Peer::Unix)).collect();
        drop((tracker, group)); // the guards are the last to refer to the registry
        drop(guards);
    };
    one();
    let heap = measure(|| (0..1000).for_each(|_| one()));
    assert!(
        heap.bytes_current < 4096,
        "{} bytes are left",
        heap.bytes_current
    );
}

fn of_64_shards() -> ConnTracker {
    ConnTracker::with_options(TrackerOptions::default().with_shards(64))
}

const GROUPS: u64 = 1000;

/// `groups` with a connection each, and `chains` of them with one too; heap per group or chain,
/// without the connections' own.
fn bytes_per_group(tracker: &ConnTracker, threads: usize, has_chains: bool) -> f64 {
    let mut kept = vec![];
    // The entries of the connections, and what the test itself keeps, exist before.
    let warm = tracker.group("warm", 0);
    let run = |version: u64, kept: &mut Vec<(ConnGroup, Option<ConnChain>, ConnGuard)>| {
        let group = tracker.group("ingress", version);
        let chain = has_chains.then(|| group.chain("a filter chain"));
        let guard = group.open(Peer::Unix);
        if let Some(chain) = &chain {
            guard.attach_chain(chain).expect("a chain of its own group");
        }
        kept.push((group, chain, guard));
    };
    let per_thread = GROUPS / threads as u64;
    let measured: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads as u64)
            .map(|thread| {
                let (warm, run) = (&warm, &run);
                scope.spawn(move || {
                    drop(
                        (0..per_thread)
                            .map(|_| warm.open(Peer::Unix))
                            .collect::<Vec<_>>(),
                    );
                    let mut kept = Vec::with_capacity(per_thread as usize);
                    let heap = measure(|| {
                        // In an order in which each shard gets groups from all over the table.
                        for nth in 0..per_thread {
                            run(nth * threads as u64 + thread, &mut kept);
                        }
                    });
                    (heap.bytes_current as u64, kept)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                let (bytes, of_worker) = worker.join().expect("it ran");
                kept.push(of_worker);
                bytes
            })
            .sum()
    });
    assert_eq!(tracker.len() as u64, per_thread * threads as u64);
    let made = if has_chains { 2 } else { 1 };
    measured as f64 / (per_thread * threads as u64 * made) as f64
}

#[test]
fn a_group_or_chain_with_a_connection_takes_less_than_a_kilobyte_with_64_shards() {
    for has_chains in [false, true] {
        let bytes = bytes_per_group(&of_64_shards(), 1, has_chains);
        assert!(bytes < 1024.0, "{bytes} bytes, chains: {has_chains}");
    }
}

#[test]
fn so_it_does_when_the_connections_are_spread_over_all_shards() {
    let tracker = of_64_shards();
    let bytes = bytes_per_group(&tracker, 64, true);
    assert!(bytes < 1024.0, "{bytes} bytes");
}

#[test]
fn a_tracker_without_connections_takes_little_however_many_shards_it_may_have() {
    let mut trackers = Vec::with_capacity(10);
    let heap = measure(|| trackers.extend((0..10).map(|_| of_64_shards())));
    assert!(
        heap.bytes_current < 10 * 2048,
        "{} bytes for 10",
        heap.bytes_current
    );
}

#[test]
fn groups_that_come_and_go_leave_nothing_behind() {
    let tracker = of_64_shards();
    let kept = tracker.group("ingress", 0);
    let version = |version| {
        let group = tracker.group("ingress", version);
        let chain = group.chain("tls");
        let guard = group.open(Peer::Unix);
        guard
            .attach_chain(&chain)
            .expect("a chain of its own group");
    };
    version(1);
    let heap = measure(|| (2..10_000).for_each(version));
    assert!(
        heap.bytes_current <= 0,
        "{} bytes are left",
        heap.bytes_current
    );
    drop(kept);
}
