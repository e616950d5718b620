//! An example as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rig::Process;
use tokio::net::TcpStream;
use tokio::process::Command;

/// Waits for what must happen soon; a machine under load has all the time that it can need.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

pub(crate) struct Example {
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) to: SocketAddr,
}

/// How many file descriptors an example may have open.
const FILES: usize = 40;

/// Cargo builds examples beside the tests, unless it is asked for this test alone.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let folder = test.parent().and_then(|deps| deps.parent());
    let folder = folder.expect("it is in target/PROFILE/deps");
    let binary = folder.join("examples").join(name);
    if !binary.exists() {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args(["build", "-p", "orion-drain", "--examples"]);
        if cfg!(feature = "tls") {
            cargo.args(["--features", "tls"]);
        }
        assert!(
            cargo.status().expect("cargo runs").success(),
            "{name} does not compile"
        );
    }
    binary
}

impl Example {
    /// Starts an example that may have few files open, has more clients than that, and serves again
    /// when they are gone.
    pub(crate) async fn start_short_of_files(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {FILES}; exec \"$0\" \"$@\"")]);
        command.arg(binary(name)).args(arguments);
        let process = Process::start(&mut command).expect("it starts");
        let to = said(&process, "listening on ").await;
        let example = Self { process, to };
        example.is_exhausted().await;
        example
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        within("a connection", TcpStream::connect(self.to))
            .await
            .expect("it listens")
    }

    async fn is_exhausted(&self) {
        let mut held = Vec::new();
        for _ in 0..FILES * 2 {
            held.push(self.connect().await);
        }
        let files = format!("/proc/{}/fd", self.process.id().expect("it runs"));
        let open = || std::fs::read_dir(&files).expect("it runs").count();
        within("the lack of files", until(|| open() >= FILES)).await;
        drop(held);
        // An accept loop that ended by the error never takes the connections out of its queue.
        within("free files", until(|| open() < FILES / 2)).await;
    }

    pub(crate) async fn terminate(&self) {
        self.process.signal("TERM").await.expect("it runs");
    }

    /// It has ended, with nothing left.
    pub(crate) async fn ends_empty(&mut self) {
        let ended = self.process.end(Duration::from_secs(120)).await;
        self.process.said().closed().await;
        let tail = self.process.said().tail();
        assert!(ended.expect("it ends").success(), "{tail}");
        assert!(self.process.said().has("drained, 0 left"), "{tail}");
    }
}

/// The address that the program prints behind `before`.
pub(crate) async fn said(process: &Process, before: &str) -> SocketAddr {
    let said = process.said();
    let line = within(before, said.until(0, before)).await;
    let line = line.unwrap_or_else(|| panic!("it ended: {}", said.tail()));
    let line = said.line(line).expect("it was found");
    let address = line
        .split(before)
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    address
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("{line}"))
}

pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Example {
    /// The proxy, with its HTTP listener as `to`, and its admin port.
    pub(crate) async fn proxy(arguments: &[&str]) -> (Self, SocketAddr) {
        let mut command = Command::new(binary("proxy"));
        let process = Process::start(command.args(arguments)).expect("it starts");
        let admin = said(&process, "admin on ").await;
        let to = said(&process, "web on ").await;
        (Self { process, to }, admin)
    }

    /// The address that it prints behind `before`.
    pub(crate) async fn said(&self, before: &str) -> SocketAddr {
        said(&self.process, before).await
    }

    /// Sends SIGHUP, and waits until it prints one more line with this beginning.
    pub(crate) async fn hangup(&self, line: &str) {
        let said = self.process.said();
        let from = said.lines().len();
        self.process.signal("HUP").await.expect("it runs");
        let answer = within(line, said.until(from, line)).await;
        assert!(answer.is_some(), "it ended: {}", said.tail());
    }
}
