//! The naive model: a tree that walks all its nodes at every step.

use drain_tree::DrainDirection::{self, All, InboundOnly};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// Milliseconds, as everything in the model.
pub(crate) const T: u64 = 60_000;
pub(crate) const DROP_AFTER: u64 = 250;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) now: u64,
    pub(crate) failed: bool,
    pub(crate) nodes: Vec<Node>,
    pub(crate) runs: Vec<Run>,
    /// The run of each sequence that is polled.
    pub(crate) sequences: Vec<usize>,
    /// The node and the time of opening of each watcher that is open.
    pub(crate) watches: Vec<(usize, u64)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) parent: Option<usize>,
    pub(crate) inbound: bool,
    pub(crate) modify_only: bool,
    pub(crate) gone: bool,
    pub(crate) joined: Vec<usize>,
    pub(crate) start: Option<u64>,
    pub(crate) deadline: Option<u64>,
    pub(crate) completed: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) origin: usize,
    pub(crate) direction: DrainDirection,
    pub(crate) closes: bool,
    pub(crate) start: u64,
    pub(crate) deadline: u64,
    pub(crate) over: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
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
    Forget {
        sequence: usize,
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
    pub(crate) fn below(&self, top: usize) -> Vec<usize> {
        let mut found = vec![top];
        for (index, node) in self.nodes.iter().enumerate().skip(top + 1) {
            if !node.gone && node.parent.is_some_and(|parent| found.contains(&parent)) {
                found.push(index);
            }
        }
        found
    }

    pub(crate) fn covers(&self, run: usize, node: usize) -> bool {
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
        for nth in 0..self.runs.len() {
            let members: Vec<_> = (0..self.nodes.len())
                .filter(|&node| self.covers(nth, node))
                .collect();
            let empty = !self.watches.iter().any(|(node, _)| members.contains(node));
            let now = self.now;
            let run = &mut self.runs[nth];
            if run.over || !self.sequences.contains(&nth) {
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
        self.sequences.retain(|&run| !self.runs[run].over);
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
        let steps = if tree.sequences.is_empty() {
            steps.boxed()
        } else {
            let forget = (0..tree.sequences.len()).prop_map(|sequence| Step::Forget { sequence });
            prop_oneof![12 => steps, 1 => forget].boxed()
        };
        if tree.watches.is_empty() {
            return steps;
        }
        prop_oneof![4 => steps, 1 => (0..tree.watches.len()).prop_map(|watch| Step::Close { watch })].boxed()
    }

    fn preconditions(tree: &Self, step: &Step) -> bool {
        match *step {
            Step::Child { parent: node, .. }
            | Step::Open { node }
            | Step::Start { node, .. }
            | Step::BringForward { node, .. } => {
                tree.nodes.get(node).is_some_and(|node| !node.gone)
            }
            Step::Drop { node } => node > 0 && tree.nodes.get(node).is_some_and(|node| !node.gone),
            Step::Close { watch } => watch < tree.watches.len(),
            Step::Forget { sequence } => sequence < tree.sequences.len(),
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
                let joined = tree.nodes[node].joined.iter();
                let mut running = joined.filter(|&&run| {
                    let run = &tree.runs[run];
                    direction <= run.direction && (run.closes || !closes)
                });
                if let Some(&run) = running.next() {
                    tree.sequences.push(run);
                } else {
                    let (start, deadline) = (tree.now, tree.now + T);
                    tree.sequences.push(tree.runs.len());
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
            Step::Forget { sequence } => drop(tree.sequences.remove(sequence)),
            Step::Health { failed } => tree.failed = failed,
            Step::Pass { time } => tree.now += time,
        }
        tree.settle();
        tree
    }
}
