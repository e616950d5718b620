//! The exposition before judges that are not ours: Prometheus' promtool, and its Python client.
//!
//! Neither comes with Rust: promtool is unpacked from Debian's package, the client is installed
//! into an environment, both under `target/prometheus`. Who has neither is told so.

use std::path::{Path, PathBuf};

use std::process::ExitCode;

use anyhow::Result;
use xshell::{Shell, cmd};

use rig::{cargo, root};

/// The version of the Python client.
const CLIENT: &str = "prometheus_client==0.26.0";

/// Has the exposition judged.
pub(crate) fn run() -> Result<ExitCode> {
    let sh = &Shell::new()?;
    sh.change_dir(root());
    let folder = root().join("target/prometheus");
    sh.create_dir(&folder)?;
    let (promtool, python) = (promtool(sh, &folder), python(sh, &folder));
    let (mut judges, mut missing) = (Vec::new(), Vec::new());
    let mut env = Vec::new();
    for (name, found) in [("PROMTOOL", promtool), ("PYTHON", python)] {
        match found {
            Ok(program) => {
                judges.push(name.to_lowercase());
                env.push(sh.push_env(name, program));
            }
            Err(reason) => missing.push(reason),
        }
    }
    let missing = missing.join("; ");
    if judges.is_empty() {
        eprintln!("{missing}");
        return Ok(ExitCode::from(rig::OUT_OF_REACH));
    }
    let cargo = cargo();
    cmd!(
        sh,
        "{cargo} test --package orion-drain --test it stats::the_exposition"
    )
    .run()?;
    let judges = judges.join(" and ");
    println!("judged by {judges}");
    if !missing.is_empty() {
        println!("{missing}");
    }
    Ok(ExitCode::SUCCESS)
}

/// promtool as it is installed, or from the package `prometheus`, without installing it.
fn promtool(sh: &Shell, folder: &Path) -> Result<PathBuf, String> {
    let unpacked = folder.join("usr/bin/promtool");
    for program in [PathBuf::from("promtool"), unpacked.clone()] {
        if answers(sh, &program, "--version") {
            return Ok(program);
        }
    }
    let lack =
        |error: xshell::Error| format!("no promtool: `apt-get install prometheus` ({error})");
    let _folder = sh.push_dir(folder);
    cmd!(sh, "apt-get download -qq prometheus")
        .quiet()
        .ignore_stderr()
        .run()
        .map_err(lack)?;
    for file in sh.read_dir(folder).map_err(lack)? {
        if file.extension().is_some_and(|extension| extension == "deb") {
            cmd!(sh, "dpkg-deb --extract {file} {folder}")
                .quiet()
                .run()
                .map_err(lack)?;
            sh.remove_path(&file).map_err(lack)?;
        }
    }
    match answers(sh, &unpacked, "--version") {
        true => Ok(unpacked),
        false => Err("no promtool: the package `prometheus` has none for this machine".to_owned()),
    }
}

/// A Python that has the client.
fn python(sh: &Shell, folder: &Path) -> Result<PathBuf, String> {
    let python = folder.join("venv/bin/python");
    let has = |python: &Path| {
        cmd!(sh, "{python} -c 'import prometheus_client'")
            .quiet()
            .ignore_stderr()
            .run()
            .is_ok()
    };
    if has(&python) {
        return Ok(python);
    }
    let lack =
        |error: xshell::Error| format!("no prometheus_client: it comes from PyPI, once ({error})");
    let venv = folder.join("venv");
    cmd!(sh, "python3 -m venv --clear {venv}")
        .quiet()
        .run()
        .map_err(lack)?;
    cmd!(
        sh,
        "{python} -m pip install --quiet --only-binary :all: {CLIENT}"
    )
    .quiet()
    .run()
    .map_err(lack)?;
    Ok(python)
}

fn answers(sh: &Shell, program: &Path, flag: &str) -> bool {
    cmd!(sh, "{program} {flag}")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_ok()
}
