//! Addresses of every kind on real sockets, and who may have one: IPv6, dual stack, Unix paths,
//! what a listener has just left.

use std::io;
use std::net::SocketAddr;

use crate::common::wire::{answer, any_port, ask, bounded, connect, lds, listeners, port};
use crate::common::{Config, at};
use listener_versions::{Accepted, ListenAddress, Listeners, Update, UpdateError, VersionState};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// A machine without IPv6 has nothing to show here.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

fn serve() -> Listeners<Config> {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    tokio::spawn(listeners.worker().run(answer));
    listeners
}

async fn refused(listeners: &Listeners<Config>, config: Config) -> UpdateError {
    let update = Update::delta("v", [config], [""; 0]);
    let report = listeners.apply(update).await;
    let (_, outcome) = report.listeners.into_iter().next().expect("one listener");
    outcome.expect_err("it is refused")
}

#[tokio::test]
async fn an_ipv6_address_is_shared_by_versions_and_takes_no_ipv4_client() {
    if !has_ipv6() {
        return;
    }
    bounded(async {
        for reuse_port in [false, true] {
            let listeners = serve();
            let any: ListenAddress = "[::]:0".parse().expect("an address");
            for content in 0..2 {
                lds(
                    &listeners,
                    [at("a", any.clone(), content).reuse_port(reuse_port)],
                )
                .await;
                let port = port(&listeners, "a").port();
                let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
                assert_eq!(
                    ask(six).await.expect("it is served"),
                    u64::from(content) + 1
                );
                let four = SocketAddr::from(([127, 0, 0, 1], port));
                let error = ask(four).await.expect_err("IPv6 only");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_dual_stack_socket_takes_ipv4_clients_as_mapped_addresses() {
    if !has_ipv6() {
        return;
    }
    bounded(async {
        for reuse_port in [false, true] {
            let (listeners, driver) = listeners();
            tokio::spawn(driver);
            let (sender, mut accepted) = mpsc::unbounded_channel();
            // Two of them, so that the second one opens a socket of its own in the second mode.
            for _ in 0..2 {
                let sender = sender.clone();
                let pass = move |accepted: Accepted<Config>| drop(sender.send(accepted));
                tokio::spawn(listeners.worker().run(pass));
            }
            let mut config =
                at("a", "[::]:0".parse().expect("an address"), 0).reuse_port(reuse_port);
            config.socket.dual_stack = true;
            lds(&listeners, [config]).await;
            let port = port(&listeners, "a").port();
            for host in ["127.0.0.1", "::1"] {
                for _ in 0..8 {
                    let address = SocketAddr::new(host.parse().expect("an address"), port);
                    let _client = connect(address).await;
                    let taken: Accepted<Config> = accepted.recv().await.expect("it is accepted");
                    let peer = taken.peer.as_socket().expect("TCP").ip();
                    let local = taken.local().as_socket().expect("TCP").ip();
                    assert_eq!(
                        [peer.to_canonical(), local.to_canonical()],
                        [address.ip(); 2]
                    );
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_a_draining_version_had_can_be_had_by_another_listener() {
    bounded(async {
        for reuse_port in [false, true] {
            let listeners = serve();
            lds(&listeners, [at("a", any_port(), 0).reuse_port(reuse_port)]).await;
            let address = port(&listeners, "a");
            let mut held = connect(address).await;
            assert_eq!(held.read_u64().await.expect("it is served"), 1);
            let elsewhere = || at("a", "127.0.0.2:0".parse().expect("an address"), 1);
            lds(&listeners, [elsewhere()]).await;
            lds(&listeners, [elsewhere(), at("b", address.into(), 0)]).await;
            assert_eq!(ask(address).await.expect("it is b's"), 3);
            let views = listeners.snapshot();
            let states: Vec<_> = views.iter().map(|view| (view.number, view.state)).collect();
            assert_eq!(
                states[0],
                (1, VersionState::Draining),
                "it goes on: {states:?}"
            );
            // And a cannot have it back as long as b is there.
            let error = refused(&listeners, at("a", address.into(), 2)).await;
            assert!(
                matches!(error, UpdateError::AddressConflict { .. }),
                "{error}"
            );
            drop(held);
        }
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_warms_does_not_listen_and_if_it_cannot_the_active_version_goes_on() {
    bounded(async {
        let listeners = serve();
        lds(&listeners, [at("a", any_port(), 0)]).await;
        let old = port(&listeners, "a");
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let wanted = probe.local_addr().expect("its address");
        drop(probe);
        lds(&listeners, [at("a", wanted.into(), 1).warming()]).await;
        assert_eq!(
            ask(wanted).await.map_err(|error| error.kind()),
            Err(io::ErrorKind::ConnectionRefused)
        );
        assert_eq!(ask(old).await.expect("the active one serves"), 1);
        // It is bound, but does not listen: on Linux another process can be faster.
        match (
            std::net::TcpListener::bind(wanted).ok(),
            listeners.warmed(2),
        ) {
            (Some(_rival), Err(UpdateError::Bind { .. })) => {
                assert_eq!(ask(old).await.expect("the active one serves"), 1);
                assert_eq!(listeners.snapshot().len(), 1);
            }
            (None, Ok(true)) => assert_eq!(ask(wanted).await.expect("it serves"), 2),
            other => panic!("{other:?}"),
        }
        assert!(matches!(listeners.warmed(2), Ok(false)));
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_socket_is_served_and_has_no_file() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    bounded(async {
        let name = format!("listener-versions-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&name).expect("a name");
        let connect = || UnixStream::connect_addr(&abstracted);
        let address = ListenAddress::Unix(format!("@{name}").into());
        let config = || at("a", address.clone(), 0);
        let listeners = serve();

        let living = UnixListener::bind_addr(&abstracted).expect("no process has it");
        assert_eq!(refused(&listeners, config()).await.field(), "address");
        drop(living);

        // As somebody's file may be called.
        let file = std::path::PathBuf::from(format!("@{name}"));
        std::fs::write(&file, "somebody's file").expect("a folder");
        lds(&listeners, [config()]).await;
        let client = connect().expect("it listens");
        client.set_nonblocking(true).expect("a socket");
        let mut client = tokio::net::UnixStream::from_std(client).expect("a socket");
        assert_eq!(client.read_u64().await.expect("it is served"), 1);
        drop(client);

        let shared = listeners.share_sockets().expect("descriptors");
        let mut inherited = listener_versions::Inherited::new();
        for socket in shared {
            assert_eq!(inherited.add(socket.socket).expect("it listens"), address);
        }
        drop(inherited);
        listeners.own_sockets();
        lds(&listeners, []).await;
        assert_eq!(
            connect().expect_err("no process listens").kind(),
            io::ErrorKind::ConnectionRefused
        );
        std::fs::remove_file(&file).expect("it is left alone");
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_path_of_a_unix_socket_is_taken_over_only_if_no_process_listens_on_it() {
    use std::os::unix::net::UnixListener;
    bounded(async {
        let path =
            std::env::temp_dir().join(format!("listener-versions-path-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let config = || at("a", ListenAddress::Unix(path.clone()), 0);
        let listeners = serve();

        std::fs::write(&path, "somebody's file").expect("a temporary folder");
        assert_eq!(refused(&listeners, config()).await.field(), "address");
        assert!(path.exists(), "it is left alone");
        std::fs::remove_file(&path).expect("it is there");

        let living = UnixListener::bind(&path).expect("a temporary folder");
        assert_eq!(refused(&listeners, config()).await.field(), "address");
        drop(living);

        // Its path outlives a process; no process listens there any more. A socket for each worker
        // there is none.
        assert!(path.exists());
        lds(&listeners, [config().reuse_port(true)]).await;
        tokio::spawn(listeners.worker().run(answer));
        let mut client = tokio::net::UnixStream::connect(&path)
            .await
            .expect("it listens");
        assert_eq!(client.read_u64().await.expect("it is served"), 1);
        drop(client);
        lds(&listeners, []).await;
        assert!(!path.exists());
    })
    .await;
}

/// A path for a socket, with nothing there.
#[cfg(unix)]
fn path(name: &str) -> std::path::PathBuf {
    let path =
        std::env::temp_dir().join(format!("listener-versions-{name}-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    path
}

#[cfg(unix)]
fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;

    let file = std::fs::symlink_metadata(path).expect("it is there");
    file.permissions().mode() & 0o7777
}

#[cfg(unix)]
#[tokio::test]
async fn the_mode_of_a_unix_socket_is_set_before_anybody_can_connect() {
    use std::os::unix::net::UnixStream;
    bounded(async {
        // Neither is what a umask leaves.
        for wanted in [0o600, 0o666] {
            let path = path(&format!("mode-{wanted:o}"));
            let config = at("a", ListenAddress::Unix(path.clone()), 0).mode(wanted);
            let listeners = serve();
            // It is bound, and does not listen.
            lds(&listeners, [config.warming()]).await;
            assert_eq!(mode(&path), wanted);
            let refused = UnixStream::connect(&path).expect_err("it warms");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            listeners.warmed(1).expect("it is warm");
            assert_eq!(mode(&path), wanted);
            let mut client = tokio::net::UnixStream::connect(&path)
                .await
                .expect("it listens");
            assert_eq!(client.read_u64().await.expect("it is served"), 1);
        }
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_mode_of_a_unix_socket_cannot_change_as_long_as_its_address_stays() {
    bounded(async {
        let path = path("mode-stays");
        let config = |name| at(name, ListenAddress::Unix(path.clone()), 0);
        let text = |name| {
            format!("listener {name:?}: address.pipe.mode: cannot change while the address stays")
        };
        let listeners = serve();
        lds(&listeners, [config("a").mode(0o600)]).await;
        for other in [
            config("a").mode(0o666),
            config("a"),
            // Nor with nothing but chains beside it.
            config("a").mode(0o666).chains([("c", 1)]),
        ] {
            assert_eq!(refused(&listeners, other).await.to_string(), text("a"));
        }
        // Nor for another listener, which would take the socket over.
        let report = listeners.apply(Update::lds("v", [config("b")])).await;
        let error = report.errors().next().expect("it is refused");
        assert_eq!(
            (error.to_string(), error.field()),
            (text("b"), "address.pipe.mode")
        );
        assert!(!path.exists(), "the first one is gone");
        lds(&listeners, [config("b").mode(0o666)]).await;
        assert_eq!(mode(&path), 0o666);
        lds(&listeners, [config("c").mode(0o666)]).await;
        assert_eq!(mode(&path), 0o666);
        let mut client = tokio::net::UnixStream::connect(&path)
            .await
            .expect("it listens");
        assert_eq!(client.read_u64().await.expect("it is served"), 3);
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_mode_that_no_socket_can_have_is_refused_and_touches_nothing() {
    bounded(async {
        let path = path("mode-bad");
        // What a process that is gone has left.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a temporary folder"));
        let listeners = serve();
        let wrong = at("a", ListenAddress::Unix(path.clone()), 0).mode(0o1777);
        let error = refused(&listeners, wrong).await;
        assert!(
            error
                .to_string()
                .ends_with(": the mode 0o1777 is over 0o777"),
            "{error}"
        );
        assert!(path.exists(), "it is left alone");
        std::fs::remove_file(&path).expect("it is there");
        let name = format!("@listener-versions-mode-{}", std::process::id());
        let error = refused(
            &listeners,
            at("a", ListenAddress::Unix(name.into()), 0).mode(0o600),
        )
        .await;
        assert!(
            error
                .to_string()
                .ends_with(": an abstract socket has no mode"),
            "{error}"
        );
    })
    .await;
}
