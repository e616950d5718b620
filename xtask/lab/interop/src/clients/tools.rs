//! Where the clients come from: programs of the machine, and Python packages in an environment of
//! their own.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use rig::root;

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// What a client is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Curl,
    Nghttp,
    H2load,
    Node,
    Openssl,
    /// Python with its standard library.
    Python,
    /// Python with the packages of `requirements.txt`.
    PythonPackages,
}

/// The tools of this machine.
#[derive(Debug)]
pub(super) struct Tools {
    path: Vec<PathBuf>,
    /// Made when the first client asks for it.
    packages: OnceCell<Result<PathBuf, String>>,
}

impl Tools {
    pub(super) fn find() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        Self {
            path: env::split_paths(&path).collect(),
            packages: OnceCell::new(),
        }
    }

    /// The program for a tool; or why there is none, and how to get it.
    pub(super) fn program(&self, tool: Tool) -> Result<PathBuf, String> {
        let (program, package) = match tool {
            Tool::Curl => ("curl", "curl"),
            Tool::Nghttp => ("nghttp", "nghttp2-client"),
            Tool::H2load => ("h2load", "nghttp2-client"),
            Tool::Node => ("node", "nodejs"),
            Tool::Openssl => ("openssl", "openssl"),
            Tool::Python => ("python3", "python3"),
            Tool::PythonPackages => {
                return self.packages.get_or_init(|| self.environment()).clone();
            }
        };
        let candidates = self.path.iter().map(|folder| folder.join(program));
        let found = candidates.into_iter().find(|file| file.is_file());
        found.ok_or_else(|| format!("{program} is not installed: `apt-get install {package}`"))
    }

    fn environment(&self) -> Result<PathBuf, String> {
        let python = self.program(Tool::Python)?;
        environment(&python, &root().join("target/clients"), REQUIREMENTS)
    }
}

/// The Python of an environment with such packages, in this folder; made once for each set of
/// versions.
pub(crate) fn environment(
    python: &Path,
    folder: &Path,
    requirements: &str,
) -> Result<PathBuf, String> {
    let (made, stamp) = (
        folder.join("venv/bin/python"),
        folder.join("requirements.txt"),
    );
    if made.is_file() && fs::read_to_string(&stamp).is_ok_and(|with| with == requirements) {
        return Ok(made);
    }
    let written = fs::create_dir_all(folder).and_then(|()| {
        fs::remove_file(&stamp).ok();
        fs::write(folder.join("wanted.txt"), requirements)
    });
    written.map_err(|error| format!("{}: {error}", folder.display()))?;
    quiet(
        Command::new(python)
            .args(["-m", "venv", "--clear"])
            .arg(folder.join("venv")),
    )
    .map_err(|error| format!("no Python environment: `apt-get install python3-venv` ({error})"))?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--only-binary",
        ":all:",
        "--requirement",
    ];
    quiet(Command::new(&made).args(install).arg(folder.join("wanted.txt"))).map_err(|error| {
        let wanted = requirements.lines().next().unwrap_or_default();
        let wanted = wanted.trim_start_matches("# ");
        format!("its Python packages could not be installed; they need a network, once ({error}). {wanted}")
    })?;
    // Written last: whatever is interrupted is made anew.
    fs::rename(folder.join("wanted.txt"), &stamp).map_err(|error| error.to_string())?;
    Ok(made)
}

/// Runs a command to its end; the last line it complained with, if it failed.
fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
}

/// A certificate for `localhost`, signed by itself, and its key.
pub(super) fn certificate(openssl: &Path, folder: &Path) -> Result<[PathBuf; 2], String> {
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    let mut command = Command::new(openssl);
    command.args(request.split(' '));
    command
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    quiet(&mut command)?;
    Ok([certificate, key])
}
