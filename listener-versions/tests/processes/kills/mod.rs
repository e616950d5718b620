//! Real processes hand over, and one of them is killed at each point: the rows of the table in
//! `docs/hot-restart.md`.

mod pids;
mod play;
mod process;
mod versions;

use std::time::Duration;

use play::{Place, Process};

/// A situation, a point, and who goes on when the old process is killed, and when the new one is.
macro_rules! rows {
    ($($name:ident: $who:expr, $point:expr => $old_killed:expr, $new_killed:expr;)*) => {
        $(
            #[test]
            fn $name() {
                kill($who, $point, true, $old_killed);
                kill($who, $point, false, $new_killed);
            }
        )*
    };
}

rows! {
    two_configures: Who::Two, Point::Configures => GoesOn::NewAccepts, GoesOn::OldAccepts;
    two_drain_said: Who::Two, Point::DrainSaid => GoesOn::NewAccepts, GoesOn::OldAccepts;
    two_stopped: Who::Two, Point::Stopped => GoesOn::NewAccepts, GoesOn::OldKeeps;
    two_given: Who::Two, Point::Given => GoesOn::NewAccepts, GoesOn::OldKeeps;
    two_serves: Who::Two, Point::Serves => GoesOn::NewAccepts, GoesOn::OldKeeps;
    three_configures: Who::Three, Point::Configures => GoesOn::NewAccepts, GoesOn::OldAccepts;
    three_drain_said: Who::Three, Point::DrainSaid => GoesOn::NewAccepts, GoesOn::OldAccepts;
    three_stopped: Who::Three, Point::Stopped => GoesOn::NewAccepts, GoesOn::OldKeeps;
    three_given: Who::Three, Point::Given => GoesOn::NewAccepts, GoesOn::OldKeeps;
    three_serves: Who::Three, Point::Serves => GoesOn::NewAccepts, GoesOn::OldKeeps;
    kept_configures: Who::Kept, Point::Configures => GoesOn::NewAccepts, GoesOn::OldKeeps;
    kept_drain_said: Who::Kept, Point::DrainSaid => GoesOn::NewAccepts, GoesOn::OldKeeps;
    kept_stopped: Who::Kept, Point::Stopped => GoesOn::NewAccepts, GoesOn::OldKeeps;
    kept_given: Who::Kept, Point::Given => GoesOn::NewAccepts, GoesOn::OldKeeps;
    kept_serves: Who::Kept, Point::Serves => GoesOn::NewAccepts, GoesOn::OldKeeps;
}

#[derive(Clone, Copy)]
enum Who {
    Two,
    Three,
    Kept,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Point {
    Configures,
    DrainSaid,
    Stopped,
    Given,
    Serves,
}

#[derive(Clone, Copy)]
enum GoesOn {
    OldAccepts,
    NewAccepts,
    OldKeeps,
}

const FIRST: u64 = 1;
const OLD: u64 = 2;
const NEW: u64 = 3;
const NEXT: u64 = 4;

fn kill(who: Who, point: Point, kills_old: bool, goes_on: GoesOn) {
    let place = Place::new();
    let mut others = Vec::new();
    let mut old = match who {
        Who::Two => place.serving(OLD),
        Who::Three => {
            others.push(place.serving(FIRST));
            place.serving(OLD)
        }
        Who::Kept => {
            let mut old = place.serving(OLD);
            drop(place.serving(FIRST));
            old.until("died");
            old
        }
    };
    for point in ["old: sockets sent", "old: stopped"] {
        old.stop_at(point);
    }
    let mut new = place.start(NEW, &["new: drain said"]);
    new.until("configures");
    old.until("at old: sockets sent");
    advance(&mut old, &mut new, point);
    let (victim, survivor) = if kills_old {
        (old, &mut new)
    } else {
        (new, &mut old)
    };
    // A connection that it accepts now would end with it, as it must.
    victim.stop();
    let parked = place.park();
    drop(victim);
    survivor.run();
    if kills_old && point == Point::Configures {
        survivor.say("configure");
    }
    match goes_on {
        GoesOn::OldAccepts => assert_eq!(place.ask(), OLD),
        GoesOn::NewAccepts => assert_eq!(place.ask(), NEW),
        // It has kept them all the time: nothing was given away.
        GoesOn::OldKeeps if matches!(who, Who::Kept) && point < Point::Stopped => {}
        // No process accepts, and what comes waits.
        GoesOn::OldKeeps => drop(survivor.until("died")),
    }
    // A process that is started next takes over from whichever it is, and serves what has waited.
    let _next = place.serving(NEXT);
    assert_eq!(place.ask(), NEXT);
    parked.are_answered_by(match goes_on {
        GoesOn::OldAccepts => OLD,
        GoesOn::NewAccepts => NEW,
        GoesOn::OldKeeps => NEXT,
    });
    drop(others);
}

/// Lets both go on up to this point, and not farther.
fn advance(old: &mut Process, new: &mut Process, point: Point) {
    if point >= Point::DrainSaid {
        new.say("configure");
        new.until("at new: drain said");
    }
    if point >= Point::Stopped {
        old.say("go");
        old.until("at old: stopped");
    }
    if point >= Point::Given {
        old.say("go");
        old.until("replaced");
    }
    if point >= Point::Serves {
        new.say("go");
        new.until("serving");
    }
}

#[test]
fn a_new_process_without_descriptors_hears_that_the_old_one_has_stopped() {
    let place = Place::new();
    let _old = place.serving(OLD);
    let mut new = place.start_with(NEW, &[("LACKS_AT", "new: drain said")]);
    new.until("serving");
    assert_eq!(place.ask(), NEW);
}

#[test]
fn drain_is_not_said_without_room_for_its_answer() {
    let place = Place::new();
    let mut old = place.serving(OLD);
    let mut new = place.start_with(NEW, &[("LACKS_AT", "new: ready")]);
    let said = new.until("failed");
    assert!(said.contains("Too many open files"), "{said}");
    old.until("goes on");
    assert_eq!(place.ask(), OLD);
}

/// The second of three processes is killed at any moment while it hands over to the third.
fn kill_the_middle_one(rounds: u64) {
    for round in 0..rounds {
        let place = Place::new();
        let _first = place.serving(FIRST);
        let middle = place.serving(OLD);
        let mut third = place.start(NEW, &[]);
        // The whole takes a few milliseconds: from before its first word until it serves.
        let moment = Duration::from_micros(round * 7_919 % 30_000);
        if round % 2 == 0 {
            third.until("configures");
        }
        third.say("configure");
        std::thread::park_timeout(moment);
        drop(middle);
        third.until("serving");
        assert_eq!(place.ask(), NEW, "round {round}, after {moment:?}");
    }
}

#[test]
fn the_third_one_comes_up_whenever_the_middle_one_is_killed() {
    kill_the_middle_one(10);
}

#[test]
#[ignore = "300 processes, for a full run"]
fn the_third_one_comes_up_whenever_the_middle_one_is_killed_100_times() {
    kill_the_middle_one(100);
}

#[test]
fn of_two_processes_that_begin_afresh_at_once_both_serve_one_after_the_other() {
    for _ in 0..5 {
        let place = Place::new();
        let mut both = [FIRST, OLD].map(|label| place.start(label, &[]));
        for process in &mut both {
            process.say("configure");
        }
        for process in &mut both {
            process.until("serving");
        }
        let last = place.ask();
        assert!([FIRST, OLD].contains(&last), "{last}");
    }
}
