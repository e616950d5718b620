//! The proxy as a process: built, started on free ports, asked over its admin port, and ended by its handle.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use xshell::{Shell, cmd};

use super::Options;
use super::config::Config;
use super::upstream::Upstreams;

/// What the new process says when the old one has stopped accepting.
const TAKEN_OVER: &str = " drains";

/// How much of the proxy's output is kept, and how much is shown when something fails.
const LOG_LINES: usize = 2000;
const TAIL_LINES: usize = 40;
const LINE_LIMIT: u64 = 8 * 1024;

/// Builds edge in release mode; where it is.
pub(crate) fn build_edge(features: &str) -> anyhow::Result<PathBuf> {
    build("edge", "--bin", "edge", features)
}

/// Builds an example in release mode; where it is.
pub(crate) fn build_example(package: &str, name: &str, features: &str) -> anyhow::Result<PathBuf> {
    build(package, "--example", name, features)
}

fn build(package: &str, kind: &str, name: &str, features: &str) -> anyhow::Result<PathBuf> {
    let sh = Shell::new()?;
    let cargo = crate::cargo();
    let told = cmd!(sh, "{cargo} build --release -p {package} {kind} {name} --features {features} --message-format=json-render-diagnostics")
        .read()
        .with_context(|| format!("building {name}"))?;
    let artifacts = told
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executables = artifacts.filter(|artifact| artifact["target"]["name"] == name);
    let path = executables
        .filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
        .next_back();
    path.with_context(|| format!("cargo named no executable for {name}"))
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Edge {
    child: Child,
    /// The processes before it.
    replaced: Vec<Child>,
    pub(crate) config: Config,
    log: Log,
}

impl Edge {
    /// Starts the proxy and waits until it is ready.
    pub(crate) async fn start(
        program: &Path,
        options: &Options,
        folder: &Path,
        upstreams: &Upstreams,
    ) -> anyhow::Result<Self> {
        // A free port may be taken by somebody else before the proxy binds it: then try others.
        let mut attempt = Self::try_start(program, options, folder, upstreams).await;
        for _ in 0..2 {
            if attempt.is_ok() {
                break;
            }
            attempt = Self::try_start(program, options, folder, upstreams).await;
        }
        attempt
    }

    async fn try_start(
        program: &Path,
        options: &Options,
        folder: &Path,
        upstreams: &Upstreams,
    ) -> anyhow::Result<Self> {
        let [admin, http, tcp] = free_ports()?;
        let config = Config {
            folder: folder.to_owned(),
            admin,
            http,
            tcp,
            drain_time: options.drain_time(),
            process: 1,
        };
        config.write(upstreams, 1)?;
        let log = Log::default();
        let child = spawn(program, options, &config, &log)?;
        let replaced = Vec::new();
        let mut edge = Self {
            child,
            replaced,
            config,
            log,
        };
        match edge.until_ready().await {
            Ok(()) => Ok(edge),
            Err(error) => Err(error.context(format!("the proxy said:\n{}", edge.tail()))),
        }
    }

    /// Starts the next process, with this version of the listeners, and waits until it has taken over.
    pub(crate) async fn restart(
        &mut self,
        program: &Path,
        options: &Options,
        upstreams: &Upstreams,
        version: u32,
    ) -> anyhow::Result<()> {
        self.config.process += 1;
        self.config.write(upstreams, version)?;
        let before = self.log.count(TAKEN_OVER);
        let next = spawn(program, options, &self.config, &self.log)?;
        self.replaced.push(std::mem::replace(&mut self.child, next));
        let limit = Instant::now() + Duration::from_secs(15);
        while self.log.count(TAKEN_OVER) == before {
            if let Some(status) = self.child.try_wait()? {
                bail!("the new process ended before it had taken over: {status}");
            }
            ensure!(
                Instant::now() < limit,
                "the new process has not taken over within 15 s"
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits a while for the processes before this one; how many are still there, or failed.
    pub(crate) async fn still_there(&mut self) -> usize {
        let limit = Instant::now() + Duration::from_secs(5);
        let mut left = 0;
        for child in &mut self.replaced {
            match timeout_at(limit, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                _ => left += 1,
            }
        }
        left
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let limit = Instant::now() + Duration::from_secs(15);
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait()? {
                bail!("the proxy ended before it was ready: {status}");
            }
            let ready = self
                .admin("GET", "/ready")
                .await
                .is_ok_and(|body| body.trim() == "LIVE");
            if ready
                && TcpStream::connect(self.config.http).await.is_ok()
                && TcpStream::connect(self.config.tcp).await.is_ok()
            {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("the proxy was not ready within 15 s")
    }

    /// Asks the admin port; the body of a 200.
    pub(crate) async fn admin(&self, method: &str, path: &str) -> anyhow::Result<String> {
        ask_admin(self.config.admin, method, path).await
    }

    /// The proxy's last words.
    pub(crate) fn tail(&self) -> String {
        self.log.tail()
    }

    /// Whether the process has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends the process: asks first, then insists.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // An error here is the usual: the proxy may be gone before it has answered.
        let asked = self.admin("POST", "/quitquitquit").await;
        match timeout(Duration::from_secs(3), self.child.wait()).await {
            Ok(status) => {
                status?;
            }
            Err(_) => {
                self.child.kill().await?;
                asked.context("asking the proxy to quit")?;
            }
        }
        Ok(())
    }
}

fn spawn(program: &Path, options: &Options, config: &Config, log: &Log) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg("-c")
        .arg(config.bootstrap())
        .args(options.proxy_flags());
    if options.hot_restart {
        command.arg("--hot-restart-path").arg(config.meeting());
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    log.follow(child.stdout.take());
    log.follow(child.stderr.take());
    Ok(child)
}

/// One request to an admin port, on a connection of its own; the body of its 200.
pub(crate) async fn ask_admin(admin: SocketAddr, method: &str, path: &str) -> anyhow::Result<String> {
    match ask(admin, method, path).await? {
        (200, body) => Ok(body),
        (status, _) => bail!("{method} {path}: {status}"),
    }
}

/// One request to an admin port, on a connection of its own; its status and its body.
pub(crate) async fn ask(admin: SocketAddr, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    const LIMIT: u64 = 8 * 1024 * 1024;
    let exchange = async {
        let mut stream = TcpStream::connect(admin).await?;
        let ask = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LIMIT).read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(Duration::from_secs(3), exchange)
        .await
        .context("no answer within 3 s")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.context("no HTTP status")?;
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Ok((status, body.to_owned()));
    }
    let body = unchunked(body).ok_or_else(|| anyhow!("{method} {path}: a chunked body that is none"))?;
    Ok((status, body))
}

fn unchunked(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body += rest.get(..size)?;
        chunks = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// The numbers of `/stats`, by name.
pub(crate) fn stats(text: &str) -> BTreeMap<&str, u64> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
        .collect()
}

/// Ports that were free a moment ago.
fn free_ports() -> anyhow::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback");
    // All are held until the last is known, so that they differ.
    let held = [bind()?, bind()?, bind()?];
    let mut addresses = Vec::new();
    for listener in &held {
        addresses.push(listener.local_addr()?);
    }
    Ok([addresses[0], addresses[1], addresses[2]])
}

/// The proxy's output: its last lines.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn follow(&self, output: Option<impl AsyncRead + Unpin + Send + 'static>) {
        let Some(output) = output else { return };
        let log = self.clone();
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = (&mut output).take(LINE_LIMIT).read_until(b'\n', &mut line).await {
                log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        if lines.len() > LOG_LINES {
            lines.pop_front();
        }
    }

    /// How many lines end so.
    fn count(&self, end: &str) -> usize {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.ends_with(end)).count()
    }

    fn tail(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "    nothing\n".to_owned();
        }
        let skip = lines.len().saturating_sub(TAIL_LINES);
        lines
            .iter()
            .skip(skip)
            .map(|line| format!("    {line}\n"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_numbers_by_name_and_other_lines_are_skipped() {
        let text = "listener_manager.total_listeners_draining: 2\nhistogram: No recorded values\nx\n";
        assert_eq!(
            stats(text).into_iter().collect::<Vec<_>>(),
            [("listener_manager.total_listeners_draining", 2)]
        );
    }

    #[test]
    fn a_chunked_admin_answer_is_put_together() {
        assert_eq!(unchunked("5\r\nLIVE\n\r\n0\r\n\r\n").as_deref(), Some("LIVE\n"));
        assert_eq!(unchunked("5\r\nLI"), None);
    }
}
