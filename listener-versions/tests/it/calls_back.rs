//! Code that is not ours runs with nothing locked, so that it may call [`Listeners`]: futures and
//! configurations that are dropped, callbacks of drains, wakers. A method that an update asks may
//! not, and hears so.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};

use crate::common::wire::{HANG, free};
use conn_tracker::ConnTracker;
use drain_tree::{DrainDirection, DrainManager, DrainSettings};
use listener_versions::{
    Accepted, FieldError, ListenAddress, ListenerConfig, Listeners, ListenersOptions,
    SocketOptions, Update, UpdateReport,
};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

struct Config {
    address: ListenAddress,
    content: u32,
    warms: bool,
    /// How many sockets it has opened.
    bound: AtomicUsize,
    calls: Calls,
}

/// Where its code calls its listeners, and these.
#[derive(Clone)]
struct Calls(&'static str, Listeners<Config>);

impl Calls {
    fn reach(&self, place: &str) {
        if self.0 == place {
            let sockets = self.1.copy_sockets();
            sockets.expect("there are descriptors");
        }
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        self.calls.reach("drop");
    }
}

/// What the future of a configuration has.
struct Held(Calls);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.reach("future's drop");
    }
}

impl ListenerConfig for Config {
    type Chain = ();
    fn name(&self) -> &str {
        "a"
    }
    fn address(&self) -> &ListenAddress {
        &self.address
    }
    fn same_content(&self, other: &Self) -> bool {
        self.content == other.content
    }
    fn socket_options(&self, _: &ListenAddress) -> SocketOptions {
        SocketOptions::default().with_reuse_port(true)
    }
    fn bind(&self, address: &ListenAddress) -> io::Result<socket2::Socket> {
        // The first is opened by the update.
        if self.bound.fetch_add(1, Ordering::Relaxed) > 0 {
            self.calls.reach("a worker's socket");
        }
        self.socket_options(address).bind(address, |_| Ok(()))
    }
    fn build(&self, _: &CancellationToken) -> Result<(), FieldError> {
        self.calls.reach("build");
        Ok(())
    }
    fn warms(&self) -> bool {
        self.warms
    }
    fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let held = Held(self.calls.clone());
        async move {
            std::future::pending::<()>().await;
            drop(held);
        }
    }
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Listeners whose only one has the address, and whose configurations call back at this place.
struct World {
    place: &'static str,
    address: ListenAddress,
    listeners: Listeners<Config>,
    driver: Option<Driver>,
}

impl World {
    fn new(place: &'static str) -> Self {
        let root = DrainManager::root(DrainSettings::default());
        let (listeners, driver) =
            Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
        Self {
            place,
            address: free(),
            listeners,
            driver: Some(Box::pin(driver)),
        }
    }

    fn config(&self, content: u32, warms: bool) -> Config {
        Config {
            address: self.address.clone(),
            content,
            warms,
            bound: AtomicUsize::new(0),
            calls: Calls(self.place, self.listeners.clone()),
        }
    }

    fn apply(&self, update: Update<Config>) -> UpdateReport {
        let applied = self.listeners.apply_now(update);
        applied.expect("no process takes over")
    }

    fn put(&self, content: u32, warms: bool) {
        let report = self.apply(Update::put(self.config(content, warms)));
        assert!(report.is_success(), "{report:?}");
    }
}

/// A deadlock fails the test. Nothing is measured.
fn in_time<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || drop(done.send(run())));
    end.recv_timeout(HANG).expect("it hangs, or panicked")
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

#[test]
fn a_future_that_is_not_waited_for_is_dropped_with_nothing_locked() {
    in_time(|| {
        let refused = |world: &World| {
            let error = FieldError::new("field", "is wrong");
            let update = Update::put(world.config(1, true)).with_refused("b", error);
            assert!(!world.apply(update.atomic()).is_success());
        };
        refused(&World::new("future's drop"));
        // Without a driver.
        let mut world = World::new("future's drop");
        world.driver = None;
        world.put(1, true);
        // Replaced before the driver has heard of it.
        let world = World::new("future's drop");
        world.put(1, true);
        world.put(2, false);
        // While the driver waits for it.
        let mut world = World::new("future's drop");
        world.put(1, true);
        let runtime = runtime();
        let driver = runtime.spawn(world.driver.take().expect("it is there"));
        runtime.block_on(tokio::task::yield_now());
        world.put(2, false);
        runtime.block_on(tokio::task::yield_now());
        assert!(!driver.is_finished());
    });
}

#[test]
fn a_configuration_is_dropped_with_nothing_locked() {
    in_time(|| {
        let runtime = runtime();
        let mut world = World::new("drop");
        runtime.spawn(world.driver.take().expect("it is there"));
        for content in [1, 1, 2, 3] {
            world.put(content, content == 2);
            runtime.block_on(tokio::task::yield_now());
        }
        world.apply(Update::remove("a"));
        runtime.block_on(async {
            while !world.listeners.snapshot().is_empty() {
                tokio::task::yield_now().await;
            }
        });
    });
}

#[test]
fn a_callback_of_a_drain_may_call_the_listeners() {
    in_time(|| {
        let world = World::new("nowhere");
        world.put(1, false);
        let first = world.listeners.active("a").expect("it is active");
        let (seen, sees) = mpsc::channel();
        let listeners = world.listeners.clone();
        let callback = first.drain().on_drain(DrainDirection::All, move |_| {
            drop(seen.send(listeners.snapshot()));
        });
        world.put(2, false);
        let seen = sees.try_recv().expect("it was called by the update");
        let seen = seen.iter().map(|view| (view.number, view.accepting));
        assert_eq!(seen.collect::<Vec<_>>(), [(1, false), (2, true)]);
        drop(callback);
    });
}

/// Calls the listeners whenever it is woken.
struct CallsBack {
    listeners: Listeners<Config>,
    calls: AtomicUsize,
}

impl Wake for CallsBack {
    fn wake(self: Arc<Self>) {
        let sockets = self.listeners.copy_sockets();
        sockets.expect("there are descriptors");
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tasks_are_woken_with_nothing_locked() {
    in_time(|| {
        let runtime = runtime();
        let _context = runtime.enter();
        let mut world = World::new("nowhere");
        let wakes = Arc::new(CallsBack {
            listeners: world.listeners.clone(),
            calls: AtomicUsize::new(0),
        });
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut driver = world.driver.take().expect("it is there");
        let mut worker = pin!(world.listeners.worker().run(|_: Accepted<Config>| {}));
        let mut poll = || {
            assert!(driver.as_mut().poll(&mut cx).is_pending());
            assert!(worker.as_mut().poll(&mut cx).is_pending());
        };
        let woken = |change: &dyn Fn()| {
            let before = wakes.calls.load(Ordering::Relaxed);
            change();
            wakes.calls.load(Ordering::Relaxed) - before
        };
        poll();
        assert_ne!(woken(&|| world.put(1, false)), 0, "the worker");
        poll();
        assert_ne!(woken(&|| world.put(2, false)), 0, "the driver");
        poll();
        assert_ne!(woken(&|| world.put(3, true)), 0, "the driver");
        poll();
        let listeners = &world.listeners;
        let versions = listeners.versions();
        let third = versions.last().expect("it warms");
        let (mut warm, token) = (pin!(listeners.until_warm(third.number())), third.token());
        let mut ended = pin!(token.cancelled());
        let mut context = Context::from_waker(&waker);
        assert!(warm.as_mut().poll(&mut context).is_pending());
        assert!(ended.as_mut().poll(&mut context).is_pending());
        assert!(woken(&|| world.put(4, false)) >= 2, "these two");
        assert!(warm.as_mut().poll(&mut context).is_ready());
        assert!(ended.as_mut().poll(&mut context).is_ready());
        poll();
        let removed = woken(&|| drop(world.apply(Update::remove("a"))));
        assert!(removed >= 2, "the worker and the driver");
        poll();
    });
}

/// It would wait for ever.
#[test]
fn a_method_that_an_update_asks_and_that_calls_the_listeners_panics() {
    in_time(|| {
        let world = World::new("build");
        let report = world.apply(Update::put(world.config(1, false)));
        let error = report.into_result().expect_err("it cannot be built");
        assert_eq!(error.field(), "build");
        // And the listeners go on.
        assert!(world.listeners.snapshot().is_empty());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_workers_socket_is_opened_with_nothing_locked() {
    in_time(|| {
        let runtime = runtime();
        let _context = runtime.enter();
        let world = World::new("a worker's socket");
        let mut cx = Context::from_waker(Waker::noop());
        let run = || world.listeners.worker().run(|_: Accepted<Config>| {});
        let (mut first, mut second) = (pin!(run()), pin!(run()));
        world.put(1, false);
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        let sockets = world.listeners.copy_sockets();
        assert_eq!(sockets.expect("there are descriptors").len(), 2);
    });
}
