//! The parts of the page: what each is called, what it plays, and what its numbers mean.

mod exits;
mod memory;
mod profile;
mod restarts;
mod rolling;
mod speed;
mod storms;

use std::time::Duration;

use crate::figure::Figures;
use crate::stage::Stage;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Part {
    /// Changes of the configuration under a crowd: what is lost.
    Storm,
    /// Hot restart or binary upgrade under the same crowd.
    Restart,
    /// What a request costs.
    Speed,
    /// Whose code a request's time is spent in, by perf.
    Profile,
    /// What an idle connection and a draining version take.
    Memory,
    /// From SIGTERM to the end, with clients that do not help.
    Exit,
    /// Three instances are replaced behind a balancer that notices late.
    Rolling,
}

/// No load lasts shorter.
const SHORT: Duration = Duration::from_millis(1500);

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::Storm,
        Self::Restart,
        Self::Speed,
        Self::Profile,
        Self::Memory,
        Self::Exit,
        Self::Rolling,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Storm => "Storm",
            Self::Restart => "Restart",
            Self::Speed => "Speed",
            Self::Profile => "Profile",
            Self::Memory => "Memory",
            Self::Exit => "Exit",
            Self::Rolling => "Rolling replacement",
        }
    }

    /// What the numbers mean.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Storm => storms::MEANING,
            Self::Restart => restarts::MEANING,
            Self::Speed => speed::MEANING,
            Self::Profile => profile::MEANING,
            Self::Memory => memory::MEANING,
            Self::Exit => exits::MEANING,
            Self::Rolling => rolling::MEANING,
        }
    }

    pub(crate) async fn play(self, stage: &Stage, lasts: Duration) -> anyhow::Result<Figures> {
        match self {
            Self::Storm => storms::play(stage, lasts).await,
            Self::Restart => restarts::play(stage).await,
            Self::Speed => speed::play(stage, (lasts / 6).max(SHORT)).await,
            Self::Profile => profile::play(stage, (lasts / 6).max(SHORT)).await,
            Self::Memory => memory::play(stage).await,
            Self::Exit => exits::play(stage).await,
            Self::Rolling => rolling::play(stage).await,
        }
    }
}
