//! The project's own commands.

mod adopter;
mod bench;
mod ci;
mod clients;
mod conformance;
mod demo;
mod full;
mod layers;
mod ledger;
mod metadata;
mod prometheus;
mod release;
mod steps;
mod tidy;
mod xds;

use std::{env, path::PathBuf, process::ExitCode};

use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
enum Command {
    /// Measures what draining costs, and writes `docs/performance.md`.
    Bench(bench::Options),
    /// Checks everything: a list of named steps, all of them or those that are named.
    Ci(ci::Options),
    /// Shows a drain to curl, nghttp, h2load, Node.js, OpenSSL and Python's clients, and judges what they saw.
    Clients(clients::Options),
    /// Plays the same scenarios against Envoy 1.40 and against edge, and compares them rule by rule.
    Conformance(conformance::Options),
    /// Updates a listener again and again under a crowd of real clients and counts what is lost.
    Demo(demo::Options),
    /// Shows what a release would publish, and checks that it can be.
    Release(release::Options),
    /// Configures Envoy 1.40 and edge from one control plane, and compares what they answer and serve.
    Xds(xds::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Bench(options) => bench::run(&options),
        Command::Ci(options) => ci::run(&options),
        Command::Clients(options) => clients::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Demo(options) => demo::run(options),
        Command::Release(options) => release::run(&options),
        Command::Xds(options) => xds::run(&options),
    }
}

/// The cargo that runs this program, so that all of a run uses one toolchain.
fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The workspace's folder, wherever this program was started.
fn root() -> PathBuf {
    let xtask = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    PathBuf::from(xtask)
        .parent()
        .map_or_else(|| PathBuf::from("."), PathBuf::from)
}
