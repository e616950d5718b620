//! The workspace as `cargo metadata` tells it, reduced to what the checks ask.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Shell, cmd};

/// A crate of this workspace.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    /// The oldest compiler that it promises to compile with.
    pub(crate) rust_version: String,
    pub(crate) published: bool,
    /// Meant by commands that name no package.
    pub(crate) default: bool,
    /// The folder of its manifest.
    pub(crate) dir: PathBuf,
    /// Without `default`, those that only bring a model checker, and those that need `make`.
    pub(crate) features: Vec<String>,
    /// Names of its integration tests.
    pub(crate) tests: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
    /// Metadata fields that crates.io shows and that are not set.
    pub(crate) missing: Vec<&'static str>,
}

/// Features of the models: they bring loom and shuttle, which nothing else needs.
const MODELS: [&str; 2] = ["__loom", "__shuttle"];

/// Features whose dependencies are built with `make`. All checks are to pass where there are only
/// Rust and a C compiler; the step `jemalloc` builds it where there is `make`.
const NEEDS_MAKE: [&str; 1] = ["jemalloc"];

impl Package {
    /// The argument for all of its features.
    pub(crate) fn all_features(&self) -> String {
        format!("--features={}", self.features.join(","))
    }
}

/// The argument for all features of all these packages, in a command for the whole workspace.
pub(crate) fn all_features(packages: &[Package]) -> String {
    let of = |package: &Package| -> Vec<String> {
        let name = &package.name;
        package
            .features
            .iter()
            .map(|feature| format!("{name}/{feature}"))
            .collect()
    };
    format!(
        "--features={}",
        packages.iter().flat_map(of).collect::<Vec<_>>().join(",")
    )
}

/// The programs of tests in what cargo writes with `--message-format json`.
pub(crate) fn tests_built(messages: &[u8]) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for message in messages.split(|byte| *byte == b'\n') {
        if message.is_empty() {
            continue;
        }
        let message: Value = serde_json::from_slice(message)?;
        if let Some(program) = message["executable"].as_str() {
            programs.push(program.into());
        }
    }
    Ok(programs)
}

/// The arguments that select these packages.
pub(crate) fn selected(packages: &[Package]) -> Vec<String> {
    let name = |package: &Package| format!("--package={}", package.name);
    packages.iter().map(name).collect()
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) requirement: String,
    pub(crate) dev: bool,
}

/// The crates of the workspace in `sh`'s folder.
pub(crate) fn packages(sh: &Shell) -> Result<Vec<Package>> {
    let cargo = crate::cargo();
    let json = cmd!(sh, "{cargo} metadata --format-version 1 --no-deps")
        .quiet()
        .read()?;
    parse(&json)
}

/// The published ones of the workspace in `sh`'s folder.
pub(crate) fn published(sh: &Shell) -> Result<Vec<Package>> {
    Ok(packages(sh)?
        .into_iter()
        .filter(|package| package.published)
        .collect())
}

/// The published ones that are not the facade's own. They ask for no Linux.
pub(crate) fn below_facade(sh: &Shell) -> Result<Vec<Package>> {
    let mut packages = published(sh)?;
    packages.retain(|package| !package.name.starts_with("orion-drain"));
    Ok(packages)
}

/// Where the workspace in `sh`'s folder is built.
pub(crate) fn target_directory(sh: &Shell) -> Result<PathBuf> {
    let cargo = crate::cargo();
    let json = cmd!(sh, "{cargo} metadata --format-version 1 --no-deps")
        .quiet()
        .read()?;
    let metadata: Value = serde_json::from_str(&json)?;
    let folder = metadata["target_directory"].as_str();
    folder
        .map(PathBuf::from)
        .context("cargo metadata names no target folder")
}

fn parse(json: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(json)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let default = metadata["workspace_default_members"].as_array();
    let is_default = |json: &Value| default.is_some_and(|ids| ids.contains(&json["id"]));
    packages
        .iter()
        .map(|json| package(json, is_default(json)))
        .collect()
}

fn package(json: &Value, default: bool) -> Result<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let manifest = PathBuf::from(text(&json["manifest_path"]));
    let features = json["features"]
        .as_object()
        .map(|features| features.keys().cloned().collect::<Vec<_>>());
    let is_test = |target: &&Value| list(&target["kind"]).iter().any(|kind| kind == "test");
    let empty = |value: &Value| {
        value.is_null()
            || value.as_str().is_some_and(str::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    };
    Ok(Package {
        name: text(&json["name"]),
        version: text(&json["version"]),
        description: text(&json["description"]),
        rust_version: text(&json["rust_version"]),
        // `publish` is null for "anywhere" and [] for "nowhere".
        published: json["publish"].is_null(),
        default,
        dir: manifest
            .parent()
            .context("a manifest lies in a folder")?
            .to_owned(),
        features: features
            .unwrap_or_default()
            .into_iter()
            .filter(|feature| {
                let feature = feature.as_str();
                feature != "default" && !MODELS.contains(&feature) && !NEEDS_MAKE.contains(&feature)
            })
            .collect(),
        tests: list(&json["targets"])
            .iter()
            .filter(is_test)
            .map(|target| text(&target["name"]))
            .collect(),
        dependencies: list(&json["dependencies"])
            .iter()
            .map(|dependency| Dependency {
                name: text(&dependency["name"]),
                requirement: text(&dependency["req"]),
                dev: dependency["kind"] == "dev",
            })
            .collect(),
        missing: [
            "description",
            "license",
            "repository",
            "readme",
            "keywords",
            "categories",
            "rust_version",
        ]
        .into_iter()
        .filter(|field| empty(&json[*field]))
        .collect(),
    })
}
