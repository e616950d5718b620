//! A client as a process: its lines with the time of each, what it is told, and its end, by itself
//! or by a limit.

use std::path::Path;
use std::time::Duration;

use rig::Process;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How much is shown when it has failed.
const TAIL_LINES: usize = 15;

/// A line that a client wrote.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Seconds since the update; negative before it.
    pub(super) at: f64,
    pub(super) text: String,
}

/// What became of a client.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) lines: Vec<Line>,
    /// When it was started, as the lines' times.
    pub(super) started: f64,
    /// It ended by itself, and said that all went well.
    pub(super) success: bool,
}

impl Heard {
    pub(super) fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().map(|line| line.text.as_str())
    }

    /// Its last words.
    pub(super) fn tail(&self) -> String {
        let skip = self.lines.len().saturating_sub(TAIL_LINES);
        let shown = self.lines.iter().skip(skip);
        shown
            .map(|line| format!("    {:>8.3} s  {}\n", line.at, line.text))
            .collect()
    }
}

/// A client that runs.
#[derive(Debug)]
pub(super) struct Player {
    process: Process,
    input: Option<ChildStdin>,
    asking: Option<JoinHandle<()>>,
    started: Instant,
}

impl Player {
    pub(super) fn start(program: &Path, arguments: Vec<String>) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            // Whatever the machine goes out by, this stays on loopback.
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env("NO_PROXY", "*");
        let (process, input) = Process::start_with_input(&mut command)?;
        Ok(Self {
            process,
            input: Some(input),
            asking: None,
            started: Instant::now(),
        })
    }

    /// Waits until it has said `word`; false if it ends or takes longer.
    pub(super) async fn says(&mut self, word: &str, limit: Duration) -> bool {
        let said = timeout(limit, self.process.said().until(0, word)).await;
        matches!(said, Ok(Some(_)))
    }

    /// Writes a line to its standard input.
    pub(super) async fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            // One that has ended already is judged by its lines.
            input.write_all(format!("{line}\n").as_bytes()).await.ok();
        }
    }

    /// Writes a request to its standard input ten times a second, until it says `word` or takes no
    /// more.
    pub(super) fn ask_until(&mut self, request: &'static str, word: &'static str) {
        let (Some(mut input), said) = (self.input.take(), self.process.said().clone()) else {
            return;
        };
        self.asking = Some(tokio::spawn(async move {
            while !said.has(word) && input.write_all(request.as_bytes()).await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        }));
    }

    /// Waits for its end, until `limit`.
    pub(super) async fn end(mut self, updated: Instant, limit: Instant) -> Heard {
        // There is nothing more to read for it.
        self.input = None;
        let ended = self
            .process
            .end(limit.saturating_duration_since(Instant::now()))
            .await;
        let success = ended.as_ref().is_ok_and(|status| status.success());
        // One that goes on takes its pipes with it.
        self.process.kill().await;
        if let Some(asking) = self.asking {
            asking.abort();
        }
        let said = self.process.said();
        // Something that it has started may go on, and keep its outputs open.
        timeout(Duration::from_secs(1), said.closed()).await.ok();
        let since = |at: Instant| match at.checked_duration_since(updated) {
            Some(after) => after.as_secs_f64(),
            None => -(updated - at).as_secs_f64(),
        };
        let mut lines: Vec<_> = said
            .lines()
            .into_iter()
            .map(|(at, text)| Line {
                at: since(at),
                text,
            })
            .collect();
        if ended.is_err() {
            let text = "(ended by the limit on its time)".to_owned();
            lines.push(Line {
                at: since(limit),
                text,
            });
        }
        Heard {
            lines,
            started: since(self.started),
            success,
        }
    }
}
