//! The documents of the repository and what they may point at, for the rules of `lab-house`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use clap::Parser as _;
use house::pages::House;
use xshell::{Shell, cmd};

use crate::{Command, ci, metadata::Package};

/// What is wrong with the documents of the repository in `sh`'s folder.
pub(crate) fn problems(sh: &Shell, packages: &[Package]) -> Result<Vec<String>> {
    let listed = cmd!(sh, "git ls-files --cached --others --exclude-standard")
        .quiet()
        .read()?;
    let root = sh.current_dir();
    let files: BTreeSet<String> = listed
        .lines()
        .filter(|path| root.join(path).is_file())
        .map(ToOwned::to_owned)
        .collect();
    let mut pages = BTreeMap::new();
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        pages.insert(path.clone(), sh.read_file(path)?);
    }
    let packages = packages.iter().map(|package| package.name.as_str());
    let house = House {
        packages: packages.chain(["peers"]).collect(),
        files,
        pages,
        refused,
    };
    Ok(house.problems())
}

/// Why xtask would not take these words; what a laboratory takes, only the laboratory knows.
fn refused(words: &[&str]) -> Option<String> {
    match Command::try_parse_from(words) {
        Ok(Command::Ci(options)) => ci::unknown(&options).map(|name| format!("no step {name}")),
        Ok(_) => None,
        Err(error)
            if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            None
        }
        Err(error) => Some(error.kind().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_that_xtask_takes() {
        for right in [
            ["xtask", "ci", "--full"].as_slice(),
            &["xtask", "ci", "fmt", "deny"],
            &["xtask", "demo", "--any"],
        ] {
            assert_eq!(refused(right), None, "{right:?}");
        }
        for wrong in [
            ["xtask", "dance"].as_slice(),
            &["xtask", "ci", "tset"],
            &["xtask", "ci", "--ful"],
        ] {
            assert!(refused(wrong).is_some(), "{wrong:?}");
        }
    }
}
