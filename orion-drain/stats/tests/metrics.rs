//! The adapter to the `metrics` facade: a recorder is told what the snapshot says.

use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use orion_drain_stats::{Stats, publish};

#[test]
fn a_recorder_is_told_every_counter_and_gauge_with_its_labels() {
    let stats = Stats::new();
    let http = stats.http("in");
    http.downstream_cx_drain_close.add(3);
    let _open = http.connection();
    let tracker = conn_tracker::ConnTracker::new();
    let _guard = tracker.group("in", 1).open(conn_tracker::Peer::Unknown);
    let snapshot = stats.snapshot().with_connections(&tracker, &[], &[]);
    let recorder = DebuggingRecorder::new();
    let told = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || publish(&snapshot));
    let told = told.snapshot().into_vec();
    let find = |kind: MetricKind, name: &str, value: &str| {
        let found = told.iter().find(|(key, ..)| {
            key.kind() == kind
                && key.key().name() == name
                && key.key().labels().all(|label| label.value() == value)
        });
        found.map(|(_, _, _, value)| format!("{value:?}"))
    };
    let counter = |value| Some(format!("{:?}", DebugValue::Counter(value)));
    let gauge = |value: f64| Some(format!("{:?}", DebugValue::Gauge(value.into())));
    use MetricKind::{Counter, Gauge};
    assert_eq!(
        find(Counter, "envoy_http_downstream_cx_drain_close", "in"),
        counter(3)
    );
    assert_eq!(
        find(Gauge, "envoy_http_downstream_cx_active", "in"),
        gauge(1.0)
    );
    assert_eq!(
        find(Gauge, "envoy_listener_manager_total_listeners_draining", ""),
        gauge(0.0)
    );
    assert_eq!(
        find(
            Counter,
            "orion_connection_state_transitions_total",
            "active"
        ),
        counter(1)
    );
}
