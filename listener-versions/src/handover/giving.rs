//! The old process's side of a handover: what happens next, without a socket and without a clock.
//!
//! ```text
//!  Serves ──asked──► Asked ──drain──► Replaced ──ended──► Unsure ──lock──► Keeps ◄──failed── KeepsAsked
//!     ▲                │                ▲                    │               │ └────asked──────►  │
//!     └────failed──────┘                │                    └────► Done ◄───┘ time is over       │
//!                                       └──────────────────────────drain──────────────────────────┘
//! ```

use super::SuccessorEvent;

/// Where a process is that has sockets to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Giving {
    /// This process accepts. It has the lock, and listens at the path.
    Serves,
    /// The same, and a new process has been sent the sockets. Updates of the listeners wait.
    Asked,
    /// Another process accepts. It has the lock, and listens at the path. This process keeps its
    /// descriptors.
    Replaced,
    /// The connection to that process has ended. It is dead if no process has the lock.
    Unsure,
    /// That process is dead. This one has the lock, listens at the path, and keeps the sockets for
    /// another process.
    Keeps,
    /// The same, and a new process has been sent the sockets.
    KeepsAsked,
    /// This process has nothing to give any more.
    Done,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivingEvent {
    /// A new process asks, and its hello fits.
    Asked,
    /// The new process is ready to accept, and still there.
    Drain,
    /// The attempt is over: the new process ended, made no sense or took too long, or the future
    /// was dropped.
    Failed,
    /// The new process wants this one gone.
    Terminate,
    /// The new process keeps the sockets no longer, for no process has come for them.
    Goodbye,
    /// The connection has ended.
    Ended,
    /// This process has got the lock.
    LockGot,
    /// Another process has the lock.
    LockHeld,
    /// No process has the lock, and the one that served last has said in the lock file that it
    /// lives on and gives nothing away.
    LivesOn,
    /// None of the kept sockets listens any more.
    NothingKept,
    /// No process has come for the kept sockets in time.
    TimeOver,
}

/// What the process has to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivingAction {
    /// Let updates wait, and send the sockets.
    Share,
    /// Let updates go on: everything is as before [`Share`](Self::Share).
    Release,
    /// Stop accepting, and drain.
    Stop,
    /// Send `draining` with the lock and the listener of the path, and close this process's
    /// descriptors of these two.
    Give,
    /// Try to get the lock.
    TryLock,
    /// Try again later.
    Wait,
    /// Listen at the path.
    Listen,
    /// Close the descriptors of the sockets, of the path's listener and of the lock, and say
    /// goodbye to the process before this one, which does the same. Nothing is shut down.
    Close,
    /// Report it.
    Report(SuccessorEvent),
}

impl Giving {
    /// Whether this process accepts connections.
    #[cfg(test)]
    pub(super) fn accepts(self) -> bool {
        matches!(self, Self::Serves | Self::Asked)
    }

    /// Takes an event. One that has no meaning here changes nothing.
    pub(super) fn on(&mut self, event: GivingEvent) -> &'static [GivingAction] {
        use GivingAction::*;
        use GivingEvent as E;

        let (next, actions): (Self, &'static [GivingAction]) = match (*self, event) {
            (Self::Serves, E::Asked) => (Self::Asked, &[Share]),
            (Self::Asked, E::Drain) => (Self::Replaced, &[Stop, Give]),
            (Self::Asked, E::Failed) => (Self::Serves, &[Release]),
            (Self::Replaced, E::Terminate) => {
                (Self::Replaced, &[Report(SuccessorEvent::Terminate)])
            }
            (Self::Replaced, E::Goodbye) => (Self::Done, &[Close]),
            (Self::Replaced, E::Ended) => (Self::Unsure, &[TryLock]),
            (Self::Unsure, E::LockHeld) => (Self::Unsure, &[Wait]),
            (Self::Unsure, E::LockGot) => (Self::Keeps, &[Listen, Report(SuccessorEvent::Died)]),
            (Self::Keeps, E::Asked) => (Self::KeepsAsked, &[Share]),
            (Self::Keeps, E::TimeOver) => (Self::Done, &[Close, Report(SuccessorEvent::Closed)]),
            (Self::KeepsAsked, E::Drain) => {
                (Self::Replaced, &[Give, Report(SuccessorEvent::Replaced)])
            }
            (Self::KeepsAsked, E::Failed) => (Self::Keeps, &[]),
            (Self::Unsure, E::LivesOn | E::NothingKept) => (Self::Done, &[Close]),
            (same, _) => (same, &[]),
        };
        *self = next;
        actions
    }
}
