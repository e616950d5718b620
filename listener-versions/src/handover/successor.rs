//! The old process's side after it was replaced: until the new one wants it gone, or has died and
//! another one takes its place.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
use socket2::SockRef;
use tokio::net::UnixListener;
use tokio::time::{Instant, sleep, timeout_at};

use super::arrivals::{Arrivals, Heard};
use super::giving::{Giving, GivingAction, GivingEvent};
use super::message::Message;
use super::offer::Identity;
use super::path::{FileId, Keeping, Lock};
use super::removals::Removals;
use super::session::{PAUSE, exchange, give, greet, one_at_a_time};
use super::wire::{Wire, say_goodbye};
use super::{HandoverError, HandoverOptions, tellable};
use crate::SharedSocket;

/// How long until the lock is tried again, at first and at most, while another process has it.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The process that has this one's sockets now.
///
/// When it is dropped, as when this process exits, the new process is notified that this one is
/// gone.
#[derive(Debug)]
#[must_use = "the new process says when this one has to be gone"]
pub struct Successor {
    giving: Giving,
    identity: Identity,
    options: HandoverOptions,
    pid: u32,
    /// The connection to it, while it is open.
    wire: Option<Wire>,
    /// What it has, in case that it dies. This process does not accept on them.
    kept: Vec<SharedSocket>,
    /// As long as it has any.
    keeping: Option<Keeping>,
    /// While this process keeps the sockets for another one.
    lock: Option<Lock>,
    listener: Option<UnixListener>,
    /// The socket's file at the path.
    file: Option<FileId>,
    /// Who has connected and said nothing yet.
    arrivals: Arrivals,
    until: Option<Instant>,
    again: Duration,
}

impl Successor {
    pub(super) fn new(
        giving: Giving,
        mut identity: Identity,
        wire: Wire,
        options: &HandoverOptions,
        (kept, keeping): (Vec<SharedSocket>, Option<Keeping>),
    ) -> Self {
        identity.next();
        Self {
            giving,
            identity,
            options: options.clone(),
            pid: wire.peer(),
            wire: Some(wire),
            kept,
            keeping,
            lock: None,
            listener: None,
            file: None,
            arrivals: Arrivals::default(),
            until: None,
            again: TRY_AGAIN.0,
        }
    }

    /// Its process number, as the kernel knows it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves when the new process wants this one gone (Envoy's `--parent-shutdown-time-s` after
    /// the handover). Else it never resolves: then the drain decides when this process is done.
    ///
    /// If the new process dies, its sockets are kept for a while ([`HandoverOptions::keep`]):
    /// connections wait in their queues, and a process that is started gets them. Accepting again
    /// would be no help, as this process drains. What was kept in vain is closed, never shut down.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped and called again. An attempt of another process that is in the middle
    /// comes to nothing by it.
    pub async fn terminated(&mut self) {
        while self.next().await != SuccessorEvent::Terminate {}
    }

    /// What becomes of the new process, as far as it matters here; after
    /// [`Terminate`](SuccessorEvent::Terminate) nothing more is to be expected. See
    /// [`terminated`](Self::terminated).
    ///
    /// # Cancel safety
    ///
    /// As [`terminated`](Self::terminated).
    pub async fn next(&mut self) -> SuccessorEvent {
        loop {
            let event = match self.giving {
                Giving::Replaced => self.hear().await,
                Giving::Unsure => self.try_lock().await,
                Giving::Keeps => self.keep().await,
                // An attempt that was dropped in the middle.
                Giving::KeepsAsked => Some(GivingEvent::Failed),
                Giving::Done | Giving::Serves | Giving::Asked => pending().await,
            };
            let actions = event.map_or(&[][..], |event| self.giving.on(event));
            for action in actions {
                if let Some(report) = self.perform(*action) {
                    return report;
                }
            }
        }
    }

    /// Does what does not wait.
    fn perform(&mut self, action: GivingAction) -> Option<SuccessorEvent> {
        match action {
            GivingAction::TryLock => {
                self.wire = None;
                self.again = TRY_AGAIN.0;
            }
            GivingAction::Wait => self.again = (self.again * 2).min(TRY_AGAIN.1),
            GivingAction::Listen => {
                self.until = Some(Instant::now() + tellable(self.options.keep));
                // `keep` looks again.
                let _ = self.listen();
            }
            GivingAction::Give => {
                if let Some(wire) = &mut self.wire {
                    give(wire, &mut self.lock, &mut self.listener);
                }
                self.identity.next();
            }
            GivingAction::Close => {
                if let Some(connection) = self.identity.connection.take() {
                    say_goodbye(&connection);
                }
                self.kept.clear();
                self.keeping = None;
                (self.wire, self.listener, self.lock) = (None, None, None);
            }
            GivingAction::Report(event) => return Some(event),
            GivingAction::Share | GivingAction::Release | GivingAction::Stop => {}
        }
        None
    }

    /// Listens at the path, also after it or the lock file was removed. `true`: one of them was
    /// made anew.
    fn listen(&mut self) -> bool {
        let Some(lock) = &mut self.lock else {
            return false;
        };
        let path = &self.identity.path;
        // Without a listener, it is tried again until the time is over.
        lock.restore(path, &mut self.listener, &mut self.file)
            .unwrap_or(false)
    }

    async fn hear(&mut self) -> Option<GivingEvent> {
        let Some(wire) = &mut self.wire else {
            return Some(GivingEvent::Ended);
        };
        match wire.receive_whenever().await {
            Ok((Message::Terminate, _)) => Some(GivingEvent::Terminate),
            Ok((Message::Goodbye, _)) => Some(GivingEvent::Goodbye),
            Ok(_) | Err(_) => Some(GivingEvent::Ended),
        }
    }

    /// The connection is gone. The lock is free if no process serves at the path: neither the
    /// process that was there, nor one to which that one has handed over.
    async fn try_lock(&mut self) -> Option<GivingEvent> {
        // What a process has shut down was its own, and is closed everywhere.
        self.kept.retain(is_listening);
        if self.kept.is_empty() {
            return Some(GivingEvent::NothingKept);
        }
        if self.again > TRY_AGAIN.0 {
            sleep(self.again).await;
        }
        match Lock::try_get(&self.identity.path) {
            Ok(Some(lock)) if lock.owner() == Some(0) => Some(GivingEvent::LivesOn),
            Ok(Some(lock)) => {
                self.identity.owner = lock.owner().unwrap_or(self.identity.owner);
                self.lock = Some(lock);
                Some(GivingEvent::LockGot)
            }
            // An error, most likely for want of descriptors, says nothing.
            Ok(None) | Err(_) => Some(GivingEvent::LockHeld),
        }
    }

    /// Waits for another process, and gives it the sockets.
    async fn keep(&mut self) -> Option<GivingEvent> {
        let until = self.until?;
        // Before the look at what is there: the kernel notifies this process of later removals.
        let removals = Removals::of(&self.identity.path);
        if self.listen() {
            // It was not there to be watched: the next look watches it.
            return None;
        }
        let Some(listener) = &self.listener else {
            let again = Instant::now() + PAUSE;
            if again > until {
                return Some(GivingEvent::TimeOver);
            }
            tokio::time::sleep_until(again).await;
            return None;
        };
        // `None`: the path or the lock file was removed.
        let arrived = self.arrivals.next(listener, self.options.patience);
        let next = async {
            match select(pin!(arrived), pin!(removals.next())).await {
                Either::Left((arrived, _)) => Some(arrived),
                Either::Right(_) => None,
            }
        };
        let (wire, heard) = match timeout_at(until, next).await {
            Ok(Some(Ok(arrived))) => arrived,
            Ok(Some(Err(_)) | None) => return None,
            Err(_) => return Some(GivingEvent::TimeOver),
        };
        match self.session(wire, heard).await {
            Ok(()) => Some(GivingEvent::Drain),
            Err(_) => Some(GivingEvent::Failed),
        }
    }

    async fn session(&mut self, mut wire: Wire, heard: Heard) -> Result<(), HandoverError> {
        self.kept.retain(is_listening);
        if heard.is_ok() {
            self.arrivals.say_busy(wire.peer());
        }
        let (pid, hello) = (wire.peer(), self.identity.hello());
        let listener = self.listener.as_ref().ok_or(HandoverError::Lost)?;
        let (giving, kept, options) = (&mut self.giving, &self.kept, &self.options);
        let session = async {
            greet(&mut wire, heard, &hello, options).await?;
            let actions = giving.on(GivingEvent::Asked);
            debug_assert_eq!(actions, [GivingAction::Share]);
            exchange(&mut wire, kept, options).await
        };
        let taken = one_at_a_time(listener, pid, session).await?;
        self.kept.retain(|shared| taken.contains(&shared.address));
        (self.pid, self.wire) = (pid, Some(wire));
        Ok(())
    }
}

/// What becomes of a process that has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SuccessorEvent {
    /// It wants this process gone.
    Terminate,
    /// It has died, and no process serves. Its sockets are kept for another process.
    Died,
    /// Another process has taken its place: [`Successor::pid`].
    Replaced,
    /// No other process has come in time. This process has closed its descriptors of the sockets.
    Closed,
}

fn is_listening(shared: &SharedSocket) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let listens = SockRef::from(&shared.socket).is_listener().unwrap_or(false);
    // Elsewhere a socket cannot be asked.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let listens = shared.socket.try_clone().is_ok();
    listens
}
