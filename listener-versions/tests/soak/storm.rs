//! Updates in quick succession under clients that connect all the time: no connection is refused,
//! reset or left without an answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::at;
use crate::common::wire::{answer, any_port, ask_on, bounded, lds, listeners_with, port};
use drain_tree::DrainOutcome;
use listener_versions::{ListenerObserver, ListenersOptions, VersionView};
use tokio::sync::watch;

/// Counts what must come once for each version.
#[derive(Clone, Default)]
struct Reaped(Arc<Mutex<Vec<u64>>>);

impl ListenerObserver for Reaped {
    fn drained(&self, version: &VersionView, _: &DrainOutcome) {
        self.0.lock().expect("no panic").push(version.number);
    }
}

const UPDATES: u32 = 500;

/// So many updates: each when some connection has been answered since the one before, or so many a
/// second.
async fn updates_under_four_connect_loops(reuse_port: bool, updates: u32, rate: Option<u32>) {
    let reaped = Reaped::default();
    let (listeners, driver) = listeners_with(ListenersOptions::default(), reaped.clone());
    let driver = tokio::spawn(driver);
    let workers: Vec<_> = (0..2)
        .map(|_| tokio::spawn(listeners.worker().run(answer)))
        .collect();
    let content = |content| at("a", any_port(), content).reuse_port(reuse_port);
    lds(&listeners, [content(0)]).await;
    let address = port(&listeners, "a");
    let (stop, stopped) = watch::channel(());
    let (answered, mut progress) = watch::channel(0);
    let clients: Vec<_> = (0..4)
        .map(|_| tokio::spawn(ask_on(address, answered.clone(), stopped.clone())))
        .collect();
    bounded(async {
        let mut rate = rate.map(|rate| tokio::time::interval(Duration::from_secs(1) / rate));
        for update in 1..=updates {
            if let Some(rate) = &mut rate {
                rate.tick().await;
            } else {
                let seen = *progress.borrow_and_update();
                progress
                    .wait_for(|answered| *answered > seen)
                    .await
                    .expect("clients live");
            }
            lds(&listeners, [content(update)]).await;
            assert_eq!(port(&listeners, "a"), address, "the sockets are the same");
        }
        drop(stop);
        let mut connections = 0;
        for client in clients {
            connections += client.await.expect("no connection was lost");
        }
        assert!(connections >= updates as usize || rate.is_some_and(|_| connections > 0));
        drop(listeners);
        for worker in workers {
            worker.await.expect("the worker ends");
        }
        driver.await.expect("the driver ends");
    })
    .await;
    let mut reaped = reaped.0.lock().expect("no panic").clone();
    reaped.sort_unstable();
    assert_eq!(
        reaped,
        (1..=u64::from(updates)).collect::<Vec<_>>(),
        "every version that was replaced, once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_updates_under_connect_loops_lose_no_connection() {
    updates_under_four_connect_loops(false, UPDATES, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_updates_under_connect_loops_lose_no_connection_with_a_socket_for_each_worker()
{
    updates_under_four_connect_loops(true, UPDATES, None).await;
}

/// Missed ticks are made up for: the rate is kept if the machine keeps up at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "twenty seconds of work: run by `cargo xtask ci --full soak`"]
async fn five_hundred_updates_a_second_under_connect_loops_lose_no_connection() {
    for reuse_port in [false, true] {
        updates_under_four_connect_loops(reuse_port, 5_000, Some(500)).await;
    }
}

/// Workers come and go, each with its socket, while clients connect and versions change.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_come_and_go_with_their_sockets_lose_no_connection() {
    let (listeners, driver) = listeners_with(ListenersOptions::default(), ());
    tokio::spawn(driver);
    let content = |content| at("a", any_port(), content).reuse_port(true);
    lds(&listeners, [content(0)]).await;
    let address = port(&listeners, "a");
    let (stop, stopped) = watch::channel(());
    let (answered, mut progress) = watch::channel(0);
    let clients: Vec<_> = (0..4)
        .map(|_| tokio::spawn(ask_on(address, answered.clone(), stopped.clone())))
        .collect();
    bounded(async {
        let start = || tokio::spawn(listeners.worker().run(answer));
        let mut workers = std::collections::VecDeque::from([start(), start()]);
        for update in 1..=100 {
            let seen = *progress.borrow_and_update();
            progress
                .wait_for(|answered| *answered > seen)
                .await
                .expect("clients live");
            workers.push_back(start());
            if let Some(oldest) = workers.pop_front() {
                oldest.abort();
            }
            lds(&listeners, [content(update)]).await;
        }
        drop(stop);
        for client in clients {
            client.await.expect("no connection was lost");
        }
    })
    .await;
}
