//! Whether a connection is one too many, and the refusals that say why one was not taken.

use crate::ListenersOptions;

/// Whether a connection that is counted in these numbers already is one too many.
pub(super) fn check(limits: &ListenersOptions, open: Open) -> Result<(), Refusal> {
    let over = |limit: Option<usize>, open: usize| limit.is_some_and(|limit| open > limit);
    if over(limits.max_connections, open.total) {
        return Err(Refusal::TotalLimit);
    }
    if over(limits.max_connections_per_listener, open.of_listener) {
        return Err(Refusal::ListenerLimit);
    }
    if over(limits.max_connections_per_version, open.of_version)
        || over(open.version_limit, open.of_version)
    {
        return Err(Refusal::VersionLimit);
    }
    if open.version_drains && over(limits.max_connections_while_draining, open.total) {
        return Err(Refusal::DrainLimit);
    }
    Ok(())
}

/// How many connections are open, the new one included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) total: usize,
    pub(super) of_listener: usize,
    pub(super) of_version: usize,
    /// The version's own limit.
    pub(super) version_limit: Option<usize>,
    pub(super) version_drains: bool,
}

/// Why an accepted connection was closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// [`ListenersOptions::max_connections`] is reached.
    #[error("the limit of connections is reached")]
    TotalLimit,
    /// [`ListenersOptions::max_connections_per_listener`] is reached.
    #[error("the limit of connections of this listener is reached")]
    ListenerLimit,
    /// [`ListenersOptions::max_connections_per_version`] is reached, or
    /// [`ListenerConfig::max_connections`](crate::ListenerConfig::max_connections).
    #[error("the limit of connections of this listener version is reached")]
    VersionLimit,
    /// [`ListenersOptions::max_connections_while_draining`] is reached.
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
        let limits = ListenersOptions::default()
            .with_max_connections(4)
            .with_max_connections_per_listener(3)
            .with_max_connections_per_version(2)
            .with_max_connections_while_draining(1);
        let open = |total, of_listener, of_version, version_drains| Open {
            total,
            of_listener,
            of_version,
            version_limit: None,
            version_drains,
        };
        assert_eq!(check(&limits, open(4, 3, 2, false)), Ok(()));
        let own = Open {
            version_limit: Some(1),
            ..open(4, 3, 2, false)
        };
        assert_eq!(check(&limits, own), Err(Refusal::VersionLimit));
        assert_eq!(
            check(&limits, open(5, 1, 1, false)),
            Err(Refusal::TotalLimit)
        );
        assert_eq!(
            check(&limits, open(4, 4, 2, false)),
            Err(Refusal::ListenerLimit)
        );
        assert_eq!(
            check(&limits, open(3, 3, 3, false)),
            Err(Refusal::VersionLimit)
        );
        assert_eq!(
            check(&limits, open(2, 1, 1, true)),
            Err(Refusal::DrainLimit)
        );
        assert_eq!(
            check(
                &ListenersOptions::default(),
                open(1 << 40, 1 << 40, 1 << 40, true)
            ),
            Ok(())
        );
    }
}
