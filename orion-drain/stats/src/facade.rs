//! The statistics for the [`metrics`] facade, whatever recorder the process has installed (feature
//! `metrics`).

use metrics::{Label, counter, gauge};

use super::StatsSnapshot;
use super::family::Value;
use super::prometheus::metric;

/// Tells the recorder what a snapshot says: counters by `absolute`, gauges by `set`, under the
/// names of Prometheus. Call it from time to time, say every ten seconds.
///
/// Durations of drains are not in it: [`StatsObserver`](crate::StatsObserver) records each when it
/// ends, so that the recorder chooses the buckets. A recorder keeps what was recorded: give it
/// an idle timeout if it has one, so that series of listeners that are gone go too.
pub fn publish(snapshot: &StatsSnapshot) {
    for (name, value) in snapshot
        .iter()
        .filter(|(name, _)| !snapshot.is_of_a_family(name))
    {
        let is_gauge = snapshot.is_gauge(name);
        let (name, labels) = metric(name);
        let labels: Vec<Label> = labels.map(|(key, value)| Label::new(key, value)).collect();
        if is_gauge {
            gauge!(name, labels).set(value as f64);
        } else {
            counter!(name, labels).absolute(value);
        }
    }
    for family in &snapshot.families {
        for one in &family.series {
            let labels = vec![Label::new(one.label.0, one.label.1.clone())];
            match one.value {
                Value::Counter(value) => counter!(family.name, labels).absolute(value),
                Value::Gauge(value) => gauge!(family.name, labels).set(value as f64),
                Value::Histogram(_) => {}
            }
        }
    }
}
