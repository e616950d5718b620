//! Random sequences of updates, warm-ups and completions against a naive model of what must be true
//! after each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::set::Wanted;

use super::bench::warm;
use super::config::{Config, at_port, listener};
use drain_tree::DrainDirection;
use listener_versions::{
    Change, Effect, ListenAddress, SocketKey, Update, UpdateError, UpdateReport, VersionSet,
    VersionState,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Lds(Vec<Config>, bool),
    Delta(Vec<Config>, Vec<String>),
    Warmed(usize),
    Complete(usize),
    CompleteChain(usize),
    Stop(bool),
    /// Another process has this port: it cannot be bound, or (`true`) not be listened on.
    Port {
        taken: Option<(u16, bool)>,
    },
}

/// What an observer of the effects knows: which content each name serves, and what became of each
/// version.
#[derive(Default)]
struct Notebook {
    /// Which version takes what comes, by socket.
    current: HashMap<SocketKey, u64>,
    serving: BTreeMap<String, Config>,
    open: HashSet<SocketKey>,
    created: BTreeSet<u64>,
    activated: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    drained: BTreeSet<u64>,
    reaped: BTreeSet<u64>,
    /// Chains of the active versions by number: version, identity, content.
    chains: BTreeMap<u64, (u64, &'static str, u32)>,
    chains_seen: BTreeSet<u64>,
    chains_draining: BTreeSet<u64>,
    chains_reaped: BTreeSet<u64>,
}

impl Notebook {
    fn effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Create { version } => {
                    assert!(self.created.insert(*version), "{version} twice")
                }
                Effect::Activate {
                    version, sockets, ..
                } => {
                    assert!(self.activated.insert(*version));
                    for socket in sockets {
                        assert!(
                            self.open.contains(socket),
                            "{version} accepts on {socket}, which is closed"
                        );
                        self.current.insert(socket.clone(), *version);
                    }
                }
                Effect::Discard { version, .. } => {
                    assert!(!self.activated.contains(version) && self.ended.insert(*version));
                }
                Effect::Drain { version, .. } => {
                    assert!(self.activated.contains(version) && self.ended.insert(*version));
                    self.drained.insert(*version);
                    let serves = self.current.values().any(|current| current == version);
                    assert!(!serves, "{version} drains and takes what comes");
                }
                Effect::UpdateInPlace { version } => {
                    assert!(self.activated.contains(version) && !self.ended.contains(version));
                }
                Effect::DrainChain { chain, .. } => {
                    assert!(self.chains.contains_key(chain));
                    assert!(
                        self.chains_draining.insert(*chain),
                        "chain {chain} drains twice"
                    );
                }
                Effect::Close { socket, last } => {
                    assert!(self.open.remove(socket), "{socket} was not open");
                    assert_eq!(self.current.remove(socket), *last, "{socket}");
                }
            }
        }
    }

    fn report(&mut self, set: &VersionSet<Config>, report: &UpdateReport) {
        for (name, change) in report.changes() {
            match change {
                Change::Added { version } | Change::Modified { version, .. } => {
                    // A version may have been replaced by nothing else within one update.
                    let config = set.get(version).map(|version| (*version.config).clone());
                    self.serving
                        .insert(name.to_owned(), config.expect("it was just added"));
                }
                Change::UpdatedInPlace {
                    version,
                    kept,
                    added,
                    draining,
                } => {
                    let config = (*set.get(version).expect("it goes on").config).clone();
                    assert_eq!(kept + added, config.chains.len());
                    let before = self.serving.insert(name.to_owned(), config.clone());
                    let before = before.expect("it was serving");
                    assert_eq!(kept + draining, before.chains.len());
                    assert_eq!(
                        (before.content, &before.address, &before.more),
                        (config.content, &config.address, &config.more)
                    );
                }
                Change::Removed { .. } => drop(self.serving.remove(name)),
                _ => {}
            }
        }
    }

    /// A chain of a version that goes on is the same instance exactly as long as its content is the
    /// same.
    fn check_chains(&mut self, set: &VersionSet<Config>) {
        let active = set
            .iter()
            .filter(|version| version.state == VersionState::Active);
        let now: BTreeMap<u64, (u64, &'static str, u32)> = active
            .flat_map(|version| {
                let chains = version.chains.iter().zip(&version.config.chains);
                chains.map(|(record, (id, content))| {
                    assert_eq!((record.version, &*record.id), (version.number, *id));
                    (record.number, (version.number, *id, *content))
                })
            })
            .collect();
        for (number, chain) in &self.chains {
            let version_goes_on = !self.ended.contains(&chain.0);
            let same = now.values().any(|other| other == chain);
            match now.get(number) {
                Some(still) => assert_eq!(still, chain, "a chain never changes"),
                None if version_goes_on => {
                    assert!(
                        self.chains_draining.contains(number),
                        "chain {number} is forgotten"
                    );
                    assert!(!same, "chain {number} is drained, and is there unchanged");
                }
                None => {}
            }
        }
        for number in now
            .keys()
            .filter(|number| !self.chains.contains_key(number))
        {
            assert!(
                self.chains_seen.insert(*number),
                "chain {number} comes back"
            );
        }
        self.chains = now;
        let draining: BTreeSet<u64> = set.draining_chains().map(|chain| chain.number).collect();
        assert_eq!(draining, &self.chains_draining - &self.chains_reaped);
    }

    fn check(&self, set: &VersionSet<Config>) {
        let mut accepting = BTreeMap::new();
        let mut held = HashSet::new();
        for version in set.iter() {
            if version.state == VersionState::Active && version.superseded.is_none() {
                let before = accepting.insert(version.name.to_string(), (*version.config).clone());
                assert!(before.is_none(), "two active versions of {}", version.name);
            }
            if version.superseded.is_some() && version.state == VersionState::Active {
                assert!(version.accepting(), "{version:?} waits for nothing");
            }
            let sockets = &version.asked.sockets;
            if version.state == VersionState::Active && version.superseded.is_none() {
                let all = version.serves.len() == sockets.len();
                assert!(all || !version.accepting(), "{version:?} serves a part");
            }
            for socket in &version.serves {
                assert!(sockets.contains(socket), "{version:?}");
                assert_eq!(version.state, VersionState::Active);
                assert_eq!(self.current.get(socket), Some(&version.number));
                let first = held.insert(socket.clone());
                assert!(first, "two versions accept on {socket}");
            }
        }
        assert_eq!(accepting, self.serving, "what serves is what was reported");
        for (socket, current) in &self.current {
            let current = set.get(*current).expect("it is not reaped");
            assert!(
                current.serves.contains(socket),
                "{current:?} takes what comes on {socket}"
            );
            assert_eq!(set.server(socket), Some(current.number));
        }
        let warming = set
            .iter()
            .filter(|version| version.state == VersionState::Warming);
        held.extend(warming.flat_map(|version| version.asked.sockets.clone()));
        assert_eq!(
            held, self.open,
            "a socket is open as long as a version needs it, and no longer"
        );
        let living: BTreeSet<u64> = set.iter().map(|version| version.number).collect();
        let gone = &self.reaped | &(&self.ended - &self.drained);
        assert_eq!(
            living,
            &self.created - &gone,
            "no version is forgotten, none stays"
        );
    }
}

fn config() -> impl Strategy<Value = Config> {
    (
        prop::sample::select(vec!["a", "b", "c", "d"]),
        (
            80u16..83,
            prop::collection::vec(80u16..84, 0..3),
            prop::bool::weighted(0.1),
        ),
        0u32..2,
        0u8..10,
        prop::collection::btree_map(prop::sample::select(vec!["x", "y", "z"]), 0u32..2, 0..4),
    )
        .prop_map(|(name, (port, more, internal), content, kind, chains)| {
            let mut config = listener(name, port, content).chains(chains);
            config.more = more.into_iter().map(at_port).collect();
            config
                .more
                .extend(internal.then_some(ListenAddress::Internal));
            match kind {
                0 => config.bad("filter_chains"),
                1 | 2 => config.warming(),
                3 => config.inbound(),
                _ => config,
            }
        })
}

fn op() -> impl Strategy<Value = Op> {
    let configs = || prop::collection::vec(config(), 0..5);
    prop_oneof![
        8 => (configs(), prop::bool::weighted(0.2)).prop_map(|(configs, atomic)| Op::Lds(configs, atomic)),
        4 => (configs(), prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..2))
            .prop_map(|(configs, removed)| Op::Delta(configs, removed.into_iter().map(String::from).collect())),
        3 => (0usize..4).prop_map(Op::Warmed),
        4 => (0usize..4).prop_map(Op::Complete),
        3 => (0usize..4).prop_map(Op::CompleteChain),
        1 => prop::bool::weighted(0.1).prop_map(Op::Stop),
        1 => prop::option::of((80u16..84, any::<bool>())).prop_map(|taken| Op::Port { taken }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_one_version_of_a_name_accepts_and_each_is_reaped_once(ops in prop::collection::vec(op(), 1..30)) {
        let mut set = VersionSet::new();
        let mut notebook = Notebook::default();
        let mut taken_port = None;
        for op in ops {
            match op {
                Op::Lds(configs, atomic) => {
                    let update = Update::lds("v", configs);
                    let update = if atomic { update.atomic() } else { update };
                    let before = format!("{set:?}");
                    let report = apply(&mut set, &mut notebook, update, taken_port);
                    if atomic && !report.is_success() {
                        prop_assert_eq!(format!("{set:?}"), before, "all or nothing");
                    }
                }
                Op::Delta(configs, removed) => {
                    drop(apply(&mut set, &mut notebook, Update::delta("v", configs, removed), taken_port));
                }
                Op::Warmed(index) => {
                    let warming = pick(&set, VersionState::Warming, index);
                    let Some(version) = warming else { continue };
                    let name = Arc::clone(&set.get(version).expect("it is warming").name);
                    let effects = warm(&mut set, version).expect("it is warming");
                    notebook.effects(&effects);
                    let record = set.active(&name).expect("it is active now, or the one before took its chains");
                    notebook.serving.insert(record.name.to_string(), (*record.config).clone());
                }
                Op::Complete(index) => {
                    let Some(version) = pick(&set, VersionState::Draining, index) else { continue };
                    prop_assert!(set.complete(version).is_ok());
                    prop_assert!(notebook.reaped.insert(version));
                    prop_assert!(set.complete(version).is_err(), "only once");
                }
                Op::CompleteChain(index) => {
                    let Some(chain) = set.draining_chains().map(|chain| chain.number).nth(index) else { continue };
                    prop_assert!(set.complete_chain(chain).is_some());
                    prop_assert!(notebook.chains_reaped.insert(chain));
                    prop_assert!(set.complete_chain(chain).is_none(), "only once");
                }
                Op::Stop(all) => {
                    let direction = if all { DrainDirection::All } else { DrainDirection::InboundOnly };
                    notebook.effects(&set.stop(direction).1);
                }
                Op::Port { taken } => taken_port = taken,
            }
            notebook.check_chains(&set);
            notebook.check(&set);
        }
    }
}

fn pick(set: &VersionSet<Config>, state: VersionState, index: usize) -> Option<u64> {
    set.iter()
        .filter(|version| version.state == state)
        .map(|version| version.number)
        .nth(index)
}

fn apply(
    set: &mut VersionSet<Config>,
    notebook: &mut Notebook,
    update: Update<Config>,
    taken: Option<(u16, bool)>,
) -> UpdateReport {
    let mut opened = HashSet::new();
    let is_atomic = update.atomic;
    let (report, effects) = set.apply(update, |_, _, wanted| {
        let (socket, listens) = match wanted {
            Wanted::Bind(socket) => (socket, false),
            Wanted::Listen(socket) => (socket, true),
            Wanted::Close(socket) => {
                assert!(opened.remove(socket), "{socket} was not opened");
                return Ok(());
            }
        };
        let port = socket.address().as_socket().map(|address| address.port());
        if port.is_some()
            && port
                == taken
                    .filter(|taken| taken.1 == listens)
                    .map(|taken| taken.0)
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let is_first = listens || opened.insert(socket.clone());
        assert!(is_first, "{socket} is opened twice in an update");
        Ok(())
    });
    for socket in opened {
        assert!(
            notebook.open.insert(socket),
            "a socket is never opened twice"
        );
    }
    notebook.effects(&effects);
    notebook.report(set, &report);
    if !is_atomic {
        refused_for_an_owner(set, &report);
    }
    report
}

/// Nothing is refused for an address that its owner leaves, unless that one is refused itself.
fn refused_for_an_owner(set: &VersionSet<Config>, report: &UpdateReport) {
    for error in report.errors() {
        let UpdateError::AddressConflict {
            address, held_by, ..
        } = error
        else {
            continue;
        };
        let sockets = set.sockets.iter();
        let mut owners = sockets.filter(|(socket, _)| socket.address() == address);
        let has_it = owners.any(|(_, owned)| owned.name == *held_by);
        let is_refused = matches!(report.outcome(held_by), Some(Err(_)));
        assert!(has_it || is_refused, "{error}: {set:?}");
    }
}
