//! The code of a configuration is not ours: where it panics, nothing has changed, of any listener.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::common::wire::{bounded, free};
use conn_tracker::ConnTracker;
use drain_tree::{
    DrainManager, DrainReason, DrainSettings, DrainStart, DrainType, TrafficDirection,
};
use futures_util::FutureExt as _;
use listener_versions::{
    Accepted, FieldError, ListenAddress, ListenerConfig, Listeners, ListenersOptions,
    SocketOptions, Update,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Config {
    name: &'static str,
    address: ListenAddress,
    content: u32,
    warms: bool,
    /// In which of its methods it panics.
    panics: Option<&'static str>,
    chain: Chain,
}

impl Config {
    fn reach(&self, method: &str) {
        assert_ne!(
            self.panics,
            Some(method),
            "the configuration's own code panics"
        );
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.reach("drop");
        }
        self.reach("every drop");
    }
}

/// From this content on, a version that warms is ready at once.
const READY: u32 = 100;

/// Never the same as another one.
struct Chain(Option<&'static str>);

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        assert_ne!(
            self.0.or(other.0),
            Some("same chain"),
            "the chain's own code panics"
        );
        false
    }
}

impl ListenerConfig for Config {
    type Chain = Chain;
    fn name(&self) -> &str {
        self.reach("name");
        self.name
    }
    fn address(&self) -> &ListenAddress {
        self.reach("address");
        &self.address
    }
    fn same_content(&self, other: &Self) -> bool {
        other.reach("same_content");
        self.content == other.content
    }
    fn chains(&self) -> Vec<(Arc<str>, &Chain)> {
        self.reach("chains");
        vec![("all".into(), &self.chain)]
    }
    fn differs_only_in_chains(&self, other: &Self) -> bool {
        other.reach("differs_only_in_chains");
        true
    }
    fn drain_type(&self) -> DrainType {
        self.reach("drain_type");
        DrainType::default()
    }
    fn traffic_direction(&self) -> TrafficDirection {
        self.reach("traffic_direction");
        TrafficDirection::Unspecified
    }
    fn drain_timeout(&self) -> Duration {
        self.reach("drain_timeout");
        Duration::ZERO
    }
    fn max_connections(&self) -> Option<usize> {
        self.reach("max_connections");
        None
    }
    fn socket_options(&self, _: &ListenAddress) -> SocketOptions {
        self.reach("socket_options");
        SocketOptions::default()
    }
    fn warms(&self) -> bool {
        self.reach("warms");
        self.warms
    }
    fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let is_ready = self.content >= READY;
        async move {
            if !is_ready {
                std::future::pending().await
            }
        }
    }
    fn validate(&self) -> Result<(), FieldError> {
        self.reach("validate");
        Ok(())
    }
}

const METHODS: [&str; 13] = [
    "name",
    "address",
    "same_content",
    "chains",
    "same chain",
    "differs_only_in_chains",
    "drain_type",
    "traffic_direction",
    "drain_timeout",
    "max_connections",
    "socket_options",
    "warms",
    "validate",
];

fn process() -> Listeners<Config> {
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    tokio::spawn(listeners.worker().run(|mut accepted: Accepted<Config>| {
        tokio::spawn(async move {
            let content = accepted.version.config().content;
            drop(accepted.stream.write_u32(content).await);
            drop(accepted);
        });
    }));
    listeners
}

async fn content_at(address: &ListenAddress) -> u32 {
    let address = address.as_socket().expect("TCP");
    let mut client = TcpStream::connect(address).await.expect("it listens");
    bounded(client.read_u32()).await.expect("it is served")
}

fn listed(listeners: &Listeners<Config>) -> Vec<String> {
    let views = listeners.snapshot();
    let views = views.iter();
    views
        .map(|view| {
            format!(
                "{} {} {} {}",
                view.name, view.number, view.state, view.accepting
            )
        })
        .collect()
}

#[tokio::test]
async fn an_update_that_panics_has_changed_nothing_of_any_listener() {
    for method in METHODS {
        let listeners = process();
        let (at_good, at_bad, at_new) = (free(), free(), free());
        let good = |content| Config {
            name: "good",
            address: at_good.clone(),
            content,
            warms: false,
            panics: None,
            chain: Chain(None),
        };
        let bad = |content, panics| Config {
            name: "bad",
            address: at_bad.clone(),
            content,
            warms: false,
            panics,
            chain: Chain(panics),
        };
        let new = || Config {
            name: "new",
            address: at_new.clone(),
            content: 7,
            warms: false,
            panics: None,
            chain: Chain(None),
        };
        let first = listeners
            .apply(Update::lds("1", [good(1), bad(1, None)]))
            .await;
        assert!(first.is_success(), "{first:?}");
        let before = listed(&listeners);
        let update = Update::lds("2", [new(), good(2), bad(2, Some(method))]);
        let panicked = AssertUnwindSafe(listeners.apply(update))
            .catch_unwind()
            .await;
        assert!(panicked.is_err(), "{method} is never asked");
        assert_eq!(listed(&listeners), before, "{method}");
        assert_eq!(content_at(&at_good).await, 1);
        assert_eq!(content_at(&at_bad).await, 1);
        let at_new = at_new.as_socket().expect("TCP");
        assert!(
            TcpStream::connect(at_new).await.is_err(),
            "nothing was opened for it: {method}"
        );
        // And everything works as ever.
        let update = listeners
            .apply(Update::lds("3", [new(), good(3), bad(3, None)]))
            .await;
        assert!(update.is_success(), "{method}: {update:?}");
        assert_eq!(content_at(&at_good).await, 3);
        assert_eq!(content_at(&at_bad).await, 3);
    }
}

#[tokio::test]
async fn a_version_whose_code_panics_as_it_gets_warm_stays_warming() {
    for method in ["differs_only_in_chains", "same chain"] {
        let listeners = process();
        let address = free();
        let config = |content, warms, panics| Config {
            name: "a",
            address: address.clone(),
            content,
            warms,
            panics,
            chain: Chain(panics),
        };
        listeners
            .apply(Update::lds("1", [config(1, false, None)]))
            .await;
        let report = listeners
            .apply(Update::lds("2", [config(2, true, Some(method))]))
            .await;
        assert!(report.is_success(), "{report:?}");
        let before = listed(&listeners);
        let warmed = std::panic::catch_unwind(AssertUnwindSafe(|| listeners.warmed(2)));
        assert!(warmed.is_err(), "{method} is never asked");
        assert_eq!(listed(&listeners), before, "{method}");
        assert_eq!(content_at(&address).await, 1);
    }
}

#[tokio::test]
async fn the_driver_outlives_code_that_panics_as_a_version_gets_warm_or_is_dropped() {
    for (method, moves) in [
        ("differs_only_in_chains", false),
        ("same chain", false),
        ("drop", false),
        ("drop", true),
    ] {
        let listeners = process();
        let [at_good, at_bad, elsewhere] = [free(), free(), free()];
        let config = |name, address: &ListenAddress, content, panics| Config {
            name,
            address: address.clone(),
            content,
            warms: content == READY,
            panics,
            chain: Chain(panics),
        };
        let put = async |config| {
            let report = listeners.apply(Update::put(config)).await;
            assert!(report.is_success(), "{method}: {report:?}");
        };
        put(config("good", &at_good, 1, None)).await;
        if method == "drop" {
            // In place, or by a drain: the driver drops what has drained.
            let next = if moves { &elsewhere } else { &at_bad };
            put(config("bad", &at_bad, 1, Some(method))).await;
            put(config("bad", next, 2, None)).await;
        } else {
            put(config("bad", &at_bad, 1, None)).await;
            put(config("bad", &at_bad, READY, Some(method))).await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // It still reaps what drains.
        put(config("good", &at_good, 2, None)).await;
        bounded(async {
            while !listeners.draining_chains().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(content_at(&at_good).await, 2);
    }
}

#[tokio::test]
async fn an_update_and_the_driver_outlive_several_configurations_that_panic_when_they_are_dropped()
{
    let listeners = process();
    let addresses = [free(), free()];
    let configs = |content, warms| {
        ["a", "b"]
            .into_iter()
            .zip(&addresses)
            .map(move |(name, address)| Config {
                name,
                address: address.clone(),
                content,
                warms,
                panics: Some("every drop"),
                chain: Chain(None),
            })
    };
    // Refused, replaced while they warm, unchanged, and drained.
    let error = FieldError::new("field", "is wrong");
    let refused = Update::delta("1", configs(1, false), None::<String>).with_refused("c", error);
    assert_eq!(listeners.apply(refused.atomic()).await.errors().count(), 3);
    for (content, warms) in [(1, true), (2, false), (2, false)] {
        let update = Update::delta("2", configs(content, warms), None::<String>);
        assert!(listeners.apply(update).await.is_success());
        tokio::task::yield_now().await;
    }
    assert_eq!(content_at(&addresses[0]).await, 2);
    listeners.apply(Update::lds("3", None::<Config>)).await;
    bounded(async {
        while !listeners.snapshot().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The waker of a task whose executor panics.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("the executor's own code panics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_is_driven_to_its_deadline_although_a_waker_panics_as_its_drain_begins() {
    let listeners = process();
    let address = free();
    let config = Config {
        name: "a",
        address: address.clone(),
        content: 1,
        warms: false,
        panics: None,
        chain: Chain(None),
    };
    assert!(listeners.apply(Update::put(config)).await.is_success());
    let version = listeners.active("a").expect("it is active");
    let connection = version.drain().watch().expect("it does not drain");
    // A task that has a clock of its own paces a drain without a deadline.
    let start = DrainStart::new(DrainReason::Admin);
    let mut sequence = listeners.root().start_drain_sequence(start);
    let (now, waker) = (sequence.event().start, Waker::from(Arc::new(Panics)));
    let mut cx = Context::from_waker(&waker);
    assert!(sequence.poll_at(now, &mut cx, &mut None).is_pending());
    assert!(listeners.apply(Update::remove("a")).await.is_success());
    let day = Duration::from_secs(86_400);
    let expired = tokio::time::timeout(day, connection.expired()).await;
    expired.expect("the drain has a deadline");
    drop(connection);
    let gone = async {
        while !listeners.snapshot().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let gone = tokio::time::timeout(day, gone).await;
    gone.expect("it is taken out");
}
