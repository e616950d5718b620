//! What other people's programs ask an Envoy, word for word, and what they make of the answer. The
//! answers were compared with those of Envoy 1.40.0; with a path to one in `ENVOY` they are
//! compared again.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;

use crate::support::h2::H2;
use crate::support::{Edge, H1, Http, discovery, within};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

async fn start() -> Edge {
    let listener = Http::new("http", 1)
        .with("traffic_direction: INBOUND")
        .yaml();
    Edge::start(FLAGS, &discovery("1", &[listener])).await
}

async fn json(edge: &Edge, path: &str) -> Value {
    let answer = edge.get(path).await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{path}"
    );
    serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Istio's agent (`pilot/cmd/pilot-agent`, `activeProxyConnections`): no line with a number above
/// zero means that it may exit.
async fn istio_counts(edge: &Edge) -> u64 {
    let text = edge
        .get("/stats?usedonly&filter=downstream_cx_active$")
        .await
        .text();
    let lines = text
        .lines()
        .filter(|line| !line.contains("worker_") && line.starts_with("listener."));
    lines
        .map(|line| {
            line.rsplit_once(": ")
                .expect("a line")
                .1
                .parse::<u64>()
                .expect("a number")
        })
        .sum()
}

/// Envoy Gateway's shutdown manager.
async fn gateway_counts(edge: &Edge) -> u64 {
    let all = json(
        edge,
        "//stats?filter=^server\\.total_connections$&format=json",
    )
    .await;
    assert_eq!(all["stats"].as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!(all["stats"][0]["name"], "server.total_connections");
    all["stats"][0]["value"].as_u64().expect("a number")
}

/// Contour's shutdown manager: `envoy_http_downstream_cx_active` of its connection managers.
async fn contour_counts(edge: &Edge) -> u64 {
    let text = edge.get("/stats/prometheus").await.text();
    let series = "envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix=\"http\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(series));
    value.expect("the series").parse().expect("a number")
}

#[tokio::test]
async fn shutdown_managers_see_every_connection_and_its_end() {
    let edge = start().await;
    assert_eq!(
        (istio_counts(&edge).await, gateway_counts(&edge).await),
        (0, 0)
    );
    let mut client = H1::connect(edge.address("http").await).await;
    client.get("/version").await.ok();
    assert_eq!(
        (istio_counts(&edge).await, gateway_counts(&edge).await),
        (1, 1)
    );
    assert_eq!(contour_counts(&edge).await, 1);
    drop(client);
    edge.until_connections(|all| all.is_empty()).await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    within("the connection is counted as gone", async {
        while gateway_counts(&edge).await + istio_counts(&edge).await + contour_counts(&edge).await
            > 0
        {
            pace.tick().await;
        }
    })
    .await;
    // Its series stays: it was used.
    let text = edge
        .get("/stats?usedonly&filter=downstream_cx_active$")
        .await
        .text();
    assert!(
        text.contains("http.http.downstream_cx_active: 0\n"),
        "{text}"
    );
}

#[tokio::test]
async fn the_words_by_which_drains_begin_are_understood() {
    // Envoy Gateway, Istio, Consul's data plane, Contour.
    for path in [
        "//healthcheck/fail",
        "/drain_listeners?inboundonly&graceful",
        "/drain_listeners?inboundonly&graceful&skip_exit",
        "/drain_listeners?graceful&skip_exit",
        "/healthcheck/fail",
    ] {
        let edge = start().await;
        let mut client = H1::connect(edge.address("http").await).await;
        client.get("/version").await.ok();
        edge.post(path).await;
        assert!(client.get("/version").await.says_close(), "{path}");
    }
}

#[tokio::test]
async fn responses_are_counted_by_class_and_measured() {
    let mut edge = start().await;
    let address = edge.address("http").await;
    let mut client = H1::connect(address).await;
    for _ in 0..3 {
        client.get("/version").await.ok();
    }
    client.ask("/held").await;
    edge.upstream.held().await.answer("late");
    client.response().await.ok();
    let mut other = H1::connect(address).await;
    other
        .send("GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    other.response().await.ok();
    drop((client, other));
    edge.until_connections(|all| all.is_empty()).await;
    let stats = edge.stats().await;
    let get = |name: &str| stats[&format!("http.http.downstream_{name}")];
    assert_eq!(
        (
            get("rq_2xx"),
            get("rq_5xx"),
            get("rq_completed"),
            get("rq_total")
        ),
        (5, 0, 5, 5)
    );
    let text = edge
        .get("/stats?type=Histograms&filter=^http.http")
        .await
        .text();
    assert!(!text.contains("No recorded values"), "{text}");
    let scraped = edge
        .get("/stats?format=prometheus&filter=downstream_(rq_time|cx_length_ms)")
        .await
        .text();
    for (metric, count) in [("rq_time", 5), ("cx_length_ms", 2)] {
        let line = format!(
            "envoy_http_downstream_{metric}_count{{envoy_http_conn_manager_prefix=\"http\"}} {count}"
        );
        assert!(
            scraped.lines().any(|have| have == line),
            "{line}\n{scraped}"
        );
    }

    edge.post("/reset_counters").await;
    let mut client = H1::connect(address).await;
    client.get("/version").await.ok();
    let stats = edge.stats().await;
    let get = |name: &str| stats[name];
    assert_eq!(get("http.http.downstream_rq_total"), 1);
    assert_eq!(get("listener_manager.lds.update_success"), 0);
    assert_eq!(get("server.total_connections"), 1, "a gauge stays");
}

/// The keys of an object, and of the first element of each list, as paths.
fn keys(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{at}.{key}");
                into.insert(path.clone());
                keys(value, &path, into);
            }
        }
        Value::Array(list) => list
            .iter()
            .take(1)
            .for_each(|first| keys(first, &format!("{at}[]"), into)),
        _ => {}
    }
}

fn keys_of(value: &Value) -> BTreeSet<String> {
    let mut into = BTreeSet::new();
    keys(value, "", &mut into);
    into
}

/// Paths whose answer is JSON, and the keys that Envoy 1.40.0 gives and edge has nothing to say of:
/// prefixes.
const ANSWERS: [(&str, &[&str]); 8] = [
    ("/memory", &[]),
    ("/runtime", &[]),
    ("/listeners?format=json", &[]),
    (
        "/clusters?format=json",
        &[
            ".cluster_statuses[].circuit_breakers",
            ".cluster_statuses[].host_statuses[].stats",
            ".cluster_statuses[].host_statuses[].locality",
        ],
    ),
    ("/certs", &[]),
    (
        "/server_info",
        &[
            ".hot_restart_initializing",
            ".node.client_features",
            ".node.dynamic_parameters",
            ".node.extensions",
            ".node.listening_addresses",
            ".node.user_agent",
            ".command_line_options.",
        ],
    ),
    (
        "/stats?format=json&filter=^server.(live|state|uptime)$",
        &[],
    ),
    (
        "/stats?format=json&type=Histograms&filter=^http.http.downstream_rq_time$",
        &[],
    ),
];

/// What Envoy 1.40.0 answered.
fn recorded(path: &str) -> Value {
    let text = match path {
        "/memory" => {
            r#"{"allocated":"6","heap_size":"1","pageheap_unmapped":"0","pageheap_free":"3","total_thread_cache":"4","total_physical_bytes":"1"}"#
        }
        "/runtime" => r#"{"layers":[],"entries":{}}"#,
        "/listeners?format=json" => {
            r#"{"listener_statuses":[{"name":"in","local_address":{"socket_address":{"address":"127.0.0.1","port_value":1}}}]}"#
        }
        "/clusters?format=json" => {
            r#"{"cluster_statuses":[{"name":"up","host_statuses":[{"address":{"socket_address":{"address":"127.0.0.1","port_value":1}},
                "stats":[],"health_status":{"eds_health_status":"HEALTHY"},"weight":1,"locality":{}}],"circuit_breakers":{},
                "observability_name":"up"}]}"#
        }
        "/certs" => r#"{"certificates":[]}"#,
        "/server_info" => {
            r#"{"version":"v","state":"LIVE","uptime_current_epoch":"3s","uptime_all_epochs":"3s","hot_restart_version":"11.104",
                "command_line_options":{"drain_time":"600s","parent_shutdown_time":"900s","restart_epoch":0,"drain_strategy":"Gradual"},
                "node":{"id":"edge-1","cluster":"edges"}}"#
        }
        path if path.contains("Histograms") => {
            r#"{"stats":[{"histograms":{"supported_quantiles":[0],"computed_quantiles":[{"name":"n","values":[{"interval":null,"cumulative":null}]}]}}]}"#
        }
        _ => r#"{"stats":[{"name":"server.live","value":1}]}"#,
    };
    serde_json::from_str(text).expect("JSON")
}

fn compare(path: &str, left_out: &[&str], ours: &Value, envoys: &Value) {
    let (ours, envoys) = (keys_of(ours), keys_of(envoys));
    let is_left_out = |key: &&String| left_out.iter().any(|prefix| key.starts_with(prefix));
    let missing: Vec<_> = envoys
        .difference(&ours)
        .filter(|key| !is_left_out(key))
        .collect();
    let more: Vec<_> = ours.difference(&envoys).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "{path}: missing {missing:?}, more {more:?}"
    );
}

#[tokio::test]
async fn answers_have_envoys_keys() {
    let edge = start().await;
    let envoy = Envoy::start().await;
    for (path, left_out) in ANSWERS {
        let ours = json(&edge, path).await;
        compare(path, left_out, &ours, &recorded(path));
        if let Some(envoy) = &envoy {
            let answer = H1::connect(envoy.admin).await.get(path).await;
            let envoys = serde_json::from_str(&answer.text()).expect("JSON");
            compare(path, left_out, &ours, &envoys);
        }
    }
    let text = edge.get("/clusters").await.text();
    let line = format!("http::{}::health_flags::healthy", edge.upstream.http);
    assert!(text.lines().any(|have| have == line), "{text}");
    assert_eq!(edge.get("/hot_restart_version").await.text(), "disabled");
    let changing = [
        "/reset_counters",
        "/logging",
        "/logging?level=debug",
        "/drain_listeners",
        "/quitquitquit",
        "/healthcheck/ok",
    ];
    for path in changing {
        let refusal = edge.get(path).await;
        assert_eq!(
            (refusal.status, refusal.header("allow")),
            (405, Some("post")),
            "{path}"
        );
        if let Some(envoy) = &envoy {
            assert_eq!(
                H1::connect(envoy.admin).await.get(path).await.status,
                405,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_config_dump_is_masked_and_chosen_by_name() {
    let listeners = [Http::new("one", 1).yaml(), Http::new("two", 1).yaml()];
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    let masked = json(&edge, "/config_dump?mask=bootstrap.node.id").await;
    assert_eq!(
        masked,
        serde_json::json!({ "configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": { "node": { "id": "test" } },
        }] })
    );
    let named = json(
        &edge,
        "/config_dump?resource=dynamic_listeners&name_regex=^t&mask=name",
    )
    .await;
    assert_eq!(
        named["configs"].as_array().map(Vec::len),
        Some(1),
        "{named}"
    );
    assert_eq!(named["configs"][0]["name"], "two");
    assert_eq!(named["configs"][0].get("active_state"), None);
    assert_eq!(
        json(&edge, "/config_dump?resource=static_listeners").await,
        serde_json::json!({})
    );
    let unknown = edge.get("/config_dump?resource=bogus").await;
    assert_eq!(
        (unknown.status, unknown.text().as_str()),
        (404, "bogus not found in config dump")
    );
    assert_eq!(edge.get("/config_dump?name_regex=(").await.status, 400);
}

#[tokio::test]
async fn a_client_that_breaks_rules_fills_no_log() {
    let listener = |version| Http::new("http", version).yaml();
    let mut edge = Edge::start(FLAGS, &discovery("1", &[listener(1)])).await;
    let mut client = H2::connect(edge.address("http").await).await;
    assert_eq!(client.get(1, "/version").await, "v1");
    let from = edge.said().len();
    // An answer to a PING that was never sent is worth a warning to h2; here are forty thousand.
    let answers = b"\0\0\x08\x06\x01\0\0\0\0unasked!".repeat(1000);
    for _ in 0..40 {
        client.raw(&answers).await;
    }
    // What comes after them is answered: all of them were read.
    assert_eq!(client.get(3, "/version").await, "v1");
    edge.update("2", &[listener(2)]).await;
    let said = &edge.said()[from..];
    let noise = said
        .iter()
        .filter(|line| line.contains("that we never sent"))
        .count();
    assert!(noise > 0, "h2 warned: {said:#?}");
    assert!(said.len() <= 100, "{} lines", said.len());
}

/// A real Envoy, if `ENVOY` names one.
struct Envoy {
    admin: SocketAddr,
    _process: rig::Process,
    _folder: tempfile::TempDir,
}

impl Envoy {
    async fn start() -> Option<Self> {
        let program = std::env::var("ENVOY").ok()?;
        let folder = tempfile::tempdir().expect("a folder");
        let address = folder.path().join("admin");
        let any = "{ socket_address: { address: 127.0.0.1, port_value: 0 } }";
        let manager = rig::yaml::manager("http", &[], &[rig::yaml::answer("/version", "", "v1")]);
        let chain = rig::yaml::chain(&[], &manager);
        let listener = rig::yaml::listener("in", any, &[], &[chain]);
        let upstream = rig::yaml::cluster("up", &["127.0.0.1:9".parse().expect("an address")], "");
        let bootstrap = format!(
            "node: {{ id: edge-1, cluster: edges }}\nadmin: {{ address: {any} }}\nstatic_resources:\n  listeners:\n  - {}\n  clusters:\n{upstream}",
            listener.replace('\n', "\n    ")
        );
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, &bootstrap).expect("a file");
        let mut command = tokio::process::Command::new(program);
        command
            .arg("-c")
            .arg(&file)
            .arg("--admin-address-path")
            .arg(&address)
            .args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]);
        let process = rig::Process::start(&mut command).expect("it starts");
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
        let admin = within("the admin port of Envoy", async {
            loop {
                pace.tick().await;
                let written = std::fs::read_to_string(&address).unwrap_or_default();
                if let Ok(address) = written.trim().parse::<SocketAddr>() {
                    if H1::connect(address).await.get("/ready").await.status == 200 {
                        break address;
                    }
                }
            }
        })
        .await;
        Some(Self {
            admin,
            _process: process,
            _folder: folder,
        })
    }
}
