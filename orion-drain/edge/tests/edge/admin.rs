//! What an operator can ask of the admin port, and see there.

use std::time::Duration;

use tokio::time::Instant;

use serde_json::{Value, json};

use crate::support::{Edge, End, H1, Http, discovery, is_refused, until_refused};

const FLAGS: &str = "--drain-time-s 2 --drain-strategy immediate";
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// edge with an inbound, an outbound and an unspecified listener, the first of which has a busy and
/// an idle connection.
async fn start() -> Edge {
    let listeners = [
        Http::new("in", 1).with("traffic_direction: INBOUND").yaml(),
        Http::new("out", 1)
            .with("traffic_direction: OUTBOUND")
            .yaml(),
        Http::new("any", 1).yaml(),
    ];
    Edge::start(FLAGS, &discovery("1", &listeners)).await
}

/// Asks for `/version` on a new connection; whether it was told to leave.
async fn is_told(client: &mut H1) -> bool {
    let response = client.get("/version").await;
    assert_eq!(response.ok(), "v1");
    response.says_close()
}

/// Goes on until the drain time is well over; the process is ready all the time.
async fn outlast_the_drain_time(edge: &Edge, began: Instant) {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while began.elapsed() < DRAIN_TIME + Duration::from_millis(500) {
        pace.tick().await;
        assert_eq!(edge.get("/ready").await.text(), "LIVE\n");
    }
}

#[tokio::test]
async fn drain_listeners_refuses_at_once_on_every_listener_and_cuts_nobody() {
    let mut edge = start().await;
    let [inbound, outbound] = [edge.address("in").await, edge.address("out").await];
    let (mut idle, mut busy) = (H1::connect(inbound).await, H1::connect(inbound).await);
    assert!(!is_told(&mut idle).await);
    busy.ask("/held").await;
    let held = edge.upstream.held().await;

    let began = Instant::now();
    edge.post("/drain_listeners").await;

    until_refused(inbound).await;
    until_refused(outbound).await;
    assert!(is_told(&mut idle).await);
    assert_eq!(idle.end().await, End::Fin);
    outlast_the_drain_time(&edge, began).await;
    held.answer("late");
    let response = busy.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("late", true)
    );
    assert_eq!(busy.end().await, End::Fin);
    assert!(edge.is_running());
}

#[tokio::test]
async fn drain_listeners_graceful_accepts_and_tells_until_the_drain_time_is_over() {
    let edge = start().await;
    let inbound = edge.address("in").await;
    let began = Instant::now();
    edge.post("/drain_listeners?graceful").await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut served = 0;
    while let Ok(mut client) = H1::try_connect(inbound).await {
        // Who comes in the very moment in which accepting stops may find the door closing.
        if began.elapsed() < DRAIN_TIME {
            assert!(is_told(&mut client).await);
            served += 1;
        }
        pace.tick().await;
    }
    assert!(
        began.elapsed() >= DRAIN_TIME,
        "refused after {:?}",
        began.elapsed()
    );
    assert!(served > 0);
    until_refused(edge.address("out").await).await;
}

#[tokio::test]
async fn drain_listeners_skip_exit_accepts_and_tells_for_ever() {
    let edge = start().await;
    let inbound = edge.address("in").await;
    let began = Instant::now();
    edge.post("/drain_listeners?graceful&skip_exit").await;
    assert!(is_told(&mut H1::connect(inbound).await).await);
    outlast_the_drain_time(&edge, began).await;
    assert!(is_told(&mut H1::connect(inbound).await).await);
}

/// In Envoy the second request has no effect.
#[tokio::test]
async fn drain_listeners_graceful_after_skip_exit_accepts_until_the_drain_time_is_over() {
    let edge = start().await;
    let inbound = edge.address("in").await;
    edge.post("/drain_listeners?graceful&skip_exit").await;
    edge.post("/drain_listeners?graceful").await;
    assert!(is_told(&mut H1::connect(inbound).await).await);
    until_refused(inbound).await;
}

#[tokio::test]
async fn drain_listeners_inboundonly_leaves_the_other_directions_alone() {
    let edge = start().await;
    let [inbound, outbound, any] = [
        edge.address("in").await,
        edge.address("out").await,
        edge.address("any").await,
    ];
    let [mut entering, mut leaving] = [H1::connect(inbound).await, H1::connect(outbound).await];
    assert!(!is_told(&mut entering).await && !is_told(&mut leaving).await);
    edge.post("/drain_listeners?inboundonly").await;
    until_refused(inbound).await;
    assert!(is_told(&mut entering).await);
    assert!(!is_told(&mut leaving).await);
    assert!(!is_told(&mut H1::connect(outbound).await).await);
    assert!(!is_told(&mut H1::connect(any).await).await);
}

#[tokio::test]
async fn a_failed_health_check_tells_everybody_but_modify_only_listeners() {
    let listeners = [
        Http::new("http", 1).yaml(),
        Http::new("stays", 1).with("drain_type: MODIFY_ONLY").yaml(),
    ];
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    let [address, stays] = [edge.address("http").await, edge.address("stays").await];
    let [mut kept, mut staying] = [H1::connect(address).await, H1::connect(stays).await];
    assert!(!is_told(&mut kept).await && !is_told(&mut staying).await);
    let ready = edge.get("/ready").await;
    assert_eq!((ready.status, ready.text().as_str()), (200, "LIVE\n"));

    edge.post("/healthcheck/fail").await;
    let ready = edge.get("/ready").await;
    assert_eq!((ready.status, ready.text().as_str()), (503, "DRAINING\n"));
    assert!(is_told(&mut kept).await);
    assert_eq!(kept.end().await, End::Fin);
    assert!(is_told(&mut H1::connect(address).await).await);
    assert!(!is_told(&mut staying).await);

    edge.post("/healthcheck/ok").await;
    assert_eq!(edge.get("/ready").await.status, 200);
    assert!(!is_told(&mut H1::connect(address).await).await);
    assert!(!is_refused(address).await);
}

#[tokio::test]
async fn what_changes_anything_takes_a_post() {
    let mut edge = start().await;
    for path in [
        "/drain_listeners",
        "/drain_listeners?graceful",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/quitquitquit",
    ] {
        let refusal = edge.get(path).await;
        assert_eq!(
            (refusal.status, refusal.header("allow")),
            (405, Some("post")),
            "{path}"
        );
    }
    assert_eq!(edge.get("/ready").await.text(), "LIVE\n");
    assert!(!is_told(&mut H1::connect(edge.address("in").await).await).await);
    assert!(edge.is_running());
}

#[tokio::test]
async fn a_drain_and_its_connections_are_listed_while_it_lasts() {
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start("--drain-time-s 30 --drain-strategy immediate", &first).await;
    let address = edge.address("http").await;
    assert_eq!(
        edge.get("/listeners").await.text(),
        format!("http::{address}\n")
    );
    assert!(edge.list("/drain").await.is_empty());
    let mut client = H1::connect(address).await;
    assert!(!is_told(&mut client).await);
    let [connection] = &edge.list("/connections").await[..] else {
        panic!("one connection");
    };
    let here = client
        .wire
        .stream
        .local_addr()
        .expect("an address")
        .to_string();
    for (field, value) in [
        ("listener", "http"),
        ("protocol", "http1"),
        ("state", "active"),
        ("kind", "idle"),
        ("peer", &here),
    ] {
        assert_eq!(connection[field], value, "{connection}");
    }
    assert_eq!(connection["version"], 1);

    edge.update("2", &[Http::new("http", 2).yaml()]).await;

    edge.until_connections(|connections| connections.iter().all(|one| one["state"] == "draining"))
        .await;
    assert!(edge.list("/connections").await[0]["deadline_in_ms"].is_u64());
    let [drain] = &edge.list("/drain").await[..] else {
        panic!("one drain");
    };
    for (field, value) in [
        ("listener", "http"),
        ("reason", "listener_modify"),
        ("strategy", "immediate"),
    ] {
        assert_eq!(drain[field], value, "{drain}");
    }
    for (field, value) in [
        ("version", 1),
        ("connections", 1),
        ("drain_time_ms", 30_000),
    ] {
        assert_eq!(drain[field], value, "{drain}");
    }
    assert_eq!(edge.stat("total_listeners_draining").await, 1);
    assert_eq!(
        edge.get("/listeners").await.text(),
        format!("http::{address}\n")
    );

    assert!(is_told(&mut client).await);
    assert_eq!(client.end().await, End::Fin);
    drop(client);
    edge.until_list("/drain", |drains| drains.is_empty()).await;
    assert!(edge.list("/connections").await.is_empty());
    assert_eq!(edge.stat("total_listeners_draining").await, 0);
}

/// `/config_dump`: the listeners' part of it.
async fn dump(edge: &Edge) -> Value {
    let dump: Value = serde_json::from_str(&edge.get("/config_dump").await.text()).expect("JSON");
    let kind = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump";
    let mut configs = dump["configs"].as_array().expect("configs").iter();
    let found = configs.find(|config| config["@type"] == kind);
    found.expect("the listeners' part").clone()
}

#[tokio::test]
async fn the_config_dump_shows_a_version_beside_the_one_that_it_replaces_until_that_is_drained() {
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start("--drain-time-s 30 --drain-strategy immediate", &first).await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert!(!is_told(&mut client).await);
    let before = dump(&edge).await;
    assert_eq!(before["version_info"], "1");
    let [listener] = &before["dynamic_listeners"].as_array().expect("a list")[..] else {
        panic!("one listener: {before}");
    };
    assert_eq!(listener["name"], "http");
    assert_eq!(listener.get("draining_state"), None);
    let active = &listener["active_state"];
    assert_eq!(active["listener"]["name"], "http");
    assert!(
        active["last_updated"]
            .as_str()
            .expect("a time")
            .ends_with('Z')
    );

    edge.update("2", &[Http::new("http", 2).yaml()]).await;
    let during = dump(&edge).await;
    let listener = &during["dynamic_listeners"][0];
    assert_eq!(listener["active_state"]["version_info"], "2");
    assert_eq!(listener["draining_state"], *active);
    assert_eq!(
        listener["draining_state"]["listener"]["per_connection_buffer_limit_bytes"],
        1_048_577
    );
    let one: Value = serde_json::from_str(
        &edge
            .get("/config_dump?resource=dynamic_listeners")
            .await
            .text(),
    )
    .expect("JSON");
    assert_eq!(one["configs"][0]["draining_state"], *active);
    assert_eq!(edge.get("/config_dump?resource=routes").await.status, 404);

    edge.update("3", &[]).await;
    let removed = dump(&edge).await;
    let states: Vec<_> = removed["dynamic_listeners"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert!(
        states
            .iter()
            .all(|state| state.get("active_state").is_none()),
        "{removed}"
    );
    assert!(is_told(&mut client).await);
    drop(client);
    edge.until_list("/drain", |drains| drains.is_empty()).await;
    assert_eq!(dump(&edge).await["dynamic_listeners"], json!([]));
}

#[tokio::test]
async fn the_config_dump_says_what_was_refused_of_the_last_update() {
    let listener = |name, version| Http::new(name, version).yaml();
    let wrong = |name| Http::new(name, 2).with("drain_type: LATER").yaml();
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener("http", 1)])).await;
    edge.update("2", &[wrong("http"), wrong("new")]).await;
    let during = dump(&edge).await;
    let [http, new] = &during["dynamic_listeners"].as_array().expect("a list")[..] else {
        panic!("two names: {during}");
    };
    assert_eq!(http["active_state"]["version_info"], "1");
    assert_eq!(
        (&new["name"], new.get("active_state")),
        (&json!("new"), None)
    );
    for refused in [http, new] {
        let error = &refused["error_state"];
        assert_eq!(error["version_info"], "2");
        assert!(
            error["last_update_attempt"]
                .as_str()
                .is_some_and(|at| at.ends_with('Z'))
        );
        let details = error["details"].as_str().expect("words");
        assert!(
            details.contains("drain_type: unknown value `LATER`"),
            "{details}"
        );
    }
    // As in Envoy, it is said until the next update.
    edge.update("3", &[listener("http", 1), wrong("other")])
        .await;
    let after = dump(&edge).await;
    let [http, other] = &after["dynamic_listeners"].as_array().expect("a list")[..] else {
        panic!("two names: {after}");
    };
    assert_eq!(http.get("error_state"), None);
    assert_eq!(other["error_state"]["version_info"], "3");
}

#[tokio::test]
async fn the_config_dump_says_what_is_effective() {
    let edge = Edge::start(FLAGS, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    let dump: Value = serde_json::from_str(&edge.get("/config_dump").await.text()).expect("JSON");
    let configs = dump["configs"].as_array().expect("configs");
    assert_eq!(configs[0]["bootstrap"]["node"]["id"], "test");
    let effective = configs.last().expect("it is last");
    assert_eq!(effective["process"]["drain_time"], "2s");
    assert_eq!(effective["process"]["drain_strategy"], "Immediate");
    let http = &effective["listeners"][0]["effective"];
    assert_eq!(http["drain_type"], "DEFAULT");
    let chain = &http["filter_chains"][0];
    assert_eq!(
        (&chain["protocol"], &chain["drain_timeout"]),
        (&json!("http"), &json!("2s"))
    );
    assert_eq!(chain["idle_timeout"], "3600s", "nobody wrote it: {chain}");
}

#[tokio::test]
async fn one_listener_is_drained_and_the_others_serve_on() {
    let edge = start().await;
    let [inbound, outbound] = [edge.address("in").await, edge.address("out").await];
    let [mut told, mut kept] = [H1::connect(inbound).await, H1::connect(outbound).await];
    assert!(!is_told(&mut told).await && !is_told(&mut kept).await);
    assert_eq!(edge.ask("POST", "/listeners/other/drain").await.status, 404);
    assert_eq!(edge.get("/listeners/in/drain").await.status, 405);
    edge.post("/listeners/in/drain").await;
    until_refused(inbound).await;
    assert!(is_told(&mut told).await);
    assert_eq!(told.end().await, End::Fin);
    assert!(!is_told(&mut kept).await);
    assert!(!edge.get("/listeners").await.text().contains("in::"));
}

#[tokio::test]
async fn a_share_of_a_listeners_connections_leaves_and_the_listener_serves_on() {
    let edge = start().await;
    let inbound = edge.address("in").await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = H1::connect(inbound).await;
        assert!(!is_told(&mut client).await);
        clients.push(client);
    }
    for wrong in ["fraction=2", "fraction=some", "rate=0", "fractoin"] {
        let path = format!("/listeners/in/drain?{wrong}");
        let answer = edge.ask("POST", &path).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().starts_with(wrong), "{}", answer.text());
    }
    let other = edge
        .ask("POST", "/listeners/other/drain?fraction=0.3")
        .await;
    assert_eq!(other.status, 404);

    let path = "/listeners/in/drain?fraction=0.3&rate=1000";
    assert_eq!(edge.get(path).await.status, 405);
    let answer = edge.ask("POST", path).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "3 connections are asked\n")
    );
    edge.until_connections(|all| all.iter().filter(|one| one["state"] == "draining").count() == 3)
        .await;
    let mut stay = Vec::new();
    for mut client in clients {
        if is_told(&mut client).await {
            assert_eq!(client.end().await, End::Fin);
        } else {
            stay.push(client);
        }
    }
    assert_eq!(stay.len(), 7);
    // It neither drains nor completes: others come, and the rest stays.
    let mut later = H1::connect(inbound).await;
    assert!(!is_told(&mut later).await);
    assert!(edge.get("/listeners").await.text().contains("in::"));
    edge.until_list("/drain", |drains| drains.is_empty()).await;

    // And it can still drain as a whole.
    edge.post("/listeners/in/drain").await;
    until_refused(inbound).await;
    for client in stay.iter_mut().chain([&mut later]) {
        assert!(is_told(client).await);
        assert_eq!(client.end().await, End::Fin);
    }
}

#[tokio::test]
async fn who_is_still_here_is_a_table_with_what_comes_next() {
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start("--drain-time-s 30 --drain-strategy immediate", &first).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/held").await;
    let held = edge.upstream.held().await;
    edge.update("2", &[Http::new("http", 2).yaml()]).await;
    edge.until_connections(|all| all.iter().all(|one| one["state"] == "draining"))
        .await;
    let text = edge.get("/connections?format=text").await.text();
    let line = text.lines().nth(1).expect("a line for the connection");
    for word in [
        " http ",
        " http1 ",
        " draining ",
        " finish ",
        "one request is not finished",
    ] {
        assert!(line.contains(word), "{word:?} in {text}");
    }
    assert_eq!(text.lines().count(), 2, "{text}");
    let id = edge.list("/drain").await[0]["drain_id"].clone();
    assert_eq!(edge.list("/connections").await[0]["drain_id"], id);
    held.answer("late");
    assert!(client.response().await.says_close());
}

#[tokio::test]
async fn with_a_token_only_ready_is_open_to_everybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "sesame\n").expect("the token");
    let flags = format!("{FLAGS} --admin-token-file {}", file.display());
    let mut edge = Edge::start(&flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
    assert_eq!(edge.get("/ready").await.status, 200);
    let refusal = edge.get("/drain").await;
    assert_eq!(
        (refusal.status, refusal.header("www-authenticate")),
        (401, Some("bearer"))
    );
    assert_eq!(edge.ask("POST", "/quitquitquit").await.status, 401);
    assert!(edge.is_running());
    let ask = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer sesame\r\n\r\n")
    };
    let mut client = H1::connect(edge.admin).await;
    client.send(&ask("/drain")).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_body_is_bounded() {
    let edge = start().await;
    let mut client = H1::connect(edge.admin).await;
    let long =
        "POST /healthcheck/fail HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    client.send(long).await;
    let refusal = client.response().await;
    assert_eq!((refusal.status, refusal.says_close()), (413, true));
    assert_eq!(edge.get("/ready").await.status, 200);
}
