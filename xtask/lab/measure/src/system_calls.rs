//! Counting system calls.

use std::{ffi::OsStr, fs, process::Command};

/// How many system calls the first thread of this program makes when it is started with these
/// arguments, by `strace -c`; `None` without strace, or where it may not trace. What an operation
/// takes is the difference between two counts. Processes that the program starts are not counted.
///
/// # Panics
///
/// When strace is there but the program fails under it.
pub fn system_calls<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Option<f64> {
    let program = std::env::current_exe().expect("a program knows its path");
    let name = format!("system-calls-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let output = Command::new("strace")
        .args(["-c", "-o"])
        .arg(&file)
        .arg(program)
        .args(arguments)
        .output()
        .ok()?;
    let table = fs::read_to_string(&file).unwrap_or_default();
    fs::remove_file(&file).ok();
    let count = total(&table);
    assert!(count.is_none() || output.status.success(), "{output:?}");
    count
}

/// The last line: "100.00    0.000000           0        29         1 total".
fn total(table: &str) -> Option<f64> {
    let line = table.lines().rev().find(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_that_of_the_calls() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000000           0         3           mmap
 40.00    0.000000           0         1         1 access
------ ----------- ----------- --------- --------- ----------------
100.00    0.000000           0         4         1 total
";
        assert_eq!(total(table), Some(4.0));
        assert_eq!(total(""), None);
    }

    #[test]
    fn calls_of_a_program_are_counted_if_strace_may_trace() {
        let count = system_calls(["--list"]);
        assert!(count.is_none_or(|count| count > 10.0), "{count:?}");
    }
}
