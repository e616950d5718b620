//! One side on the stage: its process on a loopback address of its own, its LDS file, its admin
//! port.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::wire::{Client, Speak};
use super::yaml::{self, ADMIN, Listener};
use super::{Side, World};
use rig::{Process, ask};

/// How a process is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) drain_time: u64,
    pub(crate) immediate: bool,
    pub(crate) listeners: Vec<Listener>,
    /// How many workers; by default two of Envoy's, and as many of edge's as it likes.
    pub(crate) workers: Option<u8>,
    /// Another process may follow, and ends this one so many seconds later.
    pub(crate) parent_shutdown: Option<u64>,
    /// More flags, of the same name on both sides.
    pub(crate) flags: &'static [&'static str],
}

impl Setup {
    pub(crate) fn gradual(drain_time: u64, listeners: impl Into<Vec<Listener>>) -> Self {
        Self {
            drain_time,
            immediate: false,
            listeners: listeners.into(),
            workers: None,
            parent_shutdown: None,
            flags: &[],
        }
    }

    pub(crate) fn immediate(drain_time: u64, listeners: impl Into<Vec<Listener>>) -> Self {
        Self {
            immediate: true,
            ..Self::gradual(drain_time, listeners)
        }
    }
}

fn workers(side: Side, wanted: Option<u8>) -> Vec<String> {
    let number = match side {
        Side::Envoy => wanted.or(Some(2)),
        Side::Compat | Side::Defaults => wanted,
    };
    let flag = |number: u8| vec!["--concurrency".to_owned(), number.to_string()];
    number.map_or_else(Vec::new, flag)
}

/// How processes that follow each other find each other; by default they do not.
fn following(side: Side, folder: &Path, epoch: u32, wanted: bool) -> anyhow::Result<Vec<String>> {
    let text = |path: PathBuf| path.display().to_string();
    let owned = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
    let base = folder.join("base_id");
    Ok(match side {
        Side::Envoy if !wanted => owned(&["--disable-hot-restart"]),
        Side::Envoy if epoch == 0 => {
            owned(&["--use-dynamic-base-id", "--base-id-path", &text(base)])
        }
        Side::Envoy => {
            let id = std::fs::read_to_string(base).context("the base id of the process before")?;
            owned(&[
                "--base-id",
                id.trim(),
                "--restart-epoch",
                &epoch.to_string(),
            ])
        }
        _ if wanted => owned(&["--hot-restart-path", &text(folder.join("restart"))]),
        _ => vec![],
    })
}

impl Drop for Play {
    fn drop(&mut self) {
        if let Some(process) = self.process.id() {
            self.world.stalls.look_at(process);
        }
    }
}

/// Starts a process, the first one at its place or one that follows it.
fn spawn(
    world: &World,
    (side, ip, folder): (Side, Ipv4Addr, &Path),
    setup: &Setup,
    epoch: u32,
) -> anyhow::Result<Process> {
    let file = |name: &str| match epoch {
        0 => folder.join(name),
        epoch => folder.join(format!("{epoch}.{name}")),
    };
    let lds = file("lds.yaml");
    std::fs::write(
        &lds,
        yaml::discovery(&setup.listeners, ip, world.skew(side)),
    )?;
    let bootstrap = file("bootstrap.yaml");
    std::fs::write(&bootstrap, yaml::bootstrap(ip, &lds, world.http, world.tcp))?;
    let strategy = if setup.immediate {
        "immediate"
    } else {
        "gradual"
    };
    let parent_shutdown = setup.parent_shutdown.unwrap_or(setup.drain_time + 60);
    let mut command = Command::new(world.program(side));
    command
        .arg("-c")
        .arg(&bootstrap)
        .args(["--drain-time-s", &setup.drain_time.to_string()])
        .args(["--drain-strategy", strategy])
        .args(["--parent-shutdown-time-s", &parent_shutdown.to_string()])
        .args(side.flags())
        .args(following(
            side,
            folder,
            epoch,
            setup.parent_shutdown.is_some(),
        )?)
        .args(workers(side, setup.workers))
        .args(setup.flags);
    Process::start(&mut command).with_context(|| side.name())
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) side: Side,
    pub(crate) ip: Ipv4Addr,
    world: Arc<World>,
    pub(crate) folder: PathBuf,
    process: Process,
}

impl Play {
    /// Starts a side and waits until it is ready.
    pub(crate) async fn start(
        world: &Arc<World>,
        side: Side,
        setup: &Setup,
    ) -> anyhow::Result<Self> {
        let (ip, folder) = world.place()?;
        let process = spawn(world, (side, ip, &folder), setup, 0)?;
        let mut play = Self {
            side,
            ip,
            world: Arc::clone(world),
            folder,
            process,
        };
        let on_ports = setup
            .listeners
            .iter()
            .filter(|listener| listener.pipe.is_none());
        let addresses: Vec<u16> = on_ports.map(|listener| listener.port).collect();
        match play.until_ready(&addresses).await {
            Ok(()) => Ok(play),
            Err(error) => Err(error.context(play.tail())),
        }
    }

    /// Starts the process that follows, with these listeners; from now on it is the one that is
    /// played with. The one before.
    pub(crate) fn replace(&mut self, setup: &Setup) -> anyhow::Result<Process> {
        let next = spawn(&self.world, (self.side, self.ip, &self.folder), setup, 1)?;
        Ok(std::mem::replace(&mut self.process, next))
    }

    async fn until_ready(&mut self, ports: &[u16]) -> anyhow::Result<()> {
        let limit = Instant::now() + Duration::from_secs(20);
        while Instant::now() < limit {
            if let Some(status) = self.process.ended() {
                bail!("it ended before it was ready: {status}");
            }
            if self
                .admin("GET", "/ready")
                .await
                .is_ok_and(|(status, _)| status == 200)
            {
                let mut open = 0;
                for port in ports {
                    open += usize::from(TcpStream::connect((self.ip, *port)).await.is_ok());
                }
                if open == ports.len() {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("it was not ready within 20 s")
    }

    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }

    pub(crate) async fn open(&self, port: u16, speak: Speak) -> anyhow::Result<Arc<Client>> {
        let client = Client::open(self.address(port), speak).await;
        Ok(Arc::new(
            client.with_context(|| format!("connecting to port {port}"))?,
        ))
    }

    /// Puts other listeners into the LDS file by rename; the moment of it.
    pub(crate) fn update(&self, listeners: &[Listener]) -> anyhow::Result<Instant> {
        self.update_text(&yaml::discovery(
            listeners,
            self.ip,
            self.world.skew(self.side),
        ))
    }

    /// The same with any text.
    pub(crate) fn update_text(&self, text: &str) -> anyhow::Result<Instant> {
        let next = self.folder.join("next.yaml");
        std::fs::write(&next, text)?;
        let now = Instant::now();
        std::fs::rename(&next, self.folder.join("lds.yaml"))?;
        Ok(now)
    }

    /// One request to the admin port: status and body.
    pub(crate) async fn admin(&self, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
        ask(self.address(ADMIN), method, path).await
    }

    /// A POST to the admin port, and when it was sent.
    pub(crate) async fn post(&self, path: &str) -> anyhow::Result<Instant> {
        let now = Instant::now();
        let (status, body) = self.admin("POST", path).await?;
        if status != 200 {
            bail!("POST {path}: {status} {body}");
        }
        Ok(now)
    }

    /// All numbers of `/stats`.
    pub(crate) async fn stats(&self) -> anyhow::Result<BTreeMap<String, i64>> {
        let (_, text) = self.admin("GET", "/stats").await?;
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let numbers =
            lines.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)));
        Ok(numbers.collect())
    }

    /// One number of `/stats`; -1 if there is none.
    pub(crate) async fn stat(&self, name: &str) -> i64 {
        let stats = self.stats().await.unwrap_or_default();
        stats.get(name).copied().unwrap_or(-1)
    }

    /// Waits until a number of `/stats` has a value, or for the limit; the last one seen.
    pub(crate) async fn stat_comes_to(&self, name: &str, wanted: i64, limit: Duration) -> i64 {
        let limit = Instant::now() + limit;
        loop {
            let value = self.stat(name).await;
            if value == wanted || Instant::now() > limit {
                return value;
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// Sends a signal to the process.
    pub(crate) async fn signal(&self, name: &str) -> anyhow::Result<()> {
        self.process.signal(name).await
    }

    /// How the process ended, and when.
    pub(crate) async fn exit(&mut self, limit: Duration) -> Option<(Instant, ExitStatus)> {
        let status = self.process.end(limit).await.ok()?;
        Some((Instant::now(), status))
    }

    /// Whether the process still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// The process's last words.
    pub(crate) fn tail(&self) -> String {
        format!("{} said:\n{}", self.side.name(), self.process.said().tail())
    }
}
