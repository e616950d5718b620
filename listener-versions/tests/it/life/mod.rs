//! Any history of updates, connections, ends, drains and time, on real sockets, against a naive
//! model: no connection is on two versions or lost, each ends once and for the right reason, each
//! version is reaped once, and one version of a name accepts.
//!
//! Time is paused. Two workers accept; some of their handlers panic, and so does every third call
//! of the observer.

mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::wire::{any_port, port};
use crate::common::{Config, at};
use conn_tracker::{ConnId, ConnTracker};
use drain_tree::{DrainDirection, DrainManager, DrainOutcome, DrainSettings};
use listener_versions::{
    AcceptPolicy, Accepted, Change, ListenerObserver, Listeners, ListenersOptions, Update,
    VersionState, VersionView,
};
use proptest::prelude::*;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use reference::{DRAIN, End, NAMES, Notebook, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::yield_now;

/// How often others may run before something that must happen is missed. Nothing here takes time.
const PATIENCE: usize = 100_000;
/// And before something that must not happen would have.
const ALERT: usize = 300;

/// Passes on what must come once, then panics now and then: nothing else may come of it.
struct Observer {
    reaped: mpsc::Sender<u64>,
    calls: AtomicUsize,
}

impl Observer {
    fn panic_at_times(&self) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(call % 3 != 2, "an observer of somebody else");
    }
}

impl ListenerObserver for Observer {
    fn activated(&self, _: &VersionView, _: Option<u64>) {
        self.panic_at_times();
    }

    fn drained(&self, version: &VersionView, _: &DrainOutcome) {
        self.reaped.send(version.number).expect("the test listens");
        self.panic_at_times();
    }
}

/// What a connection's task says about it: who it was, and how it ended.
type Ends = mpsc::Sender<(SocketAddr, End)>;

/// Tells the version, ignores that it is asked to leave, and stays until the client goes or the
/// time is over.
async fn serve(accepted: Accepted<Config>, ids: mpsc::Sender<(SocketAddr, ConnId)>, ends: Ends) {
    let Accepted {
        mut stream,
        peer,
        version,
        watch,
        conn,
        ..
    } = accepted;
    let peer = peer.as_socket().expect("TCP");
    ids.send((peer, conn.id())).expect("the test listens");
    stream
        .write_u64(version.number())
        .await
        .expect("the client is there");
    let end = tokio::select! {
        biased;
        _ = watch.expired() => if watch.is_forced() { End::Forced } else { End::AtDeadline },
        _ = stream.read_u8() => End::ByClient,
    };
    drop((stream, watch, conn));
    ends.send((peer, end)).expect("the test listens");
}

struct System {
    runtime: Runtime,
    listeners: Listeners<Config>,
    tracker: ConnTracker,
    panics: Arc<AtomicBool>,
    content: u32,
    /// The content of each listener that there is.
    configs: BTreeMap<usize, u32>,
    clients: Vec<(SocketAddr, Option<TcpStream>)>,
    ids: mpsc::Receiver<(SocketAddr, ConnId)>,
    known: BTreeMap<SocketAddr, ConnId>,
    ends: mpsc::Receiver<(SocketAddr, End)>,
    ended: BTreeMap<usize, End>,
    reaps: mpsc::Receiver<u64>,
    reaped: BTreeSet<u64>,
}

impl System {
    fn apply_update(&self) -> Vec<(String, Change)> {
        let configs = self
            .configs
            .iter()
            .map(|(name, content)| at(NAMES[*name], any_port(), *content).reuse_port(*name == 1));
        let report = self
            .runtime
            .block_on(self.listeners.apply(Update::lds("v", configs)));
        assert!(report.is_success(), "{report:?}");
        report
            .changes()
            .map(|(name, change)| (name.to_owned(), change))
            .collect()
    }

    /// Lets everybody run until `done`, and a little longer.
    fn settle(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let mut left = PATIENCE;
        loop {
            self.collect();
            let finished = done(self);
            left = if finished { left.min(ALERT) } else { left };
            if left == 0 {
                assert!(finished, "something is missed");
                return;
            }
            left -= 1;
            self.runtime.block_on(yield_now());
        }
    }

    fn collect(&mut self) {
        self.known.extend(self.ids.try_iter());
        for (peer, end) in self.ends.try_iter() {
            // A port may be used again: its first user that is still there has ended first.
            let mut clients = self.clients.iter().enumerate();
            let index = clients.position(|(index, (address, _))| {
                *address == peer && !self.ended.contains_key(&index)
            });
            let index = index.expect("no other client connects");
            assert_eq!(
                self.ended.insert(index, end),
                None,
                "connection {index} ends twice"
            );
        }
        for version in self.reaps.try_iter() {
            assert!(
                self.reaped.insert(version),
                "version {version} is reaped twice"
            );
        }
    }

    /// What the client of a new connection hears, to the end of the connection or the first eight
    /// bytes.
    fn hear(&mut self, mut client: &TcpStream) -> Option<u64> {
        client.set_nonblocking(true).expect("a socket");
        let mut heard = [0; 8];
        for _ in 0..PATIENCE {
            match client.read(&mut heard) {
                Ok(8) => return Some(u64::from_be_bytes(heard)),
                Ok(_) => return None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.runtime.block_on(yield_now())
                }
                // A handler that panics leaves nothing unread, so nothing is reset either.
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no answer");
    }
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Notebook;

    fn init_test(_: &Notebook) -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let tracker = ConnTracker::new();
        let (reaped, reaps) = mpsc::channel();
        let (sender, ids) = mpsc::channel();
        let (reported, ends) = mpsc::channel();
        let panics = Arc::new(AtomicBool::new(false));
        let root = DrainManager::root(
            DrainSettings::default().with_drain_time(Duration::from_millis(DRAIN)),
        );
        let observer = Observer {
            reaped,
            calls: AtomicUsize::new(0),
        };
        let options = ListenersOptions::default();
        let (listeners, driver) = Listeners::new(root, tracker.clone(), options, observer);
        runtime.spawn(driver);
        for _ in 0..2 {
            let (ids, ends, panics) = (sender.clone(), reported.clone(), Arc::clone(&panics));
            runtime.spawn(listeners.worker().run(move |accepted| {
                assert!(
                    !panics.load(Ordering::Relaxed),
                    "a handler of somebody else"
                );
                tokio::spawn(serve(accepted, ids.clone(), ends.clone()));
            }));
        }
        Self {
            runtime,
            listeners,
            tracker,
            panics,
            content: 0,
            configs: BTreeMap::new(),
            clients: Vec::new(),
            ids,
            known: BTreeMap::new(),
            ends,
            ended: BTreeMap::new(),
            reaps,
            reaped: BTreeSet::new(),
        }
    }

    fn apply(mut system: Self, notebook: &Notebook, step: Step) -> Self {
        match step {
            Step::Update(name) => {
                system.content += 1;
                system.configs.insert(name, system.content);
                system.apply_update();
            }
            Step::Again(_) => {
                let changes = system.apply_update();
                assert!(
                    changes
                        .iter()
                        .all(|(_, change)| *change == Change::Unchanged)
                );
            }
            Step::Remove(name) => {
                system.configs.remove(&name);
                system.apply_update();
            }
            Step::Connect { name, panics } => {
                system.panics.store(panics, Ordering::Relaxed);
                let address = port(&system.listeners, NAMES[name]);
                let client = TcpStream::connect(address).expect("neither refused nor reset");
                let heard = system.hear(&client);
                assert_eq!(heard, (!panics).then(|| notebook.active[&name]));
                if !panics {
                    let local = client.local_addr().expect("a socket");
                    system.clients.push((local, Some(client)));
                }
            }
            Step::HangUp(index) => system.clients[index].1 = None,
            Step::Force(index) => {
                let peer = system.clients[index].0;
                let id = system.known[&peer];
                system
                    .tracker
                    .close(id)
                    .expect("it is open and has a closer");
            }
            Step::AdminDrain => {
                let runtime = system.runtime.enter();
                drop(
                    system
                        .listeners
                        .drain(DrainDirection::All, AcceptPolicy::Keep),
                );
                drop(runtime);
            }
            Step::Advance(time) => {
                let time = Duration::from_millis(time + 2);
                system.runtime.block_on(tokio::time::advance(time));
            }
        }
        let ended = notebook
            .connections
            .iter()
            .filter(|connection| connection.end.is_some())
            .count();
        let reaped = notebook.reaped.len();
        system.settle(|system| system.ended.len() >= ended && system.reaped.len() >= reaped);
        system
    }

    fn check_invariants(system: &Self, notebook: &Notebook) {
        let ends = notebook.connections.iter().enumerate();
        let ends: BTreeMap<usize, End> = ends
            .filter_map(|(index, connection)| Some((index, connection.end?)))
            .collect();
        assert_eq!(
            system.ended, ends,
            "each ends once, for its reason, and no other"
        );
        assert_eq!(
            system.reaped, notebook.reaped,
            "each once, when nothing is left of it"
        );
        assert_eq!(system.tracker.len(), notebook.open().count());
        let views = system.listeners.snapshot();
        let accepting = views.iter().filter(|view| view.accepting);
        let accepting: Vec<u64> = accepting.map(|view| view.number).collect();
        let mut active: Vec<u64> = notebook.active.values().copied().collect();
        active.sort_unstable();
        assert_eq!(accepting, active, "one for each name");
        let draining = views
            .iter()
            .filter(|view| view.state == VersionState::Draining);
        let draining: Vec<u64> = draining.map(|view| view.number).collect();
        assert_eq!(
            draining,
            notebook.draining.keys().copied().collect::<Vec<_>>()
        );
        for view in views {
            let on = |index: &usize| notebook.connections[*index].version == view.number;
            assert_eq!(
                view.connections,
                notebook.open().filter(on).count(),
                "{view:?}"
            );
        }
        // Those that are open have heard of no end.
        for index in notebook.open() {
            let client = system.clients[index].1.as_ref().expect("it is open");
            let quiet = client.peek(&mut [0]).expect_err("no byte, and no end");
            assert_eq!(quiet.kind(), ErrorKind::WouldBlock);
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_connection_is_on_two_versions_or_lost_and_each_version_is_reaped_once(sequential 1..40 => System);
}
