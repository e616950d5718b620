//! Processes that all have the same number: each is the first one of a container of its own, and
//! the path is in a volume that the containers share.

use std::process::Command;

use super::play::{Place, Process};

/// Starts a program as process 1 of a pid namespace, and kills it with the process that started it.
const CONTAINER: [&str; 4] = ["unshare", "--pid", "--fork", "--kill-child"];

/// Whether this user may make pid namespaces.
fn has_containers() -> bool {
    let [by, args @ ..] = CONTAINER;
    let output = Command::new(by).args(args).arg("true").output();
    let can = output.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: this user may not make a pid namespace");
    }
    can
}

fn start(place: &Place, label: u64, more: &[(&str, &str)]) -> Process {
    let mut process = place.start_by(&CONTAINER, label, more);
    let said = process.until("pid ");
    assert!(said.ends_with("pid 1"), "{said}");
    process
}

fn serving(place: &Place, label: u64) -> Process {
    let mut process = start(place, label, &[]);
    process.until("serving");
    process
}

#[test]
fn processes_that_are_all_process_1_hand_over_one_after_the_other() {
    if !has_containers() {
        return;
    }
    let place = Place::new();
    let mut old = serving(&place, 1);
    for label in 2..5 {
        let new = serving(&place, label);
        old.until("replaced");
        assert_eq!(place.ask(), label);
        old = new;
    }
}

#[test]
fn the_death_of_a_process_1_is_seen_by_another_process_1() {
    if !has_containers() {
        return;
    }
    let place = Place::new();
    let mut old = serving(&place, 1);
    // Before it is ready, a new process may die: the old one accepts.
    let mut new = start(&place, 2, &[("WAITS", "1")]);
    new.until("configures");
    drop(new);
    old.until("goes on");
    assert_eq!(place.ask(), 1);
    // Afterwards, the old one keeps the sockets for the next one, which begins with what waits.
    drop(serving(&place, 3));
    old.until("died");
    let parked = place.park();
    let mut next = serving(&place, 4);
    parked.are_answered_by(4);
    // An old process that dies while it hands over leaves its sockets to the new one.
    next.stop_at("old: sockets sent");
    let mut last = start(&place, 5, &[("WAITS", "1")]);
    last.until("configures");
    drop((old, next));
    last.say("configure");
    last.until("serving");
    assert_eq!(place.ask(), 5);
}

#[test]
fn of_two_new_processes_1_the_second_one_is_refused_until_the_first_one_has_died() {
    if !has_containers() {
        return;
    }
    let place = Place::new();
    let mut old = serving(&place, 1);
    let mut new = start(&place, 2, &[("WAITS", "1")]);
    new.until("configures");
    let mut other = start(&place, 3, &[]);
    let said = other.until("failed");
    assert!(
        said.ends_with("another process is taking over already"),
        "{said}"
    );
    drop(new);
    old.until("goes on");
    let _next = serving(&place, 4);
    assert_eq!(place.ask(), 4);
}

/// The number in the lock file by which a process knows that it was overtaken is not the process's.
#[test]
fn a_process_1_that_was_overtaken_by_another_process_1_does_not_serve() {
    if !has_containers() {
        return;
    }
    let place = Place::new();
    let mut first = serving(&place, 1);
    let old = serving(&place, 2);
    first.until("replaced");
    let mut late = start(&place, 3, &[("WAITS", "1")]);
    late.until("configures");
    drop(old);
    first.until("died");
    let overtaker = serving(&place, 4);
    first.until("replaced");
    drop(first);
    drop(overtaker);
    late.say("configure");
    let said = late.until("failed");
    assert!(
        said.ends_with("another process has taken over meanwhile"),
        "{said}"
    );
}
