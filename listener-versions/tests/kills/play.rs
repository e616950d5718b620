//! Starts the processes, talks to them, and asks who serves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

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
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--ignored", "--exact", "--nocapture", "process::process"])
            .env("HANDOVER_PATH", self.folder.join("edge.sock"))
            .env("HANDOVER_ADDRESS", self.address.to_string())
            .env("HANDOVER_LABEL", label.to_string());
        for (name, value) in more {
            command.env(format!("HANDOVER_{name}"), value);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (said, lines) = channel();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| said.send(line))
        });
        Process {
            child,
            stdin,
            lines,
            heard: Vec::new(),
            label,
        }
    }

    /// Who serves. Nobody is refused while there is anybody.
    pub(crate) fn ask(&self) -> u64 {
        answer(self.connect())
    }

    pub(crate) fn park(&self) -> Parked {
        Parked((0..4).map(|_| self.connect()).collect())
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("somebody listens");
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

pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
    label: u64,
}

impl Process {
    /// Waits until it has said this.
    pub(crate) fn until(&mut self, what: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(HANG) else {
                panic!(
                    "process {} has not said {what:?}: {:#?}",
                    self.label, self.heard
                );
            };
            self.heard.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
    }

    pub(crate) fn say(&mut self, what: &str) {
        // A process that has ended hears nothing.
        drop(writeln!(self.stdin, "{what}"));
    }

    pub(crate) fn stop_at(&mut self, point: &str) {
        self.say(&format!("stop {point}"));
        self.until(&format!("noted {point}"));
    }

    /// From now on it stops nowhere.
    pub(crate) fn run(&mut self) {
        self.say("run");
    }

    /// SIGKILL.
    /// `SIGSTOP`, and waits until none of its threads runs.
    pub(crate) fn stop(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).expect("it is there");
        let stopped = waitpid(Some(pid), WaitOptions::UNTRACED).expect("it is a child");
        let (_, status) = stopped.expect("this waits");
        assert!(status.stopped(), "{status:?}");
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it was there");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
