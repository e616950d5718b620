//! The standard host on a real port, asked by bytes.

use std::sync::Arc;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use listener_versions::{ListenAddress, ListenerConfig, Listeners, ListenersOptions, Update};
use orion_drain_admin::{BearerToken, Standard};
use orion_drain_stats::{Stats, StatsObserver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Config(ListenAddress);

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        "in"
    }

    fn address(&self) -> &ListenAddress {
        &self.0
    }

    fn same_content(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// A request of its own connection; status and body.
async fn ask(port: u16, request: &str, authorization: &str) -> (u16, String) {
    let exchange = async {
        let mut client = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("the admin port");
        let head = format!(
            "{request} HTTP/1.1\r\nhost: 127.0.0.1\r\n{authorization}connection: close\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), exchange)
        .await
        .expect("an answer");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    (status.expect("a status"), body.unwrap_or_default())
}

#[tokio::test]
async fn a_process_is_shown_drained_and_ended_by_its_admin_port() {
    let root = DrainManager::root(DrainSettings::default());
    let (tracker, stats) = (ConnTracker::new(), Stats::new());
    let observer = StatsObserver::new(stats.clone());
    let (listeners, driver) = Listeners::new(
        root.clone(),
        tracker.clone(),
        ListenersOptions::default(),
        observer,
    );
    tokio::spawn(driver);
    let address = "127.0.0.1:0".parse().expect("an address");
    let report = listeners.apply(Update::lds("1", [Config(address)])).await;
    assert!(report.is_success());
    let host = Standard::new(root, tracker, listeners, stats)
        .with_token(BearerToken::new("letmein"))
        .with_more_stats(|stats| stats.set("mine.answers", 42));
    let host = Arc::new(host);
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = socket.local_addr().expect("a port").port();
    tokio::spawn(Arc::clone(&host).serve(socket));
    let allowed = "authorization: Bearer letmein\r\n";

    assert_eq!(
        ask(port, "GET /ready", "").await,
        (200, "LIVE\n".to_owned())
    );
    assert_eq!(ask(port, "GET /listeners", "").await.0, 401);
    let (status, list) = ask(port, "GET /listeners", allowed).await;
    assert!(
        status == 200 && list.starts_with("in::127.0.0.1:"),
        "{list}"
    );
    let (_, stats) = ask(port, "GET /stats", allowed).await;
    assert!(stats.contains("mine.answers: 42"), "{stats}");

    assert_eq!(ask(port, "POST /listeners/in/drain", allowed).await.0, 200);
    assert_eq!(
        ask(port, "GET /listeners", allowed).await,
        (200, String::new())
    );
    assert_eq!(ask(port, "POST /listeners/in/drain", allowed).await.0, 404);

    assert_eq!(ask(port, "POST /healthcheck/fail", allowed).await.0, 200);
    assert_eq!(ask(port, "GET /ready", "").await.0, 503);
    assert_eq!(ask(port, "POST /quitquitquit", allowed).await.0, 200);
    let quit = tokio::time::timeout(Duration::from_secs(60), host.quit_asked()).await;
    assert!(quit.is_ok(), "it was answered");
}
