//! The admin interface, path by path, over a host that writes down what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conn_tracker::ConnId;
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt as _;
use orion_drain_admin::{
    AdminHost, BearerToken, ConnectionPage, ConnectionView, Denied, DrainListenerError,
    DrainListeners, DrainView, ListenerView, LogLevel, MAX_BODY, NextStep, Operation, ServerState,
    answer,
};
use orion_drain_stats::{Stats, StatsSnapshot};
use serde_json::{Value, json};

#[derive(Clone)]
struct Host {
    state: ServerState,
    stats: Stats,
    asked: Arc<Mutex<Vec<String>>>,
    denied: Option<Operation>,
    token: Option<BearerToken>,
    levels: Arc<Mutex<[(String, LogLevel); 2]>>,
}

impl Host {
    fn new() -> Self {
        Self {
            state: ServerState::Live,
            stats: Stats::new(),
            asked: Arc::default(),
            denied: None,
            token: None,
            levels: Arc::new(Mutex::new([
                ("edge".to_owned(), LogLevel::Info),
                ("others".to_owned(), LogLevel::Warning),
            ])),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a list").clone()
    }

    fn note(&self, what: impl Into<String>) {
        self.asked.lock().expect("a list").push(what.into());
    }
}

impl AdminHost for Host {
    fn state(&self) -> ServerState {
        self.state
    }

    fn stats(&self) -> StatsSnapshot {
        self.stats.snapshot()
    }

    fn listeners(&self) -> Vec<ListenerView> {
        let mut unix = ListenerView::new("unix", "unix:/run/in");
        unix.additional_local_addresses = vec!["[::1]:10001".to_owned()];
        vec![
            ListenerView::new("in", "127.0.0.1:10000"),
            unix,
            ListenerView::new("inside/a", "envoy://inside/a/"),
        ]
    }

    fn drain_listeners(&self, form: DrainListeners) {
        self.note(format!(
            "{} {} {}",
            form.graceful, form.inbound_only, form.skip_exit
        ));
    }

    fn fail_health(&self) {
        self.note("fail");
    }

    fn restore_health(&self) {
        self.note("ok");
    }

    fn quit(&self) {
        self.note("quit");
    }

    fn connections(&self, _: Option<ConnId>, _: usize) -> ConnectionPage {
        let mut view = ConnectionView::default();
        view.id = "7".to_owned();
        view.listener = "in".to_owned();
        view.version = 3;
        view.protocol = "http2".to_owned();
        view.kind = "in_request".to_owned();
        view.streams = 2;
        view.why = "2 requests are not finished".to_owned();
        view.close_reason = Some("aged".to_owned());
        view.next = Some(NextStep::Abort);
        view.next_in = Some(Duration::from_millis(1500));
        view.deadline_in = Some(Duration::from_millis(1500));
        ConnectionPage::new(vec![view], None)
    }

    fn log_levels(&self) -> Vec<(String, LogLevel)> {
        self.levels.lock().expect("levels").to_vec()
    }

    fn set_log_level(&self, part: &str, level: LogLevel) {
        let mut levels = self.levels.lock().expect("levels");
        let found = levels.iter_mut().find(|(name, _)| name == part);
        found.expect("one of the list").1 = level;
    }

    fn is_own_name(&self, name: &str) -> bool {
        name == "admin.own"
    }

    fn drains(&self) -> Vec<DrainView> {
        let mut view = DrainView::default();
        view.listener = Some("in".to_owned());
        view.version = Some(2);
        view.reason = "listener_modify".to_owned();
        view.drain_time = Duration::from_secs(600);
        view.connections = 4;
        vec![view]
    }

    fn drain_listener(&self, name: &str) -> Result<(), DrainListenerError> {
        match name {
            "fixed" => return Err(DrainListenerError::Static),
            "in/out" => self.note(name),
            _ => return Err(DrainListenerError::NotFound),
        }
        Ok(())
    }

    fn authorize(&self, request: &Parts, operation: Operation) -> Result<(), Denied> {
        if let Some(token) = &self.token {
            token.check(request)?;
        }
        if self.denied == Some(operation) {
            Err(Denied::new("not you"))
        } else {
            Ok(())
        }
    }
}

/// The answer with its whole body.
fn handle(host: &Host, request: &Parts) -> Response<Bytes> {
    let answer = orion_drain_admin::handle(&Arc::new(host.clone()), request);
    let (parts, body) = answer.into_parts();
    let mut body = std::pin::pin!(body.collect());
    // It waits for nothing but its turn.
    let body = std::iter::repeat_with(|| body.as_mut().now_or_never());
    let body = body.flatten().next().expect("a body");
    let body = body.unwrap_or_else(|never| match never {});
    Response::from_parts(parts, body.to_bytes())
}

fn ask(host: &Host, method: Method, path: &str) -> Response<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .expect("a request");
    handle(host, &request.into_parts().0)
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).expect("text")
}

fn json(response: &Response<Bytes>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(response.body()).expect("JSON")
}

#[test]
fn ready_is_200_only_while_live() {
    let mut host = Host::new();
    let response = ask(&host, Method::GET, "/ready");
    assert_eq!(
        (response.status(), text(&response)),
        (StatusCode::OK, "LIVE\n")
    );
    host.state = ServerState::Draining;
    let response = ask(&host, Method::GET, "/ready");
    assert_eq!(
        (response.status(), text(&response)),
        (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n")
    );
}

#[test]
fn server_info_tells_the_state_in_envoys_words() {
    let info = json(&ask(&Host::new(), Method::GET, "/server_info"));
    assert_eq!(info["state"], "LIVE");
    assert_eq!(info["command_line_options"]["drain_time"], "600s");
    assert_eq!(info["command_line_options"]["parent_shutdown_time"], "900s");
}

#[test]
fn stats_are_lines_of_name_and_value() {
    let host = Host::new();
    host.stats.listener_manager().listener_modified.inc();
    let all = ask(&host, Method::GET, "/stats");
    assert_eq!(all.headers()["content-type"], "text/plain; charset=UTF-8");
    assert!(text(&all).contains("listener_manager.listener_modified: 1\n"));
    assert!(text(&all).contains("listener_manager.total_listeners_draining: 0\n"));

    let used = ask(&host, Method::GET, "/stats?usedonly");
    assert_eq!(
        text(&used),
        "listener_manager.listener_modified: 1\nserver.live: 1\nserver.state: 0\nserver.total_connections: 0\n\
         server.uptime: 0\n"
    );
    let some = ask(
        &host,
        Method::GET,
        "/stats?filter=listener_manager.listener_modified&format=json",
    );
    assert_eq!(
        json(&some),
        json!({ "stats": [{ "name": "listener_manager.listener_modified", "value": 1 }] })
    );
    assert_eq!(
        ask(&host, Method::GET, "/stats?format=xml").status(),
        StatusCode::BAD_REQUEST
    );
}

/// The requests of Istio's agent, of Envoy Gateway's shutdown manager and of Contour's, word for
/// word.
#[test]
fn statistics_are_chosen_by_regular_expressions_as_operators_programs_ask() {
    let mut host = Host::new();
    let inbound = host.stats.http("inbound");
    let istio = |host: &Host| {
        let path = "/stats?usedonly&filter=downstream_cx_active$";
        text(&ask(host, Method::GET, path)).to_owned()
    };
    assert_eq!(istio(&host), "", "nobody has been here");
    let connection = inbound.connection();
    assert_eq!(istio(&host), "http.inbound.downstream_cx_active: 1\n");
    drop(connection);
    // Used is what was counted once, as in Envoy.
    assert_eq!(istio(&host), "http.inbound.downstream_cx_active: 0\n");
    inbound.downstream_cx_active.inc();
    let gateway = ask(
        &host,
        Method::GET,
        "//stats?filter=^server\\.total_connections$&format=json",
    );
    // There are scripts that look for a part of the text.
    assert_eq!(
        text(&gateway),
        r#"{"stats":[{"name":"server.total_connections","value":0}]}"#
    );
    for filter in [
        "%5Ehttp%5C.inbound%5C..*cx_active%24",
        "^http\\.[a-z]+\\..*cx_active",
    ] {
        let found = ask(&host, Method::GET, &format!("/stats?filter={filter}"));
        assert_eq!(
            text(&found),
            "http.inbound.downstream_cx_active: 1\n",
            "{filter}"
        );
    }
    let broken = ask(&host, Method::GET, "/stats?filter=(");
    assert_eq!(broken.status(), StatusCode::BAD_REQUEST);
    assert!(text(&broken).starts_with("filter: not a regular expression"));
    let contour = ask(&host, Method::GET, "/stats/prometheus");
    assert!(
        text(&contour).contains("envoy_http_downstream_cx_active{"),
        "{}",
        text(&contour)
    );

    let state = |host: &Host| {
        let found = ask(host, Method::GET, "/stats?filter=^server.(live|state)$");
        text(&found).to_owned()
    };
    assert_eq!(state(&host), "server.live: 1\nserver.state: 0\n");
    host.state = ServerState::Draining;
    assert_eq!(state(&host), "server.live: 0\nserver.state: 1\n");
}

#[test]
fn a_path_may_be_written_in_several_ways() {
    let host = Host::new();
    for path in [
        "//ready",
        "///ready",
        "//healthcheck//ok",
        "/%72eady",
        "/re%61dy?%72",
        "/stat%73",
        "/./ready",
        "/a/../ready",
        "/a/%2e%2e/ready",
    ] {
        let found = ask(&host, Method::POST, path);
        assert_eq!(found.status(), StatusCode::OK, "{path}");
    }
    for path in [
        "/ready/",
        "/ready/.",
        "/ready%3Fx",
        "/%2Fready",
        "/%5Cready",
        "/Ready",
        "/%",
        "/%7",
    ] {
        let found = ask(&host, Method::POST, path);
        assert_eq!(found.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn a_name_that_is_not_its_own_neither_changes_nor_reveals_anything() {
    let host = Host::new();
    let ask = |name: &str, path: &str| {
        let request = Request::builder().method(Method::POST).uri(path);
        let request = request.header("host", name).body(()).expect("a request");
        handle(&host, &request.into_parts().0).status()
    };
    for path in [
        "/quitquitquit",
        "/healthcheck/fail",
        "/connections",
        "/config_dump",
        "/listeners",
    ] {
        for name in [
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "@",
            "",
        ] {
            assert_eq!(ask(name, path), StatusCode::FORBIDDEN, "{name} {path}");
        }
        let own = [
            "127.0.0.1",
            "127.0.0.1:9901",
            "[::1]:9901",
            "10.1.2.3",
            "localhost:9901",
            "LocalHost",
            "admin.own",
        ];
        for name in own {
            assert_eq!(ask(name, path), StatusCode::OK, "{name} {path}");
        }
    }
    // Load balancers and Prometheus ask by a name.
    for path in ["/ready", "/stats", "/stats/prometheus", "/server_info"] {
        assert_eq!(ask("pod.example", path), StatusCode::OK, "{path}");
    }
}

#[test]
fn listeners_are_lines_of_name_and_address() {
    let host = Host::new();
    assert_eq!(
        text(&ask(&host, Method::GET, "/listeners")),
        "in::127.0.0.1:10000\nunix::unix:/run/in\nunix::[::1]:10001\ninside/a::envoy://inside/a/\n"
    );
    assert_eq!(
        json(&ask(&host, Method::GET, "/listeners?format=json")),
        json!({ "listener_statuses": [
            { "name": "in", "local_address": { "socket_address": { "address": "127.0.0.1", "port_value": 10000 } } },
            {
                "name": "unix", "local_address": { "pipe": { "path": "/run/in" } },
                "additional_local_addresses": [
                    { "socket_address": { "address": "::1", "port_value": 10001 } },
                ],
            },
            {
                "name": "inside/a",
                "local_address": { "envoy_internal_address": { "server_listener_name": "inside/a" } },
            },
        ] })
    );
}

#[test]
fn each_form_of_drain_listeners_reaches_the_host() {
    for (query, graceful, inbound_only, skip_exit) in [
        ("", false, false, false),
        ("?graceful", true, false, false),
        ("?graceful=", true, false, false),
        ("?skip_exit", false, false, true),
        ("?graceful&skip_exit", true, false, true),
        ("?inboundonly", false, true, false),
        ("?inboundonly&graceful", true, true, false),
        ("?gracefully", false, false, false),
    ] {
        let host = Host::new();
        let response = ask(&host, Method::POST, &format!("/drain_listeners{query}"));
        assert_eq!(
            (response.status(), text(&response)),
            (StatusCode::OK, "OK\n")
        );
        assert_eq!(
            host.asked(),
            [format!("{graceful} {inbound_only} {skip_exit}")],
            "{query}"
        );
    }
}

#[test]
fn skip_exit_alone_keeps_accepting_as_in_envoy_1_40() {
    let keeps = |form: DrainListeners| form.keeps_accepting();
    assert!(!keeps(DrainListeners::now()));
    let mut form = DrainListeners::now();
    form.skip_exit = true;
    assert!(keeps(form));
}

#[test]
fn health_and_quit_reach_the_host() {
    let host = Host::new();
    for path in ["/healthcheck/fail", "/healthcheck/ok", "/quitquitquit"] {
        assert_eq!(ask(&host, Method::POST, path).status(), StatusCode::OK);
    }
    assert_eq!(host.asked(), ["fail", "ok", "quit"]);
}

#[test]
fn nothing_changes_without_a_post() {
    let host = Host::new();
    for path in [
        "/drain_listeners?graceful",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/quitquitquit",
        "/listeners/in%2Fout/drain",
    ] {
        for method in [Method::GET, Method::HEAD, Method::PUT] {
            let response = ask(&host, method.clone(), path);
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(
                text(&response),
                format!("Method {method} not allowed, POST required.\n")
            );
            assert_eq!(response.headers()["allow"], "POST");
        }
    }
    assert!(host.asked().is_empty());
    assert_eq!(
        ask(&host, Method::DELETE, "/stats").status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[test]
fn an_unknown_path_is_404_with_the_list_of_paths() {
    let response = ask(&Host::new(), Method::GET, "/nothing");
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(
        text(&response).starts_with("invalid path. admin commands are:\n"),
        "{}",
        text(&response)
    );
    assert!(text(&response).contains("/drain_listeners"));
}

#[test]
fn every_path_of_the_list_is_served() {
    let host = Host::new();
    let home = ask(&host, Method::GET, "/help");
    for line in text(&home).lines().skip(1) {
        let (path, _) = line.trim().split_once(':').expect("path: what");
        assert_ne!(
            ask(&host, Method::POST, &path.replace("NAME", "in%2Fout")).status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[test]
fn connections_and_drains_are_shown_as_json() {
    let host = Host::new();
    let connections = json(&ask(&host, Method::GET, "/connections"));
    let first = &connections["connections"][0];
    assert_eq!(
        (&first["listener"], &first["version"], &first["streams"]),
        (&json!("in"), &json!(3), &json!(2))
    );
    assert_eq!(
        (&first["kind"], &first["deadline_in_ms"]),
        (&json!("in_request"), &json!(1500))
    );
    assert_eq!(first["close_reason"], "aged");

    let drains = json(&ask(&host, Method::GET, "/drain"));
    let first = &drains["drains"][0];
    assert_eq!(
        (&first["version"], &first["reason"]),
        (&json!(2), &json!("listener_modify"))
    );
    assert_eq!(
        (&first["drain_time_ms"], &first["connections"]),
        (&json!(600_000), &json!(4))
    );
    assert_eq!(first.get("deadline_in_ms"), None);
}

#[test]
fn a_host_may_deny_an_operation_before_it_happens() {
    let mut host = Host::new();
    host.denied = Some(Operation::Quit);
    let response = ask(&host, Method::POST, "/quitquitquit");
    assert_eq!(
        (response.status(), text(&response)),
        (StatusCode::FORBIDDEN, "not you\n")
    );
    assert!(host.asked().is_empty());
    assert_eq!(
        ask(&host, Method::POST, "/healthcheck/fail").status(),
        StatusCode::OK
    );
}

#[test]
fn histograms_are_given_in_no_other_shape_than_asked_for() {
    let host = Host::new();
    for (path, is_given) in [
        ("/stats?histogram_buckets=summary", true),
        ("/stats?histogram_buckets=none", true),
        ("/stats?histogram_buckets=cumulative", false),
        ("/stats?format=json&histogram_buckets=detailed", false),
        ("/stats/prometheus?histogram_buckets=cumulative", true),
        ("/stats/prometheus?histogram_buckets=summary", false),
        ("/stats/prometheus?histogram_buckets=none", true),
        (
            "/stats?format=prometheus&histogram_buckets=prometheusnative",
            false,
        ),
    ] {
        let status = ask(&host, Method::GET, path).status();
        let expected = [StatusCode::BAD_REQUEST, StatusCode::OK][usize::from(is_given)];
        assert_eq!(status, expected, "{path}");
    }
}

#[test]
fn prometheus_reads_the_statistics_under_envoys_names_and_labels() {
    let host = Host::new();
    let http = host.stats.http("in.gress\"");
    http.downstream_cx_drain_close.inc();
    let _open = http.connection();
    let listener = host.stats.listener("127.0.0.1:80");
    let _accepted = (listener.connection(0), listener.connection(1));
    host.stats.listener_manager().total_listeners_draining.inc();
    let text = host.stats.snapshot().to_prometheus();
    for line in [
        "# TYPE envoy_http_downstream_cx_drain_close counter",
        "envoy_http_downstream_cx_drain_close{envoy_http_conn_manager_prefix=\"in.gress\\\"\"} 1",
        "# TYPE envoy_http_downstream_cx_active gauge",
        "# TYPE envoy_listener_worker_downstream_cx_active gauge",
        "envoy_listener_worker_downstream_cx_active{envoy_worker_id=\"1\",envoy_listener_address=\"127.0.0.1_80\"} 1",
        "envoy_listener_downstream_cx_active{envoy_listener_address=\"127.0.0.1_80\"} 2",
        "# TYPE envoy_listener_manager_total_listeners_draining gauge",
        "envoy_listener_manager_total_listeners_draining{} 1",
        "envoy_listener_manager_lds_update_attempt{} 0",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    let request = Request::get("/stats/prometheus")
        .body(())
        .expect("a request");
    let response = handle(&host, &request.into_parts().0);
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; version=0.0.4; charset=UTF-8"
    );
    let served = std::str::from_utf8(response.body()).expect("text");
    for line in text
        .lines()
        .chain(["# TYPE envoy_server_live gauge", "envoy_server_live{} 1"])
    {
        assert!(served.lines().any(|have| have == line), "{line}\n{served}");
    }
}

#[test]
fn connections_are_a_table_for_people() {
    let response = ask(&Host::new(), Method::GET, "/connections?format=text");
    let lines: Vec<_> = text(&response)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        lines,
        [
            "ID LISTENER VERSION PROTOCOL STATE AGE STREAMS NEXT IN WHY"
                .split(' ')
                .collect::<Vec<_>>(),
            "7 in 3 http2 0.0s 2 abort 1.5s 2 requests are not finished (aged)"
                .split(' ')
                .collect(),
        ]
    );
    let refusal = ask(&Host::new(), Method::GET, "/connections?format=xml");
    assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn one_listener_is_drained_by_its_name() {
    let host = Host::new();
    let drain = |path: &str| ask(&host, Method::POST, path).status();
    assert_eq!(drain("/listeners/in%2Fout/drain"), StatusCode::OK);
    assert_eq!(drain("/listeners/in/out/drain"), StatusCode::OK);
    assert_eq!(drain("/listeners/other/drain"), StatusCode::NOT_FOUND);
    assert_eq!(drain("/listeners/%zz/drain"), StatusCode::NOT_FOUND);
    assert_eq!(drain("/listeners/fixed/drain"), StatusCode::CONFLICT);
    assert_eq!(host.asked(), ["in/out", "in/out"]);
}

#[test]
fn without_its_token_a_request_is_401_and_does_nothing() {
    let mut host = Host::new();
    host.token = Some(BearerToken::new("open sesame\n"));
    let ask = |given: Option<&str>| {
        let mut request = Request::post("/healthcheck/fail");
        if let Some(given) = given {
            request = request.header("authorization", given);
        }
        handle(&host, &request.body(()).expect("a request").into_parts().0)
    };
    for wrong in [
        None,
        Some("Bearer open sesam"),
        Some("Bearer open sesamee"),
        Some("Bearer "),
        Some("Basic open sesame"),
        Some("open sesame"),
        Some("Bearer"),
    ] {
        let refusal = ask(wrong);
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{wrong:?}");
        assert_eq!(refusal.headers()["www-authenticate"], "Bearer");
    }
    assert!(host.asked().is_empty());
    assert_eq!(ask(Some("bearer open sesame")).status(), StatusCode::OK);
    assert!(!format!("{:?}", host.token).contains("sesame"));
}

#[test]
fn an_empty_token_lets_nobody_in() {
    let mut host = Host::new();
    host.token = Some(BearerToken::new(" "));
    let request = Request::get("/ready").header("authorization", "Bearer ");
    let request = request.body(()).expect("a request").into_parts().0;
    assert_eq!(handle(&host, &request).status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let host = Host::new();
    let ask = |origin: &str| {
        let request = Request::post("/quitquitquit")
            .header("host", "127.0.0.1:9901")
            .header("origin", origin);
        handle(&host, &request.body(()).expect("a request").into_parts().0).status()
    };
    for site in ["http://evil.example", "null", "http://127.0.0.1:8080"] {
        assert_eq!(ask(site), StatusCode::FORBIDDEN, "{site}");
    }
    assert!(host.asked().is_empty());
    assert_eq!(ask("http://127.0.0.1:9901"), StatusCode::OK);
}

#[test]
fn statistics_of_one_type_are_chosen_as_in_envoy() {
    let host = Host::new();
    let http = host.stats.http("in");
    let _open = http.connection();
    http.responded(204);
    http.responded(503);
    http.downstream_rq_time.record(Duration::from_millis(7));
    host.stats.lds().version_text.set("seven");
    let get = |path: &str| text(&ask(&host, Method::GET, path)).to_owned();
    let counters = get("/stats?type=Counters&filter=^http.in.downstream_rq_([0-9]xx|completed)$");
    assert_eq!(
        counters,
        "http.in.downstream_rq_1xx: 0\nhttp.in.downstream_rq_2xx: 1\nhttp.in.downstream_rq_3xx: 0\n\
         http.in.downstream_rq_4xx: 0\nhttp.in.downstream_rq_5xx: 1\nhttp.in.downstream_rq_completed: 2\n"
    );
    assert_eq!(
        get("/stats?type=Gauges&filter=^http.in"),
        "http.in.downstream_cx_active: 1\nhttp.in.downstream_rq_active: 0\n"
    );
    let histograms = get("/stats?type=Histograms&filter=^http.in");
    let lines: Vec<_> = histograms.lines().collect();
    assert_eq!(
        lines[0],
        "http.in.downstream_cx_length_ms: No recorded values"
    );
    assert!(
        lines[1].starts_with("http.in.downstream_rq_time: P0(nan,5) P25(nan,"),
        "{histograms}"
    );
    assert!(lines[1].ends_with("P100(nan,10)"), "{histograms}");
    assert_eq!(
        get("/stats?type=TextReadouts"),
        "listener_manager.lds.version_text: \"seven\"\n"
    );
    assert_eq!(get("/stats?type="), get("/stats"));
    let unknown = ask(&host, Method::GET, "/stats?type=Bad");
    assert_eq!(
        (unknown.status(), text(&unknown)),
        (StatusCode::BAD_REQUEST, "invalid &type= param")
    );

    let all = json(&ask(
        &host,
        Method::GET,
        "/stats?format=json&usedonly&filter=^http.in.*(time|ms)$",
    ));
    let histograms = &all["stats"][0]["histograms"];
    assert_eq!(
        histograms["supported_quantiles"],
        json!([0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0])
    );
    let computed = &histograms["computed_quantiles"];
    assert_eq!(computed.as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!(computed[0]["name"], "http.in.downstream_rq_time");
    assert_eq!(
        computed[0]["values"][0],
        json!({ "interval": null, "cumulative": 5.0 })
    );

    let prometheus = get("/stats?format=prometheus&text_readouts");
    for line in [
        "# TYPE envoy_http_downstream_rq_time histogram",
        "envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"in\",le=\"5\"} 0",
        "envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"in\",le=\"10\"} 1",
        "envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"in\",le=\"+Inf\"} 1",
        "envoy_http_downstream_rq_time_sum{envoy_http_conn_manager_prefix=\"in\"} 7",
        "envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix=\"in\"} 1",
        "envoy_listener_manager_lds_version_text{text_value=\"seven\"} 0",
    ] {
        assert!(
            prometheus.lines().any(|have| have == line),
            "{line}\n{prometheus}"
        );
    }
    assert!(!get("/stats/prometheus").contains("seven"));
}

/// Names end in one unit, or in none if they count.
#[test]
fn every_series_has_one_unit() {
    let host = Host::new();
    let _http = host.stats.http("in");
    let _tcp = host.stats.tcp("in");
    let text = text(&ask(&host, Method::GET, "/stats/prometheus")).to_owned();
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().expect("a name");
        let units = ["_seconds", "_ms", "_bytes"];
        let units = units.iter().filter(|unit| name.contains(*unit)).count();
        assert!(units <= 1, "{name}");
    }
}

#[test]
fn levels_of_the_log_are_changed_all_or_none_in_envoys_words() {
    let host = Host::new();
    let post = |path: &str| ask(&host, Method::POST, path);
    let list =
        |edge: &str, others: &str| format!("active loggers:\n  edge: {edge}\n  others: {others}\n");
    assert_eq!(text(&post("/logging")), list("info", "warning"));
    assert_eq!(text(&post("/logging?level=debug")), list("debug", "debug"));
    assert_eq!(text(&post("/logging?others=error")), list("debug", "error"));
    assert_eq!(
        text(&post("/logging?paths=edge:off,others:trace")),
        list("off", "trace")
    );
    for (query, wrong) in [
        ("level=bogus", "unknown logger level"),
        ("bogus=debug", "unknown logger name"),
        ("paths=edge:info,bogus:info", "unknown logger name"),
        ("paths=edge", "unknown logger level"),
        ("edge=info&others=info", "invalid number of parameters"),
    ] {
        let refusal = post(&format!("/logging?{query}"));
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{query}");
        let said = text(&refusal).to_owned();
        assert!(
            said.starts_with(&format!("error: {wrong}\n\nusage: /logging?")),
            "{said}"
        );
        assert!(said.ends_with(&list("off", "trace")), "{said}");
    }
    let get = ask(&host, Method::GET, "/logging?level=info");
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
}

/// A body in frames, whose length nobody has said before.
fn frames(count: usize) -> impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> {
    let frames = (0..count).map(|_| Ok(http_body::Frame::data(Bytes::from(vec![b'x'; 1024]))));
    http_body_util::StreamBody::new(futures_util::stream::iter(frames))
}

#[tokio::test]
async fn no_more_of_a_body_is_read_than_the_bound() {
    let host = Host::new();
    let post = || Request::post("/healthcheck/fail");
    let said = post().body(http_body_util::Full::new(Bytes::from(vec![
        0;
        MAX_BODY + 1
    ])));
    let long = post().body(frames(10_000));
    for refusal in [
        answer(&Arc::new(host.clone()), said.expect("a request")).await,
        answer(&Arc::new(host.clone()), long.expect("a request")).await,
    ] {
        assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(refusal.headers()["connection"], "close");
    }
    assert!(host.asked().is_empty());
    let short = post().body(frames(MAX_BODY / 1024)).expect("a request");
    assert_eq!(
        answer(&Arc::new(host.clone()), short).await.status(),
        StatusCode::OK
    );
}

#[test]
fn a_browser_gets_a_page_that_loads_nothing_from_elsewhere() {
    let ask = |accept: &str| {
        let request = Request::get("/").header("accept", accept).body(());
        handle(&Host::new(), &request.expect("a request").into_parts().0)
    };
    let page = ask("text/html,application/xhtml+xml,*/*;q=0.8");
    assert_eq!(page.headers()["content-type"], "text/html; charset=UTF-8");
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .expect("text");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    for elsewhere in ["http:", "https:", "src=", "url(", "@import", "innerHTML"] {
        assert!(!text(&page).contains(elsewhere), "{elsewhere}");
    }
    assert!(text(&ask("*/*")).starts_with("admin commands are:\n"));
}
