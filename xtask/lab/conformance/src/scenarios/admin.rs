//! `/drain_listeners` in its forms, and what the admin port shows.

use std::time::Duration;

use super::crowd::{Crowd, Probed, Probes, Tasks, at, of, probe};
use super::rows;
use crate::Stage;
use crate::play::{Play, Setup};
use crate::rule::Checks;
use crate::samples::{SLACK, ms};
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener, OTHER, TCP};

/// When the last of them was accepted.
fn last_accepted(probes: &Probes, start: tokio::time::Instant) -> i64 {
    let all = probes.all().into_iter();
    all.filter(|(_, probed)| *probed != Probed::Refused)
        .map(|(at, _)| ms(start, at))
        .max()
        .unwrap_or(0)
}

/// Drain time 6 s, the window is [4, 5].
pub(crate) async fn plain(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let other = Listener::http().named("other", OTHER);
    let play = stage
        .start(Setup::gradual(
            6,
            [Listener::http(), Listener::tcp(), other],
        ))
        .await?;
    let mut tasks = Tasks::new();
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 8).await?;
    let idle2 = Crowd::idle(&play, OTHER, Speak::Http2, 8).await?;
    let busy1 = Crowd::busy(&play, HTTP, Speak::Http1, 8, &mut tasks).await?;
    let tcp = Crowd::idle(&play, TCP, Speak::Bytes, 2).await?;
    let slow = Crowd::fresh(&play, HTTP, Speak::Http1, 2).await?;
    for client in &slow.0 {
        client.get("/slow?7200").await;
    }
    let probes = [HTTP, OTHER].map(|port| Probes::start(&play, port, &mut tasks));
    let (get, _) = play.admin("GET", "/drain_listeners").await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = play.post("/drain_listeners").await?;
    at(start, 1000).await;
    let views = views_of(&play).await?;
    at(start, 8000).await;
    checks.rule("GET /drain_listeners", get, get == 405);
    let last = probes
        .iter()
        .map(|probes| last_accepted(probes, start))
        .max()
        .unwrap_or(0);
    checks.rule(
        "drain: refused at once on every listener",
        format!("last {last}"),
        last < SLACK,
    );
    let close = busy1.first(start, What::says_close);
    checks
        .rule(
            "drain: busy H1 told after 1 s, to all by T/2",
            &close,
            close.all_in(1000, 3200),
        )
        .or(rows::SCHEDULE, close.all_in(0, 1700));
    let goaway = idle2.first(start, What::is_goaway);
    checks
        .rule(
            "drain: idle H2 first GOAWAY in the window",
            &goaway,
            goaway.all_in(4000, 5000),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 1500));
    let ends = idle1.ends(start);
    checks
        .rule(
            "drain: idle H1 FIN in window + 1.5 s, not cut at T",
            &ends,
            ends.all_in(5500, 6500),
        )
        .or(
            rows::IDLE,
            idle1.open() == idle1.len() || ends.found_in(5000, 6500),
        );
    let answered = slow
        .0
        .iter()
        .filter(|client| client.first(|what| matches!(what, What::Body(_))).is_some())
        .count();
    checks.rule(
        "drain: a request in flight over T is answered",
        of(answered, 2),
        answered == 2,
    );
    checks.rule(
        "drain: TCP stays open over T",
        of(tcp.open(), 2),
        tcp.open() == 2,
    );
    checks.rule(
        "drain: /ready, state, /listeners stay",
        &views,
        views == "200 LIVE LIVE 3",
    );
    let mut play = play;
    checks.rule("drain: the process goes on", "", play.runs());
    Ok(checks)
}

/// `/ready`, the state of `/server_info`, and how many listeners are listed.
async fn views_of(play: &Play) -> anyhow::Result<String> {
    let (status, ready) = play.admin("GET", "/ready").await?;
    let (_, info) = play.admin("GET", "/server_info").await?;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
    let (_, listeners) = play.admin("GET", "/listeners").await?;
    let state = info["state"].as_str().unwrap_or("?");
    Ok(format!(
        "{status} {} {state} {}",
        ready.trim(),
        listeners.lines().count()
    ))
}

/// `?graceful`, drain time 4 s.
pub(crate) async fn graceful(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let play = stage.start(Setup::gradual(4, [Listener::http()])).await?;
    let mut tasks = Tasks::new();
    let probes = Probes::start(&play, HTTP, &mut tasks);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = play.post("/drain_listeners?graceful").await?;
    at(start, 1000).await;
    let (again, _) = play.admin("POST", "/drain_listeners?graceful").await?;
    at(start, 5000).await;
    let last = last_accepted(&probes, start);
    let in_time = (4000 - SLACK..4000 + SLACK).contains(&last);
    checks.rule(
        "graceful: accepted until T, then refused",
        format!("last {last}"),
        in_time,
    );
    checks.rule(
        "graceful: asked twice, T of the first counts",
        again,
        again == 200 && in_time,
    );
    let told = |from: i64, to: i64| {
        let (mut told, mut all) = (0, 0);
        for (at, probed) in probes.all() {
            if let Probed::Answered { close, .. } = probed {
                if (from..to).contains(&ms(start, at)) {
                    all += 1;
                    told += usize::from(close);
                }
            }
        }
        (told, all)
    };
    let (first, n) = told(0, 900);
    checks
        .rule(
            "graceful: new ones not told in the first second",
            of(first, n),
            first == 0,
        )
        .or_alike(rows::SCHEDULE, first <= n / 4);
    let (late, n) = told(2100, 3900);
    checks.rule(
        "graceful: new ones all told from T/2",
        of(late, n),
        late == n && n > 20,
    );
    Ok(checks)
}

/// `?graceful&skip_exit`, drain time 3 s.
pub(crate) async fn skip_exit(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let play = stage.start(Setup::gradual(3, [Listener::http()])).await?;
    let start = play.post("/drain_listeners?graceful&skip_exit").await?;
    let mut tasks = Tasks::new();
    at(start, 3500).await;
    let probes = Probes::start(&play, HTTP, &mut tasks);
    at(start, 4500).await;
    let n = probes.all().len();
    checks.rule(
        "skip_exit: accepted for ever",
        of(probes.lost(), n),
        probes.lost() == 0 && n > 10,
    );
    let told = probes.told_to_close();
    checks.rule("skip_exit: told to close for ever", of(told, n), told == n);
    drop(tasks);
    let (status, _) = stage
        .start(Setup::gradual(3, [Listener::http()]))
        .await?
        .admin("POST", "/drain_listeners?skip_exit")
        .await?;
    checks.rule("skip_exit without graceful: status", status, status == 200);
    Ok(checks)
}

/// `?inboundonly`.
pub(crate) async fn inbound(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listener = |name, port, direction| {
        let mut listener = Listener::http().named(name, port);
        listener.direction = direction;
        listener
    };
    let ports = [HTTP, OTHER, TCP];
    let listeners = [
        listener("in", HTTP, Some("INBOUND")),
        listener("out", OTHER, Some("OUTBOUND")),
        listener("any", TCP, None),
    ];
    let play = stage.start(Setup::immediate(6, listeners)).await?;
    let mut idle = Vec::new();
    for port in ports {
        idle.push(Crowd::idle(&play, port, Speak::Http1, 2).await?);
    }
    let start = play.post("/drain_listeners?inboundonly").await?;
    at(start, 500).await;
    let mut seen = Vec::new();
    for (port, crowd) in ports.into_iter().zip(&idle) {
        let new = match probe(&play, port).await {
            Probed::Answered { close: false, .. } => "served",
            Probed::Answered { close: true, .. } => "told",
            Probed::Refused => "refused",
            Probed::Unanswered => "lost",
        };
        let old = match crowd.0[0].ask("/v").await {
            Some(What::Head { close: false, .. }) => "served",
            Some(What::Head { close: true, .. }) => "told",
            _ => "lost",
        };
        seen.push(format!("{new}/{old}"));
    }
    for (seen, (rule, wanted)) in seen.iter().zip([
        (
            "inboundonly: INBOUND refuses new, tells old ones",
            "refused/told",
        ),
        ("inboundonly: OUTBOUND is not touched", "served/served"),
        ("inboundonly: unspecified is not touched", "served/served"),
    ]) {
        checks.rule(rule, seen, seen == wanted);
    }
    Ok(checks)
}

/// Names and forms.
pub(crate) async fn views(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http(), Listener::tcp()];
    let play = stage.start(Setup::immediate(3, listeners.clone())).await?;
    let idle = Crowd::idle(&play, HTTP, Speak::Http1, 2).await?;
    let gone = Crowd::idle(&play, HTTP, Speak::Http1, 1).await?;
    drop(gone);
    let tcp = Crowd::idle(&play, TCP, Speak::Bytes, 1).await?;
    let active = play
        .stat_comes_to("http.ing.downstream_cx_active", 2, Duration::from_secs(1))
        .await;
    let (_, text) = play.admin("GET", "/listeners").await?;
    let wanted = format!("ing::{}\n", play.address(HTTP));
    checks.rule(
        "/listeners: name::address",
        text.lines().next().unwrap_or_default().len(),
        text.contains(&wanted),
    );
    let (_, json) = play.admin("GET", "/listeners?format=json").await?;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
    let status = &json["listener_statuses"][0];
    let port = status["local_address"]["socket_address"]["port_value"].as_u64();
    checks.rule(
        "/listeners?format=json: name and address",
        port.unwrap_or(0),
        port.is_some() && status["name"].is_string(),
    );
    let views = views_of(&play).await?;
    checks.rule(
        "/ready, /server_info: LIVE",
        &views,
        views == "200 LIVE LIVE 2",
    );
    checks.rule(
        "stats: downstream_cx_active of http.ing",
        active,
        active == 2,
    );

    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 200).await;
    for client in &idle.0 {
        client.ask("/v").await;
    }
    at(start, 300).await;
    let during = views_of(&play).await?;
    checks.rule(
        "during an LDS drain: LIVE, the draining version not listed",
        &during,
        during == "200 LIVE LIVE 2",
    );
    let (_, dump) = play.admin("GET", "/config_dump").await?;
    let dump = states(&dump, "ing");
    checks.rule(
        "/config_dump during a modification",
        &dump,
        dump == "active draining",
    );
    let (_, prometheus) = play.admin("GET", "/stats/prometheus").await?;
    let missing = PROMETHEUS
        .iter()
        .filter(|name| !prometheus.contains(**name))
        .count();
    checks.rule(
        "/stats/prometheus: the names of the drain",
        format!("{missing} missing"),
        missing == 0,
    );
    at(start, 3600).await;
    let (_, dump) = play.admin("GET", "/config_dump").await?;
    let dump = states(&dump, "ing");
    checks.rule("/config_dump after T", &dump, dump == "active");
    drop(tcp);
    let stats = play.stats().await?;
    let told = stats
        .get("http.ing.downstream_cx_drain_close")
        .copied()
        .unwrap_or(-1);
    checks.rule(
        "stats: downstream_cx_drain_close counts a connection once",
        told,
        told == 2,
    );
    let missing: Vec<&str> = NAMES
        .iter()
        .filter(|name| !stats.contains_key(**name))
        .filter_map(|name| name.rsplit('.').next())
        .collect();
    let seen = format!(
        "{} missing {}",
        missing.len(),
        missing.first().unwrap_or(&"")
    );
    checks.rule(
        "stats: every name of the drain is there",
        seen.trim_end(),
        missing.is_empty(),
    );
    let listener = format!("listener.{}_{HTTP}.downstream_cx_total", play.ip);
    let total = stats.get(&listener).copied().unwrap_or(-1);
    checks.rule(
        "stats: listener.<address>.downstream_cx_total",
        total,
        total >= 3,
    );
    Ok(checks)
}

/// The states in which a dynamic listener is, as `/config_dump` shows it.
fn states(dump: &str, name: &str) -> String {
    let dump: serde_json::Value = serde_json::from_str(dump).unwrap_or_default();
    let configs = dump["configs"].as_array().into_iter().flatten();
    let listeners = configs
        .filter_map(|config| config["dynamic_listeners"].as_array())
        .flatten();
    let states = listeners
        .filter(|listener| listener["name"] == name)
        .flat_map(|listener| {
            let of = |state: &&&str| !listener[format!("{state}_state")].is_null();
            ["active", "warming", "draining"]
                .iter()
                .filter(of)
                .copied()
                .collect::<Vec<_>>()
        });
    states.collect::<Vec<_>>().join(" ")
}

/// The same for Prometheus.
const PROMETHEUS: &[&str] = &[
    "envoy_listener_manager_total_listeners_draining{} 2",
    "envoy_listener_manager_total_filter_chains_draining{} 0",
    "envoy_http_downstream_cx_drain_close{envoy_http_conn_manager_prefix=\"ing\"}",
    "envoy_tcp_downstream_cx_drain_close{envoy_tcp_prefix=\"tcp\"}",
];

/// Names of statistics that move in a drain.
const NAMES: &[&str] = &[
    "listener_manager.listener_added",
    "listener_manager.listener_modified",
    "listener_manager.listener_removed",
    "listener_manager.listener_stopped",
    "listener_manager.listener_in_place_updated",
    "listener_manager.listener_create_success",
    "listener_manager.listener_create_failure",
    "listener_manager.total_listeners_active",
    "listener_manager.total_listeners_draining",
    "listener_manager.total_listeners_warming",
    "listener_manager.total_filter_chains_draining",
    "listener_manager.lds.update_attempt",
    "listener_manager.lds.update_success",
    "listener_manager.lds.update_rejected",
    "listener_manager.lds.update_failure",
    "http.ing.downstream_cx_drain_close",
    "http.ing.downstream_cx_delayed_close_timeout",
    "http.ing.downstream_cx_active",
    "http.ing.downstream_cx_total",
    "http.ing.downstream_cx_destroy",
    "http.ing.downstream_cx_destroy_local",
    "http.ing.downstream_cx_destroy_remote",
    "http.ing.downstream_cx_destroy_active_rq",
    "http.ing.downstream_cx_idle_timeout",
    "http.ing.downstream_cx_max_duration_reached",
    "http.ing.downstream_rq_total",
    "tcp.tcp.downstream_cx_drain_close",
    "tcp.tcp.downstream_cx_total",
    "server.dynamic_unknown_fields",
];
