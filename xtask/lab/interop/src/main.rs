//! Programs that are not ours, and what they see: clients in a drain, a control plane, judges of
//! the exposition.

mod clients;
mod prometheus;
mod xds;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Shows a drain to curl, nghttp, h2load, Node.js, OpenSSL and Python's clients, and judges
    /// what they saw.
    Clients(clients::Options),
    /// Shows the exposition of the statistics to promtool and to Prometheus' Python client.
    Prometheus,
    /// Configures Envoy 1.40 and edge from one control plane, and compares what they answer and
    /// serve.
    Xds(xds::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Command::parse() {
        Command::Clients(options) => clients::run(&options),
        Command::Prometheus => prometheus::run(),
        Command::Xds(options) => xds::run(&options),
    }
}
