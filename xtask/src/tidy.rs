//! The rules of the house, asked of the workspace: those for texts are of `lab-house`, those for
//! manifests stand here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use house::{code, ledger, names};

use crate::{metadata::Package, release};

/// What is wrong with the manifest of a published crate. `siblings` are the names of the
/// workspace's crates.
fn manifest_problems(package: &Package, siblings: &[String]) -> Vec<String> {
    let name = &package.name;
    let mut problems = Vec::new();
    for dependency in package
        .dependencies
        .iter()
        .filter(|dependency| siblings.contains(&dependency.name))
    {
        if !dependency.dev && dependency.requirement == "*" {
            problems.push(format!(
                "{name}: its dependency on {} has no version, so it cannot be published",
                dependency.name
            ));
        }
    }
    for field in &package.missing {
        problems.push(format!(
            "{name}: its manifest has no `{field}`, which crates.io shows"
        ));
    }
    problems
}

/// Makes docs.rs say which feature an item needs.
const LABELS: &str = "#![cfg_attr(docsrs, feature(doc_cfg))]";

/// What is wrong with what a manifest says about the package and its page on docs.rs.
fn package_problems(name: &str, manifest: &str) -> Vec<String> {
    let line = |begin: &str| manifest.lines().find(|line| line.starts_with(begin));
    let mut problems = Vec::new();
    match line("include = ") {
        None => problems.push(format!("{name}: its manifest has no `include`")),
        Some(files) if files.contains("tests/") => {
            problems.push(format!("{name}: its package has the tests in it"));
        }
        Some(_) => {}
    }
    if line("all-features").is_some() && line("__").is_some() {
        problems.push(format!(
            "{name}: docs.rs would show features that are for tests alone"
        ));
    }
    problems
}

/// Files that every published crate carries: they are what crates.io and a packager show.
const CARRIED: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// The documents whose tables name tests, from the root.
const LEDGERS: [&str; 3] = ["docs/envoy-compat.md", "docs/protocols.md", "docs/xds.md"];

/// The fields of configurations, each with the test that sends it over a socket.
const FIELDS: &str = "docs/configuration.md";

/// Everything in the workspace at `root` that breaks a rule.
pub(crate) fn problems(root: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let siblings: Vec<String> = packages
        .iter()
        .map(|package| package.name.clone())
        .collect();
    let mut problems = Vec::new();
    let mut texts = Vec::new();
    let replaced = names::replaced(&fs::read_to_string(root.join("docs/glossary.md"))?);
    for package in packages {
        for path in files(&package.dir, "rs")? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let relative = path
                .strip_prefix(root)?
                .to_string_lossy()
                .replace('\\', "/");
            problems.extend(code::problems(&relative, &text));
            if package.published && relative.contains("/src/") {
                problems.extend(names::problems(&relative, &text, &replaced));
            }
            texts.push(text);
        }
        for snapshot in ["new", "pending-snap"] {
            let unreviewed = files(&package.dir, snapshot)?;
            problems.extend(
                unreviewed
                    .iter()
                    .map(|path| format!("{}: a snapshot nobody has accepted", path.display())),
            );
        }
        let manifest = fs::read_to_string(package.dir.join("Cargo.toml"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            problems.push(format!("{}: has not the workspace's lints", package.name));
        }
        if package.published && !package.default {
            problems.push(format!(
                "{}: is no default member of the workspace",
                package.name
            ));
        }
        if package.published {
            problems.extend(manifest_problems(package, &siblings));
            problems.extend(package_problems(&package.name, &manifest));
            let library = fs::read_to_string(package.dir.join("src/lib.rs"))?;
            let is_public = |feature: &String| !feature.starts_with("__");
            if package.features.iter().any(is_public) && !library.contains(LABELS) {
                problems.push(format!("{}: lib.rs has no `{LABELS}`", package.name));
            }
            let missing = CARRIED
                .iter()
                .filter(|file| !package.dir.join(file).is_file());
            problems.extend(missing.map(|file| format!("{}: has no {file}", package.name)));
        }
    }
    for path in LEDGERS {
        let page = fs::read_to_string(root.join(path)).context(path)?;
        let missing = ledger::missing(&page, &texts).into_iter();
        problems.extend(missing.map(|name| format!("{path}: there is no test `{name}`")));
    }
    let page = fs::read_to_string(root.join(FIELDS)).context(FIELDS)?;
    let untested = ledger::untested(&page).into_iter();
    problems.extend(untested.map(|row| format!("{FIELDS}: {row} has no test and no reason")));
    let cells: Vec<_> = ledger::tested(&page)
        .into_iter()
        .map(|(_, cell)| cell)
        .collect();
    let missing = ledger::missing(&cells.join(" "), &texts).into_iter();
    problems.extend(missing.map(|name| format!("{FIELDS}: there is no test `{name}`")));
    let releasing = fs::read_to_string(root.join("RELEASING.md"))?;
    problems.extend(release::order_problems(&releasing, packages));
    Ok(problems)
}

/// The files below `dir` with this extension, in a fixed order.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                // A folder with a manifest is another package.
                if path.file_name().is_some_and(|name| name != "target")
                    && !path.join("Cargo.toml").exists()
                {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    #[test]
    fn a_package_has_no_tests_and_its_page_no_features_for_tests() {
        let include = "include = [\"src/**\", \"README.md\"]\n";
        assert_eq!(package_problems("a", include), [""; 0]);
        let all = format!("{include}all-features = true\n");
        assert_eq!(package_problems("a", &all), [""; 0]);
        for wrong in [
            "include = [\"src/**\", \"tests/**\"]\n".to_owned(),
            "[package]\n".to_owned(),
            format!("{all}__bench = []\n"),
        ] {
            assert_eq!(package_problems("a", &wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn an_internal_dependency_carries_a_version_unless_it_is_for_tests() {
        let dependency = |requirement: &str, dev| Dependency {
            name: "drain-signal".to_owned(),
            requirement: requirement.to_owned(),
            dev,
        };
        let problems = |dependency| {
            let package = Package {
                name: "drain-tree".to_owned(),
                version: "0.1.0".to_owned(),
                description: String::new(),
                rust_version: String::new(),
                published: true,
                default: true,
                dir: PathBuf::new(),
                features: vec![],
                tests: vec![],
                dependencies: vec![dependency],
                missing: vec![],
            };
            manifest_problems(&package, &["drain-signal".to_owned()]).len()
        };
        assert_eq!(problems(dependency("*", false)), 1);
        assert_eq!(problems(dependency("^0.1.0", false)), 0);
        assert_eq!(problems(dependency("*", true)), 0);
    }
}
