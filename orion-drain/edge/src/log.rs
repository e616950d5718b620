//! What edge says on stderr: lines for people and the events of `orion_drain::telemetry`, as text
//! or as JSON.
//!
//! Nothing that serves waits for the reader of the log: lines go to a thread of their own, and
//! those that it has no room for are dropped and counted. A reader that is slow, stopped or gone
//! costs lines, not requests.

mod budget;
mod levels;

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use clap::ValueEnum;
use orion_drain::admin::LogLevel;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, registry};

pub(crate) use budget::{Budget, withheld};
use levels::{Levels, Part};
pub(crate) use levels::{levels, set_level};

/// Says a line of what happens.
macro_rules! say {
    ($($line:tt)*) => { $crate::log::line(false, format_args!($($line)*)) };
}

/// Says a line of what is wrong.
macro_rules! complain {
    ($($line:tt)*) => { $crate::log::line(true, format_args!($($line)*)) };
}

/// How many lines wait for the reader; a line is some hundred bytes.
const WAITING_LINES: usize = 8192;

/// What is logged, and how.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct LogArgs {
    /// What is worth a line; `POST /logging` changes it. Of other libraries, warnings at most; and
    /// of what clients cause, less than a hundred lines a minute.
    #[arg(short = 'l', long, value_enum, default_value_t = Level::Info)]
    log_level: Level,
    /// Lines for people, or an object of JSON a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

/// Envoy's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    #[value(alias = "warn")]
    Warning,
    Error,
    /// As `error`.
    Critical,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The log of the process.
struct Log {
    args: LogArgs,
    writer: NonBlocking,
}

static LOG: OnceLock<Log> = OnceLock::new();

impl LogArgs {
    /// From now on events are logged. What waits is written when the guard is dropped, for a second
    /// at most.
    pub(crate) fn init(self) -> WorkerGuard {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(WAITING_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(std::io::stderr());
        levels::begin(self.log_level.into());
        let layer = layer().with_ansi(false).with_writer(writer.clone());
        let layer = match self.log_format {
            Format::Text => layer.boxed(),
            Format::Json => layer.json().boxed(),
        };
        registry().with(layer.with_filter(Levels::default())).init();
        // The process has one log, made once.
        LOG.set(Log { args: self, writer }).ok();
        guard
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
            Level::Off => Self::Off,
        }
    }
}

impl Log {
    fn write(&self, line: fmt::Arguments<'_>) {
        // A lossy writer drops a line that it has no room for, and fails never.
        self.writer
            .clone()
            .write_all(format!("{line}\n").as_bytes())
            .ok();
    }
}

/// A line as it stands, unless all is JSON.
pub(crate) fn line(complaint: bool, line: fmt::Arguments<'_>) {
    let worth = if complaint {
        LevelFilter::WARN
    } else {
        LevelFilter::INFO
    };
    match LOG.get() {
        Some(_) if Part::Edge.filter() < worth => {}
        Some(log) if log.args.log_format == Format::Text => log.write(line),
        _ => match complaint {
            true => tracing::warn!(target: "edge", "{line}"),
            false => tracing::info!(target: "edge", "{line}"),
        },
    }
}

/// Why the process ends, whatever is worth a line.
pub(crate) fn fatal(line: fmt::Arguments<'_>) {
    match LOG.get() {
        Some(log) if log.args.log_format == Format::Text => log.write(line),
        _ => tracing::error!(target: "edge", "{line}"),
    }
}

/// How many lines were dropped because the log's reader did not keep up.
pub(crate) fn dropped_lines() -> u64 {
    LOG.get()
        .map_or(0, |log| log.writer.error_counter().dropped_lines() as u64)
}
