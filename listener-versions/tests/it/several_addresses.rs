//! Listeners with several addresses on real sockets, TCP and Unix: what waits in a queue when
//! addresses come, go and change hands.

use std::io;
use std::net::SocketAddr;

use crate::common::wire::{answer, any_port, ask, bounded, connect, free, lds, listeners};
use crate::common::{Config, at};
use listener_versions::{Inherited, ListenAddress, Listeners, Update};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

fn process() -> Listeners<Config> {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    listeners
}

fn work(listeners: &Listeners<Config>) {
    tokio::spawn(listeners.worker().run(answer));
}

fn socket(address: &ListenAddress) -> SocketAddr {
    address.as_socket().expect("TCP")
}

async fn ask_unix(path: &ListenAddress) -> io::Result<u64> {
    connect_unix(path).await?.read_u64().await
}

async fn connect_unix(path: &ListenAddress) -> io::Result<UnixStream> {
    let ListenAddress::Unix(path) = path else {
        panic!("{path} is no path")
    };
    UnixStream::connect(path).await
}

async fn hear(mut client: impl tokio::io::AsyncRead + Unpin) -> u64 {
    bounded(client.read_u64()).await.expect("it is served")
}

#[tokio::test]
async fn one_version_answers_at_a_tcp_address_and_a_path_and_a_connection_knows_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tcp, path) = (free(), ListenAddress::Unix(folder.path().join("a.sock")));
    let listeners = process();
    let (sender, mut locals) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(
        listeners
            .worker()
            .run(move |accepted: listener_versions::Accepted<Config>| {
                drop(sender.send(accepted.local()));
                answer(accepted);
            }),
    );
    let abstract_name = ListenAddress::Unix(format!("@several-{}", std::process::id()).into());
    let addresses = match cfg!(target_os = "linux") {
        true => vec![tcp.clone(), path.clone(), abstract_name.clone()],
        false => vec![tcp.clone(), path.clone()],
    };
    for content in 0..2 {
        let config = addresses[1..]
            .iter()
            .cloned()
            .fold(at("a", tcp.clone(), content), Config::and);
        lds(&listeners, [config]).await;
        assert_eq!(listeners.local_addresses("a"), addresses);
        let views = listeners.snapshot();
        assert_eq!(views.last().expect("one").accepting_at, addresses);
        let version = u64::from(content) + 1;
        assert_eq!(ask(socket(&tcp)).await.expect("TCP"), version);
        assert_eq!(locals.recv().await, Some(tcp.clone()));
        assert_eq!(ask_unix(&path).await.expect("a path"), version);
        assert_eq!(locals.recv().await, Some(path.clone()));
    }
    lds(&listeners, []).await;
    let refused = ask(socket(&tcp)).await.expect_err("it is removed");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let gone = ask_unix(&path).await.expect_err("its file is removed");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn what_waits_at_addresses_that_stay_is_served_by_the_new_version_and_what_waits_at_one_that_goes_by_the_old()
 {
    let folder = tempfile::tempdir().expect("a folder");
    for reuse_port in [false, true] {
        let [stays, goes, comes] = [free(), free(), free()];
        let path = ListenAddress::Unix(folder.path().join("a.sock"));
        let listeners = process();
        // There is a worker, but its runtime is busy: connections wait in the queues.
        let config = |first: &ListenAddress, content| {
            at("a", first.clone(), content)
                .reuse_port(reuse_port)
                .and(path.clone())
        };
        lds(&listeners, [config(&stays, 0).and(goes.clone())]).await;
        let worker = listeners.worker();
        let waits_at_stays = TcpStream::connect(socket(&stays)).await.expect("a queue");
        let waits_at_path = connect_unix(&path).await.expect("a queue");
        let waits_at_goes = TcpStream::connect(socket(&goes)).await.expect("a queue");
        // The address that was the first is one of the additional ones now.
        lds(&listeners, [config(&comes, 1).and(stays.clone())]).await;
        tokio::spawn(worker.run(answer));
        assert_eq!(hear(waits_at_goes).await, 1, "{reuse_port}");
        assert_eq!(hear(waits_at_stays).await, 2, "{reuse_port}");
        assert_eq!(hear(waits_at_path).await, 2, "{reuse_port}");
        assert_eq!(ask(socket(&comes)).await.expect("it listens"), 2);
        let refused = ask(socket(&goes)).await.expect_err("given up");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn one_address_of_two_changes_its_listener_with_its_queue() {
    for reversed in [false, true] {
        let [x, y, z] = [free(), free(), free()];
        let listeners = process();
        let a = at("a", x.clone(), 0);
        let b = at("b", z.clone(), 0);
        lds(&listeners, [a.clone().and(y.clone()), b.clone()]).await;
        let waits = TcpStream::connect(socket(&y)).await.expect("a queue");
        let mut update = vec![a, b.and(y.clone())];
        if reversed {
            update.reverse();
        }
        lds(&listeners, update).await;
        work(&listeners);
        let b = listeners.active("b").expect("it is there").number();
        assert_eq!(hear(waits).await, b);
        assert_eq!(ask(socket(&y)).await.expect("it is b's"), b);
        assert_eq!(ask(socket(&z)).await.expect("it is b's"), b);
        let a = listeners.active("a").expect("it is there").number();
        assert_eq!(ask(socket(&x)).await.expect("it is a's"), a);
    }
}

#[tokio::test]
async fn an_address_that_another_process_has_refuses_the_update_and_nothing_else_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let [x, fresh] = [free(), free()];
    let path = ListenAddress::Unix(folder.path().join("new.sock"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let taken = taken
        .local_addr()
        .map(|at| (at, taken))
        .expect("an address");
    let listeners = process();
    let config = at("a", x.clone(), 0);
    lds(&listeners, [config.clone()]).await;
    let waits = connect(socket(&x)).await;
    let wants = at("a", x.clone(), 1)
        .and(fresh.clone())
        .and(path.clone())
        .and(taken.0);
    let report = listeners.apply(Update::lds("v", [wants.clone()])).await;
    let error = report.into_result().expect_err("an address is taken");
    let text = error.to_string();
    let expected = format!(
        "listener \"a\": additional_addresses: cannot listen on {}: ",
        taken.0
    );
    assert!(text.starts_with(&expected), "{text}");
    let refused = ask(socket(&fresh)).await.expect_err("it was given back");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let gone = ask_unix(&path).await.expect_err("so was the path");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    work(&listeners);
    assert_eq!(hear(waits).await, 1, "the old version goes on");
    drop(taken);
    lds(&listeners, [wants]).await;
    assert_eq!(ask_unix(&path).await.expect("it can be had now"), 2);
}

#[tokio::test]
async fn two_ports_that_the_kernel_chooses_are_two_sockets_and_stay_with_the_listener() {
    let listeners = process();
    work(&listeners);
    let config = |content| at("a", any_port(), content).and(any_port());
    lds(&listeners, [config(0)]).await;
    let before = listeners.local_addresses("a");
    assert_ne!(before[0], before[1]);
    lds(&listeners, [config(1)]).await;
    assert_eq!(listeners.local_addresses("a"), before);
    for address in &before {
        assert_eq!(ask(socket(address)).await.expect("it listens"), 2);
    }
}

#[tokio::test]
async fn another_process_gets_every_socket_with_its_queue() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tcp, path) = (free(), ListenAddress::Unix(folder.path().join("a.sock")));
    let config = || at("a", tcp.clone(), 0).and(path.clone());
    let old = process();
    lds(&old, [config()]).await;
    let waits_at_tcp = connect(socket(&tcp)).await;
    let waits_at_path = connect_unix(&path).await.expect("a queue");
    let mut inherited = Inherited::new();
    for shared in old.share_sockets().expect("descriptors") {
        inherited.add(shared.socket).expect("it listens");
    }
    let new = process();
    new.inherit(inherited);
    // One version more, so that the new process's answers can be recognized.
    lds(&new, [at("other", any_port(), 0)]).await;
    lds(&new, [at("other", any_port(), 0), config()]).await;
    assert!(new.unclaimed().is_empty());
    drop(old);
    work(&new);
    new.own_sockets();
    assert_eq!(hear(waits_at_tcp).await, 2);
    assert_eq!(hear(waits_at_path).await, 2);
    lds(&new, []).await;
    assert!(ask(socket(&tcp)).await.is_err() && ask_unix(&path).await.is_err());
}
