//! What the clients talk to: edge and a WebSocket relay, with a Python upstream behind them, and a
//! server over TLS; all end with the stage.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::process::{ChildStdin, Command};
use tokio::time::{Instant, timeout};

use super::tools;
use rig::{Clusters, Edge, Process, Start, root};

/// The programs of a stage.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) edge: PathBuf,
    pub(super) tls: PathBuf,
    pub(super) relay: PathBuf,
}

impl Programs {
    /// Builds those that are not given.
    pub(super) fn build(
        edge: Option<PathBuf>,
        tls: Option<PathBuf>,
        relay: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let or_build = |given: Option<PathBuf>, package, name, features| match given {
            Some(path) => Ok(path),
            None => rig::build_example(package, name, features),
        };
        Ok(Self {
            edge: edge.map_or_else(|| rig::build_edge("release", ""), Ok)?,
            tls: or_build(tls, "orion-drain", "tls", "tls")?,
            relay: or_build(relay, "proto-drain-http1", "websocket_relay", "")?,
        })
    }
}

/// All that is not a client.
#[derive(Debug)]
pub(super) struct Stage {
    edge: Edge,
    tls: Server,
    relay: Server,
    certificate: PathBuf,
    /// It ends when its standard input does.
    _upstream: (Process, ChildStdin),
    drain_time_s: u64,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn start(
        programs: &Programs,
        python: &Path,
        openssl: &Path,
        drain_time_s: u64,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let upstream =
            Process::start_with_input(Command::new(python).arg("-B").arg(script("upstream.py")))?;
        let ports = first_line(&upstream.0).await.context("the upstream")?;
        let mut ports = ports.split_whitespace().map(str::parse::<u16>);
        let (Some(Ok(http)), Some(Ok(tcp))) = (ports.next(), ports.next()) else {
            return Err(anyhow!("the upstream did not say its ports"));
        };
        let [http, tcp] = [http, tcp].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let flags = format!(
            "--drain-time-s {drain_time_s} --drain-strategy gradual --parent-shutdown-time-s {} --drain-schedule first-quarter",
            drain_time_s * 2
        );
        let edge = Edge::start(Start {
            program: programs.edge.clone(),
            flags: flags.split(' ').map(str::to_owned).collect(),
            hot_restart: false,
            folder: folder.path().to_owned(),
            drain_time: Duration::from_secs(drain_time_s),
            clusters: Clusters {
                http,
                tcp_even: tcp,
                tcp_odd: tcp,
            },
        })
        .await?;
        let [certificate, key] =
            tools::certificate(openssl, folder.path()).map_err(|error| anyhow!(error))?;
        let drain = drain_time_s.to_string();
        let files = [&certificate, &key].map(|file| file.display().to_string());
        let tls = Server::start(&programs.tls, &[&files[0], &files[1], &drain]).await?;
        let relay = Server::start(&programs.relay, &[&http.to_string(), &drain]).await?;
        Ok(Self {
            edge,
            tls,
            relay,
            certificate,
            _upstream: upstream,
            drain_time_s,
            folder,
        })
    }

    pub(super) const fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s)
    }

    /// Replaces edge's listeners, and asks the other servers to end.
    pub(super) async fn update(&self) -> anyhow::Result<Instant> {
        let updated = Instant::now();
        self.tls.process.signal("TERM").await?;
        self.relay.process.signal("TERM").await?;
        self.edge.config.update(2)?;
        Ok(updated)
    }

    /// Edge's last words.
    pub(super) fn tail(&self) -> String {
        self.edge.tail()
    }

    /// Ends everything; the other servers must have ended well by themselves, as they do once they
    /// are drained.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let limit = Duration::from_secs(self.drain_time_s + 10);
        self.edge.stop().await?;
        self.tls.ended(limit).await.context("the server over TLS")?;
        self.relay.ended(limit).await.context("the WebSocket relay")
    }

    /// A URL of edge's.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.edge.config.http)
    }

    pub(super) fn tls_at(&self) -> String {
        self.tls.at.to_string()
    }

    pub(super) fn certificate(&self) -> String {
        self.certificate.display().to_string()
    }

    /// A file of so many bytes, in the stage's own folder.
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
        let mut arguments = self.arguments(name, [self.tls.at.port(), 0]);
        arguments.push(self.certificate());
        arguments
    }

    /// The same for the WebSocket relay.
    pub(super) fn relay_script(&self, name: &str) -> Vec<String> {
        self.arguments(name, [self.relay.at.port(), 0])
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

/// A server that drains at SIGTERM, and ends.
#[derive(Debug)]
struct Server {
    process: Process,
    at: SocketAddr,
}

impl Server {
    /// Starts it on a free port, which is its first argument.
    async fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let process = Process::start(Command::new(program).arg(at.to_string()).args(arguments))?;
        let first = first_line(&process).await;
        first.with_context(|| program.display().to_string())?;
        Ok(Self { process, at })
    }

    async fn ended(mut self, limit: Duration) -> anyhow::Result<()> {
        let status = self.process.end(limit).await?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

fn script(name: &str) -> PathBuf {
    root().join("xtask/lab/interop/src/clients").join(name)
}

/// What a server says when it is ready.
async fn first_line(process: &Process) -> anyhow::Result<String> {
    let first = timeout(Duration::from_secs(30), process.said().until(0, "")).await;
    first
        .context("it said nothing within 30 s")?
        .context("it ended at once")?;
    let first = process.said().lines().into_iter().next();
    Ok(first.context("it said something")?.1)
}
