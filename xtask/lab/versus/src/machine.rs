//! The machine that is measured on.

use std::process::Command;

/// Processor, cores, kernel.
pub(crate) fn describe() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("a processor without a name", |line| {
            line.trim_matches(['\t', ' ', ':'])
        });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {} cores, Linux {}", cores(), kernel.trim())
}

/// Processors that this program may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// Today, in UTC.
pub(crate) fn date() -> String {
    let out = Command::new("date").args(["-u", "+%F"]).output();
    out.map_or_else(
        |_| "an unknown day".to_owned(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    )
}
