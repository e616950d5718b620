//! The command line: Envoy's flags, and those that choose between Envoy's behaviour and edge's.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use orion_drain::admin::BearerToken;
use orion_drain::config::ListenerManagerConfig;
use orion_drain::drain_tree::{
    CloseSteps, DrainLength, DrainSchedule, DrainSettings, DrainStrategy,
};
use orion_drain::lifecycle::{ShutdownHealth, ShutdownSettings};
use orion_drain::proto_drain_http1::CloseCode;

use crate::log::LogArgs;

/// A small Envoy-shaped proxy that changes its listeners without losing a request.
#[derive(Debug, Parser)]
#[command(name = "edge", version)]
pub(crate) struct Args {
    /// The bootstrap file, Envoy v3 YAML.
    #[arg(short = 'c', long = "config-path")]
    pub(crate) config_path: PathBuf,
    /// Serve, or only say whether the bootstrap can be used.
    #[arg(long, value_enum, default_value_t = Mode::Serve)]
    pub(crate) mode: Mode,
    /// Ignore fields of the bootstrap that Envoy does not have either, instead of refusing them.
    #[arg(long)]
    pub(crate) allow_unknown_static_fields: bool,
    /// Refuse updates with fields that Envoy does not have either, instead of ignoring these
    /// fields.
    #[arg(long)]
    pub(crate) reject_unknown_dynamic_fields: bool,
    /// What becomes of fields that Envoy has, that only tune or observe, and that are not carried
    /// out here.
    #[arg(long, value_enum, default_value_t = UnsupportedFields::Warn)]
    pub(crate) unsupported_fields: UnsupportedFields,
    /// How often the LDS file is looked at, in seconds, where the system reports no moves, as on
    /// some network file systems. Default: never.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lds_poll_s: Option<u32>,
    /// The name of this proxy, in place of the bootstrap's `node.id`.
    #[arg(long, value_name = "ID")]
    pub(crate) service_node: Option<String>,
    /// The name of the cluster that this proxy runs in, in place of the bootstrap's `node.cluster`.
    #[arg(long, value_name = "NAME")]
    pub(crate) service_cluster: Option<String>,
    /// How long a drain lasts, in seconds.
    /// Default: what the bootstrap's `listener_manager.drain_config` says, or 600.
    #[arg(long)]
    pub(crate) drain_time_s: Option<u64>,
    /// Whether connections are asked to finish one after the other, or all at once. Default: what
    /// `listener_manager.drain_config` says, or gradual.
    #[arg(long, value_enum)]
    pub(crate) drain_strategy: Option<Strategy>,
    /// How long a replaced process may live, in seconds. See --hot-restart-path.
    #[arg(long, default_value_t = 900)]
    pub(crate) parent_shutdown_time_s: u64,
    /// Where an old process and the new process that replaces it meet: a path of a Unix socket, in
    /// a folder that only its owner may write. A process that finds another process there takes its
    /// sockets, and the other process drains. Default: none.
    #[arg(long, value_name = "PATH")]
    pub(crate) hot_restart_path: Option<PathBuf>,
    /// When connections are asked to finish. Default: first-quarter, or envoy-1.40 with `--compat
    /// envoy-1.40`.
    #[arg(long, value_enum)]
    pub(crate) drain_schedule: Option<Schedule>,
    /// Another proxy's behaviour as a whole.
    #[arg(long, value_enum)]
    pub(crate) compat: Option<Compat>,
    /// How many threads serve connections. Default: one for each core.
    #[arg(long)]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// Each of those threads has a runtime of its own, as Envoy's workers have: a connection never
    /// changes its thread.
    #[arg(long)]
    pub(crate) runtime_per_worker: bool,
    #[command(flatten)]
    shutdown: ShutdownArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// What SIGTERM and SIGINT do. Default: drain, or exit with `--compat envoy-1.40`.
    #[arg(long, value_enum)]
    pub(crate) on_sigterm: Option<OnSigterm>,
    /// systemd keeps the listening sockets while the service is restarted; its unit needs
    /// FileDescriptorStoreMax=. Default: if systemd offers it, which it does from version 254 on.
    #[arg(long)]
    pub(crate) systemd_fd_store: bool,
    /// What a WebSocket client reads before its tunnel's deadline: a Close frame, 1012 or 1001, or
    /// (`none`) no frame but FIN, as from Envoy. Default: service-restart, or none with `--compat
    /// envoy-1.40`.
    #[arg(long, value_enum)]
    websocket_close: Option<WebSocketClose>,
    /// A file with the bearer token that the admin port asks for. Default: none, so keep that port
    /// on the loopback address.
    #[arg(long)]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// A host name that leads to the admin port, besides its IP addresses and localhost; may be
    /// given again. Under other names nothing is changed and no configuration shown: any site can
    /// have a name that leads here. Default: none.
    #[arg(long = "admin-allowed-host", value_name = "NAME")]
    pub(crate) admin_allowed_hosts: Vec<String>,
}

/// How the process ends, where it is not by the library's defaults.
#[derive(Debug, clap::Args)]
struct ShutdownArgs {
    /// How long after SIGTERM the process must be gone, in seconds: Kubernetes'
    /// terminationGracePeriodSeconds, systemd's TimeoutStopSec. The times below are derived from
    /// this one where they are not set, and cut to fit where they are. Default: none.
    #[arg(long)]
    shutdown_deadline_s: Option<u64>,
    /// How long after SIGTERM the drain begins, in seconds. Meanwhile everything is served, and
    /// `/ready` says 503: time for load balancers to look elsewhere. Default: a sixth of the
    /// deadline, 15 at most; without a deadline 0.
    #[arg(long)]
    shutdown_lead_time_s: Option<u64>,
    /// How long the drain of the process lasts, in seconds. Default: the drain time.
    #[arg(long)]
    shutdown_drain_time_s: Option<u64>,
    /// How long that drain lasts at least, in seconds. Default: 10, or the drain time if that is
    /// less.
    #[arg(long)]
    shutdown_minimum_s: Option<u64>,
    /// How long that drain goes on accepting, in seconds. Default: the minimum, a quarter of the
    /// drain time at most.
    #[arg(long)]
    shutdown_accepting_s: Option<u64>,
    /// With how many connections left, after the minimum, the drain is over.
    #[arg(long, default_value_t = 0)]
    shutdown_exit_at_connections: usize,
    /// What `/ready` says from SIGTERM on, and whether the health check fails.
    #[arg(long, value_enum, default_value_t = Health::NotReady)]
    shutdown_health: Health,
    /// How long after SIGTERM the health changes, in seconds.
    #[arg(long, default_value_t = 0)]
    shutdown_health_delay_s: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Health {
    /// `/ready` says 200 to the end.
    Unchanged,
    /// `/ready` says 503.
    NotReady,
    /// As by `/healthcheck/fail`: `/ready` says 503 and every response says close.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnsupportedFields {
    /// The file is refused; an update too, as a whole.
    Refuse,
    /// They are left out, and each is said once.
    Warn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Serve,
    Validate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WebSocketClose {
    /// 1012: come again.
    ServiceRestart,
    /// 1001.
    GoingAway,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    Gradual,
    Immediate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schedule {
    FirstQuarter,
    #[value(name = "envoy-1.40")]
    Envoy140,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compat {
    #[value(name = "envoy-1.40")]
    Envoy140,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnSigterm {
    Drain,
    Exit,
}

impl Args {
    /// The settings of the drain tree: the flags, then the bootstrap's block, then Envoy's
    /// defaults.
    pub(crate) fn drain_settings(&self, block: Option<&ListenerManagerConfig>) -> DrainSettings {
        let settings = block.map_or_else(
            DrainSettings::default,
            ListenerManagerConfig::drain_settings,
        );
        let schedule = match self.drain_schedule {
            Some(Schedule::FirstQuarter) => DrainSchedule::FirstQuarter,
            Some(Schedule::Envoy140) => DrainSchedule::Envoy140,
            None if self.compat == Some(Compat::Envoy140) => DrainSchedule::Envoy140,
            None => DrainSchedule::FirstQuarter,
        };
        let strategy = match self.drain_strategy {
            Some(Strategy::Gradual) => DrainStrategy::Gradual,
            Some(Strategy::Immediate) => DrainStrategy::Immediate,
            None => settings.strategy,
        };
        let length = match self.compat {
            Some(Compat::Envoy140) => DrainLength::Full,
            None => DrainLength::UntilEmpty,
        };
        let close_steps = match self.compat {
            // Nothing is said before the deadline, and nothing after it.
            Some(Compat::Envoy140) => CloseSteps::default()
                .with_finish_before(Duration::ZERO)
                .with_drop_after(Duration::ZERO),
            None => settings.close_steps,
        };
        let drain_time = self
            .drain_time_s
            .map_or(settings.drain_time, Duration::from_secs);
        settings
            .with_drain_time(drain_time)
            .with_parent_shutdown_time(Duration::from_secs(self.parent_shutdown_time_s))
            .with_strategy(strategy)
            .with_schedule(schedule)
            .with_length(length)
            .with_close_steps(close_steps)
            // A process that must be gone sooner than ten seconds cannot wait so long for no
            // client.
            .with_shutdown_minimum(Duration::from_secs(10).min(drain_time))
    }

    /// How the process ends.
    pub(crate) fn shutdown_settings(&self) -> ShutdownSettings {
        let args = &self.shutdown;
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        let mut settings = ShutdownSettings::default()
            .with_exit_at_connections(args.shutdown_exit_at_connections)
            .with_health_delay(Duration::from_secs(args.shutdown_health_delay_s))
            .with_health(match args.shutdown_health {
                Health::Unchanged => ShutdownHealth::Unchanged,
                Health::NotReady => ShutdownHealth::NotReady,
                Health::Failed => ShutdownHealth::Failed,
            });
        settings.deadline = seconds(args.shutdown_deadline_s);
        settings.lead_time = seconds(args.shutdown_lead_time_s);
        settings.drain_time = seconds(args.shutdown_drain_time_s);
        settings.minimum = seconds(args.shutdown_minimum_s);
        settings.accepting = seconds(args.shutdown_accepting_s);
        settings
    }

    /// How tunnels of WebSocket end.
    pub(crate) fn websocket_close(&self) -> Option<CloseCode> {
        match self.websocket_close {
            Some(WebSocketClose::None) => None,
            Some(WebSocketClose::GoingAway) => Some(CloseCode::GoingAway),
            Some(WebSocketClose::ServiceRestart) => Some(CloseCode::ServiceRestart),
            None => (self.compat != Some(Compat::Envoy140)).then_some(CloseCode::ServiceRestart),
        }
    }

    /// The token that the admin port asks for.
    pub(crate) fn admin_token(&self) -> anyhow::Result<Option<BearerToken>> {
        let Some(path) = &self.admin_token_file else {
            return Ok(None);
        };
        let token = orion_drain::config::read_text(path);
        let token = token.with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(!token.trim().is_empty(), "{} is empty", path.display());
        Ok(Some(BearerToken::new(&token)))
    }

    /// What the first SIGTERM or SIGINT does.
    pub(crate) fn on_sigterm(&self) -> OnSigterm {
        match (self.on_sigterm, self.compat) {
            (Some(chosen), _) => chosen,
            (None, Some(Compat::Envoy140)) => OnSigterm::Exit,
            (None, None) => OnSigterm::Drain,
        }
    }
}
