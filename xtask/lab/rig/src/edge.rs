//! The proxy as a process: started on free ports, asked over its admin port, and ended by its
//! handle.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::admin::ask;
use crate::config::{Clusters, Config};
use crate::process::Process;

/// What the new process says when the old one has stopped accepting.
const TAKEN_OVER: &str = " drains";

/// How the proxy is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// edge, or another proxy that takes the same flags.
    pub program: PathBuf,
    /// After its configuration.
    pub flags: Vec<String>,
    /// Whether processes are to follow each other.
    pub hot_restart: bool,
    /// Where its files are put.
    pub folder: PathBuf,
    /// From which the timeouts of its listeners are taken.
    pub drain_time: Duration,
    /// Behind it.
    pub clusters: Clusters,
}

/// How long a process may take for anything: a machine under load has all the time it can need.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running proxy.
#[derive(Debug)]
pub struct Edge {
    start: Start,
    process: Process,
    /// The processes before it.
    replaced: Vec<Process>,
    /// Where it listens, and how it is updated.
    pub config: Config,
}

impl Edge {
    /// Starts the proxy and waits until it is ready.
    pub async fn start(start: Start) -> anyhow::Result<Self> {
        // A free port may be taken by somebody else before the proxy binds it: then try others.
        let mut attempt = Self::try_start(start.clone()).await;
        for _ in 0..2 {
            if attempt.is_ok() {
                break;
            }
            attempt = Self::try_start(start.clone()).await;
        }
        attempt
    }

    async fn try_start(start: Start) -> anyhow::Result<Self> {
        let [admin, http, tcp] = free_ports()?;
        let config = Config {
            folder: start.folder.clone(),
            admin,
            http,
            tcp,
            drain_time: start.drain_time,
            process: 1,
        };
        config.write(&start.clusters, 1)?;
        let process = Process::start(&mut command(&start, &config))?;
        let mut edge = Self {
            start,
            process,
            replaced: Vec::new(),
            config,
        };
        match edge.until_ready().await {
            Ok(()) => Ok(edge),
            Err(error) => Err(error.context(format!("the proxy said:\n{}", edge.tail()))),
        }
    }

    /// Starts the next process, with this version of the listeners, and waits until it has taken
    /// over.
    pub async fn restart(&mut self, version: u32) -> anyhow::Result<()> {
        self.config.process += 1;
        self.config.write(&self.start.clusters, version)?;
        let next = Process::start(&mut command(&self.start, &self.config))?;
        self.replaced
            .push(std::mem::replace(&mut self.process, next));
        let limit = Instant::now() + PATIENCE;
        while self.process.said().count(TAKEN_OVER) == 0 {
            if let Some(status) = self.process.ended() {
                bail!("the new process ended before it had taken over: {status}");
            }
            ensure!(
                Instant::now() < limit,
                "the new process has not taken over within {PATIENCE:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits a while for the processes before this one; how many are still there, or failed.
    pub async fn still_there(&mut self) -> usize {
        let limit = Instant::now() + PATIENCE / 2;
        let mut left = 0;
        for process in &mut self.replaced {
            let ended = process
                .end(limit.saturating_duration_since(Instant::now()))
                .await;
            left += usize::from(!ended.is_ok_and(|status| status.success()));
        }
        left
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            if let Some(status) = self.process.ended() {
                bail!("the proxy ended before it was ready: {status}");
            }
            let ready = self
                .admin("GET", "/ready")
                .await
                .is_ok_and(|body| body.trim() == "LIVE");
            if ready
                && TcpStream::connect(self.config.http).await.is_ok()
                && TcpStream::connect(self.config.tcp).await.is_ok()
            {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("the proxy was not ready within {PATIENCE:?}")
    }

    /// Asks the admin port; the body of a 200.
    pub async fn admin(&self, method: &str, path: &str) -> anyhow::Result<String> {
        match ask(self.config.admin, method, path).await? {
            (200, body) => Ok(body),
            (status, _) => bail!("{method} {path}: {status}"),
        }
    }

    /// The last words of the process, and of the one before.
    pub fn tail(&self) -> String {
        let before = self.replaced.last().map(|process| process.said().tail());
        before.unwrap_or_default() + &self.process.said().tail()
    }

    /// Whether the process has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Ends the process: asks first, then insists.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // An error here is the usual: the proxy may be gone before it has answered.
        let asked = self.admin("POST", "/quitquitquit").await;
        if self.process.end(Duration::from_secs(3)).await.is_err() {
            self.process.kill().await;
            asked.context("asking the proxy to quit")?;
        }
        Ok(())
    }
}

fn command(start: &Start, config: &Config) -> Command {
    let mut command = Command::new(&start.program);
    command.arg("-c").arg(config.bootstrap()).args(&start.flags);
    if start.hot_restart {
        command.arg("--hot-restart-path").arg(config.meeting());
    }
    command
}

/// Ports that were free a moment ago.
pub fn free_ports<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    // All are bound until the last is known, so that they differ.
    let mut bound = Vec::new();
    for _ in 0..N {
        bound.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?);
    }
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&bound) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}
