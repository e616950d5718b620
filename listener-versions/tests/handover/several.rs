//! A program that shares nothing between its runtimes: it has one `Listeners` for each, and all of
//! them are handed over.

use std::net::SocketAddr;
use std::thread;

use crate::common::wire::{answer, bounded, free, lds};
use crate::common::{Config, at};
use crate::meeting::*;
use conn_tracker::ConnTracker;
use drain_tree::{DrainDirection, DrainManager, DrainSettings};
use listener_versions::handover::{HandoverOptions, Offer};
use listener_versions::{Inherited, ListenAddress, Listeners, ListenersOptions, Update, Worker};
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
                tokio::spawn(worker.run(answer));
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
        let mut configs = vec![at("shared", shared.clone(), 0).reuse_port(true)];
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
        let _offer = served.expect("the old one agrees");
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
            let next = served.expect("the old process agrees");
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

/// How the listeners of one runtime end, when a process shuts down.
#[derive(Clone, Copy, Debug)]
enum End {
    Stopped,
    Dropped,
}

/// Ends one after the other; what is left of them.
fn end(mut listeners: Vec<Listeners<Config>>, how: End) -> Vec<Listeners<Config>> {
    match how {
        End::Stopped => listeners.iter().for_each(|listeners| {
            listeners.stop_listeners(DrainDirection::All);
        }),
        End::Dropped => listeners.clear(),
    }
    listeners
}

/// The listeners of two runtimes that have taken over one socket from `old`, each with a descriptor
/// of it, and their workers, which do not run yet.
#[cfg(target_os = "linux")]
async fn split_in_two(
    meeting: &Meeting,
    old: &Listeners<Config>,
    address: &ListenAddress,
) -> (Vec<Listeners<Config>>, Vec<Worker<Config>>) {
    let attempt = offered(meeting, old).await;
    let mut takeover = meeting.take_over().await;
    let new = vec![process(0), process(0)];
    let parts = takeover.sockets().split(2).expect("descriptors");
    for (new, part) in new.iter().zip(parts) {
        assert_eq!(part.len(), 1);
        new.inherit(part);
        lds(new, [at("a", address.clone(), 0)]).await;
    }
    let served = takeover.serving(&new[..]).await;
    let _offer = served.expect("the old process agrees");
    let _successor = replaced(attempt).await;
    let workers = new.iter().map(Listeners::worker).collect();
    (new, workers)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn runtimes_that_share_a_socket_end_and_serve_what_waits_in_its_queue() {
    bounded(async {
        for how in [End::Stopped, End::Dropped] {
            let meeting = Meeting::new("split-ends");
            let address = free();
            let old = process(1);
            lds(&old, [at("a", address.clone(), 0)]).await;
            let (new, workers) = split_in_two(&meeting, &old, &address).await;
            drop(old);
            let parked = park(socket(&address));
            let _stopped = end(new, how);
            refused(socket(&address)).await;
            for worker in workers {
                tokio::spawn(worker.run(answer));
            }
            answered(parked).await;
        }
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn runtimes_that_share_a_socket_which_a_third_process_keeps_end_and_leave_its_queue_alone() {
    bounded(async {
        for how in [End::Stopped, End::Dropped] {
            let meeting = Meeting::new("split-kept");
            let address = free();
            // As a systemd unit has it.
            let kept = std::net::TcpListener::bind(socket(&address)).expect("it is free");
            let mut inherited = Inherited::new();
            inherited
                .add(kept.try_clone().expect("a descriptor"))
                .expect("it listens");
            let old = process(1);
            old.inherit(inherited);
            lds(&old, [at("a", address.clone(), 0)]).await;
            let (new, workers) = split_in_two(&meeting, &old, &address).await;
            drop(old);
            let parked = park(socket(&address));
            let _stopped = end(new, how);
            drop(workers);
            // All of them wait there still, and others may come.
            for _ in &parked {
                kept.accept().expect("it waits");
            }
            std::net::TcpStream::connect(socket(&address)).expect("it listens");
        }
    })
    .await;
}
