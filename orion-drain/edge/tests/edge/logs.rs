//! What edge logs: lines for people beside the events, or an object of JSON a line.

use std::time::Duration;

use serde_json::Value;

use crate::support::edge::run_with;
use crate::support::{Edge, End, H1, Http, discovery, within};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

/// A connection that an update drains; all that is said of it, to the end of the process.
async fn drained(flags: &str) -> (Vec<String>, Vec<String>) {
    let listener = |version| Http::new("http", version).yaml();
    let mut edge = Edge::start(&format!("{FLAGS} {flags}"), &discovery("1", &[listener(1)])).await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    edge.replace(&discovery("2", &[listener(2)]));
    edge.until("lds: version").await;
    assert!(client.get("/version").await.says_close());
    assert_eq!(client.end().await, End::Fin);
    drop(client);
    edge.until_list("/drain", |drains| drains.is_empty()).await;
    edge.signal("TERM").await;
    edge.until("drained after").await;
    (edge.said().to_vec(), edge.logged().to_vec())
}

#[tokio::test]
async fn every_line_is_an_object_of_json_if_that_is_asked_for() {
    let (said, _) = drained("--log-format json -l debug").await;
    let events: Vec<Value> = said
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let find = |message: &str| -> Vec<&Value> {
        let of = |event: &&Value| {
            event["fields"]["message"]
                .as_str()
                .is_some_and(|have| have.starts_with(message))
        };
        events.iter().filter(of).collect()
    };
    assert_eq!(find("admin: listening on ")[0]["target"], "edge");
    let drain = find("drain started")[0];
    assert_eq!(
        (&drain["level"], &drain["target"]),
        (&"INFO".into(), &"orion_drain::listener".into())
    );
    let spans: Vec<_> = drain["spans"].as_array().into_iter().flatten().collect();
    assert_eq!(
        (&spans[0]["name"], &spans[0]["version_info"]),
        (&"lds_update".into(), &"2".into())
    );
    let closed = find("connection closed");
    assert_eq!(closed.len(), 1, "{said:#?}");
    assert_eq!(closed[0]["fields"]["close_reason"], "drained");
    assert_eq!(closed[0]["fields"]["drain_id"], drain["fields"]["drain_id"]);
    let foreign = |event: &&Value| {
        !event["target"]
            .as_str()
            .is_some_and(|of| of.starts_with("orion_drain") || of == "edge")
    };
    assert_eq!(
        events.iter().find(foreign),
        None,
        "of other libraries, warnings at most"
    );
}

#[tokio::test]
async fn lines_for_people_stand_beside_the_events_that_are_worth_one() {
    let (said, logged) = drained("").await;
    let has = |lines: &[String], part: &str| lines.iter().any(|line| line.contains(part));
    assert!(has(&logged, "INFO lds_update"), "{logged:#?}");
    assert!(has(&logged, "drain started drain_id="), "{logged:#?}");
    assert!(
        !has(&logged, "connection closed"),
        "that is for `-l debug`: {logged:#?}"
    );
    let line = "lds: version \"2\": http modified (v2 replaces v1)";
    assert!(has(&said, line), "{said:#?}");
}

#[tokio::test]
async fn what_is_worth_a_line_is_changed_while_the_process_runs() {
    let listener = |version| Http::new("http", version).yaml();
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1)])).await;
    let address = edge.address("http").await;
    let exchange = async || {
        let mut client = H1::connect(address).await;
        assert_eq!(client.get("/version").await.status, 200);
        drop(client);
        edge.until_connections(|all| all.is_empty()).await;
    };
    exchange().await;
    edge.post("/logging?orion_drain=debug").await;
    exchange().await;
    edge.post("/logging?orion_drain=info").await;
    exchange().await;
    edge.update("2", &[listener(2)]).await;
    let closed = edge
        .logged()
        .iter()
        .filter(|line| line.contains("connection closed"));
    assert_eq!(closed.count(), 1, "{:#?}", edge.logged());
    edge.post("/logging?edge=error").await;
    edge.replace(&discovery("3", &[listener(3)]));
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    within("the update is taken", async {
        while edge.stat("lds.update_success").await < 3 {
            pace.tick().await;
        }
    })
    .await;
    let list = edge.ask("POST", "/logging").await.text();
    assert_eq!(
        list,
        "active loggers:\n  edge: error\n  orion_drain: info\n  others: warning\n"
    );
    edge.post("/logging?level=info").await;
    edge.update("4", &[listener(4)]).await;
    assert!(
        !edge
            .said()
            .iter()
            .any(|line| line.contains("lds: version \"3\""))
    );
}

#[tokio::test]
async fn whatever_is_worth_a_line_it_says_why_it_ends() {
    for flags in ["--log-level off", "-l error --log-format json"] {
        let flags: Vec<_> = flags.split(' ').collect();
        let (success, said) = run_with(&flags, "admin: [").await;
        assert!(!success && said.contains("not YAML"), "{flags:?}: {said}");
    }
}

const SHORT: &str = "--drain-time-s 4 --drain-strategy immediate";

/// Updates are applied, requests are served and SIGTERM drains, whatever the log's reader does.
async fn serves_on(mut edge: Edge) {
    let mut slow = H1::connect(edge.address("http").await).await;
    slow.ask("/held").await;
    let held = edge.upstream.held().await;
    // Each of these listeners is refused with a line.
    let refused = "- { name: x }\n".repeat(200);
    for version in 2..5 {
        let good = Http::new("http", version).yaml();
        edge.replace(&discovery(&version.to_string(), &[good, refused.clone()]));
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        within("the update is applied", async {
            loop {
                pace.tick().await;
                let mut client = H1::connect(edge.address("http").await).await;
                if client.get("/version").await.ok() == format!("v{version}") {
                    break;
                }
            }
        })
        .await;
    }
    edge.signal("TERM").await;
    edge.until_list("/drain", |drains| !drains.is_empty()).await;
    held.answer("late");
    assert_eq!(slow.response().await.ok(), "late");
    drop(slow);
    assert!(edge.exit().await.success());
}

#[tokio::test]
async fn a_log_without_a_reader_costs_no_update_and_no_request() {
    let listener = Http::new("http", 1).yaml();
    let mut edge = Edge::start(SHORT, &discovery("1", &[listener])).await;
    edge.close_log();
    serves_on(edge).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_whose_reader_stops_costs_no_update_and_no_request() {
    let listener = Http::new("http", 1).yaml();
    let mut edge = Edge::start(
        &format!("{SHORT} --concurrency 1"),
        &discovery("1", &[listener]),
    )
    .await;
    let _full = edge.fill_log();
    serves_on(edge).await;
}

/// How many events there was no room for.
async fn withheld(edge: &Edge) -> u64 {
    edge.stat("edge.withheld_log_lines").await
}

#[tokio::test]
async fn of_connections_that_are_cut_no_more_is_said_than_anybody_reads() {
    let listener = |version| Http::new("http", version).yaml();
    let flags = "--drain-time-s 1 --drain-strategy immediate";
    let mut edge = Edge::start(flags, &discovery("1", &[listener(1)])).await;
    let address = edge.address("http").await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = H1::connect(address).await;
        client.ask("/held").await;
        clients.push((client, edge.upstream.held().await));
    }
    assert_eq!(withheld(&edge).await, 0);
    edge.update("2", &[listener(2)]).await;
    edge.until_list("/drain", |drains| drains.is_empty()).await;
    // Each is cut, and closed by force.
    let withheld = withheld(&edge).await;
    assert!(withheld > 50, "{withheld}");
    // What the update did is said.
    edge.update("3", &[listener(3)]).await;
    let logged = edge.logged().iter();
    let warnings = logged.filter(|line| line.contains(" WARN ")).count() as u64;
    assert_eq!(warnings + withheld, 100, "{:#?}", edge.logged());
}
