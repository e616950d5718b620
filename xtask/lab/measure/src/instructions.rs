//! Counting instructions: the same on a busy machine as on a quiet one.

use std::{ffi::OsStr, process::Command};

/// How many instructions this program takes when it is started with these arguments, by callgrind;
/// `None` without valgrind. What an operation takes is the difference between two counts.
///
/// # Panics
///
/// When valgrind is there but the program fails under it.
pub fn instructions<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Option<f64> {
    let program = std::env::current_exe().expect("a program knows its path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(arguments)
        .output()
        .ok()?;
    // "==1== Collected : 123456"
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    let count = collected.and_then(|count| count.trim().parse().ok());
    assert!(output.status.success() && count.is_some(), "{report}");
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_counted_if_valgrind_is_there() {
        let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
        let count = instructions(["--list"]);
        assert_eq!(count.is_some(), has_valgrind);
        assert!(count.is_none_or(|count| count > 10_000.0), "{count:?}");
    }
}
