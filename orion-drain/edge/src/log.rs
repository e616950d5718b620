//! What edge says: lines for people, and with the feature `tracing` the events of `orion_drain::telemetry`, as text or as JSON.

use std::fmt;

/// Says a line of what happens.
macro_rules! say {
    ($($line:tt)*) => { $crate::log::line(false, format_args!($($line)*)) };
}

/// Says a line of what is wrong.
macro_rules! complain {
    ($($line:tt)*) => { $crate::log::line(true, format_args!($($line)*)) };
}

#[cfg(feature = "tracing")]
pub(crate) use subscribed::{LogArgs, fatal, line};
#[cfg(not(feature = "tracing"))]
pub(crate) use unsubscribed::{LogArgs, fatal, line};

#[cfg(feature = "tracing")]
mod subscribed {
    use std::sync::OnceLock;

    use clap::ValueEnum;
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::fmt::layer;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    use tracing_subscriber::{Layer, registry};

    use super::fmt;

    /// What is logged, and how.
    #[derive(Debug, Clone, Copy, clap::Args)]
    pub(crate) struct LogArgs {
        /// What is worth a line. Of other libraries, warnings at most.
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

    static CHOSEN: OnceLock<LogArgs> = OnceLock::new();

    impl LogArgs {
        /// From now on everybody's events are logged.
        pub(crate) fn init(self) {
            // Nobody has chosen before.
            CHOSEN.set(self).ok();
            let level = self.log_level.filter();
            let targets = Targets::new()
                .with_target("orion_drain", level)
                .with_target("edge", level)
                .with_default(level.min(LevelFilter::WARN));
            let layer = layer().with_ansi(false).with_writer(std::io::stderr);
            let layer = match self.log_format {
                Format::Text => layer.boxed(),
                Format::Json => layer.json().boxed(),
            };
            registry().with(layer.with_filter(targets)).init();
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

    /// A line as it stands, unless all is JSON.
    pub(crate) fn line(complaint: bool, line: fmt::Arguments<'_>) {
        let worth = if complaint {
            LevelFilter::WARN
        } else {
            LevelFilter::INFO
        };
        match CHOSEN.get() {
            Some(chosen) if chosen.log_level.filter() < worth => {}
            Some(chosen) if chosen.log_format == Format::Json => match complaint {
                true => tracing::warn!(target: "edge", "{line}"),
                false => tracing::info!(target: "edge", "{line}"),
            },
            _ => eprintln!("{line}"),
        }
    }

    /// Why the process ends, whatever is worth a line.
    pub(crate) fn fatal(line: fmt::Arguments<'_>) {
        match CHOSEN.get() {
            Some(chosen) if chosen.log_format == Format::Json => tracing::error!(target: "edge", "{line}"),
            _ => eprintln!("{line}"),
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod unsubscribed {
    use super::fmt;

    /// Nothing to choose.
    #[derive(Debug, Clone, Copy, clap::Args)]
    pub(crate) struct LogArgs {}

    impl LogArgs {
        pub(crate) const fn init(self) {}
    }

    /// A line as it stands.
    pub(crate) fn line(_: bool, line: fmt::Arguments<'_>) {
        eprintln!("{line}");
    }

    /// Why the process ends.
    pub(crate) fn fatal(line: fmt::Arguments<'_>) {
        eprintln!("{line}");
    }
}
