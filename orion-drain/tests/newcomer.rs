//! `docs/adopting.md` followed to the letter in a project of its own: what it shows builds, runs, and drains.
//!
//! It compiles that project, which takes a minute, so it is asked for: `cargo test -p orion-drain --test newcomer -- --ignored`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

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
    child: Child,
    says: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Program {
    fn start(program: &Path) -> Self {
        let child = Command::new(program)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("it starts");
        let mut says = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        says.read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .trim_start_matches("listening on Some(")
            .trim_end_matches(')');
        let address = address.parse().unwrap_or_else(|_| panic!("{line}"));
        Self {
            child,
            says,
            address,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a socket");
        stream
    }

    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .expect("a shell")
                .success()
        );
    }

    fn ends_with_nobody_left(mut self) {
        let mut rest = String::new();
        self.says.read_to_string(&mut rest).expect("text");
        assert_eq!(rest, "drained, 0 left\n");
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A request and its response's head and body; `hello` is the body.
fn get(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        .expect("bytes are taken");
    let mut response = Vec::new();
    while !response.ends_with(b"hello") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole response");
        response.push(byte[0]);
    }
    String::from_utf8_lossy(&response).to_lowercase()
}

#[test]
#[ignore = "builds a project of its own"]
fn a_newcomers_project_builds_runs_and_drains() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let project = tempfile::TempDir::new().expect("a folder for the project");
    let programs = build(root, project.path());

    let axum = Program::start(&programs.join("axum"));
    let mut client = axum.connect();
    assert!(!get(&mut client).contains("connection: close"));
    axum.terminate();
    // Its slot comes within the first quarter of the drain time.
    while !get(&mut client).contains("connection: close") {}
    assert_eq!(client.read(&mut [0]).expect("FIN, not RST"), 0);
    drop(client);
    axum.ends_with_nobody_left();

    let tcp = Program::start(&programs.join("tcp"));
    let mut client = tcp.connect();
    client.write_all(b"over\n").expect("bytes are taken");
    let mut back = [0; 5];
    client.read_exact(&mut back).expect("an echo");
    assert_eq!(&back, b"over\n");
    tcp.terminate();
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("FIN, not RST");
    assert_eq!(rest, "bye\n");
    drop(client);
    tcp.ends_with_nobody_left();
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
