//! The proxies: each a process (or a row of them) that is started on free ports, changed, replaced
//! and ended.

mod envoys;
mod haproxy;
mod kind;
mod nginx;
mod plain;

pub(crate) use kind::{Has, Kind};
pub(crate) use nginx::stream_module as nginx_stream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rig::Process;
use rig::h1::Wire;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::clients::Doors;
use crate::programs::Programs;
use crate::upstream::Behind;

/// How long a proxy may take to start or to be replaced: a machine under load has all the time it
/// can need.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a proxy plays.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) admin: SocketAddr,
    /// HTTP/1.1; the same as `http2` where a proxy tells them apart by the first bytes.
    pub(crate) http1: SocketAddr,
    pub(crate) http2: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) behind: Behind,
    pub(crate) drain_time: Duration,
}

/// A running proxy. Its processes end with this value.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    programs: Programs,
    process: Process,
    /// Those that were replaced.
    earlier: Vec<Process>,
    version: u32,
    /// How many processes there were before.
    epoch: u32,
}

impl Proxy {
    /// Starts it in an empty folder, and waits until it answers.
    pub(crate) async fn start(
        kind: Kind,
        programs: &Programs,
        folder: &Path,
        behind: Behind,
        drain_time: Duration,
    ) -> anyhow::Result<Self> {
        let [admin, http1, http2, tcp, tls] = rig::free_ports()?;
        let http2 = if kind == Kind::Nginx { http2 } else { http1 };
        programs.certificate(folder)?;
        let place = Place {
            folder: folder.to_owned(),
            admin,
            http1,
            http2,
            tcp,
            tls,
            behind,
            drain_time,
        };
        write(kind, &place, 1, 0)?;
        let mut command = command(kind, programs, &place, 1, 0)?;
        let process = Process::start(&mut command)?;
        let mut proxy = Self {
            kind,
            place,
            programs: programs.clone(),
            process,
            earlier: Vec::new(),
            version: 1,
            epoch: 0,
        };
        let ready = proxy.until_version(1).await;
        ready.with_context(|| format!("{} said:\n{}", kind.name(), proxy.process.said().tail()))?;
        Ok(proxy)
    }

    /// Asks for the next version of the configuration; returns when it has been asked for.
    pub(crate) async fn change(&mut self) -> anyhow::Result<u32> {
        self.version += 1;
        write(self.kind, &self.place, self.version, self.epoch)?;
        match self.kind {
            // The file of listeners is watched.
            Kind::Edge | Kind::Envoy => {}
            // Its master replaces the worker.
            Kind::Haproxy => self.signal("USR2")?,
            Kind::Nginx | Kind::Rebind | Kind::Broken => self.signal("HUP")?,
        }
        Ok(self.version)
    }

    /// Replaces the process, or the binary, by this proxy's own means; returns when that has been
    /// asked for.
    pub(crate) async fn replace(&mut self) -> anyhow::Result<u32> {
        self.version += 1;
        self.epoch += 1;
        write(self.kind, &self.place, self.version, self.epoch)?;
        match self.kind {
            Kind::Haproxy => self.signal("USR2")?,
            Kind::Nginx => nginx::upgrade(&self.place).await?,
            Kind::Edge | Kind::Envoy | Kind::Rebind | Kind::Broken => {
                let mut command = command(
                    self.kind,
                    &self.programs,
                    &self.place,
                    self.version,
                    self.epoch,
                )?;
                let next = Process::start(&mut command)?;
                self.earlier
                    .push(std::mem::replace(&mut self.process, next));
                if matches!(self.kind, Kind::Rebind | Kind::Broken) {
                    // It listens beside the one before, which is then ended.
                    let said = self.process.said().until(0, "serving");
                    timeout(PATIENCE, said).await?.context("it ended")?;
                    if let Some(before) = self.earlier.last() {
                        signal(before.id(), "TERM")?;
                    }
                }
            }
        }
        Ok(self.version)
    }

    /// Waits until a new connection is answered by this version or a later one.
    pub(crate) async fn until_version(&mut self, version: u32) -> anyhow::Result<()> {
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            if self.kind != Kind::Nginx {
                if let Some(status) = self.process.ended() {
                    bail!("it ended before it answered: {status}");
                }
            }
            let asked = timeout(Duration::from_secs(2), ask_version(self.place.http1)).await;
            if asked.is_ok_and(|seen| seen.is_ok_and(|seen| seen >= version)) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("version {version} did not answer within {PATIENCE:?}")
    }

    /// Where clients connect to.
    pub(crate) fn doors(&self) -> Doors {
        Doors {
            http1: self.place.http1,
            http2: Some(self.place.http2),
            tcp: self.kind.has(Has::Tcp).then_some(self.place.tcp),
            drain_time: self.place.drain_time,
        }
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let process = match self.kind {
            Kind::Nginx => nginx::master(&self.place),
            _ => self.process.id(),
        };
        signal(process, name)
    }

    /// Ends all its processes at once.
    pub(crate) async fn stop(mut self) {
        // Masters first, so that they start nothing any more; what has no parent any more is ours
        // (see `tree`).
        self.process.kill().await;
        for process in &mut self.earlier {
            process.kill().await;
        }
        crate::tree::end_children().await;
    }
}

/// Sends a signal.
pub(crate) fn signal(process: Option<u32>, name: &str) -> anyhow::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match name {
        "USR2" => Signal::USR2,
        "HUP" => Signal::HUP,
        "QUIT" => Signal::QUIT,
        "WINCH" => Signal::WINCH,
        "KILL" => Signal::KILL,
        _ => Signal::TERM,
    };
    let process = process.and_then(|id| Pid::from_raw(id.try_into().ok()?));
    kill_process(process.context("the process has ended")?, signal)?;
    Ok(())
}

fn write(kind: Kind, place: &Place, version: u32, epoch: u32) -> anyhow::Result<()> {
    match kind {
        Kind::Edge | Kind::Envoy => envoys::write(place, version, epoch),
        Kind::Haproxy => haproxy::write(place, version),
        Kind::Nginx => nginx::write(place, version),
        Kind::Rebind | Kind::Broken => Ok(()),
    }
}

fn command(
    kind: Kind,
    programs: &Programs,
    place: &Place,
    version: u32,
    epoch: u32,
) -> anyhow::Result<Command> {
    let program = programs
        .of(kind)
        .with_context(|| format!("{} is absent", kind.name()))?;
    let mut command = Command::new(program);
    match kind {
        Kind::Edge => envoys::edge(&mut command, place, epoch),
        Kind::Envoy => envoys::envoy(&mut command, place, epoch)?,
        Kind::Haproxy => haproxy::flags(&mut command, place),
        Kind::Nginx => nginx::flags(&mut command, place),
        Kind::Rebind => plain::flags(&mut command, place, version, "graceful"),
        Kind::Broken => plain::flags(&mut command, place, version, "dropped"),
    }
    Ok(command)
}

/// The version that a new connection is answered by.
async fn ask_version(at: SocketAddr) -> anyhow::Result<u32> {
    let mut wire = Wire::new(TcpStream::connect(at).await?);
    let ask = "GET /version HTTP/1.1\r\nhost: versus\r\nconnection: close\r\n\r\n";
    wire.stream.write_all(ask.as_bytes()).await?;
    let head = wire.head().await.map_err(std::io::Error::from)?;
    ensure!(head.status() == 200, "{}", head.start);
    let version = head
        .header(rig::VERSION_HEADER)
        .context("it names no version")?;
    Ok(version.parse()?)
}
