//! The end of a process, with traffic, in paused time.

mod wishes;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use orion_drain::conn_tracker::{ConnInfo, ConnLabel, ConnTracker, Peer};
use orion_drain::drain_tree::{DrainManager, DrainSettings, DrainStrategy};
use orion_drain::lifecycle::{
    Shutdown, ShutdownEnding, ShutdownHealth, ShutdownOutcome, ShutdownReason, ShutdownSettings,
    ShutdownState, ShutdownStep,
};
use orion_drain::serve::{
    CodecType, Connection, HttpServer, HttpTimeouts, ReceivedBody, serve_http,
};
use orion_drain::stats::Stats;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A process that tells everybody at once.
struct Process {
    root: DrainManager,
    tracker: ConnTracker,
    shutdown: Shutdown,
    ended: JoinHandle<ShutdownOutcome>,
    accepts: Arc<AtomicBool>,
    /// Requests for `/held` wait for a permit.
    held: Arc<Semaphore>,
}

impl Process {
    fn start(settings: ShutdownSettings) -> Self {
        let drains = DrainSettings::default()
            .with_drain_time(seconds(60))
            .with_strategy(DrainStrategy::Immediate);
        let root = DrainManager::root(drains);
        let tracker = ConnTracker::new();
        let (shutdown, run) = Shutdown::new(&root, &tracker, settings);
        let accepts = Arc::new(AtomicBool::new(true));
        let stopping = Arc::clone(&accepts);
        let ended = tokio::spawn(run.run(move || stopping.store(false, Ordering::Relaxed)));
        Self {
            root,
            tracker,
            shutdown,
            ended,
            accepts,
            held: Arc::new(Semaphore::new(0)),
        }
    }

    fn begin(&self) {
        self.shutdown.begin(ShutdownReason::ProcessShutdown);
    }

    fn accepts(&self) -> bool {
        self.accepts.load(Ordering::Relaxed)
    }

    fn connect(&self) -> Client {
        self.connect_as(Peer::Unknown)
    }

    fn connect_as(&self, info: impl Into<ConnInfo>) -> Client {
        let (client, accepted) = tokio::io::duplex(4096);
        let stats = Stats::new().http("in");
        let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), stats);
        let guard = self.tracker.group("in", 1).open(info);
        let watch = self.root.watch().expect("it is not over");
        let connection = Connection::new(&self.root, watch, guard);
        let held = Arc::clone(&self.held);
        let service = service_fn(move |request: Request<ReceivedBody>| {
            let held = Arc::clone(&held);
            async move {
                if request.uri().path() == "/held" {
                    held.acquire().await.expect("it is open").forget();
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
            }
        });
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
        Client { stream: client }
    }
}

struct Client {
    stream: DuplexStream,
}

impl Client {
    async fn ask(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        self.stream
            .write_all(request.as_bytes())
            .await
            .expect("it is open");
    }

    /// Whether the next response says that the connection is closed.
    async fn is_told(&mut self) -> bool {
        let answer = rig::h1::response(&mut self.stream).await;
        answer.expect("an answer").0.close()
    }

    async fn get(&mut self) -> bool {
        self.ask("/").await;
        self.is_told().await
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_lead_time_all_is_served_and_in_the_drain_everybody_is_told() {
    let process = Process::start(ShutdownSettings::default().with_lead_time(seconds(10)));
    let mut client = process.connect();
    let start = Instant::now();
    process.begin();
    tokio::time::sleep(seconds(9)).await;
    assert!(!process.shutdown.is_ready() && process.accepts());
    assert!(!client.get().await, "told before the drain");
    let mut late = process.connect();
    process.shutdown.reached(ShutdownState::Draining).await;
    assert_eq!(start.elapsed(), seconds(10));
    assert!(
        client.get().await && late.get().await,
        "not told in the drain"
    );
    drop((client, late));
    let outcome = process.ended.await.expect("it runs");
    assert_eq!((outcome.ending, outcome.left), (ShutdownEnding::Drained, 0));
    // The lead time, and the minimum of 10 s.
    assert_eq!(outcome.took, seconds(20));
}

#[tokio::test(start_paused = true)]
async fn failed_health_tells_everybody_from_its_delay_on_and_not_before() {
    let settings = ShutdownSettings::default()
        .with_lead_time(seconds(10))
        .with_health(ShutdownHealth::Failed)
        .with_health_delay(seconds(4));
    let process = Process::start(settings);
    let mut client = process.connect();
    process.begin();
    tokio::time::sleep(seconds(3)).await;
    assert!(process.shutdown.is_ready() && !client.get().await);
    tokio::time::sleep(seconds(2)).await;
    assert!(!process.shutdown.is_ready() && process.root.health_failed());
    assert!(client.get().await, "health has failed");
}

#[tokio::test(start_paused = true)]
async fn unchanged_health_is_ready_to_the_end() {
    let process =
        Process::start(ShutdownSettings::default().with_health(ShutdownHealth::Unchanged));
    let client = process.connect();
    process.begin();
    process.shutdown.reached(ShutdownState::Draining).await;
    assert!(process.shutdown.is_ready());
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn progress_names_each_step_before_it_comes() {
    let process = Process::start(ShutdownSettings::default().with_deadline(seconds(30)));
    let mut client = process.connect();
    let start = Instant::now().into_std();
    assert_eq!(process.shutdown.progress().next, None);
    process.begin();
    client.ask("/held").await;
    for (state, step, at) in [
        (ShutdownState::LeadTime, ShutdownStep::Drain, 5_000),
        (ShutdownState::Draining, ShutdownStep::StopAccepting, 10_500),
        (ShutdownState::Draining, ShutdownStep::Minimum, 15_000),
        (ShutdownState::Draining, ShutdownStep::Deadline, 27_000),
    ] {
        // The steps of this instant are taken first.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let progress = process.shutdown.progress();
        let next = progress.next.expect("something comes");
        let due = start + Duration::from_millis(at);
        assert_eq!((progress.state, next.step, next.at), (state, step, due));
        assert_eq!(progress.deadline, Some(start + seconds(27)));
        assert_eq!(progress.connections, 1);
        tokio::time::sleep_until(due.into()).await;
    }
    // The request never ends; it is over before SIGKILL all the same.
    let outcome = process.ended.await.expect("it runs");
    assert!(
        outcome.took >= seconds(27) && outcome.took < seconds(28),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_process_takes_whoever_comes_until_its_minimum_is_over() {
    let process = Process::start(ShutdownSettings::default());
    process.begin();
    process.shutdown.reached(ShutdownState::Minimum).await;
    tokio::time::sleep(seconds(5)).await;
    assert!(process.accepts());
    // Whoever comes is told with the first response.
    let mut client = process.connect();
    assert!(client.get().await);
    assert_eq!(process.shutdown.state(), ShutdownState::Draining);
    drop(client);
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(process.shutdown.state(), ShutdownState::Minimum);
    let outcome = process.ended.await.expect("it runs");
    assert_eq!(outcome.took, seconds(10));
}

#[tokio::test(start_paused = true)]
async fn the_sockets_close_when_accepting_is_over_or_the_drain_is() {
    let settings = ShutdownSettings::default().with_accepting(seconds(3));
    let process = Process::start(settings.clone());
    process.begin();
    tokio::time::sleep(seconds(2)).await;
    assert!(process.accepts());
    tokio::time::sleep(seconds(2)).await;
    assert!(!process.accepts());
    let process = Process::start(settings.with_minimum(Duration::ZERO));
    process.begin();
    assert_eq!(process.ended.await.expect("it runs").took, Duration::ZERO);
    assert!(!process.accepts.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn with_few_enough_connections_left_the_others_are_closed_in_steps() {
    let settings = ShutdownSettings::default().with_exit_at_connections(1);
    let process = Process::start(settings);
    let (mut stays, mut leaves) = (process.connect(), process.connect());
    stays.ask("/held").await;
    leaves.ask("/held").await;
    tokio::task::yield_now().await;
    process.begin();
    tokio::time::sleep(Duration::from_millis(30_500)).await;
    assert_eq!(process.shutdown.progress().connections, 2);
    process.held.add_permits(1);
    let told = tokio::select! { told = stays.is_told() => told, told = leaves.is_told() => told };
    assert!(told);
    let outcome = process.ended.await.expect("it runs");
    assert_eq!((outcome.ending, outcome.left), (ShutdownEnding::Drained, 0));
    // At once, and a second for the steps.
    assert!(outcome.took < Duration::from_millis(31_600), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn who_only_reads_metrics_holds_nobody_up() {
    let process = Process::start(ShutdownSettings::default());
    let mut scrape =
        process.connect_as(ConnInfo::new(Peer::Unknown).with_label(ConnLabel::Metrics));
    let mut client = process.connect();
    client.ask("/held").await;
    tokio::task::yield_now().await;
    scrape.ask("/held").await;
    process.begin();
    tokio::time::sleep(seconds(15)).await;
    assert_eq!(process.shutdown.state(), ShutdownState::Draining);
    process.held.add_permits(1);
    assert!(client.is_told().await);
    drop(client);
    let outcome = process.ended.await.expect("it runs");
    assert_eq!(outcome.ending, ShutdownEnding::Drained);
    assert!(
        outcome.took >= seconds(15) && outcome.took < seconds(16),
        "{outcome:?}"
    );
}
