//! The program as a process of its own, in a folder of its own: started, updated by renames,
//! listened to, ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::h1::{H1, Response};
use super::program::{Program, program};
use super::upstream::Upstream;
use super::{within, yaml};

/// A running edge. It ends with this value, at the latest.
pub(crate) struct Edge {
    program: Program,
    folder: TempDir,
    pub(crate) admin: SocketAddr,
    pub(crate) upstream: Upstream,
}

impl Deref for Edge {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Edge {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl Edge {
    /// Starts it with these flags and this first content of the LDS file, and waits until that is
    /// applied.
    pub(crate) async fn start(flags: &str, first: &str) -> Self {
        Self::start_with(flags, first, "").await
    }

    /// The same with more lines in the bootstrap.
    pub(crate) async fn start_with(flags: &str, first: &str, more: &str) -> Self {
        Self::start_beside(flags, first, "", more).await
    }

    /// The same with more clusters.
    pub(crate) async fn start_beside(flags: &str, first: &str, clusters: &str, more: &str) -> Self {
        Self::start_by(Self::command(), flags, first, clusters, more).await
    }

    /// The same by this command, which is the [program] or takes it with its arguments.
    pub(crate) async fn start_by(
        command: Command,
        flags: &str,
        first: &str,
        clusters: &str,
        more: &str,
    ) -> Self {
        let edge = Self::start_as(command, flags, |folder, upstream| {
            let lds = folder.join("lds.yaml");
            std::fs::write(&lds, first).expect("the LDS file");
            yaml::bootstrap(&lds, upstream, clusters) + more
        });
        let mut edge = edge.await;
        edge.until("lds: ").await;
        edge
    }

    fn command() -> Command {
        let mut command = Command::new(program());
        command.stdin(Stdio::null());
        command
    }

    /// Starts it with such a bootstrap, and waits until the admin port can be asked.
    pub(crate) async fn start_of(
        flags: &str,
        text: impl FnOnce(&Path, &Upstream) -> String,
    ) -> Self {
        Self::start_as(Self::command(), flags, text).await
    }

    /// The same by this command.
    pub(crate) async fn start_as(
        mut command: Command,
        flags: &str,
        text: impl FnOnce(&Path, &Upstream) -> String,
    ) -> Self {
        let folder = TempDir::new().expect("a folder for the files");
        let upstream = Upstream::start().await;
        let bootstrap = folder.path().join("bootstrap.yaml");
        std::fs::write(&bootstrap, text(folder.path(), &upstream)).expect("the bootstrap");
        command
            .arg("-c")
            .arg(&bootstrap)
            .args(flags.split_whitespace());
        let mut edge = Self {
            program: Program::start(&mut command),
            folder,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            upstream,
        };
        let line = edge.until("admin: listening on ").await.pop();
        let address = line.as_deref().and_then(|line| line.rsplit(' ').next());
        // In JSON something follows.
        let address = address.and_then(|address| address.split('"').next());
        edge.admin = address.expect("an address").parse().expect("an address");
        edge
    }

    /// The reader of what it says goes away.
    #[cfg(feature = "tracing")]
    pub(crate) fn close_log(&mut self) {
        self.process.close_outputs();
    }

    /// The reader of what it says stops: the pipe, which is full as long as it is held here.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub(crate) fn fill_log(&mut self) -> std::fs::File {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        let mut pipe = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(format!("/proc/{}/fd/2", self.pid()))
            .expect("its stderr is a pipe");
        self.process.close_outputs();
        let end = loop {
            if let Err(error) = pipe.write(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(end.kind(), std::io::ErrorKind::WouldBlock, "{end}");
        pipe
    }

    /// Renames another content over the LDS file.
    pub(crate) fn replace(&self, content: &str) {
        let next = self.folder.path().join("next.yaml");
        std::fs::write(&next, content).expect("the next LDS file");
        std::fs::rename(&next, self.folder.path().join("lds.yaml"))
            .expect("the LDS file is replaced");
    }

    /// Applies listeners as this version; what edge said of it.
    pub(crate) async fn update(&mut self, version: &str, listeners: &[String]) -> Vec<String> {
        self.replace(&yaml::discovery(version, listeners));
        self.until(&format!("lds: version {version:?}: ")).await
    }

    /// Where a listener really listens.
    pub(crate) async fn address(&self, listener: &str) -> SocketAddr {
        self.local(listener).await.parse().expect("an address")
    }

    /// The same as it is written in `/listeners`; of several addresses, the first.
    pub(crate) async fn local(&self, listener: &str) -> String {
        let list = self.get("/listeners").await.text();
        let addresses = list.lines().filter_map(|line| line.split_once("::"));
        let mut found = addresses
            .filter(|(name, _)| *name == listener)
            .map(|(_, at)| at);
        let found = found.next();
        let found = found.unwrap_or_else(|| panic!("no listener {listener:?} in {list:?}"));
        found.to_owned()
    }

    /// Asks the admin port.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask("GET", path).await
    }

    /// Tells the admin port; it must agree.
    pub(crate) async fn post(&self, path: &str) {
        assert_eq!(self.ask("POST", path).await.status, 200, "POST {path}");
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Response {
        let mut client = H1::connect(self.admin).await;
        client
            .send(&format!(
                "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"
            ))
            .await;
        client.response().await
    }

    /// `/connections` or `/drain`: the list in it.
    pub(crate) async fn list(&self, path: &str) -> Vec<serde_json::Value> {
        let mut value: serde_json::Value =
            serde_json::from_str(&self.get(path).await.text()).expect("JSON");
        let key = if path == "/drain" {
            "drains"
        } else {
            "connections"
        };
        match value[key].take() {
            serde_json::Value::Array(list) => list,
            other => panic!("{path}: {other}"),
        }
    }

    /// Waits until such a list is as the test wants it.
    pub(crate) async fn until_list(
        &self,
        path: &str,
        wanted: impl Fn(&[serde_json::Value]) -> bool,
    ) {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        within(path, async {
            while !wanted(&self.list(path).await) {
                pace.tick().await;
            }
        })
        .await;
    }

    pub(crate) async fn until_connections(&self, wanted: impl Fn(&[serde_json::Value]) -> bool) {
        self.until_list("/connections", wanted).await;
    }

    pub(crate) async fn stats(&self) -> BTreeMap<String, u64> {
        let text = self.get("/stats").await.text();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        // Texts and histograms are no numbers.
        lines
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// `listener_manager.<name>`, or any other by its whole name.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        let stats = self.stats().await;
        let found = stats
            .get(name)
            .or_else(|| stats.get(&format!("listener_manager.{name}")));
        *found.unwrap_or_else(|| panic!("no statistic {name:?}"))
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, name: &str) {
        self.process.signal(name).await.expect("edge is running");
    }

    /// Stops every thread, until it gets CONT.
    #[cfg(target_os = "linux")]
    pub(crate) async fn stop(&self) {
        self.signal("STOP").await;
        let tasks = format!("/proc/{}/task", self.process.id().expect("it runs"));
        // The signal is sent, and each thread takes it when it runs next.
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.expect("a thread").path().join("stat"));
            let stat = stat.expect("its state");
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        };
        let all_stop = async {
            while !std::fs::read_dir(&tasks).expect("threads").all(is_stopped) {
                tokio::task::yield_now().await;
            }
        };
        within("a stop of all threads", all_stop).await;
    }

    /// Lets this time pass, in which it goes on running.
    pub(crate) async fn runs_for(&mut self, time: Duration) {
        let ended = self.process.end(time).await;
        assert!(ended.is_err(), "{ended:?}: {:#?}", self.said());
    }
}

/// Runs it with a bootstrap that it cannot use; whether that is a success, and what it said.
pub(crate) async fn run(bootstrap: &str) -> (bool, String) {
    run_with(&[], bootstrap).await
}

/// The same with more flags, for runs that end.
pub(crate) async fn run_with(flags: &[&str], bootstrap: &str) -> (bool, String) {
    let folder = TempDir::new().expect("a folder for the file");
    let file = folder.path().join("bootstrap.yaml");
    std::fs::write(&file, bootstrap).expect("the bootstrap");
    let mut command = Command::new(program());
    command.arg("-c").arg(&file).args(flags).kill_on_drop(true);
    let ended = command.output();
    let ended = within("the end of edge", ended).await.expect("edge starts");
    let said = [ended.stdout, ended.stderr].concat();
    (
        ended.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
