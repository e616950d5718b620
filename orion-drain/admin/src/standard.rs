//! The process behind the admin interface, as most have it: a drain tree, a registry, listeners,
//! statistics (feature `standard`).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant as StdInstant;

use conn_tracker::{ConnId, ConnTracker};
use drain_tree::{DrainDirection, DrainManager, DrainStrategy, PartialStart};
use futures_util::FutureExt as _;
use http::request::Parts;
use listener_versions::{AcceptPolicy, ListenerConfig, Listeners, Update};
use orion_drain_config::{Listener, StringMatcher, format_duration};
use orion_drain_shutdown::{Shutdown, ShutdownReason};
use orion_drain_stats::{Stats, StatsSnapshot};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{
    AdminHost, BearerToken, ClusterView, ConfigDump, ConnectionPage, ConnectionView, Denied,
    DrainListenerError, DrainListeners, DrainView, ListenerConfigView, ListenerView, LogLevel,
    Operation, RefusedListenerView, RouteConfigView, ServerInfo, ServerState, ShutdownView,
    Startup, VersionSummary,
};

/// An [`AdminHost`] for a process with listeners of [`listener_versions`]. [`serve`](Self::serve)
/// serves it on a port.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use conn_tracker::{ConnId, ConnTracker};
/// use drain_tree::DrainManager;
/// use listener_versions::{ListenerConfig, Listeners};
/// use orion_drain_admin::Standard;
/// use orion_drain_stats::Stats;
/// use tokio::net::TcpListener;
///
/// async fn admin<C: ListenerConfig>(
///     root: DrainManager, tracker: ConnTracker, listeners: Listeners<C>, stats: Stats,
/// ) -> std::io::Result<()> {
///     let host = Arc::new(Standard::new(root, tracker, listeners, stats));
///     tokio::spawn(Arc::clone(&host).serve(TcpListener::bind("127.0.0.1:9901").await?));
///     host.quit_asked().await; // POST /quitquitquit
///     Ok(())
/// }
/// ```
pub struct Standard<C: ListenerConfig> {
    root: DrainManager,
    tracker: ConnTracker,
    listeners: Listeners<C>,
    stats: Stats,
    more_stats: Option<fn(&mut StatsSnapshot)>,
    bootstrap: Option<Value>,
    refused: Option<Shown<RefusedListenerView>>,
    routes: Option<Shown<RouteConfigView>>,
    configuration: Option<fn(&C) -> &Listener>,
    token: Option<BearerToken>,
    shutdown: Option<Shutdown>,
    startup: Option<Startup>,
    own_names: Vec<String>,
    allow_paths: Vec<StringMatcher>,
    hot_restart_version: Option<String>,
    log: Option<LogControl>,
    /// The statistics when counters were reset.
    reset: Mutex<Option<StatsSnapshot>>,
    started: Instant,
    restart_epoch: u32,
    /// When the first process in a row was started.
    first: StdInstant,
    pub(super) quit: Quit,
}

/// What the host shows at each request.
type Shown<T> = Box<dyn Fn() -> Vec<T> + Send + Sync>;

/// The parts of a log and how each is changed.
#[derive(Clone, Copy)]
struct LogControl {
    levels: fn() -> Vec<(String, LogLevel)>,
    set: fn(&str, LogLevel),
}

/// An operator's wish that the process be gone.
#[derive(Debug, Default)]
pub(super) struct Quit {
    asked: AtomicBool,
    answered: Notify,
}

impl Quit {
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The client has the answer.
    pub(super) fn answered(&self) {
        self.answered.notify_one();
    }
}

impl<C: ListenerConfig> Standard<C> {
    /// A process that drains below `root`, with these connections, listeners and statistics.
    pub fn new(
        root: DrainManager,
        tracker: ConnTracker,
        listeners: Listeners<C>,
        stats: Stats,
    ) -> Self {
        let started = Instant::now();
        Self {
            root,
            tracker,
            listeners,
            stats,
            more_stats: None,
            bootstrap: None,
            configuration: None,
            refused: None,
            routes: None,
            token: None,
            shutdown: None,
            startup: None,
            own_names: Vec::new(),
            allow_paths: Vec::new(),
            hot_restart_version: None,
            log: None,
            reset: Mutex::default(),
            started,
            restart_epoch: 0,
            first: started.into_std(),
            quit: Quit::default(),
        }
    }

    /// The same with statistics of the program's own: `add` is called for each snapshot.
    #[must_use]
    pub fn with_more_stats(mut self, add: fn(&mut StatsSnapshot)) -> Self {
        self.more_stats = Some(add);
        self
    }

    /// The same with `/config_dump`: this bootstrap, and what `listener` reads of each version's
    /// configuration.
    #[must_use]
    pub fn with_configuration(
        mut self,
        bootstrap: &impl Serialize,
        listener: fn(&C) -> &Listener,
    ) -> Self {
        self.bootstrap = Some(serde_json::to_value(bootstrap).unwrap_or_default());
        self.configuration = Some(listener);
        self
    }

    /// The same with the listeners that the last update asked for, and that were refused, for
    /// `/config_dump`.
    #[must_use]
    pub fn with_refused_listeners(
        mut self,
        refused: impl Fn() -> Vec<RefusedListenerView> + Send + Sync + 'static,
    ) -> Self {
        self.refused = Some(Box::new(refused));
        self
    }

    /// The same with the tables that came over RDS, for `/config_dump`.
    #[must_use]
    pub fn with_routes(
        mut self,
        routes: impl Fn() -> Vec<RouteConfigView> + Send + Sync + 'static,
    ) -> Self {
        self.routes = Some(Box::new(routes));
        self
    }

    /// The same for a process that is one of several that replace each other: its number, and when
    /// the first one was started.
    #[must_use]
    pub fn with_restart_epoch(mut self, number: u32, first: StdInstant) -> Self {
        (self.restart_epoch, self.first) = (number, first);
        self
    }

    /// The same for clients that have this token. `/ready`, which load balancers ask, and the page,
    /// which has no data, need none.
    #[must_use]
    pub fn with_token(mut self, token: BearerToken) -> Self {
        self.token = Some(token);
        self
    }

    /// The same with the end of the process: `/ready` says 503 when that does, and `/drain` shows
    /// how far it is.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// The same with its start: until that is [finished](Startup::finish), `/ready` says 503.
    #[must_use]
    pub fn with_startup(mut self, startup: Startup) -> Self {
        self.startup = Some(startup);
        self
    }

    /// The same with `/logging`: the parts of the program's log with their levels, and what changes
    /// one.
    #[must_use]
    pub fn with_log(
        mut self,
        levels: fn() -> Vec<(String, LogLevel)>,
        set: fn(&str, LogLevel),
    ) -> Self {
        self.log = Some(LogControl { levels, set });
        self
    }

    /// The same for a process that can be replaced by hot restart: what `/hot_restart_version`
    /// says. Default: `disabled`.
    #[must_use]
    pub fn with_hot_restart_version(mut self, version: impl Into<String>) -> Self {
        self.hot_restart_version = Some(version.into());
        self
    }

    /// The same under more names than its IP addresses and `localhost`: what changes something, or
    /// reveals the configuration, is answered under these names too. See
    /// [`AdminHost::is_own_name`]. Default: none.
    #[must_use]
    pub fn with_own_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.own_names.extend(names.into_iter().map(Into::into));
        self
    }

    /// The same, which answers only what one of these matches, and all else with 403:
    /// `admin.allow_paths` of the bootstrap. None, the default: everything is answered.
    #[must_use]
    pub fn with_allow_paths(mut self, paths: impl IntoIterator<Item = StringMatcher>) -> Self {
        self.allow_paths.extend(paths);
        self
    }

    /// Resolves when an operator has asked for `/quitquitquit`, and was answered by
    /// [`serve`](Self::serve).
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again.
    pub async fn quit_asked(&self) {
        self.quit.answered.notified().await;
    }

    fn all_stats(&self) -> StatsSnapshot {
        let stats = self.stats.snapshot();
        let (versions, chains) = (self.listeners.snapshot(), self.listeners.draining_chains());
        let mut stats = stats.with_connections(&self.tracker, &versions, &chains);
        if let Some(add) = self.more_stats {
            add(&mut stats);
        }
        stats
    }

    fn reset(&self) -> MutexGuard<'_, Option<StatsSnapshot>> {
        // Replaced as a whole.
        self.reset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process_json(&self) -> Value {
        let settings = self.root.settings();
        let shutdown = self.shutdown.as_ref().map(|shutdown| {
            let plan = shutdown.plan(ShutdownReason::ProcessShutdown);
            json!({
                "lead_time": format_duration(plan.lead_time),
                "drain_time": format_duration(plan.drain_time),
                "minimum": format_duration(plan.minimum),
                "accepting": format_duration(plan.accepting),
                "health_delay": format_duration(plan.health_delay),
            })
        });
        json!({
            "drain_time": format_duration(settings.drain_time),
            "drain_strategy": strategy(settings.strategy),
            "drain_schedule": format!("{:?}", settings.schedule),
            "parent_shutdown_time": format_duration(settings.parent_shutdown_time),
            "shutdown_minimum": format_duration(settings.shutdown_minimum),
            "finish_before": format_duration(settings.close_steps.finish_before),
            "drop_after": format_duration(settings.close_steps.drop_after),
            "shutdown": shutdown,
        })
    }
}

impl<C: ListenerConfig> AdminHost for Standard<C> {
    fn state(&self) -> ServerState {
        if let Some(starting) = self.startup.as_ref().and_then(Startup::state) {
            return starting;
        }
        let is_ready = self.shutdown.as_ref().is_none_or(Shutdown::is_ready);
        if self.root.health_failed() || !is_ready {
            ServerState::Draining
        } else {
            ServerState::Live
        }
    }

    fn stats(&self) -> StatsSnapshot {
        let stats = self.all_stats();
        match &*self.reset() {
            Some(reset) => stats.since(reset),
            None => stats,
        }
    }

    fn reset_counters(&self) {
        *self.reset() = Some(self.all_stats());
    }

    fn clusters(&self) -> Vec<ClusterView> {
        self.bootstrap
            .as_ref()
            .map(ClusterView::of_bootstrap)
            .unwrap_or_default()
    }

    fn certificates(&self) -> Vec<String> {
        let Some(listener) = self.configuration else {
            return Vec::new();
        };
        let versions = self.listeners.versions();
        let mut files = Vec::new();
        for version in &versions {
            let listener = serde_json::to_value(listener(version.config()));
            certificate_files(&listener.unwrap_or_default(), &mut files);
        }
        files.sort();
        files.dedup();
        files
    }

    fn hot_restart_version(&self) -> String {
        let version = self.hot_restart_version.clone();
        version.unwrap_or_else(|| "disabled".to_owned())
    }

    fn log_levels(&self) -> Vec<(String, LogLevel)> {
        self.log.map(|log| (log.levels)()).unwrap_or_default()
    }

    fn set_log_level(&self, part: &str, level: LogLevel) {
        if let Some(log) = self.log {
            (log.set)(part, level);
        }
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
            DrainListeners {
                skip_exit: true, ..
            } => AcceptPolicy::Keep,
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

    fn connections(&self, after: Option<ConnId>, limit: usize) -> ConnectionPage {
        let page = self.tracker.snapshot_page(after, limit);
        let connections = ConnectionView::open(
            &page.connections,
            self.tracker.now(),
            &self.listeners.snapshot(),
            &self.listeners.draining_chains(),
            Instant::now().into_std(),
        );
        ConnectionPage::new(connections, page.next)
    }

    fn connection_count(&self) -> usize {
        self.tracker.len()
    }

    fn versions(&self) -> Vec<VersionSummary> {
        VersionSummary::all(&self.listeners.snapshot())
    }

    fn is_own_name(&self, name: &str) -> bool {
        self.own_names
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
    }

    fn allows_path(&self, path: &str) -> bool {
        self.allow_paths.is_empty() || self.allow_paths.iter().any(|it| it.matches(path))
    }

    fn drains(&self) -> Vec<DrainView> {
        let now = Instant::now().into_std();
        let mut drains = DrainView::draining(&self.listeners.snapshot(), now);
        drains.extend(DrainView::draining_chains(
            &self.listeners.draining_chains(),
            now,
        ));
        drains
    }

    fn shutdown(&self) -> Option<ShutdownView> {
        let shutdown = self.shutdown.as_ref()?;
        Some(ShutdownView::of(
            &shutdown.progress(),
            Instant::now().into_std(),
        ))
    }

    fn config_dump(&self) -> ConfigDump {
        let listeners = self.configuration.map(|listener| {
            let versions = self.listeners.versions();
            ListenerConfigView::all(&versions, listener)
        });
        ConfigDump {
            bootstrap: self.bootstrap.clone(),
            listeners: listeners.unwrap_or_default(),
            refused: self.refused.as_ref().map_or_else(Vec::new, |shown| shown()),
            routes: self.routes.as_ref().map_or_else(Vec::new, |shown| shown()),
            effective: Some(self.process_json()),
        }
    }

    fn drain_listener(&self, name: &str) -> Result<(), DrainListenerError> {
        let active = self
            .listeners
            .active(name)
            .ok_or(DrainListenerError::NotFound)?;
        if active.is_static() {
            return Err(DrainListenerError::Static);
        }
        let removal = Update::delta("", Vec::<C>::new(), [name]);
        let listeners = self.listeners.clone();
        let mut removed = Box::pin(async move { drop(listeners.apply(removal).await) });
        // All is done at the first poll, unless a new process is taking over.
        if removed.as_mut().now_or_never().is_none() {
            tokio::spawn(removed);
        }
        Ok(())
    }

    fn drain_partially(
        &self,
        name: &str,
        start: PartialStart,
    ) -> Result<usize, DrainListenerError> {
        let active = self.listeners.active(name);
        let active = active.ok_or(DrainListenerError::NotFound)?;
        let partial = active.drain().start_partial_drain(start);
        let chosen = partial.left();
        tokio::spawn(partial);
        Ok(chosen)
    }

    fn authorize(&self, request: &Parts, operation: Operation) -> Result<(), Denied> {
        match &self.token {
            Some(token) if !matches!(operation, Operation::Ready | Operation::Home) => {
                token.check(request)
            }
            _ => Ok(()),
        }
    }

    fn server_info(&self) -> ServerInfo {
        let settings = self.root.settings();
        let mut info = ServerInfo::new(self.state());
        info.hot_restart_version = self.hot_restart_version();
        let node = self
            .bootstrap
            .as_ref()
            .and_then(|bootstrap| bootstrap.get("node"));
        info.node = node.cloned().unwrap_or_else(|| json!({}));
        info.uptime_current_epoch = self.started.elapsed();
        info.uptime_all_epochs = Instant::now()
            .into_std()
            .saturating_duration_since(self.first);
        info.command_line_options.restart_epoch = self.restart_epoch;
        info.command_line_options.drain_time = settings.drain_time;
        info.command_line_options.parent_shutdown_time = settings.parent_shutdown_time;
        info.command_line_options.drain_strategy = strategy(settings.strategy).into();
        info
    }
}

/// The files of certificate chains in a listener's configuration.
fn certificate_files(value: &Value, files: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let chain = fields.get("certificate_chain");
            if let Some(file) = chain.and_then(|chain| chain["filename"].as_str()) {
                files.push(file.to_owned());
            }
            fields
                .values()
                .for_each(|value| certificate_files(value, files));
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| certificate_files(value, files)),
        _ => {}
    }
}

const fn strategy(strategy: DrainStrategy) -> &'static str {
    match strategy {
        DrainStrategy::Gradual => "Gradual",
        DrainStrategy::Immediate => "Immediate",
    }
}

impl<C: ListenerConfig> fmt::Debug for Standard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standard").finish_non_exhaustive()
    }
}
