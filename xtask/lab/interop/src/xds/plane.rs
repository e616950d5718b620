//! The control plane as a process: it takes commands, and says what it is asked and answered.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rig::Process;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::time::timeout;

const SERVER: &str = include_str!("management_server.py");
/// How long an answer may take: a lost control plane is asked again after several seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `management_server.py`. It ends with this value.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) port: u16,
    process: Process,
    commands: ChildStdin,
    /// How many lines of it have been read.
    read: usize,
    /// Requests that no test has asked for yet.
    heard: Vec<Value>,
}

/// What a proxy said of a response, as far as both must say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    refused: bool,
    /// Whether it names the listener that is to blame, which is always this one.
    pub(super) names_b: bool,
    /// State of the world: the version that is there. Delta: the listeners that are there, with the
    /// first request.
    there: String,
    subscribes: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.refused, self.names_b) {
            (false, _) => "ACK",
            (true, true) => "NACK for b",
            (true, false) => "NACK",
        };
        write!(f, "{word}, there {}", self.there)?;
        match &*self.subscribes {
            "[]" => Ok(()),
            names => write!(f, ", wants {names}"),
        }
    }
}

impl Plane {
    pub(super) async fn start(python: &Path, folder: &Path, port: u16) -> anyhow::Result<Self> {
        let server = folder.join("management_server.py");
        std::fs::write(&server, SERVER)?;
        let mut command = Command::new(python);
        command.arg(server).arg(port.to_string());
        let (process, commands) = Process::start_with_input(&mut command)?;
        let mut plane = Self {
            port,
            process,
            commands,
            read: 0,
            heard: Vec::new(),
        };
        let first = plane.event().await?;
        let port = first["port"].as_u64().context("it named no port")?;
        plane.port = u16::try_from(port)?;
        Ok(plane)
    }

    pub(super) async fn tell(&mut self, command: &Value) -> anyhow::Result<()> {
        let line = format!("{command}\n");
        Ok(self.commands.write_all(line.as_bytes()).await?)
    }

    async fn event(&mut self) -> anyhow::Result<Value> {
        let said = self.process.said();
        loop {
            let line = timeout(PATIENCE, said.until(self.read, "{")).await;
            let line = line.with_context(|| format!("nothing was heard within {PATIENCE:?}"))?;
            let line =
                line.with_context(|| format!("the control plane has ended:\n{}", said.tail()))?;
            self.read = line + 1;
            // What is not JSON it has said to people.
            if let Ok(event) = serde_json::from_str(&said.line(line).unwrap_or_default()) {
                return Ok(event);
            }
        }
    }

    /// What this node answers to the response of this type with this version; with none: its first
    /// request of a stream.
    pub(super) async fn answer(
        &mut self,
        node: &str,
        kind: &str,
        version: &str,
    ) -> anyhow::Result<Answer> {
        let wanted = |event: &Value| {
            let of_kind = event["type_url"].as_str();
            event["event"] == "request"
                && event["node"] == node
                && event["answers"] == version
                && of_kind.is_some_and(|url| url.ends_with(kind))
        };
        let event = match self.heard.iter().position(wanted) {
            Some(at) => self.heard.remove(at),
            None => loop {
                let event = self.event().await?;
                if wanted(&event) {
                    break event;
                }
                self.heard.push(event);
                ensure!(self.heard.len() < 1000, "much was said, and no answer");
            },
        };
        let message = event["error"]["message"].as_str().unwrap_or_default();
        let there = match &event["initial"] {
            Value::Object(versions) => versions.keys().cloned().collect::<Vec<_>>().join(" "),
            _ => event["version"].to_string(),
        };
        let names = [&event["names"], &event["subscribe"]]
            .into_iter()
            .find(|names| !names.is_null());
        Ok(Answer {
            refused: event["error"].is_object(),
            names_b: message.starts_with("Error adding/updating listener(s) b: "),
            there,
            subscribes: names.map(ToString::to_string).unwrap_or_default(),
        })
    }
}
