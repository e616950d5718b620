//! The table of kills in `docs/hot-restart.md`, as the state machines have it: one process is
//! killed at each point of a handover.

use super::giving::{Giving, GivingAction};
use super::model::{Role, Step, World};

#[derive(Clone, Copy, Debug)]
enum Who {
    /// The old process accepts, and there is no other one.
    Two,
    /// The old process accepts, and the one before it still drains.
    Three,
    /// The old process drains, and keeps the sockets of a process that has died.
    Kept,
}

#[derive(Clone, Copy, Debug)]
enum Point {
    Configures,
    DrainSaid,
    Stopped,
    Given,
    Serves,
}

const WHO: [(Who, &str, &str); 3] = [
    (Who::Two, "two", "two processes"),
    (
        Who::Three,
        "three",
        "three: a first process still drains, the old process accepts",
    ),
    (
        Who::Kept,
        "kept",
        "the old process keeps the sockets of a dead process",
    ),
];

const POINTS: [(Point, &str, &str); 5] = [
    (
        Point::Configures,
        "configures",
        "the new process has the sockets, and configures itself",
    ),
    (
        Point::DrainSaid,
        "drain_said",
        "the new process has said `drain`, which the old process has not received",
    ),
    (
        Point::Stopped,
        "stopped",
        "the old process has stopped, and has not answered",
    ),
    (
        Point::Given,
        "given",
        "the old process has answered, which the new process has not received",
    ),
    (Point::Serves, "serves", "the new process accepts"),
];

fn serves(world: &World, index: usize) -> bool {
    world.processes[index].role == Role::Gives(Giving::Serves)
}

/// The processes before the handover: the first process, if there is one, and the old process.
fn before(who: Who) -> (World, Vec<usize>) {
    let mut world = World::new();
    let first = world.start();
    world.settle();
    if matches!(who, Who::Two) {
        return (world, vec![first]);
    }
    let second = world.start();
    world.settle();
    assert!(serves(&world, second));
    if matches!(who, Who::Three) {
        return (world, vec![first, second]);
    }
    world.kill(second);
    world.settle();
    assert_eq!(world.processes[first].role, Role::Gives(Giving::Keeps));
    (world, vec![first])
}

fn advance(world: &mut World, old: usize, new: usize, point: Point) {
    world.advance(|world, step| match point {
        Point::Configures => step != Step::Configured(new),
        // What it hears is `drain`, once the new process has said it.
        Point::DrainSaid => step != Step::HearDown(old) || !says_drain(world, new),
        Point::Stopped => step != Step::Act(old) || world.to_give(old) != Some(GivingAction::Give),
        Point::Given => step != Step::HearUp(new) || !says_drain(world, new),
        Point::Serves => true,
    });
}

fn says_drain(world: &World, new: usize) -> bool {
    use super::taking::Taking;

    world.processes[new].role == Role::Takes(Taking::Ready)
}

/// Who accepts, or keeps the sockets, after the `victim` was killed.
fn outcome(who: Who, point: Point, kills_old: bool) -> String {
    let (mut world, mut names) = before(who);
    let old = names[names.len() - 1];
    let new = world.start();
    names.push(new);
    advance(&mut world, old, new, point);
    world.kill(if kills_old { old } else { new });
    world.settle();
    let name = |index: usize| match index {
        index if index == new => "the new process",
        index if index == old => "the old process",
        _ => "the first process",
    };
    let accepts = world.alive().find(|(_, process)| process.accepts);
    let keeps = |role| role == Role::Gives(Giving::Keeps);
    let keeps = world.alive().find(|(_, process)| keeps(process.role));
    let outcome = match (accepts, keeps) {
        (Some((index, _)), _) => format!("{} accepts", name(index)),
        (None, Some((index, _))) => format!("{} keeps the sockets", name(index)),
        (None, None) => "no process".to_owned(),
    };
    // A process that is started then gets them.
    let next = world.start();
    world.settle();
    assert!(
        serves(&world, next),
        "{who:?} {point:?} {kills_old}: {world:#?}"
    );
    outcome
}

fn table() -> String {
    let mut table = String::from(
        "| processes | when | the old process is killed | the new process is killed | test |\n| --- | --- | --- | --- | --- |\n",
    );
    for (who, who_name, processes) in WHO {
        for (point, point_name, when) in POINTS {
            let outcomes = [true, false].map(|kills_old| outcome(who, point, kills_old));
            let row = format!(
                "| {processes} | {when} | {} | {} | `{who_name}_{point_name}` |\n",
                outcomes[0], outcomes[1]
            );
            table.push_str(&row);
        }
    }
    table
}

#[test]
fn the_table_of_kills_is_what_the_state_machines_do() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file| std::fs::read_to_string(folder.join(file));
    // Neither this page nor the tests are in the package that others download.
    let Ok(page) = read("../docs/hot-restart.md") else {
        return;
    };
    let tests = read("tests/processes/kills/mod.rs").expect("they are beside the page");
    let table = table();
    assert!(page.contains(&table), "docs/hot-restart.md lacks:\n{table}");
    for (_, who, _) in WHO {
        for (_, point, _) in POINTS {
            assert!(
                tests.contains(&format!("{who}_{point}")),
                "{who}_{point} is not tested"
            );
        }
    }
}
