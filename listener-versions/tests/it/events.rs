//! Observers hear of versions in the order of what happened, whatever thread applies updates and
//! whatever runtime has the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::at;
use crate::common::wire::{free, lds, listeners_with};
use drain_tree::{DrainOutcome, DrainReason};
use listener_versions::{ListenerObserver, ListenersOptions, Update, VersionView};

/// What was reported, and of which version.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(u64, &'static str)>>>);

impl Log {
    fn add(&self, version: &VersionView, what: &'static str) {
        self.0
            .lock()
            .expect("no panic")
            .push((version.number, what));
    }

    /// Every version went the same way.
    fn check(&self, versions: usize) {
        let mut seen: HashMap<u64, Vec<&'static str>> = HashMap::new();
        let log = self.0.lock().expect("no panic");
        let mut newest = 0;
        for (version, what) in log.iter() {
            seen.entry(*version).or_default().push(what);
            if *what == "activated" {
                assert!(*version > newest, "{version} after {newest}");
                newest = *version;
            }
        }
        assert_eq!(seen.len(), versions);
        for (version, what) in seen {
            assert_eq!(
                what,
                ["created", "activated", "drain started", "drained"],
                "of {version}"
            );
        }
    }
}

impl ListenerObserver for Log {
    fn created(&self, version: &VersionView) {
        self.add(version, "created");
    }
    fn activated(&self, version: &VersionView, _: Option<u64>) {
        self.add(version, "activated");
    }
    fn drain_started(&self, version: &VersionView, _: DrainReason) {
        self.add(version, "drain started");
    }
    fn drained(&self, version: &VersionView, _: &DrainOutcome) {
        self.add(version, "drained");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

const UPDATES: usize = 5_000;

#[test]
fn a_driver_in_a_runtime_of_its_own() {
    let log = Log::default();
    let (listeners, driver) = listeners_with(ListenersOptions::default(), log.clone());
    let driving = thread::spawn(move || runtime().block_on(driver));
    let address = free();
    runtime().block_on(async move {
        for content in 0..UPDATES {
            lds(
                &listeners,
                [at(
                    "a",
                    address.clone(),
                    u32::try_from(content).expect("few"),
                )],
            )
            .await;
            if content % 4 == 0 {
                // The driver has its turn, more often at the very moment at which the next drain
                // begins.
                thread::yield_now();
            }
        }
        lds(&listeners, []).await;
    });
    driving.join().expect("no panic");
    log.check(UPDATES);
}

#[test]
fn updates_from_two_threads() {
    let log = Log::default();
    let (listeners, driver) = listeners_with(ListenersOptions::default(), log.clone());
    let driving = thread::spawn(move || runtime().block_on(driver));
    let updating = ["a", "b"].map(|name| {
        let (listeners, address) = (listeners.clone(), free());
        thread::spawn(move || {
            runtime().block_on(async move {
                for content in 0..UPDATES / 2 {
                    let config = at(name, address.clone(), u32::try_from(content).expect("few"));
                    let update = Update::delta("v", [config], Vec::<String>::new());
                    assert!(listeners.apply(update).await.is_success());
                }
                let none = Update::delta("v", Vec::<crate::common::Config>::new(), [name]);
                assert!(listeners.apply(none).await.is_success());
            });
        })
    });
    drop(listeners);
    for thread in updating {
        thread.join().expect("no panic");
    }
    driving.join().expect("no panic");
    log.check(UPDATES / 2 * 2);
}

/// What an observer does with the listeners is reported after what was reported to it, not before,
/// and not for ever.
#[tokio::test]
async fn an_observer_that_updates_hears_of_it_next() {
    #[derive(Clone, Default)]
    struct Updates {
        log: Log,
        listeners: Arc<Mutex<Option<listener_versions::Listeners<crate::common::Config>>>>,
    }
    impl ListenerObserver for Updates {
        fn activated(&self, version: &VersionView, _: Option<u64>) {
            self.log.add(version, "activated");
            let listeners = self.listeners.lock().expect("no panic").take();
            if let Some(listeners) = listeners {
                let again = at("a", version.configured.clone(), 1);
                let report = futures_util::FutureExt::now_or_never(
                    listeners.apply(Update::lds("v", [again])),
                );
                assert!(report.expect("at once").is_success());
            }
            self.log.add(version, "reported");
        }
    }
    let observer = Updates::default();
    let (listeners, driver) = listeners_with(ListenersOptions::default(), observer.clone());
    tokio::spawn(driver);
    *observer.listeners.lock().expect("no panic") = Some(listeners.clone());
    lds(&listeners, [at("a", free(), 0)]).await;
    let log = observer.log.0.lock().expect("no panic").clone();
    assert_eq!(
        log,
        [
            (1, "activated"),
            (1, "reported"),
            (2, "activated"),
            (2, "reported")
        ]
    );
}
