//! What an update asks of a socket that is open is carried out or refused, and a Unix socket's file
//! is removed only if it is ours.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use crate::common::wire::{any_port, bounded, free, lds, listeners, port};
use crate::common::{Config, at};
use listener_versions::{ListenAddress, Update};
use tokio::net::{TcpStream, UnixStream};

/// A path for a socket, with nothing there.
fn path(name: &str) -> PathBuf {
    let path =
        std::env::temp_dir().join(format!("listener-versions-{name}-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    path
}

fn with_backlog(address: ListenAddress, content: u32, backlog: u32) -> Config {
    let mut config = at("a", address, content);
    config.socket.backlog = backlog;
    config
}

/// So many connections fit into the queue now; they are kept.
fn fill(path: &Path, kept: &mut Vec<socket2::Socket>) -> usize {
    let address = socket2::SockAddr::unix(path).expect("a path");
    for connections in 0..1_000 {
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)
            .expect("a socket");
        client.set_nonblocking(true).expect("a socket");
        match client.connect(&address) {
            Ok(()) => kept.push(client),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return connections;
            }
        }
    }
    panic!("it is never full");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn another_backlog_counts_as_soon_as_its_version_accepts() {
    let path = path("backlog");
    let config =
        |content, backlog| with_backlog(ListenAddress::Unix(path.clone()), content, backlog);
    // No worker: what connects stays in the queue.
    let (listeners, _driver) = listeners();
    let mut kept = Vec::new();
    lds(&listeners, [config(0, 1)]).await;
    assert_eq!(fill(&path, &mut kept), 2);
    lds(&listeners, [config(1, 4).warming()]).await;
    assert_eq!(fill(&path, &mut kept), 0, "it is not warm");
    listeners.warmed(2).expect("it is warming");
    assert_eq!(fill(&path, &mut kept), 3);
    // Only chains differ beside it.
    lds(&listeners, [config(1, 4).chains([("x", 1)])]).await;
    lds(&listeners, [config(1, 6).chains([("x", 2)])]).await;
    assert_eq!(fill(&path, &mut kept), 2);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_found_the_queue_of_a_tcp_listener_full_gets_in_when_it_is_longer() {
    let (listeners, _driver) = listeners();
    let address = free();
    lds(&listeners, [with_backlog(address.clone(), 0, 1)]).await;
    let at_a = port(&listeners, "a");
    let _first = [
        TcpStream::connect(at_a).await,
        TcpStream::connect(at_a).await,
    ]
    .map(|client| client.expect("it fits"));
    let mut third = Box::pin(TcpStream::connect(at_a));
    assert!(
        futures_util::FutureExt::now_or_never(&mut third).is_none(),
        "the queue is full"
    );
    lds(&listeners, [with_backlog(address, 1, 16)]).await;
    bounded(third)
        .await
        .expect("the client tries again, and there is room");
}

#[tokio::test]
async fn a_path_that_somebody_else_has_taken_is_left_alone() {
    let path = path("taken");
    let (listeners, _driver) = listeners();
    lds(&listeners, [at("a", ListenAddress::Unix(path.clone()), 0)]).await;
    // An operator removes it, and another process listens there.
    std::fs::remove_file(&path).expect("it is there");
    let other = tokio::net::UnixListener::bind(&path).expect("a temporary folder");
    lds(&listeners, []).await;
    UnixStream::connect(&path)
        .await
        .expect("the other one is there");
    drop(other);
    std::fs::remove_file(&path).expect("it was left alone");
}

#[tokio::test]
async fn an_inherited_unix_socket_that_is_ours_alone_goes_with_its_file() {
    for taken in [false, true] {
        let path = path(&format!("inherited-{taken}"));
        let mut inherited = listener_versions::Inherited::new();
        let socket = std::os::unix::net::UnixListener::bind(&path).expect("a temporary folder");
        inherited.add(socket).expect("it listens");
        let (listeners, _driver) = listeners();
        listeners.inherit(inherited);
        lds(&listeners, [at("a", ListenAddress::Unix(path.clone()), 0)]).await;
        listeners.own_sockets();
        if taken {
            std::fs::remove_file(&path).expect("it is there");
            std::fs::write(&path, "another one's").expect("a temporary folder");
        }
        lds(&listeners, []).await;
        assert_eq!(path.exists(), taken);
        drop(std::fs::remove_file(&path));
    }
}

#[tokio::test]
async fn a_path_that_somebody_else_had_taken_before_its_socket_was_inherited_is_left_alone() {
    let path = path("inherited-late");
    let socket = std::os::unix::net::UnixListener::bind(&path).expect("a temporary folder");
    // An operator removes it, and another process listens there.
    std::fs::remove_file(&path).expect("it is there");
    let other = tokio::net::UnixListener::bind(&path).expect("a temporary folder");
    let mut inherited = listener_versions::Inherited::new();
    inherited.add(socket).expect("it listens");
    let (listeners, _driver) = listeners();
    listeners.inherit(inherited);
    lds(&listeners, [at("a", ListenAddress::Unix(path.clone()), 0)]).await;
    listeners.own_sockets();
    lds(&listeners, []).await;
    UnixStream::connect(&path)
        .await
        .expect("the other one is there");
    drop(other);
    std::fs::remove_file(&path).expect("it was left alone");
}

/// The one removes its listener while the other tries to have the path, again and again.
#[test]
fn a_path_is_never_removed_under_the_one_that_has_just_taken_it() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime")
    };
    for round in 0..300 {
        let path = path(&format!("race-{round}"));
        let config = || at("a", ListenAddress::Unix(path.clone()), 0);
        let (old, _driver) = listeners();
        let rt = runtime();
        rt.block_on(lds(&old, [config()]));
        let (tries, is_trying) = mpsc::channel();
        let taking = thread::spawn({
            let (address, rt) = (ListenAddress::Unix(path.clone()), runtime());
            move || {
                rt.block_on(async {
                    let (new, driver) = listeners();
                    for attempt in 0..1_000_000 {
                        let update = Update::lds("v", [at("a", address.clone(), 0)]);
                        let taken = new.apply(update).await.is_success();
                        if attempt == 0 {
                            tries.send(()).expect("the test waits");
                        }
                        if taken {
                            return (new, driver);
                        }
                    }
                    panic!("it is never free");
                })
            }
        });
        is_trying.recv().expect("it tries");
        rt.block_on(lds(&old, []));
        let new = taking.join().expect("it is free in the end");
        assert!(
            path.exists(),
            "round {round}: the one that listens there has lost its path"
        );
        drop(new);
        drop(std::fs::remove_file(&path));
    }
}

#[tokio::test]
async fn a_listener_that_the_bootstrap_has_updated_in_place_is_static() {
    let (listeners, _driver) = listeners();
    let config = |chain| at("a", any_port(), 0).chains([("x", chain)]);
    lds(&listeners, [config(1)]).await;
    let before = listeners.active("a").expect("it is active");
    assert!(
        listeners
            .apply(Update::bootstrap([config(2)]))
            .await
            .is_success()
    );
    let report = listeners.apply(Update::lds("v", [config(3)])).await;
    assert_eq!(
        report.errors().next().map(|error| error.field()),
        Some("name")
    );
    assert!(listeners.active("a").expect("it is active").is_static());
    assert!(!before.is_static(), "that configuration came through LDS");
}
