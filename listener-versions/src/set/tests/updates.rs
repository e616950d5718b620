//! What an update makes of the versions: one rule a test, as the effects that the outside is
//! given.

use super::bench::{Bench, change, error, lines_of, warm};
use super::config::{Config, listener};
use drain_tree::{DrainDirection, TrafficDirection};
use listener_versions::{Change, FieldError, Update, UpdateError, VersionState};

#[test]
fn an_update_with_the_same_content_changes_nothing() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let (report, log) = bench.lds([listener("a", 80, 1)]);
    assert_eq!(
        (change(&report, "a"), log.as_str()),
        (Change::Unchanged, "")
    );
}

#[test]
fn the_new_version_accepts_on_the_same_socket_before_the_old_one_drains() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let (report, log) = bench.lds([listener("a", 80, 2)]);
    assert_eq!(
        change(&report, "a"),
        Change::Modified {
            version: 2,
            replaced: 1
        }
    );
    assert_eq!(
        log,
        "create 2\nactivate 2 on 127.0.0.1:80\ndrain 1 ListenerModify\n"
    );
}

#[test]
fn going_back_to_an_older_content_is_a_new_version() {
    let mut bench = Bench::default();
    for content in [1, 2, 1] {
        bench.lds([listener("a", 80, content)]);
    }
    use VersionState::{Active, Draining};
    assert_eq!(bench.states(), [(1, Draining), (2, Draining), (3, Active)]);
}

#[test]
fn a_removed_listener_closes_its_socket_and_drains() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1), listener("b", 81, 1)]);
    let (report, log) = bench.lds([listener("b", 81, 1)]);
    assert_eq!(change(&report, "a"), Change::Removed { version: Some(1) });
    assert_eq!(
        log,
        "close 127.0.0.1:80 after Some(1)\ndrain 1 ListenerRemove\n"
    );
}

#[test]
fn a_listener_that_comes_back_is_a_new_version_and_its_old_one_goes_on_draining() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    bench.lds([]);
    let (report, log) = bench.lds([listener("a", 80, 1)]);
    assert_eq!(change(&report, "a"), Change::Added { version: 2 });
    assert_eq!(
        log,
        "bind 127.0.0.1:80\ncreate 2\nactivate 2 on 127.0.0.1:80\n"
    );
    assert_eq!(
        bench.states(),
        [(1, VersionState::Draining), (2, VersionState::Active)]
    );
}

#[test]
fn a_new_address_is_bound_before_the_old_one_closes() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let (_, log) = bench.lds([listener("a", 81, 1)]);
    assert_eq!(
        log,
        "bind 127.0.0.1:81\ncreate 2\nactivate 2 on 127.0.0.1:81\nclose 127.0.0.1:80 after Some(1)\ndrain 1 ListenerModify\n"
    );
}

#[test]
fn an_address_that_cannot_be_bound_is_refused_by_its_field_and_the_others_apply() {
    let mut bench = Bench::with_taken(81);
    bench.lds([listener("a", 80, 1)]);
    let (report, log) = bench.lds([listener("a", 81, 2), listener("b", 82, 1)]);
    let error = error(&report, "a");
    assert_eq!(
        (error.field(), change(&report, "b")),
        ("address", Change::Added { version: 2 })
    );
    assert!(
        error
            .to_string()
            .starts_with(r#"listener "a": address: cannot listen on 127.0.0.1:81: "#),
        "{error}"
    );
    assert_eq!(
        log,
        "bind 127.0.0.1:82\ncreate 2\nactivate 2 on 127.0.0.1:82\n"
    );
    assert_eq!(
        bench.set.active("a").map(|version| version.config.content),
        Some(1)
    );
}

#[test]
fn a_wrong_field_is_refused_by_its_name_and_the_old_version_goes_on() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let (report, log) = bench.lds([listener("a", 80, 2).bad("filter_chains[0]")]);
    assert_eq!(
        error(&report, "a").to_string(),
        r#"listener "a": filter_chains[0]: is wrong"#
    );
    assert_eq!(log, "");
}

#[test]
fn the_second_of_two_with_one_name_is_refused() {
    let mut bench = Bench::default();
    let (report, _) = bench.lds([listener("a", 80, 1), listener("a", 81, 1)]);
    assert_eq!(change(&report, "a"), Change::Added { version: 1 });
    assert!(matches!(
        error(&report, "a"),
        UpdateError::DuplicateName { .. }
    ));
}

#[test]
fn the_second_of_two_with_one_address_is_refused() {
    let mut bench = Bench::default();
    let (report, _) = bench.lds([listener("a", 80, 1), listener("b", 80, 1)]);
    assert_eq!(change(&report, "a"), Change::Added { version: 1 });
    assert_eq!(
        error(&report, "b").to_string(),
        r#"listener "b": address: 127.0.0.1:80 belongs to listener "a": give one of the two another address, or remove the other one in the same update"#
    );
}

#[test]
fn an_address_of_another_listener_is_refused() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let (report, _) = bench.lds([listener("b", 80, 1), listener("a", 80, 2)]);
    assert_eq!(error(&report, "b").field(), "address");
    assert!(matches!(change(&report, "a"), Change::Modified { .. }));
}

#[test]
fn an_address_that_its_listener_leaves_in_the_same_update_passes_on_with_its_queue() {
    for removed in [true, false] {
        let mut bench = Bench::default();
        bench.lds([listener("a", 80, 1)]);
        let b = listener("b", 80, 1);
        let (report, log) = if removed {
            bench.lds([b])
        } else {
            bench.lds([b, listener("a", 81, 1)])
        };
        assert!(report.is_success(), "{report:?}");
        assert!(
            !log.contains("close") && !log.contains("bind 127.0.0.1:80"),
            "{log}"
        );
        assert!(log.contains("on 127.0.0.1:80"), "{log}");
        assert_eq!(
            bench
                .set
                .iter()
                .filter(|version| version.accepting())
                .count(),
            if removed { 1 } else { 2 }
        );
    }
}

#[test]
fn a_listener_that_is_absent_is_removed_even_if_another_is_refused() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1), listener("b", 81, 1)]);
    let (report, _) = bench.lds([listener("b", 81, 2).bad("address")]);
    assert!(!report.is_success());
    assert_eq!(change(&report, "a"), Change::Removed { version: Some(1) });
}

#[test]
fn a_listener_whose_configuration_could_not_be_read_is_not_absent() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let update = Update::lds("v2", Vec::<Config>::new())
        .with_refused("a", FieldError::new("filters", "unknown type"));
    let (report, log) = bench.apply(update);
    assert_eq!((error(&report, "a").field(), log.as_str()), ("filters", ""));
}

#[test]
fn an_atomic_update_with_one_bad_listener_touches_none_and_closes_what_it_opened() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1), listener("gone", 83, 1)]);
    let update = Update::lds(
        "v2",
        [
            listener("a", 80, 2),
            listener("b", 81, 1),
            listener("c", 82, 1).bad("x"),
        ],
    );
    let (report, log) = bench.apply(update.atomic());
    assert_eq!(
        report.errors().map(UpdateError::field).collect::<Vec<_>>(),
        ["atomic_updates", "atomic_updates", "x"]
    );
    assert_eq!(log, "bind 127.0.0.1:81\nclose 127.0.0.1:81 after None\n");
    assert_eq!(
        bench.states(),
        [(1, VersionState::Active), (2, VersionState::Active)]
    );
}

#[test]
fn a_static_listener_is_neither_changed_nor_removed_through_lds() {
    let mut bench = Bench::default();
    bench.apply(Update::bootstrap([listener("s", 80, 1)]));
    let (report, log) = bench.lds([listener("s", 80, 2)]);
    assert!(matches!(error(&report, "s"), UpdateError::Static { .. }));
    assert_eq!((bench.lds([]).1, log.as_str()), (String::new(), ""));
}

#[test]
fn an_incremental_update_leaves_the_others_alone() {
    let mut bench = Bench::default();
    bench.lds([
        listener("a", 80, 1),
        listener("b", 81, 1),
        listener("c", 82, 1),
    ]);
    let (report, log) = bench.apply(Update::delta(
        "v2",
        [listener("a", 80, 2)],
        ["b", "unknown", "b"],
    ));
    let b = ("b", Change::Removed { version: Some(2) });
    assert_eq!(report.changes().skip(1).collect::<Vec<_>>(), [b]);
    assert_eq!(
        log,
        "create 4\nactivate 4 on 127.0.0.1:80\nclose 127.0.0.1:81 after Some(2)\ndrain 1 ListenerModify\ndrain 2 ListenerRemove\n"
    );
}

#[test]
fn equal_addresses_with_port_zero_are_different_sockets() {
    let mut bench = Bench::default();
    let (report, _) = bench.lds([listener("a", 0, 1), listener("b", 0, 1)]);
    assert!(report.is_success());
    let (_, log) = bench.lds([listener("a", 0, 2), listener("b", 0, 1)]);
    assert!(!log.contains("bind"), "{log}");
}

#[test]
fn a_warming_version_accepts_only_when_it_is_warm_and_the_active_one_serves_until_then() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let (report, log) = bench.lds([listener("a", 81, 2).warming()]);
    assert_eq!(
        (change(&report, "a"), log.as_str()),
        (
            Change::Warming { version: 2 },
            "bind 127.0.0.1:81\ncreate 2\n"
        )
    );
    let effects = warm(&mut bench.set, 2).expect("it is warming");
    assert_eq!(
        lines_of(&effects),
        "activate 2 on 127.0.0.1:81\nclose 127.0.0.1:80 after Some(1)\ndrain 1 ListenerModify\n"
    );
    assert_eq!(
        warm(&mut bench.set, 2)
            .map_err(|error| error.to_string())
            .err()
            .as_deref(),
        Some("a version that is active cannot activate")
    );
}

#[test]
fn a_warming_version_is_replaced_or_removed_without_a_drain() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1).warming()]);
    assert_eq!(
        bench.lds([listener("a", 80, 2).warming()]).1,
        "discard 1\ncreate 2\n"
    );
    assert_eq!(
        bench.lds([]).1,
        "discard 2\nclose 127.0.0.1:80 after None\n"
    );
    assert!(bench.states().is_empty());
}

#[test]
fn going_back_to_the_active_content_drops_what_warms() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    bench.lds([listener("a", 81, 2).warming()]);
    let (report, log) = bench.lds([listener("a", 80, 1)]);
    assert_eq!(change(&report, "a"), Change::WarmingDropped { version: 2 });
    assert_eq!(log, "discard 2\nclose 127.0.0.1:81 after None\n");
    assert_eq!(
        bench.set.abandon(2).map(|_| ()).unwrap_err().state,
        VersionState::Drained
    );
}

#[test]
fn stopped_listeners_close_their_sockets_once_and_take_no_more_updates() {
    let mut bench = Bench::default();
    bench.lds([
        listener("in", 80, 1).inbound(),
        listener("out", 81, 1),
        listener("warm", 82, 1).warming().inbound(),
    ]);
    let stopped = bench.set.stop(DrainDirection::InboundOnly);
    assert_eq!(stopped.0, [1]);
    assert_eq!(
        lines_of(&stopped.1),
        "discard 3\nclose 127.0.0.1:80 after Some(1)\nclose 127.0.0.1:82 after None\n"
    );
    assert!(
        bench.set.is_stopped(TrafficDirection::Inbound)
            && !bench.set.is_stopped(TrafficDirection::Outbound)
    );
    let (report, log) = bench.lds([listener("in", 80, 2).inbound(), listener("out", 81, 2)]);
    assert_eq!(change(&report, "in"), Change::Stopped);
    assert_eq!(
        log,
        "create 4\nactivate 4 on 127.0.0.1:81\ndrain 2 ListenerModify\n"
    );
    assert_eq!(bench.set.stop(DrainDirection::All).0, [4]);
    assert!(bench.set.stop(DrainDirection::All).0.is_empty());
}

#[test]
fn a_version_that_warms_for_a_socket_that_is_stopped_is_dropped_with_it() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1).inbound()]);
    bench.lds([listener("a", 80, 2).warming()]);
    let effects = lines_of(&bench.set.stop(DrainDirection::InboundOnly).1);
    assert_eq!(effects, "discard 2\nclose 127.0.0.1:80 after Some(1)\n");
}

#[test]
fn a_stopped_listener_can_still_be_removed() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    drop(bench.set.stop(DrainDirection::All));
    assert_eq!(bench.lds([]).1, "drain 1 ListenerRemove\n");
}

#[test]
fn the_cap_counts_the_active_version_and_names_the_oldest_drains() {
    let mut bench = Bench::default();
    for content in 1..=4 {
        bench.lds([listener("a", 80, content)]);
    }
    assert_eq!(bench.set.over_cap("a", 4), [0u64; 0]);
    assert_eq!(bench.set.over_cap("a", 2), [1, 2]);
    assert_eq!(bench.states().len(), 4, "tracking is never dropped");
}

#[test]
fn a_version_is_reaped_once() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    assert!(bench.set.complete(1).is_err(), "it does not drain");
    bench.lds([]);
    assert_eq!(
        bench.set.complete(1).map(|version| version.state).ok(),
        Some(VersionState::Drained)
    );
    assert!(bench.set.complete(1).is_err());
    assert!(bench.states().is_empty());
}

#[test]
fn if_only_chains_differ_the_version_goes_on_and_what_changed_or_is_gone_drains() {
    let mut bench = Bench::default();
    let old = [("kept", 1), ("changed", 1), ("removed", 1)];
    drop(bench.lds([listener("a", 80, 1).chains(old)]));
    let new = [("changed", 2), ("added", 1), ("kept", 1)];
    let (report, log) = bench.apply(Update::lds("v2", [listener("a", 80, 1).chains(new)]));
    assert_eq!(
        log,
        "update 1 in place\ndrain chain 2 FilterChainUpdate\ndrain chain 3 FilterChainUpdate\n"
    );
    let change = change(&report, "a");
    let expected = Change::UpdatedInPlace {
        version: 1,
        kept: 1,
        added: 2,
        draining: 2,
    };
    assert_eq!(change, expected);
    let version = bench.set.active("a").expect("it is active");
    assert_eq!(&*version.version_info, "v2");
    let numbers: Vec<u64> = version.chains.iter().map(|chain| chain.number).collect();
    assert_eq!(numbers, [4, 5, 1], "a kept chain is the one that it was");
    let draining: Vec<u64> = bench
        .set
        .draining_chains()
        .map(|chain| chain.number)
        .collect();
    assert_eq!(draining, [2, 3]);
    assert!(
        bench
            .set
            .complete_chain(2)
            .is_some_and(|chain| &*chain.id == "changed")
    );
    assert!(bench.set.complete_chain(2).is_none(), "only once");
    assert!(bench.set.complete_chain(1).is_none(), "it does not drain");
}

#[test]
fn the_only_chain_changed_is_an_update_in_place() {
    let mut bench = Bench::default();
    drop(bench.lds([listener("a", 80, 1).chains([("any", 1)])]));
    let (_, log) = bench.lds([listener("a", 80, 1).chains([("any", 2)])]);
    assert_eq!(log, "update 1 in place\ndrain chain 1 FilterChainUpdate\n");
}

#[test]
fn anything_beside_the_chains_makes_a_new_version_with_chains_of_its_own() {
    let mut bench = Bench::default();
    drop(bench.lds([listener("a", 80, 1).chains([("x", 1)])]));
    let (_, log) = bench.lds([listener("a", 80, 2).chains([("x", 1)])]);
    assert_eq!(
        log,
        "create 2\nactivate 2 on 127.0.0.1:80\ndrain 1 ListenerModify\n"
    );
    let chains: Vec<u64> = bench
        .set
        .active("a")
        .iter()
        .flat_map(|version| &version.chains)
        .map(|chain| chain.number)
        .collect();
    assert_eq!(chains, [2]);
    let (_, log) = bench.lds([listener("a", 81, 2).chains([("x", 2)])]);
    assert!(
        log.contains("drain 2 ListenerModify"),
        "another address is another listener: {log}"
    );
}

#[test]
fn chains_that_warm_are_taken_in_place_when_they_are_warm() {
    let mut bench = Bench::default();
    drop(bench.lds([listener("a", 80, 1).chains([("x", 1), ("y", 1)])]));
    let (report, log) = bench.lds([listener("a", 80, 1).chains([("x", 1), ("y", 2)]).warming()]);
    assert_eq!(change(&report, "a"), Change::Warming { version: 2 });
    assert_eq!(log, "create 2\n");
    let effects = warm(&mut bench.set, 2).expect("it is warming");
    assert_eq!(
        lines_of(&effects),
        "discard 2\nupdate 1 in place\ndrain chain 2 FilterChainUpdate\n"
    );
    assert_eq!(bench.states(), [(1, VersionState::Active)]);
}

#[test]
fn an_update_in_place_drops_what_was_warming_elsewhere_with_its_socket() {
    let mut bench = Bench::default();
    drop(bench.lds([listener("a", 80, 1).chains([("x", 1)])]));
    drop(bench.lds([listener("a", 81, 1).chains([("x", 1)]).warming()]));
    let (_, log) = bench.lds([listener("a", 80, 1).chains([("x", 2)])]);
    assert_eq!(
        log,
        "discard 2\nupdate 1 in place\nclose 127.0.0.1:81 after None\ndrain chain 1 FilterChainUpdate\n"
    );
}

#[test]
fn an_atomic_update_with_a_bad_listener_leaves_chains_alone() {
    let mut bench = Bench::default();
    drop(bench.lds([listener("a", 80, 1).chains([("x", 1)])]));
    let update = [
        listener("a", 80, 1).chains([("x", 2)]),
        listener("b", 81, 1).bad("address"),
    ];
    let (_, log) = bench.apply(Update::lds("v", update).atomic());
    assert_eq!(log, "");
    assert_eq!(bench.set.draining_chains().count(), 0);
}

#[test]
fn a_static_listener_is_not_changed_in_place_through_lds() {
    let mut bench = Bench::default();
    drop(bench.apply(Update::bootstrap([listener("a", 80, 1).chains([("x", 1)])])));
    let (report, log) = bench.lds([listener("a", 80, 1).chains([("x", 2)])]);
    assert!(matches!(error(&report, "a"), UpdateError::Static { .. }));
    assert_eq!(log, "");
}

#[test]
fn a_version_that_warms_leaves_the_one_before_it_at_the_address_until_it_is_warm() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let (report, log) = bench.lds([listener("a", 81, 1), listener("b", 80, 1).warming()]);
    let moved = Change::Modified {
        version: 2,
        replaced: 1,
    };
    assert_eq!(change(&report, "a"), moved);
    assert_eq!(
        log,
        "bind 127.0.0.1:81\ncreate 2\nactivate 2 on 127.0.0.1:81\ncreate 3\n"
    );
    let effects = warm(&mut bench.set, 3).expect("it is warming");
    assert_eq!(
        lines_of(&effects),
        "activate 3 on 127.0.0.1:80\ndrain 1 ListenerModify\n"
    );
}

#[test]
fn a_removed_listener_serves_its_address_until_the_one_that_warms_there_is_given_up_or_stopped() {
    for stop in [false, true] {
        let mut bench = Bench::default();
        bench.lds([listener("a", 80, 1).inbound()]);
        let (report, log) = bench.lds([listener("b", 80, 1).warming()]);
        assert_eq!(change(&report, "a"), Change::Removed { version: Some(1) });
        assert_eq!(log, "create 2\n");
        let log = if stop {
            let (stopped, effects) = bench.set.stop(DrainDirection::InboundOnly);
            assert_eq!(stopped, [1]);
            lines_of(&effects)
        } else {
            bench.lds([]).1
        };
        let mut lines: Vec<&str> = log.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "close 127.0.0.1:80 after Some(1)",
                "discard 2",
                "drain 1 ListenerRemove"
            ]
        );
    }
}

#[test]
fn a_removed_listener_that_comes_back_takes_its_address_from_the_version_that_still_serves_there() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    bench.lds([listener("b", 80, 1).warming()]);
    let (_, log) = bench.lds([listener("a", 80, 2)]);
    assert_eq!(
        log,
        "create 3\nactivate 3 on 127.0.0.1:80\ndiscard 2\ndrain 1 ListenerRemove\n"
    );
}

#[test]
fn the_address_of_a_pipe_must_not_be_empty() {
    let mut bench = Bench::default();
    for path in ["unix:", "unix:@"] {
        let (report, log) = bench.lds([super::config::at("a", path.parse().expect("a path"), 1)]);
        assert_eq!(
            (error(&report, "a").field(), log.as_str()),
            ("address.pipe.path", "")
        );
    }
}

#[test]
fn what_an_open_socket_keeps_cannot_change_while_the_address_stays() {
    let mut bench = Bench::default();
    let mut v6 = super::config::at("a", "[::1]:80".parse().expect("an address"), 1);
    let mut v4 = listener("b", 81, 1);
    bench.lds([v6.clone(), v4.clone()]);
    for config in [&mut v6, &mut v4] {
        config.socket.dual_stack = true;
    }
    let (report, _) = bench.lds([v6, v4]);
    assert_eq!(
        error(&report, "a").field(),
        "address.socket_address.ipv4_compat"
    );
    assert!(
        matches!(change(&report, "b"), Change::Modified { .. }),
        "it means nothing there"
    );
}
