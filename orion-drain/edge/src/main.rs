//! edge: a small Envoy-shaped proxy that changes its listeners without losing a request. The
//! reference for how the crates go together.
//!
//! ```text
//!  bootstrap ─► drain tree, registry, listeners ─► workers accept ─► listener::serve, a task a connection
//!  LDS       ─► Lds ─► Listeners::apply ─► new version accepts, old one drains (paced by the driver's task)
//!  a new process ─► takes the sockets, and this one drains (--hot-restart-path)
//!  signals   ─► the root drains, then the process exits          admin port ─► statistics, drains, health
//! ```

#[macro_use]
mod log;

mod addressed;
mod admit;
#[cfg(feature = "jemalloc")]
mod allocator;
mod answers;
mod cli;
mod dial;
mod exchange;
mod extended_connect;
mod failure;
mod first;
mod forwarded;
mod health;
mod hop_by_hop;
mod hot_restart;
mod lds;
mod lengths;
mod listener;
mod measured;
mod proxy;
mod rds;
mod resolve;
mod response_watch;
mod rewrite;
mod service;
mod shutdown;
mod timed;
mod timeout;
mod tunnel;
mod turns;
mod upgrade;
mod upload;
mod upstream;
mod upstream_h2;
mod workers;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use futures_util::FutureExt as _;
use http::HeaderValue;
use orion_drain::StatsObserver;
use orion_drain::admin::{Standard, Startup};
use orion_drain::config::{
    Address, Bootstrap, BootstrapRules, FieldError, ListenerManagerConfig, Loaded, line_of,
};
use orion_drain::conn_tracker::ConnTracker;
use orion_drain::drain_tree::DrainManager;
use orion_drain::lifecycle::{Shutdown, Signals};
use orion_drain::listener_versions::handover::PROTOCOL_VERSION;
use orion_drain::listener_versions::{Listeners, ListenersOptions, Update};
use orion_drain::orion::DefaultConnectionManager;
use orion_drain::serve::SharedBehavior;
use orion_drain::stats::Stats;
use tokio::sync::oneshot;

use crate::cli::{Args, Compat, Mode, UnsupportedFields};
use crate::first::First;
use crate::health::Health;
use crate::hot_restart::{AdminPort, Restart};
use crate::lds::{LastRefused, Lds};
use crate::listener::{EdgeListener, Maker};
use crate::rds::Rds;
use crate::service::{Before, Service, Source};
use crate::upstream::Clusters;

fn main() -> ExitCode {
    let args = Args::parse();
    // Dropped last: what is said until then is written.
    let _written = args.log.init();
    let served = start(&args);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::fatal(format_args!("edge: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> anyhow::Result<()> {
    // First of all, while there is one thread.
    let before = Before::from_env()?;
    let runtime = workers::main_runtime(args)?;
    let served = runtime.block_on(serve(args, before));
    // Whatever still runs is left behind, not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(args: &Args, before: Before) -> anyhow::Result<()> {
    let path = args.config_path.display();
    let Configuration { loaded, text } =
        load(args).with_context(|| format!("cannot use {path}"))?;
    let bootstrap = &loaded.value;
    for field in &loaded.unknown_fields {
        complain!("warning: {path}: {field}: not carried out here");
    }

    // What connections are drained by, listed in and counted with.
    let manager = bootstrap.listener_manager.as_ref();
    let settings = args.drain_settings(manager);
    for warning in bootstrap.audit(&settings) {
        complain!("warning: {path}: {warning}");
    }
    let ending = args.shutdown_settings();
    for warning in ending.audit(&settings) {
        complain!("warning: {warning}");
    }
    let root = DrainManager::root(settings);
    let tracker = ConnTracker::new();
    let (shutdown, run) = Shutdown::new(&root, &tracker, ending);
    let stats = Stats::new();
    stats
        .server()
        .static_unknown_fields
        .add(loaded.unknown_fields.len() as u64);
    let behavior = manager
        .map(|manager| SharedBehavior::new(&(&manager.drain_config.protocol_handling).into()));
    let node = bootstrap.node.as_ref();
    let cluster = node.map_or("", |node| &node.cluster);
    let health = Health {
        root: root.clone(),
        shutdown: shutdown.clone(),
        // What no header can have is of no use to anybody in one.
        cluster: HeaderValue::from_str(cluster).unwrap_or(HeaderValue::from_static("")),
    };
    let (clusters, mut wrong) = Clusters::new(bootstrap.clusters(), bootstrap.secrets());
    let rds = Rds::new(stats.clone());
    let maker = Maker {
        rds: rds.clone(),
        health,
        clusters,
        secrets: bootstrap.secrets().into(),
        stats: stats.clone(),
        connection_limits: bootstrap.listener_connection_limits().into(),
        behavior: behavior.unwrap_or_default(),
        envoy_1_40: args.compat == Some(Compat::Envoy140),
        websocket_close: args.websocket_close(),
    };
    let mut statics = Vec::new();
    for (index, listener) in bootstrap.listeners().iter().enumerate() {
        match maker.listener(listener.clone()) {
            Ok(listener) => statics.push(listener),
            Err(field) => wrong.push(field.below(&format!("static_resources.listeners[{index}]"))),
        }
    }
    if !wrong.is_empty() {
        let wrong: Vec<_> = wrong
            .into_iter()
            .map(|field| located(field, &text))
            .collect();
        anyhow::bail!("cannot use {path}: {}", all(&wrong));
    }
    if args.mode == Mode::Validate {
        // Nothing depends on its reader.
        writeln!(std::io::stdout(), "configuration '{path}' OK").ok();
        return Ok(());
    }
    if let Some(lds) = bootstrap.lds_path().filter(|path| !path.exists()) {
        // In Envoy's words.
        let shown = lds.display();
        anyhow::bail!(
            "{path}: dynamic_resources.lds_config: paths must refer to an existing path in the system: '{shown}' does not exist"
        );
    }
    maker.clusters.resolve().await;
    let mut options = manager.map_or_else(
        ListenersOptions::default,
        ListenerManagerConfig::listeners_options,
    );
    if let Some(connections) = bootstrap.connection_limit() {
        options = options.with_max_connections(connections);
    }
    let (listeners, driver) = Listeners::new(
        root.clone(),
        tracker.clone(),
        options,
        StatsObserver::new(stats.clone()),
    );
    tokio::spawn(driver);
    let hangup = service::hangup()?;
    let service = Service::new(&listeners, before, args.systemd_fd_store)?;
    let audited = manager.map(|_| DefaultConnectionManager::new(tracker.clone()));
    if let (Some(manager), Some(audited)) = (manager, audited.clone()) {
        tokio::spawn(audit(audited, manager.cleanup_interval));
    }
    let handler = move |accepted| listener::serve(accepted, audited.clone());
    let mut restart = match &args.hot_restart_path {
        Some(path) => Some(Restart::begin(path).await?),
        None => None,
    };
    // Beside a process that serves, nothing is accepted before it is sure that this one does.
    let replaces = restart.as_ref().is_some_and(Restart::replaces);
    // Registered before a request can be there that the signal would end.
    let mut signals = Signals::new()?;
    if !replaces {
        workers::start(args, &listeners, handler.clone())?;
    }

    // The listeners that stay, the admin port, then the listeners that change; on the sockets of
    // the process before, if there is one.
    let admin_address = bootstrap
        .admin_address()
        .and_then(|address| address.socket_addr());
    let from_before = |address: SocketAddr| restart.as_mut()?.take(&address.into());
    let admin_socket = admin_address.and_then(from_before);
    let sockets = restart.as_mut().map(Restart::sockets).unwrap_or_default();
    listeners.inherit(sockets);
    let report = listeners.apply(Update::bootstrap(statics)).await;
    if let Some(error) = report.errors().next() {
        anyhow::bail!("{path}: {error}");
    }
    let startup = Startup::new();
    let last_refused = LastRefused::default();
    let mut host = Standard::new(root.clone(), tracker, listeners.clone(), stats.clone())
        .with_shutdown(shutdown.clone())
        .with_startup(startup.clone())
        .with_log(log::levels, log::set_level)
        .with_own_names(args.admin_allowed_hosts.iter().cloned())
        .with_allow_paths(bootstrap.admin_allow_paths().iter().cloned())
        .with_configuration(bootstrap, EdgeListener::listener)
        .with_refused_listeners({
            let last = last_refused.clone();
            move || last.views()
        })
        .with_routes({
            let rds = rds.clone();
            move || rds.dump()
        })
        .with_more_stats(|stats| {
            stats.set("edge.dropped_log_lines", log::dropped_lines());
            stats.set("edge.withheld_log_lines", log::withheld());
            let runs = hot_restart::predecessor_runs();
            stats.set_gauge("edge.predecessor_running", runs.into(), runs);
        });
    if args.hot_restart_path.is_some() {
        host = host.with_hot_restart_version(PROTOCOL_VERSION.to_string());
    }
    if let Some(token) = args.admin_token()? {
        host = host.with_token(token);
    }
    let admin_port =
        match (admin_address, admin_socket) {
            (None, _) => None,
            (Some(_), Some(socket)) => Some(tokio::net::TcpListener::from_std(socket.into())?),
            (Some(address), None) => {
                let listener = tokio::net::TcpListener::bind(address).await;
                Some(listener.with_context(|| {
                    format!("{path}: admin.address: cannot listen on {address}")
                })?)
            }
        };
    let mut admin = AdminPort::default();
    if let Some(admin_port) = &admin_port {
        say!("admin: listening on {}", admin_port.local_addr()?);
        if restart.is_some() {
            admin.socket.add(admin_port.as_fd().try_clone_to_owned()?)?;
        }
    }
    let (applied, taken) = oneshot::channel();
    let first = Lds::has_source(bootstrap).then_some(taken);
    let patience = bootstrap.lds_initial_fetch_limit();
    startup.initializing();
    let waits = First::new(startup, maker.envoy_1_40);
    let statics_warm = lds::warming(&report, &listeners, &rds, &waits);
    let statics_warm = statics_warm.boxed().shared();
    match first {
        Some(_) => drop(tokio::spawn({
            let waits = waits.clone();
            async move { waits.within(patience).await }
        })),
        None => waits.for_nothing_more(),
    }
    let lds = Lds {
        listeners: listeners.clone(),
        maker,
        settings: root.settings().clone(),
        has_ads: bootstrap.ads_control_plane().is_some(),
        runtime: bootstrap.runtime_values(),
        reject_unknown_fields: args.reject_unknown_dynamic_fields,
        first: waits,
        last_refused,
        said: std::sync::Mutex::default(),
        unsupported_fields: args.unsupported_fields,
        poll: args.lds_poll_s.map(|s| Duration::from_secs(s.into())),
        reload: Arc::default(),
    };
    let source = Source {
        has_file: bootstrap.lds_path().is_some(),
        reload: first.is_some().then(|| Arc::clone(&lds.reload)),
        patience,
        statics_warm: statics_warm.clone(),
    };
    tokio::spawn(lds.run(bootstrap.clone(), applied));
    let first = async move {
        statics_warm.await;
        match first {
            Some(whole) => whole.await == Ok(true),
            None => true,
        }
    };
    let offering = match restart {
        Some(restart) => {
            let told = signals.next();
            let offering = restart.serving(&listeners, first, told, &root).await?;
            if offering.is_none() {
                say!("hot restart: ended before it was ready, the process before goes on");
                return Ok(());
            }
            offering
        }
        None => None,
    };
    if let Some(offering) = &offering {
        let (number, first) = offering.epoch();
        host = host.with_restart_epoch(number, first);
        stats.server().hot_restart_epoch.set(number.into());
    }
    let host = Arc::new(host);
    if replaces {
        workers::start(args, &listeners, handler)?;
    }
    if let Some(admin_port) = admin_port {
        let accepting = tokio::spawn(Arc::clone(&host).serve(admin_port));
        admin.accepting = Some(accepting.abort_handle());
    }
    let next = offering
        .as_ref()
        .map(|offering| (offering.asked(), offering.keeps()));
    if let Some(offering) = offering {
        let ends = (shutdown.clone(), service.clone());
        tokio::spawn(offering.run(listeners.clone(), admin, ends));
    }
    let running = service.clone();
    tokio::spawn(running.run(shutdown.clone(), source, hangup, replaces));
    shutdown::wait(
        signals,
        (&shutdown, run),
        (&listeners, &service),
        args.on_sigterm(),
        (host.quit_asked(), next),
    )
    .await;
    Ok(())
}

/// The bootstrap, and the text that it was read from.
struct Configuration {
    loaded: Loaded<Bootstrap>,
    text: String,
}

/// Reads the bootstrap as strictly as Envoy does.
fn load(args: &Args) -> anyhow::Result<Configuration> {
    let text = orion_drain::config::read_text(&args.config_path)?;
    let mut rules = BootstrapRules::default();
    rules.no_foreign_fields = !args.allow_unknown_static_fields;
    rules.no_unsupported_fields = matches!(args.unsupported_fields, UnsupportedFields::Refuse);
    rules.known_clusters = true;
    let loaded = Bootstrap::from_yaml_by(&text, rules);
    let mut loaded = loaded.map_err(|error| anyhow::anyhow!("{}", all(error.fields())))?;
    let (node, cluster) = (
        args.service_node.as_deref(),
        args.service_cluster.as_deref(),
    );
    loaded.value = loaded.value.with_node(node, cluster);
    if let Some(Address::Pipe(_)) = loaded.value.admin_address() {
        let message = "not supported, the admin interface has an IP address and a port";
        let field = FieldError::new("admin.address.pipe", message);
        anyhow::bail!("{}", located(field, &text).in_full());
    }
    Ok(Configuration { loaded, text })
}

/// The same error with the line of its field in the text that it was read from.
fn located(mut field: FieldError, text: &str) -> FieldError {
    field.line = line_of(text, &field.path);
    field
}

/// All that is wrong with a file: one error, or each in a line of its own.
fn all(fields: &[FieldError]) -> String {
    match fields {
        [field] => field.in_full().to_string(),
        fields => {
            let mut all = format!("{} errors", fields.len());
            for field in fields {
                all += &format!("\n  {}", field.in_full());
            }
            all
        }
    }
}

/// `listener_manager.cleanup_interval`: looks for connections that outlive their deadline. There
/// are none.
async fn audit(connections: DefaultConnectionManager, interval: Duration) {
    let mut audits = tokio::time::interval(interval.max(Duration::from_millis(100)));
    loop {
        audits.tick().await;
        let overdue = connections.close_overdue();
        if overdue > 0 {
            complain!("audit: {overdue} connections outlived their deadline and were closed");
        }
    }
}
