//! A program as a process: what it says, line by line with the time of each, its signals, its end.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How much of a program's output is kept, and how much is shown when something fails.
const LINES: usize = 20_000;
const TAIL_LINES: usize = 40;
const LINE_LIMIT: u64 = 8 * 1024;

/// A running program. It ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Said,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program that reads nothing.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        Self::start_with_streams(command.stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// Starts a program that is written to.
    pub fn start_with_input(command: &mut Command) -> anyhow::Result<(Self, ChildStdin)> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::start_with_streams(command)?;
        let input = process.child.stdin.take().context("its input is piped")?;
        Ok((process, input))
    }

    /// Starts a program with the standard input and output that the command has already.
    pub fn start_with_streams(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let program = command.as_std().get_program().to_string_lossy();
                format!("starting {program}")
            })?;
        let said = Said::default();
        let output = child.stdout.take().map(|output| said.follow(output));
        let error = child.stderr.take().map(|error| said.follow(error));
        let readers = output.into_iter().chain(error).collect();
        Ok(Self {
            child,
            said,
            readers,
        })
    }

    /// Closes this end of its outputs: from now on it writes to pipes that have no reader.
    pub fn close_outputs(&mut self) {
        for reader in self.readers.drain(..) {
            reader.abort();
        }
    }

    /// What it says.
    pub const fn said(&self) -> &Said {
        &self.said
    }

    /// Its number, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it a signal, `TERM` for example.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id().context("it has ended")?;
        // The shell's own `kill`: nothing has to be installed.
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -{name} {id}")]);
        let sent = timeout(Duration::from_secs(20), kill.status()).await;
        let sent = sent.context("kill does not end")??;
        ensure!(sent.success(), "kill -{name} {id}: {sent}");
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub async fn end(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let ended = timeout(limit, self.child.wait()).await;
        Ok(ended.with_context(|| format!("it did not end within {limit:?}"))??)
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().await.ok();
    }
}

/// What a program has said: standard output and standard error, as they come.
#[derive(Debug, Clone, Default)]
pub struct Said(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Lines {
    /// How many were forgotten because there were too many.
    forgotten: usize,
    kept: VecDeque<(Instant, String)>,
    /// How many of the outputs are still open.
    open: usize,
}

impl Said {
    /// Reads an output to its end, in a task of its own.
    fn follow(&self, output: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        self.lock().open += 1;
        let said = self.clone();
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut output)
                .take(LINE_LIMIT)
                .read_until(b'\n', &mut line)
                .await
            {
                said.add(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            said.lock().open -= 1;
            said.0.changed.send_replace(());
        })
    }

    fn add(&self, line: String) {
        let mut lines = self.lock();
        lines.kept.push_back((Instant::now(), line));
        if lines.kept.len() > LINES {
            lines.kept.pop_front();
            lines.forgotten += 1;
        }
        drop(lines);
        self.0.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // A list of lines: a panic elsewhere leaves it usable.
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a line after the first `from` lines has this in it; its number. `None`: all
    /// outputs were closed before.
    pub async fn until(&self, from: usize, part: &str) -> Option<usize> {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let lines = self.lock();
                let skip = from.saturating_sub(lines.forgotten);
                let mut after = lines.kept.iter().enumerate().skip(skip);
                if let Some((at, _)) = after.find(|(_, (_, line))| line.contains(part)) {
                    return Some(lines.forgotten + at);
                }
                if lines.open == 0 {
                    return None;
                }
            }
            // Its sender is part of what is looked at.
            changed.changed().await.ok()?;
        }
    }

    /// Waits until all outputs are closed, as they are when the program and all that it has started
    /// have ended.
    pub async fn closed(&self) {
        let mut changed = self.0.changed.subscribe();
        // Its sender is part of what is looked at.
        changed.wait_for(|()| self.lock().open == 0).await.ok();
    }

    /// All lines that are kept, with the time of each.
    pub fn lines(&self) -> Vec<(Instant, String)> {
        self.lock().kept.iter().cloned().collect()
    }

    /// The line with this number, if it is kept.
    pub fn line(&self, number: usize) -> Option<String> {
        let lines = self.lock();
        let at = number.checked_sub(lines.forgotten)?;
        lines.kept.get(at).map(|(_, line)| line.clone())
    }

    /// How many lines end so.
    pub fn count(&self, end: &str) -> usize {
        let lines = self.lock();
        lines
            .kept
            .iter()
            .filter(|(_, line)| line.ends_with(end))
            .count()
    }

    /// Whether a line has this in it.
    pub fn has(&self, part: &str) -> bool {
        self.lock().kept.iter().any(|(_, line)| line.contains(part))
    }

    /// The last lines, as they are shown when something fails.
    pub fn tail(&self) -> String {
        let lines = self.lock();
        if lines.kept.is_empty() {
            return "    nothing\n".to_owned();
        }
        let skip = lines.kept.len().saturating_sub(TAIL_LINES);
        let last = lines.kept.iter().skip(skip);
        last.map(|(_, line)| format!("    {line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(Command::new("sh").args(["-c", script])).expect("a shell")
    }

    #[tokio::test]
    async fn lines_are_waited_for_and_a_program_that_ends_says_no_more() {
        let mut process = shell("echo one; echo two >&2; echo one more");
        let said = process.said().clone();
        let first = said.until(0, "one").await.expect("it says so");
        assert!(said.until(first + 1, "more").await.is_some());
        assert_eq!(said.until(0, "never").await, None);
        assert_eq!(said.lines().len(), 3);
        assert!(
            process
                .end(Duration::from_secs(20))
                .await
                .expect("it ends")
                .success()
        );
    }

    #[tokio::test]
    async fn a_signal_ends_a_program_that_does_not_expect_it() {
        let mut process = shell("echo up; exec sleep 60");
        process.said().until(0, "up").await.expect("it says so");
        process.signal("TERM").await.expect("it is there");
        let status = process.end(Duration::from_secs(20)).await.expect("it ends");
        assert!(!status.success());
    }
}
