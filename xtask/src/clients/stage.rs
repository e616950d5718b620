//! What the clients talk to: edge with a Python upstream behind it, and the TLS example; all end with the stage.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::tools;
use crate::demo::{self, Edge, Upstreams};
use crate::root;

pub(super) fn build_edge() -> anyhow::Result<PathBuf> {
    demo::build_example("edge", "yaml")
}

pub(super) fn build_tls() -> anyhow::Result<PathBuf> {
    demo::build_example("tls", "tls")
}

/// All that is not a client.
#[derive(Debug)]
pub(super) struct Stage {
    edge: Edge,
    tls: Child,
    tls_at: SocketAddr,
    certificate: PathBuf,
    /// Ends when its standard input does.
    _upstream: Child,
    drain_time_s: u64,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn start(
        edge: &Path,
        tls: &Path,
        python: &Path,
        openssl: &Path,
        drain_time_s: u64,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut upstream = Command::new(python)
            .arg("-B")
            .arg(script("upstream.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the upstream")?;
        let ports = first_line(&mut upstream).await.context("the upstream")?;
        let mut ports = ports.split_whitespace().map(str::parse::<u16>);
        let (Some(Ok(http)), Some(Ok(tcp))) = (ports.next(), ports.next()) else {
            return Err(anyhow!("the upstream did not say its ports"));
        };
        let [http, tcp] = [http, tcp].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let upstreams = Upstreams {
            http,
            tcp_even: tcp,
            tcp_odd: tcp,
            tcp_sides: Arc::default(),
        };
        let options = demo::Options::gradual(drain_time_s);
        let edge = Edge::start(edge, &options, folder.path(), &upstreams).await?;
        let [certificate, key] =
            tools::certificate(openssl, folder.path()).map_err(|error| anyhow!(error))?;
        let tls_at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut tls = Command::new(tls)
            .arg(tls_at.to_string())
            .args([&certificate, &key])
            .arg(drain_time_s.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", tls.display()))?;
        first_line(&mut tls).await.context("the TLS server")?;
        Ok(Self {
            edge,
            tls,
            tls_at,
            certificate,
            _upstream: upstream,
            drain_time_s,
            folder,
        })
    }

    pub(super) const fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s)
    }

    /// Replaces edge's listeners, and asks the TLS server to end.
    pub(super) fn update(&self) -> anyhow::Result<Instant> {
        let pid = self.tls.id().context("the TLS server has ended")?.to_string();
        let asked = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()?;
        ensure!(asked.success(), "kill: {asked}");
        let updated = Instant::now();
        self.edge.config.update(2)?;
        Ok(updated)
    }

    /// Edge's last words.
    pub(super) fn tail(&self) -> String {
        self.edge.tail()
    }

    /// Ends everything; the TLS server must have ended well by itself, as it does once it is drained.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { mut tls, edge, .. } = self;
        let limit = Duration::from_secs(self.drain_time_s + 10);
        let ended = timeout(limit, tls.wait()).await;
        edge.stop().await?;
        let status = ended.context("the TLS server did not end after its drain")??;
        ensure!(status.success(), "the TLS server: {status}");
        Ok(())
    }

    /// A URL of edge's.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.edge.config.http)
    }

    pub(super) fn tls_at(&self) -> String {
        self.tls_at.to_string()
    }

    pub(super) fn certificate(&self) -> String {
        self.certificate.display().to_string()
    }

    /// A file of random size, in the stage's own folder.
    pub(super) fn file(&self, bytes: usize) -> String {
        let path = self.folder.path().join(format!("{bytes}"));
        // A client that finds no file says so.
        std::fs::write(&path, vec![b'x'; bytes]).ok();
        path.display().to_string()
    }

    /// What a script needs: itself, edge's ports and the drain time.
    pub(super) fn script(&self, name: &str) -> Vec<String> {
        let (http, tcp) = (self.edge.config.http.port(), self.edge.config.tcp.port());
        self.arguments(name, [http, tcp])
    }

    /// The same for the TLS server, with its certificate.
    pub(super) fn tls_script(&self, name: &str) -> Vec<String> {
        let mut arguments = self.arguments(name, [self.tls_at.port(), 0]);
        arguments.push(self.certificate());
        arguments
    }

    fn arguments(&self, name: &str, ports: [u16; 2]) -> Vec<String> {
        let mut arguments = Vec::new();
        if name.ends_with(".py") {
            // No compiled files beside the sources.
            arguments.push("-B".to_owned());
        }
        arguments.push(script(name).display().to_string());
        arguments.extend(ports.map(|port| port.to_string()));
        arguments.push(self.drain_time_s.to_string());
        arguments
    }
}

fn script(name: &str) -> PathBuf {
    root().join("xtask/src/clients").join(name)
}

/// What a server says when it is ready.
async fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let output = child.stdout.take().context("its output is piped")?;
    let mut line = String::new();
    let mut output = BufReader::new(output.take(1024));
    let read = timeout(Duration::from_secs(20), output.read_line(&mut line)).await;
    let read = read.context("it said nothing within 20 s")??;
    ensure!(read > 0, "it ended at once");
    // Its later lines are few, and fit into the pipe, which must stay open.
    child.stdout = Some(output.into_inner().into_inner());
    Ok(line)
}
