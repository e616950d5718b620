//! The proxy's configuration: a bootstrap with clusters, and the LDS file that each update replaces.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

/// The response header by which the listener says its version.
pub const VERSION_HEADER: &str = "x-listener-version";

/// What the listener of a version answers to `/version`.
pub fn version_text(version: u32) -> String {
    format!("version {version}")
}

/// The upstreams behind the proxy.
#[derive(Debug, Clone, Copy)]
pub struct Clusters {
    /// HTTP.
    pub http: SocketAddr,
    /// TCP of even listener versions.
    pub tcp_even: SocketAddr,
    /// TCP of odd ones.
    pub tcp_odd: SocketAddr,
}

/// What the configuration is made of.
#[derive(Debug)]
pub struct Config {
    /// Where its files are.
    pub folder: PathBuf,
    /// The admin port.
    pub admin: SocketAddr,
    /// The HTTP listener.
    pub http: SocketAddr,
    /// The TCP listener.
    pub tcp: SocketAddr,
    /// From which the timeouts of its listeners are taken.
    pub drain_time: Duration,
    /// Which process in a row it is for: each has files of its own.
    pub process: u32,
}

impl Config {
    /// The bootstrap file.
    pub fn bootstrap(&self) -> PathBuf {
        self.folder.join(format!("bootstrap-{}.yaml", self.process))
    }

    /// Where processes meet that replace each other.
    pub fn meeting(&self) -> PathBuf {
        self.folder.join("hot_restart.sock")
    }

    /// Writes the bootstrap, and a version of the listeners.
    pub fn write(&self, clusters: &Clusters, version: u32) -> anyhow::Result<()> {
        std::fs::write(self.bootstrap(), self.bootstrap_yaml(clusters)).context("writing the bootstrap")?;
        self.update(version)
    }

    /// Puts a version of the listeners in the place of the last one, by atomic rename.
    pub fn update(&self, version: u32) -> anyhow::Result<()> {
        let next = self.folder.join("next.yaml");
        std::fs::write(&next, self.listeners_yaml(version)).context("writing the next listeners")?;
        std::fs::rename(&next, self.lds()).context("renaming the next listeners into place")
    }

    fn lds(&self) -> PathBuf {
        self.folder.join(format!("lds-{}.yaml", self.process))
    }

    fn bootstrap_yaml(&self, clusters: &Clusters) -> String {
        let clusters = [
            ("http", clusters.http),
            ("tcp_even", clusters.tcp_even),
            ("tcp_odd", clusters.tcp_odd),
        ]
        .map(|(name, address)| {
            format!(
                r"  - name: {name}
    type: STATIC
    connect_timeout: 5s
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {address} }}
",
                address = socket_address(address)
            )
        });
        format!(
            r"node: {{ id: demo, cluster: demo }}
admin:
  address: {admin}
dynamic_resources:
  lds_config:
    path_config_source: {{ path: {lds:?} }}
static_resources:
  clusters:
{clusters}",
            admin = socket_address(self.admin),
            lds = self.lds(),
            clusters = clusters.concat(),
        )
    }

    /// Two listeners. What differs between versions is what makes a new version: the buffer limit is the listener's own, so
    /// that the update is not one of filter chains alone.
    fn listeners_yaml(&self, version: u32) -> String {
        let buffer = 1_048_576 + version;
        let seconds = |part: f64| format!("{:.3}s", self.drain_time.as_secs_f64() * part);
        let header = format!(
            r"response_headers_to_add: [{{ header: {{ key: {VERSION_HEADER}, value: '{version}' }} }}]"
        );
        format!(
            r#"version_info: '{version}'
resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: http
  address: {http}
  per_connection_buffer_limit_bytes: {buffer}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: demo
        codec_type: AUTO
        drain_timeout: {drain_timeout}
        delayed_close_timeout: {delayed_close_timeout}
        upgrade_configs: [{{ upgrade_type: websocket }}]
        http_filters:
        - name: envoy.filters.http.router
          typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
        route_config:
          name: demo
          virtual_hosts:
          - name: demo
            domains: ['*']
            routes:
            - match: {{ path: /version }}
              {header}
              direct_response: {{ status: 200, body: {{ inline_string: {text} }} }}
            - match: {{ prefix: / }}
              {header}
              route: {{ cluster: http, timeout: 0s }}
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: tcp
  address: {tcp}
  per_connection_buffer_limit_bytes: {buffer}
  filter_chains:
  - filters:
    - name: envoy.filters.network.tcp_proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
        stat_prefix: demo_tcp
        cluster: {cluster}
"#,
            http = socket_address(self.http),
            tcp = socket_address(self.tcp),
            drain_timeout = seconds(0.25),
            delayed_close_timeout = seconds(1.0 / 16.0),
            text = version_text(version),
            cluster = if version % 2 == 0 { "tcp_even" } else { "tcp_odd" },
        )
    }
}

fn socket_address(address: SocketAddr) -> String {
    format!(
        "{{ socket_address: {{ address: {}, port_value: {} }} }}",
        address.ip(),
        address.port()
    )
}
