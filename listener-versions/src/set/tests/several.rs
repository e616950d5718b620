//! Listeners with several addresses: one version over all of them, and addresses that come and go
//! while others stay.

use super::bench::{Bench, change, error, lines_of, warm};
use super::config::{Config, at_port, listener};
use listener_versions::{Change, ListenAddress, VersionState};

/// Listener `name` at these ports.
fn at(name: &str, ports: &[u16], content: u32) -> Config {
    let config = listener(name, ports[0], content);
    let more = ports[1..].iter();
    more.fold(config, |config, port| config.and(at_port(*port)))
}

#[test]
fn one_version_accepts_at_all_addresses() {
    let mut bench = Bench::default();
    let (_, log) = bench.lds([at("a", &[80, 81], 1)]);
    let expected = "bind 127.0.0.1:80\nbind 127.0.0.1:81\ncreate 1\nactivate 1 on 127.0.0.1:80, 127.0.0.1:81\n";
    assert_eq!(log, expected);
    let (_, log) = bench.lds([at("a", &[80, 81], 2)]);
    let expected = "create 2\nactivate 2 on 127.0.0.1:80, 127.0.0.1:81\ndrain 1 ListenerModify\n";
    assert_eq!(log, expected);
}

#[test]
fn an_address_that_cannot_be_bound_refuses_the_listener_and_gives_the_others_back() {
    let mut bench = Bench::with_taken(82);
    bench.lds([at("a", &[80], 1)]);
    let (report, log) = bench.lds([at("a", &[80, 81, 82, 83], 2)]);
    assert_eq!(error(&report, "a").field(), "additional_addresses");
    assert_eq!(log, "bind 127.0.0.1:81\nunbind 127.0.0.1:81\n");
    assert_eq!(bench.states(), [(1, VersionState::Active)]);
    let (report, log) = bench.lds([at("a", &[82, 81], 2)]);
    assert_eq!((error(&report, "a").field(), log.as_str()), ("address", ""));
}

#[test]
fn an_address_that_comes_or_goes_leaves_the_others_open() {
    let mut bench = Bench::default();
    bench.lds([at("a", &[80, 81], 1)]);
    let (_, log) = bench.lds([at("a", &[80, 81, 82], 1)]);
    assert_eq!(
        log,
        "bind 127.0.0.1:82\ncreate 2\nactivate 2 on 127.0.0.1:80, 127.0.0.1:81, 127.0.0.1:82\ndrain 1 ListenerModify\n"
    );
    // Also the first one.
    let (_, log) = bench.lds([at("a", &[82, 81], 1)]);
    assert_eq!(
        log,
        "create 3\nactivate 3 on 127.0.0.1:82, 127.0.0.1:81\nclose 127.0.0.1:80 after Some(2)\ndrain 2 ListenerModify\n"
    );
}

#[test]
fn an_address_goes_from_one_listener_to_another_in_one_update_with_its_queue() {
    for reversed in [false, true] {
        let mut bench = Bench::default();
        bench.lds([at("a", &[80, 81], 1), at("b", &[82], 1)]);
        let mut update = vec![at("a", &[80], 1), at("b", &[82, 81], 1)];
        if reversed {
            update.reverse();
        }
        let (report, log) = bench.lds(update);
        assert!(report.is_success(), "{report:?}");
        assert!(!log.contains("bind") && !log.contains("close"), "{log}");
        let drained = log.find("drain").expect("the old ones drain");
        assert!(log.rfind("activate") < Some(drained), "{log}");
    }
}

#[test]
fn of_two_addresses_one_that_another_listener_has_refuses_both() {
    let mut bench = Bench::default();
    bench.lds([at("a", &[80], 1), at("b", &[81], 1)]);
    let (report, log) = bench.lds([at("a", &[80, 82, 81], 2), at("b", &[81], 1)]);
    assert_eq!(
        error(&report, "a").to_string(),
        "listener \"a\": additional_addresses: 127.0.0.1:81 belongs to listener \"b\": give one of the two another address, or remove the other one in the same update"
    );
    assert_eq!(log, "");
}

#[test]
fn an_address_that_is_named_twice_is_refused_unless_the_kernel_chooses_the_port() {
    let mut bench = Bench::default();
    let (report, _) = bench.lds([at("a", &[80, 81, 80], 1)]);
    let expected =
        "listener \"a\": additional_addresses: 127.0.0.1:80 is an address of this listener twice";
    assert_eq!(error(&report, "a").to_string(), expected);
    let twice = listener("a", 80, 1)
        .and(ListenAddress::Internal)
        .and(ListenAddress::Internal);
    let (report, _) = bench.lds([twice]);
    assert_eq!(error(&report, "a").field(), "additional_addresses");
    let (report, log) = bench.lds([at("a", &[0, 0], 1)]);
    assert!(report.is_success() && log.starts_with("bind 127.0.0.1:0\nbind 127.0.0.1:0\n"));
}

#[test]
fn a_version_that_waits_for_one_of_its_addresses_leaves_all_others_as_they_are_until_it_is_warm() {
    let mut bench = Bench::default();
    bench.lds([at("a", &[80, 81], 1), at("b", &[82], 1)]);
    // b wants 81 as well, which a gives up.
    let (report, log) = bench.lds([at("a", &[80], 2), at("b", &[82, 81], 2).warming()]);
    assert_eq!(change(&report, "b"), Change::Warming { version: 4 });
    assert!(!log.contains("drain") && !log.contains("close"), "{log}");
    let first = bench.set.get(1).expect("it serves what is left");
    assert_eq!((first.state, first.serves.len()), (VersionState::Active, 1));
    let effects = lines_of(&warm(&mut bench.set, 4).expect("it warms"));
    assert_eq!(
        effects,
        "activate 4 on 127.0.0.1:82, 127.0.0.1:81\ndrain 1 ListenerModify\ndrain 2 ListenerModify\n"
    );
}

#[test]
fn a_removed_listener_closes_every_socket() {
    let mut bench = Bench::default();
    bench.lds([at("a", &[80, 81], 1)]);
    let (_, log) = bench.lds([]);
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    let expected = [
        "close 127.0.0.1:80 after Some(1)",
        "close 127.0.0.1:81 after Some(1)",
        "drain 1 ListenerRemove",
    ];
    assert_eq!(lines, expected);
    assert!(log.ends_with("drain 1 ListenerRemove\n"), "{log}");
}
