//! Listeners that exchange their addresses in one update, on real sockets under clients that
//! connect all the time: no connection is refused, reset or left without an answer.

use crate::common::wire::{
    answer, ask, ask_on, bounded, connect, free, lds, listeners, listeners_with, port,
};
use crate::common::{Config, at};
use listener_versions::{ListenAddress, Listeners, ListenersOptions, Update, VersionState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// Names, and which of the addresses each has.
fn configs<const N: usize>(
    addresses: &[ListenAddress; N],
    turn: usize,
    reuse_port: bool,
) -> Vec<Config> {
    let names = ["a", "b", "c"].into_iter().take(N).enumerate();
    names
        .map(|(index, name)| {
            let address = addresses[(index + turn) % N].clone();
            at(name, address, 0).reuse_port(reuse_port)
        })
        .collect()
}

fn number(listeners: &Listeners<Config>, name: &str) -> u64 {
    listeners.active(name).expect("it is active").number()
}

/// So many times each listener takes the next one's address, each time when some connection has
/// been answered since the time before.
async fn exchanges_under_connect_loops<const N: usize>(reuse_port: bool, times: usize) {
    let (listeners, driver) = listeners_with(ListenersOptions::default(), ());
    tokio::spawn(driver);
    for _ in 0..2 {
        tokio::spawn(listeners.worker().run(answer));
    }
    let addresses: [ListenAddress; N] = std::array::from_fn(|_| free());
    lds(&listeners, configs(&addresses, 0, reuse_port)).await;
    let (stop, stopped) = watch::channel(());
    let (answered, mut progress) = watch::channel(0);
    let clients: Vec<_> = (0..2 * N)
        .map(|index| {
            let address = addresses[index % N].as_socket().expect("TCP");
            tokio::spawn(ask_on(address, answered.clone(), stopped.clone()))
        })
        .collect();
    bounded(async {
        for turn in 1..=times {
            let seen = *progress.borrow_and_update();
            let further = progress.wait_for(|answered| *answered > seen).await;
            further.expect("clients live");
            lds(&listeners, configs(&addresses, turn, reuse_port)).await;
            for name in ["a", "b", "c"].into_iter().take(N) {
                let version = ask(port(&listeners, name)).await.expect("it listens");
                assert_eq!(version, number(&listeners, name), "{name}");
            }
        }
        drop(stop);
        for client in clients {
            client.await.expect("no connection was lost");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_listeners_that_exchange_addresses_lose_no_connection() {
    for reuse_port in [false, true] {
        exchanges_under_connect_loops::<2>(reuse_port, 100).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_listeners_in_a_ring_that_exchange_addresses_lose_no_connection() {
    exchanges_under_connect_loops::<3>(false, 100).await;
}

#[tokio::test]
async fn what_waits_in_a_queue_is_served_by_its_address_s_new_owner_and_what_is_open_by_its_version()
 {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let addresses = [free(), free()];
        lds(&listeners, configs(&addresses, 0, false)).await;
        let [x, y] = [0, 1].map(|index: usize| addresses[index].as_socket().expect("TCP"));
        let worker = tokio::spawn(listeners.worker().run(answer));
        let mut open = connect(x).await;
        assert_eq!(open.read_u64().await.expect("it is served"), 1);
        worker.abort();
        assert!(worker.await.is_err(), "no worker runs");
        let (mut at_x, mut at_y) = (connect(x).await, connect(y).await);
        lds(&listeners, configs(&addresses, 1, false)).await;
        tokio::spawn(listeners.worker().run(answer));
        let [a, b] = ["a", "b"].map(|name| number(&listeners, name));
        assert_eq!(at_x.read_u64().await.expect("it waited"), b);
        assert_eq!(at_y.read_u64().await.expect("it waited"), a);
        assert!(
            listeners.snapshot()[0].connections == 1,
            "the old version's"
        );
        open.write_u8(0).await.expect("it is open");
        assert_eq!(open.read(&mut [0]).await.expect("it ends in order"), 0);
    })
    .await;
}

#[tokio::test]
async fn an_exchange_that_cannot_be_had_whole_changes_nothing() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(answer));
        let addresses = [free(), free()];
        lds(&listeners, configs(&addresses, 0, false)).await;
        let rival = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken: ListenAddress = rival.local_addr().expect("an address").into();
        let opened = free();
        let mut update = configs(&addresses, 1, false);
        update[0].more.push(opened.clone());
        update[1].more.push(taken);
        let report = listeners.apply(Update::lds("v", update.clone())).await;
        assert_eq!(report.errors().count(), 2, "{report:?}");
        for (address, version) in addresses.iter().zip(1..) {
            let address = address.as_socket().expect("TCP");
            assert_eq!(ask(address).await.expect("it is as it was"), version);
        }
        let refused = ask(opened.as_socket().expect("TCP")).await;
        assert!(refused.is_err(), "it was given back");
        drop(rival);
        lds(&listeners, update).await;
        let version = ask(opened.as_socket().expect("TCP")).await;
        assert_eq!(version.expect("it listens"), number(&listeners, "a"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_of_listeners_that_warm_is_refused_and_no_client_sees_anything_of_it() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(answer));
        let [x, y, z] = [free(), free(), free()];
        lds(&listeners, [at("a", x.clone(), 0), at("b", y.clone(), 0)]).await;
        let (stop, stopped) = watch::channel(());
        let (answered, mut progress) = watch::channel(0);
        let clients = [&x, &y].map(|address| {
            let address = address.as_socket().expect("TCP");
            tokio::spawn(ask_on(address, answered.clone(), stopped.clone()))
        });
        let (a, b) = (
            at("a", y.clone(), 1).warming(),
            at("b", x.clone(), 1).warming(),
        );
        for _ in 0..20 {
            let seen = *progress.borrow_and_update();
            let update = Update::lds("v", [a.clone(), b.clone()]);
            let report = listeners.apply(update).await;
            let errors: Vec<String> = report.errors().map(ToString::to_string).collect();
            assert_eq!(errors.len(), 2, "{errors:?}");
            for error in errors {
                let names_both = error.contains("\"a\"") && error.contains("\"b\"");
                assert!(
                    names_both && error.contains("by way of a free one"),
                    "{error}"
                );
            }
            let further = progress.wait_for(|answered| *answered > seen).await;
            further.expect("clients live");
        }
        drop(stop);
        for client in clients {
            client.await.expect("no connection was lost");
        }
        let versions = [&x, &y].map(|address| address.as_socket().expect("TCP"));
        for (address, version) in versions.into_iter().zip(1..) {
            assert_eq!(ask(address).await.expect("it is as it was"), version);
        }
        // What the refusal says.
        let b_elsewhere = at("b", z, 1).warming();
        for update in [
            [at("a", x.clone(), 0), b_elsewhere.clone()],
            [a.clone(), b_elsewhere],
            [a, at("b", x, 2).warming()],
        ] {
            lds(&listeners, update).await;
            let warming = listeners.snapshot();
            let mut warming = warming
                .iter()
                .filter(|version| version.state == VersionState::Warming);
            let version = warming.next().expect("one warms").number;
            listeners.warmed(version).expect("it warms");
        }
        for (address, name) in versions.into_iter().zip(["b", "a"]) {
            let version = ask(address).await.expect("it is served");
            assert_eq!(version, number(&listeners, name));
        }
    })
    .await;
}
