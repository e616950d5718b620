//! Whose code a function is, by its name and by the program or library it stands in.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Kernel,
    Hyper,
    H2,
    Tokio,
    /// The crates of this project, edge among them.
    Ours,
    /// Other crates, and the standard library where it stands in no caller.
    Rust,
    /// Allocation and copying, mostly.
    C,
    /// A program that is not written in Rust.
    Program,
}

impl Owner {
    pub(crate) const ALL: [Self; 8] = [
        Self::Kernel,
        Self::Hyper,
        Self::H2,
        Self::Tokio,
        Self::Ours,
        Self::Rust,
        Self::C,
        Self::Program,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "the kernel",
            Self::Hyper => "hyper, hyper-util, httparse",
            Self::H2 => "h2",
            Self::Tokio => "tokio",
            Self::Ours => "edge and the crates of this project",
            Self::Rust => "other crates and Rust's library",
            Self::C => "the C library",
            Self::Program => "the program itself",
        }
    }
}

/// How much of the whole each owner has, of what `perf report` says: lines that begin with
/// `12.34%|dso|[.] symbol`.
pub(crate) fn owners(report: &str) -> BTreeMap<Owner, f64> {
    let mut shares = BTreeMap::new();
    for line in report.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('|').map(str::trim);
        let (Some(share), Some(dso), Some(symbol)) =
            (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        if let Ok(share) = share.trim_end_matches('%').parse::<f64>() {
            *shares.entry(owner(dso, symbol)).or_default() += share;
        }
    }
    let all: f64 = shares.values().sum();
    if all > 0.0 {
        shares.values_mut().for_each(|share| *share /= all);
    }
    shares
}

fn owner(dso: &str, symbol: &str) -> Owner {
    if symbol.starts_with("[k]") || dso.starts_with("[kernel") {
        return Owner::Kernel;
    }
    let is_library = |name: &str| dso.starts_with(name);
    if is_library("libc.") || is_library("libc-") || is_library("ld-") || dso == "[vdso]" {
        return Owner::C;
    }
    let mangled = symbol.split_whitespace().last().unwrap_or_default();
    let Ok(name) = rustc_demangle::try_demangle(mangled) else {
        return Owner::Program;
    };
    let name = format!("{name:#}");
    crates(&name).find_map(known).unwrap_or(Owner::Rust)
}

/// The first parts of all paths in a name: `<a::B as c::D>::e` has `a` and `c`.
fn crates(name: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let paths = name.split(move |c: char| !is_part(c) && c != ':');
    paths
        .filter_map(|path| path.split_once("::").map(|(first, _)| first))
        .filter(|first| !first.is_empty())
}

fn known(name: &str) -> Option<Owner> {
    const OURS: [&str; 7] = [
        "edge",
        "orion_drain",
        "drain_",
        "conn_tracker",
        "listener_versions",
        "proto_drain",
        "versus_peers",
    ];
    match name {
        "hyper" | "hyper_util" | "httparse" => Some(Owner::Hyper),
        "h2" => Some(Owner::H2),
        "tokio" | "mio" => Some(Owner::Tokio),
        _ if OURS.iter().any(|ours| name.starts_with(ours)) => Some(Owner::Ours),
        // A function of Rust's library for a type of a crate counts for that crate, which stands
        // later in the name.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_added_up_by_whose_code_it_is() {
        let report = "\
# comment
 40.00%|[kernel.kallsyms]|[k] tcp_sendmsg
 10.00%|edge             |[.] _ZN5hyper5proto2h14role6encode17h0123456789abcdefE
  5.00%|edge             |[.] _ZN4core3ptr47drop_in_place$LT$drain_signal..watch..Watch$GT$17h0123456789abcdefE
  5.00%|edge             |[.] _RNvNtCs1234_2h25proto4send
 20.00%|libc.so.6        |[.] malloc      |-      -
 20.00%|haproxy          |[.] process_stream
not a line
";
        let shares = owners(report);
        let percent = |owner| (shares[&owner] * 100.0f64).round();
        assert_eq!(percent(Owner::Kernel), 40.0);
        assert_eq!(percent(Owner::Hyper), 10.0);
        assert_eq!(percent(Owner::Ours), 5.0);
        assert_eq!(percent(Owner::H2), 5.0);
        assert_eq!(percent(Owner::C), 20.0);
        assert_eq!(percent(Owner::Program), 20.0);
        assert!(owners("").is_empty());
    }

    #[test]
    fn a_function_belongs_to_the_first_crate_that_is_known() {
        assert_eq!(
            crates("<hyper_util::Io<T> as tokio::io::AsyncRead>::poll_read").collect::<Vec<_>>(),
            ["hyper_util", "tokio"]
        );
        assert_eq!(known("std"), None);
    }
}
