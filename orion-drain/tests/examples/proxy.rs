//! `examples/proxy.rs`: two listeners, updates, the admin port and the drain, with traffic.

use std::net::SocketAddr;
use std::path::Path;

use rig::upstream::{Upstream, echo, full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::{Answers, asks_http1};
use crate::process::{Example, within};

fn write(path: &Path, lines: &[String]) {
    std::fs::write(path, lines.join("\n")).expect("a file");
}

async fn admin(to: SocketAddr, method: &str, path: &str) -> String {
    let answer = rig::ask(to, method, path).await;
    answer.expect("the admin port answers").1
}

/// One request on a connection of its own.
async fn body(to: SocketAddr) -> String {
    let mut client = TcpStream::connect(to).await.expect("it listens");
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.expect("it is open");
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("an answer");
    text.split("\r\n\r\n").nth(1).expect("a body").to_owned()
}

#[tokio::test]
async fn the_proxy_takes_updates_and_drains_and_loses_nothing() {
    let one = Upstream::http(|_| async { full("one") })
        .await
        .expect("an upstream");
    let two = Upstream::http(|_| async { full("two") })
        .await
        .expect("an upstream");
    let bytes = Upstream::start(echo).await.expect("an upstream");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes.conf");
    // Ports of their own, since both versions of a listener must name the same one.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let (web, db) = (free().expect("a port"), free().expect("a port"));
    let db = format!("db tcp {db} {}", bytes.address);
    let web = |to: SocketAddr| format!("web http {web} {to}");
    write(
        &path,
        &["# routes".to_owned(), web(one.address), db.clone()],
    );

    let arguments = [path.to_str().expect("it is text"), "127.0.0.1:0"];
    let (mut example, admin_port) = Example::proxy(&arguments).await;
    let db_port = example.said("db on ").await;
    assert_eq!(body(example.to).await, "one");
    let to = example.to;
    let answers = Answers::default();
    let clients = (0..4).map(|_| {
        tokio::spawn(asks_http1(
            async move || TcpStream::connect(to).await,
            answers.clone(),
        ))
    });
    let clients: Vec<_> = clients.collect();
    let mut tunnel = TcpStream::connect(db_port).await.expect("it listens");
    relays(&mut tunnel).await;
    answers.reach(50).await;

    // An update: new connections go to the other upstream, the tunnel of the other listener stays.
    write(&path, &[web(two.address), db.clone()]);
    example.hangup("loaded").await;
    assert_eq!(body(to).await, "two");
    relays(&mut tunnel).await;
    let listeners = admin(admin_port, "GET", "/listeners").await;
    assert!(
        listeners.contains("web") && listeners.contains("db"),
        "{listeners}"
    );

    // A file with a mistake changes nothing, and names its line.
    write(
        &path,
        &[
            web(one.address),
            "db udp 127.0.0.1:1 127.0.0.1:2".to_owned(),
        ],
    );
    example
        .hangup("refused: line 2: \"udp\" is neither http nor tcp")
        .await;
    assert_eq!(body(to).await, "two");

    // A line that is gone is a listener that drains: its tunnel ends by a FIN, between two
    // messages.
    write(&path, &[web(two.address)]);
    example.hangup("loaded").await;
    within("the FIN", async {
        while !tunnel_ended(&mut tunnel).await {}
    })
    .await;
    drop(tunnel);
    assert!(
        TcpStream::connect(db_port).await.is_err(),
        "it listens no more"
    );

    answers.reach(50).await;
    example.terminate().await;
    for client in clients {
        within("the end of a client", client)
            .await
            .expect("nothing is lost");
    }
    example.ends_empty().await;
}

async fn relays(tunnel: &mut TcpStream) {
    tunnel.write_all(b"ping").await.expect("it is open");
    let mut got = [0; 4];
    within("the echo", tunnel.read_exact(&mut got))
        .await
        .expect("it is open");
    assert_eq!(&got, b"ping");
}

/// Whether the tunnel has ended; every byte that was sent before is echoed.
async fn tunnel_ended(tunnel: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    match tunnel.read(&mut byte).await {
        Ok(0) => true,
        Ok(_) => panic!("nothing was sent"),
        Err(error) => panic!("{error}"),
    }
}
