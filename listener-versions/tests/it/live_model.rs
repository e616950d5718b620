//! Random sequences of updates, warm-ups, workers that come and go, and takeovers, on real sockets:
//! after each, a client at every address is served by the version that is listed as accepting
//! there, or refused where there is none.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::common::wire::{answer, bounded, free, listeners};
use crate::common::{Config, at};
use listener_versions::{Inherited, ListenAddress, Listeners, Update, VersionState};
use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

#[derive(Clone, Debug)]
enum Op {
    /// Names, with address, another address, content, and whether they warm.
    Lds(Vec<(&'static str, usize, Option<usize>, u32, bool)>),
    Warmed(usize),
    Work,
    Rest(usize),
    /// A new process takes the sockets, and the same listeners.
    TakeOver,
    /// A connection that stays as long as its client likes.
    Stay(usize),
    Leave(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let listener = (
        prop::sample::select(vec!["a", "b", "c"]),
        0usize..3,
        prop::option::weighted(0.3, 0usize..3),
        0u32..2,
        prop::bool::weighted(0.4),
    );
    prop_oneof![
        8 => prop::collection::vec(listener, 0..4).prop_map(Op::Lds),
        4 => (0usize..3).prop_map(Op::Warmed),
        2 => Just(Op::Work),
        2 => (0usize..3).prop_map(Op::Rest),
        1 => Just(Op::TakeOver),
        2 => (0usize..3).prop_map(Op::Stay),
        2 => (0usize..3).prop_map(Op::Leave),
    ]
}

struct World {
    addresses: [ListenAddress; 3],
    reuse_port: bool,
    listeners: Listeners<Config>,
    workers: Vec<JoinHandle<()>>,
    /// Clients that no worker has served yet, because there is no worker.
    waiting: BTreeMap<usize, Vec<TcpStream>>,
    staying: Vec<TcpStream>,
}

fn process() -> Listeners<Config> {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    listeners
}

impl World {
    fn new(reuse_port: bool) -> Self {
        Self {
            addresses: [free(), free(), free()],
            reuse_port,
            listeners: process(),
            workers: Vec::new(),
            waiting: BTreeMap::new(),
            staying: Vec::new(),
        }
    }

    fn socket(&self, address: usize) -> SocketAddr {
        self.addresses[address].as_socket().expect("TCP")
    }

    /// The version that is listed as accepting there.
    fn accepting(&self, address: usize) -> Option<u64> {
        let views = self.listeners.snapshot();
        let mut there = views
            .iter()
            .filter(|version| version.accepting_at.contains(&self.addresses[address]));
        let version = there.next();
        assert!(there.next().is_none(), "two accept there: {views:?}");
        assert!(version.is_none_or(|version| version.state == VersionState::Active));
        version.map(|version| version.number)
    }

    async fn take(&mut self, op: Op) {
        match op {
            Op::Lds(configs) => {
                let configs =
                    configs
                        .into_iter()
                        .map(|(name, address, another, content, warms)| {
                            let config = at(name, self.addresses[address].clone(), content);
                            let mut config = config.reuse_port(self.reuse_port);
                            // Twice the same one is refused.
                            config
                                .more
                                .extend(another.map(|another| self.addresses[another].clone()));
                            if warms { config.warming() } else { config }
                        });
                let before: Vec<bool> = (0..3).map(|at| self.accepting(at).is_some()).collect();
                // A listener may be refused, for an address that another one has: nothing changes
                // for it.
                drop(
                    self.listeners
                        .apply(Update::lds("v", configs.collect::<Vec<_>>()))
                        .await,
                );
                let versions = self.listeners.versions();
                for (at, before) in before.into_iter().enumerate() {
                    let warms = versions.iter().any(|version| {
                        let (config, address) = (version.config(), &self.addresses[at]);
                        version.state() == VersionState::Warming
                            && (config.address == *address || config.more.contains(address))
                    });
                    assert!(
                        !warms || !before || self.accepting(at).is_some(),
                        "no version serves until it is warm: {versions:?}"
                    );
                }
            }
            Op::Warmed(index) => {
                let views = self.listeners.snapshot();
                let mut warming = views
                    .iter()
                    .filter(|version| version.state == VersionState::Warming);
                if let Some(version) = warming.nth(index) {
                    self.listeners
                        .warmed(version.number)
                        .expect("it is warming");
                }
            }
            Op::Work if self.workers.len() < 3 => {
                self.workers
                    .push(tokio::spawn(self.listeners.worker().run(answer)));
            }
            Op::Work => {}
            Op::Rest(index) => {
                if index < self.workers.len() {
                    let worker = self.workers.swap_remove(index);
                    worker.abort();
                    drop(worker.await);
                }
            }
            Op::TakeOver => self.take_over().await,
            Op::Stay(address) if self.accepting(address).is_some() && !self.workers.is_empty() => {
                let mut client = TcpStream::connect(self.socket(address))
                    .await
                    .expect("it listens");
                bounded(client.read_u64()).await.expect("it is served");
                self.staying.push(client);
            }
            Op::Stay(_) => {}
            Op::Leave(index) => {
                if index < self.staying.len() {
                    drop(self.staying.swap_remove(index));
                }
            }
        }
    }

    async fn take_over(&mut self) {
        // What warms is not handed over; the same listeners begin anew.
        let configs: Vec<Config> = (0..3)
            .filter_map(|address| {
                let number = self.accepting(address)?;
                let versions = self.listeners.versions();
                let version = versions.iter().find(|version| version.number() == number)?;
                let mut config = (**version.config()).clone();
                config.name = format!("{}{address}", config.name);
                config.address = self.addresses[address].clone();
                config.more.clear();
                config.warms = false;
                Some(config)
            })
            .collect();
        let mut inherited = Inherited::new();
        for shared in self.listeners.share_sockets().expect("descriptors") {
            inherited.add(shared.socket).expect("it listens");
        }
        let new = process();
        new.inherit(inherited);
        let report = new.apply(Update::lds("v", configs)).await;
        assert!(report.is_success(), "{report:?}");
        assert!(new.unclaimed().is_empty());
        let workers = self.workers.len();
        let old = std::mem::replace(&mut self.listeners, new);
        // One worker more for a moment: what the old ones have taken out of a queue is theirs.
        for _ in 0..workers {
            self.workers
                .push(tokio::spawn(self.listeners.worker().run(answer)));
        }
        drop(old.stop_listeners(drain_tree::DrainDirection::All));
        drop(old);
        for worker in self.workers.drain(..workers) {
            bounded(worker).await.expect("it ends with its process");
        }
        self.listeners.own_sockets();
    }

    async fn check(&mut self) {
        for address in 0..3 {
            let client = TcpStream::connect(self.socket(address)).await;
            let accepting = self.accepting(address);
            assert_eq!(client.is_ok(), accepting.is_some(), "{:?}", self.listeners);
            if accepting.is_none() {
                // The address was given up while there was no worker: none was there to serve its
                // queue.
                self.waiting.remove(&address);
            }
            let (Ok(mut client), Some(version)) = (client, accepting) else {
                continue;
            };
            if self.workers.is_empty() {
                self.waiting.entry(address).or_default().push(client);
                continue;
            }
            let served = bounded(client.read_u64()).await.expect("it is served");
            assert_eq!(served, version);
            for mut client in self.waiting.remove(&address).unwrap_or_default() {
                bounded(client.read_u64())
                    .await
                    .expect("it is served when a worker is there again");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_address_is_served_by_the_version_that_is_listed_there(
        ops in prop::collection::vec(op(), 1..24),
        per_worker in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new(per_worker);
            world.take(Op::Work).await;
            for op in ops {
                world.take(op).await;
                world.check().await;
            }
        });
    }
}
