//! What each step of `cargo xtask ci` does.
//!
//! Crates are built one by one where it matters: in a build of the whole workspace their features unify, and a missing one
//! goes unnoticed. All steps share one target folder, and the same sets of features wherever they can.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::{cargo, ci::Outcome, lab, layers as layer_table, metadata, release, root, tidy as rules};

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
    none(&rules::problems(&root(), &metadata::packages(sh)?)?)?;
    Ok(Outcome::PASSED)
}

pub(crate) fn clippy(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let alone = each(metadata::packages(sh)?, |package| {
        let (name, features) = (&package.name, package.all_features());
        cmd!(
            sh,
            "{cargo} clippy --package {name} --all-targets {features} -- -D warnings"
        )
        .run()?;
        Ok(())
    });
    cmd!(sh, "{cargo} clippy --workspace --all-targets -- -D warnings")
        .run()
        .context("in the whole workspace")?;
    alone?;
    Ok(Outcome::PASSED)
}

pub(crate) fn features(sh: &Shell) -> Result<Outcome> {
    let cargo = cargo();
    let mut builds = 0;
    each(metadata::published(sh)?, |package| {
        let name = &package.name;
        cmd!(sh, "{cargo} check --package {name} --lib --no-default-features").run()?;
        builds += 1;
        for feature in &package.features {
            cmd!(
                sh,
                "{cargo} check --package {name} --lib --no-default-features --features {feature}"
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
    each(metadata::published(sh)?, |package| {
        let (name, features) = (&package.name, package.all_features());
        cmd!(sh, "{cargo} doc --package {name} --no-deps {features}").run()?;
        Ok(())
    })?;
    Ok(Outcome::PASSED)
}

pub(crate) fn test(sh: &Shell) -> Result<Outcome> {
    let mut counts = Counts::default();
    let tested = each(metadata::packages(sh)?, |package| {
        let mut command = Command::new(cargo());
        command.args([
            "test",
            "--package",
            &package.name,
            &package.all_features(),
            "--no-fail-fast",
        ]);
        counts.add(command.current_dir(root()).env("CARGO_INCREMENTAL", "0"))
    });
    println!("tests: {counts}");
    tested.with_context(|| counts.to_string())?;
    Ok(Outcome::Passed(counts.to_string()))
}

pub(crate) fn loom(sh: &Shell) -> Result<Outcome> {
    let mut modelled: Vec<_> = metadata::published(sh)?;
    modelled.retain(|package| package.tests.iter().any(|test| test == "loom"));
    let mut counts = Counts::default();
    let flags = format!("{} --cfg loom", std::env::var("RUSTFLAGS").unwrap_or_default());
    each(modelled, |package| {
        let mut command = Command::new(cargo());
        command.args([
            "test",
            "--release",
            "--package",
            &package.name,
            "--features=__loom",
            "--test",
            "loom",
        ]);
        command
            .env("RUSTFLAGS", &flags)
            .env("CARGO_TARGET_DIR", root().join("target/loom"));
        // The models finish in seconds anyway; building all that lies below them optimized takes minutes.
        command
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        counts.add(command.current_dir(root()))
    })
    .with_context(|| counts.to_string())?;
    Ok(Outcome::Passed(counts.to_string()))
}

pub(crate) fn package(sh: &Shell) -> Result<Outcome> {
    release::package(sh)?;
    Ok(Outcome::PASSED)
}

pub(crate) fn demo(_: &Shell) -> Result<Outcome> {
    for what in [["--updates", "3"].as_slice(), &["--hot-restart", "--restarts=3"]] {
        lab::step(&lab::DEMO, what).context("it says above what was lost")?;
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
        ensure!(status.success(), "cargo test: {status}");
        Ok(())
    }

    fn add_line(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        for count in counts.split([';', '.']) {
            let mut words = count.split_whitespace();
            let (Some(Ok(number)), Some(word)) = (words.next().map(str::parse::<u64>), words.next()) else {
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
