//! `cargo xtask release --dry-run`: everything about a release except the publishing.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::{
    cargo,
    metadata::{self, Dependency, Package},
    root,
};

/// How to release.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Publish nothing; show what would be published, in which order, and check that it can be.
    #[arg(long)]
    dry_run: bool,
}

/// Checks every published crate and shows the order in which they would go out.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !options.dry_run {
        bail!(
            "publishing is done by a person, with the commands that `cargo xtask release --dry-run` prints"
        );
    }
    let sh = Shell::new()?;
    sh.change_dir(root());
    let ordered = publication_order(metadata::published(&sh)?)?;
    package(&sh)?;

    let mut unready = 0;
    println!("\nin this order, each tagged after it is published:");
    for Package {
        name, version, dir, ..
    } in &ordered
    {
        let changelog = fs::read_to_string(dir.join("CHANGELOG.md"))
            .with_context(|| format!("{name}: CHANGELOG.md"))?;
        let note = match changes(&changelog, version) {
            0 => {
                unready += 1;
                "  # NOT READY: its CHANGELOG names no change"
            }
            _ => "",
        };
        println!("  cargo publish --package {name} && git tag {name}-v{version}{note}");
    }
    let dirty = cmd!(sh, "git status --porcelain").quiet().read()?;
    if !dirty.is_empty() {
        println!("note: the working tree has changes that are not committed");
    }
    ensure!(unready == 0, "{unready} crates are not ready");
    Ok(ExitCode::SUCCESS)
}

/// As in the workspace's own manifest, so that what was built for it is used here too.
const PROFILE: &str =
    "[profile.dev]\ndebug = \"line-tables-only\"\n\n[profile.dev.package.\"*\"]\ndebug = false\n";

/// Packages all published crates, and builds what was packaged, with the siblings' packages in place of crates.io.
///
/// Not by cargo's own verification: that takes siblings from a registry of its own making and keeps their sources and
/// builds by version, so that with an unchanged version it checks against yesterday's sibling.
pub(crate) fn package(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    let crates = metadata::published(sh)?;
    let names = metadata::selected(&crates);
    cmd!(sh, "{cargo} package {names...} --allow-dirty --no-verify").run()?;
    let target = metadata::target_directory(sh)?;
    let unpacked = target.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    let mut patches = String::new();
    for Package { name, version, .. } in &crates {
        let archive = target.join(format!("package/{name}-{version}.crate"));
        cmd!(
            sh,
            "tar --extract --gzip --file {archive} --directory {unpacked}"
        )
        .run()?;
        patches.push_str(&format!("{name} = {{ path = \"{name}-{version}\" }}\n"));
    }
    let workspace = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\"*-*\"]\n\n{PROFILE}\n[patch.crates-io]\n{patches}"
    );
    fs::write(unpacked.join("Cargo.toml"), workspace)?;
    // The versions that everything else was tested with.
    fs::copy(root().join("Cargo.lock"), unpacked.join("Cargo.lock"))?;
    let _there = sh.push_dir(&unpacked);
    let features = metadata::all_features(&crates);
    cmd!(
        sh,
        "{cargo} check --workspace {features} --target-dir {target}"
    )
    .run()?;
    Ok(())
}

/// Each crate after all that it depends on, also for its tests.
fn publication_order(mut left: Vec<Package>) -> Result<Vec<Package>> {
    let mut ordered: Vec<Package> = Vec::new();
    while !left.is_empty() {
        let waits = |package: &Package| {
            package
                .dependencies
                .iter()
                .any(|dependency| left.iter().any(|other| other.name == dependency.name))
        };
        let next = left
            .iter()
            .position(|package| !waits(package))
            .context("the crates depend on each other in a circle")?;
        ordered.push(left.remove(next));
    }
    Ok(ordered)
}

/// What is wrong with the numbered list of RELEASING.md: each published crate once, after all that it depends on.
pub(crate) fn order_problems(document: &str, packages: &[Package]) -> Vec<String> {
    let is_numbered = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
    let listed: Vec<&str> = document
        .lines()
        .filter(is_numbered)
        .filter_map(|line| line.split_once(". `")?.1.strip_suffix('`'))
        .collect();
    let place = |name: &str| listed.iter().position(|listed| *listed == name);
    let mut problems = Vec::new();
    for package in packages.iter().filter(|package| package.published) {
        let name = &package.name;
        let Some(own) = place(name) else {
            problems.push(format!("RELEASING.md: {name} is not in the list"));
            continue;
        };
        let is_late = |dependency: &&Dependency| {
            !dependency.dev && place(&dependency.name).is_some_and(|place| place > own)
        };
        let late = package.dependencies.iter().filter(is_late);
        problems.extend(late.map(|dependency| {
            format!("RELEASING.md: {name} is listed before {}", dependency.name)
        }));
    }
    let is_stranger = |name: &&&str| !packages.iter().any(|package| package.name == **name);
    let strangers = listed.iter().filter(is_stranger);
    problems.extend(strangers.map(|name| format!("RELEASING.md: there is no crate {name}")));
    problems
}

/// How many changes the section of `version`, or else the one called Unreleased, names.
fn changes(changelog: &str, version: &str) -> usize {
    let section = |title: &str| {
        let begin = format!("## [{title}]");
        let lines = changelog
            .lines()
            .skip_while(move |line| !line.starts_with(&begin))
            .skip(1);
        lines
            .take_while(|line| !line.starts_with("## "))
            .filter(|line| line.starts_with("- "))
            .count()
    };
    section(version).max(section("Unreleased"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependency = |name: &&str| Dependency {
            name: (*name).to_owned(),
            requirement: "^0.1.0".to_owned(),
            dev: false,
        };
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            rust_version: String::new(),
            published: true,
            default: true,
            dir: name.into(),
            features: vec![],
            tests: vec![],
            dependencies: dependencies.iter().map(dependency).collect(),
            missing: vec![],
        }
    }

    #[test]
    fn a_crate_goes_out_after_those_it_needs() {
        let packages = vec![
            package("top", &["middle", "serde"]),
            package("middle", &["leaf"]),
            package("leaf", &[]),
        ];
        let ordered = publication_order(packages).expect("no circle");
        assert_eq!(
            ordered
                .iter()
                .map(|package| &*package.name)
                .collect::<Vec<_>>(),
            ["leaf", "middle", "top"]
        );
    }

    #[test]
    fn the_list_has_every_crate_after_those_it_needs() {
        let packages = [package("top", &["leaf"]), package("leaf", &[])];
        let problems = |list: &str| order_problems(list, &packages);
        assert_eq!(problems("1. `leaf`\n2. `top`\n"), [""; 0]);
        for wrong in [
            "1. `top`\n2. `leaf`",
            "1. `leaf`",
            "1. `leaf`\n2. `top`\n3. `x`",
        ] {
            assert_eq!(problems(wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_circle_is_an_error() {
        assert!(publication_order(vec![package("a", &["b"]), package("b", &["a"])]).is_err());
    }

    #[test]
    fn changes_are_counted_in_the_section_of_the_version_only() {
        let changelog =
            "## [Unreleased]\n\n## [0.2.0]\n### Added\n- one\n- two\n\n## [0.1.0]\n- old\n";
        assert_eq!(changes(changelog, "0.2.0"), 2);
        assert_eq!(changes(changelog, "0.3.0"), 0);
    }
}
