//! Statistics in Prometheus' text format, under the names that Envoy gives them there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::StatsSnapshot;

/// Scopes, and the label that Envoy takes their name out into.
const SCOPES: &[(&str, &str, &str)] = &[
    ("http.", "envoy_http_", "envoy_http_conn_manager_prefix"),
    ("tcp.", "envoy_tcp_", "envoy_tcp_prefix"),
    ("listener.", "envoy_listener_", "envoy_listener_address"),
];

/// What may go down; all else only goes up.
const GAUGES: &[&str] = &[
    "_active",
    "_total_listeners_draining",
    "_total_listeners_warming",
    "_total_filter_chains_draining",
    "envoy_server_total_connections",
];

impl StatsSnapshot {
    /// The statistics as Prometheus reads them: `envoy_http_downstream_cx_drain_close{envoy_http_conn_manager_prefix="in"} 1`.
    ///
    /// Source: [Envoy's `/stats?format=prometheus`](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--stats?format=prometheus).
    pub fn to_prometheus(&self) -> String {
        let mut metrics: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (name, value) in self.iter() {
            let (metric, labels) = metric(name);
            metrics.entry(metric).or_default().push((labels, value));
        }
        let mut text = String::new();
        for (metric, samples) in &metrics {
            let kind = match GAUGES.iter().any(|gauge| metric.ends_with(gauge)) {
                true => "gauge",
                false => "counter",
            };
            // Writing into a string does not fail.
            writeln!(text, "# TYPE {metric} {kind}").ok();
            for (labels, value) in samples {
                writeln!(text, "{metric}{{{labels}}} {value}").ok();
            }
        }
        text
    }
}

/// A statistic's metric and its labels.
fn metric(name: &str) -> (String, String) {
    for (scope, prefix, label) in SCOPES {
        // The scope's name may have dots of its own, what is counted has none.
        let Some((of, counted)) = name.strip_prefix(scope).and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        let of = of.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        return (
            format!("{prefix}{}", sanitized(counted)),
            format!("{label}=\"{of}\""),
        );
    }
    (format!("envoy_{}", sanitized(name)), String::new())
}

/// What Prometheus takes as a name.
fn sanitized(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")
}
