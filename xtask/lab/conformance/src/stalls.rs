//! Whether this machine stood still, or a proxy waited for a processor: then what a play measured
//! is not the proxy's doing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

const BEAT: Duration = Duration::from_millis(20);
/// Half of what moments may be off by.
const LATE: Duration = Duration::from_millis(super::samples::SLACK as u64 / 2);

/// When this process was not run in time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stalls(Arc<Mutex<Vec<Instant>>>);

impl Stalls {
    /// Begins to watch; it ends with the runtime.
    pub(crate) fn watch() -> Self {
        let stalls = Self::default();
        let told = stalls.clone();
        tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                sleep(BEAT).await;
                if begun.elapsed() > BEAT + LATE {
                    told.0
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(begun);
                }
            }
        });
        stalls
    }

    /// Looks at how long a process has waited for a processor, all its threads together.
    pub(crate) fn look_at(&self, process: u32) {
        let threads = std::fs::read_dir(format!("/proc/{process}/task"));
        let waited = threads.into_iter().flatten().filter_map(|thread| {
            // Time on a processor, time waiting for one, in ns.
            let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            stat.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        });
        if Duration::from_nanos(waited.sum()) > LATE {
            let mut stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            stalls.push(Instant::now());
        }
    }

    /// Waits until this process has been run in time for two seconds, or for half a minute.
    pub(crate) async fn over(&self) {
        for _ in 0..15 {
            let begun = Instant::now();
            sleep(Duration::from_secs(2)).await;
            if !self.any_since(begun) {
                return;
            }
        }
    }

    pub(crate) fn any_since(&self, begun: Instant) -> bool {
        let stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.last().is_some_and(|last| *last >= begun)
    }
}
