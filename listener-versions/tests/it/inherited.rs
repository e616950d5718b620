//! Listening sockets that go from one set of listeners to another, as between two processes:
//! nothing in their queues is lost.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::wire::{answer, any_port, ask, bounded, free, lds, listeners, port};
use crate::common::{Config, at};
use drain_tree::DrainDirection;
use listener_versions::{Accepted, Inherited, ListenAddress, Listeners};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

const CONNECTIONS: usize = 64;

/// A set of listeners; with this many workers.
fn process(workers: usize) -> Listeners<Config> {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    for _ in 0..workers {
        tokio::spawn(listeners.worker().run(answer));
    }
    listeners
}

/// Another process has every socket of these.
fn handed_over(from: &Listeners<Config>) -> Inherited {
    let mut inherited = Inherited::new();
    for shared in from.share_sockets().expect("descriptors") {
        let address = inherited.add(shared.socket).expect("it listens");
        assert_eq!(address, shared.address);
    }
    inherited
}

/// The kernel takes these connections while no worker accepts: no task runs between them.
fn park(address: SocketAddr) -> Vec<std::net::TcpStream> {
    let connect = |_| std::net::TcpStream::connect(address).expect("the kernel takes it");
    (0..CONNECTIONS).map(connect).collect()
}

async fn answered(parked: Vec<std::net::TcpStream>) {
    for client in parked {
        client.set_nonblocking(true).expect("a socket");
        let mut client = TcpStream::from_std(client).expect("a socket");
        assert_eq!(client.read_u64().await.expect("it is served"), 1);
    }
}

#[tokio::test]
async fn what_waits_while_the_sockets_change_hands_is_served_by_the_new_process() {
    bounded(async {
        let address = free();
        let old = process(0);
        lds(&old, [at("a", address.clone(), 0)]).await;
        let parked = park(port(&old, "a"));
        let new = process(0);
        new.inherit(handed_over(&old));
        lds(&new, [at("a", address.clone(), 0)]).await;
        assert_eq!(new.unclaimed(), []);
        // No worker has accepted so far. Closed in the old process, the queue is still there for
        // the new one.
        drop(old);
        let address = port(&new, "a");
        let later = park(address);
        tokio::spawn(new.worker().run(answer));
        answered(parked).await;
        answered(later).await;
        // Its own from now on: it ends with the listener.
        new.own_sockets();
        lds(&new, []).await;
        let refused = TcpStream::connect(address)
            .await
            .expect_err("it is given up");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_queue_is_served_by_as_many_workers_fewer_or_more() {
    for workers in [3, 1, 2, 5] {
        bounded(async {
            let config = at("a", free(), 0).reuse_port(true);
            let old = process(3);
            lds(&old, [config.clone()]).await;
            let address = port(&old, "a");
            until(|| listening(address) == 3).await;
            let parked = park(address);
            let new = process(0);
            new.inherit(handed_over(&old));
            lds(&new, [config]).await;
            old.stop_listeners(DrainDirection::All);
            let later = park(address);
            for _ in 0..workers {
                tokio::spawn(new.worker().run(answer));
            }
            answered(parked).await;
            answered(later).await;
            until(|| listening(address) == workers.max(3)).await;
            answered(park(address)).await;
        })
        .await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn sockets_are_taken_as_they_are_whatever_the_new_configuration_says_of_reuse_port() {
    for (before, after, sockets) in [(true, false, 2), (false, true, 1)] {
        bounded(async {
            let config = at("a", free(), 0);
            let old = process(2);
            lds(&old, [config.clone().reuse_port(before)]).await;
            let address = port(&old, "a");
            until(|| listening(address) == sockets).await;
            let new = process(0);
            new.inherit(handed_over(&old));
            lds(&new, [config.reuse_port(after)]).await;
            drop(old);
            let parked = park(address);
            for _ in 0..3 {
                tokio::spawn(new.worker().run(answer));
            }
            answered(parked).await;
            assert_eq!(listening(address), sockets);
        })
        .await;
    }
}

#[tokio::test]
async fn an_old_process_that_never_finds_the_queue_empty_stops_accepting_all_the_same() {
    bounded(async {
        let address = free();
        let old = process(0);
        lds(&old, [at("a", address.clone(), 0)]).await;
        let parked = park(port(&old, "a"));
        let new = process(0);
        new.inherit(handed_over(&old));
        lds(&new, [at("a", address, 0)]).await;
        let accepted = Arc::new(AtomicUsize::new(0));
        tokio::spawn(old.worker().run({
            let (old, accepted) = (old.clone(), Arc::clone(&accepted));
            move |connection: Accepted<Config>| {
                accepted.fetch_add(1, Ordering::Relaxed);
                old.stop_listeners(DrainDirection::All);
                answer(connection);
            }
        }));
        until(|| accepted.load(Ordering::Relaxed) > 0).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(accepted.load(Ordering::Relaxed), 1);
        tokio::spawn(new.worker().run(answer));
        answered(parked).await;
    })
    .await;
}

#[tokio::test]
async fn a_unix_path_stays_as_it_is_with_the_one_that_goes_on() {
    use std::os::unix::fs::PermissionsExt as _;
    bounded(async {
        let folder = std::env::temp_dir().join(format!("inherited-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("a.sock");
        let address = ListenAddress::Unix(path.clone());
        let old = process(0);
        lds(&old, [at("a", address.clone(), 0).mode(0o666)]).await;
        let parked = Client::connect(&path).expect("the kernel takes it");
        let new = process(1);
        new.inherit(handed_over(&old));
        lds(&new, [at("a", address, 0).mode(0o600)]).await;
        drop(old);
        let file = std::fs::metadata(&path).expect("it stays");
        assert_eq!(file.permissions().mode() & 0o7777, 0o666);
        parked.set_nonblocking(true).expect("a socket");
        let mut parked = UnixStream::from_std(parked).expect("a socket");
        assert_eq!(parked.read_u64().await.expect("it is served"), 1);
        new.own_sockets();
        drop(new);
        assert!(!path.exists());
        std::fs::remove_dir_all(folder).expect("the folder is empty");
    })
    .await;
}

#[tokio::test]
async fn sockets_that_no_listener_wants_are_closed_and_the_other_process_accepts_on_them() {
    bounded(async {
        let (a, b) = (free(), free());
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0), at("b", b.clone(), 0)]).await;
        let new = process(0);
        new.inherit(handed_over(&old));
        // A port that the kernel chooses is never an inherited one.
        lds(&new, [at("c", any_port(), 0)]).await;
        assert_eq!(new.unclaimed().len(), 2);
        // One that is given up before it is ours alone may be wanted again.
        lds(&new, [at("a", a.clone(), 0)]).await;
        assert_eq!(new.unclaimed(), std::slice::from_ref(&b));
        lds(&new, []).await;
        assert_eq!(new.unclaimed().len(), 2);
        lds(&new, [at("a", a.clone(), 1)]).await;
        new.drop_unclaimed();
        assert_eq!(new.unclaimed(), []);
        drop(new);
        for name in ["a", "b"] {
            assert_eq!(
                ask(port(&old, name)).await.expect("it goes on"),
                u64::from(name == "b") + 1
            );
        }
    })
    .await;
}

#[test]
fn what_is_not_a_listening_stream_socket_is_refused_by_its_number() {
    let mut inherited = Inherited::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = std::net::TcpStream::connect(listener.local_addr().expect("an address"))
        .expect("it listens");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let unfit: [(OwnedFd, &str); 3] = [
        (client.into(), "it does not listen"),
        (udp.into(), "it is not a stream socket"),
        (
            File::open("/dev/null").expect("a file").into(),
            "Socket operation on non-socket",
        ),
    ];
    for (fd, reason) in unfit {
        let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
        let error = inherited.add(fd).expect_err("it is unfit");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("file descriptor {number}: {reason}")),
            "{text}"
        );
    }
    assert!(inherited.is_empty());
    inherited.add(listener).expect("it listens");
    assert_eq!(inherited.len(), 1);
}

async fn until(mut done: impl FnMut() -> bool) {
    bounded(async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// How many sockets listen there.
#[cfg(target_os = "linux")]
fn listening(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let SocketAddr::V4(address) = address else {
        panic!("{address}");
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let port = format!("{ip:08X}:{:04X}", address.port());
    let listens = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&port) && fields.nth(1) == Some("0A")
    };
    table.lines().filter(listens).count()
}
