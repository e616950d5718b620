//! The proxy's configuration: a bootstrap with clusters, and the LDS file that each update
//! replaces.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::yaml;

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
        std::fs::write(self.bootstrap(), self.bootstrap_yaml(clusters))
            .context("writing the bootstrap")?;
        self.update(version)
    }

    /// Puts a version of the listeners in the place of the last one, by atomic rename.
    pub fn update(&self, version: u32) -> anyhow::Result<()> {
        let next = self.folder.join("next.yaml");
        std::fs::write(&next, self.listeners_yaml(version))
            .context("writing the next listeners")?;
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
        .map(|(name, at)| yaml::cluster(name, &[at], ""));
        yaml::bootstrap("demo", self.admin, &self.lds(), &clusters)
    }

    /// Two listeners. What differs between versions is what makes a new version: the buffer limit
    /// is the listener's own, so that the update is not one of filter chains alone.
    fn listeners_yaml(&self, version: u32) -> String {
        let buffer = [format!(
            "per_connection_buffer_limit_bytes: {}",
            1_048_576 + version
        )];
        let seconds = |part: f64| format!("{:.3}s", self.drain_time.as_secs_f64() * part);
        let header = yaml::response_header(VERSION_HEADER, &version.to_string());
        let manager = yaml::manager(
            "demo",
            &[
                format!("drain_timeout: {}", seconds(0.25)),
                format!("delayed_close_timeout: {}", seconds(1.0 / 16.0)),
            ],
            &[
                yaml::answer("/version", &header, &version_text(version)),
                yaml::forward("http", &header),
            ],
        );
        let cluster = if version % 2 == 0 {
            "tcp_even"
        } else {
            "tcp_odd"
        };
        let proxy = yaml::tcp_proxy("demo_tcp", cluster, "");
        let listeners =
            [("http", self.http, manager), ("tcp", self.tcp, proxy)].map(|(name, at, filter)| {
                let chain = yaml::chain(&[], &filter);
                yaml::resource(&yaml::listener(
                    name,
                    &yaml::socket_address(at),
                    &buffer,
                    &[chain],
                ))
            });
        yaml::discovery(Some(&version.to_string()), &listeners)
    }
}
