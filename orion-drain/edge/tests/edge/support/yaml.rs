//! The files: a bootstrap with two clusters, and discovery responses with listeners on ports that
//! the system chooses.

use std::net::SocketAddr;
use std::path::Path;

use rig::yaml;

use super::upstream::Upstream;

/// A listener that speaks HTTP: `/version` is answered with `v<version>`, all else goes to the
/// upstream.
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
        self.chain = field.to_owned();
        self
    }

    /// One more field of its connection manager.
    pub(crate) fn with_http(mut self, field: &'static str) -> Self {
        self.codec_more = field;
        self
    }

    /// The resource. What differs between versions belongs to the listener as a whole, so that it
    /// is replaced as a whole.
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
        let at = format!("{{ socket_address: {{ address: {ip}, port_value: {port} }} }}");
        let mut fields = vec![buffer(version)];
        fields.extend(Some(more.to_owned()).filter(|more| !more.is_empty()));
        let mut options: Vec<_> = Some(codec_more.to_owned())
            .filter(|more| !more.is_empty())
            .into_iter()
            .collect();
        options.extend([
            "drain_timeout: 2s".to_owned(),
            "delayed_close_timeout: 0.25s".to_owned(),
        ]);
        let routes = [
            yaml::answer("/version", "", &format!("v{version}")),
            yaml::forward("http", ""),
        ];
        let chain: Vec<_> = Some(chain)
            .filter(|field| !field.is_empty())
            .into_iter()
            .collect();
        let chain = yaml::chain(&chain, &yaml::manager(name, &options, &routes));
        yaml::resource(&yaml::listener(name, &at, &fields, &[chain]))
    }
}

/// What differs between versions belongs to the listener as a whole, so that it is replaced as a
/// whole.
fn buffer(version: u32) -> String {
    format!("per_connection_buffer_limit_bytes: {}", 1_048_576 + version)
}

/// A listener that relays bytes to the upstream that sends them back.
pub(crate) fn tcp(name: &str, version: u32) -> String {
    tcp_with(name, version, "")
}

/// The same with more fields of its proxy, each behind a comma.
pub(crate) fn tcp_with(name: &str, version: u32, more: &str) -> String {
    let chain = yaml::chain(&[], &yaml::tcp_proxy(name, "echo", more));
    let at = yaml::socket_address(SocketAddr::from(([127, 0, 0, 1], 0)));
    yaml::resource(&yaml::listener(name, &at, &[buffer(version)], &[chain]))
}

/// The LDS file.
pub(crate) fn discovery(version: &str, listeners: &[String]) -> String {
    yaml::discovery(Some(version), listeners)
}

/// A cluster with these endpoints, as a list item; `more` is one more field.
pub(crate) fn cluster(name: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let more = Some(format!("{more}, ")).filter(|_| !more.is_empty());
    yaml::cluster(name, endpoints, &more.unwrap_or_default())
}

pub(crate) fn bootstrap(lds: &Path, upstream: &Upstream, clusters: &str) -> String {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let own = [
        cluster("http", &[upstream.http], ""),
        cluster("echo", &[upstream.echo], ""),
        clusters.to_owned(),
    ];
    yaml::bootstrap("test", any, lds, &own)
}
