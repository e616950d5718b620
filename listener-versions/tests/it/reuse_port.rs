//! A socket for each worker (`SO_REUSEPORT`): none is closed before the listener gives up its
//! address, whatever becomes of workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::wire::{answer, any_port, ask, bounded, lds, listeners, port};
use crate::common::{Config, at};
use listener_versions::{Listeners, Update};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const CONNECTIONS: usize = 64;

fn content(content: u32) -> Config {
    at("a", any_port(), content).reuse_port(true)
}

/// How many sockets of this process, or another, listen on this port of 127.0.0.1.
fn listening(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let port = format!("0100007F:{:04X}", address.port());
    let listens = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&port) && fields.nth(1) == Some("0A")
    };
    table.lines().filter(listens).count()
}

/// The kernel takes these connections while no worker accepts: no task runs between them.
fn park(address: SocketAddr) -> Vec<std::net::TcpStream> {
    let connect = |_| std::net::TcpStream::connect(address).expect("the kernel takes it");
    (0..CONNECTIONS).map(connect).collect()
}

/// Every one of them gets an answer, from the version `expected`.
async fn answered(parked: Vec<std::net::TcpStream>, expected: u64) {
    for client in parked {
        client.set_nonblocking(true).expect("a socket");
        let mut client = TcpStream::from_std(client).expect("a socket");
        assert_eq!(client.read_u64().await.expect("it is served"), expected);
    }
}

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_worker_accepts_on_a_socket_of_its_own_through_all_versions() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let served: Arc<[AtomicUsize; 3]> = Arc::default();
        for index in 0..3 {
            let served = Arc::clone(&served);
            tokio::spawn(listeners.worker().run(move |accepted| {
                served[index].fetch_add(1, Ordering::Relaxed);
                answer(accepted);
            }));
        }
        lds(&listeners, [content(0)]).await;
        let address = port(&listeners, "a");
        until(|| listening(address) == 3).await;
        for update in 1..4 {
            lds(&listeners, [content(update)]).await;
            answered(park(address), u64::from(update) + 1).await;
            assert_eq!(listening(address), 3);
        }
        // The kernel spreads them by a hash of their ports; that one of three gets none of 192 does
        // not happen.
        assert!(
            served
                .iter()
                .all(|served| served.load(Ordering::Relaxed) > 0),
            "{served:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_never_runs_has_no_socket_in_which_connections_would_wait_for_it() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        lds(&listeners, [content(0)]).await;
        let (_idle, worker) = (listeners.worker(), listeners.worker());
        tokio::spawn(worker.run(answer));
        let address = port(&listeners, "a");
        answered(park(address), 1).await;
        assert_eq!(listening(address), 1);
    })
    .await;
}

#[tokio::test]
async fn what_waits_in_the_socket_of_a_worker_that_ends_is_served_by_one_that_stays() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        lds(&listeners, [content(0)]).await;
        let address = port(&listeners, "a");
        let first = tokio::spawn(listeners.worker().run(answer));
        until(|| listening(address) == 1).await;
        let second = tokio::spawn(listeners.worker().run(answer));
        until(|| listening(address) == 2).await;
        let parked = park(address);
        first.abort();
        answered(parked, 1).await;
        assert_eq!(listening(address), 2, "its socket stays");
        let parked = park(address);
        second.abort();
        assert!(second.await.is_err_and(|ended| ended.is_cancelled()));
        // No worker accepts now; the sockets stay all the same, over an update too.
        lds(&listeners, [content(1)]).await;
        let more = park(address);
        tokio::spawn(listeners.worker().run(answer));
        answered(parked, 2).await;
        answered(more, 2).await;
        // A worker more takes one of the two sockets; none is opened.
        tokio::spawn(listeners.worker().run(answer));
        answered(park(address), 2).await;
        assert_eq!(listening(address), 2);
    })
    .await;
}

#[test]
fn what_waits_in_the_socket_of_a_runtime_that_ends_is_served_by_another() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime")
    };
    let (stays, ends) = (runtime(), runtime());
    let (listeners, driver) = stays.block_on(async { listeners() });
    stays.spawn(driver);
    stays.spawn(listeners.worker().run(answer));
    ends.spawn(listeners.worker().run(answer));
    let address = stays.block_on(async {
        lds(&listeners, [content(0)]).await;
        let address = port(&listeners, "a");
        until(|| listening(address) == 1).await;
        tokio::task::yield_now().await;
        address
    });
    ends.block_on(until(|| listening(address) == 2));
    // Neither runtime runs now. What waits goes to the newer version.
    let parked = park(address);
    stays.block_on(lds(&listeners, [content(1)]));
    let more = park(address);
    drop(ends);
    stays.block_on(bounded(async {
        answered(parked, 2).await;
        answered(more, 2).await;
    }));
}

#[tokio::test]
async fn what_waits_in_all_sockets_of_a_removed_listener_is_served_and_later_ones_are_refused() {
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        let workers = [(); 3].map(|()| tokio::spawn(listeners.worker().run(answer)));
        lds(&listeners, [content(0)]).await;
        let address = port(&listeners, "a");
        until(|| listening(address) == 3).await;
        let parked = park(address);
        lds(&listeners, []).await;
        let refused = TcpStream::connect(address)
            .await
            .expect_err("the address is given up");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        answered(parked, 1).await;
        // The address can be had again at once, also as one socket.
        lds(&listeners, [at("a", address.into(), 1)]).await;
        assert_eq!(ask(address).await.expect("it listens again"), 2);
        assert_eq!(listening(address), 1);
        drop(listeners);
        for worker in workers {
            worker.await.expect("it ends");
        }
    })
    .await;
}

#[tokio::test]
async fn the_kind_of_socket_cannot_change_as_long_as_the_address_stays() {
    async fn refused(listeners: &Listeners<Config>, config: Config) -> String {
        let report = listeners.apply(Update::lds("v", [config])).await;
        report.errors().map(ToString::to_string).collect()
    }
    bounded(async {
        let (listeners, driver) = listeners();
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(answer));
        lds(&listeners, [content(0)]).await;
        let address = port(&listeners, "a");
        let shared = content(1).reuse_port(false);
        assert_eq!(
            refused(&listeners, shared.clone()).await,
            "listener \"a\": enable_reuse_port: cannot change while the address stays"
        );
        // Nor with nothing but chains beside it.
        let chains = content(0).reuse_port(false).chains([("c", 1)]);
        assert!(!refused(&listeners, chains).await.is_empty());
        assert_eq!(ask(address).await.expect("it goes on"), 1);
        let elsewhere = Config {
            address: "127.0.0.2:0".parse().expect("an address"),
            ..shared
        };
        lds(&listeners, [elsewhere]).await;
        assert_eq!(ask(port(&listeners, "a")).await.expect("it serves"), 2);
    })
    .await;
}

#[tokio::test]
async fn with_one_socket_for_all_an_address_that_another_one_listens_on_is_refused() {
    let (listeners, _driver) = listeners();
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("its address");
    for reuse_port in [false, true] {
        // Also with SO_REUSEPORT, unless the other one has set it too.
        let report = listeners
            .apply(Update::lds(
                "v",
                [at("a", address.into(), 0).reuse_port(reuse_port)],
            ))
            .await;
        let fields: Vec<&str> = report.errors().map(|error| error.field()).collect();
        assert_eq!(fields, ["address"]);
    }
}
