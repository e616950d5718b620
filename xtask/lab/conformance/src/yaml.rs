//! The configurations that are played: listeners in Envoy's words, for any side.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rig::yaml;

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
    /// One more field of its connection manager.
    pub(crate) http: &'static str,
    /// One more of its `common_http_protocol_options`.
    pub(crate) stream: &'static str,
    /// The `timeout` of the route to the upstream.
    pub(crate) route: &'static str,
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
            http: "",
            stream: "",
            route: "0s",
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

    /// The same listener in another version: its answers say so, and it is no update of chains
    /// alone.
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

    /// As a `Listener` in YAML, an item of a list; `skew` is added to its drain timeout.
    pub(crate) fn yaml(&self, ip: Ipv4Addr, skew: u64, typed: bool) -> String {
        let address = match &self.pipe {
            Some(path) => format!("{{ pipe: {{ path: {path:?} }} }}"),
            None => yaml::socket_address((ip, self.port).into()),
        };
        let mut fields = vec![format!(
            "per_connection_buffer_limit_bytes: {}",
            self.buffer
        )];
        if self.modify_only {
            fields.push("drain_type: MODIFY_ONLY".to_owned());
        }
        if let Some(direction) = self.direction {
            fields.push(format!("traffic_direction: {direction}"));
        }
        if !self.more.is_empty() {
            fields.push(self.more.to_owned());
        }
        let chains: Vec<_> = self
            .chains
            .iter()
            .map(|chain| self.chain(chain, skew))
            .collect();
        let listener = yaml::listener(self.name, &address, &fields, &chains);
        if typed {
            yaml::resource(&listener)
        } else {
            listener
        }
    }

    fn chain(&self, chain: &Chain, skew: u64) -> String {
        let mut fields = vec![format!("name: {}", chain.name)];
        if let Some(source) = chain.source {
            fields.push(format!(
                "filter_chain_match: {{ source_prefix_ranges: [{{ address_prefix: {source}, prefix_len: 32 }}] }}"
            ));
        }
        fields.extend(self.secured.as_deref().map(yaml::transport_socket));
        let filter = if self.tcp {
            let check = format!(", check_drain_close: {}", self.check_drain_close);
            yaml::tcp_proxy("tcp", "tcp", &check)
        } else {
            self.manager(chain, skew)
        };
        yaml::chain(&fields, &filter)
    }

    fn manager(&self, chain: &Chain, skew: u64) -> String {
        let mut options = Vec::new();
        if let Some(idle) = self.idle_timeout {
            options.push(format!("idle_timeout: {}", seconds(idle)));
        }
        if let Some(max) = self.max_duration {
            options.push(format!("max_connection_duration: {}", seconds(max)));
        }
        options.extend(Some(self.stream.to_owned()).filter(|field| !field.is_empty()));
        let mut fields = vec![format!(
            "drain_timeout: {}",
            seconds(self.drain_timeout + skew)
        )];
        if let Some(jitter) = self.jitter {
            fields.push(format!("drain_timeout_jitter: {{ value: {jitter} }}"));
        }
        fields.extend([
            format!("delayed_close_timeout: {}", seconds(self.delayed_close)),
            format!("common_http_protocol_options: {{ {} }}", options.join(", ")),
            "http2_protocol_options: { allow_connect: true }".to_owned(),
        ]);
        fields.extend(Some(self.http.to_owned()).filter(|field| !field.is_empty()));
        let version = chain.version;
        let header = yaml::response_header("x-version", &version.to_string());
        let routes = [
            yaml::answer("/v", &header, &format!("v{version}")),
            yaml::forward("http", &header)
                .replace("timeout: 0s", &format!("timeout: {}", self.route)),
        ];
        yaml::manager("ing", &fields, &routes)
    }
}

pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1000, ms % 1000)
}

/// What the LDS file holds.
pub(crate) fn discovery(listeners: &[Listener], ip: Ipv4Addr, skew: u64) -> String {
    let resources: Vec<_> = listeners
        .iter()
        .map(|listener| listener.yaml(ip, skew, true))
        .collect();
    yaml::discovery(None, &resources)
}

/// A bootstrap whose listeners come from a file, with the clusters that they route to.
pub(crate) fn bootstrap(ip: Ipv4Addr, lds: &Path, http: SocketAddr, tcp: SocketAddr) -> String {
    yaml::bootstrap("conformance", (ip, ADMIN).into(), lds, &clusters(http, tcp))
}

pub(crate) fn clusters(http: SocketAddr, tcp: SocketAddr) -> [String; 2] {
    [
        yaml::cluster("http", &[http], ""),
        yaml::cluster("tcp", &[tcp], ""),
    ]
}
