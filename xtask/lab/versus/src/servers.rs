//! The servers of `peers`: the same application behind each, ended by SIGTERM.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rig::Process;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::programs::Programs;

/// What a server is called on the page, and by its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    kind: &'static str,
}

const fn server(name: &'static str, kind: &'static str) -> Server {
    Server { name, kind }
}

const SERVERS: [Server; 8] = [
    server("ours under axum", "ours-axum"),
    server("ours under tonic", "ours-tonic"),
    server("axum::serve", "axum"),
    server("axum-server", "axum-server"),
    server("tonic", "tonic"),
    server("hyper-util", "hyper-util"),
    server("tokio-graceful", "tokio-graceful"),
    server("pingora-core", PINGORA),
];

/// A program of its own.
const PINGORA: &str = "pingora";

/// Those that can be compared here.
pub(crate) fn present(programs: &Programs) -> Vec<Server> {
    let mut servers = SERVERS.to_vec();
    servers.retain(|server| server.program(programs).is_some());
    servers
}

impl Server {
    fn program(self, programs: &Programs) -> Option<&Path> {
        let program = match self.kind {
            PINGORA => &programs.pingora,
            _ => &programs.server,
        };
        program.as_deref()
    }
}

/// One that runs; it ends with this value.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Instance {
    /// Starts a server, and waits until it accepts. `lead`: how long ours goes on accepting after
    /// SIGTERM.
    pub(crate) async fn start(
        programs: &Programs,
        server: Server,
        limit: Duration,
        lead: Duration,
    ) -> anyhow::Result<Self> {
        let [address] = rig::free_ports()?;
        let program = server.program(programs);
        let mut command = Command::new(program.context("it is not built")?);
        command
            .args([server.kind, &address.to_string()])
            .args([limit, lead].map(|time| time.as_secs().to_string()));
        let mut process = Process::start(&mut command)?;
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = process.ended() {
                bail!("{} ended: {status}: {}", server.name, process.said().tail());
            }
            if Instant::now() > patience {
                bail!("{} does not accept", server.name);
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { address, process })
    }
}
