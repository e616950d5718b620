//! A client as a process: its lines with the time of each, what it is told, and its end, by itself or by a limit.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// How much of a client's output is kept.
const LINES: usize = 20_000;
const LINE_LIMIT: u64 = 8 * 1024;
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

type Lines = Arc<Mutex<Vec<(Instant, String)>>>;

/// A client that runs.
#[derive(Debug)]
pub(super) struct Player {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
    tasks: Vec<JoinHandle<()>>,
    started: Instant,
}

impl Player {
    pub(super) fn start(program: &Path, arguments: Vec<String>) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            // Whatever the machine goes out by, this stays on loopback.
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let lines = Lines::default();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let tasks = vec![follow(stdout, &lines), follow(stderr, &lines)];
        Ok(Self {
            input: child.stdin.take(),
            child,
            lines,
            tasks,
            started: Instant::now(),
        })
    }

    /// Waits until it has said `word`; false if it ends or takes longer.
    pub(super) async fn says(&mut self, word: &str, limit: Duration) -> bool {
        let limit = Instant::now() + limit;
        while Instant::now() < limit {
            if has(&self.lines, word) {
                return true;
            }
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Writes a line to its standard input.
    pub(super) async fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            // One that has ended already is judged by its lines.
            input.write_all(format!("{line}\n").as_bytes()).await.ok();
        }
    }

    /// Writes a request to its standard input ten times a second, until it says `word` or takes no more.
    pub(super) fn ask_until(&mut self, request: &'static str, word: &'static str) {
        let (Some(mut input), lines) = (self.input.take(), Arc::clone(&self.lines)) else {
            return;
        };
        self.tasks.push(tokio::spawn(async move {
            while !has(&lines, word) && input.write_all(request.as_bytes()).await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        }));
    }

    /// Waits for its end, until `limit`.
    pub(super) async fn end(mut self, updated: Instant, limit: Instant) -> Heard {
        // There is nothing more to read for it.
        self.input = None;
        let ended = timeout_at(limit, self.child.wait()).await;
        let success = matches!(ended, Ok(Ok(status)) if status.success());
        // One that goes on takes its pipes with it.
        self.child.start_kill().ok();
        for mut task in self.tasks {
            if timeout_at(limit + Duration::from_secs(1), &mut task)
                .await
                .is_err()
            {
                task.abort();
            }
        }
        let since = |at: Instant| match at.checked_duration_since(updated) {
            Some(after) => after.as_secs_f64(),
            None => -(updated - at).as_secs_f64(),
        };
        let mut lines: Vec<_> = lock(&self.lines)
            .drain(..)
            .map(|(at, text)| Line { at: since(at), text })
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

/// Keeps the lines of an output as they come.
fn follow(output: Option<impl AsyncRead + Unpin + Send + 'static>, lines: &Lines) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    tokio::spawn(async move {
        let Some(output) = output else { return };
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = (&mut output).take(LINE_LIMIT).read_until(b'\n', &mut line).await {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut lines = lock(&lines);
            if lines.len() < LINES {
                lines.push((Instant::now(), text));
            }
        }
    })
}

fn has(lines: &Lines, word: &str) -> bool {
    lock(lines).iter().any(|(_, text)| text.contains(word))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A list of lines: a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
