//! Routes that come by themselves, with traffic: a version takes over when its routes are there,
//! the one before it serves until then, and every version has the newest.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::common::wire::{bounded, free};
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use futures_util::FutureExt as _;
use listener_versions::{
    Accepted, Change, ListenAddress, ListenerConfig, Listeners, ListenersOptions, RouteWatch,
    Routes, Update, VersionState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Ingress {
    address: ListenAddress,
    content: u32,
    routes: RouteWatch<String>,
    /// Its future panics.
    panics: bool,
}

impl ListenerConfig for Ingress {
    type Chain = ();

    fn name(&self) -> &str {
        "ingress"
    }
    fn address(&self) -> &ListenAddress {
        &self.address
    }
    fn same_content(&self, other: &Self) -> bool {
        (self.content, self.routes.name()) == (other.content, other.routes.name())
    }
    fn warms(&self) -> bool {
        self.routes.load().is_none()
    }
    fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let (ready, panics) = (self.routes.ready(), self.panics);
        async move {
            ready.await;
            assert!(!panics, "the configuration's own future panics");
        }
    }
}

struct World {
    address: ListenAddress,
    routes: Routes<String>,
    listeners: Listeners<Ingress>,
}

impl World {
    fn new() -> Self {
        let root = DrainManager::root(DrainSettings::default());
        let (listeners, driver) =
            Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
        tokio::spawn(driver);
        // "404" where there are no routes.
        let worker = listeners.worker();
        tokio::spawn(
            worker.run_each(|mut accepted: Accepted<Ingress>| async move {
                let routes = accepted.version.config().routes.load();
                let routes = routes.as_deref().map_or("404", String::as_str);
                let answer = format!("{} {routes}", accepted.version.config().content);
                accepted.stream.write_all(answer.as_bytes()).await.ok();
            }),
        );
        Self {
            address: free(),
            routes: Routes::new(),
            listeners,
        }
    }

    async fn update(&self, content: u32, routes: &str) -> Change {
        let config = Ingress {
            address: self.address.clone(),
            content,
            routes: self.routes.watch(routes),
            panics: false,
        };
        self.put(config).await
    }

    async fn put(&self, config: Ingress) -> Change {
        let report = self.listeners.apply(Update::put(config)).await;
        let report = report.into_result().expect("it is taken");
        report.changes().next().expect("one listener").1
    }

    async fn ask(&self) -> String {
        let address: SocketAddr = self.address.as_socket().expect("TCP");
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let mut said = String::new();
        bounded(client.read_to_string(&mut said))
            .await
            .expect("it is served");
        said
    }

    async fn until_warm(&self, version: u64) {
        let is_warm = || {
            let views = self.listeners.snapshot();
            let mut views = views.iter();
            views.any(|view| view.number == version && view.state == VersionState::Active)
        };
        bounded(async {
            while !is_warm() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_version_takes_over_when_its_routes_are_there_and_the_one_before_serves_until_then() {
    let world = World::new();
    world.routes.set("blue", "blue 1".to_owned());
    assert_eq!(world.update(1, "blue").await, Change::Added { version: 1 });
    assert_eq!(world.ask().await, "1 blue 1");
    assert_eq!(
        world.update(2, "green").await,
        Change::Warming { version: 2 }
    );
    assert_eq!(world.routes.wanted(), ["green".into()]);
    for _ in 0..5 {
        assert_eq!(world.ask().await, "1 blue 1", "the new one has no routes");
    }
    world.routes.set("green", "green 1".to_owned());
    world.until_warm(2).await;
    assert_eq!(world.ask().await, "2 green 1");
    // Newer routes need no new version, and a new version needs no new routes.
    world.routes.set("green", "green 2".to_owned());
    assert_eq!(world.ask().await, "2 green 2");
    let change = world.update(3, "green").await;
    assert_eq!(
        change,
        Change::Modified {
            version: 3,
            replaced: 2
        }
    );
    assert_eq!(world.ask().await, "3 green 2");
    assert!(world.routes.wanted().is_empty());
}

#[tokio::test]
async fn a_version_that_waits_for_routes_is_dropped_by_the_next_update_and_its_routes_forgotten() {
    let world = World::new();
    world.routes.set("blue", "blue 1".to_owned());
    world.update(1, "blue").await;
    world.update(2, "green").await;
    let change = world.update(1, "blue").await;
    assert_eq!(change, Change::WarmingDropped { version: 2 });
    bounded(async {
        // The driver has its future for a moment longer.
        while !world.routes.wanted().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.routes.set("green", "green 1".to_owned());
    for _ in 0..5 {
        assert_eq!(world.ask().await, "1 blue 1");
    }
    // Without a version that serves, no version listens until the routes are there.
    let world = World::new();
    assert_eq!(
        world.update(1, "blue").await,
        Change::Warming { version: 1 }
    );
    let address = world.address.as_socket().expect("TCP");
    assert!(TcpStream::connect(address).await.is_err());
    world.routes.set("blue", "blue 1".to_owned());
    world.until_warm(1).await;
    assert_eq!(world.ask().await, "1 blue 1");
}

#[tokio::test]
async fn routes_that_are_removed_are_gone_and_those_who_wait_see_the_next() {
    let routes: Routes<String> = Routes::new();
    let watch = routes.watch("blue");
    routes.set("blue", "1".to_owned());
    assert!(watch.ready().now_or_never().is_some());
    routes.remove("blue");
    assert!(watch.load().is_none() && watch.ready().now_or_never().is_none());
    assert_eq!(routes.wanted(), ["blue".into()]);
    let mut ready = tokio_test::task::spawn(watch.ready());
    assert!(ready.poll().is_pending());
    routes.set("blue", "2".to_owned());
    assert!(ready.is_woken() && ready.poll().is_ready());
    drop((watch, ready));
    // Routes that no version watches are there for the next one.
    assert_eq!(
        routes.watch("blue").load().as_deref().map(String::as_str),
        Some("2")
    );
    routes.remove("blue");
    assert_eq!(format!("{routes:?}"), "{}");
}

/// Looks at the routes as it becomes a name, and whenever something is written to it: under their
/// lock it would hang.
struct Looks<'a>(&'a Routes<String>);

impl From<Looks<'_>> for Arc<str> {
    fn from(looks: Looks<'_>) -> Self {
        drop(looks.0.wanted());
        "blue".into()
    }
}

impl std::fmt::Write for Looks<'_> {
    fn write_str(&mut self, _: &str) -> std::fmt::Result {
        drop(self.0.wanted());
        Ok(())
    }
}

#[test]
fn code_of_others_may_use_the_routes() {
    use std::fmt::Write as _;
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let routes = Routes::new();
        let watch = routes.watch(Looks(&routes));
        routes.set(Looks(&routes), "1".to_owned());
        write!(Looks(&routes), "{routes:?} {watch:?}").unwrap();
        done.send(watch.load().is_some()).unwrap();
    });
    let found = is_done.recv_timeout(std::time::Duration::from_secs(60));
    assert!(found.expect("it hangs under the lock"));
}

#[tokio::test]
async fn a_version_whose_future_panics_stays_warming_and_no_other_suffers() {
    let world = World::new();
    world.routes.set("blue", "blue 1".to_owned());
    world.update(1, "blue").await;
    let config = Ingress {
        address: world.address.clone(),
        content: 2,
        routes: world.routes.watch("green"),
        panics: true,
    };
    world.put(config).await;
    world.routes.set("green", "green 1".to_owned());
    for _ in 0..5 {
        assert_eq!(world.ask().await, "1 blue 1");
    }
    world.update(3, "red").await;
    world.routes.set("red", "red 1".to_owned());
    world.until_warm(3).await;
    assert_eq!(world.ask().await, "3 red 1");
}

/// The driver ends at shutdown, whatever still waits.
#[tokio::test]
async fn the_driver_does_not_wait_for_routes() {
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    let driver = tokio::spawn(driver);
    let routes = Routes::new();
    let config = Ingress {
        address: free(),
        content: 1,
        routes: routes.watch("never"),
        panics: false,
    };
    listeners
        .apply(Update::put(config))
        .await
        .into_result()
        .expect("it warms");
    drop(listeners);
    bounded(driver).await.expect("it ends");
}

#[tokio::test]
async fn the_names_that_are_watched_are_those_that_versions_refer_to() {
    let world = World::new();
    let mut changes = world.routes.changes();
    world.routes.set("blue", "blue 1".to_owned());
    assert!(
        changes.changed().now_or_never().is_none(),
        "it is not watched"
    );
    world.update(1, "blue").await;
    bounded(changes.changed())
        .await
        .expect("the routes are there");
    assert_eq!(world.routes.watched(), ["blue".into()]);
    world.update(2, "green").await;
    bounded(changes.changed())
        .await
        .expect("the routes are there");
    assert_eq!(world.routes.watched(), ["blue".into(), "green".into()]);
    // Whose routes come by themselves needs no routes to be asked for.
    world.routes.set("green", "green 1".to_owned());
    bounded(world.listeners.until_warm(2)).await;
    assert_eq!(world.ask().await, "2 green 1");
    bounded(async {
        // The version before has a connection, until it is seen to be gone.
        while world.routes.watched() != ["green".into()] {
            changes.changed().await.expect("the routes are there");
        }
    })
    .await;
    // What is not subscribed to is dropped only when it is said so.
    assert_eq!(world.routes.all().len(), 2);
    world.routes.drop_unwatched();
    let all = world.routes.all();
    assert_eq!(all, [("green".into(), "green 1".to_owned().into())]);
    assert_eq!(
        world.update(3, "blue").await,
        Change::Warming { version: 3 }
    );
}

#[tokio::test]
async fn a_version_that_is_dropped_while_it_warms_is_waited_for_no_longer() {
    let world = World::new();
    world.routes.set("blue", "blue 1".to_owned());
    world.update(1, "blue").await;
    world.update(2, "green").await;
    let mut warm = tokio_test::task::spawn(world.listeners.until_warm(2));
    assert!(warm.poll().is_pending());
    world.update(1, "blue").await;
    assert!(warm.is_woken() && warm.poll().is_ready());
    // Nor one that is not warming, or never was.
    for version in [1, 2, 99] {
        bounded(world.listeners.until_warm(version)).await;
    }
}

/// Panics when they are dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the routes' own code panics");
    }
}

#[test]
fn routes_that_panic_when_they_are_dropped_are_gone_nevertheless() {
    let routes = Routes::<Bomb>::new();
    let watch = routes.watch("blue");
    routes.set("blue", Bomb);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| routes.remove("blue")))
        .expect_err("its drop panics");
    assert!(watch.load().is_none());
    assert!(watch.ready().now_or_never().is_none(), "a version waits");
}

#[test]
fn a_version_waits_exactly_if_routes_that_are_set_and_removed_at_once_are_gone() {
    let routes = Routes::<u32>::new();
    let watch = routes.watch("blue");
    let (both, mut wrong) = (std::sync::Barrier::new(2), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5_000 {
                both.wait();
                routes.remove("blue");
                both.wait();
            }
        });
        for round in 0..5_000 {
            both.wait();
            routes.set("blue", round);
            both.wait();
            let is_ready = watch.ready().now_or_never().is_some();
            wrong += u32::from(is_ready != watch.load().is_some());
        }
    });
    assert_eq!(wrong, 0, "rounds after which it waits or does not, in vain");
}
