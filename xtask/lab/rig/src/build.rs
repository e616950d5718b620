//! This workspace, and the programs that are built of it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

/// The cargo that runs this program, so that all of a run uses one toolchain.
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The workspace's folder, wherever this program was started.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(3)
        .map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Builds edge by this profile of cargo; where it is.
pub fn build_edge(profile: &str, features: &str) -> anyhow::Result<PathBuf> {
    build(profile, "edge", "--bin", "edge", features)
}

/// Builds an example in release mode; where it is.
pub fn build_example(package: &str, name: &str, features: &str) -> anyhow::Result<PathBuf> {
    build("release", package, "--example", name, features)
}

fn build(
    profile: &str,
    package: &str,
    kind: &str,
    name: &str,
    features: &str,
) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.args([
        "build",
        "--profile",
        profile,
        "--package",
        package,
        kind,
        name,
    ]);
    command.args([
        "--features",
        features,
        "--message-format=json-render-diagnostics",
    ]);
    println!("$ {command:?}");
    let built = command
        .current_dir(root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("building {name}"))?;
    ensure!(built.status.success(), "building {name}: {}", built.status);
    let told = String::from_utf8_lossy(&built.stdout);
    let artifacts = told
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executables = artifacts.filter(|artifact| artifact["target"]["name"] == name);
    let path = executables
        .filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
        .next_back();
    path.with_context(|| format!("cargo named no executable for {name}"))
}
