//! `docs/adopting.md` followed to the letter in a project of its own: what it shows builds, runs,
//! and drains.
//!
//! It compiles that project, which takes a minute, so it is asked for: `cargo test -p orion-drain --test newcomer -- --ignored`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rig::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The blocks of the page that begin with a file's name: the name, and all of the block.
fn files(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n').map(|(_, content)| content));
    let named = blocks.filter_map(|content| {
        let first = content.lines().next()?;
        let name = first
            .strip_prefix("// ")
            .or_else(|| first.strip_prefix("# "))?;
        (name.starts_with("src/") || name == "Cargo.toml").then_some((name, content))
    });
    named.collect()
}

fn build(root: &Path, project: &Path) -> PathBuf {
    let page = std::fs::read_to_string(root.join("docs/adopting.md")).expect("the page");
    for (name, content) in files(&page) {
        let file = project.join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        let mut content = content.to_owned();
        if name == "Cargo.toml" {
            // The crates as they are here, whatever is published.
            content += "\n[patch.crates-io]\n";
            for member in [
                "conn-tracker",
                "drain-signal",
                "drain-tree",
                "listener-versions",
                "orion-drain",
                "proto-drain-h2",
                "proto-drain-http1",
                "proto-drain-tcp",
            ] {
                content += &format!("{member} = {{ path = {:?} }}\n", root.join(member));
            }
        }
        std::fs::write(file, content).expect("a file of the project");
    }
    // The same versions of everything else, so that nothing has to be fetched.
    std::fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock")).expect("the lock file");
    let target = project.join("target");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--bins"])
        .current_dir(project)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status();
    assert!(
        built.expect("cargo runs").success(),
        "the page does not compile"
    );
    target.join("debug")
}

/// A program of the page; it ends with this value, at the latest.
struct Program {
    process: Process,
    address: SocketAddr,
}

impl Program {
    async fn start(program: &Path) -> Self {
        let mut command = tokio::process::Command::new(program);
        let process = Process::start(command.arg("127.0.0.1:0")).expect("it starts");
        let line = process.said().until(0, "listening on").await;
        let line = line.and_then(|line| process.said().line(line));
        let line = line.unwrap_or_else(|| panic!("it ended: {}", process.said().tail()));
        let address = line
            .trim_start_matches("listening on Some(")
            .trim_end_matches(')');
        let address = address.parse().unwrap_or_else(|_| panic!("{line}"));
        Self { process, address }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    async fn terminate(&self) {
        self.process.signal("TERM").await.expect("it runs");
    }

    async fn ends_with_nobody_left(mut self) {
        let ended = self.process.end(Duration::from_secs(60)).await;
        assert!(ended.expect("it ends").success());
        self.process.said().closed().await;
        let said = self.process.said();
        assert!(said.has("drained, 0 left"), "{}", said.tail());
    }
}

/// Whether the response says that the connection is closed.
async fn is_told(client: &mut TcpStream) -> bool {
    let (head, body) = rig::h1::get(client, "/").await.expect("a whole response");
    assert_eq!(body, "hello");
    head.close()
}

#[tokio::test]
#[ignore = "builds a project of its own"]
async fn a_newcomers_project_builds_runs_and_drains() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let project = tempfile::TempDir::new().expect("a folder for the project");
    let programs = build(root, project.path());
    let drained = tokio::time::timeout(Duration::from_secs(120), drain(&programs)).await;
    drained.expect("it hangs");
}

async fn drain(programs: &Path) {
    let axum = Program::start(&programs.join("axum")).await;
    let mut client = axum.connect().await;
    assert!(!is_told(&mut client).await);
    axum.terminate().await;
    // Its slot comes within the first quarter of the drain time.
    while !is_told(&mut client).await {}
    assert_eq!(client.read(&mut [0]).await.expect("FIN, not RST"), 0);
    drop(client);
    axum.ends_with_nobody_left().await;

    let tcp = Program::start(&programs.join("tcp")).await;
    let mut client = tcp.connect().await;
    client.write_all(b"over\n").await.expect("bytes are taken");
    let mut back = [0; 5];
    client.read_exact(&mut back).await.expect("an echo");
    assert_eq!(&back, b"over\n");
    tcp.terminate().await;
    let mut rest = String::new();
    let read = client.read_to_string(&mut rest).await;
    read.expect("FIN, not RST");
    assert_eq!(rest, "bye\n");
    drop(client);
    tcp.ends_with_nobody_left().await;
}

#[test]
fn every_recipe_of_the_page_is_a_file_of_the_project() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/adopting.md");
    // Outside of the repository there is no such page.
    let Ok(page) = std::fs::read_to_string(page) else {
        return;
    };
    let names: Vec<_> = files(&page).into_iter().map(|(name, _)| name).collect();
    let bins = ["axum", "tcp", "tonic", "hyper", "h2"].map(|name| format!("src/bin/{name}.rs"));
    assert_eq!(names[0], "Cargo.toml");
    assert_eq!(names[1..], bins);
    // The lines that change for a user of another crate are tests of `xtask/lab/peers`.
    let (recipes, _) = page
        .split_once("\n## From another crate\n")
        .expect("the section");
    assert_eq!(recipes.matches("```rust").count(), bins.len());
}
