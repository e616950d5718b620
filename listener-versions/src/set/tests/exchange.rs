//! Listeners that exchange addresses in one update: all of them or, if one cannot, those that do
//! not depend on it.

use super::bench::{Bench, change, error, lines_of, warm};
use super::config::{Config, at_port, listener};
use crate::set::plan::Plan;
use crate::set::{Origin, Wanted};
use listener_versions::{Change, Update, UpdateError, UpdateReport, VersionState};
use proptest::prelude::*;

const STAYS: &str =
    ": give one of the two another address, or remove the other one in the same update";
const REFUSED: &str =
    ", which is refused in this update and stays as it was: correct that one first";

fn errors(report: &UpdateReport) -> Vec<String> {
    report.errors().map(ToString::to_string).collect()
}

/// Whatever their order.
fn in_any_order(configs: Vec<Config>, check: impl Fn(Vec<Config>)) {
    let mut reversed = configs.clone();
    reversed.reverse();
    check(configs);
    check(reversed);
}

#[test]
fn two_listeners_exchange_their_addresses_and_sockets_change_their_server_at_once() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1), listener("b", 81, 1)]);
    let (report, log) = bench.lds([listener("a", 81, 1), listener("b", 80, 1)]);
    assert_eq!(
        [change(&report, "a"), change(&report, "b")],
        [
            Change::Modified {
                version: 3,
                replaced: 1
            },
            Change::Modified {
                version: 4,
                replaced: 2
            }
        ]
    );
    let expected = "create 3\nactivate 3 on 127.0.0.1:81\ncreate 4\nactivate 4 on 127.0.0.1:80\ndrain 1 ListenerModify\ndrain 2 ListenerModify\n";
    assert_eq!(log, expected);
}

#[test]
fn a_ring_exchanges_some_addresses_keeps_others_and_another_listener_takes_what_it_leaves() {
    let before = [
        listener("a", 80, 1).and(at_port(90)),
        listener("b", 81, 1),
        listener("c", 82, 1).and(at_port(92)),
    ];
    let after = vec![
        listener("a", 81, 1).and(at_port(90)),
        listener("b", 82, 1),
        listener("c", 80, 1).and(at_port(99)),
        listener("d", 92, 1),
    ];
    in_any_order(after, |after| {
        let mut bench = Bench::default();
        bench.lds(before.clone());
        let (report, log) = bench.lds(after);
        assert!(report.is_success(), "{report:?}");
        assert!(!log.contains("close"), "{log}");
        let bound: Vec<&str> = log.lines().filter(|line| line.contains("bind")).collect();
        assert_eq!(bound, ["bind 127.0.0.1:99"]);
        let drained = log.find("drain").expect("the old ones drain");
        assert!(log.rfind("activate") < Some(drained), "{log}");
    });
}

#[test]
fn of_a_ring_one_that_cannot_be_bound_leaves_all_as_they_were_and_closes_what_was_opened() {
    let after = vec![
        listener("b", 80, 2).and(at_port(83)),
        listener("a", 81, 2).and(at_port(82)),
    ];
    in_any_order(after, |after| {
        let mut bench = Bench::with_taken(82);
        bench.lds([listener("a", 80, 1), listener("b", 81, 1)]);
        let is_opened_first = after[0].name == "b";
        let (report, log) = bench.lds(after);
        assert!(matches!(error(&report, "a"), UpdateError::Bind { .. }));
        let text =
            format!("listener \"b\": address: 127.0.0.1:80 belongs to listener \"a\"{REFUSED}");
        assert_eq!(error(&report, "b").to_string(), text);
        let opened = "bind 127.0.0.1:83\nunbind 127.0.0.1:83\n";
        assert_eq!(log, if is_opened_first { opened } else { "" });
        let active = [(1, VersionState::Active), (2, VersionState::Active)];
        assert_eq!(bench.states(), active);
    });
}

#[test]
fn a_listener_that_cannot_be_taken_refuses_its_ring_and_no_other_one() {
    let after = vec![
        listener("a", 81, 2),
        listener("b", 80, 2).and(at_port(84)),
        listener("c", 83, 2),
        listener("d", 82, 2),
        listener("e", 84, 1),
    ];
    in_any_order(after, |after| {
        let mut bench = Bench::default();
        let before = ["a", "b", "c", "d"].into_iter().zip(80..);
        bench.lds(
            before
                .map(|(name, port)| listener(name, port, 1))
                .chain([listener("e", 84, 1)]),
        );
        let (report, log) = bench.lds(after);
        let mut refused = errors(&report);
        refused.sort_unstable();
        let expected = [
            format!("listener \"a\": address: 127.0.0.1:81 belongs to listener \"b\"{REFUSED}"),
            format!(
                "listener \"b\": additional_addresses: 127.0.0.1:84 belongs to listener \"e\"{STAYS}"
            ),
        ];
        assert_eq!(refused, expected);
        assert!(!log.contains("bind") && !log.contains("close"), "{log}");
        for name in ["c", "d"] {
            assert!(matches!(change(&report, name), Change::Modified { .. }));
        }
    });
}

#[test]
fn an_atomic_exchange_is_taken_whole_or_not_at_all() {
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1), listener("b", 81, 1)]);
    let after = [listener("a", 81, 2), listener("b", 80, 2).and(at_port(82))];
    let bad = listener("c", 83, 1).bad("x");
    let refused = Update::lds("v", after.clone().into_iter().chain([bad]));
    let (_, log) = bench.apply(refused.atomic());
    assert_eq!(log, "bind 127.0.0.1:82\nclose 127.0.0.1:82 after None\n");
    let (report, _) = bench.apply(Update::lds("v", after).atomic());
    assert!(report.is_success(), "{report:?}");
}

#[test]
fn a_listener_that_warms_has_its_address_until_then_and_the_refusal_says_what_to_do() {
    let warms =
        ", which leaves it as soon as its new version is warm: send this listener again then";
    let mut bench = Bench::default();
    bench.lds([listener("a", 80, 1)]);
    let moved = || [listener("a", 82, 2).warming(), listener("b", 80, 1)];
    // In the same update, and in a later one.
    for _ in 0..2 {
        let (report, _) = bench.lds(moved());
        let text =
            format!("listener \"b\": address: 127.0.0.1:80 belongs to listener \"a\"{warms}");
        assert_eq!(errors(&report), [text]);
    }
    let warming = bench.states().last().expect("it warms").0;
    let log = lines_of(&warm(&mut bench.set, warming).expect("it warms"));
    assert!(log.contains("close 127.0.0.1:80"), "{log}");
    let (report, _) = bench.lds(moved());
    assert!(report.is_success(), "{report:?}");
}

#[test]
fn an_exchange_with_a_listener_that_warms_is_refused_with_both_names_and_what_to_do() {
    for both in [true, false] {
        let mut bench = Bench::default();
        bench.lds([listener("a", 80, 1), listener("b", 81, 1)]);
        let a = |port, content| listener("a", port, content).warming();
        let b = |port, content| match both {
            true => listener("b", port, content).warming(),
            false => listener("b", port, content),
        };
        let way_out = ", which leaves it only when its new version is warm: exchange the two addresses by way of a \
                       free one, each listener in an update of its own, when the one before is warm";
        let expected = [
            format!("listener \"a\": address: 127.0.0.1:81 belongs to listener \"b\"{way_out}"),
            format!("listener \"b\": address: 127.0.0.1:80 belongs to listener \"a\"{way_out}"),
        ];
        in_any_order(vec![a(81, 2), b(80, 2)], |update| {
            let mut bench = Bench::default();
            bench.lds([listener("a", 80, 1), listener("b", 81, 1)]);
            let (report, log) = bench.lds(update);
            let mut errors = errors(&report);
            errors.sort_unstable();
            assert_eq!((errors, log.as_str()), (expected.to_vec(), ""));
        });
        // What the refusal says, by way of 82.
        for update in [
            [listener("a", 80, 1), b(82, 2)],
            [a(81, 2), b(82, 2)],
            [a(81, 2), b(80, 3)],
        ] {
            let (report, _) = bench.lds(update);
            assert!(report.is_success(), "{report:?}");
            let warming: Vec<u64> = (bench.states().into_iter())
                .filter(|(_, state)| *state == VersionState::Warming)
                .map(|(version, _)| version)
                .collect();
            for version in warming {
                warm(&mut bench.set, version).expect("it is warming");
            }
        }
        let at = |name| {
            bench
                .set
                .active(name)
                .map(|version| version.config.address.clone())
        };
        assert_eq!([at("a"), at("b")], [81, 80].map(|port| Some(at_port(port))));
    }
}

/// How often a listener is looked at in an update in which each of `count` takes the address of the
/// next one, the last that of the first in a ring, and that of no other one else. If it `fails`,
/// what the last one wants besides cannot be bound.
fn looks(count: u16, is_ring: bool, fails: bool, is_reversed: bool) -> usize {
    const OTHER: u16 = 60_000;
    let name = |index: u16| format!("{index:05}");
    let mut bench = Bench::default();
    bench.lds((0..count).map(|index| listener(&name(index), index + 1, 1)));
    let moved = |index| {
        let to = if is_ring {
            (index + 1) % count
        } else {
            index + 1
        };
        let moved = listener(&name(index), to + 1, 2);
        match index + 1 == count {
            true => moved.and(at_port(OTHER)),
            false => moved,
        }
    };
    let mut after: Vec<Config> = (0..count).map(moved).collect();
    if is_reversed {
        after.reverse();
    }
    let mut plan = Plan::new(&bench.set, &[]);
    let update = Update::lds("v", after);
    plan.decide(Origin::Lds, update.resources, &mut |_, _, wanted| {
        let Wanted::Bind(socket) = wanted else {
            return Ok(());
        };
        match fails && *socket.address() == at_port(OTHER) {
            true => Err(std::io::ErrorKind::AddrInUse.into()),
            false => Ok(()),
        }
    });
    assert_eq!(plan.is_refused(), fails);
    plan.looks
}

#[test]
fn listeners_that_wait_for_one_another_are_looked_at_as_often_however_many_they_are() {
    for is_ring in [false, true] {
        for fails in [false, true] {
            for is_reversed in [false, true] {
                let looks = looks(1_000, is_ring, fails, is_reversed);
                let what = format!("ring: {is_ring}, fails: {fails}, reversed: {is_reversed}");
                assert!(looks <= 3_000, "{looks} looks at 1 000 listeners, {what}");
            }
        }
    }
}

/// Which ports each of some listeners has: all different.
fn ports() -> impl Strategy<Value = Vec<Vec<u16>>> {
    (
        1usize..6,
        Just((80u16..92).collect::<Vec<_>>()).prop_shuffle(),
    )
        .prop_map(|(count, ports)| {
            let ports: Vec<Vec<u16>> = ports.chunks(2).take(count).map(<[u16]>::to_vec).collect();
            ports
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn listeners_that_want_different_addresses_can_always_have_them(before in ports(), after in ports(), order in any::<prop::sample::Index>()) {
        let configs = |ports: &[Vec<u16>], content| {
            let named = ["a", "b", "c", "d", "e", "f"].into_iter().zip(ports);
            let configs = named.map(|(name, ports)| listener(name, ports[0], content).and(at_port(ports[1])));
            configs.collect::<Vec<Config>>()
        };
        let mut bench = Bench::default();
        bench.lds(configs(&before, 1));
        let mut update = configs(&after, 2);
        let first = order.index(update.len());
        update.rotate_left(first);
        let (report, log) = bench.lds(update);
        prop_assert!(report.is_success(), "{:?}", errors(&report));
        let had: Vec<u16> = before.concat();
        for port in after.concat() {
            let opened = log.matches(&format!("bind 127.0.0.1:{port}\n")).count();
            prop_assert_eq!(opened, usize::from(!had.contains(&port)), "{}: {}", port, log);
            prop_assert!(!log.contains(&format!("close 127.0.0.1:{port} ")), "{}: {}", port, log);
        }
    }
}
