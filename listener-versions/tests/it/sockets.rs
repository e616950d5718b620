//! Real sockets on loopback: no connection is refused, reset or left without an answer, whatever
//! updates come.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common::wire::{
    answer, any_port, ask, bounded, connect, lds, listeners, listeners_with, port,
};
use crate::common::{Config, at};
use conn_tracker::{CloseReason, ConnTracker};
use drain_tree::{DrainDirection, DrainManager, DrainSettings};
use listener_versions::{
    Accepted, ListenAddress, ListenerObserver, Listeners, ListenersOptions, Refusal, Update,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_single_threaded_runtimes_accept_for_the_same_versions() {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    lds(&listeners, [at("a", any_port(), 0)]).await;
    let address = port(&listeners, "a");
    let served: Arc<[AtomicUsize; 2]> = Arc::default();
    let threads: Vec<_> = (0..2)
        .map(|index| {
            let (worker, served) = (listeners.worker(), Arc::clone(&served));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(worker.run(move |accepted| {
                    served[index].fetch_add(1, Ordering::Relaxed);
                    answer(accepted);
                }));
            })
        })
        .collect();
    bounded(async {
        let mut asked = 0;
        // Which of them is woken first is the kernel's choice: ask until both have had one.
        while served
            .iter()
            .any(|served| served.load(Ordering::Relaxed) == 0)
            || asked < 100
        {
            asked += 1;
            lds(&listeners, [at("a", any_port(), asked)]).await;
            let newest = u64::from(asked) + 1;
            let (first, second) = tokio::join!(ask(address), ask(address));
            assert_eq!(
                (first.expect("served"), second.expect("served")),
                (newest, newest)
            );
        }
    })
    .await;
    drop(listeners);
    tokio::task::spawn_blocking(|| {
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"))
    })
    .await
    .expect("they end");
}

#[tokio::test]
async fn what_waits_in_the_queue_of_a_removed_listener_is_served_and_later_ones_are_refused() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let worker = listeners.worker();
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let address = port(&listeners, "a");
        // The kernel has taken these connections; no worker has accepted them.
        let mut waiting = [
            connect(address).await,
            connect(address).await,
            connect(address).await,
        ];
        lds(&listeners, []).await;
        let refused = TcpStream::connect(address)
            .await
            .expect_err("the address is given up");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        tokio::spawn(worker.run(answer));
        for client in &mut waiting {
            assert_eq!(client.read_u64().await.expect("it is served"), 1);
        }
        // The same address can be had again at once.
        lds(&listeners, [at("a", address.into(), 1)]).await;
        assert_eq!(ask(address).await.expect("it listens again"), 2);
    })
    .await;
}

#[tokio::test]
async fn what_waits_in_the_queue_over_a_modification_goes_to_the_new_version() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let worker = listeners.worker();
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let mut waiting = connect(port(&listeners, "a")).await;
        lds(&listeners, [at("a", any_port(), 1)]).await;
        tokio::spawn(worker.run(answer));
        assert_eq!(waiting.read_u64().await.expect("it is served"), 2);
    })
    .await;
}

#[tokio::test]
async fn after_an_address_change_the_old_port_refuses_and_the_new_one_serves() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(answer));
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let old = port(&listeners, "a");
        assert_eq!(ask(old).await.expect("it serves"), 1);
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let new = probe.local_addr().expect("its address");
        drop(probe);
        lds(&listeners, [at("a", new.into(), 0)]).await;
        let refused = TcpStream::connect(old)
            .await
            .expect_err("the address is given up");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(ask(new).await.expect("it serves"), 2);
    })
    .await;
}

#[tokio::test]
async fn an_address_can_be_given_up_and_taken_again_before_any_worker_has_looked() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(answer));
        let free =
            || std::net::TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr());
        let ports = [free().expect("a port"), free().expect("a port")];
        let mut open = Vec::new();
        for round in 0..20u32 {
            // The worker has accepted here, and runs only when this task waits.
            for port in [ports[0], ports[1], ports[0]] {
                lds(&listeners, [at("a", port.into(), round)]).await;
            }
            let mut client = connect(ports[0]).await;
            assert_eq!(
                client.read_u64().await.expect("it is served"),
                listeners.active("a").expect("it is active").number()
            );
            open.push(client);
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_keeps_its_version_over_updates_and_removal() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let (sender, mut accepted) = mpsc::unbounded_channel();
        tokio::spawn(
            listeners
                .worker()
                .run(move |accepted| drop(sender.send(accepted))),
        );
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let mut client = connect(port(&listeners, "a")).await;
        let mut served = accepted.recv().await.expect("it is accepted");
        lds(&listeners, [at("a", any_port(), 1)]).await;
        lds(&listeners, []).await;
        assert!(served.watch.is_draining());
        assert_eq!(
            (
                served.version.config().content,
                served.version.group().len()
            ),
            (0, 1)
        );
        served
            .stream
            .write_all(b"still here")
            .await
            .expect("it is open");
        let mut heard = [0; 10];
        client.read_exact(&mut heard).await.expect("it is open");
        assert_eq!(&heard, b"still here");
    })
    .await;
}

#[tokio::test]
async fn stopped_listeners_refuse_and_their_connections_stay() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let (sender, mut accepted) = mpsc::unbounded_channel();
        tokio::spawn(
            listeners
                .worker()
                .run(move |accepted| drop(sender.send(accepted))),
        );
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let address = port(&listeners, "a");
        let _client = connect(address).await;
        let served = accepted.recv().await.expect("it is accepted");
        assert_eq!(listeners.stop_listeners(DrainDirection::All).len(), 1);
        assert_eq!(
            TcpStream::connect(address)
                .await
                .map(drop)
                .map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionRefused)
        );
        assert!(!served.watch.is_draining());
    })
    .await;
}

/// A listener with limits, and what is reported to its observer.
async fn limited(
    options: ListenersOptions,
) -> (Listeners<Config>, mpsc::UnboundedReceiver<Refusal>) {
    struct Reports(mpsc::UnboundedSender<Refusal>);
    impl ListenerObserver for Reports {
        fn refused(&self, _: &ListenAddress, _: u64, refusal: Refusal) {
            self.0.send(refusal).expect("the test listens");
        }
    }
    let (sender, refusals) = mpsc::unbounded_channel();
    let (listeners, driver) = listeners_with(options, Reports(sender));
    tokio::spawn(driver);
    tokio::spawn(listeners.worker().run(answer));
    lds(&listeners, [at("a", any_port(), 0)]).await;
    (listeners, refusals)
}

#[tokio::test]
async fn a_connection_beyond_a_limit_is_closed_and_told() {
    bounded(async {
        let options = ListenersOptions::default().with_max_connections_per_version(1);
        let (listeners, mut refusals) = limited(options).await;
        let address = port(&listeners, "a");
        let mut first = connect(address).await;
        assert_eq!(first.read_u64().await.expect("it is served"), 1);
        assert!(ask(address).await.is_err());
        assert_eq!(refusals.recv().await, Some(Refusal::VersionLimit));
        // The next version has its own count.
        lds(&listeners, [at("a", any_port(), 1)]).await;
        assert_eq!(ask(address).await.expect("it is served"), 2);
    })
    .await;
}

#[tokio::test]
async fn what_a_limit_refuses_is_counted_with_that_reason() {
    bounded(async {
        let tracker = ConnTracker::new();
        let root = DrainManager::root(DrainSettings::default());
        let options = ListenersOptions::default().with_max_connections(0);
        let (listeners, driver) = Listeners::new(root, tracker.clone(), options, ());
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(answer));
        lds(&listeners, [at("a", any_port(), 0)]).await;
        assert!(ask(port(&listeners, "a")).await.is_err());
        assert_eq!(tracker.closed(CloseReason::Refused), 1);
        assert_eq!(tracker.closed(CloseReason::Finished), 0);
    })
    .await;
}

#[tokio::test]
async fn a_listeners_limit_counts_the_connections_of_all_its_versions_and_of_no_other_listener() {
    bounded(async {
        let options = ListenersOptions::default().with_max_connections_per_listener(2);
        let (listeners, mut refusals) = limited(options).await;
        let address = port(&listeners, "a");
        let mut open = Vec::new();
        for version in 1..=2u32 {
            lds(
                &listeners,
                [at("a", any_port(), version), at("b", any_port(), 0)],
            )
            .await;
            let mut client = connect(address).await;
            client.read_u64().await.expect("it is served");
            open.push(client);
        }
        lds(&listeners, [at("a", any_port(), 3), at("b", any_port(), 0)]).await;
        assert!(ask(address).await.is_err());
        assert_eq!(refusals.recv().await, Some(Refusal::ListenerLimit));
        ask(port(&listeners, "b"))
            .await
            .expect("it has its own count");
        // One of a version that drains is gone, and there is room for one of the newest.
        drop(open.remove(0));
        while listeners
            .snapshot()
            .iter()
            .map(|version| version.connections)
            .sum::<usize>()
            > 1
        {
            tokio::task::yield_now().await;
        }
        ask(address).await.expect("there is room");
    })
    .await;
}

#[tokio::test]
async fn a_panicking_handler_loses_its_connection_and_no_other() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let first = AtomicBool::new(true);
        let worker = listeners.worker().run(move |accepted| {
            assert!(
                !first.swap(false, Ordering::Relaxed),
                "a handler of somebody else"
            );
            answer(accepted);
        });
        tokio::spawn(worker);
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let address = port(&listeners, "a");
        assert!(ask(address).await.is_err());
        assert_eq!(ask(address).await.expect("the loop goes on"), 1);
    })
    .await;
}

#[tokio::test]
async fn closing_a_tracked_connection_makes_its_own_deadline_now() {
    bounded(async {
        let tracker = ConnTracker::new();
        let root = DrainManager::root(DrainSettings::default());
        let (listeners, driver) =
            Listeners::new(root, tracker.clone(), ListenersOptions::default(), ());
        tokio::spawn(driver);
        let (sender, mut accepted) = mpsc::unbounded_channel();
        tokio::spawn(
            listeners
                .worker()
                .run(move |accepted| drop(sender.send(accepted))),
        );
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let _client = connect(port(&listeners, "a")).await;
        let served: Accepted<Config> = accepted.recv().await.expect("it is accepted");
        let tracked = served.conn.id();
        let ended = tokio::spawn(async move {
            served.watch.expired().await;
            served
        });
        tracker.close(tracked).expect("it is open and has a closer");
        assert!(!ended.await.expect("it is taken").watch.is_draining());
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_shared_by_versions_and_its_path_goes_with_the_listener() {
    bounded(async {
        let path =
            std::env::temp_dir().join(format!("listener-versions-{}.sock", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(answer));
        for content in 0..2 {
            lds(&listeners, [at("a", address.clone(), content)]).await;
            let mut client = tokio::net::UnixStream::connect(&path)
                .await
                .expect("it listens");
            assert_eq!(
                client.read_u64().await.expect("it is served"),
                u64::from(content) + 1
            );
        }
        let taken = listeners
            .apply(Update::delta("v", [at("b", address, 0)], [""; 0]))
            .await;
        assert_eq!(
            taken
                .errors()
                .next()
                .map(|error| error.field().to_owned())
                .as_deref(),
            Some("address")
        );
        lds(&listeners, []).await;
        assert!(!path.exists());
    })
    .await;
}
