//! The admin port: what this process shows of itself, and what an operator may ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use orion_drain::admin::{
    AdminHost, BearerToken, ConfigDump, ConnectionView, Denied, DrainListenerError, DrainListeners,
    DrainView, ListenerConfigView, ListenerView, Operation, ServerInfo, ServerState, ShutdownView, answer,
};
use orion_drain::config::{Bootstrap, format_duration};
use orion_drain::conn_tracker::ConnTracker;
use orion_drain::drain_tree::{DrainDirection, DrainManager, DrainStrategy};
use orion_drain::lifecycle::{Shutdown, ShutdownReason};
use orion_drain::listener_versions::{AcceptPolicy, Listeners, Update};
use orion_drain::stats::{Stats, StatsSnapshot};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::hot_restart::Epoch;
use crate::listener::EdgeListener;

/// Everything the admin interface speaks of.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    root: DrainManager,
    tracker: ConnTracker,
    listeners: Listeners<EdgeListener>,
    stats: Stats,
    bootstrap: Arc<serde_json::Value>,
    token: Option<BearerToken>,
    shutdown: Option<Shutdown>,
    started: Instant,
    epoch: Epoch,
    quit: Arc<Quit>,
}

/// An operator's wish that the process be gone.
#[derive(Debug, Default)]
struct Quit {
    asked: AtomicBool,
    answered: Notify,
}

impl Host {
    pub(crate) fn new(
        root: DrainManager,
        tracker: ConnTracker,
        listeners: Listeners<EdgeListener>,
        stats: Stats,
        bootstrap: &Bootstrap,
    ) -> Self {
        Self {
            root,
            tracker,
            listeners,
            stats,
            bootstrap: Arc::new(serde_json::to_value(bootstrap).unwrap_or_default()),
            token: None,
            shutdown: None,
            started: Instant::now(),
            epoch: Epoch::default(),
            quit: Arc::default(),
        }
    }

    /// It is one of several processes in a row.
    pub(crate) fn with_epoch(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    /// Whoever asks must have this token, except for `/ready`, which load balancers ask, and the page, which has no data.
    pub(crate) fn with_token(self, token: Option<BearerToken>) -> Self {
        Self { token, ..self }
    }

    /// How far the process is from its end.
    pub(crate) fn with_shutdown(self, shutdown: Shutdown) -> Self {
        Self {
            shutdown: Some(shutdown),
            ..self
        }
    }

    /// Resolves when an operator wants the process gone, and has been answered.
    pub(crate) async fn quit(&self) {
        self.quit.answered.notified().await;
    }

    fn asked_to_quit(&self) -> bool {
        self.quit.asked.load(Ordering::Relaxed)
    }
}

impl AdminHost for Host {
    fn state(&self) -> ServerState {
        let is_ready = self.shutdown.as_ref().is_none_or(Shutdown::is_ready);
        if self.root.health_failed() || !is_ready {
            ServerState::Draining
        } else {
            ServerState::Live
        }
    }

    fn stats(&self) -> StatsSnapshot {
        let stats = self.stats.snapshot();
        let (versions, chains) = (self.listeners.snapshot(), self.listeners.draining_chains());
        let mut stats = stats.with_connections(&self.tracker, &versions, &chains);
        stats.set("edge.dropped_log_lines", crate::log::dropped_lines());
        stats
    }

    fn listeners(&self) -> Vec<ListenerView> {
        ListenerView::active(&self.listeners.snapshot())
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
        self.quit.asked.store(true, Ordering::Relaxed);
    }

    fn connections(&self) -> Vec<ConnectionView> {
        let (connections, versions) = (self.tracker.snapshot(), self.listeners.snapshot());
        ConnectionView::open(
            &connections,
            self.tracker.now(),
            &versions,
            &self.listeners.draining_chains(),
            Instant::now().into_std(),
        )
    }

    fn drains(&self) -> Vec<DrainView> {
        let now = Instant::now().into_std();
        let mut drains = DrainView::draining(&self.listeners.snapshot(), now);
        drains.extend(DrainView::draining_chains(&self.listeners.draining_chains(), now));
        drains
    }

    fn shutdown(&self) -> Option<ShutdownView> {
        let shutdown = self.shutdown.as_ref()?;
        Some(ShutdownView::of(&shutdown.progress(), Instant::now().into_std()))
    }

    fn config_dump(&self) -> ConfigDump {
        let mut dump = ConfigDump::default();
        dump.bootstrap = Some((*self.bootstrap).clone());
        dump.listeners = ListenerConfigView::all(&self.listeners.versions(), EdgeListener::listener);
        let settings = self.root.settings();
        let shutdown = self.shutdown.as_ref().map(|shutdown| {
            let plan = shutdown.plan(ShutdownReason::ProcessShutdown);
            serde_json::json!({
                "lead_time": format_duration(plan.lead_time),
                "drain_time": format_duration(plan.drain_time),
                "minimum": format_duration(plan.minimum),
                "accepting": format_duration(plan.accepting),
                "health_delay": format_duration(plan.health_delay),
            })
        });
        dump.effective = Some(serde_json::json!({
            "drain_time": format_duration(settings.drain_time),
            "drain_strategy": strategy(settings.strategy),
            "drain_schedule": format!("{:?}", settings.schedule),
            "parent_shutdown_time": format_duration(settings.parent_shutdown_time),
            "shutdown_minimum": format_duration(settings.shutdown_minimum),
            "finish_before": format_duration(settings.ladder.finish_before),
            "drop_after": format_duration(settings.ladder.drop_after),
            "shutdown": shutdown,
        }));
        dump
    }

    fn drain_listener(&self, name: &str) -> Result<(), DrainListenerError> {
        let active = self.listeners.active(name).ok_or(DrainListenerError::NotFound)?;
        if active.is_static() {
            return Err(DrainListenerError::Static);
        }
        let removal = Update::delta("", Vec::<EdgeListener>::new(), [name]);
        let listeners = self.listeners.clone();
        let mut removed = Box::pin(async move { drop(listeners.apply(removal).await) });
        // All is done at the first poll, unless a new process is taking over.
        if removed.as_mut().now_or_never().is_none() {
            tokio::spawn(removed);
        }
        Ok(())
    }

    fn authorize(&self, request: &Parts, operation: Operation) -> Result<(), Denied> {
        match &self.token {
            Some(token) if !matches!(operation, Operation::Ready | Operation::Home) => token.check(request),
            _ => Ok(()),
        }
    }

    fn server_info(&self) -> ServerInfo {
        let settings = self.root.settings();
        let mut info = ServerInfo::new(self.state());
        info.uptime_current_epoch = self.started.elapsed();
        let first = self.epoch.since.unwrap_or(self.started.into_std());
        info.uptime_all_epochs = Instant::now().into_std().saturating_duration_since(first);
        info.command_line_options.restart_epoch = self.epoch.number;
        info.command_line_options.drain_time = settings.drain_time;
        info.command_line_options.parent_shutdown_time = settings.parent_shutdown_time;
        info.command_line_options.drain_strategy = strategy(settings.strategy).into();
        info
    }
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
        let (host, answering) = (host.clone(), host.clone());
        let service = service_fn(move |request| respond(answering.clone(), request));
        // A client that never finishes its head must not stay for ever.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // How it ended does not matter, but the answer to "quit" is out then.
            connection.await.ok();
            if host.asked_to_quit() {
                host.quit.answered.notify_one();
            }
        });
    }
}

/// How long a request's head, or its body, may take.
const PATIENCE: Duration = Duration::from_secs(30);

async fn respond(host: Host, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Elapsed> {
    let mut response = tokio::time::timeout(PATIENCE, answer(&host, request)).await?;
    if host.asked_to_quit() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}
