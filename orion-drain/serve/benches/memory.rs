//! What an idle connection costs in memory: 4 000 connections that made one request each, in a
//! fresh process for each row; the process's proportional set size before, with all of them, and 2
//! s after all have closed.
//!
//! ```console
//! $ EDGE=target/release/edge cargo bench -p orion-drain-serve --bench memory [-- --json FILE]
//! ```
//!
//! `EDGE_JEMALLOC` names an edge that was built with `--features jemalloc`. Without one of them its
//! rows are left out. Linux only.
//!
//! What a connection is made of: this program is one of its servers, and tells its address.
//!
//! ```console
//! $ cargo test -p orion-drain-serve --bench memory --no-run      # not optimized: names each function
//! $ valgrind --tool=dhat --num-callers=40 target/debug/deps/memory-... server serve_http
//! ```
//!
//! Open connections that make a request each, then end it with SIGTERM. Of two runs with different
//! numbers of connections, subtract the bytes at the time of most bytes (`gb`) by stack.

#![expect(
    clippy::disallowed_methods,
    reason = "the parent process waits while its child serves"
)]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conn_tracker::{ConnTracker, Peer};
use drain_tree::{DrainManager, DrainSettings};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use measure::{Program, Row, Target};
use orion_drain_serve::{
    CodecType, Connection, ConnectionShown, HttpServer, HttpTimeouts, serve_http,
};

const CONNECTIONS: usize = 4_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let word = |word: &str| arguments.iter().any(|argument| argument == word);
    if word("server") {
        return server(word("plain"));
    }
    if !word("raised") {
        // Each side has a socket for each connection.
        let again = r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@" raised"#;
        let status = Command::new("sh")
            .args(["-c", again])
            .args(&arguments)
            .status();
        std::process::exit(status.ok().and_then(|status| status.code()).unwrap_or(1));
    }
    let program = Program::from_args();
    let connections = if program.quick { 100 } else { CONNECTIONS };
    // Not `Program::report`, for which `raised` is the name of a part.
    let rows: Vec<Row> = [false, true]
        .into_iter()
        .flat_map(|http2| rows(&arguments[0], connections, http2))
        .collect();
    rows.iter().for_each(|row| println!("{row}"));
    if let Some(at) = arguments.iter().position(|argument| argument == "--json") {
        let rows: Vec<String> = rows.iter().map(Row::to_json).collect();
        let text = format!("[\n{}\n]\n", rows.join(",\n"));
        std::fs::write(&arguments[at + 1], text).expect("the file can be written");
    }
}

/// An idle connection of one version in each server, and what edge keeps of it with each allocator.
fn rows(own: &str, connections: usize, http2: bool) -> Vec<Row> {
    let version = if http2 { "HTTP/2" } else { "HTTP/1" };
    let plain = Server::own(own, "plain").measure(connections, http2);
    let row = |what: &str, measured: &Measured, most: f64| Row {
        row: format!("an idle {version} connection, {what}"),
        unit: "KiB",
        value: measured.open,
        floor_name: "plain hyper-util auto",
        floor: plain.open,
        ratio: measured.open / plain.open,
        target: Target::Ratio(most),
        peers: vec![],
    };
    let served = Server::own(own, "serve_http").measure(connections, http2);
    let mut rows = vec![row("serve_http", &served, 1.05)];
    for (name, path) in [("edge", "EDGE"), ("edge with jemalloc", "EDGE_JEMALLOC")] {
        let Ok(path) = std::env::var(path) else {
            continue;
        };
        let edge = Server::edge(&path).measure(connections, http2);
        rows.push(row(name, &edge, 1.15));
        rows.push(Row {
            row: format!("what {name} keeps of an {version} connection 2 s after all have closed"),
            unit: "KiB",
            value: edge.left,
            floor_name: "open",
            floor: edge.open,
            ratio: edge.left / edge.open,
            target: Target::Ratio(0.25),
            peers: vec![("plain hyper-util auto", plain.left)],
        });
    }
    rows
}

/// A server in a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
}

/// KiB a connection.
struct Measured {
    open: f64,
    left: f64,
}

impl Server {
    fn own(program: &str, name: &str) -> Self {
        let mut child = Command::new(program)
            .args(["server", name])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bench starts itself");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says its address");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }

    fn edge(program: &str) -> Self {
        let free = StdListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let config = std::env::temp_dir().join(format!("memory-{}.json", address.port()));
        let text = format!(
            r#"{{"static_resources": {{"listeners": [{{"name": "in",
            "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {}}}}},
            "filter_chains": [{{"filters": [{{"name": "envoy.filters.network.http_connection_manager", "typed_config": {{
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in", "http_filters": [{{"name": "envoy.filters.http.router", "typed_config": {{
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}],
            "route_config": {{"virtual_hosts": [{{"name": "all", "domains": ["*"], "routes": [{{"match": {{"prefix": "/"}},
            "direct_response": {{"status": 200, "body": {{"inline_string": "hello"}}}}}}]}}]}}}}}}]}}]}}]}}}}"#,
            address.port()
        );
        std::fs::write(&config, text).expect("a file");
        let child = Command::new(program)
            .arg("--config-path")
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .expect("edge starts");
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, address }
    }

    fn measure(mut self, connections: usize, http2: bool) -> Measured {
        // What is made for the first connection is not counted.
        drop(request(self.address, http2));
        std::thread::sleep(Duration::from_millis(300));
        let before = self.pss();
        let open: Vec<_> = (0..connections)
            .map(|_| request(self.address, http2))
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        let with_all = self.pss();
        drop(open);
        std::thread::sleep(Duration::from_secs(2));
        let after = self.pss();
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        let each = |now: f64| (now - before) / connections as f64;
        Measured {
            open: each(with_all),
            left: each(after),
        }
    }

    /// KiB of the whole process.
    fn pss(&self) -> f64 {
        let file = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(file).expect("it is Linux");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
        value.and_then(|value| value.parse().ok()).expect("a size")
    }
}

/// A connection that has made one request.
fn request(to: SocketAddr, http2: bool) -> TcpStream {
    let mut client = TcpStream::connect(to).expect("it listens");
    let mut answer = Vec::new();
    let mut bytes = [0; 1024];
    let request: &[u8] = match http2 {
        false => b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        // The preface, empty SETTINGS, GET http://a/ by the static table.
        true => {
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
              \0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01a"
        }
    };
    client.write_all(request).expect("it is open");
    while !answer.windows(5).any(|window| window == b"hello") {
        let read = client.read(&mut bytes).expect("an answer");
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..read]);
    }
    client
}

async fn hello<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

fn server(is_plain: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(serve(is_plain));
}

async fn serve(is_plain: bool) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    println!("{}", listener.local_addr().expect("it is bound"));
    let root = DrainManager::root(DrainSettings::default());
    let group = ConnTracker::new().group("in", 1);
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()))
        .with_connection_shown(ConnectionShown::Upgrades);
    let server = Arc::new(server);
    let builder = Arc::new(auto::Builder::new(TokioExecutor::new()));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if is_plain {
            let builder = Arc::clone(&builder);
            tokio::spawn(async move {
                let io = TokioIo::new(socket);
                let served = builder.serve_connection_with_upgrades(io, service_fn(hello));
                served.await.ok();
            });
        } else {
            let watch = root.watch().expect("nothing drains");
            let connection = Connection::new(&root, watch, group.open(Peer::Unknown));
            let server = Arc::clone(&server);
            tokio::spawn(serve_http(socket, service_fn(hello), connection, server));
        }
    }
}
