//! The files: a bootstrap with two clusters, and discovery responses with listeners on ports that the system chooses.

use std::net::SocketAddr;
use std::path::Path;

use super::upstream::Upstream;

/// A listener that speaks HTTP: `/version` is answered with `v<version>`, all else goes to the upstream.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    name: &'static str,
    version: u32,
    ip: &'static str,
    port: u16,
    more: &'static str,
    chain: String,
    codec_more: &'static str,
}

impl Http {
    pub(crate) fn new(name: &'static str, version: u32) -> Self {
        Self {
            name,
            version,
            ip: "127.0.0.1",
            port: 0,
            more: "",
            chain: String::new(),
            codec_more: "",
        }
    }

    /// Another address than a free port of 127.0.0.1.
    pub(crate) fn at(mut self, ip: &'static str, port: u16) -> Self {
        (self.ip, self.port) = (ip, port);
        self
    }

    /// One more field of the listener.
    pub(crate) fn with(mut self, field: &'static str) -> Self {
        self.more = field;
        self
    }

    /// One more field of its filter chain, in one line.
    #[cfg(feature = "tls")]
    pub(crate) fn with_chain(mut self, field: &str) -> Self {
        self.chain = format!("{field}\n    ");
        self
    }

    /// One more field of its connection manager.
    pub(crate) fn with_http(mut self, field: &'static str) -> Self {
        self.codec_more = field;
        self
    }

    /// The resource. What differs between versions belongs to the listener as a whole, so that it is replaced as a whole.
    pub(crate) fn yaml(self) -> String {
        let Self {
            name,
            version,
            ip,
            port,
            more,
            chain,
            codec_more,
        } = self;
        format!(
            r#"- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: {name}
  address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }}
  per_connection_buffer_limit_bytes: {buffer}
  {more}
  filter_chains:
  - {chain}filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: {name}
        codec_type: AUTO
        {codec_more}
        drain_timeout: 2s
        delayed_close_timeout: 0.25s
        upgrade_configs: [{{ upgrade_type: websocket }}]
        http_filters:
        - name: envoy.filters.http.router
          typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
        route_config:
          virtual_hosts:
          - name: all
            domains: ['*']
            routes:
            - match: {{ path: /version }}
              direct_response: {{ status: 200, body: {{ inline_string: v{version} }} }}
            - match: {{ prefix: / }}
              route: {{ cluster: http, timeout: 0s }}
"#,
            buffer = 1_048_576 + version,
        )
    }
}

/// A listener that relays bytes to the upstream that sends them back.
pub(crate) fn tcp(name: &str, version: u32) -> String {
    format!(
        r#"- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: {name}
  address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
  per_connection_buffer_limit_bytes: {buffer}
  filter_chains:
  - filters:
    - name: envoy.filters.network.tcp_proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
        stat_prefix: {name}
        cluster: echo
"#,
        buffer = 1_048_576 + version,
    )
}

/// The LDS file.
pub(crate) fn discovery(version: &str, listeners: &[String]) -> String {
    let resources = if listeners.is_empty() { " []" } else { "" };
    format!(
        "version_info: '{version}'\nresources:{resources}\n{}",
        listeners.concat()
    )
}

/// A cluster with these endpoints, as a list item.
pub(crate) fn cluster(name: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints = endpoints
        .iter()
        .map(|at| format!("        - endpoint: {{ address: {} }}\n", address(*at)));
    format!(
        "  - name: {name}\n    type: STATIC\n    {more}\n    load_assignment:\n      cluster_name: {name}\n      \
         endpoints:\n      - lb_endpoints:\n{}",
        endpoints.collect::<String>()
    )
}

pub(crate) fn bootstrap(lds: &Path, upstream: &Upstream, clusters: &str) -> String {
    format!(
        "node: {{ id: test, cluster: test }}\nadmin:\n  address: {}\ndynamic_resources:\n  lds_config:\n    \
         path_config_source: {{ path: {lds:?} }}\nstatic_resources:\n  clusters:\n{}{}{clusters}",
        address(SocketAddr::from(([127, 0, 0, 1], 0))),
        cluster("http", &[upstream.http], ""),
        cluster("echo", &[upstream.echo], ""),
    )
}

fn address(at: SocketAddr) -> String {
    format!(
        "{{ socket_address: {{ address: {}, port_value: {} }} }}",
        at.ip(),
        at.port()
    )
}
