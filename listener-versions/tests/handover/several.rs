//! A program that shares nothing between its runtimes: it has one `Listeners` for each, and all of
//! them are handed over.

use std::net::SocketAddr;
use std::thread;

use crate::common::wire::{bounded, free};
use crate::common::{Config, at};
use crate::meeting::*;
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use listener_versions::handover::{HandoverOptions, Offer};
use listener_versions::{Inherited, ListenAddress, Listeners, ListenersOptions, ReusePort, Update};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// One runtime in a thread of its own, which runs the driver and the worker of its own listeners.
struct Core {
    listeners: Listeners<Config>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Core {
    fn new() -> Self {
        let (listeners, driver) = Listeners::new(
            DrainManager::root(DrainSettings::default()),
            ConnTracker::new(),
            ListenersOptions::default(),
            (),
        );
        let (end, ended) = oneshot::channel::<()>();
        let worker = listeners.worker();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                tokio::spawn(driver);
                tokio::spawn(worker.run(crate::common::wire::answer));
                drop(ended.await);
            });
        });
        Self {
            listeners,
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Both cores listen at `shared`, each on a socket of its own; only the second one has `own`.
async fn configure(cores: &[Core], shared: &ListenAddress, own: &ListenAddress) {
    for (index, core) in cores.iter().enumerate() {
        let mut configs = vec![at("shared", shared.clone(), 0).reuse_port(ReusePort::PerWorker)];
        if index == 1 {
            configs.push(at("own", own.clone(), 0));
        }
        let report = core.listeners.apply(Update::lds("v", configs)).await;
        assert!(report.is_success(), "{report:?}");
    }
}

fn listeners_of(cores: &[Core]) -> Vec<Listeners<Config>> {
    cores.iter().map(|core| core.listeners.clone()).collect()
}

fn socket(address: &ListenAddress) -> SocketAddr {
    address.as_socket().expect("TCP")
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_runtimes_with_listeners_of_their_own_hand_over_without_losing_a_client() {
    bounded(async {
        let meeting = Meeting::new("several");
        let (shared, own) = (free(), free());
        let old = [Core::new(), Core::new()];
        configure(&old, &shared, &own).await;
        // One attempt comes to nothing, and everything is as before.
        let all = listeners_of(&old);
        let mut offer = Offer::bind(&meeting.path())
            .await
            .expect("no process is there");
        let attempt = tokio::spawn(async move {
            let (options, more) = (HandoverOptions::default(), Inherited::new());
            let failed = offer.next(&all[..], &options, &more).await;
            failed.expect_err("the new process is gone");
            offer
                .next(&all[..], &options, &more)
                .await
                .expect("it is replaced")
        });
        drop(meeting.take_over().await);

        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let clients: Vec<_> = [&shared, &shared, &own]
            .map(|address| {
                let (address, stop) = (socket(address), std::sync::Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut served = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut client = TcpStream::connect(address).await.expect("not refused");
                        client
                            .read_u64()
                            .await
                            .expect("neither reset nor left alone");
                        served += 1;
                    }
                    served
                })
            })
            .into();
        let mut takeover = meeting.take_over().await;
        let new = [Core::new(), Core::new()];
        let parts = takeover.sockets().split(2).expect("descriptors");
        assert!(parts.iter().all(|part| part.len() == 2), "{parts:?}");
        for (core, part) in new.iter().zip(parts) {
            core.listeners.inherit(part);
        }
        configure(&new, &shared, &own).await;
        let served = takeover.serving(&listeners_of(&new)[..]).await;
        let (_predecessor, _offer) = served.expect("the old one agrees");
        let _successor = attempt.await.expect("no panic");
        // The old process ends when it is drained. Its clients are those of the new one from now
        // on.
        for core in &old {
            while !core.listeners.tracker().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        drop(old);
        for address in [&shared, &own] {
            for _ in 0..32 {
                let mut client = TcpStream::connect(socket(address))
                    .await
                    .expect("it listens");
                client.read_u64().await.expect("it is served");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for client in clients {
            assert!(client.await.expect("no client has lost anything") > 0);
        }
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_that_two_runtimes_share_stays_one_however_often_it_changes_hands() {
    bounded(async {
        let meeting = Meeting::new("one-socket");
        let address = free();
        let mut old = vec![Core::new()];
        let offer = Offer::bind(&meeting.path()).await;
        let mut offer = offer.expect("no process is there");
        let update = || Update::lds("v", [at("a", address.clone(), 0)]);
        let report = old[0].listeners.apply(update()).await;
        assert!(report.is_success(), "{report:?}");
        for restart in 0..4 {
            let all = listeners_of(&old);
            let attempt = tokio::spawn(async move {
                let (options, more) = (HandoverOptions::default(), Inherited::new());
                offer.next(&all[..], &options, &more).await
            });
            let mut takeover = meeting.take_over().await;
            let sockets = takeover.sockets();
            assert_eq!(sockets.len(), 1, "restart {restart}");
            let new = vec![Core::new(), Core::new()];
            for (core, part) in new.iter().zip(sockets.split(2).expect("descriptors")) {
                assert_eq!(part.len(), 1, "restart {restart}");
                core.listeners.inherit(part);
                let report = core.listeners.apply(update()).await;
                assert!(report.is_success(), "{report:?}");
            }
            let served = takeover.serving(&listeners_of(&new)[..]).await;
            let (_predecessor, next) = served.expect("the old process agrees");
            let replaced = attempt.await.expect("no panic");
            let _successor = replaced.expect("it is replaced");
            (old, offer) = (new, next);
            for _ in 0..8 {
                let client = TcpStream::connect(socket(&address)).await;
                let served = client.expect("it listens").read_u64().await;
                served.expect("it is served");
            }
        }
    })
    .await;
}
