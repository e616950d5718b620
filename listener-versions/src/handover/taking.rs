//! The new process's side of a handover: what happens next, without a socket and without a clock.
//!
//! ```text
//!  Looking ──found──► Asked ──sockets──► Configures ──ready──► Ready ──draining──► Owner
//!   │ ▲  │              │                                       │                   ▲
//!   │ │  │◄────ended────┴───────────────────ended───────────────┘                   │
//!   │ └─wait            (with sockets: Asked leads straight to Ready)               │
//!   └───────────────────────────no process, and the lock is free────────────────────┘
//! ```

/// Where a process is that wants to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Taking {
    /// It looks for a process at the path.
    Looking {
        /// It is ready, with the sockets of a process that has ended meanwhile.
        ready: bool,
    },
    /// It has asked a process for its sockets.
    Asked {
        /// As in [`Looking`](Self::Looking).
        ready: bool,
    },
    /// It has the sockets, and configures itself. The old process accepts.
    Configures,
    /// It has said that it is ready, and must not accept before the old process has agreed.
    Ready,
    /// It has the lock: it accepts.
    Owner,
    /// Another process goes on.
    Failed,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakingEvent {
    /// A process listens at the path.
    Found,
    /// A process listens at the path, and too many others ask it at the moment.
    Full,
    /// No process listens at the path.
    NoProcess,
    /// This process has got the lock.
    LockGot,
    /// The same, but another process has served since this one was sent its sockets, and may still
    /// accept on them.
    Overtaken,
    /// The same, but a process keeps sockets, and will get the lock when this one has released it.
    Kept,
    /// Another process has the lock.
    LockHeld,
    /// All sockets of the other process have come.
    Sockets,
    /// The other process gives its sockets to another one at the moment.
    Busy,
    /// The other process says what this one cannot accept.
    Unfit,
    /// The connection has ended without a goodbye: the other process is dead.
    Ended,
    /// The other process lives, and has ended this attempt.
    Goodbye,
    /// This process is configured.
    Configured,
    /// The other process has stopped, and this one has its lock.
    Draining,
    /// Time is over.
    TimedOut,
}

/// What the process has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakingAction {
    /// Say hello.
    Ask,
    /// Configure itself with the sockets.
    Configure,
    /// Say `drain`.
    SayDrain,
    /// Try to get the lock.
    TryLock,
    /// Look again a little later.
    Wait,
    /// Listen at the path, and accept.
    Listen,
    /// Accept.
    Accept,
    /// End: another process goes on.
    Fail,
}

impl Taking {
    /// Takes an event. One that has no meaning here is a failure.
    pub(super) fn on(&mut self, event: TakingEvent) -> TakingAction {
        use TakingAction::*;
        use TakingEvent as E;

        let (next, action) = match (*self, event) {
            (Self::Looking { ready }, E::Found) => (Self::Asked { ready }, Ask),
            (Self::Looking { ready }, E::NoProcess) => (Self::Looking { ready }, TryLock),
            (Self::Looking { .. }, E::LockGot) => (Self::Owner, Listen),
            (Self::Looking { ready: false }, E::Kept) => (Self::Looking { ready: false }, Wait),
            (Self::Looking { ready }, E::LockHeld | E::Full) => (Self::Looking { ready }, Wait),
            (Self::Asked { ready: false }, E::Sockets) => (Self::Configures, Configure),
            (Self::Asked { ready: true }, E::Sockets) => (Self::Ready, SayDrain),
            // The process that is in the way may be dead, which the old process has not noticed
            // yet; or this one is ready, and that one is not.
            (Self::Asked { ready }, E::Busy | E::Ended | E::Goodbye) => {
                (Self::Looking { ready }, Wait)
            }
            (Self::Configures, E::Configured) => (Self::Ready, SayDrain),
            (Self::Ready, E::Draining) => (Self::Owner, Accept),
            // The next one serves, or keeps the sockets of the dead one, or there is none.
            (Self::Ready, E::Ended) => (Self::Looking { ready: true }, Wait),
            _ => (Self::Failed, Fail),
        };
        *self = next;
        action
    }
}
