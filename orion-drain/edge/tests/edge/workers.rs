//! Threads, runtimes, and the kinds of sockets that a configuration can ask for.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::support::{Edge, End, H1, Http, discovery, until_sockets};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

/// Requests over an update, from connections that are there before it.
async fn serves_over_an_update(flags: &str, field: &'static str) {
    let listener = |version| Http::new("http", version).with(field).yaml();
    let mut edge = Edge::start(&format!("{FLAGS} {flags}"), &discovery("1", &[listener(1)])).await;
    let address = edge.address("http").await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = H1::connect(address).await;
        assert_eq!(client.get("/version").await.ok(), "v1");
        clients.push(client);
    }
    edge.update("2", &[listener(2)]).await;
    for mut client in clients {
        let told = client.get("/version").await;
        assert_eq!((told.ok().as_str(), told.says_close()), ("v1", true));
        assert_eq!(client.end().await, End::Fin);
        assert_eq!(H1::connect(address).await.get("/version").await.ok(), "v2");
    }
    edge.signal("TERM").await;
    edge.until(", 0 left").await;
    assert_eq!(edge.exit().await.code(), Some(0));
}

#[tokio::test]
async fn two_threads_of_one_runtime_serve_over_an_update() {
    serves_over_an_update("--concurrency 2", "").await;
}

#[tokio::test]
async fn two_runtimes_that_share_a_socket_serve_over_an_update() {
    serves_over_an_update("--concurrency 2 --runtime-per-worker", "").await;
}

#[tokio::test]
async fn two_runtimes_with_a_socket_each_serve_over_an_update() {
    serves_over_an_update(
        "--concurrency 2 --runtime-per-worker",
        "enable_reuse_port: true",
    )
    .await;
}

#[tokio::test]
async fn enable_reuse_port_opens_a_socket_for_each_worker_and_only_then() {
    for (field, sockets) in [("enable_reuse_port: true", 3), ("", 1)] {
        let first = discovery("1", &[Http::new("http", 1).with(field).yaml()]);
        let edge = Edge::start(
            &format!("{FLAGS} --concurrency 3 --runtime-per-worker"),
            &first,
        )
        .await;
        let port = edge.address("http").await.port();
        assert_eq!(
            H1::connect(edge.address("http").await)
                .await
                .get("/version")
                .await
                .ok(),
            "v1"
        );
        until_sockets(port, sockets).await;
    }
}

#[tokio::test]
async fn enable_reuse_port_cannot_change_while_the_address_stays() {
    let listener = |version, field| Http::new("http", version).with(field).yaml();
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1, "")])).await;
    let lines = edge
        .update("2", &[listener(2, "enable_reuse_port: true")])
        .await;
    assert!(
        lines[0].contains("enable_reuse_port: cannot change"),
        "{lines:?}"
    );
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
}

#[tokio::test]
async fn an_ipv6_listener_serves_over_an_update() {
    let listener = |version| Http::new("http", version).at("'::1'", 0).yaml();
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1)])).await;
    let address = edge.address("http").await;
    assert!(address.is_ipv6());
    let mut client = H1::connect(address).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    edge.update("2", &[listener(2)]).await;
    assert!(client.get("/version").await.says_close());
    assert_eq!(H1::connect(address).await.get("/version").await.ok(), "v2");
}

#[tokio::test]
async fn ipv4_compat_lets_ipv4_clients_into_an_ipv6_listener() {
    let listener = Http::new("http", 1).at("'::', ipv4_compat: true", 0).yaml();
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let port = edge.address("http").await.port();
    let mut client = H1::connect(([127, 0, 0, 1], port).into()).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
}

#[tokio::test]
async fn a_unix_listener_serves_over_an_update() {
    let folder = TempDir::new().expect("a folder for the socket");
    let path = folder.path().join("http.sock");
    let pipe = format!("pipe: {{ path: {path:?} }}");
    let listener = |version| {
        let listener = Http::new("http", version).yaml();
        listener.replace(
            "socket_address: { address: 127.0.0.1, port_value: 0 }",
            &pipe,
        )
    };
    let connect = async || H1::over(UnixStream::connect(&path).await.expect("it listens"));
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1)])).await;
    assert!(
        edge.local("http")
            .await
            .ends_with(path.to_str().expect("a path"))
    );
    let mut client = connect().await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    edge.update("2", &[listener(2)]).await;
    assert!(client.get("/version").await.says_close());
    assert_eq!(client.end().await, End::Fin);
    assert_eq!(connect().await.get("/version").await.ok(), "v2");
}

#[tokio::test]
async fn the_mode_of_a_unix_listener_is_that_of_its_file_and_cannot_change() {
    let folder = TempDir::new().expect("a folder for the socket");
    let path = folder.path().join("http.sock");
    let listener = |version, mode| {
        let pipe = format!("pipe: {{ path: {path:?}, mode: {mode} }}");
        let listener = Http::new("http", version).yaml();
        listener.replace(
            "socket_address: { address: 127.0.0.1, port_value: 0 }",
            &pipe,
        )
    };
    let mode = || {
        let file = std::fs::metadata(&path).expect("it is there");
        file.permissions().mode() & 0o7777
    };
    let connect = async || H1::over(UnixStream::connect(&path).await.expect("it listens"));
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1, "0600")])).await;
    assert_eq!(
        (mode(), connect().await.get("/version").await.ok().as_str()),
        (0o600, "v1")
    );
    edge.update("2", &[listener(2, "384")]).await;
    assert_eq!(
        (mode(), connect().await.get("/version").await.ok().as_str()),
        (0o600, "v2")
    );
    let lines = edge.update("3", &[listener(3, "438")]).await;
    assert!(
        lines[0].contains("address.pipe.mode: cannot change"),
        "{lines:?}"
    );
    assert_eq!(
        (mode(), connect().await.get("/version").await.ok().as_str()),
        (0o600, "v2")
    );
    // Without the listener nothing keeps it.
    edge.update("4", &[]).await;
    edge.update("5", &[listener(5, "438")]).await;
    assert_eq!(
        (mode(), connect().await.get("/version").await.ok().as_str()),
        (0o666, "v5")
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_listener_on_an_abstract_socket_is_served() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixStream};

    let name = format!("edge-{}", std::process::id());
    let pipe = format!("pipe: {{ path: '@{name}' }}");
    let listener = Http::new("http", 1).yaml();
    let listener = listener.replace(
        "socket_address: { address: 127.0.0.1, port_value: 0 }",
        &pipe,
    );
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    assert!(edge.local("http").await.ends_with(&format!("@{name}")));
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let client = UnixStream::connect_addr(&address).expect("it listens");
    client.set_nonblocking(true).expect("a socket");
    let client = tokio::net::UnixStream::from_std(client).expect("a socket");
    assert_eq!(H1::over(client).get("/version").await.ok(), "v1");
}

#[tokio::test]
async fn each_worker_counts_what_it_has_accepted() {
    let listener = Http::new("http", 1).with("enable_reuse_port: true").yaml();
    let edge = Edge::start(
        &format!("{FLAGS} --concurrency 2 --runtime-per-worker"),
        &discovery("1", &[listener]),
    )
    .await;
    let mut clients = Vec::new();
    for _ in 0..32 {
        let mut client = H1::connect(edge.address("http").await).await;
        assert_eq!(client.get("/version").await.ok(), "v1");
        clients.push(client);
    }
    let stats = edge.stats().await;
    let of = |name: &str| -> Vec<u64> {
        let mine = stats
            .iter()
            .filter(|(have, _)| have.starts_with("listener.") && have.ends_with(name));
        mine.map(|(_, value)| *value).collect()
    };
    for name in [".downstream_cx_total", ".downstream_cx_active"] {
        let (all, workers) = (
            of(name),
            [0, 1].map(|worker| of(&format!(".worker_{worker}{name}"))),
        );
        // The listener's own, and one for each worker.
        assert_eq!(all.len(), 3, "{stats:?}");
        assert_eq!(all.iter().sum::<u64>(), 64, "{stats:?}");
        assert_eq!(workers.concat().iter().sum::<u64>(), 32, "{stats:?}");
        assert!(workers.concat().iter().all(|count| *count > 0), "{stats:?}");
    }
}
