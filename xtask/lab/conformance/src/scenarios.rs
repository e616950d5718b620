//! What is played: each scenario starts a process, puts connections on it, does one thing to it,
//! and checks rules.

mod admin;
mod chains;
mod closing;
mod connect;
mod corpus;
mod crowd;
mod curve;
mod health;
mod immediate;
mod modify;
mod places;
mod pressure;
mod progress;
mod rejected;
mod requests;
mod restart;
mod rows;
mod shutdown;
mod streams;
mod timeouts;
mod tls;
mod updates;
mod workers;

use std::pin::Pin;

use super::Stage;
use super::rule::Checks;

/// A play on one side.
type Playing = Pin<Box<dyn Future<Output = anyhow::Result<Checks>> + Send>>;

pub(crate) type Play = fn(Stage) -> Playing;

/// Something to play.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) play: Play,
}

macro_rules! scenarios {
    ($($name:literal => $play:path,)*) => {
        &[$(Scenario { name: $name, play: |stage| Box::pin($play(stage)) }),*]
    };
}

/// All of them. The long ones come first, so that the others play beside them.
pub(crate) const ALL: &[Scenario] = scenarios![
    "modify-gradual" => modify::gradual,
    "modify-short" => modify::no_window,
    "modify-curve" => curve::curve,
    "modify-streams" => streams::streams,
    "restart" => restart::restart,
    "update-nothing" => updates::nothing,
    "update-remove" => updates::remove,
    "update-add-again" => updates::add_again,
    "update-move" => updates::moved,
    "update-rapid" => updates::rapid,
    "update-storm" => updates::storm,
    "update-chains" => chains::chains,
    "update-only-chain" => chains::only_chain,
    "update-rejected" => rejected::rejected,
    "update-strict" => rejected::strict,
    "admin-drain" => admin::plain,
    "admin-graceful" => admin::graceful,
    "admin-skip-exit" => admin::skip_exit,
    "admin-inbound" => admin::inbound,
    "admin-views" => admin::views,
    "health" => health::health,
    "immediate" => immediate::immediate,
    "immediate-short" => immediate::short,
    "immediate-zero" => immediate::zero,
    "shutdown-quit" => shutdown::quit,
    "shutdown-signals" => shutdown::signals,
    "timeouts-idle" => timeouts::idle,
    "timeouts-age" => timeouts::age,
    "closing" => closing::closing,
    "closing-tcp" => closing::tcp,
    "closing-pressure" => pressure::pressure,
    "connect" => connect::connect,
    "progress" => progress::progress,
    "places-queue" => places::queue,
    "places-unix" => places::unix,
    "jitter" => places::jitter,
    "tls" => tls::tls,
    "workers-one" => workers::one,
    "workers-four" => workers::four,
    "corpus" => corpus::corpus,
    "requests-framing" => requests::framing,
    "requests-limits" => requests::limits,
    "requests-probes" => requests::probes,
];
