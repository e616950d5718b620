//! What `/memory`, `/runtime`, `/certs` and `/clusters` say, under Envoy's keys.

use serde_json::{Value, json};

use super::router::address_json;

/// A cluster in `/clusters`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// The addresses of its endpoints.
    pub hosts: Vec<String>,
}

impl ClusterView {
    /// A cluster with these endpoints.
    pub fn new(name: impl Into<String>, hosts: Vec<String>) -> Self {
        Self {
            name: name.into(),
            hosts,
        }
    }

    /// The static clusters of a bootstrap, as it is written.
    #[cfg(feature = "standard")]
    pub(super) fn of_bootstrap(bootstrap: &Value) -> Vec<Self> {
        let list =
            |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
        let host = |endpoint: &Value| {
            let address = &endpoint["endpoint"]["address"];
            let socket = &address["socket_address"];
            match (socket["address"].as_str(), address["pipe"]["path"].as_str()) {
                (Some(ip), _) if ip.contains(':') => {
                    Some(format!("[{ip}]:{}", socket["port_value"]))
                }
                (Some(ip), _) => Some(format!("{ip}:{}", socket["port_value"])),
                (None, path) => path.map(ToOwned::to_owned),
            }
        };
        let clusters = list(&bootstrap["static_resources"], "clusters");
        let clusters = clusters.iter().map(|cluster| {
            let groups = list(&cluster["load_assignment"], "endpoints");
            let hosts = groups.iter().flat_map(|group| list(group, "lb_endpoints"));
            let hosts = hosts.filter_map(|endpoint| host(&endpoint)).collect();
            Self::new(cluster["name"].as_str().unwrap_or_default(), hosts)
        });
        clusters.collect()
    }

    pub(super) fn lines(&self) -> String {
        let name = &self.name;
        let mut text =
            format!("{name}::observability_name::{name}\n{name}::added_via_api::false\n");
        for host in &self.hosts {
            for (key, value) in [
                ("hostname", ""),
                ("health_flags", "healthy"),
                ("weight", "1"),
                ("priority", "0"),
            ] {
                text.push_str(&format!("{name}::{host}::{key}::{value}\n"));
            }
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let hosts = self.hosts.iter().map(|host| {
            json!({ "address": address_json(host), "health_status": { "eds_health_status": "HEALTHY" }, "weight": 1 })
        });
        let hosts: Vec<Value> = hosts.collect();
        json!({ "name": self.name, "observability_name": self.name, "host_statuses": hosts })
    }
}

/// `admin.v3.Certificates`: the files alone, which are read anew for each listener's version.
pub(super) fn certificates(files: &[String]) -> Value {
    let each = files
        .iter()
        .map(|file| json!({ "ca_cert": [], "cert_chain": [{ "path": file }] }));
    json!({ "certificates": each.collect::<Vec<_>>() })
}

/// `admin.v3.Runtime`: nothing can be changed at run time.
pub(super) fn runtime() -> Value {
    json!({ "layers": [], "entries": {} })
}

/// `admin.v3.Memory`. The kernel's numbers: no allocator is asked, so what only one knows is zero.
pub(super) fn memory() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
        let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
        (kib.unwrap_or_default() * 1024).to_string()
    };
    json!({
        "allocated": bytes("RssAnon"),
        "heap_size": bytes("VmData"),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": bytes("VmRSS"),
    })
}
