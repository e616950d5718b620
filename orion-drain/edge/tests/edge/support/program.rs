//! The program as a process, whose lines a test waits for one after the other.

use std::path::PathBuf;
use std::process::ExitStatus;

use rig::Process;
use tokio::process::Command;

use super::within;

/// A running edge. It ends with this value, at the latest.
pub(crate) struct Program {
    pub(crate) process: Process,
    /// How many of its lines have been looked at.
    heard: usize,
    said: Vec<String>,
    /// Events as text.
    logged: Vec<String>,
}

impl Program {
    /// Starts it by this command, with the standard input and output that the command has.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self {
            process: Process::start_with_streams(command).expect("edge starts"),
            heard: 0,
            said: Vec::new(),
            logged: Vec::new(),
        }
    }

    /// What it says, up to and including the first line with this in it.
    pub(crate) async fn until(&mut self, part: &str) -> Vec<String> {
        let from = self.said.len();
        let output = self.process.said().clone();
        let heard = within(part, async {
            // Every line has an empty text in it: this is the next one, whatever it says.
            while let Some(number) = output.until(self.heard, "").await {
                self.heard = number + 1;
                let line = output.line(number).expect("it was found");
                if line.contains(" orion_drain::") {
                    self.logged.push(line);
                    continue;
                }
                let last = line.contains(part);
                self.said.push(line);
                if last {
                    return true;
                }
            }
            false
        });
        let heard = heard.await;
        assert!(
            heard,
            "edge ended without saying {part:?}: {:#?}",
            self.said
        );
        self.said[from..].to_vec()
    }

    /// Until it has written a line with each of these, in any order.
    #[cfg(any(target_os = "linux", feature = "xds"))]
    pub(crate) async fn until_all(&mut self, parts: &[&str]) {
        let mut missing = parts.to_vec();
        while let Some(&part) = missing.first() {
            let said = self.until(part).await;
            missing.retain(|part| !said.iter().any(|line| line.contains(part)));
        }
    }

    /// The events, as text, among what it has said so far; only with the feature `tracing` there
    /// are any.
    #[cfg(feature = "tracing")]
    pub(crate) fn logged(&self) -> &[String] {
        &self.logged
    }

    /// All that it has said so far, but events as text.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("it has not been waited for")
    }

    /// Waits until it has ended.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let ended = self.process.end(super::PATIENCE).await;
        ended.unwrap_or_else(|error| panic!("{error}: {:#?}", self.said))
    }

    /// Whether it is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// SIGKILL, and waits for its end.
    #[cfg(target_os = "linux")]
    pub(crate) async fn kill(&mut self) {
        within("its end", self.process.kill()).await;
    }

    /// How many descriptors it has open.
    #[cfg(target_os = "linux")]
    pub(crate) fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("Linux").count()
    }
}

/// The program that cargo built for this test.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_edge"))
}
