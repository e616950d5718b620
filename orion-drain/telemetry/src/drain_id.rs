//! The id of a drain: the same in log events, spans and the admin interface, wherever the drain is
//! seen.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use drain_signal::DrainEvent;

/// Which drain. Two drains of a process that begin at different moments, or for different reasons,
/// have different ids; the id says nothing else, and is not the same in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DrainId(u64);

impl DrainId {
    /// The id of the drain with these facts.
    pub fn of(event: &DrainEvent) -> Self {
        let mut hasher = DefaultHasher::new();
        (event.start, event.reason, event.direction, event.drain_time).hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl fmt::Display for DrainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
