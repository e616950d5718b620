//! `cargo xtask clients`: a drain as seen by clients that are not ours, each with its own idea of
//! HTTP, TLS and TCP.
//!
//! The story: find the tools (curl, nghttp, h2load, Node.js, OpenSSL, Python) and make a Python
//! environment with pinned packages under `target/clients` → build edge, the TLS example and the
//! WebSocket relay → start them, and a Python upstream, on loopback → start every client → replace
//! edge's listeners once, and send SIGTERM to the other two, at the same moment → judge what each
//! client saw, and when. Lost requests are none, or the client has failed.
//!
//! A client that cannot be had is named in one line, with the way to get it, and fails the run;
//! with `XTASK_OFFLINE` set in the environment it is only named.

mod judge;
mod play;
mod player;
mod stage;
pub(crate) mod tools;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};

use judge::Judge;
use stage::{Programs, Stage};
use tools::{Tool, Tools};

/// Whom to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Only these clients, by name.
    names: Vec<String>,
    /// Print the names of the clients and what each looks at.
    #[arg(long)]
    list: bool,
    /// How long the drain may take, in seconds.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(8..=60))]
    drain_time_s: u64,
    /// Use this edge instead of building it.
    #[arg(long, value_name = "PATH")]
    edge: Option<PathBuf>,
    /// Use this TLS example instead of building it.
    #[arg(long, value_name = "PATH")]
    tls: Option<PathBuf>,
    /// Use this WebSocket relay instead of building it.
    #[arg(long, value_name = "PATH")]
    relay: Option<PathBuf>,
}

/// A client that is not ours.
struct Client {
    name: &'static str,
    what: &'static str,
    tool: Tool,
    /// What follows the program on its command line.
    arguments: fn(&Stage) -> Vec<String>,
    part: Part,
    judge: Judge,
}

/// When a client begins, and what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Begins first, and is ready when it says this. It gets a line half a second before the
    /// update, and one after it.
    Script { ready: &'static str },
    /// Begins half a second before the update.
    Late,
    /// Begins first, and is ready when it says this. It is given a request ten times a second,
    /// until it says the other word.
    Asks {
        request: &'static str,
        ready: &'static str,
        until: &'static str,
    },
}

const SCRIPT: Part = Part::Script { ready: "ready" };

const CLIENTS: &[Client] = &[
    Client {
        name: "sockets-http1",
        what: "HTTP/1.1 by Python's sockets: `connection: close`, FIN, idle ones, uploads, pipelines",
        tool: Tool::Python,
        arguments: |stage| stage.script("http1.py"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "curl",
        what: "HTTP/1.1 by curl: one connection for many requests, then the next version's",
        tool: Tool::Curl,
        arguments: judge::curl_arguments,
        part: Part::Script { ready: "200 " },
        judge: judge::curl,
    },
    Client {
        name: "curl-upload",
        what: "HTTP/1.1 by curl: an upload that runs when the drain starts",
        tool: Tool::Curl,
        arguments: judge::curl_upload_arguments,
        part: Part::Late,
        judge: judge::curl_upload,
    },
    Client {
        name: "python-h2",
        what: "HTTP/2 by Python's h2: every frame, streams between the GOAWAYs, idle connections",
        tool: Tool::PythonPackages,
        arguments: |stage| stage.script("h2_frames.py"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "nghttp",
        what: "HTTP/2 by nghttp2's client: requests that cross both GOAWAYs",
        tool: Tool::Nghttp,
        arguments: judge::nghttp_arguments,
        part: Part::Late,
        judge: judge::nghttp,
    },
    Client {
        name: "h2load",
        what: "HTTP/2 by nghttp2's load generator: what it began is answered",
        tool: Tool::H2load,
        arguments: judge::h2load_arguments,
        part: Part::Late,
        judge: judge::h2load,
    },
    Client {
        name: "node-http2",
        what: "HTTP/2 by Node.js: sessions that are followed by others",
        tool: Tool::Node,
        arguments: |stage| stage.script("node_http2.mjs"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "grpcio",
        what: "gRPC by Python's grpcio: calls and a stream, without retries",
        tool: Tool::PythonPackages,
        arguments: |stage| stage.script("grpc_calls.py"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "websockets",
        what: "WebSocket by Python's websockets: tunnels that live to the deadline",
        tool: Tool::PythonPackages,
        arguments: |stage| stage.script("websocket.py"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "websockets-close",
        what: "WebSocket by Python's websockets, through a relay that says Close",
        tool: Tool::PythonPackages,
        arguments: |stage| stage.relay_script("websocket_close.py"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "sockets-tcp",
        what: "TCP by Python's sockets: streams that live to the deadline",
        tool: Tool::Python,
        arguments: |stage| stage.script("tcp.py"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "openssl",
        what: "HTTP/1.1 over TLS by `openssl s_client`: `connection: close`, close_notify",
        tool: Tool::Openssl,
        arguments: judge::openssl_arguments,
        part: Part::Asks {
            request: judge::OPENSSL_ASKS,
            ready: "HTTP/1.1 200",
            until: judge::TOLD,
        },
        judge: judge::openssl,
    },
    Client {
        name: "python-ssl",
        what: "HTTP/1.1 over TLS by Python's ssl: close_notify, then FIN",
        tool: Tool::Python,
        arguments: |stage| stage.tls_script("tls_close.py"),
        part: SCRIPT,
        judge: judge::script,
    },
    Client {
        name: "python-h2-tls",
        what: "HTTP/2 over TLS by Python's h2: every frame",
        tool: Tool::PythonPackages,
        arguments: |stage| stage.tls_script("h2_frames.py"),
        part: SCRIPT,
        judge: judge::script,
    },
];

/// `cargo xtask clients`.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.list {
        for client in CLIENTS {
            println!("{:<16} {}", client.name, client.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", all(options)?);
    Ok(ExitCode::SUCCESS)
}

/// Plays the drain; one line that counts, or an error if a client lost something or is absent.
fn all(options: &Options) -> anyhow::Result<String> {
    let chosen = chosen(&options.names)?;
    let tools = Tools::find();
    let may_miss = std::env::var_os("XTASK_OFFLINE").is_some();
    let mut missing = 0;
    let mut present = Vec::new();
    for client in chosen {
        match tools.program(client.tool) {
            Ok(program) => present.push((client, program)),
            Err(why) => {
                missing += 1;
                println!("{:<16} SKIPPED  {why}", client.name);
            }
        }
    }
    // Without these there is no stage.
    let (python, openssl) = (tools.program(Tool::Python), tools.program(Tool::Openssl));
    let (Ok(python), Ok(openssl)) = (python, openssl) else {
        ensure!(
            may_miss,
            "python3 and openssl are needed to play at all; see above"
        );
        return Ok("nothing to play with".to_owned());
    };
    let (edge, tls, relay) = (&options.edge, &options.tls, &options.relay);
    let programs = Programs::build(edge.clone(), tls.clone(), relay.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let failed = runtime.block_on(async {
        tokio::select! {
            failed = async {
                let drain_time_s = options.drain_time_s;
                let stage = Stage::start(&programs, &python, &openssl, drain_time_s).await?;
                play::play(stage, &present).await
            } => failed,
            // What was started goes with the future that is dropped.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let failed = failed?;
    ensure!(
        failed.is_empty(),
        "not let go as promised, or lost something: {}",
        failed.join(", ")
    );
    ensure!(
        missing == 0 || may_miss,
        "{missing} clients are absent, see above; XTASK_OFFLINE=1 does without them"
    );
    let skipped = if missing == 0 {
        String::new()
    } else {
        format!(", {missing} skipped")
    };
    Ok(format!("{} clients lost nothing{skipped}", present.len()))
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Client>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| CLIENTS.iter().all(|client| client.name != **name))
    {
        let known: Vec<_> = CLIENTS.iter().map(|client| client.name).collect();
        bail!(
            "there is no client `{unknown}`; there are: {}",
            known.join(", ")
        );
    }
    let wanted =
        |client: &&Client| names.is_empty() || names.iter().any(|name| name == client.name);
    Ok(CLIENTS.iter().filter(wanted).collect())
}
