//! The admin port: what this process shows of itself, and what an operator may ask of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orion_drain::admin::{
    AdminHost, ConnectionView, DrainListeners, DrainView, ListenerView, ServerInfo, ServerState, handle,
};
use orion_drain::conn_tracker::{ConnKind, ConnSnapshot, ConnTracker};
use orion_drain::drain_tree::{DrainDirection, DrainManager, DrainStrategy};
use orion_drain::listener_versions::{AcceptPolicy, Listeners, VersionView};
use orion_drain::stats::{Stats, StatsSnapshot};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::listener::EdgeListener;

/// Everything the admin interface speaks of.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    root: DrainManager,
    tracker: ConnTracker,
    listeners: Listeners<EdgeListener>,
    stats: Stats,
    started: Instant,
    quit: Arc<Notify>,
}

impl Host {
    pub(crate) fn new(
        root: DrainManager,
        tracker: ConnTracker,
        listeners: Listeners<EdgeListener>,
        stats: Stats,
    ) -> Self {
        Self {
            root,
            tracker,
            listeners,
            stats,
            started: Instant::now(),
            quit: Arc::default(),
        }
    }

    /// Resolves when an operator wants the process gone.
    pub(crate) async fn quit(&self) {
        self.quit.notified().await;
    }
}

impl AdminHost for Host {
    fn state(&self) -> ServerState {
        if self.root.health_failed() {
            ServerState::Draining
        } else {
            ServerState::Live
        }
    }

    fn stats(&self) -> StatsSnapshot {
        self.stats.snapshot()
    }

    fn listeners(&self) -> Vec<ListenerView> {
        let versions = self.listeners.snapshot();
        let active = versions
            .iter()
            .filter(|version| version.drain.is_none() || version.accepting);
        active
            .map(|version| ListenerView::new(&*version.name, &version.address))
            .collect()
    }

    fn drain_listeners(&self, form: DrainListeners) {
        let direction = if form.inbound_only {
            DrainDirection::InboundOnly
        } else {
            DrainDirection::All
        };
        let policy = match form {
            DrainListeners { skip_exit: true, .. } => AcceptPolicy::Keep,
            DrainListeners { graceful: true, .. } => AcceptPolicy::UntilDrainTimeEnds,
            _ => AcceptPolicy::StopNow,
        };
        self.listeners.drain(direction, policy);
    }

    fn fail_health(&self) {
        self.root.fail_health();
    }

    fn restore_health(&self) {
        self.root.restore_health();
    }

    fn quit(&self) {
        self.quit.notify_one();
    }

    fn connections(&self) -> Vec<ConnectionView> {
        let now = Instant::now();
        let clock = now - self.started;
        let versions = self.listeners.snapshot();
        self.tracker
            .snapshot()
            .iter()
            .map(|connection| shown(connection, clock, now, &versions))
            .collect()
    }

    fn drains(&self) -> Vec<DrainView> {
        let now = Instant::now();
        self.listeners
            .snapshot()
            .iter()
            .filter_map(|version| drain(version, now))
            .collect()
    }

    fn server_info(&self) -> ServerInfo {
        let settings = self.root.settings();
        let mut info = ServerInfo::new(self.state());
        info.uptime_current_epoch = self.started.elapsed();
        info.command_line_options.drain_time = settings.drain_time;
        info.command_line_options.parent_shutdown_time = settings.parent_shutdown_time;
        info.command_line_options.drain_strategy = strategy(settings.strategy).to_owned();
        info
    }
}

fn shown(
    connection: &ConnSnapshot,
    clock: Duration,
    now: Instant,
    versions: &[VersionView],
) -> ConnectionView {
    let version = versions
        .iter()
        .find(|version| version.number == connection.version);
    let mut view = ConnectionView::default();
    view.id = connection.id.to_string();
    view.listener = connection.listener.to_string();
    view.version = connection.version;
    view.filter_chain = connection.chain.as_ref().map(ToString::to_string);
    view.protocol = connection.protocol.to_string();
    view.state = connection.state.to_string();
    view.kind = connection.kind.to_string();
    view.streams = if let ConnKind::InRequest { streams } = connection.kind {
        streams
    } else {
        0
    };
    view.peer = Some(connection.peer.to_string());
    view.age = connection.age(clock);
    view.quiet = connection.quiet(clock);
    view.deadline_in = version.and_then(|version| deadline_in(version, now));
    view
}

fn drain(version: &VersionView, now: Instant) -> Option<DrainView> {
    let event = version.drain.as_ref()?;
    let mut view = DrainView::default();
    view.listener = Some(version.name.to_string());
    view.version = Some(version.number);
    view.reason = event.reason.to_string();
    view.strategy = strategy(event.strategy).to_lowercase();
    view.elapsed = now.into_std().saturating_duration_since(event.start);
    view.drain_time = event.drain_time;
    view.deadline_in = deadline_in(version, now);
    view.connections = version.connections;
    Some(view)
}

fn deadline_in(version: &VersionView, now: Instant) -> Option<Duration> {
    version
        .deadline
        .map(|deadline| deadline.saturating_duration_since(now.into_std()))
}

const fn strategy(strategy: DrainStrategy) -> &'static str {
    match strategy {
        DrainStrategy::Gradual => "Gradual",
        DrainStrategy::Immediate => "Immediate",
    }
}

/// The registry's clock: one tick a second for all connections, instead of a clock read for each of their events.
pub(crate) async fn tick(host: Host) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        host.tracker.advance(host.started.elapsed());
    }
}

/// Serves the admin port. Its connections are not listed and hold up no drain.
pub(crate) async fn serve(listener: TcpListener, host: Host) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: others need the time to give some back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let host = host.clone();
        let service = service_fn(move |request| answer(host.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(host: Host, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, _) = request.into_parts();
    Ok(handle(&host, &parts).map(Full::new))
}
