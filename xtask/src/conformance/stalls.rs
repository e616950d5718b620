//! Whether this machine stood still: then what a play measured is not the proxy's doing.

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
                    told.0.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
                }
            }
        });
        stalls
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
