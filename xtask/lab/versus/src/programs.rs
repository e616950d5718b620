//! The programs that are compared: built, installed, or found in the system; those that cannot be
//! had are left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::proxies::Kind;

/// Where each program is, if it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs {
    pub(crate) edge: Option<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) haproxy: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    /// Of the workspace of the peers.
    pub(crate) plain: Option<PathBuf>,
    pub(crate) server: Option<PathBuf>,
    pub(crate) pingora: Option<PathBuf>,
    /// A self-signed certificate and its key.
    pem: (String, String),
    /// What is left out, and why.
    pub(crate) absent: Vec<String>,
}

impl Programs {
    /// Builds ours and the peers', and looks for the others. Those that are named are taken
    /// instead.
    pub(crate) fn find(
        peers: Option<&Path>,
        edge: Option<&Path>,
        envoy: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut found = match peers {
            Some(folder) => Self::in_folder(folder)?,
            None => Self::peers()?,
        };
        if peers.is_none() {
            found.pingora = match pingora() {
                Ok(program) => Some(program),
                Err(error) => {
                    found.absent.push(format!("pingora-core: {error:#}"));
                    None
                }
            };
        }
        found.edge = Some(match edge {
            Some(edge) => edge.to_owned(),
            None => rig::build_edge("release", "tls")?,
        });
        match envoy {
            Some(envoy) => found.envoy = Some(envoy.to_owned()),
            // Where conformance puts it too.
            None => match rig::envoy::install(&rig::root().join("target/conformance")) {
                Ok(envoy) => found.envoy = Some(envoy),
                Err(error) => found.absent.push(format!("Envoy: {error:#}")),
            },
        }
        for (name, place) in [("haproxy", &mut found.haproxy), ("nginx", &mut found.nginx)] {
            *place = in_system(name);
            if place.is_none() {
                found.absent.push(format!("{name} is not installed"));
            }
        }
        if found.nginx.is_some() && crate::proxies::nginx_stream().is_none() {
            let why =
                "nginx has no TCP here: its stream module (libnginx-mod-stream) is not installed";
            found.absent.push(why.to_owned());
        }
        Ok(found)
    }

    /// Only the programs of the workspace of the peers, in release mode.
    pub(crate) fn peers() -> anyhow::Result<Self> {
        Self::in_folder(&release("peers")?)
    }

    fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
        Ok(Self {
            plain: Some(folder.join("plain")),
            server: Some(folder.join("server")),
            pingora: Some(folder.join("versus-pingora")).filter(|program| program.is_file()),
            pem: (made.cert.pem(), made.signing_key.serialize_pem()),
            ..Self::default()
        })
    }

    pub(crate) fn of(&self, kind: Kind) -> Option<&Path> {
        match kind {
            Kind::Edge => self.edge.as_deref(),
            Kind::Envoy => self.envoy.as_deref(),
            Kind::Haproxy => self.haproxy.as_deref(),
            Kind::Nginx => self.nginx.as_deref(),
            Kind::Rebind | Kind::Broken => self.plain.as_deref(),
        }
    }

    /// The proxies that can be compared here.
    pub(crate) fn present(&self) -> Vec<Kind> {
        let mut kinds = Kind::COMPARED.to_vec();
        kinds.retain(|kind| self.of(*kind).is_some());
        kinds
    }

    /// Writes the certificate and its key, in one file and in two.
    pub(crate) fn certificate(&self, folder: &Path) -> anyhow::Result<()> {
        let (certificate, key) = &self.pem;
        std::fs::write(folder.join("cert.pem"), certificate)?;
        std::fs::write(folder.join("key.pem"), key)?;
        std::fs::write(folder.join("both.pem"), format!("{certificate}{key}"))?;
        Ok(())
    }

    /// What each program says of its version.
    pub(crate) fn versions(&self) -> Vec<String> {
        let first = |program: &Option<PathBuf>, flag: &str| {
            let out = Command::new(program.as_ref()?).arg(flag).output().ok()?;
            let text = [out.stdout, out.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines()
                .find(|line| !line.trim().is_empty())
                .map(|line| line.trim().to_owned())
        };
        let envoy = self
            .envoy
            .is_some()
            .then(|| format!("Envoy {}", rig::envoy::VERSION));
        let commit = Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(rig::root())
            .output();
        let commit = commit
            .ok()
            .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
        let edge = commit.map(|commit| format!("edge at {commit}"));
        [
            edge,
            envoy,
            first(&self.haproxy, "-v"),
            first(&self.nginx, "-v"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Builds the programs of one of the workspaces beside this one in release mode; the folder that
/// they are in.
fn release(workspace: &str) -> anyhow::Result<PathBuf> {
    let manifest = rig::root().join("xtask/lab/versus").join(workspace);
    let target = rig::root().join("target");
    let mut command = Command::new(rig::cargo());
    command
        .args(["build", "--release", "--locked", "--bins", "--target-dir"])
        .arg(&target)
        .arg("--manifest-path")
        .arg(manifest.join("Cargo.toml"));
    println!("$ {command:?}");
    let built = command.status().context(workspace.to_owned())?;
    ensure!(built.success(), "building {workspace}: {built}");
    Ok(target.join("release"))
}

/// pingora-core brings a compression library that is built with cmake, also where no compression is
/// asked for.
fn pingora() -> anyhow::Result<PathBuf> {
    let cmake = Command::new("cmake").arg("--version").output();
    cmake.context("cmake, with which a part of it is built, is not installed")?;
    Ok(release("pingora")?.join("versus-pingora"))
}

/// Where the system has a program; servers are often where a user's path does not lead.
fn in_system(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
