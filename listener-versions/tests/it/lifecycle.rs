//! Versions over time, with the clock paused: who drains when, until when, and that each is
//! reported once.

use std::time::Duration;

use crate::common::{Config, at};
use conn_tracker::ConnTracker;
use drain_tree::{
    DrainDirection, DrainEnding, DrainManager, DrainOutcome, DrainReason, DrainSettings, DrainWatch,
};
use listener_versions::{
    AcceptPolicy, ListenerObserver, Listeners, ListenersOptions, Update, UpdateError, VersionState,
    VersionView,
};
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
    fn created(&self, version: &VersionView) {
        self.line(format!("created {}", version.number));
    }
    fn activated(&self, version: &VersionView, replaced: Option<u64>) {
        self.line(format!("activated {} for {replaced:?}", version.number));
    }
    fn drain_started(&self, version: &VersionView, reason: DrainReason) {
        self.line(format!("draining {} {reason:?}", version.number));
    }
    fn drain_hurried(&self, version: &VersionView, _: std::time::Instant) {
        self.line(format!("hurried {}", version.number));
    }
    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        assert_eq!(version.state, VersionState::Drained);
        self.line(format!(
            "drained {} {:?} left {}",
            version.number, outcome.ending, outcome.left
        ));
    }
    fn stopped(&self, version: &VersionView) {
        self.line(format!("stopped {}", version.number));
    }
    fn update_rejected(&self, error: &UpdateError) {
        self.line(format!("rejected {}", error.field()));
    }
}

struct Bench {
    listeners: Listeners<Config>,
    root: DrainManager,
    tracker: ConnTracker,
    reported: mpsc::UnboundedReceiver<String>,
    driver: tokio::task::JoinHandle<()>,
}

fn bench(options: ListenersOptions) -> Bench {
    let (sender, reported) = mpsc::unbounded_channel();
    let root = DrainManager::root(DrainSettings::default().with_drain_time(DRAIN_TIME));
    let tracker = ConnTracker::new();
    let (listeners, driver) =
        Listeners::new(root.clone(), tracker.clone(), options, Reports(sender));
    Bench {
        listeners,
        root,
        tracker,
        reported,
        driver: tokio::spawn(driver),
    }
}

impl Bench {
    async fn content(&self, content: u32) -> DrainWatch {
        let address = "127.0.0.1:0".parse().expect("an address");
        let report = self
            .listeners
            .apply(Update::lds("v", [at("a", address, content)]))
            .await;
        assert!(report.is_success(), "{report:?}");
        self.connection()
    }

    /// A connection of the active version.
    fn connection(&self) -> DrainWatch {
        let version = self.listeners.active("a").expect("it is active");
        version.drain().watch().expect("it accepts")
    }

    async fn next(&mut self) -> String {
        self.reported.recv().await.expect("the observer lives")
    }

    /// Everything that was reported until `last`.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.next().await);
            if lines.last().is_some_and(|line| line.starts_with(last)) {
                return lines;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_version_is_reaped_when_its_last_connection_is_gone() {
    let mut bench = bench(ListenersOptions::default());
    let old = bench.content(1).await;
    let new = bench.content(2).await;
    assert!(old.is_draining() && !new.is_draining());
    let started = tokio::time::Instant::now();
    drop(old);
    let reported = bench.until("drained").await;
    assert_eq!(
        reported,
        [
            "created 1",
            "activated 1 for None",
            "created 2",
            "activated 2 for Some(1)",
            "draining 1 ListenerModify",
            "drained 1 Empty left 0"
        ]
    );
    assert_eq!(started.elapsed(), Duration::ZERO);
    let left: Vec<u64> = bench
        .listeners
        .snapshot()
        .iter()
        .map(|version| version.number)
        .collect();
    assert_eq!(left, [2]);
    let groups: Vec<u64> = bench
        .tracker
        .groups()
        .iter()
        .map(|group| group.version)
        .collect();
    assert_eq!(groups, [2], "its group is gone from the tracker");
}

#[tokio::test(start_paused = true)]
async fn several_draining_versions_of_a_name_end_each_at_its_own_deadline() {
    let mut bench = bench(ListenersOptions::default());
    let begun = tokio::time::Instant::now();
    let mut held = Vec::new();
    for content in 1..=4 {
        held.push(bench.content(content).await);
        tokio::time::advance(Duration::from_secs(20)).await;
    }
    let states: Vec<VersionState> = bench
        .listeners
        .snapshot()
        .iter()
        .map(|version| version.state)
        .collect();
    use VersionState::{Active, Draining};
    assert_eq!(states, [Draining, Draining, Draining, Active]);
    for version in 1..=3u32 {
        let line = bench.until("drained").await.pop();
        assert_eq!(line, Some(format!("drained {version} Deadline left 1")));
        let took = begun.elapsed() - Duration::from_secs(20) * version;
        assert!(
            took >= DRAIN_TIME && took <= DRAIN_TIME + Duration::from_secs(1),
            "{version}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_cap_the_oldest_drain_is_hurried_but_keeps_its_floor() {
    let floor = Duration::from_secs(7);
    let options = ListenersOptions::default()
        .with_max_versions(2)
        .with_floor(floor);
    let mut bench = bench(options);
    let mut held = vec![bench.content(1).await, bench.content(2).await];
    held.push(bench.content(3).await);
    let now = tokio::time::Instant::now();
    assert_eq!(
        bench.until("hurried").await.pop().as_deref(),
        Some("hurried 1")
    );
    assert_eq!(bench.listeners.snapshot().len(), 3, "it is still tracked");
    assert_eq!(
        bench.until("drained").await.pop().as_deref(),
        Some("drained 1 Deadline left 1")
    );
    assert!(
        now.elapsed() >= floor && now.elapsed() < floor + Duration::from_secs(1),
        "{:?}",
        now.elapsed()
    );
    assert_eq!(
        bench.until("drained").await.pop().as_deref(),
        Some("drained 2 Deadline left 1")
    );
    assert!(
        now.elapsed() >= DRAIN_TIME,
        "the second one is within the cap"
    );
}

#[tokio::test(start_paused = true)]
async fn beyond_the_cap_a_floor_of_the_longest_duration_hurries_no_drain() {
    let options = ListenersOptions::default()
        .with_max_versions(1)
        .with_floor(Duration::MAX);
    let mut bench = bench(options);
    let old = bench.content(1).await;
    let started = tokio::time::Instant::now();
    let _new = bench.content(2).await;
    let reported = bench.until("drained 1").await;
    assert!(!reported.contains(&"hurried 1".to_owned()), "{reported:?}");
    assert!(started.elapsed() >= DRAIN_TIME, "{:?}", started.elapsed());
    drop(old);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_admin_drain_accepts_until_its_time_ends_and_cuts_nothing() {
    let mut bench = bench(ListenersOptions::default());
    let early = bench.content(1).await;
    let begun = tokio::time::Instant::now();
    bench
        .listeners
        .drain(DrainDirection::All, AcceptPolicy::UntilDrainTimeEnds);
    assert!(early.is_draining() && bench.listeners.local_address("a").is_some());
    let late = bench.content(2).await;
    assert!(
        late.is_draining(),
        "a version of later is under the same drain"
    );
    assert_eq!(
        bench.until("stopped").await.pop().as_deref(),
        Some("stopped 2")
    );
    assert_eq!(begun.elapsed(), DRAIN_TIME);
    assert_eq!(bench.listeners.local_address("a"), None);
    assert_eq!(late.deadline(), None, "it may stay");
}

#[tokio::test(start_paused = true)]
async fn a_plain_admin_drain_stops_at_once_and_one_that_keeps_accepting_never_does() {
    for (policy, accepts) in [(AcceptPolicy::StopNow, false), (AcceptPolicy::Keep, true)] {
        let bench = bench(ListenersOptions::default());
        let connection = bench.content(1).await;
        let draining = bench.listeners.drain(DrainDirection::All, policy);
        assert_eq!((draining.len(), draining[0].accepting), (1, accepts));
        assert!(connection.is_draining());
        assert_eq!(bench.listeners.local_address("a").is_some(), accepts);
        assert!(
            tokio::time::timeout(DRAIN_TIME * 2, std::future::pending::<()>())
                .await
                .is_err()
        );
        assert_eq!(bench.listeners.local_address("a").is_some(), accepts);
        if accepts {
            assert!(bench.connection().is_draining());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_in_use_is_refused_by_its_field_and_the_old_version_is_untouched() {
    let mut bench = bench(ListenersOptions::default());
    let connection = bench.content(1).await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("its address").into();
    let report = bench
        .listeners
        .apply(Update::lds("v2", [at("a", address, 2)]))
        .await;
    let error = report.errors().next().expect("it is refused");
    assert_eq!((error.listener(), error.field()), ("a", "address"));
    assert_eq!(
        bench.until("rejected").await.pop().as_deref(),
        Some("rejected address")
    );
    assert!(!connection.is_draining());
    assert_eq!(
        bench.listeners.active("a").map(|version| version.number()),
        Some(1)
    );
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_when_the_handles_are_gone_and_the_drains_are_over() {
    let mut bench = bench(ListenersOptions::default());
    let old = bench.content(1).await;
    let current = bench.content(2).await;
    let worker = bench.listeners.worker();
    let Bench {
        listeners,
        driver,
        reported,
        ..
    } = &mut bench;
    let handle = listeners.clone();
    drop(std::mem::replace(
        listeners,
        Listeners::new(
            DrainManager::root(DrainSettings::default()),
            ConnTracker::new(),
            ListenersOptions::default(),
            (),
        )
        .0,
    ));
    assert!(!driver.is_finished());
    drop(handle);
    worker.run(|_| unreachable!("no client connects")).await;
    drop(old);
    driver.await.expect("it ends without a panic");
    let mut last = None;
    while let Ok(line) = reported.try_recv() {
        last = Some(line);
    }
    assert_eq!(last.as_deref(), Some("drained 1 Empty left 0"));
    assert!(
        !current.is_draining(),
        "dropping the handles drains nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_changes_nothing() {
    struct Bad;
    impl ListenerObserver for Bad {
        fn activated(&self, _: &VersionView, _: Option<u64>) {
            panic!("an observer of somebody else");
        }
        fn drained(&self, _: &VersionView, _: &DrainOutcome) {
            panic!("an observer of somebody else");
        }
    }
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), Bad);
    for content in 1..=3 {
        let address = "127.0.0.1:0".parse().expect("an address");
        assert!(
            listeners
                .apply(Update::lds("v", [at("a", address, content)]))
                .await
                .is_success()
        );
    }
    assert_eq!(listeners.snapshot().len(), 3);
    drop(listeners.clone());
    let watched = listeners.clone();
    drop(listeners);
    let driver = tokio::spawn(driver);
    drop(watched);
    driver.await.expect("it ends without a panic");
}

#[tokio::test(start_paused = true)]
async fn a_process_drain_reaches_every_version() {
    let bench = bench(ListenersOptions::default());
    let old = bench.content(1).await;
    let new = bench.content(2).await;
    let sequence = bench
        .root
        .start_drain_sequence(drain_tree::DrainStart::new(DrainReason::ProcessShutdown));
    assert!(old.is_draining() && new.is_draining());
    drop((old, new));
    assert_eq!(sequence.await.ending, DrainEnding::Empty);
}

#[tokio::test(start_paused = true)]
async fn every_version_is_there_with_its_configuration_until_it_is_reaped() {
    let bench = bench(ListenersOptions::default());
    let fixed = at("fixed", "127.0.0.1:0".parse().expect("an address"), 7);
    let report = bench.listeners.apply(Update::bootstrap([fixed])).await;
    assert!(report.is_success(), "{report:?}");
    let old = bench.content(1).await;
    let new = bench.content(2).await;
    let seen: Vec<_> = bench
        .listeners
        .versions()
        .iter()
        .map(|version| {
            (
                version.number(),
                version.config().content,
                version.is_static(),
            )
        })
        .collect();
    assert_eq!(seen, [(1, 7, true), (2, 1, false), (3, 2, false)]);
    let view = bench.listeners.snapshot().pop().expect("a version");
    assert_eq!(view.configured.to_string(), "127.0.0.1:0");
    assert_ne!(view.addresses, [view.configured]);
    drop(old);
    tokio::time::sleep(DRAIN_TIME).await;
    assert_eq!(bench.listeners.versions().len(), 2);
    drop(new);
}
