//! `/ready` before the first configuration is there: nothing comes to a process that has no
//! listener for it yet.

#[cfg(feature = "xds")]
use std::time::Duration;

use crate::support::edge::run_with;
#[cfg(feature = "xds")]
use crate::support::within;
use crate::support::yaml::bootstrap;
use crate::support::{Edge, H1, Http, discovery};

/// A listener that is refused.
fn bad() -> String {
    Http::new("bad", 1)
        .with_http("drain_timeout_jitter: { value: 101 }")
        .yaml()
}

/// Status and text of `/ready`, which agree with `server.state`, `server.live` and `/server_info`.
async fn ready(edge: &Edge) -> (u16, String) {
    let ready = edge.get("/ready").await;
    let state = ready.text().trim().to_owned();
    let number = ["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"];
    let number = number
        .iter()
        .position(|name| *name == state)
        .expect("a state");
    assert_eq!(edge.stat("server.state").await, number as u64);
    assert_eq!(edge.stat("server.live").await, u64::from(number == 0));
    let info: serde_json::Value =
        serde_json::from_str(&edge.get("/server_info").await.text()).expect("JSON");
    assert_eq!(info["state"], state.as_str());
    (ready.status, state)
}

fn live() -> (u16, String) {
    (200, "LIVE".to_owned())
}

fn initializing() -> (u16, String) {
    (503, "INITIALIZING".to_owned())
}

#[tokio::test]
async fn a_listener_that_was_asked_for_and_is_refused_is_waited_for_once() {
    let good = |version| Http::new("http", version).yaml();
    let mut edge = Edge::start("", &discovery("1", &[good(1), bad()])).await;
    edge.until("lds: version \"1\": ").await;
    assert_eq!(ready(&edge).await, initializing());
    // What can be served is served all the same.
    let address = edge.address("http").await;
    assert_eq!(H1::connect(address).await.get("/version").await.ok(), "v1");
    edge.update("2", &[good(2), Http::new("bad", 2).yaml()])
        .await;
    assert_eq!(ready(&edge).await, live());
    // Later refusals leave the versions before them in place, and the process live.
    edge.replace(&discovery("3", &[bad()]));
    edge.until("lds: version \"3\": ").await;
    assert_eq!(ready(&edge).await, live());
    edge.replace("nonsense: [");
    edge.until("lds: ").await;
    assert_eq!(ready(&edge).await, live());
    edge.post("/healthcheck/fail").await;
    assert_eq!(ready(&edge).await, (503, "DRAINING".to_owned()));
}

#[tokio::test]
async fn a_refused_listener_that_nobody_asks_for_any_more_is_not_waited_for() {
    let good = Http::new("http", 1).yaml();
    let mut edge = Edge::start("", &discovery("1", &[good.clone(), bad()])).await;
    edge.until("lds: version \"1\": ").await;
    assert_eq!(ready(&edge).await, initializing());
    edge.update("2", &[good]).await;
    assert_eq!(ready(&edge).await, live());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_a_configuration() {
    let mut edge = Edge::start("", "resources: [").await;
    assert_eq!(ready(&edge).await, initializing());
    edge.update("1", &[Http::new("http", 1).yaml()]).await;
    assert_eq!(ready(&edge).await, live());
}

#[tokio::test]
async fn to_envoy_any_answer_is_a_configuration() {
    let mut edge = Edge::start("--compat envoy-1.40", &discovery("1", &[bad()])).await;
    edge.until("lds: version \"1\": ").await;
    assert_eq!(ready(&edge).await, live());
}

#[tokio::test]
async fn a_file_that_is_not_there_ends_the_process_in_envoys_words() {
    let text =
        "dynamic_resources: { lds_config: { path_config_source: { path: /nowhere/lds.yaml } } }";
    let (success, said) = run_with(&[], text).await;
    let words =
        "paths must refer to an existing path in the system: '/nowhere/lds.yaml' does not exist";
    assert!(!success && said.contains(words), "{said}");
    // Where it is checked, it need not be there: so it is with Envoy.
    let (success, said) = run_with(&["--mode", "validate"], text).await;
    assert!(success, "{said}");
}

#[tokio::test]
async fn without_a_source_of_listeners_a_process_is_live_at_once() {
    let edge = Edge::start_of("", |folder, upstream| {
        let text = bootstrap(&folder.join("x"), upstream, "");
        let of_source = ["dynamic_resources", "lds_config", "path_config_source"];
        let lines = text
            .lines()
            .filter(|line| !of_source.iter().any(|of| line.contains(of)));
        lines.map(|line| format!("{line}\n")).collect()
    });
    assert_eq!(ready(&edge.await).await, live());
}

#[tokio::test]
async fn a_name_of_the_admin_port_is_its_own_only_if_it_is_given() {
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let edge = Edge::start(
        "--admin-allowed-host admin.example --admin-allowed-host drains",
        &first,
    )
    .await;
    let ask = async |name: &str| {
        let mut client = H1::connect(edge.admin).await;
        client
            .send(&format!(
                "GET /config_dump HTTP/1.1\r\nhost: {name}\r\n\r\n"
            ))
            .await;
        client.response().await.status
    };
    assert_eq!(ask("admin.example:9901").await, 200);
    assert_eq!(ask("DRAINS").await, 200);
    assert_eq!(ask("evil.example").await, 403);
}

#[tokio::test]
async fn the_admin_port_answers_only_what_allow_paths_names() {
    let allowed = "admin:\n  allow_paths: [ { exact: /ready }, { prefix: /stats }, \
                   { safe_regex: { regex: \"/server_[a-z]+\" } } ]\n";
    let edge = Edge::start_of("", |folder, upstream| {
        let lds = folder.join("lds.yaml");
        let first = discovery("1", &[Http::new("http", 1).yaml()]);
        std::fs::write(&lds, first).expect("the LDS file");
        bootstrap(&lds, upstream, "").replace("admin:\n", allowed)
    });
    let mut edge = edge.await;
    edge.until("lds: ").await;
    // Envoy 1.40 was asked the same: the query belongs to the path, which is made plain before.
    for (path, status) in [
        ("/ready", 200),
        ("//ready", 200),
        ("/%72eady", 200),
        ("/stats/../ready", 200),
        ("/ready?x=1", 403),
        ("/Ready", 403),
        ("/stats?filter=^server.live", 200),
        ("/stats/prometheus", 200),
        ("/server_info", 200),
        ("/listeners", 403),
        ("/config_dump", 403),
        ("/", 403),
        ("/nosuch", 403),
    ] {
        let response = edge.get(path).await;
        assert_eq!(response.status, status, "{path}");
        if status == 403 {
            let told = format!("request to path {path} not allowed\n");
            assert_eq!(response.text(), told);
        }
    }
    assert_eq!(edge.ask("POST", "/quitquitquit").await.status, 403);
    assert!(edge.is_running());
}

#[cfg(feature = "xds")]
mod control_plane {
    use super::*;
    use crate::ads::{http, start_waiting};
    use crate::support::plane::Plane;

    #[tokio::test]
    async fn its_first_listeners_are_waited_for() {
        let mut plane = Plane::start().await;
        let edge = start_waiting(plane.address, "0s").await;
        let mut stream = plane.whole().await;
        stream.answer().await;
        assert_eq!(ready(&edge).await, initializing());
        // Static listeners serve meanwhile.
        let fixed = edge.address("fixed").await;
        assert_eq!(H1::connect(fixed).await.get("/version").await.ok(), "v7");
        stream.send("1", "a", vec![http(1)]).await;
        stream.answer().await;
        assert_eq!(ready(&edge).await, live());
    }

    #[tokio::test]
    async fn they_are_waited_for_no_longer_than_the_initial_fetch_timeout() {
        let mut plane = Plane::start().await;
        let edge = start_waiting(plane.address, "1s").await;
        let mut stream = plane.whole().await;
        stream.answer().await;
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        within("the process is ready without listeners", async {
            while edge.get("/ready").await.status != 200 {
                pace.tick().await;
            }
        })
        .await;
        assert_eq!(ready(&edge).await, live());
        assert_eq!(edge.stat("lds.update_success").await, 0);
    }
}
