//! What of the log is worth a line, by who says it; changed while the process runs.

use std::sync::atomic::{AtomicU8, Ordering};

use orion_drain::admin::LogLevel;
use tracing::{Level, Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

use super::budget::Budget;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// This program: its lines, too.
    Edge,
    /// The drains, connections and listeners.
    Drain,
    /// Other libraries. They say warnings at most until they are asked for more.
    Others,
}

const PARTS: [(&str, Part); 3] = [
    ("edge", Part::Edge),
    ("orion_drain", Part::Drain),
    ("others", Part::Others),
];

/// By part. Each is a number of its own: a reader needs no order among them.
static LEVELS: [AtomicU8; 3] = [const { AtomicU8::new(0) }; 3];

const ALL: [LogLevel; 7] = [
    LogLevel::Off,
    LogLevel::Critical,
    LogLevel::Error,
    LogLevel::Warning,
    LogLevel::Info,
    LogLevel::Debug,
    LogLevel::Trace,
];

impl Part {
    fn of(target: &str) -> Self {
        match target {
            target if target.starts_with("orion_drain") => Self::Drain,
            target if target.starts_with("edge") => Self::Edge,
            _ => Self::Others,
        }
    }

    fn level(self) -> LogLevel {
        ALL[usize::from(LEVELS[self as usize].load(Ordering::Relaxed))]
    }

    fn set(self, level: LogLevel) {
        LEVELS[self as usize].store(level as u8, Ordering::Relaxed);
    }

    pub(super) fn filter(self) -> LevelFilter {
        match self.level() {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Critical | LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warning => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// The levels that a process begins with.
pub(super) fn begin(level: LogLevel) {
    Part::Edge.set(level);
    Part::Drain.set(level);
    Part::Others.set(level.min(LogLevel::Warning));
}

/// Each part with its level.
pub(crate) fn levels() -> Vec<(String, LogLevel)> {
    let levels = PARTS
        .iter()
        .map(|(name, part)| ((*name).to_owned(), part.level()));
    levels.collect()
}

/// From now on this part says what is worth a line by this level.
pub(crate) fn set_level(name: &str, level: LogLevel) {
    if let Some((_, part)) = PARTS.iter().find(|(known, _)| *known == name) {
        part.set(level);
        // What says something has been asked once whether it is heard.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Lets through what is worth a line. Of what clients can cause as often as they like, as much as
/// the budgets have room for: 90 lines in any minute.
#[derive(Debug)]
pub(super) struct Levels {
    others: Budget,
    /// Its warnings: connections that are cut at the end of a drain, or find no descriptor left.
    drain: Budget,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            others: Budget::new(30, 20),
            drain: Budget::new(30, 10),
        }
    }
}

impl Levels {
    fn is_heard(part: Part, level: Level) -> bool {
        level <= part.filter()
    }

    /// What bounds this; a span says nothing by itself.
    fn budget(&self, part: Part, metadata: &Metadata<'_>) -> Option<&Budget> {
        match part {
            _ if metadata.is_span() => None,
            Part::Others => Some(&self.others),
            Part::Drain => (*metadata.level() == Level::WARN).then_some(&self.drain),
            Part::Edge => None,
        }
    }
}

impl<S: Subscriber> Filter<S> for Levels {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let part = Part::of(metadata.target());
        let is_heard = Self::is_heard(part, *metadata.level());
        is_heard && self.budget(part, metadata).is_none_or(Budget::has_room)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        let part = Part::of(metadata.target());
        match Self::is_heard(part, *metadata.level()) {
            false => Interest::never(),
            true if self.budget(part, metadata).is_some() => Interest::sometimes(),
            true => Interest::always(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        PARTS.iter().map(|(_, part)| part.filter()).max()
    }
}
