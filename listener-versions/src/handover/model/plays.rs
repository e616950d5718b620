//! Random plays: whatever is killed, dropped or late, at most one process accepts, and the sockets
//! are never lost.

use proptest::prelude::*;

use super::*;

/// One thing that happens in a play; the second number says to which process, or which of what may
/// happen.
fn play(moves: &[(u8, usize)]) -> World {
    let mut world = World::new();
    let first = world.start();
    while world.processes[first].role != Role::Gives(Giving::Serves) {
        world.take(Step::Act(first));
    }
    for (kind, which) in moves {
        let process = which % world.processes.len();
        match kind {
            0..=9 => {
                let steps = world.steps();
                if !steps.is_empty() {
                    world.take(steps[which % steps.len()]);
                }
            }
            10 if world.alive().count() < 4 && world.processes.len() < 12 => {
                world.start();
            }
            11 if world.processes[process].role != Role::Dead => world.kill(process),
            12 => world.cancel(process),
            13 => world.time_out(process),
            14 => world.drop_handles(process),
            _ => {}
        }
        world.check();
    }
    world
}

fn moves(kinds: u8) -> impl Strategy<Value = Vec<(u8, usize)>> {
    prop::collection::vec((0..kinds, 0..1_000_usize), 0..120)
}

/// Whatever has happened, a process that is started then serves; unless one serves that cannot be
/// replaced.
fn the_next_one_serves(world: &mut World) {
    world.settle();
    let silent = world
        .alive()
        .any(|(_, process)| process.role == Role::Silent);
    let next = world.start();
    world.settle();
    let stuck: Vec<_> = world
        .alive()
        .filter(|(_, process)| matches!(process.role, Role::Takes(_)))
        .collect();
    assert!(
        stuck.is_empty(),
        "they wait for ever: {stuck:?}: {:#?}",
        world.story
    );
    let accepting = world.alive().filter(|(_, process)| process.accepts).count();
    assert_eq!(accepting, 1, "{:#?}", world.story);
    assert!(
        silent || world.processes[next].accepts,
        "{next}: {:#?}",
        world.story
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn at_most_one_accepts_and_no_socket_is_lost(moves in moves(15)) {
        play(&moves);
    }

    #[test]
    fn if_processes_are_only_killed_none_that_has_sockets_gives_up(moves in moves(12)) {
        let mut world = play(&moves);
        the_next_one_serves(&mut world);
        assert!(!world.has_given_up, "{:#?}", world.story);
    }

    #[test]
    fn one_that_is_started_before_the_death_of_others_is_noticed_serves(
        moves in moves(12),
        order in prop::collection::vec(0..1_000_usize, 0..60),
    ) {
        let mut world = play(&moves);
        let new: Vec<usize> = world
            .alive()
            .filter(|(_, process)| matches!(process.role, Role::Takes(_)))
            .map(|(index, _)| index)
            .collect();
        for index in new {
            world.kill(index);
        }
        let next = world.start();
        for which in order {
            let steps = world.steps();
            if !steps.is_empty() {
                world.take(steps[which % steps.len()]);
                world.check();
            }
        }
        world.settle();
        prop_assert!(world.processes[next].accepts, "{next}: {:#?}", world.story);
    }

    #[test]
    fn whatever_has_happened_the_next_one_serves(moves in moves(15)) {
        the_next_one_serves(&mut play(&moves));
    }
}
