//! What is counted about routes that come by themselves.

use super::{Counter, StatsSnapshot, Text};

/// `http.<stat_prefix>.rds.<route_config_name>.*`
///
/// Source: [Envoy's RDS
/// statistics](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/rds#statistics).
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct RdsStats {
    /// Tables that took the place of another one, or of none.
    pub config_reload: Counter,
    /// Tables that were taken, even if they changed nothing.
    pub update_success: Counter,
    /// Tables that were refused.
    pub update_rejected: Counter,
    /// Listeners that served without a table, because none came within `initial_fetch_timeout`.
    pub init_fetch_timeout: Counter,
    /// The `version_info` of the last table that was taken.
    pub version_text: Text,
}

impl RdsStats {
    pub(super) fn write(&self, name: &str, into: &mut StatsSnapshot) {
        for (counted, counter) in [
            ("config_reload", &self.config_reload),
            ("update_success", &self.update_success),
            ("update_rejected", &self.update_rejected),
            ("init_fetch_timeout", &self.init_fetch_timeout),
        ] {
            into.set(format!("{name}.{counted}"), counter.value());
        }
        into.set_text(format!("{name}.version_text"), self.version_text.value());
    }
}

#[cfg(test)]
mod tests {
    use crate::Stats;

    #[test]
    fn a_table_is_a_label_for_prometheus() {
        let stats = Stats::new();
        let rds = stats.rds("in.a", "shop.v1");
        rds.update_success.inc();
        rds.version_text.set("7");
        let snapshot = stats.snapshot();
        let name = "http.in.a.rds.shop.v1";
        assert_eq!(snapshot.get(&format!("{name}.update_success")), Some(1));
        assert_eq!(snapshot.text(&format!("{name}.version_text")), Some("7"));
        let line = "envoy_http_rds_update_success{envoy_rds_route_config=\"shop.v1\",\
                    envoy_http_conn_manager_prefix=\"in.a\"} 1\n";
        assert!(snapshot.to_prometheus().contains(line));
    }
}
