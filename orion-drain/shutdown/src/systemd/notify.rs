//! What the service manager is sent, by [sd_notify(3)].
//!
//! [sd_notify(3)]: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use crate::{Shutdown, ShutdownProgress, ShutdownReason, ShutdownState};

/// Notifies the service manager of how the service is. Clones are the same.
///
/// A thread of its own sends the messages, in their order, so that no task waits for a manager that
/// does not read. With 64 messages unread further ones are dropped.
#[derive(Debug, Clone)]
pub struct Notifier {
    to: SyncSender<Message>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) sockets: Vec<OwnedFd>,
}

/// What the process may take beyond what it plans.
const SPARE: Duration = Duration::from_secs(5);

impl Notifier {
    /// `None` if there is no `NOTIFY_SOCKET`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn from_env() -> io::Result<Option<Self>> {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|path| path.is_empty()) {
            return Ok(None);
        }
        let (to, messages) = sync_channel(64);
        std::thread::Builder::new()
            .name("systemd".to_owned())
            .spawn(move || send(&messages))?;
        Ok(Some(Self { to }))
    }

    #[cfg(test)]
    pub(super) fn to_a_channel() -> (Self, Receiver<Message>) {
        let (to, messages) = sync_channel(64);
        (Self { to }, messages)
    }

    /// `READY=1`: it serves; or, after [`reloading`](Self::reloading), it has the new
    /// configuration.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// `STATUS=`: a line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// `RELOADING=1` with `MONOTONIC_USEC=`, for `Type=notify-reload`; [`ready`](Self::ready) must
    /// follow.
    pub fn reloading(&self) {
        let mut told = vec![NotifyState::Reloading];
        // A system without a monotonic clock has no systemd.
        told.extend(NotifyState::monotonic_usec_now());
        self.tell(&told);
    }

    /// `MAINPID=`: this process is the service now, as after a hot restart.
    pub fn main_process(&self) {
        self.tell(&[NotifyState::MainPid(std::process::id())]);
    }

    /// Follows a shutdown to its end: `STOPPING=1` as it begins, `STATUS=` with each state, and
    /// `EXTEND_TIMEOUT_USEC=` with the time that is left, so that `TimeoutStopSec=` does not kill
    /// it before. Nothing of a process that another one has replaced: the service does not stop.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it sends no more.
    pub async fn follow(&self, shutdown: &Shutdown) {
        let states = [
            ShutdownState::LeadTime,
            ShutdownState::Draining,
            ShutdownState::Done,
        ];
        for state in states {
            shutdown.reached(state).await;
            let progress = shutdown.progress();
            if progress.reason != Some(ShutdownReason::ProcessShutdown) {
                continue;
            }
            // What was passed over has its own line.
            if state == ShutdownState::LeadTime {
                self.tell(&[NotifyState::Stopping]);
            }
            self.shutdown(&progress);
        }
    }

    fn shutdown(&self, progress: &ShutdownProgress) {
        let now = Instant::now().into_std();
        let left = progress.deadline.map_or(Duration::ZERO, |deadline| {
            deadline.saturating_duration_since(now)
        });
        let mut status = progress.state.as_str().replace('_', " ");
        // Writing to a string cannot fail.
        write!(
            status,
            ", {} connections, {} s at most",
            progress.connections,
            left.as_secs()
        )
        .ok();
        let extend = u32::try_from((left + SPARE).as_micros()).unwrap_or(u32::MAX);
        self.tell(&[
            NotifyState::Status(&status),
            NotifyState::ExtendTimeoutUsec(extend),
        ]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
        self.send(Message {
            text: lines.join("\n"),
            sockets: vec![],
        });
    }

    /// No task waits: a manager that does not read is sent less.
    pub(super) fn send(&self, message: Message) {
        self.to.try_send(message).ok();
    }
}

/// Ends with the last notifier. A manager that cannot be reached misses a message; no other
/// program waits for one.
fn send(messages: &Receiver<Message>) {
    for message in messages {
        let state = [NotifyState::Custom(&message.text)];
        if message.sockets.is_empty() {
            sd_notify::notify(&state).ok();
        } else {
            let sockets: Vec<_> = message.sockets.iter().map(AsFd::as_fd).collect();
            sd_notify::notify_with_fds(&state, &sockets).ok();
        }
    }
}
