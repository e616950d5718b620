//! The tree against a naive model: any history of children, connections, starts, deadlines, health
//! and time.
//!
//! The model knows nothing of pacing, batches or lists. It walks all nodes at every step, and says
//! what each must look like once every task has done what it has to do.

mod reference;

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use drain_tree::DrainDirection::{All, InboundOnly};
use drain_tree::drain_signal::Phase;
use drain_tree::{
    ChildOptions, DrainManager, DrainReason, DrainSequence, DrainSettings, DrainStart, DrainState,
    DrainType, DrainWatch, TrafficDirection,
};
use proptest::prelude::*;
use proptest_state_machine::{StateMachineTest, prop_state_machine};

use reference::{Step, T, Tree};

struct System {
    begin: Instant,
    now: Instant,
    nodes: Vec<Option<DrainManager>>,
    watches: Vec<DrainWatch>,
    sequences: Vec<DrainSequence>,
}

impl System {
    fn node(&self, index: usize) -> &DrainManager {
        self.nodes[index].as_ref().unwrap()
    }

    /// Polls every sequence until none has anything to do. Those that are over are gone.
    fn settle(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            self.sequences.retain_mut(|sequence| {
                let mut next = None;
                while next.is_none() {
                    if sequence.poll_at(self.now, &mut cx, &mut next).is_ready() {
                        return false;
                    }
                }
                true
            });
        }
    }
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Tree;

    fn init_test(_: &Tree) -> Self {
        let begin = tokio::time::Instant::now().into_std();
        let root =
            DrainManager::root(DrainSettings::default().with_drain_time(Duration::from_millis(T)));
        Self {
            begin,
            now: begin,
            nodes: vec![Some(root)],
            watches: vec![],
            sequences: vec![],
        }
    }

    fn apply(mut system: Self, tree: &Tree, step: Step) -> Self {
        match step {
            Step::Child {
                parent,
                inbound,
                modify_only,
            } => {
                let traffic = if inbound {
                    TrafficDirection::Inbound
                } else {
                    TrafficDirection::Outbound
                };
                let drain_type = if modify_only {
                    DrainType::ModifyOnly
                } else {
                    DrainType::Default
                };
                let options = ChildOptions::default()
                    .with_traffic_direction(traffic)
                    .with_drain_type(drain_type);
                let child = system.node(parent).child(options);
                system.nodes.push(Some(child));
            }
            Step::Drop { node } => system.nodes[node] = None,
            Step::Open { node } => system.watches.extend(system.node(node).watch()),
            Step::Close { watch } => drop(system.watches.swap_remove(watch)),
            Step::Start {
                node,
                direction,
                closes,
            } => {
                let reason = if closes {
                    DrainReason::ListenerModify
                } else {
                    DrainReason::Admin
                };
                let start = DrainStart::new(reason).with_direction(direction);
                let sequence = system.node(node).start_drain_sequence_at(start, system.now);
                system.sequences.push(sequence);
            }
            Step::BringForward { node, after } => {
                system
                    .node(node)
                    .bring_forward(system.now + Duration::from_millis(after));
            }
            Step::Forget { sequence } => drop(system.sequences.remove(sequence)),
            Step::Health { failed: true } => system.node(0).fail_health(),
            Step::Health { failed: false } => system.node(0).restore_health(),
            Step::Pass { time } => system.now += Duration::from_millis(time),
        }
        system.settle();
        assert_eq!(system.watches.len(), tree.watches.len(), "who was let in");
        system
    }

    fn check_invariants(system: &Self, tree: &Tree) {
        let at = |ms: u64| system.begin + Duration::from_millis(ms);
        assert_eq!(
            system.sequences.len(),
            tree.sequences.len(),
            "those whose drain is not over"
        );
        for (index, expected) in tree.nodes.iter().enumerate() {
            let Some(node) = &system.nodes[index] else {
                continue;
            };
            let state = match (expected.completed, expected.start) {
                (true, _) => DrainState::Completed,
                (false, Some(_)) => DrainState::Draining,
                (false, None) => DrainState::NotDraining,
            };
            assert_eq!(node.state(), state, "node {index}");
            assert_eq!(
                node.event().map(|event| event.start),
                expected.start.map(at),
                "start of {index}"
            );
            assert_eq!(
                node.deadline(),
                expected.deadline.map(at),
                "deadline of {index}"
            );
            let below = tree.below(index);
            let open = tree
                .watches
                .iter()
                .filter(|(node, _)| below.contains(node))
                .count();
            assert_eq!(node.open_watches(), open, "open below {index}");
            let ended = |run: &usize| tree.now >= tree.runs[*run].deadline;
            for scope in [InboundOnly, All] {
                let mut covering = expected
                    .joined
                    .iter()
                    .filter(|&&run| scope <= tree.runs[run].direction);
                let yes = tree.failed && !expected.modify_only || covering.any(ended);
                // With the highest sample only the end says yes.
                let answer = node.is_due_at(scope, system.now, || T / 1000 - 1);
                assert_eq!(answer, yes, "{scope:?} at {index}");
            }
        }
        for (watch, &(node, opened)) in system.watches.iter().zip(&tree.watches) {
            let expected = &tree.nodes[node];
            let paced = expected
                .joined
                .iter()
                .any(|&run| tree.sequences.contains(&run) && tree.covers(run, node));
            let (Some(start), true) = (expected.start, paced) else {
                continue;
            };
            if expected
                .deadline
                .is_some_and(|deadline| deadline <= tree.now)
            {
                assert!(watch.phase() >= Phase::Expired, "{watch:?} of {node}");
            }
            // Who opened at the very start may have done so before it or after.
            if opened < start + T / 4 && tree.now >= start + T / 4 {
                assert!(
                    watch.phase() >= Phase::Signaled,
                    "{watch:?} of {node}, opened at {opened}"
                );
            }
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_does_what_a_naive_model_does(sequential 1..60 => System);
}
