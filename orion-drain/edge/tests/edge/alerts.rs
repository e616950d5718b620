//! The alert rules of `docs/operations/alerts.yaml`: each is silent in a process that is well, and
//! fires in one in which the condition is made. How long a condition must last (`for`) is left to
//! Prometheus.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Edge, H1, Http, discovery, within};

/// The rules that a test below makes the condition of.
const TESTED: [&str; 8] = [
    "DrainCutsConnections",
    "DrainStuck",
    "HandoverWaits",
    "LogLinesDropped",
    "NotReady",
    "UpdateFailed",
    "UpdateRefused",
    "VersionsPileUp",
];

fn operations(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> Vec<Value> {
    let file: Value = yaml_serde::from_str(&operations("operations/alerts.yaml")).expect("YAML");
    file["groups"][0]["rules"]
        .as_array()
        .expect("rules")
        .clone()
}

pub(crate) fn expression(alert: &str) -> String {
    let rules = rules();
    let rule = rules
        .iter()
        .find(|rule| rule["alert"] == alert)
        .expect("a rule");
    rule["expr"].as_str().expect("an expression").to_owned()
}

pub(crate) async fn scrape(admin: SocketAddr) -> String {
    H1::connect(admin).await.get("/stats/prometheus").await.ok()
}

/// The series of a metric, by their labels.
fn series<'s>(metric: &'s str, scraped: &'s str) -> impl Iterator<Item = (&'s str, f64)> {
    scraped.lines().filter_map(move |line| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = rest.strip_prefix('{')?.split_once("} ")?;
        Some((labels, value.parse().ok()?))
    })
}

/// Whether an expression holds for any series: `METRIC OP NUMBER`, or `increase(METRIC[TIME]) >
/// NUMBER` from one scrape to another.
fn fires(expression: &str, before: &str, now: &str) -> bool {
    let (left, operator, number) = match expression.split(' ').collect::<Vec<_>>()[..] {
        [left, operator, number] => (left, operator, number),
        _ => panic!("{expression}: not an expression that is understood"),
    };
    let number: f64 = number.parse().expect("a number");
    let holds = |value: f64| match operator {
        ">" => value > number,
        "==" => value == number,
        other => panic!("{other}: not an operator that is understood"),
    };
    let increase = left
        .strip_prefix("increase(")
        .and_then(|of| of.split_once('['));
    let metric = increase.map_or(left, |(metric, _)| metric);
    let mut all = series(metric, now);
    all.any(|(labels, value)| match increase {
        None => holds(value),
        Some(_) => {
            let earlier = series(metric, before).find(|(have, _)| *have == labels);
            holds(value - earlier.map_or(0.0, |(_, value)| value))
        }
    })
}

/// An alert that is to fire; it is silent now.
pub(crate) struct Alert {
    expression: String,
    admin: SocketAddr,
    before: String,
}

impl Alert {
    pub(crate) async fn silent(alert: &str, admin: SocketAddr) -> Self {
        let (expression, before) = (expression(alert), scrape(admin).await);
        assert!(
            !fires(&expression, &before, &before),
            "{expression}\n{before}"
        );
        Self {
            expression,
            admin,
            before,
        }
    }

    pub(crate) async fn fires(&self) -> bool {
        fires(&self.expression, &self.before, &scrape(self.admin).await)
    }

    pub(crate) async fn until_it_is(&self, firing: bool) {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        let what = format!("{} is {firing}", self.expression);
        within(&what, async {
            while self.fires().await != firing {
                pace.tick().await;
            }
        })
        .await;
    }
}

fn listener(version: u32) -> String {
    Http::new("http", version).yaml()
}

#[test]
fn every_rule_is_tested_and_in_the_runbook() {
    let rules = rules();
    let names: BTreeSet<_> = rules
        .iter()
        .filter_map(|rule| rule["alert"].as_str())
        .collect();
    assert_eq!(names, BTreeSet::from(TESTED));
    let runbook = operations("operations.md");
    for name in names {
        assert!(
            runbook.contains(&format!("\n## {name}\n")),
            "{name} has no section"
        );
    }
}

#[tokio::test]
async fn what_the_rules_and_the_dashboard_ask_for_is_there() {
    let edge = Edge::start("", &discovery("1", &[listener(1)])).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.get("/version").await.ok();
    let scraped = scrape(edge.admin).await;
    let dashboard: Value =
        serde_json::from_str(&operations("operations/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets").iter());
    let expressions =
        targets.map(|target| target["expr"].as_str().expect("an expression").to_owned());
    let alerts = TESTED.into_iter().map(expression);
    let mut asked = 0;
    for expression in expressions.chain(alerts) {
        let words =
            expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let metrics = words.filter(|word| word.starts_with("envoy_") || word.starts_with("orion_"));
        for metric in metrics.filter(|metric| *metric != "envoy_http_conn_manager_prefix") {
            assert!(
                series(metric, &scraped).next().is_some(),
                "{metric}\n{scraped}"
            );
            asked += 1;
        }
    }
    assert!(asked > 15, "{asked}");
}

#[tokio::test]
async fn a_request_that_keeps_a_drain_open_fires_and_its_cut_too() {
    let flags = "--drain-time-s 8 --drain-strategy immediate";
    let mut edge = Edge::start(flags, &discovery("1", &[listener(1)])).await;
    let stuck = Alert::silent("DrainStuck", edge.admin).await;
    let cut = Alert::silent("DrainCutsConnections", edge.admin).await;
    let mut busy = H1::connect(edge.address("http").await).await;
    busy.ask("/held").await;
    let _held = edge.upstream.held().await;
    edge.update("2", &[listener(2)]).await;
    assert!(stuck.fires().await);
    // The runbook's next question: which connections, and why.
    let stay = edge.list("/connections?listener=http&state=draining").await;
    assert_eq!(stay[0]["why"], "one request is not finished");
    cut.until_it_is(true).await;
    stuck.until_it_is(false).await;
}

#[tokio::test]
async fn versions_that_do_not_end_fire() {
    let flags = "--drain-time-s 60 --drain-strategy immediate";
    let mut edge = Edge::start(flags, &discovery("1", &[listener(1)])).await;
    let alert = Alert::silent("VersionsPileUp", edge.admin).await;
    let mut held = Vec::new();
    for version in 2..=3 {
        assert!(!alert.fires().await);
        let mut busy = H1::connect(edge.address("http").await).await;
        busy.ask("/held").await;
        held.push((busy, edge.upstream.held().await));
        edge.update(&version.to_string(), &[listener(version)])
            .await;
    }
    assert!(alert.fires().await);
    let summary: Value =
        serde_json::from_str(&edge.get("/connections?summary").await.text()).expect("JSON");
    let versions = summary["versions"].as_array().expect("versions");
    let draining = versions
        .iter()
        .filter(|one| one["state"] == "draining" && one["connections"] == 1);
    assert_eq!((draining.count(), versions.len()), (2, 3), "{summary}");
}

#[tokio::test]
async fn updates_that_are_refused_or_cannot_be_read_fire() {
    let mut edge = Edge::start("", &discovery("1", &[listener(1)])).await;
    let refused = Alert::silent("UpdateRefused", edge.admin).await;
    let failed = Alert::silent("UpdateFailed", edge.admin).await;
    let bad = Http::new("bad", 1).with_http("drain_timeout_jitter: { value: 101 }");
    edge.replace(&discovery("2", &[listener(1), bad.yaml()]));
    refused.until_it_is(true).await;
    assert!(!failed.fires().await);
    edge.replace("nonsense: [");
    failed.until_it_is(true).await;
    edge.until("lds: ").await;
}

#[tokio::test]
async fn a_process_that_is_not_ready_fires() {
    let edge = Edge::start("", &discovery("1", &[listener(1)])).await;
    let alert = Alert::silent("NotReady", edge.admin).await;
    edge.post("/healthcheck/fail").await;
    assert!(alert.fires().await);
    edge.post("/healthcheck/ok").await;
    assert!(!alert.fires().await);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn log_lines_that_nobody_reads_fire() {
    let mut edge = Edge::start("", &discovery("1", &[listener(1)])).await;
    let alert = Alert::silent("LogLinesDropped", edge.admin).await;
    let _full = edge.fill_log();
    // More lines than wait for the reader: each of these listeners is refused with one.
    let refused = "- { name: x }\n".repeat(10_000);
    edge.replace(&discovery("2", &[listener(2), refused]));
    alert.until_it_is(true).await;
}
