//! Updates in which only filter chains differ, over time and on sockets: changed chains drain, kept
//! ones see nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Config, at};
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainOutcome, DrainReason, DrainSettings, DrainWatch};
use futures_util::FutureExt;
use listener_versions::{
    Accepted, ListenerChain, ListenerObserver, Listeners, ListenersOptions, Update, VersionView,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const DRAIN_TIME: Duration = Duration::from_secs(100);

/// What is reported to the observer, as a line each.
struct Reports(mpsc::UnboundedSender<String>);

impl Reports {
    fn line(&self, line: String) {
        self.0.send(line).expect("the test listens");
    }
}

impl ListenerObserver for Reports {
    fn in_place_updated(&self, version: &VersionView) {
        self.line(format!(
            "in place {} {}",
            version.number, version.version_info
        ));
    }
    fn chain_drain_started(&self, chain: &Arc<ListenerChain>, reason: DrainReason) {
        self.line(format!(
            "draining {}#{} {reason:?}",
            chain.id(),
            chain.number()
        ));
    }
    fn chain_drained(&self, chain: &Arc<ListenerChain>, outcome: &DrainOutcome) {
        self.line(format!(
            "drained {}#{} {:?}",
            chain.id(),
            chain.number(),
            outcome.ending
        ));
    }
    fn drain_started(&self, version: &VersionView, reason: DrainReason) {
        self.line(format!("draining {} {reason:?}", version.number));
    }
    fn drain_hurried(&self, version: &VersionView, _: std::time::Instant) {
        self.line(format!("hurried {}", version.number));
    }
    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        self.line(format!("drained {} {:?}", version.number, outcome.ending));
    }
}

struct Bench {
    listeners: Listeners<Config>,
    tracker: ConnTracker,
    reported: mpsc::UnboundedReceiver<String>,
}

type Chains<const N: usize> = [(&'static str, u32); N];

fn bench(options: ListenersOptions) -> Bench {
    let (sender, reported) = mpsc::unbounded_channel();
    let root = DrainManager::root(DrainSettings::default().with_drain_time(DRAIN_TIME));
    let tracker = ConnTracker::new();
    let (listeners, driver) = Listeners::new(root, tracker.clone(), options, Reports(sender));
    tokio::spawn(driver);
    Bench {
        listeners,
        tracker,
        reported,
    }
}

fn config<const N: usize>(content: u32, chains: Chains<N>) -> Config {
    at("a", "127.0.0.1:0".parse().expect("an address"), content).chains(chains)
}

/// All is done at the first poll.
fn apply_now(listeners: &Listeners<Config>, version_info: &str, config: Config) {
    let report = listeners.apply(Update::lds(version_info, [config]));
    let report = report.now_or_never().expect("it waits for nothing");
    assert!(report.is_success(), "{report:?}");
}

impl Bench {
    fn update<const N: usize>(&self, content: u32, chains: Chains<N>) {
        apply_now(&self.listeners, "v", config(content, chains));
    }

    /// A connection in this chain of the active version.
    fn connection(&self, id: &str) -> DrainWatch {
        let version = self.listeners.active("a").expect("it is active");
        let index = version.config().find(id).expect("there is such a chain");
        version.chains()[index]
            .drain()
            .watch()
            .expect("it takes connections")
    }

    async fn next(&mut self) -> String {
        let reported = tokio::time::timeout(2 * DRAIN_TIME, self.reported.recv()).await;
        reported.expect("it hangs").expect("the observer lives")
    }

    fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.reported.try_recv().ok()).collect()
    }

    /// Worker and address, for connections that come over a socket.
    fn accept(&self) -> (mpsc::UnboundedReceiver<Accepted<Config>>, SocketAddr) {
        let (sender, accepted) = mpsc::unbounded_channel();
        tokio::spawn(
            self.listeners
                .worker()
                .run(move |accepted| drop(sender.send(accepted))),
        );
        let address = self
            .listeners
            .local_address("a")
            .and_then(|address| address.as_socket());
        (accepted, address.expect("it listens"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_chain_drains_gradually_and_a_kept_one_sees_nothing() {
    let mut bench = bench(ListenersOptions::default());
    bench.update(1, [("kept", 1), ("changed", 1), ("removed", 1)]);
    let [kept, changed, removed] = ["kept", "changed", "removed"].map(|id| bench.connection(id));
    bench.update(1, [("kept", 1), ("changed", 2), ("added", 1)]);
    assert_eq!(
        bench.said(),
        [
            "in place 1 v",
            "draining changed#2 FilterChainUpdate",
            "draining removed#3 FilterChainUpdate"
        ]
    );
    assert!(!kept.is_draining());
    assert!(changed.is_draining() && removed.is_draining());
    let draining = bench.listeners.draining_chains();
    assert_eq!(
        draining
            .iter()
            .map(|chain| chain.drain().open_watches())
            .collect::<Vec<_>>(),
        [1, 1]
    );
    // Gradual as everything else: asked in the first quarter, closed at the deadline.
    let began = tokio::time::Instant::now();
    changed.signaled().await;
    assert!(began.elapsed() < DRAIN_TIME / 4);
    drop(changed);
    assert_eq!(bench.next().await, "drained changed#2 Empty");
    removed.expired().await;
    assert!(began.elapsed() >= DRAIN_TIME && began.elapsed() < DRAIN_TIME + Duration::from_secs(1));
    assert_eq!(bench.next().await, "drained removed#3 Deadline");
    assert!(!kept.is_draining());
    assert!(bench.listeners.draining_chains().is_empty());
    let versions: Vec<u64> = bench
        .listeners
        .snapshot()
        .iter()
        .map(|version| version.number)
        .collect();
    assert_eq!(versions, [1]);
    // New connections: in the new configuration, and in the kept chain beside the old ones.
    assert!(!bench.connection("kept").is_draining() && !bench.connection("added").is_draining());
}

#[tokio::test(start_paused = true)]
async fn a_later_modification_drains_all_chains_each_by_its_own_deadline() {
    let mut bench = bench(ListenersOptions::default());
    bench.update(1, [("kept", 1), ("changed", 1)]);
    let [kept, changed] = ["kept", "changed"].map(|id| bench.connection(id));
    bench.update(1, [("kept", 1), ("changed", 2)]);
    let newer = bench.connection("changed");
    tokio::time::sleep(Duration::from_secs(30)).await;
    bench.update(2, [("kept", 1), ("changed", 2)]);
    let reason = |watch: &DrainWatch| watch.event().map(|event| event.reason);
    assert_eq!(reason(&kept), Some(DrainReason::ListenerModify));
    assert_eq!(reason(&newer), Some(DrainReason::ListenerModify));
    assert_eq!(
        reason(&changed),
        Some(DrainReason::FilterChainUpdate),
        "its own drain goes on"
    );
    let (first, last) = (
        changed.deadline().expect("one"),
        kept.deadline().expect("one"),
    );
    assert_eq!(last - first, Duration::from_secs(30));
    assert_eq!(newer.deadline(), kept.deadline());
    assert!(
        !bench.connection("kept").is_draining(),
        "the new version's chain is another one"
    );
    bench.said();
    // Nothing of the old version is forgotten: it is over with its last chain's last connection.
    drop((kept, newer));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.said(), [""; 0]);
    drop(changed);
    let mut over = [bench.next().await, bench.next().await];
    over.sort_unstable();
    assert_eq!(over, ["drained 1 Empty", "drained changed#2 Empty"]);
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_the_listener_drains_chains_that_have_outlived_their_update() {
    let mut bench = bench(ListenersOptions::default());
    bench.update(1, [("kept", 1), ("changed", 1)]);
    let kept = bench.connection("kept");
    for content in 2..5 {
        bench.update(1, [("kept", 1), ("changed", content)]);
    }
    let none: [Config; 0] = [];
    drop(bench.listeners.apply(Update::lds("gone", none)).await);
    assert_eq!(
        kept.event().map(|event| event.reason),
        Some(DrainReason::ListenerRemove)
    );
    drop(kept);
    while bench.next().await != "drained 1 Empty" {}
}

#[tokio::test(start_paused = true)]
async fn a_chain_changed_again_and_again_drains_each_time_by_itself_and_no_cap_counts_it() {
    let cap = ListenersOptions::default().with_max_versions(1);
    let mut bench = bench(cap);
    bench.update(1, [("kept", 1), ("x", 0)]);
    let kept = bench.connection("kept");
    let mut held = Vec::new();
    for content in 1..=20 {
        held.push(bench.connection("x"));
        bench.update(1, [("kept", 1), ("x", content)]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(!bench.said().iter().any(|line| line.starts_with("hurried")));
    let deadlines: Vec<_> = held
        .iter()
        .map(|watch| watch.deadline().expect("it drains"))
        .collect();
    assert!(
        deadlines
            .windows(2)
            .all(|pair| pair[1] - pair[0] == Duration::from_secs(1))
    );
    let listed = bench.listeners.draining_chains();
    assert_eq!(
        listed
            .iter()
            .map(|chain| chain.drain().deadline())
            .collect::<Vec<_>>(),
        deadlines.iter().copied().map(Some).collect::<Vec<_>>()
    );
    drop(held);
    let mut over: Vec<_> = Vec::new();
    for _ in 0..20 {
        over.push(bench.next().await);
    }
    over.sort_unstable();
    over.dedup();
    assert_eq!(over.len(), 20, "each is reported once: {over:?}");
    assert!(!kept.is_draining());
}

#[tokio::test]
async fn a_connection_whose_chain_is_taken_away_while_it_enters_chooses_again() {
    let bench = bench(ListenersOptions::default());
    bench.update(1, [("x", 1)]);
    let (mut accepted, address) = bench.accept();
    let _client = TcpStream::connect(address).await.expect("it listens");
    let accepted = accepted.recv().await.expect("one came");
    let mut asked = Vec::new();
    let entered = accepted.enter_chain(|config| {
        asked.push(config.chains.clone());
        if asked.len() == 1 {
            apply_now(
                &bench.listeners,
                "v2",
                self::config(1, [("new", 1), ("x", 2)]),
            );
        }
        config.chain("x")
    });
    let (entered, chain) = entered.expect("there is a chain for it");
    assert_eq!(asked, [vec![("x", 1)], vec![("new", 1), ("x", 2)]]);
    assert_eq!((&**chain.id(), chain.version_info()), ("x", "v2"));
    assert_eq!(
        (entered.version.number(), entered.version.version_info()),
        (1, "v2")
    );
    assert!(!entered.watch.is_draining());
    assert_eq!(
        entered.version.drain().open_watches(),
        1,
        "it is counted once"
    );
    let listed = bench.tracker.snapshot();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].chain.as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_enters_when_its_version_is_drained_keeps_the_guard_that_it_came_with() {
    let mut bench = bench(ListenersOptions::default());
    bench.update(1, [("x", 1)]);
    let (mut accepted, address) = bench.accept();
    let _client = TcpStream::connect(address).await.expect("it listens");
    let accepted = accepted.recv().await.expect("one came");
    bench.update(2, [("x", 1)]);
    while bench.next().await != "drained 1 Deadline" {}
    let entered = accepted.enter_chain(|config| config.chain("x"));
    let (entered, _) = entered.expect("it is not lost");
    assert_eq!(entered.version.number(), 1);
    // What serves it closes it at once, in its protocol's words.
    entered.watch.expired().await;
}

#[tokio::test]
async fn a_connection_that_no_chain_takes_comes_back_and_closes_when_it_is_dropped() {
    let bench = bench(ListenersOptions::default());
    bench.update(1, [("x", 1)]);
    let (mut accepted, address) = bench.accept();
    let mut client = TcpStream::connect(address).await.expect("it listens");
    let connection = accepted.recv().await.expect("one came");
    let back = connection
        .enter_chain(|_| None)
        .expect_err("no chain takes it");
    let back = back
        .enter_chain(|_| Some("y".into()))
        .expect_err("no such chain");
    assert_eq!(back.version.drain().open_watches(), 1);
    drop(back);
    assert_eq!(client.read(&mut [0; 8]).await.expect("FIN"), 0);
    assert!(bench.tracker.is_empty());
}

#[tokio::test]
async fn closing_an_entered_connection_from_the_registry_reaches_its_watch_in_the_chain() {
    let bench = bench(ListenersOptions::default());
    bench.update(1, [("x", 1)]);
    let (mut accepted, address) = bench.accept();
    for close_first in [false, true] {
        let _client = TcpStream::connect(address).await.expect("it listens");
        let accepted = accepted.recv().await.expect("one came");
        let id = accepted.conn.id();
        if close_first {
            bench.tracker.close(id).expect("it is open");
        }
        let (entered, _) = accepted.enter_chain(|_| Some("x".into())).expect("a chain");
        if !close_first {
            bench.tracker.close(id).expect("it is open");
        }
        assert!(entered.watch.is_forced(), "closed first: {close_first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_chain_updates_under_connect_loops_loses_no_connection() {
    const UPDATES: u32 = 200;
    let mut bench = bench(ListenersOptions::default());
    bench.update(1, [("kept", 1), ("x", 0)]);
    let address = bench
        .listeners
        .local_address("a")
        .and_then(|address| address.as_socket())
        .expect("it listens");
    let workers: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn(bench.listeners.worker().run(|accepted: Accepted<Config>| {
                tokio::spawn(async move {
                    let entered = accepted.enter_chain(|config| config.chain("x"));
                    let (entered, _) = entered.expect("there is always such a chain");
                    let (mut stream, entered) = entered.split();
                    let config = entered.version.config();
                    let (_, content) = config.chains[config.find("x").expect("it is there")];
                    if stream.write_u32(content).await.is_ok() {
                        drop(stream.shutdown().await);
                        drop(stream.read_u8().await);
                    }
                });
            }))
        })
        .collect();
    let (stop, stopped) = tokio::sync::watch::channel(());
    let (answered, mut progress) = tokio::sync::watch::channel(0);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stopped, answered) = (stopped.clone(), answered.clone());
            tokio::spawn(async move {
                let mut newest = 0;
                while stopped.has_changed().is_ok() {
                    let mut client = TcpStream::connect(address).await.expect("it listens");
                    let content = client.read_u32().await.expect("it is answered");
                    assert!(content >= newest, "{content} after {newest}");
                    newest = content;
                    answered.send_modify(|answered| *answered += 1);
                }
            })
        })
        .collect();
    let held = bench.connection("kept");
    for content in 1..=UPDATES {
        let seen = *progress.borrow_and_update();
        progress
            .wait_for(|answered| *answered > seen)
            .await
            .expect("clients live");
        bench.update(1, [("x", content), ("kept", 1)]);
    }
    drop(stop);
    for client in clients {
        client.await.expect("no connection was lost");
    }
    assert!(!held.is_draining());
    let mut reaped = Vec::new();
    while reaped.len() < UPDATES as usize {
        let line = bench.next().await;
        if let Some(chain) = line.strip_prefix("drained x#") {
            assert!(chain.ends_with(" Empty"), "{line}");
            reaped.push(chain.to_owned());
        }
    }
    reaped.sort_unstable();
    reaped.dedup();
    assert_eq!(
        reaped.len(),
        UPDATES as usize,
        "every chain that was replaced, once"
    );
    drop(bench.listeners);
    for worker in workers {
        worker.await.expect("the worker ends");
    }
}

#[tokio::test]
async fn a_chain_that_drains_counts_its_connections_not_their_guards() {
    let bench = bench(ListenersOptions::default());
    bench.update(1, [("changed", 1)]);
    let (mut accepted, address) = bench.accept();
    let _client = TcpStream::connect(address).await.expect("a connection");
    let accepted = accepted.recv().await.expect("it is accepted");
    let entered = accepted.enter_chain(|_| Some("changed".into()));
    let (entered, _) = entered.expect("a chain takes it");
    let tunnel = (entered.watch.clone(), entered.conn.clone());
    bench.update(1, [("changed", 2)]);
    let count = || {
        bench
            .listeners
            .draining_chains()
            .first()
            .map(|chain| chain.connections())
    };
    assert_eq!(count(), Some(1));
    drop(entered);
    assert_eq!(count(), Some(1), "the tunnel is the same connection");
    drop(tunnel.1);
    assert_eq!(count(), Some(0));
}
