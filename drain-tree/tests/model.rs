//! The tree against a naive model: any history of children, connections, starts, deadlines, health and time.
//!
//! The model knows nothing of pacing, batches or attention. It walks all nodes at every step, and says what each must
//! look like once everybody who has something to do has done it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use drain_tree::DrainDirection::{All, InboundOnly};
use drain_tree::drain_signal::Phase;
use drain_tree::{
    ChildOptions, DrainDirection, DrainManager, DrainReason, DrainSequence, DrainSettings, DrainStart,
    DrainState, DrainType, DrainWatch, TrafficDirection,
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Milliseconds, as everything in the model.
const T: u64 = 60_000;
const DROP_AFTER: u64 = 250;

#[derive(Debug, Clone, Default)]
struct Tree {
    now: u64,
    failed: bool,
    nodes: Vec<Node>,
    runs: Vec<Run>,
    /// The node and the time of opening of each watcher that is open.
    watches: Vec<(usize, u64)>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    parent: Option<usize>,
    inbound: bool,
    modify_only: bool,
    gone: bool,
    joined: Vec<usize>,
    start: Option<u64>,
    deadline: Option<u64>,
    completed: bool,
}

#[derive(Debug, Clone)]
struct Run {
    origin: usize,
    direction: DrainDirection,
    closes: bool,
    start: u64,
    deadline: u64,
    over: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Child {
        parent: usize,
        inbound: bool,
        modify_only: bool,
    },
    Drop {
        node: usize,
    },
    Open {
        node: usize,
    },
    Close {
        watch: usize,
    },
    Start {
        node: usize,
        direction: DrainDirection,
        closes: bool,
    },
    BringForward {
        node: usize,
        after: u64,
    },
    Health {
        failed: bool,
    },
    Pass {
        time: u64,
    },
}

impl Tree {
    /// The nodes that a walk from `top` finds: it does not get past one that is gone.
    fn below(&self, top: usize) -> Vec<usize> {
        let mut found = vec![top];
        for (index, node) in self.nodes.iter().enumerate().skip(top + 1) {
            if !node.gone && node.parent.is_some_and(|parent| found.contains(&parent)) {
                found.push(index);
            }
        }
        found
    }

    fn covers(&self, run: usize, node: usize) -> bool {
        self.nodes[node].joined.contains(&run)
            && (self.runs[run].direction == All || self.nodes[node].inbound)
    }

    fn join(&mut self, run: usize, node: usize) {
        self.nodes[node].joined.push(run);
        if !self.covers(run, node) {
            return;
        }
        let Run {
            start,
            deadline,
            closes,
            over,
            ..
        } = self.runs[run];
        let node = &mut self.nodes[node];
        node.start.get_or_insert(start);
        if closes {
            node.deadline = Some(node.deadline.map_or(deadline, |own| own.min(deadline)));
            node.completed |= over;
        }
    }

    fn bring_forward(&mut self, top: usize, deadline: u64) {
        for index in self.below(top) {
            let node = &mut self.nodes[index];
            if node.start.is_some() {
                node.deadline = Some(node.deadline.map_or(deadline, |own| own.min(deadline)));
            }
            for run in self
                .runs
                .iter_mut()
                .filter(|run| run.origin == index && run.closes)
            {
                run.deadline = run.deadline.min(deadline);
            }
        }
    }

    /// Everything that is due at `now` has happened.
    fn settle(&mut self) {
        for run in 0..self.runs.len() {
            let members: Vec<_> = (0..self.nodes.len())
                .filter(|&node| self.covers(run, node))
                .collect();
            let empty = !self.watches.iter().any(|(node, _)| members.contains(node));
            let now = self.now;
            let run = &mut self.runs[run];
            if run.over {
                continue;
            }
            run.over = match run.closes {
                true => empty || now >= run.deadline + DROP_AFTER,
                false => now >= run.deadline,
            };
            if run.over && run.closes {
                members
                    .into_iter()
                    .for_each(|node| self.nodes[node].completed = true);
            }
        }
    }
}

impl ReferenceStateMachine for Tree {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            nodes: vec![Node::default()],
            ..Self::default()
        })
        .boxed()
    }

    fn transitions(tree: &Self) -> BoxedStrategy<Step> {
        let node = 0..tree.nodes.len();
        let directions = prop_oneof![Just(InboundOnly), Just(All)];
        let steps = prop_oneof![
            4 => (node.clone(), any::<bool>(), any::<bool>()).prop_map(|(parent, inbound, modify_only)| Step::Child {
                parent, inbound, modify_only
            }),
            1 => node.clone().prop_map(|node| Step::Drop { node }),
            5 => node.clone().prop_map(|node| Step::Open { node }),
            3 => (node.clone(), directions, any::<bool>()).prop_map(|(node, direction, closes)| Step::Start {
                node, direction, closes
            }),
            1 => (node, 0..2 * T).prop_map(|(node, after)| Step::BringForward { node, after }),
            1 => any::<bool>().prop_map(|failed| Step::Health { failed }),
            3 => prop_oneof![0..T / 4, 0..2 * T].prop_map(|time| Step::Pass { time }),
        ];
        if tree.watches.is_empty() {
            return steps.boxed();
        }
        prop_oneof![4 => steps, 1 => (0..tree.watches.len()).prop_map(|watch| Step::Close { watch })].boxed()
    }

    fn preconditions(tree: &Self, step: &Step) -> bool {
        match *step {
            Step::Child { parent: node, .. }
            | Step::Open { node }
            | Step::Start { node, .. }
            | Step::BringForward { node, .. } => tree.nodes.get(node).is_some_and(|node| !node.gone),
            Step::Drop { node } => node > 0 && tree.nodes.get(node).is_some_and(|node| !node.gone),
            Step::Close { watch } => watch < tree.watches.len(),
            Step::Health { .. } | Step::Pass { .. } => true,
        }
    }

    fn apply(mut tree: Self, step: &Step) -> Self {
        match *step {
            Step::Child {
                parent,
                inbound,
                modify_only,
            } => {
                let child = tree.nodes.len();
                tree.nodes.push(Node {
                    parent: Some(parent),
                    inbound,
                    modify_only,
                    ..Node::default()
                });
                for run in tree.nodes[parent].joined.clone() {
                    tree.join(run, child);
                }
                let (own, inherited) = (&tree.nodes[parent], &tree.nodes[child]);
                if let (Some(deadline), true) = (own.deadline, own.start == inherited.start) {
                    tree.bring_forward(child, deadline);
                }
            }
            Step::Drop { node } => tree.nodes[node].gone = true,
            Step::Open { node } if tree.nodes[node].completed => {}
            Step::Open { node } => tree.watches.push((node, tree.now)),
            Step::Close { watch } => drop(tree.watches.swap_remove(watch)),
            Step::Start {
                node,
                direction,
                closes,
            } => {
                let covered = tree.nodes[node].joined.iter().map(|&run| &tree.runs[run]);
                if !covered
                    .into_iter()
                    .any(|run| direction <= run.direction && (run.closes || !closes))
                {
                    let (start, deadline) = (tree.now, tree.now + T);
                    tree.runs.push(Run {
                        origin: node,
                        direction,
                        closes,
                        start,
                        deadline,
                        over: false,
                    });
                    for below in tree.below(node) {
                        tree.join(tree.runs.len() - 1, below);
                    }
                }
            }
            Step::BringForward { node, after } => tree.bring_forward(node, tree.now + after),
            Step::Health { failed } => tree.failed = failed,
            Step::Pass { time } => tree.now += time,
        }
        tree.settle();
        tree
    }
}

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
            self.sequences.retain(|sequence| {
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
        let root = DrainManager::root(DrainSettings::default().with_drain_time(Duration::from_millis(T)));
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
        let running = tree.runs.iter().filter(|run| !run.over).count();
        assert!(
            system.sequences.len() >= running,
            "what is not over has a sequence"
        );
        assert!(running > 0 || system.sequences.is_empty(), "all is over");
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
            assert_eq!(node.deadline(), expected.deadline.map(at), "deadline of {index}");
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
                let answer = node.drain_close_at(scope, system.now, || T / 1000 - 1);
                assert_eq!(answer, yes, "{scope:?} at {index}");
            }
        }
        for (watch, &(node, opened)) in system.watches.iter().zip(&tree.watches) {
            let expected = &tree.nodes[node];
            let paced = expected
                .joined
                .iter()
                .any(|&run| !tree.runs[run].over && tree.covers(run, node));
            let (Some(start), true) = (expected.start, paced) else {
                continue;
            };
            if expected.deadline.is_some_and(|deadline| deadline <= tree.now) {
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
