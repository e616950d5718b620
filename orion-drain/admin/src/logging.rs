//! `/logging`: the levels of the log, read and changed while the process runs.

use http::{Response, StatusCode};

use super::query::Query;
use super::router::plain;
use super::{AdminBody, AdminHost};

/// What is worth a line: Envoy's levels.
#[expect(clippy::exhaustive_enums, reason = "a log has a rule for each level")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// As `error`, where a log knows no more than that.
    Critical,
    /// What failed.
    Error,
    /// What is wrong.
    Warning,
    /// What happens.
    Info,
    /// What happens to each connection.
    Debug,
    /// All.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 7] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Off,
    ];

    /// Envoy's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let name = if name == "warn" { "warning" } else { name };
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// Why nothing was changed, in Envoy's words.
const PARAMETERS: &str = "invalid number of parameters";
const NAME: &str = "unknown logger name";
const LEVEL: &str = "unknown logger level";

/// Changes what a request asks to change, all or nothing, and lists what there is.
pub(super) fn answer<H: AdminHost + ?Sized>(host: &H, query: &Query) -> Response<AdminBody> {
    let known = host.log_levels();
    match changes(&known, query) {
        Ok(changes) => {
            for (part, level) in changes {
                host.set_log_level(&part, level);
            }
            plain(StatusCode::OK, list(&host.log_levels()))
        }
        Err(wrong) => {
            let usage = "usage: /logging?<name>=<level> (change single level)\n\
                         usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
                         usage: /logging?level=<level> (change all levels)\n\
                         levels: trace debug info warning error critical off\n";
            let text = format!("error: {wrong}\n\n{usage}{}", list(&known));
            plain(StatusCode::BAD_REQUEST, text)
        }
    }
}

fn list(levels: &[(String, LogLevel)]) -> String {
    let lines = levels
        .iter()
        .map(|(part, level)| format!("  {part}: {}\n", level.as_str()));
    format!("active loggers:\n{}", lines.collect::<String>())
}

fn changes(
    known: &[(String, LogLevel)],
    query: &Query,
) -> Result<Vec<(String, LogLevel)>, &'static str> {
    let one = |part: &str, level: &str| {
        let level = LogLevel::named(level).ok_or(LEVEL)?;
        let part = known.iter().find(|(known, _)| known == part).ok_or(NAME)?;
        Ok((part.0.clone(), level))
    };
    match query.pairs() {
        [] => Ok(Vec::new()),
        [(name, level)] if name == "level" => {
            let level = LogLevel::named(level).ok_or(LEVEL)?;
            Ok(known
                .iter()
                .map(|(part, _)| (part.clone(), level))
                .collect())
        }
        [(name, paths)] if name == "paths" => {
            let paths = paths.split(',');
            paths
                .map(|path| {
                    let (part, level) = path.split_once(':').ok_or(LEVEL)?;
                    one(part, level)
                })
                .collect()
        }
        [(part, level)] => Ok(vec![one(part, level)?]),
        _ => Err(PARAMETERS),
    }
}
