//! What all parts of a run share: the programs, what is behind the proxies, and how long and how
//! often is played.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;

use crate::noise;
use crate::programs::Programs;
use crate::proxies::{Kind, Proxy};
use crate::upstream::Upstreams;

/// How often a cell is played again if other work disturbed it.
const AGAIN: u32 = 2;

/// No cell takes so long, whatever options there are.
const LONGEST: Duration = Duration::from_secs(900);

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) programs: Programs,
    pub(crate) upstreams: Upstreams,
    pub(crate) drain_time: Duration,
    pub(crate) rounds: u32,
    pub(crate) kinds: Vec<Kind>,
    /// Whether a disturbed cell is played again.
    pub(crate) again: bool,
    /// What could not be played, and why.
    pub(crate) failed: Mutex<Vec<String>>,
}

impl Stage {
    pub(crate) async fn proxy(&self, kind: Kind, folder: &Path) -> anyhow::Result<Proxy> {
        let behind = self.upstreams.behind();
        Proxy::start(kind, &self.programs, folder, behind, self.drain_time).await
    }

    /// What was played; if it failed, that is said on the page, and the others go on.
    pub(crate) fn or_say<T>(&self, who: &str, what: &str, played: anyhow::Result<T>) -> Option<T> {
        let error = match played {
            Ok(played) => return Some(played),
            Err(error) => error,
        };
        println!("{who}, {what}: {error:#}");
        let line = error.to_string();
        let line = format!(
            "{who} failed in {what}: {}",
            line.lines().next().unwrap_or("?")
        );
        self.leave_out(line);
        None
    }

    /// Says once on the page what is not on it.
    pub(crate) fn leave_out(&self, line: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed.contains(&line) {
            failed.push(line);
        }
    }

    /// Plays a cell, and again if other work took too much of a core; the quietest play counts.
    pub(crate) async fn quietly<T, F>(
        &self,
        others: impl Fn(&T) -> f64,
        mut play: impl FnMut() -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let mut best = bounded(play()).await?;
        for _ in 0..if self.again { AGAIN } else { 0 } {
            if others(&best) <= noise::ALLOWED {
                break;
            }
            let next = bounded(play()).await?;
            if others(&next) < others(&best) {
                best = next;
            }
        }
        Ok(best)
    }
}

/// No play waits for ever.
pub(crate) async fn bounded<T>(play: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let limit = format!("it took longer than {LONGEST:?}");
    timeout(LONGEST, play).await.context(limit)?
}
