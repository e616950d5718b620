//! What the steps of `cargo xtask ci --full` do: slow ones, and those that need a tool from
//! outside.
//!
//! A tool that is not there and cannot be installed skips its step and says so; it does not fail
//! it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::{
    cargo,
    ci::Outcome,
    metadata, root,
    steps::{Counts, each, peers_workspace},
};

/// The crates whose wait-and-notify code everything else stands on.
const CORE: [&str; 3] = ["drain-signal", "drain-tree", "conn-tracker"];

/// The crates that write to the wire.
const PROTOCOLS: [&str; 3] = ["proto-drain-http1", "proto-drain-h2", "proto-drain-tcp"];

pub(crate) fn deny(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    if let Some(reason) = install(sh, "deny", "0.20.2") {
        return Ok(Outcome::Skipped(reason));
    }
    // Advisories come from a database elsewhere; whoever can reach it runs `cargo deny check
    // advisories` as well.
    cmd!(
        sh,
        "{cargo} deny --all-features check bans licenses sources"
    )
    .run()?;
    Ok(Outcome::PASSED)
}

pub(crate) fn powerset(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    if let Some(reason) = install(sh, "hack", "0.6.46") {
        return Ok(Outcome::Skipped(reason));
    }
    let published = metadata::published(sh)?;
    let published = published
        .iter()
        .map(|package| format!("--package={}", package.name));
    cmd!(
        sh,
        "{cargo} hack clippy {published...} --lib --feature-powerset --depth 2 --no-dev-deps --exclude-features __loom,__shuttle -- -D warnings"
    )
    .run()?;
    Ok(Outcome::PASSED)
}

pub(crate) fn semver(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let mut checked = 0;
    for package in metadata::published(sh)? {
        let name = &package.name;
        // Before its first release a crate has promised nothing.
        let tags = cmd!(sh, "git tag --list {name}-v* --sort=-version:refname")
            .quiet()
            .read()?;
        let Some(tag) = tags.lines().next() else {
            continue;
        };
        if let Some(reason) = install(sh, "semver-checks", "0.51.0") {
            return Ok(Outcome::Skipped(reason));
        }
        cmd!(
            sh,
            "{cargo} semver-checks --package {name} --baseline-rev {tag}"
        )
        .run()?;
        checked += 1;
    }
    if checked == 0 {
        return Ok(Outcome::Skipped(
            "no crate has a release tag yet, so there is nothing to compare with".to_owned(),
        ));
    }
    Ok(Outcome::Passed(format!("{checked} crates")))
}

/// Every test in a process of its own, where none is helped or hindered by its neighbours; the
/// core's again and again, as many at once as there are cores.
pub(crate) fn stress(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    if let Some(reason) = install(sh, "nextest", "0.9.143") {
        return Ok(Outcome::Skipped(reason));
    }
    let features = metadata::all_features(&metadata::packages(sh)?);
    cmd!(
        sh,
        "{cargo} nextest run --workspace {features} --no-fail-fast --status-level fail"
    )
    .run()?;
    let core = CORE.map(|name| format!("--package={name}"));
    // Properties are explored by the `test` step; here the same few cases are to meet many
    // schedules.
    let _cases = sh.push_env("PROPTEST_CASES", "8");
    cmd!(
        sh,
        "{cargo} nextest run {core...} --stress-count 50 --status-level fail"
    )
    .run()?;
    Ok(Outcome::Passed(
        "each alone; 50 rounds of the core".to_owned(),
    ))
}

/// How many shares the mutants are played in, one a day: a share is to end within a quarter of an
/// hour on two cores.
const SHARES: u64 = 30;

/// Which share is played instead of the day's, as cargo-mutants writes it: `0/1` is all of them.
const SHARE: &str = "XTASK_MUTANTS_SHARE";

/// Changes the protocol crates a little, one change at a time: each must make a test fail. A change
/// that none notices is a fact that no test states; they are listed in
/// `target/mutants/mutants.out/missed.txt`. Which files are changed, and which changes no test can
/// notice, is in `.cargo/mutants.toml`.
pub(crate) fn mutants(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    if let Some(reason) = install(sh, "mutants", "27.1.0") {
        return Ok(Outcome::Skipped(reason));
    }
    let share = match std::env::var(SHARE) {
        Ok(share) => share,
        Err(_) => share_of_the_day()?,
    };
    let packages = PROTOCOLS.map(|name| format!("--package={name}"));
    // The copy that is changed finds the libraries built.
    let built = root().join("target/mutants/built");
    let _built = sh.push_env("CARGO_TARGET_DIR", built);
    // All mutants of a share are played in one copy: a case that one of them failed is not to be
    // played with the next.
    let _kept = sh.push_env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    let command = cmd!(
        sh,
        "{cargo} mutants {packages...} --all-features --baseline=skip --timeout=120 --output=target/mutants --no-shuffle --shard={share} -- --lib --test it"
    );
    let code = Command::from(command).current_dir(root()).status()?.code();
    let missed = root().join("target/mutants/mutants.out/missed.txt");
    let survived = std::fs::read_to_string(&missed).unwrap_or_default();
    match code {
        // 3: some made a test hang, which the time limit noticed; others may have survived.
        Some(0 | 3) if survived.trim().is_empty() => Ok(Outcome::Passed(format!("share {share}"))),
        _ => anyhow::bail!("share {share}: the survivors are in {}", missed.display()),
    }
}

/// Days are counted, so that all shares are met in turn.
fn share_of_the_day() -> Result<String> {
    const DAY: u64 = 24 * 60 * 60;
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed()?;
    Ok(format!("{}/{SHARES}", since.as_secs() / DAY % SHARES))
}

/// Crowds on several executors, in random interleavings.
pub(crate) fn shuttle(sh: &Shell) -> Result<Outcome> {
    let mut modelled = metadata::published(sh)?;
    modelled.retain(|package| package.tests.iter().any(|test| test == "shuttle"));
    let mut counts = Counts::default();
    let flags = format!(
        "{} --cfg shuttle",
        std::env::var("RUSTFLAGS").unwrap_or_default()
    );
    each(modelled, |package| {
        let mut command = Command::new(cargo());
        command.args([
            "test",
            "--release",
            "--package",
            &package.name,
            "--features=__shuttle",
            "--test",
            "shuttle",
        ]);
        command
            .env("RUSTFLAGS", &flags)
            .env("CARGO_TARGET_DIR", root().join("target/shuttle"))
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        counts.add(command.current_dir(root()))
    })
    .with_context(|| counts.to_string())?;
    Ok(Outcome::Passed(counts.to_string()))
}

/// Systems for which the leaf crates are compiled. Nothing is run there.
const ELSEWHERE: [&str; 2] = ["x86_64-pc-windows-gnu", "x86_64-apple-darwin"];

/// Whether the leaf crates compile where this machine is not.
pub(crate) fn elsewhere(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let (leaves, features) = leaves(sh)?;
    for target in ELSEWHERE {
        if cmd!(sh, "rustup target add {target}")
            .quiet()
            .ignore_stderr()
            .run()
            .is_err()
        {
            return Ok(Outcome::Skipped(format!(
                "rustup has no standard library for {target} here"
            )));
        }
        let target = format!("--target={target}");
        let (leaves, features) = (&leaves, &features);
        cmd!(sh, "{cargo} check {leaves...} {features} {target}").run()?;
    }
    Ok(Outcome::Passed(format!(
        "compiled for {}, run for neither",
        ELSEWHERE.join(" and ")
    )))
}

/// Whether the leaf crates compile where this machine is: for runners with macOS and Windows.
pub(crate) fn native(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let (leaves, features) = leaves(sh)?;
    cmd!(sh, "{cargo} build {leaves...} {features}").run()?;
    Ok(Outcome::PASSED)
}

/// The arguments for the crates that do not ask for Linux: those below the facade's own.
fn leaves(sh: &Shell) -> Result<(Vec<String>, String)> {
    let leaves = metadata::below_facade(sh)?;
    Ok((metadata::selected(&leaves), metadata::all_features(&leaves)))
}

/// Whether the published crates compile with the oldest compiler that they promise: rustup's, or
/// the one that `XTASK_MSRV_RUSTC` names where rustup cannot fetch it.
pub(crate) fn msrv(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let published = metadata::published(sh)?;
    let version = &published.first().context("no crate")?.rust_version;
    let rustc = if let Ok(rustc) = std::env::var("XTASK_MSRV_RUSTC") {
        rustc
    } else {
        let install = cmd!(sh, "rustup toolchain install {version} --profile minimal");
        if install.quiet().ignore_stderr().run().is_err() {
            return Ok(Outcome::Skipped(format!(
                "rustup cannot install Rust {version} here"
            )));
        }
        cmd!(sh, "rustup which rustc --toolchain {version}").read()?
    };
    let found = cmd!(sh, "{rustc} --version").read()?;
    ensure!(
        found.starts_with(&format!("rustc {version}.")),
        "{rustc} is {found}, not {version}"
    );
    let features = metadata::all_features(&published);
    let published = metadata::selected(&published);
    let target = root().join("target/msrv");
    let _rustc = sh.push_env("RUSTC", &rustc);
    cmd!(
        sh,
        "{cargo} check {published...} {features} --locked --target-dir {target}"
    )
    .run()?;
    Ok(Outcome::Passed(found))
}

/// The core's tests under valgrind: nothing lost, nothing touched that is not ours.
pub(crate) fn memcheck(sh: &Shell) -> Result<Outcome> {
    if cmd!(sh, "valgrind --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_err()
    {
        return Ok(Outcome::Skipped("valgrind is not installed".to_owned()));
    }
    let runner = "valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=9";
    let mut crates = metadata::published(sh)?;
    crates.retain(|package| CORE.contains(&package.name.as_str()));
    let mut counts = Counts::default();
    each(crates, |package| {
        let mut command = Command::new(cargo());
        command.args([
            "test",
            "--package",
            &package.name,
            &package.all_features(),
            "--lib",
            "--tests",
        ]);
        command
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner)
            .env("PROPTEST_CASES", "4");
        counts.add(command.current_dir(root()))
    })
    .with_context(|| counts.to_string())?;
    Ok(Outcome::Passed(counts.to_string()))
}

/// Many connections and updates in one process, whose memory, descriptors and tasks are counted.
pub(crate) fn soak(sh: &Shell) -> Result<Outcome> {
    if cfg!(not(target_os = "linux")) {
        return Ok(Outcome::Skipped("it looks into /proc".to_owned()));
    }
    let cargo = cargo();
    // Optimised, so that it is a matter of seconds.
    cmd!(
        sh,
        "{cargo} test --release --package listener-versions --test soak -- --ignored --nocapture --test-threads=1"
    )
    .run()?;
    Ok(Outcome::Passed(
        "100 000 connections, 2 000 updates, 500 a second".to_owned(),
    ))
}

/// Keep-alive clients that pause for most of a drain time between their requests, near and far.
pub(crate) fn rarely(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    cmd!(
        sh,
        "{cargo} test --release --package proto-drain-http1 --features hyper --test rarely -- --ignored --nocapture"
    )
    .run()?;
    Ok(Outcome::Passed(
        "600 clients, twenty updates, 0 and 50 ms away".to_owned(),
    ))
}

/// edge with jemalloc, which no other step builds.
pub(crate) fn jemalloc(sh: &Shell) -> Result<Outcome> {
    let make = cmd!(sh, "make --version").quiet().ignore_stdout();
    if make.ignore_stderr().run().is_err() {
        return Ok(Outcome::Skipped("make is not installed".to_owned()));
    }
    let mut counts = Counts::default();
    let mut command = Command::new(cargo());
    command.args(["test", "--package", "edge", "--features", "jemalloc"]);
    command.args(["--test", "edge", "update::"]);
    counts.add(command.current_dir(root()))?;
    Ok(Outcome::Passed(counts.to_string()))
}

/// The recipes of `docs/adopting.md`, followed to the letter in a project of their own.
pub(crate) fn newcomer(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    cmd!(
        sh,
        "{cargo} test --package orion-drain --all-features --test newcomer -- --include-ignored"
    )
    .run()?;
    Ok(Outcome::PASSED)
}

/// Their peers bring dependencies of their own, which take longer than looking at the benches does.
pub(crate) fn benches(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let of = peers_workspace();
    cmd!(sh, "{cargo} clippy {of...} --all-targets -- -D warnings").run()?;
    Ok(Outcome::PASSED)
}

/// Its peers are a workspace of their own, built by the test too.
pub(crate) fn versus(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let built = root().join("target");
    let of = [
        "--manifest-path",
        "xtask/lab/versus/peers/Cargo.toml",
        "--locked",
    ];
    cmd!(
        sh,
        "{cargo} clippy {of...} --release --target-dir {built} -- -D warnings"
    )
    .run()?;
    cmd!(sh, "{cargo} test --package lab-versus -- --include-ignored").run()?;
    Ok(Outcome::PASSED)
}

/// Makes sure that `cargo {tool}` is there; otherwise says why not.
fn install(sh: &Shell, tool: &str, version: &str) -> Option<String> {
    let cargo = cargo();
    if cmd!(sh, "{cargo} {tool} --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_ok()
    {
        return None;
    }
    let name = format!("cargo-{tool}");
    match cmd!(sh, "{cargo} install --locked {name}@{version}").run() {
        Ok(()) => None,
        Err(error) => Some(format!("{name} is not installed and could not be: {error}")),
    }
}
