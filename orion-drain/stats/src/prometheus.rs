//! Statistics in Prometheus' text format, under the names that Envoy gives them there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::StatsSnapshot;
use super::drains::BOUNDS;
use super::family::{Family, Value};
use super::histogram::Durations;

/// Scopes, and the label that Envoy takes their name out into.
const SCOPES: &[(&str, &str, &str)] = &[
    ("http.", "envoy_http_", MANAGER),
    ("tcp.", "envoy_tcp_", "envoy_tcp_prefix"),
    ("listener.", "envoy_listener_", LISTENER),
];

const MANAGER: &str = "envoy_http_conn_manager_prefix";
const LISTENER: &str = "envoy_listener_address";

/// What may go down; all else only goes up.
const GAUGES: &[&str] = &[
    "server_live",
    "server_state",
    "server_uptime",
    "_active",
    "_connected_state",
    "_total_listeners_draining",
    "_total_listeners_warming",
    "_total_filter_chains_draining",
    "envoy_server_total_connections",
    "envoy_server_hot_restart_epoch",
];

impl StatsSnapshot {
    /// The statistics as Prometheus reads them:
    /// `envoy_http_downstream_cx_drain_close{envoy_http_conn_manager_prefix="in"} 1`.
    ///
    /// Source: [Envoy's
    /// `/stats?format=prometheus`](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--stats?format=prometheus).
    pub fn to_prometheus(&self) -> String {
        let mut metrics: BTreeMap<String, (bool, Vec<(String, u64)>)> = BTreeMap::new();
        for (name, value) in self.iter().filter(|(name, _)| !self.is_of_a_family(name)) {
            let (metric, labels) = metric(name);
            let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(&value)));
            let labels: Vec<String> = labels.collect();
            let (is_gauge, samples) = metrics.entry(metric).or_default();
            *is_gauge = self.is_gauge(name);
            samples.push((labels.join(","), value));
        }
        let mut text = String::new();
        for (metric, (is_gauge, samples)) in &metrics {
            // Writing into a string does not fail.
            writeln!(
                text,
                "# TYPE {metric} {}",
                if *is_gauge { "gauge" } else { "counter" }
            )
            .ok();
            for (labels, value) in samples {
                writeln!(text, "{metric}{{{labels}}} {value}").ok();
            }
        }
        self.write_durations(&mut text);
        self.families
            .iter()
            .for_each(|family| write(&mut text, family));
        text
    }

    /// The same with texts: a gauge of 0 each, with the text as a label, as Envoy's
    /// `?text_readouts`.
    pub fn to_prometheus_with_texts(&self) -> String {
        let mut text = self.to_prometheus();
        for (name, value) in self.texts() {
            let (metric, labels) = metric(name);
            let labels = labels.chain([("text_value", value.to_owned())]);
            let labels: Vec<String> = labels
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(&value)))
                .collect();
            // As above.
            write!(
                text,
                "# TYPE {metric} gauge\n{metric}{{{}}} 0\n",
                labels.join(",")
            )
            .ok();
        }
        text
    }

    fn write_durations(&self, text: &mut String) {
        let mut metrics: BTreeMap<String, Vec<(String, Durations)>> = BTreeMap::new();
        for (name, durations) in &self.durations {
            let (metric, labels) = metric(name);
            let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(&value)));
            let labels: Vec<String> = labels.collect();
            let all = metrics.entry(metric).or_default();
            all.push((labels.join(","), *durations));
        }
        for (metric, samples) in &metrics {
            // As above.
            writeln!(text, "# TYPE {metric} histogram").ok();
            for (labels, durations) in samples {
                for (bound, count) in durations.cumulative() {
                    writeln!(text, "{metric}_bucket{{{labels},le=\"{bound}\"}} {count}").ok();
                }
                let (count, sum) = (durations.count(), durations.sum_millis());
                writeln!(text, "{metric}_bucket{{{labels},le=\"+Inf\"}} {count}").ok();
                writeln!(text, "{metric}_sum{{{labels}}} {sum}").ok();
                writeln!(text, "{metric}_count{{{labels}}} {count}").ok();
            }
        }
    }

    /// Whether a name has labels, and is written with its metric.
    pub(super) fn is_of_a_family(&self, name: &str) -> bool {
        self.families
            .iter()
            .any(|family| name.starts_with(family.name))
    }
}

/// Whether it may go down.
pub(super) fn is_gauge(metric: &str) -> bool {
    GAUGES.iter().any(|gauge| metric.ends_with(gauge))
}

fn write(text: &mut String, family: &Family) {
    let Family { name, help, series } = family;
    let Some(first) = series.first() else { return };
    let kind = match first.value {
        Value::Counter(_) => "counter",
        Value::Gauge(_) => "gauge",
        Value::Histogram(_) => "histogram",
    };
    // As above.
    write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
    for one in series {
        let labels = one.labels();
        match &one.value {
            Value::Counter(value) | Value::Gauge(value) => {
                writeln!(text, "{name}{labels} {value}").ok();
            }
            Value::Histogram(histogram) => {
                let inner = labels.trim_end_matches('}');
                let mut below = 0;
                for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
                    below += count;
                    writeln!(text, "{name}_bucket{inner},le=\"{bound}\"}} {below}").ok();
                }
                writeln!(
                    text,
                    "{name}_bucket{inner},le=\"+Inf\"}} {}",
                    histogram.count
                )
                .ok();
                writeln!(text, "{name}_sum{labels} {}", histogram.sum.as_secs_f64()).ok();
                writeln!(text, "{name}_count{labels} {}", histogram.count).ok();
            }
        }
    }
}

/// A label's value between its quotes.
pub(super) fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

/// A statistic's metric, and the labels that it has.
pub(super) fn metric(name: &str) -> (String, impl Iterator<Item = (&'static str, String)> + use<>) {
    let (metric, of, inner) = match SCOPES.iter().find_map(|scope| scoped(name, *scope)) {
        Some((metric, label, of)) => match inner(label, of) {
            Some((outer, more, within)) => {
                let metric = metric.replacen("envoy_", "", 1);
                let metric = metric.replacen('_', more, 1);
                let of = Some((label, outer.to_owned()));
                (format!("envoy_{metric}"), of, Some(within))
            }
            None => (metric, Some((label, of.to_owned())), None),
        },
        None => (format!("envoy_{}", sanitized(name)), None, None),
    };
    (metric, inner.into_iter().chain(of))
}

/// The scope inside of this one, if there is one: what is left of this one's name, how the metric
/// goes on, and the label.
fn inner<'n>(label: &str, of: &'n str) -> Option<(&'n str, &'static str, (&'static str, String))> {
    if label == LISTENER {
        let (listener, worker) = of.rsplit_once(WORKER)?;
        let is_number = worker.bytes().all(|byte| byte.is_ascii_digit());
        let label = ("envoy_worker_id", worker.to_owned());
        return is_number.then_some((listener, "_worker_", label));
    }
    let (manager, table) = of.split_once(RDS).filter(|_| label == MANAGER)?;
    Some((
        manager,
        "_rds_",
        ("envoy_rds_route_config", table.to_owned()),
    ))
}

/// Below a connection manager's prefix, before the name of a table.
const RDS: &str = ".rds.";

/// Below a listener's address, before what one of its workers counts.
const WORKER: &str = ".worker_";

/// The metric, label and label's value of a name in this scope.
fn scoped<'n>(
    name: &'n str,
    (scope, prefix, label): (&str, &str, &'static str),
) -> Option<(String, &'static str, &'n str)> {
    // The scope's name may have dots of its own, what is counted has none.
    let (of, counted) = name.strip_prefix(scope)?.rsplit_once('.')?;
    Some((format!("{prefix}{}", sanitized(counted)), label, of))
}

/// What Prometheus takes as a name.
fn sanitized(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")
}
