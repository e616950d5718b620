//! Listeners that go away, or somewhere else.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Edge, End, H1, Http, discovery, is_refused, until_refused};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

#[tokio::test]
async fn a_removed_listener_refuses_new_connections_and_serves_the_old_ones_to_their_end() {
    let both = [Http::new("http", 1).yaml(), Http::new("other", 1).yaml()];
    let mut edge = Edge::start(FLAGS, &discovery("1", &both)).await;
    let (address, other) = (edge.address("http").await, edge.address("other").await);
    let (mut idle, mut busy) = (H1::connect(address).await, H1::connect(address).await);
    assert_eq!(idle.get("/version").await.ok(), "v1");
    busy.ask("/held").await;
    let held = edge.upstream.held().await;

    let said = edge.update("2", &both[1..]).await;

    assert_eq!(said, ["lds: version \"2\": http removed"]);
    until_refused(address).await;
    held.answer("done");
    let response = busy.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("done", true)
    );
    assert_eq!(busy.end().await, End::Fin);
    let response = idle.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("v1", true)
    );
    assert_eq!(idle.end().await, End::Fin);

    let response = H1::connect(other).await.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("v1", false)
    );
    assert_eq!(edge.stat("listener_removed").await, 1);
    assert_eq!(edge.stat("total_listeners_active").await, 1);
    assert!(!edge.get("/listeners").await.text().contains("http::"));
}

#[tokio::test]
async fn a_listener_that_moves_is_served_at_the_new_address_and_refused_at_the_old_one() {
    let mut edge = Edge::start(FLAGS, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    let old = edge.address("http").await;
    let mut client = H1::connect(old).await;
    assert_eq!(client.get("/version").await.ok(), "v1");

    let moved = Http::new("http", 2).at("127.0.0.2", 0).yaml();
    edge.update("2", &[moved]).await;

    let new = edge.address("http").await;
    assert_ne!(old.ip(), new.ip());
    assert_eq!(H1::connect(new).await.get("/version").await.ok(), "v2");
    until_refused(old).await;
    assert!(!is_refused(new).await);
    let response = client.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("v1", true)
    );
    assert_eq!(client.end().await, End::Fin);
    assert_eq!(edge.stat("listener_modified").await, 1);
}

/// Connects again and again until `stop` is closed; all must be answered by one of these versions.
async fn connect_until(
    address: SocketAddr,
    versions: [&'static str; 2],
    stop: watch::Receiver<()>,
) {
    while stop.has_changed().is_ok() {
        let mut client = H1::connect(address).await;
        client
            .send("GET /version HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await;
        let version = client.response().await.ok();
        assert!(versions.contains(&&*version), "{version} at {address}");
        assert_eq!(client.end().await, End::Fin);
    }
}

/// Envoy refuses both.
#[tokio::test]
async fn two_listeners_exchange_their_addresses_in_one_update_and_no_client_is_refused() {
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [x, y] = free.map(|free| free.local_addr().expect("an address"));
    let at = |name, version, at: SocketAddr| Http::new(name, version).at("127.0.0.1", at.port());
    let first = [at("a", 1, x).yaml(), at("b", 2, y).yaml()];
    let mut edge = Edge::start(FLAGS, &discovery("1", &first)).await;
    let mut client = H1::connect(x).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    let (stop, stopped) = watch::channel(());
    let clients = [(x, ["v1", "v4"]), (y, ["v2", "v3"])]
        .map(|(at, versions)| tokio::spawn(connect_until(at, versions, stopped.clone())));

    let said = edge
        .update("2", &[at("a", 3, y).yaml(), at("b", 4, x).yaml()])
        .await;

    let expected = "lds: version \"2\": a modified (v3 replaces v1), b modified (v4 replaces v2)";
    assert_eq!(said, [expected]);
    assert_eq!(H1::connect(x).await.get("/version").await.ok(), "v4");
    assert_eq!(H1::connect(y).await.get("/version").await.ok(), "v3");
    drop(stop);
    for client in clients {
        client.await.expect("every client is answered");
    }
    // The connection keeps its version, and leaves.
    let response = client.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("v1", true)
    );
    assert_eq!(client.end().await, End::Fin);
}

/// Connects again and again until the door is closed; who got in before must be answered.
async fn connect_until_refused(address: SocketAddr) {
    while let Ok(mut client) = H1::try_connect(address).await {
        client
            .send("GET /version HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(client.response().await.ok(), "v1");
        assert_eq!(client.end().await, End::Fin);
    }
}

/// Eight clients connect all the time while `stop` makes the listener stop accepting.
async fn nobody_is_forgotten(stop: impl AsyncFnOnce(&mut Edge)) {
    let flags = "--drain-time-s 2";
    let mut edge = Edge::start(flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    let address = edge.address("http").await;
    // Keeps a process that drains alive until everybody has been refused.
    let mut held = H1::connect(address).await;
    held.ask("/held").await;
    let waiting = edge.upstream.held().await;
    let clients = [(); 8].map(|()| tokio::spawn(connect_until_refused(address)));
    stop(&mut edge).await;
    for client in clients {
        client.await.expect("who got in is answered");
    }
    waiting.answer("done");
    assert_eq!(held.response().await.ok(), "done");
}

#[tokio::test]
async fn who_got_in_before_a_removal_is_answered() {
    nobody_is_forgotten(async |edge| drop(edge.update("2", &[]).await)).await;
}

#[tokio::test]
async fn who_got_in_before_drain_listeners_is_answered() {
    nobody_is_forgotten(async |edge| edge.post("/drain_listeners").await).await;
}

#[tokio::test]
async fn who_got_in_before_a_shutdown_stops_accepting_is_answered() {
    nobody_is_forgotten(async |edge| edge.signal("TERM").await).await;
}

/// A listener with these `additional_addresses`, as YAML.
fn with_more(version: u32, more: &str) -> String {
    let buffer = "per_connection_buffer_limit_bytes";
    let listener = Http::new("http", version).yaml();
    listener.replacen(buffer, &format!("{more}\n  {buffer}"), 1)
}

/// As Envoy: all addresses with the ports that the kernel chose, as long as connections stay and
/// after the last one.
#[tokio::test]
async fn a_stopped_listener_is_listed_with_all_addresses_while_its_connections_finish() {
    let any =
        |ip| format!("{{ address: {{ socket_address: {{ address: {ip}, port_value: 0 }} }} }}");
    let more = format!(
        "additional_addresses: [{}, {}]",
        any("127.0.0.2"),
        any("127.0.0.3")
    );
    let mut edge = Edge::start(FLAGS, &discovery("1", &[with_more(1, &more)])).await;
    let listed = edge.get("/listeners").await.text();
    let addresses = listed
        .lines()
        .filter_map(|line| line.strip_prefix("http::"));
    let addresses: Vec<SocketAddr> = addresses.filter_map(|at| at.parse().ok()).collect();
    assert_eq!(addresses.len(), 3, "{listed}");
    assert!(addresses.iter().all(|at| at.port() != 0), "{listed}");
    let mut busy = H1::connect(addresses[2]).await;
    busy.ask("/held").await;
    let held = edge.upstream.held().await;

    edge.post("/drain_listeners").await;

    for address in &addresses {
        until_refused(*address).await;
    }
    assert_eq!(edge.get("/listeners").await.text(), listed);
    let statuses = edge.get("/listeners?format=json").await.text();
    let statuses: Value = serde_json::from_str(&statuses).expect("JSON");
    let at = |address: &SocketAddr| {
        let (ip, port) = (address.ip().to_string(), address.port());
        json!({ "socket_address": { "address": ip, "port_value": port } })
    };
    let expected = json!({
        "name": "http",
        "local_address": at(&addresses[0]),
        "additional_local_addresses": [at(&addresses[1]), at(&addresses[2])],
    });
    assert_eq!(statuses["listener_statuses"], json!([expected]));
    held.answer("done");
    assert_eq!(busy.response().await.ok(), "done");
    assert_eq!(busy.end().await, End::Fin);
    edge.until_connections(|connections| connections.is_empty())
        .await;
    assert_eq!(edge.get("/listeners").await.text(), listed);
}

#[tokio::test]
async fn a_listener_with_a_second_address_answers_at_both_and_gives_up_one_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let more = format!(
        "additional_addresses: [{{ address: {{ pipe: {{ path: {path:?}, mode: 384 }} }} }}]"
    );
    let mut edge = Edge::start(FLAGS, &discovery("1", &[with_more(1, &more)])).await;
    let address = edge.address("http").await;
    let at_path = || async {
        let stream = tokio::net::UnixStream::connect(&path).await?;
        std::io::Result::Ok(H1::over(stream))
    };
    let mut client = at_path().await.expect("it listens");
    assert_eq!(client.get("/version").await.ok(), "v1");
    assert_eq!(H1::connect(address).await.get("/version").await.ok(), "v1");

    let said = edge.update("2", &[with_more(2, &more)]).await;
    assert_eq!(said, ["lds: version \"2\": http modified (v2 replaces v1)"]);
    let response = client.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("v1", true)
    );
    let mut client = at_path().await.expect("it listens");
    assert_eq!(client.get("/version").await.ok(), "v2");

    edge.update("3", &[with_more(3, "traffic_direction: UNSPECIFIED")])
        .await;
    assert!(at_path().await.is_err() && !path.exists());
    assert_eq!(H1::connect(address).await.get("/version").await.ok(), "v3");
    assert_eq!(edge.address("http").await, address);
}
