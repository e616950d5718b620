//! What each step of `cargo xtask ci` does.
//!
//! Most of the time is spent on dependencies, and again for each other set of their features. So
//! there are few sets: that of all tests and lints together, that of the published crates without
//! their tests (documentation, packages), and the small ones of each library alone.

use std::{
    io::{BufRead, BufReader},
    num::NonZero,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use xshell::{Shell, cmd};

use crate::{
    cargo, ci::Outcome, documents, layers as layer_table, metadata, release, root, siblings,
    tidy as rules,
};

pub(crate) fn fmt(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    cmd!(sh, "{cargo} fmt --all --check")
        .run()
        .context("run `cargo fmt --all`")?;
    Ok(Outcome::PASSED)
}

pub(crate) fn layers(sh: &Shell) -> Result<Outcome> {
    let packages = metadata::packages(sh)?;
    none(&layer_table::problems(&packages))?;
    Ok(Outcome::Passed(format!("{} crates", packages.len())))
}

pub(crate) fn tidy(sh: &Shell) -> Result<Outcome> {
    let packages = metadata::packages(sh)?;
    let mut problems = rules::problems(&root(), &packages)?;
    problems.extend(documents::problems(sh, &packages)?);
    problems.extend(siblings::problems(&packages)?);
    none(&problems)?;
    Ok(Outcome::PASSED)
}

/// Everything at once: one set of features, so that each dependency is checked once.
pub(crate) fn clippy(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let packages = metadata::packages(sh)?;
    let features = metadata::all_features(&packages);
    cmd!(
        sh,
        "{cargo} clippy --workspace --all-targets {features} -- -D warnings"
    )
    .run()?;
    Ok(Outcome::Passed(format!("{} crates", packages.len())))
}

/// Each published crate below the facade's own alone, with no features and with all of them: built
/// together with others, a crate would find a feature of a dependency that it forgot to ask for.
/// The facade's own bring Envoy's messages, gRPC and TLS, and take longer than everything else of
/// this step together: `package` builds all of them at once, and the step `powerset` each without
/// features, with each feature and with each pair.
pub(crate) fn features(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let mut builds = 0;
    each(metadata::below_facade(sh)?, |package| {
        let name = &package.name;
        let mut sets = vec![String::new()];
        if !package.features.is_empty() {
            sets.push(package.features.join(","));
        }
        for features in sets {
            let features = format!("--features={features}");
            cmd!(
                sh,
                "{cargo} clippy --package {name} --lib --no-default-features {features} -- -D warnings"
            )
            .run()?;
            builds += 1;
        }
        Ok(())
    })?;
    Ok(Outcome::Passed(format!("{builds} builds")))
}

pub(crate) fn doc(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let _flags = sh.push_env("RUSTDOCFLAGS", "-D warnings");
    let published = metadata::published(sh)?;
    let (names, features) = (
        metadata::selected(&published),
        metadata::all_features(&published),
    );
    cmd!(sh, "{cargo} doc {names...} --no-deps {features}").run()?;
    Ok(Outcome::PASSED)
}

pub(crate) fn test(sh: &Shell) -> Result<Outcome> {
    let mut counts = Counts::default();
    let mut command = tests(sh)?;
    let tested = counts.add(command.arg("--no-fail-fast"));
    println!("tests: {counts}");
    tested.with_context(|| counts.to_string())?;
    Ok(Outcome::Passed(counts.to_string()))
}

/// All tests in one build, in which each dependency is built once.
fn tests(sh: &Shell) -> Result<Command> {
    let mut command = Command::new(cargo());
    command.args(["test", "--workspace"]);
    command.arg(metadata::all_features(&metadata::packages(sh)?));
    command.current_dir(root()).env("CARGO_INCREMENTAL", "0");
    if std::env::var_os(THREADS).is_none() {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        command.env(THREADS, cores.max(24).to_string());
    }
    Ok(command)
}

/// How many tests of one program run at once. Those that start processes mostly wait for them: with
/// eight at once, two cores are still idle for a third of the time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Tests under executors of others, beside the benches that compare with crates of others: a
/// workspace of their own. The step `benches` looks for warnings in it.
pub(crate) fn peers(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let of = peers_workspace();
    cmd!(sh, "{cargo} test {of...} --tests").run()?;
    Ok(Outcome::PASSED)
}

/// What chooses the workspace of the benches' peers, built where this one is.
pub(crate) fn peers_workspace() -> Vec<String> {
    let built = root().join("target");
    [
        "--manifest-path=xtask/lab/peers/Cargo.toml".to_owned(),
        "--locked".to_owned(),
        format!("--target-dir={}", built.display()),
    ]
    .to_vec()
}

pub(crate) fn loom(sh: &Shell) -> Result<Outcome> {
    let mut modelled: Vec<_> = metadata::published(sh)?;
    modelled.retain(|package| package.tests.iter().any(|test| test == "loom"));
    let features: Vec<_> = modelled
        .iter()
        .map(|package| format!("{}/__loom", package.name))
        .collect();
    let mut command = Command::new(cargo());
    command
        .args(["test", "--profile", "model", "--test", "loom", "--no-run"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(metadata::selected(&modelled))
        .arg(format!("--features={}", features.join(",")))
        .env(
            "RUSTFLAGS",
            format!(
                "{} --cfg loom",
                std::env::var("RUSTFLAGS").unwrap_or_default()
            ),
        )
        .env("CARGO_TARGET_DIR", root().join("target/loom"))
        .current_dir(root())
        .stderr(Stdio::inherit());
    println!("$ {command:?}");
    let built = command.output()?;
    ensure!(built.status.success(), "cargo test: {}", built.status);
    let programs = metadata::tests_built(&built.stdout)?;
    ensure!(
        programs.len() == modelled.len(),
        "{} programs of {} crates",
        programs.len(),
        modelled.len()
    );
    // At once: in each, a few models take longer than all the others together.
    let runs = thread::scope(|scope| {
        let run = |program: &Path| {
            let mut counts = Counts::default();
            let ended = counts.add(Command::new(program).current_dir(root()));
            (counts, ended)
        };
        let runs: Vec<_> = programs
            .iter()
            .map(|program| scope.spawn(move || run(program)))
            .collect();
        runs.into_iter()
            .map(|run| run.join().map_err(|_| anyhow!("a thread panicked")))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut counts = Counts::default();
    for (of, _) in &runs {
        counts.passed += of.passed;
        counts.failed += of.failed;
        counts.ignored += of.ignored;
    }
    for (_, ended) in runs {
        ended.with_context(|| counts.to_string())?;
    }
    Ok(Outcome::Passed(counts.to_string()))
}

pub(crate) fn package(sh: &Shell) -> Result<Outcome> {
    release::package(sh)?;
    Ok(Outcome::PASSED)
}

/// With the programs that the tests have been built with; with short times, for the step is a smoke
/// test.
pub(crate) fn demo(sh: &Shell) -> Result<Outcome> {
    let built = tests(sh)?
        .args(["--no-run", "--quiet", "--test=edge", "--test=program"])
        .status()?;
    ensure!(built.success(), "building edge and the demo: {built}");
    let programs = metadata::target_directory(sh)?.join("debug");
    let (demo, edge) = (programs.join("lab-demo"), programs.join("edge"));
    let times = ["--drain-time-s=4", "--interval-ms=1500"];
    for what in [
        ["--updates=3"].as_slice(),
        &["--hot-restart", "--restarts=1"],
    ] {
        cmd!(sh, "{demo} --edge {edge} {times...} {what...}")
            .run()
            .context("it says above what was lost")?;
    }
    Ok(Outcome::PASSED)
}

/// Runs `check` for every crate, also after one has failed; names those that did.
pub(crate) fn each(
    packages: Vec<metadata::Package>,
    mut check: impl FnMut(&metadata::Package) -> Result<()>,
) -> Result<()> {
    let mut failed = Vec::new();
    for package in packages {
        if let Err(error) = check(&package) {
            println!("{}: {error:#}", package.name);
            failed.push(package.name);
        }
    }
    ensure!(failed.is_empty(), "failed in {}", failed.join(", "));
    Ok(())
}

fn none(problems: &[String]) -> Result<()> {
    for problem in problems {
        println!("{problem}");
    }
    if problems.is_empty() {
        Ok(())
    } else {
        bail!("{} found", problems.len())
    }
}

/// What the test runners' closing lines add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Runs a `cargo test`, shows its output as it comes, and counts.
    pub(crate) fn add(&mut self, command: &mut Command) -> Result<()> {
        println!("$ {command:?}");
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output is piped")?;
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            self.add_line(&line);
        }
        let status = child.wait()?;
        ensure!(status.success(), "the tests: {status}");
        Ok(())
    }

    fn add_line(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        for count in counts.split([';', '.']) {
            let mut words = count.split_whitespace();
            let (Some(Ok(number)), Some(word)) =
                (words.next().map(str::parse::<u64>), words.next())
            else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} ignored",
            self.passed, self.failed, self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_several_runners_add_up() {
        let mut counts = Counts::default();
        counts.add_line(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.21s",
        );
        counts.add_line("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        counts.add_line("test some::test ... ok");
        assert_eq!(
            counts,
            Counts {
                passed: 15,
                failed: 2,
                ignored: 1
            }
        );
    }
}
