//! The configurations that are played: listeners in Envoy's words, for any side.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A listener, as far as the scenarios vary it.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) tcp: bool,
    /// Its chains; one without a source takes everybody.
    pub(crate) chains: Vec<Chain>,
    /// The listener's own field: a change of it is not one of filter chains alone.
    pub(crate) buffer: u32,
    pub(crate) drain_timeout: u64,
    pub(crate) delayed_close: u64,
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) max_duration: Option<u64>,
    pub(crate) modify_only: bool,
    pub(crate) direction: Option<&'static str>,
    pub(crate) check_drain_close: bool,
    /// On a Unix socket instead of its port.
    pub(crate) pipe: Option<PathBuf>,
    /// TLS with the certificate in this folder.
    pub(crate) secured: Option<PathBuf>,
    /// `drain_timeout_jitter` in percent.
    pub(crate) jitter: Option<u32>,
    /// Put behind its fields, for what is invalid or unknown.
    pub(crate) more: &'static str,
}

/// A filter chain.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    /// Whom it takes.
    pub(crate) source: Option<Ipv4Addr>,
    /// What its answers call themselves.
    pub(crate) version: u32,
}

pub(crate) const HTTP: u16 = 10_080;
pub(crate) const TCP: u16 = 10_090;
/// Another one, for listeners that move or come later.
pub(crate) const OTHER: u16 = 10_081;
pub(crate) const ADMIN: u16 = 9901;

impl Listener {
    /// An HTTP listener: `drain_timeout` 1 s, `delayed_close_timeout` 0.5 s.
    pub(crate) fn http() -> Self {
        Self {
            name: "ing",
            port: HTTP,
            tcp: false,
            chains: vec![Chain {
                name: "all",
                source: None,
                version: 1,
            }],
            buffer: 1 << 20,
            drain_timeout: 1000,
            delayed_close: 500,
            idle_timeout: None,
            max_duration: None,
            modify_only: false,
            direction: None,
            check_drain_close: false,
            pipe: None,
            secured: None,
            jitter: None,
            more: "",
        }
    }

    /// A listener of the TCP proxy, to an echo.
    pub(crate) fn tcp() -> Self {
        Self {
            name: "tcp",
            port: TCP,
            tcp: true,
            ..Self::http()
        }
    }

    pub(crate) fn named(mut self, name: &'static str, port: u16) -> Self {
        (self.name, self.port) = (name, port);
        self
    }

    /// The same listener in another version: its answers say so, and it is no update of chains alone.
    pub(crate) fn version(mut self, version: u32) -> Self {
        self.buffer = (1 << 20) + version;
        for chain in &mut self.chains {
            chain.version = version;
        }
        self
    }

    pub(crate) const fn timeouts(mut self, drain: u64, delayed_close: u64) -> Self {
        (self.drain_timeout, self.delayed_close) = (drain, delayed_close);
        self
    }

    /// As a `Listener` in YAML, indented as an item of a list; `skew` is added to its drain timeout.
    pub(crate) fn yaml(&self, ip: Ipv4Addr, skew: u64, typed: bool) -> String {
        let mut out = String::from("- ");
        if typed {
            out += "\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  ";
        }
        let address = match &self.pipe {
            Some(path) => format!("{{ pipe: {{ path: {path:?} }} }}"),
            None => socket_address(ip, self.port),
        };
        let mut add = |line: &str| {
            // Writing to a string cannot fail.
            write!(out, "{line}\n  ").ok();
        };
        add(&format!("name: {}", self.name));
        add(&format!("address: {address}"));
        add(&format!("per_connection_buffer_limit_bytes: {}", self.buffer));
        if self.modify_only {
            add("drain_type: MODIFY_ONLY");
        }
        if let Some(direction) = self.direction {
            add(&format!("traffic_direction: {direction}"));
        }
        if !self.more.is_empty() {
            add(self.more);
        }
        if !self.chains.is_empty() {
            add("filter_chains:");
        }
        for chain in &self.chains {
            add(&format!("- name: {}", chain.name));
            if let Some(source) = chain.source {
                add(&format!(
                    "  filter_chain_match: {{ source_prefix_ranges: [{{ address_prefix: {source}, prefix_len: 32 }}] }}"
                ));
            }
            if let Some(folder) = &self.secured {
                add(&format!("  transport_socket: {}", tls(folder)));
            }
            add("  filters:");
            add(&format!(
                "  - {}",
                if self.tcp {
                    self.proxy()
                } else {
                    self.manager(chain, skew)
                }
            ));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    fn proxy(&self) -> String {
        format!(
            r#"{{ name: envoy.filters.network.tcp_proxy, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: tcp, check_drain_close: {} }} }}"#,
            self.check_drain_close
        )
    }

    fn manager(&self, chain: &Chain, skew: u64) -> String {
        let mut options = Vec::new();
        if let Some(idle) = self.idle_timeout {
            options.push(format!("idle_timeout: {}", seconds(idle)));
        }
        if let Some(max) = self.max_duration {
            options.push(format!("max_connection_duration: {}", seconds(max)));
        }
        let drain = seconds(self.drain_timeout + skew);
        let version = chain.version;
        let header =
            format!("response_headers_to_add: [ {{ header: {{ key: x-version, value: '{version}' }} }} ]");
        format!(
            r#"{{ name: envoy.filters.network.http_connection_manager, typed_config: {{
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: ing, codec_type: AUTO, drain_timeout: {drain}, delayed_close_timeout: {close},
      common_http_protocol_options: {{ {options} }},
      upgrade_configs: [ {{ upgrade_type: websocket }} ], http2_protocol_options: {{ allow_connect: true }},
      http_filters: [ {{ name: envoy.filters.http.router, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }} ],
      route_config: {{ name: r, virtual_hosts: [ {{ name: all, domains: ['*'], routes: [
        {{ match: {{ path: /v }}, {header}, direct_response: {{ status: 200, body: {{ inline_string: 'v{version}' }} }} }},
        {{ match: {{ prefix: / }}, {header}, route: {{ cluster: http, timeout: 0s }} }} ] }} ] }} }} }}"#,
            drain = match self.jitter {
                Some(jitter) => format!("{drain}, drain_timeout_jitter: {{ value: {jitter} }}"),
                None => drain,
            },
            close = seconds(self.delayed_close),
            options = options.join(", "),
        )
    }
}

fn tls(folder: &Path) -> String {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    format!(
        "{{ name: tls, typed_config: {{ \"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: \
         {{ alpn_protocols: [h2, http/1.1], tls_certificates: [ {{ certificate_chain: {{ filename: {certificate:?} }}, \
         private_key: {{ filename: {key:?} }} }} ] }} }} }}"
    )
}

pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1000, ms % 1000)
}

pub(crate) fn socket_address(ip: Ipv4Addr, port: u16) -> String {
    format!("{{ socket_address: {{ address: {ip}, port_value: {port} }} }}")
}

/// What the LDS file holds.
pub(crate) fn discovery(listeners: &[Listener], ip: Ipv4Addr, skew: u64) -> String {
    let resources: String = listeners
        .iter()
        .map(|listener| listener.yaml(ip, skew, true))
        .collect();
    if resources.is_empty() {
        return "resources: []\n".to_owned();
    }
    format!("resources:\n{resources}")
}

/// A bootstrap whose listeners come from a file, with the clusters that they route to.
pub(crate) fn bootstrap(ip: Ipv4Addr, lds: &Path, http: SocketAddr, tcp: SocketAddr) -> String {
    format!(
        "node: {{ id: conformance, cluster: conformance }}\nadmin:\n  address: {}\ndynamic_resources:\n  lds_config:\n    path_config_source: {{ path: {lds:?} }}\nstatic_resources:\n  clusters:\n{}",
        socket_address(ip, ADMIN),
        clusters(http, tcp),
    )
}

pub(crate) fn clusters(http: SocketAddr, tcp: SocketAddr) -> String {
    let cluster = |name, address: SocketAddr| {
        let port = address.port();
        let address = socket_address(Ipv4Addr::LOCALHOST, port);
        format!(
            "  - {{ name: {name}, type: STATIC, connect_timeout: 5s, load_assignment: {{ cluster_name: {name}, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {address} }} }} ] }} ] }} }}\n"
        )
    };
    cluster("http", http) + &cluster("tcp", tcp)
}
