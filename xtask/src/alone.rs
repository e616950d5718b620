//! Each crate as its users get it: from its package, outside of the repository, with no workspace
//! beside it.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::{cargo, metadata, metadata::Package, release, root};

/// What a crate does not do by itself.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) name: String,
    pub(crate) what: &'static str,
}

/// Builds and tests each of `chosen` from its package, once with the versions of our lock file, and
/// once with the oldest versions that its manifest allows. The packages of the siblings stand for
/// those of crates.io.
pub(crate) fn check(sh: &Shell, published: &[Package], chosen: &[Package]) -> Result<Vec<Missing>> {
    let folder = tempfile::tempdir()?;
    let target = metadata::target_directory(sh)?.join("alone");
    release::pack(sh, published, folder.path())?;
    let mut missing = Vec::new();
    for package in chosen {
        let at = folder.path().join(unpacked(package));
        fs::create_dir(at.join(".cargo"))?;
        let config = config(published, package, folder.path());
        fs::write(at.join(".cargo/config.toml"), config)?;
        let _there = sh.push_dir(&at);
        let _target = sh.push_env("CARGO_TARGET_DIR", &target);
        let mut step = |what, done: Result<()>| {
            if let Err(error) = done {
                println!("{}: {what}: {error:#}", package.name);
                let name = package.name.clone();
                missing.push(Missing { name, what });
            }
        };
        println!("\n=== {} alone", package.name);
        fs::copy(root().join("Cargo.lock"), at.join("Cargo.lock"))?;
        step("its tests pass alone", test(sh, package));
        println!("\n=== {} with the oldest dependencies", package.name);
        let oldest = oldest(sh).and_then(|()| test(sh, package));
        step("its tests pass with the oldest dependencies", oldest);
    }
    Ok(missing)
}

/// Its library, examples, unit tests and doctests, with all features that are not for tests of the
/// repository alone.
fn test(sh: &Shell, package: &Package) -> Result<()> {
    let cargo = cargo();
    let public = package
        .features
        .iter()
        .filter(|feature| !feature.starts_with("__"));
    let features: Vec<&str> = public.map(String::as_str).collect();
    let features = format!("--features={}", features.join(","));
    cmd!(sh, "{cargo} test --quiet {features}").run()?;
    Ok(())
}

/// A lock file with the oldest version of each direct dependency.
fn oldest(sh: &Shell) -> Result<()> {
    let cargo = cargo();
    sh.remove_path("Cargo.lock")?;
    // The flag is cargo's own and unstable; the compiler that builds afterwards knows nothing of
    // it.
    let _unstable = sh.push_env("RUSTC_BOOTSTRAP", "1");
    cmd!(sh, "{cargo} generate-lockfile -Z direct-minimal-versions")
        .run()
        .context("the oldest versions do not go together")
}

/// Where a package is unpacked, as cargo names its folder.
pub(crate) fn unpacked(package: &Package) -> String {
    format!("{}-{}", package.name, package.version)
}

/// Puts the siblings that it needs in place of those on crates.io.
fn config(published: &[Package], package: &Package, folder: &Path) -> String {
    let mut config = format!("{}\n[patch.crates-io]\n", release::PROFILE);
    for sibling in needed(published, package) {
        let path = folder.join(unpacked(sibling));
        // Writing to a string does not fail.
        writeln!(config, "{} = {{ path = {path:?} }}", sibling.name).ok();
    }
    config
}

/// The siblings below `package`, at any depth.
fn needed<'a>(published: &'a [Package], package: &Package) -> Vec<&'a Package> {
    let mut names = BTreeSet::new();
    let mut left = vec![package];
    while let Some(next) = left.pop() {
        let siblings = published.iter().filter(|sibling| {
            let is_it = |dependency: &metadata::Dependency| {
                !dependency.dev && dependency.name == sibling.name
            };
            next.dependencies.iter().any(is_it)
        });
        left.extend(siblings.filter(|sibling| names.insert(sibling.name.as_str())));
    }
    published
        .iter()
        .filter(|sibling| names.contains(sibling.name.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_siblings_below_a_crate_are_needed_at_any_depth() {
        let packages = release::tests::chain();
        let names: Vec<_> = needed(&packages, &packages[0])
            .iter()
            .map(|package| &*package.name)
            .collect();
        assert_eq!(names, ["middle", "leaf"]);
        let config = config(&packages, &packages[1], Path::new("/x"));
        assert!(
            config.contains("leaf = { path = \"/x/leaf-0.1.0\" }"),
            "{config}"
        );
        assert!(!config.contains("middle"), "{config}");
    }
}
