//! The list of connections when there are very many: in pieces, with other tasks in between, and
//! little of it for the page.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use conn_tracker::{ConnGuard, ConnTracker, Peer};
use drain_tree::{DrainManager, DrainSettings};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use listener_versions::{ListenAddress, ListenerConfig, Listeners, ListenersOptions, Update};
use orion_drain_admin::{AdminBody, Standard, answer};
use orion_drain_stats::Stats;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Config(String, ListenAddress);

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        &self.0
    }

    fn address(&self) -> &ListenAddress {
        &self.1
    }

    fn same_content(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

const MANY: usize = 100_000;

/// A host with so many listeners, and so many connections, every tenth of them at the listener
/// `rare`.
async fn host(listeners: usize, connections: usize) -> (Arc<Standard<Config>>, Vec<ConnGuard>) {
    let root = DrainManager::root(DrainSettings::default());
    let tracker = ConnTracker::new();
    let (versions, driver) = Listeners::new(
        root.clone(),
        tracker.clone(),
        ListenersOptions::default(),
        (),
    );
    tokio::spawn(driver);
    let folder = tempfile::tempdir().expect("a folder");
    let config = |at: usize| {
        let path = folder.path().join(at.to_string());
        Config(format!("listener {at}"), ListenAddress::Unix(path))
    };
    let report = versions
        .apply(Update::lds("1", (0..listeners).map(config)))
        .await;
    assert!(report.is_success());
    let groups = [tracker.group("common", 1), tracker.group("rare", 2)];
    let open = |at: usize| groups[usize::from(at % 10 == 0)].open(Peer::Unix);
    let guards = (0..connections).map(open).collect();
    let host = Standard::new(root, tracker, versions, Stats::new());
    (Arc::new(host), guards)
}

async fn ask(host: &Arc<Standard<Config>>, path: &str) -> Response<AdminBody> {
    let request = Request::get(path).body(Full::new(Bytes::new()));
    answer(host, request.expect("a request")).await
}

async fn whole(host: &Arc<Standard<Config>>, path: &str) -> Bytes {
    let answer = ask(host, path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes()
}

async fn json(host: &Arc<Standard<Config>>, path: &str) -> Value {
    serde_json::from_slice(&whole(host, path).await).expect("JSON")
}

/// Counts how often another task gets its turn; it is always ready for the next.
fn turns() -> Arc<AtomicUsize> {
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    // Not `yield_now`: the scheduler puts off who yields by that.
    tokio::spawn(poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::Relaxed);
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    }));
    turns
}

#[tokio::test]
async fn at_most_a_thousand_connections_are_between_two_turns_of_other_tasks() {
    let (host, _open) = host(1, MANY).await;
    for path in [
        "/connections",
        "/connections?format=text",
        "/connections?listener=rare",
    ] {
        let mut body = ask(&host, path).await.into_body();
        let turns = turns();
        let (mut before, mut rows) = (0, 0);
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("no error").into_data().expect("data");
            let here = piece
                .windows(6)
                .filter(|bytes| bytes == b"common" || bytes[..4] == *b"rare");
            let here = here.count();
            assert!(here <= 1000, "{path}: {here} connections at once");
            let now = turns.load(Ordering::Relaxed);
            assert!(
                rows == 0 || now > before,
                "{path}: no other task had its turn after {rows}"
            );
            (before, rows) = (now, rows + here);
        }
        let all = if path.contains("rare") {
            MANY / 10
        } else {
            MANY
        };
        assert_eq!(rows, all, "{path}");
        // A page of which nothing is wanted is a turn, too.
        assert!(before >= MANY / 1000 - 1, "{path}: {before} turns");
    }
}

#[tokio::test]
async fn other_tasks_make_progress_while_a_long_list_is_sent() {
    let (host, _open) = host(1, MANY).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(Arc::clone(&host).serve(socket));
    let mut client = TcpStream::connect(address).await.expect("the admin port");
    let request = b"GET /connections HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.expect("a request");
    let turns = turns();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("an answer");
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= MANY / 1000, "{turns} turns");
    let rows = answer.windows(9).filter(|bytes| bytes == b"\"age_ms\":");
    assert_eq!(rows.count(), MANY);
}

#[tokio::test]
async fn pages_of_the_list_are_the_list() {
    let (host, _open) = host(1, 2500).await;
    let ids = |list: &Value| -> Vec<String> {
        let list = list["connections"].as_array().expect("a list").iter();
        list.map(|one| one["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let all = json(&host, "/connections").await;
    assert_eq!((ids(&all).len(), all.get("next_offset")), (2500, None));
    for more in ["", "&listener=rare", "&state=active"] {
        let (mut offset, mut paged) = (0, Vec::new());
        loop {
            let path = format!("/connections?limit=70&offset={offset}{more}");
            let page = json(&host, &path).await;
            assert_eq!(page["total"], 2500);
            paged.extend(ids(&page));
            match page.get("next_offset") {
                Some(next) => offset = next.as_u64().expect("a number"),
                None => break,
            }
            assert_eq!(paged.len() as u64, offset);
        }
        let wanted = ids(&json(&host, &format!("/connections?x{more}")).await);
        assert_eq!(paged, wanted, "{more}");
        assert_eq!(paged.len(), if more.contains("rare") { 250 } else { 2500 });
    }
    assert_eq!(ids(&json(&host, "/connections?offset=3000").await).len(), 0);
    assert_eq!(ids(&json(&host, "/connections?limit=0").await).len(), 0);
    assert_eq!(
        ids(&json(&host, "/connections?state=draining").await).len(),
        0
    );
    let text = whole(&host, "/connections?format=text&limit=2").await;
    let text = std::str::from_utf8(&text).expect("text");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.ends_with("more: offset=2\n"), "{text}");
    for wrong in [
        "limit=many",
        "limit=-1",
        "offset=1.5",
        "state=gone",
        "format=xml",
        "summary&limit=x",
    ] {
        let answer = ask(&host, &format!("/connections?{wrong}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn the_page_asks_for_little_however_much_there_is() {
    let (host, _open) = host(300, MANY).await;
    let summary = json(&host, "/connections?summary&limit=10").await;
    assert_eq!(summary["total"], MANY);
    assert_eq!(
        (
            summary["versions"].as_array().map(Vec::len),
            &summary["more"]
        ),
        (Some(10), &290.into())
    );
    let one = &summary["versions"][0];
    assert_eq!(
        (&one["state"], &one["version_info"], &one["accepting"]),
        (&"active".into(), &"1".into(), &true.into())
    );

    let request = Request::get("/")
        .header("accept", "text/html")
        .body(Full::new(Bytes::new()));
    let page = answer(&host, request.expect("a request")).await.into_body();
    let page = page.collect().await.expect("a body").to_bytes();
    let page = std::str::from_utf8(&page).expect("text");
    let constant = |name: &str| -> &str {
        let (_, rest) = page
            .split_once(&format!("const {name} = "))
            .expect("a constant");
        rest.split(';').next().expect("a value")
    };
    // What it reads is read again no sooner than 50 KB a second allow.
    assert_eq!(constant("RATE"), "50000");
    assert!(page.contains("setTimeout(turn, Math.max(1000, read / RATE * 1000))"));
    let (_, asked) = page.split_once("Promise.all(\n").expect("what it asks for");
    let (asked, _) = asked.split_once("].map(get)").expect("a list");
    let mut bytes = 0;
    for path in asked.trim().trim_start_matches('[').split(", ") {
        let (path, limit) = path.split_once(" + ").unwrap_or((path, ""));
        let limit = if limit.is_empty() {
            ""
        } else {
            constant(limit)
        };
        bytes += whole(&host, &format!("/{}{limit}", path.trim_matches('"')))
            .await
            .len();
    }
    assert!(bytes > 1000 && bytes <= 50_000, "{bytes} bytes a turn");
}
