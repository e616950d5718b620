//! `cargo xtask readme`: the table of the published crates, the same in all READMEs, made from the
//! manifests.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use xshell::Shell;

use crate::{metadata, metadata::Package, release, root};

const BEGIN: &str = "<!-- the crates, by `cargo xtask readme` -->\n";
const END: &str = "<!-- end of the crates -->\n";

/// Writes the table into every README.
pub(crate) fn run() -> Result<ExitCode> {
    let sh = Shell::new()?;
    sh.change_dir(root());
    for (path, text, made) in readmes(&metadata::packages(&sh)?)? {
        if text != made {
            fs::write(&path, made)?;
            println!("{}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The READMEs whose table is not what the manifests say.
pub(crate) fn problems(packages: &[Package]) -> Result<Vec<String>> {
    let mut readmes = readmes(packages)?;
    readmes.retain(|(_, text, made)| text != made);
    let problem = |(path, ..): &(PathBuf, String, String)| {
        format!(
            "{}: its table of crates is not that of `cargo xtask readme`",
            path.display()
        )
    };
    Ok(readmes.iter().map(problem).collect())
}

/// Each README with its text, and with the text that it should have.
fn readmes(packages: &[Package]) -> Result<Vec<(PathBuf, String, String)>> {
    let mut published = packages.to_vec();
    published.retain(|package| package.published);
    let published = release::publication_order(published)?;
    let made = |package: &Package| {
        let path = package.dir.join("README.md");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let table = table(&published, &package.name);
        let made = replaced(&text, &table).with_context(|| path.display().to_string())?;
        Ok((path, text, made))
    };
    published.iter().map(made).collect()
}

/// All crates but `own` with a link to their pages; a README is read in the repository, on
/// crates.io and on docs.rs.
fn table(published: &[Package], own: &str) -> String {
    let row = |Package {
                   name, description, ..
               }: &Package| {
        let description = description.trim_end_matches('.');
        if name == own {
            format!("| `{name}` (this crate) | {description} |\n")
        } else {
            format!("| [`{name}`](https://docs.rs/{name}) | {description} |\n")
        }
    };
    let rows: String = published.iter().map(row).collect();
    format!("| crate | what it is for |\n| --- | --- |\n{rows}")
}

/// `text` with `table` between the marks.
fn replaced(text: &str, table: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("no mark for the table")?;
    let (_, after) = rest.split_once(END).context("no mark after the table")?;
    ensure!(!after.contains(BEGIN), "two marks for the table");
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_between_the_marks_and_twice_is_as_once() {
        let packages = release::tests::chain();
        let table = table(&packages, "leaf");
        assert!(table.contains("| `leaf` (this crate) | "), "{table}");
        assert!(
            table.contains("| [`top`](https://docs.rs/top) | "),
            "{table}"
        );
        let text = format!("# Top\n\n{BEGIN}old\n{END}\nend\n");
        let once = replaced(&text, &table).expect("it has marks");
        assert!(once.contains(&table) && !once.contains("old") && once.ends_with("end\n"));
        assert_eq!(replaced(&once, &table).expect("it has marks"), once);
        assert!(replaced("# Top\n", &table).is_err());
    }
}
