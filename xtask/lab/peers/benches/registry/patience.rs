//! How long one call takes, without the time in which a neighbour had its processor.

use std::time::{Duration, Instant};

/// A call that takes longer may have waited for a processor.
const LONG: Duration = Duration::from_micros(20);
/// How often the wait is read anyway, so that waits between calls are not taken off one of them.
const CALLS: u32 = 1024;

/// Of one thread.
pub(crate) struct Stopwatch {
    waited: Duration,
    calls: u32,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        Self {
            waited: waited(),
            calls: 0,
        }
    }

    pub(crate) fn time<R>(&mut self, call: impl FnOnce() -> R) -> (Duration, R) {
        self.calls += 1;
        if self.calls % CALLS == 0 {
            self.waited = waited();
        }
        let began = Instant::now();
        let result = call();
        let took = began.elapsed();
        if took < LONG {
            return (took, result);
        }
        let waited = waited();
        let before = std::mem::replace(&mut self.waited, waited);
        (took.saturating_sub(waited.saturating_sub(before)), result)
    }
}

/// How long this thread was ready to run and had no processor, since it began; zero where the
/// kernel does not tell.
fn waited() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
