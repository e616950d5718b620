//! What else this machine did meanwhile: processor time that neither this process nor one below it
//! has used.

use std::time::Duration;

use tokio::time::Instant;

use crate::tree;

/// Other work may take so much of one core; more, and what was measured is played again, or marked.
pub(crate) const ALLOWED: f64 = 0.15;

/// The counters at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    at: Instant,
    busy: Duration,
    ours: Duration,
}

impl Noise {
    /// From now on.
    pub(crate) fn since_now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            at: Instant::now(),
            busy: busy(&stat),
            ours: tree::all_of_ours(),
        }
    }

    /// The cores that other work has used since then.
    pub(crate) fn others(self) -> f64 {
        let now = Self::since_now();
        let busy = now.busy.saturating_sub(self.busy);
        let ours = now.ours.saturating_sub(self.ours);
        let elapsed = (now.at - self.at).as_secs_f64();
        busy.saturating_sub(ours).as_secs_f64() / elapsed.max(0.001)
    }
}

/// User, nice, system and stolen time. Interrupts are left out: those of our own packets count
/// there.
fn busy(stat: &str) -> Duration {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let fields: Vec<u64> = line
        .into_iter()
        .flat_map(str::split_ascii_whitespace)
        .filter_map(|field| field.parse().ok())
        .collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or(0);
    tree::ticks(field(0) + field(1) + field(2) + field(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_that_of_programs_and_of_other_guests() {
        let stat = "cpu  100 20 30 4000 5 6 7 50 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat), Duration::from_secs(2));
        assert_eq!(busy(""), Duration::ZERO);
    }
}
