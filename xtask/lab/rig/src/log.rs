//! What a program says: its last lines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// How much of a program's output is kept, and how much is shown when something fails.
const LINES: usize = 2000;
const TAIL_LINES: usize = 40;
const LINE_LIMIT: u64 = 8 * 1024;

/// The last lines of a program's output.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// Reads it to its end, in a task of its own.
    pub fn follow(&self, output: Option<impl AsyncRead + Unpin + Send + 'static>) {
        let Some(output) = output else { return };
        let log = self.clone();
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut output).take(LINE_LIMIT).read_until(b'\n', &mut line).await {
                log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        if lines.len() > LINES {
            lines.pop_front();
        }
    }

    /// How many lines end so.
    pub fn count(&self, end: &str) -> usize {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.ends_with(end)).count()
    }

    /// The last lines, as they are shown when something fails.
    pub fn tail(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "    nothing\n".to_owned();
        }
        let skip = lines.len().saturating_sub(TAIL_LINES);
        lines
            .iter()
            .skip(skip)
            .map(|line| format!("    {line}\n"))
            .collect()
    }
}
