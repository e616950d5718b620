//! `cargo xtask demo`: a listener is updated again and again under a crowd of real clients, and
//! what they lost is counted.
//!
//! With `--hot-restart` the whole proxy is replaced each time: a new process takes the sockets of
//! the one that serves.
//!
//! The story: build the proxy (`edge`, the reference proxy of `orion-drain`) → start upstreams and
//! proxy on loopback → let the crowd in → replace the listeners' file several times, while the
//! clients go on → wait until the last replaced version must be gone → send the crowd home → judge
//! what each connection saw. The clients are independent of the proxy's code: they write and read
//! the wire themselves, so that they see each `connection: close`, GOAWAY, FIN and RST, and when.
//!
//! What counts as lost is said in [`verdict`]. The clients are correct ones: none uses an HTTP/1.1
//! connection again after `connection: close`, or opens a stream after a GOAWAY. One thing a real
//! client cannot do: those that speak seldom or for long know the deadline of their version and
//! begin nothing that would not be done a good second before it, because no proxy can save a
//! request that crosses the close of a silent connection (RFC 9112 section 9.5). Busy clients do not
//! know: if the proxy does not tell them to leave, they run into the deadline, and lose.

mod ask;
mod book;
mod crowd;
mod h1;
mod h1_clients;
mod h2_clients;
mod h2_session;
mod live;
mod pattern;
mod probe;
mod record;
mod report;
mod table;
mod tcp;
mod timeline;
mod upload;
mod upstream;
mod verdict;
mod ws;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use rig::{Edge, Start};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use book::Book;
use crowd::Crowd;
use live::Live;
use record::{Record, Updates};
use verdict::ClassVerdict;

/// How long the crowd runs before the first update, and after the last version must be gone.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask demo", bin_name = "cargo xtask demo")]
/// Updates a listener again and again under a crowd of real clients and counts what is lost.
struct Options {
    /// How long a replaced listener version may take to drain, in seconds.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(4..=600))]
    drain_time_s: u64,
    /// Replace the whole process each time, not only the listeners: a new one takes the sockets of
    /// the one that serves.
    #[arg(long, conflicts_with = "proxy_is_envoy")]
    hot_restart: bool,
    /// How often the listeners, or the process, are replaced.
    #[arg(long, visible_alias = "restarts", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    updates: u32,
    /// The time between two updates, in milliseconds.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    interval_ms: u64,
    /// Tell the connections one after the other, or all at once.
    #[arg(long, value_enum, default_value_t = Strategy::Gradual)]
    strategy: Strategy,
    /// When each connection is told.
    #[arg(long, value_enum, default_value_t = Schedule::FirstQuarter)]
    schedule: Schedule,
    /// Write what happened as a page with a timeline.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Use this edge instead of building it.
    #[arg(long, value_name = "PATH")]
    edge: Option<PathBuf>,
    /// Multiply the crowd.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=50))]
    clients: u16,
    /// The program given by `--edge` is Envoy itself: leave out the flags that it does not know.
    #[arg(long, hide = true, requires = "edge")]
    proxy_is_envoy: bool,
}

/// `--drain-strategy` of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Strategy {
    Gradual,
    Immediate,
}

/// `--drain-schedule` of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Schedule {
    FirstQuarter,
    #[value(name = "envoy-1.40")]
    Envoy140,
}

impl Options {
    /// What happens again and again.
    fn event(&self) -> &'static str {
        if self.hot_restart {
            "hot restart"
        } else {
            "update"
        }
    }

    fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s)
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// How long the crowd is there.
    fn planned(&self) -> Duration {
        BEFORE + self.interval() * (self.updates - 1) + self.drain_time() + AFTER
    }

    fn proxy_flags(&self) -> Vec<String> {
        let seconds = self.drain_time_s;
        let strategy = match self.strategy {
            Strategy::Gradual => "gradual",
            Strategy::Immediate => "immediate",
        };
        let schedule = match self.schedule {
            Schedule::FirstQuarter => "first-quarter",
            Schedule::Envoy140 => "envoy-1.40",
        };
        let mut flags = format!(
            "--drain-time-s {seconds} --drain-strategy {strategy} --parent-shutdown-time-s {}",
            seconds * 2
        );
        flags += &match self.proxy_is_envoy {
            true => " --disable-hot-restart --log-level warning --concurrency 2".to_owned(),
            false => format!(" --drain-schedule {schedule}"),
        };
        flags.split(' ').map(str::to_owned).collect()
    }
}

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    records: Vec<Record>,
    updates: Updates,
    /// When the crowd was sent home.
    end: Duration,
    /// What happened again and again.
    event: &'static str,
    /// What is wrong with the proxy itself.
    complaints: Vec<String>,
    classes: Vec<ClassVerdict>,
}

impl Outcome {
    fn good(&self) -> bool {
        self.complaints.is_empty() && self.classes.iter().all(ClassVerdict::good)
    }
}

/// Plays the demo; success means that nothing was lost and everything was said. An error means that
/// the demo itself could not be played: edge does not build or start, or a file cannot be written.
fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let program = match &options.edge {
        Some(path) => path.clone(),
        None => rig::build_edge("dev", "")?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = play(&program, &options) => outcome,
            // What was started and written goes with the future that is dropped.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let outcome = outcome?;
    print!("{}", table::render(&outcome));
    if let Some(path) = &options.report {
        let page = report::render(&outcome, &options);
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
        println!("report: {}", path.display());
    }
    Ok(if outcome.good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn play(program: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let book = Book::new(options.drain_time());
    let upstreams = upstream::start(&book).await?;
    let mut edge = Edge::start(Start {
        program: program.to_owned(),
        flags: options.proxy_flags(),
        hot_restart: options.hot_restart,
        folder: folder.path().to_owned(),
        drain_time: options.drain_time(),
        clusters: upstreams.clusters(),
    })
    .await?;

    let (stop, stopped) = watch::channel(false);
    let crowd = Arc::new(Crowd {
        book: Arc::clone(&book),
        http: edge.config.http,
        tcp: edge.config.tcp,
        tcp_sides: Arc::clone(&upstreams.tcp_sides),
        drain_time: options.drain_time(),
        stop: stopped,
    });
    let clients = crowd.start(usize::from(options.clients));
    println!(
        "{} clients, {} {}s {:.1} s apart, drain time {} s: about {:.0} s. Admin port: http://{}",
        clients.len(),
        options.updates,
        options.event(),
        options.interval().as_secs_f64(),
        options.drain_time_s,
        options.planned().as_secs_f64(),
        edge.config.admin,
    );
    let live = Live::start(Arc::clone(&book), edge.config.admin, options);

    let told = update_again_and_again(&mut edge, &book, options).await;
    let end = book.now();
    // Clients hold receivers, so this cannot fail while there are any.
    stop.send_replace(true);
    let late = send_home(clients).await;
    live.stop().await;
    told.with_context(|| format!("the proxy said:\n{}", edge.tail()))?;

    let mut complaints = Vec::new();
    if late > 0 {
        complaints.push(format!("{late} clients did not come home in time"));
    }
    complaints.extend(not_reaped(&mut edge).await);
    match edge.still_there().await {
        0 => {}
        left => complaints.push(format!(
            "{left} replaced processes did not end by themselves, or failed"
        )),
    }
    let (records, updates) = book.read(|pages| (pages.records.clone(), pages.updates.clone()));
    let classes = verdict::judge(&records, &updates, end);
    let outcome = Outcome {
        records,
        updates,
        end,
        event: options.event(),
        complaints,
        classes,
    };
    if !outcome.good() {
        eprintln!("the proxy said:\n{}", edge.tail());
    }
    edge.stop().await?;
    Ok(outcome)
}

/// The updates, and the time until the last replaced version must be gone.
async fn update_again_and_again(
    edge: &mut Edge,
    book: &Book,
    options: &Options,
) -> anyhow::Result<()> {
    sleep(BEFORE).await;
    for version in (2..).take(options.updates as usize) {
        if version > 2 {
            sleep(options.interval()).await;
        }
        if let Some(status) = edge.ended() {
            bail!("the proxy ended by itself: {status}");
        }
        if options.hot_restart {
            edge.restart(version).await?;
            book.updated();
        } else {
            book.updated();
            edge.config.update(version)?;
        }
    }
    sleep(options.drain_time() + AFTER).await;
    match edge.ended() {
        Some(status) => bail!("the proxy ended by itself: {status}"),
        None => Ok(()),
    }
}

/// Waits for the clients, but not for ever; how many had to be left behind or panicked.
async fn send_home(mut clients: JoinSet<()>) -> usize {
    let mut failed = 0;
    let all = async {
        while let Some(client) = clients.join_next().await {
            failed += usize::from(client.is_err());
        }
    };
    // A late client is counted, and dropped with the set.
    let in_time = timeout(Duration::from_secs(15), all).await.is_ok();
    if in_time {
        failed
    } else {
        failed + clients.len()
    }
}

/// Every replaced version must be gone by now: asks the proxy, a few times.
async fn not_reaped(edge: &mut Edge) -> Option<String> {
    const DRAINING: &str = "listener_manager.total_listeners_draining";
    let mut last = "the proxy does not count its draining listeners".to_owned();
    for _ in 0..20 {
        match edge.admin("GET", "/stats").await {
            Err(error) => last = format!("the proxy's admin port: {error:#}"),
            Ok(text) => match rig::stats(&text).get(DRAINING) {
                Some(0) => return None,
                Some(left) => last = format!("{left} replaced listener versions were never reaped"),
                None => {}
            },
        }
        sleep(Duration::from_millis(100)).await;
    }
    Some(last)
}
