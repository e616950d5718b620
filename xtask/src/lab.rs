//! The programs below `xtask/lab`: built and run by cargo when they are asked for.

use std::{
    ffi::OsString,
    process::{Command, ExitCode, ExitStatus},
};

use anyhow::{Context, Result, bail, ensure};
use xshell::Shell;

use crate::{cargo, ci::Outcome, metadata, root};

/// A program below `xtask/lab`.
#[derive(Debug)]
pub(crate) struct Lab {
    package: &'static str,
    /// Features of the package, without which it has no program.
    features: &'static str,
    /// What one program of several is asked for by.
    command: Option<&'static str>,
    /// cargo's: `dev` where what it measures does not depend on it.
    profile: &'static str,
}

impl Lab {
    const fn new(package: &'static str, command: Option<&'static str>) -> Self {
        Self {
            package,
            features: "",
            command,
            profile: "dev",
        }
    }
}

pub(crate) const BENCH: Lab = Lab {
    features: "page",
    ..Lab::new("measure", None)
};
pub(crate) const CLIENTS: Lab = Lab::new("lab-interop", Some("clients"));
pub(crate) const CONFORMANCE: Lab = Lab::new("lab-conformance", None);
const DEMO: Lab = Lab::new("lab-demo", None);
pub(crate) const PROMETHEUS: Lab = Lab::new("lab-interop", Some("prometheus"));
/// Its clients stand beside the proxies that they measure, on the same processors.
pub(crate) const VERSUS: Lab = Lab {
    profile: "release",
    ..Lab::new("lab-versus", None)
};
pub(crate) const XDS: Lab = Lab::new("lab-interop", Some("xds"));

/// The exit code by which a laboratory says that it cannot play here.
const OUT_OF_REACH: i32 = 3;

/// A command of `cargo xtask`: ends as the laboratory does.
pub(crate) fn run(lab: &Lab, arguments: &[OsString]) -> Result<ExitCode> {
    ended(start(lab, arguments)?)
}

fn ended(status: ExitStatus) -> Result<ExitCode> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The demo, built together with edge unless another is named: together, both are built of the same
/// dependencies.
pub(crate) fn demo(arguments: &[OsString]) -> Result<ExitCode> {
    let is_named = |argument: &OsString| argument.to_string_lossy().starts_with("--edge");
    if arguments.iter().any(is_named) {
        return run(&DEMO, arguments);
    }
    let sh = Shell::new()?;
    let built = Command::new(cargo())
        .args(["build", "--package=lab-demo", "--package=edge", "--bins"])
        .current_dir(root())
        .status()
        .context("building edge and the demo")?;
    ensure!(built.success(), "building edge and the demo: {built}");
    sh.change_dir(root());
    let programs = metadata::target_directory(&sh)?.join("debug");
    let mut command = Command::new(programs.join("lab-demo"));
    command
        .arg("--edge")
        .arg(programs.join("edge"))
        .args(arguments);
    ended(command.status().with_context(|| format!("{command:?}"))?)
}

/// A step of `cargo xtask ci`.
pub(crate) fn step(lab: &Lab, arguments: &[&str]) -> Result<Outcome> {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let status = start(lab, &arguments)?;
    match status.code() {
        Some(0) => Ok(Outcome::PASSED),
        Some(OUT_OF_REACH) => Ok(Outcome::Skipped(
            "it cannot be played here, see above".to_owned(),
        )),
        _ => bail!("see above ({status})"),
    }
}

fn start(lab: &Lab, arguments: &[OsString]) -> Result<ExitStatus> {
    let mut command = Command::new(cargo());
    command.args(["run", "--manifest-path"]);
    command.arg(root().join("Cargo.toml"));
    command.args(["--profile", lab.profile]);
    command.args(["--package", lab.package, "--features", lab.features, "--"]);
    command.args(lab.command).args(arguments);
    command.status().with_context(|| format!("{command:?}"))
}
