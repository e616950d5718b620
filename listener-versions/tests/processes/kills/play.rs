//! Starts the processes, talks to them, and asks who serves.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use crate::child::Process;
use crate::common::wire::{HANG, free};

/// A path and an address.
pub(crate) struct Place {
    folder: PathBuf,
    address: SocketAddr,
}

/// Connections that the kernel has taken.
pub(crate) struct Parked(Vec<TcpStream>);

impl Place {
    pub(crate) fn new() -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(0);

        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kills-{}-{number}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder");
        let address = free().as_socket().expect("TCP");
        Self { folder, address }
    }

    /// Starts a process that waits before it configures itself if it takes over, and stops at these
    /// points.
    pub(crate) fn start(&self, label: u64, stops: &[&str]) -> Process {
        self.start_with(label, &[("WAITS", "1"), ("STOPS", &stops.join(","))])
    }

    /// A process that serves.
    pub(crate) fn serving(&self, label: u64) -> Process {
        let mut process = self.start_with(label, &[]);
        process.until("serving");
        process
    }

    pub(crate) fn start_with(&self, label: u64, more: &[(&str, &str)]) -> Process {
        self.start_by(&[], label, more)
    }

    pub(crate) fn start_by(&self, by: &[&str], label: u64, more: &[(&str, &str)]) -> Process {
        let own = [
            ("PATH", self.folder.join("edge.sock").display().to_string()),
            ("ADDRESS", self.address.to_string()),
            ("LABEL", label.to_string()),
        ];
        let more = more
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let variables = own.into_iter().chain(more);
        let variables = variables.map(|(name, value)| (format!("HANDOVER_{name}"), value));
        Process::start(by, "kills::process::process", variables)
    }

    /// The process that serves. No client is refused as long as there is one.
    pub(crate) fn ask(&self) -> u64 {
        answer(self.connect())
    }

    pub(crate) fn park(&self) -> Parked {
        Parked((0..4).map(|_| self.connect()).collect())
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("a process listens");
        client.set_read_timeout(Some(HANG)).expect("a time");
        client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn answer(mut client: TcpStream) -> u64 {
    let mut label = [0; 8];
    client.read_exact(&mut label).expect("it is served");
    u64::from_be_bytes(label)
}

impl Parked {
    pub(crate) fn are_answered_by(self, label: u64) {
        for client in self.0 {
            assert_eq!(answer(client), label);
        }
    }
}

impl Process {
    pub(crate) fn stop_at(&mut self, point: &str) {
        self.say(&format!("stop {point}"));
        self.until(&format!("noted {point}"));
    }

    /// From now on it stops nowhere.
    pub(crate) fn run(&mut self) {
        self.say("run");
    }
}
