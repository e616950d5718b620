//! `cargo xtask release --dry-run`: everything about a release except the publishing.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::{
    alone, cargo,
    metadata::{self, Dependency, Package},
    root,
};

/// How to release.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Publish nothing; show what would be published, in which order, and check that it can be.
    #[arg(long)]
    dry_run: bool,
    /// Only these crates are built and tested alone.
    crates: Vec<String>,
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
    let mut chosen = ordered.clone();
    if !options.crates.is_empty() {
        chosen.retain(|package| options.crates.contains(&package.name));
        ensure!(
            chosen.len() == options.crates.len(),
            "one of these crates is not published"
        );
    }
    let missing = alone::check(&sh, &ordered, &chosen)?;

    println!("\nin this order, each tagged after it is published:");
    for Package { name, version, .. } in &ordered {
        println!("  cargo publish --package {name} && git tag {name}-v{version}");
    }
    let mut lacks = Vec::new();
    for Package {
        name, version, dir, ..
    } in &ordered
    {
        let changelog = fs::read_to_string(dir.join("CHANGELOG.md"))
            .with_context(|| format!("{name}: CHANGELOG.md"))?;
        if changes(&changelog, version) == 0 {
            lacks.push(format!(
                "{name}: its CHANGELOG names no change of {version}"
            ));
        }
    }
    let alone = missing.iter();
    lacks.extend(alone.map(|missing| format!("{}: {}", missing.name, missing.what)));
    let dirty = cmd!(sh, "git status --porcelain").quiet().read()?;
    if !dirty.is_empty() {
        lacks.push("the working tree has changes that are not committed".to_owned());
    }
    if lacks.is_empty() {
        println!("\nnothing is missing in {} crates", chosen.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nmissing:");
    for lack in &lacks {
        println!("  {lack}");
    }
    Ok(ExitCode::FAILURE)
}

/// As in the workspace's own manifest, so that what was built for it is used here too.
pub(crate) const PROFILE: &str = "[profile.dev]\ndebug = false\n";

/// Packages all published crates, and builds what was packaged, with the siblings' packages in
/// place of crates.io.
///
/// Not by cargo's own verification: that takes siblings from a registry of its own making and keeps
/// their sources and builds by version, so that with an unchanged version it checks against
/// yesterday's sibling.
pub(crate) fn package(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    let crates = metadata::published(sh)?;
    let target = metadata::target_directory(sh)?;
    let unpacked = target.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    pack(sh, &crates, &unpacked)?;
    let patch = |package: &Package| {
        let folder = alone::unpacked(package);
        format!("{} = {{ path = \"{folder}\" }}\n", package.name)
    };
    let patches: String = crates.iter().map(patch).collect();
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

/// Packages these crates, and unpacks each into a folder of its own in `folder`.
pub(crate) fn pack(sh: &Shell, crates: &[Package], folder: &Path) -> Result<()> {
    let cargo = cargo();
    let names = metadata::selected(crates);
    // The lock file of a library is for nobody, and for each cargo would ask the registry anew.
    cmd!(
        sh,
        "{cargo} package {names...} --allow-dirty --no-verify --exclude-lockfile"
    )
    .run()?;
    let packages = metadata::target_directory(sh)?.join("package");
    for package in crates {
        let archive = packages.join(format!("{}.crate", alone::unpacked(package)));
        // `-m`: the times in an archive are always the same, and cargo would take what it has built
        // of another version for this one.
        cmd!(
            sh,
            "tar --extract --gzip -m --file {archive} --directory {folder}"
        )
        .run()?;
    }
    Ok(())
}

/// Each crate after all that it depends on, also for its tests.
pub(crate) fn publication_order(mut left: Vec<Package>) -> Result<Vec<Package>> {
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

/// What is wrong with the numbered list of RELEASING.md: each published crate once, after all that
/// it depends on.
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

/// How many changes the section of `version` names.
fn changes(changelog: &str, version: &str) -> usize {
    let begin = format!("## [{version}]");
    let lines = changelog
        .lines()
        .skip_while(|line| !line.starts_with(&begin))
        .skip(1);
    lines
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("- "))
        .count()
}

#[cfg(test)]
pub(crate) mod tests {
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
            description: String::new(),
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

    /// `top`, which needs `middle`, which needs `leaf`.
    pub(crate) fn chain() -> Vec<Package> {
        vec![
            package("top", &["middle", "serde"]),
            package("middle", &["leaf"]),
            package("leaf", &[]),
        ]
    }

    #[test]
    fn a_crate_goes_out_after_those_it_needs() {
        let ordered = publication_order(chain()).expect("no circle");
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
