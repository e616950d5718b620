//! One place with its files and its addresses, and the processes that serve there one after the
//! other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::program::{Program, program};
use crate::support::upstream::Upstream;
use crate::support::{H1, within, yaml};

/// How many sites there are in this process.
static SITES: AtomicU8 = AtomicU8::new(1);

/// Files, addresses and upstreams.
pub(super) struct Site {
    folder: TempDir,
    ip: IpAddr,
    reuse_port: bool,
    pub(super) upstream: Upstream,
}

impl Site {
    /// On a loopback address of its own, so that no other test has its fixed ports.
    pub(super) async fn new() -> Self {
        let pid = std::process::id();
        let [.., high, low] = pid.to_be_bytes();
        let site = SITES.fetch_add(1, Ordering::Relaxed);
        Self {
            folder: TempDir::new().expect("a folder for the files"),
            ip: IpAddr::V4(Ipv4Addr::new(127, high % 127 + 1, low, site)),
            reuse_port: false,
            upstream: Upstream::start().await,
        }
    }

    /// Its listener has a socket for each worker.
    pub(super) fn with_reuse_port(self) -> Self {
        Self {
            reuse_port: true,
            ..self
        }
    }

    pub(super) fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 9901)
    }

    pub(super) fn http(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 8080)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn meeting(&self) -> PathBuf {
        self.file("hot_restart.sock")
    }

    /// The listener of the site, whose `/version` says this.
    pub(super) fn listener(&self, version: u32) -> String {
        let reuse_port = match self.reuse_port {
            true => "enable_reuse_port: true",
            false => "",
        };
        let listener = yaml::Http::new("http", version).with(reuse_port).yaml();
        let any = "address: 127.0.0.1, port_value: 0";
        let here = format!("address: {}, port_value: 8080", self.ip);
        assert!(listener.contains(any));
        listener.replace(any, &here)
    }

    /// Writes the listeners of processes to come, and of one that serves.
    pub(super) fn update(&self, version: u32) {
        self.write(&yaml::discovery(
            &version.to_string(),
            &[self.listener(version)],
        ));
    }

    pub(super) fn write(&self, content: &str) {
        let next = self.file("next.yaml");
        std::fs::write(&next, content).expect("the next LDS file");
        std::fs::rename(&next, self.file("lds.yaml")).expect("the LDS file is replaced");
    }

    /// Starts a process; it has not come far yet.
    pub(super) fn start(&self, flags: &str) -> Program {
        self.start_with(&self.file("lds.yaml"), flags)
    }

    /// The same with another file of listeners.
    fn start_with(&self, lds: &Path, flags: &str) -> Program {
        let mut bootstrap = lds.to_owned();
        bootstrap.set_extension("bootstrap");
        let text = yaml::bootstrap(lds, &self.upstream, "");
        let any = "admin:\n  address: { socket_address: { address: 127.0.0.1, port_value: 0 } }";
        assert!(text.contains(any), "{text}");
        let fixed = format!(
            "admin:\n  address: {{ socket_address: {{ address: {}, port_value: 9901 }} }}",
            self.ip
        );
        std::fs::write(&bootstrap, text.replace(any, &fixed)).expect("the bootstrap");
        let mut command = Command::new(program());
        command
            .arg("-c")
            .arg(&bootstrap)
            .arg("--hot-restart-path")
            .arg(self.meeting())
            .args(flags.split_whitespace())
            .stdin(Stdio::null());
        Program::start(&mut command)
    }

    /// The first process, which serves.
    pub(super) async fn first(&self, flags: &str) -> Program {
        let mut first = self.start(flags);
        first.until("lds: version").await;
        within("an answer", async {
            while TcpStream::connect(self.http()).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        first
    }

    /// A process that has taken over; `before` has noticed.
    pub(super) async fn next(&self, before: &mut Program, flags: &str) -> Program {
        let mut next = self.start(flags);
        next.until("drains").await;
        before.until("has taken over").await;
        next
    }

    /// A process with other listeners than those of the file.
    pub(super) async fn next_with(&self, listeners: &str, flags: &str) -> Program {
        let lds = self.file("other.yaml");
        std::fs::write(&lds, listeners).expect("another LDS file");
        self.start_with(&lds, flags)
    }

    /// A process that has got the sockets and waits for its listeners: they come through a pipe.
    pub(super) async fn next_that_waits(&self, flags: &str) -> Waiting {
        let pipe = self.file("listeners.pipe");
        let made = Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .await
            .expect("mkfifo");
        assert!(made.success());
        let mut process = self.start_with(&pipe, flags);
        process.until("taking over from process").await;
        Waiting { process, pipe }
    }

    /// Connections that have asked, and are not answered yet.
    pub(super) async fn park(&self, count: usize) -> Vec<H1> {
        let mut parked = Vec::new();
        for _ in 0..count {
            let mut client = H1::connect(self.http()).await;
            client.ask("/version").await;
            parked.push(client);
        }
        parked
    }

    /// A connection, and what its listener says.
    pub(super) async fn ask(&self) -> (H1, String) {
        let mut client = H1::connect(self.http()).await;
        let said = client.get("/version").await.ok();
        (client, said)
    }
}

/// A process in the middle of a handover.
pub(super) struct Waiting {
    pub(super) process: Program,
    pipe: PathBuf,
}

impl Waiting {
    /// Now it gets its listeners.
    pub(super) async fn go_on(self, site: &Site, version: u32) -> Program {
        let listeners = yaml::discovery(&version.to_string(), &[site.listener(version)]);
        // Opening it waits for the reader.
        let written = tokio::task::spawn_blocking(move || std::fs::write(&self.pipe, listeners));
        within("the pipe is read", written)
            .await
            .expect("no panic")
            .expect("the pipe");
        self.process
    }
}
