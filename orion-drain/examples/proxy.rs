//! A proxy for HTTP and TCP, small enough to be read at once: listeners from a file, updates of
//! them, a drain at the end, an admin port.
//!
//! ```text
//! # routes.conf: name, what is spoken, where to listen, where to forward
//! web http 127.0.0.1:8080 127.0.0.1:9000
//! db  tcp  127.0.0.1:5432 127.0.0.1:9001
//! ```
//!
//! `cargo run -p orion-drain --example proxy -- routes.conf 127.0.0.1:9901`
//!
//! SIGHUP reads the file again: a changed line is a new version of its listener, which takes new
//! connections on the same socket while the old version's connections drain. A line that is gone is
//! a listener that drains. A file with a mistake changes nothing. SIGTERM drains the process. The
//! admin port shows versions, connections and drains, and takes `POST /drain_listeners`.

use std::{net::SocketAddr, path::Path, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use orion_drain::conn_tracker::{CloseReason, ConnTracker};
use orion_drain::drain_tree::{DrainDirection, DrainManager, DrainSettings};
use orion_drain::lifecycle::{Shutdown, ShutdownReason, ShutdownSettings, Signals};
use orion_drain::listener_versions::{Accepted, ListenAddress, ListenerConfig, Listeners, Update};
use orion_drain::proto_drain_tcp::CopyOptions;
use orion_drain::serve::{CodecType, Connection, HttpServer, ReceivedBody, TcpServer};
use orion_drain::serve::{serve, serve_http, serve_tcp};
use orion_drain::stats::Stats;
use orion_drain::{StatsObserver, admin::Standard};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

// === What a listener is: one line of the file. ===
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http,
    Tcp,
}

/// Equal lines are equal listeners: an update changes nothing for them.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    speaks: Speaks,
    address: ListenAddress,
    upstream: SocketAddr,
}

/// All that the versions need to know of a configuration.
impl ListenerConfig for Line {
    type Chain = ();
    fn name(&self) -> &str {
        &self.name
    }
    fn address(&self) -> &ListenAddress {
        &self.address
    }
    fn same_content(&self, other: &Self) -> bool {
        self == other
    }
}

impl FromStr for Line {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, speaks, address, upstream] = words[..] else {
            bail!("expected four words: name, http or tcp, address, upstream");
        };
        Ok(Self {
            name: name.to_owned(),
            speaks: match speaks {
                "http" => Speaks::Http,
                "tcp" => Speaks::Tcp,
                other => bail!("{other:?} is neither http nor tcp"),
            },
            address: address.parse().context("where to listen")?,
            upstream: upstream.parse().context("where to forward")?,
        })
    }
}

/// Makes the file's lines the listeners; those whose line is gone are removed, and drain.
async fn load(path: &Path, listeners: &Listeners<Line>) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let mut lines: Vec<Line> = Vec::new();
    // All lines are read before one of them changes anything.
    for (index, line) in text.lines().enumerate() {
        if !line.is_empty() && !line.starts_with('#') {
            let line = line.parse();
            lines.push(line.with_context(|| format!("line {}", index + 1))?);
        }
    }
    listeners
        .apply(Update::lds("", lines).atomic())
        .await
        .into_result()?;
    Ok(())
}

// === How a connection is served. ===
type Body = BoxBody<Bytes, hyper::Error>;

/// What all connections share; made once.
#[derive(Clone)]
struct Proxy {
    http: HttpServer,
    tcp: TcpServer,
    client: Client<HttpConnector, ReceivedBody>,
}

impl Proxy {
    fn new(stats: &Stats) -> Self {
        let http = stats.http("proxy");
        let http = HttpServer::new(CodecType::Auto, &Default::default(), http);
        let tcp = TcpServer::new(CopyOptions::new(), stats.tcp("proxy"));
        let mut client = Client::builder(TokioExecutor::new());
        Self {
            http,
            tcp,
            client: client.pool_timer(TokioTimer::new()).build_http(),
        }
    }

    /// Serves one connection to its end. The version that accepted it serves it for life: an update
    /// changes where the next connection is forwarded, not this one.
    async fn connection(self, accepted: Accepted<Line>) {
        let version = Arc::clone(&accepted.version);
        let connection = Connection::of(&version, accepted.watch, accepted.conn);
        let upstream = version.config().upstream;
        match version.config().speaks {
            Speaks::Http => {
                let service = service_fn(|request| {
                    let proxy = self.clone();
                    async move { proxy.forward(request, upstream).await }
                });
                // From here the connection is asked to finish when its turn in a drain has come, by
                // `connection: close` or by GOAWAY, and is closed at the drain's deadline.
                serve_http(accepted.stream, service, connection, &self.http).await;
            }
            Speaks::Tcp => match TcpStream::connect(upstream).await {
                Ok(upstream) => {
                    // Relays bytes, and ends with a FIN when both sides are quiet.
                    serve_tcp(accepted.stream, upstream, connection, &self.tcp).await;
                }
                Err(_) => connection.guard().set_close_reason(CloseReason::Error),
            },
        }
    }

    async fn forward(
        &self,
        request: Request<ReceivedBody>,
        upstream: SocketAddr,
    ) -> Result<Response<Body>, hyper::Error> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = format!("http://{upstream}{path}").parse::<Uri>() else {
            return Ok(status(StatusCode::BAD_REQUEST));
        };
        (head.uri, head.version) = (uri, Version::HTTP_11);
        strip(&mut head.headers);
        match self.client.request(Request::from_parts(head, body)).await {
            Ok(mut response) => {
                strip(response.headers_mut());
                Ok(response.map(|body| body.boxed()))
            }
            Err(_) => Ok(status(StatusCode::BAD_GATEWAY)),
        }
    }
}

/// Removes the headers that concern one connection and not the request.
fn strip(headers: &mut HeaderMap) {
    for name in [
        "connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

// === What main puts together. ===
#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, admin] = &arguments[..] else {
        bail!("usage: proxy FILE ADMIN-ADDRESS");
    };
    let path = Path::new(path);
    // How long drains last, and the tree of what drains: the process, its listeners' versions.
    let settings = DrainSettings::default().with_drain_time(Duration::from_secs(8));
    let root = DrainManager::root(settings.with_shutdown_minimum(Duration::from_secs(1)));
    // Which connections there are, and what happened.
    let (tracker, stats) = (ConnTracker::new(), Stats::new());

    // Sockets and versions. The driver paces drains; `serve` accepts and spawns.
    let observer = StatsObserver::new(stats.clone());
    let (listeners, driver) =
        Listeners::new(root.clone(), tracker.clone(), Default::default(), observer);
    tokio::spawn(driver);
    let proxy = Proxy::new(&stats);
    let handler = move |accepted| proxy.clone().connection(accepted);
    tokio::spawn(serve(&listeners, handler));
    load(path, &listeners).await?;

    // The end of the process, which the admin port can show and start.
    let (shutdown, run) = Shutdown::new(&root, &tracker, ShutdownSettings::default());
    let host = Standard::new(root, tracker, listeners.clone(), stats);
    let host = Arc::new(host.with_shutdown(shutdown.clone()));
    let admin = TcpListener::bind(admin).await?;
    println!("admin on {}", admin.local_addr()?);
    tokio::spawn(Arc::clone(&host).serve(admin));

    let (mut signals, mut hangup) = (Signals::new()?, signal(SignalKind::hangup())?);
    for version in listeners.versions() {
        let local = listeners.local_address(version.name());
        println!("{} on {}", version.name(), local.context("no address")?);
    }
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = host.quit_asked() => break,
            _ = hangup.recv() => match load(path, &listeners).await {
                Ok(()) => println!("loaded"),
                Err(error) => println!("refused: {error:#}"),
            },
        }
    }
    shutdown.begin(ShutdownReason::ProcessShutdown);
    let stop = || drop(listeners.stop_listeners(DrainDirection::All));
    let outcome = run.run(stop).await;
    println!("drained, {} left", outcome.left);
    Ok(())
}
