//! The project's own commands.

mod adopter;
mod alone;
mod ci;
mod documents;
mod full;
mod lab;
mod layers;
mod metadata;
mod release;
mod siblings;
mod steps;
mod tidy;

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Parser;

/// The project's own commands. `bench`, `clients`, `conformance`, `demo`, `versus` and `xds` are
/// programs below `xtask/lab`, which are built when they are first asked for: `ci fmt` waits for
/// none of them.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Measures what draining costs, and writes `docs/performance.md`.
    #[command(disable_help_flag = true)]
    Bench(Passed),
    /// Checks everything: a list of named steps, all of them or those that are named.
    Ci(ci::Options),
    /// Shows a drain to curl, nghttp, h2load, Node.js, OpenSSL and Python's clients, and judges
    /// what they saw.
    #[command(disable_help_flag = true)]
    Clients(Passed),
    /// Plays the same scenarios against Envoy 1.40 and against edge, and compares them rule by
    /// rule.
    #[command(disable_help_flag = true)]
    Conformance(Passed),
    /// Updates a listener again and again under a crowd of real clients and counts what is lost.
    #[command(disable_help_flag = true)]
    Demo(Passed),
    /// Writes the table of all crates into their READMEs.
    Readme,
    /// Shows what a release would publish, and checks that it can be.
    Release(release::Options),
    /// Plays edge beside Envoy, HAProxy, nginx and a plain hyper-util server, and shows what each
    /// lost and cost.
    #[command(disable_help_flag = true)]
    Versus(Passed),
    /// Configures Envoy 1.40 and edge from one control plane, and compares what they answer and
    /// serve.
    #[command(disable_help_flag = true)]
    Xds(Passed),
}

/// What the program below `xtask/lab` is given, `--help` too.
#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    arguments: Vec<OsString>,
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Bench(passed) => lab::run(&lab::BENCH, &passed.arguments),
        Command::Ci(options) => ci::run(&options),
        Command::Clients(passed) => lab::run(&lab::CLIENTS, &passed.arguments),
        Command::Conformance(passed) => lab::run(&lab::CONFORMANCE, &passed.arguments),
        Command::Demo(passed) => lab::demo(&passed.arguments),
        Command::Readme => siblings::run(),
        Command::Release(options) => release::run(&options),
        Command::Versus(passed) => lab::run(&lab::VERSUS, &passed.arguments),
        Command::Xds(passed) => lab::run(&lab::XDS, &passed.arguments),
    }
}

/// The cargo that runs this program, so that all of a run uses one toolchain.
fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The workspace's folder, wherever this program was started.
fn root() -> PathBuf {
    let xtask =
        env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    PathBuf::from(xtask)
        .parent()
        .map_or_else(|| PathBuf::from("."), PathBuf::from)
}
