//! What edge says on stderr: lines for people and the events of `orion_drain::telemetry`, as text or as JSON.
//!
//! Nothing that serves waits for the reader of the log: lines go to a thread of their own, and those that it has no room for are
//! dropped and counted. A reader that is slow, stopped or gone costs lines, not requests.

mod budget;

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use clap::ValueEnum;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, registry};

use budget::Budget;

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
    /// What is worth a line. Of other libraries, warnings at most, and a hundred of them a minute.
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
    /// From now on events are logged. What waits is written when the guard is dropped, for a second at most.
    pub(crate) fn init(self) -> WorkerGuard {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(WAITING_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(std::io::stderr());
        let level = self.log_level.filter();
        let ours = Targets::new()
            .with_target("orion_drain", level)
            .with_target("edge", level);
        let others = Targets::new()
            .with_target("orion_drain", LevelFilter::OFF)
            .with_target("edge", LevelFilter::OFF)
            .with_default(level.min(LevelFilter::WARN));
        let layer = layer().with_ansi(false).with_writer(writer.clone());
        let layer = match self.log_format {
            Format::Text => layer.boxed(),
            Format::Json => layer.json().boxed(),
        };
        registry()
            .with(layer.with_filter(ours.or(others.and(Budget::default()))))
            .init();
        // The process has one log, made once.
        LOG.set(Log { args: self, writer }).ok();
        guard
    }
}

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
            Self::Off => LevelFilter::OFF,
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
        Some(log) if log.args.log_level.filter() < worth => {}
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
