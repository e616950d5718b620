//! The lock file of a program that depends on the published crates: what our tests need must not
//! stand in it.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::{cargo, ci::Outcome, metadata, metadata::Package, root};

/// The model checkers and what they bring.
const MODELS: [&str; 4] = ["loom", "shuttle", "generator", "corosensei"];
/// tokio needs these of Windows' many crates; any other comes from us.
const WINDOWS: [&str; 3] = ["windows-sys", "windows-link", "windows-targets"];

pub(crate) fn step(sh: &Shell) -> Result<Outcome> {
    let published = metadata::published(sh)?;
    // With no feature, as most begin; and with all.
    let few = lock(sh, &published, |_| vec![])?;
    let all = lock(sh, &published, |package| {
        let public = package
            .features
            .iter()
            .filter(|feature| !feature.starts_with("__"));
        public.map(String::as_str).collect()
    })?;
    let strange = strange(&all);
    ensure!(
        strange.is_empty(),
        "an adopter's Cargo.lock holds {}",
        strange.join(", ")
    );
    Ok(Outcome::Passed(format!(
        "{} packages, with every feature {}",
        few.len(),
        all.len()
    )))
}

/// The names in the lock file of a new program that depends on these crates, each with the features
/// that `with` picks.
fn lock(
    sh: &Shell,
    crates: &[Package],
    with: impl Fn(&Package) -> Vec<&str>,
) -> Result<BTreeSet<String>> {
    let cargo = cargo();
    let folder = tempfile::tempdir()?;
    let mut manifest = String::from(
        "[package]\nname = \"adopter\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n",
    );
    for package in crates {
        let (name, path, features) = (&package.name, package.dir.display(), with(package));
        // Writing to a string does not fail.
        writeln!(
            manifest,
            "{name} = {{ path = \"{path}\", features = {features:?} }}"
        )
        .ok();
    }
    fs::write(folder.path().join("Cargo.toml"), manifest)?;
    fs::create_dir(folder.path().join("src"))?;
    fs::write(folder.path().join("src/main.rs"), "fn main() {}\n")?;
    // The versions that are on this machine: none is asked from the network.
    fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock"))?;
    let _there = sh.push_dir(folder.path());
    cmd!(sh, "{cargo} update --workspace --offline --quiet")
        .run()
        .context("in a new program that depends on the crates")?;
    Ok(names(&fs::read_to_string(
        folder.path().join("Cargo.lock"),
    )?))
}

fn names(lock: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        Some(
            line.strip_prefix("name = \"")?
                .strip_suffix('"')?
                .to_owned(),
        )
    };
    lock.lines().filter_map(name).collect()
}

/// Those that no adopter should get from us.
fn strange(names: &BTreeSet<String>) -> Vec<&str> {
    let models = |name: &str| MODELS.contains(&name);
    let windows = |name: &str| {
        // `windows_x86_64_msvc` and its like hold what the three link with.
        (name == "windows" || name.starts_with("windows-")) && !WINDOWS.contains(&name)
    };
    let names = names.iter().map(String::as_str);
    names.filter(|name| models(name) || windows(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_checkers_and_windows_families_are_found_in_a_lock_file() {
        let lock = [
            "tokio",
            "loom",
            "windows",
            "windows-core",
            "windows-sys",
            "windows_x86_64_msvc",
        ]
        .map(|name| format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n"))
        .join("\n");
        assert_eq!(strange(&names(&lock)), ["loom", "windows", "windows-core"]);
    }
}
