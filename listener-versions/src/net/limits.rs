//! How many connections may be open, and the refusals that say why one was not taken.

/// How many connections may be open. `None`, the default everywhere: no limit.
///
/// They are counted where the connection is accepted, from the connection tracker: what is refused
/// was accepted by the kernel and is closed at once, and reported to the observer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Over all listeners and versions.
    pub total: Option<usize>,
    /// Of one listener, over all its versions that are not reaped yet.
    pub per_listener: Option<usize>,
    /// Of one listener version.
    pub per_version: Option<usize>,
    /// Over all listeners and versions, for connections that come while their version's drain is on
    /// (a graceful drain keeps accepting).
    pub while_draining: Option<usize>,
}

impl Limits {
    /// Sets [`total`](Self::total).
    #[must_use]
    pub fn with_total(mut self, connections: usize) -> Self {
        self.total = Some(connections);
        self
    }

    /// Sets [`per_listener`](Self::per_listener).
    #[must_use]
    pub fn with_per_listener(mut self, connections: usize) -> Self {
        self.per_listener = Some(connections);
        self
    }

    /// Sets [`per_version`](Self::per_version).
    #[must_use]
    pub fn with_per_version(mut self, connections: usize) -> Self {
        self.per_version = Some(connections);
        self
    }

    /// Sets [`while_draining`](Self::while_draining).
    #[must_use]
    pub fn with_while_draining(mut self, connections: usize) -> Self {
        self.while_draining = Some(connections);
        self
    }

    /// Whether a connection that is counted in these numbers already is one too many.
    pub(super) fn check(&self, open: Open) -> Result<(), Refusal> {
        let over = |limit: Option<usize>, open: usize| limit.is_some_and(|limit| open > limit);
        if over(self.total, open.total) {
            return Err(Refusal::TotalLimit);
        }
        if over(self.per_listener, open.of_listener) {
            return Err(Refusal::ListenerLimit);
        }
        if over(self.per_version, open.of_version) {
            return Err(Refusal::VersionLimit);
        }
        if open.version_drains && over(self.while_draining, open.total) {
            return Err(Refusal::DrainLimit);
        }
        Ok(())
    }
}

/// How many connections are open, the new one included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) total: usize,
    pub(super) of_listener: usize,
    pub(super) of_version: usize,
    pub(super) version_drains: bool,
}

/// Why an accepted connection was closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// [`Limits::total`] is reached.
    #[error("the limit of connections is reached")]
    TotalLimit,
    /// [`Limits::per_listener`] is reached.
    #[error("the limit of connections of this listener is reached")]
    ListenerLimit,
    /// [`Limits::per_version`] is reached.
    #[error("the limit of connections of this listener version is reached")]
    VersionLimit,
    /// [`Limits::while_draining`] is reached.
    #[error("the limit of connections during a drain is reached")]
    DrainLimit,
    /// The listener's drain is completed, and no newer version took over.
    #[error("the listener has been drained")]
    DrainCompleted,
    /// No active version has this name and an internal address. Only for connections that the
    /// program [hands in](crate::Listeners::enter).
    #[error("there is no such listener for connections of the program")]
    NoListener,
    /// The stream could not be registered with this runtime.
    #[error("the stream cannot be registered with the runtime")]
    Unregistered,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_admits_as_many_as_it_says() {
        let limits = Limits::default()
            .with_total(4)
            .with_per_listener(3)
            .with_per_version(2)
            .with_while_draining(1);
        let open = |total, of_listener, of_version, version_drains| Open {
            total,
            of_listener,
            of_version,
            version_drains,
        };
        assert_eq!(limits.check(open(4, 3, 2, false)), Ok(()));
        assert_eq!(limits.check(open(5, 1, 1, false)), Err(Refusal::TotalLimit));
        assert_eq!(
            limits.check(open(4, 4, 2, false)),
            Err(Refusal::ListenerLimit)
        );
        assert_eq!(
            limits.check(open(3, 3, 3, false)),
            Err(Refusal::VersionLimit)
        );
        assert_eq!(limits.check(open(2, 1, 1, true)), Err(Refusal::DrainLimit));
        assert_eq!(
            Limits::default().check(open(1 << 40, 1 << 40, 1 << 40, true)),
            Ok(())
        );
    }
}
