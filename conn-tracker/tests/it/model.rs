//! Any sequence of calls against a list that does the same slowly.

use conn_tracker::{
    ConnGuard, ConnInfo, ConnLabel, ConnProtocol, ConnState, ConnTracker, Peer, TrackerOptions,
};
use proptest::{prelude::*, sample::Index};

const GROUPS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Open { group: usize, excluded: bool },
    Clone(Index),
    Drop(Index),
    State(Index, ConnState),
    Protocol(Index, ConnProtocol),
    Exclude(Index, bool),
    Chain(Index, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    prop_oneof![
        4 => (0..GROUPS, any::<bool>()).prop_map(|(group, excluded)| Step::Open { group, excluded }),
        1 => at().prop_map(Step::Clone),
        3 => at().prop_map(Step::Drop),
        3 => (at(), 0..4usize).prop_map(|(at, state)| Step::State(at, ConnState::ALL[state])),
        1 => (at(), 0..ConnProtocol::ALL.len()).prop_map(|(at, p)| Step::Protocol(at, ConnProtocol::ALL[p])),
        1 => (at(), any::<bool>()).prop_map(|(at, excluded)| Step::Exclude(at, excluded)),
        2 => (at(), 0..2usize).prop_map(|(at, chain)| Step::Chain(at, chain)),
    ]
}

struct Conn {
    guards: Vec<ConnGuard>,
    group: usize,
    chain: Option<usize>,
    state: ConnState,
    protocol: ConnProtocol,
    excluded: bool,
}

fn label(excluded: bool) -> ConnLabel {
    if excluded {
        ConnLabel::Metrics
    } else {
        ConnLabel::Traffic
    }
}

proptest! {
    #[test]
    fn the_registry_agrees_with_a_plain_list(steps in prop::collection::vec(step(), 1..200), shards in 1..5usize, limit in 1..40usize) {
        let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(shards));
        let groups: Vec<_> = (0..GROUPS).map(|g| tracker.group("ingress", g as u64)).collect();
        let chains: Vec<_> = ["a", "b"].iter().map(|name| groups[0].chain(name)).collect();
        let mut list: Vec<Conn> = Vec::new();
        let mut waits = [0, 1, 3].map(|few| (few, tokio_test::task::spawn(tracker.wait_at_most(few))));
        let mut opened = 0;

        for step in steps {
            let pick = |at: &Index, list: &[Conn]| (!list.is_empty()).then(|| at.index(list.len()));
            match step {
                Step::Open { group, excluded } => {
                    let guards = vec![groups[group].open(ConnInfo::new(Peer::Unix).with_label(label(excluded)))];
                    let (state, protocol) = Default::default();
                    list.push(Conn { guards, group, chain: None, state, protocol, excluded });
                    opened += 1;
                }
                Step::Clone(at) => if let Some(at) = pick(&at, &list) {
                    let clone = list[at].guards[0].clone();
                    list[at].guards.push(clone);
                }
                Step::Drop(at) => if let Some(at) = pick(&at, &list) {
                    list[at].guards.pop();
                    if list[at].guards.is_empty() {
                        list.remove(at);
                    }
                }
                Step::State(at, to) => if let Some(at) = pick(&at, &list) {
                    let moved = list[at].guards[0].set_state(to);
                    prop_assert_eq!(moved.is_ok(), list[at].state <= to);
                    list[at].state = list[at].state.max(to);
                }
                Step::Protocol(at, protocol) => if let Some(at) = pick(&at, &list) {
                    list[at].guards[0].set_protocol(protocol);
                    list[at].protocol = protocol;
                }
                Step::Exclude(at, excluded) => if let Some(at) = pick(&at, &list) {
                    list[at].guards[0].set_label(label(excluded));
                    list[at].excluded = excluded;
                }
                Step::Chain(at, chain) => if let Some(at) = pick(&at, &list) {
                    let attached = list[at].guards[0].attach_chain(&chains[chain]);
                    prop_assert_eq!(attached.is_ok(), list[at].group == 0, "the chains are of version 0");
                    if attached.is_ok() {
                        list[at].chain = Some(chain);
                    }
                }
            }

            let count = |wanted: &dyn Fn(&Conn) -> bool| list.iter().filter(|c| wanted(c)).count() as u64;
            let agrees = |counts: conn_tracker::ConnCounts, here: &dyn Fn(&Conn) -> bool| {
                counts.total == count(here)
                    && counts.awaited == count(&|c| here(c) && !c.excluded)
                    && ConnState::ALL.iter().all(|s| counts.state(*s) == count(&|c| here(c) && c.state == *s))
                    && ConnProtocol::ALL.iter().all(|p| counts.protocol(*p) == count(&|c| here(c) && c.protocol == *p))
            };
            prop_assert!(agrees(tracker.counts(), &|_| true));
            for (index, group) in groups.iter().enumerate() {
                prop_assert!(agrees(group.counts(), &|c| c.group == index));
            }
            for (index, chain) in chains.iter().enumerate() {
                prop_assert!(agrees(chain.counts(), &|c| c.chain == Some(index)));
            }
            let (mut paged, mut after) = (vec![], None);
            loop {
                let page = tracker.snapshot_page(after, limit);
                prop_assert!(page.connections.len() <= limit);
                paged.extend(page.connections);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&paged, &tracker.snapshot());
            let mut seen: Vec<_> = tracker.snapshot().into_iter().map(|c| (c.id, c.state)).collect();
            let mut there: Vec<_> = list.iter().map(|c| (c.guards[0].id(), c.state)).collect();
            seen.sort();
            there.sort();
            prop_assert_eq!(seen, there);
            prop_assert_eq!(tracker.transitions(ConnState::Active), opened);

            let held = count(&|c| !c.excluded);
            for (few, wait) in &mut waits {
                let is_over = wait.poll().is_ready();
                prop_assert_eq!(is_over, held <= *few);
                if is_over {
                    *wait = tokio_test::task::spawn(tracker.wait_at_most(*few));
                }
            }
        }
        drop(list);
        prop_assert_eq!(tracker.transitions(ConnState::Closed), opened);
        drop((groups, chains));
        prop_assert!(tracker.groups().is_empty());
    }
}
