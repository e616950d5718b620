//! The parts of the page: what each is called, what it plays, and what its numbers mean.

mod restarts;
mod speed;
mod storms;

use std::time::Duration;

use crate::figure::Figures;
use crate::stage::Stage;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Part {
    /// Changes of the configuration under a crowd: what is lost.
    Storm,
    /// What a request costs.
    Speed,
    /// Hot restart or binary upgrade under the same crowd.
    Restart,
}

/// No load lasts shorter.
const SHORT: Duration = Duration::from_millis(1500);

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Storm, Self::Speed, Self::Restart];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Storm => "Storm",
            Self::Speed => "Speed",
            Self::Restart => "Restart",
        }
    }

    /// What the numbers mean.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Storm => storms::MEANING,
            Self::Speed => speed::MEANING,
            Self::Restart => restarts::MEANING,
        }
    }

    pub(crate) async fn play(self, stage: &Stage, lasts: Duration) -> anyhow::Result<Figures> {
        match self {
            Self::Storm => storms::play(stage, lasts).await,
            Self::Speed => speed::play(stage, (lasts / 6).max(SHORT)).await,
            Self::Restart => restarts::play(stage).await,
        }
    }
}
